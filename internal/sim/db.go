package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/tailrace/tailrace/change"
)

// Config says what world to make. The zero value of a field means its default.
type Config struct {
	Seed     uint64
	Rows     int // rows per table at the beginning; 0: 40
	Steps    int // steps of the clients until they stop; 0: 300, -1: there are no clients, only what Begin begins
	MaxBatch int // events of a batch at most; 0: 1 to 64, by the seed
	Keyless  bool
	// Heap makes a database whose rows lie in places, are read by place, and move to another one whenever they are written:
	// see HeapSource.
	Heap bool
	// Settle waits until the other goroutines of the test are blocked (synctest.Wait), so that the seed alone decides
	// the schedule. nil: the schedule is real.
	Settle func()
}

// A DB is the world: tables, clients that change them, a log of committed transactions, and the rule which of them a
// snapshot sees. All methods may be called concurrently.
type DB struct {
	mu      sync.Mutex
	cfg     Config
	rng     *rand.Rand
	tables  []*table
	clients []*client
	steps   int
	lsn     uint64
	xid     uint64
	log     []*txn // committed, in the order of their commits
	byXid   map[uint64]*txn
	seen    uint64          // number of transactions that became visible
	slot    uint64          // what was acknowledged; 0: no slot yet
	start   uint64          // where the slot was made
	gates   []chan struct{} // scans that wait for the schedule
	scans   []ScanCall
	initial []map[string]change.Row
	stamp   int64         // source of unique values
	changed chan struct{} // closed when the log grows
}

// A table holds the rows that new snapshots see, by key. Rows are never changed in place.
type table struct {
	*change.Table
	index    int
	topic    string
	rows     map[string]change.Row
	places   map[string]int    // where each row lies, by key
	locks    map[string]uint64 // xid of the transaction that wrote the key and is not visible yet
	emptied  uint64            // xid that holds the lock of a truncate
	domain   int
	large    []int // columns that are not logged when unchanged
	identity func(slot int, r change.Row)
}

// A txn is a transaction; end is set when it is in the log, visible when snapshots see it.
type txn struct {
	xid     uint64
	events  []change.Event // rows here may be torn
	truth   []change.Row   // for each event the whole row after it; nil for deletes and truncates
	first   uint64         // lsn of the first change
	end     uint64
	prev    uint64
	visible uint64
	writes  []write
}

type write struct {
	table *table
	key   string
	row   change.Row // nil: deleted
	empty bool       // all rows of the table go
}

// ScanCall is one read of a chunk that came to its end.
type ScanCall struct {
	Table string
	After string
	Rows  int
}

// New makes a world from its seed.
func New(cfg Config) *DB {
	db := &DB{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x7461696c)), byXid: map[uint64]*txn{}, lsn: 100,
		changed: make(chan struct{})}
	if db.cfg.Rows == 0 {
		db.cfg.Rows = 40
	}
	db.steps = cfg.Steps
	switch {
	case db.steps == 0:
		db.steps = 300
	case db.steps < 0:
		db.steps, db.cfg.Rows = 0, max(0, cfg.Rows)
	}
	if db.cfg.MaxBatch == 0 {
		db.cfg.MaxBatch = 1 + db.rng.IntN(64)
	}
	db.tables = append(db.tables, orders(), parts())
	if cfg.Keyless {
		db.tables = append(db.tables, notes())
	}
	for i, t := range db.tables {
		t.index = i
		t.rows, t.locks, t.places = map[string]change.Row{}, map[string]uint64{}, map[string]int{}
		t.domain = max(1, 2*db.cfg.Rows)
		for range db.cfg.Rows {
			slot := db.rng.IntN(t.domain)
			t.rows[t.slotKey(slot)] = db.newRow(t, slot)
			db.settle(t, t.slotKey(slot))
		}
	}
	for range 4 {
		db.clients = append(db.clients, &client{})
	}
	for range min(db.steps, db.rng.IntN(20)) {
		db.step()
	}
	return db
}

var origin = &change.Origin{Connector: "sim", Name: "sim", Version: "0"}

func orders() *table {
	return &table{topic: "sim.public.orders", large: []int{2}, Table: &change.Table{
		Name: change.TableName{Database: "sim", Schema: "public", Table: "orders"}, Origin: origin, Version: 1,
		Columns: []change.Column{column("id", change.Int), column("n", change.Int), column("doc", change.Text)},
		Key:     []int{0}},
		identity: func(slot int, r change.Row) { r[0] = integer(int64(slot) - 7) }}
}

// parts has a key of two columns in another order than the columns, and text in it.
func parts() *table {
	return &table{topic: "sim.public.parts", large: []int{2, 4}, Table: &change.Table{
		Name: change.TableName{Database: "sim", Schema: "public", Table: "parts"}, Origin: origin, Version: 1,
		Columns: []change.Column{column("a", change.Int), column("b", change.Text), column("doc", change.Text),
			column("n", change.Int), column("more", change.Text)},
		Key: []int{1, 0}},
		identity: func(slot int, r change.Row) {
			r[0], r[1] = integer(int64(slot/3)), text([]string{"x", "", "x\x00y"}[slot%3])
		}}
}

// notes has no key; its rows repeat. Deletes and updates carry the whole old row.
func notes() *table {
	return &table{topic: "sim.public.notes", Table: &change.Table{
		Name: change.TableName{Database: "sim", Schema: "public", Table: "notes"}, Origin: origin, Version: 1,
		Columns:     []change.Column{column("n", change.Int), column("text", change.Text)},
		OldIdentity: true}}
}

func column(name string, k change.Kind) change.Column {
	return change.Column{Name: name, Type: change.Type{Kind: k, Name: k.String(), Bits: 64}, Nullable: true}
}

func integer(n int64) change.Value { return change.Value{Kind: change.Int, Num: uint64(n)} }
func text(s string) change.Value   { return change.Value{Kind: change.Text, Data: []byte(s)} }

func (t *table) keyless() bool { return len(t.Key) == 0 }

// slotKey is the key of the row in a slot: the key tuple, or the slot's number where the table has no key.
func (t *table) slotKey(slot int) string {
	if t.keyless() {
		return fmt.Sprintf("%04d", slot)
	}
	r := make(change.Row, len(t.Columns))
	for i := range r {
		r[i].Kind = change.Null
	}
	t.identity(slot, r)
	return keyOf(t.Table, r)
}

// heapSize is how many places a table has.
const heapSize = 100

// settle gives a row that was written a place of its own.
func (db *DB) settle(t *table, key string) {
	if db.cfg.Heap {
		t.places[key] = db.rng.IntN(heapSize)
	}
}

func keyOf(t *change.Table, r change.Row) string {
	k, ok := change.AppendKey(nil, t, r)
	if !ok {
		panic("sim: row without a key")
	}
	return string(k)
}

// newRow makes a row with values that no other row has, except where the table has no key.
func (db *DB) newRow(t *table, slot int) change.Row {
	r := make(change.Row, len(t.Columns))
	for i, c := range t.Columns {
		r[i] = db.newValue(t, c.Type.Kind)
	}
	if t.identity != nil {
		t.identity(slot, r)
	}
	return r
}

func (db *DB) newValue(t *table, k change.Kind) change.Value {
	if db.rng.IntN(12) == 0 {
		return change.Value{Kind: change.Null}
	}
	db.stamp++
	n := db.stamp
	if t.keyless() {
		n = db.rng.Int64N(3)
	}
	if k == change.Int {
		return integer(n)
	}
	return text(fmt.Sprintf("v%d", n))
}

// Tables returns the structures of all tables.
func (db *DB) Tables() []*change.Table {
	out := make([]*change.Table, len(db.tables))
	for i, t := range db.tables {
		out[i] = t.Table
	}
	return out
}

// Rows returns the rows of a table that everyone sees now, in no order.
func (db *DB) Rows(t *change.Table) []change.Row {
	db.mu.Lock()
	defer db.mu.Unlock()
	var out []change.Row
	for _, r := range db.find(t).rows {
		out = append(out, r)
	}
	return out
}

// Scans returns the chunks that were read to their end so far.
func (db *DB) Scans() []ScanCall {
	db.mu.Lock()
	defer db.mu.Unlock()
	return append([]ScanCall(nil), db.scans...)
}

// End returns the log's present end, and whether the clients have stopped for good.
func (db *DB) End() (lsn uint64, quiet bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.lsn, db.quiet()
}

func (db *DB) find(t *change.Table) *table {
	for _, x := range db.tables {
		if x.Name == t.Name {
			return x
		}
	}
	panic("sim: no table " + t.Name.String())
}
