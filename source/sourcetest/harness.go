package sourcetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
)

// patience bounds every wait of the suite.
const patience = 30 * time.Second

// A Harness drives one kind of source. The table may have another name than items; its columns may not.
type Harness struct {
	// New makes a database with an empty table items: id a 64-bit integer and the key, n a 64-bit integer, doc text
	// that may be large. It cleans up through t.
	New func(t *testing.T) Database
	// Compare orders two positions that the source gave: negative, 0 or positive.
	Compare func(a, b change.Position) int
	// Big is the number of rows of a large transaction, more than one batch holds; 0: 20000.
	Big int
}

// A Database is what the suite writes to and captures. It is used by one goroutine.
type Database interface {
	// Open opens a source that captures items, for the same connector each time. The suite closes it before it opens
	// the next one.
	Open(ctx context.Context, t *testing.T) source.Source
	// Exec runs ops as one transaction and returns when it is committed and visible, or rolled back.
	Exec(t *testing.T, rollback bool, ops ...Op)
}

// Kind says what an Op does.
type Kind byte

const (
	Insert   Kind = 'c'
	Update   Kind = 'u' // sets n, leaves doc as it is
	Delete   Kind = 'd'
	Move     Kind = 'm' // changes the key from ID to To
	Truncate Kind = 't'
)

// An Op is one statement on one row of items.
type Op struct {
	Kind Kind
	ID   int64
	To   int64  // Move: the new id
	N    int64  // Insert, Update
	Doc  string // Insert
}

// fact is one event as the suite expects or saw it.
type fact struct {
	op change.Op
	id int64
	n  int64 // after inserts and updates, else 0
}

func (f fact) String() string { return fmt.Sprintf("%c(%d,%d)", f.op, f.id, f.n) }

// facts is what the stream must tell of a transaction.
func facts(ops []Op, n map[int64]int64) (out []fact) {
	for _, op := range ops {
		switch op.Kind {
		case Insert:
			n[op.ID] = op.N
			out = append(out, fact{change.OpCreate, op.ID, op.N})
		case Update:
			n[op.ID] = op.N
			out = append(out, fact{change.OpUpdate, op.ID, op.N})
		case Delete:
			delete(n, op.ID)
			out = append(out, fact{op: change.OpDelete, id: op.ID})
		case Move:
			out = append(out, fact{op: change.OpDelete, id: op.ID}, fact{change.OpCreate, op.To, n[op.ID]})
			n[op.To] = n[op.ID]
			delete(n, op.ID)
		case Truncate:
			clear(n)
			out = append(out, fact{op: change.OpTruncate})
		}
	}
	return out
}

// read is one event that came, with what the suite compares.
type read struct {
	fact
	txn     uint64
	ordinal uint32
	doc     change.Value
	batch   int
}

// A step is a Read: how many events had come after it, and where the source says one can go on.
type step struct {
	events int
	resume change.Position
}

// look takes an event apart. The table is found by its name, the columns by theirs.
func look(t *testing.T, e *change.Event, batch int) read {
	t.Helper()
	r := read{fact: fact{op: e.Op}, txn: e.Txn, ordinal: e.Ordinal, batch: batch}
	if e.Table == nil || e.Raw != nil {
		t.Fatalf("%c event that is no row", e.Op)
	}
	if e.Topic == "" {
		t.Fatalf("%c event without a topic", e.Op)
	}
	if e.Op == change.OpTruncate {
		return r
	}
	var b change.Batch
	key, err := change.DecodeKey(&b, e.Table, e.Key)
	if err != nil {
		t.Fatal(err)
	}
	r.id = key[e.Table.Column("id")].Int64()
	if e.Op == change.OpDelete {
		if e.After != nil {
			t.Fatalf("delete of %d with a new row", r.id)
		}
		return r
	}
	if len(e.After) != len(e.Table.Columns) {
		t.Fatalf("row of %d columns in a table of %d", len(e.After), len(e.Table.Columns))
	}
	if got := e.After[e.Table.Column("id")].Int64(); got != r.id {
		t.Fatalf("key %d on the row of %d", r.id, got)
	}
	r.n = e.After[e.Table.Column("n")].Int64()
	r.doc = e.After[e.Table.Column("doc")]
	return r
}

// collect reads until n events have come; it never acknowledges.
func collect(ctx context.Context, t *testing.T, s source.Stream, n int) (events []read, steps []step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var b change.Batch
	for batch := 0; len(events) < n; batch++ {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatalf("after %d of %d events: %v", len(events), n, err)
		}
		if len(b.Resume) == 0 || b.Origin == "" {
			t.Fatalf("batch with Resume %q and Origin %q", b.Resume, b.Origin)
		}
		if len(b.Events) > 16384 {
			t.Fatalf("a batch of %d events", len(b.Events))
		}
		for i := range b.Events {
			events = append(events, look(t, &b.Events[i], batch))
			events[len(events)-1].doc.Data = append([]byte(nil), events[len(events)-1].doc.Data...)
		}
		steps = append(steps, step{len(events), append(change.Position(nil), b.Resume...)})
	}
	return events, steps
}

// compare fails where the events are not what was written.
func compare(t *testing.T, events []read, want []fact) {
	t.Helper()
	for i := range max(len(events), len(want)) {
		switch {
		case i >= len(want):
			t.Fatalf("event %d, %s, is one too many", i, events[i])
		case i >= len(events):
			t.Fatalf("event %d, %s, is missing", i, want[i])
		case events[i].fact != want[i]:
			t.Fatalf("event %d is %s, want %s", i, events[i], want[i])
		}
	}
}
