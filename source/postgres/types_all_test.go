package postgres

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// one has a value of each built-in type, as the server writes it.
var one = map[string]string{
	"bool": "t", "bytea": `\x00ff`, "char": "x", "name": "n", "int8": "-9223372036854775808", "int2": "-7", "int4": "12", "text": `a"b\c,{}`, "oid": "4294967295",
	"tid": "(1,2)", "xid": "7", "cid": "3", "json": `{"a" : 1}`, "jsonb": `{"a": [1, null]}`, "xml": "<a>x</a>", "point": "(1,2.5)", "lseg": "[(1,2),(3,4)]", "path": "((1,2),(3,4))",
	"box": "(3,4),(1,2)", "polygon": "((1,2),(3,4),(5,6))", "line": "{1,2,3}", "circle": "<(1,2),3>", "float4": "1.1", "float8": "5e-324", "money": "1.50",
	"macaddr": "08:00:2b:01:02:03", "macaddr8": "08:00:2b:01:02:03:04:05", "inet": "10.0.0.1/8", "cidr": "10.0.0.0/8", "bpchar": "ab ", "varchar": "v ", "date": "2024-02-29",
	"time": "24:00:00", "timetz": "12:34:56.789+05:30", "timestamp": "0044-03-15 12:00:00.5 BC", "timestamptz": "2024-07-01 12:00:00.123456+00", "interval": "1 year -2 days 03:04:05.6",
	"bit": "1", "varbit": "101", "numeric": "-100.10", "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "tsvector": "'a':1 'fat':2B", "tsquery": "'a' & 'b'", "gtsvector": "",
	"pg_lsn": "16/B374D848", "txid_snapshot": "10:20:10,14", "pg_snapshot": "10:20:10,14", "xid8": "18446744073709551615", "jsonpath": `$."a"[*]`, "refcursor": "c", "aclitem": "postgres=r/postgres",
	"regproc": "now", "regprocedure": "abs(integer)", "regoper": "||/", "regoperator": "+(integer,integer)", "regclass": "pg_class", "regtype": "integer", "regrole": "postgres",
	"regnamespace": "pg_catalog", "regconfig": "english", "regdictionary": "simple", "regcollation": `"C"`, "regdatabase": "postgres", "int2vector": "1 2", "oidvector": "1 2",
	"int4range": "[1,5)", "int8range": "[1,5)", "numrange": "[1.5,)", "tsrange": `["2024-01-01 00:00:00",)`, "tstzrange": `["2024-01-01 00:00:00+00",)`, "daterange": "[2024-01-01,2024-02-01)",
	"int4multirange": "{[1,2),[5,7)}", "int8multirange": "{[1,2)}", "nummultirange": "{[1.5,2)}", "tsmultirange": `{["2024-01-01 00:00:00","2024-01-02 00:00:00")}`,
	"tstzmultirange": `{["2024-01-01 00:00:00+00","2024-01-02 00:00:00+00")}`, "datemultirange": "{[2024-01-01,2024-02-01)}",
}

// TestCase47EveryBuiltInType reads a value of every base type, range and multirange that the server's catalog has, of an array of it and of a
// domain over it, by snapshot and by stream: both are the same, and the server's own text. The list is the server's: a type that a
// later version brings fails here until it has a value.
func TestCase47EveryBuiltInType(t *testing.T) { twoServers(t, testEveryBuiltInType) }

func testEveryBuiltInType(t *testing.T) {
	d := newDB(t, "")
	var columns, casts, names []string
	add := func(typ, value string) {
		name := fmt.Sprintf("c%d", len(names))
		names, columns, casts = append(names, typ), append(columns, name+" "+typ), append(casts, literal(value)+"::"+typ)
	}
	for _, typ := range d.rows(`SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'
		AND typname !~ '^pg_(node_tree|ndistinct|dependencies|mcv_list|brin)' AND typname <> 'gtsvector' ORDER BY typname`) {
		typ = strings.Trim(typ, "()")
		value, ok := one[typ]
		if !ok {
			t.Errorf("type %s has no value to try", typ)
			continue
		}
		quoted := `pg_catalog."` + typ + `"`
		add(quoted, value)
		if d.text("SELECT (typarray <> 0)::text FROM pg_type WHERE typname = $1 AND typnamespace = 'pg_catalog'::regnamespace", typ) == "true" {
			columns, names = append(columns, fmt.Sprintf("c%d %s[]", len(names), quoted)), append(names, quoted+"[]")
			casts = append(casts, "ARRAY["+literal(value)+"::"+quoted+", NULL, "+literal(value)+"::"+quoted+"]")
		}
		d.exec(fmt.Sprintf(`CREATE DOMAIN "d_%s" AS %s`, typ, quoted))
		add(`public."d_`+typ+`"`, value)
	}
	d.exec("SET lc_monetary = 'C'; CREATE TABLE every (id int PRIMARY KEY, " + strings.Join(columns, ", ") + ")")
	p := d.stream(nil, "table.include.list", "public.every")
	d.exec("INSERT INTO every VALUES (1, " + strings.Join(casts, ", ") + "), (2" + strings.Repeat(", NULL", len(casts)) + ")")
	events := p.events(2)
	tables, err := p.src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	if _, err := p.src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil || len(b.Events) != 2 {
		t.Fatalf("%d rows, %v", len(b.Events), err)
	}
	d.exec("SET DateStyle = 'ISO, MDY'; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex; SET search_path = pg_catalog")
	for i, typ := range names {
		streamed, scanned, null := events[0].After[i+1], b.Events[0].After[i+1], events[1].After[i+1]
		if !reflect.DeepEqual(streamed, scanned) || null.Kind != change.Null || b.Events[1].After[i+1].Kind != change.Null {
			t.Errorf("%s: streamed %v, scanned %v, NULL is %v", typ, streamed, scanned, null)
			continue
		}
		server := d.text(fmt.Sprintf("SELECT format('%%s', c%d) FROM public.every WHERE id = 1", i)) // as the type's output function writes it
		text := string(appendValue(nil, streamed))
		again := d.text(fmt.Sprintf("SELECT (format('%%s', c%d) = format('%%s', $1::text::%s))::text FROM public.every WHERE id = 1", i, typ), text)
		if again != "true" {
			t.Errorf("%s: %q is another value than %q to the server", typ, text, server)
		}
		switch events[0].Table.Columns[i+1].Type.Kind {
		case change.Text, change.JSON, change.Array:
			if text != server {
				t.Errorf("%s: %q, the server's own output is %q", typ, text, server)
			}
		}
	}
}
