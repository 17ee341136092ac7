package postgres

import (
	"fmt"
	"math"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func TestAppendText(t *testing.T) {
	const second = 1_000_000
	for _, c := range []struct {
		v    change.Value
		want string
	}{
		{sinktest.Bool(true), "t"}, {sinktest.Bool(false), "f"},
		{sinktest.Int(math.MinInt64), "-9223372036854775808"}, {sinktest.Uint(math.MaxUint64), "18446744073709551615"},
		{sinktest.Float64(math.Inf(-1)), "-Infinity"}, {sinktest.Float64(math.NaN()), "NaN"}, {sinktest.Float64(0.1), "0.1"},
		{sinktest.Float32(0.1), "0.1"}, {sinktest.Float64(math.Copysign(0, -1)), "-0"}, {sinktest.Float64(5e-324), "5e-324"},
		{sinktest.Bytes([]byte{}), `\x`}, {sinktest.Bytes([]byte{0, 255}), `\x00ff`},
		{sinktest.At(change.Date, 0), "1970-01-01"},
		{sinktest.At(change.Date, change.InfinityMicros), "infinity"}, {sinktest.At(change.Date, change.NegInfinityMicros), "-infinity"},
		{sinktest.At(change.Date, -719528), "0001-01-01 BC"}, // the year 0 of ISO 8601
		{sinktest.At(change.Date, -719529), "0002-12-31 BC"},
		{sinktest.At(change.Date, -2440588), "4714-11-24 BC"},
		{sinktest.At(change.Date, 2932897), "10000-01-01"},
		{sinktest.At(change.Time, 24*3600*second), "24:00:00"},
		{sinktest.At(change.Timestamp, -1), "1969-12-31 23:59:59.999999"},
		{sinktest.At(change.Timestamp, -719528*86400*second), "0001-01-01 00:00:00 BC"},
		{sinktest.At(change.TimestampTZ, -719528*86400*second), "0001-01-01 00:00:00+00 BC"},
		{sinktest.At(change.TimestampTZ, 1_706_702_400_123_456), "2024-01-31 12:00:00.123456+00"},
		{sinktest.Decimal("-12.340"), "-12.340"}, {sinktest.Text("ü"), "ü"}, {sinktest.JSON(`{"a":1.0}`), `{"a":1.0}`},
		{sinktest.Array(`{1,NULL}`), `{1,NULL}`},
		{sinktest.UUID([16]byte{15: 1}), "00000000-0000-0000-0000-000000000001"},
	} {
		if got := string(appendText([]byte("x"), c.v)); got != "x"+c.want {
			t.Errorf("%v %q %d = %q, want %q", c.v.Kind, c.v.Data, c.v.Int64(), got[1:], c.want)
		}
	}
}

func TestArray(t *testing.T) {
	var a array
	for range 2 { // the second time in used memory
		a.reset(3)
		a.append(sinktest.Text("ab"))
		a.append(sinktest.Null())
		a.append(sinktest.Int(7))
		want := "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x19\x00\x00\x00\x03\x00\x00\x00\x01" +
			"\x00\x00\x00\x02ab\xff\xff\xff\xff\x00\x00\x00\x017"
		if string(a.buf) != want {
			t.Fatalf("%x, want %x", a.buf, want)
		}
	}
	a.reset(0)
	if len(a.buf) != arrayHeader {
		t.Errorf("the header has %d bytes, want %d", len(a.buf), arrayHeader)
	}
}

func orders() *change.Table {
	return sinktest.Table("orders", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "int4"),
		sinktest.Column("a", "text"), sinktest.Column("b", "text"), sinktest.Column("c", "text"), sinktest.Column("price", "numeric"),
		sinktest.Column("paid", "bool"), sinktest.Column("doc", "json"), sinktest.Column("at", "timestamptz"))
}

func orderRow(id int64) []change.Value {
	return []change.Value{sinktest.Int(id), sinktest.Int(id % 1000), sinktest.Text(fmt.Sprintf("customer number %d of the shop", id)),
		sinktest.Text("Musterstraße 17, 12345 Berlin"), sinktest.Text("a remark of some length, as people write them"),
		sinktest.Decimal("1234.50"), sinktest.Bool(id%2 == 0), sinktest.JSON(`{"size":"L","colors":["red","blue"]}`),
		sinktest.At(change.TimestampTZ, 1_706_702_400_123_456+id)}
}

// planned returns a sink that knows the table orders without a server, and a batch for it.
func planned(rows int64) (*Sink, *change.Batch) {
	t, h := orders(), sinktest.NewHistory("shop.public.orders")
	for id := range rows {
		h.Create(t, orderRow(id)...)
		if id%5 == 0 {
			row := make([]change.Value, len(t.Columns))
			row[0], row[1] = sinktest.Int(-id), sinktest.Int(1)
			h.Update(t, row...)
		}
	}
	s := &Sink{cfg: &Config{MaxRows: 5000, Format: "${table}", Schema: "public"}, targets: map[name]*target{}, topics: map[name]string{}}
	tg := &target{name: name{"public", "orders"}, columns: map[string]*column{}, layouts: map[*change.Table]*layout{}}
	l := &layout{target: tg, table: t, key: t.Key, stmts: map[string]*statement{}}
	for i := range t.Columns {
		l.cols = append(l.cols, &column{name: t.Columns[i].Name, cast: typeFor(&t.Columns[i].Type, "postgresql", bare)})
	}
	tg.layouts[t] = l
	s.targets[tg.name] = tg
	return s, h.Take()
}

// encodeBatch does what Write does up to sending.
func (s *Sink) encodeBatch(t testing.TB, b *change.Batch) {
	if err := s.collect(t.Context(), nil, b); err != nil {
		t.Fatal(err)
	}
	for i := range s.plan.units {
		s.encode(&s.plan.units[i], s.plan.units[i].states)
	}
}

func TestEncodeAllocatesLittle(t *testing.T) {
	s, b := planned(1000)
	s.encodeBatch(t, b)
	if n := len(s.plan.units); n != 2 {
		t.Fatalf("%d units, want one of whole rows and one of patches", n)
	}
	// Lists of columns and statements, for a batch; nothing for a row.
	if n := testing.AllocsPerRun(20, func() { s.encodeBatch(t, b) }); n > 40 {
		t.Errorf("%v allocations for a batch of 1200 rows, want a few", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	s, batch := planned(1000)
	b.ReportAllocs()
	for b.Loop() {
		s.encodeBatch(b, batch)
	}
	b.ReportMetric(float64(b.N)*float64(len(batch.Events))/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkWrite inserts and then updates rows of a table with a primary key.
func BenchmarkWrite(b *testing.B) {
	dsn := servers.Need(b, "postgres15")
	bench := newBench(b, dsn)
	s := bench.open(b, nil)
	defer s.Close()
	t, h := orders(), sinktest.NewHistory("shop.public.orders")
	const rows, size = 20000, 2000
	for id := range int64(rows) {
		h.Create(t, orderRow(id)...)
	}
	var batches []*change.Batch
	for from := 0; from < rows; from += size {
		batches = append(batches, h.Slice(from, from+size))
	}
	n := 0
	for b.Loop() {
		batch := batches[n%len(batches)]
		for i := range batch.Events {
			batch.Events[i].Version += rows // news each time
		}
		sinktest.Write(b, s, batch)
		n++
	}
	b.ReportMetric(float64(n)*size/b.Elapsed().Seconds(), "rows/s")
}
