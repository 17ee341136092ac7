package envelope

import (
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// Placeholder is Debezium's default for a value that the database did not send.
const Placeholder = "__debezium_unavailable_value"

// A Side is how a converter writes keys, values or headers. The zero value is Connect's JsonConverter without schemas,
// under which NULL stays null.
type Side struct {
	// Schemas puts the Connect schema beside each payload (schemas.enable).
	Schemas bool
	// NullDefault writes the default of a column for its NULL (replace.null.with.default=true, which Connect does unasked).
	NullDefault bool
	// NullMarker leaves also source.snapshot, whose default is "false", as null where an event is from no snapshot
	// (replace.null.with.default=false).
	NullMarker bool
}

// Options are how properties that don't belong to a source change the form.
type Options struct {
	Keys, Values, Headers Side

	Placeholder string // stands for values that were not sent where a source has not said it; "" means Placeholder
	Task        int    // the task's number, for the context headers
	RunID       string // the run's identity, for the context headers; "": none
}

// An Encoder writes events. It remembers the tables it has seen and belongs to one goroutine.
type Encoder struct {
	o       Options
	plans   map[*change.Table]*plan
	last    *change.Table
	plan    *plan
	batch   change.Batch // memory of decoded key tuples
	commit  stamp
	seen    stamp
	pairs   []pair // of an hstore
	scratch []byte // their text
	heads   map[rawKind]rawHeads
}

// New returns an encoder.
func New(o Options) *Encoder {
	return &Encoder{o: o, plans: map[*change.Table]*plan{}, heads: map[rawKind]rawHeads{}}
}

// AppendKey appends the key of e's record: an object of the key columns in key order, or a Raw event's own key. It
// reports false, and appends nothing, for a null key.
func (enc *Encoder) AppendKey(dst []byte, e *change.Event) ([]byte, bool) {
	if e.Raw != nil {
		return enc.appendRawKey(dst, e)
	}
	if e.Table == nil || len(e.Table.Key) == 0 || e.Op == change.OpTruncate {
		return dst, false
	}
	p := enc.planOf(e.Table)
	row := e.After
	if row == nil {
		row = e.Before
	}
	if p.byTuple && e.Key != nil || !hasKey(e.Table, row) {
		return enc.appendKeyTuple(dst, p, p.keyHead, e.Key)
	}
	return p.appendKey(enc, dst, p.keyHead, row), true
}

func hasKey(t *change.Table, r change.Row) bool {
	if len(r) != len(t.Columns) {
		return false
	}
	for _, i := range t.Key {
		if r[i].Kind == change.Absent {
			return false
		}
	}
	return true
}

// appendKeyTuple appends the key that a tuple of change.AppendKey holds.
func (enc *Encoder) appendKeyTuple(dst []byte, p *plan, head, tuple []byte) ([]byte, bool) {
	if tuple == nil {
		return dst, false
	}
	enc.batch.Reset()
	row, err := change.DecodeKey(&enc.batch, p.table, tuple)
	if err != nil {
		return dst, false
	}
	return p.appendKey(enc, dst, head, row), true
}

// appendKey appends the key of a row behind head, which has its schema unless it is empty.
func (p *plan) appendKey(enc *Encoder, dst, head []byte, r change.Row) []byte {
	dst = append(dst, head...)
	open := byte('{')
	for n, i := range p.table.Key {
		c := &p.key[n]
		dst = append(append(dst, open), c.name...)
		open = ','
		if r[i].Kind == change.Null {
			dst = append(dst, c.null...)
		} else {
			dst = enc.appendValue(dst, c, &r[i])
		}
	}
	return closeHead(append(dst, '}'), head)
}

// closeHead ends what a head with a schema began.
func closeHead(dst, head []byte) []byte {
	if len(head) == 0 {
		return dst
	}
	return append(dst, '}')
}

// AppendValue appends the value of e's record. It reports false, and appends nothing, for a null value: a tombstone,
// also that of a Flat delete.
func (enc *Encoder) AppendValue(dst []byte, e *change.Event) ([]byte, bool) {
	switch {
	case e.Raw != nil:
		return enc.appendRawValue(dst, e)
	case e.Op == change.OpTombstone || e.Table == nil:
		return dst, false
	case e.Flat && e.After == nil:
		return dst, false
	case e.Flat:
		p := enc.planOf(e.Table)
		return closeHead(enc.appendRow(append(dst, p.flatHead...), p, e.After, true), p.flatHead), true
	}
	p := enc.planOf(e.Table)
	dst = append(append(dst, p.valueHead...), `{"before":`...)
	dst = enc.appendRow(dst, p, e.Before, false)
	dst = append(dst, `,"after":`...)
	dst = enc.appendRow(dst, p, e.After, true)
	dst = enc.appendSource(append(dst, ','), p, e)
	dst = appendTransaction(append(dst, ','), e)
	dst = append(append(dst, `,"op":"`...), byte(e.Op), '"')
	enc.seen.set(e.Seen)
	dst = enc.seen.appendMillis(append(dst, `,"ts_ms":`...))
	return closeHead(append(enc.seen.appendRest(dst), '}'), p.valueHead), true
}

func (enc *Encoder) appendRow(dst []byte, p *plan, r change.Row, after bool) []byte {
	if r == nil {
		return append(dst, "null"...)
	}
	open := byte('{')
	for i := range min(len(r), len(p.columns)) {
		c := &p.columns[i]
		if c.omit {
			continue
		}
		dst = append(append(dst, open), c.name...)
		open = ','
		switch {
		case r[i].Kind == change.Null:
			dst = append(dst, c.null...)
		case r[i].Kind != change.Absent:
			dst = enc.appendValue(dst, c, &r[i])
		case after:
			dst = append(dst, c.absent...)
		default:
			dst = append(dst, c.missing...)
		}
	}
	if open == '{' {
		dst = append(dst, '{')
	}
	return append(dst, '}')
}

// snapshotNames are the values of source.snapshot.
var snapshotNames = [...]string{
	change.NoSnapshot: "false", change.InSnapshot: "true", change.FirstInSnapshot: "first",
	change.FirstInTable: "first_in_data_collection", change.LastInTable: "last_in_data_collection",
	change.LastInSnapshot: "last", change.Incremental: "incremental",
}

// appendSource appends the source block with its key.
func (enc *Encoder) appendSource(dst []byte, p *plan, e *change.Event) []byte {
	commit := &enc.commit
	commit.set(e.Commit)
	dst = commit.appendMillis(append(dst, p.head...))
	if e.Snapshot == change.NoSnapshot && enc.o.Values.NullMarker {
		dst = append(dst, `,"snapshot":null`...)
	} else {
		dst = append(dst, `,"snapshot":"`...)
		if int(e.Snapshot) < len(snapshotNames) {
			dst = append(dst, snapshotNames[e.Snapshot]...)
		}
		dst = append(dst, '"')
	}
	dst = append(dst, p.db...)
	switch {
	case !p.pg || e.LSN == 0:
		dst = append(dst, "null"...)
	case e.PrevLSN == 0:
		dst = append(dst, `"[null,\"`...)
		dst = append(strconv.AppendUint(dst, e.LSN, 10), `\"]"`...)
	default:
		dst = append(dst, `"[\"`...)
		dst = append(strconv.AppendUint(dst, e.PrevLSN, 10), `\",\"`...)
		dst = append(strconv.AppendUint(dst, e.LSN, 10), `\"]"`...)
	}
	dst = append(commit.appendRest(dst), p.place...)
	if p.pg {
		return append(appendPostgres(dst, e), '}')
	}
	return append(appendBinlog(dst, e), '}')
}

// appendPostgres appends what the source block of PostgreSQL has at its end.
func appendPostgres(dst []byte, e *change.Event) []byte {
	dst = appendOrNull(append(dst, `,"txId":`...), e.Txn)
	lsn := e.LSN
	if e.Snapshot == change.Incremental {
		lsn = 0
	}
	dst = appendOrNull(append(dst, `,"lsn":`...), lsn)
	if e.Replica == nil {
		return append(dst, `,"xmin":null,"origin":null,"origin_lsn":null`...)
	}
	dst = jsontext.AppendText(append(dst, `,"xmin":null,"origin":`...), e.Replica.Origin)
	return appendOrNull(append(dst, `,"origin_lsn":`...), e.Replica.LSN)
}

// appendBinlog appends what the source block of MySQL and MariaDB has at its end.
func appendBinlog(dst []byte, e *change.Event) []byte {
	var b change.Binlog
	if e.Binlog != nil {
		b = *e.Binlog
	}
	dst = strconv.AppendUint(append(dst, `,"server_id":`...), uint64(b.ServerID), 10)
	dst = textOrNull(append(dst, `,"gtid":`...), b.GTID)
	dst = jsontext.AppendText(append(dst, `,"file":`...), b.File)
	dst = strconv.AppendUint(append(dst, `,"pos":`...), e.LSN, 10)
	dst = strconv.AppendUint(append(dst, `,"row":`...), uint64(e.Row), 10)
	dst = appendOrNull(append(dst, `,"thread":`...), b.Thread)
	return textOrNull(append(dst, `,"query":`...), b.Query)
}

func textOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return jsontext.AppendText(dst, s)
}

// appendTransaction appends the transaction block with its key.
func appendTransaction(dst []byte, e *change.Event) []byte {
	if e.TxID == "" {
		return append(dst, `"transaction":null`...)
	}
	dst = jsontext.AppendText(append(dst, `"transaction":{"id":`...), e.TxID)
	dst = strconv.AppendUint(append(dst, `,"total_order":`...), e.TxOrder, 10)
	dst = strconv.AppendUint(append(dst, `,"data_collection_order":`...), e.TxInTable, 10)
	return append(dst, '}')
}

func appendOrNull(dst []byte, n uint64) []byte {
	if n == 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendUint(dst, n, 10)
}

// A stamp is a time with the text of its microseconds, which events of one transaction share.
type stamp struct {
	micros int64
	text   []byte
}

func (s *stamp) set(micros int64) {
	if s.text == nil || micros != s.micros {
		s.micros, s.text = micros, strconv.AppendInt(s.text[:0], micros, 10)
	}
}

func (s *stamp) appendMillis(dst []byte) []byte {
	if s.micros >= 1000 {
		return append(dst, s.text[:len(s.text)-3]...)
	}
	return strconv.AppendInt(dst, floorDiv(s.micros, 1000), 10)
}

// appendRest appends ts_us and ts_ns.
func (s *stamp) appendRest(dst []byte) []byte {
	dst = append(append(dst, `,"ts_us":`...), s.text...)
	dst = append(append(dst, `,"ts_ns":`...), s.text...)
	if s.micros != 0 {
		dst = append(dst, "000"...)
	}
	return dst
}

// appendNanos appends micros as nanoseconds, without overflow.
func appendNanos(dst []byte, micros int64) []byte {
	dst = strconv.AppendInt(dst, micros, 10)
	if micros == 0 {
		return dst
	}
	return append(dst, "000"...)
}

func floorDiv(n, by int64) int64 {
	q := n / by
	if n%by < 0 {
		q--
	}
	return q
}
