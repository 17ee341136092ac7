package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

func configOf(t *testing.T, l *disk.Log) map[string]string {
	t.Helper()
	in, err := topic.Lookup(t.Context(), l, "a")
	if err != nil {
		t.Fatal(err)
	}
	return in.Config
}

// TestConfigure changes settings of a topic in use; the change survives a kill, a power cut and a checkpoint.
func TestConfigure(t *testing.T) {
	fs := newFS()
	opt := disk.Options{FS: fs, Dir: "/var/tailrace", ManualCompaction: true}
	l := memLogOn(t, opt)
	set := func(config map[string]string) error { return l.Configure(t.Context(), "a", config) }
	if err := set(map[string]string{"max.message.bytes": "1000", "retention.ms": "5"}); err != nil {
		t.Fatal(err)
	}
	if err := set(map[string]string{"retention.ms": "", "compression.type": "zstd"}); err != nil {
		t.Fatal(err)
	}
	want := "map[compression.type:zstd max.message.bytes:1000]"
	if got := fmt.Sprint(configOf(t, l)); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	for _, bad := range []map[string]string{{"retention.mss": "5"}, {"retention.ms": "soon"}, {"cleanup.policy": "shred"}, {"segment.bytes": "0"},
		{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"}, {"compression.type": "zip"}, {"min.cleanable.dirty.ratio": "1.5"}} {
		if err := set(bad); fault.Code(err) != "TOPIC_CONFIG" {
			t.Fatalf("%v: %v", bad, err)
		}
	}
	if err := l.Configure(t.Context(), "b", nil); !errors.Is(err, topic.ErrNoTopic) {
		t.Fatalf("no topic: %v", err)
	}
	big := topic.Record{Topic: "a", Value: make([]byte, 1200)}
	for round := range 4 {
		if got := fmt.Sprint(configOf(t, l)); got != want {
			t.Fatalf("round %d: %s, want %s", round, got, want)
		}
		if err := l.Append(t.Context(), []topic.Record{big}); fault.Code(err) != "RECORD_TOO_LARGE" {
			t.Fatalf("round %d: append over max.message.bytes: %v", round, err)
		}
		switch round {
		case 0:
			fs = fs.Kill()
		case 1:
			fs = fs.Crash(rand.New(rand.NewPCG(1, 1)))
		case 2:
			if err := l.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			fs = fs.Kill()
		case 3:
			continue
		}
		_ = l.Close() // of a process that is dead
		opt.FS = fs
		l = memLogOn(t, opt)
	}
	if err := set(map[string]string{"max.message.bytes": ""}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), []topic.Record{big}); err != nil {
		t.Fatal(err)
	}
	if n := partition(t, l).Bytes; n > 300 {
		t.Fatalf("%d bytes: not compressed", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func partition(t *testing.T, l *disk.Log) topic.PartitionInfo {
	t.Helper()
	pi, err := partitionInfo(t.Context(), l, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	return pi
}

// policed opens a log on the fake clock of a synctest bubble, with the topic a of that configuration, and n records of
// 10 keys in it.
func policed(t *testing.T, opt disk.Options, n int, config map[string]string) *disk.Log {
	opt.FS, opt.Dir = newFS(), "/var/tailrace"
	l, err := disk.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1, Config: config}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		addNow(t, l, i)
	}
	return l
}

func addNow(t *testing.T, l *disk.Log, i int) {
	t.Helper()
	r := topic.Record{Topic: "a", Timestamp: time.Now().UnixMilli(), Key: fmt.Appendf(nil, "k%d", i%10), Value: fmt.Appendf(nil, "value %d", i)}
	if err := l.Append(t.Context(), []topic.Record{r}); err != nil {
		t.Fatal(err)
	}
}

// later lets time go by and the log do what is due.
func later(d time.Duration) {
	<-time.After(d + time.Second) // the compactor looks around every minute
	synctest.Wait()
}

// TestPolicies: what is due happens by itself, at its time and not before.
func TestPolicies(t *testing.T) {
	bubble := func(name string, f func(t *testing.T)) { t.Run(name, func(t *testing.T) { synctest.Test(t, f) }) }
	expect := func(t *testing.T, l *disk.Log, what string, records int64) {
		t.Helper()
		if got := partition(t, l).Records; got != records {
			t.Fatalf("%s: %d records, want %d", what, got, records)
		}
	}
	done := func(t *testing.T, l *disk.Log) {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	bubble("retention.ms_of_a_quiet_topic", func(t *testing.T) {
		l := policed(t, disk.Options{}, 30, map[string]string{"cleanup.policy": "delete", "retention.ms": "3600000"})
		later(58 * time.Minute)
		expect(t, l, "before its time", 30)
		later(5 * time.Minute)
		expect(t, l, "after its time", 0)
		if pi := partition(t, l); pi.LogStart != 30 || pi.Start != 30 || pi.End != 30 {
			t.Fatalf("%+v", pi)
		}
		addNow(t, l, 30)
		expect(t, l, "a new one", 1)
		done(t, l)
	})
	bubble("segment.ms_and_max.compaction.lag.ms", func(t *testing.T) {
		l := policed(t, disk.Options{}, 30, map[string]string{"max.compaction.lag.ms": "7200000", "min.cleanable.dirty.ratio": "1"})
		later(118 * time.Minute)
		expect(t, l, "before its time", 30)
		later(4 * time.Minute)
		expect(t, l, "after its time", 10)
		if err := l.Configure(t.Context(), "a", map[string]string{"max.compaction.lag.ms": "", "segment.ms": "60000", "min.cleanable.dirty.ratio": "0.1"}); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			addNow(t, l, i)
		}
		expect(t, l, "more", 20)
		later(3 * time.Minute)
		expect(t, l, "segment.ms is over", 10)
		done(t, l)
	})
	bubble("a_topic_that_is_being_filled", func(t *testing.T) {
		l := policed(t, disk.Options{SegmentBytes: 1 << 20, JournalBytes: 4 << 20}, 0, nil)
		fill := func(pause time.Duration) (kept int64) {
			big := topic.Record{Topic: "a", Key: []byte("k"), Value: make([]byte, 1<<19)}
			for range 64 {
				if err := l.Append(t.Context(), []topic.Record{big}); err != nil {
					t.Fatal(err)
				}
				<-time.After(pause)
				synctest.Wait()
			}
			return partition(t, l).Records
		}
		if n := fill(20 * time.Millisecond); n != 64 {
			t.Fatalf("%d records while 25 MB/s come in, want all 64", n)
		}
		later(2 * time.Minute)
		if n := partition(t, l).Records; n > 8 {
			t.Fatalf("%d records after a pause", n)
		}
		if n := fill(time.Second); n > 32 {
			t.Fatalf("%d records while 0.5 MB/s come in", n)
		}
		done(t, l)
	})
	bubble("min.compaction.lag.ms", func(t *testing.T) {
		l := policed(t, disk.Options{SegmentBytes: 300}, 30, map[string]string{"min.compaction.lag.ms": "3600000", "segment.ms": "1000"})
		later(30 * time.Minute)
		expect(t, l, "too young", 30)
		compact(t, l)
		expect(t, l, "too young, by hand", 30)
		later(32 * time.Minute)
		expect(t, l, "after its time", 10)
		done(t, l)
	})
	bubble("tombstones_go_by_themselves", func(t *testing.T) {
		l := policed(t, disk.Options{}, 10, map[string]string{"delete.retention.ms": "3600000", "segment.ms": "60000"})
		put(t, l, "k1", "tombstone")
		later(3 * time.Minute)
		expect(t, l, "compacted", 10) // the tombstone has taken k1's place
		addNow(t, l, 12)              // so that it isn't the last record
		later(50 * time.Minute)
		expect(t, l, "not yet", 11)
		later(15 * time.Minute)
		expect(t, l, "its term is over", 9)
		done(t, l)
	})
	bubble("compact_and_delete", func(t *testing.T) {
		l := policed(t, disk.Options{SegmentBytes: 1000}, 30, map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "7200000", "segment.ms": "60000", "min.cleanable.dirty.ratio": "0"})
		later(10 * time.Minute)
		expect(t, l, "compacted", 10)
		later(2 * time.Hour)
		expect(t, l, "removed", 0)
		done(t, l)
	})
	bubble("cleanup.policy_changes", func(t *testing.T) {
		l := policed(t, disk.Options{SegmentBytes: 300}, 200, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"})
		compact(t, l)
		expect(t, l, "kept for ever", 200)
		if err := l.Configure(t.Context(), "a", map[string]string{"cleanup.policy": "compact"}); err != nil {
			t.Fatal(err)
		}
		compact(t, l)
		expect(t, l, "compacted", 10)
		if err := l.Configure(t.Context(), "a", map[string]string{"cleanup.policy": "delete", "retention.bytes": "1"}); err != nil {
			t.Fatal(err)
		}
		compact(t, l)
		if n := partition(t, l).Records; n == 0 || n > 10 {
			t.Fatalf("%d records of one byte's worth of segments", n)
		}
		done(t, l)
	})
	t.Run("compression.type", func(t *testing.T) {
		for _, c := range []string{"none", "zstd", "lz4", "snappy", "gzip"} {
			l := memLog(t, newFS(), disk.Options{ManualCompaction: true})
			if err := l.Configure(t.Context(), "a", map[string]string{"compression.type": c}); err != nil {
				t.Fatal(err)
			}
			if err := l.Append(t.Context(), []topic.Record{{Topic: "a", Key: []byte("k"), Value: make([]byte, 10_000)}}); err != nil {
				t.Fatal(err)
			}
			compact(t, l)
			if n := partition(t, l).Bytes; (n > 5000) != (c == "none") {
				t.Errorf("%s: %d bytes", c, n)
			}
			if got := values(t, l); got["k"] != string(make([]byte, 10_000)) {
				t.Errorf("%s: another value", c)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// said is a logger's output.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), text)
}

// TestLeftBehind: a consumer that retention is about to leave behind is warned of, and when it has been, it gets an error
// and never a gap.
func TestLeftBehind(t *testing.T) {
	t.Run("case81_before_the_start", func(t *testing.T) { synctest.Test(t, leftBehind) })
}

func leftBehind(t *testing.T) {
	var out said
	floor := int64(12)
	l := policed(t, disk.Options{SegmentBytes: 400, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		ConsumerFloor: func(string, uint32, int32) int64 { return floor }},
		100, map[string]string{"cleanup.policy": "delete", "retention.ms": "36000000"})
	slow, fresh, quick := follow(t, l, 12), follow(t, l, topic.Start), follow(t, l, topic.End)
	lag := func(next int64) topic.Lag {
		t.Helper()
		g, err := l.Lag(t.Context(), "a", 0, next)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	all := partition(t, l)
	if g := lag(0); g.Records != 100 || g.Bytes != all.Bytes || g.AtRisk || g.LeftBehind || g.Oldest != time.Now().UnixMilli() {
		t.Fatalf("%+v of %+v", g, all)
	}
	if g := lag(100); g != (topic.Lag{}) {
		t.Fatalf("%+v at the end", g)
	}
	if g := lag(98); g.Records > 2 || g.Bytes == 0 {
		t.Fatalf("%+v near the end", g)
	}
	later(7 * time.Hour)
	if g := lag(12); g.AtRisk || out.count("will soon remove") != 0 {
		t.Fatalf("warned too early: %+v", g)
	}
	later(2 * time.Hour)
	if g := lag(12); !g.AtRisk || g.LeftBehind || out.count("will soon remove") != 1 {
		t.Fatalf("not warned once, before it happens: %+v\n%s", g, out.b.String())
	}
	if partition(t, l).Records != 100 {
		t.Fatal("removed too early")
	}
	later(2 * time.Hour)
	addNow(t, l, 100)
	pi := partition(t, l)
	if pi.LogStart != 100 || pi.Records != 1 || out.count("has not read") != 2 {
		t.Fatalf("%+v\n%s", pi, out.b.String())
	}
	if g := lag(12); !g.LeftBehind || g.Records != 1 {
		t.Fatalf("%+v", g)
	}
	for range 3 { // again and again
		if recs, err := slow.Read(t.Context(), 10); !errors.Is(err, topic.ErrLeftBehind) || !strings.Contains(err.Error(), "a/0 from offset 12") {
			t.Fatalf("%v, %v", recs, err)
		}
	}
	for _, r := range []topic.Reader{fresh, quick} {
		if recs, err := r.Read(t.Context(), 10); err != nil || len(recs) != 1 || recs[0].Offset != 100 {
			t.Fatalf("%v, %v", recs, err)
		}
	}
	for _, from := range []int64{0, 12, 99} {
		if err := slow.Add("a", 0, from); !errors.Is(err, topic.ErrLeftBehind) {
			t.Fatalf("Add from %d: %v", from, err)
		}
	}
	if err := slow.Add("a", 0, 100); err != nil {
		t.Fatal(err)
	}
	if recs, err := slow.Read(t.Context(), 10); err != nil || recs[0].Offset != 100 {
		t.Fatalf("%v, %v", recs, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func follow(t *testing.T, l *disk.Log, from int64) topic.Reader {
	t.Helper()
	r, err := l.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add("a", 0, from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestAlarm: above the alarm level the log says so and compacts what it can without regard to ratios.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out said
		l := policed(t, disk.Options{SegmentBytes: 1000, JournalBytes: 5000, MaxBytes: 100_000, AlarmBytes: 40_000, Logger: slog.New(slog.NewTextHandler(&out, nil))},
			0, map[string]string{"min.cleanable.dirty.ratio": "1"})
		for i := range 600 { // the log is new in all parts all the time: the ratio is only just met
			addNow(t, l, i)
			synctest.Wait()
			if u := l.Usage(); u.Segments+u.Journal > 60_000 {
				t.Fatalf("%+v", u)
			}
		}
		if u := l.Usage(); u.Compacted == 0 || u.Max != 100_000 || u.Alarm != 40_000 {
			t.Fatalf("%+v", u)
		}
		// What can't be compacted brings the alarm, then the limit.
		more := func(i int) topic.Record {
			return topic.Record{Topic: "a", Key: fmt.Appendf(nil, "other %d", i), Value: make([]byte, 400)}
		}
		done := make(chan error, 1)
		go func() {
			for i := range 1000 {
				if err := l.Append(t.Context(), []topic.Record{more(i)}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait()
		if u := l.Usage(); u.State != topic.SpaceFull || u.Waiting != 1 || out.count("short of space") == 0 || out.count("no space left") == 0 {
			t.Fatalf("%+v\n%s", u, out.b.String())
		}
		if err := l.Configure(t.Context(), "a", map[string]string{"cleanup.policy": "delete", "retention.bytes": "10000"}); err != nil {
			t.Fatalf("settings must not wait for space: %v", err)
		}
		if err := <-done; err != nil { // they go on by themselves
			t.Fatal(err)
		}
		if out.count("has space again") == 0 {
			t.Fatal(out.b.String())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOffsetAt finds offsets by time, with and without an index in memory, before and after compaction.
func TestOffsetAt(t *testing.T) {
	t.Run("case81_timestamp", func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(81, 1))
		dir := t.TempDir()
		opt := disk.Options{Dir: dir, SegmentBytes: 400_000, ManualCompaction: true}
		l := memLogOn(t, opt)
		var all []topic.Record
		for n := 0; n < 20_000; { // timestamps are out of order somewhat
			var recs []topic.Record
			for range 1 + rnd.IntN(400) {
				recs = append(recs, topic.Record{Topic: "a", Timestamp: int64(n)*10 + rnd.Int64N(5000), Key: fmt.Appendf(nil, "%d", rnd.IntN(2000)), Value: make([]byte, 100)})
				n++
			}
			if err := l.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
			all = append(all, recs...)
		}
		for i := range all {
			all[i].Offset = int64(i)
		}
		end := int64(len(all))
		check := func(what string) {
			t.Helper()
			for _, ms := range []int64{-1, 0, rnd.Int64N(1000), rnd.Int64N(200_000), rnd.Int64N(200_000), rnd.Int64N(200_000), rnd.Int64N(200_000), 1 << 40} {
				want := end
				if i := slices.IndexFunc(all, func(r topic.Record) bool { return r.Timestamp >= ms }); i >= 0 {
					want = all[i].Offset
				}
				if got, err := l.OffsetAt(t.Context(), "a", 0, ms); err != nil || got != want {
					t.Fatalf("%s: time %d is at %d, %v; should be at %d", what, ms, got, err, want)
				}
			}
		}
		check("as written")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = memLogOn(t, opt)
		check("opened again")
		compact(t, l)
		left, err := readAll(t.Context(), l, "a", 0)
		if err != nil || len(left) > 2000 {
			t.Fatalf("%d records, %v", len(left), err)
		}
		all = left
		check("compacted")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = memLogOn(t, opt)
		check("compacted and opened again")
		if _, err := l.OffsetAt(t.Context(), "none", 0, 0); !errors.Is(err, topic.ErrNoTopic) {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
