package disk_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

func values(t *testing.T, l *disk.Log) map[string]string {
	t.Helper()
	got, err := readAll(t.Context(), l, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, r := range got {
		if _, twice := m[string(r.Key)]; twice {
			t.Fatalf("key %s is there twice", r.Key)
		}
		m[string(r.Key)] = string(r.Value)
		if r.Value == nil {
			m[string(r.Key)] = "tombstone"
		}
	}
	return m
}

func put(t *testing.T, l *disk.Log, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		r := topic.Record{Topic: "a", Timestamp: 1, Key: []byte(pairs[i]), Value: []byte(pairs[i+1])}
		if pairs[i+1] == "tombstone" {
			r.Value = nil
		}
		if err := l.Append(t.Context(), []topic.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

func compact(t *testing.T, l *disk.Log) {
	t.Helper()
	if err := l.Compact(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, l *disk.Log, pairs ...string) {
	t.Helper()
	got := values(t, l)
	if len(got) != len(pairs)/2 {
		t.Fatalf("%v, want %v", got, pairs)
	}
	for i := 0; i < len(pairs); i += 2 {
		if got[pairs[i]] != pairs[i+1] {
			t.Fatalf("%v, want %v", got, pairs)
		}
	}
}

// TestCompactionMerges: what a newer record leaves unsaid survives the record that said it.
func TestCompactionMerges(t *testing.T) {
	l := memLog(t, newFS(), disk.Options{Merger: columns{}, ManualCompaction: true, SegmentBytes: 200})
	put(t, l, "k", "1|big|3", "x", "1|2|3", "k", "4|?|?", "k", "?|?|5", "y", "?|2|?")
	compact(t, l)
	want(t, l, "k", "4|big|5", "x", "1|2|3", "y", "?|2|?")
	put(t, l, "k", "6|?|?")
	compact(t, l)
	put(t, l, "k", "?|?|?", "x", "?|9|?")
	compact(t, l)
	want(t, l, "k", "6|big|5", "x", "1|9|3", "y", "?|2|?")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDeletedBeforePartial: a partial value must not take columns from before a delete, and not from what a consumer has
// that has read so far, so the tombstone between stays for its term.
func TestDeletedBeforePartial(t *testing.T) {
	var now atomic.Int64
	now.Store(1_000_000)
	l := memLog(t, newFS(), disk.Options{Merger: columns{}, ManualCompaction: true, SegmentBytes: 200,
		Now: func() time.Time { return time.UnixMilli(now.Load()) }})
	put(t, l, "z", "a|b|c", "x", "1|2|3", "z", "tombstone", "z", "?|?|new", "x", "1|2|4")
	check := func(want ...string) {
		t.Helper()
		compact(t, l)
		got, err := readAll(t.Context(), l, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, r := range got {
			have = append(have, fmt.Sprintf("%s=%s", r.Key, r.Value))
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%q, want %q", have, want)
		}
	}
	check("z=", "z=?|?|new", "x=1|2|4")
	now.Add(2 * (24 * time.Hour).Milliseconds())
	check("z=?|?|new", "x=1|2|4")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTombstones: a tombstone goes when its term is over and all consumers have passed it, and not before.
func TestTombstones(t *testing.T) {
	var now, floor atomic.Int64
	now.Store(1_000_000)
	l := memLog(t, newFS(), disk.Options{ManualCompaction: true, SegmentBytes: 300,
		Now: func() time.Time { return time.UnixMilli(now.Load()) }, ConsumerFloor: func(string, uint32, int32) int64 { return floor.Load() }})
	day := (24 * time.Hour).Milliseconds()
	put(t, l, "k", "v", "x", "1", "k", "tombstone", "x", "2")
	now.Add(10 * day) // the records are old; the term begins with the first compaction all the same
	compact(t, l)
	want(t, l, "k", "tombstone", "x", "2")
	floor.Store(10)
	now.Add(day - 1)
	compact(t, l)
	want(t, l, "k", "tombstone", "x", "2")
	now.Add(1)
	floor.Store(2) // the tombstone's own offset: not passed
	compact(t, l)
	want(t, l, "k", "tombstone", "x", "2")
	floor.Store(3)
	compact(t, l)
	want(t, l, "x", "2")
	t.Run("case80_delete_create_delete_create", func(t *testing.T) {
		for range 3 {
			put(t, l, "k", "again")
			compact(t, l)
			want(t, l, "k", "again", "x", "2")
			put(t, l, "k", "tombstone")
			compact(t, l)
			want(t, l, "k", "tombstone", "x", "2")
		}
		now.Add(2 * day)
		floor.Store(100)
		compact(t, l)
		want(t, l, "k", "tombstone", "x", "2") // it is the last record
		put(t, l, "x", "3")
		compact(t, l)
		want(t, l, "x", "3")
		put(t, l, "k", "last")
		compact(t, l)
		want(t, l, "x", "3", "k", "last")
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestConsumerDuringCompaction: a consumer that is registered while a compaction runs reads a value before the compaction
// replaces it, and so needs the tombstone that was to go.
func TestConsumerDuringCompaction(t *testing.T) {
	var now, asked atomic.Int64
	now.Store(1_000_000)
	registered := int64(math.MaxInt64) // how often compaction asks before there is a consumer
	l := memLog(t, newFS(), disk.Options{ManualCompaction: true, SegmentBytes: 300, Now: func() time.Time { return time.UnixMilli(now.Load()) },
		ConsumerFloor: func(string, uint32, int32) int64 {
			if asked.Add(1) > registered {
				return 1
			}
			return math.MaxInt64
		}})
	put(t, l, "k", "v", "x", "1", "k", "tombstone", "x", "2")
	compact(t, l)
	now.Add(2 * (24 * time.Hour).Milliseconds())
	registered = asked.Load() + 1
	compact(t, l)
	want(t, l, "k", "tombstone", "x", "2")
	if asked.Load() <= registered {
		t.Fatal("the consumer came too late to be asked for")
	}
	registered = math.MaxInt64
	compact(t, l)
	want(t, l, "x", "2")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBounded: updates of the same keys don't make the log grow, with nobody asking for compaction.
func TestBounded(t *testing.T) {
	t.Run("case80_many_updates", func(t *testing.T) {
		const keys, updates, segment = 10_000, 1_000_000, 1 << 20
		l := open(t, disk.Options{Dir: t.TempDir(), SegmentBytes: segment, JournalBytes: 4 << 20})
		if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		last := map[string]string{}
		recs := make([]topic.Record, updates/400)
		for i := range recs {
			recs[i] = topic.Record{Topic: "a", Value: make([]byte, 60)}
		}
		name := make([][]byte, keys)
		for k := range name {
			name[k] = fmt.Append(nil, "key ", k)
		}
		for n := uint64(0); n < updates; {
			for i := range recs {
				k := rnd.IntN(keys)
				recs[i].Key = name[k]
				binary.BigEndian.PutUint64(recs[i].Value, n)
				if n++; n > updates-20*keys { // each key is among these, or the counts below are wrong
					last[string(name[k])] = string(recs[i].Value)
				}
			}
			if err := l.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
		}
		compact(t, l)
		for k, v := range values(t, l) {
			if last[k] != v {
				t.Fatalf("key %s is %q, should be %q", k, v, last[k])
			}
		}
		infos, err := l.Topics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in := infos[0].Partitions[0]
		if in.Records != keys || in.End != updates {
			t.Fatalf("%+v", in)
		}
		if in.Bytes > 2*keys*80 {
			t.Fatalf("%d bytes for %d keys", in.Bytes, keys)
		}
	})
}

func TestRetention(t *testing.T) {
	for name, config := range map[string]map[string]string{
		"time":  {"cleanup.policy": "delete", "retention.ms": "1000"},
		"bytes": {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := newFS()
			opt := disk.Options{FS: fs, Dir: "/var/tailrace", ManualCompaction: true, SegmentBytes: 500, Now: func() time.Time { return time.UnixMilli(2000) }}
			l := open(t, opt)
			if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1, Config: config}); err != nil {
				t.Fatal(err)
			}
			for n := range 2000 {
				if err := l.Append(t.Context(), []topic.Record{{Topic: "a", Timestamp: int64(n), Key: []byte("k"), Value: fmt.Appendf(nil, "%d", n)}}); err != nil {
					t.Fatal(err)
				}
			}
			compact(t, l)
			got, err := readAll(t.Context(), l, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			first := got[0].Offset
			if name == "time" && (first > 1000 || first < 980) || name == "bytes" && (first < 1970 || first > 1995) {
				t.Fatalf("the first record is %d", first)
			}
			if int64(len(got)) != 2000-first {
				t.Fatalf("%d records from %d on", len(got), first)
			}
			before := fs.Used()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, opt)
			if again, err := readAll(t.Context(), l, "a", 0); err != nil || len(again) != len(got) {
				t.Fatalf("%d records after reopening, %v", len(again), err)
			}
			if before > 120_000 {
				t.Fatalf("%d bytes are in use", before)
			}
		})
	}
}

// TestKeyMemory compacts more keys than fit into memory at a time.
func TestKeyMemory(t *testing.T) {
	l := memLog(t, newFS(), disk.Options{ManualCompaction: true, SegmentBytes: 4000, CompactionMemory: 2000, Merger: columns{}})
	const keys = 500
	for round := range 3 {
		for k := range keys {
			v := fmt.Sprintf("%d|%d|%d", round, k, round)
			if round == 2 {
				v = fmt.Sprintf("2|?|%d", k)
			}
			put(t, l, fmt.Sprint(k), v)
		}
	}
	compact(t, l)
	m := newModel()
	m.create("a")
	got, err := readAll(t.Context(), l, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]string{}
	for i := range got {
		step(state, &got[i])
	}
	for k := range keys {
		if want := fmt.Sprintf("2|%d|%d", k, k); state[fmt.Sprint(k)] != want {
			t.Fatalf("key %d is %q, should be %q", k, state[fmt.Sprint(k)], want)
		}
	}
	if len(got) > 2*keys {
		t.Fatalf("%d records for %d keys", len(got), keys)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	opt := disk.Options{Dir: dir, SegmentBytes: 100_000, JournalBytes: 1 << 20}
	for round := range 4 {
		l, err := disk.Open(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			for _, c := range []string{"none", "zstd", "lz4", "snappy", "gzip"} {
				if err := l.Create(t.Context(), topic.Spec{Name: c, Partitions: 1, Config: map[string]string{"compression.type": c}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := range 20 {
			var recs []topic.Record
			for i := range 500 {
				for _, c := range []string{"none", "zstd", "lz4", "snappy", "gzip"} {
					recs = append(recs, topic.Record{Topic: c, Value: fmt.Appendf(nil, "%d, and some text to be compressed, compressed", round*10_000+n*500+i)})
				}
			}
			if err := l.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
		}
		total := (round + 1) * 10_000
		for _, c := range []string{"none", "zstd", "lz4", "snappy", "gzip"} {
			for _, from := range []int{0, total / 3, total - 1} { // the middle of segments that have no index yet
				r, err := l.Reader(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Add(c, 0, int64(from)); err != nil {
					t.Fatal(err)
				}
				for n := from; n < total; {
					recs, err := r.Read(t.Context(), 333)
					if err != nil {
						t.Fatal(err)
					}
					for _, rec := range recs {
						if rec.Offset != int64(n) || !bytes.HasPrefix(rec.Value, fmt.Appendf(nil, "%d,", n)) {
							t.Fatalf("%s: record %d is %q at %d", c, n, rec.Value, rec.Offset)
						}
						n++
					}
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		reports, err := l.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
