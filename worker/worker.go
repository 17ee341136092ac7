package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/transform"
)

// A Codec turns events into records of the log and back. It is safe for concurrent use; encoders and decoders are not.
type Codec interface {
	// NewEncoder returns an encoder for one task; with tombstones each delete is followed by its tombstone.
	NewEncoder(tombstones bool) Encoder
	NewDecoder() Decoder
}

// An Encoder appends the records of a batch to recs, schemas before the first event that needs them (Invariant 5). The
// records' bytes are valid until the next Encode. Partitions are left 0.
type Encoder interface {
	Encode(b *change.Batch, recs []topic.Record) ([]topic.Record, error)
}

// A Decoder appends one event for each record to b. The events may alias the records' bytes.
type Decoder interface {
	Decode(recs []topic.Record, epoch uint32, b *change.Batch) error
}

// A Formatter writes events the way consumers outside read them. It reports false for null. It is used by one goroutine.
type Formatter interface {
	AppendKey(dst []byte, e *change.Event) ([]byte, bool)
	AppendValue(dst []byte, e *change.Event) ([]byte, bool)
	// AppendHeaders appends a JSON array of objects with key and value.
	AppendHeaders(dst []byte, e *change.Event) []byte
}

// Options are what a worker is made of. All fields are needed but CheckFormat and Backoff.
type Options struct {
	Log   topic.Log
	Codec Codec
	// Formatter makes the formatter for events of the source connector with these properties (nil: of no known one), by
	// its converters. CheckFormat judges them.
	Formatter   func(props map[string]string) Formatter
	CheckFormat func(props map[string]string) []config.Problem

	Sources    []source.Plugin
	Sinks      []sink.Plugin
	Transforms []transform.Plugin
	Providers  config.Providers // where placeholders get their values
	Version    string
	ID         string // host:port, shown as worker_id
	Logger     *slog.Logger
	Now        func() time.Time
	// Backoff bounds the pause before a retry: it grows from the first to the second, with jitter. Default 250 ms, 30 s.
	Backoff [2]time.Duration
	// Scratch is a directory for files of sources that do not outlive them (see source.Setup); empty: there is none.
	Scratch string
}

// Worker runs the connectors of one daemon. Its methods may be called concurrently.
type Worker struct {
	opt     Options
	offsets *offsets.Store
	topics  *topicTable
	store   *configStore

	mu         sync.Mutex
	connectors map[string]*connector
	running    bool // Run is under way: connectors are started
}

// Open reads offsets and configurations from the log. It starts nothing.
func Open(ctx context.Context, opt Options) (*Worker, error) {
	if opt.Backoff == [2]time.Duration{} {
		opt.Backoff = [2]time.Duration{250 * time.Millisecond, 30 * time.Second}
	}
	store, err := openConfigStore(ctx, opt.Log, opt.Now)
	if err != nil {
		return nil, err
	}
	off, err := offsets.Open(ctx, opt.Log, opt.Now)
	if err != nil {
		return nil, err
	}
	w := &Worker{opt: opt, offsets: off, topics: newTopicTable(opt.Log), store: store, connectors: map[string]*connector{}}
	for name, stored := range store.all() {
		w.connectors[name] = w.newConnector(name, stored)
	}
	return w, nil
}

// Run starts the connectors and blocks until ctx is done and every task has ended. It is called once.
func (w *Worker) Run(ctx context.Context) error {
	w.mu.Lock()
	w.running = true
	w.mu.Unlock()
	for _, name := range w.Names() {
		// One that was deleted meanwhile is not found, and that is all right.
		_ = w.change(ctx, name, func(c *connector) (func(), error) { return c.relaunch, nil })
	}
	<-ctx.Done()
	w.mu.Lock()
	w.running = false
	list := w.list()
	w.mu.Unlock()
	for _, c := range list {
		c.op <- struct{}{}
		c.halt()
		c.unlock()
	}
	return nil
}

// list returns the connectors sorted by name. w.mu is held.
func (w *Worker) list() []*connector {
	list := make([]*connector, 0, len(w.connectors))
	for _, c := range w.connectors {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *connector) int { return strings.Compare(a.name, b.name) })
	return list
}

// ConsumerFloor returns the lowest offset of a partition that all sink connectors which read the topic, the one of this
// epoch, have passed, the greatest int64 if none reads it. The log's compaction asks it before it drops a tombstone.
func (w *Worker) ConsumerFloor(name string, epoch uint32, partition int32) int64 {
	w.mu.Lock()
	list := w.list()
	w.mu.Unlock()
	floor := int64(1<<63 - 1)
	for _, c := range list {
		def := c.definition()
		if def.sink == nil || !def.follows(name) {
			continue
		}
		p, err := offsets.ParseLogPosition(w.offsets.Committed(c.name, offsets.Lane(name, partition)))
		if err != nil || p.Epoch != 0 && p.Epoch != epoch { // it will begin at the start
			p.Offset = 0
		}
		floor = min(floor, p.Offset)
	}
	return floor
}

// backoff returns the pause before the nth retry, n from 0: exponential, capped, with full jitter in its upper half.
func (w *Worker) backoff(n int) time.Duration {
	d := w.opt.Backoff[0] << min(n, 20)
	if d <= 0 || d > w.opt.Backoff[1] {
		d = w.opt.Backoff[1]
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// topicTable knows the partitions and epochs of topics and makes topics that are not there yet.
type topicTable struct {
	log topic.Log
	mu  sync.Mutex
	all map[string]topic.Info
}

func newTopicTable(log topic.Log) *topicTable {
	return &topicTable{log: log, all: map[string]topic.Info{}}
}

// refresh reads the list of topics from the log and returns it.
func (t *topicTable) refresh(ctx context.Context) ([]topic.Info, error) {
	list, err := t.log.Topics(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.all)
	for _, info := range list {
		t.all[info.Name] = info
	}
	return list, nil
}

// ensure returns the number of partitions of the topic, which it makes by spec if there is none.
func (t *topicTable) ensure(ctx context.Context, name string, spec topic.Spec) (int32, error) {
	t.mu.Lock()
	info, ok := t.all[name]
	t.mu.Unlock()
	if ok {
		return int32(len(info.Partitions)), nil
	}
	spec.Name = name
	if err := t.log.Create(ctx, spec); err != nil && !errors.Is(err, topic.ErrTopicExists) {
		return 0, fmt.Errorf("create topic %s: %w", name, err)
	}
	if _, err := t.refresh(ctx); err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return int32(len(t.all[name].Partitions)), nil
}
