package binlog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/change"
)

// The files of testdata/captures are dumps of real servers: NAME.dump has the events as they were sent to a replica, one
// behind the other; NAME.columns what information_schema said of the tables, for logs without metadata; NAME.txt what
// they are decoded to. -update makes all of them anew from live servers, or only the expectations where there are none.
const captures = "testdata/captures"

// script is what runs on a server to be captured: statements, one a line, "?" before those that may fail. A line that
// begins with -- names the servers that take what follows.
const script = `
-- mariadb mysql
create table t (id int primary key, a varchar(20), b blob, c int unsigned default 7) engine=innodb
insert into t values (1, 'one', 'x', 1), (2, 'two', null, 4294967295), (3, null, '', null)
update t set a = 'ONE' where id = 1
delete from t where id = 3
begin
insert into t (id) values (4)
savepoint s
insert into t (id) values (5)
rollback to s
update t set id = 40 where id = 4
commit
set session binlog_row_image = 'minimal'
insert into t (id, a) values (6, 'six')
update t set a = 'SIX' where id = 6
update t set c = null where id = 6
delete from t where id = 6
set session binlog_row_image = 'noblob'
insert into t values (7, 'seven', 'blob', 7)
update t set a = 'SEVEN' where id = 7
update t set b = 'BLOB' where id = 7
delete from t where id = 7
set session binlog_row_image = 'full'
create table nokey (a int, b varchar(10)) engine=myisam
insert into nokey values (1, 'x'), (1, 'x')
update nokey set b = 'y' limit 1
create table k (x int, y varchar(100), z char(3), primary key (z, y(10)), unique (x))
insert into k values (1, 'yyyyyyyyyyyyyyy', 'z')
alter table t add column d datetime(3) after a, drop column c
insert into t (id, a, d) values (8, 'eight', '2024-02-29 12:34:56.789')
rename table nokey to ` + "`named ``so``. é`" + `
insert into ` + "`named ``so``. é`" + ` values (2, 'z')
truncate table k
xa start 'global', 'branch', 7
insert into t (id) values (9)
xa end 'global', 'branch', 7
xa prepare 'global', 'branch', 7
xa commit 'global', 'branch', 7
xa start 'one'
insert into t (id) values (10)
xa end 'one'
xa commit 'one' one phase
xa start 'back'
insert into t (id) values (11)
xa end 'back'
xa prepare 'back'
xa rollback 'back'
set session binlog_format = 'statement'
insert into k values (rand() * 10, 'statement', @a := 'st')
set session binlog_format = 'row'
?create table g (id int primary key, v int, w int as (v + 1) virtual, s int as (v * 2) stored)
?insert into g (id, v) values (1, 10)
?update g set v = 11
-- mariadb
create or replace table cor (id int primary key) as select 1 as id
create sequence seq
select nextval(seq)
set session gtid_domain_id = 5, session server_id = 99
insert into t (id) values (20)
set session gtid_domain_id = 0
create table inv (id int primary key, hidden int invisible default 3)
insert into inv (id) values (1)
create table ver (id int primary key, v int) with system versioning
insert into ver values (1, 1)
update ver set v = 2
set global log_bin_compress = 1, global log_bin_compress_min_len = 10
insert into t (id, a, b) values (21, 'compressed', repeat('abc', 200)), (22, 'compressed', repeat('abc', 200))
update t set b = repeat('def', 200) where id = 21
delete from t where id = 21
create table long_name_for_a_compressed_statement (id int primary key, value varchar(100) comment 'a long statement gets compressed')
set global log_bin_compress = 0
set session binlog_alter_two_phase = 1
alter table t add column e int
set session binlog_alter_two_phase = 0
set session binlog_annotate_row_events = 0
insert into t (id) values (23)
?set session binlog_row_metadata = 'minimal'
set global binlog_row_metadata = 'minimal'
insert into t (id) values (24)
set global binlog_row_metadata = 'no_log'
insert into t (id) values (25)
set global binlog_row_metadata = 'full'
-- mysql
set session binlog_rows_query_log_events = 1
insert into t (id, a) values (30, 'with its statement')
set session binlog_rows_query_log_events = 0
create table j (id int primary key, doc json, other json)
insert into j values (1, '{"a": 1, "b": [1, 2, 3], "long": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', '[]')
update j set doc = json_set(doc, '$.a', 2)
-- mysql8 mysql9
set session binlog_row_value_options = 'partial_json'
update j set other = '[1]' where id = 1
insert into j values (2, '{}', '{}')
delete from j where id = 2
set session binlog_row_value_options = ''
set global binlog_row_metadata = 'minimal'
insert into t (id) values (31)
set global binlog_row_metadata = 'full'
-- mysql9
create table inv (id int primary key, hidden int invisible default 3)
insert into inv (id) values (1)
set session binlog_transaction_compression = 1
begin
insert into t (id, a, b) values (42, 'compressed', repeat('abc', 300)), (41, 'compressed', repeat('abc', 300))
update t set a = 'again' where id = 42
insert into j values (3, '{"x": 1.0}', null)
commit
set session binlog_transaction_compression = 0
set gtid_next = 'AUTOMATIC:tagged_it'
insert into t (id) values (50)
set gtid_next = 'AUTOMATIC'
-- mariadb mysql
flush binary logs
insert into t (id) values (99)
`

// lines returns the lines of the script for a server.
func lines(server string) []string {
	var mine []string
	on := false
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if names, ok := strings.CutPrefix(line, "-- "); ok {
			on = false
			for n := range strings.FieldsSeq(names) {
				on = on || strings.HasPrefix(server, n)
			}
		} else if on && line != "" {
			mine = append(mine, line)
		}
	}
	return mine
}

// capture makes the files of a server.
func capture(t *testing.T, server string) {
	d := connect(t, server)
	d.exec("flush binary logs")
	from := d.position()
	for _, line := range lines(server) {
		if may, ok := strings.CutPrefix(line, "?"); ok {
			d.accepts(may)
		} else {
			d.exec(line)
		}
	}
	write(t, d, server+"-script", from)
	from = d.position()
	n := 0
	for _, s := range samples {
		if !s.on(server) || !d.accepts(fmt.Sprintf("create table v%d (id int primary key auto_increment, v %s)", n, s.typ)) {
			continue
		}
		values := s.values
		if s.typ == "json" && !d.maria() {
			values = append(values[:len(values):len(values)], opaque...)
		}
		for _, v := range append(values, "null") {
			if !strings.Contains(v, "0000)") && !strings.Contains(v, "65535") {
				d.accepts(fmt.Sprintf("insert into v%d (v) values (%s)", n, v))
			}
		}
		n++
	}
	write(t, d, server+"-values", from)
}

func write(t *testing.T, d *db, name string, from mysql.Position) {
	t.Helper()
	if err := os.MkdirAll(captures, 0o755); err != nil {
		t.Fatal(err)
	}
	dump := bytes.Join(d.dump(from, d.position()), nil)
	r := d.exec("select table_name, column_name, column_type, ifnull(character_set_name, ''), is_nullable from information_schema.columns" +
		" where table_schema = database() order by table_name, ordinal_position")
	tables := map[string][]string{}
	for i := range r.RowNumber() {
		var s [5]string
		for k := range s {
			s[k], _ = r.GetString(i, k)
		}
		tables[s[0]] = append(tables[s[0]], strings.Join(s[1:], "\t"))
	}
	columns, err := json.MarshalIndent(tables, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	for ext, p := range map[string][]byte{".dump": dump, ".columns": append(columns, '\n')} {
		if err := os.WriteFile(filepath.Join(captures, name+ext), p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// load reads a capture: its events, and the columns that information_schema had in the end.
func load(tb testing.TB, name string) ([][]byte, map[string][]Column) {
	tb.Helper()
	p, err := os.ReadFile(filepath.Join(captures, name+".dump"))
	if err != nil {
		tb.Fatal(err)
	}
	var events [][]byte
	for len(p) > 0 {
		size := littleEndian(p[9:13])
		events = append(events, p[:size:size])
		p = p[size:]
	}
	p, err = os.ReadFile(filepath.Join(captures, name+".columns"))
	if err != nil {
		tb.Fatal(err)
	}
	var tables map[string][]string
	if err := json.Unmarshal(p, &tables); err != nil {
		tb.Fatal(err)
	}
	known := map[string][]Column{}
	for table, lines := range tables {
		for _, l := range lines {
			s := strings.Split(l, "\t")
			c, err := ParseColumn(s[0], s[1], s[2], s[3] == "YES")
			if err != nil {
				tb.Fatal(err)
			}
			known[table] = append(known[table], c)
		}
	}
	return events, known
}

// describe writes what events are decoded to.
func describe(events [][]byte, known map[string][]Column) (string, error) {
	var out strings.Builder
	var d Decoder
	var cs Charsets
	b := &change.Batch{}
	layouts := map[*TableMap]*Layout{}
	err := unpack(&d, events, func(e *Event) error {
		describeEvent(&out, e)
		switch e.Kind {
		case KindTableMap:
			m := e.TableMap
			if _, seen := layouts[m]; seen {
				return nil
			}
			cols := known[m.Table]
			if m.Full() {
				own, err := m.Columns()
				if err != nil {
					return err
				}
				m.Refine(own, cols)
				cols = own
			}
			l, err := NewLayout(&cs, m, cols, nil)
			if err != nil {
				fmt.Fprintf(&out, "  %v\n", err)
			}
			layouts[m] = l
			for i := range cols {
				fmt.Fprintf(&out, "  %s}\n", strings.TrimSuffix(fmt.Sprintf("%+v", cols[i]), " Truth:0}")) // which no log tells
			}
			fmt.Fprintf(&out, "  key %v %v\n", m.Key, m.Prefixes)
		case KindRows:
			l := layouts[e.Rows.Table]
			for e.Rows.More() && l != nil {
				before, after, err := e.Rows.Next(l, b)
				if err != nil {
					fmt.Fprintf(&out, "  %v\n", err)
					break
				}
				describeRow(&out, "before", before)
				describeRow(&out, "after", after)
			}
		}
		return nil
	})
	return out.String(), err
}

func describeRow(out *strings.Builder, name string, row change.Row) {
	if row == nil {
		return
	}
	fmt.Fprintf(out, "  %s", name)
	for _, v := range row {
		switch v.Kind {
		case change.Absent, change.Null:
			fmt.Fprintf(out, " %v", v.Kind)
		case change.Uint:
			fmt.Fprintf(out, " %d", v.Num)
		case change.Float32, change.Float64:
			fmt.Fprintf(out, " %v", v.Float())
		case change.Bytes, change.UUID:
			fmt.Fprintf(out, " %v:%s", v.Kind, shorten(hex.EncodeToString(v.Data)))
		case change.Text, change.Decimal, change.JSON:
			fmt.Fprintf(out, " %v:%s", v.Kind, shorten(fmt.Sprintf("%q", v.Data)))
		default:
			fmt.Fprintf(out, " %v:%d", v.Kind, v.Int64())
		}
	}
	out.WriteByte('\n')
}

func shorten(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s... (%d)", s[:200], len(s))
	}
	return s
}

func describeEvent(out *strings.Builder, e *Event) {
	fmt.Fprintf(out, "%d type %d kind %d", e.Header.End, e.Header.Type, e.Kind)
	switch e.Kind {
	case KindFormat:
		fmt.Fprintf(out, " format %s, checksums %v, MariaDB %v", e.Format.Server, e.Format.Checksums, e.Format.MariaDB)
	case KindRotate, KindHeartbeat:
		fmt.Fprintf(out, " %s:%d", e.Rotate.File, e.Rotate.Position)
	case KindQuery:
		fmt.Fprintf(out, " query error %d client %d: %q", e.Query.Error, e.Query.Client, shorten(string(e.Query.Statement)))
	case KindXID:
		fmt.Fprintf(out, " xid")
	case KindTableMap:
		m := e.TableMap
		fmt.Fprintf(out, " map of %s types %v meta %v unsigned %v charsets %v geometry %v dimensions %v invisible %v", m.Table, m.Types, m.Meta,
			m.Unsigned, m.Charsets, m.Geometry, m.Dimensions, m.Invisible)
	case KindRows:
		fmt.Fprintf(out, " rows %c partial %v end %v", e.Rows.Op, e.Rows.Partial, e.Rows.EndOfStatement)
	case KindGTID, KindAnonymousGTID:
		fmt.Fprintf(out, " gtid %x:%s:%d clock %d %d size %d", e.GTID.SID, e.GTID.Tag, e.GTID.GNO, e.GTID.LastCommitted, e.GTID.Sequence, e.GTID.TransactionSize)
	case KindMariaGTID:
		fmt.Fprintf(out, " gtid %d-%d-%d flags %#x alter %d %d xa %s", e.MariaGTID.Domain, e.MariaGTID.Server, e.MariaGTID.Sequence, e.MariaGTID.Flags,
			e.MariaGTID.AlterPhase, e.MariaGTID.Alter, e.MariaGTID.XA.AppendID(nil))
	case KindGTIDList:
		for _, g := range e.GTIDList {
			fmt.Fprintf(out, " %d-%d-%d", g.Domain, g.Server, g.Sequence)
		}
	case KindPreviousGTIDs:
		for _, g := range e.PreviousGTIDs {
			fmt.Fprintf(out, " %x:%s:%d-%d", g.SID, g.Tag, g.First, g.Last)
		}
	case KindRowsQuery:
		fmt.Fprintf(out, " statement %q", e.Statement)
	case KindXAPrepare:
		fmt.Fprintf(out, " xa %s one phase %v", e.XA.AppendID(nil), e.XA.OnePhase)
	case KindPayload:
		fmt.Fprintf(out, " payload of %d", e.Payload.Size)
	}
	out.WriteByte('\n')
}

// What real servers logged is decoded to what stands in the files.
func TestCaptures_case54_case55_case56_case57_case58_case59(t *testing.T) {
	for _, server := range liveServers {
		t.Run(server, func(t *testing.T) {
			if *update {
				capture(t, server)
			}
			for _, name := range []string{server + "-script", server + "-values"} {
				events, known := load(t, name)
				got, err := describe(events, known)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				file := filepath.Join(captures, name+".txt")
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				compareLines(t, name, got, string(want))
			}
		})
	}
}

func compareLines(t *testing.T, name, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s, line %d:\ngot  %s\nwant %s", name, i+1, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		t.Errorf("%s: %d lines, want %d", name, len(g), len(w))
	}
}
