package disk_test

import (
	"fmt"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// rows makes n records of about 250 bytes, over three topics, and an offset record, as the worker appends them.
func rows(n int) []topic.Record {
	recs := make([]topic.Record, 0, n+1)
	for i := range n {
		value := make([]byte, 230)
		for j := range value {
			value[j] = byte(i*31 + j*7)
		}
		recs = append(recs, topic.Record{Topic: fmt.Sprintf("shop.public.t%d", i/64%3), Timestamp: 1_700_000_000_000, Key: fmt.Appendf(nil, "key %08d", i), Value: value})
	}
	return append(recs, topic.Record{Topic: "__tailrace_offsets", Timestamp: 1_700_000_000_000, Key: []byte("shop"), Value: []byte(`{"lsn":"0/16B3748","ordinal":0}`)})
}

func benchLog(b testing.TB) *disk.Log {
	l := open(b, disk.Options{Dir: b.TempDir()})
	for _, name := range []string{"shop.public.t0", "shop.public.t1", "shop.public.t2", "__tailrace_offsets"} {
		if err := l.Create(b.Context(), topic.Spec{Name: name, Partitions: 1}); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 4000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			l := benchLog(b)
			recs := rows(n)
			b.ReportAllocs()
			records := 0
			for b.Loop() {
				if err := l.Append(b.Context(), recs); err != nil {
					b.Fatal(err)
				}
				records += n
			}
			b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	l := benchLog(b)
	recs := rows(1)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Append(b.Context(), recs); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkRead(b *testing.B) {
	l := benchLog(b)
	recs := rows(4000)
	for range 25 {
		if err := l.Append(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	r, err := l.Reader(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	rewind := func() {
		for i := range 3 {
			if err := r.Add(fmt.Sprintf("shop.public.t%d", i), 0, topic.Start); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	records, left := 0, 0
	for b.Loop() {
		if left == 0 {
			rewind()
			left = 100_000
		}
		got, err := r.Read(b.Context(), 4096)
		if err != nil {
			b.Fatal(err)
		}
		records += len(got)
		left -= len(got)
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
