package postgres

import (
	"testing"

	"github.com/tailrace/tailrace/change"
)

// bare is a target without extensions.
func bare(string) bool { return false }

func TestTypeFor(t *testing.T) {
	for _, c := range []struct {
		typ       change.Type
		connector string
		want      string
	}{
		{change.Type{Kind: change.Int, Bits: 16}, "postgresql", "smallint"},
		{change.Type{Kind: change.Uint, Bits: 16}, "mysql", "integer"},
		{change.Type{Kind: change.Uint, Bits: 32}, "mysql", "bigint"},
		{change.Type{Kind: change.Uint, Bits: 64}, "mysql", "numeric(20,0)"},
		{change.Type{Kind: change.Decimal, Precision: 10, Scale: 2}, "mysql", "numeric(10,2)"},
		{change.Type{Kind: change.Decimal}, "postgresql", "numeric"},
		{change.Type{Kind: change.JSON, Name: "json"}, "postgresql", "json"},
		{change.Type{Kind: change.JSON, Name: "jsonb"}, "postgresql", "jsonb"},
		{change.Type{Kind: change.JSON, Name: "json"}, "mysql", "jsonb"},
		{change.Type{Kind: change.Time, Precision: 3}, "postgresql", "time(3) without time zone"},
		{change.Type{Kind: change.Time, Precision: 3}, "mysql", "interval"},
		{change.Type{Kind: change.TimestampTZ, Precision: -1}, "postgresql", "timestamp with time zone"},
		{change.Type{Kind: change.Timestamp, Precision: 0}, "mysql", "timestamp(0) without time zone"},
		{change.Type{Kind: change.Text, Name: "character varying", Length: 20}, "postgresql", "character varying(20)"},
		{change.Type{Kind: change.Text, Name: "character", Length: 5}, "postgresql", "character(5)"},
		{change.Type{Kind: change.Text, Name: "varchar", Length: 20}, "mysql", "text"},
		{change.Type{Kind: change.Text, Name: "bit", Length: 3}, "postgresql", "bit(3)"},
		{change.Type{Kind: change.Text, Name: "mood", Semantic: "enum", Labels: []string{"sad"}}, "postgresql", "text"},
		{change.Type{Kind: change.Text, Name: "inet"}, "postgresql", "inet"},
		{change.Type{Kind: change.Array, Elem: &change.Type{Kind: change.Int, Bits: 32}}, "postgresql", "integer[]"},
		{change.Type{Kind: change.Array, Elem: &change.Type{Kind: change.Text, Name: "mood"}}, "postgresql", "text[]"},
		{change.Type{Kind: change.Array}, "mysql", "text"},
		{change.Type{Kind: change.Int, Bits: 8}, "mysql", "smallint"},
		{change.Type{Kind: change.Int, Bits: 24}, "mysql", "integer"},
		{change.Type{Kind: change.Uint, Bits: 8}, "mysql", "smallint"},
		{change.Type{Kind: change.Uint, Bits: 24}, "mysql", "integer"},
		{change.Type{Kind: change.Decimal, Precision: 65, Scale: 30}, "mysql", "numeric(65,30)"},
		{change.Type{Kind: change.Decimal, Precision: 5, Scale: -2}, "postgresql", "numeric"},
		{change.Type{Kind: change.Decimal, Precision: 2, Scale: 5}, "postgresql", "numeric"},
		{change.Type{Kind: change.Decimal, Name: "money", Scale: 2, Semantic: change.SemanticMoney}, "postgresql", "numeric"},
		{change.Type{Kind: change.Array, Elem: &change.Type{Kind: change.Decimal, Name: "money", Semantic: change.SemanticMoney}}, "postgresql", "money[]"},
		{change.Type{Kind: change.Text, Name: "BIT", Length: 12, Semantic: change.SemanticBits}, "mysql", "bit(12)"},
		{change.Type{Kind: change.Text, Name: "bit varying", Semantic: change.SemanticBits}, "postgresql", "bit varying"},
		{change.Type{Kind: change.Text, Name: "SET", Semantic: change.SemanticSet, Labels: []string{"a"}}, "mysql", "text"},
		{change.Type{Kind: change.Int, Bits: 32, Name: "YEAR", Semantic: change.SemanticYear}, "mysql", "integer"},
		{change.Type{Kind: change.Text, Name: "interval", Semantic: change.SemanticInterval}, "postgresql", "interval"},
		{change.Type{Kind: change.Text, Name: "time with time zone", Semantic: change.SemanticTimeTZ, Precision: 3}, "postgresql", "time(3) with time zone"},
		{change.Type{Kind: change.Text, Name: "hstore", Semantic: change.SemanticHStore}, "postgresql", "hstore"},
		{change.Type{Kind: change.Text, Name: "citext"}, "postgresql", "text"},
		{change.Type{Kind: change.Text, Name: "hstore", Semantic: change.SemanticEnum}, "postgresql", "text"},
		{change.Type{Kind: change.Text, Name: "GEOMETRY", Semantic: change.SemanticGeometry}, "mysql", "geometry"},
		{change.Type{Kind: change.Text, Name: "VECTOR", Semantic: change.SemanticFloatVector}, "mysql", "text"},
		{change.Type{Kind: change.Text, Name: "halfvec", Semantic: change.SemanticFloatVector}, "postgresql", "halfvec"},
		{change.Type{Kind: change.Text, Name: "int4multirange"}, "postgresql", "int4multirange"},
		{change.Type{Kind: change.Array, Elem: &change.Type{Kind: change.Text, Name: "interval", Semantic: change.SemanticInterval}}, "postgresql", "interval[]"},
	} {
		if got := typeFor(&c.typ, c.connector, func(name string) bool { return name != "citext" }); got != c.want {
			t.Errorf("%+v of %s is made %q, want %q", c.typ, c.connector, got, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		want, have string
		fit        fit
		wider      string
	}{
		{"integer", "integer", fits, ""}, {"integer", "bigint", fits, ""}, {"integer", "numeric", fits, ""}, {"integer", "text", fits, ""},
		{"bigint", "integer", widen, "bigint"}, {"numeric", "bigint", widen, "numeric"}, {"numeric(10,2)", "integer", widen, "numeric"},
		{"numeric(12,2)", "integer", widen, "numeric(12,2)"}, {"bigint", "numeric(10,2)", widen, "numeric"}, {"smallint", "numeric(10,2)", fits, ""},
		{"numeric(9,3)", "numeric(5,2)", widen, "numeric(9,3)"}, {"numeric(5,2)", "numeric(9,3)", fits, ""}, {"numeric(5,3)", "numeric(5,2)", widen, "numeric"},
		{"numeric", "numeric(5,2)", widen, "numeric"}, {"numeric(5,2)", "numeric", fits, ""},
		{"double precision", "real", widen, "double precision"}, {"real", "double precision", fits, ""}, {"double precision", "numeric", fits, ""},
		{"numeric", "double precision", differs, ""}, {"double precision", "numeric(5,2)", differs, ""}, {"bigint", "double precision", differs, ""},
		{"character varying(20)", "character varying(10)", widen, "character varying(20)"}, {"character varying(10)", "character varying(20)", fits, ""},
		{"text", "character varying(10)", widen, "text"}, {"character(5)", "character(3)", widen, "character(5)"}, {"character varying(9)", "character(9)", widen, "text"},
		{"text", "integer", widen, "text"}, {"text", "jsonb", widen, "text"}, {"text", "mood", fits, ""}, {"text", "uuid", widen, "text"},
		{"timestamp without time zone", "timestamp(3) without time zone", widen, "timestamp without time zone"},
		{"timestamp(3) without time zone", "timestamp without time zone", fits, ""},
		{"timestamp with time zone", "timestamp without time zone", differs, ""}, {"date", "boolean", differs, ""},
		{"json", "jsonb", fits, ""}, {"bit(3)", "bit(5)", widen, "bit varying"}, {"integer[]", "text[]", differs, ""}, {"uuid", "character varying(36)", fits, ""},
	} {
		if got, wider := compare(c.want, c.have); got != c.fit || wider != c.wider {
			t.Errorf("compare(%s, %s) = %d %q, want %d %q", c.want, c.have, got, wider, c.fit, c.wider)
		}
	}
}
