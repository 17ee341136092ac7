package snapshot

import (
	"context"
	"encoding/json"

	"github.com/tailrace/tailrace/change"
)

// Keys is what the log holds of tables. A second copy of a table makes the log equal to the table only if rows that the table
// no longer has go: every row that it has is written again, by the copy or by the stream, behind where the topic ended when
// the copy began; so a key whose newest record is before that mark is a ghost, and its delete is sent.
type Keys interface {
	// Mark returns where a topic ends now, as a JSON value; nil if the topic holds nothing. It sees every batch that Read
	// returned before.
	Mark(ctx context.Context, topic string) (json.RawMessage, error)
	// Ghosts adds to b a delete event for keys of the table that the topic holds and that were not written since the mark, some of
	// them: the rest is behind the cursor next, which is nil when there are no more. The first cursor is empty. It is
	// called by a goroutine of its own, and sees every batch that Read returned before.
	Ghosts(ctx context.Context, t *change.Table, topic string, mark json.RawMessage, after []byte, b *change.Batch) (next []byte, err error)
}

// ghostWindow is the window of deletes of ghosts: whatever the stream brings is newer.
type ghostWindow struct{}

// Side implements Window.
func (ghostWindow) Side(*change.Event) Side { return Inside }

// Passed implements Window.
func (ghostWindow) Passed(change.Position) bool { return true }

// prepare is called before a table's chunk is read; before its first one it notes where the table's topic ends.
func (w *weave) prepare(ctx context.Context, t *tableState) error {
	if t.begun {
		return nil
	}
	t.begun = true
	w.notes.begun(w, t)
	if w.o.Keys == nil || t.keyless() || t.after != nil || t.sweep != nil || t.mark != nil || t.partial(w) {
		return nil
	}
	mark, err := w.o.Keys.Mark(ctx, w.topicOf(t))
	if err != nil {
		return err
	}
	if t.mark = mark; mark != nil {
		w.progressed()
	}
	return nil
}

// partial reports whether rows of the table are left out on purpose: what is not read is no ghost then.
func (t *tableState) partial(w *weave) bool {
	sel := w.selection(t)
	return sel.Statement != "" || sel.Filter != ""
}

func (w *weave) topicOf(t *tableState) string {
	if n, ok := w.scanner.(Namer); ok {
		return n.Topic(t.table)
	}
	if t.topic != "" {
		return t.topic
	}
	return w.origin + "." + t.table.Name.String()
}

// beginSweep looks for the next ghosts of a table whose rows were all sent.
func (w *weave) beginSweep(t *tableState) {
	f := &flight{state: t, part: part{place: w.nextPlace()}, log: w.batch(), sweep: true,
		chunk: &chunk{state: t, table: t.table, batch: w.batch(), window: ghostWindow{}, ghosts: true}}
	f.chunk.place = f.part.place
	t.busy = true
	topic, mark, after := w.topicOf(t), t.mark, t.sweep
	w.launch(f, func(ctx context.Context, f *flight) {
		f.next, f.err = w.o.Keys.Ghosts(ctx, f.chunk.table, topic, mark, after, f.chunk.batch)
	})
}

// landSweep opens a chunk of deletes.
func (w *weave) landSweep(ctx context.Context, f *flight) error {
	c := f.chunk
	c.next, c.last, c.passed = f.next, f.next == nil, true
	f.state.busy = true // the next sweep begins when this one was sent
	w.insert(c)
	return w.replay(ctx, f, c)
}
