package disk_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// FuzzCompaction reads its input as a history: two bytes choose the sizes of segments and of memory, each further pair is a
// record of one of 64 keys, a compaction, a restart, or time that passes. Whatever the history, what is left of the records
// means what all of them mean.
func FuzzCompaction(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 1, 2, 0xf0, 0, 1, 0x80, 0xf1, 0, 0xf2, 9, 0xf0, 0})
	f.Add([]byte("\x10\x05a1b1c1a2\xf0\x00a\x40b\x80\xf0\x00\xf2\xff\xf0\x00\xe0\x00a3\xf0\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 || len(b) > 2000 {
			return
		}
		var now atomic.Int64
		now.Store(1_000_000)
		fs := newFS()
		opt := disk.Options{ManualCompaction: true, SegmentBytes: 100 + 16*int64(b[0]), CompactionMemory: 1 + 64*int64(b[1]), Merger: columns{},
			Now: func() time.Time { return time.UnixMilli(now.Load()) }}
		l := memLog(t, fs, opt)
		var all []topic.Record
		for op := range slices.Chunk(b[2:], 2) {
			if len(op) < 2 {
				break
			}
			switch {
			case op[0] == 0xf0:
				compact(t, l)
			case op[0] == 0xf1:
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = memLog(t, fs, opt)
			case op[0] == 0xf2:
				now.Add(int64(op[1]) * time.Hour.Milliseconds())
			default:
				r := record(op[0], op[1], len(all))
				if err := l.Append(t.Context(), []topic.Record{r}); err != nil {
					t.Fatal(err)
				}
				all = append(all, r)
			}
		}
		for range 2 {
			compact(t, l)
			got, err := readAll(t.Context(), l, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := compare(got, all, -1); err != nil {
				t.Fatal(err)
			}
			now.Add(48 * time.Hour.Milliseconds()) // and once more without tombstones
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// record makes the record of an input's pair: 0xe0 to 0xef are truncates, else the key is what, with a value by how.
func record(what, how byte, offset int) topic.Record {
	r := topic.Record{Topic: "a", Timestamp: int64(offset), Offset: int64(offset)}
	table := what & 1
	if what >= 0xe0 {
		r.Value = fmt.Appendf(nil, "TRUNCATE|%d", table)
		return r
	}
	r.Key = fmt.Appendf(nil, "k%d", what&63)
	switch {
	case how >= 0x80 && how < 0xa0: // a tombstone
	case how >= 0x40 && how < 0x80:
		r.Value = fmt.Appendf(nil, "?|%d|?|%d", offset, table)
	default:
		r.Value = fmt.Appendf(nil, "%d|%d|%d|%d", how, offset, how, table)
	}
	return r
}

// FuzzIndex reads its input as appends, two bytes each: the size of a record, to 32 KiB, and how its timestamp differs from the
// one before. Every offset and time is found, in segments that were indexed as they were written, as the log was opened
// again, and as compaction wrote them.
func FuzzIndex(f *testing.F) {
	f.Add([]byte{255, 1, 255, 2, 255, 0, 255, 200, 255, 3, 1, 1, 255, 4, 255, 5})
	f.Add([]byte("\x00\x01\xff\xff\x80\x80\xff\x00\xff\x7f\x01\x01\xff\x01\xfe\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 2 || len(b) > 100 {
			return
		}
		fs := newFS()
		opt := disk.Options{ManualCompaction: true, SegmentBytes: 300 << 10}
		l := memLog(t, fs, opt)
		times, at := []int64{}, int64(10_000)
		for op := range slices.Chunk(b, 2) {
			if len(op) < 2 {
				break
			}
			at = max(0, at+int64(int8(op[1])))
			r := topic.Record{Topic: "a", Timestamp: at, Key: fmt.Appendf(nil, "%d", len(times)), Value: make([]byte, 128*int(op[0]))}
			if err := l.Append(t.Context(), []topic.Record{r}); err != nil {
				t.Fatal(err)
			}
			times = append(times, at)
		}
		places(t, l, times)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = memLog(t, fs, opt)
		places(t, l, times)
		// New values for the even keys: compaction must rewrite what was there.
		n := len(times)
		for k := 0; k < n; k += 2 {
			if err := l.Append(t.Context(), []topic.Record{{Topic: "a", Timestamp: 20_000, Key: fmt.Appendf(nil, "%d", k), Value: []byte("new")}}); err != nil {
				t.Fatal(err)
			}
			times[k] = -1
			times = append(times, 20_000)
		}
		compact(t, l)
		places(t, l, times)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// places looks for every offset and time of the topic "a", whose records have these timestamps; those of -1 are gone.
func places(t *testing.T, l *disk.Log, times []int64) {
	t.Helper()
	for from := range times {
		r, err := l.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Add("a", 0, int64(from)); err != nil {
			t.Fatal(err)
		}
		recs, err := r.Read(t.Context(), 1)
		want := from
		for times[want] < 0 {
			want++
		}
		if err != nil || recs[0].Offset != int64(want) || recs[0].Timestamp != times[want] {
			t.Fatalf("read from %d: %v, %v, should be %d", from, recs, err, want)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, ms := range times {
		for _, ms := range []int64{ms, ms + 1} {
			want := slices.IndexFunc(times, func(at int64) bool { return at >= 0 && at >= ms })
			if want < 0 {
				want = len(times)
			}
			if got, err := l.OffsetAt(t.Context(), "a", 0, ms); err != nil || got != int64(want) {
				t.Fatalf("at %d ms: offset %d, %v, should be %d of %v", ms, got, err, want, times)
			}
		}
	}
}
