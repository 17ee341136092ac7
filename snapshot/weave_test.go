package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/sim"
	"github.com/tailrace/tailrace/snapshot"
)

const complete = `"completed":true`

func contains(p change.Position, text string) bool { return bytes.Contains(p, []byte(text)) }

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// The windows of these tests see transactions up to 10: 5 is Before, 15 is Inside.
func TestEventsOfAnOpenChunk(t *testing.T) {
	a := table("a", "id", "n", "large")
	torn := func(id, n int64) change.Row { r := ints(id, n, 0); r[2] = change.Value{}; return r }
	for _, c := range []struct {
		name   string
		events []change.Event
		want   []string
	}{
		{"before_is_passed_on", []change.Event{event(a, change.OpUpdate, 5, ints(2, 20, 20))},
			[]string{"u a 2 20 20", "r a 1 10 10", "r a 2 20 20", "r a 3 30 30"}},
		{"inside_evicts", []change.Event{event(a, change.OpUpdate, 15, ints(2, 7, 8))},
			[]string{"u a 2 7 8", "r a 1 10 10", "r a 3 30 30"}},
		{"case34_delete_evicts", []change.Event{event(a, change.OpDelete, 15, ints(1, 0, 0))},
			[]string{"d a 1", "r a 2 20 20", "r a 3 30 30"}},
		{"case34_reinsert_wins", []change.Event{event(a, change.OpDelete, 15, ints(1, 0, 0)), event(a, change.OpCreate, 15, ints(1, 5, 5))},
			[]string{"d a 1", "c a 1 5 5", "r a 2 20 20", "r a 3 30 30"}},
		{"case104_unchanged_column_is_completed", []change.Event{event(a, change.OpUpdate, 15, torn(2, 7)), event(a, change.OpUpdate, 16, torn(2, 8))},
			[]string{"u a 2 7 20", "u a 2 8 absent", "r a 1 10 10", "r a 3 30 30"}},
		{"change_of_key_takes_the_column_along", []change.Event{event(a, change.OpDelete, 15, ints(2, 0, 0)), event(a, change.OpCreate, 15, torn(9, 7))},
			[]string{"d a 2", "c a 9 7 20", "r a 1 10 10", "r a 3 30 30"}},
		{"truncate_evicts_all", []change.Event{{Table: a, Op: change.OpTruncate, Txn: 15, Topic: "x"}, event(a, change.OpCreate, 15, ints(2, 1, 1))},
			[]string{"t a ", "c a 2 1 1"}},
		{"other_tables_pass", []change.Event{event(table("z", "id", "n"), change.OpCreate, 15, ints(2, 1))},
			[]string{"c z 2 1", "r a 1 10 10", "r a 2 20 20", "r a 3 30 30"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(a)
				f.scan = rows(3, view{seen: 10, high: 2})
				s := mustOpen(t, f, nil, mode("initial"))
				defer s.Close()
				drain(t, s, "") // asks for the chunk
				synctest.Wait() // it is there
				for len(f.batches) > 0 {
					<-f.batches
				}
				f.batches <- at(2, c.events...)
				got, _ := drain(t, s, complete)
				expect(t, got, c.want...)
			})
		})
	}
}

// An update that leaves a column out passes while the chunk is read: the row is sent with its values laid over it.
func TestEventsWhileReading(t *testing.T) {
	a := table("a", "id", "n", "large")
	torn := ints(2, 7, 0)
	torn[2] = change.Value{}
	t.Run("case104_unchanged_column_while_reading", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(a)
			read, release := rows(3, view{seen: 10, high: 2}), make(chan struct{})
			f.scan = func(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
				w, err := read(ctx, t, after, limit, b)
				<-release
				return w, err
			}
			s := mustOpen(t, f, nil, mode("initial"))
			defer s.Close()
			drain(t, s, "")
			f.batches <- at(1, event(a, change.OpUpdate, 5, ints(3, 30, 30)), event(a, change.OpUpdate, 15, torn),
				event(a, change.OpDelete, 15, ints(1, 0, 0)))
			got, _ := drain(t, s, "")
			expect(t, got, "u a 3 30 30", "u a 2 7 absent", "d a 1")
			close(release)
			synctest.Wait()
			f.batches <- at(2)
			got, _ = drain(t, s, complete)
			expect(t, got, "r a 2 7 20", "r a 3 30 30")
		})
	})
	t.Run("delivered_before_and_hidden", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			// Transaction 11 deletes a row and is delivered before its chunk is read; the first two reads don't see it.
			f := newFake(table("b", "id", "n"), a)
			release, tries := make(chan struct{}), 0
			f.scan = func(ctx context.Context, x *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
				if x != a {
					<-release
					return rows(0, view{seen: 10, high: 2})(ctx, x, after, limit, b)
				}
				if tries++; tries <= 2 {
					return rows(3, view{seen: 10, high: 2})(ctx, x, after, limit, b)
				}
				return rows(2, view{seen: 11, high: 2})(ctx, x, after, limit, b)
			}
			s := mustOpen(t, f, nil, mode("initial"))
			defer s.Close()
			drain(t, s, "")
			f.batches <- at(2, event(a, change.OpDelete, 11, ints(3, 0, 0)))
			got, _ := drain(t, s, "")
			expect(t, got, "d a 3")
			close(release)
			got, _ = drain(t, s, complete)
			expect(t, got, "r a 1 10 10", "r a 2 20 20")
			if tries != 3 {
				t.Fatalf("%d reads", tries)
			}
		})
	})
}

// A chunk of which it is not known whether it saw an event is read again, whether the event comes while it is read or while it is open.
func TestUnknownSide_case31(t *testing.T) {
	a := table("a", "id", "n")
	for _, open := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(a)
			release, tries := make(chan struct{}), 0
			f.scan = func(ctx context.Context, x *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
				if tries++; tries > 1 {
					return rows(2, view{seen: 12, high: 2})(ctx, x, after, limit, b)
				}
				w, err := rows(3, view{seen: 12, high: 2, doubt: 11})(ctx, x, after, limit, b)
				<-release
				return w, err
			}
			s := mustOpen(t, f, nil, mode("initial"))
			defer s.Close()
			drain(t, s, "")
			if open {
				close(release)
				synctest.Wait()
				drain(t, s, "")
			}
			f.batches <- at(1, event(a, change.OpDelete, 11, ints(3, 0)))
			got, _ := drain(t, s, "")
			expect(t, got, "d a 3")
			if !open {
				close(release)
			}
			synctest.Wait()
			f.batches <- at(2)
			got, _ = drain(t, s, complete)
			expect(t, got, "r a 1 10", "r a 2 20")
			if tries != 2 {
				t.Errorf("open %v: %d reads", open, tries)
			}
		})
	}
}

func TestModes(t *testing.T) {
	a, b := table("a", "id", "n"), table("b", "id", "n")
	source := func() *fake {
		f := newFake(a, b)
		f.scan = rows(1, view{seen: 10, high: 1})
		return f
	}
	copied := []string{"r a 1 10", "r b 1 10"}
	t.Run("initial", func(t *testing.T) {
		f := source()
		got, p := drain(t, mustOpen(t, f, nil, mode("initial")), complete)
		expect(t, got, copied...)
		want := `{"at":1,"snapshot":{"tables":{"public.a":{"rows":1,"done":true},"public.b":{"rows":1,"done":true}},"completed":true}}`
		if string(p) != want {
			t.Fatalf("position %s", p)
		}
		f.tables = append(f.tables, table("late", "id", "n"))
		got, p = drain(t, mustOpen(t, f, p, mode("initial")), complete)
		expect(t, got, "r late 1 10")
		if string(f.opened[1]) != want {
			t.Fatalf("opened at %s", f.opened[1])
		}
		f.batches <- at(3, event(a, change.OpCreate, 20, ints(4, 4)))
		for n := 0; n == 0; {
			got, _ = drain(t, mustOpen(t, f, p, mode("initial")), "")
			n = len(got)
		}
		expect(t, got, "c a 4 4")
	})
	t.Run("initial_only", func(t *testing.T) {
		s := mustOpen(t, source(), nil, mode("initial_only"))
		got, p := drain(t, s, complete)
		expect(t, got, copied...)
		var batch change.Batch
		if err := s.Read(t.Context(), &batch); !errors.Is(err, snapshot.ErrDone) {
			t.Fatalf("after the copy: %v", err)
		}
		f := source()
		if err := mustOpen(t, f, p, mode("initial_only")).Read(t.Context(), &batch); !errors.Is(err, snapshot.ErrDone) || len(f.opened) > 0 {
			t.Fatalf("after a restart: %v, %d streams", err, len(f.opened))
		}
	})
	t.Run("always", func(t *testing.T) {
		_, p := drain(t, mustOpen(t, source(), nil, mode("always")), complete)
		got, _ := drain(t, mustOpen(t, source(), p, mode("always")), `"public.b":{"rows":1,"done":true}`)
		expect(t, got, copied...)
	})
	for _, m := range []string{"no_data", "never", "schema_only"} {
		t.Run(m, func(t *testing.T) {
			f := source()
			f.batches <- at(4)
			if _, p := drain(t, mustOpen(t, f, nil, mode(m)), ""); string(p) != `{"at":4}` {
				t.Fatalf("position %s", p)
			}
			f.batches <- at(5)
			from := change.Position(`{"at":4,"snapshot":{"tables":{"public.a":{"rows":7,"done":true}},"completed":false}}`)
			if _, p := drain(t, mustOpen(t, f, from, mode(m)), ""); string(p) != strings.Replace(string(from), "4", "5", 1) {
				t.Fatalf("position %s: the progress was lost", p)
			}
		})
	}
	t.Run("foreign_position", func(t *testing.T) {
		got, _ := drain(t, mustOpen(t, source(), change.Position(`{"at":1}`), mode("initial")), "")
		expect(t, got)
	})
	t.Run("when_needed", func(t *testing.T) {
		f := source()
		f.refuse = fault.Permanentf("SLOT_LOST", "", "gone")
		from := change.Position(`{"at":1,"snapshot":{"tables":{"public.a":{"done":true},"public.b":{"done":true}},"completed":true}}`)
		got, _ := drain(t, mustOpen(t, f, from, mode("when_needed")), complete)
		expect(t, got, "t a ", "t b ", "r a 1 10", "r b 1 10")
		f.refuse = fault.Permanentf("SLOT_LOST", "", "gone")
		if _, err := snapshot.Open(t.Context(), f, from, mode("initial")); fault.Code(err) != "SLOT_LOST" {
			t.Fatalf("mode initial: %v", err)
		}
	})
	t.Run("include", func(t *testing.T) {
		o := mode("initial")
		var err error
		if o.Config.Include, err = config.ParsePatterns(`public\.b.*`); err != nil {
			t.Fatal(err)
		}
		got, _ := drain(t, mustOpen(t, source(), nil, o), complete)
		expect(t, got, "r b 1 10")
	})
	t.Run("invalid", func(t *testing.T) {
		for props, want := range map[string]string{"snapshot.mode=intial": "initial", "snapshot.fetch.size=0": "at least",
			"snapshot.include.collection.list=(": "public"} {
			k, v, _ := strings.Cut(props, "=")
			ps := snapshot.Check(map[string]string{k: v})
			if len(ps) != 1 || ps[0].Key != k {
				t.Fatalf("%s: %v, want one problem about %s", props, ps, want)
			}
		}
		_, err := snapshot.Open(t.Context(), source(), change.Position(`{"snapshot":7}`), mode("initial"))
		if fault.Code(err) != "POSITION_INVALID" {
			t.Fatalf("malformed progress: %v", err)
		}
	})
}

func TestMarkersAndProgress(t *testing.T) {
	f := newFake(table("a", "id", "n"), table("empty", "id", "n"), table("z", "id", "n"))
	f.scan = func(ctx context.Context, x *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
		n := int64(3)
		if x.Name.Table == "empty" {
			n = 0
		}
		return rows(n, view{seen: 10, high: 1})(ctx, x, after, limit, b)
	}
	o := mode("initial")
	o.Config.FetchSize = 2
	var reports []snapshot.Progress
	o.Report = func(p snapshot.Progress) { reports = append(reports, p) }
	s := mustOpen(t, f, nil, o)
	var got []string
	var b change.Batch
	for p := (change.Position)(nil); !contains(p, complete); p = b.Resume {
		b.Reset()
		if err := s.Read(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			got = append(got, fmt.Sprint(line(&b.Events[i]), " ", b.Events[i].Snapshot))
		}
	}
	expect(t, got,
		fmt.Sprint("r a 1 10 ", change.FirstInSnapshot), fmt.Sprint("r a 2 20 ", change.InSnapshot), fmt.Sprint("r a 3 30 ", change.LastInTable),
		fmt.Sprint("r z 1 10 ", change.FirstInTable), fmt.Sprint("r z 2 20 ", change.InSnapshot), fmt.Sprint("r z 3 30 ", change.LastInSnapshot))
	first, last := reports[0], reports[len(reports)-1]
	if done, total := first.Rows(); done != 0 || total != 3000 || first.Tables[0].State != snapshot.Waiting {
		t.Fatalf("first report: %+v", first)
	}
	if done, total := last.Rows(); done != 6 || total != 6 || !last.Completed || last.Tables[1].State != snapshot.Done {
		t.Fatalf("last report: %+v", last)
	}
}

// A table is altered while its chunk is read, and again between its chunks.
func TestStructureChange(t *testing.T) {
	t.Run("case35_column_added", func(t *testing.T) {
		f := newFake(table("a", "id", "n"))
		f.scan = func(ctx context.Context, x *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
			if len(x.Columns) == 2 && after != nil {
				f.tables = []*change.Table{table("a", "id", "n", "more")}
				return nil, fmt.Errorf("read: %w", snapshot.ErrChanged)
			}
			return rows(3, view{seen: 10, high: 1})(ctx, x, after, limit, b)
		}
		o := mode("initial")
		o.Config.FetchSize = 2
		got, _ := drain(t, mustOpen(t, f, nil, o), complete)
		// The first chunk is sent as it was read, or read again if it was not sent yet.
		if l := got[len(got)-1]; l != "r a 3 30 30" || len(got) != 3 {
			t.Fatalf("got %v", got)
		}
	})
	t.Run("case35_table_dropped", func(t *testing.T) {
		f := newFake(table("a", "id", "n"), table("b", "id", "n"))
		f.scan = func(ctx context.Context, x *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
			if x.Name.Table == "a" {
				f.tables = f.tables[len(f.tables)-1:]
				return nil, snapshot.ErrChanged
			}
			return rows(1, view{seen: 10, high: 1})(ctx, x, after, limit, b)
		}
		got, _ := drain(t, mustOpen(t, f, nil, mode("initial")), complete)
		expect(t, got, "r b 1 10")
	})
	t.Run("case35_event_of_the_new_structure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, a2 := table("a", "id", "n"), table("a", "id", "n", "more")
			f := newFake(a)
			f.scan = func(ctx context.Context, x *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
				if x == a2 {
					return rows(2, view{seen: 20, high: 3})(ctx, x, after, limit, b)
				}
				return rows(2, view{seen: 10, high: 2})(ctx, x, after, limit, b)
			}
			s := mustOpen(t, f, nil, mode("initial"))
			defer s.Close()
			drain(t, s, "")
			synctest.Wait()
			for len(f.batches) > 0 {
				<-f.batches
			}
			f.tables = []*change.Table{a2}
			f.batches <- at(2, event(a2, change.OpUpdate, 15, ints(2, 20, 20)))
			got, _ := drain(t, s, "")
			expect(t, got, "u a 2 20 20")
			synctest.Wait()
			f.batches <- at(3)
			got, _ = drain(t, s, complete)
			expect(t, got, "r a 1 10 10", "r a 2 20 20")
		})
	})
}

// fetching is a fake whose rows can't be asked for, because tables have another structure by now.
type fetching struct{ *fake }

func (fetching) Fetch(context.Context, *change.Table, [][]byte, *change.Batch) ([]change.Row, snapshot.Window, error) {
	return nil, nil, nil
}

// A row under a new key lacks a large column, and the table is altered before it can be asked for: the table is copied once more.
func TestTornRowOfAnAlteredTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := table("a", "id", "n", "large")
		f := fetching{newFake(a)}
		f.scan = rows(1, view{seen: 10, high: 2})
		s := mustOpen(t, f, nil, mode("initial"))
		defer s.Close()
		drain(t, s, "")
		synctest.Wait()
		f.batches <- at(2)
		got, _ := drain(t, s, complete)
		expect(t, got, "r a 1 10 10")
		torn := ints(9, 7, 0)
		torn[2] = change.Value{}
		f.scan = func(_ context.Context, t *change.Table, _ []byte, _ int, b *change.Batch) (snapshot.Window, error) {
			e := event(t, change.OpRead, 0, ints(9, 7, 10))
			b.CopyEvent(&e)
			return view{seen: 20, high: 4}, nil
		}
		f.batches <- at(3, event(a, change.OpDelete, 15, ints(1, 0, 0)), event(a, change.OpCreate, 15, torn))
		got, last := drain(t, s, "")
		expect(t, got, "d a 1", "c a 9 7 absent")
		if contains(last, complete) {
			t.Errorf("the copy is complete: %s", last)
		}
		f.batches <- at(4)
		f.batches <- at(5)
		got, _ = drain(t, s, complete)
		expect(t, got, "r a 9 7 10")
	})
}

// A table without a key comes while the connector runs: what the stream brought of it is replaced by its copy, not doubled.
func TestNewTableWithoutKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, bag := table("a", "id", "n"), table("bag", "v", "n")
		bag.Key = nil
		f := newFake(a)
		f.scan = rows(1, view{seen: 10, high: 2})
		s := mustOpen(t, f, nil, mode("initial"))
		defer s.Close()
		drain(t, s, "")
		synctest.Wait()
		f.batches <- at(2)
		drain(t, s, complete)
		f.tables = append(f.tables, bag)
		f.scan = func(_ context.Context, t *change.Table, _ []byte, _ int, b *change.Batch) (snapshot.Window, error) {
			e := event(t, change.OpRead, 0, ints(1, 10))
			b.CopyEvent(&e)
			return view{seen: 20, high: 4}, nil
		}
		f.batches <- at(3, event(bag, change.OpCreate, 15, ints(1, 10)))
		f.batches <- at(4)
		f.batches <- at(5)
		got, _ := drain(t, s, complete)
		expect(t, got, "c bag  10", "t bag ", "r bag  10")
	})
}

func TestScanFails(t *testing.T) {
	f := newFake(table("a", "id", "n"))
	lost := errors.New("connection lost")
	f.scan = func(context.Context, *change.Table, []byte, int, *change.Batch) (snapshot.Window, error) {
		return nil, lost
	}
	s := mustOpen(t, f, nil, mode("initial"))
	var err error
	for err == nil {
		var b change.Batch
		err = s.Read(t.Context(), &b)
	}
	if !errors.Is(err, lost) || !strings.Contains(err.Error(), "public.a") || fault.IsPermanent(err) {
		t.Fatalf("error %v", err)
	}
}

func TestCloseJoins(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFake(table("a", "id", "n"))
	begun := make(chan struct{})
	f.scan = func(ctx context.Context, _ *change.Table, _ []byte, _ int, _ *change.Batch) (snapshot.Window, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := snapshot.Open(ctx, f, nil, mode("initial"))
	if err != nil {
		t.Fatal(err)
	}
	cancel() // the context of Open bounds Open, not the stream
	var b change.Batch
	if err := s.Read(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	<-begun
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A batch of events that all hit an open chunk costs an allocation for its position, and what the fake's takes.
func TestAllocs(t *testing.T) {
	a := table("a", "id", "n")
	f := newFake(a)
	f.scan = rows(1000, view{seen: 10, high: 1 << 30})
	o := mode("initial")
	o.Config.FetchSize = 2000
	s := mustOpen(t, f, nil, o)
	var events []change.Event
	for id := range int64(1000) {
		events = append(events, event(a, change.OpUpdate, 15, ints(id+1, 1)))
	}
	fill := at(1, events...)
	position := change.Position(`{"at":1}`)
	again := func(b *change.Batch) {
		for i := range events {
			b.CopyEvent(&events[i])
		}
		b.Origin, b.Resume = "fake", position
	}
	var b change.Batch
	read := func() {
		b.Reset()
		if err := s.Read(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 { // the chunk has landed, the index is built, the batch has its size
		f.batches <- fill
		read()
	}
	n := testing.AllocsPerRun(20, func() {
		for len(f.batches) > 10 {
			<-f.batches
		}
		f.batches <- again
		read()
	})
	if n > 3 {
		t.Fatalf("%v allocations for 1000 events", n)
	}
}

// A chunk of large rows makes the next ones smaller, and small rows let them grow.
func TestChunkSize(t *testing.T) {
	db := sim.New(sim.Config{Seed: 1, Steps: -1})
	tx := db.Begin()
	large := strings.Repeat("x", 64<<10)
	for id := range int64(3000) {
		doc := "small"
		if id >= 1000 {
			doc = large
		}
		if err := tx.Insert(id, id, doc); err != nil {
			t.Fatal(err)
		}
	}
	tx.Commit()
	s := mustOpen(t, db.Source(), nil, snapshot.Options{Config: snapshot.Config{Mode: "initial"}})
	var b change.Batch
	for p := (change.Position)(nil); !contains(p, complete); p = b.Resume {
		b.Reset()
		if err := s.Read(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if b.Size() > 17<<20 && len(b.Events) > 1 {
			t.Fatalf("a batch of %d bytes", b.Size())
		}
	}
	var sizes []int
	for _, c := range db.Scans() {
		if c.Table == "public.orders" {
			sizes = append(sizes, c.Rows)
		}
	}
	if len(sizes) < 4 || sizes[0] != 1024 || slices.Max(sizes[1:]) > 200 {
		t.Fatalf("chunks of %v rows", sizes)
	}
}
