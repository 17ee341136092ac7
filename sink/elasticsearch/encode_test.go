package elasticsearch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func TestIndexName(t *testing.T) {
	long := strings.Repeat("漢", 100)
	for topic, want := range map[string]string{
		"shop.public.Orders": "shop.public.orders", "a b/c": "a_b_c", "_x": "t_x", "..": "t..", ".": "t.", "-": "t-", "": "t",
		`a\*?"<>|,#:z`: "a__________z", "ÄÖÜ": "äöü", "tab\there\x7f": "tab_here_",
	} {
		if got := indexName("", topic, ""); got != want {
			t.Errorf("index of %q is %q, want %q", topic, got, want)
		}
	}
	if got := indexName("pre-", "T", "-suf"); got != "pre-t-suf" {
		t.Errorf("index is %q", got)
	}
	a, b := indexName("", long+"a", ""), indexName("", long+"b", "")
	if len(a) > maxName || a == b || !utf8.ValidString(a) {
		t.Errorf("long names: %q, %q", a, b)
	}
}

func TestID(t *testing.T) {
	for _, c := range []struct {
		typ  string
		v    change.Value
		want string
	}{
		{"int8", sinktest.Int(-42), "-42"}, {"text", sinktest.Text("plain / text"), "plain / text"}, {"text", sinktest.Text(""), "~"},
		{"text", sinktest.Text("~"), "~~"}, {"text", sinktest.Text("~sha256:x"), "~~sha256:x"}, {"text", sinktest.Text(`a:b\c`), `a:b\c`},
		{"numeric", sinktest.Decimal("1.500"), "1.5"}, {"numeric", sinktest.Decimal("100"), "100"}, {"numeric", sinktest.Decimal("-0.00"), "0"},
		{"numeric", sinktest.Decimal("10.0"), "10"}, {"float8", sinktest.Float64(-0.0), "0"}, {"bool", sinktest.Bool(true), "true"},
		{"uuid", sinktest.UUID([16]byte{1}), "01000000-0000-0000-0000-000000000000"}, {"date", sinktest.At(change.Date, 0), "1970-01-01"},
		{"bytea", sinktest.Bytes([]byte{0xff}), "/w=="}, {"timestamptz", sinktest.At(change.TimestampTZ, 0), "1970-01-01T00:00:00Z"},
	} {
		tb := sinktest.Table("t", 1, []string{"a"}, sinktest.Column("a", c.typ))
		if got := string(appendID([]byte("x"), tb, change.Row{c.v})); got != "x"+c.want {
			t.Errorf("id of %s %q is %q, want %q", c.typ, c.v.Data, got[1:], c.want)
		}
	}
	tb := sinktest.Table("t", 1, []string{"b", "a"}, sinktest.Column("a", "text"), sinktest.Column("b", "text"))
	if got := string(appendID(nil, tb, change.Row{sinktest.Text(`x\`), sinktest.Text("y:")})); got != `y\::x\\` {
		t.Errorf("id is %q", got)
	}
}

// FuzzID: two keys never have one id, and every id is one that Elasticsearch takes.
func FuzzID(f *testing.F) {
	f.Add("x:", "y", "x", ":y")
	f.Add("", "", "", "~")
	f.Add("~", "", "~~", "")
	f.Add(strings.Repeat("k", 512), "", strings.Repeat("k", 513), "")
	f.Add("\xff", "a", "\xfe", "a")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		one := sinktest.Table("t", 1, []string{"a"}, sinktest.Column("a", "text"))
		two := sinktest.Table("t", 1, []string{"a", "b"}, sinktest.Column("a", "text"), sinktest.Column("b", "text"))
		check := func(equal bool, x, y []byte) {
			if bytes.Equal(x, y) != equal {
				t.Errorf("(%q, %q) and (%q, %q) have the ids %q and %q", a, b, c, d, x, y)
			}
			for _, p := range [2][]byte{x, y} {
				if len(p) == 0 || len(p) > maxID || !utf8.Valid(p) {
					t.Errorf("id %q", p)
				}
			}
		}
		check(a == c, appendID(nil, one, change.Row{sinktest.Text(a)}), appendID(nil, one, change.Row{sinktest.Text(c)}))
		check(a == c && b == d, appendID(nil, two, change.Row{sinktest.Text(a), sinktest.Text(b)}), appendID(nil, two, change.Row{sinktest.Text(c), sinktest.Text(d)}))
	})
}

func TestMember(t *testing.T) {
	object := []byte(" { \"a\" : 9007199254740993 ,\n \"b\":{\"a\":[1,{\"x\":\"}\\\"]\"}]}, \"c\\u0064\": \"e,:f\" ,\"n\":null,\"t\":true,\"d\":1.0,\"d\":[ ]}")
	for name, want := range map[string]string{"a": "9007199254740993", "b": `{"a":[1,{"x":"}\"]"}]}`, "cd": `"e,:f"`, "n": "null", "t": "true", "d": "[ ]", "x": "", "": ""} {
		if got := string(member(object, name)); got != want {
			t.Errorf("member %q is %s, want %s", name, got, want)
		}
	}
}

// FuzzMember compares with encoding/json on valid objects, and must not panic or run off on others.
func FuzzMember(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":"\"","a":[{}]}`), "a")
	f.Add([]byte(`{"":{"\\":"x"}}`), "")
	f.Add([]byte(`{"a":`), "a")
	f.Fuzz(func(t *testing.T, object []byte, name string) {
		got := member(object, name)
		var want map[string]json.RawMessage
		if !utf8.Valid(object) || json.Unmarshal(object, &want) != nil || want == nil {
			return
		}
		if !utf8.ValidString(name) {
			return
		}
		if w := bytes.TrimSpace(want[name]); !bytes.Equal(got, w) {
			t.Errorf("member %q of %s is %s, want %s", name, object, got, w)
		}
	})
}

func TestDocument(t *testing.T) {
	tb := sinktest.Table("t", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("a", "text"), sinktest.Column("b", "json"), sinktest.Column("gone", "text"))
	s := &sink.State{Table: tb, Row: change.Row{sinktest.Int(1), sinktest.Text("new"), {}, {}}}
	old := []byte("{\"id\":1,\"a\":\"old\",\"b\":{\"n\":\n1.0},\"foreign\":3}")
	if got := string(appendDocument(nil, s, old, 0)); got != "{\"id\":1,\"a\":\"new\",\"b\":{\"n\": 1.0}}\n" {
		t.Errorf("document is %q", got)
	}
	if got := string(appendDocument(nil, s, nil, 7)); got != "{\"id\":1,\"a\":\"new\",\"_tailrace_partition\":7}\n" {
		t.Errorf("document is %q", got)
	}
}

func orders(n int64) (*sinktest.History, *change.Table) {
	t := sinktest.Table("orders", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "int4"),
		sinktest.Column("a", "text"), sinktest.Column("b", "text"), sinktest.Column("c", "text"), sinktest.Column("price", "numeric"),
		sinktest.Column("paid", "bool"), sinktest.Column("doc", "json"), sinktest.Column("at", "timestamptz"))
	h := sinktest.NewHistory("shop.public.orders")
	for id := range n {
		h.Create(t, sinktest.Int(id), sinktest.Int(id%1000), sinktest.Text(fmt.Sprintf("customer number %d of the shop", id)),
			sinktest.Text("Musterstraße 17, 12345 Berlin"), sinktest.Text("a remark of some length, as people write them"),
			sinktest.Decimal("1234.50"), sinktest.Bool(id%2 == 0), sinktest.JSON(`{"size":"L","colors":["red","blue"]}`),
			sinktest.At(change.TimestampTZ, 1_706_702_400_123_456+id))
	}
	return h, t
}

// encode does what Write does up to the requests, and returns their bytes.
func encode(t testing.TB, k *Sink, b *change.Batch) (n int) {
	var rejected sink.Rejected
	k.begin()
	for i := range b.Events {
		if err := k.take(t.Context(), i, &b.Events[i], &rejected); err != nil || rejected != nil {
			t.Fatal(err, rejected)
		}
	}
	for done := 0; done < len(k.order); {
		done += k.lanes[0].build(k.order[done:], nil)
		n += len(k.lanes[0].body)
	}
	return n
}

// mapped returns a sink that takes the index of the table for made.
func mapped(h *sinktest.History, t *change.Table) *Sink {
	k := newSink(&Config{Rows: 2000, Bytes: 1 << 20, InFlight: 1, IgnSchema: true}, nil)
	k.indexes[h.Topic] = newIndex(h.Topic)
	k.indexes[h.Topic].table = t
	return k
}

func TestEncodeAllocs(t *testing.T) {
	h, tb := orders(1000)
	for id := range int64(100) {
		h.Delete(tb, sinktest.Int(id*3))
	}
	b, k := h.Take(), mapped(h, tb)
	encode(t, k, b)
	if n := testing.AllocsPerRun(20, func() { encode(t, k, b) }); n > 0 {
		t.Errorf("%v allocations for a batch of %d events, want none", n, len(b.Events))
	}
}

// BenchmarkEncode measures the path from events to bulk bodies.
func BenchmarkEncode(b *testing.B) {
	h, tb := orders(1000)
	batch, k := h.Take(), mapped(h, tb)
	b.ReportAllocs()
	bytes := 0
	for b.Loop() {
		bytes = encode(b, k, batch)
	}
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}
