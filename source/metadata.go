package source

import (
	"fmt"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// Metadata counts the events of the open transaction for provide.transaction.metadata. The event that says BEGIN goes before the
// first event of the transaction and shares its place in the position, as END shares the commit's: a resume repeats neither. It
// belongs to the goroutine that reads the stream.
type Metadata struct {
	topic  string
	id     string
	open   bool
	begun  bool
	total  uint64
	counts map[string]uint64
	order  []string // the keys of counts as they came
}

// NewMetadata returns one whose BEGIN and END go to a topic.
func NewMetadata(topic string) *Metadata {
	return &Metadata{topic: topic, counts: map[string]uint64{}}
}

// Open begins a transaction.
func (m *Metadata) Open(id string) {
	m.id, m.open = id, true
	m.begun, m.total, m.order = false, 0, m.order[:0]
	clear(m.counts)
}

// IsOpen reports whether events belong to a transaction.
func (m *Metadata) IsOpen() bool { return m.open }

// Drop closes the transaction without a word: it is none yet.
func (m *Metadata) Drop() { m.open = false }

// Begun reports whether BEGIN was appended.
func (m *Metadata) Begun() bool { return m.begun }

// Number gives an event its place among those of the transaction and of its table.
func (m *Metadata) Number(e *change.Event, collection string) {
	n := m.counts[collection] + 1
	if n == 1 {
		m.order = append(m.order, collection)
	}
	m.counts[collection] = n
	m.total++
	e.TxID, e.TxOrder, e.TxInTable = m.id, m.total, n
}

// Begin appends the event that says BEGIN, unless it was. at says where in the database's log, and when.
func (m *Metadata) Begin(b *change.Batch, at *change.Event) {
	if m.begun {
		return
	}
	m.begun = true
	m.boundary(b, at, "BEGIN", `null,"data_collections":null`)
}

// End appends the event that says END, after BEGIN if that was not appended, and closes the transaction.
func (m *Metadata) End(b *change.Batch, at *change.Event) {
	m.Begin(b, at)
	counts := strconv.AppendUint(nil, m.total, 10)
	counts = append(counts, `,"data_collections":[`...)
	for i, name := range m.order {
		if i > 0 {
			counts = append(counts, ',')
		}
		counts = append(append(counts, `{"data_collection":`...), quote(name)...)
		counts = strconv.AppendUint(append(counts, `,"event_count":`...), m.counts[name], 10)
		counts = append(counts, '}')
	}
	m.boundary(b, at, "END", string(append(counts, ']')))
	m.open = false
}

func (m *Metadata) boundary(b *change.Batch, at *change.Event, status, counts string) {
	e := b.Add()
	*e = *at
	e.Op, e.Topic = change.OpCreate, m.topic
	e.Raw = &change.Raw{Form: change.FormTransaction,
		Key:   fmt.Appendf(nil, `{"id":%q}`, m.id),
		Value: fmt.Appendf(nil, `{"status":%q,"id":%q,"event_count":%s,"ts_ms":%d}`, status, m.id, counts, at.Commit/1000)}
}
