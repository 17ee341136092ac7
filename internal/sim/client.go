package sim

import (
	"github.com/tailrace/tailrace/change"
)

// A client runs one transaction after another, a statement a step. Its transaction is in the log a while before
// snapshots see it, as where a commit waits for a standby.
type client struct {
	x       *txn
	wants   int // statements until commit
	pending bool
}

// quiet reports whether no client will ever do anything again.
func (db *DB) quiet() bool {
	if db.steps > 0 {
		return false
	}
	for _, c := range db.clients {
		if c.x != nil {
			return false
		}
	}
	return true
}

// step lets one client do one thing.
func (db *DB) step() {
	if db.steps > 0 {
		db.steps--
	}
	c := db.clients[db.rng.IntN(len(db.clients))]
	if db.steps == 0 {
		for _, other := range db.clients {
			if other.x != nil {
				c = other
			}
		}
	}
	switch {
	case c.x == nil:
		if db.steps > 0 {
			db.xid++
			c.x, c.wants = &txn{xid: db.xid}, 1+db.rng.IntN(6)
			if db.rng.IntN(20) == 0 {
				c.wants = 40
			}
			db.statement(c.x)
		}
	case c.pending:
		db.show(c)
	case c.wants > 0 && db.steps > 0:
		c.wants--
		db.statement(c.x)
	case db.rng.IntN(8) == 0:
		db.release(c.x)
		c.x = nil
	default:
		db.commit(c)
	}
}

// commit writes the transaction to the log; now and then snapshots see it only later.
func (db *DB) commit(c *client) {
	db.write(c)
	if c.pending && db.rng.IntN(3) > 0 {
		db.show(c)
	}
}

// write writes the transaction to the log.
func (db *DB) write(c *client) {
	x := c.x
	if len(x.events) == 0 {
		db.release(x)
		c.x = nil
		return
	}
	db.lsn += 2
	x.end = db.lsn
	if n := len(db.log); n > 0 {
		x.prev = db.log[n-1].end
	}
	for i := range x.events {
		x.events[i].PrevLSN = x.prev
		x.events[i].Commit = int64(x.end)
	}
	db.log = append(db.log, x)
	db.byXid[x.xid] = x
	close(db.changed)
	db.changed = make(chan struct{})
	c.pending = true
}

// show makes a committed transaction visible to snapshots and releases its locks.
func (db *DB) show(c *client) {
	for _, w := range c.x.writes {
		switch {
		case w.empty:
			clear(w.table.rows)
		case w.row == nil:
			delete(w.table.rows, w.key)
		default:
			w.table.rows[w.key] = w.row
			db.settle(w.table, w.key)
		}
	}
	db.seen++
	c.x.visible = db.seen
	db.release(c.x)
	c.x, c.pending = nil, false
}

func (db *DB) release(x *txn) {
	for _, t := range db.tables {
		for k, xid := range t.locks {
			if xid == x.xid {
				delete(t.locks, k)
			}
		}
		if t.emptied == x.xid {
			t.emptied = 0
		}
	}
}

// look returns the row of a key as the transaction sees it.
func (x *txn) look(t *table, key string) change.Row {
	for i := len(x.writes) - 1; i >= 0; i-- {
		if w := &x.writes[i]; w.table == t && (w.empty || w.key == key) {
			return w.row
		}
	}
	return t.rows[key]
}

// lock takes a key, unless another transaction has it.
func (t *table) lock(x *txn, key string) bool {
	if t.emptied != 0 && t.emptied != x.xid {
		return false
	}
	if owner, ok := t.locks[key]; ok && owner != x.xid {
		return false
	}
	t.locks[key] = x.xid
	return true
}

// statement changes something at random; it does nothing where it would have to wait for a lock.
func (db *DB) statement(x *txn) {
	t := db.tables[db.rng.IntN(len(db.tables))]
	if db.rng.IntN(60) == 0 {
		db.truncate(x, t)
		return
	}
	slot := db.rng.IntN(t.domain)
	key := t.slotKey(slot)
	if !t.lock(x, key) {
		return
	}
	old := x.look(t, key)
	switch {
	case old == nil:
		db.insert(x, t, key, db.newRow(t, slot))
	case db.rng.IntN(5) == 0:
		db.remove(x, t, key, old)
		if db.rng.IntN(3) == 0 {
			db.insert(x, t, key, db.newRow(t, slot))
		}
	case db.rng.IntN(4) == 0 && !t.keyless():
		db.move(x, t, key, old)
	default:
		db.update(x, t, key, old)
	}
}

func (db *DB) truncate(x *txn, t *table) {
	for _, owner := range t.locks {
		if owner != x.xid {
			return
		}
	}
	if t.emptied != 0 && t.emptied != x.xid {
		return
	}
	t.emptied = x.xid
	x.writes = append(x.writes, write{table: t, empty: true})
	db.emit(x, t, change.Event{Op: change.OpTruncate}, nil)
}

func (db *DB) insert(x *txn, t *table, key string, row change.Row) {
	x.writes = append(x.writes, write{table: t, key: key, row: row})
	db.emit(x, t, change.Event{Op: change.OpCreate, Key: t.eventKey(key), After: row}, row)
}

func (db *DB) remove(x *txn, t *table, key string, old change.Row) {
	x.writes = append(x.writes, write{table: t, key: key})
	db.emit(x, t, change.Event{Op: change.OpDelete, Key: t.eventKey(key), Before: t.oldImage(old)}, nil)
}

// update sets some columns; large ones that stay as they are do not reach the log.
func (db *DB) update(x *txn, t *table, key string, old change.Row) {
	row, logged := db.alter(t, old)
	x.writes = append(x.writes, write{table: t, key: key, row: row})
	e := change.Event{Op: change.OpUpdate, Key: t.eventKey(key), After: logged}
	if t.keyless() {
		e.Before = old
	}
	db.emit(x, t, e, row)
}

// move gives a row another key.
func (db *DB) move(x *txn, t *table, key string, old change.Row) {
	slot := db.rng.IntN(t.domain)
	to := t.slotKey(slot)
	if !t.lock(x, to) || x.look(t, to) != nil {
		return
	}
	row, logged := db.alter(t, old)
	t.identity(slot, row)
	t.identity(slot, logged)
	x.writes = append(x.writes, write{table: t, key: key}, write{table: t, key: to, row: row})
	db.emit(x, t, change.Event{Op: change.OpDelete, Key: []byte(key), Before: t.oldImage(old)}, nil)
	db.emit(x, t, change.Event{Op: change.OpCreate, Key: []byte(to), After: logged}, row)
}

// alter returns a new row and what the log says of it.
func (db *DB) alter(t *table, old change.Row) (row, logged change.Row) {
	row = append(change.Row(nil), old...)
	key := map[int]bool{}
	for _, i := range t.Key {
		key[i] = true
	}
	large := map[int]bool{}
	for _, i := range t.large {
		large[i] = true
	}
	logged = append(change.Row(nil), old...)
	for i := range row {
		if key[i] {
			continue
		}
		if db.rng.IntN(3) == 0 {
			row[i] = db.newValue(t, t.Columns[i].Type.Kind)
			logged[i] = row[i]
		} else if large[i] && row[i].Kind != change.Null {
			logged[i] = change.Value{}
		}
	}
	return row, logged
}

func (t *table) eventKey(key string) []byte {
	if t.keyless() {
		return nil
	}
	return []byte(key)
}

// oldImage is what a delete tells of the old row: its key, or all of it.
func (t *table) oldImage(old change.Row) change.Row {
	if t.OldIdentity {
		return old
	}
	r := make(change.Row, len(old))
	for _, i := range t.Key {
		r[i] = old[i]
	}
	return r
}

func (db *DB) emit(x *txn, t *table, e change.Event, truth change.Row) {
	db.lsn++
	e.Table, e.Topic, e.Txn, e.Ordinal, e.LSN = t.Table, t.topic, x.xid, uint32(len(x.events)), db.lsn
	x.events = append(x.events, e)
	x.truth = append(x.truth, truth)
}
