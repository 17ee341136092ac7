package change

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"math/rand"
	"reflect"
	"testing"
)

// keyTable is a table whose key is its first n columns; the last column is none.
func keyTable(n int) *Table {
	t := &Table{Name: TableName{Schema: "public", Table: "t"}}
	for i := range n {
		t.Columns = append(t.Columns, Column{Name: fmt.Sprint("k", i)})
		t.Key = append(t.Key, i)
	}
	t.Columns = append(t.Columns, Column{Name: "v"})
	return t
}

func keyOf(t *testing.T, vs ...Value) []byte {
	t.Helper()
	k, ok := AppendKey(nil, keyTable(len(vs)), append(Row(vs), Value{}))
	if !ok {
		t.Fatalf("no key of %v", vs)
	}
	return k
}

// randomValue makes a value of the kind, often near the edges.
func randomValue(r *rand.Rand, k Kind) Value {
	v := Value{Kind: k}
	switch k {
	case Bool:
		v.Num = uint64(r.Intn(2))
	case Int, Uint, Date, Time, Timestamp, TimestampTZ:
		v.Num = uint64(1)<<r.Intn(64) + uint64(r.Intn(5)) - 2
	case Float32:
		f := [...]float32{0, float32(math.Copysign(0, -1)), 1, -1, float32(math.Inf(1)), float32(math.Inf(-1)), math.SmallestNonzeroFloat32, r.Float32(), -r.Float32() * 1e30}
		v.Num = uint64(math.Float32bits(f[r.Intn(len(f))]))
	case Float64:
		f := [...]float64{0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, r.Float64(), -r.Float64() * 1e300}
		v.Num = math.Float64bits(f[r.Intn(len(f))])
	case Decimal:
		d := [...]string{"0", "-0", "0.00", "1", "1.0", "-1", "10", "100.10", "-100.1", "0.001", "-0.00012", "12.3", "12.30", "Infinity", "-Infinity",
			fmt.Sprint(r.Int63()), fmt.Sprintf("%d.%04d", r.Intn(3), r.Intn(10000)), fmt.Sprintf("-%d.%04d", r.Intn(3), r.Intn(10000))}
		v.Data = []byte(d[r.Intn(len(d))])
	case UUID:
		v.Data = make([]byte, 16)
		v.Data[r.Intn(16)] = byte(r.Intn(256))
	case Text, JSON, Bytes, Array:
		v.Data = make([]byte, r.Intn(5))
		for i := range v.Data {
			v.Data[i] = [...]byte{0, 1, 'a', 0xFE, 0xFF}[r.Intn(5)]
		}
	}
	return v
}

// compare orders two values of one kind by what they mean.
func compare(a, b Value) int {
	switch a.Kind {
	case Null:
		return 0
	case Bool, Uint:
		return cmp.Compare(a.Num, b.Num)
	case Float32, Float64:
		return cmp.Compare(a.Float(), b.Float())
	case Decimal:
		return decimalOf(a).Cmp(decimalOf(b))
	case Text, JSON, Bytes, Array, UUID:
		return bytes.Compare(a.Data, b.Data)
	}
	return cmp.Compare(a.Int64(), b.Int64())
}

func decimalOf(v Value) *big.Rat {
	switch string(v.Data) {
	case "Infinity":
		return new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 999))
	case "-Infinity":
		return new(big.Rat).SetInt(new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 999)))
	}
	d, ok := new(big.Rat).SetString(string(v.Data))
	if !ok {
		panic(string(v.Data))
	}
	return d
}

// TestKeyOrder: keys order as their tuples do, and equal keys are equal tuples.
func TestKeyOrder(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 200_000 {
		n := 1 + r.Intn(3)
		a, b := make([]Value, n), make([]Value, n)
		want := 0
		for i := range n {
			k := Null + Kind(r.Intn(int(kindCount-Null)))
			a[i], b[i] = randomValue(r, k), randomValue(r, k)
			if r.Intn(3) == 0 {
				b[i] = a[i]
			}
			if want == 0 {
				want = compare(a[i], b[i])
			}
		}
		ka, kb := keyOf(t, a...), keyOf(t, b...)
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("%v %x\n%v %x\ncompare as %d, want %d", a, ka, b, kb, got, want)
		}
	}
}

// TestKeyOrderOfIntAndUint: one column may hold both.
func TestKeyOrderOfIntAndUint(t *testing.T) {
	vs := []Value{{Kind: Int, Num: 1 << 63}, {Kind: Int, Num: ^uint64(0)}, {Kind: Int}, {Kind: Uint, Num: 1}, {Kind: Int, Num: math.MaxInt64}, {Kind: Uint, Num: 1 << 63}, {Kind: Uint, Num: math.MaxUint64}}
	for i := 1; i < len(vs); i++ {
		if bytes.Compare(keyOf(t, vs[i-1]), keyOf(t, vs[i])) >= 0 {
			t.Errorf("%v is not before %v", vs[i-1], vs[i])
		}
	}
	if !bytes.Equal(keyOf(t, Value{Kind: Int, Num: 7}), keyOf(t, Value{Kind: Uint, Num: 7})) {
		t.Error("7 and 7 are two keys")
	}
}

// TestKeyRoundTrip: a decoded key has the values, and makes the same key again.
func TestKeyRoundTrip(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	var b Batch
	for i := range 100_000 {
		if i%500 == 0 {
			b.Reset()
		}
		n := 1 + r.Intn(4)
		vs := make([]Value, n)
		for j := range vs {
			vs[j] = randomValue(r, Null+Kind(r.Intn(int(kindCount-Null))))
		}
		table := keyTable(n)
		key := keyOf(t, vs...)
		row, err := DecodeKey(&b, table, key)
		if err != nil {
			t.Fatalf("%v %x: %v", vs, key, err)
		}
		again, ok := AppendKey(nil, table, row)
		if !ok || !bytes.Equal(again, key) {
			t.Fatalf("%v %x decoded to %v, which makes %x", vs, key, row, again)
		}
		if row[n].Kind != Absent {
			t.Fatal("a column that is not in the key is present")
		}
		for i := range vs {
			want := vs[i]
			if want.Kind == Uint && want.Num < 1<<63 {
				want.Kind = Int
			}
			if row[i].Kind != want.Kind || compare(row[i], want) != 0 {
				t.Fatalf("%v came back as %v", vs[i], row[i])
			}
		}
	}
}

func TestNoKey(t *testing.T) {
	table := keyTable(2)
	for name, c := range map[string]struct {
		t *Table
		r Row
	}{
		"absent": {table, Row{{Kind: Int}, {}, {}}}, "short row": {table, Row{{Kind: Int}}}, "nil row": {table, nil}, "no key": {keyTable(0), Row{{Kind: Int}}},
	} {
		if got, ok := AppendKey([]byte("x"), c.t, c.r); ok || string(got) != "x" {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestNaNKeys(t *testing.T) {
	for _, k := range []Kind{Float32, Float64, Decimal} {
		v := Value{Kind: k}
		inf := Value{Kind: k}
		switch k {
		case Float32:
			v.Num, inf.Num = uint64(math.Float32bits(float32(math.NaN()))|1), uint64(math.Float32bits(float32(math.Inf(1))))
		case Float64:
			v.Num, inf.Num = math.Float64bits(math.NaN())|1<<63, math.Float64bits(math.Inf(1))
		default:
			v.Data, inf.Data = []byte("NaN"), []byte("Infinity")
		}
		if bytes.Compare(keyOf(t, inf), keyOf(t, v)) >= 0 {
			t.Errorf("%s: NaN is not above infinity, as PostgreSQL has it", k)
		}
	}
}

func TestKeyDoesNotAllocate(t *testing.T) {
	vs := []Value{{Kind: Int, Num: 5}, {Kind: Text, Data: []byte("a\x00b")}, {Kind: Decimal, Data: []byte("-100.10")}, {Kind: UUID, Data: make([]byte, 16)}, {Kind: Float64}}
	table, row := keyTable(len(vs)), append(Row(vs), Value{})
	buf := make([]byte, 0, 256)
	var b Batch
	b.Bytes(1)
	b.Row(1)
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		buf, _ = AppendKey(buf[:0], table, row)
		if _, err := DecodeKey(&b, table, buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKeyText(t *testing.T) {
	key := keyOf(t, Value{Kind: Int, Num: ^uint64(4)}, Value{Kind: Text, Data: []byte("a,b")}, Value{Kind: Null}, Value{Kind: Decimal, Data: []byte("1.50")},
		Value{Kind: Bytes, Data: []byte{1, 255}}, Value{Kind: Float64, Num: math.Float64bits(0.5)}, Value{Kind: Bool, Num: 1})
	if got, want := KeyText(key), "-5,a,b,NULL,1.5,01ff,0.5,1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := KeyText([]byte{0xEE, 1}); got != "ee01" {
		t.Error(got)
	}
}

// TestDecodeKeyScale: a decimal comes back with the digits that its column declares, as rows have it.
func TestDecodeKeyScale(t *testing.T) {
	for _, c := range []struct {
		typ        Type
		text, want string
	}{
		{Type{Kind: Decimal, Precision: 10, Scale: 2}, "3012.50", "3012.50"},
		{Type{Kind: Decimal, Precision: 10, Scale: 2}, "3000.00", "3000.00"},
		{Type{Kind: Decimal, Precision: 10, Scale: 2}, "-0.10", "-0.10"},
		{Type{Kind: Decimal, Precision: 10, Scale: 2}, "0.00", "0.00"},
		{Type{Kind: Decimal, Precision: 10, Scale: 2}, "NaN", "NaN"},
		{Type{Kind: Decimal, Precision: 10}, "120", "120"},
		{Type{Kind: Decimal, Precision: 3, Scale: -2}, "1200", "1200"},
		{Type{Kind: Decimal}, "1.50", "1.5"},
	} {
		table := &Table{Columns: []Column{{Name: "d", Type: c.typ}}, Key: []int{0}}
		key, ok := AppendKey(nil, table, Row{{Kind: Decimal, Data: []byte(c.text)}})
		var b Batch
		row, err := DecodeKey(&b, table, key)
		if !ok || err != nil || string(row[0].Data) != c.want {
			t.Errorf("%+v %s came back as %s, %v", c.typ, c.text, row[0].Data, err)
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	r := rand.New(rand.NewSource(3))
	for k := Null; k < kindCount; k++ {
		key, _ := AppendKey(nil, keyTable(1), Row{randomValue(r, k), {}})
		f.Add(byte(1), key)
	}
	f.Add(byte(2), []byte{0x15, 1, 0x28, 'a', 0})
	f.Add(byte(1), []byte{0x22, 3, 0x40, 0x10, 0, 0, '1', 0})
	f.Fuzz(func(t *testing.T, n byte, key []byte) {
		table := keyTable(int(n % 5))
		var b Batch
		row, err := DecodeKey(&b, table, key)
		KeyText(key)
		if err != nil || n%5 == 0 {
			return
		}
		again, ok := AppendKey(nil, table, row)
		if !ok || !bytes.Equal(again, key) {
			t.Fatalf("%x decodes to %v, which makes %x", key, row, again)
		}
		second, err := DecodeKey(&b, table, again)
		if err != nil || !reflect.DeepEqual(row, second) {
			t.Fatalf("%v, %v, %v", row, second, err)
		}
	})
}
