package envelope

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// wide is an event of a table like that of the benchmarks: 12 columns of the usual types.
func wide() *change.Event {
	t := &change.Table{Name: change.TableName{Database: "shop", Schema: "public", Table: "customers"},
		Origin: &change.Origin{Connector: "postgresql", Name: "shop", Version: "1.0.0"}, Key: []int{0}}
	e := &change.Event{Table: t, Op: change.OpUpdate, Txn: 555, LSN: 24023128, PrevLSN: 24023119, Commit: 1559033904863123, Seen: 1559033904901841}
	add := func(name string, typ change.Type, v change.Value) {
		v.Kind = typ.Kind
		t.Columns = append(t.Columns, change.Column{Name: name, Type: typ})
		e.After = append(e.After, v)
	}
	add("id", change.Type{Kind: change.Int}, change.Value{Num: 123456})
	add("qty", change.Type{Kind: change.Int}, change.Value{Num: 7})
	add("name", change.Type{Kind: change.Text}, change.Value{Data: []byte("Grace Brewster Murray Hopper")})
	add("email", change.Type{Kind: change.Text}, change.Value{Data: []byte("grace.hopper@example.com")})
	add("note", change.Type{Kind: change.Text}, change.Value{Data: []byte(strings.Repeat("note ", 12))})
	add("price", change.Type{Kind: change.Decimal, Precision: 10, Scale: 2}, change.Value{Data: []byte("12345.67")})
	add("country", change.Type{Kind: change.Text}, change.Value{Data: []byte("USA")})
	add("active", change.Type{Kind: change.Bool}, change.Value{Num: 1})
	add("attrs", change.Type{Kind: change.JSON}, change.Value{Data: []byte(`{"color": "red", "size": [1, 2, 3]}`)})
	add("created", change.Type{Kind: change.Timestamp, Precision: -1}, change.Value{Num: 1706702400123456})
	add("updated", change.Type{Kind: change.TimestampTZ, Precision: -1}, change.Value{Num: 1706702400123456})
	add("tags", change.Type{Kind: change.Array, Elem: &change.Type{Kind: change.Text}}, change.Value{Data: []byte(`{a,"b \"c",d}`)})
	return e
}

// columnOf makes a column of a PostgreSQL table.
func columnOf(t change.Type, s Side) column {
	return New(Options{}).newColumn(&change.Column{Name: "c", Type: t, Nullable: true}, &change.Origin{Connector: connectorPostgres}, s, Placeholder)
}

func TestNullKeysAndValues(t *testing.T) {
	e := wide()
	table := *e.Table
	table.Key = nil
	key := []byte("k")
	for name, c := range map[string]struct {
		e          change.Event
		key, value string // "-": null
	}{
		"tombstone":    {change.Event{Table: e.Table, Op: change.OpTombstone, Before: e.After}, `{"id":123456}`, "-"},
		"flat delete":  {change.Event{Table: e.Table, Op: change.OpDelete, Before: e.After, Flat: true}, `{"id":123456}`, "-"},
		"raw":          {change.Event{Op: change.OpMessage, Raw: &change.Raw{Key: key, Value: []byte("v")}}, "k", "v"},
		"raw nulls":    {change.Event{Op: change.OpMessage, Raw: &change.Raw{}}, "-", "-"},
		"raw empty":    {change.Event{Op: change.OpMessage, Raw: &change.Raw{Key: []byte{}, Value: []byte{}}}, "", ""},
		"no key":       {change.Event{Table: &table, Op: change.OpDelete, Before: e.After, Flat: true}, "-", "-"},
		"key by tuple": {change.Event{Table: e.Table, Op: change.OpTombstone, Key: []byte{0x15, 9}}, `{"id":9}`, "-"},
		"bad tuple":    {change.Event{Table: e.Table, Op: change.OpTombstone, Key: []byte{0xFF}}, "-", "-"},
	} {
		enc := New(Options{})
		for _, x := range []struct {
			what, want string
			f          func([]byte, *change.Event) ([]byte, bool)
		}{{"key", c.key, enc.AppendKey}, {"value", c.value, enc.AppendValue}} {
			got, ok := x.f([]byte("before "), &c.e)
			if s := strings.TrimPrefix(string(got), "before "); ok != (x.want != "-") || ok && s != x.want || !ok && s != "" {
				t.Errorf("%s: %s %s, %v; want %s", name, x.what, got, ok, x.want)
			}
		}
	}
}

func TestTruncateAndSnapshot(t *testing.T) {
	e := wide()
	enc := New(Options{})
	tr := change.Event{Table: e.Table, Op: change.OpTruncate, LSN: 5, Commit: -1, Seen: 0}
	if _, ok := enc.AppendKey(nil, &tr); ok {
		t.Error("a truncate has a key")
	}
	got, _ := enc.AppendValue(nil, &tr)
	want := `{"before":null,"after":null,"source":{"version":"1.0.0","connector":"postgresql","name":"shop","ts_ms":-1,"snapshot":"false","db":"shop",` +
		`"sequence":"[null,\"5\"]","ts_us":-1,"ts_ns":-1000,"schema":"public","table":"customers","txId":null,"lsn":5,"xmin":null,"origin":null,"origin_lsn":null},` +
		`"transaction":null,"op":"t","ts_ms":0,"ts_us":0,"ts_ns":0}`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for s, want := range snapshotNames {
		e.Op, e.Snapshot, e.LSN, e.Txn = change.OpRead, change.Snapshot(s), 0, 0
		got, _ := enc.AppendValue(nil, e)
		if !json.Valid(got) || !strings.Contains(string(got), `"snapshot":"`+want+`"`) || !strings.Contains(string(got), `"sequence":null`) || !strings.Contains(string(got), `"txId":null,"lsn":null`) {
			t.Errorf("%d: %s", s, got)
		}
	}
	my := *e.Table
	my.Origin = &change.Origin{Connector: "mysql", Name: "shop"}
	e.Table = &my
	e.LSN = 24023128
	got, _ = enc.AppendValue(nil, e)
	if !json.Valid(got) || !strings.Contains(string(got), `"ts_ns":1559033904863123000,"table":"customers","server_id":0,"gtid":null,"file":"","pos":24023128,"row":0,"thread":null,"query":null},`) {
		t.Errorf("mysql: %s", got)
	}
}

func TestNothingIsFalsified(t *testing.T) {
	typ := func(k change.Kind, r change.Render) change.Type {
		return change.Type{Kind: k, Precision: 10, Scale: 2, Render: r}
	}
	for _, c := range []struct {
		typ  change.Type
		v    change.Value
		want string
	}{
		{typ(change.Decimal, 0), change.Value{Kind: change.Decimal, Data: []byte("1.239")}, `"1.239"`},
		{typ(change.Decimal, 0), change.Value{Kind: change.Decimal, Data: []byte("1.2")}, `"eA=="`},
		{typ(change.Decimal, 0), change.Value{Kind: change.Decimal, Data: []byte("****")}, `"****"`},
		{typ(change.Decimal, change.RenderDouble), change.Value{Kind: change.Decimal, Data: []byte("1" + strings.Repeat("0", 400))}, `"1` + strings.Repeat("0", 400) + `"`},
		{change.Type{Kind: change.Decimal, Precision: 3, Scale: -2}, change.Value{Kind: change.Decimal, Data: []byte("12300")}, `"ew=="`},
		{change.Type{Kind: change.Decimal, Precision: 3, Scale: -2}, change.Value{Kind: change.Decimal, Data: []byte("12345")}, `"12345"`},
		{typ(change.Int, 0), change.Value{Kind: change.Text, Data: []byte("masked")}, `"masked"`},
		{typ(change.Timestamp, 0), change.Value{Kind: change.Text, Data: []byte("294276-12-31 23:59:59")}, `"294276-12-31 23:59:59"`},
		{typ(change.Timestamp, change.RenderNanos), change.Value{Kind: change.Timestamp, Num: 32503680000000000}, `"3000-01-01T00:00:00Z"`},
		{typ(change.Timestamp, change.RenderNanos), change.Value{Kind: change.Timestamp, Num: 1}, "1000"},
		{typ(change.Timestamp, change.RenderNanos), change.Value{Kind: change.Timestamp, Num: change.InfinityMicros}, "9223372036825200000"},
		{typ(change.Time, change.RenderNanos), change.Value{Kind: change.Time, Num: 86_400_000_000}, "86400000000000"},
		{typ(change.Bytes, change.RenderBase64URL), change.Value{Kind: change.Bytes, Data: []byte{0xFB, 0xFF, 0xBF, 0}}, `"-_-_AA=="`},
		{change.Type{Kind: change.TimestampTZ, Precision: 0}, change.Value{Kind: change.TimestampTZ}, `"1970-01-01T00:00:00Z"`},
		{change.Type{Kind: change.Uint}, change.Value{Kind: change.Uint, Num: math.MaxUint64}, "18446744073709551615"},
		{listOf(change.Type{Kind: change.Int}), change.Value{Kind: change.Array, Data: []byte("{1,")}, `"{1,"`},
	} {
		col := columnOf(c.typ, Side{})
		if got := string(New(Options{}).appendValue(nil, &col, &c.v)); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.typ.Kind, c.v.Data, got, c.want)
		}
	}
}

func FuzzDecimal(f *testing.F) {
	f.Add(int64(-1), uint64(0), byte(3), byte(5))
	f.Add(int64(math.MaxInt64), uint64(math.MaxUint64), byte(30), byte(2))
	f.Add(int64(math.MinInt64), uint64(1), byte(0), byte(0))
	f.Fuzz(func(t *testing.T, hi int64, lo uint64, scale, more byte) {
		n := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(hi), 64), new(big.Int).SetUint64(lo))
		text := n.Text(10)
		sign := ""
		if text[0] == '-' {
			sign, text = "-", text[1:]
		}
		if pad := int(scale) + 1 - len(text); pad > 0 {
			text = strings.Repeat("0", pad) + text
		}
		if point := len(text) - int(scale); scale > 0 {
			text = text[:point] + "." + text[point:]
		}
		typ := change.Type{Kind: change.Decimal, Precision: 1000, Scale: int32(scale) + int32(more)}
		got, _ := appendDecimal(nil, &typ, []byte(sign+text))
		var raw []byte
		if err := json.Unmarshal(got, &raw); err != nil {
			t.Fatalf("%s%s: %s: %v", sign, text, got, err)
		}
		back := new(big.Int).SetBytes(raw)
		if len(raw) == 0 || len(raw) > 1 && (raw[0] == 0 && raw[1] < 0x80 || raw[0] == 0xFF && raw[1] >= 0x80) {
			t.Fatalf("%s%s: %x is not the shortest form", sign, text, raw)
		}
		if raw[0] >= 0x80 {
			back.Sub(back, new(big.Int).Lsh(big.NewInt(1), uint(len(raw))*8))
		}
		if want := n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(more)), nil)); back.Cmp(want) != 0 {
			t.Fatalf("%s%s at scale %d: %s, want %s", sign, text, typ.Scale, back, want)
		}
	})
}

func FuzzValue(f *testing.F) {
	f.Add([]byte("{1,NULL,\"a\"}"), uint64(1), byte(16), byte(16), byte(0), int32(3))
	f.Add([]byte("-12.5"), uint64(1), byte(7), byte(7), byte(2), int32(0))
	semantics := []string{"", change.SemanticBits, change.SemanticMoney, change.SemanticInterval, change.SemanticTimeTZ, change.SemanticHStore, change.SemanticPoint,
		change.SemanticGeometry, change.SemanticVector, change.SemanticFloatVector, change.SemanticSparseVector, change.SemanticUnknown, change.SemanticEnum}
	for i, text := range []string{"", "0101", "-12.345", "1 year -2 mons 03:04:05.6", "12:00:00+02", `"a"=>"b", "c"=>NULL`, "(1,2)", "0101000020E6100000000000000000F03F0000000000000040",
		"[1,2.5]", "[1]", "{1:2}/3", "x", "y"} {
		f.Add([]byte(text), uint64(i), byte(8), byte(8), byte(0), int32(i))
		f.Add([]byte(text), uint64(i), byte(7), byte(7), byte(11), int32(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, num uint64, kind, colKind, render byte, precision int32) {
		elem := change.Type{Kind: change.Kind(render % 17), Precision: precision % 40}
		table := &change.Table{Key: []int{0}, Columns: []change.Column{{Name: string(data), Type: change.Type{Kind: change.Kind(colKind % 17), Elem: &elem,
			Precision: precision % 40, Scale: precision % 7, Length: precision % 9, Bits: 64, Render: change.Render(render % 13),
			Semantic: semantics[int(uint32(precision))%len(semantics)]}}}}
		v := change.Value{Kind: change.Kind(kind % 17), Num: num, Data: data}
		e := &change.Event{Table: table, Op: change.OpUpdate, Before: change.Row{v}, After: change.Row{v}, Commit: int64(num), Seen: int64(num),
			Headers: []change.Header{{Key: change.HeaderNewKey, Value: data}, {Key: string(data), Value: data}}}
		side := Side{Schemas: precision%2 == 0, NullDefault: num%2 == 0}
		enc := New(Options{Keys: side, Values: side, Headers: side})
		for _, p := range [][]byte{first(enc.AppendKey(nil, e)), first(enc.AppendValue(nil, e)), enc.AppendHeaders(nil, e)} {
			if len(p) > 0 && (!json.Valid(p) || !jsontext.Valid(p)) {
				t.Fatalf("invalid JSON %s", p)
			}
		}
	})
}

func first(p []byte, _ bool) []byte { return p }

func TestNoAllocations(t *testing.T) {
	e := wide()
	e.Headers = []change.Header{{Key: "a", Value: []byte("b")}}
	for _, side := range []Side{{}, {Schemas: true, NullDefault: true}} {
		enc := New(Options{Keys: side, Values: side, Headers: side, RunID: "run"})
		buf := make([]byte, 0, 16384)
		if n := testing.AllocsPerRun(100, func() {
			buf, _ = enc.AppendKey(buf[:0], e)
			buf, _ = enc.AppendValue(buf, e)
			buf = enc.AppendHeaders(buf, e)
		}); n != 0 {
			t.Errorf("%v allocations a row, %+v", n, side)
		}
	}
}

func BenchmarkAppendValue(b *testing.B) {
	e := wide()
	enc := New(Options{})
	buf := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = enc.AppendKey(buf[:0], e)
		buf, _ = enc.AppendValue(buf, e)
	}
	b.SetBytes(int64(len(buf)))
}
