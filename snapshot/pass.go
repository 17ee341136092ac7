package snapshot

import (
	"context"
	"fmt"

	"github.com/tailrace/tailrace/change"
)

// watch looks for signals and for tables that are new to the copy.
func (w *weave) watch(ctx context.Context, b *change.Batch) error {
	var last *change.Table
	for i := range b.Events {
		e := &b.Events[i]
		if e.Table == nil || e.Raw != nil || e.Table == last && !w.signals.here {
			continue
		}
		if e.Table != last {
			last, w.signals.here = e.Table, w.o.Config.SignalTable != "" && e.Table.Name.String() == w.o.Config.SignalTable
			if err := w.meet(ctx, e.Table); err != nil {
				return err
			}
		}
		if w.signals.here && e.Op == change.OpCreate {
			if s, ok := signalOf(e); ok {
				if err := w.apply(ctx, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// meet begins the copy of a table that the stream shows for the first time: it has come into the publication while the
// connector runs.
func (w *weave) meet(ctx context.Context, t *change.Table) error {
	if w.scanner == nil || !w.o.Config.copies() || w.stateOf(t) != nil || w.met[t.Name] {
		return nil
	}
	w.met[t.Name] = true
	known := len(w.tables)
	if err := w.refresh(ctx); err != nil {
		return err
	}
	if len(w.tables) > known {
		w.progressed() // the copy is not complete any more
	}
	return nil
}

// pass judges a batch of the stream by the chunks that are open or being read, and corrects both. See the proof in the
// package comment.
func (w *weave) pass(ctx context.Context, b *change.Batch) error {
	w.prependResets(b)
	dropped := false
	var loose []*change.Event
	for i := range b.Events {
		e := &b.Events[i]
		if e.Table == nil || e.Raw != nil {
			continue
		}
		t := w.stateOf(e.Table)
		if t == nil || t.over() {
			continue
		}
		w.events++
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
		} else if w.mayBeMissed(t, e) {
			loose = append(loose, e)
		}
	}
	if err := w.mendLoose(ctx, loose, b); err != nil {
		return err
	}
	if dropped {
		dropEvicted(b)
	}
	return w.retire(b.Resume)
}

// mayBeMissed reports whether e is an update of a row that no open chunk holds, which leaves out columns: the row may have moved
// from a piece that is to be read into one that was read, so that no chunk would ever hold it.
func (w *weave) mayBeMissed(t *tableState, e *change.Event) bool {
	return t.loose && w.fetcher != nil && e.Op == change.OpUpdate && e.After != nil && !e.After.Complete() && !t.over()
}

// mendLoose completes events of such rows.
func (w *weave) mendLoose(ctx context.Context, loose []*change.Event, b *change.Batch) error {
	return w.fill(ctx, loose, b, func(e *change.Event) error { // its table has another structure by now
		switch t := w.stateOf(e.Table); {
		case t == nil || t.over():
		case t.after == nil && t.sweep == nil:
			w.discard(t) // nothing of it was sent: there may be many such events, and the copy has begun anew for one of them
		default:
			w.again(t)
		}
		return nil
	})
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

// remember notes the event's transaction until the windows have seen it. A database may log and send a commit before its
// snapshots see it; a chunk read in that moment would be older than what was delivered.
func (w *weave) remember(e *change.Event) {
	if n := len(w.unproven); n > 0 {
		if r := &w.unproven[n-1]; r.txn == e.Txn && r.commit == e.Commit && e.Txn != 0 {
			return
		}
	}
	if w.latest != nil && w.latest.Side(e) == Before && len(w.flights) == 0 {
		return
	}
	w.unproven = append(w.unproven, ref{w.seq, e.Txn, e.LSN, e.PrevLSN, e.Commit})
	w.seq++
}

// note keeps e for the chunks that are being read from its table. Where the memory of one is used up, or only the chunk can
// make the other half of a key change whole, it waits for the chunk instead. (Invariant 8)
func (w *weave) note(ctx context.Context, t *tableState, e *change.Event, torn bool) error {
	for i := 0; i < len(w.flights); i++ {
		f := w.flights[i]
		switch {
		case f.state != t || f.stale || f.noted == w.events:
		case !f.full(len(w.unproven)) && (!torn || w.fetcher != nil):
			f.record(e)
			f.noted = w.events
		default:
			if err := w.await(ctx, f); err != nil {
				return err
			}
			i = -1 // others may have landed too, or have begun
		}
	}
	return nil
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
		switch {
		case side == After:
			c.passed = true
		case side == Unknown && t.keyless():
			w.again(t)
			return false, nil
		case side == Unknown:
			w.discard(t) // it is read again from where the last rows were sent
			return false, nil
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
		if e.Op == change.OpUpdate && !c.ghosts {
			complete(e.After, row.After, b)
		} else if torn && !c.ghosts {
			complete(b.Events[i+1].After, row.After, b)
		}
		row.Op = evicted
	}
	return false, nil
}

// mend makes the second halves of key changes whole by reading their rows. The columns may be newer than the event; then
// an event that carries them is still to come. A row that is gone stays torn: what became of it is still to come, and if
// that was another change of its key, this is asked again. Where the table has another structure by now no event may ever carry the
// columns: the table is copied again.
func (w *weave) mend(ctx context.Context, b *change.Batch) error {
	var torn []*change.Event
	for i := 1; i < len(b.Events); i++ {
		e := &b.Events[i]
		if e.Op == change.OpCreate && e.Raw == nil && tornPair(&b.Events[i-1], e) {
			torn = append(torn, e)
		}
	}
	return w.fill(ctx, torn, b, func(e *change.Event) error { return w.retake(ctx, e) })
}

// mostKeys is how many rows are asked for at once.
const mostKeys = 128

// fill makes events whole by reading their rows, not as they were before the events: it waits until their transactions are visible.
// A row that is gone fills nothing. unknown gets one event of a table that can't be asked for any more.
func (w *weave) fill(ctx context.Context, events []*change.Event, b *change.Batch, unknown func(*change.Event) error) error {
	for pause := firstRetry; len(events) > 0; {
		asked, left := sameTable(events)
		t := asked[0].Table
		var keys [][]byte
		number := map[string]int{} // of each key
		for _, e := range asked {
			if _, ok := number[string(e.Key)]; !ok {
				number[string(e.Key)] = len(keys)
				keys = append(keys, e.Key)
			}
		}
		rows, seen, err := w.fetcher.Fetch(ctx, t, keys, b)
		if err != nil {
			return fmt.Errorf("unchanged columns of rows of %s: %w", t.Name, err)
		}
		if seen == nil {
			if err := unknown(asked[0]); err != nil {
				return err
			}
			events = left
			continue
		}
		hidden := 0
		for _, e := range asked {
			if seen.Side(e) == Before {
				complete(e.After, rows[number[string(e.Key)]], b)
			} else {
				left = append(left, e)
				hidden++
			}
		}
		if events = left; hidden < len(asked) {
			pause = firstRetry
			continue
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, longestRetry)
	}
	return nil
}

// sameTable returns up to mostKeys of the events, all of the first one's table, and the others.
func sameTable(events []*change.Event) (some, others []*change.Event) {
	for _, e := range events {
		if e.Table == events[0].Table && len(some) < mostKeys {
			some = append(some, e)
		} else {
			others = append(others, e)
		}
	}
	return some, others
}

// retake copies the table of e once more, because the row of e could not be made whole. Where the configuration wants no rows
// copied, whoever runs the connector is told.
func (w *weave) retake(ctx context.Context, e *change.Event) error {
	if w.scanner == nil || !w.o.Config.copies() {
		w.log.Warn("a row has a new key, and unchanged columns of it are not known, for the table has been altered meanwhile: "+
			"send the signal execute-snapshot for the table", "table", e.Table.Name, "key", change.KeyText(e.Key))
		return nil
	}
	if err := w.refresh(ctx); err != nil {
		return err
	}
	switch t := w.byName[e.Table.Name]; {
	case t == nil || t.held || t.untouched(): // nobody wants it, or its copy has yet to begin
		return nil
	case t.over():
		w.jobs++
		w.readmit(t, &job{ID: "altered", Type: "incremental", Seq: w.jobs})
	default:
		w.again(t)
	}
	w.progressed()
	return nil
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
func (w *weave) retire(at change.Position) error {
	for {
		c := w.head()
		if c == nil || !c.passed && !c.window.Passed(at) {
			return nil
		}
		c.passed = true
		if c.state.keyless() {
			if !c.all {
				return nil
			}
		} else {
			if !c.packed {
				c.pack()
			}
			if c.sent < len(c.batch.Events) {
				return nil
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
