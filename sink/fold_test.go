package sink

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tailrace/tailrace/change"
)

func foldTables() [2]*change.Table {
	column := func(name string) change.Column {
		return change.Column{Name: name, Type: change.Type{Kind: change.Text}}
	}
	return [2]*change.Table{
		{Version: 1, Columns: []change.Column{column("id"), column("a"), column("b")}, Key: []int{0}},
		{Version: 2, Columns: []change.Column{column("b"), column("id"), column("c")}, Key: []int{1}}, // a dropped, c added
	}
}

// model is what a target does that gets every event by itself.
type model struct {
	row     map[string]string // column -> value, "NULL"; nil: no such row
	partial bool              // the target's old row still shows through
	version uint64
}

func (m *model) apply(e *change.Event) {
	if m.version > e.Version {
		return
	}
	m.version = e.Version
	if e.After == nil {
		m.row, m.partial = nil, false
		return
	}
	next := map[string]string{}
	for i, c := range e.Table.Columns {
		switch v := e.After[i]; {
		case v.Kind == change.Null:
			next[c.Name] = "NULL"
		case v.Present():
			next[c.Name] = string(v.Data)
		default:
			if old, ok := m.row[c.Name]; ok {
				next[c.Name] = old
			}
		}
	}
	m.row = next
	if e.After.Complete() {
		m.partial = false
	}
}

func TestFold(t *testing.T) {
	tables := foldTables()
	var f Fold // used again and again, as sinks do
	rapid.Check(t, func(t *rapid.T) {
		f.Reset()
		n := rapid.IntRange(0, 60).Draw(t, "events")
		events := make([]change.Event, n)
		models, order, indexes := map[string]*model{}, []string(nil), map[string][]int{}
		for i := range events {
			e := &events[i]
			e.Version = uint64(i + 1)
			if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
				e.Version = uint64(max(1, i-5))
			}
			e.Table = tables[rapid.IntRange(0, 1).Draw(t, "table")]
			id := fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "id"))
			row := make(change.Row, 3)
			for c := range row {
				switch rapid.IntRange(0, 2).Draw(t, "kind") {
				case 0:
					row[c] = change.Value{Kind: change.Null}
				case 1:
					row[c] = change.Value{Kind: change.Text, Data: fmt.Append(nil, i, "-", c)}
				}
			}
			row[e.Table.Key[0]] = change.Value{Kind: change.Text, Data: []byte(id)}
			e.Op, e.After = change.OpUpdate, row
			if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
				e.Op, e.After, e.Before = change.OpDelete, nil, row
			}
			f.Add([]byte(id), i, e)
			if models[id] == nil {
				models[id] = &model{partial: true}
				order = append(order, id)
			}
			models[id].apply(e)
			indexes[id] = append(indexes[id], i)
		}
		if len(f.States) != len(order) {
			t.Fatalf("%d states of %d keys", len(f.States), len(order))
		}
		for i, id := range order {
			st, m := &f.States[i], models[id]
			if string(st.Key) != id || st.Version != m.version || st.Deleted != (m.row == nil) || st.Replace == m.partial {
				t.Fatalf("state %+v, want key %s and %+v", st, id, m)
			}
			if st.First != events[indexes[id][0]].Op {
				t.Fatalf("key %s begins with %c", id, st.First)
			}
			var got []int
			f.Events(st, func(i int) { got = append(got, i) })
			slices.Reverse(got)
			if !slices.Equal(got, indexes[id]) {
				t.Fatalf("key %s is of the events %v, want %v", id, got, indexes[id])
			}
			for c := range st.Row {
				if st.Deleted {
					break
				}
				name := st.Table.Columns[c].Name
				want, ok := m.row[name]
				v := st.Row[c]
				if v.Present() != ok || v.Kind == change.Null != (want == "NULL") || v.Kind == change.Text && string(v.Data) != want {
					t.Fatalf("key %s, column %s is %v %q, want %q", id, name, v.Kind, v.Data, want)
				}
			}
		}
	})
}

func TestFoldAllocatesNothing(t *testing.T) {
	table := foldTables()[0]
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Append(nil, "key ", i)
	}
	whole := change.Event{Table: table, Op: change.OpCreate, Version: 1, After: change.Row{{Kind: change.Text}, {Kind: change.Text}, {Kind: change.Null}}}
	part := change.Event{Table: table, Op: change.OpUpdate, Version: 2, After: change.Row{{Kind: change.Text}, {}, {Kind: change.Text}}}
	var f Fold
	run := func() {
		f.Reset()
		for i, k := range keys {
			f.Add(k, 2*i, &whole)
			f.Add(k, 2*i+1, &part)
		}
	}
	run()
	if n := testing.AllocsPerRun(10, run); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
