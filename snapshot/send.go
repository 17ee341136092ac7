package snapshot

import (
	"context"

	"github.com/tailrace/tailrace/change"
)

// ready returns the chunk whose rows are to be sent now, nil if there is none.
func (w *weave) ready() *chunk {
	c := w.head()
	if c == nil || w.resume == nil {
		return nil
	}
	if c.state.keyless() {
		if c.all {
			return nil
		}
		return c
	}
	if !c.passed && !c.window.Passed(w.resume) {
		return nil
	}
	c.passed = true
	return c
}

// send gives the next rows of c to the reader. Resume claims what is in the log once the batch is: the rows up to the
// last one here where a key tells which that is, and the whole chunk only with its last row.
func (w *weave) send(ctx context.Context, c *chunk, b *change.Batch) error {
	t := c.state
	reset := t.keyless() && c.read == 0 && t.touched
	if c.reading != nil {
		if err := w.more(ctx, c); err != nil {
			return err
		}
	}
	if !c.packed {
		c.pack()
	}
	rows := c.batch.Events
	if len(rows) > 0 && rows[0].Topic != "" {
		t.topic = rows[0].Topic
	}
	if c.sent == 0 && !reset && len(rows) <= w.maxRows && c.batch.Size() <= batchBytes {
		w.mark(c, rows)
		*b, *c.batch = *c.batch, *b // the batches trade their memory: no row is copied
		c.sent = len(rows)
	} else {
		b.Events = b.Events[:0]
		if reset {
			*b.Add() = w.truncate(t)
		}
		w.copyRows(c, b)
	}
	b.Origin = w.origin
	w.account(c, b.Events, len(rows))
	p, err := join(w.resume, w.suffix)
	b.Resume, w.dirty = p, false
	return err
}

// account notes what was sent of c.
func (w *weave) account(c *chunk, sent []change.Event, rows int) {
	t := c.state
	n := len(sent)
	if n > 0 && !t.keyless() && c.byKey() {
		t.after = append([]byte(nil), sent[n-1].Key...)
		t.rows += int64(n)
		c.counted += int64(n)
	}
	if !c.ghosts {
		w.copied += int64(n)
	}
	switch {
	case c.sent < rows || c.reading != nil:
		w.suffix = appendProgress(w.suffix[:0], w.tables, false, w.paused)
	case t.keyless() && !c.passed && !c.window.Passed(w.resume):
		// Until the stream is past the window, its events must be told from the rows: the table is not done before.
		c.all = true
		c.batch.Reset()
	default:
		w.finish(c)
	}
}

// copyRows copies rows of c to b up to the bounds of a batch, at least one if there is one.
func (w *weave) copyRows(c *chunk, b *change.Batch) {
	rows := c.batch.Events
	from := c.sent
	w.mark(c, rows)
	for c.sent < len(rows) && c.sent-from < w.maxRows && (c.sent == from || b.Size() < batchBytes) {
		b.CopyEvent(&rows[c.sent])
		c.sent++
	}
}

// mark sets Debezium's snapshot markers on rows of c, all that are to be sent. It is idempotent but for the firsts.
func (w *weave) mark(c *chunk, rows []change.Event) {
	if c.sent > 0 || len(rows) == 0 {
		return
	}
	if c.state.job != nil && c.state.job.Type == "incremental" {
		for i := range rows {
			rows[i].Snapshot = change.Incremental
		}
		return
	}
	for i := range rows {
		rows[i].Snapshot = change.InSnapshot
	}
	if c.ghosts {
		return
	}
	if c.last && c.reading == nil && c.state.mark == nil {
		last := &rows[len(rows)-1]
		last.Snapshot = change.LastInTable
		if w.lastOpen(c.state) {
			last.Snapshot = change.LastInSnapshot
		}
	}
	switch {
	case rows[0].Snapshot == change.LastInSnapshot: // the only row of the last table
	case !w.announced:
		rows[0].Snapshot = change.FirstInSnapshot
	case c.state.rows == 0:
		rows[0].Snapshot = change.FirstInTable
	}
	w.announced = true
}

// lastOpen reports whether t is the only table that is not done.
func (w *weave) lastOpen(t *tableState) bool {
	for _, other := range w.tables {
		if other != t && !other.over() {
			return false
		}
	}
	return true
}

// finish closes a chunk all of whose rows were sent or overtaken.
func (w *weave) finish(c *chunk) {
	t := c.state
	w.open = append(w.open[:0], w.open[1:]...)
	w.free = append(w.free, c.batch)
	t.chunks++
	switch {
	case c.ghosts:
		t.sweep, t.busy = c.next, false
		if c.last {
			w.complete(t)
		}
	case t.keyless():
		t.rows = c.read
		w.complete(t)
	default:
		if c.after != nil {
			t.after = c.after
		}
		t.rows += c.read - c.counted
		w.notes.chunk(w, t)
		switch {
		case !c.last:
		case t.mark != nil:
			t.sweep = []byte{}
		default:
			w.complete(t)
		}
	}
	w.progressed()
}

// complete ends the copy of a table.
func (w *weave) complete(t *tableState) {
	w.notes.scanned(w, t, "SUCCEEDED")
	w.end(t)
}

// progressed brings the position's member and the report up to date.
func (w *weave) progressed() {
	w.completed = true
	for _, t := range w.tables {
		w.completed = w.completed && (t.done || t.held)
	}
	w.suffix = appendProgress(w.suffix[:0], w.tables, w.completed, w.paused)
	w.dirty = true
	w.notes.ended(w)
	if w.o.Report != nil {
		w.o.Report(w.progress())
	}
}

// progress describes the copy.
func (w *weave) progress() Progress {
	p := Progress{Tables: make([]TableProgress, 0, len(w.tables)), Started: w.started, Copied: w.copied, Took: w.now().Sub(w.started),
		Pauses: w.pauses, Completed: w.completed, Paused: w.paused}
	for _, t := range w.tables {
		if t.held {
			continue
		}
		tp := TableProgress{Table: t.table.Name, Rows: t.rows, Estimated: t.estimate, State: t.state(), Reason: t.failed, Chunks: t.chunks}
		if t.job != nil {
			tp.Signal = t.job.ID
		}
		p.Tables = append(p.Tables, tp)
	}
	return p
}

func (t *tableState) state() State {
	switch {
	case t.failed != "":
		return Failed
	case t.stopped:
		return Stopped
	case t.done:
		return Done
	case t.rows > 0 || t.cursor != nil || t.ended:
		return Copying
	}
	return Waiting
}
