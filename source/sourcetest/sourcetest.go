package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// Run holds a source to the contract. Each part runs as a subtest on a database of its own.
func Run(t *testing.T, h Harness) {
	if h.Big == 0 {
		h.Big = 20000
	}
	parts := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"EmptyPositionStartsNow", testStartsNow},
		{"WholeTransactionsInOrder", testOrder},
		{"RolledBack", testRolledBack},
		{"ChangeOfKey", testChangeOfKey},
		{"UnchangedColumn", testUnchanged},
		{"LargeTransaction", testLarge},
		{"ResumeEverywhere", testResume},
		{"ResumeInsideTransaction", testResumeInside},
		{"AckAndResume", testAck},
		{"BatchBelongsToCaller", testOwnership},
		{"ReadEndsWithContext", testCancel},
		{"PromptOnIdle", testPrompt},
		{"CloseTwice", testClose},
		{"ScanChunks", testScan},
		{"ScanWindow", testWindow},
		{"Fetch", testFetch},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			t.Run("run", func(t *testing.T) { p.run(t, h) }) // its cleanups have run when it returns
			if err := goleak.Find(ignore); err != nil {
				t.Error(err)
			}
		})
	}
}

// session is an open source with its stream.
type session struct {
	src source.Source
	source.Stream
}

func (s session) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.Stream.Close(), s.src.Close()); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func open(t *testing.T, db Database, from change.Position) session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	src := db.Open(ctx, t)
	s, err := src.Stream(ctx, from)
	if err != nil {
		src.Close()
		t.Fatalf("stream from %q: %v", from, err)
	}
	t.Cleanup(func() { s.Close(); src.Close() })
	return session{src, s}
}

// workload is a few transactions of every kind of statement.
func workload(t *testing.T, db Database) (want []fact, ends []int) {
	t.Helper()
	doc := strings.Repeat("large and hard to press together ", 3) + noise(8000)
	txs := [][]Op{
		{{Kind: Insert, ID: 1, N: 10, Doc: doc}, {Kind: Insert, ID: 2, N: 20, Doc: "b"}, {Kind: Insert, ID: -3, N: 30, Doc: ""}},
		{{Kind: Update, ID: 1, N: 11}},
		{{Kind: Update, ID: 1, N: 12}, {Kind: Update, ID: 1, N: 13}, {Kind: Delete, ID: 2}},
		{{Kind: Insert, ID: 2, N: 21, Doc: "again"}, {Kind: Move, ID: 1, To: 100}},
		{{Kind: Delete, ID: -3}, {Kind: Insert, ID: -3, N: 31, Doc: "reborn"}, {Kind: Update, ID: -3, N: 32}},
		{{Kind: Move, ID: 100, To: 1}, {Kind: Update, ID: 1, N: 14}},
	}
	n := map[int64]int64{}
	for _, ops := range txs {
		db.Exec(t, false, ops...)
		want = append(want, facts(ops, n)...)
		ends = append(ends, len(want))
	}
	return want, ends
}

// noise is text that doesn't compress well.
func noise(n int) string {
	x := uint64(88172645463325252)
	out := make([]byte, n)
	for i := range out {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		out[i] = 'a' + byte(x%26)
	}
	return string(out)
}

func testStartsNow(t *testing.T, h Harness) {
	db := h.New(t)
	db.Exec(t, false, Op{Kind: Insert, ID: 1, N: 1, Doc: "before"})
	s := open(t, db, nil)
	db.Exec(t, false, Op{Kind: Insert, ID: 2, N: 2, Doc: "after"})
	events, _ := collect(t.Context(), t, s, 1)
	compare(t, events, []fact{{change.OpCreate, 2, 2}})
}

func testOrder(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	want, ends := workload(t, db)
	events, steps := collect(t.Context(), t, s, len(want))
	compare(t, events, want)
	first := 0
	seen := map[uint64]bool{}
	for _, end := range ends {
		txn := events[first].txn
		if txn == 0 || seen[txn] {
			t.Fatalf("event %d: transaction %d, which is 0 or came before", first, txn)
		}
		seen[txn] = true
		for i := first; i < end; i++ {
			if events[i].txn != txn {
				t.Fatalf("event %d is of transaction %d, not %d", i, events[i].txn, txn)
			}
			if i > first && events[i].ordinal <= events[i-1].ordinal {
				t.Fatalf("event %d: ordinal %d after %d", i, events[i].ordinal, events[i-1].ordinal)
			}
		}
		first = end
	}
	for i := 1; i < len(steps); i++ {
		if h.Compare(steps[i-1].resume, steps[i].resume) > 0 {
			t.Fatalf("position went back from %s to %s", steps[i-1].resume, steps[i].resume)
		}
		if steps[i].events > steps[i-1].events && h.Compare(steps[i-1].resume, steps[i].resume) == 0 {
			t.Fatalf("events came and the position stayed at %s", steps[i].resume)
		}
	}
}

func testRolledBack(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	db.Exec(t, true, Op{Kind: Insert, ID: 1, N: 1}, Op{Kind: Insert, ID: 2, N: 2})
	db.Exec(t, false, Op{Kind: Insert, ID: 3, N: 3})
	db.Exec(t, true, Op{Kind: Update, ID: 3, N: 4})
	db.Exec(t, false, Op{Kind: Update, ID: 3, N: 5})
	events, _ := collect(t.Context(), t, s, 2)
	compare(t, events, []fact{{change.OpCreate, 3, 3}, {change.OpUpdate, 3, 5}})
}

func testChangeOfKey(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	db.Exec(t, false, Op{Kind: Insert, ID: 1, N: 7, Doc: noise(8000)})
	db.Exec(t, false, Op{Kind: Move, ID: 1, To: 9})
	events, _ := collect(t.Context(), t, s, 3)
	compare(t, events, []fact{{change.OpCreate, 1, 7}, {op: change.OpDelete, id: 1}, {change.OpCreate, 9, 7}})
	d, c := events[1], events[2]
	if d.txn != c.txn || d.batch != c.batch {
		t.Fatalf("the two halves are in transactions %d and %d, batches %d and %d", d.txn, c.txn, d.batch, c.batch)
	}
	checkDoc(t, c, noise(8000))
}

func testUnchanged(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	db.Exec(t, false, Op{Kind: Insert, ID: 1, N: 1, Doc: noise(9000)})
	db.Exec(t, false, Op{Kind: Update, ID: 1, N: 2})
	events, _ := collect(t.Context(), t, s, 2)
	compare(t, events, []fact{{change.OpCreate, 1, 1}, {change.OpUpdate, 1, 2}})
	if events[0].doc.Kind != change.Text || string(events[0].doc.Data) != noise(9000) {
		t.Fatalf("inserted doc is %s of %d bytes", events[0].doc.Kind, len(events[0].doc.Data))
	}
	checkDoc(t, events[1], noise(9000))
}

// checkDoc accepts a column that was not sent, and its right value; nothing else.
func checkDoc(t *testing.T, r read, want string) {
	t.Helper()
	if r.doc.Present() && (r.doc.Kind != change.Text || string(r.doc.Data) != want) {
		t.Fatalf("%s: doc is %s of %d bytes, neither absent nor what it was", r, r.doc.Kind, len(r.doc.Data))
	}
}

func inserts(from, n int) (ops []Op) {
	for i := range n {
		ops = append(ops, Op{Kind: Insert, ID: int64(from + i), N: int64(i), Doc: "d"})
	}
	return ops
}

func testLarge(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	ops := append(inserts(1, h.Big), Op{Kind: Move, ID: 1, To: -1})
	db.Exec(t, false, ops...)
	db.Exec(t, false, Op{Kind: Insert, ID: 0, N: 1})
	want := facts(append(ops, Op{Kind: Insert, ID: 0, N: 1}), map[int64]int64{})
	events, _ := collect(t.Context(), t, s, len(want))
	compare(t, events, want)
	for i := range h.Big + 2 {
		if events[i].txn != events[0].txn || i > 0 && events[i].ordinal <= events[i-1].ordinal {
			t.Fatalf("event %d: transaction %d/%d", i, events[i].txn, events[i].ordinal)
		}
	}
}

// testResume opens the stream again at each position of a run, with a member more as the snapshot adds it, and expects
// exactly the rest. Positions repeat themselves or grow; nothing was acknowledged.
func testResume(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	want, _ := workload(t, db)
	_, steps := collect(t.Context(), t, s, len(want))
	s.close(t)
	db.Exec(t, false, Op{Kind: Insert, ID: 77, N: 77})
	want = append(want, fact{change.OpCreate, 77, 77})
	for _, at := range thin(steps, 12) {
		s := open(t, db, withMember(at.resume))
		events, _ := collect(t.Context(), t, s, len(want)-at.events)
		s.close(t)
		compare(t, events, want[at.events:])
	}
}

// testResumeInside does the same at positions inside a large transaction.
func testResumeInside(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	ops := inserts(1, h.Big)
	db.Exec(t, false, ops...)
	want := facts(ops, map[int64]int64{})
	_, steps := collect(t.Context(), t, s, len(want))
	s.close(t)
	for _, at := range thin(steps, 3) {
		s := open(t, db, at.resume)
		db.Exec(t, false, Op{Kind: Insert, ID: int64(len(want) + 1000), N: 1})
		want = append(want, fact{change.OpCreate, int64(len(want) + 1000), 1})
		events, _ := collect(t.Context(), t, s, len(want)-at.events)
		s.close(t)
		compare(t, events, want[at.events:])
	}
}

// thin keeps at most n steps, the first and the last among them.
func thin(steps []step, n int) []step {
	if len(steps) <= n {
		return steps
	}
	var out []step
	for i := range n {
		out = append(out, steps[i*(len(steps)-1)/(n-1)])
	}
	return out
}

// withMember adds what package snapshot adds; a source must ignore it.
func withMember(p change.Position) change.Position {
	p = bytes.TrimSpace(p)
	return fmt.Appendf(nil, `%s,"snapshot":{"tables":{"public.items":{"rows":3,"done":true}},"completed":true}}`, p[:len(p)-1])
}

func testAck(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	want, _ := workload(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var b change.Batch
	n := 0
	var last change.Position
	for n < len(want) {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatal(err)
		}
		n += len(b.Events)
		last = withMember(b.Resume)
		if err := s.Ack(ctx, last); err != nil {
			t.Fatal(err)
		}
	}
	s.close(t)
	db.Exec(t, false, Op{Kind: Insert, ID: 78, N: 1})
	s = open(t, db, last)
	events, _ := collect(ctx, t, s, 1)
	compare(t, events, []fact{{change.OpCreate, 78, 1}})
}

// testOwnership keeps a batch while the next ones are read: its bytes must stay as they were until Reset.
func testOwnership(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var kept, copies []*change.Batch
	for i := range 4 {
		db.Exec(t, false, inserts(100*i+1, 50)...)
		b := &change.Batch{}
		for len(b.Events) == 0 {
			b.Reset()
			if err := s.Read(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		c := &change.Batch{}
		for j := range b.Events {
			c.CopyEvent(&b.Events[j])
		}
		kept, copies = append(kept, b), append(copies, c)
	}
	s.close(t)
	for i, b := range kept {
		for j := range b.Events {
			x, y := &b.Events[j], &copies[i].Events[j]
			same := bytes.Equal(x.Key, y.Key) && slices.EqualFunc(x.After, y.After, func(a, b change.Value) bool {
				return a.Kind == b.Kind && a.Num == b.Num && bytes.Equal(a.Data, b.Data)
			})
			if !same {
				t.Fatalf("event %d of batch %d changed after it was read", j, i)
			}
		}
	}
}

func testCancel(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var b change.Batch
		for {
			b.Reset()
			if err := s.Read(ctx, &b); err != nil {
				done <- err
				return
			}
		}
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Read ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Read did not return")
	}
}

func testPrompt(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	p, ok := s.Stream.(source.Prompter)
	if !ok {
		t.Skip("not run: the stream is no source.Prompter")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var b change.Batch
	var last change.Position
	for range 3 {
		p.Prompt()
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatalf("Read after Prompt: %v", err)
		}
		if len(b.Events) != 0 || len(b.Resume) == 0 {
			t.Fatalf("an idle database gave %d events and Resume %q", len(b.Events), b.Resume)
		}
		if last != nil && h.Compare(last, b.Resume) > 0 {
			t.Fatalf("position went back from %s to %s", last, b.Resume)
		}
		last = append(change.Position(nil), b.Resume...)
	}
}

func testClose(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	db.Exec(t, false, inserts(1, 10)...)
	for range 2 {
		if err := s.Stream.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.src.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// items returns the scanner and the table, and skips if the source has none.
func items(t *testing.T, s session) (snapshot.Scanner, *change.Table) {
	t.Helper()
	sc, ok := s.src.(snapshot.Scanner)
	if !ok {
		t.Skip("not run: the source is no snapshot.Scanner")
	}
	tables, err := sc.Tables(t.Context())
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables: %v, %v", tables, err)
	}
	return sc, tables[0]
}

func testScan(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	sc, table := items(t, s)
	for _, n := range []int{0, 1, 10, 25} {
		if n > 0 {
			db.Exec(t, false, Op{Kind: Truncate})
			db.Exec(t, false, inserts(-5, n)...)
		}
		for _, limit := range []int{1, 10, 1000} {
			var after []byte
			got, more := 0, true
			for more {
				var b change.Batch
				if _, err := sc.Scan(t.Context(), table, after, limit, &b); err != nil {
					t.Fatal(err)
				}
				if len(b.Events) > limit {
					t.Fatalf("%d rows with a limit of %d", len(b.Events), limit)
				}
				more = len(b.Events) == limit
				for i := range b.Events {
					r := look(t, &b.Events[i], 0)
					if want := (fact{change.OpRead, int64(got - 5), int64(got)}); r.fact != want {
						t.Fatalf("row %d of %d, limit %d, is %s, want %s", got, n, limit, r, want)
					}
					got++
					after = append(after[:0], b.Events[i].Key...)
				}
			}
			if got != n {
				t.Fatalf("%d rows of %d with a limit of %d", got, n, limit)
			}
		}
	}
}

// testWindow reads a chunk between two transactions, the first of them large, and follows the stream past it.
func testWindow(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	sc, table := items(t, s)
	db.Exec(t, false, inserts(1, h.Big)...)
	var chunk change.Batch
	w, err := sc.Scan(t.Context(), table, nil, 10, &chunk)
	if err != nil {
		t.Fatal(err)
	}
	if len(chunk.Events) != 10 {
		t.Fatalf("%d rows", len(chunk.Events))
	}
	if p, ok := s.Stream.(source.Prompter); ok {
		defer p.Prompt()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var b change.Batch
	seen := 0
	for seen < h.Big {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			if side := w.Side(&b.Events[i]); side != snapshot.Before {
				t.Fatalf("event %d of a transaction that the chunk saw is on side %d", seen, side)
			}
			seen++
		}
		if seen < h.Big && w.Passed(b.Resume) {
			t.Fatalf("passed at %s, after %d of %d events that the chunk saw", b.Resume, seen, h.Big)
		}
	}
	db.Exec(t, false, Op{Kind: Update, ID: 1, N: -1})
	passed := false
	for seen = 0; seen < 1; {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			if side := w.Side(&b.Events[i]); side == snapshot.Before {
				t.Fatal("an event that the chunk did not see is Before it")
			}
			seen++
		}
		passed = w.Passed(b.Resume)
	}
	if !passed {
		t.Fatalf("not passed at %s, after a transaction that began after the read", b.Resume)
	}
}

func testFetch(t *testing.T, h Harness) {
	db := h.New(t)
	s := open(t, db, nil)
	_, table := items(t, s)
	f, ok := s.src.(snapshot.Fetcher)
	if !ok {
		t.Skip("not run: the source is no snapshot.Fetcher")
	}
	db.Exec(t, false, Op{Kind: Insert, ID: 5, N: 50, Doc: noise(8000)})
	events, _ := collect(t.Context(), t, s, 1)
	for id, there := range map[int64]bool{5: true, 6: false} {
		row := make(change.Row, len(table.Columns))
		row[table.Column("id")] = change.Value{Kind: change.Int, Num: uint64(id)}
		key, _ := change.AppendKey(nil, table, row)
		var b change.Batch
		rows, w, err := f.Fetch(t.Context(), table, [][]byte{key}, &b)
		if err != nil {
			t.Fatal(err)
		}
		got := rows[0]
		if (got != nil) != there {
			t.Fatalf("row %d is %v", id, got)
		}
		if there && string(got[table.Column("doc")].Data) != noise(8000) {
			t.Fatalf("row %d: another doc", id)
		}
		if w == nil || w.Side(&change.Event{Txn: events[0].txn}) != snapshot.Before {
			t.Fatalf("row %d: the window has not seen a transaction that was over", id)
		}
	}
}
