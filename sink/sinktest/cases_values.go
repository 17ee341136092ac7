package sinktest

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// A sample is one extreme value that must come through whole.
type sample struct {
	name, typ string
	v         change.Value
}

func valueCases() []testCase {
	var list []testCase
	for _, typ := range []string{"int8", "uint8", "numeric", "float4", "float8", "bool", "text", "json", "bytea", "uuid",
		"date", "time", "timestamp", "timestamptz", "arrays"} {
		list = append(list, testCase{"values_" + typ, func(r *run) { values(r, typ) }})
	}
	return append(list, testCase{"values_as_keys", valuesAsKeys}, testCase{"values_of_another_kind", otherKinds})
}

const (
	dayMin = -2440588 + 1 // PostgreSQL's dates begin at 4713-11-24 BC
	usDay  = 86_400_000_000
)

func samples() []sample {
	list := []sample{
		{"int_max", "int8", Int(math.MaxInt64)}, {"int_min", "int8", Int(math.MinInt64)}, {"int_zero", "int8", Int(0)},
		{"int_53", "int8", Int(9007199254740993)},
		{"uint_max", "uint8", Uint(math.MaxUint64)}, {"uint_63", "uint8", Uint(1 << 63)}, {"uint_zero", "uint8", Uint(0)},
		{"decimal_digits", "numeric", Decimal("12345678901234567890123456789012345678.123456789012345678901234567890")},
		{"decimal_zeros", "numeric", Decimal("1.50000")}, {"decimal_negative", "numeric", Decimal("-0.000000000000000000001")},
		{"decimal_zero", "numeric", Decimal("0")}, {"decimal_long", "numeric", Decimal(strings.Repeat("9", 400))},
		{"decimal_nan", "numeric", Decimal("NaN")}, {"decimal_infinity", "numeric", Decimal("Infinity")},
		{"decimal_neg_infinity", "numeric", Decimal("-Infinity")},
		{"float4_max", "float4", Float32(math.MaxFloat32)}, {"float4_tenth", "float4", Float32(0.1)},
		{"float4_nan", "float4", Float32(float32(math.NaN()))},
		{"float_max", "float8", Float64(math.MaxFloat64)}, {"float_min", "float8", Float64(2.2250738585072014e-308)},
		{"float_tenth", "float8", Float64(0.1)}, {"float_third", "float8", Float64(1.0 / 3)}, {"float_whole", "float8", Float64(1)},
		{"float_nan", "float8", Float64(math.NaN())}, {"float_infinity", "float8", Float64(math.Inf(1))},
		{"float_neg_infinity", "float8", Float64(math.Inf(-1))},
		{"true", "bool", Bool(true)}, {"false", "bool", Bool(false)},
		{"date_epoch", "date", At(change.Date, 0)}, {"date_today", "date", At(change.Date, 20000)},
		{"date_bc", "date", At(change.Date, -735160)}, {"date_min", "date", At(change.Date, dayMin)},
		{"date_far", "date", At(change.Date, 7000000)}, {"date_infinity", "date", At(change.Date, change.InfinityMicros)},
		{"date_neg_infinity", "date", At(change.Date, change.NegInfinityMicros)},
		{"time_midnight", "time", At(change.Time, 0)}, {"time_last", "time", At(change.Time, usDay-1)},
		{"time_24", "time", At(change.Time, usDay)}, {"time_half", "time", At(change.Time, 43200500000)},
		{"uuid_zero", "uuid", UUID([16]byte{})},
		{"uuid_ff", "uuid", UUID([16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})},
		{"bytes_empty", "bytea", Bytes([]byte{})}, {"bytes_all", "bytea", Bytes(allBytes())},
		{"array_ints", "int8[]", Array("{1,NULL,-9223372036854775808}")}, {"array_empty", "int8[]", Array("{}")},
		{"array_text", "text[]", Array(`{"a b",NULL,"NULL","","q\"uote","back\\slash","{}",ünï}`)},
		{"array_nested", "int8[]", Array("{{1,2},{3,NULL}}")}, {"array_bool", "bool[]", Array("{t,f}")},
		{"json_object", "json", JSON(`{"a":[1,2,{"b":null}],"c":"d"}`)}, {"json_digits", "json", JSON(`{"n":9007199254740993,"f":1.0}`)},
		{"json_array", "json", JSON(`[1,2,3]`)}, {"json_empty", "json", JSON(`{}`)}, {"json_string", "json", JSON(`"just a string"`)},
		{"json_escape", "json", JSON(`{"q":"\"\\\u00e9\u2028"}`)}, {"json_null", "json", JSON(`null`)},
		{"json_number", "json", JSON(`12345678901234567890`)},
	}
	for name, k := range map[string]change.Kind{"timestamp": change.Timestamp, "timestamptz": change.TimestampTZ} {
		for sub, n := range map[string]int64{"epoch": 0, "micros": 1706702400123456, "before_epoch": -1, "bc": -62_167_219_200_000_000 - 400*365*usDay,
			"far": 92_233_720_36 * 1_000_000_000, "infinity": change.InfinityMicros, "neg_infinity": change.NegInfinityMicros} {
			list = append(list, sample{name + "_" + sub, name, At(k, n)})
		}
	}
	for name, s := range texts() {
		list = append(list, sample{"text_" + name, "text", Text(s)})
	}
	return list
}

func allBytes() []byte {
	p := make([]byte, 512)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

// texts has every script that tends to break, and everything that some format uses as punctuation.
func texts() map[string]string {
	return map[string]string{
		"empty": "", "space": " ", "spaces": "  leading and trailing  ", "latin": "Ærøskøbing façade naïve", "greek": "Ελληνικά", "cyrillic": "Съешь же ещё",
		"arabic": "نص عربي", "hebrew": "עברית", "devanagari": "नमस्ते", "thai": "ภาษาไทย", "han": "漢字仮名交じり文", "hangul": "한국어",
		"emoji": "👩‍👩‍👧‍👦🏳️‍🌈", "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈", "combining": "e\u0301 vs \u00e9", "bom": "\ufeffbom", "separators": "\u2028\u2029\u0085\u00a0",
		"controls": "\x01\x02\x1f\x7f\t\r\n\v\f\b", "quotes": `"'` + "`" + `\"\\'`, "sql": "'; DROP TABLE items; --", "json": `{"a":"b"}`, "null_word": "NULL",
		"backslash_n": `\N`, "percent": "100%s%d%%", "format": "${env:HOME} {{.}}", "html": "<a href=\"x\">&amp;</a>", "long": strings.Repeat("長い", 20000),
		"noncharacters": "\uffff\ufffe\U0010ffff", "replacement": "\ufffd", "nul": "a\x00b",
	}
}

func values(r *run, typ string) {
	h := r.history()
	types := map[string]*change.Table{}
	n := int64(0)
	for _, s := range samples() {
		group := s.typ
		if strings.HasSuffix(group, "[]") {
			group = "arrays"
		}
		if group != typ {
			continue
		}
		if reason, ok := r.h.Unsupported["value/"+s.name]; ok {
			r.Logf("value %s not applicable: %s", s.name, reason)
			continue
		}
		t := types[s.typ]
		if t == nil {
			t = Table("v"+strings.TrimSuffix(s.typ, "[]"), 1, []string{"id"}, Column("id", "int8"), Column("v", s.typ), Column("sample", "text"))
			types[s.typ] = t
		}
		n++
		h.Topic = "shop.public." + t.Name.Table
		h.Create(t, Int(n), s.v, Text(s.name))
		// The same value read back from the target and written again, where the sink merges that way.
		h.Create(t, Int(1000+n), s.v, Text("to be changed"))
	}
	if n == 0 {
		r.Fatalf("no values of type %s", typ)
	}
	r.flush(h, 1000)
	for _, t := range types {
		h.Topic = "shop.public." + t.Name.Table
		r.holds(h, t)
		for i := range n {
			if hasRow(h, t, 1000+i+1) {
				h.Update(t, Int(1000+i+1), Absent(), Text("changed"))
			}
		}
	}
	r.flush(h, 1000)
	for _, t := range types {
		h.Topic = "shop.public." + t.Name.Table
		r.holds(h, t)
	}
}

func hasRow(h *History, t *change.Table, id int64) bool {
	for i := range h.events {
		if e := &h.events[i]; e.Table == t && e.After != nil && e.After[0].Int64() == id {
			return true
		}
	}
	return false
}

// valuesAsKeys: each kind that can be a key, one column and long.
func valuesAsKeys(r *run) {
	h := r.history()
	var tables []*change.Table
	keysByType := map[string][]change.Value{
		"int8":      {Int(0), Int(-1), Int(math.MaxInt64), Int(math.MinInt64)},
		"text":      {Text("a"), Text(" "), Text("a/b?c=d#e&f%20"), Text("漢字"), Text(`"quoted" \ back`), Text("_underscore"), Text("."), Text(".."), Text("a\nb"), Text(strings.Repeat("k", 700)), Text(strings.Repeat("k", 701)), Text(strings.Repeat("鍵", 400))},
		"uuid":      {UUID([16]byte{1, 2, 3}), UUID([16]byte{0xff})},
		"date":      {At(change.Date, 20000), At(change.Date, 20001)},
		"timestamp": {At(change.Timestamp, 1706702400123456), At(change.Timestamp, 1706702400123457)},
		"numeric":   {Decimal("1.5"), Decimal("-1.5"), Decimal("100000000000000000000000000.1")},
		"bytea":     {Bytes([]byte{0}), Bytes([]byte{0, 0}), Bytes([]byte("a")), Bytes([]byte{0xff, 0xfe})},
		"bool":      {Bool(true), Bool(false)},
	}
	for _, name := range slices.Sorted(maps.Keys(keysByType)) {
		keys := keysByType[name]
		if reason, ok := r.h.Unsupported["value/key_"+name]; ok {
			r.Logf("key of type %s not applicable: %s", name, reason)
			continue
		}
		t := Table("k"+name, 1, []string{"id"}, Column("id", name), Column("v", "int8"))
		tables = append(tables, t)
		h.Topic = "shop.public." + t.Name.Table
		for i, k := range keys {
			h.Create(t, k, Int(int64(i)))
		}
		h.Update(t, keys[0], Int(100))
		h.Delete(t, keys[1])
	}
	r.flush(h, 1000)
	for _, t := range tables {
		h.Topic = "shop.public." + t.Name.Table
		r.holds(h, t)
	}
}

// otherKinds: a value that its column's kind cannot hold travels as text.
func otherKinds(r *run) {
	if reason, ok := r.h.Unsupported["value/other_kinds"]; ok {
		r.Skip("not applicable: " + reason)
	}
	t := Table("items", 1, []string{"id"}, Column("id", "int8"), Column("at", "timestamp"), Column("n", "numeric"))
	h := r.history()
	h.Create(t, Int(1), At(change.Timestamp, 1706702400123456), Decimal("1.50"))
	h.Create(t, Int(2), Text("past the end of time"), Text("1e400000"))
	h.Create(t, Int(3), Null(), Int(7))
	r.flush(h, 100)
	h.Update(t, Int(2), Absent(), Decimal("2"))
	r.flush(h, 100)
	r.holds(h, t)
}
