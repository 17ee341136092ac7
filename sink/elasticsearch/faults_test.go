package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func (f *fake) open(props map[string]string) *Sink {
	all := f.props()
	maps.Copy(all, props)
	k := openTest(f.t, all)
	f.t.Cleanup(func() { k.Close() })
	return k
}

func (f *fake) doc(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.indexes["shop.public.t"]
	if x == nil || x.docs[id] == nil {
		return ""
	}
	return string(x.docs[id].source)
}

func (f *fake) count() (n int) {
	return len(f.rows(f.t, "shop.public.t"))
}

func TestRefusedForNow(t *testing.T) {
	t.Run("case86_only_failed_items_are_sent_again", func(t *testing.T) {
		f := newFake(t)
		h, tb := pairs()
		for id := range int64(100) {
			h.Create(tb, sinktest.Int(id), sinktest.Int(id))
		}
		f.whole = func(n int) int { return map[int]int{1: 429, 2: 503, 3: 502}[n] }
		f.item = func(id string) (int, string) {
			switch {
			case len(id) == 1 && f.sent[id] < 4:
				return 429, "es_rejected_execution_exception"
			case id == "77" && f.sent[id] < 3:
				return 503, "unavailable_shards_exception"
			case id == "78" && f.sent[id] < 3:
				return 403, "cluster_block_exception"
			}
			return 0, ""
		}
		if err := write(t, f.open(nil), h.Take()); err != nil {
			t.Fatal(err)
		}
		if f.count() != 100 {
			t.Errorf("%d documents, want 100", f.count())
		}
		for id, n := range f.sent {
			want := 1
			if len(id) == 1 {
				want = 4
			} else if id == "77" || id == "78" {
				want = 3
			}
			if n != want {
				t.Errorf("document %s was sent %d times, want %d", id, n, want)
			}
		}
	})
	t.Run("case86_backoff_is_capped_and_jittered", func(t *testing.T) {
		k := newSink(&Config{Backoff: time.Hour, InFlight: 1}, nil)
		asked := 0
		k.jitter = func() float64 { asked++; return 0 }
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := k.pause(ctx, 1000); !errors.Is(err, context.Canceled) || asked != 1 {
			t.Errorf("pause: %v, jitter asked %d times", err, asked)
		}
		k.cfg.Backoff = time.Millisecond
		if err := k.pause(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
	t.Run("retries_end_and_the_batch_goes_back", func(t *testing.T) {
		f := newFake(t)
		h, tb := pairs()
		h.Create(tb, sinktest.Int(1), sinktest.Int(1))
		f.item = func(string) (int, string) { return 429, "es_rejected_execution_exception" }
		err := write(t, f.open(map[string]string{"max.retries": "3"}), h.Take())
		if err == nil || fault.IsPermanent(err) || !strings.Contains(err.Error(), "es_rejected_execution_exception") {
			t.Errorf("error is %v", err)
		}
		if f.sent["1"] != 4 {
			t.Errorf("sent %d times, want 4", f.sent["1"])
		}
	})
}

// TestOrder: 100 updates of each of some ids, many requests at once, every fifth item fails at random, and answers are lost.
func TestOrder(t *testing.T) {
	t.Run("case89_hundred_updates_of_one_id", func(t *testing.T) {
		for seed := range uint64(20) {
			f := newFake(t)
			h, tb := pairs()
			r := rand.New(rand.NewPCG(seed, 89))
			f.item = func(string) (int, string) {
				if r.IntN(5) == 0 {
					return 429, "es_rejected_execution_exception"
				}
				return 0, ""
			}
			k := f.open(map[string]string{"batch.size": "2", "max.in.flight.requests": "8", "max.retries": "1000"})
			for n := range int64(100) {
				for id := range int64(17) {
					h.Update(tb, sinktest.Int(id), sinktest.Int(n+1))
				}
				if r.IntN(7) == 0 || n == 99 {
					b := h.Take()
					if r.IntN(2) == 0 {
						f.mu.Lock()
						f.lose = r.IntN(3)
						f.mu.Unlock()
					}
					if err := write(t, k, b); err != nil {
						t.Fatal(err)
					}
				}
			}
			for id := range 17 {
				if got, want := f.doc(fmt.Sprint(id)), fmt.Sprintf(`{"id":%d,"n":100}`, id); got != want {
					t.Errorf("seed %d: document is %s, want %s", seed, got, want)
				}
			}
		}
	})
	t.Run("requests_overlap", func(t *testing.T) {
		f := newFake(t)
		h, tb := pairs()
		for id := range int64(40) {
			h.Create(tb, sinktest.Int(id), sinktest.Int(id))
		}
		// Four requests must be in flight at once before any goes on.
		var wg sync.WaitGroup
		wg.Add(4)
		f.barrier = func() { wg.Done(); wg.Wait() }
		if err := write(t, f.open(map[string]string{"batch.size": "10", "max.in.flight.requests": "4"}), h.Take()); err != nil || f.count() != 40 {
			t.Errorf("%d documents, %v", f.count(), err)
		}
	})
}

func TestRefusedForGood(t *testing.T) {
	// Of several events of one row, exactly those are rejected that Elasticsearch refuses.
	t.Run("the_state_before_is_written", func(t *testing.T) {
		f := newFake(t)
		h := sinktest.NewHistory("shop.public.t")
		tb := sinktest.Table("t", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "text"))
		strict := `{"mappings":{"dynamic":"strict","properties":{"id":{"type":"long"},"n":{"type":"long"}}}}`
		if status, text := f.create("shop.public.t", []byte(strict)); status != 200 {
			t.Fatal(text)
		}
		h.Create(tb, sinktest.Int(1), sinktest.Decimal("1"))
		h.Update(tb, sinktest.Int(1), sinktest.Text("no number"))
		h.Update(tb, sinktest.Int(1), sinktest.Text("neither"))
		h.Create(tb, sinktest.Int(2), sinktest.Decimal("2"))
		h.Update(tb, sinktest.Int(2), sinktest.Text("bad"))
		h.Update(tb, sinktest.Int(2), sinktest.Decimal("3"))
		h.Create(tb, sinktest.Int(3), sinktest.Text("bad"))
		k := f.open(nil)
		err := write(t, k, h.Take())
		var rejected sink.Rejected
		if !errors.As(err, &rejected) {
			t.Fatalf("error is %v", err)
		}
		var got []int
		for _, r := range rejected {
			got = append(got, r.Index)
			if !strings.Contains(r.Err.Error(), "document_parsing_exception") {
				t.Errorf("reason is %v", r.Err)
			}
		}
		if fmt.Sprint(got) != "[1 2 6]" {
			t.Errorf("rejected %v, want [1 2 6]", got)
		}
		if f.doc("1") != `{"id":1,"n":1}` || f.doc("2") != `{"id":2,"n":3}` || f.doc("3") != "" {
			t.Errorf("documents are %s %s %s", f.doc("1"), f.doc("2"), f.doc("3"))
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, line := range f.log {
			if strings.HasPrefix(line, "PUT") && strings.HasSuffix(line, "_mapping") {
				t.Errorf("the sink changed the mapping of an index that is not its own: %s", line)
			}
		}
	})
	t.Run("too_large_is_cut", func(t *testing.T) {
		f := newFake(t)
		f.tooLarge = 3000
		h := sinktest.NewHistory("shop.public.t")
		tb := sinktest.Table("t", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "text"))
		for id := range int64(64) {
			h.Create(tb, sinktest.Int(id), sinktest.Text("x"))
		}
		h.Create(tb, sinktest.Int(100), sinktest.Text(strings.Repeat("x", 4000)))
		err := write(t, f.open(nil), h.Take())
		var rejected sink.Rejected
		if !errors.As(err, &rejected) || len(rejected) != 1 || rejected[0].Index != 64 || !strings.Contains(rejected[0].Err.Error(), "413") {
			t.Errorf("error is %v", err)
		}
		if f.count() != 64 {
			t.Errorf("%d documents, want 64", f.count())
		}
	})
	t.Run("one_item_spoils_the_request", func(t *testing.T) {
		f := newFake(t)
		h, tb := pairs()
		for id := range int64(33) {
			h.Create(tb, sinktest.Int(id), sinktest.Int(id))
		}
		f.mu.Lock()
		f.whole = func(int) int {
			if f.lastHas("20") {
				return 400
			}
			return 0
		}
		f.mu.Unlock()
		err := write(t, f.open(nil), h.Take())
		var rejected sink.Rejected
		if !errors.As(err, &rejected) || len(rejected) != 1 || rejected[0].Index != 20 {
			t.Errorf("error is %v", err)
		}
		if f.count() != 32 {
			t.Errorf("%d documents, want 32", f.count())
		}
	})
	t.Run("version_beyond_elasticsearch", func(t *testing.T) {
		f := newFake(t)
		h, tb := pairs()
		h.Create(tb, sinktest.Int(1), sinktest.Int(1))
		b := h.Take()
		b.Events[0].Version = 1 << 63
		if err := write(t, f.open(nil), b); !errors.As(err, new(sink.Rejected)) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestCredentials(t *testing.T) {
	f := newFake(t)
	k := f.open(map[string]string{"connection.username": "u", "connection.password": "hunter2"})
	h, tb := pairs()
	h.Create(tb, sinktest.Int(1), sinktest.Int(1))
	f.whole = func(int) int { return 401 }
	err := write(t, k, h.Take())
	if fault.Code(err) != "AUTH_FAILED" || !strings.Contains(err.Error(), "connection.password") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v", err)
	}
	f.mu.Lock()
	f.whole = nil
	f.item = func(string) (int, string) { return 403, "security_exception" }
	f.mu.Unlock()
	if err := write(t, k, h.Slice(0, 1)); fault.Code(err) != "AUTH_FAILED" {
		t.Errorf("error is %v", err)
	}
}

// TestGCDeletes shows what index.gc_deletes is for: within it a late write is old news, after it Elasticsearch has
// forgotten, and only the log's replay up to its end makes things right.
func TestGCDeletes(t *testing.T) {
	f := newFake(t)
	h, tb := pairs()
	k := f.open(map[string]string{"index.gc_deletes": "10m"})
	h.Create(tb, sinktest.Int(1), sinktest.Int(1))
	h.Delete(tb, sinktest.Int(1))
	step := func(from, to int, want string) {
		t.Helper()
		if err := write(t, k, h.Slice(from, to)); err != nil {
			t.Fatal(err)
		}
		if got := f.doc("1"); got != want {
			t.Errorf("document is %q, want %q", got, want)
		}
	}
	step(0, 1, `{"id":1,"n":1}`)
	step(1, 2, "")
	f.mu.Lock()
	f.now = f.now.Add(9 * time.Minute)
	f.mu.Unlock()
	step(0, 1, "")
	f.mu.Lock()
	f.now = f.now.Add(2 * time.Minute)
	f.mu.Unlock()
	step(0, 1, `{"id":1,"n":1}`)
	step(1, 2, "")
	step(0, 2, "")
}

// TestTruncateKeepsNewer: a replayed truncate deletes what is older and nothing else, and is sent again while the cluster
// refuses.
func TestTruncateKeepsNewer(t *testing.T) {
	f := newFake(t)
	h, tb := pairs()
	for id := range int64(50) {
		h.Create(tb, sinktest.Int(id), sinktest.Int(1))
	}
	h.Truncate(tb)
	for id := int64(40); id < 60; id++ {
		h.Create(tb, sinktest.Int(id), sinktest.Int(2))
	}
	k := f.open(nil)
	if err := write(t, k, h.Slice(0, 50)); err != nil {
		t.Fatal(err)
	}
	f.item = func(id string) (int, string) {
		if f.sent[id]%3 == 0 {
			return 429, "es_rejected_execution_exception"
		}
		return 0, ""
	}
	for range 3 {
		if err := write(t, k, h.Slice(50, 71)); err != nil {
			t.Fatal(err)
		}
		if err := write(t, k, h.Slice(50, 51)); err != nil {
			t.Fatal(err)
		}
		if f.count() != 20 || f.doc("45") != `{"id":45,"n":2}` {
			t.Errorf("%d documents, 45 is %s", f.count(), f.doc("45"))
		}
	}
}

func TestDeletesIgnored(t *testing.T) {
	f := newFake(t)
	h, tb := pairs()
	h.Create(tb, sinktest.Int(1), sinktest.Int(1))
	h.Delete(tb, sinktest.Int(1))
	h.Truncate(tb)
	if err := write(t, f.open(map[string]string{"behavior.on.null.values": "ignore"}), h.Take()); err != nil || f.count() != 1 {
		t.Errorf("%d documents, %v", f.count(), err)
	}
}

// TestNodeRefuses sees the refusals of a real node of little patience: requests of more than 1 MB, one writer with a queue of
// one, and memory for 1.5 MB of writes.
func TestNodeRefuses(t *testing.T) {
	s := servers.Private(t, "elasticsearch8", map[string]string{"http.max_content_length": "1mb", "thread_pool.write.size": "1",
		"thread_pool.write.queue_size": "1", "indexing_pressure.memory.limit": "1500kb"})
	n := newNode(t, "http://"+s.Addr)
	k := openTest(t, map[string]string{"connection.url": "http://" + s.Addr, "batch.size": "50", "max.in.flight.requests": "4", "retry.backoff.ms": "2", "max.retries": "200"})
	defer k.Close()
	var pauses atomic.Int32
	k.jitter = func() float64 { pauses.Add(1); return rand.Float64() }
	h := sinktest.NewHistory("shop.public.t")
	tb := sinktest.Table("t", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "int8"), sinktest.Column("v", "text"))
	for id := range int64(1000) {
		v := "small"
		if id%100 == 99 {
			v = strings.Repeat("large ", 30_000)
		}
		h.Create(tb, sinktest.Int(id), sinktest.Int(id), sinktest.Text(v))
	}
	h.Create(tb, sinktest.Int(9999), sinktest.Int(0), sinktest.Text(strings.Repeat("x", 2<<20)))
	err := write(t, k, h.Take())
	var rejected sink.Rejected
	if !errors.As(err, &rejected) || len(rejected) != 1 || rejected[0].Index != 1000 || !strings.Contains(err.Error(), "413") {
		t.Fatalf("error is %.300v", err)
	}
	if rows := n.rows("shop.public.t"); len(rows) != 1000 {
		t.Errorf("%d documents, want 1000", len(rows))
	}
	if pauses.Load() == 0 {
		t.Errorf("the node refused nothing for now, so the test shows nothing")
	}
	for round := range int64(3) {
		for id := range int64(500) {
			h.Update(tb, sinktest.Int(id), sinktest.Int(round), change.Value{})
		}
		if err := write(t, k, h.Take()); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range n.rows("shop.public.t") {
		if len(row["v"]) < 7 {
			t.Fatalf("row %s lost its text: %v", row["id"], row)
		}
	}
}
