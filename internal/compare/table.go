package compare

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/change"
)

// A Column is one column of the source.
type Column struct {
	Name   string
	Kind   change.Kind // Text for every type without a kind of its own
	Elem   change.Kind // of an Array
	Digits int         // of a fraction of a second that the type declares; 6 if it declares none
}

// A Table is one table of the source. It is not changed after it was made.
type Table struct {
	Schema, Name string
	Columns      []Column
	Key          []int // the key's columns, as indexes into Columns; none: a row may be there many times

	index map[string]int
}

// String returns schema.name.
func (t *Table) String() string { return t.Schema + "." + t.Name }

// NewTable makes a table; key holds indexes into columns.
func NewTable(schema, name string, columns []Column, key ...int) *Table {
	t := &Table{Schema: schema, Name: name, Columns: columns, Key: key, index: map[string]int{}}
	for i, c := range columns {
		t.index[c.Name] = i
	}
	return t
}

// kinds maps PostgreSQL's types to the kinds whose text needs a normal form. All others are compared as text.
func kind(typname string) change.Kind {
	switch typname {
	case "bool":
		return change.Bool
	case "int2", "int4", "int8":
		return change.Int
	case "float4":
		return change.Float32
	case "float8":
		return change.Float64
	case "numeric":
		return change.Decimal
	case "bytea":
		return change.Bytes
	case "json", "jsonb":
		return change.JSON
	case "uuid":
		return change.UUID
	case "date":
		return change.Date
	case "time":
		return change.Time
	case "timestamp":
		return change.Timestamp
	case "timestamptz":
		return change.TimestampTZ
	}
	return change.Text
}

const columnsQuery = `
SELECT c.relname::text, a.attname::text, t.typname::text, t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A',
       COALESCE(e.typname::text, ''), a.atttypmod,
       COALESCE(array_position(i.indkey::int2[], a.attnum), -1)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE n.nspname = $1 AND c.relkind = 'r'
ORDER BY c.relname, a.attnum`

// Tables reads from the catalog every table of a schema, sorted by name. A table without a primary key is an error: its rows
// cannot be told apart.
func Tables(ctx context.Context, conn *pgx.Conn, schema string) ([]*Table, error) {
	rows, err := conn.Query(ctx, columnsQuery, schema)
	if err != nil {
		return nil, err
	}
	var tables []*Table
	var columns []Column
	places := map[int]int{} // place in the key -> column
	var current string
	finish := func() error {
		if current == "" {
			return nil
		}
		key := make([]int, len(places))
		for place, column := range places {
			if place >= len(key) {
				return fmt.Errorf("%s.%s: the primary key has %d columns, but one is number %d", schema, current, len(key), place+1)
			}
			key[place] = column
		}
		if len(key) == 0 {
			return fmt.Errorf("%s.%s has no primary key", schema, current)
		}
		tables = append(tables, NewTable(schema, current, columns, key...))
		columns, places = nil, map[int]int{}
		return nil
	}
	var table, name, typname, elem string
	var array bool
	var modifier, place int
	_, err = pgx.ForEachRow(rows, []any{&table, &name, &typname, &array, &elem, &modifier, &place}, func() error {
		if table != current {
			if err := finish(); err != nil {
				return err
			}
			current = table
		}
		c := Column{Name: name, Kind: kind(typname), Digits: 6}
		if typname == "money" { // a number outside of PostgreSQL; arrays of it keep their text
			c.Kind = change.Decimal
		}
		if array {
			c.Kind, c.Elem = change.Array, kind(elem)
		}
		if modifier >= 0 && (strings.HasPrefix(typname, "time")) {
			c.Digits = modifier
		}
		if place >= 0 {
			places[place] = len(columns)
		}
		columns = append(columns, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tables, finish()
}
