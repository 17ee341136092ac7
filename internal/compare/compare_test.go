package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
)

// TestNormalForms holds for each type what PostgreSQL, a document and an event say of one value: all must mean the same.
func TestNormalForms(t *testing.T) {
	for _, c := range []struct {
		column              Column
		postgres, doc, even string
		want                string
	}{
		{Column{Kind: change.Bool}, "t", "true", "true", "true"},
		{Column{Kind: change.Bool}, "f", "false", "false", "false"},
		{Column{Kind: change.Int}, "9007199254740993", "9007199254740993", "9007199254740993", "9007199254740993"},
		{Column{Kind: change.Decimal}, "-12.340", "-12.340", `"-12.340"`, "-12.340"},
		{Column{Kind: change.Decimal}, "NaN", `"NaN"`, `"NaN"`, "NaN"},
		{Column{Kind: change.Decimal}, "NaN", `"NaN"`, `"NAN"`, "NaN"},
		{Column{Kind: change.Decimal}, "-Infinity", `"-Infinity"`, `"NEGATIVE_INFINITY"`, "-Infinity"},
		{Column{Kind: change.Float64}, "1e+10", "10000000000", "1.0E10", "1e+10"},
		{Column{Kind: change.Float32}, "0.1", "0.1", "0.1", "0.1"},
		{Column{Kind: change.Float64}, "-Infinity", `"-Infinity"`, `"-Infinity"`, "-Inf"},
		{Column{Kind: change.Text}, "a\tb\"\u00e9\U0001F600", `"a\tb\"\u00e9\ud83d\ude00"`, "\"a\\tb\\\"\u00e9\U0001F600\"", "a\tb\"\u00e9\U0001F600"},
		{Column{Kind: change.Text}, "a\xffb", `"a\udcFFb"`, `"a\udcffb"`, "a\xffb"},
		{Column{Kind: change.Text}, "", `""`, `""`, ""},
		{Column{Kind: change.Bytes}, `\x00ff10`, `"AP8Q"`, `"AP8Q"`, "AP8Q"},
		{Column{Kind: change.UUID}, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`,
			`"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{Column{Kind: change.JSON}, `{"a": [1, 2.50, "x y"]}`, `{"a": [1, 2.50, "x y"]}`, `"{\"a\": [1, 2.50, \"x y\"]}"`, `{"a":[1,2.50,"x y"]}`},
		{Column{Kind: change.JSON}, `"s"`, `"s"`, `"\"s\""`, `"s"`},
		{Column{Kind: change.Date}, "2024-01-31", `"2024-01-31"`, "19753", "2024-01-31"},
		{Column{Kind: change.Date}, "1969-12-31", `"1969-12-31"`, "-1", "1969-12-31"},
		{Column{Kind: change.Time, Digits: 6}, "12:00:00.5", `"12:00:00.5"`, "43200500000", "12:00:00.5"},
		{Column{Kind: change.Time, Digits: 3}, "12:00:00.5", `"12:00:00.5"`, "43200500", "12:00:00.5"},
		{Column{Kind: change.Timestamp, Digits: 6}, "2024-01-31 12:00:00.123456", `"2024-01-31T12:00:00.123456"`, "1706702400123456", "2024-01-31T12:00:00.123456"},
		{Column{Kind: change.Timestamp, Digits: 6}, "1969-12-31 23:59:59.5", `"1969-12-31T23:59:59.5"`, "-500000", "1969-12-31T23:59:59.5"},
		{Column{Kind: change.Timestamp, Digits: 0}, "2024-01-31 12:00:00", `"2024-01-31T12:00:00"`, "1706702400000", "2024-01-31T12:00:00"},
		{Column{Kind: change.TimestampTZ}, "2024-01-31 12:00:00.12+00", `"2024-01-31T12:00:00.12Z"`, `"2024-01-31T12:00:00.120000Z"`, "2024-01-31T12:00:00.12Z"},
		{Column{Kind: change.TimestampTZ}, "2024-01-31 12:00:00+00", `"2024-01-31T12:00:00Z"`, `"2024-01-31T12:00:00.000000Z"`, "2024-01-31T12:00:00Z"},
		{Column{Kind: change.Array, Elem: change.Text}, `{a,NULL,"NULL","b \"c\""}`, `["a",null,"NULL","b \"c\""]`, `["a",null,"NULL","b \"c\""]`, `["a",NULL,"NULL","b \"c\""]`},
		{Column{Kind: change.Array, Elem: change.Int}, `[0:1]={1,2}`, `[1,2]`, `[1,2]`, `["1","2"]`},
		{Column{Kind: change.Array, Elem: change.Int}, `{{1,2},{3,NULL}}`, `[[1,2],[3,null]]`, `[[1,2],[3,null]]`, `[["1","2"],["3",NULL]]`},
		{Column{Kind: change.Array, Elem: change.Int}, `{}`, `[]`, `[]`, `[]`},
	} {
		c.column.Name = "x"
		for side, f := range map[string]func() ([]byte, error){
			"postgres": func() ([]byte, error) { return fromPostgres(nil, &c.column, []byte(c.postgres)) },
			"document": func() ([]byte, error) { return fromJSON(nil, &c.column, natural, []byte(c.doc)) },
			"event":    func() ([]byte, error) { return fromJSON(nil, &c.column, envelope, []byte(c.even)) },
		} {
			if got, err := f(); err != nil || string(got) != c.want {
				t.Errorf("%s, %s: %q, %v; want %q", c.column.Kind, side, got, err, c.want)
			}
		}
	}
}

func TestMalformedJSON(t *testing.T) {
	for _, s := range []string{``, `{`, `{"a"}`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{a:1}`, `["`, `{"a":"\u12"}`} {
		c := Column{Name: "a", Kind: change.Text}
		r := row{}
		r.clear(NewTable("s", "t", []Column{c}, 0))
		if err := r.document([]byte(s), natural); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	for _, s := range []string{`"\ud800"`, `"\ud800x"`, `"\ud83d\u0041"`, `"\x"`, `"\`} {
		if got, err := unquote([]byte(s)); err == nil {
			t.Errorf("unquote(%s) = %q", s, got)
		}
	}
}

// table has two key columns, not in the order of the columns.
func table() *Table {
	return NewTable("public", "pair", []Column{{Name: "b", Kind: change.Int}, {Name: "a", Kind: change.Text}, {Name: "v", Kind: change.Text}}, 1, 0)
}

// records makes a log from offset-ordered values.
func records(lines ...string) Side {
	return NewLog(func(context.Context, string) (io.ReadCloser, error) {
		var b strings.Builder
		for i, l := range lines {
			fmt.Fprintf(&b, `{"topic":"t","partition":0,"offset":%d,"timestamp":1,%s,"headers":[]}`+"\n", i, l)
		}
		return io.NopCloser(strings.NewReader(b.String())), nil
	}, (*Table).String)
}

func read(t *testing.T, s Side, table *Table) map[string]string {
	t.Helper()
	rows := map[string]string{}
	err := s.Read(t.Context(), table, func(key, line string) error {
		rows[key] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestFoldWithoutKey counts rows that nothing tells apart.
func TestFoldWithoutKey(t *testing.T) {
	bag := NewTable("public", "bag", []Column{{Name: "v", Kind: change.Int}, {Name: "raw", Kind: change.Bytes}})
	made := `"key":null,"value":{"op":"c","before":null,"after":{"v":1,"raw":"AAA="}}`
	changed := `"key":null,"value":{"op":"u","before":{"v":1,"raw":"AAA="},"after":{"v":2,"raw":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}}`
	gone := `"key":null,"value":{"op":"d","before":{"v":1,"raw":"AAA="},"after":null}`
	for name, c := range map[string]struct {
		log  []string
		want string
	}{
		"twice":          {[]string{made, made}, "1	AAA= 1	AAA="},
		"one of them":    {[]string{made, made, gone}, "1	AAA="},
		"an old value":   {[]string{made, made, changed}, "1	AAA= 2	AAA="},
		"truncate":       {[]string{made, `"key":null,"value":{"op":"t","before":null,"after":null}`}, ""},
		"once too often": {[]string{made, gone, gone}, "error"},
	} {
		var rows []string
		err := records(c.log...).Read(t.Context(), bag, func(_, line string) error {
			rows = append(rows, line)
			return nil
		})
		slices.Sort(rows)
		if got := strings.Join(rows, " "); got != c.want && (err == nil || c.want != "error") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestFoldOfTheLog(t *testing.T) {
	key := `"key":{"a":"k","b":1}`
	snapshot := key + `,"value":{"op":"r","before":null,"after":{"b":1,"a":"k","v":"long"}}`
	unchanged := key + `,"value":{"op":"u","before":null,"after":{"b":1,"a":"k","v":"__debezium_unavailable_value"}}`
	null := key + `,"value":{"op":"u","before":null,"after":{"b":1,"a":"k","v":null}}`
	gone := key + `,"value":{"op":"d","before":{"b":1,"a":"k","v":null},"after":null}`
	tombstone := key + `,"value":null`
	truncate := `"key":null,"value":{"op":"t","before":null,"after":null}`
	for name, c := range map[string]struct {
		log  []string
		want string
	}{
		"snapshot":                    {[]string{snapshot}, "1\tk\tlong"},
		"an absent value is kept":     {[]string{snapshot, unchanged}, "1\tk\tlong"},
		"NULL is no absent value":     {[]string{snapshot, null}, "1\tk\t\\N"},
		"absent without predecessor":  {[]string{unchanged}, "1\tk\t\\N"},
		"delete":                      {[]string{snapshot, gone}, ""},
		"delete, tombstone":           {[]string{snapshot, gone, tombstone}, ""},
		"tombstone alone":             {[]string{snapshot, tombstone}, ""},
		"absent after a delete":       {[]string{snapshot, gone, unchanged}, "1\tk\t\\N"},
		"truncate":                    {[]string{snapshot, truncate}, ""},
		"what comes after a truncate": {[]string{truncate, snapshot}, "1\tk\tlong"},
	} {
		if got := read(t, records(c.log...), table())["k\t1"]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if err := records(key+`,"value":{"op":"x"}`).Read(t.Context(), table(), nil); err == nil {
		t.Error("an unknown op was taken")
	}
}

// fixed is a side that holds the same rows always.
type fixed struct {
	name string
	rows [][2]string
	err  error
}

func (f fixed) Name() string { return f.name }

func (f fixed) Read(_ context.Context, _ *Table, emit func(key, line string) error) error {
	for _, r := range f.rows {
		if err := emit(r[0], r[1]); err != nil {
			return err
		}
	}
	return f.err
}

func TestRunFindsWhatDiffers(t *testing.T) {
	rows := [][2]string{{"k\t1", "1\tk\tx"}, {"k\t2", "2\tk\ty"}}
	source := fixed{name: "source", rows: rows}
	for name, c := range map[string]struct {
		other fixed
		equal bool
		diff  string
	}{
		"other order":  {fixed{rows: [][2]string{rows[1], rows[0]}}, true, ""},
		"one missing":  {fixed{rows: rows[:1]}, false, "missing"},
		"one too many": {fixed{rows: append(rows[:2:2], [2]string{"k\t3", "3\tk\tz"})}, false, "should not be there"},
		"one twice":    {fixed{rows: append(rows[:2:2], rows[0])}, false, "twice"},
		"other value":  {fixed{rows: [][2]string{rows[0], {"k\t2", "2\tk\tY"}}}, false, "column v: Y, want y"},
		"swapped":      {fixed{rows: [][2]string{{"k\t1", "1\tk\ty"}, {"k\t2", "2\tk\tx"}}}, false, "column v: y, want x"},
		"unreadable":   {fixed{rows: rows, err: errors.New("boom")}, false, "boom"},
	} {
		sides := []Side{source, c.other}
		results, err := Run(t.Context(), []*Table{table()}, sides)
		if err != nil || results[0].Equal() != c.equal {
			t.Errorf("%s: equal %v, %v; want %v", name, results[0].Equal(), err, c.equal)
		}
		var text strings.Builder
		Explain(t.Context(), &text, results, sides)
		if c.equal != (text.Len() == 0) || !strings.Contains(text.String(), c.diff) {
			t.Errorf("%s is explained as %q, want %q", name, text.String(), c.diff)
		}
		if err := Print(&text, results, sides); err != nil || c.equal == strings.Contains(text.String(), "DIFFERENT") {
			t.Errorf("%s is printed as\n%s", name, text.String())
		}
	}
}

// TestRealServers writes the same rows into a table, Elasticsearch and Redis.
func TestRealServers(t *testing.T) {
	url := servers.Need(t, "postgres15")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`DROP SCHEMA IF EXISTS compare_test CASCADE; CREATE SCHEMA compare_test;
		CREATE TABLE compare_test.t (v text, n numeric(12,2)[], at timestamptz(3), d bytea, id2 int, id1 text, PRIMARY KEY (id1, id2));
		INSERT INTO compare_test.t VALUES (E'a\tb\\\n', '{1.50,NULL}', '2024-01-31 12:00:00.120+00', '\x00ff', 1, 'k'), (NULL, NULL, NULL, NULL, 2, 'k')`)
	t.Cleanup(func() {
		if err := Exec(context.Background(), url, "DROP SCHEMA compare_test CASCADE"); err != nil {
			t.Error(err)
		}
	})
	tables, err := Tables(t.Context(), conn, "compare_test")
	if err != nil || len(tables) != 1 {
		t.Fatalf("Tables = %v, %v", tables, err)
	}
	if got := fmt.Sprint(tables[0].Key, tables[0].Columns[1].Elem, tables[0].Columns[2].Digits); got != "[5 4] decimal 3" {
		t.Errorf("key, element, digits = %s", got)
	}
	docs := map[string]string{
		"k:1": `{"v":"a\tb\\\n","n":[1.50,null],"at":"2024-01-31T12:00:00.12Z","d":"AP8=","id2":1,"id1":"k"}`,
		"k:2": `{"id2":2,"id1":"k","v":null}`,
	}
	source := NewPostgres("source", url, nil)
	sides := []Side{source, NewPostgres("copy", url, func(*Table) (string, string) { return "compare_test", "t" })}
	t.Run("redis", func(t *testing.T) {
		addr := servers.Need(t, "redis")
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for k, d := range docs {
			key := "compare[test]:" + k
			if err := client.Do(t.Context(), client.B().Set().Key(key).Value(d).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			defer client.Do(context.Background(), client.B().Del().Key(key).Build())
		}
		equal(t, tables, append(sides, NewRedis(addr, func(*Table) string { return "compare[test]:" })))
	})
	t.Run("elasticsearch", func(t *testing.T) {
		node := servers.Need(t, "elasticsearch8")
		e := elasticsearch{url: node}
		for k, d := range docs {
			if _, err := e.call(t.Context(), http.MethodPut, "/compare_test/_doc/"+k, d); err != nil {
				t.Fatal(err)
			}
		}
		defer e.call(context.Background(), http.MethodDelete, "/compare_test", "")
		equal(t, tables, append(sides, NewElasticsearch(node, func(*Table) string { return "compare_test" })))
	})
}

func equal(t *testing.T, tables []*Table, sides []Side) {
	t.Helper()
	results, err := Run(t.Context(), tables, sides)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Sums[0].Rows != 2 || !results[0].Equal() {
		var text strings.Builder
		Explain(t.Context(), &text, results, sides)
		t.Errorf("%+v\n%s", results[0], text.String())
	}
}
