package mysql

import (
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// TestVersioned_case73: of a system-versioned table the rows of now are captured, under the key that the table is declared with; their
// history is neither streamed nor copied. Snapshot and stream see one structure.
func TestVersioned_case73(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		const explicit = ", s timestamp(6) GENERATED ALWAYS AS ROW START, e timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)"
		for name, c := range map[string]struct{ more, exclude string }{
			"hidden":   {"", ""},
			"columns":  {explicit, ""},
			"excluded": {explicit, "%s.t.e"},
		} {
			t.Run(name, func(t *testing.T) {
				d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int"+c.more+") WITH SYSTEM VERSIONING")
				pairs := []string{"column.exclude.list", strings.ReplaceAll(c.exclude, "%s", d.name)}
				s := d.stream(nil, pairs...)
				d.exec("INSERT INTO t (id, v) VALUES (1, 1), (2, 2), (3, 3); UPDATE t SET v = 10 WHERE id = 1; DELETE FROM t WHERE id = 2; " +
					"INSERT INTO t (id, v) VALUES (2, 22); UPDATE t SET id = 4 WHERE id = 3; DELETE HISTORY FROM t; INSERT INTO t (id, v) VALUES (9, 9)")
				events, _ := d.read(s, 9)
				for i := range events {
					row, e := events[i].After, &events[i]
					if row == nil {
						row = e.Before
					}
					if len(e.Table.Key) != 1 || len(row) != len(e.Table.Columns) {
						t.Errorf("a row of %d values, %d columns, key %d", len(row), len(e.Table.Columns), e.Table.Key)
					}
				}
				if got, want := showPair(events), "c 1,1; c 2,2; c 3,3; u 1,10; d 2,2; c 2,22; d 3,3; c 4,3; c 9,9"; got != want {
					t.Errorf("%s, want %s", got, want)
				}
				src := d.open(pairs...)
				tables, err := src.Tables(t.Context())
				if err != nil || len(tables) != 1 {
					t.Fatal(tables, err)
				}
				var b change.Batch
				if _, err := src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil {
					t.Fatal(err)
				}
				if len(b.Events) != 4 || len(tables[0].Columns) != len(events[0].Table.Columns) || len(tables[0].Key) != 1 {
					t.Errorf("%d rows of %d columns, key %d", len(b.Events), len(tables[0].Columns), tables[0].Key)
				}
			})
		}
	})
}

// TestVersionedLater_case73: a table that becomes system-versioned, and is no longer, is one table whose rows of now are captured, also
// where the log does not have its structure.
func TestVersionedLater_case73(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "")
		metadata := d.text("SELECT @@global.binlog_row_metadata")
		t.Cleanup(func() { d.exec("SET GLOBAL binlog_row_metadata = '" + metadata + "'") })
		for _, mode := range []string{"FULL", "NO_LOG"} {
			d.exec("SET GLOBAL binlog_row_metadata = '" + mode + "'; CREATE TABLE t (id int PRIMARY KEY, v int)")
			s := d.stream(nil)
			readEmpty(d, s)
			d.exec("INSERT INTO t VALUES (1, 1), (2, 2); ALTER TABLE t ADD SYSTEM VERSIONING; UPDATE t SET v = 10 WHERE id = 1; DELETE FROM t WHERE id = 2; " +
				"INSERT INTO t VALUES (2, 22)")
			events, at := d.read(s, 5)
			if got := showPair(events); got != "c 1,1; c 2,2; u 1,10; d 2,2; c 2,22" {
				t.Errorf("%s: %s", mode, got)
			}
			s.Close()
			s = d.stream(at)
			d.exec("UPDATE t SET v = 11 WHERE id = 1; ALTER TABLE t DROP SYSTEM VERSIONING; UPDATE t SET v = 12 WHERE id = 1; DELETE FROM t")
			events, _ = d.read(s, 4)
			if got := showPair(events); got != "u 1,11; u 1,12; d 1,12; d 2,22" {
				t.Errorf("%s, after a resume: %s", mode, got)
			}
			s.Close()
			d.exec("DROP TABLE t")
		}
	})
}

// TestVersionedBefore_case73: rows that were written while a table was versioned are read as such when it is no longer, whatever its
// period's columns are called.
func TestVersionedBefore_case73(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int, s timestamp(6) GENERATED ALWAYS AS ROW START, e timestamp(6) GENERATED ALWAYS AS ROW END, "+
			"PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING")
		s := d.stream(nil)
		d.exec("INSERT INTO t (id, v) VALUES (1, 1), (2, 2); UPDATE t SET v = 10 WHERE id = 1; DELETE FROM t WHERE id = 2; SET system_versioning_alter_history = 'KEEP'; ALTER TABLE t DROP SYSTEM VERSIONING, DROP COLUMN s, DROP COLUMN e; " +
			"UPDATE t SET v = 12 WHERE id = 1")
		events, _ := d.read(s, 5)
		if got := showPair(events); got != "c 1,1; c 2,2; u 1,10; d 2,2; u 1,12" {
			t.Error(got)
		}
	})
}

// showPair is showAll for the first two columns.
func showPair(events []change.Event) string {
	var lines []string
	for i := range events {
		e := &events[i]
		row := e.After
		if row == nil {
			row = e.Before
		}
		lines = append(lines, string(e.Op)+" "+showValue(row[0])+","+showValue(row[1]))
	}
	return strings.Join(lines, "; ")
}

// TestSequence_case73: a sequence is no table, although its state is in the binary log as if it were one.
func TestSequence_case73(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		s := d.stream(nil)
		d.exec("CREATE SEQUENCE q; INSERT INTO t VALUES (NEXT VALUE FOR q), (NEXT VALUE FOR q)")
		events, _ := d.read(s, 2)
		if got := showAll(events); got != "c 1; c 2" {
			t.Error(got)
		}
		if tables, err := d.open().Tables(t.Context()); err != nil || len(tables) != 1 {
			t.Error(tables, err)
		}
	})
}
