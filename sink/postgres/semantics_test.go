package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// A specimen is a column that a source may have, the type it is made with, a value, and that value as the target prints it.
type specimen struct {
	typ   change.Type
	made  string
	value change.Value
	want  string
}

func postgresSpecimens() []specimen {
	text := func(name, semantic, made, value string) specimen {
		return specimen{change.Type{Kind: change.Text, Name: name, Semantic: semantic, Precision: -1}, made, sinktest.Text(value), value}
	}
	list := []specimen{
		text("interval", change.SemanticInterval, "interval", "1 year 2 mons -3 days +04:05:06.7"),
		text("time with time zone", change.SemanticTimeTZ, "time with time zone", "12:34:56.789+02"),
		text("time with time zone", change.SemanticTimeTZ, "time with time zone", "24:00:00-15:59:59"),
		text("bit varying", change.SemanticBits, "bit varying", "0101"),
		text("hstore", change.SemanticHStore, "hstore", `"a"=>"1", "b"=>NULL`),
		text("xml", change.SemanticXML, "xml", "<a>1</a>"),
		text("ltree", change.SemanticLTree, "ltree", "Top.Science"),
		text("citext", "", "text", "Mixed Case"),
		text("tsvector", change.SemanticTSVector, "tsvector", "'a':1 'b':2"),
		text("point", change.SemanticPoint, "point", "(1.5,-2)"),
		text("box", "", "box", "(3,4),(1,2)"),
		text("int4range", "", "int4range", "[1,10)"),
		text("int8multirange", "", "int8multirange", "{[1,3),[5,8)}"),
		text("inet", "", "inet", "10.0.0.1/8"),
		text("mood", change.SemanticEnum, "text", "happy"),
		text("money", change.SemanticMoney, "money", "$1,234.56"),
		text("vector", change.SemanticVector, "text", "[1,2.5]"),
		text("something", change.SemanticUnknown, "text", "(a,\"b c\")"),
		{change.Type{Kind: change.Text, Name: "bit", Length: 5, Semantic: change.SemanticBits}, "bit(5)", sinktest.Text("01010"), "01010"},
		{change.Type{Kind: change.Decimal, Name: "money", Scale: 2, Semantic: change.SemanticMoney}, "numeric", sinktest.Decimal("-1234.56"), "-1234.56"},
		{change.Type{Kind: change.Decimal, Name: "numeric", Precision: 3, Scale: -2}, "numeric", sinktest.Decimal("12300"), "12300"},
	}
	for elem, value := range map[string]string{"interval": `{"1 day",NULL,01:00:00}`, "bit": "{1,0}", "money": "{$1.00,NULL}", "box": "{(1,1),(0,0);(2,2),(1,1)}",
		"time with time zone": "{12:00:00+02}", "inet": "{10.0.0.1,::1}", "xml": "{<a/>}", "bytea": `{"\\x00ff",NULL}`, "numeric": "{1.50,NaN}"} {
		e := change.Type{Kind: change.Text, Name: elem, Precision: -1}
		made := elem
		switch elem {
		case "money":
			e.Kind, e.Semantic = change.Decimal, change.SemanticMoney
		case "bytea":
			e.Kind = change.Bytes
		case "numeric":
			e.Kind = change.Decimal
		case "bit":
			made = "bit(1)"
		}
		list = append(list, specimen{change.Type{Kind: change.Array, Name: elem + "[]", Elem: &e}, made + "[]", sinktest.Array(value), value})
	}
	return list
}

func mysqlSpecimens() []specimen {
	return []specimen{
		{change.Type{Kind: change.Uint, Bits: 64, Name: "BIGINT UNSIGNED"}, "numeric(20,0)", sinktest.Uint(18446744073709551615), "18446744073709551615"},
		{change.Type{Kind: change.Uint, Bits: 32, Name: "INT UNSIGNED"}, "bigint", sinktest.Uint(4294967295), "4294967295"},
		{change.Type{Kind: change.Uint, Bits: 24, Name: "MEDIUMINT UNSIGNED"}, "integer", sinktest.Uint(16777215), "16777215"},
		{change.Type{Kind: change.Uint, Bits: 8, Name: "TINYINT UNSIGNED"}, "smallint", sinktest.Uint(255), "255"},
		{change.Type{Kind: change.Int, Bits: 8, Name: "TINYINT"}, "smallint", sinktest.Int(-128), "-128"},
		{change.Type{Kind: change.Int, Bits: 32, Name: "YEAR", Semantic: change.SemanticYear}, "integer", sinktest.Int(2155), "2155"},
		{change.Type{Kind: change.Time, Name: "TIME", Precision: 6}, "interval", sinktest.At(change.Time, -(838*3600+59*60+59)*1_000_000-999_999), "-838:59:59.999999"},
		{change.Type{Kind: change.Time, Name: "TIME", Precision: 0}, "interval", sinktest.At(change.Time, 838*3600*1_000_000), "838:00:00"},
		{change.Type{Kind: change.Text, Name: "BIT", Length: 64, Semantic: change.SemanticBits}, "bit(64)", sinktest.Text(strings.Repeat("10", 32)), strings.Repeat("10", 32)},
		{change.Type{Kind: change.Text, Name: "ENUM", Semantic: change.SemanticEnum, Labels: []string{"a", "b,c"}}, "text", sinktest.Text("b,c"), "b,c"},
		{change.Type{Kind: change.Text, Name: "SET", Semantic: change.SemanticSet, Labels: []string{"a", "b"}}, "text", sinktest.Text("a,b"), "a,b"},
		{change.Type{Kind: change.Text, Name: "POINT", Semantic: change.SemanticGeometry}, "text", sinktest.Text("0101000000000000000000F03F000000000000F03F"), "0101000000000000000000F03F000000000000F03F"},
		{change.Type{Kind: change.Decimal, Name: "DECIMAL", Precision: 65, Scale: 30}, "numeric(65,30)", sinktest.Decimal("12345678901234567890123456789012345.123456789012345678901234567890"), "12345678901234567890123456789012345.123456789012345678901234567890"},
		{change.Type{Kind: change.JSON, Name: "JSON"}, "jsonb", sinktest.JSON(`{"b":9007199254740993,"a":[1.0]}`), `{"a": [1.0], "b": 9007199254740993}`},
		{change.Type{Kind: change.TimestampTZ, Name: "TIMESTAMP", Precision: 3}, "timestamp(3) with time zone", sinktest.At(change.TimestampTZ, 1_706_702_400_123_000), "2024-01-31 12:00:00.123+00"},
	}
}

// TestSemantics: whatever a source's column is, its values arrive as they are, in a column of a fitting type; and once more by
// way of a patch.
func TestSemantics(t *testing.T) {
	dsn := servers.Need(t, "postgres15")
	for database, specimens := range map[string][]specimen{"postgresql": postgresSpecimens(), "mysql": mysqlSpecimens()} {
		t.Run(database, func(t *testing.T) {
			b := newBench(t, dsn)
			exec(t, b.conn, "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA pg_catalog; CREATE EXTENSION IF NOT EXISTS ltree SCHEMA pg_catalog; SET timezone = 'UTC'")
			var columns []change.Column
			var row, patch []change.Value
			columns, row, patch = append(columns, sinktest.Column("id", "int8")), append(row, sinktest.Int(1)), append(patch, sinktest.Int(1))
			for i, s := range specimens {
				columns = append(columns, change.Column{Name: fmt.Sprint("c", i), Type: s.typ, Nullable: true})
				row = append(row, s.value)
				patch = append(patch, sinktest.Absent())
				if i%2 == 0 {
					patch[i+1] = s.value
				}
			}
			table := sinktest.Table("specimens", 1, []string{"id"}, columns...)
			table.Origin = &change.Origin{Connector: database, Name: "shop"}
			s := b.open(t, nil)
			defer s.Close()
			h := sinktest.NewHistory("shop.public.specimens")
			h.Create(table, row...)
			sinktest.Write(t, s, h.Take())
			h.Update(table, patch...)
			sinktest.Write(t, s, h.Take())
			for i, sp := range specimens {
				got := b.query(fmt.Sprintf("SELECT c%d::text, format_type(atttypid, atttypmod) FROM specimens, pg_attribute WHERE attrelid = 'specimens'::regclass AND attname = 'c%d'", i, i))
				if !slices.Equal(got[0], []string{sp.want, sp.made}) {
					t.Errorf("%s %s: got %q, want %q in a column of type %s", sp.typ.Name, sp.typ.Semantic, got[0], sp.want, sp.made)
				}
			}
		})
	}
}

// TestUnrepresentable: a value that the target cannot hold rejects its row, is named, and stops nobody else.
func TestUnrepresentable(t *testing.T) {
	b := newBench(t, servers.Need(t, "postgres15"))
	table := sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("day", "date"), sinktest.Column("doc", "json"),
		sinktest.Column("at", "timestamp"), sinktest.Column("n", "int4"))
	table.Origin = &change.Origin{Connector: "mysql", Name: "shop"}
	s := b.open(t, nil)
	defer s.Close()
	h := sinktest.NewHistory(topic)
	bad := []change.Event{}
	row := func(id int64, day, doc, at, n change.Value) {
		bad = append(bad, *h.Create(table, sinktest.Int(id), day, doc, at, n))
	}
	null := sinktest.Null()
	row(1, sinktest.Text("0000-00-00"), null, null, null)                              // MySQL's zero date
	row(2, null, sinktest.JSON(`{"a":"\u0000"}`), null, null)                          // a NUL character
	row(3, null, sinktest.JSON(`{"a":1e400000}`), null, null)                          // a number beyond numeric
	row(4, null, null, sinktest.Text("2024-13-01 00:00:00"), null)                     // no month
	row(5, null, null, null, sinktest.Int(1<<40))                                      // beyond the column's type
	row(6, sinktest.At(change.Date, 9_000_000_000), null, null, null)                  // past PostgreSQL's last day
	row(7, null, sinktest.JSON(strings.Repeat("[", 20000)), null, null)                // no JSON, and deep
	row(8, sinktest.At(change.Date, 1), sinktest.JSON("{}"), null, sinktest.Int(1))    // a good row
	row(9, sinktest.At(change.Date, -1), sinktest.JSON("null"), null, sinktest.Int(2)) // and another
	var rejected sink.Rejected
	if err := s.Write(t.Context(), h.Take()); !errors.As(err, &rejected) {
		t.Fatalf("Write returned %v, want Rejected", err)
	}
	var got []int
	for _, r := range rejected {
		got = append(got, r.Index)
		if !strings.Contains(r.Err.Error(), "SQLSTATE") || !strings.Contains(r.Err.Error(), fmt.Sprintf("key %s", change.KeyText(bad[r.Index].Key))) {
			t.Errorf("event %d is rejected with %v, want the reason and the key", r.Index, r.Err)
		}
	}
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6}) {
		t.Errorf("rejected are %v: %v", got, rejected)
	}
	if ids := b.text("SELECT string_agg(id::text, ' ' ORDER BY id) FROM items"); ids != "8 9" {
		t.Errorf("rows %s were written, want 8 9", ids)
	}
}
