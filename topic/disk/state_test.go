package disk_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// eachFS runs a test on the real file system and on one that loses power: crash ends the log as kill -9 or a power cut does
// and returns what the next process finds.
func eachFS(t *testing.T, test func(t *testing.T, opt disk.Options, crash func(l *disk.Log) disk.Options)) {
	t.Run("real", func(t *testing.T) {
		opt := disk.Options{Dir: t.TempDir(), FS: vfs.OS{}}
		test(t, opt, func(l *disk.Log) disk.Options {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return opt
		})
	})
	t.Run("power_cuts", func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(106, 1))
		fs := newFS()
		test(t, disk.Options{Dir: "/var/tailrace", FS: fs}, func(l *disk.Log) disk.Options {
			next := fs.Crash(rnd)
			if rnd.IntN(2) == 0 {
				next = fs.Kill()
			}
			_ = l.Close() // of a machine that has no power
			fs = next
			return disk.Options{Dir: "/var/tailrace", FS: fs}
		})
	})
}

// newSink reads a partition of the topic "a" from offset 0 and returns what it holds then.
func newSink(t *testing.T, l *disk.Log, num int32) map[string]string {
	t.Helper()
	got, err := readAll(t.Context(), l, "a", num)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]string{}
	for i := range got {
		step(state, &got[i])
	}
	return state
}

// TestUnchangedColumn: a column that was set once and that a thousand updates left unsaid is there for a new sink, wherever
// compaction and restarts fell between them.
func TestUnchangedColumn(t *testing.T) {
	eachFS(t, func(t *testing.T, opt disk.Options, crash func(l *disk.Log) disk.Options) {
		t.Run("case106_unchanged_for_1000_updates", func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(106, 2))
			reopen := func(opt disk.Options) *disk.Log {
				opt.Merger, opt.ManualCompaction, opt.SegmentBytes = columns{}, true, 2000
				l, err := disk.Open(t.Context(), opt)
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			l := reopen(opt)
			if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			put(t, l, "row", "0|a large text|0|0", "other", "1|2|3|0")
			for n := 1; n <= 1000; n += 10 {
				var recs []topic.Record
				for i := range 10 {
					recs = append(recs, topic.Record{Topic: "a", Key: []byte("row"), Value: fmt.Appendf(nil, "%d|?|%d|0", n+i, n+i)})
				}
				if err := l.Append(t.Context(), recs); err != nil {
					t.Fatal(err)
				}
				switch rnd.IntN(10) {
				case 0, 1:
					compact(t, l)
				case 2:
					l = reopen(crash(l))
				}
			}
			compact(t, l)
			put(t, l, "last", "1|2|3|0")
			compact(t, l)
			if got := newSink(t, l, 0); got["row"] != "1000|a large text|1000|0" || len(got) != 3 {
				t.Fatalf("a new sink has %v", got)
			}
			if in, err := partitionInfo(t.Context(), l, "a", 0); err != nil || in.Records != 3 {
				t.Fatalf("%+v, %v", in, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// TestTruncate: of two generations of rows with a truncate between, in several partitions, a new sink holds exactly the
// second, at whichever point compaction, and a restart, came.
func TestTruncate(t *testing.T) {
	const partitions, rows = 3, 6
	var steps [][]topic.Record
	for _, generation := range []string{"first", "second"} {
		for k := range rows {
			var recs []topic.Record
			for num := range int32(partitions) {
				recs = append(recs, topic.Record{Topic: "a", Partition: num, Key: fmt.Appendf(nil, "%d", k), Value: fmt.Appendf(nil, "%s|%d|x|0", generation, k)})
			}
			if generation == "second" && k == rows-1 {
				continue // a row that the second generation lacks
			}
			steps = append(steps, recs)
		}
		if generation == "first" {
			var erase []topic.Record
			for num := range int32(partitions) {
				erase = append(erase, topic.Record{Topic: "a", Partition: num, Value: []byte("TRUNCATE|0")})
			}
			steps = append(steps, erase)
		}
	}
	eachFS(t, func(t *testing.T, opt disk.Options, crash func(l *disk.Log) disk.Options) {
		t.Run("case107_compaction_at_every_point", func(t *testing.T) {
			for at := range len(steps) + 1 {
				reopen := func(opt disk.Options) *disk.Log {
					opt.Merger, opt.ManualCompaction, opt.SegmentBytes = columns{}, true, 200
					l, err := disk.Open(t.Context(), opt)
					if err != nil {
						t.Fatal(err)
					}
					return l
				}
				l := reopen(opt)
				if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: partitions}); err != nil {
					t.Fatal(err)
				}
				for i, recs := range slices.Concat(steps, [][]topic.Record{nil}) {
					if i == at {
						compact(t, l)
						l = reopen(crash(l))
					}
					if err := l.Append(t.Context(), recs); err != nil {
						t.Fatal(err)
					}
				}
				for again := range 2 {
					for num := range int32(partitions) {
						got := newSink(t, l, num)
						for k := range rows - 1 {
							if want := fmt.Sprintf("second|%d|x|0", k); got[fmt.Sprint(k)] != want {
								t.Fatalf("compaction before step %d, partition %d: %v", at, num, got)
							}
						}
						if len(got) != rows-1 {
							t.Fatalf("compaction before step %d, partition %d: %v", at, num, got)
						}
					}
					if again == 0 {
						compact(t, l)
					}
				}
				if err := l.Delete(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
				opt = crash(l)
			}
		})
	})
}
