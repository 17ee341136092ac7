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
		if !sameKey(t.table, now) {
			t.after, t.rows = nil, 0
		}
		t.table = now
		t.cursor, t.ended = t.after, false
		return nil
	}
	w.log.Warn("table is gone before its copy was complete", "table", t.name)
	t.ended, t.done = true, true
	w.progressed()
	return nil
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
			w.free = append(w.free, c.batch)
		} else {
			kept = append(kept, c)
		}
	}
	w.open = kept
	if w.flight != nil && w.flight.state == t {
		w.flight.stale = true
	}
	t.cursor, t.ended = t.after, false
}
