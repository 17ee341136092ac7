package worker

import (
	"context"
	"fmt"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// What a source noted comes back together with the position it noted it at, also after a crash; what it removed does not.
func TestNotesBelongToThePosition(t *testing.T) {
	h := newHarness(t)
	h.db.notes = true
	h.start()
	h.create("src", sourceConfig(nil))
	h.create("other", sourceConfig(nil))
	h.create("sink", sinkConfig(nil))
	for id := range int64(25) {
		h.db.add(fakeEvent{op: change.OpCreate, id: id, val: "v"})
	}
	h.target.until(t, "all rows", func() bool { return len(h.target.rows) == 25 })
	h.stop()
	h.start()
	notes, err := h.w.notes(context.Background(), "src")
	if err != nil {
		t.Fatal(err)
	}
	at := h.w.offsets.Committed("src", "p")
	if len(notes) != 2 || string(notes["at"]) != string(at) {
		t.Fatalf("at %s the notes are %q", at, notes)
	}
	var n int
	if _, err := fmt.Sscanf(string(at), `{"N":%d}`, &n); err != nil || notes[fmt.Sprint(n)] == nil {
		t.Errorf("at %s the notes are %q", at, notes)
	}
}
