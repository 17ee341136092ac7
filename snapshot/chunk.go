package snapshot

import (
	"bytes"
	"hash/maphash"

	"github.com/tailrace/tailrace/change"
)

// evicted marks a row of a chunk that the stream has overtaken. No event has this Op.
const evicted change.Op = 0

// A chunk is one slice of a table as one snapshot of the database saw it, corrected by the stream until it is sent.
//
// Invariant of an open chunk: a row that is not evicted is the state of its key after the last event of that key that
// was delivered and that the window did not see; if there was none, it is what the snapshot saw.
type chunk struct {
	state   *tableState
	table   *change.Table // the structure under which it was read
	window  Window
	batch   *change.Batch // the rows
	index   index
	place   uint64 // chunks are sent in the order of their places
	after   []byte // the cursor behind it; own memory, nil if it is not known
	read    int64  // rows read
	last    bool   // the table ends here
	passed  bool   // the stream is past the window
	sent    int    // rows given to the reader, counted in batch.Events
	counted int64  // rows that are in the table's count already
	packed  bool   // evicted rows were taken out: sending has begun
	all     bool   // every row was sent; a chunk of a table without a key stays open until passed

	reading Reading // of a table without a key: where the next rows come from; nil: there are no more
	ghosts  bool    // not rows but deletes of keys that the log has and the table has not
	next    []byte  // ghosts: the cursor behind it
}

// byKey reports whether the place up to which rows were sent is the key of the last one.
func (c *chunk) byKey() bool {
	_, cursored := c.window.(Cursored)
	return !c.ghosts && !cursored
}

func (c *chunk) closeReading() error {
	if c.reading == nil {
		return nil
	}
	err := c.reading.Close()
	c.reading = nil
	return err
}

// find returns the row of a key, nil if the chunk has none (any more).
func (c *chunk) find(key []byte) *change.Event {
	rows := c.batch.Events
	if len(rows) == 0 || len(key) == 0 {
		return nil
	}
	if !c.index.built {
		c.index.build(rows)
	}
	return c.index.find(rows, key)
}

func (c *chunk) evictAll() {
	for i := range c.batch.Events {
		c.batch.Events[i].Op = evicted
	}
}

// pack takes the evicted rows out; find must not be called any more.
func (c *chunk) pack() {
	rows := c.batch.Events
	n := 0
	for i := range rows {
		if rows[i].Op == evicted {
			continue
		}
		if n != i {
			rows[n] = rows[i]
		}
		n++
	}
	c.batch.Events = rows[:n]
	c.packed = true
}

// overlay brings the row of a key up to date with an event that was delivered while the chunk was read. What the
// event leaves out, the row has.
func (c *chunk) overlay(e *change.Event) {
	row := c.find(e.Key)
	if row == nil {
		return
	}
	if e.Op != change.OpUpdate || e.After == nil || c.ghosts {
		row.Op = evicted
		return
	}
	for i := range e.After {
		if v := e.After[i]; v.Present() {
			v.Data = c.batch.Copy(v.Data)
			row.After[i] = v
		}
	}
}

// complete fills the Absent columns of dst, a row in b's memory, from src.
func complete(dst, src change.Row, b *change.Batch) {
	if len(dst) != len(src) {
		return
	}
	for i := range dst {
		if dst[i].Kind == change.Absent {
			dst[i] = src[i]
			dst[i].Data = b.Copy(src[i].Data)
		}
	}
}

// sameStructure reports whether rows of a and b mean the same: versions of one table may have several *Table.
func sameStructure(a, b *change.Table) bool {
	if a == b {
		return true
	}
	if len(a.Columns) != len(b.Columns) || len(a.Key) != len(b.Key) {
		return false
	}
	for i := range a.Key {
		if a.Key[i] != b.Key[i] {
			return false
		}
	}
	for i := range a.Columns {
		x, y := &a.Columns[i], &b.Columns[i]
		if x.Name != y.Name || x.Type.Kind != y.Type.Kind || x.Type.Name != y.Type.Name {
			return false
		}
	}
	return true
}

// index finds the rows of a chunk by key: an open-addressing table of row numbers plus one, 0 for a free slot. It is
// built when the first event asks, which for most chunks never happens, and its memory is reused.
type index struct {
	slots []uint32
	seed  maphash.Seed
	built bool
}

func (x *index) build(rows []change.Event) {
	n := 16
	for n < 2*len(rows) {
		n *= 2
	}
	if cap(x.slots) < n {
		x.slots = make([]uint32, n)
		x.seed = maphash.MakeSeed()
	}
	x.slots = x.slots[:n]
	clear(x.slots)
	for i := range rows {
		at := x.home(rows[i].Key)
		for x.slots[at] != 0 {
			at = (at + 1) & (n - 1)
		}
		x.slots[at] = uint32(i + 1)
	}
	x.built = true
}

func (x *index) home(key []byte) int {
	return int(maphash.Bytes(x.seed, key)) & (len(x.slots) - 1)
}

func (x *index) find(rows []change.Event, key []byte) *change.Event {
	for at := x.home(key); x.slots[at] != 0; at = (at + 1) & (len(x.slots) - 1) {
		if row := &rows[x.slots[at]-1]; row.Op != evicted && bytes.Equal(row.Key, key) {
			return row
		}
	}
	return nil
}
