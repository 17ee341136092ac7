package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/snapshot"
)

func TestSourceFacts(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v varchar(10))")
		s := d.stream(nil)
		d.exec("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
		events, _ := d.read(s, 2)
		a, b := events[0], events[1]
		if a.Binlog == nil || a.Binlog.File == "" || a.Binlog.ServerID != 1 || a.LSN == 0 || a.Commit == 0 || a.Seen < a.Commit-int64(time.Hour/time.Microsecond) {
			t.Errorf("%+v with %+v", a, a.Binlog)
		}
		if a.Row != 0 || b.Row != 1 || a.Ordinal != 0 || b.Ordinal != 1 || a.Txn != b.Txn || a.LSN != b.LSN {
			t.Errorf("rows %d, %d; ordinals %d, %d; transactions %d, %d; places %d, %d", a.Row, b.Row, a.Ordinal, b.Ordinal, a.Txn, b.Txn, a.LSN, b.LSN)
		}
		if a.Binlog.GTID == "" || d.flavor == mysqld && a.Binlog.Thread == 0 {
			t.Errorf("%+v", a.Binlog)
		}
		if a.Topic != d.prefix+"."+d.name+".t" || a.Table.Origin.Connector != d.flavor.String() {
			t.Errorf("topic %s of %s", a.Topic, a.Table.Origin.Connector)
		}
	})
}

func TestIncludeQuery(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int)")
		if d.flavor == mariadb {
			d.exec("SET binlog_annotate_row_events = ON")
		} else {
			d.exec("SET binlog_rows_query_log_events = ON")
		}
		s := d.stream(nil, "include.query", "true")
		d.exec("BEGIN; INSERT INTO t VALUES (1, 1); UPDATE t SET v = 2; COMMIT")
		events, _ := d.read(s, 2)
		if got := events[0].Binlog.Query; got != "INSERT INTO t VALUES (1, 1)" {
			t.Errorf("the first event's statement is %q", got)
		}
		if got := events[1].Binlog.Query; got != "UPDATE t SET v = 2" {
			t.Errorf("the second event's statement is %q", got)
		}
	})
}

func TestKeyChangeHeaders(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int)")
		s := d.stream(nil)
		d.exec("INSERT INTO t VALUES (1, 1); UPDATE t SET id = 9")
		events, _ := d.read(s, 3)
		if got := showAll(events); got != "c 1,1; d 1,1; c 9,1" {
			t.Fatal(got)
		}
		del, cre := events[1], events[2]
		if len(del.Headers) != 1 || del.Headers[0].Key != change.HeaderNewKey || string(del.Headers[0].Value) != string(cre.Key) {
			t.Errorf("the delete has %v", del.Headers)
		}
		if len(cre.Headers) != 1 || cre.Headers[0].Key != change.HeaderOldKey || string(cre.Headers[0].Value) != string(del.Key) {
			t.Errorf("the create has %v", cre.Headers)
		}
	})
}

// TestStructures: each row comes under the structure it was written with, also when the connector was away meanwhile.
func TestCase51Structures(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80", "mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int)")
		src := d.open()
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		at := readEmpty(d, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD w varchar(5) FIRST; INSERT INTO t VALUES ('x', 2, 2); ALTER TABLE t CHANGE v u bigint; " +
			"INSERT INTO t VALUES ('y', 3, 3); ALTER TABLE t DROP w; INSERT INTO t VALUES (4, 4); DROP TABLE t; CREATE TABLE t (k varchar(3) PRIMARY KEY); INSERT INTO t VALUES ('z')")
		if s, err = src.Stream(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		events, _ := d.read(s, 6)
		if got := showAll(events); got != "c 1,1; c x,2,2; c y,3,3; c 4,4; t ; c z" {
			t.Errorf("%s", got)
		}
		var columns []string
		for _, e := range events {
			var names []string
			for _, c := range e.Table.Columns {
				names = append(names, c.Name)
			}
			columns = append(columns, strings.Join(names, " "))
		}
		if got := strings.Join(columns, "; "); got != "id v; w id v; w id u; id u; id u; k" {
			t.Errorf("columns: %s", got)
		}
		if last := events[5]; len(last.Table.Key) != 1 || last.Table.Columns[last.Table.Key[0]].Name != "k" {
			t.Errorf("key of the last table: %v", last.Table.Key)
		}
	})
}

// readEmpty reads the first batch of a new stream, which has only its position.
func readEmpty(d *testDB, s interface {
	Read(context.Context, *change.Batch) error
}) change.Position {
	d.Helper()
	var b change.Batch
	if err := s.Read(d.Context(), &b); err != nil || len(b.Events) != 0 {
		d.Fatalf("%d events, %v", len(b.Events), err)
	}
	d.remember(&b)
	return b.Resume
}

func TestTruncateAndDrop(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
		s := d.stream(nil, "table.include.list", d.name+".t")
		d.exec("INSERT INTO t VALUES (1); TRUNCATE TABLE t; TRUNCATE other; INSERT INTO t VALUES (2); DROP TABLE t; CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY); " +
			"CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY); INSERT INTO t VALUES (3)")
		events, _ := d.read(s, 5)
		if got := showAll(events); got != "c 1; t ; c 2; t ; c 3" {
			t.Error(got)
		}
	})
}

// TestCase60OnlineSchemaChange does what gh-ost and pt-online-schema-change do: a copy of the table is filled while rows
// change, and takes the table's place.
func TestCase60OnlineSchemaChange(t *testing.T) {
	test := func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int)")
		s := d.stream(nil, "table.include.list", d.name+".t")
		d.exec("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
		d.exec("CREATE TABLE _t_gho LIKE t; ALTER TABLE _t_gho ADD w int DEFAULT 5; CREATE TABLE _t_ghc (id int PRIMARY KEY, hint varchar(20))")
		d.exec("INSERT INTO _t_ghc VALUES (1, 'state'); INSERT IGNORE INTO _t_gho (id, v) SELECT id, v FROM t; UPDATE t SET v = 20 WHERE id = 2; " +
			"REPLACE INTO _t_gho (id, v) VALUES (2, 20); DELETE FROM t WHERE id = 3; DELETE FROM _t_gho WHERE id = 3")
		d.exec("RENAME TABLE t TO _t_del, _t_gho TO t; DROP TABLE _t_del; DROP TABLE _t_ghc")
		d.exec("UPDATE t SET w = 6 WHERE id = 1; INSERT INTO t VALUES (4, 4, 4)")
		// and pt-osc with drop_swap: the table is gone for a moment
		d.exec("CREATE TABLE _t_new LIKE t; INSERT INTO _t_new SELECT * FROM t; DROP TABLE t; RENAME TABLE _t_new TO t; DELETE FROM t WHERE id = 2")
		events, _ := d.read(s, 8)
		if got := showAll(events); got != "c 1,1; c 2,2; c 3,3; u 2,20; d 3,3; u 1,1,6; c 4,4,4; d 2,20,5" {
			t.Error(got)
		}
	}
	onEach(t, []string{"mariadb10", "mysql80"}, test)
	onNameless(t, test)
}

func TestCase62TwoPhaseAlter(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int)")
		s := d.stream(nil, "include.schema.changes", "true")
		d.read(s, introduction)
		d.exec("SET binlog_alter_two_phase = ON; INSERT INTO t VALUES (1, 1), (2, 1); ALTER TABLE t ADD w int")
		if _, err := d.conn.Execute("ALTER TABLE t ADD UNIQUE (v)"); err == nil {
			t.Fatal("a unique index over equal values was made")
		}
		d.exec("INSERT INTO t VALUES (3, 3, 3)")
		events, _ := d.read(s, 4)
		if events[2].Raw == nil || !strings.Contains(string(events[2].Raw.Value), "ADD w") || show(&events[3]) != "c 3,3,3" {
			t.Errorf("%s", showAll(events))
		}
	})
}

// TestCase63Engines: transactions end where the server says, whatever the engine.
func TestCase63Engines(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE m (id int PRIMARY KEY) ENGINE=MyISAM; CREATE TABLE i (id int PRIMARY KEY) ENGINE=InnoDB")
		s := d.stream(nil)
		d.exec("INSERT INTO m VALUES (1), (2); INSERT INTO i VALUES (1)")
		d.exec("BEGIN; INSERT INTO i VALUES (2); CREATE TABLE x (id int PRIMARY KEY); INSERT INTO x VALUES (1)") // DDL commits
		if d.flavor == mariadb {                                                                                 // MySQL refuses it with GTIDs
			d.exec("BEGIN; INSERT INTO i VALUES (3); INSERT INTO m VALUES (3); ROLLBACK")
		} else {
			d.exec("INSERT INTO m VALUES (3)")
		}
		d.exec("BEGIN; INSERT INTO i VALUES (4); SAVEPOINT a; INSERT INTO i VALUES (5); ROLLBACK TO a; INSERT INTO i VALUES (6); COMMIT")
		events, _ := d.read(s, 8)
		var got []string
		txns := map[uint64]bool{}
		for i := range events {
			got = append(got, events[i].Table.Name.Table+strings.TrimPrefix(show(&events[i]), "c "))
			txns[events[i].Txn] = true
		}
		if text := strings.Join(got, " "); text != "m1 m2 i1 i2 x1 m3 i4 i6" {
			t.Error(text)
		}
		if len(txns) != 6 {
			t.Errorf("%d transactions", len(txns))
		}
	})
}

func TestCase64StatementFormat(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
		s := d.stream(nil, "table.include.list", d.name+".t")
		d.exec("INSERT INTO t VALUES (1)")
		admin := d.connect()
		defer admin.Close()
		execOn(t, admin, "USE "+d.name+"; SET SESSION binlog_format = 'STATEMENT'; INSERT INTO other VALUES (1)")
		d.exec("INSERT INTO t VALUES (2)")
		if events, _ := d.read(s, 2); showAll(events) != "c 1; c 2" {
			t.Error(showAll(events))
		}
		execOn(t, admin, "UPDATE t SET id = id + 10")
		if err := d.fails(s); fault.Code(err) != "NON_ROW_DML" || !strings.Contains(err.Error(), d.name+".t") {
			t.Errorf("%v", err)
		}
	})
}

func TestCase65RowImages(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int, b text); CREATE TABLE k (a int, u int NOT NULL, x int, UNIQUE (u))")
		s := d.stream(nil)
		d.exec("INSERT INTO t VALUES (1, 1, 'big'); SET SESSION binlog_row_image = 'MINIMAL'; UPDATE t SET v = 2; UPDATE t SET b = NULL; UPDATE t SET id = 5; DELETE FROM t; " +
			"SET SESSION binlog_row_image = 'NOBLOB'; INSERT INTO t VALUES (7, 7, 'seven'); UPDATE t SET v = 8")
		events, _ := d.read(s, 8)
		if got := showAll(events); got != "c 1,1,big; u 1,2,absent; u 1,absent,NULL; d 1,absent,absent; c 5,absent,absent; d 5,absent,absent; c 7,7,seven; u 7,8,absent" {
			t.Error(got)
		}
	})
}

// TestCase65KeyAbsent: message.key.columns may name columns that a MINIMAL image leaves out.
func TestCase65KeyAbsent(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL, v int)")
		s := d.stream(nil, "message.key.columns", d.name+".t:u")
		d.exec("INSERT INTO t VALUES (1, 10, 1); SET SESSION binlog_row_image = 'MINIMAL'; UPDATE t SET v = 2")
		if err := d.fails(s); fault.Code(err) != "KEY_ABSENT" {
			t.Errorf("%v", err)
		}
	})
}

// TestCase59PartialJSON: what an update has logged of a value, whatever it was, makes the value that the server has.
func TestCase59PartialJSON(t *testing.T) {
	long := strings.Repeat("long enough to be worth a partial update ", 4)
	updates := []string{
		`JSON_SET(j, '$.a', 2)`, `JSON_SET(j, '$.b', 'x')`, `JSON_SET(j, '$.new', JSON_OBJECT('k', 1.5), '$.a', NULL)`, `JSON_REMOVE(j, '$.a')`,
		`JSON_SET(j, '$."a \\"quoted\\" key"', 1)`, `JSON_SET(j, '$."a \\"quoted\\" key"', 2)`, `JSON_SET(j, '$.list[1]', 'two')`, `JSON_SET(j, '$.list[9]', 'behind')`,
		`JSON_REMOVE(j, '$.list[0]')`, `JSON_REMOVE(j, '$.list[1]', '$.list[0]')`, `JSON_SET(j, '$.b[0]', 'wrapped')`, `JSON_SET(j, '$.b[2]', 'array')`,
		`JSON_SET(j, '$.deep.er[0].x', CAST(18446744073709551615 AS UNSIGNED))`, `JSON_SET(j, '$.deep.er[0].y', CAST('2024-02-29 12:00:00.5' AS DATETIME(6)))`,
		`JSON_SET(j, '$.z', CAST(X'0102' AS JSON))`, `JSON_SET(j, '$."ä😀"', 'ü')`, `JSON_REMOVE(j, '$."ä😀"')`, `JSON_SET(j, '$.list', JSON_ARRAY())`,
		`JSON_SET(j, '$.list[0]', 1)`, `JSON_REMOVE(j, '$.list[0]')`, `JSON_REPLACE(j, '$.absent', 1)`, `JSON_SET(j, '$', JSON_ARRAY(1, 2))`, `JSON_SET(j, '$[1]', 3)`,
		`JSON_ARRAY_INSERT(j, '$[0]', 0)`, `NULL`, `JSON_OBJECT('a', 1)`,
	}
	onEach(t, []string{"mysql80", "mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, n json, j json, other json); CREATE TABLE truth (id int PRIMARY KEY AUTO_INCREMENT, j longtext, n text)")
		s := d.stream(nil, "column.exclude.list", d.name+".t.other")
		d.exec(`INSERT INTO t VALUES (1, '{"n": 0}', '{"a": 1, "b": "` + long + `", "list": [1, [2, "]}"], {"x": "\\\\"}], "deep": {"er": [{}]}}', '{"o": "` + long + `"}'); ` +
			"SET binlog_row_value_options = 'PARTIAL_JSON'")
		for i, u := range updates {
			d.exec(fmt.Sprintf("UPDATE t SET j = %s, n = JSON_SET(n, '$.n', %d), other = JSON_SET(other, '$.o', 'short') WHERE id = 1", u, i+1))
			d.exec("INSERT INTO truth (j, n) SELECT CAST(j AS CHAR), CAST(n AS CHAR) FROM t")
		}
		events, _ := d.read(s, 1+2*len(updates))
		for i, u := range updates {
			update, truth := &events[1+2*i], &events[2+2*i]
			if got, want := showValue(update.After[2]), showValue(truth.After[1]); got != want {
				t.Errorf("%s:\n%s\n%s", u, got, want)
			}
			if got, want := showValue(update.After[1]), showValue(truth.After[2]); got != want {
				t.Errorf("%s, the other column: %s, %s", u, got, want)
			}
			if i > 0 && showValue(update.Before[2]) != showValue(events[2*i].After[1]) {
				t.Errorf("%s: before is %s", u, showValue(update.Before[2]))
			}
		}
	})
}

// A partial update whose row lacks the old value stops the stream: nobody could tell the new one.
func TestCase59PartialJSONAlone(t *testing.T) {
	onEach(t, []string{"mysql80", "mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, j json)")
		s := d.stream(nil)
		d.exec(`INSERT INTO t VALUES (1, '{"a": 1, "b": "long enough to be worth a partial update"}'); SET binlog_row_value_options = 'PARTIAL_JSON', binlog_row_image = 'MINIMAL'; ` +
			`UPDATE t SET j = JSON_SET(j, '$.a', 2)`)
		if err := d.fails(s); fault.Code(err) != "PARTIAL_JSON" {
			t.Errorf("%v", err)
		}
	})
}

func TestCase66Compressed(t *testing.T) {
	onEach(t, []string{"mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v varchar(100))")
		s := d.stream(nil)
		d.exec("SET SESSION binlog_transaction_compression = ON; BEGIN; INSERT INTO t VALUES (1, repeat('a', 100)), (2, repeat('b', 100)); UPDATE t SET v = 'x' WHERE id = 1; COMMIT; " +
			"INSERT INTO t VALUES (3, 'c')")
		events, _ := d.read(s, 4)
		if got := showAll(events); !strings.HasSuffix(got, "u 1,x; c 3,c") || events[0].Txn != events[2].Txn || events[3].Txn == events[2].Txn {
			t.Error(got)
		}
	})
	t.Run("mariadb10", func(t *testing.T) {
		addr := servers.Need(t, "mariadb10")
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v varchar(2000))")
		s := d.stream(nil)
		d.exec("SET GLOBAL log_bin_compress = ON")
		d.Cleanup(func() { execOn(t, d.conn, "SET GLOBAL log_bin_compress = OFF") })
		d.exec("INSERT INTO t VALUES (1, repeat('a', 2000)); UPDATE t SET v = 'x'; ALTER TABLE t ADD w int DEFAULT 1 COMMENT '" + strings.Repeat("long ", 100) + "'; INSERT INTO t VALUES (2, 'y', 2)")
		events, _ := d.read(s, 3)
		if got := showAll(events[1:]); got != "u 1,x; c 2,y,2" || len(events[0].After[1].Data) != 2000 {
			t.Error(got)
		}
	})
}

func TestCase66TaggedGTIDs(t *testing.T) {
	onEach(t, []string{"mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		src := d.open()
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("SET gtid_next = 'AUTOMATIC:mine'; INSERT INTO t VALUES (1); SET gtid_next = 'AUTOMATIC'; INSERT INTO t VALUES (2)")
		events, at := d.read(s, 2)
		if !strings.Contains(events[0].Binlog.GTID, ":mine:") || strings.Contains(events[1].Binlog.GTID, "mine") || !strings.Contains(string(at), ":mine:") {
			t.Fatalf("%s, %s, %s", events[0].Binlog.GTID, events[1].Binlog.GTID, at)
		}
		s.Close()
		d.exec("INSERT INTO t VALUES (3)")
		if s, err = src.Stream(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if events, _ = d.read(s, 1); showAll(events) != "c 3" {
			t.Error(showAll(events))
		}
	})
}

// TestCase68Gaps: what the position lacks in the middle is asked for, and nothing else.
func TestCase68Gaps(t *testing.T) {
	onEach(t, []string{"mysql80", "mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		src := d.open()
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3); INSERT INTO t VALUES (4)")
		events, at := d.read(s, 4)
		s.Close()
		p, err := parsePosition(at)
		if err != nil {
			t.Fatal(err)
		}
		lacking := &mysqlSet{}
		for _, i := range []int{1, 3} {
			lacking.union(mustSet(t, events[i].Binlog.GTID), func(string) bool { return true })
		}
		p.GTIDs = string(mustSet(t, p.GTIDs).minus(lacking).appendText(nil))
		if s, err = src.Stream(t.Context(), p.encode()); err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (5)")
		if again, _ := d.read(s, 3); showAll(again) != "c 2; c 4; c 5" {
			t.Error(showAll(again))
		}
	})
}

func TestCase68Domains(t *testing.T) {
	onEach(t, []string{"mariadb10"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		src := d.open()
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("SET gtid_domain_id = 7; INSERT INTO t VALUES (1); SET gtid_domain_id = 0; INSERT INTO t VALUES (2); SET gtid_domain_id = 7; INSERT INTO t VALUES (3)")
		_, at := d.read(s, 3)
		s.Close()
		d.exec("SET gtid_domain_id = 0; INSERT INTO t VALUES (4); SET gtid_domain_id = 7; INSERT INTO t VALUES (5)")
		if s, err = src.Stream(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if again, _ := d.read(s, 2); showAll(again) != "c 4; c 5" || !strings.Contains(string(at), ",7-1-") {
			t.Errorf("%s after %s", showAll(again), at)
		}
	})
}

func TestGTIDSources(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		us, next, other := d.text("SELECT @@server_id"), "SET server_id = 77", "SET server_id = 1"
		if d.flavor == mysqld {
			us, next, other = d.text("SELECT @@server_uuid"), "SET gtid_next = '"+newUUID()+":1'", "SET gtid_next = 'AUTOMATIC'"
		}
		s := d.stream(nil, "gtid.source.includes", us)
		d.exec("INSERT INTO t VALUES (1); " + next + "; INSERT INTO t VALUES (2); " + other + "; INSERT INTO t VALUES (3)")
		if events, _ := d.read(s, 2); showAll(events) != "c 1; c 3" {
			t.Error(showAll(events))
		}
	})
}

// TestCase72Rotate: the log goes on in the next file, also inside of what is resumed.
func TestCase72Rotate(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		src := d.open()
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var at change.Position
		var files []string
		for i := range 3 {
			d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d); FLUSH BINARY LOGS; INSERT INTO t VALUES (%d)", 2*i, 2*i+1))
			var events []change.Event
			events, at = d.read(s, 2)
			if got := showAll(events); got != fmt.Sprintf("c %d; c %d", 2*i, 2*i+1) {
				t.Fatal(got)
			}
			files = append(files, events[0].Binlog.File, events[1].Binlog.File)
			s.Close()
			if s, err = src.Stream(t.Context(), at); err != nil {
				t.Fatal(err)
			}
		}
		if slices.Sort(files); len(slices.Compact(files)) != 4 {
			t.Errorf("events of the files %q", files)
		}
	})
}

// introduction is the number of events that tell the structure of one table before the snapshot.
const introduction = 6

func TestSchemaChanges(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v varchar(10) DEFAULT 'x' COMMENT 'cm')")
		s := d.stream(nil, "include.schema.changes", "true", "include.schema.comments", "true")
		first, at := d.read(s, introduction)
		for i, ddl := range []string{"SET character_set_server=", "DROP TABLE IF EXISTS `" + d.name + "`.`t`", "DROP DATABASE IF EXISTS", "CREATE DATABASE", "USE `" + d.name, "CREATE TABLE `t`"} {
			if v := string(first[i].Raw.Value); !strings.Contains(v, `"ddl":"`+ddl) || !strings.Contains(v, `"snapshot":"true"`) {
				t.Errorf("%s lacks %s", v, ddl)
			}
		}
		s.Close()
		s = d.stream(at, "include.schema.changes", "true", "include.schema.comments", "true") // it is told once
		d.exec("ALTER TABLE t ADD z enum('a','b') DEFAULT 'a'; DROP TABLE t")
		events, _ := d.read(s, 2)
		alter, drop := string(events[0].Raw.Value), string(events[1].Raw.Value)
		for _, part := range []string{`"connector":"` + d.flavor.String() + `"`, `"ddl":"ALTER TABLE t ADD z enum('a','b') DEFAULT 'a'"`, `"type":"ALTER"`} {
			if !strings.Contains(alter, part) {
				t.Errorf("%s lacks %s", alter, part)
			}
		}
		if !strings.Contains(drop, `"type":"DROP"`) || !strings.Contains(drop, `"table":null`) || events[1].Topic != d.prefix || events[1].Raw.Form != change.FormSchemaChange {
			t.Errorf("%s on %s", drop, events[1].Topic)
		}
	})
}

// TestCase105KeyChangeUnderMinimal: a row that changes its key without its other columns is completed before anybody gets it.
func TestCase105KeyChangeUnderMinimal(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v int, b text)")
		s, err := snapshot.Open(t.Context(), d.open(), nil, snapshot.Options{Config: snapshot.Config{Mode: "no_data"}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		d.exec("INSERT INTO t VALUES (1, 1, 'big'); SET SESSION binlog_row_image = 'MINIMAL'; UPDATE t SET id = 5")
		events, _ := d.read(s, 3)
		if got := showAll(events); got != "c 1,1,big; d 1,absent,absent; c 5,1,big" {
			t.Error(got)
		}
	})
}

// Of a partitioned table MySQL sets bits behind the last column in the bitmap of columns that an image without large ones has.
func TestImageWithoutBlobs(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int, d int, big mediumtext, e int, f int, g int) PARTITION BY KEY () PARTITIONS 3; "+
			"INSERT INTO t VALUES (1, 1, NULL, 3, 4, REPEAT('x', 3000), 6, 7, 8)")
		s := d.stream(nil)
		d.exec("SET SESSION binlog_row_image = 'NOBLOB'; UPDATE t SET g = 9; SET SESSION binlog_row_image = 'MINIMAL'; UPDATE t SET f = NULL; SET SESSION binlog_row_image = 'FULL'")
		events, _ := d.read(s, 2)
		for i, want := range []string{"1 1 NULL 3 4 absent 6 7 9", "1 absent absent absent absent absent absent NULL absent"} {
			var got []string
			for _, v := range events[i].After {
				got = append(got, showValue(v))
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("event %d: %s, want %s", i, text, want)
			}
		}
	})
}
