package postgres

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

func parsed(b *change.Batch, kind change.Kind, p []byte) (v change.Value) {
	parseValue(b, &v, kind, p)
	return v
}

func TestParseValue(t *testing.T) {
	num := func(k change.Kind, n int64) change.Value { return change.Value{Kind: k, Num: uint64(n)} }
	data := func(k change.Kind, s string) change.Value { return change.Value{Kind: k, Data: []byte(s)} }
	for _, tt := range []struct {
		kind change.Kind
		text string
		want change.Value
	}{
		{change.Bool, "t", num(change.Bool, 1)},
		{change.Bool, "f", num(change.Bool, 0)},
		{change.Int, "-9223372036854775808", num(change.Int, math.MinInt64)},
		{change.Int, "9223372036854775807", num(change.Int, math.MaxInt64)},
		{change.Int, "9223372036854775808", data(change.Text, "9223372036854775808")},
		{change.Int, "-9223372036854775809", data(change.Text, "-9223372036854775809")},
		{change.Int, "99999999999999999999", data(change.Text, "99999999999999999999")},
		{change.Int, "", data(change.Text, "")},
		{change.Float64, "5e-324", num(change.Float64, 1)},
		{change.Float64, "-0", num(change.Float64, math.MinInt64)},
		{change.Float32, "-Infinity", num(change.Float32, 0xFF800000)},
		{change.Decimal, "100.10", data(change.Decimal, "100.10")},
		{change.Bytes, `\x00ff`, data(change.Bytes, "\x00\xff")},
		{change.Bytes, `\x`, data(change.Bytes, "")},
		{change.Bytes, `\000\377`, data(change.Text, `\000\377`)}, // bytea_output=escape: not what we asked for
		{change.UUID, "00112233-4455-6677-8899-aabbccddeeff", data(change.UUID, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")},
		{change.UUID, "00112233-4455-6677-8899-aabbccddeefg", data(change.Text, "00112233-4455-6677-8899-aabbccddeefg")},
		{change.Date, "1970-01-01", num(change.Date, 0)},
		{change.Date, "2000-02-29", num(change.Date, 11016)},
		{change.Date, "0001-01-01 BC", num(change.Date, -719528)},
		{change.Date, "infinity", num(change.Date, math.MaxInt64)},
		{change.Date, "01/02/2024", data(change.Text, "01/02/2024")},
		{change.Time, "24:00:00", num(change.Time, 86_400_000_000)},
		{change.Time, "00:00:00.000001", num(change.Time, 1)},
		{change.Time, "1:00", data(change.Text, "1:00")},
		{change.Timestamp, "1969-12-31 23:59:59.5", num(change.Timestamp, -500_000)},
		{change.Timestamp, "294276-12-31 23:59:59", data(change.Text, "294276-12-31 23:59:59")}, // past int64 microseconds since 1970
		{change.TimestampTZ, "1970-01-01 00:00:01+00", num(change.TimestampTZ, 1_000_000)},
		{change.TimestampTZ, "-infinity", num(change.TimestampTZ, math.MinInt64)},
		{change.TimestampTZ, "1970-01-01 05:30:01+05:30", data(change.Text, "1970-01-01 05:30:01+05:30")},
		{change.JSON, `{"a": 1.0}`, data(change.JSON, `{"a": 1.0}`)},
		{change.Array, "{1,NULL}", data(change.Array, "{1,NULL}")},
		{change.Text, "", data(change.Text, "")},
	} {
		var b change.Batch
		got := parsed(&b, tt.kind, []byte(tt.text))
		if got.Kind != tt.want.Kind || got.Num != tt.want.Num || string(got.Data) != string(tt.want.Data) {
			t.Errorf("%s %q: got %v, want %v", tt.kind, tt.text, got, tt.want)
		}
		if got.Kind == change.Text && got.Data == nil {
			t.Errorf("%s %q: nil data", tt.kind, tt.text)
		}
	}
}

// FuzzParseValue checks that no text makes a parser fail, and that what appendValue writes of a parsed value is read back
// as the same value.
func FuzzParseValue(f *testing.F) {
	for _, s := range []string{"t", "-12", "1.5e-7", "2024-02-30", "0044-03-15 BC", "24:00:00", "2024-01-01 12:34:56.789+00",
		`\xdeadbeef`, "00112233-4455-6677-8899-aabbccddeeff", "infinity", "NaN", "294247-01-10 04:00:54.775807", "4714-11-24 00:00:00 BC"} {
		for k := range change.Array + 1 {
			f.Add(byte(k), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, k byte, p []byte) {
		kind := change.Kind(k)
		if !kind.Valid() || kind < change.Bool {
			return
		}
		var b change.Batch
		v := parsed(&b, kind, p)
		if v.Kind != kind && (v.Kind != change.Text || string(v.Data) != string(p)) {
			t.Fatalf("%s %q became %v", kind, p, v)
		}
		if v.Kind != kind || kind == change.UUID || v.Float() != v.Float() && (kind == change.Float32 || kind == change.Float64) {
			return // UUID is written without dashes, which only the server reads; NaN has many forms
		}
		text := appendValue(nil, v)
		if again := parsed(&b, kind, text); again.Kind != v.Kind || again.Num != v.Num || string(again.Data) != string(v.Data) {
			t.Fatalf("%s %q is %v, written as %q it is %v", kind, p, v, text, again)
		}
	})
}

// samples are values of many types, each as a SQL expression.
var samples = map[string][]string{
	"boolean":                     {"true", "false"},
	"smallint":                    {"-32768", "32767"},
	"integer":                     {"-2147483648"},
	"bigint":                      {"-9223372036854775808", "9223372036854775807"},
	"oid":                         {"4294967295"},
	"real":                        {"'NaN'", "'-Infinity'", "'-0'", "1e-45", "0.1"},
	"double precision":            {"'NaN'", "'Infinity'", "'-0'", "'5e-324'", "0.1::float8 + 0.2::float8", "1.7976931348623157e308"},
	"numeric":                     {"'NaN'", "'Infinity'", "'-Infinity'", "100.10", "0.000", "repeat('9', 131072)::numeric", "-1e-30"},
	"numeric(5,-3)":               {"12345678"},
	"numeric(10,2)":               {"12.3", "-0.005"},
	"date":                        {"'infinity'", "'-infinity'", "'4713-01-01 BC'", "'0044-03-15 BC'", "'2024-02-29'", "'5874897-12-31'"},
	"time":                        {"'24:00'", "'00:00:00.000001'"},
	"time(3)":                     {"'12:34:56.7896'"},
	"timetz":                      {"'00:00:00+15:59:59'", "'24:00:00-15:59:59'"},
	"timestamp":                   {"'infinity'", "'4713-11-24 BC'", "'294276-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'", "'0044-03-15 12:00:00.5 BC'"},
	"timestamptz":                 {"'-infinity'", "'2024-07-01 12:00:00.123456+05:30'", "'0044-03-15 BC'", "'1800-01-01'", "'294276-12-31'"},
	"interval":                    {"'1 year -2 days 03:04:05.6'", "'178000000 years'", "'-178000000 years'", "'0'"},
	"char(5)":                     {"'ab'", "''"},
	"varchar(10)":                 {"'a b'", "''"},
	"text":                        {"''", `'back\slash "quote"'`, "E'tab\\tnew\\nline'", "'注文 😀 é'"},
	`"char"`:                      {"'x'", "''"},
	"name":                        {"'abc'"},
	"bit(3)":                      {"B'101'"},
	"varbit":                      {"B''", "B'1010101010'"},
	"money":                       {"-1234.5", "'92233720368547758.07'"},
	"bytea":                       {`'\x'`, `'\x00ff5c'`},
	"uuid":                        {"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"},
	"json":                        {`'{"a" : 1.0, "a": 9007199254740993, "s": "\ud800"}'`, "'null'"},
	"jsonb":                       {`'{"b": 1.00, "a": [1, null]}'`},
	"xml":                         {"'<a>x</a>'"},
	"inet":                        {"'10.0.0.1/8'", "'::1'"},
	"cidr":                        {"'10.0.0.0/8'"},
	"macaddr8":                    {"'08:00:2b:01:02:03:04:05'"},
	"int4range":                   {"'empty'", "'[1,5)'", "'(,)'"},
	"tstzrange":                   {"'[2024-01-01 00:00+02,)'"},
	"int4multirange":              {"'{[1,2],[5,7)}'"},
	"tsvector":                    {"'a:1 fat:2'"},
	"point":                       {"'(0.1,-2)'"},
	"polygon":                     {"'((0,0),(1,1),(2,0))'"},
	"pg_lsn":                      {"'16/B374D848'"},
	"regclass":                    {"'pg_class'", "'public.other'"},
	"hstore":                      {`'a=>1, b=>NULL, "c d"=>"x\"y"'`},
	"citext":                      {"'MiXed'"},
	"ltree":                       {"'a.b.c'"},
	"mood":                        {"'so, so'", `'q"uote'`},
	"positive":                    {"7"},
	"twice":                       {"'{1,2}'"},
	"pair":                        {"ROW(NULL, '')", `ROW(1, 'a,"b')`},
	"integer[]":                   {"'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,4}}'", "'[0:1]={7,8}'"},
	"text[]":                      {`ARRAY['NULL', NULL, '', 'a"b', 'c\d', 'e,f', '{}']`},
	"numeric(10,2)[]":             {"'{1.5,NaN}'"},
	"timestamptz[]":               {"ARRAY['2024-01-01 00:00+00'::timestamptz, NULL]"},
	"bytea[]":                     {`ARRAY['\x00'::bytea, NULL]`},
	"mood[]":                      {"ARRAY['so, so'::mood, NULL]"},
	"pair[]":                      {"ARRAY[ROW(1, 'x')::pair]"},
	"jsonb[]":                     {`ARRAY['{"a": 1}'::jsonb]`},
	"date[]":                      {"'{2024-01-01,infinity}'"},
	"double precision[]":          {"'{0.30000000000000004,NaN}'"},
	"character varying(3)[]":      {"'{abc}'"},
	"money[]":                     {"'{-1234.5,NULL}'::money[]"},
	"interval[]":                  {"ARRAY['1 day 02:00'::interval, NULL]"},
	"bit(3)[]":                    {"ARRAY[B'101']"},
	"hstore[]":                    {`ARRAY['a=>1, b=>NULL'::hstore, NULL]`},
	"point[]":                     {"ARRAY[point '(1,2)']"},
	"name[]":                      {"ARRAY['x'::name]"},
	"int4range[]":                 {"ARRAY[int4range(1, 5)]"},
	"ltree[]":                     {"ARRAY['a.b'::ltree]"},
	"cash":                        {"'12.34'"},
	"halves":                      {"B'10'"},
	"timestamp(0) with time zone": {"'2024-07-01 12:00:00.6+00'"},
}

// TestTypes reads values of many types by snapshot and by stream under a role and database whose settings are as unhelpful
// as they can be: all must be the same, and the same as the server's own text under ours.
func TestTypes(t *testing.T) {
	d := newDB(t, `CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE TABLE other (id int);
		CREATE TYPE mood AS ENUM ('so, so', 'q"uote'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
		CREATE DOMAIN cash AS money; CREATE DOMAIN halves AS bit(2); CREATE DOMAIN once AS int[]; CREATE DOMAIN twice AS once; CREATE TYPE pair AS (a int, b text)`)
	d.exec("ALTER DATABASE " + ident(d.name) + ` SET DateStyle = 'SQL, DMY'; ALTER DATABASE ` + ident(d.name) + ` SET IntervalStyle = iso_8601;
		ALTER DATABASE ` + ident(d.name) + ` SET extra_float_digits = -10; ALTER DATABASE ` + ident(d.name) + ` SET bytea_output = escape;
		ALTER DATABASE ` + ident(d.name) + ` SET TimeZone = 'Asia/Kolkata'; ALTER DATABASE ` + ident(d.name) + ` SET statement_timeout = '10min'`)
	var columns, values, names []string
	for typ, list := range samples {
		for _, v := range append(list, "NULL") {
			names = append(names, fmt.Sprintf("c%d", len(names)))
			columns = append(columns, names[len(names)-1]+" "+typ)
			values = append(values, v)
		}
	}
	d.exec("SET TimeZone = 'UTC'; SET search_path = public; CREATE TABLE types (id int PRIMARY KEY, " + strings.Join(columns, ", ") + ")")
	d.exec("SET lc_monetary = 'C'; ALTER DATABASE " + ident(d.name) + " SET lc_monetary = 'C'")
	p := d.stream(nil, "table.include.list", "public.types")
	d.exec("INSERT INTO types VALUES (1, " + strings.Join(values, ", ") + ")")
	e := p.events(1)[0]
	tables, err := p.src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	if _, err := p.src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil || len(b.Events) != 1 {
		t.Fatalf("%d rows, %v", len(b.Events), err)
	}
	r := b.Events[0]
	if r.Table != e.Table || r.Topic != e.Topic || string(r.Key) != string(e.Key) {
		t.Error("table, topic or key differ between snapshot and stream")
	}
	d.exec(`SET DateStyle = 'ISO, MDY'; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex; SET search_path = pg_catalog`)
	cases := map[string]string{"numeric": "case42", "numeric(5,-3)": "case42", "real": "case42", "double precision": "case42", "date": "case43", "time": "case43",
		"timetz": "case43", "timestamp": "case43", "timestamptz": "case43", "interval": "case43", "char(5)": "case44", "bit(3)": "case44", "varbit": "case44",
		"money": "case44", `"char"`: "case44", "name": "case44", "hstore": "case47", "citext": "case47", "pair": "case47", "twice": "case47", "int4range": "case47",
		"int4multirange": "case47", "inet": "case47", "cidr": "case47", "macaddr8": "case47", "xml": "case47", "tsvector": "case47", "uuid": "case47", "oid": "case47",
		"regclass": "case47", "pg_lsn": "case47", "point": "case47", "polygon": "case47", "ltree": "case47"}
	for i, name := range names {
		typ := strings.TrimPrefix(columns[i], name+" ")
		prefix := cases[typ]
		if strings.HasSuffix(typ, "[]") {
			prefix = "case45"
		}
		t.Run(strings.Trim(prefix+"_"+typ, "_"), func(t *testing.T) {
			streamed, scanned := e.After[i+1], r.After[i+1]
			if !reflect.DeepEqual(streamed, scanned) {
				t.Fatalf("streamed %v, scanned %v", streamed, scanned)
			}
			if values[i] == "NULL" {
				if streamed.Kind != change.Null {
					t.Fatalf("NULL is %v", streamed)
				}
				return
			}
			server := d.text("SELECT " + name + "::text FROM public.types")
			if typ == "char(5)" || typ == `"char"` || typ == "boolean" || typ == "xml" || typ == "inet" { // a cast to text is not their output
				server = d.text("SELECT textin(" + map[string]string{"char(5)": "bpcharout", `"char"`: "charout", "boolean": "boolout", "xml": "xml_out", "inet": "inet_out"}[typ] + "(" + name + "))::text FROM public.types")
			}
			if typ == "money" || typ == "cash" { // its text depends on the locale, its amount does not
				server = d.text("SELECT " + name + "::numeric::text FROM public.types")
			}
			text := string(appendValue(nil, streamed))
			kind := e.Table.Columns[i+1].Type.Kind
			if kind != change.UUID && kind != change.Time && kind != change.Timestamp && kind != change.TimestampTZ && kind != change.Float32 && kind != change.Float64 && text != server {
				t.Errorf("%.60q, the server says %.60q", text, server)
			}
			// Read back by the server it is the same value: this is how keys become parameters.
			if again := d.text("SELECT ($1::text::"+d.text("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'public.types'::regclass AND attname = $1", name)+
				")::text", text); again != d.text("SELECT "+name+"::text FROM public.types") {
				t.Errorf("%.60q is %.60q to the server, which sent %.60q", text, again, server)
			}
		})
	}
}
