package redis

import (
	"fmt"
	"testing"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// orders is a table with rows of about 240 bytes.
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

// BenchmarkEncode measures the path from events to the script's arguments.
func BenchmarkEncode(b *testing.B) {
	for _, kind := range []string{"json", "hash"} {
		b.Run(kind, func(b *testing.B) {
			t, h := orders(), sinktest.NewHistory("shop.public.orders")
			for id := range int64(1000) {
				h.Create(t, orderRow(id)...)
			}
			batch := h.Take()
			s := &Sink{topics: map[string]string{}, enc: encoder{limit: maxValue}, cfg: &Config{Separator: ":", MaxRows: 2000}, format: keyFormat{"${topic}:"}}
			s.enc.hash = kind == "hash"
			b.ReportAllocs()
			for b.Loop() {
				s.encodeBatch(b, batch)
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// encodeBatch does what Write does up to the call.
func (s *Sink) encodeBatch(t testing.TB, b *change.Batch) {
	s.begin()
	for i := range b.Events {
		if err := s.take(t.Context(), &lane{}, i, &b.Events[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.enc.reset()
	for i := range s.fold.States {
		if err := s.enc.row(&s.fold.States[i], s.fold.States[i].Row.Complete()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEncodeAllocatesNothing(t *testing.T) {
	table, h := orders(), sinktest.NewHistory("shop.public.orders")
	for id := range int64(500) {
		h.Create(table, orderRow(id)...)
		if id%3 == 0 {
			h.Update(table, sinktest.Int(id), sinktest.Int(5), sinktest.Absent(), sinktest.Absent(), sinktest.Null(), sinktest.Absent(), sinktest.Absent(), sinktest.Absent(), sinktest.Absent())
		}
	}
	batch := h.Take()
	s := &Sink{topics: map[string]string{}, enc: encoder{limit: maxValue}, cfg: &Config{Separator: ":", MaxRows: 2000}, format: keyFormat{"${topic}:"}}
	s.encodeBatch(t, batch)
	if n := testing.AllocsPerRun(20, func() { s.encodeBatch(t, batch) }); n > 0 {
		t.Errorf("%v allocations for a batch, want none", n)
	}
}

// BenchmarkWrite compares Write with a bare pipelined SET of the same documents.
func BenchmarkWrite(b *testing.B) {
	addr := servers.Need(b, "redis")
	t, h := orders(), sinktest.NewHistory("shop.public.orders")
	const rows = 20000
	for id := range int64(rows) {
		h.Create(t, orderRow(id)...)
	}
	var batches []*change.Batch
	for from := 0; from < rows; from += 2000 {
		batches = append(batches, h.Slice(from, from+2000))
	}
	for _, kind := range []string{"json", "hash"} {
		b.Run(kind, func(b *testing.B) {
			bench := newBench(b, addr, map[string]string{"redis.type": kind, "redis.uri": "redis://" + addr})
			s := bench.open(b, nil)
			defer s.Close()
			n := 0
			for b.Loop() {
				batch := batches[n%len(batches)]
				for i := range batch.Events {
					batch.Events[i].Version += rows // news each time
					if n >= len(batches) {
						batch.Events[i].Op = change.OpUpdate
					} else {
						batch.Events[i].Op = change.OpCreate
					}
				}
				sinktest.Write(b, s, batch)
				n++
			}
			b.ReportMetric(float64(n)*2000/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("bare_SET", func(b *testing.B) {
		bench := newBench(b, addr, nil)
		var keys, docs []string
		for i := range batches[0].Events {
			ev := &batches[0].Events[i]
			keys = append(keys, fmt.Sprint(bench.prefix, "shop.public.orders:", i))
			docs = append(docs, string(jsontext.AppendRow(nil, ev.Table, ev.After)))
		}
		n := 0
		for b.Loop() {
			cmds := make(rueidis.Commands, 0, 2000)
			for i := range keys {
				cmds = append(cmds, bench.client.B().Set().Key(keys[i]).Value(docs[i]).Build())
			}
			for _, r := range bench.client.DoMulti(b.Context(), cmds...) {
				if r.Error() != nil {
					b.Fatal(r.Error())
				}
			}
			n++
		}
		b.ReportMetric(float64(n)*2000/b.Elapsed().Seconds(), "rows/s")
	})
}
