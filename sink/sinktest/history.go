package sinktest

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/tailrace/tailrace/change"
)

// Table makes one version of the table shop.public.name. key lists the key columns in key order.
func Table(name string, version uint32, key []string, columns ...change.Column) *change.Table {
	t := &change.Table{
		Name:    change.TableName{Database: "shop", Schema: "public", Table: name},
		Origin:  &change.Origin{Connector: "postgresql", Name: "shop", Version: "test"},
		Version: version,
		Columns: columns,
	}
	for _, k := range key {
		i := t.Column(k)
		if i < 0 {
			panic("sinktest: no column " + k)
		}
		t.Key = append(t.Key, i)
		t.Columns[i].Nullable = false
	}
	return t
}

// Column makes a nullable column. typeName is PostgreSQL's name of the type, from which the rest follows: int8, numeric,
// text, json, bytea, uuid, date, time, timestamp, timestamptz, float4, float8, bool, and with [] at the end arrays of
// them. uint8 stands for MySQL's BIGINT UNSIGNED.
func Column(name, typeName string) change.Column {
	return change.Column{Name: name, Type: typeOf(typeName), Nullable: true}
}

func typeOf(name string) change.Type {
	if n := len(name); n > 2 && name[n-2:] == "[]" {
		elem := typeOf(name[:n-2])
		return change.Type{Kind: change.Array, Name: name, Elem: &elem}
	}
	t := change.Type{Name: name}
	switch name {
	case "int2", "int4", "int8":
		t.Kind, t.Bits = change.Int, map[string]uint8{"int2": 16, "int4": 32, "int8": 64}[name]
	case "uint8":
		t.Kind, t.Bits, t.Name = change.Uint, 64, "bigint unsigned"
	case "bool":
		t.Kind = change.Bool
	case "float4":
		t.Kind = change.Float32
	case "float8":
		t.Kind = change.Float64
	case "numeric":
		t.Kind = change.Decimal
	case "text":
		t.Kind = change.Text
	case "json":
		t.Kind = change.JSON
	case "bytea":
		t.Kind = change.Bytes
	case "uuid":
		t.Kind = change.UUID
	case "date":
		t.Kind = change.Date
	case "time":
		t.Kind, t.Name, t.Precision = change.Time, "time without time zone", -1
	case "timestamp":
		t.Kind, t.Name, t.Precision = change.Timestamp, "timestamp without time zone", -1
	case "timestamptz":
		t.Kind, t.Name, t.Precision = change.TimestampTZ, "timestamp with time zone", -1
	default:
		panic("sinktest: no type " + name)
	}
	return t
}

// Short makers of values. Data of the result aliases the argument.
func Absent() change.Value          { return change.Value{} }
func Null() change.Value            { return change.Value{Kind: change.Null} }
func Int(n int64) change.Value      { return change.Value{Kind: change.Int, Num: uint64(n)} }
func Uint(n uint64) change.Value    { return change.Value{Kind: change.Uint, Num: n} }
func Text(s string) change.Value    { return change.Value{Kind: change.Text, Data: []byte(s)} }
func Decimal(s string) change.Value { return change.Value{Kind: change.Decimal, Data: []byte(s)} }
func JSON(s string) change.Value    { return change.Value{Kind: change.JSON, Data: []byte(s)} }
func Array(s string) change.Value   { return change.Value{Kind: change.Array, Data: []byte(s)} }
func Bytes(p []byte) change.Value   { return change.Value{Kind: change.Bytes, Data: p} }
func UUID(u [16]byte) change.Value  { return change.Value{Kind: change.UUID, Data: u[:]} }
func Bool(b bool) change.Value {
	if b {
		return change.Value{Kind: change.Bool, Num: 1}
	}
	return change.Value{Kind: change.Bool}
}
func Float32(f float32) change.Value {
	return change.Value{Kind: change.Float32, Num: uint64(math.Float32bits(f))}
}
func Float64(f float64) change.Value {
	return change.Value{Kind: change.Float64, Num: math.Float64bits(f)}
}

// At makes a Date (days), Time, Timestamp or TimestampTZ (microseconds).
func At(k change.Kind, n int64) change.Value { return change.Value{Kind: k, Num: uint64(n)} }

// A History is what one topic partition holds: events with growing versions, as a sink gets them from the log. It owns
// the memory of its events; batches get deep copies. It is not safe for concurrent use.
type History struct {
	Topic  string // of events that are added from now on
	Origin string // of batches

	events []change.Event
	taken  int // events before it were handed out by Take
}

// NewHistory returns an empty history of the partition topic-0.
func NewHistory(topic string) *History { return &History{Topic: topic, Origin: topic + "-0"} }

// firstVersion has an epoch in the high bits, as versions from the log do.
const firstVersion = 1 << 40

func (h *History) add(e change.Event) *change.Event {
	n := uint64(len(h.events))
	e.Version, e.Topic, e.Txn, e.LSN = firstVersion+n, h.Topic, 700+n, 0x1000000+n*64
	e.Commit = 1_700_000_000_000_000 + int64(n)*1000
	e.Seen = e.Commit + 500
	h.events = append(h.events, e)
	return &h.events[n]
}

func (h *History) row(t *change.Table, op change.Op, row []change.Value) *change.Event {
	if len(row) != len(t.Columns) {
		panic(fmt.Sprintf("sinktest: %d values for %d columns", len(row), len(t.Columns)))
	}
	key, _ := change.AppendKey(nil, t, row)
	return h.add(change.Event{Table: t, Op: op, Key: key, After: row})
}

// Create, Read (a row of a snapshot) and Update add an event that carries row in After.
func (h *History) Create(t *change.Table, row ...change.Value) *change.Event {
	return h.row(t, change.OpCreate, row)
}

// Read adds a snapshot's event.
func (h *History) Read(t *change.Table, row ...change.Value) *change.Event {
	e := h.row(t, change.OpRead, row)
	e.Snapshot, e.Txn, e.LSN = change.InSnapshot, 0, 0
	return e
}

// Update adds an update; Absent values mean unchanged.
func (h *History) Update(t *change.Table, row ...change.Value) *change.Event {
	return h.row(t, change.OpUpdate, row)
}

// Delete adds a delete of the row with this key.
func (h *History) Delete(t *change.Table, key ...change.Value) *change.Event {
	return h.remove(t, change.OpDelete, key)
}

// Tombstone adds the record that follows a delete in the log.
func (h *History) Tombstone(t *change.Table, key ...change.Value) *change.Event {
	return h.remove(t, change.OpTombstone, key)
}

func (h *History) remove(t *change.Table, op change.Op, key []change.Value) *change.Event {
	before := make(change.Row, len(t.Columns))
	for i, c := range t.Key {
		before[c] = key[i]
	}
	k, _ := change.AppendKey(nil, t, before)
	return h.add(change.Event{Table: t, Op: op, Key: k, Before: before})
}

// Truncate adds a truncate of the table.
func (h *History) Truncate(t *change.Table) *change.Event {
	return h.add(change.Event{Table: t, Op: change.OpTruncate})
}

// Raw adds an event that is no row.
func (h *History) Raw(op change.Op, key, value string) *change.Event {
	return h.add(change.Event{Op: op, Raw: &change.Raw{Key: []byte(key), Value: []byte(value)}})
}

// Len returns the number of events.
func (h *History) Len() int { return len(h.events) }

// Take returns a batch of the events that were added since the last Take.
func (h *History) Take() *change.Batch {
	b := h.Slice(h.taken, len(h.events))
	h.taken = len(h.events)
	return b
}

// Slice returns a batch of the events from (inclusive) to to (exclusive).
func (h *History) Slice(from, to int) *change.Batch {
	b := &change.Batch{Origin: h.Origin}
	for i := range h.events[from:to] {
		b.CopyEvent(&h.events[from+i])
	}
	b.Resume = Resume(to)
	return b
}

// Resume is the position of the batches that end before event n.
func Resume(n int) change.Position { return fmt.Appendf(nil, `{"offset":%d}`, n) }

// Compacted returns a batch of what compaction leaves: the newest event of each key, its Absent columns filled from the
// events it replaces; truncates stay.
func (h *History) Compacted() *change.Batch {
	b := &change.Batch{Origin: h.Origin, Resume: Resume(len(h.events))}
	for i := range h.events {
		e := &h.events[i]
		if e.Raw != nil || e.Table == nil || h.replaced(i) {
			continue
		}
		c := b.CopyEvent(e)
		for j := i - 1; j >= 0 && c.After != nil && !c.After.Complete(); j-- {
			old := &h.events[j]
			if old.Op == change.OpTruncate && old.Table.Name == e.Table.Name {
				break
			}
			if !sameKey(old, e) {
				continue
			}
			if old.After == nil {
				break
			}
			fill(b, c, old)
		}
	}
	return b
}

func (h *History) replaced(i int) bool {
	for j := i + 1; j < len(h.events); j++ {
		if sameKey(&h.events[i], &h.events[j]) {
			return true
		}
	}
	return false
}

func sameKey(a, b *change.Event) bool {
	return a.Key != nil && a.Raw == nil && b.Raw == nil && a.Table.Name == b.Table.Name && bytes.Equal(a.Key, b.Key)
}

func fill(b *change.Batch, e, old *change.Event) {
	for i := range e.After {
		if o := old.Table.Column(e.Table.Columns[i].Name); e.After[i].Kind == change.Absent && o >= 0 {
			e.After[i] = old.After[o]
			e.After[i].Data = b.Copy(old.After[o].Data)
		}
	}
}

// Fold returns the rows that the events up to now leave in the table named as t: present values by column name.
func (h *History) Fold(t *change.Table) []map[string]change.Value {
	rows, order := map[string]map[string]change.Value{}, []string(nil)
	for i := range h.events {
		e := &h.events[i]
		if e.Raw != nil || e.Table.Name != t.Name {
			continue
		}
		key := string(e.Key)
		switch {
		case e.Op == change.OpTruncate:
			clear(rows)
		case e.After == nil:
			delete(rows, key)
		default:
			if rows[key] == nil {
				rows[key] = map[string]change.Value{}
				order = append(slices.DeleteFunc(order, func(k string) bool { return k == key }), key)
			}
			for c, v := range e.After {
				if v.Present() {
					rows[key][e.Table.Columns[c].Name] = v
				}
			}
		}
	}
	var out []map[string]change.Value
	for _, k := range order {
		if rows[k] != nil {
			out = append(out, rows[k])
		}
	}
	return out
}

// merged returns a history of t's rows in all of the partitions, which share no key.
func merged(parts []*History, t *change.Table) *History {
	all := NewHistory(parts[0].Topic)
	for _, h := range parts {
		for _, row := range h.Fold(t) {
			values := make([]change.Value, len(t.Columns))
			for i := range t.Columns {
				values[i] = row[t.Columns[i].Name]
			}
			all.Create(t, values...)
		}
	}
	return all
}

// Scribble overwrites all memory of a batch that its sink may not look at any more, and resets it (Invariant 6).
func Scribble(b *change.Batch) {
	junk := func(p []byte) {
		for i := range p {
			p[i] = 0xCC
		}
	}
	for i := range b.Events {
		e := &b.Events[i]
		junk(e.Key)
		for _, row := range [2]change.Row{e.Before, e.After} {
			for c := range row {
				junk(row[c].Data)
				row[c] = change.Value{Kind: 0xCC, Num: 0xCCCCCCCCCCCCCCCC}
			}
		}
		if e.Raw != nil {
			junk(e.Raw.Key)
			junk(e.Raw.Value)
		}
		*e = change.Event{Op: 0xCC}
	}
	b.Reset()
}
