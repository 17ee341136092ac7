package snapshot

import (
	"context"
	"fmt"

	"github.com/tailrace/tailrace/change"
)

// restructure throws away what was read of a table and goes on with the structure that it has now. Rows of it that
// were sent stay valid: they went out under the structure they were read with.
func (w *weave) restructure(ctx context.Context, t *tableState) error {
	w.discard(t)
	tables, err := w.scanner.Tables(ctx)
	if err != nil {
		return fmt.Errorf("snapshot: tables after a change of %s: %w", t.name, err)
	}
	for _, now := range tables {
		if now.Name != t.table.Name {
			continue
		}
		same := sameKey(t.table, now)
		t.table = now
		if t.restarts++; !same || t.restarts > mostRestarts {
			w.again(t)
		}
		return nil
	}
	w.log.Warn("table is gone before its copy was complete", "table", t.name)
	w.end(t)
	w.notes.scanned(w, t, "GONE")
	w.progressed()
	return nil
}

// again begins the copy of a table anew. A table for which that never ends fails.
func (w *weave) again(t *tableState) {
	w.discard(t)
	t.after, t.cursor, t.rows, t.sweep = nil, nil, 0, nil
	t.limit = min(t.limit, firstRows)
	if t.restarts++; t.restarts > mostRestarts {
		w.fail(t, fmt.Errorf("its copy had to begin anew %d times: %w", mostRestarts, ErrTable))
	}
}

// end takes a table out of the copy.
func (w *weave) end(t *tableState) {
	t.cursor, t.ended, t.done, t.job, t.mark, t.sweep = nil, true, true, nil, nil, nil
}

// fail ends the copy of one table for this run; all others go on. A later start of the connector tries again, unless the table was
// copied for a signal.
func (w *weave) fail(t *tableState, err error) {
	w.discard(t)
	t.failed = err.Error()
	w.log.Error("copy of a table has failed; everything else goes on. The next start of the connector and the signal execute-snapshot try it again", "table", t.name, "error", err)
	w.notes.scanned(w, t, "SQL_EXCEPTION")
	if t.job != nil {
		w.end(t)
	}
	w.progressed()
}

func sameKey(a, b *change.Table) bool {
	if len(a.Key) != len(b.Key) {
		return false
	}
	for i := range a.Key {
		x, y := &a.Columns[a.Key[i]], &b.Columns[b.Key[i]]
		if x.Name != y.Name || x.Type.Name != y.Type.Name {
			return false
		}
	}
	return true
}

// discard drops the chunks of a table that were read and not sent.
func (w *weave) discard(t *tableState) {
	kept := w.open[:0]
	for _, c := range w.open {
		if c.state == t {
			if err := c.closeReading(); err != nil {
				w.log.Warn("end of a read", "table", t.name, "error", err)
			}
			w.free = append(w.free, c.batch)
		} else {
			kept = append(kept, c)
		}
	}
	w.open = kept
	for _, f := range w.flights {
		if f.state == t {
			f.stale = true
		}
	}
	t.rest, t.busy = nil, false
	t.cursor, t.ended = t.after, false
	if t.sweep != nil {
		t.ended = true
	}
}
