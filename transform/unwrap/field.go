package unwrap

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// A field is one of the envelope's, added as a column or a header.
type field struct {
	name string
	get  getter
}

// A getter says where a field's value comes from: fixed for all rows of a table, or of the event.
type getter struct {
	table func(t *change.Table) string
	text  func(e *change.Event) []byte // one of a few texts that never change
	num   func(e *change.Event) (n int64, ok bool)
}

// column returns the column that holds the field.
func (f field) column() change.Column {
	if f.get.num != nil {
		return change.Column{Name: f.name, Nullable: true, Type: change.Type{Kind: change.Int, Name: "bigint", Bits: 64}}
	}
	return change.Column{Name: f.name, Nullable: true, Type: change.Type{Kind: change.Text, Name: "text"}}
}

// value returns the field's value; fixed is what get.table gave for the event's table.
func (f field) value(e *change.Event, fixed []byte) change.Value {
	switch {
	case f.get.table != nil:
		return change.Value{Kind: change.Text, Data: fixed}
	case f.get.text != nil:
		return change.Value{Kind: change.Text, Data: f.get.text(e)}
	}
	if n, ok := f.get.num(e); ok {
		return change.Value{Kind: change.Int, Num: uint64(n)}
	}
	return change.Value{Kind: change.Null}
}

// header returns the field as the JSON text of a header, in b's memory where it is not fixed.
func (f field) header(b *change.Batch, e *change.Event, fixed []byte) []byte {
	switch {
	case f.get.table != nil:
		return fixed
	case f.get.text != nil:
		text := f.get.text(e)
		quoted := append(b.Bytes(len(text) + 2)[:0], '"')
		return append(append(quoted, text...), '"')
	}
	n, ok := f.get.num(e)
	if !ok {
		return textNull
	}
	var digits [20]byte
	return b.Copy(strconv.AppendInt(digits[:0], n, 10))
}

// quote returns the JSON string of a name.
func quote(s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string can always be encoded
		return []byte("null")
	}
	return bytes.TrimRight(out.Bytes(), "\n")
}

// getters returns the fields by their names. As in Debezium, a name without a struct is looked for in the envelope,
// then in source.
func getters() map[string]getter {
	m := map[string]getter{
		"op":    {text: op},
		"ts_ms": seen(1000, 1), "ts_us": seen(1, 1), "ts_ns": seen(1, 1000),
	}
	source := map[string]getter{
		"ts_ms": committed(1000, 1), "ts_us": committed(1, 1), "ts_ns": committed(1, 1000),
		"table":     {table: func(t *change.Table) string { return t.Name.Table }},
		"schema":    {table: func(t *change.Table) string { return t.Name.Schema }},
		"db":        {table: func(t *change.Table) string { return t.Name.Database }},
		"connector": {table: func(t *change.Table) string { return origin(t).Connector }},
		"name":      {table: func(t *change.Table) string { return origin(t).Name }},
		"version":   {table: func(t *change.Table) string { return origin(t).Version }},
		"snapshot":  {text: snapshot},
		"lsn":       {num: func(e *change.Event) (int64, bool) { return int64(e.LSN), e.LSN != 0 }},
		"txId":      {num: func(e *change.Event) (int64, bool) { return int64(e.Txn), e.Txn != 0 }},
	}
	for name, g := range source {
		m["source."+name] = g
		if _, taken := m[name]; !taken {
			m[name] = g
		}
	}
	return m
}

func origin(t *change.Table) change.Origin {
	if t.Origin == nil {
		return change.Origin{}
	}
	return *t.Origin
}

func seen(div, mul int64) getter {
	return getter{num: func(e *change.Event) (int64, bool) { return floorDiv(e.Seen, div) * mul, true }}
}

func committed(div, mul int64) getter {
	return getter{num: func(e *change.Event) (int64, bool) { return floorDiv(e.Commit, div) * mul, true }}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

var deleted = getter{text: func(e *change.Event) []byte {
	if e.Op == change.OpDelete {
		return textTrue
	}
	return textFalse
}}

// These texts are shared by all rows and never written to.
var (
	textNull         = []byte("null")
	textTrue         = []byte("true")
	textFalse        = []byte("false")
	textFirst        = []byte("first")
	textFirstInTable = []byte("first_in_data_collection")
	textLastInTable  = []byte("last_in_data_collection")
	textLast         = []byte("last")
	textIncremental  = []byte("incremental")
	textOps          = []byte("rcud")
)

func op(e *change.Event) []byte {
	switch e.Op {
	case change.OpRead:
		return textOps[0:1:1]
	case change.OpCreate:
		return textOps[1:2:2]
	case change.OpUpdate:
		return textOps[2:3:3]
	default: // rows have no other: deletes
		return textOps[3:4:4]
	}
}

func snapshot(e *change.Event) []byte {
	switch e.Snapshot {
	case change.NoSnapshot:
		return textFalse
	case change.FirstInSnapshot:
		return textFirst
	case change.FirstInTable:
		return textFirstInTable
	case change.LastInTable:
		return textLastInTable
	case change.LastInSnapshot:
		return textLast
	case change.Incremental:
		return textIncremental
	default: // InSnapshot
		return textTrue
	}
}
