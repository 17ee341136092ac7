package mysql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/snapshot"
)

// onNameless runs a test on servers whose log has no names of columns.
func onNameless(t *testing.T, test func(*testing.T, string)) {
	t.Helper()
	t.Run("mariadb10", func(t *testing.T) {
		test(t, servers.Private(t, "mariadb10", map[string]string{"binlog_row_metadata": "NO_LOG"}).URL)
	})
	t.Run("mysql57", func(t *testing.T) { test(t, servers.Need(t, "mysql57")) })
}

// columnsOf writes the names of the columns of the events' tables.
func columnsOf(events []change.Event) string {
	var all []string
	for i := range events {
		var names []string
		for _, c := range events[i].Table.Columns {
			names = append(names, c.Name)
		}
		all = append(all, strings.Join(names, " "))
	}
	return strings.Join(all, "; ")
}

// Without names in the log each row comes under the structure it was written with, whether the connector was there or away: tables
// that swap columns of one type, are renamed, dropped and made again. A table that was never written to is known as well.
func TestHistory_case51_case61(t *testing.T) {
	onNameless(t, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE TABLE quiet (id int, x varchar(9), y varchar(9), PRIMARY KEY (id))")
		at := readEmpty(d, d.stream(nil))
		d.exec("INSERT INTO t VALUES (1, 1, 2); ALTER TABLE t CHANGE a c int, CHANGE b a int; INSERT INTO t VALUES (2, 1, 2)")
		d.exec("INSERT INTO quiet VALUES (1, 'x', 'y'); ALTER TABLE quiet MODIFY y varchar(9) AFTER id; INSERT INTO quiet VALUES (2, 'y', 'x')")
		d.exec("RENAME TABLE t TO u, quiet TO t; INSERT INTO t VALUES (3, 'y', 'x'); INSERT INTO u VALUES (3, 1, 2); DROP TABLE u; CREATE TABLE u LIKE t")
		d.exec("INSERT INTO u VALUES (4, 'y', 'x'); ALTER TABLE u DROP x, ADD z varchar(9) FIRST")
		const rows, columns = "c 1,1,2; c 2,1,2; c 1,x,y; c 2,y,x; c 3,y,x; c 3,1,2; t ; c 4,y,x",
			"id a b; id c a; id x y; id y x; id y x; id c a; id c a; id y x"
		base := d.notes
		for n := range 8 { // away for all of it, and resumed in the midst of it
			d.notes = maps.Clone(base)
			var events []change.Event
			resume := at
			if n > 0 {
				events, resume = d.read(d.stream(at, "max.batch.size", "1"), n)
			}
			rest, _ := d.read(d.stream(resume), 8-len(events))
			events = append(events, rest...)
			if got := showAll(events) + "\n" + columnsOf(events); got != rows+"\n"+columns {
				t.Errorf("resumed after %d: %s", n, got)
			}
		}
	})
}

// A table whose structure at that time can't be known any more is left out and copied again, all else goes on; where nothing is copied
// the connector fails. A position of another time meets no structures.
func TestUnknownStructure_case61(t *testing.T) {
	onNameless(t, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE TABLE o (id int PRIMARY KEY)")
		at := readEmpty(d, d.stream(nil))
		d.notes = map[string][]byte{}
		d.exec("INSERT INTO t VALUES (1, 1, 2); INSERT INTO o VALUES (1); ALTER TABLE t CHANGE a c int, CHANGE b a int; INSERT INTO t VALUES (2, 1, 2); INSERT INTO o VALUES (2)")
		src := d.open()
		s, err := src.Stream(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		events, resume := d.read(s, 3)
		if got := showAll(events); got != "c 1; c 2,1,2; c 2" {
			t.Error(got)
		}
		if got := columnsOf(events); got != "id; id c a; id" {
			t.Error(got)
		}
		again := fmt.Sprintf(`"again":["%s\u0000t"]`, d.name)
		if !strings.Contains(string(resume), again) {
			t.Errorf("the position is %s", resume)
		}
		if g := src.Grown(); len(g) != 1 || !g[0].Remade || g[0].Table.Table != "t" {
			t.Errorf("to be copied again: %v", g)
		}
		d.exec("INSERT INTO o VALUES (3)")
		if _, later := d.read(s, 1); strings.Contains(string(later), "again") {
			t.Errorf("the copy knows, and the position is %s", later)
		}
		if err := d.fails(d.stream(at, "snapshot.mode", "no_data")); fault.Code(err) != "SCHEMA_MISMATCH" {
			t.Errorf("%v", err)
		}
	})
}

// A statement that can't be followed makes the table's structure be read again from the catalog.
func TestReadAgain_case61(t *testing.T) {
	onNameless(t, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, a int, b int)")
		s := d.stream(nil)
		d.exec("ALTER TABLE t ADD e enum('é') CHARACTER SET latin1 AFTER id; INSERT INTO t VALUES (1, 'é', 1, 2)") // which of the labels latin1 has is not known
		events, _ := d.read(s, 1)
		if got := columnsOf(events) + ": " + showAll(events); got != "id e a b: c 1,é,1,2" {
			t.Error(got)
		}
	})
}

// What was left out is copied: the table ends as it is on the server, also when the connector dies before the copy begins.
func TestUnknownStructureIsCopied_case61(t *testing.T) {
	onNameless(t, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE TABLE o (id int PRIMARY KEY); INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)")
		options := snapshot.Options{Config: snapshot.Config{Mode: "initial"}}
		state := map[string]string{}
		at := change.Position(nil)
		run := func(done func() bool) {
			t.Helper()
			s, err := snapshot.Open(t.Context(), d.open(), at, options)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for !done() {
				var events []change.Event
				events, at = d.read(s, 1)
				for i := range events {
					switch e := &events[i]; {
					case e.Op == change.OpTruncate:
						clear(state)
					case e.Op == change.OpDelete:
						delete(state, e.Table.Name.Table+string(e.Key))
					default:
						state[e.Table.Name.Table+string(e.Key)] = show(e)[2:]
					}
				}
			}
		}
		has := func(row string) bool { return slices.Contains(slices.Collect(maps.Values(state)), row) }
		d.exec("INSERT INTO o VALUES (-1)")
		run(func() bool { return len(state) == 3 })
		d.notes = map[string][]byte{} // the history is lost
		d.exec("UPDATE t SET a = 10 WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO o VALUES (-2); ALTER TABLE t CHANGE a c int, CHANGE b a int; INSERT INTO o VALUES (-3)")
		run(func() bool { return has("-2") })
		run(func() bool { return has("1,10,1") && has("-3") })
	})
}

// MariaDB's table maps have no UUID and INET6. A table that was altered and renamed before its rows are read, also by a connector that
// was stopped meanwhile, has them still.
func TestUntoldTypes(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (u uuid PRIMARY KEY, v int)")
		s := d.stream(nil)
		d.exec("INSERT INTO t VALUES ('d0000000-0000-4000-8000-000000000001', 1)")
		events, at := d.read(s, 1)
		if k := events[0].After[0].Kind; k != change.UUID {
			t.Fatalf("a key of kind %s", k)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		d.exec("ALTER TABLE t ADD a inet6; INSERT INTO t VALUES ('d0000000-0000-4000-8000-000000000002', 2, '::1'); " +
			"ALTER TABLE t CHANGE a b inet6; UPDATE t SET v = 3, b = '::2' WHERE v = 2; RENAME TABLE t TO t2; INSERT INTO t2 VALUES ('d0000000-0000-4000-8000-000000000003', 3, NULL); DROP TABLE t2; " +
			"CREATE TABLE n (u uuid PRIMARY KEY); INSERT INTO n VALUES ('d0000000-0000-4000-8000-000000000004'); DROP TABLE n")
		events, _ = d.read(d.stream(at), 4)
		for i := range events {
			if k := events[i].After[0].Kind; k != change.UUID {
				t.Errorf("event %d: a key of kind %s", i, k)
			}
		}
		if got, next := string(events[0].After[2].Data), string(events[1].After[2].Data); got != "::1" || next != "::2" {
			t.Errorf("addresses %q, %q", got, next)
		}
	})
}
