package ddl

import (
	"slices"
	"strings"

	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// A Table is the structure of one table. It is immutable: a statement that changes it makes a new one.
type Table struct {
	Name    Name
	Charset string // of columns that name none
	Columns []binlog.Column
	Key     []string // columns of the primary key, in key order
}

// find returns the place of a column, -1 if there is none. Names of columns don't differ by case.
func (t *Table) find(column string) int {
	return slices.IndexFunc(t.Columns, func(c binlog.Column) bool { return strings.EqualFold(c.Name, column) })
}

func (t *Table) clone() *Table {
	c := *t
	c.Columns, c.Key = slices.Clone(t.Columns), slices.Clone(t.Key)
	return &c
}

// setKey makes columns the primary key, which makes them NOT NULL.
func (t *Table) setKey(columns []string) bool {
	t.Key = nil
	for _, name := range columns {
		i := t.find(name)
		if i < 0 {
			return false
		}
		t.Columns[i].Nullable = false
		t.Key = append(t.Key, t.Columns[i].Name)
	}
	return true
}

// A place is where a new or changed column goes.
type place struct {
	first bool
	after string // "" for the end, or to stay
}

// insert puts a column in its place.
func (t *Table) insert(c binlog.Column, at place) bool {
	i := len(t.Columns)
	switch {
	case at.first:
		i = 0
	case at.after != "":
		if i = t.find(at.after) + 1; i == 0 {
			return false
		}
	}
	t.Columns = slices.Insert(t.Columns, i, c)
	return true
}
