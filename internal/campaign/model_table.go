package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/compare"
)

// A modelType is a type of a column whose values can be compared by their canonical text.
type modelType struct {
	sql    string
	kind   change.Kind
	elem   change.Kind // of an Array
	digits int         // of a fraction of a second
	large  bool        // its values may be left out of the log when they stay as they are
	hex    bool        // values are given as hexadecimal digits
	value  func(r *rand.Rand) string
}

// A modelKey is a shape of key: the columns that the log's key has, which follow from a number.
type modelKey struct {
	name    string
	columns []modelKeyColumn
	clause  string // of CREATE TABLE, after the columns; "": no key at all, a row may be there many times
	after   string // a statement once the table is there, with %s for its name
}

// A modelKeyColumn is a column that belongs to a key, or if it is aside to another key of the same rows.
type modelKeyColumn struct {
	name, sql string
	kind      change.Kind
	aside     bool
	value     func(n int) string
}

type modelColumn struct {
	name string
	typ  *modelType
}

// A modelTable is a table as it is at one time; a change of its structure makes another one.
type modelTable struct {
	name string
	key  *modelKey
	modelVariant
	columns []modelColumn
}

// A modelVariant is what a table has besides its key and columns.
type modelVariant struct {
	options     string // of CREATE TABLE
	after       string // a statement once the table is there, with %s for its name
	partitioned bool   // its rows are in several tables, each of which is written in an order of its own
}

// bagPrefix begins the names of tables whose rows have no key; latePrefix those of such that came while connectors ran, which are copied
// whole once they are seen: what was streamed of them before is left out. stampColumn says who wrote a row last, and in which transaction;
// numberColumn is what the key follows from.
const (
	bagPrefix    = "bag"
	latePrefix   = bagPrefix + "late"
	stampColumn  = "stamp"
	numberColumn = "n"
)

// create returns the statements that make the table.
func (t *modelTable) create() []string {
	var list []string
	for _, c := range t.key.columns {
		list = append(list, c.name+" "+c.sql+" NOT NULL")
	}
	list = append(list, numberColumn+" int NOT NULL", stampColumn+" varchar(30) NOT NULL")
	for _, c := range t.columns {
		list = append(list, c.name+" "+c.typ.sql)
	}
	if t.key.clause != "" {
		list = append(list, t.key.clause)
	}
	out := []string{fmt.Sprintf("CREATE TABLE %s (%s)%s", t.name, strings.Join(list, ", "), t.options)}
	for _, after := range []string{t.key.after, t.after} {
		if after != "" {
			out = append(out, strings.ReplaceAll(after, "%s", t.name))
		}
	}
	return out
}

// bag reports whether a row may be there many times.
func (t *modelTable) bag() bool { return t.key.clause == "" }

// compared is the table as a comparison reads it.
func (t *modelTable) compared(schema string) *compare.Table {
	var columns []compare.Column
	var key []int
	for _, c := range t.key.columns {
		if !c.aside {
			key = append(key, len(columns))
		}
		columns = append(columns, compare.Column{Name: c.name, Kind: c.kind, Digits: 6})
	}
	columns = append(columns, compare.Column{Name: numberColumn, Kind: change.Int}, compare.Column{Name: stampColumn, Kind: change.Text})
	for _, c := range t.columns {
		columns = append(columns, compare.Column{Name: c.name, Kind: c.typ.kind, Elem: c.typ.elem, Digits: c.typ.digits})
	}
	return compare.NewTable(schema, t.name, columns, key...)
}

// keyText is the canonical text of the key that follows from a number, "" where there is none.
func (t *modelTable) keyText(n int) string {
	var parts []string
	for _, c := range t.key.columns {
		if !c.aside {
			parts = append(parts, c.value(n))
		}
	}
	return strings.Join(parts, "\t")
}

// where is the condition that finds the row of a number, or the rows.
func (t *modelTable) where(n int) string {
	if t.bag() {
		return fmt.Sprintf("%s = %d", numberColumn, n)
	}
	var parts []string
	for _, c := range t.key.columns {
		if !c.aside {
			parts = append(parts, fmt.Sprintf("%s = '%s'", c.name, c.value(n)))
		}
	}
	return strings.Join(parts, " AND ")
}

// with returns a copy of the table whose columns are others.
func (t *modelTable) with(columns []modelColumn) *modelTable {
	n := *t
	n.columns = columns
	return &n
}

// A modelSchema is the tables of a database as they are now. Its methods may be called from any goroutine.
type modelSchema struct {
	name  string // by which the log calls it
	mu    sync.Mutex
	now   []*modelTable
	was   []*modelTable // all tables that there ever were, by name
	drawn int           // numbers given away for names
}

// tables returns the tables as they are now.
func (s *modelSchema) tables() []*modelTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.now)
}

// ever returns a table of each name that there ever was.
func (s *modelSchema) ever() []*modelTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.was)
}

// pick draws a table.
func (s *modelSchema) pick(r *rand.Rand) *modelTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now[r.IntN(len(s.now))]
}

// fresh returns a name that nothing had.
func (s *modelSchema) fresh(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drawn++
	return fmt.Sprintf("%s%d", prefix, s.drawn)
}

// replace puts a table into the place of another one, of none if old is nil.
func (s *modelSchema) replace(old, made *modelTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old == nil {
		s.now = append(s.now, made)
	} else if at := slices.Index(s.now, old); at >= 0 {
		s.now[at] = made
	}
	if !slices.ContainsFunc(s.was, func(t *modelTable) bool { return t.name == made.name }) {
		s.was = append(s.was, made)
	}
}

// random makes a table; late means that connectors run already.
func (s *modelSchema) random(d dialect, r *rand.Rand, late bool) *modelTable {
	keys := d.keys()
	t := &modelTable{key: &keys[r.IntN(len(keys))]}
	switch {
	case !t.bag():
		t.name = s.fresh("t")
	case late:
		t.name = s.fresh(latePrefix)
	default:
		t.name = s.fresh(bagPrefix)
	}
	t.modelVariant = d.variant(t.key, r)
	types := d.types()
	for range 1 + r.IntN(6) {
		t.columns = append(t.columns, modelColumn{s.fresh("c"), &types[r.IntN(len(types))]})
	}
	return t
}

// compared returns the tables as a comparison reads them: those whose rows have a key, and those whose rows have none.
func (s *modelSchema) compared() (keyed, bags []*compare.Table) {
	for _, t := range s.tables() {
		if t.bag() {
			bags = append(bags, t.compared(s.name))
		} else {
			keyed = append(keyed, t.compared(s.name))
		}
	}
	return keyed, bags
}
