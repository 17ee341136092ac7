package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// A plan is what one batch does to the target, in order.
type plan struct {
	units    []unit
	rejected sink.Rejected
	newest   uint64 // the highest version among the batch's events

	folds []*tableFold // all that were ever used; the first used of them belong to this batch
	used  int
	open  int // folds[open:used] take the events since the last truncate
	mask  []byte
}

// A tableFold reduces the events of one table.
type tableFold struct {
	target *target
	fold   sink.Fold
	layout map[*change.Table]*layout
}

// A unit is one set of rows that the same statements write.
type unit struct {
	layout   *layout
	fold     *tableFold
	stmts    []*statement
	cols     []int // the source columns that are sent
	states   []*sink.State
	mask     []byte
	truncate string // not empty: this statement instead of all else
}

// A statement is prepared once in each session.
type statement struct {
	name    string
	sql     string
	session uint64
}

var binaryFormat = []int16{1}

func (p *plan) reset() {
	p.units, p.rejected, p.newest, p.used, p.open = p.units[:0], nil, 0, 0, 0
}

func (p *plan) result() error {
	if len(p.rejected) == 0 {
		return nil
	}
	slices.SortStableFunc(p.rejected, func(a, b sink.RowError) int { return a.Index - b.Index })
	return slices.CompactFunc(p.rejected, func(a, b sink.RowError) bool { return a.Index == b.Index })
}

// reject rejects all events that went into a state of f.
func (p *plan) reject(f *tableFold, st *sink.State, err error) {
	f.fold.Events(st, func(i int) { p.rejected = append(p.rejected, sink.RowError{Index: i, Err: err}) })
}

// collect makes the plan of a batch, and the tables that it needs.
func (s *Sink) collect(ctx context.Context, l *lane, b *change.Batch) error {
	p := &s.plan
	p.reset()
	for i := range b.Events {
		e := &b.Events[i]
		p.newest = max(p.newest, e.Version)
		if e.Raw != nil || e.Op == change.OpMessage || l != nil && e.Version != 0 && e.Version <= l.mark {
			continue // not a row, or old news (Invariant 4)
		}
		if err := s.take(ctx, b, i, e); err != nil {
			return err
		}
	}
	s.group()
	return nil
}

func (s *Sink) take(ctx context.Context, b *change.Batch, i int, e *change.Event) error {
	p := &s.plan
	row := e.After
	switch e.Op {
	case change.OpRead, change.OpCreate, change.OpUpdate, change.OpTruncate:
	case change.OpDelete, change.OpTombstone:
		row = e.Before
	default:
		return fault.Permanentf("OP_UNKNOWN", "use a version of Tailrace that is not older than the log", "event with op %q", byte(e.Op))
	}
	if len(e.Table.Key) == 0 {
		if e.Op != change.OpTruncate {
			p.rejected = append(p.rejected, sink.RowError{Index: i, Err: fault.Permanentf("NO_KEY",
				"give the table a primary key, or name key columns with message.key.columns", "table %s has no key", e.Table.Name)})
		}
		return nil
	}
	if e.Op != change.OpTruncate {
		if err := writable(e.Table, row); err != nil {
			p.rejected = append(p.rejected, sink.RowError{Index: i, Err: err})
			return nil
		}
	}
	lay, err := s.layout(ctx, e.Topic, e.Table)
	if err != nil {
		return err
	}
	if e.Op == change.OpTruncate {
		sql, err := s.truncateSQL(ctx, b.Origin, lay.target)
		if err != nil {
			return err
		}
		s.group()
		p.units = append(p.units, unit{truncate: sql})
		return nil
	}
	f := p.fold(lay)
	f.layout[e.Table] = lay
	f.fold.Add(e.Key, i, e)
	return nil
}

// writable tells why a row can never be written, nil if nothing is known against it.
func writable(t *change.Table, row change.Row) error {
	for _, i := range t.Key {
		if i >= len(row) || !row[i].Present() {
			return fault.Permanentf("KEY_INCOMPLETE", "set the table's REPLICA IDENTITY to one that contains the key",
				"the event has no value of key column %s of %s", t.Columns[i].Name, t.Name)
		}
	}
	for i := range row {
		switch row[i].Kind {
		case change.Text, change.JSON, change.Array:
			if bytes.IndexByte(row[i].Data, 0) >= 0 {
				return fault.Permanentf("NUL_IN_TEXT", "remove the character at the source, or leave the column out with column.exclude.list",
					"column %s of %s contains a NUL character, which PostgreSQL cannot store", t.Columns[i].Name, t.Name)
			}
		}
	}
	return nil
}

// fold returns the fold that takes events of a layout's table since the last truncate.
func (p *plan) fold(l *layout) *tableFold {
	for _, f := range p.folds[p.open:p.used] {
		if f.target == l.target || f.target.name == l.target.name {
			return f
		}
	}
	if p.used == len(p.folds) {
		p.folds = append(p.folds, &tableFold{layout: map[*change.Table]*layout{}})
	}
	f := p.folds[p.used]
	p.used++
	f.target = l.target
	f.fold.Reset()
	clear(f.layout)
	return f
}

// group turns the folds since the last truncate into units: deletes before everything else, so that a row that took over
// another's unique value finds it free.
func (s *Sink) group() {
	p := &s.plan
	for _, f := range p.folds[p.open:p.used] {
		first := len(p.units)
		for i := range f.fold.States {
			if st := &f.fold.States[i]; st.Deleted || st.Replace && !st.Row.Complete() {
				s.put(f, first, st, deletes)
			}
		}
		first = len(p.units)
		for i := range f.fold.States {
			switch st := &f.fold.States[i]; {
			case st.Deleted:
			case st.Row.Complete():
				s.put(f, first, st, upserts)
			default:
				s.put(f, first, st, patches)
			}
		}
	}
	p.open = p.used
}

// What a unit does.
const (
	deletes = 'd'
	upserts = 'u'
	patches = 'p'
)

// put adds a state to the unit, at or after first, of its kind and its set of columns.
func (s *Sink) put(f *tableFold, first int, st *sink.State, kind byte) {
	p, lay := &s.plan, f.layout[st.Table]
	p.mask = append(p.mask[:0], kind)
	if kind == patches {
		for i := range st.Row {
			bit := byte('0')
			if st.Row[i].Present() && lay.cols[i] != nil {
				bit = '1'
			}
			p.mask = append(p.mask, bit)
		}
	}
	for i := len(p.units) - 1; i >= first; i-- {
		u := &p.units[i]
		if u.layout == lay && u.fold == f && len(u.states) < s.cfg.MaxRows && bytes.Equal(u.mask, p.mask) {
			u.states = append(u.states, st)
			return
		}
	}
	if len(p.units) < cap(p.units) {
		p.units = p.units[:len(p.units)+1]
	} else {
		p.units = append(p.units, unit{})
	}
	u := &p.units[len(p.units)-1]
	*u = unit{layout: lay, fold: f, mask: append(u.mask[:0], p.mask...), states: append(u.states[:0], st)}
	u.cols, u.stmts = s.statements(lay, u.mask)
}

// statements returns the statements of a set of columns, and the columns in the order of their parameters.
func (s *Sink) statements(l *layout, mask []byte) (cols []int, stmts []*statement) {
	for i, c := range l.cols {
		if c != nil && (mask[0] == upserts || mask[0] == patches && mask[1+i] == '1' || mask[0] == deletes && slices.Contains(l.key, i)) {
			cols = append(cols, i)
		}
	}
	get := func(kind string, make func(*layout, []int) string) {
		st := l.stmts[kind+string(mask)]
		if st == nil {
			s.serial++
			st = &statement{name: fmt.Sprintf("tailrace%d", s.serial), sql: make(l, cols)}
			l.stmts[kind+string(mask)] = st
		}
		stmts = append(stmts, st)
	}
	switch mask[0] {
	case deletes:
		get("", deleteSQL)
	case upserts:
		get("", upsertSQL)
	default:
		if len(cols) > len(l.key) {
			get("update", updateSQL)
		}
		get("insert", insertSQL)
	}
	return cols, stmts
}

// partitionColumn says which partition of the topic a row came from, NULL for the first. A table has it from the first row of
// another partition on: a truncate concerns the rows of its own partition only.
const partitionColumn = "_tailrace_partition"

// partition is the value of that column: one parameter after the columns that are sent.
func partition(cols []int) string { return fmt.Sprintf("NULLIF($%d::int4, 0)", len(cols)+1) }

// and returns what goes behind a list of the columns that are sent, if the table has a partition column.
func (l *layout) and(format string, args ...any) string {
	if !l.target.marked() {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// source is the rows that are sent, as FROM has them: u(c0, c1 ...), one text[] for each column.
func source(cols []int) string {
	var arrays, names []string
	for i := range cols {
		arrays = append(arrays, fmt.Sprintf("$%d::text[]", i+1))
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return fmt.Sprintf("unnest(%s) AS u(%s)", strings.Join(arrays, ", "), strings.Join(names, ", "))
}

// value is a sent column as a value of its target's type. The cast names the type without its length, so that a text
// which is too long is an error of the assignment and is not cut by the cast.
func (l *layout) value(n, col int) string { return fmt.Sprintf("u.c%d::%s", n, l.cols[col].cast) }

// list joins what f gives for each of cols that is, or is not, a key column.
func (l *layout) list(cols []int, sep string, f func(n, col int, key bool) string) string {
	var parts []string
	for n, col := range cols {
		if text := f(n, col, slices.Contains(l.key, col)); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, sep)
}

func (l *layout) names(cols []int) string {
	return l.list(cols, ", ", func(_, col int, _ bool) string { return quote(l.cols[col].name) })
}

func (l *layout) values(cols []int) string {
	return l.list(cols, ", ", func(n, col int, _ bool) string { return l.value(n, col) })
}

// match compares the key of the target's row t with that of the sent row u.
func (l *layout) match(cols []int) string {
	return l.list(cols, " AND ", func(n, col int, key bool) string {
		if !key {
			return ""
		}
		return fmt.Sprintf("t.%s = %s", quote(l.cols[col].name), l.value(n, col))
	})
}

func deleteSQL(l *layout, cols []int) string {
	return fmt.Sprintf("DELETE FROM %s AS t USING %s WHERE %s", l.target.name, source(cols), l.match(cols))
}

func upsertSQL(l *layout, cols []int) string {
	set := l.list(cols, ", ", func(_, col int, key bool) string {
		if key {
			return ""
		}
		return fmt.Sprintf("%[1]s = excluded.%[1]s", quote(l.cols[col].name))
	})
	if l.target.marked() {
		if set != "" {
			set += ", "
		}
		set += partitionColumn + " = excluded." + partitionColumn
	}
	action := "NOTHING"
	if set != "" {
		action = "UPDATE SET " + set
	}
	return fmt.Sprintf("INSERT INTO %s (%s%s) OVERRIDING SYSTEM VALUE SELECT %s%s FROM %s ON CONFLICT (%s) DO %s",
		l.target.name, l.names(cols), l.and(", "+partitionColumn), l.values(cols), l.and(", %s", partition(cols)), source(cols), l.names(l.key), action)
}

// updateSQL changes the columns that were sent of rows that are there. Not an upsert: that one checks NOT NULL of the
// columns that were not sent before it looks for the row.
func updateSQL(l *layout, cols []int) string {
	set := l.list(cols, ", ", func(n, col int, key bool) string {
		if key {
			return ""
		}
		return fmt.Sprintf("%s = %s", quote(l.cols[col].name), l.value(n, col))
	})
	set += l.and(", %s = %s", partitionColumn, partition(cols))
	return fmt.Sprintf("UPDATE %s AS t SET %s FROM %s WHERE %s", l.target.name, set, source(cols), l.match(cols))
}

// insertSQL inserts those rows that are not there.
func insertSQL(l *layout, cols []int) string {
	return fmt.Sprintf("INSERT INTO %s (%s%s) OVERRIDING SYSTEM VALUE SELECT %s%s FROM %s WHERE NOT EXISTS (SELECT FROM %s AS t WHERE %s)",
		l.target.name, l.names(cols), l.and(", "+partitionColumn), l.values(cols), l.and(", %s", partition(cols)), source(cols), l.target.name, l.match(cols))
}

// prepare prepares the plan's statements in this session.
func (s *Sink) prepare(ctx context.Context) error {
	for i := range s.plan.units {
		for _, st := range s.plan.units[i].stmts {
			if st.session == s.sessions {
				continue
			}
			if _, err := s.conn.Prepare(ctx, st.name, st.sql, nil); err != nil {
				return err
			}
			st.session = s.sessions
		}
	}
	return nil
}

// encode fills s.params with the columns of states.
func (s *Sink) encode(u *unit, states []*sink.State) {
	for len(s.bufs) < len(u.cols) {
		s.bufs = append(s.bufs, array{})
	}
	s.params = s.params[:0]
	for n, col := range u.cols {
		a := &s.bufs[n]
		a.reset(len(states))
		for _, st := range states {
			a.append(st.Row[col])
		}
		s.params = append(s.params, a.buf)
	}
	if u.mask[0] != deletes && u.layout.target.marked() {
		s.params = append(s.params, s.mark)
	}
}
