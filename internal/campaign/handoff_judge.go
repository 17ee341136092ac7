package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// A judge holds what a connector has delivered, folds it as a sink does that merges absent columns, and judges each event: a row
// carries a number ver that only grows for one key, so
//
//   - an event that is not newer than the last one of its key has come twice or too late;
//   - a copied row that is older than what was delivered of its key has overtaken nothing but itself.
//
// A table without a key is judged by its rows at the end alone.
type judge struct {
	tables         map[string]*judgedTable
	events, copied int
	violations     []string
}

type judgedTable struct {
	rows    map[string]change.Row // by key
	vers    map[string]int64      // of the last event of each key, also of one that is gone
	bag     map[string]int        // a table without a key: how often each row is there
	removed change.Row            // what the last delete removed: the other half of a change of key may need it
}

func newJudge() *judge { return &judge{tables: map[string]*judgedTable{}} }

func (j *judge) table(name string) *judgedTable {
	t := j.tables[name]
	if t == nil {
		t = &judgedTable{rows: map[string]change.Row{}, vers: map[string]int64{}, bag: map[string]int{}}
		j.tables[name] = t
	}
	return t
}

func (j *judge) wrong(format string, args ...any) {
	j.violations = append(j.violations, fmt.Sprintf(format, args...))
}

// take judges and folds a batch. Its memory is not kept.
func (j *judge) take(b *change.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		j.events++
		if e.Op == change.OpRead {
			j.copied++
		}
		if e.Table == nil {
			continue
		}
		t := j.table(e.Table.Name.Table)
		if len(e.Table.Key) == 0 {
			t.count(e)
			continue
		}
		j.keyed(t, e)
	}
}

func (j *judge) keyed(t *judgedTable, e *change.Event) {
	key := change.KeyText(e.Key)
	switch e.Op {
	case change.OpDelete:
		t.removed = t.rows[key]
		delete(t.rows, key)
		return
	case change.OpTruncate:
		clear(t.rows)
		return
	case change.OpRead, change.OpCreate, change.OpUpdate:
	default:
		j.wrong("%s: an event %c", e.Table.Name, e.Op)
		return
	}
	ver := e.After[e.Table.Column("ver")].Int64()
	last, known := t.vers[key]
	switch {
	case known && e.Op == change.OpRead && ver < last:
		j.wrong("%s %s: a copied row with version %d after version %d was delivered", e.Table.Name, key, ver, last)
	case known && e.Op == change.OpRead && ver == last && t.rows[key] == nil:
		j.wrong("%s %s: version %d was copied after its delete was delivered", e.Table.Name, key, ver)
	case known && e.Op != change.OpRead && ver <= last && t.rows[key] != nil:
		j.wrong("%s %s: %c of version %d after version %d was delivered", e.Table.Name, key, e.Op, ver, last)
	}
	t.vers[key] = max(ver, last)
	old := t.rows[key]
	if e.Op == change.OpCreate {
		old = t.removed
	}
	row := make(change.Row, len(e.After))
	for i, v := range e.After {
		if v.Kind == change.Absent && old != nil {
			v = old[i]
		}
		row[i] = v
		row[i].Data = bytes.Clone(v.Data)
	}
	t.rows[key], t.removed = row, nil
}

// count folds an event of a table without a key.
func (t *judgedTable) count(e *change.Event) {
	switch e.Op {
	case change.OpTruncate:
		clear(t.bag)
	case change.OpDelete:
		t.bag[lineOf(e.Before)]--
	case change.OpUpdate:
		t.bag[lineOf(e.Before)]--
		t.bag[lineOf(e.After)]++
	default:
		t.bag[lineOf(e.After)]++
	}
}

func (j *judge) has(table, key string) bool { return j.table(table).rows[key] != nil }

// compare holds the fold against the rows of the table.
func (j *judge) compare(table string, want []string) {
	t := j.table(table)
	var got []string
	for _, r := range t.rows {
		got = append(got, lineOf(r))
	}
	for row, n := range t.bag {
		if n < 0 {
			j.wrong("%s: row %.60q was taken away once too often", table, row)
		}
		for range n {
			got = append(got, row)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, d := range []struct {
		has, lacks []string
		what       string
	}{{want, got, "is missing"}, {got, want, "should not be there"}} {
		left := map[string]int{}
		for _, l := range d.lacks {
			left[l]++
		}
		for _, l := range d.has {
			if left[l]--; left[l] < 0 {
				j.wrong("%s: row %.60q %s", table, l, d.what)
			}
		}
	}
}

// lineOf writes a row as concat_ws does: without what is null.
func lineOf(r change.Row) string {
	var cells []string
	for _, v := range r {
		switch v.Kind {
		case change.Null:
		case change.Absent:
			cells = append(cells, "(absent)")
		case change.Int:
			cells = append(cells, fmt.Sprint(v.Int64()))
		default:
			cells = append(cells, string(v.Data))
		}
	}
	return strings.Join(cells, "|")
}
