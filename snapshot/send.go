package snapshot

import (
	"github.com/tailrace/tailrace/change"
)

// ready returns the chunk whose rows are to be sent now, nil if there is none.
func (w *weave) ready() *chunk {
	if len(w.open) == 0 || w.resume == nil {
		return nil
	}
	c := w.open[0]
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
// last one here, and the whole chunk only with its last row.
func (w *weave) send(c *chunk, b *change.Batch) error {
	if !c.packed {
		c.pack()
	}
	t := c.state
	rows := c.batch.Events
	reset := t.keyless() && c.sent == 0 && t.touched
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
	sent := b.Events
	if n := len(sent); n > 0 && !t.keyless() {
		t.after = append([]byte(nil), sent[n-1].Key...)
		t.rows += int64(n)
	}
	switch {
	case c.sent < len(rows):
		w.suffix = appendProgress(w.suffix[:0], w.tables, false)
	case t.keyless() && !c.passed && !c.window.Passed(w.resume):
		// Until the stream is past the window, its events must be told from the rows: the table is not done before.
		c.all = true
		c.batch.Reset()
	default:
		w.finish(c)
	}
	p, err := join(w.resume, w.suffix)
	b.Resume = p
	return err
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
	for i := range rows {
		rows[i].Snapshot = change.InSnapshot
	}
	if c.last {
		last := &rows[len(rows)-1]
		last.Snapshot = change.LastInTable
		if w.lastOpen(c.state) {
			last.Snapshot = change.LastInSnapshot
		}
	}
	switch {
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
		if other != t && !other.done {
			return false
		}
	}
	return true
}

// finish closes a chunk all of whose rows were sent or overtaken.
func (w *weave) finish(c *chunk) {
	t := c.state
	if c.after != nil {
		t.after = c.after
	}
	if t.keyless() {
		t.rows = c.read
	} else {
		t.rows += c.read - int64(c.sent)
	}
	t.done = c.last
	w.open = append(w.open[:0], w.open[1:]...)
	w.free = append(w.free, c.batch)
	w.progressed()
}

// progressed brings the position's member and the report up to date, and ends the copy with the last table.
func (w *weave) progressed() {
	w.completed = true
	for _, t := range w.tables {
		w.completed = w.completed && t.done
	}
	w.suffix = appendProgress(w.suffix[:0], w.tables, w.completed)
	if w.completed {
		w.stopReader()
		w.free, w.unproven, w.latest = nil, nil, nil
	}
	if w.report != nil {
		w.report(w.progress())
	}
}

// progress describes the copy.
func (w *weave) progress() Progress {
	p := Progress{Tables: make([]TableProgress, len(w.tables)), Started: w.started, Completed: w.completed}
	for i, t := range w.tables {
		state := Waiting
		switch {
		case t.done:
			state = Done
		case t.rows > 0 || t.cursor != nil || t.ended:
			state = Copying
		}
		p.Tables[i] = TableProgress{Table: t.table.Name, Rows: t.rows, Estimated: t.estimate, State: state}
	}
	return p
}
