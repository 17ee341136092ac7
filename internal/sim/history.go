package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// A History is what a durable log holds of a DB, judged event by event as it is appended:
//
//   - the events of the stream are the database's, in its order, each once, none missing (of a table without a key,
//     those that its copy contains may be missing);
//   - a row that was copied (r) is exactly the state of its key after the stream's events before it, and no key is
//     copied twice (in a heap it may be, when it has moved);
//   - what an event says is what the row was, except that what it left out and a read filled in may be ahead: in a create
//     that completes a change of key, and in a heap in an update.
//
// It also folds the events into tables, as a sink does that merges Absent columns.
type History struct {
	db     *DB
	tables []foldedTable
	txn    int // index into db.log of the next event that the stream owes
	ord    int
	Events int
	Copied int
}

type foldedTable struct {
	*table
	rows   map[string]change.Row // the fold
	truth  map[string]change.Row // the whole rows after the stream's events so far
	copied map[string]bool
	bag    map[string]int // the fold of a table without a key: how often each row is there
	last   change.Row     // the row that the last delete removed, to complete the other half of a change of key
}

// History begins an empty history. It judges appends from the slot's beginning on.
func (db *DB) History() *History {
	h := &History{db: db, txn: -1}
	for _, t := range db.tables {
		h.tables = append(h.tables, foldedTable{table: t, rows: map[string]change.Row{}, truth: map[string]change.Row{},
			copied: map[string]bool{}, bag: map[string]int{}})
	}
	return h
}

// Append judges the events of a batch and folds them. The batch's memory is not kept.
func (h *History) Append(b *change.Batch) error {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	if h.txn < 0 {
		h.begin()
	}
	for i := range b.Events {
		e := &b.Events[i]
		h.Events++
		t := &h.tables[h.db.find(e.Table).index]
		if e.Topic != t.topic {
			return fmt.Errorf("%s: topic %q", describe(e), e.Topic)
		}
		var err error
		switch {
		case e.Op == change.OpRead:
			h.Copied++
			err = t.checkCopy(e, h.db.cfg.Heap)
		case e.Txn == 0 && e.Op == change.OpTruncate && t.keyless():
			// the weave's own, before it copies a table without a key
		default:
			err = h.checkEvent(t, e)
		}
		if err != nil {
			return fmt.Errorf("event %d: %s: %w", h.Events, describe(e), err)
		}
		t.fold(e)
	}
	return nil
}

func (h *History) begin() {
	h.txn = len(h.db.log)
	for i, x := range h.db.log {
		if x.end > h.db.start {
			h.txn = i
			break
		}
	}
	for i := range h.tables {
		for k, r := range h.db.initial[i] {
			h.tables[i].truth[k] = r
		}
	}
}

// checkEvent compares a streamed event with the database's log.
func (h *History) checkEvent(t *foldedTable, e *change.Event) error {
	for {
		if h.txn >= len(h.db.log) {
			return fmt.Errorf("the database has no such event, or it came before")
		}
		x := h.db.log[h.txn]
		if h.ord >= len(x.events) {
			h.txn, h.ord = h.txn+1, 0
			continue
		}
		want := &x.events[h.ord]
		if want.Txn != e.Txn || want.Ordinal != e.Ordinal {
			if len(want.Table.Key) == 0 {
				h.ord++ // dropped, or else the fold of the table tells
				continue
			}
			return fmt.Errorf("the next event of the database is %s", describe(want))
		}
		truth := x.truth[h.ord]
		h.ord++
		return t.checkImage(want, e, truth, h.db.cfg.Heap)
	}
}

func (t *foldedTable) checkImage(want, e *change.Event, truth change.Row, heap bool) error {
	if e.Op != want.Op || !bytes.Equal(e.Key, want.Key) {
		return fmt.Errorf("the database says %s", describe(want))
	}
	ahead := (want.Op == change.OpCreate || heap) && !want.After.Complete()
	for i := range e.After {
		switch {
		case e.After[i].Kind == change.Absent && want.After[i].Kind != change.Absent:
			return fmt.Errorf("column %d was lost", i)
		case e.After[i].Kind != change.Absent && !ahead && !sameValue(e.After[i], truth[i]):
			return fmt.Errorf("column %d is %s and was %s", i, show(e.After[i]), show(truth[i]))
		}
	}
	switch {
	case t.keyless():
	case e.Op == change.OpTruncate:
		clear(t.truth)
	case e.Op == change.OpDelete:
		delete(t.truth, string(e.Key))
	default:
		t.truth[string(e.Key)] = truth
	}
	return nil
}

func (t *foldedTable) checkCopy(e *change.Event, heap bool) error {
	if t.keyless() {
		return nil
	}
	if t.copied[string(e.Key)] && !heap {
		return fmt.Errorf("the row was copied before")
	}
	t.copied[string(e.Key)] = true
	truth := t.truth[string(e.Key)]
	if truth == nil {
		return fmt.Errorf("there is no such row at this point of the stream")
	}
	for i := range truth {
		if !sameValue(truth[i], e.After[i]) {
			return fmt.Errorf("column %d is %s, but at this point of the stream %s", i, show(e.After[i]), show(truth[i]))
		}
	}
	return nil
}

// fold does what a sink does.
func (t *foldedTable) fold(e *change.Event) {
	if t.keyless() {
		t.foldBag(e)
		return
	}
	key := string(e.Key)
	switch e.Op {
	case change.OpTruncate:
		clear(t.rows)
	case change.OpDelete:
		t.last = t.rows[key]
		delete(t.rows, key)
	default:
		old := t.rows[key]
		if e.Op == change.OpCreate {
			old = t.last
		}
		row := clone(e.After)
		for i := range row {
			if row[i].Kind == change.Absent && old != nil {
				row[i] = old[i]
			}
		}
		t.rows[key] = row
	}
	if e.Op != change.OpDelete {
		t.last = nil
	}
}

// foldBag counts rows that can't be told apart. Before the table's copy a count may be below zero; the copy begins with
// a truncate then.
func (t *foldedTable) foldBag(e *change.Event) {
	switch e.Op {
	case change.OpTruncate:
		clear(t.bag)
	case change.OpDelete:
		t.bag[showRow(e.Before)]--
	case change.OpUpdate:
		t.bag[showRow(e.Before)]--
		t.bag[showRow(e.After)]++
	default:
		t.bag[showRow(e.After)]++
	}
}

// Equal compares the fold with the tables of the database, which must be quiet and delivered to its end.
func (h *History) Equal() error {
	h.db.mu.Lock()
	defer h.db.mu.Unlock()
	for i := range h.tables {
		t := &h.tables[i]
		got, want := t.lines(), h.db.tables[i].lines()
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s: the fold alone has [%s], the table alone has [%s]", t.Name, without(got, want), without(want, got))
		}
	}
	return nil
}

func (t *foldedTable) lines() []string {
	if !t.keyless() {
		return lines(t.rows)
	}
	var out []string
	for row, n := range t.bag {
		if n < 0 {
			out = append(out, "taken away once too often: "+row)
		}
		for range max(0, n) {
			out = append(out, row)
		}
	}
	slices.Sort(out)
	return out
}

func (t *table) lines() []string { return lines(t.rows) }

func lines(rows map[string]change.Row) []string {
	var out []string
	for _, r := range rows {
		out = append(out, showRow(r))
	}
	slices.Sort(out)
	return out
}

// without returns the lines of a that are not in b.
func without(a, b []string) string {
	left := map[string]int{}
	for _, x := range b {
		left[x]++
	}
	var out []string
	for _, x := range a {
		if left[x]--; left[x] < 0 {
			out = append(out, x)
		}
	}
	return strings.Join(out, "; ")
}

func clone(r change.Row) change.Row {
	c := append(change.Row(nil), r...)
	for i := range c {
		c[i].Data = bytes.Clone(c[i].Data)
	}
	return c
}

func sameValue(a, b change.Value) bool {
	return a.Kind == b.Kind && a.Num == b.Num && bytes.Equal(a.Data, b.Data)
}

func show(v change.Value) string {
	switch v.Kind {
	case change.Int:
		return fmt.Sprint(v.Int64())
	case change.Text:
		return fmt.Sprintf("%q", v.Data)
	}
	return v.Kind.String()
}

func showRow(r change.Row) string {
	var out []string
	for _, v := range r {
		out = append(out, show(v))
	}
	return strings.Join(out, " ")
}

func describe(e *change.Event) string {
	return fmt.Sprintf("%c %s key %s txn %d/%d (%s)", e.Op, e.Table.Name, change.KeyText(e.Key), e.Txn, e.Ordinal, showRow(e.After))
}

// Equal compares rows, what a target holds of a table, with the table.
func (db *DB) Equal(t *change.Table, rows []change.Row) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	var got []string
	for _, r := range rows {
		got = append(got, showRow(r))
	}
	slices.Sort(got)
	if want := db.find(t).lines(); !slices.Equal(got, want) {
		return fmt.Errorf("%s: the target alone has [%s], the table alone has [%s]", t.Name, without(got, want), without(want, got))
	}
	return nil
}
