package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
)

// Columns that are invisible, generated or compressed, sequences and the rows of a system-versioned table: what is copied is what is
// streamed, and a version that has ended is not a row. The server logs an update and a delete of a versioned row together with the version
// that they end.
func TestCase73RareTables(t *testing.T) {
	test := func(t *testing.T, addr string) {
		d := newDB(t, addr, `CREATE TABLE g (id int PRIMARY KEY, a int INVISIBLE DEFAULT 5, v int AS (id * 2) VIRTUAL, s int AS (id * 3) STORED, z text COMPRESSED, y varbinary(3000) COMPRESSED); `+
			`CREATE SEQUENCE q; CREATE TABLE h (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING; `+
			`CREATE TABLE e (id int PRIMARY KEY, v int, f timestamp(6) GENERATED ALWAYS AS ROW START, u timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (f, u)) WITH SYSTEM VERSIONING`)
		src := d.open()
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO g (id, z, y) VALUES (1, repeat('é', 500), repeat('x', 2000)), (2, 'short', NULL); INSERT INTO g (id, a) VALUES (3, NULL); DO NEXTVAL(q); DO NEXTVAL(q)")
		d.exec("INSERT INTO h VALUES (1, 1), (2, 2); UPDATE h SET v = 10 WHERE id = 1; DELETE FROM h WHERE id = 2; INSERT INTO h VALUES (2, 20)")
		d.exec("INSERT INTO e (id, v) VALUES (1, 1), (2, 2); UPDATE e SET v = 10 WHERE id = 1; DELETE FROM e WHERE id = 2; INSERT INTO g (id) VALUES (99)")
		rows := map[string]map[string]string{}
		fold := func(events []change.Event) {
			for i := range events {
				e := &events[i]
				name := e.Table.Name.Table
				if rows[name] == nil {
					rows[name] = map[string]string{}
				}
				if e.Op == change.OpDelete {
					delete(rows[name], string(e.Key))
				} else {
					rows[name][string(e.Key)] = strings.TrimLeft(show(e), "cru ")
				}
			}
		}
		var all []change.Event
		for !slices.ContainsFunc(all, func(e change.Event) bool {
			return e.Table.Name.Table == "g" && e.After != nil && e.After[0].Int64() == 99
		}) {
			events, _ := d.read(s, 1)
			all = append(all, events...)
		}
		fold(all)
		streamed := rows
		rows = map[string]map[string]string{}
		tables, err := src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, table := range tables {
			names = append(names, table.Name.Table)
			var b change.Batch
			if _, err := src.Scan(t.Context(), table, nil, 1000, &b); err != nil {
				t.Fatal(err)
			}
			fold(b.Events)
			if got, want := len(streamed[table.Name.Table]), len(b.Events); got != want {
				t.Errorf("%s: %d rows by the stream, %d copied: %v", table.Name, got, want, streamed[table.Name.Table])
			}
			for key, want := range rows[table.Name.Table] {
				if got := streamed[table.Name.Table][key]; got != want {
					t.Errorf("%s: streamed %.300s, copied %.300s", table.Name, got, want)
				}
			}
		}
		if got := strings.Join(names, " "); got != "e g h" {
			t.Errorf("captured: %s", got)
		}
	}
	onEach(t, []string{"mariadb10"}, test)
	t.Run("without names in the log", func(t *testing.T) {
		test(t, servers.Private(t, "mariadb10", map[string]string{"binlog_row_metadata": "NO_LOG"}).URL)
	})
}
