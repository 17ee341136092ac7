package envelope

import (
	"bytes"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// Placeholder is Debezium's default for a value that the database did not send.
const Placeholder = "__debezium_unavailable_value"

// Options are how Debezium's properties change the form. The zero value is Debezium's default.
type Options struct {
	Placeholder    string // unavailable.value.placeholder; "" means Placeholder
	ContextHeaders bool   // extended.headers.enabled: AppendHeaders adds the __debezium.context headers
	Task           int    // the task's number, for the context headers
}

// An Encoder writes events. It remembers the tables it has seen and belongs to one goroutine.
type Encoder struct {
	o      Options
	absent string
	plans  map[*change.Table]*plan
	last   *change.Table
	plan   *plan
	batch  change.Batch // memory of decoded key tuples
	commit stamp
	seen   stamp
}

// New returns an encoder.
func New(o Options) *Encoder {
	e := &Encoder{o: o, absent: o.Placeholder, plans: map[*change.Table]*plan{}}
	if e.absent == "" {
		e.absent = Placeholder
	}
	return e
}

// AppendKey appends the key of e's record: an object of the key columns in key order, or a Raw event's own key. It
// reports false, and appends nothing, for a null key.
func (enc *Encoder) AppendKey(dst []byte, e *change.Event) ([]byte, bool) {
	if e.Raw != nil {
		return append(dst, e.Raw.Key...), e.Raw.Key != nil
	}
	if e.Table == nil || len(e.Table.Key) == 0 || e.Op == change.OpTruncate {
		return dst, false
	}
	row := e.After
	if row == nil {
		row = e.Before
	}
	if !hasKey(e.Table, row) {
		return enc.appendKeyTuple(dst, e.Table, e.Key)
	}
	return enc.appendKeyRow(dst, e.Table, row), true
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
func (enc *Encoder) appendKeyTuple(dst []byte, t *change.Table, tuple []byte) ([]byte, bool) {
	if tuple == nil {
		return dst, false
	}
	enc.batch.Reset()
	row, err := change.DecodeKey(&enc.batch, t, tuple)
	if err != nil {
		return dst, false
	}
	return enc.appendKeyRow(dst, t, row), true
}

func (enc *Encoder) appendKeyRow(dst []byte, t *change.Table, r change.Row) []byte {
	p := enc.planOf(t)
	for n, i := range t.Key {
		if n == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, p.names[i]...)
		dst = enc.appendValue(dst, &t.Columns[i].Type, &r[i])
	}
	return append(dst, '}')
}

// AppendValue appends the value of e's record. It reports false, and appends nothing, for a null value: a tombstone,
// also that of a Flat delete.
func (enc *Encoder) AppendValue(dst []byte, e *change.Event) ([]byte, bool) {
	switch {
	case e.Raw != nil:
		return append(dst, e.Raw.Value...), e.Raw.Value != nil
	case e.Op == change.OpTombstone || e.Table == nil:
		return dst, false
	case e.Flat && e.After == nil:
		return dst, false
	case e.Flat:
		return enc.appendRow(dst, enc.planOf(e.Table), e.After, true), true
	}
	p := enc.planOf(e.Table)
	dst = append(dst, `{"before":`...)
	dst = enc.appendRow(dst, p, e.Before, false)
	dst = append(dst, `,"after":`...)
	dst = enc.appendRow(dst, p, e.After, true)
	enc.commit.set(e.Commit)
	dst = p.appendSource(dst, e, &enc.commit)
	dst = append(dst, `,"transaction":null,"op":"`...)
	dst = append(dst, byte(e.Op), '"')
	enc.seen.set(e.Seen)
	dst = enc.seen.appendMillis(append(dst, `,"ts_ms":`...))
	return append(enc.seen.appendRest(dst), '}'), true
}

func (enc *Encoder) appendRow(dst []byte, p *plan, r change.Row, after bool) []byte {
	if r == nil {
		return append(dst, "null"...)
	}
	if len(r) == 0 {
		return append(dst, "{}"...)
	}
	open := byte('{')
	for i := range min(len(r), len(p.names)) {
		dst = append(append(dst, open), p.names[i]...)
		open = ','
		switch {
		case r[i].Kind == change.Null:
			dst = append(dst, "null"...)
		case r[i].Kind != change.Absent:
			dst = enc.appendValue(dst, &p.table.Columns[i].Type, &r[i])
		case after:
			dst = append(dst, p.absent[i]...)
		default:
			dst = append(dst, "null"...)
		}
	}
	return append(dst, '}')
}

// plan is what of a table's events is the same in each.
type plan struct {
	table  *change.Table
	names  [][]byte // "name": of each column
	absent [][]byte // the placeholder of each column
	head   []byte   // ,"source":{ ... "ts_ms":
	db     []byte   // ,"db":"...","sequence":
	place  []byte   // ,"schema":"...","table":"..."
	pg     bool
}

func (enc *Encoder) planOf(t *change.Table) *plan {
	if t == enc.last {
		return enc.plan
	}
	p, ok := enc.plans[t]
	if !ok {
		p = newPlan(t, enc.absent)
		enc.plans[t] = p
	}
	enc.last, enc.plan = t, p
	return p
}

func newPlan(t *change.Table, placeholder string) *plan {
	p := &plan{table: t}
	for i := range t.Columns {
		p.names = append(p.names, jsontext.AppendKey(nil, t.Columns[i].Name))
		p.absent = append(p.absent, appendAbsent(nil, &t.Columns[i].Type, placeholder))
	}
	var o change.Origin
	if t.Origin != nil {
		o = *t.Origin
	}
	p.head = jsontext.AppendText([]byte(`,"source":{"version":`), o.Version)
	p.head = jsontext.AppendText(append(p.head, `,"connector":`...), o.Connector)
	p.head = jsontext.AppendText(append(p.head, `,"name":`...), o.Name)
	p.head = append(p.head, `,"ts_ms":`...)
	p.db = jsontext.AppendText([]byte(`,"db":`), t.Name.Database)
	p.db = append(p.db, `,"sequence":`...)
	if p.pg = o.Connector == "postgresql"; p.pg {
		p.place = jsontext.AppendText([]byte(`,"schema":`), t.Name.Schema)
	}
	p.place = jsontext.AppendText(append(p.place, `,"table":`...), t.Name.Table)
	return p
}

// snapshotNames are the values of source.snapshot.
var snapshotNames = [...]string{
	change.NoSnapshot: "false", change.InSnapshot: "true", change.FirstInSnapshot: "first",
	change.FirstInTable: "first_in_data_collection", change.LastInTable: "last_in_data_collection",
	change.LastInSnapshot: "last", change.Incremental: "incremental",
}

// appendSource appends the source block with its key and the comma before it.
func (p *plan) appendSource(dst []byte, e *change.Event, commit *stamp) []byte {
	dst = commit.appendMillis(append(dst, p.head...))
	dst = append(dst, `,"snapshot":"`...)
	if int(e.Snapshot) < len(snapshotNames) {
		dst = append(dst, snapshotNames[e.Snapshot]...)
	}
	dst = append(append(dst, '"'), p.db...)
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
		dst = appendOrNull(append(dst, `,"txId":`...), e.Txn)
		lsn := e.LSN
		if e.Snapshot == change.Incremental {
			lsn = 0
		}
		dst = appendOrNull(append(dst, `,"lsn":`...), lsn)
		dst = append(dst, `,"xmin":null,"origin":null,"origin_lsn":null`...)
	}
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

// AppendHeaders appends the headers of e's record as a JSON array of objects with key and value: the event's own, of
// which a key change's old and new key become objects, then the context headers if they were asked for.
func (enc *Encoder) AppendHeaders(dst []byte, e *change.Event) []byte {
	dst = append(dst, '[')
	start := len(dst)
	for i := range e.Headers {
		h := &e.Headers[i]
		dst = appendHeaderKey(dst, start, h.Key)
		dst = append(enc.appendHeaderValue(dst, e.Table, h), '}')
	}
	if enc.o.ContextHeaders && e.Raw == nil && e.Table != nil && e.Table.Origin != nil {
		o := e.Table.Origin
		dst = append(jsontext.AppendText(appendHeaderKey(dst, start, "__debezium.context.connectorLogicalName"), o.Name), '}')
		dst = append(appendHeaderKey(dst, start, "__debezium.context.taskId"), '"')
		dst = append(strconv.AppendInt(dst, int64(enc.o.Task), 10), `"}`...)
		dst = append(jsontext.AppendText(appendHeaderKey(dst, start, "__debezium.context.connectorName"), o.Connector), '}')
	}
	return append(dst, ']')
}

func appendHeaderKey(dst []byte, start int, key string) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	return append(jsontext.AppendText(append(dst, `{"key":`...), key), `,"value":`...)
}

func (enc *Encoder) appendHeaderValue(dst []byte, t *change.Table, h *change.Header) []byte {
	if h.Value == nil {
		return append(dst, "null"...)
	}
	if t != nil && (h.Key == change.HeaderNewKey || h.Key == change.HeaderOldKey) {
		if dst, ok := enc.appendKeyTuple(dst, t, h.Value); ok {
			return dst
		}
	}
	if v := bytes.TrimSpace(h.Value); len(v) > 0 && (v[0] == '{' || v[0] == '[') && jsontext.Valid(v) {
		return jsontext.AppendJSON(dst, v)
	}
	return jsontext.AppendString(dst, h.Value)
}
