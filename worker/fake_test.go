package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// fakeTable has a key and a value.
var fakeTable = &change.Table{
	Name:    change.TableName{Database: "d", Schema: "public", Table: "t"},
	Origin:  &change.Origin{Connector: "fake", Name: "p"},
	Version: 1,
	Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int, Bits: 64}}, {Name: "v", Type: change.Type{Kind: change.Text}, Nullable: true}},
	Key:     []int{0},
}

// fakeDB is a database whose log is a list of events; a position is an index into it.
type fakeDB struct {
	mu     sync.Mutex
	events []fakeEvent
	grown  chan struct{}
	acked  int
	opened int
	notes  bool              // batches note where they end
	fail   func(n int) error // asked before event n is delivered
}

type fakeEvent struct {
	op  change.Op
	id  int64
	val string
}

func newFakeDB() *fakeDB { return &fakeDB{grown: make(chan struct{})} }

func (db *fakeDB) add(list ...fakeEvent) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.events = append(db.events, list...)
	close(db.grown)
	db.grown = make(chan struct{})
}

func (db *fakeDB) Stream(_ context.Context, from change.Position) (source.Stream, error) {
	s := &fakeStream{db: db}
	if len(from) > 0 {
		var p struct{ N int }
		if err := json.Unmarshal(from, &p); err != nil {
			return nil, err
		}
		s.at = p.N
	}
	return s, nil
}

func (db *fakeDB) Close() error { return nil }

type fakeStream struct {
	db *fakeDB
	at int
}

func (s *fakeStream) Read(ctx context.Context, b *change.Batch) error {
	for {
		s.db.mu.Lock()
		n, grown, fail := len(s.db.events), s.db.grown, s.db.fail
		list := s.db.events[min(s.at, n):min(s.at+10, n)]
		s.db.mu.Unlock()
		if len(list) > 0 {
			for _, fe := range list {
				if fail != nil {
					if err := fail(s.at); err != nil {
						return err
					}
				}
				fe.fill(b, s.at)
				s.at++
			}
			b.Origin, b.Resume = "p", fmt.Appendf(nil, `{"N":%d}`, s.at)
			if s.db.notes {
				b.Notes = append(b.Notes, change.Note{Key: "at", Value: b.Resume}, change.Note{Key: fmt.Sprint(s.at), Value: []byte("{}")},
					change.Note{Key: fmt.Sprint(s.at - len(list))})
			}
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (fe fakeEvent) fill(b *change.Batch, at int) {
	e := b.Add()
	row := b.Row(2)
	row[0] = change.Value{Kind: change.Int, Num: uint64(fe.id)}
	row[1] = change.Value{Kind: change.Text, Data: b.Copy([]byte(fe.val))}
	e.Table, e.Op, e.Topic, e.Txn, e.Commit = fakeTable, fe.op, "p.public.t", uint64(at), time.Now().UnixMicro()
	if fe.op == change.OpTruncate {
		return
	}
	key, _ := change.AppendKey(nil, fakeTable, row)
	e.Key = b.Copy(key)
	if fe.op == change.OpDelete {
		row[1] = change.Value{}
		e.Before = row
	} else {
		e.After = row
	}
}

func (s *fakeStream) Ack(_ context.Context, p change.Position) error {
	var pos struct{ N int }
	if err := json.Unmarshal(p, &pos); err != nil {
		return err
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.acked = pos.N
	return nil
}

func (s *fakeStream) Close() error { return nil }

// fakeTarget is a target that keeps rows in memory.
type fakeTarget struct {
	mu      sync.Mutex
	rows    map[int64]string
	seen    []string // "lane:version" of every event, in order
	changed chan struct{}
	fail    func(e *change.Event) error // error for the whole write
	reject  func(e *change.Event) error
}

func newFakeTarget() *fakeTarget {
	return &fakeTarget{rows: map[int64]string{}, changed: make(chan struct{})}
}

func (t *fakeTarget) Write(_ context.Context, b *change.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		close(t.changed)
		t.changed = make(chan struct{})
	}()
	var rejected sink.Rejected
	for i := range b.Events {
		e := &b.Events[i]
		if t.fail != nil {
			if err := t.fail(e); err != nil {
				return err
			}
		}
		if t.reject != nil {
			if err := t.reject(e); err != nil {
				rejected = append(rejected, sink.RowError{Index: i, Err: err})
				continue
			}
		}
		t.seen = append(t.seen, fmt.Sprintf("%s:%d", b.Origin, e.Version))
		switch e.Op {
		case change.OpTruncate:
			clear(t.rows)
		case change.OpDelete, change.OpTombstone:
			delete(t.rows, e.Before[0].Int64())
		default:
			t.rows[e.After[0].Int64()] = string(e.After[1].Data)
		}
	}
	if rejected != nil {
		return rejected
	}
	return nil
}

func (t *fakeTarget) Close() error { return nil }

// fakeLedger is a target that keeps the positions of batches of which it has refused nothing.
type fakeLedger struct {
	*fakeTarget
	positions map[string]change.Position
}

func (l *fakeLedger) Write(ctx context.Context, b *change.Batch) error {
	err := l.fakeTarget.Write(ctx, b)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.positions[b.Origin] = bytes.Clone(b.Resume)
	}
	return err
}

func (l *fakeLedger) Committed(_ context.Context, origin string) (change.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.positions[origin], nil
}

// until waits until ok, which is called with the target's lock held, after each write.
func (t *fakeTarget) until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		t.mu.Lock()
		done, changed := ok(), t.changed
		t.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			tb.Fatalf("timed out waiting for %s", what)
		}
	}
}

// harness is a worker on a real log, with the fake plugins "fakesource" and "fakesink".
type harness struct {
	tb     testing.TB
	dir    string
	db     *fakeDB
	target *fakeTarget
	ledger *fakeLedger // the target instead; nil: it keeps no positions
	log    *disk.Log
	wrap   func(topic.Log) topic.Log
	w      *Worker
	stop   func()
}

type regCodec struct{ *rowcodec.Registry }

func (c regCodec) NewEncoder(tombstones bool) Encoder {
	return c.Registry.NewEncoder(rowcodec.EncoderOptions{Tombstones: tombstones})
}
func (c regCodec) NewDecoder() Decoder { return c.Registry.NewDecoder() }

// plainFormat writes the key tuple and the op: enough to see that Tail works.
type plainFormat struct{}

func (plainFormat) AppendKey(dst []byte, e *change.Event) ([]byte, bool) {
	return append(dst, change.KeyText(e.Key)...), e.Key != nil
}
func (plainFormat) AppendValue(dst []byte, e *change.Event) ([]byte, bool) {
	return append(dst, byte(e.Op)), true
}
func (plainFormat) AppendHeaders(dst []byte, _ *change.Event) []byte { return append(dst, "[]"...) }

func newHarness(tb testing.TB) *harness {
	return &harness{tb: tb, dir: tb.TempDir(), db: newFakeDB(), target: newFakeTarget()}
}

func (h *harness) start() {
	h.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	log, err := disk.Open(ctx, disk.Options{Dir: h.dir, Logger: logger})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.log = log
	var front topic.Log = log
	if h.wrap != nil {
		front = h.wrap(log)
	}
	reg, err := rowcodec.Open(ctx, log)
	if err != nil {
		h.tb.Fatal(err)
	}
	none := func(map[string]string) []config.Problem { return nil }
	h.w, err = Open(ctx, Options{Log: front, Codec: regCodec{reg}, Formatter: func(map[string]string) Formatter { return plainFormat{} },
		Sources: []source.Plugin{{Name: "fakesource", Classes: []string{"org.example.FakeSource"}, Check: none,
			Open: func(_ context.Context, s source.Setup) (source.Source, error) {
				if want := s.Props["database.password"]; want != "" && want != "secret" {
					return nil, errors.New("the secret was not resolved")
				}
				h.db.mu.Lock()
				defer h.db.mu.Unlock()
				h.db.opened++
				return h.db, nil
			}}},
		Sinks: []sink.Plugin{{Name: "fakesink", Check: none,
			Open: func(context.Context, sink.Setup) (sink.Sink, error) {
				if h.ledger != nil {
					return h.ledger, nil
				}
				return h.target, nil
			}}},
		Providers: config.Providers{Env: func(name string) (string, bool) { return "secret", name == "PASSWORD" }},
		Version:   "test", ID: "test:1", Logger: logger, Now: time.Now, Backoff: [2]time.Duration{time.Millisecond, 5 * time.Millisecond}})
	if err != nil {
		h.tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- h.w.Run(ctx) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				h.tb.Error(err)
			}
			if err := log.Close(); err != nil {
				h.tb.Error(err)
			}
		})
	}
	h.tb.Cleanup(h.stop)
}

func (h *harness) create(name string, cfg map[string]string) {
	h.tb.Helper()
	if _, err := h.w.Create(context.Background(), name, cfg, Running); err != nil {
		h.tb.Fatal(err)
	}
}

func sourceConfig(extra map[string]string) map[string]string {
	cfg := map[string]string{"connector.class": "fakesource", "topic.prefix": "p"}
	maps.Copy(cfg, extra)
	return cfg
}

func sinkConfig(extra map[string]string) map[string]string {
	cfg := map[string]string{"connector.class": "fakesink", "topics.regex": `p\..*`}
	maps.Copy(cfg, extra)
	return cfg
}

// awaitState waits until task 0 of the connector is in the state.
func (h *harness) awaitState(name string, state State) TaskStatus {
	h.tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s, err := h.w.Status(name)
		if err != nil {
			h.tb.Fatal(err)
		}
		if len(s.Tasks) > 0 && s.Tasks[0].State == state {
			return s.Tasks[0]
		}
		if time.Now().After(deadline) {
			h.tb.Fatalf("connector %s did not become %s: %+v", name, state, s)
		}
		<-time.After(time.Millisecond)
	}
}

// records returns "key op" of everything in the topic, through Tail.
func (h *harness) records(name string) []string {
	h.tb.Helper()
	var list []string
	err := h.w.Tail(context.Background(), TailRequest{Topics: []string{name}, From: "start", Until: "end"}, func(r *TailRecord) error {
		list = append(list, fmt.Sprintf("%d %s %s", r.Partition, r.Key, r.Value))
		return nil
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	return list
}
