package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tailrace/tailrace/change"
)

const (
	firstRows = 1024 // rows of a table's first chunk, before we know how large its rows are
	growth    = 4    // a chunk has at most so many times the rows of the one before it
	goalTime  = time.Second
	placeStep = 1 << 20 // between the places of pieces: room for what is left of one that was cut short
)

// threads is how many chunks are read at the same time.
func (w *weave) threads() int {
	if w.divider == nil {
		return 1
	}
	return max(1, w.o.Config.Threads)
}

// ahead is how many reads are asked for beyond those that run: a reader that ends one begins the next at once, also while what was
// read before is being made durable.
func (w *weave) ahead() int {
	if w.divider == nil {
		return 0
	}
	for _, t := range w.tables {
		if t.busy { // the next read of that table depends on the one that runs
			return 0
		}
	}
	return 1
}

// copyStep moves the copy on as far as it goes without the stream: takes chunks that were read, begins the next ones.
func (w *weave) copyStep(ctx context.Context) error {
	for {
		if err := w.begin(ctx); err != nil || w.reader == nil {
			return err
		}
		select {
		case f := <-w.reader.results:
			if err := w.land(ctx, f); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// begin asks for the next chunks as long as there are some and there is room for them.
func (w *weave) begin(ctx context.Context) error {
	if w.idle() {
		if w.reader != nil && len(w.flights) == 0 {
			w.stopReader()
			w.free, w.unproven, w.latest = nil, nil, nil
		}
		return nil
	}
	if w.reader == nil {
		w.reader = startReader(ctx, w.threads(), w.threads()+3, w.prompt)
	}
	if w.paused || w.now().Sub(w.opened) < w.o.Config.Delay || w.o.Keys != nil && w.resume == nil {
		return nil
	}
	for {
		t, p, rest := w.next()
		most := w.threads() + w.ahead()
		switch {
		case t == nil || len(w.flights) > most:
			return nil
		case !rest && (len(w.flights) >= most || len(w.flights)+len(w.open) > most):
			return nil
		case t.keyless() && (len(w.open)+len(w.flights) > 0 || w.resume == nil):
			return nil
		}
		if err := w.prepare(ctx, t); err != nil {
			return err
		}
		var err error
		switch {
		case t.sweep != nil:
			w.beginSweep(t)
		case t.keyless():
			return w.beginWhole(ctx, t)
		case rest:
			t.rest = t.rest[1:]
			p.Rows = t.limit
			w.fly(t, p, 0)
		case w.divider != nil && !t.selected(w):
			err = w.divide(ctx, t)
		default:
			t.busy = true
			w.fly(t, part{Piece{After: t.cursor}, w.nextPlace()}, 0)
		}
		if err != nil {
			return err
		}
	}
}

// next chooses the table of the next chunk: what was cut short first, then tables in their order, ad-hoc ones last, in the
// order of their signals.
func (w *weave) next() (t *tableState, p part, rest bool) {
	for _, x := range w.tables {
		if len(x.rest) > 0 && !x.over() && (!rest || x.rest[0].place < p.place) {
			t, p, rest = x, x.rest[0], true
		}
	}
	if rest {
		return t, p, true
	}
	for _, x := range w.tables {
		if x.over() || x.busy || x.ended && x.sweep == nil {
			continue
		}
		if t == nil || x.order() < t.order() {
			t = x
		}
	}
	return t, part{}, false
}

func (t *tableState) order() int64 {
	if t.job == nil {
		return 0
	}
	return t.job.Seq
}

func (w *weave) nextPlace() uint64 {
	w.place += placeStep
	return w.place
}

// divide asks where the next piece of t ends and reads it.
func (w *weave) divide(ctx context.Context, t *tableState) error {
	p, err := w.divider.Divide(ctx, t.table, t.cursor, t.limit)
	if err != nil {
		return w.troubled(ctx, t, err)
	}
	t.cursor, t.ended = p.To, p.Last
	t.loose = t.loose || p.Loose
	w.fly(t, part{p, w.nextPlace()}, 0)
	return nil
}

// fly begins to read a piece.
func (w *weave) fly(t *tableState, p part, pause time.Duration) {
	f := &flight{state: t, part: p, limit: t.limit, retry: pause, log: w.batch(),
		chunk: &chunk{state: t, table: t.table, batch: w.batch(), place: p.place}}
	sel := w.selection(t)
	w.launch(f, func(ctx context.Context, f *flight) {
		f.window, f.err = w.read(ctx, f, sel)
	})
}

// launch hands a flight to a reader goroutine.
func (w *weave) launch(f *flight, read func(context.Context, *flight)) {
	f.seen, f.begun = w.seq, w.now()
	w.flights = append(w.flights, f)
	w.reader.requests <- request{f, f.retry, func(ctx context.Context, f *flight) {
		begun := w.now()
		read(ctx, f)
		f.took = w.now().Sub(begun)
	}}
}

// read runs in a reader goroutine.
func (w *weave) read(ctx context.Context, f *flight, sel Selection) (Window, error) {
	c := f.chunk
	switch {
	case sel != Selection{}:
		s, ok := w.scanner.(Selector)
		if !ok {
			return nil, fmt.Errorf("a part of the table was asked for, and this database's connector can read whole tables only: %w", ErrTable)
		}
		return s.ScanSelected(ctx, c.table, sel, f.part.After, f.limit, c.batch)
	case w.divider != nil:
		return w.divider.ScanPiece(ctx, c.table, f.part.Piece, c.batch)
	}
	return w.scanner.Scan(ctx, c.table, f.part.After, f.limit, c.batch)
}

// selection returns what to read of a table.
func (w *weave) selection(t *tableState) Selection {
	sel := Selection{Statement: w.o.Config.statement(t.name)}
	if t.job != nil {
		sel.Filter, sel.Surrogate = t.job.Filter, t.job.Surrogate
	}
	return sel
}

func (t *tableState) selected(w *weave) bool { return w.selection(t) != Selection{} }

func (w *weave) batch() *change.Batch {
	if n := len(w.free); n > 0 {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		b.Reset()
		return b
	}
	return &change.Batch{}
}

// await waits until a chunk that is being read is there; others that come before it are taken too.
func (w *weave) await(ctx context.Context, f *flight) error {
	for slices.Contains(w.flights, f) {
		select {
		case got := <-w.reader.results:
			if err := w.land(ctx, got); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// land takes a chunk that was read: judges it by what the stream has delivered, and opens it.
func (w *weave) land(ctx context.Context, f *flight) error {
	w.flights = slices.DeleteFunc(w.flights, func(x *flight) bool { return x == f })
	t, c := f.state, f.chunk
	t.busy = false
	defer func() { w.free = append(w.free, f.log) }()
	if f.stale || f.err != nil {
		w.free = append(w.free, c.batch)
		if f.stale {
			return nil
		}
		return w.troubled(ctx, t, f.err)
	}
	if f.sweep {
		return w.landSweep(ctx, f)
	}
	if w.prove(f) || f.unsure() {
		w.free = append(w.free, c.batch)
		t.busy = w.divider == nil || t.selected(w)
		w.fly(t, f.part, min(max(firstRetry, 2*f.retry), longestRetry))
		return nil
	}
	c.window = f.window
	w.measure(f)
	w.insert(c)
	return w.replay(ctx, f, c)
}

// unsure reports whether the chunk may or may not have seen an event that was delivered while it was read.
func (f *flight) unsure() bool {
	for i := range f.log.Events {
		if f.window.Side(&f.log.Events[i]) == Unknown {
			return true
		}
	}
	return false
}

// measure notes where a chunk ends and how large the next one may be.
func (w *weave) measure(f *flight) {
	t, c := f.state, f.chunk
	rows := c.batch.Events
	c.read = int64(len(rows))
	s, _ := f.window.(Shortened)
	cut := s != nil && s.Shortened() && len(rows) > 0
	if at, ok := f.window.(Cursored); ok {
		c.after = slices.Clone(at.Cursor())
	} else if len(rows) > 0 {
		c.after = slices.Clone(rows[len(rows)-1].Key)
	}
	if len(rows) > 0 {
		t.limit = nextLimit(len(rows), c.batch.Size(), f.took, w.o.Config.rows(t.job != nil))
	}
	if w.divider != nil && !t.selected(w) {
		c.last = f.part.Last && !cut
		if cut {
			left := f.part
			left.After, left.place = c.after, left.place+1
			t.rest = append(t.rest, left)
			slices.SortFunc(t.rest, func(a, b part) int { return cmp.Compare(a.place, b.place) })
		} else {
			c.after = slices.Clone(f.part.To)
		}
		return
	}
	c.last = len(rows) < f.limit && !cut
	if c.after != nil {
		t.cursor = c.after
	}
	t.ended = c.last
}

// insert opens a chunk at its place.
func (w *weave) insert(c *chunk) {
	i, _ := slices.BinarySearchFunc(w.open, c.place, func(x *chunk, place uint64) int { return cmp.Compare(x.place, place) })
	w.open = slices.Insert(w.open, i, c)
}

// head returns the chunk that is to be sent next, nil while it is still being read.
func (w *weave) head() *chunk {
	if len(w.open) == 0 {
		return nil
	}
	c := w.open[0]
	for _, f := range w.flights {
		if f.part.place < c.place && !f.stale {
			return nil
		}
	}
	for _, t := range w.tables {
		if len(t.rest) > 0 && t.rest[0].place < c.place && !t.over() {
			return nil
		}
	}
	return c
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
		case Inside, Unknown: // there is none of the latter: see land
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

// prove forgets the transactions that the flight's window has seen, unless a read that is still under way may have missed
// them, and reports whether one that was delivered before the read began is hidden from it. Then the rows may be older than
// what the log has.
func (w *weave) prove(f *flight) (hidden bool) {
	needed := uint64(0) // refs before this one may be asked for by reads that are under way
	for _, x := range w.flights {
		needed = max(needed, x.seen)
	}
	kept := w.unproven[:0]
	for _, r := range w.unproven {
		e := r.event()
		before := f.window.Side(&e) == Before
		if before && r.n >= needed {
			continue
		}
		hidden = hidden || !before && r.n < f.seen
		kept = append(kept, r)
	}
	w.unproven, w.latest = kept, f.window
	return hidden
}

// nextLimit chooses the rows of the next chunk by the size of this one and the time it took.
func nextLimit(rows, size int, took time.Duration, most int) int {
	fit := ChunkBytes / max(1, size/rows)
	if took > goalTime {
		fit = min(fit, int(int64(rows)*int64(goalTime)/int64(took)))
	}
	return max(1, min(fit, growth*rows, most))
}

// troubled decides what an error of a read means: the table has changed, the table alone can't be read, or the database
// can't.
func (w *weave) troubled(ctx context.Context, t *tableState, err error) error {
	switch {
	case errors.Is(err, ErrCursor):
		w.log.Info("table was rewritten; its copy begins anew", "table", t.name)
		w.again(t)
		return nil
	case errors.Is(err, ErrTable):
		w.fail(t, err)
		return nil
	case errors.Is(err, ErrChanged):
		return w.restructure(ctx, t)
	}
	return fmt.Errorf("snapshot of %s: %w", t.name, err)
}
