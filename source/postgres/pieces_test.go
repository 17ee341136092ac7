package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
)

// pieces copies a table piece by piece and returns its rows as table writes them, and the largest piece in bytes.
func pieces(t *testing.T, s *Source, tb *change.Table, rows int) (lines []string, largest int) {
	t.Helper()
	var cursor []byte
	for n := 0; ; n++ {
		p, err := s.Divide(t.Context(), tb, cursor, rows)
		if err != nil {
			t.Fatal(err)
		}
		for {
			var b change.Batch
			w, err := s.ScanPiece(t.Context(), tb, p, &b)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range b.Events {
				if e.Op != change.OpRead || e.Commit == 0 || e.Topic != s.Topic(tb) {
					t.Fatalf("row %+v", e)
				}
				lines = append(lines, table(map[string]change.Row{"": e.After})...)
			}
			largest = max(largest, b.Size())
			p.After = w.(snapshot.Cursored).Cursor()
			if !w.(snapshot.Shortened).Shortened() {
				break
			}
		}
		if cursor = p.To; p.Last {
			slices.Sort(lines)
			return lines, largest
		}
		if n > 100_000 {
			t.Fatal("no end")
		}
	}
}

// onlyTable opens a source and returns its only table.
func (d *testDB) onlyTable(pairs ...string) (*Source, *change.Table) {
	d.Helper()
	s := d.stream(nil, pairs...).src
	tables, err := s.Tables(d.Context())
	if err != nil || len(tables) != 1 {
		d.Fatalf("tables %v, %v", tables, err)
	}
	return s, tables[0]
}

func TestPieces(t *testing.T) {
	t.Run("case37_bloated", func(t *testing.T) {
		d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = false)")
		d.exec("INSERT INTO t SELECT i, repeat('x', 300) FROM generate_series(1, 20000) i; DELETE FROM t WHERE id % 1000 <> 0 AND id < 19000")
		s, tb := d.onlyTable()
		got, _ := pieces(t, s, tb, 100)
		if n := d.text("SELECT count(*)::text FROM t"); fmt.Sprint(len(got)) != n {
			t.Errorf("%d rows instead of %s", len(got), n)
		}
	})
	t.Run("case37_empty", func(t *testing.T) {
		s, tb := newDB(t, "CREATE TABLE t (id int PRIMARY KEY)").onlyTable()
		if got, _ := pieces(t, s, tb, 100); len(got) != 0 {
			t.Errorf("rows %v", got)
		}
	})
	t.Run("case37_1600_columns", func(t *testing.T) {
		var columns strings.Builder
		for i := range 1599 {
			fmt.Fprintf(&columns, ", c%d int", i)
		}
		d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY"+columns.String()+"); INSERT INTO t (id, c0, c1598) SELECT i, i, -i FROM generate_series(1, 100) i")
		s, tb := d.onlyTable()
		got, _ := pieces(t, s, tb, 30)
		if len(got) != 100 || len(tb.Columns) != 1600 {
			t.Errorf("%d rows of %d columns", len(got), len(tb.Columns))
		}
	})
	t.Run("case37_kinds", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
			INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
			CREATE VIEW v AS SELECT * FROM parent; CREATE MATERIALIZED VIEW mv AS SELECT * FROM parent; CREATE UNLOGGED TABLE un (id int PRIMARY KEY);
			CREATE TEMP TABLE te (id int PRIMARY KEY); CREATE EXTENSION file_fdw; CREATE SERVER f FOREIGN DATA WRAPPER file_fdw;
			CREATE FOREIGN TABLE fo (id int) SERVER f OPTIONS (filename '/dev/null')`)
		s := d.stream(nil).src
		tables, err := s.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tb := range tables {
			rows, _ := pieces(t, s, tb, 10)
			names = append(names, fmt.Sprint(tb.Name.Table, len(rows)))
		}
		if !slices.Equal(names, []string{"child2", "parent1"}) {
			t.Errorf("tables %v", names)
		}
	})
	t.Run("case36_partitioned_by_key", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
			CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
			INSERT INTO t SELECT i, 'v' FROM generate_series(1, 500) i`)
		s, tb := d.onlyTable("publish.via.partition.root", "true", "table.include.list", "public.t")
		if got, _ := pieces(t, s, tb, 30); len(got) != 500 {
			t.Errorf("%d rows", len(got))
		}
	})
	t.Run("large_rows", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
			INSERT INTO t SELECT i, 'small' FROM generate_series(1, 2000) i; INSERT INTO t SELECT i, repeat('x', 400000) FROM generate_series(2001, 2100) i;
			INSERT INTO t SELECT i, 'small' FROM generate_series(2101, 4000) i`)
		s, tb := d.onlyTable()
		for _, rows := range []int{10, 5000} {
			got, largest := pieces(t, s, tb, rows)
			if len(got) != 4000 || largest > snapshot.ChunkBytes+500_000 {
				t.Errorf("pieces of %d: %d rows, the largest piece has %d bytes", rows, len(got), largest)
			}
		}
		if n := d.text("SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'"); n != "0" {
			t.Errorf("%s transactions are open", n)
		}
	})
	t.Run("rewritten", func(t *testing.T) {
		d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 1000) i")
		s, tb := d.onlyTable()
		p, err := s.Divide(t.Context(), tb, nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("DELETE FROM t WHERE id % 2 = 0")
		d.exec("VACUUM FULL t")
		var b change.Batch
		if _, err := s.ScanPiece(t.Context(), tb, p, &b); !errors.Is(err, snapshot.ErrCursor) {
			t.Errorf("a piece of the old file: %v", err)
		}
		if _, err := s.Divide(t.Context(), tb, []byte("ctid 1 (0,0)"), 10); !errors.Is(err, snapshot.ErrCursor) {
			t.Errorf("a cursor of another file: %v", err)
		}
		for _, c := range []string{"", "ctid", "ctid 1", "ctid x (1,1)", "ctid 1 (1,99999)", "\x00\x01", "key x"} {
			if _, err := s.Divide(t.Context(), tb, []byte(c), 10); !errors.Is(err, snapshot.ErrCursor) {
				t.Errorf("cursor %q: %v", c, err)
			}
		}
	})
	t.Run("parallel", func(t *testing.T) {
		d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 3000) i")
		s, tb := d.onlyTable()
		done := make(chan int)
		for range 4 {
			go func() {
				var b change.Batch
				p := snapshot.Piece{Rows: 5000}
				p, err := s.Divide(context.Background(), tb, nil, 5000)
				if err == nil {
					_, err = s.ScanPiece(context.Background(), tb, p, &b)
				}
				if err != nil {
					t.Error(err)
				}
				done <- len(b.Events)
			}()
		}
		for range 4 {
			if n := <-done; n == 0 {
				t.Error("no rows")
			}
		}
	})
}

func TestSelections(t *testing.T) {
	d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, code uuid NOT NULL UNIQUE, v text);
		INSERT INTO t SELECT i, gen_random_uuid(), CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END FROM generate_series(1, 100) i`)
	s, tb := d.onlyTable()
	copied := func(sel snapshot.Selection) (int, error) {
		var after []byte
		for n := 0; ; {
			var b change.Batch
			w, err := s.ScanSelected(t.Context(), tb, sel, after, 7, &b)
			if err != nil {
				return n, err
			}
			n += len(b.Events)
			if len(b.Events) < 7 {
				return n, nil
			}
			after = slices.Clone(b.Events[len(b.Events)-1].Key)
			if c, ok := w.(snapshot.Cursored); ok {
				after = c.Cursor()
			}
		}
	}
	for name, c := range map[string]struct {
		sel  snapshot.Selection
		want int
	}{
		"filter":    {snapshot.Selection{Filter: "v = 'even'"}, 50},
		"statement": {snapshot.Selection{Statement: "SELECT * FROM public.t WHERE id <= 30"}, 30},
		"both":      {snapshot.Selection{Statement: "SELECT * FROM public.t WHERE id <= 30", Filter: "v = 'odd'"}, 15},
		"surrogate": {snapshot.Selection{Surrogate: "code"}, 100},
	} {
		if n, err := copied(c.sel); err != nil || n != c.want {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
	}
	for name, sel := range map[string]snapshot.Selection{
		"syntax":           {Filter: "v = = 1"},
		"no_such_column":   {Filter: "w = 1"},
		"no_such_table":    {Statement: "SELECT * FROM public.missing"},
		"data":             {Filter: "v::int = 1"},
		"lacks_columns":    {Statement: "SELECT id FROM public.t"},
		"surrogate_nulls":  {Surrogate: "v"},
		"surrogate_absent": {Surrogate: "nothing"},
	} {
		if _, err := copied(sel); !errors.Is(err, snapshot.ErrTable) {
			t.Errorf("%s: %v, want ErrTable", name, err)
		}
	}
}

// A table without a key is read in pieces under one snapshot.
func TestReadWhole(t *testing.T) {
	d := newDB(t, `CREATE TABLE t (a int, v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY FULL;
		INSERT INTO t SELECT i % 10, repeat('x', 20000) FROM generate_series(1, 1500) i`)
	s, tb := d.onlyTable()
	r, err := s.ReadWhole(t.Context(), tb, snapshot.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	d.exec("INSERT INTO t VALUES (-1, 'late')")
	n, steps := 0, 0
	for done := false; !done; steps++ {
		var b change.Batch
		if done, err = r.Next(t.Context(), 1000, &b); err != nil {
			t.Fatal(err)
		}
		if b.Size() > snapshot.ChunkBytes+100_000 {
			t.Fatalf("a piece of %d bytes", b.Size())
		}
		n += len(b.Events)
	}
	if n != 1500 || steps < 4 {
		t.Errorf("%d rows in %d pieces", n, steps)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if r, err = s.ReadWhole(t.Context(), tb, snapshot.Selection{}); err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	if _, err := r.Next(t.Context(), 1, &b); err != nil || len(b.Events) != 1 {
		t.Errorf("%d rows, %v", len(b.Events), err)
	}
	if err := r.Close(); err != nil { // in the middle
		t.Error(err)
	}
}
