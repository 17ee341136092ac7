package change

import (
	"bytes"
	"reflect"
	"testing"
)

func TestBatchMemoryIsApart(t *testing.T) {
	var b Batch
	var parts [][]byte
	for i := range 3000 { // over several slabs, with some larger than a slab
		n := i % 700
		if i%1000 == 999 {
			n = slabSize + 1
		}
		p := b.Bytes(n)
		if p == nil || len(p) != n || cap(p) != n {
			t.Fatalf("Bytes(%d) has length %d, capacity %d", n, len(p), cap(p))
		}
		for j := range p {
			p[j] = byte(i)
		}
		parts = append(parts, p)
	}
	for i, p := range parts {
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, len(p))) {
			t.Fatalf("part %d was overwritten", i)
		}
	}
	rows := []Row{}
	for i := range 5000 {
		r := b.Row(7)
		for j := range r {
			if r[j].Kind != Absent || r[j].Num != 0 || r[j].Data != nil {
				t.Fatal("a new row is not Absent")
			}
			r[j] = Value{Kind: Int, Num: uint64(i)}
		}
		_ = append(r, Value{Kind: Bool}) // must not reach the next row
		rows = append(rows, r)
	}
	for i, r := range rows {
		for _, v := range r {
			if v.Kind != Int || v.Num != uint64(i) {
				t.Fatalf("row %d was overwritten", i)
			}
		}
	}
	if want := b.bytes.used + 5000*7*valueBytes; b.Size() != want {
		t.Errorf("Size %d, want %d", b.Size(), want)
	}
}

func TestBatchReset(t *testing.T) {
	var b Batch
	b.Origin, b.Resume = "o", Position("{}")
	b.Add().Topic = "t"
	kept := b.Row(3)
	kept[0].Kind = Int
	b.Bytes(10)
	b.Bytes(maxRetained + 1)
	b.Reset()
	if len(b.Events) != 0 || b.Origin != "" || b.Resume != nil || b.Size() != 0 {
		t.Errorf("after Reset: %+v", b)
	}
	if len(b.bytes.slabs) != 1 || len(b.bytes.slabs[0]) != slabSize/firstSlab {
		t.Error("Reset should keep the small slab and give the huge one back")
	}
	if e := b.Add(); !reflect.DeepEqual(*e, Event{}) {
		t.Errorf("a new event is %+v", e)
	}
	if r := b.Row(3); r[0].Kind != Absent {
		t.Error("a new row has old values")
	}
}

// A batch of one row takes little memory, a large one few slabs.
func TestBatchGrows(t *testing.T) {
	var b Batch
	var sizes []int
	for n := 0; n < 4*slabSize; n += 100 {
		b.Bytes(100)
		if k := len(b.bytes.slabs); k > len(sizes) {
			sizes = append(sizes, len(b.bytes.slabs[k-1]))
		}
	}
	if want := []int{4 << 10, 16 << 10, 64 << 10, slabSize, slabSize, slabSize, slabSize}; !reflect.DeepEqual(sizes, want) {
		t.Errorf("slabs of %d bytes, want %d", sizes, want)
	}
}

func TestBatchDoesNotAllocateAgain(t *testing.T) {
	var b Batch
	fill := func() {
		b.Reset()
		for range 5000 {
			e := b.Add()
			e.After = b.Row(12)
			e.Key = b.Copy([]byte("key"))
			e.After[0].Data = b.Bytes(100)
		}
	}
	fill()
	if n := testing.AllocsPerRun(20, fill); n != 0 {
		t.Errorf("%v allocations for 5000 rows", n)
	}
}

func TestCopies(t *testing.T) {
	var from, to Batch
	e := from.Add()
	*e = Event{Op: OpUpdate, Key: from.Copy([]byte("k")), Before: Row{{Kind: Text, Data: from.Copy([]byte("old"))}}, After: Row{{Kind: Text, Data: from.Copy([]byte{})}, {}},
		Headers: []Header{{Key: "h", Value: from.Copy([]byte("v"))}, {Key: "null"}}, Raw: &Raw{Key: from.Copy([]byte("rk"))}, Txn: 7}
	want := Event{Op: OpUpdate, Key: []byte("k"), Before: Row{{Kind: Text, Data: []byte("old")}}, After: Row{{Kind: Text, Data: []byte{}}, {}},
		Headers: []Header{{Key: "h", Value: []byte("v")}, {Key: "null"}}, Raw: &Raw{Key: []byte("rk")}, Txn: 7}
	c := to.CopyEvent(e)
	for _, p := range [][]byte{e.Key, e.Before[0].Data, e.Headers[0].Value, e.Raw.Key} {
		clear(p) // what was copied must not notice
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("%+v\nwant %+v", *c, want)
	}
	if to.Copy(nil) != nil || to.Copy([]byte{}) == nil || to.CopyRow(nil) != nil {
		t.Error("nil and empty are mixed up")
	}
}

func TestNames(t *testing.T) {
	if got := (TableName{Database: "d", Schema: "s", Table: "t"}).String(); got != "s.t" {
		t.Error(got)
	}
	if got := (TableName{Database: "d", Table: "t"}).String(); got != "d.t" {
		t.Error(got)
	}
	table := keyTable(2)
	if table.Column("k1") != 1 || table.Column("x") != -1 {
		t.Error("Column")
	}
	if Absent.String() != "absent" || Array.String() != "array" || Kind(kindCount).String() != "invalid" || Kind(kindCount).Valid() {
		t.Error("names of kinds")
	}
	if (Row{{Kind: Null}}).Complete() != true || (Row{{}}).Complete() || (Value{Kind: Null}).Present() != true || (Value{}).Present() {
		t.Error("NULL is present, Absent is not")
	}
}
