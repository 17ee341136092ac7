package sink

import (
	"bytes"
	"hash/maphash"

	"github.com/tailrace/tailrace/change"
)

// A State is what a run of events left of one row.
type State struct {
	Key     []byte        // as it was given to Fold.Add
	Table   *change.Table // of the newest event: the structure of Row
	Topic   string
	Row     change.Row // the new row, or the old image with the key columns if Deleted
	Version uint64     // of the newest event
	First   change.Op  // of the oldest event
	Deleted bool
	// Replace reports that nothing of what the target holds of the row survives: Row is complete, or the run deleted
	// the row before it wrote it again. Without it, Absent columns of Row are to be taken from the target.
	Replace bool
	// last is the newest event of the run: the head of its chain in Fold.links.
	last int
}

// A Fold reduces a run of row events to one State for each key, so that a sink can write a batch as a set: no key occurs
// twice in it, and a retry of the whole set cannot apply an old event after a new one (Invariant 2). A later event with
// Absent columns is laid over the earlier ones of its key. States are in order of each key's first event.
//
// The zero Fold is ready for use. It refers to the bytes of the events that were added and never writes to them; its
// memory is reused after Reset. A Fold is not safe for concurrent use.
type Fold struct {
	States []State

	seed   maphash.Seed
	seeded bool
	slots  []int32 // open addressing: 1 + an index into States, 0: free
	links  []link  // the chains that Events walks
	values []change.Value
}

type link struct {
	event, prev int32 // prev: index into links, -1 at the first event of a key
}

// Reset empties the fold and keeps its memory.
func (f *Fold) Reset() {
	f.States = f.States[:0]
	f.links = f.links[:0]
	f.values = f.values[:0]
	clear(f.slots)
}

// Add takes in e, the event at index in its batch, as the newest event of key. e is a c, r, u, d or x with a row image;
// key names its row: the fold keeps the slice and does not copy it. An event whose Version is below that of the key's
// newest is dropped as old news, but is still one of the key's events.
func (f *Fold) Add(key []byte, index int, e *change.Event) {
	slot, found := f.find(key)
	deleted := e.Op == change.OpDelete || e.Op == change.OpTombstone
	row := e.After
	if deleted {
		row = e.Before
	}
	if !found {
		f.links = append(f.links, link{int32(index), -1})
		f.States = append(f.States, State{Key: key, Table: e.Table, Topic: e.Topic, Row: row, Version: e.Version, First: e.Op,
			Deleted: deleted, Replace: deleted || row.Complete(), last: len(f.links) - 1})
		f.slots[slot] = int32(len(f.States))
		return
	}
	s := &f.States[f.slots[slot]-1]
	f.links = append(f.links, link{int32(index), int32(s.last)})
	s.last = len(f.links) - 1
	if e.Version < s.Version {
		return
	}
	switch {
	case deleted:
		s.Replace = true
	case s.Deleted:
		// What follows a delete is a new row: it owes nothing to the target's.
		s.Replace = true
	case !row.Complete():
		row = f.overlay(s, e.Table, row)
	default:
		s.Replace = true
	}
	s.Table, s.Topic, s.Row, s.Version, s.Deleted = e.Table, e.Topic, row, e.Version, deleted
}

// overlay returns row, of table t, with its Absent columns taken from s.
func (f *Fold) overlay(s *State, t *change.Table, row change.Row) change.Row {
	n := len(f.values)
	f.values = append(f.values, row...)
	out := f.values[n:len(f.values):len(f.values)]
	for i := range out {
		if out[i].Kind != change.Absent {
			continue
		}
		j := i
		if s.Table != t {
			j = s.Table.Column(t.Columns[i].Name)
		}
		if j >= 0 && j < len(s.Row) {
			out[i] = s.Row[j]
		}
	}
	return out
}

// Events calls visit with the batch index of every event that went into s, the newest first.
func (f *Fold) Events(s *State, visit func(index int)) {
	for i := int32(s.last); i >= 0; i = f.links[i].prev {
		visit(int(f.links[i].event))
	}
}

// find returns the slot of key, or the free slot where it belongs.
func (f *Fold) find(key []byte) (slot int, found bool) {
	if !f.seeded {
		f.seed, f.seeded = maphash.MakeSeed(), true
	}
	if len(f.slots) < 2*(len(f.States)+1) {
		f.grow()
	}
	mask := len(f.slots) - 1
	for i := int(maphash.Bytes(f.seed, key)) & mask; ; i = (i + 1) & mask {
		if f.slots[i] == 0 {
			return i, false
		}
		if bytes.Equal(f.States[f.slots[i]-1].Key, key) {
			return i, true
		}
	}
}

func (f *Fold) grow() {
	f.slots = make([]int32, max(64, 2*len(f.slots)))
	mask := len(f.slots) - 1
	for n := range f.States {
		i := int(maphash.Bytes(f.seed, f.States[n].Key)) & mask
		for f.slots[i] != 0 {
			i = (i + 1) & mask
		}
		f.slots[i] = int32(n + 1)
	}
}
