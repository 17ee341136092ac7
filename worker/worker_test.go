package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func inserts(from, to int64) []fakeEvent {
	var list []fakeEvent
	for id := from; id < to; id++ {
		list = append(list, fakeEvent{change.OpCreate, id, fmt.Sprint("v", id)})
	}
	return list
}

func TestEventsReachTheSinkOnceAndInOrder(t *testing.T) {
	h := newHarness(t)
	h.start()
	h.db.add(inserts(0, 95)...)
	h.db.add(fakeEvent{change.OpDelete, 7, ""}, fakeEvent{change.OpUpdate, 8, "changed"})
	h.create("src", sourceConfig(nil))
	h.create("snk", sinkConfig(nil))
	h.target.until(t, "94 rows", func() bool { return len(h.target.rows) == 94 && h.target.rows[8] == "changed" })
	h.stop()

	h.start() // again, on the same log: nothing is delivered twice
	h.db.add(inserts(100, 110)...)
	h.target.until(t, "104 rows", func() bool { return len(h.target.rows) == 104 })
	seen := map[string]bool{}
	for _, s := range h.target.seen {
		if seen[s] {
			t.Errorf("%s was delivered twice", s)
		}
		seen[s] = true
	}
	if got := len(h.records("p.public.t")); got != 108 { // 97 + a tombstone + 10
		t.Errorf("%d records in the log, want 108", got)
	}
}

// TestBadRecord: what comes before a record that can't be read is delivered, once, and the failure names the record.
func TestBadRecord(t *testing.T) {
	h := newHarness(t)
	h.start()
	h.create("src", sourceConfig(nil))
	h.db.add(inserts(0, 10)...)
	for acked := 0; acked < 10; { // then they are in the log
		h.awaitState("src", Running)
		h.db.mu.Lock()
		acked = h.db.acked
		h.db.mu.Unlock()
	}
	if err := h.log.Append(t.Context(), []topic.Record{{Topic: "p.public.t", Key: []byte("k"), Value: []byte{2}}}); err != nil {
		t.Fatal(err)
	}
	h.db.add(inserts(20, 30)...)
	h.create("snk", sinkConfig(nil))
	s := h.awaitState("snk", Failed)
	if s.Code != "LOG_CORRUPT" || !strings.Contains(s.Trace, "p.public.t-0 offset 10") {
		t.Errorf("%s: %s", s.Code, s.Trace)
	}
	if _, err := h.w.Restart(t.Context(), "snk", true, false); err != nil {
		t.Fatal(err)
	}
	h.awaitState("snk", Failed)
	h.target.mu.Lock()
	defer h.target.mu.Unlock()
	if len(h.target.rows) != 10 || len(h.target.seen) != 10 {
		t.Errorf("%d rows, delivered by %d events, want the 10 before the bad record once", len(h.target.rows), len(h.target.seen))
	}
}

func TestAckComesAfterAppend(t *testing.T) {
	h := newHarness(t)
	broken := errors.New("disk on fire")
	var fail atomic.Bool
	h.wrap = func(l topic.Log) topic.Log {
		return &failingLog{Log: l, fail: func(recs []topic.Record) error {
			if n := len(recs); fail.Load() && n > 1 && recs[n-2].Topic == "p.public.t" { // the last one is the offset
				return broken
			}
			return nil
		}}
	}
	h.start()
	h.create("src", sourceConfig(nil))
	h.create("snk", sinkConfig(nil))
	h.db.add(inserts(0, 10)...)
	h.target.until(t, "ten rows", func() bool { return len(h.target.rows) == 10 })
	fail.Store(true)
	h.db.add(inserts(10, 30)...)
	s := h.awaitState("src", Restarting)
	if !strings.Contains(s.Trace, broken.Error()) {
		t.Errorf("trace is %q", s.Trace)
	}
	h.db.mu.Lock()
	acked := h.db.acked
	h.db.mu.Unlock()
	if acked > 10 {
		t.Errorf("acknowledged up to %d although only 10 are durable", acked)
	}
	fail.Store(false)
	h.target.until(t, "thirty rows", func() bool { return len(h.target.rows) == 30 })
	if got := len(h.records("p.public.t")); got != 30 {
		t.Errorf("%d records in the log, want 30", got)
	}
	h.awaitState("src", Running)
}

// failingLog refuses what fail says. It keeps the log's Watch.
type failingLog struct {
	topic.Log
	fail func([]topic.Record) error
}

func (l *failingLog) Append(ctx context.Context, recs []topic.Record) error {
	if err := l.fail(recs); err != nil {
		return err
	}
	return l.Log.Append(ctx, recs)
}

func (l *failingLog) Watch(ctx context.Context, since uint64) (uint64, error) {
	return l.Log.(topic.Watcher).Watch(ctx, since)
}

func TestSink(t *testing.T) {
	t.Run("case82_applied_but_offset_not_stored", func(t *testing.T) {
		h := newHarness(t)
		var fail atomic.Bool
		h.wrap = func(l topic.Log) topic.Log {
			return &failingLog{Log: l, fail: func(recs []topic.Record) error {
				if fail.Load() && recs[0].Topic == offsets.Topic && strings.Contains(string(recs[0].Key), "snk") {
					return errors.New("offset store down")
				}
				return nil
			}}
		}
		h.start()
		fail.Store(true)
		h.create("src", sourceConfig(nil))
		h.create("snk", sinkConfig(nil))
		h.db.add(inserts(0, 5)...)
		h.awaitState("snk", Restarting)
		if p := h.w.offsets.Committed("snk", "p.public.t-0"); p != nil {
			t.Errorf("offset is %s although none could be stored", p)
		}
		fail.Store(false)
		h.target.until(t, "five rows, replayed", func() bool { return len(h.target.rows) == 5 && len(h.target.seen) > 5 })
		h.awaitState("snk", Running)
	})
	t.Run("a dead sink holds back nobody", func(t *testing.T) {
		h := newHarness(t)
		h.target.fail = func(*change.Event) error { return errors.New("target down") }
		h.start()
		h.create("src", sourceConfig(nil))
		h.create("snk", sinkConfig(nil))
		h.db.add(inserts(0, 50)...)
		h.awaitState("snk", Restarting)
		h.target.until(t, "the source to finish", func() bool { return len(h.records("p.public.t")) == 50 })
		h.target.mu.Lock()
		h.target.fail = nil
		h.target.mu.Unlock()
		h.target.until(t, "fifty rows", func() bool { return len(h.target.rows) == 50 })
	})
	t.Run("case87_rejected_rows", func(t *testing.T) {
		bad := func(e *change.Event) error {
			if e.After != nil && e.After[0].Int64() == 3 {
				return errors.New("mapping conflict")
			}
			return nil
		}
		h := newHarness(t)
		h.target.reject = bad
		h.start()
		h.create("src", sourceConfig(nil))
		h.create("strict", sinkConfig(nil))
		h.db.add(inserts(0, 6)...)
		s := h.awaitState("strict", Failed)
		if s.Code != "ROW_REJECTED" || !strings.Contains(s.Trace, "mapping conflict") || !strings.Contains(s.Trace, "key 3") {
			t.Errorf("status is %+v", s)
		}
		if p := h.w.offsets.Committed("strict", "p.public.t-0"); p != nil {
			t.Errorf("offset moved to %s past a rejected row", p)
		}
		if err := h.w.Delete(context.Background(), "strict"); err != nil {
			t.Fatal(err)
		}
		h.create("tolerant", sinkConfig(map[string]string{"errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead"}))
		h.target.until(t, "five rows", func() bool { return len(h.target.rows) == 5 })
		for h.w.offsets.Committed("tolerant", "p.public.t-0") == nil {
			h.awaitState("tolerant", Running)
		}
		dead := h.records("dead")
		if len(dead) != 1 || dead[0] != "0 3 c" {
			t.Errorf("dead letters are %q", dead)
		}
	})
	t.Run("case87_a_ledger_passes_what_is_buried", func(t *testing.T) {
		h := newHarness(t)
		h.ledger = &fakeLedger{h.target, map[string]change.Position{}}
		h.target.reject = func(*change.Event) error { return errors.New("no") }
		h.start()
		h.create("src", sourceConfig(nil))
		h.create("snk", sinkConfig(map[string]string{"errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead"}))
		h.db.add(inserts(0, 6)...)
		h.target.until(t, "a position", func() bool { return len(h.ledger.positions) > 0 })
		for range 2 {
			if _, err := h.w.Restart(t.Context(), "snk", true, false); err != nil {
				t.Fatal(err)
			}
			h.awaitState("snk", Running)
		}
		h.db.add(inserts(6, 7)...)
		h.target.until(t, "the last row", func() bool {
			p, err := offsets.ParseLogPosition(h.ledger.positions["p.public.t-0"])
			return err == nil && p.Offset == 7
		})
		if dead := h.records("dead"); len(dead) != 7 {
			t.Errorf("%d dead letters of 7 rows", len(dead))
		}
	})
	t.Run("case83_offsets_are_set_only_when_stopped", func(t *testing.T) {
		h := newHarness(t)
		h.start()
		h.create("src", sourceConfig(nil))
		h.create("snk", sinkConfig(nil))
		h.db.add(inserts(0, 20)...)
		h.target.until(t, "twenty rows", func() bool { return len(h.target.rows) == 20 })
		ctx := context.Background()
		back := []offsets.Offset{{Origin: "p.public.t-0", Position: change.Position(`{"kafka_offset":5}`)}}
		if err := h.w.AlterOffsets(ctx, "snk", back); !errors.Is(err, ErrNotStopped) {
			t.Fatalf("altered while running: %v", err)
		}
		if err := h.w.SetState(ctx, "snk", Stopped); err != nil {
			t.Fatal(err)
		}
		if err := h.w.AlterOffsets(ctx, "snk", back); err != nil {
			t.Fatal(err)
		}
		h.target.mu.Lock()
		h.target.seen = nil
		h.target.mu.Unlock()
		if err := h.w.SetState(ctx, "snk", Running); err != nil {
			t.Fatal(err)
		}
		h.target.until(t, "15 events again", func() bool { return len(h.target.seen) >= 15 })
		h.target.mu.Lock()
		defer h.target.mu.Unlock()
		if len(h.target.seen) != 15 {
			t.Errorf("%d events replayed, want exactly 15", len(h.target.seen))
		}
	})
}

func TestPermanentFailuresEndInFailed(t *testing.T) {
	for name, fail := range map[string]func(int) error{
		"SLOT_LOST": func(n int) error {
			if n == 15 {
				return fault.Permanentf("SLOT_LOST", "make a new snapshot", "the slot is gone")
			}
			return nil
		},
		"PANIC": func(n int) error {
			if n == 15 {
				panic("one bad packet")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.db.fail = fail
			h.start()
			h.create("src", sourceConfig(nil))
			h.create("snk", sinkConfig(nil))
			h.db.add(inserts(0, 20)...)
			if s := h.awaitState("src", Failed); s.Code != name {
				t.Errorf("status is %+v", s)
			}
			h.target.until(t, "the rows before", func() bool { return len(h.target.rows) == 10 })
			h.db.mu.Lock()
			h.db.fail = nil
			h.db.mu.Unlock()
			if _, err := h.w.Restart(context.Background(), "src", true, true); err != nil {
				t.Fatal(err)
			}
			h.target.until(t, "all rows", func() bool { return len(h.target.rows) == 20 })
		})
	}
}

func TestRetriesEndWhenTheConfigurationSaysSo(t *testing.T) {
	h := newHarness(t)
	h.db.fail = func(int) error { return errors.New("not now") }
	h.start()
	h.create("src", sourceConfig(map[string]string{"errors.max.retries": "3"}))
	h.db.add(inserts(0, 1)...)
	if s := h.awaitState("src", Failed); s.Code != "RETRIES_EXHAUSTED" || s.Retries != 3 {
		t.Errorf("status is %+v", s)
	}
}

func TestSecretsStayReferences(t *testing.T) {
	h := newHarness(t)
	h.start()
	h.create("src", sourceConfig(map[string]string{"database.password": "${env:PASSWORD}"}))
	h.create("snk", sinkConfig(nil))
	h.db.add(inserts(0, 1)...)
	h.target.until(t, "a row", func() bool { return len(h.target.rows) == 1 }) // the source got the secret
	info, err := h.w.Info("src")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Config["database.password"]; got != "${env:PASSWORD}" {
		t.Errorf("password is shown as %q", got)
	}
}

func TestTruncateReachesEveryPartition(t *testing.T) {
	h := newHarness(t)
	h.start()
	h.create("src", sourceConfig(map[string]string{"topic.creation.default.partitions": "3"}))
	h.create("snk", sinkConfig(map[string]string{"tasks.max": "2"}))
	h.db.add(inserts(0, 30)...)
	h.target.until(t, "thirty rows", func() bool { return len(h.target.rows) == 30 })
	h.db.add(fakeEvent{change.OpTruncate, 0, ""})
	h.target.until(t, "no rows", func() bool { return len(h.target.rows) == 0 })
	truncates, used := 0, map[string]bool{}
	for len(h.records("p.public.t")) < 33 {
		h.awaitState("src", Running)
	}
	for _, r := range h.records("p.public.t") {
		used[r[:1]] = true
		if strings.HasSuffix(r, " t") {
			truncates++
		}
	}
	if truncates != 3 || len(used) != 3 {
		t.Errorf("%d truncates in partitions %v, want one in each of 3", truncates, used)
	}
}

func TestManagement(t *testing.T) {
	h := newHarness(t)
	h.start()
	ctx := context.Background()
	h.create("src", sourceConfig(nil))
	if _, err := h.w.Create(ctx, "src", sourceConfig(nil), Running); !errors.Is(err, ErrExists) {
		t.Errorf("second create: %v", err)
	}
	var invalid *InvalidError
	if _, err := h.w.Create(ctx, "x", map[string]string{"connector.class": "fakesorce"}, Running); !errors.As(err, &invalid) {
		t.Errorf("unknown class: %v", err)
	} else if !strings.Contains(invalid.Error(), "did you mean fakesource?") {
		t.Errorf("no suggestion in %v", invalid)
	}
	if _, err := h.w.Status("nope"); !errors.Is(err, ErrNotFound) {
		t.Errorf("status of nobody: %v", err)
	}
	for _, s := range []State{Paused, Paused, Running, Stopped, Running} {
		if err := h.w.SetState(ctx, "src", s); err != nil {
			t.Fatal(err)
		}
		got, err := h.w.Status("src")
		if err != nil || got.State != s {
			t.Errorf("state %s, want %s (%v)", got.State, s, err)
		}
		if s == Stopped && len(got.Tasks) != 0 || s == Paused && got.Tasks[0].State != Paused {
			t.Errorf("tasks when %s: %+v", s, got.Tasks)
		}
	}
	if err := h.w.SetState(ctx, "src", Paused); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.start()
	if got, err := h.w.Status("src"); err != nil || got.State != Paused {
		t.Errorf("after a restart the state is %s, want PAUSED (%v)", got.State, err)
	}
	if err := h.w.Delete(ctx, "src"); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.start()
	if names := h.w.Names(); len(names) != 0 {
		t.Errorf("deleted connectors came back: %v", names)
	}
}

func TestConcurrentOperationsOnOneConnector(t *testing.T) {
	h := newHarness(t)
	h.start()
	ctx := context.Background()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			var err error
			switch i % 4 {
			case 0, 1:
				_, _, err = h.w.Put(ctx, "src", sourceConfig(map[string]string{"n": fmt.Sprint(i)}))
			case 2:
				err = h.w.Delete(ctx, "src")
			case 3:
				_, err = h.w.Restart(ctx, "src", true, false)
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				t.Errorf("operation %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if _, _, err := h.w.Put(ctx, "src", sourceConfig(nil)); err != nil {
		t.Fatal(err)
	}
	h.create("snk", sinkConfig(nil))
	h.db.add(inserts(0, 3)...)
	h.target.until(t, "three rows", func() bool { return len(h.target.rows) == 3 })
	if got := len(h.records("p.public.t")); got != 3 {
		t.Errorf("%d records: more than one source was running", got)
	}
}

func TestPartitionerIsKafkas(t *testing.T) {
	// The expected values are those of org.apache.kafka.common.utils.UtilsTest.
	for key, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestLagOfAnIdleSource(t *testing.T) {
	task, waiting := newTask(0), 1.0
	task.gauges = func() map[string]float64 { return map[string]float64{"unacknowledged_bytes": waiting} }
	if lag := task.status().LagMS; lag != -1 {
		t.Errorf("lag %d ms before the first event", lag)
	}
	task.advanced(1, 1_000_000, time.UnixMilli(3000))
	if lag := task.status().LagMS; lag != 2000 {
		t.Errorf("lag %d ms while something waits", lag)
	}
	waiting = 0
	if lag := task.status().LagMS; lag != 0 {
		t.Errorf("lag %d ms though all is durable", lag)
	}
}

// TestLeftBehind: a sink whose records retention removes before it has read them is told of before, and ends in FAILED with
// a reason, not in a gap.
func TestLeftBehind(t *testing.T) {
	ctx := context.Background()
	h := newHarness(t)
	h.start()
	if err := h.log.Create(ctx, topic.Spec{Name: "p.public.t", Partitions: 1,
		Config: map[string]string{"cleanup.policy": "delete", "segment.bytes": "200", "retention.ms": "-1"}}); err != nil {
		t.Fatal(err)
	}
	h.create("src", sourceConfig(nil))
	h.create("snk", sinkConfig(nil))
	h.db.add(inserts(0, 5)...)
	h.target.until(t, "five rows", func() bool { return len(h.target.rows) == 5 })
	for h.w.offsets.Committed("snk", "p.public.t-0") == nil {
		h.awaitState("snk", Running)
	}
	if err := h.w.SetState(ctx, "snk", Stopped); err != nil {
		t.Fatal(err)
	}
	for n := int64(5); n < 20; n++ { // one append each, so that there are several segments
		h.db.add(inserts(n, n+1)...)
		for int64(len(h.records("p.public.t"))) <= n {
			h.awaitState("src", Running)
		}
	}
	lag := func() Lag {
		t.Helper()
		lags, err := h.w.Lag(ctx)
		if err != nil || len(lags) != 1 {
			t.Fatalf("%+v, %v", lags, err)
		}
		return lags[0]
	}
	if l := lag(); l.Lag == 0 || l.Bytes <= 0 || l.AgeMS < 0 || l.AtRisk || l.LeftBehind {
		t.Fatalf("%+v", l)
	}
	bytes := lag().Bytes
	if _, err := h.w.ConfigureTopic(ctx, "p.public.t", map[string]string{"retention.bytes": fmt.Sprint(bytes / 2)}); err != nil {
		t.Fatal(err)
	}
	if l := lag(); !l.AtRisk || l.LeftBehind {
		t.Fatalf("before it happens: %+v", l)
	}
	if _, err := h.w.ConfigureTopic(ctx, "p.public.t", map[string]string{"retention.bytes": "1"}); err != nil {
		t.Fatal(err)
	}
	if err := h.log.Compact(ctx, "p.public.t"); err != nil {
		t.Fatal(err)
	}
	if l := lag(); !l.LeftBehind {
		t.Fatalf("%+v", l)
	}
	if err := h.w.SetState(ctx, "snk", Running); err != nil {
		t.Fatal(err)
	}
	if s := h.awaitState("snk", Failed); s.Code != "CONSUMER_LEFT_BEHIND" || !strings.Contains(s.Trace, "p.public.t/0") {
		t.Fatalf("%+v", s)
	}
	if err := h.w.SetState(ctx, "snk", Stopped); err != nil {
		t.Fatal(err)
	}
	if err := h.w.ResetOffsets(ctx, "snk"); err != nil {
		t.Fatal(err)
	}
	if err := h.w.SetState(ctx, "snk", Running); err != nil {
		t.Fatal(err)
	}
	h.awaitState("snk", Running)
	_, err := h.w.ConfigureTopic(ctx, "p.public.t", map[string]string{"retention.byte": "1"})
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("a wrong name: %v", err)
	}
	if _, err := h.w.ConfigureTopic(ctx, "none", nil); !errors.Is(err, topic.ErrNoTopic) {
		t.Fatal(err)
	}
	if u, ok := h.w.Usage(); !ok || u.State != topic.SpaceOK || u.Segments == 0 {
		t.Fatalf("%+v", u)
	}
}

// TestConsumerFloor: an offset of a topic that is no more says nothing of the one that has its name now.
func TestConsumerFloor(t *testing.T) {
	h := newHarness(t)
	h.start()
	h.create("src", sourceConfig(nil))
	h.create("snk", sinkConfig(nil))
	h.db.add(inserts(0, 5)...)
	h.target.until(t, "five rows", func() bool { return len(h.target.rows) == 5 })
	for h.w.ConsumerFloor("p.public.t", 1, 0) != 5 {
		h.awaitState("snk", Running)
	}
	if n := h.w.ConsumerFloor("p.public.t", 2, 0); n != 0 {
		t.Fatalf("floor %d in the next topic of the name", n)
	}
	if n := h.w.ConsumerFloor("other", 1, 0); n != 1<<63-1 {
		t.Fatalf("floor %d where nobody reads", n)
	}
}

// TestUnknownProperties: one that nobody knows is taken over REST, as by Kafka Connect, and the log says so, without its value.
func TestUnknownProperties(t *testing.T) {
	var out strings.Builder
	w := &Worker{opt: Options{Logger: slog.New(slog.NewTextHandler(&out, nil)), Sources: []source.Plugin{{Name: "fakesource"}}}}
	w.warnUnknown("src", map[string]string{"connector.class": "fakesource", "snapshot.mod": "hush", "column.mask.with.5.chars": "t.c"})
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "did you mean snapshot.mode?") || strings.Contains(got, "hush") {
		t.Error(got)
	}
}
