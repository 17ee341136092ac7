package unwrap

import (
	"context"
	"strconv"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

func table() *change.Table {
	return &change.Table{
		Name:   change.TableName{Database: "refdb", Schema: "public", Table: "st"},
		Origin: &change.Origin{Connector: "postgresql", Name: "ref", Version: "9"}, Version: 3, Key: []int{0},
		Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int}}, {Name: "v", Type: change.Type{Kind: change.Text}}},
	}
}

func fill(b *change.Batch, t *change.Table, ops string) {
	one := []byte{1}
	for i, op := range ops {
		e := b.Add()
		e.Table, e.Op, e.LSN, e.Txn, e.Key = t, change.Op(op), uint64(i+1), 7, b.Copy(one)
		e.Commit, e.Seen = 1_795_328_951_660_999, 1_795_328_951_700_001
		row := func(v string) change.Row {
			r := b.Row(2)
			r[0] = change.Value{Kind: change.Int, Num: 1}
			if v != "" {
				r[1] = change.Value{Kind: change.Text, Data: b.Copy([]byte(v))}
			}
			return r
		}
		switch e.Op {
		case change.OpDelete, change.OpTombstone:
			e.Before = row("")
		case change.OpRead, change.OpCreate, change.OpUpdate:
			e.After = row("x")
		default:
		}
	}
}

func apply(t *testing.T, props map[string]string, ops string) *change.Batch {
	t.Helper()
	u, problems := build(props)
	if problems != nil {
		t.Fatal(problems)
	}
	var b change.Batch
	fill(&b, table(), ops)
	if err := u.Apply(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// show writes events as op, * if flat, and the new row's texts.
func show(b *change.Batch) string {
	s := ""
	for i := range b.Events {
		e := &b.Events[i]
		s += string(rune(e.Op))
		if e.Flat {
			s += "*"
		}
		for j, v := range e.After {
			switch v.Kind {
			case change.Absent:
				s += " -"
			case change.Int:
				s += " " + e.Table.Columns[j].Name + "=" + strconv.FormatInt(v.Int64(), 10)
			default:
				s += " " + e.Table.Columns[j].Name + "=" + string(v.Data)
			}
		}
		s += ";"
	}
	return s
}

func TestDeleteModes(t *testing.T) {
	const plain = "c* id=1 v=x;"
	for _, tt := range []struct {
		name  string
		props map[string]string
		want  string
	}{
		{"default", nil, plain + "x*;x*;t;"},
		{"tombstone", map[string]string{"delete.tombstone.handling.mode": "tombstone"}, plain + "x*;x*;t;"},
		{"delete_to_tombstone", map[string]string{"delete.tombstone.handling.mode": "delete-to-tombstone"}, plain + "x*;x*;t;"},
		{"drop", map[string]string{"delete.tombstone.handling.mode": "drop"}, plain + "t;"},
		{"rewrite", map[string]string{"delete.tombstone.handling.mode": "rewrite"}, "c* id=1 v=x __deleted=false;u* id=1 - __deleted=true;t;"},
		{"rewrite_with_tombstone", map[string]string{"delete.tombstone.handling.mode": "rewrite-with-tombstone"}, "c* id=1 v=x __deleted=false;d* id=1 - __deleted=true;x*;t;"},
		{"older_default", map[string]string{"drop.tombstones": "true"}, plain + "t;"},
		{"older_keep", map[string]string{"drop.tombstones": "false"}, plain + "x*;x*;t;"},
		{"older_none", map[string]string{"delete.handling.mode": "none"}, plain + "x*;x*;t;"},
		{"older_rewrite", map[string]string{"delete.handling.mode": "rewrite"}, "c* id=1 v=x __deleted=false;u* id=1 - __deleted=true;t;"},
		{"older_rewrite_keep", map[string]string{"delete.handling.mode": "rewrite", "drop.tombstones": "false"}, "c* id=1 v=x __deleted=false;d* id=1 - __deleted=true;x*;t;"},
		{"newer_wins", map[string]string{"delete.handling.mode": "rewrite", "delete.tombstone.handling.mode": "drop"}, plain + "t;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(apply(t, tt.props, "cdxt")); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAddFieldsAndHeaders(t *testing.T) {
	b := apply(t, map[string]string{"delete.tombstone.handling.mode": "rewrite", "add.fields": "op,table,lsn,source.ts_ms,db:base,ts_us,txId,snapshot,version",
		"add.headers": "op,source.schema,lsn", "add.fields.prefix": "_"}, "rd")
	want := "r* id=1 v=x __deleted=false _op=r _table=st _lsn=1 _source_ts_ms=1795328951660 _base=refdb _ts_us=1795328951700001 _txId=7 _snapshot=false _version=9;" +
		"u* id=1 - __deleted=true _op=d _table=st _lsn=2 _source_ts_ms=1795328951660 _base=refdb _ts_us=1795328951700001 _txId=7 _snapshot=false _version=9;"
	if got := show(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	h := b.Events[1].Headers
	if len(h) != 3 || h[0].Key != "__op" || string(h[0].Value) != `"d"` || h[1].Key != "__source_schema" || string(h[1].Value) != `"public"` || string(h[2].Value) != "2" {
		t.Errorf("headers are %q", h)
	}
	if string(b.Events[0].Headers[0].Value) != `"r"` {
		t.Errorf("headers of events are mixed up: %q", b.Events[0].Headers)
	}
}

func TestHeadersStayInOrder(t *testing.T) {
	u, problems := build(map[string]string{"add.headers": "op"})
	if problems != nil {
		t.Fatal(problems)
	}
	var b change.Batch
	fill(&b, table(), "cc")
	mine := []change.Header{{Key: "a"}, {Key: "b"}}
	b.Events[0].Headers = mine[:1]
	if err := u.Apply(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	if h := b.Events[0].Headers; len(h) != 2 || h[0].Key != "a" || h[1].Key != "__op" || mine[1].Key != "b" {
		t.Errorf("headers are %v, the slice that was given %v", h, mine)
	}
}

func TestDerivedTable(t *testing.T) {
	u, problems := build(map[string]string{"add.fields": "op"})
	if problems != nil {
		t.Fatal(problems)
	}
	a, c := table(), table()
	var seen []*change.Table
	for range 2 {
		var b change.Batch
		for _, source := range []*change.Table{a, a, c, a} {
			fill(&b, source, "u")
		}
		if err := u.Apply(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			seen = append(seen, b.Events[i].Table)
		}
	}
	for i, want := range []*change.Table{seen[0], seen[0], seen[2], seen[0], seen[0], seen[0], seen[2], seen[0]} {
		if seen[i] != want {
			t.Errorf("event %d has another table", i)
		}
	}
	if seen[0] == seen[2] || len(a.Columns) != 2 || len(seen[0].Columns) != 3 || seen[0].Version != 3 || len(seen[0].Key) != 1 {
		t.Errorf("derived %+v of %+v", seen[0], a)
	}
	a.Columns = append(a.Columns[:2:2], change.Column{Name: "__op"})
	u, _ = build(map[string]string{"add.fields": "op"})
	var b change.Batch
	fill(&b, a, "u")
	if err := u.Apply(context.Background(), &b); fault.Code(err) != "COLUMN_EXISTS" {
		t.Errorf("got %v", err)
	}
}

func TestRawAndUnknown(t *testing.T) {
	u, _ := build(map[string]string{"add.fields": "op", "add.headers": "op"})
	var b change.Batch
	e := b.Add()
	e.Op, e.Raw = change.OpMessage, &change.Raw{Value: []byte("m")}
	if err := u.Apply(context.Background(), &b); err != nil || len(b.Events) != 1 || b.Events[0].Flat || b.Events[0].Headers != nil {
		t.Errorf("%v, %+v", err, b.Events)
	}
	fill(&b, table(), "?")
	if err := u.Apply(context.Background(), &b); fault.Code(err) != "EVENT_UNKNOWN" {
		t.Errorf("got %v", err)
	}
}

func TestAllocations(t *testing.T) {
	for _, tt := range []struct {
		name  string
		props map[string]string
		most  float64 // for a batch of 200
	}{
		{"flat", nil, 0},
		{"fields", map[string]string{"delete.tombstone.handling.mode": "rewrite", "add.fields": "op,table,lsn,source.ts_ms,snapshot"}, 0},
		{"headers", map[string]string{"add.headers": "op,lsn"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, problems := build(tt.props)
			if problems != nil {
				t.Fatal(problems)
			}
			source := table()
			var b change.Batch
			if n := testing.AllocsPerRun(50, func() {
				b.Reset()
				for range 200 {
					fill(&b, source, "u")
				}
				if err := u.Apply(context.Background(), &b); err != nil {
					t.Fatal(err)
				}
			}); n > tt.most {
				t.Errorf("%v allocations for 200 rows", n)
			}
		})
	}
}

func TestRouteByField(t *testing.T) {
	props := map[string]string{"route.by.field": "v", "delete.tombstone.handling.mode": "drop"}
	if b := apply(t, props, "crd"); len(b.Events) != 2 || b.Events[0].Topic != "x" || b.Events[1].Topic != "x" {
		t.Errorf("events are %+v, want them in topic x", b.Events)
	}
	props["delete.tombstone.handling.mode"] = "tombstone" // and a delete that does not tell the column
	u, _ := build(props)
	var b change.Batch
	fill(&b, table(), "d")
	if err := u.Apply(context.Background(), &b); fault.Code(err) != "ROUTE_FIELD" {
		t.Errorf("error is %v, want ROUTE_FIELD", err)
	}
	props["route.by.field"] = "id"
	u, _ = build(props)
	b.Reset()
	fill(&b, table(), "c")
	if err := u.Apply(context.Background(), &b); fault.Code(err) != "ROUTE_FIELD" {
		t.Errorf("a number for a topic: error is %v, want ROUTE_FIELD", err)
	}
}

func TestProblems(t *testing.T) {
	for _, props := range []map[string]string{
		{"add.fields": "opp"}, {"add.headers": "source.file"}, {"add.fields": "op,op"}, {"add.fields": "op,ts_ms:op"},
		{"delete.tombstone.handling.mode": "rewritten"}, {"delete.tombstone.handling.mode": "rewrite", "add.fields": "op:deleted"}, {"drop.tombstones": "maybe"},
	} {
		if p := Plugin.Check(props); len(p) == 0 {
			t.Errorf("%v: no problem", props)
		}
	}
}
