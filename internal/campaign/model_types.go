package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tailrace/tailrace/change"
)

// oneOf makes a value of a type from texts, some of which are borders.
func oneOf(texts ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return texts[r.IntN(len(texts))] }
}

func modelInt(least, most int64) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		return fmt.Sprint([]int64{least, most, 0, -1 * min(1, -least), r.Int64N(most), r.Int64N(100)}[r.IntN(6)])
	}
}

func modelText(most int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		s := []string{"", "a", "it's \"q\"", `back\slash`, "tab\tline\nend", "Zoë 李雷 \U0001F600", "NULL", " x ", `{"a":1}`, "%s $1 ?", fmt.Sprint(r.Uint64())}[r.IntN(11)]
		for len(s) > most {
			s = s[:0]
		}
		return s
	}
}

// modelLarge makes texts of which most are too large to be kept in the row, also compressed.
func modelLarge(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return []string{"", "short"}[r.IntN(2)]
	}
	b := make([]byte, 2500+r.IntN(3000))
	for i := range b {
		b[i] = byte('0' + r.IntN(75))
	}
	return "é" + string(b)
}

func modelDecimal(digits int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		return []string{"0", "-0.01", "99999999.99", fmt.Sprintf("%d.%0*d", r.IntN(1000)-500, digits, r.IntN(10))}[r.IntN(4)]
	}
}

// modelFloat makes numbers that every form of a float can hold.
func modelFloat(r *rand.Rand) string {
	return []string{"0", "-1.5", "0.25", "1024", fmt.Sprint(float64(r.IntN(4000)-2000) / 8)}[r.IntN(5)]
}

func modelMoment(layout string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		return time.UnixMicro(r.Int64N(1_700_000_000_000_000)).UTC().Format(layout)
	}
}

func modelHex(prefix string, least, most int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		b := make([]byte, least+r.IntN(most-least+1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return fmt.Sprintf("%s%x", prefix, b)
	}
}

func modelUUID(r *rand.Rand) string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48))
}

func modelJSON(r *rand.Rand) string {
	return []string{`{"a": [1, 2.50, "x y"], "n": 9007199254740993}`, `[]`, `"s"`, `true`, `{"é": {"deep": [null, {"k": "\u00e9"}]}}`, fmt.Sprintf(`{"n": %d}`, r.Uint32())}[r.IntN(6)]
}

// types implements dialect.
func (pgDialect) types() []modelType {
	return []modelType{
		{sql: "bool", kind: change.Bool, value: oneOf("t", "f")},
		{sql: "smallint", kind: change.Int, value: modelInt(-32768, 32767)},
		{sql: "int", kind: change.Int, value: modelInt(-1<<31, 1<<31-1)},
		{sql: "bigint", kind: change.Int, value: modelInt(-1<<63, 1<<63-1)},
		{sql: "numeric", kind: change.Decimal, value: oneOf("0", "NaN", "-0.000001", "1.50", "123456789012345678901234567890.123456789", "5e-324")},
		{sql: "numeric(12,2)", kind: change.Decimal, value: modelDecimal(2)},
		{sql: "real", kind: change.Float32, value: modelFloat},
		{sql: "float8", kind: change.Float64, value: oneOf("0", "0.1", "1e300", "-2.2250738585072014e-308", "Infinity", "-Infinity", "NaN", "5e-324")},
		{sql: "text", kind: change.Text, value: modelText(100)},
		{sql: "varchar(40)", kind: change.Text, value: modelText(40)},
		{sql: "char(7)", kind: change.Text, value: oneOf("", "a", "abcdefg", "é x")},
		{sql: "text", kind: change.Text, value: modelLarge, large: true},
		{sql: "text", kind: change.Text, value: modelLarge, large: true},
		{sql: "bytea", kind: change.Bytes, value: modelHex(`\x`, 0, 20)},
		{sql: "bytea", kind: change.Bytes, value: modelHex(`\x`, 0, 9000), large: true},
		{sql: "date", kind: change.Date, value: modelMoment("2006-01-02")},
		{sql: "time", kind: change.Time, digits: 6, value: oneOf("00:00:00", "23:59:59.999999", "12:00:00.5")},
		{sql: "timestamp", kind: change.Timestamp, digits: 6, value: modelMoment("2006-01-02 15:04:05.999999")},
		{sql: "timestamp(3)", kind: change.Timestamp, digits: 3, value: modelMoment("2006-01-02 15:04:05.999")},
		{sql: "timestamptz", kind: change.TimestampTZ, digits: 6, value: modelMoment("2006-01-02 15:04:05.999999+00")},
		{sql: "uuid", kind: change.UUID, value: modelUUID},
		{sql: "json", kind: change.JSON, value: modelJSON},
		{sql: "jsonb", kind: change.JSON, value: modelJSON},
		{sql: "inet", kind: change.Text, value: oneOf("10.0.0.1", "::1", "192.168.0.0/24")},
		{sql: "cidr", kind: change.Text, value: oneOf("10.0.0.0/8", "2001:db8::/32")},
		{sql: "macaddr", kind: change.Text, value: oneOf("08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff")},
		{sql: "int4range", kind: change.Text, value: oneOf("empty", "[1,5)", "(,3)", "[7,)")},
		{sql: "numrange", kind: change.Text, value: oneOf("[1.5,2.50]", "(,)", "empty")},
		{sql: "tsvector", kind: change.Text, value: oneOf("'a':1 'b':2A", "'x'")},
		{sql: "text[]", kind: change.Array, elem: change.Text, value: oneOf("{}", `{a,NULL,"NULL","b \"c\""}`, `{"é,{}"}`)},
		{sql: "int[]", kind: change.Array, elem: change.Int, value: oneOf("{}", "{1,NULL,-3}", "{{1,2},{3,4}}")},
		{sql: "numeric[]", kind: change.Array, elem: change.Decimal, value: oneOf("{1.50,NULL}", "{}")},
		{sql: "mood", kind: change.Text, value: oneOf("sad", "o'k", "Zoë")},
		{sql: "evens", kind: change.Int, value: oneOf("0", "-2", "2147483646")},
	}
}

// wider implements dialect.
func (d pgDialect) wider(t *modelType) *modelType {
	switch t.kind {
	case change.Int:
		return &modelType{sql: "bigint", kind: change.Int, value: modelInt(-1<<63, 1<<63-1)}
	case change.Decimal:
		return &modelType{sql: "numeric", kind: change.Decimal, value: oneOf("1.5", "-12345678901234567890.25")}
	}
	return &modelType{sql: "text", kind: change.Text, value: modelLarge, large: true}
}

// keys implements dialect. The number of a row is in every key; some begin with what many rows have in common.
func (pgDialect) keys() []modelKey {
	id := modelKeyColumn{name: "id", sql: "bigint", kind: change.Int, value: func(n int) string { return fmt.Sprint(n - 20) }}
	text := modelKeyColumn{name: "k", sql: "text", kind: change.Text, value: func(n int) string { return fmt.Sprintf("ключ %d", n) }}
	uuid := modelKeyColumn{name: "u", sql: "uuid", kind: change.UUID, value: func(n int) string { return fmt.Sprintf("d0000000-0000-4000-8000-%012x", n) }}
	part := modelKeyColumn{name: "b", sql: "int", kind: change.Int, value: func(n int) string { return fmt.Sprint(n % 3) }}
	decimal := modelKeyColumn{name: "d", sql: "numeric(10,2)", kind: change.Decimal, value: func(n int) string { return fmt.Sprintf("%d.50", n) }}
	aside := id
	aside.aside = true
	return []modelKey{
		{name: "id", columns: []modelKeyColumn{id}, clause: "PRIMARY KEY (id)"},
		{name: "text", columns: []modelKeyColumn{text}, clause: "PRIMARY KEY (k)"},
		{name: "uuid", columns: []modelKeyColumn{uuid}, clause: "PRIMARY KEY (u)"},
		{name: "decimal", columns: []modelKeyColumn{decimal}, clause: "PRIMARY KEY (d)"},
		{name: "pair", columns: []modelKeyColumn{text, part}, clause: "PRIMARY KEY (b, k)"},
		{name: "index", columns: []modelKeyColumn{aside, text}, clause: "PRIMARY KEY (id), UNIQUE (k)", after: "ALTER TABLE %s REPLICA IDENTITY USING INDEX %s_k_key"},
		{name: "none"},
	}
}
