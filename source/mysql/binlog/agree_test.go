package binlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// A sample is a type with literals of values, and who knows it: "" for all.
type sample struct {
	only   string // a prefix of the servers' names
	typ    string
	values []string
}

// liveServers are those that the same tables are made on.
var liveServers = []string{"mariadb10", "mysql57", "mysql80", "mysql97"}

// samples has values at the borders of each type of both families.
var samples = []sample{
	{"", "tinyint", []string{"-128", "127", "0"}}, {"", "tinyint unsigned", []string{"255", "0", "128"}},
	{"", "smallint", []string{"-32768", "32767"}}, {"", "smallint unsigned", []string{"65535", "32768"}},
	{"", "mediumint", []string{"-8388608", "8388607", "-1"}}, {"", "mediumint unsigned", []string{"16777215", "8388608"}},
	{"", "int", []string{"-2147483648", "2147483647"}}, {"", "int unsigned zerofill", []string{"4294967295", "7"}}, {"", "int(3) zerofill", []string{"5"}},
	{"", "bigint", []string{"-9223372036854775808", "9223372036854775807"}}, {"", "bigint unsigned", []string{"18446744073709551615", "9223372036854775808"}},
	{"", "bool", []string{"true", "false"}},
	{"", "decimal(65,30)", []string{"99999999999999999999999999999999999.999999999999999999999999999999", "-12345678901234567890123456789012345.123456789012345678901234567890", "0", "-0.000000000000000000000000000001"}},
	{"", "decimal(10,2)", []string{"-0.01", "12345678.9", "0.10"}}, {"", "decimal(9,9)", []string{"0.123456789", "-0.000000001"}}, {"", "decimal(18,0)", []string{"999999999999999999", "-1000000000"}},
	{"", "decimal(7,3) unsigned zerofill", []string{"1.5", "9999.999"}},
	{"mariadb", "decimal(65,38)", []string{"1.00000000000000000000000000000000000001", "-99999999999999999999999999.5"}},
	{"", "float", []string{"0", "-0e0", "1.5", "0.1", "16777217", "3.402823466e38", "-1.175494351e-38", "1e-45", "123456.789"}},
	{"", "float(7,3)", []string{"1.234", "-9999.999", "0.001"}}, {"", "float(30)", []string{"0.1", "1e300"}},
	{"", "double", []string{"0", "-0e0", "0.1", "1.7976931348623157e308", "2.2250738585072014e-308", "5e-324", "123456789.123456789", "0.30000000000000004"}},
	{"", "double(12,4)", []string{"1234.56785", "-1.0001"}},
	{"", "bit(1)", []string{"b'0'", "b'1'"}}, {"", "bit(7)", []string{"b'1010101'"}}, {"", "bit(8)", []string{"b'10000001'"}}, {"", "bit(9)", []string{"b'100000001'", "b'1'"}},
	{"", "bit(33)", []string{"b'100000000000000000000000000000001'"}}, {"", "bit(64)", []string{"x'8000000000000001'", "x'FFFFFFFFFFFFFFFF'"}},
	{"", "year", []string{"0", "1901", "2155", "1970"}},
	{"", "date", []string{"'0000-00-00'", "'2024-00-10'", "'2024-02-31'", "'1000-01-01'", "'9999-12-31'", "'1969-12-31'", "'0000-01-01'", "'2024-02-29'"}},
	{"", "datetime", []string{"'0000-00-00 00:00:00'", "'2024-00-10 01:02:03'", "'9999-12-31 23:59:59'", "'1969-12-31 23:59:59'"}},
	{"", "datetime(1)", []string{"'2024-02-29 12:34:56.7'"}}, {"", "datetime(2)", []string{"'2024-02-29 12:34:56.07'"}}, {"", "datetime(3)", []string{"'2024-02-29 12:34:56.789'", "'0000-00-00 00:00:00.000'"}},
	{"", "datetime(4)", []string{"'2024-02-29 12:34:56.7891'"}}, {"", "datetime(5)", []string{"'2024-02-00 12:34:56.78912'"}}, {"", "datetime(6)", []string{"'1000-01-01 00:00:00.000001'", "'0000-00-00 00:00:00.000000'", "'9999-12-31 23:59:59.999999'"}},
	{"", "timestamp null", []string{"'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-02-29 12:34:56'"}},
	{"", "timestamp(3) null", []string{"'0000-00-00 00:00:00'", "'1970-01-01 00:00:01.001'", "'2038-01-19 03:14:07.999'"}}, {"", "timestamp(6) null", []string{"'2024-02-29 12:34:56.000001'", "'2024-02-29 12:34:56.999999'"}},
	{"", "time", []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"}}, {"", "time(1)", []string{"'-00:00:00.1'", "'-838:59:58.9'", "'1:02:03.4'"}}, {"", "time(2)", []string{"'-00:00:01.01'"}},
	{"", "time(3)", []string{"'-00:00:00.001'", "'-00:00:01.000'", "'99:59:59.999'"}}, {"", "time(4)", []string{"'-12:34:56.7891'"}}, {"", "time(5)", []string{"'-00:00:00.00001'"}},
	{"", "time(6)", []string{"'-838:59:58.999999'", "'838:59:59'", "'-00:00:00.000001'", "'-01:00:00.000000'", "'00:00:00.999999'"}},
	{"", "enum('a','b,c','it''s','é','\\\"') character set latin1", []string{"'a'", "'b,c'", "'it''s'", "'é'", "'\"'", "'nothing'"}},
	{"", "enum('','x','ж') character set cp1251", []string{"''", "'x'", "'ж'", "'zz'"}},
	{"", "set('x','y','z','€') character set latin1", []string{"''", "'x'", "'x,z'", "'x,y,z,€'"}},
	{"", "set(" + numbered(64) + ")", []string{"18446744073709551615", "9223372036854775808", "'l1,l64'", "''"}}, {"", "enum(" + numbered(300) + ")", []string{"'l300'", "'l1'", "'l256'"}},
	{"", "char(5)", []string{"'ab'", "'ab   '", "'€é'", "''"}}, {"", "char(255) character set utf8mb4", []string{"'ab'", "repeat('𝄞', 255)"}},
	{"", "varchar(10)", []string{"'ab  '", "''", "'𝄞'"}}, {"", "varchar(3000)", []string{"repeat('é', 3000)", "'a\\0b'"}},
	{"", "binary(8)", []string{"'ab\\0\\0'", "''", "x'0000000000000000'", "x'ff000000000000ff'"}}, {"", "binary(255)", []string{"x'00ff00'"}}, {"", "varbinary(300)", []string{"''", "x'00'", "repeat(x'ff', 300)"}},
	{"", "tinytext", []string{"'tiny'", "''"}}, {"", "text", []string{"'é'", "repeat('x', 65535)"}}, {"", "mediumtext", []string{"repeat('ab', 40000)"}}, {"", "longtext", []string{"'long'"}},
	{"", "tinyblob", []string{"x'00ff'", "''"}}, {"", "blob", []string{"repeat(x'00', 300)"}}, {"", "mediumblob", []string{"repeat(x'fe', 70000)"}}, {"", "longblob", []string{"x'fbfcfdfeff'"}},
	{"", "varchar(100) character set latin1", []string{"'€ é'", "x'80818D8F909DA0FF'"}}, {"", "varchar(100) character set cp1250", []string{"'Žluťoučký kůň'"}}, {"", "varchar(100) character set cp1251", []string{"'Жук'"}},
	{"", "varchar(100) character set koi8r", []string{"'Жук'"}}, {"", "varchar(100) character set gbk", []string{"'中文 abc'"}}, {"", "varchar(100) character set gb2312", []string{"'中文'"}}, {"", "varchar(100) character set big5", []string{"'中文'"}},
	{"", "varchar(100) character set sjis", []string{"'日本ｱ\\\\'", "x'815f'", "x'8160'"}}, {"", "varchar(100) character set cp932", []string{"'日本①'", "x'8160'"}}, {"", "varchar(100) character set ujis", []string{"'日本ｱ'", "x'8FA2B7'"}},
	{"", "varchar(100) character set eucjpms", []string{"'日本①'", "x'8FA2C3'"}}, {"", "varchar(100) character set euckr", []string{"'한국어'"}}, {"mysql8", "varchar(100) character set gb18030", []string{"'中文𝄞é'"}},
	{"mysql9", "varchar(100) character set gb18030", []string{"'中文𝄞é'"}}, {"", "varchar(100) character set utf16", []string{"'aé€𝄞'"}}, {"", "varchar(100) character set utf16le", []string{"'aé€𝄞'"}}, {"", "varchar(100) character set utf32", []string{"'aé€𝄞'"}},
	{"", "varchar(100) character set ucs2", []string{"'aé€'"}}, {"", "varchar(100) character set utf8", []string{"'aé€'"}}, {"", "varchar(100) character set ascii", []string{"'abc'"}}, {"", "char(20) character set utf16", []string{"'a '"}}, {"", "char(20) character set utf32", []string{"'ab'"}},
	{"", "text character set swe7", []string{"'abc'", "x'5b5c5d5e5f60'"}}, {"", "varchar(30) character set tis620", []string{"'ไทย'"}}, {"", "varchar(30) character set hebrew", []string{"'שלום'"}}, {"", "varchar(30) character set greek", []string{"'Ελλάς'"}},
	{"", "varchar(30) character set armscii8", []string{"'Հայ'"}}, {"", "varchar(30) character set macroman", []string{"'é'"}}, {"", "varchar(30) character set binary", []string{"x'80ff'"}},
	{"", "point", []string{"point(1.5,-2)", "st_geomfromtext('point(1 2)', 4326)"}}, {"", "geometry", []string{"st_geomfromtext('polygon((0 0,1 0,1 1,0 0))')", "st_geomfromtext('linestring(0 0,1 1)', 4326)", "st_geomfromtext('geometrycollection(point(1 1),linestring(0 0,1 1))')"}},
	{"", "multipolygon", []string{"st_geomfromtext('multipolygon(((0 0,1 0,1 1,0 0)))')"}},
	{"", "json", jsonSamples},
	{"mariadb", "inet6", []string{"'::'", "'::1'", "'::ffff:1.2.3.4'", "'::1.2.3.4'", "'2001:db8::ff00:42:8329'", "'1:0:0:2::3'", "'1:0:2:3:4:5:6:7'", "'::1:0:0:0'", "'64:ff9b::1.2.3.4'"}},
	{"mariadb", "inet4", []string{"'0.0.0.0'", "'1.2.3.0'", "'255.255.255.255'"}},
	{"mariadb", "uuid", []string{"'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'017f22e2-79b0-7cc3-98c4-dc0c0c07398f'",
		"'1ec9414c-232a-6b00-b3c8-9e6bdeced846'", "'550e8400-e29b-41d4-a716-446655440000'", "'550e8400-e29b-81d4-a716-446655440000'", "'123e4567-e89b-12d3-0456-426655440000'", "'123e4567-e89b-02d3-8456-426655440000'"}},
	{"mariadb", "varchar(1000) compressed", []string{"repeat('aé', 300)", "'short'", "''"}}, {"mariadb", "varbinary(1000) compressed", []string{"repeat(x'00', 900)", "x'00'"}}, {"mariadb", "text compressed", []string{"repeat('x', 5000)", "''"}},
	{"mariadb", "longblob compressed", []string{"repeat('ab', 50000)", "x'0102'"}}, {"mariadb", "varchar(100) character set utf16 compressed", []string{"repeat('é', 100)"}},
	{"mysql9", "vector(3)", []string{"to_vector('[1,2.5,-3e10]')", "to_vector('[0.1,0,1e-30]')"}}, {"mysql9", "vector", []string{"to_vector('[1]')"}},
}

var jsonSamples = []string{`'{"b": 1, "a": [1, 2.5, "x\\n\\"\\\\", null, true, false], "cc": {}}'`, `'[]'`, `'"é𝄞"'`, `'null'`, `'-9223372036854775808'`, `'18446744073709551615'`, `'[32767, -32768, 32768, 65535, 65536, 2147483648, 4294967295, 4294967296]'`,
	`'[1.0, 1e20, 1e-20, 0.1, 1e15, 1e16, 123456789012345.0, 1234567890123456.0, 5e-324, 1.7976931348623157e308, -0.0]'`}

func numbered(n int) string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("'l%d'", i+1)
	}
	return strings.Join(s, ",")
}

// opaque are JSON documents with values that JSON has no types for.
var opaque = []string{"json_array(cast('2024-02-29 12:34:56.789' as datetime(3)), cast('2024-02-29' as date), cast('-12:34:56.000001' as time(6)), cast('120:00:00' as time))",
	"json_object('d', cast(12.340 as decimal(10,3)), 'n', cast(-0.5 as decimal(3,2)))", "json_array(cast('x' as binary), b'101', point(1,2), cast(2024 as unsigned))",
	"json_array(timestamp'2024-02-29 12:34:56.000001')", "json_array(repeat('k', 70000), 1)", "json_object(repeat('k', 300), repeat('v', 300), 'a', -1)", "cast(concat('[', repeat('[1],', 20000), '1]') as json)",
	"cast(concat('{', repeat('\"a\":{', 98), repeat('}', 98), '}') as json)", "json_array(unhex(repeat('ab', 100)))"}

func (s *sample) on(server string) bool { return strings.HasPrefix(server, s.only) }

// Rows that come from the log and rows that a SELECT returns are the same values: for each type alone, and for tables of
// many columns in random order, with the columns from the log's metadata or from information_schema.
func TestStreamAgreesWithSelect_case54_case55_case56_case57_case58_case59(t *testing.T) {
	for _, server := range liveServers {
		t.Run(server, func(t *testing.T) {
			d := connect(t, server)
			random := rand.New(rand.NewPCG(1, 2))
			from, n := d.position(), 0
			var known []sample
			for _, s := range samples {
				if !s.on(server) {
					continue
				}
				if !d.maria() && s.typ == "json" {
					s.values = append(s.values, opaque...)
				}
				table := fmt.Sprintf("one%d", n)
				if n++; !d.accepts(fmt.Sprintf("create table %s (id int primary key auto_increment, v %s)", table, s.typ)) {
					if s.only == "" && !strings.Contains(s.typ, "float(") {
						t.Errorf("%s is not accepted", s.typ)
					}
					continue
				}
				d.exec("insert into " + table + " (v) values (null)")
				for i := 0; i < len(s.values); i++ {
					if !d.accepts(fmt.Sprintf("insert into %s (v) values (%s)", table, s.values[i])) {
						t.Logf("%s: %s does not take %.100s", server, s.typ, s.values[i])
						s.values = append(s.values[:i:i], s.values[i+1:]...)
						i--
					}
				}
				if len(s.values) > 0 {
					known = append(known, s)
				}
			}
			for i := range 40 {
				randomTable(d, fmt.Sprintf("many%d", i), random, known)
			}
			agree(d, d.dump(from, d.position()))
		})
	}
}

func randomTable(d *db, table string, random *rand.Rand, known []sample) {
	var defs []string
	var cols []sample
	for i := range 1 + random.IntN(20) {
		s := known[random.IntN(len(known))]
		cols = append(cols, s)
		defs = append(defs, fmt.Sprintf("c%d %s", i, s.typ))
	}
	d.exec(fmt.Sprintf("create table %s (id int primary key auto_increment, %s) character set latin1", table, strings.Join(defs, ", ")))
	for range 3 {
		var names, values []string
		for i, s := range cols {
			names = append(names, fmt.Sprintf("c%d", i))
			v := "null"
			if random.IntN(5) > 0 {
				v = s.values[random.IntN(len(s.values))]
			}
			values = append(values, v)
		}
		d.accepts(fmt.Sprintf("insert into %s (%s) values (%s)", table, strings.Join(names, ", "), strings.Join(values, ", ")))
	}
}

// agree folds the rows of the log by their first column and compares them with what SELECT returns.
func agree(d *db, events [][]byte) {
	d.tb.Helper()
	var dec Decoder
	var cs Charsets
	b := &change.Batch{}
	layouts := map[*TableMap]*Layout{}
	tables := map[string]map[int64]change.Row{}
	columns := map[string][]Column{}
	own, err := d.exec("select database()").GetString(0, 0)
	if err != nil {
		d.tb.Fatal(err)
	}
	err = unpack(&dec, events, func(e *Event) error {
		switch e.Kind {
		case KindTableMap:
			m := e.TableMap
			if layouts[m] != nil || m.Schema != own { // other tests use the server, too
				return nil
			}
			known := d.columns(m.Table)
			cols := known
			if m.Full() {
				own, err := m.Columns()
				if err != nil {
					return err
				}
				m.Refine(own, known)
				for i := range own {
					compareColumns(d, m, &own[i], &known[i])
				}
				cols = own
			}
			l, err := NewLayout(&cs, m, cols, nil)
			if err != nil {
				return err
			}
			layouts[m], columns[m.Table] = l, cols
		case KindRows:
			if layouts[e.Rows.Table] == nil {
				return nil
			}
			for e.Rows.More() {
				before, after, err := e.Rows.Next(layouts[e.Rows.Table], b)
				if err != nil {
					return err
				}
				rows := tables[e.Rows.Table.Table]
				if rows == nil {
					rows = map[int64]change.Row{}
					tables[e.Rows.Table.Table] = rows
				}
				if before != nil {
					delete(rows, before[0].Int64())
				}
				if after != nil {
					rows[after[0].Int64()] = after
				}
			}
		}
		return nil
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	if len(tables) == 0 {
		d.tb.Error("no rows came")
	}
	d.exec("set character_set_results = null")
	defer d.exec("set names utf8mb4")
	for table, rows := range tables {
		compareSelect(d, &cs, table, columns[table], rows)
	}
}

// compareColumns: what the log says of a column is what information_schema says.
func compareColumns(d *db, m *TableMap, got, want *Column) {
	a, b := fmt.Sprintf("%+v", got.Type()), fmt.Sprintf("%+v", want.Type())
	if want.Base == "float" || want.Base == "double" {
		a, b = got.TypeName(), want.TypeName()
	}
	if a != b || got.Name != want.Name || got.Charset != want.Charset || got.Nullable != want.Nullable {
		d.tb.Errorf("%s: %s: the log says %+v, information_schema %+v", d.server, m.Table, got, want)
	}
}

func compareSelect(d *db, cs *Charsets, table string, cols []Column, rows map[int64]change.Row) {
	d.tb.Helper()
	exprs := make([]string, len(cols))
	for i := range cols {
		exprs[i] = cols[i].Expression("`" + cols[i].Name + "`")
	}
	result, err := NewResult(cs, cols)
	if err != nil {
		d.tb.Fatal(err)
	}
	r := d.exec("select " + strings.Join(exprs, ", ") + " from " + table)
	b := &change.Batch{}
	seen := 0
	for _, p := range r.RowDatas {
		got, err := result.Row(p, b)
		if err != nil {
			d.tb.Errorf("%s: %s: %v", d.server, table, err)
			continue
		}
		seen++
		want := rows[got[0].Int64()]
		if want == nil {
			d.tb.Errorf("%s: %s: row %d did not come in the log", d.server, table, got[0].Int64())
			continue
		}
		for i := range got {
			if got[i].Kind != want[i].Kind || got[i].Num != want[i].Num || !bytes.Equal(got[i].Data, want[i].Data) {
				d.tb.Errorf("%s: %s: row %d, column %+v:\nlog    %v %d %.300q\nselect %v %d %.300q", d.server, table, got[0].Int64(), cols[i].TypeName()+" "+cols[i].Charset,
					want[i].Kind, int64(want[i].Num), want[i].Data, got[i].Kind, int64(got[i].Num), got[i].Data)
			}
		}
	}
	if seen != len(rows) {
		d.tb.Errorf("%s: %s: %d rows in the log, %d selected", d.server, table, len(rows), seen)
	}
}
