package rowcodec

import (
	"fmt"
	"maps"
	"math/rand"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/topic"
)

// fold applies events to the state of one key: its columns by name. nil: no row. It is what every sink does.
func fold(state map[string]string, e *change.Event) map[string]string {
	switch e.Op {
	case change.OpDelete, change.OpTruncate, change.OpTombstone:
		return nil
	}
	next := map[string]string{}
	for i, v := range e.After {
		name := e.Table.Columns[i].Name
		if v.Kind != change.Absent {
			next[name] = fmt.Sprintf("%s %d %s", v.Kind, v.Num, v.Data)
		} else if old, ok := state[name]; ok {
			next[name] = old
		}
	}
	return next
}

// version makes version n of a table of columns that come, go and change their type.
func version(n int) *change.Table {
	t := &change.Table{Name: change.TableName{Table: "t"}, Origin: origin, Version: uint32(n + 1), Key: []int{0}, Columns: []change.Column{column("id", change.Int)}}
	kinds := []change.Kind{change.Text, change.Int, change.Decimal}
	for c := range 4 {
		if (n+c)%3 != 0 {
			t.Columns = append(t.Columns, column(string(rune('a'+c)), kinds[n*c%3]))
		}
	}
	return t
}

func randomEvent(r *rand.Rand, tables []*change.Table, i int) change.Event {
	t := tables[min(i/4, len(tables)-1)] // versions never go back
	e := change.Event{Table: t, Topic: "t", Key: []byte{0x15, 1}, Ordinal: uint32(i), Op: []change.Op{'c', 'u', 'u', 'u', 'r', 'd', 't'}[r.Intn(7)]}
	image := func() change.Row {
		row := change.Row{{Kind: change.Int, Num: 1}}
		for _, c := range t.Columns[1:] {
			v := change.Value{Kind: c.Type.Kind, Num: uint64(r.Intn(1000))}
			if v.Kind != change.Int {
				v.Num, v.Data = 0, fmt.Appendf(nil, "%d", r.Intn(1000))
			}
			switch r.Intn(6) {
			case 0, 1, 2:
				v = change.Value{}
			case 3:
				v = change.Value{Kind: change.Null}
			}
			row = append(row, v)
		}
		return row
	}
	switch e.Op {
	case 'd':
		e.Before = image()
	case 't':
		e.Key = nil
	case 'u':
		if r.Intn(2) == 0 {
			e.Before = image()
		}
		fallthrough
	default:
		e.After = image()
	}
	return e
}

// TestMerge_case106_case108_fold_of_compacted_is_fold_of_all compacts runs of events of one key at random, over table versions, and wants the fold of what is
// left to be the fold of everything.
func TestMerge_case106_case108_fold_of_compacted_is_fold_of_all(t *testing.T) {
	for seed := range int64(500) {
		r := rand.New(rand.NewSource(seed))
		tables := []*change.Table{version(0), version(1), version(2)}
		b := &change.Batch{}
		n := 1 + r.Intn(20)
		for i := range n {
			*b.Add() = randomEvent(r, tables, i)
		}
		l, reg := through(t, b, EncoderOptions{})
		recs := l.all("t")
		var want map[string]string
		for i := range b.Events {
			want = fold(want, &b.Events[i])
		}
		// Compaction has passed some of the records: it replaced the oldest two by their merger, again and again.
		for len(recs) > 1 && r.Intn(8) != 0 {
			merged, err := reg.Merge([]byte("kept"), recs[0].Value, recs[1].Value)
			if err != nil || string(merged[:4]) != "kept" {
				t.Fatal(err)
			}
			recs = recs[1:]
			recs[0].Value = merged[4:]
		}
		var left change.Batch
		if err := reg.NewDecoder().Decode(recs, 1, &left); err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		for i := range left.Events {
			e := &left.Events[i]
			got = fold(got, e)
			if o := &b.Events[e.Ordinal]; o.Op != e.Op || (o.Before == nil) != (e.Before == nil) {
				t.Fatalf("seed %d: %c became %c", seed, o.Op, e.Op)
			}
		}
		if !maps.Equal(got, want) || (got == nil) != (want == nil) {
			t.Fatalf("seed %d, %d events, %d left: %v, want %v", seed, n, len(recs), got, want)
		}
	}
}

func TestMerge_case106_toast_value_set_once(t *testing.T) {
	table := &change.Table{Name: change.TableName{Table: "t"}, Key: []int{0}, Columns: []change.Column{column("id", change.Int), column("body", change.Text), column("n", change.Int)}}
	b := &change.Batch{}
	one := change.Value{Kind: change.Int, Num: 1}
	*b.Add() = change.Event{Table: table, Op: change.OpCreate, Topic: "t", After: change.Row{one, {Kind: change.Text, Data: []byte("large")}, one}}
	for i := range 1000 {
		*b.Add() = change.Event{Table: table, Op: change.OpUpdate, Topic: "t", After: change.Row{one, {}, {Kind: change.Int, Num: uint64(i)}}}
	}
	l, reg := through(t, b, EncoderOptions{})
	recs := l.all("t")
	kept := recs[0].Value
	for _, rec := range recs[1:] {
		if !reg.Partial(rec.Value) {
			t.Fatal("a row without its TOAST column is not partial")
		}
		var err error
		if kept, err = reg.Merge(nil, kept, rec.Value); err != nil {
			t.Fatal(err)
		}
	}
	if reg.Partial(kept) {
		t.Error("the merged row is still partial")
	}
	var got change.Batch
	if err := reg.NewDecoder().Decode([]topic.Record{{Topic: "t", Value: kept, Offset: 1000}}, 1, &got); err != nil {
		t.Fatal(err)
	}
	if e := got.Events[0]; string(e.After[1].Data) != "large" || e.After[2].Num != 999 || e.Op != change.OpUpdate {
		t.Errorf("%+v", e)
	}
}

func TestMergeEdges(t *testing.T) {
	table := everyKind()
	b := &change.Batch{}
	partial := everyRow()
	partial[3] = change.Value{}
	*b.Add() = change.Event{Table: table, Op: change.OpUpdate, Topic: "t", After: partial}
	*b.Add() = change.Event{Table: table, Op: change.OpCreate, Topic: "t", Raw: &change.Raw{Value: []byte("raw")}}
	*b.Add() = change.Event{Table: table, Op: change.OpDelete, Topic: "t", Before: partial}
	l, reg := through(t, b, EncoderOptions{})
	recs := l.all("t")
	row, raw, del := recs[0].Value, recs[1].Value, recs[2].Value
	for name, c := range map[string][2][]byte{"tombstone": {nil, row}, "raw": {raw, row}, "delete": {del, row}, "onto raw": {row, raw}, "onto delete": {row, del}, "nothing": {row, nil}} {
		if got, err := reg.Merge(nil, c[0], c[1]); err != nil || string(got) != string(c[1]) {
			t.Errorf("%s: %x, %v; want %x", name, got, err, c[1])
		}
	}
	for _, c := range [][2][]byte{{row[:9], row}, {[]byte("?"), row}, {row, row[:len(row)-1]}} {
		if got, err := reg.Merge([]byte("x"), c[0], c[1]); err == nil || string(got) != "x" {
			t.Errorf("damaged bytes merge into %x, %v", got, err)
		}
	}
}
