package disk_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// updates makes n records of so many keys: whole and partial values, tombstones, and truncates of two tables.
func updates(rnd *rand.Rand, n, keys int) []topic.Record {
	recs := make([]topic.Record, n)
	for i := range recs {
		k := rnd.IntN(keys)
		r := topic.Record{Topic: "a", Timestamp: int64(i), Key: fmt.Appendf(nil, "key %d", k)}
		switch p := rnd.IntN(500); {
		case p == 0:
			r.Key, r.Value = nil, fmt.Appendf(nil, "TRUNCATE|%d", rnd.IntN(2))
		case p < 15:
			r.Value = fmt.Appendf(nil, "?|%d|?|%d", i, k%2)
		case p < 80: // a tombstone
		default:
			r.Value = fmt.Appendf(nil, "%d|%d|%d|%d", i, i, i, k%2)
		}
		recs[i] = r
	}
	return recs
}

// TestPasses: what compaction leaves does not depend on how many passes its memory for keys takes: record for record if it
// can carry along all values that it must, and in what it all means even if it can't.
func TestPasses(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	const keys, total = 1500, 4000
	day := (24 * time.Hour).Milliseconds()
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 80))
		recs := updates(rnd, total, keys)
		segment := 4000 + rnd.Int64N(20_000)
		all := slices.Clone(recs)
		for i := range all {
			all[i].Offset = int64(i)
		}
		var one []topic.Record
		var worked int64 // bytes that the one pass read and wrote
		// Room for the keys in one pass, in some six, and in so many that there is none for the values.
		for _, memory := range []int64{64 << 20, 20_000, 2000} {
			var now atomic.Int64
			now.Store(1_000_000)
			l := memLog(t, newFS(), disk.Options{ManualCompaction: true, SegmentBytes: segment, CompactionMemory: memory, Merger: columns{},
				Now: func() time.Time { return time.UnixMilli(now.Load()) }})
			for part := range slices.Chunk(recs, total/8) { // in the second half compaction meets what it left
				if err := l.Append(t.Context(), part); err != nil {
					t.Fatal(err)
				}
				if part[0].Timestamp == total/2 {
					compact(t, l)
					now.Add(2 * day)
				}
			}
			compact(t, l)
			now.Add(2 * day)
			compact(t, l)
			got, err := readAll(t.Context(), l, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := compare(got, all, -1); err != nil {
				t.Fatalf("seed %d, memory %d: %v", seed, memory, err)
			}
			switch {
			case one == nil:
				one, worked = got, l.Usage().Compacted
			case l.Usage().Compacted < 2*worked:
				t.Fatalf("seed %d, memory %d: that was no more than one pass", seed, memory)
			case memory == 2000:
				if len(got) < len(one) {
					t.Fatalf("seed %d: %d records, one pass leaves %d", seed, len(got), len(one))
				}
			case !reflect.DeepEqual(got, one):
				t.Fatalf("seed %d: many passes leave %d records, one pass %d: %s", seed, len(got), len(one), firstDifference(got, one))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if len(one) == 0 || len(one) > keys+2 {
			t.Fatalf("seed %d: %d records are left", seed, len(one))
		}
	}
}

func firstDifference(a, b []topic.Record) string {
	for i := range min(len(a), len(b)) {
		if !reflect.DeepEqual(a[i], b[i]) {
			return fmt.Sprintf("%d %s=%q, %d %s=%q", a[i].Offset, a[i].Key, a[i].Value, b[i].Offset, b[i].Key, b[i].Value)
		}
	}
	return "one has more at the end"
}
