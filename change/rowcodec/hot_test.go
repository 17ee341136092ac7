package rowcodec

import (
	"strconv"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/topic"
)

// benchRow is a row of the performance reference's table, 240 bytes in 12 columns, and the texts pgoutput sends of it.
func benchRow() (t *change.Table, r change.Row, texts []string) {
	t = &change.Table{Name: change.TableName{Database: "db", Schema: "public", Table: "b"}, Origin: origin, Version: 1, Key: []int{0}}
	add := func(name string, k change.Kind, num int64, text string) {
		t.Columns = append(t.Columns, column(name, k))
		v := change.Value{Kind: k, Num: uint64(num)}
		if k == change.Text || k == change.Decimal || k == change.JSON {
			v.Data = []byte(text)
		}
		r, texts = append(r, v), append(texts, text)
	}
	add("id", change.Int, 1234567, "1234567")
	add("qty", change.Int, 4711, "4711")
	add("name", change.Text, 0, "Grace Brewster Murray")
	add("email", change.Text, 0, "grace.hopper@example.com")
	add("city", change.Text, 0, "Arlington, Virginia")
	add("note", change.Text, 0, strings.Repeat("note ", 10))
	add("price", change.Decimal, 0, "12345.67")
	add("country", change.Text, 0, "USA")
	add("active", change.Bool, 1, "t")
	add("attrs", change.JSON, 0, `{"color": "red", "size": 3}`)
	add("created", change.Timestamp, 1706702400123456, "2024-01-31 12:00:00.123456")
	add("updated", change.TimestampTZ, 1706702400123456, "2024-01-31 12:00:00.123456+00")
	return t, r, texts
}

func benchBatch(n int) *change.Batch {
	t, row, _ := benchRow()
	b := &change.Batch{}
	for i := range n {
		row := b.CopyRow(row)
		row[0].Num += uint64(i)
		key, _ := change.AppendKey(nil, t, row)
		*b.Add() = change.Event{Table: t, Op: change.OpCreate, Key: key, After: row, Txn: 123456789, Ordinal: uint32(i), LSN: 0x16B374D848 + uint64(i)*300,
			PrevLSN: 0x16B374D000, Commit: 1706702400123456, Seen: 1706702400153456, Topic: "shop.public.b"}
	}
	return b
}

// readBack gives b's records as a reader would.
func readBack(tb testing.TB, b *change.Batch) (*Registry, []topic.Record) {
	l := newMemLog()
	l.recs["shop.public.b"] = nil
	r := mustOpen(tb, l)
	recs, err := r.NewEncoder(EncoderOptions{}).Encode(b, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := l.Append(tb.Context(), recs); err != nil {
		tb.Fatal(err)
	}
	return r, l.all("shop.public.b")
}

// recordOverhead is what a record costs in a Kafka v2 batch beside its key and value: length, attributes, two deltas,
// two lengths and the number of headers.
const recordOverhead = 2 + 1 + 1 + 2 + 1 + 2 + 1

func TestSize(t *testing.T) {
	_, recs := readBack(t, benchBatch(1000))
	_, _, texts := benchRow()
	pgoutput := 1 + 4 + 1 + 2 // kind, relation, N, number of columns
	for _, s := range texts {
		pgoutput += 1 + 4 + len(s)
	}
	ours := 0
	for _, r := range recs {
		ours += recordOverhead + len(r.Key) + len(r.Value)
	}
	ratio := float64(ours) / float64(len(recs)*pgoutput)
	t.Logf("%d bytes a row, pgoutput %d: %.3f", ours/len(recs), pgoutput, ratio)
	if ratio > 1.05 {
		t.Errorf("a row takes %.3f of its bytes in pgoutput", ratio)
	}
}

func TestNoAllocations(t *testing.T) {
	b := benchBatch(100)
	binlog, replica := &change.Binlog{File: "binlog.000001", GTID: "0-1-2", Query: "INSERT", Thread: 7}, &change.Replica{Origin: "b", LSN: 9}
	for i := range b.Events { // the members that most events lack cost nothing either
		ev := &b.Events[i]
		ev.Binlog, ev.Row, ev.Replica, ev.TxID, ev.TxOrder, ev.TxInTable = binlog, uint32(i), replica, "0-1-2", uint64(i+1), uint64(i+1)
	}
	r, recs := readBack(t, b)
	e, d := r.NewEncoder(EncoderOptions{Tombstones: true}), r.NewDecoder()
	out, into := make([]topic.Record, 0, 1000), &change.Batch{}
	if n := testing.AllocsPerRun(50, func() { out, _ = e.Encode(b, out[:0]) }); n != 0 {
		t.Errorf("encoding 100 rows allocates %v times", n)
	}
	if n := testing.AllocsPerRun(50, func() {
		into.Reset()
		if err := d.Decode(recs, 1, into); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decoding 100 rows allocates %v times", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	batch := benchBatch(1000)
	r, _ := readBack(b, batch)
	e := r.NewEncoder(EncoderOptions{})
	recs, _ := e.Encode(batch, nil)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 1000 {
		recs, _ = e.Encode(batch, recs[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	r, recs := readBack(b, benchBatch(1000))
	d, into := r.NewDecoder(), &change.Batch{}
	b.ReportAllocs()
	for i := 0; i < b.N; i += 1000 {
		into.Reset()
		if err := d.Decode(recs, 1, into); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for shift := range 64 {
		for _, d := range []uint64{0, 1, ^uint64(0)} {
			u := uint64(1)<<shift + d
			p := appendNumber(nil, u)
			for _, tail := range []int{0, 16} { // with and without room to read eight bytes at once
				got, rest, ok := number(p[0], append(p[1:len(p):len(p)], make([]byte, tail)...))
				if !ok || got != u || len(rest) != tail {
					t.Fatalf("%s became %d", strconv.FormatUint(u, 10), got)
				}
			}
			if n := unzigzag(zigzag(int64(u))); n != int64(u) {
				t.Fatalf("zigzag of %d became %d", int64(u), n)
			}
		}
	}
}
