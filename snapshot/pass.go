package snapshot

import (
	"context"
	"fmt"

	"github.com/tailrace/tailrace/change"
)

// pass judges a batch of the stream by the chunks that are open or being read, and corrects both. See the proof in the
// package comment.
func (w *weave) pass(ctx context.Context, b *change.Batch) error {
	w.origin = b.Origin
	w.prependResets(b)
	dropped := false
	for i := range b.Events {
		e := &b.Events[i]
		if e.Table == nil || e.Raw != nil {
			continue
		}
		t := w.stateOf(e.Table)
		if t == nil || t.done {
			continue
		}
		t.touched, t.topic = true, e.Topic
		w.remember(e)
		torn := i+1 < len(b.Events) && tornPair(e, &b.Events[i+1])
		if err := w.note(ctx, t, e, torn); err != nil {
			return err
		}
		drop, err := w.judge(ctx, t, b, i, torn)
		if err != nil {
			return err
		}
		if drop {
			e.Op, dropped = evicted, true
		}
	}
	if dropped {
		dropEvicted(b)
	}
	w.resume = append(w.resume[:0], b.Resume...)
	w.retire()
	return nil
}

// tornPair reports whether d and c are the two halves of a key change whose new row lacks columns.
func tornPair(d, c *change.Event) bool {
	return d.Op == change.OpDelete && c.Op == change.OpCreate && d.Table == c.Table && d.Txn == c.Txn &&
		c.After != nil && !c.After.Complete()
}

// stateOf returns the table's part in the copy, nil if it has none.
func (w *weave) stateOf(t *change.Table) *tableState {
	s, ok := w.byTable[t]
	if !ok {
		s = w.byName[t.Name]
		w.byTable[t] = s
	}
	return s
}

// remember notes the event's transaction until a window has seen it. A database may log and send a commit before its
// snapshots see it; a chunk read in that moment would be older than what was delivered.
func (w *weave) remember(e *change.Event) {
	if n := len(w.unproven); n > 0 {
		if r := &w.unproven[n-1]; r.txn == e.Txn && r.commit == e.Commit && e.Txn != 0 {
			return
		}
	}
	if w.latest != nil && w.latest.Side(e) == Before {
		return
	}
	w.unproven = append(w.unproven, ref{e.Txn, e.LSN, e.PrevLSN, e.Commit})
}

// note keeps e for the chunk that is being read from its table. Where its memory is used up, or only the chunk can make
// the other half of a key change whole, it waits for the chunk instead. (Invariant 8)
func (w *weave) note(ctx context.Context, t *tableState, e *change.Event, torn bool) error {
	f := w.flight
	if f == nil || f.state != t {
		return nil
	}
	if !f.full(len(w.unproven)) && (!torn || w.fetcher != nil) {
		f.record(e)
		return nil
	}
	return w.await(ctx)
}

// judge corrects the open chunks of t by event i of b, and the event by them. It reports whether the event is to be
// dropped because the copy of a table without a key has it already.
func (w *weave) judge(ctx context.Context, t *tableState, b *change.Batch, i int, torn bool) (drop bool, err error) {
	e := &b.Events[i]
	for _, c := range w.open {
		if c.state != t {
			continue
		}
		side := c.window.Side(e)
		if side == After {
			c.passed = true
		}
		if t.keyless() {
			// Its rows are in the log already; what comes now was either in them or is news.
			return side == Before, nil
		}
		if side == Before {
			continue
		}
		if !sameStructure(e.Table, c.table) {
			return false, w.restructure(ctx, t)
		}
		if e.Op == change.OpTruncate {
			c.evictAll()
			continue
		}
		row := c.find(e.Key)
		if row == nil {
			continue
		}
		if e.Op == change.OpUpdate {
			complete(e.After, row.After, b)
		} else if torn {
			complete(b.Events[i+1].After, row.After, b)
		}
		row.Op = evicted
	}
	return false, nil
}

// mend makes the second halves of key changes whole by reading their rows. The columns may be newer than the event; then
// an event that carries them is still to come. A row that is gone stays torn: what became of it is still to come, and if
// that was another change of its key, this is asked again.
func (w *weave) mend(ctx context.Context, b *change.Batch) error {
	for i := 1; i < len(b.Events); i++ {
		e := &b.Events[i]
		if e.Op != change.OpCreate || e.Raw != nil || !tornPair(&b.Events[i-1], e) {
			continue
		}
		row, err := w.fetch(ctx, e, b)
		if err != nil {
			return fmt.Errorf("unchanged columns of a row of %s under its new key: %w", e.Table.Name, err)
		}
		complete(e.After, row, b)
	}
	return nil
}

// fetch reads the row of e, not as it was before e: it waits until e's transaction is visible.
func (w *weave) fetch(ctx context.Context, e *change.Event, b *change.Batch) (change.Row, error) {
	for pause := firstRetry; ; pause = min(2*pause, longestRetry) {
		row, win, err := w.fetcher.Fetch(ctx, e.Table, e.Key, b)
		if err != nil {
			return nil, err
		}
		if win == nil || win.Side(e) == Before {
			return row, nil
		}
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

func dropEvicted(b *change.Batch) {
	n := 0
	for i := range b.Events {
		if b.Events[i].Op != evicted {
			if n != i {
				b.Events[n] = b.Events[i]
			}
			n++
		}
	}
	b.Events = b.Events[:n]
}

// retire finishes chunks that the stream has passed and of which nothing is left to send.
func (w *weave) retire() {
	for len(w.open) > 0 {
		c := w.open[0]
		if !c.passed && !c.window.Passed(w.resume) {
			return
		}
		c.passed = true
		if c.state.keyless() {
			if !c.all {
				return
			}
		} else {
			if !c.packed {
				c.pack()
			}
			if c.sent < len(c.batch.Events) {
				return
			}
		}
		w.finish(c)
	}
}

// prependResets puts a truncate of each table before the first events, when the copy starts over after a gap: rows that
// were deleted in it would stay for ever.
func (w *weave) prependResets(b *change.Batch) {
	n, k := len(b.Events), len(w.resets)
	if k == 0 {
		return
	}
	for range k {
		b.Add()
	}
	copy(b.Events[k:], b.Events[:n])
	for i, t := range w.resets {
		b.Events[i] = w.truncate(t)
	}
	w.resets = nil
}

// truncate is an event of our own that empties a table in the log.
func (w *weave) truncate(t *tableState) change.Event {
	topic := t.topic
	if topic == "" {
		topic = w.origin + "." + t.table.Name.String()
	}
	now := w.now().UnixMicro()
	return change.Event{Table: t.table, Op: change.OpTruncate, Topic: topic, Commit: now, Seen: now, Snapshot: change.InSnapshot}
}
