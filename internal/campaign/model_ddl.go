package main

import (
	"context"
	"fmt"
	"slices"
)

// restructure changes the structure of a table, or makes one. What the log has of older rows is then under the old structure, as with
// every capture of changes; so where a column has another name or type, or the table another name, each row is written again in all
// that has changed.
func (c *modelClient) restructure(ctx context.Context) error {
	c.structure.Lock()
	defer c.structure.Unlock()
	old := c.schema.pick(c.rnd)
	statements, made, again := c.redesign(old)
	if made.name != old.name && len(statements) > 0 && again == nil {
		old = nil // a new one
	}
	statement := func() error {
		for _, sql := range statements {
			if err := c.exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
	body := func() error {
		if err := c.rewrite(ctx, made, again); err != nil {
			return err
		}
		return c.step(ctx, made)
	}
	if c.db.transactionalDDL() {
		err := c.transaction(ctx, plain, func() error {
			if c.rnd.IntN(2) == 0 {
				if err := c.steps(ctx); err != nil {
					return err
				}
			}
			if err := statement(); err != nil {
				return err
			}
			return body()
		})
		if err == nil {
			c.schema.replace(old, made)
		}
		return err
	}
	if err := statement(); err != nil {
		return err
	}
	c.schema.replace(old, made)
	for { // others may be in the way; until it is done nobody may look
		err := c.transaction(ctx, plain, body)
		if err == nil || !c.db.stale(err) {
			return err
		}
		c.ops = c.ops[:0]
	}
}

// redesign draws a change: its statements, what the table is then, and the columns to be written anew in all rows, nil for none.
func (c *modelClient) redesign(old *modelTable) (statements []string, made *modelTable, again []modelColumn) {
	types := c.db.types()
	alter := func(format string, args ...any) []string {
		return []string{"ALTER TABLE " + old.name + " " + fmt.Sprintf(format, args...)}
	}
	at := -1
	if len(old.columns) > 0 {
		at = c.rnd.IntN(len(old.columns))
	}
	k := c.rnd.IntN(10)
	switch {
	case old.bag(): // its rows are known by all of their values: a column can come and go, and no more
		k %= 5
	case k == 8 && old.partitioned: // PostgreSQL goes on to send the old name
		k = 0
	case k == 9 && !c.db.tablesCome():
		k = 3
	}
	switch {
	case k < 3 || at < 0:
		col := modelColumn{c.schema.fresh("c"), &types[c.rnd.IntN(len(types))]}
		return alter("ADD COLUMN %s %s", col.name, col.typ.sql), old.with(append(slices.Clone(old.columns), col)), nil
	case k < 5:
		return alter("DROP COLUMN %s", old.columns[at].name), old.with(slices.Delete(slices.Clone(old.columns), at, at+1)), nil
	case k < 7:
		col := modelColumn{c.schema.fresh("c"), old.columns[at].typ}
		made = old.with(slices.Clone(old.columns))
		made.columns[at] = col
		return []string{c.db.renameColumn(old, old.columns[at], col.name)}, made, []modelColumn{col}
	case k < 8:
		col := modelColumn{old.columns[at].name, c.db.wider(old.columns[at].typ)}
		made = old.with(slices.Clone(old.columns))
		made.columns[at] = col
		return []string{c.db.retype(old, col)}, made, []modelColumn{col}
	case k < 9:
		made = old.with(old.columns)
		made.name = c.schema.fresh("t")
		return alter("RENAME TO %s", made.name), made, append([]modelColumn{}, old.columns...)
	}
	made = c.schema.random(c.db, c.rnd, true)
	return made.create(), made, nil
}

// rewrite writes some columns of all rows of a table anew.
func (c *modelClient) rewrite(ctx context.Context, t *modelTable, columns []modelColumn) error {
	if columns == nil {
		return nil
	}
	numbers, err := c.conn.numbers(ctx, "SELECT DISTINCT "+numberColumn+" FROM "+t.name)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if err := c.update(ctx, t, int(n), columns); err != nil {
			return err
		}
	}
	return nil
}
