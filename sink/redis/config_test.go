package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct{ key, value, problem string }{
		{"redis.uri", "rediss://cache:6380/2", ""},
		{"redis.uri", "${env:URI}", ""},
		{"redis.uri", "http://cache", "redis.uri"},
		{"redis.uri", "redis://u:s3cr3t@cache", "redis.uri"},
		{"redis.uri", "redis://cache/x", "redis.uri"},
		{"redis.type", "HASH", ""},
		{"redis.type", "stream", "redis.type"},
		{"key.format", "cache:${table}:${key}", ""},
		{"key.format", "${topic}", "key.format"},
		{"key.format", "${tpoic}:${key}", "key.format"},
		{"key.separator", "|", ""},
		{"key.separator", "::", "key.separator"},
		{"key.separator", `\`, "key.separator"},
		{"ttl.ms", "-1", "ttl.ms"},
		{"state.prefix", "", "state.prefix"},
		{"redis.cluster.enabled", "true", "redis.cluster.enabled"},
	} {
		problems := Plugin.Check(map[string]string{c.key: c.value})
		switch {
		case c.problem == "" && len(problems) > 0:
			t.Errorf("%s=%s: %v, want no problem", c.key, c.value, problems)
		case c.problem != "" && (len(problems) != 1 || problems[0].Key != c.problem):
			t.Errorf("%s=%s: %v, want one problem of %s", c.key, c.value, problems, c.problem)
		}
		if strings.Contains(fmt.Sprint(problems), "s3cr3t") {
			t.Errorf("%s: a problem shows the password: %v", c.key, problems)
		}
	}
	if p := Plugin.Check(nil); len(p) != 0 {
		t.Errorf("the defaults have the problems %v", p)
	}
}

func TestKeys(t *testing.T) {
	one := sinktest.Table("t", 1, []string{"a"}, sinktest.Column("a", "text"))
	two := sinktest.Table("t", 1, []string{"a", "b"}, sinktest.Column("a", "text"), sinktest.Column("b", "text"))
	for _, c := range []struct {
		table *change.Table
		row   change.Row
		want  string
	}{
		{one, change.Row{sinktest.Text("a:b")}, "a:b"},
		{one, change.Row{sinktest.Text(`a\b`)}, `a\\b`},
		{one, change.Row{sinktest.Null()}, `\N`},
		{one, change.Row{sinktest.Text(`\N`)}, `\\N`},
		{two, change.Row{sinktest.Text("a"), sinktest.Text("b")}, "a:b"},
		{two, change.Row{sinktest.Text("a:"), sinktest.Text("b")}, `a\::b`},
		{two, change.Row{sinktest.Text("a"), sinktest.Text(":b")}, `a:\:b`},
		{two, change.Row{sinktest.Text(`a\`), sinktest.Text("b")}, `a\\:b`},
		{one, change.Row{sinktest.Int(-5)}, "-5"},
		{one, change.Row{sinktest.At(change.TimestampTZ, 0)}, "1970-01-01T00:00:00Z"},
	} {
		if got := string(appendKey(nil, c.table, c.row, ':')); got != c.want {
			t.Errorf("key of %v is %s, want %s", c.row, got, c.want)
		}
	}
}

func TestKeyFormat(t *testing.T) {
	f, err := parseFormat("x:${topic}:${schema}:${table}:${key}")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.of("shop.public.t", sinktest.Table("t", 1, nil)); got != "x:shop.public.t:public:t:" {
		t.Errorf("prefix is %s", got)
	}
}

// TestTooLarge: what Redis cannot take is refused before it is sent, without a trace in the arguments.
func TestTooLarge(t *testing.T) {
	table := items()
	row := change.Row{sinktest.Int(1), sinktest.Text("a"), sinktest.Text(strings.Repeat("x", 200))}
	for _, hash := range []bool{false, true} {
		for _, whole := range []bool{false, true} {
			e := encoder{hash: hash, limit: 200}
			e.reset()
			st := &sink.State{Key: []byte("k"), Table: table, Row: row, Version: 7}
			if err := e.row(st, whole); fault.Code(err) != "ROW_TOO_LARGE" {
				t.Errorf("hash=%v whole=%v: %v, want ROW_TOO_LARGE", hash, whole, err)
			}
			for _, l := range e.lists() {
				if l.n != 0 || len(l.buf) != packHeader {
					t.Errorf("hash=%v whole=%v: %d elements, %d bytes left", hash, whole, l.n, len(l.buf))
				}
			}
		}
	}
}
