package golden

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func rec(topic, key, value string) Record {
	return Record{Topic: topic, Key: json.RawMessage(key), Value: json.RawMessage(value)}
}

// TestCompareCanFail: whatever differs is found, and what varies is not.
func TestCompareCanFail(t *testing.T) {
	want := rec("t", `{"id":1}`, `{"after":{"id":1,"f":1.0E10,"n":null},"source":{"lsn":5,"snapshot":"false"},"op":"c","ts_ms":1}`)
	for value, path := range map[string]string{
		`{"after":{"id":1,"f":10000000000,"n":null},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2}`:        "",
		`{"after":{"id":2,"f":1e10,"n":null},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2}`:               "value.after.id",
		`{"after":{"id":"1","f":1e10,"n":null},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2}`:             "value.after.id",
		`{"after":{"id":1,"f":1e10},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2}`:                        "value.after.n",
		`{"after":{"id":1,"f":1e10,"n":null,"x":null},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2}`:      "value.after.x",
		`{"after":{"id":1,"f":1e10,"n":null},"source":{"lsn":null,"snapshot":"false"},"op":"c","ts_ms":2}`:            "value.source.lsn",
		`{"after":{"id":1,"f":10000000000.5,"n":null},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2}`:      "value.after.f",
		`{"after":{"id":1,"f":10000000000,"n":null},"source":{"lsn":7,"snapshot":"false"},"op":"c","ts_ms":2,"a":[]}`: "value.a",
		`null`: "value",
	} {
		list := Compare([]Record{want}, []Record{rec("t", `{"id":1}`, value)})
		if path == "" && len(list) > 0 || path != "" && (len(list) != 1 || list[0].Path != path) {
			t.Errorf("%s: %v, want %q", value, list, path)
		}
	}
	if list := Compare([]Record{want}, nil); len(list) != 1 || list[0].Path != "record" {
		t.Errorf("a record is missing: %v", list)
	}
	if list := Compare(nil, []Record{want}); len(list) != 1 {
		t.Errorf("a record too many: %v", list)
	}
	h := want
	h.Headers = []Header{{Key: "a", Value: json.RawMessage(`1`)}}
	if list := Compare([]Record{want}, []Record{h}); len(list) != 2 { // the header and the order
		t.Errorf("a header too many: %v", list)
	}
	a := rec("t", "null", `{"schema":{"fields":[{"field":"a"},{"field":"b"}]},"payload":null}`)
	b := rec("t", "null", `{"schema":{"fields":[{"field":"b"},{"field":"a"}]},"payload":null}`)
	if list := Compare([]Record{a}, []Record{b}); len(list) == 0 {
		t.Error("the order of fields is not compared")
	}
}

func TestDifferences(t *testing.T) {
	table := []Difference{{What: "x", Where: []Place{{"s", `value\.after\.n`}}}, {What: "y", Where: []Place{{Scenario: "s"}},
		Theirs: func(r *Record) bool { return string(r.Value) == "null" }}}
	seen := map[string]bool{}
	theirs, ours := LeaveOut(table, "s", []Record{rec("t", "1", "null"), rec("t", "1", `{"after":{"n":1}}`)}, []Record{rec("t", "1", `{"after":{"n":2}}`)}, seen)
	rest, err := Explained(table, "s", Compare(theirs, ours), seen)
	if err != nil || len(rest) != 0 || len(Unseen(table, map[string]bool{"s": true}, seen)) != 0 {
		t.Errorf("%v %v %v", rest, err, seen)
	}
	if got := Unseen(table, map[string]bool{"s": true}, map[string]bool{}); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestStatements(t *testing.T) {
	got := Statements("insert into t values('a;b', E'\\';', \"x;y\"); do $$begin; end$$; -- c;\nselect 1;\n\n", false)
	if got := Statements(`insert into t values('a\';b', "\";x"); select 1`, true); len(got) != 2 {
		t.Errorf("%q", got)
	}
	if want := []string{`insert into t values('a;b', E'\';', "x;y")`, "do $$begin; end$$", "-- c;\nselect 1"}; !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}
