package rowcodec

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

var origin = &change.Origin{Connector: "postgresql", Name: "shop", Version: "1", Placeholder: "gone", SchemaNames: change.AdjustAvro,
	FieldNames: change.AdjustAvroUnicode, NoContext: true}

func column(name string, k change.Kind) change.Column {
	return change.Column{Name: name, Type: change.Type{Kind: k, Name: k.String()}}
}

// everyKind is a table with a column of every kind, keyed by its int and text columns.
func everyKind() *change.Table {
	t := &change.Table{Name: change.TableName{Database: "db", Schema: "public", Table: "every"}, Origin: origin, Version: 3, Topic: "shop.public.every", KeyChosen: true}
	for k := change.Bool; k <= change.Array; k++ {
		t.Columns = append(t.Columns, column(k.String(), k))
	}
	t.Columns[t.Column("array")].Type.Elem = &change.Type{Kind: change.Decimal, Precision: 6, Scale: 2}
	t.Columns[t.Column("text")].Type.Labels = []string{"sad", "so so"}
	t.Columns[t.Column("text")].Nullable = true
	t.Columns[t.Column("time")].Type.Precision = -1
	t.Columns[t.Column("time")].Type.Render = change.RenderISO
	for name, v := range map[string]change.Value{"text": {Kind: change.Text, Data: []byte("sad")}, "int": {Kind: change.Int, Num: math.MaxUint64},
		"date": {Kind: change.Text, Data: []byte{}}, "bool": {Kind: change.Null}} {
		c := &t.Columns[t.Column(name)]
		c.HasDefault, c.Default = true, v
	}
	t.Columns[t.Column("text")].Masked, t.Columns[t.Column("text")].KeyOnly = true, true
	t.Columns[t.Column("text")].Params = []change.Param{{Name: "masked", Value: "true"}, {Name: "truncateLength", Value: ""}}
	t.Key = []int{t.Column("text"), t.Column("int")}
	return t
}

func everyRow() change.Row {
	return change.Row{
		{Kind: change.Bool, Num: 1}, {Kind: change.Int, Num: uint64(1<<63 - 1)}, {Kind: change.Uint, Num: math.MaxUint64},
		{Kind: change.Float32, Num: uint64(math.Float32bits(-0.5))}, {Kind: change.Float64, Num: math.Float64bits(math.NaN())},
		{Kind: change.Decimal, Data: []byte("-12.340")}, {Kind: change.Text, Data: []byte(strings.Repeat("é", 100))},
		{Kind: change.JSON, Data: []byte(`{"a": 1.0}`)}, {Kind: change.Bytes, Data: []byte{0, 0xFF}},
		{Kind: change.UUID, Data: []byte("0123456789abcdef")}, {Kind: change.Date, Num: ^uint64(718)},
		{Kind: change.Time, Num: 86_400_000_000}, {Kind: change.Timestamp, Num: 1 << 63},
		{Kind: change.TimestampTZ, Num: 1706702400123456}, {Kind: change.Array, Data: []byte("{1,NULL}")},
	}
}

func mustOpen(t testing.TB, l *memLog) *Registry {
	t.Helper()
	r, err := Open(context.Background(), l)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// through sends b's events through a log in memory and reads each topic back with a registry of its own.
func through(t testing.TB, b *change.Batch, o EncoderOptions) (*memLog, *Registry) {
	t.Helper()
	l := newMemLog()
	recs, err := mustOpen(t, l).NewEncoder(o).Encode(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if _, ok := l.recs[r.Topic]; !ok {
			l.recs[r.Topic] = nil
		}
	}
	if err := l.Append(context.Background(), recs); err != nil {
		t.Fatal(err)
	}
	return l, mustOpen(t, l)
}

func events(table *change.Table) *change.Batch {
	b := &change.Batch{}
	key, _ := change.AppendKey(nil, table, everyRow())
	e := b.Add()
	*e = change.Event{Table: table, Op: change.OpCreate, Key: key, After: everyRow(), Txn: 555, Ordinal: 7, LSN: 24023128,
		PrevLSN: 24023119, Commit: 1559033904863123, Seen: 1559033904901841, Topic: "t"}
	e = b.Add()
	nulls := make(change.Row, len(table.Columns))
	for i := range nulls {
		nulls[i].Kind = change.Kind(i % 2) // Absent and NULL take turns
	}
	*e = change.Event{Table: table, Op: change.OpUpdate, Key: key, Before: everyRow(), After: nulls, Txn: math.MaxUint64,
		Ordinal: math.MaxUint32, LSN: math.MaxUint64, Commit: -1, Seen: math.MinInt64, Topic: "t", Flat: true,
		Headers: []change.Header{{Key: "a", Value: []byte("b")}, {Key: "null"}}}
	e = b.Add()
	texts := make(change.Row, len(table.Columns)) // no column holds its own kind
	for i := range texts {
		texts[i] = change.Value{Kind: change.Text, Data: []byte("fallback")}
	}
	texts[table.Column("text")] = change.Value{Kind: change.Int, Num: 5}
	*e = change.Event{Table: table, Op: change.OpRead, After: texts, Snapshot: change.LastInSnapshot, Topic: "t"}
	e = b.Add()
	before := make(change.Row, len(table.Columns))
	for _, i := range table.Key {
		before[i] = everyRow()[i]
	}
	*e = change.Event{Table: table, Op: change.OpDelete, Key: key, Before: before, Commit: 5_000, Seen: 5_000, Topic: "t",
		Headers: []change.Header{{Key: "h", Value: []byte{}}}}
	e = b.Add()
	*e = change.Event{Table: table, Op: change.OpTruncate, Topic: "t"}
	e = b.Add()
	*e = change.Event{Op: change.OpMessage, Topic: "t", Raw: &change.Raw{Key: []byte("k"), Value: []byte(`{"op":"m"}`)}}
	e = b.Add()
	*e = change.Event{Table: table, Op: change.OpCreate, Topic: "t", Txn: 9, Raw: &change.Raw{Value: []byte{}}}
	e = b.Add()
	*e = change.Event{Op: change.OpMessage, Topic: "t", Raw: &change.Raw{Key: []byte("k")}, Headers: []change.Header{{Key: "x"}}}
	binlog := &change.Binlog{File: "binlog.000001", GTID: "0-1-2", Query: "insert into t", ServerID: math.MaxUint32, Thread: math.MaxUint64}
	e = b.Add()
	*e = change.Event{Table: table, Op: change.OpUpdate, Key: key, Before: everyRow(), After: nulls, Topic: "t", Binlog: binlog, Row: math.MaxUint32,
		TxID: "0-1-2", TxOrder: 1 << 40, TxInTable: 3}
	e = b.Add()
	*e = change.Event{Table: table, Op: change.OpCreate, Key: key, After: everyRow(), Topic: "t", Binlog: binlog, Row: 1}
	e = b.Add()
	*e = change.Event{Table: table, Op: change.OpCreate, Key: key, After: everyRow(), Topic: "t", Binlog: &change.Binlog{},
		Replica: &change.Replica{Origin: "node_b", LSN: 1 << 50}, Flat: true}
	e = b.Add()
	*e = change.Event{Table: table, Op: change.OpMessage, Topic: "t", Replica: &change.Replica{}, Snapshot: change.Incremental,
		Raw: &change.Raw{Key: []byte("prefix"), Value: []byte{}, Form: change.FormMessage}, TxID: "555:24", TxOrder: 1, TxInTable: 1}
	return b
}

func TestRoundTrip(t *testing.T) {
	table := everyKind()
	b := events(table)
	l, r := through(t, b, EncoderOptions{})
	var got change.Batch
	if err := r.NewDecoder().Decode(l.all("t"), 1, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Events) != len(b.Events) {
		t.Fatalf("%d events came back of %d", len(got.Events), len(b.Events))
	}
	for i := range b.Events {
		want, e := b.Events[i], got.Events[i]
		if e.Version != 1<<44|uint64(i+1) {
			t.Errorf("event %d: version %x", i, e.Version)
		}
		if !reflect.DeepEqual(want.Table, e.Table) {
			t.Errorf("event %d: table\n%+v, want\n%+v", i, e.Table, want.Table)
		}
		want.Table, want.Version = e.Table, e.Version
		if want.Raw != nil {
			want.Key = want.Raw.Key
		}
		if !reflect.DeepEqual(want, e) {
			t.Errorf("event %d:\n%+v, want\n%+v", i, e, want)
		}
	}
	if got.Events[0].Table != got.Events[1].Table {
		t.Error("events of one table version do not share the table")
	}
	if got.Events[8].Binlog != got.Events[9].Binlog {
		t.Error("events of one place in the binary log do not share it")
	}
}

func TestTombstones(t *testing.T) {
	table := everyKind()
	l, r := through(t, events(table), EncoderOptions{Tombstones: true})
	recs := l.all("t")
	if len(recs) != 13 || recs[4].Value != nil || !bytes.Equal(recs[4].Key, recs[3].Key) {
		t.Fatalf("%d records; the fifth should be a tombstone: %+v", len(recs), recs[4])
	}
	var b change.Batch
	if err := r.NewDecoder().Decode(recs, 1, &b); err != nil {
		t.Fatal(err)
	}
	e := &b.Events[4]
	if e.Op != change.OpTombstone || e.Commit != 5_000 || len(e.Headers) != 1 || e.Headers[0].Key != "h" {
		t.Errorf("tombstone decoded as %+v", e)
	}
	if !reflect.DeepEqual(e.Before, b.Events[3].Before) {
		t.Errorf("tombstone's key columns %+v, the delete's %+v", e.Before, b.Events[3].Before)
	}
}

// TestTombstoneAlone: a delete without its tombstone, and a tombstone without its delete.
func TestTombstoneAlone(t *testing.T) {
	table := everyKind()
	b := events(table)
	b.Events = b.Events[3:4]
	alone := b.CopyEvent(&b.Events[0])
	b.Events[0].NoTombstone, alone.Op = true, change.OpTombstone
	l, r := through(t, b, EncoderOptions{Tombstones: true})
	recs := l.all("t")
	if len(recs) != 2 || recs[0].Value == nil || recs[1].Value != nil {
		t.Fatalf("%d records, want a delete and a tombstone", len(recs))
	}
	var got change.Batch
	if err := r.NewDecoder().Decode(recs, 1, &got); err != nil {
		t.Fatal(err)
	}
	e := &got.Events[1]
	if e.Op != change.OpTombstone || !reflect.DeepEqual(e.Before, got.Events[0].Before) || len(e.Headers) != 1 || e.Headers[0].Key != "h" {
		t.Errorf("the tombstone came back as %+v", e)
	}
}

func TestSchemas(t *testing.T) {
	l := newMemLog()
	r := mustOpen(t, l)
	enc := r.NewEncoder(EncoderOptions{})
	first, second := everyKind(), everyKind()
	second.Version++
	encode := func(e *Encoder, tables ...*change.Table) []topic.Record {
		b := &change.Batch{}
		for _, table := range tables {
			*b.Add() = change.Event{Table: table, Op: change.OpTruncate, Topic: "t"}
		}
		recs, err := e.Encode(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return recs
	}
	topics := func(recs []topic.Record) string {
		var s []string
		for _, r := range recs {
			s = append(s, strings.TrimPrefix(r.Topic, "__tailrace_"))
		}
		return strings.Join(s, " ")
	}
	if got := topics(encode(enc, first, second, first)); got != "schemas t schemas t t" {
		t.Error(got)
	}
	if got := topics(encode(enc, second, first)); got != "t t" {
		t.Error(got)
	}
	a, b := encode(r.NewEncoder(EncoderOptions{}), first)[0], encode(mustOpen(t, newMemLog()).NewEncoder(EncoderOptions{}), everyKind())[0]
	if !bytes.Equal(a.Key, b.Key) || !bytes.Equal(a.Value, b.Value) {
		t.Error("equal tables have different schema records")
	}

	// A reader that was opened before the schema was appended finds it.
	l.recs["t"] = nil
	dec := r.NewDecoder()
	other := mustOpen(t, l)
	third := everyKind()
	third.Version = 9
	if err := l.Append(context.Background(), encode(other.NewEncoder(EncoderOptions{}), first, third)); err != nil {
		t.Fatal(err)
	}
	var got change.Batch
	if err := dec.Decode(l.all("t"), 1, &got); err != nil {
		t.Fatal(err)
	}
	if got.Events[1].Table.Version != 9 {
		t.Errorf("decoded under version %d", got.Events[1].Table.Version)
	}
	// A schema that is nowhere is corruption.
	recs := encode(mustOpen(t, newMemLog()).NewEncoder(EncoderOptions{}), &change.Table{Name: change.TableName{Table: "lost"}})
	if err := dec.Decode(recs[1:], 1, &got); fault.Code(err) != "LOG_CORRUPT" {
		t.Errorf("a row without its schema: %v", err)
	}
}

func TestSchemaNumbersCollide(t *testing.T) {
	l := newMemLog()
	r := mustOpen(t, l)
	table := everyKind()
	id, value := r.number(table)
	other := mustOpen(t, l)
	other.tables[id] = schema{everyKind(), "what another table is made of"}
	moved, again := other.number(table)
	if moved != id+1 || !bytes.Equal(value, again) {
		t.Errorf("collision of %08x went to %08x", id, moved)
	}
	if got, _ := other.number(everyKind()); got != moved {
		t.Errorf("the second time it went to %08x", got)
	}
}

func TestRegistryIsConcurrent(t *testing.T) {
	l, r := through(t, events(everyKind()), EncoderOptions{Tombstones: true})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			table := everyKind()
			table.Version = uint32(i)
			if _, err := r.NewEncoder(EncoderOptions{}).Encode(events(table), nil); err != nil {
				t.Error(err)
			}
			if err := r.NewDecoder().Decode(l.all("t"), 1, &change.Batch{}); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
}

func TestEncodeRejects(t *testing.T) {
	table := everyKind()
	bad := everyRow()
	bad[table.Column("uuid")].Data = []byte("short")
	wrong := everyRow()
	wrong[0].Kind = 99
	for name, e := range map[string]change.Event{
		"row of another table": {Table: table, Op: change.OpCreate, After: everyRow()[1:]},
		"no table":             {Op: change.OpCreate, After: everyRow()},
		"op":                   {Table: table, Op: change.OpTombstone},
		"form":                 {Op: change.OpMessage, Raw: &change.Raw{Form: 99}},
		"snapshot":             {Table: table, Op: change.OpRead, Snapshot: 8},
		"uuid":                 {Table: table, Op: change.OpRead, After: bad},
		"kind":                 {Table: table, Op: change.OpRead, After: wrong},
	} {
		r := mustOpen(t, newMemLog())
		if _, err := r.NewEncoder(EncoderOptions{}).Encode(&change.Batch{Events: []change.Event{e}}, nil); fault.Code(err) != "EVENT_INVALID" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	l, r := through(t, events(everyKind()), EncoderOptions{Tombstones: true})
	d := r.NewDecoder()
	for _, rec := range l.all("t") {
		for n := range rec.Value { // every cut of a value
			cut := rec
			cut.Value = rec.Value[:n]
			b := &change.Batch{}
			err := d.Decode([]topic.Record{cut}, 1, b)
			if raw := n > 0 && rec.Value[1]&flagRaw != 0; fault.Code(err) != "LOG_CORRUPT" && !raw {
				t.Fatalf("value cut at %d: %v", n, err)
			}
			if err != nil && len(b.Events) != 0 {
				t.Fatal("an event of a damaged record stayed in the batch")
			}
		}
	}
	long := l.all("t")[0]
	long.Value = append(bytes.Clone(long.Value), 0)
	for name, rec := range map[string]topic.Record{"tail": long, "no ref": {Key: []byte("k")}, "rare of format 1": {Value: []byte{1, 0x80, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}} {
		if err := d.Decode([]topic.Record{rec}, 1, &change.Batch{}); fault.Code(err) != "LOG_CORRUPT" {
			t.Errorf("%s: %v", name, err)
		}
	}
	later := topic.Record{Value: []byte{format + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
	if err := d.Decode([]topic.Record{later}, 1, &change.Batch{}); fault.Code(err) != "LOG_FORMAT" {
		t.Errorf("a later format: %v", err)
	}
	rec := l.all("t")[0]
	for _, c := range []struct {
		epoch  uint32
		offset int64
		code   string
	}{{maxEpoch, maxOffset, ""}, {maxEpoch + 1, 0, "VERSION_EXHAUSTED"}, {1, maxOffset + 1, "VERSION_EXHAUSTED"}, {1, -1, "VERSION_EXHAUSTED"}} {
		rec.Offset = c.offset
		b := &change.Batch{}
		if err := d.Decode([]topic.Record{rec}, c.epoch, b); fault.Code(err) != c.code {
			t.Errorf("epoch %d offset %d: %v", c.epoch, c.offset, err)
		}
		if c.code == "" && int64(b.Events[0].Version) != math.MaxInt64 {
			t.Errorf("the largest version is %x", b.Events[0].Version)
		}
	}
}

// TestFormat1 reads a schema and a row as format 1 had them.
func TestFormat1(t *testing.T) {
	schema := []byte{oldSchemaFormat}
	for _, s := range []string{"db", "public", "t", "postgresql", "shop", "1"} {
		schema = appendText(schema, s)
	}
	schema = append(schema, 7, 1, 1) // version, whole Before images, one column
	schema = append(appendText(schema, "id"), 1)
	schema = appendType(schema, &change.Type{Kind: change.Int, Name: "integer", Bits: 32})
	schema = append(schema, 1, 0)
	l := newMemLog()
	l.recs["t"], l.recs[SchemaTopic] = nil, nil
	if err := l.Append(t.Context(), []topic.Record{{Topic: SchemaTopic, Key: []byte{0, 0, 0, 5}, Value: schema},
		{Topic: "t", Value: []byte{oldFormat, flagAfter | flagExtra | 1, extraFlat, 5, 0, 0, 0, 9, 0, 3, 0, 0, 0, leadSmall + 14}}}); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, l)
	var b change.Batch
	if err := r.NewDecoder().Decode(l.all("t"), 1, &b); err != nil {
		t.Fatal(err)
	}
	e := &b.Events[0]
	want := &change.Table{Name: change.TableName{Database: "db", Schema: "public", Table: "t"}, Version: 7, OldIdentity: true, Key: []int{0},
		Origin:  &change.Origin{Connector: "postgresql", Name: "shop", Version: "1"},
		Columns: []change.Column{{Name: "id", Nullable: true, Type: change.Type{Kind: change.Int, Name: "integer", Bits: 32}}}}
	if !reflect.DeepEqual(e.Table, want) || e.After[0].Int64() != 7 || e.Txn != 9 || !e.Flat || e.Op != change.OpCreate {
		t.Errorf("%+v of %+v", e, e.Table)
	}
}

func FuzzDecode(f *testing.F) {
	l, r := through(f, events(everyKind()), EncoderOptions{Tombstones: true})
	for _, rec := range l.all("t") {
		var ref []byte
		if n := len(rec.Headers); n > 0 {
			ref = rec.Headers[n-1].Value
		}
		f.Add(rec.Key, rec.Value, ref)
	}
	d, enc := r.NewDecoder(), r.NewEncoder(EncoderOptions{})
	f.Fuzz(func(t *testing.T, key, value, ref []byte) {
		rec := topic.Record{Topic: "t", Key: key, Value: value, Timestamp: 1}
		if ref != nil {
			rec.Headers, rec.Value = []topic.Header{{Key: refHeader, Value: ref}}, nil
		}
		b := &change.Batch{}
		if err := d.Decode([]topic.Record{rec}, 1, b); err != nil {
			return
		}
		if _, err := r.Merge(nil, rec.Value, rec.Value); err != nil {
			t.Fatalf("a value that decodes does not merge: %v", err)
		}
		if b.Events[0].Op == change.OpTombstone {
			return
		}
		recs, err := enc.Encode(b, nil)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		again := &change.Batch{}
		if err := d.Decode(recs[len(recs)-1:], 1, again); err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v", err)
		}
		if again.Events[0].Version = b.Events[0].Version; !reflect.DeepEqual(b.Events[0], again.Events[0]) {
			t.Fatalf("%+v\nbecame\n%+v", b.Events[0], again.Events[0])
		}
	})
}

func FuzzSchema(f *testing.F) {
	f.Add(appendTable(nil, everyKind()))
	f.Add(binary.AppendUvarint([]byte{schemaFormat}, 1<<40))
	f.Fuzz(func(t *testing.T, p []byte) {
		table, err := decodeTable(p)
		if err != nil {
			return
		}
		again, err := decodeTable(appendTable(nil, table))
		if err != nil || !reflect.DeepEqual(table, again) {
			t.Fatalf("%+v became %+v, %v", table, again, err)
		}
	})
}
