package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// typeCase is a table whose rows must look the same streamed and copied.
type typeCase struct {
	name    string
	columns string // behind "id int PRIMARY KEY, "
	rows    []string
	want    string // how the first row's columns are shown; empty: only that both ways agree
	on      string // servers that have the type, separated by spaces; empty: all
	setup   string
}

func typeCases() []typeCase {
	return []typeCase{
		{name: "case54 integers", columns: "y year, b bit(3), d decimal(5,2), f float, t tinyint unsigned, s smallint unsigned, m mediumint unsigned, i int unsigned, " +
			"g bigint unsigned, t2 tinyint, g2 bigint, z int(6) unsigned zerofill",
			rows: []string{"2000, b'101', -1.5, 1.25, 255, 65535, 16777215, 4294967295, 18446744073709551615, -128, -9223372036854775808, 42",
				"1901, b'0', 0, 0, 0, 0, 0, 0, 0, 127, 9223372036854775807, 0"},
			want: "2000,101,-1.50,1.25,255,65535,16777215,4294967295,18446744073709551615,-128,-9223372036854775808,42"},
		{name: "case55 times", columns: "d date, dt0 datetime, dt6 datetime(6), ts3 timestamp(3) NULL, t6 time(6), t0 time, y year",
			rows: []string{"'2024-02-29', '2024-02-29 12:34:56', '9999-12-31 23:59:59.999999', '1970-01-01 00:00:01.001', '-838:59:59.000000', '838:59:59', 2155",
				"'0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '-00:00:00.000001', '-00:00:01', 0",
				"'2024-00-10', '1001-01-01 00:00:00', '1960-01-01 00:00:00.5', '2038-01-19 03:14:07.999', '00:00:00.000001', '100:00:00', 1901"},
			want: "date:19782,timestamp:1709210096000000,timestamp:253402300799999999,timestamptz:1001000,time:-3020399000000,time:3020399000000,2155"},
		{name: "case56 numbers and bytes", columns: "d65 decimal(65,30), f float, g double, b1 bit(1), b64 bit(64), bin binary(8), vb varbinary(10), lb longblob, f73 float(7,3)",
			rows: []string{"12345678901234567890123456789012345.123456789012345678901234567890, 3.4028235e38, 1.7976931348623157e308, b'1', b'1000000000000000000000000000000000000000000000000000000000000001', " +
				"x'6162000000000000', x'00ff', repeat('x', 70000), 1234.567",
				"-0.000000000000000000000000000001, 0.1, 5e-324, b'0', b'0', 'a', '', '', 0.1", "0, -1e-45, 0.1, b'1', b'11', x'ff', x'2020', x'00', -0.001"}},
		{name: "case57 labels", columns: "e enum('', 'it''s', 'a,b', 'é') CHARACTER SET latin1, s set('x', 'y', 'é', 'z') CHARACTER SET latin1, e2 enum('eins', 'zwei')",
			rows: []string{"'é', 'x,z,é', 'zwei'", "'it''s', '', 'eins'", "'a,b', 'x,y,é,z', NULL", "0, 0, 0", "'', 'y', 2"}, want: "é,x,é,z,zwei"},
		{name: "case58 charsets", columns: "a varchar(20) CHARACTER SET latin1, b char(10) CHARACTER SET cp1250, c varchar(20) CHARACTER SET gbk, d text CHARACTER SET sjis, " +
			"e varchar(20) CHARACTER SET utf16, f varchar(20) CHARACTER SET utf8mb4, g varchar(20) CHARACTER SET binary, h varchar(300) CHARACTER SET ucs2, i char(5)",
			rows: []string{"'€uro', 'žluť', '中文', '日本', '𝄞', '😀', x'fffe', 'ü', 'ab  '", "'', '', '', '', '', '', '', '', ''", "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"},
			want: "€uro,žluť,中文,日本,𝄞,😀,xfffe,ü,ab"},
		{name: "case59 json", columns: "j json", on: "mysql80 mysql97 mysql57", rows: []string{`'{"b": 1, "a": [1.0, 18446744073709551615, -9223372036854775808, 1e300, "ü\\"", null, true]}'`,
			"CAST(CAST('2024-01-01 12:00:00.5' AS DATETIME(6)) AS JSON)", "CAST(CAST('-01:02:03' AS TIME) AS JSON)", "CAST(1.50 AS JSON)", "'\"x\"'", "'[]'", "NULL"}},
		{name: "case73 json of MariaDB", columns: "j json", on: "mariadb10", rows: []string{`'{"b":1,  "a":[1.0]}'`, "NULL"}, want: `{"b":1,  "a":[1.0]}`},
		{name: "geometry", columns: "p point, g geometry", rows: []string{"ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('LINESTRING(0 0,1 1,2 2)')", "NULL, NULL"}},
		{name: "case73 network types of MariaDB", columns: "u uuid, i inet6", on: "mariadb10",
			rows: []string{"'123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:42:8329'", "NULL, '::'"}, want: "x123e4567e89b12d3a456426655440000,2001:db8::ff00:42:8329"},
		{name: "case73 compressed columns", columns: "c varchar(1000) COMPRESSED, b blob COMPRESSED, x text COMPRESSED CHARACTER SET latin1", on: "mariadb10",
			rows: []string{"repeat('a', 900), repeat('b', 2000), repeat('ä', 300)", "'', '', ''", "'short', x'00', 'é'"}},
		{name: "case73 generated and invisible columns", columns: "a int, v int AS (a + 1) VIRTUAL, s int AS (a * 2) STORED, i int INVISIBLE DEFAULT 5", on: "mariadb10",
			rows: []string{"1, DEFAULT, DEFAULT", "NULL, DEFAULT, DEFAULT"}},
		{name: "case73 addresses of MariaDB", columns: "i inet4, j inet4", on: "mariadb10", rows: []string{"'10.0.0.1', '255.255.255.255'", "NULL, '0.0.0.0'"}, want: "10.0.0.1,255.255.255.255"},
		{name: "case73 invisible columns of MySQL", columns: "a int INVISIBLE DEFAULT 5, b int", on: "mysql97", rows: []string{"1", "NULL"}},
		{name: "geometry with SRID", columns: "p point SRID 4326, g geometry", on: "mysql80 mysql97",
			rows: []string{"ST_GeomFromText('POINT(48.8 2.3)', 4326), ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 3857)"}},
		{name: "case73 generated columns", columns: "a int, v int AS (a + 1) VIRTUAL, s int AS (a * 2) STORED", on: "mysql57 mysql80 mysql97", rows: []string{"1, DEFAULT, DEFAULT", "NULL, DEFAULT, DEFAULT"}},
		{name: "vector", columns: "v vector(3)", on: "mysql97", rows: []string{"STRING_TO_VECTOR('[1, 2.5, -3]')", "NULL"}, want: "[1,2.5,-3]"},
		{name: "many columns", columns: func() string {
			var c []string
			for i := range 300 {
				c = append(c, fmt.Sprintf("c%d int", i))
			}
			return strings.Join(c, ", ")
		}(), rows: []string{strings.Repeat("NULL, 1, ", 149) + "NULL, 7"}},
	}
}

// TestSnapshotEqualsStream: a row looks the same whether it was copied or streamed.
func TestSnapshotEqualsStream(t *testing.T) {
	for _, name := range all() {
		for _, c := range typeCases() {
			if c.on != "" && !strings.Contains(" "+c.on+" ", " "+name+" ") {
				continue
			}
			t.Run(name+"/"+c.name, func(t *testing.T) { bothWays(t, servers.Need(t, name), c) })
		}
	}
}

func bothWays(t *testing.T, addr string, c typeCase) {
	d := newDB(t, addr, "SET sql_mode = ''; CREATE TABLE t (id int PRIMARY KEY, "+c.columns+") CHARACTER SET utf8mb4")
	src := d.open("column.propagate.source.type", ".*")
	stream, err := src.Stream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range c.rows {
		d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, %s)", i+1, row))
	}
	events := compareWays(d, src, stream, len(c.rows))
	if got := strings.TrimPrefix(show(&events[0]), "c 1,"); c.want != "" && got != c.want {
		t.Errorf("the first row is %s, want %s", got, c.want)
	}
}

// compareWays reads n rows that were streamed, holds them against those that a copy has, and returns them.
func compareWays(d *testDB, src *Source, stream source.Stream, n int) []change.Event {
	d.Helper()
	events, _ := d.read(stream, n)
	tables, err := src.Tables(d.Context())
	if err != nil || len(tables) != 1 {
		d.Fatalf("%v, %v", tables, err)
	}
	var b change.Batch
	if _, err := src.Scan(d.Context(), tables[0], nil, 1000, &b); err != nil {
		d.Fatal(err)
	}
	if len(b.Events) != len(events) {
		d.Fatalf("%d rows copied, %d streamed", len(b.Events), len(events))
	}
	for i := range events {
		s, r := &events[i], &b.Events[i]
		if s.Table != r.Table {
			sameColumns(d, s.Table, r.Table)
		}
		for k := range s.After {
			x, y := s.After[k], r.After[k]
			if x.Kind != y.Kind || x.Num != y.Num || string(x.Data) != string(y.Data) {
				d.Errorf("row %d, %s %s: streamed %s %.80q, copied %s %.80q", i+1, s.Table.Columns[k].Name, s.Table.Columns[k].Type.Name,
					x.Kind, showValue(x), y.Kind, showValue(y))
			}
		}
		if string(s.Key) != string(r.Key) {
			d.Errorf("row %d: key %x streamed, %x copied", i+1, s.Key, r.Key)
		}
	}
	return events
}

func sameColumns(d *testDB, streamed, copied *change.Table) {
	d.Helper()
	if len(streamed.Columns) != len(copied.Columns) || !slices.Equal(streamed.Key, copied.Key) {
		d.Errorf("streamed with %d columns and key %v, copied with %d and %v", len(streamed.Columns), streamed.Key, len(copied.Columns), copied.Key)
		return
	}
	for i := range streamed.Columns {
		if s, c := fmt.Sprintf("%+v", streamed.Columns[i]), fmt.Sprintf("%+v", copied.Columns[i]); s != c {
			d.Errorf("streamed as %s\ncopied as   %s", s, c)
		}
	}
}

// TestSurrogateKey: chunks follow the columns of a unique index in place of the key; others are refused for the table alone.
func TestSurrogateKey(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, a varchar(10) NOT NULL, b int NOT NULL, n int, UNIQUE (a, b))")
		d.exec("INSERT INTO t VALUES (1, 'z', 2, 5), (2, 'z', 1, 5), (3, 'A', 9, 5), (4, 'b', -1, 5), (5, 'a', 8, 5)")
		src := d.open()
		tables, err := src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var after []byte
		for n := 2; n == 2; {
			var b change.Batch
			w, err := src.ScanSelected(t.Context(), tables[0], snapshot.Selection{Surrogate: "b, a", Filter: "id <> 4"}, after, 2, &b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range b.Events {
				got = append(got, change.KeyText(b.Events[i].Key))
			}
			n, after = len(b.Events), w.(snapshot.Cursored).Cursor()
		}
		if fmt.Sprint(got) != "[2 1 5 3]" {
			t.Errorf("rows come in the order %v", got)
		}
		for _, list := range []string{"n", "a", "nonsense", "a,b,n"} {
			if _, err := src.ScanSelected(t.Context(), tables[0], snapshot.Selection{Surrogate: list}, nil, 2, &change.Batch{}); !errors.Is(err, snapshot.ErrTable) {
				t.Errorf("surrogate-key %q: %v", list, err)
			}
		}
		if _, err := src.ScanSelected(t.Context(), tables[0], snapshot.Selection{Surrogate: "a,b"}, []byte("?"), 2, &change.Batch{}); !errors.Is(err, snapshot.ErrCursor) {
			t.Errorf("a cursor of another key: %v", err)
		}
	})
}

// TestChunkKeys: chunks follow keys of every type in the database's own order, none twice and none left out. (case 36)
func TestCase36ChunkKeys(t *testing.T) {
	keys := []struct{ name, columns, rows string }{
		{"bigint", "k bigint PRIMARY KEY", "(-9223372036854775808), (9223372036854775807), (0), (-1), (1)"},
		{"bigint unsigned", "k bigint unsigned PRIMARY KEY", "(18446744073709551615), (0), (9223372036854775808)"},
		{"decimal", "k decimal(20,5) PRIMARY KEY", "(-1.5), (0), (1.00001), (99999999999.99999), (2)"},
		{"varbinary", "k varbinary(20) PRIMARY KEY", "(x'00'), (x'0001'), (x'ff'), (''), ('a')"},
		{"text without case", "k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY", "('b'), ('A'), ('ä2'), ('Z'), ('a1'), ('it''s'), ('\\\\')"},
		{"latin1", "k varchar(20) CHARACTER SET latin1 PRIMARY KEY", "('b'), ('é'), ('ä'), ('€'), ('')"},
		{"timestamp", "k timestamp(6) PRIMARY KEY", "('2024-01-01 00:00:00.000001'), ('1971-01-01'), ('2024-01-01'), ('2038-01-01')"},
		{"datetime", "k datetime PRIMARY KEY", "('2024-01-01 00:00:00'), ('1001-01-01'), ('0000-00-00'), ('9999-12-31 23:59:59')"},
		{"time", "k time(3) PRIMARY KEY", "('-838:59:59'), ('00:00:00.001'), ('838:59:59'), ('-00:00:00.5')"},
		{"date", "k date PRIMARY KEY", "('2024-02-29'), ('1970-01-01'), ('0000-00-00'), ('1000-01-01')"},
		{"enum", "k enum('z','a','m') PRIMARY KEY", "('a'), ('m'), ('z')"},
		{"set", "k set('z','a','m') PRIMARY KEY", "('a,m'), ('m'), ('z'), (''), ('z,a')"},
		{"double", "k double PRIMARY KEY", "(0.1), (-1e300), (5e-324), (3)"},
		{"float", "k float PRIMARY KEY", "(0.1), (-3e38), (16777217), (3)"},
		{"bit", "k bit(10) PRIMARY KEY", "(b'0'), (b'1111111111'), (b'101')"},
		{"two columns in another order", "a int, b int, k int, PRIMARY KEY (b, a)", "(1,2,0), (2,1,0), (1,1,0), (2,2,0), (3,1,0)"},
		{"unique index", "a int, k varchar(10) NOT NULL, UNIQUE (k)", "(1,'x'), (2,'y'), (NULL,'z')"},
	}
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "SET sql_mode = ''")
		for i, k := range keys {
			d.exec(fmt.Sprintf("CREATE TABLE t%02d (%s)", i, k.columns))
			d.exec(fmt.Sprintf("INSERT INTO t%02d VALUES %s", i, k.rows))
		}
		src := d.open()
		tables, err := src.Tables(t.Context())
		if err != nil || len(tables) != len(keys) {
			t.Fatalf("%d tables, %v", len(tables), err)
		}
		for i, table := range tables {
			want := d.text(fmt.Sprintf("SELECT count(*) FROM t%02d", i))
			seen := map[string]bool{}
			var after []byte
			for {
				var b change.Batch
				if _, err := src.Scan(t.Context(), table, after, 2, &b); err != nil {
					t.Fatalf("%s: %v", keys[i].name, err)
				}
				for k := range b.Events {
					if seen[string(b.Events[k].Key)] {
						t.Fatalf("%s: %s comes twice", keys[i].name, show(&b.Events[k]))
					}
					seen[string(b.Events[k].Key)] = true
					after = append([]byte(nil), b.Events[k].Key...)
				}
				if len(b.Events) < 2 {
					break
				}
			}
			if got := fmt.Sprint(len(seen)); got != want {
				t.Errorf("%s: %s rows of %s", keys[i].name, got, want)
			}
		}
	})
}
