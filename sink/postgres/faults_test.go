package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

const topic = "shop.public.items"

func items() *change.Table {
	return sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("name", "text"), sinktest.Column("big", "text"))
}

func put(h *sinktest.History, t *change.Table, id int64, name string) *change.Event {
	return h.Create(t, sinktest.Int(id), sinktest.Text(name), sinktest.Text("x"))
}

// state is the table items, a line for each row.
func (b *bench) state() string {
	b.Helper()
	return b.text(`SELECT coalesce(string_agg(id || ' ' || coalesce(name::text, '(null)') || ' ' || coalesce(big::text, '(null)'), E'\n' ORDER BY id), '') FROM items`)
}

func want(h *sinktest.History, t *change.Table) string {
	rows := h.Fold(t)
	slices.SortFunc(rows, func(a, b map[string]change.Value) int { return int(a["id"].Int64() - b["id"].Int64()) })
	var lines []string
	for _, r := range rows {
		line := fmt.Sprint(r["id"].Int64())
		for _, c := range []string{"name", "big"} {
			if v := r[c]; v.Kind == change.Text {
				line += " " + string(v.Data)
			} else {
				line += " (null)"
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (b *bench) holds(t testing.TB, h *sinktest.History, table *change.Table) {
	t.Helper()
	if got, want := b.state(), want(h, table); got != want {
		t.Fatalf("the table is\n%s\nwant\n%s", got, want)
	}
}

// TestConnectionDrops cuts the connection after every n bytes of a run. A trigger counts what took effect: each batch
// must do so once, although the worker cannot know whether a COMMIT whose answer was lost did.
func TestConnectionDrops(t *testing.T) {
	dsn := servers.Need(t, "postgres15")
	t.Run("case91_exactly_once", func(t *testing.T) {
		table := items()
		h := sinktest.Workload(topic, table, 31)
		b := newBench(t, dsn)
		exec(t, b.conn, `CREATE TABLE items (id bigint PRIMARY KEY, name text, big text);
			CREATE TABLE effects (id bigint, name text);
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN INSERT INTO effects VALUES (NEW.id, NEW.name); RETURN NEW; END $$;
			CREATE TRIGGER note AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note()`)
		var once string
		for n := int64(-1); ; n += 401 {
			exec(t, b.conn, "TRUNCATE items, effects; DROP TABLE IF EXISTS _tailrace_offsets")
			cut := b.deliver(t, h, n)
			b.holds(t, h, table)
			effects := b.text("SELECT coalesce(string_agg(id || name, ' ' ORDER BY id, name), '') FROM effects")
			if n < 0 {
				once = effects
			} else if effects != once {
				t.Fatalf("cut after %d bytes: what took effect is\n%s\nwant\n%s", n, effects, once)
			}
			if !cut && n >= 0 {
				break
			}
		}
	})
}

// deliver writes the history over a connection that is cut after n bytes, and reports whether it was.
func (b *bench) deliver(t testing.TB, h *sinktest.History, n int64) (cut bool) {
	defer b.proxy.CutAfter(-1)
	return sinktest.Deliver(t, func() sink.Sink { return b.open(t, nil) }, func() { b.proxy.CutAfter(n) }, h) > 0
}

func TestReplays(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	table := items()
	t.Run("case91_late_replay_cannot_resurrect", func(t *testing.T) {
		h := sinktest.NewHistory(topic)
		s := b.open(t, nil)
		put(h, table, 1, "a")
		put(h, table, 2, "b")
		h.Delete(table, sinktest.Int(1))
		sinktest.Write(t, s, h.Slice(0, 2))
		sinktest.Write(t, s, h.Slice(2, 3))
		sinktest.Write(t, s, h.Slice(0, 2))
		b.holds(t, h, table)
		s.Close()
		s = b.open(t, nil)
		defer s.Close()
		sinktest.Committed(t, s, h.Origin)
		sinktest.Write(t, s, h.Slice(0, 2))
		b.holds(t, h, table)
	})
	t.Run("case83_moved_by_the_operator", func(t *testing.T) {
		// The worker does not ask for the position after an operator has moved it: what comes is written.
		h := sinktest.NewHistory("shop.public.items")
		h.Origin = "moved-0"
		s := b.open(t, nil)
		put(h, table, 10, "a")
		put(h, table, 10, "b")
		sinktest.Write(t, s, h.Slice(0, 2))
		s.Close()
		exec(t, b.conn, "DROP TABLE items")
		s = b.open(t, nil)
		defer s.Close()
		sinktest.Write(t, s, h.Slice(0, 2))
		b.holds(t, h, table)
	})
}

func TestFenced(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	table, h := items(), sinktest.NewHistory(topic)
	old := b.open(t, nil)
	defer old.Close()
	put(h, table, 1, "a")
	put(h, table, 1, "b")
	sinktest.Write(t, old, h.Slice(0, 1))
	younger := b.open(t, nil)
	defer younger.Close()
	if p := sinktest.Committed(t, younger, h.Origin); p != string(sinktest.Resume(1)) {
		t.Fatalf("position is %s", p)
	}
	if err := old.Write(t.Context(), h.Slice(1, 2)); fault.Code(err) != "FENCED" {
		t.Fatalf("Write of the old task returned %v, want FENCED", err)
	}
	if got := b.state(); got != "1 a x" {
		t.Errorf("the fenced task wrote %s", got)
	}
	sinktest.Write(t, younger, h.Slice(1, 2))
	b.holds(t, h, table)

	// A restored backup: the same owner, an older position.
	exec(t, b.conn, fmt.Sprintf("UPDATE _tailrace_offsets SET position = '%s'", sinktest.Resume(1)))
	put(h, table, 1, "c")
	if err := younger.Write(t.Context(), h.Slice(2, 3)); err == nil || fault.IsPermanent(err) {
		t.Fatalf("Write returned %v, want an error that may be tried again", err)
	}
	exec(t, b.conn, "DELETE FROM _tailrace_offsets")
	if err := younger.Write(t.Context(), h.Slice(2, 3)); err == nil || fault.IsPermanent(err) {
		t.Fatalf("Write returned %v, want an error that may be tried again", err)
	}
}

func TestRefusedRows(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	t.Run("case92_overflow_not_null_check_unique_length", func(t *testing.T) {
		exec(t, b.conn, `CREATE TABLE other (id bigint PRIMARY KEY); INSERT INTO other VALUES (1), (2);
			CREATE TABLE items (id bigint PRIMARY KEY, name varchar(5), big text NOT NULL UNIQUE CHECK (big <> 'forbidden'), n smallint, other bigint REFERENCES other)`)
		table := sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("name", "text"),
			sinktest.Column("big", "text"), sinktest.Column("n", "int2"), sinktest.Column("other", "int8"))
		table.Columns[1].Type.Name, table.Columns[1].Type.Length = "character varying", 5
		h := sinktest.NewHistory(topic)
		s := b.open(t, nil)
		defer s.Close()
		row := func(id int64, name, big string, n, other int64) *change.Event {
			return h.Create(table, sinktest.Int(id), sinktest.Text(name), sinktest.Text(big), sinktest.Int(n), sinktest.Int(other))
		}
		row(1, "a", "one", 1, 1)
		sinktest.Write(t, s, h.Take())
		for id := int64(100); id < 400; id++ {
			row(id, "good", fmt.Sprint("unique ", id), 1, 1)
		}
		bad := map[int]string{}
		for _, r := range []struct {
			code, name, big string
			n, other        int64
		}{{"22001", "too long", "u1", 1, 1}, {"22003", "b", "u2", 70000, 1}, {"23514", "c", "forbidden", 1, 1}, {"23505", "d", "one", 1, 1},
			{"23503", "e", "u5", 1, 999}, {"NUL", "nul\x00", "u6", 1, 1}, {"22021", "\xff", "u7", 1, 1}} {
			bad[h.Len()-1] = r.code
			row(500+int64(h.Len()), r.name, r.big, r.n, r.other)
		}
		bad[h.Len()-1] = "23502"
		h.Create(table, sinktest.Int(600), sinktest.Text("f"), sinktest.Null(), sinktest.Int(1), sinktest.Int(1))
		bad[h.Len()-1] = "23502"
		h.Update(table, sinktest.Int(601), sinktest.Text("g"), sinktest.Absent(), sinktest.Int(1), sinktest.Int(1)) // no such row
		h.Update(table, sinktest.Int(1), sinktest.Text("patch"), sinktest.Absent(), sinktest.Absent(), sinktest.Absent())
		var rejected sink.Rejected
		if err := s.Write(t.Context(), h.Take()); !errors.As(err, &rejected) {
			t.Fatalf("Write returned %v, want Rejected", err)
		}
		for _, r := range rejected {
			if code := bad[r.Index]; code == "" || !strings.Contains(r.Err.Error(), code) {
				t.Errorf("event %d is rejected with %v, want %q", r.Index, r.Err, code)
			}
			delete(bad, r.Index)
			for _, secret := range []string{"too long'", "forbidden", "70000", "999", "unique 1"} {
				if strings.Contains(r.Err.Error(), secret) {
					t.Errorf("the error shows content of the row: %v", r.Err)
				}
			}
		}
		if len(bad) > 0 {
			t.Errorf("not rejected: %v", bad)
		}
		if got := b.text("SELECT count(*) || ' ' || (SELECT name || big FROM items WHERE id = 1) FROM items"); got != "301 patchone" {
			t.Errorf("the table has %s, want 301 rows and the patch", got)
		}
		// The position moves with the next batch, when the dead letters are durable.
		if p := sinktest.Committed(t, s, h.Origin); p != string(sinktest.Resume(1)) {
			t.Errorf("position after a rejection is %s", p)
		}
		row(700, "next", "next", 1, 2)
		sinktest.Write(t, s, h.Take())
		if p := sinktest.Committed(t, s, h.Origin); p != string(sinktest.Resume(h.Len())) {
			t.Errorf("position after the next batch is %s", p)
		}
	})
	t.Run("case92_ten_thousand_composite_deletes", func(t *testing.T) {
		table := sinktest.Table("pairs", 1, []string{"b", "a"}, sinktest.Column("a", "int8"), sinktest.Column("b", "text"))
		h := sinktest.NewHistory("shop.public.pairs")
		s := b.open(t, nil)
		defer s.Close()
		for id := range int64(10001) {
			h.Create(table, sinktest.Int(id), sinktest.Text(fmt.Sprint("k", id%7)))
		}
		sinktest.Write(t, s, h.Take())
		for id := range int64(10000) {
			h.Delete(table, sinktest.Text(fmt.Sprint("k", id%7)), sinktest.Int(id))
		}
		sinktest.Write(t, s, h.Take())
		if n := b.text("SELECT count(*) FROM pairs"); n != "1" {
			t.Errorf("%s rows are left, want 1", n)
		}
	})
}

func TestCollisions(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	for _, state := range []string{"40P01", "40001", "57014", "55P03", "53200"} {
		t.Run("case92_"+state, func(t *testing.T) {
			// A trigger plays the failure twice: sequences are not rolled back.
			exec(t, b.conn, fmt.Sprintf(`DROP TABLE IF EXISTS items; DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries;
				CREATE TABLE items (id bigint PRIMARY KEY, name text, big text);
				CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
					IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'played' USING ERRCODE = '%s'; END IF; RETURN NEW; END $$;
				CREATE TRIGGER fail BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION fail()`, state))
			table, h := items(), sinktest.NewHistory(topic)
			h.Origin = "o" + state + "-0"
			put(h, table, 1, "a")
			s := b.open(t, nil)
			defer s.Close()
			failures := 0
			for s.Write(t.Context(), h.Slice(0, 1)) != nil {
				if failures++; failures > 2 {
					t.Fatal("Write goes on failing")
				}
			}
			if once := strings.HasPrefix(state, "40"); once && failures > 0 {
				t.Errorf("Write failed %d times, want that it tries again at once", failures)
			}
			b.holds(t, h, table)
		})
	}
}

func TestEvolution(t *testing.T) {
	dsn := servers.Need(t, "postgres15")
	t.Run("case93_widen", func(t *testing.T) {
		b := newBench(t, dsn)
		s := b.open(t, nil)
		defer s.Close()
		h := sinktest.NewHistory(topic)
		v1 := sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "int4"), sinktest.Column("name", "int4"), sinktest.Column("big", "numeric"))
		v1.Columns[2].Type.Precision, v1.Columns[2].Type.Scale = 5, 2
		h.Create(v1, sinktest.Int(1), sinktest.Int(7), sinktest.Decimal("123.45"))
		sinktest.Write(t, s, h.Take())
		v2 := sinktest.Table("items", 2, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("name", "text"), sinktest.Column("big", "numeric"))
		v2.Columns[2].Type.Precision, v2.Columns[2].Type.Scale = 9, 3
		h.Create(v2, sinktest.Int(1<<40), sinktest.Text("seven"), sinktest.Decimal("123456.789"))
		h.Create(v1, sinktest.Int(2), sinktest.Int(8), sinktest.Decimal("1.5")) // case108: an old row, late
		sinktest.Write(t, s, h.Take())
		if got := b.state(); got != "1 7 123.450\n2 8 1.500\n1099511627776 seven 123456.789" {
			t.Errorf("the table is\n%s", got)
		}
	})
	t.Run("case93_incompatible", func(t *testing.T) {
		b := newBench(t, dsn)
		exec(t, b.conn, "CREATE TABLE items (id bigint PRIMARY KEY, name boolean, big text)")
		s := b.open(t, nil)
		defer s.Close()
		h := sinktest.NewHistory(topic)
		table := sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("name", "timestamptz"), sinktest.Column("big", "text"))
		h.Create(table, sinktest.Int(1), sinktest.At(change.TimestampTZ, 0), sinktest.Null())
		if err := s.Write(t.Context(), h.Take()); fault.Code(err) != "SCHEMA_INCOMPATIBLE" || !strings.Contains(err.Error(), "name") {
			t.Errorf("Write returned %v, want SCHEMA_INCOMPATIBLE with the column", err)
		}
	})
	t.Run("case93_none", func(t *testing.T) {
		b := newBench(t, dsn)
		s := b.open(t, map[string]string{"schema.evolution": "none"})
		defer s.Close()
		h := sinktest.NewHistory(topic)
		put(h, items(), 1, "a")
		err := s.Write(t.Context(), h.Slice(0, 1))
		if fault.Code(err) != "TABLE_MISSING" || !strings.Contains(err.Error(), "CREATE TABLE") {
			t.Errorf("Write returned %v, want TABLE_MISSING with the statement", err)
		}
		exec(t, b.conn, "CREATE TABLE items (id bigint PRIMARY KEY, name text)")
		err = s.Write(t.Context(), h.Slice(0, 1))
		if fault.Code(err) != "SCHEMA_MISMATCH" || !strings.Contains(err.Error(), `ADD COLUMN IF NOT EXISTS "big" text`) {
			t.Errorf("Write returned %v, want SCHEMA_MISMATCH with the statement", err)
		}
		exec(t, b.conn, "ALTER TABLE items ADD big text")
		sinktest.Write(t, s, h.Slice(0, 1))
		b.holds(t, h, items())
	})
	t.Run("no_unique_index", func(t *testing.T) {
		b := newBench(t, dsn)
		exec(t, b.conn, "CREATE TABLE items (id bigint, name text, big text)")
		s := b.open(t, nil)
		defer s.Close()
		h := sinktest.NewHistory(topic)
		put(h, items(), 1, "a")
		if err := s.Write(t.Context(), h.Slice(0, 1)); fault.Code(err) != "NO_UNIQUE_INDEX" || !strings.Contains(err.Error(), "CREATE UNIQUE INDEX") {
			t.Errorf("Write returned %v, want NO_UNIQUE_INDEX with the statement", err)
		}
		exec(t, b.conn, "CREATE UNIQUE INDEX ON items (id)")
		sinktest.Write(t, s, h.Slice(0, 1))
	})
	t.Run("dropped_while_running", func(t *testing.T) {
		b := newBench(t, dsn)
		s := b.open(t, nil)
		defer s.Close()
		h := sinktest.NewHistory(topic)
		put(h, items(), 1, "a")
		sinktest.Write(t, s, h.Slice(0, 1))
		exec(t, b.conn, "DROP TABLE items")
		put(h, items(), 2, "b")
		if err := s.Write(t.Context(), h.Slice(1, 2)); err == nil || fault.IsPermanent(err) {
			t.Fatalf("Write returned %v, want an error that may be tried again", err)
		}
		sinktest.Write(t, s, h.Slice(1, 2))
		if got := b.state(); got != "2 b x" {
			t.Errorf("the table is %s", got)
		}
	})
}

func TestNames(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	t.Run("case97_quoted", func(t *testing.T) {
		weird := b.schema + `"; DROP SCHEMA public;--`
		t.Cleanup(func() { exec(t, b.conn, "DROP SCHEMA IF EXISTS "+quote(weird)+" CASCADE") })
		s := b.open(t, map[string]string{"schema": weird, "table.name.format": `t "${table}`, "offsets.table": `o"f`})
		defer s.Close()
		table := sinktest.Table("x", 1, []string{`k"; DROP TABLE y;--`}, sinktest.Column(`k"; DROP TABLE y;--`, "int8"), sinktest.Column("日本 %s\n`", "text"), sinktest.Column("select", "text"))
		h := sinktest.NewHistory("shop.public.x'\"y")
		h.Create(table, sinktest.Int(1), sinktest.Text("a"), sinktest.Text("b"))
		h.Update(table, sinktest.Int(1), sinktest.Absent(), sinktest.Text("c"))
		sinktest.Write(t, s, h.Slice(0, 1))
		sinktest.Write(t, s, h.Slice(1, 2))
		n := name{weird, `t "x'"y`}
		if got := b.text("SELECT \"日本 %s\n`\" || \"select\" FROM " + n.String()); got != "ac" {
			t.Errorf("the row is %s", got)
		}
	})
	t.Run("case97_too_long", func(t *testing.T) {
		s := b.open(t, nil)
		defer s.Close()
		h := sinktest.NewHistory("shop.public." + strings.Repeat("x", 64))
		put(h, items(), 1, "a")
		if err := s.Write(t.Context(), h.Take()); fault.Code(err) != "NAME_INVALID" {
			t.Errorf("Write returned %v, want NAME_INVALID", err)
		}
	})
}

func TestTruncate(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	table := items()
	t.Run("case107_partitions_that_are_not_told_apart_are_refused", func(t *testing.T) {
		exec(t, b.conn, "CREATE TABLE items (id bigint PRIMARY KEY, name text, n bigint, big text)")
		s := b.open(t, map[string]string{"schema.evolution": "none"})
		defer s.Close()
		p0, p1 := sinktest.NewHistory(topic), sinktest.NewHistory(topic)
		p1.Origin = topic + "-1"
		put(p0, table, 1, "a")
		put(p1, table, 2, "second generation")
		sinktest.Write(t, s, p0.Take())
		sinktest.Write(t, s, p1.Take())
		for _, h := range []*sinktest.History{p0, p1} {
			h.Truncate(table)
			if err := s.Write(t.Context(), h.Take()); fault.Code(err) != "TRUNCATE_PARTITIONS" {
				t.Errorf("Write returned %v, want TRUNCATE_PARTITIONS", err)
			}
		}
	})
	t.Run("referenced", func(t *testing.T) {
		s := b.open(t, nil)
		defer s.Close()
		exec(t, b.conn, "CREATE TABLE parents (id bigint PRIMARY KEY); CREATE TABLE children (id bigint REFERENCES parents)")
		h := sinktest.NewHistory("shop.public.parents")
		parents := sinktest.Table("parents", 1, []string{"id"}, sinktest.Column("id", "int8"))
		h.Create(parents, sinktest.Int(1))
		h.Truncate(parents)
		h.Create(parents, sinktest.Int(2))
		sinktest.Write(t, s, h.Slice(0, 1))
		sinktest.Write(t, s, h.Slice(1, 3))
		if got := b.text("SELECT string_agg(id::text, ',') FROM parents"); got != "2" {
			t.Errorf("parents are %s, want 2", got)
		}
	})
}

// TestTruncateByTwoTasks: one task has not seen yet that the other has begun to write rows of another partition.
func TestTruncateByTwoTasks(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	table := items()
	first, second := b.open(t, nil), b.open(t, nil)
	defer first.Close()
	defer second.Close()
	p0, p1 := sinktest.NewHistory(topic), sinktest.NewHistory(topic)
	p1.Origin = topic + "-1"
	put(p0, table, 2, "first generation")
	sinktest.Write(t, first, p0.Take())
	s := first.(*Sink)
	sql, err := s.truncateSQL(t.Context(), p0.Origin, s.targets[name{b.schema, "items"}])
	if err != nil {
		t.Fatal(err)
	}
	put(p1, table, 1, "of the other task")
	sinktest.Write(t, second, p1.Take())
	if err := s.exec(t.Context(), sql); !collided(err) {
		t.Errorf("the statement that would remove the other task's row gives %v, want a serialization failure", err)
	}
	p0.Truncate(table)
	put(p0, table, 4, "second generation")
	sinktest.Write(t, first, p0.Take())
	if got := b.text("SELECT string_agg(id || coalesce(_tailrace_partition, 0)::text, ' ' ORDER BY id) FROM items"); got != "11 40" {
		t.Errorf("rows and partitions are %s, want 11 40", got)
	}
}

// TestTimeouts: neither a target that does not answer nor somebody's lock holds a write for ever; what comes back is an error to
// be tried again, and after it everything is well.
func TestTimeouts(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	table, h := items(), sinktest.NewHistory(topic)
	put(h, table, 1, "a")
	s := b.open(t, map[string]string{"write.timeout.ms": "400", "connection.timeout.ms": "3000", "lock.timeout.ms": "100"})
	defer s.Close()
	sinktest.Write(t, s, h.Take())
	fails := func(t *testing.T, code string) {
		put(h, table, int64(h.Len()+1), code)
		err := s.Write(t.Context(), h.Slice(h.Len()-1, h.Len()))
		if err == nil || fault.IsPermanent(err) || !strings.Contains(err.Error(), code) {
			t.Errorf("Write returned %v, want an error with %q that is tried again", err, code)
		}
	}
	recovers := func(t *testing.T) {
		t.Helper()
		sinktest.Write(t, s, h.Take())
		b.holds(t, h, table)
	}
	t.Run("case92_target_hangs", func(t *testing.T) {
		resume := b.proxy.Hang()
		fails(t, "no answer within 3.4s")
		resume()
		recovers(t)
	})
	t.Run("case92_lock", func(t *testing.T) {
		exec(t, b.conn, "BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
		fails(t, "55P03")
		exec(t, b.conn, "ROLLBACK")
		recovers(t)
	})
	t.Run("case92_statement", func(t *testing.T) {
		exec(t, b.conn, "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'; CREATE TRIGGER slow BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION slow()")
		fails(t, "57014")
		exec(t, b.conn, "DROP TRIGGER slow ON items")
		recovers(t)
	})
	t.Run("ddl_has_its_own", func(t *testing.T) {
		exec(t, b.conn, "CREATE FUNCTION slow_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN IF current_schema() = ''"+b.schema+"'' THEN PERFORM pg_sleep(4); END IF; END'")
		exec(t, b.conn, "CREATE EVENT TRIGGER "+b.schema+" ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION slow_ddl()")
		defer exec(t, b.conn, "DROP EVENT TRIGGER "+b.schema)
		slow := b.open(t, map[string]string{"write.timeout.ms": "400", "connection.timeout.ms": "3000",
			"connection.url": b.props["connection.url"] + "&search_path=" + b.schema})
		defer slow.Close()
		sinktest.Committed(t, slow, h.Origin)
		wider := sinktest.Table("items", 2, []string{"id"}, append(slices.Clone(table.Columns), sinktest.Column("more", "int8"))...)
		h.Create(wider, sinktest.Int(77), sinktest.Text("a"), sinktest.Text("x"), sinktest.Int(5))
		sinktest.Write(t, slow, h.Take())
		if got := b.text("SELECT more FROM items WHERE id = 77"); got != "5" {
			t.Errorf("the new column is %s, want 5", got)
		}
	})
}

// TestTwoTopicsOneTable: two topics must not overwrite each other's rows.
func TestTwoTopicsOneTable(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	s := b.open(t, nil)
	defer s.Close()
	one, other := sinktest.NewHistory("shop.a.items"), sinktest.NewHistory("shop.b.items")
	put(one, items(), 1, "one")
	put(other, items(), 1, "other")
	sinktest.Write(t, s, one.Take())
	if err := s.Write(t.Context(), other.Take()); fault.Code(err) != "TABLE_CONFLICT" {
		t.Errorf("Write returned %v, want TABLE_CONFLICT", err)
	}
	if got := b.text("SELECT name FROM items"); got != "one" {
		t.Errorf("the row is %s, want one", got)
	}
}

// TestNotNull: the target demands columns that an update does not send.
func TestNotNull(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	t.Run("case106_absent_and_not_null", func(t *testing.T) {
		exec(t, b.conn, "CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, big text NOT NULL, size int GENERATED ALWAYS AS (length(big)) STORED)")
		s := b.open(t, nil)
		defer s.Close()
		table, h := items(), sinktest.NewHistory(topic)
		h.Create(table, sinktest.Int(1), sinktest.Text("a"), sinktest.Text("unchanged"))
		sinktest.Write(t, s, h.Take())
		for n := range 1000 {
			h.Update(table, sinktest.Int(1), sinktest.Text(fmt.Sprint(n)), sinktest.Absent())
			if n%100 == 99 {
				sinktest.Write(t, s, h.Take())
			}
		}
		b.holds(t, h, table)
	})
}

func TestOpenErrors(t *testing.T) {
	dsn := servers.Need(t, "postgres15")
	b := newBench(t, dsn)
	role := fmt.Sprintf("sink_role_%d", time.Now().UnixNano())
	exec(t, b.conn, "CREATE ROLE "+role+" LOGIN; GRANT USAGE ON SCHEMA "+b.schema+" TO "+role)
	t.Cleanup(func() { // runs before the bench's own
		exec(t, b.conn, "DROP OWNED BY "+role+"; DROP ROLE "+role)
	})
	u, err := url.Parse(strings.TrimPrefix(b.props["connection.url"], "jdbc:"))
	if err != nil {
		t.Fatal(err)
	}
	missing := *u
	missing.Path = "/no_such_database"
	for _, c := range []struct {
		name, code, remedy string
		props              map[string]string
	}{
		{"missing_database", "DATABASE_MISSING", "CREATE DATABASE", map[string]string{"connection.url": missing.String()}},
		{"missing_privilege", "PERMISSION_DENIED", "GRANT", map[string]string{"connection.username": role}},
		{"unknown_role", "AUTH_FAILED", "connection.username", map[string]string{"connection.username": "nobody_of_this_name"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.props["connection.password"] = "s3cr3t-guess"
			s, err := b.tryOpen(c.props)
			if err == nil {
				s.Close()
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Code != c.code || !strings.Contains(f.Remedy, c.remedy) {
				t.Errorf("Open returned %v, want %s and a remedy with %q", err, c.code, c.remedy)
			}
			if strings.Contains(fmt.Sprint(err), "s3cr3t") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// TestConcurrent: the worker asks for positions of new partitions while Write is under way.
func TestCommittedWhileWriting(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	s := b.open(t, nil)
	defer s.Close()
	table, h := items(), sinktest.NewHistory(topic)
	for id := range int64(500) {
		put(h, table, id, "a")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := s.(sink.Ledger).Committed(context.WithoutCancel(ctx), fmt.Sprint("other-", n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for from := 0; from < 500; from += 25 {
		sinktest.Write(t, s, h.Slice(from, from+25))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.holds(t, h, table)
}
