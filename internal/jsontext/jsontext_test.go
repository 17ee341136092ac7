package jsontext

import (
	"encoding/json"
	"math"
	"math/rand"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
)

func TestAppendString(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{"eight bytes and more, é中😀 \u2028 \u007f", "\"eight bytes and more, é中😀 \u2028 \u007f\""},
		{`q"uote \ back / slash`, `"q\"uote \\ back / slash"`},
		{"\t\n\r\b\f\x00\x01\x1f", `"\t\n\r\b\f\u0000\u0001\u001F"`},
		{"12345678\"", `"12345678\""`},
		{"a\xffb", `"a\udcFFb"`},
		{"\xed\xa0\x80", `"\udcED\udcA0\udc80"`}, // an encoded surrogate is no UTF-8
		{"\xc0\xaf\xf5", `"\udcC0\udcAF\udcF5"`}, // overlong, out of range
		{"\xe4\xb8", `"\udcE4\udcB8"`},           // cut
		{"\xf0\x9f\x98\x80\xf0\x9f", "\"\U0001F600\\udcF0\\udc9F\""},
		{"\ufffd", "\"\ufffd\""}, // a real U+FFFD stays what it is
	} {
		if got := string(AppendString(nil, []byte(c.in))); got != c.want {
			t.Errorf("AppendString(%q) = %s, want %s", c.in, got, c.want)
		}
		if got := string(AppendText([]byte("x"), c.in)); got != "x"+c.want {
			t.Errorf("AppendText(%q) = %s, want x%s", c.in, got, c.want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("plain text of some length \" and \\ more \u00e9"))
	f.Add([]byte("\xed\xa0\x80\xff"))
	f.Fuzz(func(t *testing.T, s []byte) {
		p := AppendString(nil, s)
		if !json.Valid(p) || !Valid(p) {
			t.Fatalf("%q gives invalid JSON %s", s, p)
		}
		if string(AppendText(nil, string(s))) != string(p) {
			t.Fatalf("AppendText and AppendString differ on %q", s)
		}
		if !utf8.Valid(s) {
			if strings.Count(string(s), "\ufffd") != strings.Count(string(p), "\ufffd") {
				t.Fatalf("%q was falsified: %s", s, p)
			}
			return
		}
		var back string
		if err := json.Unmarshal(p, &back); err != nil || back != string(s) {
			t.Fatalf("%q came back as %q, %v", s, back, err)
		}
	})
}

func TestFloats(t *testing.T) {
	for _, c := range []struct {
		f           float64
		java, plain string
	}{
		{0, "0.0", "0"}, {math.Copysign(0, -1), "-0.0", "-0"}, {1, "1.0", "1"}, {8.5, "8.5", "8.5"},
		{1e10, "1.0E10", "10000000000"}, {1e22, "1.0E22", "1e+22"}, {1e7, "1.0E7", "10000000"},
		{9999999.5, "9999999.5", "9999999.5"}, {0.001, "0.001", "0.001"}, {0.00099, "9.9E-4", "0.00099"},
		{5e-324, "4.9E-324", "5e-324"}, {-1.7976931348623157e308, "-1.7976931348623157E308", "-1.7976931348623157e+308"},
		{123456789.125, "1.23456789125E8", "123456789.125"}, {1e-9, "1.0E-9", "1e-09"},
		{math.NaN(), `"NaN"`, `"NaN"`}, {math.Inf(1), `"Infinity"`, `"Infinity"`}, {math.Inf(-1), `"-Infinity"`, `"-Infinity"`},
	} {
		if got := string(AppendFloat64(nil, c.f)); got != c.java {
			t.Errorf("AppendFloat64(%g) = %s, want %s", c.f, got, c.java)
		}
		if got := string(AppendShortest(nil, c.f, 64)); got != c.plain {
			t.Errorf("AppendShortest(%g) = %s, want %s", c.f, got, c.plain)
		}
	}
	for _, c := range []struct {
		f    float32
		want string
	}{{1.4e-45, "1.4E-45"}, {-3.4e38, "-3.4E38"}, {0.1, "0.1"}, {3.3333333, "3.3333333"}, {16777216, "1.6777216E7"}} {
		if got := string(AppendFloat32(nil, c.f)); got != c.want {
			t.Errorf("AppendFloat32(%g) = %s, want %s", c.f, got, c.want)
		}
	}
	r := rand.New(rand.NewSource(1))
	for range 20000 {
		f := math.Float64frombits(r.Uint64())
		if f != f || math.IsInf(f, 0) {
			continue
		}
		for _, p := range [][]byte{AppendFloat64(nil, f), AppendShortest(nil, f, 64)} {
			if back, err := strconv.ParseFloat(string(p), 64); err != nil || back != f || !Valid(p) {
				t.Fatalf("%g was written as %s", f, p)
			}
		}
	}
}

func TestDecimalKeepsDigits(t *testing.T) {
	for in, want := range map[string]string{
		"-12.340": "-12.340", "9007199254740993": "9007199254740993", "NaN": `"NaN"`, "-Infinity": `"-Infinity"`, "": `""`,
		"01": `"01"`, "1.": `"1."`, "1e5": "1e5",
	} {
		if got := string(AppendDecimal(nil, []byte(in))); got != want {
			t.Errorf("AppendDecimal(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestDates(t *testing.T) {
	for days := int64(-800_000); days < 3_000_000; days += 37 {
		y, m, d := civil(days)
		if want := time.Unix(days*86400, 0).UTC(); int64(want.Year()) != y || int(want.Month()) != m || want.Day() != d {
			t.Fatalf("civil(%d) = %d-%d-%d, want %s", days, y, m, d, want)
		}
		if back := dayNumber(y, m, d); back != days {
			t.Fatalf("dayNumber(civil(%d)) = %d", days, back)
		}
	}
	for _, c := range []struct{ pg, want string }{
		{"2024-01-31 12:00:00", "2024-01-31T12:00:00"},
		{"2024-02-29 13:14:15.1234", "2024-02-29T13:14:15.1234"},
		{"1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999"},
		{"2020-01-01 00:00:00+02", "2019-12-31T22:00:00"},
		{"2020-01-01 00:00:00-03:30", "2020-01-01T03:30:00"},
		{"1883-11-18 12:03:57+00:19:32", "1883-11-18T11:44:25"},
		{"0044-03-15 12:00:00 BC", "-0043-03-15T12:00:00"},
		{"0001-12-31 00:00:00 BC", "0000-12-31T00:00:00"},
		{"20000-06-15 10:00:00", "+20000-06-15T10:00:00"},
		{"292276-12-31 23:59:59.999999", "+292276-12-31T23:59:59.999999"},
		{"4713-01-01 00:00:00 BC", "-4712-01-01T00:00:00"},
		{"infinity", "infinity"}, {"-infinity", "-infinity"},
	} {
		n, ok := ParseTimestamp([]byte(c.pg))
		if got := string(AppendTimestamp(nil, n, AsNeeded)); !ok || got != c.want {
			t.Errorf("%q gives %s, %v; want %s", c.pg, got, ok, c.want)
		}
	}
	if got := string(AppendTimestampTZ(nil, 1500, 6)); got != "1970-01-01T00:00:00.001500Z" {
		t.Error(got)
	}
	if got := string(AppendTimestampTZ(nil, 1500, 3)); got != "1970-01-01T00:00:00.001Z" {
		t.Error(got)
	}
	if got := string(AppendTimestampTZ(nil, change.InfinityMicros, 3)); got != "infinity" {
		t.Error(got)
	}
	for n, want := range map[int64]string{86_400_000_000: "24:00:00", -3_020_399_000_000: "-838:59:59", 500_000: "00:00:00.5"} {
		if got := string(AppendTime(nil, n, AsNeeded)); got != want {
			t.Errorf("AppendTime(%d) = %s, want %s", n, got, want)
		}
	}
	for _, bad := range []string{"", "2024", "2024-13-01", "2024-01-31 25:00:00", "2024-01-31 12:00", "2024-01-31 12:00:00+1", "2024-01-31 12:00:00+02:", "2024-01-31 12:00:00.1234567", "12345678-01-01 00:00:00", "294276-12-31 00:00:00"} {
		if n, ok := ParseTimestamp([]byte(bad)); ok {
			t.Errorf("ParseTimestamp(%q) = %d", bad, n)
		}
	}
	for _, n := range []int64{math.MaxInt64 - 1, math.MinInt64 + 1} { // no panic, no loop
		AppendDate(nil, n)
		AppendTimestamp(nil, n, AsNeeded)
		AppendTime(nil, n, AsNeeded)
	}
}

func TestRow(t *testing.T) {
	for _, c := range []struct {
		typ  change.Type
		v    change.Value
		want string
	}{
		{change.Type{}, change.Value{Kind: change.Null}, "null"},
		{change.Type{}, change.Value{Kind: change.Bool, Num: 1}, "true"},
		{change.Type{}, change.Value{Kind: change.Int, Num: ^uint64(41)}, "-42"},
		{change.Type{}, change.Value{Kind: change.Uint, Num: math.MaxUint64}, "18446744073709551615"},
		{change.Type{}, change.Value{Kind: change.Float32, Num: uint64(math.Float32bits(0.1))}, "0.1"},
		{change.Type{}, change.Value{Kind: change.Float64, Num: math.Float64bits(math.NaN())}, `"NaN"`},
		{change.Type{}, change.Value{Kind: change.Decimal, Data: []byte("100.10")}, "100.10"},
		{change.Type{}, change.Value{Kind: change.Text, Data: []byte("a\"b")}, `"a\"b"`},
		{change.Type{}, change.Value{Kind: change.JSON, Data: []byte("{\"a\":\n [1e400, 1.0]}")}, `{"a":  [1e400, 1.0]}`},
		{change.Type{}, change.Value{Kind: change.JSON, Data: []byte("{oops")}, `"{oops"`},
		{change.Type{}, change.Value{Kind: change.Bytes, Data: []byte{0, 0xFF, 0x10}}, `"AP8Q"`},
		{change.Type{}, change.Value{Kind: change.UUID, Data: []byte("0123456789abcdef")}, `"30313233-3435-3637-3839-616263646566"`},
		{change.Type{}, change.Value{Kind: change.Date, Num: 19753}, `"2024-01-31"`},
		{change.Type{}, change.Value{Kind: change.Time, Num: 43_200_000_000}, `"12:00:00"`},
		{change.Type{}, change.Value{Kind: change.Timestamp, Num: 1706702400123456}, `"2024-01-31T12:00:00.123456"`},
		{change.Type{}, change.Value{Kind: change.TimestampTZ, Num: 1706702400000000}, `"2024-01-31T12:00:00Z"`},
		array(change.Int, "{1,NULL,3}", "[1,null,3]"),
		array(change.Int, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
		array(change.Int, "{}", "[]"),
		array(change.Text, "[0:1]={z,y}", `["z","y"]`),
		array(change.Int, "[1:1][-2:-1]={{5,6}}", "[[5,6]]"),
		array(change.Text, `{a,"","q\"x","co,mma","NULL",NULL,"b\\s"}`, `["a","","q\"x","co,mma","NULL",null,"b\\s"]`),
		array(change.Decimal, "{1.50,NaN}", `[1.50,"NaN"]`),
		array(change.Float64, "{1e+20,NaN,-Infinity}", `[100000000000000000000,"NaN","-Infinity"]`),
		array(change.Bool, "{t,f,NULL}", "[true,false,null]"),
		array(change.UUID, "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", `["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]`),
		array(change.Bytes, `{"\\x01ff",NULL}`, `["Af8=",null]`),
		array(change.JSON, `{"{\"a\": 1}"}`, `[{"a": 1}]`),
		array(change.Date, `{1970-01-02,infinity,"0044-03-15 BC"}`, `["1970-01-02","infinity","-0043-03-15"]`),
		array(change.Timestamp, `{"2020-01-01 00:00:00.123456"}`, `["2020-01-01T00:00:00.123456"]`),
		array(change.TimestampTZ, `{"2020-01-01 00:00:00+02"}`, `["2019-12-31T22:00:00Z"]`),
		array(change.Time, "{01:02:03.5}", `["01:02:03.5"]`),
		array(change.Int, "{x}", `["x"]`),         // not what the type says: kept as text
		array(change.Int, "{1,", `"{1,"`),         // no array: kept as text
		array(change.Int, "{1}}", `"{1}}"`),       //
		array(change.Int, "", `""`),               //
		array(change.Int, `{"a"b}`, `"{\"a\"b}"`), //
	} {
		table := &change.Table{Columns: []change.Column{{Name: "gone"}, {Name: "c\"1", Type: c.typ}}}
		want := `{"c\"1":` + c.want + "}"
		got := AppendRow(nil, table, change.Row{{}, c.v})
		if string(got) != want || !json.Valid(got) {
			t.Errorf("%s %q: %s, want %s", c.v.Kind, c.v.Data, got, want)
		}
	}
	if got := string(AppendRow(nil, &change.Table{}, nil)); got != "null" {
		t.Error(got)
	}
}

func array(elem change.Kind, text, want string) struct {
	typ  change.Type
	v    change.Value
	want string
} {
	return struct {
		typ  change.Type
		v    change.Value
		want string
	}{change.Type{Kind: change.Array, Elem: &change.Type{Kind: elem}}, change.Value{Kind: change.Array, Data: []byte(text)}, want}
}

func FuzzArray(f *testing.F) {
	for _, s := range []string{"{1,NULL,\"a \\\" b\"}", "{{1,2},{3,4}}", "[0:1]={a,b}", "{}", "{\\", "{\"", "{1,}", "{,1}", "{\\\\x01}"} {
		f.Add([]byte(s), byte(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, kind byte) {
		c := &change.Column{Type: change.Type{Kind: change.Array, Elem: &change.Type{Kind: change.Kind(kind % 17)}}}
		got := AppendValue([]byte("["), c, change.Value{Kind: change.Array, Data: p})
		if got = append(got, ']'); !json.Valid(got) {
			t.Fatalf("%q of %s gives %s", p, change.Kind(kind%17), got)
		}
	})
}

func FuzzValid(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,null,true,"\u00e9\n"],"b":{}}`, " [ ] ", `""`, "01", `{"a"}`, "[1,]", `"\x"`, "nul", "-", "1.e1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		got, want := Valid(p), json.Valid(p) && utf8.Valid(p)
		if got != want && !(want && strings.Count(string(p), "[")+strings.Count(string(p), "{") > maxDepth) {
			t.Fatalf("Valid(%q) = %v, encoding/json says %v", p, got, want)
		}
		out := AppendJSON(nil, p)
		if !json.Valid(out) || strings.ContainsAny(string(out), "\n\r") {
			t.Fatalf("AppendJSON(%q) = %q", p, out)
		}
	})
}

func TestDepth(t *testing.T) {
	ok := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	if !Valid([]byte(ok)) || Valid([]byte("["+ok+"]")) {
		t.Error("the limit of nesting is not where it should be")
	}
	if Valid([]byte(strings.Repeat("[", 1<<20))) {
		t.Error("unclosed")
	}
}

func wide() (*change.Table, change.Row) {
	t := &change.Table{}
	var r change.Row
	add := func(name string, k change.Kind, v change.Value) {
		v.Kind = k
		t.Columns = append(t.Columns, change.Column{Name: name, Type: change.Type{Kind: k, Elem: &change.Type{Kind: change.Text}}})
		r = append(r, v)
	}
	add("id", change.Int, change.Value{Num: 123456})
	add("qty", change.Int, change.Value{Num: 7})
	add("name", change.Text, change.Value{Data: []byte("Grace Brewster Murray Hopper")})
	add("email", change.Text, change.Value{Data: []byte("grace.hopper@example.com")})
	add("note", change.Text, change.Value{Data: []byte(strings.Repeat("note ", 12))})
	add("price", change.Decimal, change.Value{Data: []byte("12345.67")})
	add("country", change.Text, change.Value{Data: []byte("USA")})
	add("active", change.Bool, change.Value{Num: 1})
	add("attrs", change.JSON, change.Value{Data: []byte(`{"color": "red", "size": [1, 2, 3]}`)})
	add("created", change.Timestamp, change.Value{Num: 1706702400123456})
	add("updated", change.TimestampTZ, change.Value{Num: 1706702400123456})
	add("tags", change.Array, change.Value{Data: []byte(`{a,"b \"c",d}`)})
	return t, r
}

func TestRowDoesNotAllocate(t *testing.T) {
	table, row := wide()
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = AppendRow(buf[:0], table, row) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

func BenchmarkAppendRow(b *testing.B) {
	table, row := wide()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRow(buf[:0], table, row)
	}
	b.SetBytes(int64(len(buf)))
}
