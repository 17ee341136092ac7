package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
)

const (
	firstRows   = 1024  // rows of a table's first chunk, before we know how large its rows are
	growth      = 4     // a chunk has at most so many times the rows of the one before it
	batchRows   = 10240 // bound of the rows of one batch
	batchBytes  = 16 << 20
	chunksAhead = 2 // chunks in memory: one that waits for the stream or is sent, one that is read
)

// Options say how to copy.
type Options struct {
	Config Config
	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
	// Report is told the state of the copy when it begins and after each chunk, by the goroutine that calls Open and
	// Read. It must not block. nil: nobody is told.
	Report func(Progress)
	// MaxBatch bounds the rows of one batch of a chunk; 0: 10240.
	MaxBatch int
}

// tableState is one table of the copy.
type tableState struct {
	name     string
	table    *change.Table
	after    []byte // key of the last row that was sent
	rows     int64
	done     bool
	estimate int64

	cursor  []byte // key of the last row that was read
	ended   bool   // the last chunk was read
	limit   int    // rows of the next chunk
	touched bool   // the log may hold rows of the table: a table without a key must be emptied before its copy
	topic   string // where its events go, as far as we saw
}

// weave is the stream that Open returns while rows are to be copied, and after it.
//
// All fields belong to the goroutine that calls Read; the reader goroutine has a chunk only between request and result.
type weave struct {
	inner   source.Stream
	scanner Scanner
	fetcher Fetcher // nil: the source has none
	reader  *reader // nil: nothing is left to copy
	log     *slog.Logger
	now     func() time.Time
	report  func(Progress)
	maxRows int
	limit   int  // rows of a chunk at most
	only    bool // initial_only

	tables  []*tableState // in copy order
	byName  map[change.TableName]*tableState
	byTable map[*change.Table]*tableState // what byName said; nil entries for tables that are not copied
	started time.Time

	flight   *flight
	open     []*chunk // read and not yet sent, in copy order
	free     []*change.Batch
	unproven []ref  // delivered transactions that no window has seen yet
	latest   Window // of the newest read

	resume    change.Position // the source's own, after what Read returned last; nil: not known yet
	origin    string
	suffix    []byte // our member of the position
	announced bool   // the first row of the copy was sent, in this run or before
	resets    []*tableState
	completed bool
}

// Read implements source.Stream.
func (w *weave) Read(ctx context.Context, b *change.Batch) error {
	if err := w.copyStep(ctx); err != nil {
		return err
	}
	if c := w.ready(); c != nil {
		return w.send(c, b)
	}
	if w.completed && w.only {
		return ErrDone
	}
	if err := w.inner.Read(ctx, b); err != nil {
		return err
	}
	if w.reader != nil {
		if err := w.pass(ctx, b); err != nil {
			return err
		}
	}
	if w.fetcher != nil {
		if err := w.mend(ctx, b); err != nil {
			return err
		}
	}
	p, err := join(b.Resume, w.suffix)
	b.Resume = p
	return err
}

// Ack implements source.Stream. The source ignores our member of the position.
func (w *weave) Ack(ctx context.Context, p change.Position) error { return w.inner.Ack(ctx, p) }

// Close implements source.Stream.
func (w *weave) Close() error {
	w.stopReader()
	return w.inner.Close()
}

func (w *weave) stopReader() {
	if w.reader != nil {
		w.reader.close()
		w.reader = nil
	}
}

// copyStep moves the copy on as far as it goes without the stream: takes a chunk that was read, begins the next one.
func (w *weave) copyStep(ctx context.Context) error {
	for w.reader != nil {
		if err := w.begin(); err != nil {
			return err
		}
		if w.flight == nil {
			return nil
		}
		if w.flight.state.keyless() {
			// Rows without a key can't be told apart, so nothing of the table may pass between its read and its copy.
			if err := w.await(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case r := <-w.reader.results:
			if err := w.land(ctx, r); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// begin asks for the next chunk if there is one and room for it.
func (w *weave) begin() error {
	if w.flight != nil || len(w.open) >= chunksAhead {
		return nil
	}
	var next *tableState
	for _, t := range w.tables {
		if !t.ended {
			next = t
			break
		}
	}
	if next == nil {
		return nil
	}
	if next.keyless() && (len(w.open) > 0 || w.resume == nil) {
		return nil
	}
	w.fly(next, 0)
	return nil
}

func (w *weave) fly(t *tableState, pause time.Duration) {
	limit := t.limit
	if t.keyless() {
		limit = 1<<31 - 1
	}
	f := &flight{state: t, limit: limit, retry: pause, seen: len(w.unproven), log: w.batch(),
		chunk: &chunk{state: t, table: t.table, batch: w.batch()}}
	w.flight = f
	w.reader.requests <- request{t.table, t.cursor, limit, f.chunk.batch, pause}
}

func (w *weave) batch() *change.Batch {
	if n := len(w.free); n > 0 {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		b.Reset()
		return b
	}
	return &change.Batch{}
}

// await waits until the chunk that is being read is there.
func (w *weave) await(ctx context.Context) error {
	select {
	case r := <-w.reader.results:
		return w.land(ctx, r)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// land takes a chunk that was read: judges it by what the stream has delivered, and opens it.
func (w *weave) land(ctx context.Context, r result) error {
	f := w.flight
	w.flight = nil
	defer func() { w.free = append(w.free, f.log) }()
	if errors.Is(r.err, ErrChanged) {
		w.free = append(w.free, f.chunk.batch)
		return w.restructure(ctx, f.state)
	}
	if r.err != nil {
		return fmt.Errorf("snapshot of %s: %w", f.state.name, r.err)
	}
	hidden := w.prove(r.window, f.seen)
	if f.stale || hidden {
		w.free = append(w.free, f.chunk.batch)
		if hidden && !f.stale {
			w.fly(f.state, min(max(firstRetry, 2*f.retry), longestRetry))
		}
		return nil
	}
	c := f.chunk
	c.window = r.window
	rows := c.batch.Events
	c.read = int64(len(rows))
	c.last = len(rows) < f.limit
	if s, ok := r.window.(Shortened); ok && s.Shortened() && len(rows) > 0 {
		c.last = false
	}
	t := f.state
	if len(rows) > 0 && !t.keyless() {
		c.after = append([]byte(nil), rows[len(rows)-1].Key...)
		t.cursor = c.after
		t.limit = nextLimit(len(rows), c.batch.Size(), w.limit)
	}
	t.ended = c.last
	w.open = append(w.open, c)
	return w.replay(ctx, f, c)
}

// replay corrects a chunk by the events that were delivered while it was read.
func (w *weave) replay(ctx context.Context, f *flight, c *chunk) error {
	for i := range f.log.Events {
		e := &f.log.Events[i]
		switch c.window.Side(e) {
		case Before:
			continue
		case After:
			c.passed = true
		}
		if !sameStructure(e.Table, c.table) {
			return w.restructure(ctx, f.state)
		}
		if e.Op == change.OpTruncate {
			c.evictAll()
		} else {
			c.overlay(e)
		}
	}
	return nil
}

// prove forgets the transactions that the window has seen and reports whether one of the first n, those that were
// delivered before the read began, is hidden from it. Then the rows may be older than what the log has.
func (w *weave) prove(win Window, n int) (hidden bool) {
	kept := w.unproven[:0]
	for i, r := range w.unproven {
		e := r.event()
		if win.Side(&e) == Before {
			continue
		}
		hidden = hidden || i < n
		kept = append(kept, r)
	}
	w.unproven, w.latest = kept, win
	return hidden
}

// nextLimit chooses the rows of the next chunk by the size of this one.
func nextLimit(rows, size, most int) int {
	fit := ChunkBytes / max(1, size/rows)
	return max(1, min(fit, growth*rows, most))
}

func (t *tableState) keyless() bool { return len(t.table.Key) == 0 }
