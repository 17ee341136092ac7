package postgres

import (
	"fmt"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/source"
)

// metadata counts the events of the open transaction for provide.transaction.metadata. The event that says BEGIN goes before the
// first event of the transaction and shares its place in the position, as END shares the commit's: a resume repeats neither.
type metadata struct {
	topic  string
	id     string
	begun  bool
	total  uint64
	counts map[string]uint64
	order  []string // the keys of counts as they came
}

func newMetadata(s *settings) *metadata {
	if !s.Transactions {
		return nil
	}
	return &metadata{topic: source.TopicName(s.Prefix + "." + s.TransactionName), counts: map[string]uint64{}}
}

// open begins a transaction. Debezium's id has the LSN of each change; ours has that of the commit, so that it is one.
func (m *metadata) open(xid uint32, commitLSN uint64) {
	m.id = fmt.Sprintf("%d:%d", xid, commitLSN)
	m.begun, m.total, m.order = false, 0, m.order[:0]
	clear(m.counts)
}

// number gives an event its place.
func (m *metadata) number(e *change.Event, collection string) {
	n := m.counts[collection] + 1
	if n == 1 {
		m.order = append(m.order, collection)
	}
	m.counts[collection] = n
	m.total++
	e.TxID, e.TxOrder, e.TxInTable = m.id, m.total, n
}

// begin appends the event that says BEGIN, unless it was.
func (m *metadata) begin(s *stream, b *change.Batch) {
	if m.begun {
		return
	}
	m.begun = true
	m.boundary(s, b, "BEGIN", `null,"data_collections":null`)
}

// end appends the event that says END.
func (m *metadata) end(s *stream, b *change.Batch) {
	m.begin(s, b)
	counts := strconv.AppendUint(nil, m.total, 10)
	counts = append(counts, `,"data_collections":[`...)
	for i, name := range m.order {
		if i > 0 {
			counts = append(counts, ',')
		}
		counts = jsontext.AppendString(append(counts, `{"data_collection":`...), []byte(name))
		counts = strconv.AppendUint(append(counts, `,"event_count":`...), m.counts[name], 10)
		counts = append(counts, '}')
	}
	m.boundary(s, b, "END", string(append(counts, ']')))
}

func (m *metadata) boundary(s *stream, b *change.Batch, status, counts string) {
	e := b.Add()
	e.Op, e.Topic, e.Txn, e.Ordinal = change.OpCreate, m.topic, uint64(s.begin.XID), s.ordinal
	e.LSN, e.PrevLSN, e.Commit, e.Seen = s.begin.FinalLSN, s.pos.LSNCommit, s.commit, s.seen
	e.Raw = &change.Raw{Form: change.FormTransaction,
		Key:   fmt.Appendf(nil, `{"id":%q}`, m.id),
		Value: fmt.Appendf(nil, `{"status":%q,"id":%q,"event_count":%s,"ts_ms":%d}`, status, m.id, counts, s.commit/1000)}
}
