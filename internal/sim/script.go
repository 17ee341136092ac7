package sim

import (
	"fmt"

	"github.com/tailrace/tailrace/change"
)

// A Tx is a transaction on the table public.orders (id, n, doc) that a test writes itself. It is used by one goroutine.
type Tx struct {
	db *DB
	c  client
}

// Begin begins a transaction.
func (db *DB) Begin() *Tx {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.xid++
	return &Tx{db: db, c: client{x: &txn{xid: db.xid}}}
}

// Insert adds a row.
func (tx *Tx) Insert(id, n int64, doc string) error {
	return tx.do(id, false, func(t *table, key string, _ change.Row) error {
		tx.db.insert(tx.c.x, t, key, change.Row{integer(id), integer(n), text(doc)})
		return nil
	})
}

// Update sets n and leaves doc as it is, which the log leaves out.
func (tx *Tx) Update(id, n int64) error {
	return tx.do(id, true, func(t *table, key string, old change.Row) error {
		tx.write(t, key, change.Row{old[0], integer(n), old[2]}, change.Event{Op: change.OpUpdate, Key: []byte(key),
			After: change.Row{old[0], integer(n), {}}})
		return nil
	})
}

// Delete removes a row.
func (tx *Tx) Delete(id int64) error {
	return tx.do(id, true, func(t *table, key string, old change.Row) error {
		tx.db.remove(tx.c.x, t, key, old)
		return nil
	})
}

// Move gives a row another id and leaves the rest as it is.
func (tx *Tx) Move(id, to int64) error {
	if err := tx.do(to, false, func(*table, string, change.Row) error { return nil }); err != nil {
		return err
	}
	return tx.do(id, true, func(t *table, key string, old change.Row) error {
		tx.db.remove(tx.c.x, t, key, old)
		row := change.Row{integer(to), old[1], old[2]}
		k := keyOf(t.Table, row)
		tx.write(t, k, row, change.Event{Op: change.OpCreate, Key: []byte(k), After: change.Row{row[0], row[1], {}}})
		return nil
	})
}

// Truncate removes all rows.
func (tx *Tx) Truncate() error {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	tx.db.truncate(tx.c.x, tx.db.tables[0])
	return nil
}

// Commit writes the transaction to the log and makes it visible.
func (tx *Tx) Commit() {
	tx.LogOnly()
	tx.Show()
}

// LogOnly writes the transaction to the log; snapshots don't see it until Show.
func (tx *Tx) LogOnly() {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	tx.db.write(&tx.c)
}

// Show makes the transaction visible.
func (tx *Tx) Show() {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	if tx.c.pending {
		tx.db.show(&tx.c)
	}
}

// Rollback forgets the transaction.
func (tx *Tx) Rollback() {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	tx.db.release(tx.c.x)
}

func (tx *Tx) do(id int64, exists bool, apply func(*table, string, change.Row) error) error {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	t := tx.db.tables[0]
	key := keyOf(t.Table, change.Row{integer(id), {Kind: change.Null}, {Kind: change.Null}})
	if !t.lock(tx.c.x, key) {
		return fmt.Errorf("sim: row %d is locked", id)
	}
	old := tx.c.x.look(t, key)
	if (old != nil) != exists {
		return fmt.Errorf("sim: row %d exists: %t", id, old != nil)
	}
	return apply(t, key, old)
}

func (tx *Tx) write(t *table, key string, row change.Row, e change.Event) {
	tx.c.x.writes = append(tx.c.x.writes, write{table: t, key: key, row: row})
	tx.db.emit(tx.c.x, t, e, row)
}
