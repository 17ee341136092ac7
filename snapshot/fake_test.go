package snapshot_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// fake is a source whose every step a test writes itself: what the next Read gives, what a Scan gives.
type fake struct {
	tables  []*change.Table
	scan    func(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error)
	opened  []change.Position
	refuse  error // the next Stream fails with it
	batches chan func(*change.Batch)
	now     atomic.Int64 // the position that the stream gave last
}

func newFake(tables ...*change.Table) *fake {
	return &fake{tables: tables, batches: make(chan func(*change.Batch), 100)}
}

func (f *fake) Stream(_ context.Context, from change.Position) (source.Stream, error) {
	f.opened = append(f.opened, from)
	if err := f.refuse; err != nil {
		f.refuse = nil
		return nil, err
	}
	return &fakeStream{f}, nil
}
func (f *fake) Close() error                                           { return nil }
func (f *fake) Tables(context.Context) ([]*change.Table, error)        { return f.tables, nil }
func (f *fake) Estimate(context.Context, *change.Table) (int64, error) { return 1000, nil }
func (f *fake) Scan(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	return f.scan(ctx, t, after, limit, b)
}

type fakeStream struct{ f *fake }

func (s *fakeStream) Read(ctx context.Context, b *change.Batch) error {
	select {
	case fill := <-s.f.batches:
		fill(b)
		if n := number(b.Resume); n != 0 {
			s.f.now.Store(int64(n))
		} else {
			b.Origin, b.Resume = "fake", fmt.Appendf(nil, `{"at":%d}`, max(1, s.f.now.Load()))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (s *fakeStream) Ack(context.Context, change.Position) error { return nil }
func (s *fakeStream) Close() error                               { return nil }

// Prompt gives an empty batch at the position where the stream stands, 1 in the beginning.
func (s *fakeStream) Prompt() {
	select {
	case s.f.batches <- func(*change.Batch) {}:
	default:
	}
}

// at fills a batch with the position n and these events.
func at(n int, events ...change.Event) func(*change.Batch) {
	return func(b *change.Batch) {
		for i := range events {
			b.CopyEvent(&events[i])
		}
		b.Origin, b.Resume = "fake", fmt.Appendf(nil, `{"at":%d}`, n)
	}
}

// view is a window that sees the transactions up to seen, and is passed at position high.
type view struct {
	seen  uint64
	high  int
	doubt uint64 // a transaction of which it is not known, 0: none
}

func (w view) Side(e *change.Event) snapshot.Side {
	if w.doubt != 0 && e.Txn == w.doubt {
		return snapshot.Unknown
	}
	if e.Txn <= w.seen {
		return snapshot.Before
	}
	return snapshot.Inside
}

func (w view) Passed(p change.Position) bool {
	return number(p) >= w.high
}

// number is the N of {"at":N...}, 0 if there is none.
func number(p change.Position) int {
	p, _ = bytes.CutPrefix(p, []byte(`{"at":`))
	i := bytes.IndexAny(p, ",}")
	if i < 0 {
		return 0
	}
	n, err := strconv.Atoi(string(p[:i]))
	if err != nil {
		return 0
	}
	return n
}

func table(name string, columns ...string) *change.Table {
	t := &change.Table{Name: change.TableName{Database: "d", Schema: "public", Table: name}, Version: 1, Key: []int{0}}
	for _, c := range columns {
		t.Columns = append(t.Columns, change.Column{Name: c, Type: change.Type{Kind: change.Int, Name: "bigint", Bits: 64}})
	}
	return t
}

func ints(n ...int64) change.Row {
	r := make(change.Row, len(n))
	for i, v := range n {
		r[i] = change.Value{Kind: change.Int, Num: uint64(v)}
	}
	return r
}

func event(t *change.Table, op change.Op, txn uint64, row change.Row) change.Event {
	e := change.Event{Table: t, Op: op, Txn: txn, Topic: "fake." + t.Name.String(), After: row}
	e.Key, _ = change.AppendKey(nil, t, row)
	if op == change.OpDelete {
		e.Before, e.After = row, nil
	}
	return e
}

// rows is a Scan of rows with the keys 1 to n and the value 10 times the key in all other columns.
func rows(n int64, w snapshot.Window) func(context.Context, *change.Table, []byte, int, *change.Batch) (snapshot.Window, error) {
	return func(_ context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
		for id := int64(1); id <= n; id++ {
			row := make([]int64, len(t.Columns))
			for i := range row {
				row[i] = 10 * id
			}
			row[0] = id
			e := event(t, change.OpRead, 0, ints(row...))
			if string(e.Key) > string(after) && len(b.Events) < limit {
				b.CopyEvent(&e)
			}
		}
		return w, nil
	}
}

func mode(m string) snapshot.Options {
	return snapshot.Options{Config: snapshot.Config{Mode: m}, Logger: slog.New(slog.DiscardHandler)}
}

func mustOpen(t *testing.T, src source.Source, from change.Position, o snapshot.Options) source.Stream {
	t.Helper()
	s, err := snapshot.Open(t.Context(), src, from, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// drain reads until the position has the text, and returns what came, one line for each event.
func drain(t *testing.T, s source.Stream, until string) (lines []string, last change.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var b change.Batch
	for {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatalf("%v; so far %v, %s", err, lines, last)
		}
		for i := range b.Events {
			lines = append(lines, line(&b.Events[i]))
		}
		last = slices.Clone(b.Resume)
		if until == "" || contains(last, until) {
			return lines, last
		}
	}
}

func line(e *change.Event) string {
	out := fmt.Sprintf("%c %s %s", e.Op, e.Table.Name.Table, change.KeyText(e.Key))
	for i := 1; i < len(e.After); i++ {
		if e.After[i].Present() {
			out += fmt.Sprintf(" %d", e.After[i].Int64())
		} else {
			out += " absent"
		}
	}
	return out
}
