package change

import (
	"slices"
	"unsafe"
)

const (
	slabSize    = 256 << 10 // bytes of the largest byte slabs
	valueSlab   = 8 << 10   // values of the largest value slabs
	slabGrowth  = 4         // how many times as large as the one before it a slab is, up to those bounds
	firstSlab   = 64        // the share of the largest slab that the first one is: a batch of few rows costs little memory
	maxRetained = 8 << 20   // bytes of slabs that Reset keeps for reuse
	valueBytes  = int(unsafe.Sizeof(Value{}))
)

// A Batch is a run of events in commit order with the memory that holds them. The caller of Read owns it, passes it
// down the line and resets it: after Reset every byte, row and event that came from it is dead (Invariant 6). An
// invariants build overwrites them with 0xCC to catch who looks.
//
// A Batch is not safe for concurrent use.
type Batch struct {
	Events []Event
	// Origin names the lane the batch came from: for a source its partition (topic.prefix), for a sink
	// topic-partition. Offsets are kept per origin.
	Origin string
	// Resume is the position after the last event of the batch: once the batch is durable, this is where to go on.
	// A batch without events may carry a Resume: the stream has moved on and nothing of it was captured.
	Resume Position
	// Notes are what the source wants to be told when it is opened again: they are appended together with Resume. (Invariant 3)
	// They are few: most batches have none.
	Notes []Note

	bytes  arena[byte]
	values arena[Value]
}

// A Note is something that a source has to remember besides its position, because it is too large to be part of it. The value
// is in a form that only the source understands and is not changed after it was noted; nil removes the note.
type Note struct {
	Key   string
	Value []byte
}

// Add appends a zeroed event and returns it. The pointer is valid until the next Add.
func (b *Batch) Add() *Event {
	if len(b.Events) < cap(b.Events) {
		b.Events = b.Events[:len(b.Events)+1]
		b.Events[len(b.Events)-1] = Event{}
	} else {
		b.Events = append(b.Events, Event{})
	}
	return &b.Events[len(b.Events)-1]
}

// Bytes returns n bytes of the batch's memory with undefined content. It never returns nil.
func (b *Batch) Bytes(n int) []byte { return b.bytes.take(n, slabSize) }

// Copy copies p into the batch's memory. A nil p gives nil, an empty p an empty slice that is not nil.
func (b *Batch) Copy(p []byte) []byte {
	if p == nil {
		return nil
	}
	c := b.Bytes(len(p))
	copy(c, p)
	return c
}

// Row returns a row of n Absent values in the batch's memory.
func (b *Batch) Row(n int) Row {
	r := b.values.take(n, valueSlab)
	clear(r)
	return r
}

// CopyRow copies a row with its bytes into the batch's memory. A nil row gives nil.
func (b *Batch) CopyRow(r Row) Row {
	if r == nil {
		return nil
	}
	c := b.Row(len(r))
	for i := range r {
		c[i] = r[i]
		c[i].Data = b.Copy(r[i].Data)
	}
	return c
}

// CopyEvent appends a deep copy of e, an event of another batch, and returns it.
func (b *Batch) CopyEvent(e *Event) *Event {
	c := b.Add()
	*c = *e
	c.Key = b.Copy(e.Key)
	c.Before = b.CopyRow(e.Before)
	c.After = b.CopyRow(e.After)
	if e.Headers != nil {
		c.Headers = make([]Header, len(e.Headers))
		for i, h := range e.Headers {
			c.Headers[i] = Header{Key: h.Key, Value: b.Copy(h.Value)}
		}
	}
	if e.Raw != nil {
		c.Raw = &Raw{Key: b.Copy(e.Raw.Key), Value: b.Copy(e.Raw.Value), Form: e.Raw.Form}
	}
	return c
}

// Size returns the number of bytes of batch memory in use: row bytes and values, not the events themselves.
func (b *Batch) Size() int { return b.bytes.used + b.values.used*valueBytes }

// Reset empties the batch and takes its memory back for reuse.
func (b *Batch) Reset() {
	b.Events = b.Events[:0]
	b.Origin, b.Resume = "", nil
	clear(b.Notes)
	b.Notes = b.Notes[:0]
	b.bytes.reset(maxRetained, poisonBytes)
	b.values.reset(maxRetained/valueBytes, poisonValues)
}

// arena hands out slices of slabs that never move: a small one first, then larger ones. used counts what was handed out since the
// last reset.
type arena[T any] struct {
	slabs [][]T
	cur   int // index of the slab that take cuts from
	off   int // first free element of slabs[cur]
	used  int
}

func (a *arena[T]) take(n, most int) []T {
	a.used += n
	for a.cur < len(a.slabs) {
		if s := a.slabs[a.cur]; len(s)-a.off >= n {
			p := s[a.off : a.off+n : a.off+n]
			a.off += n
			return p
		}
		a.cur++
		a.off = 0
	}
	size := most / firstSlab
	if last := len(a.slabs) - 1; last >= 0 {
		size = min(most, slabGrowth*len(a.slabs[last]))
	}
	a.slabs = append(a.slabs, make([]T, max(n, size)))
	a.off = n
	return a.slabs[a.cur][:n:n]
}

func (a *arena[T]) reset(keep int, poison func([]T)) {
	kept := 0
	for i, s := range a.slabs {
		switch {
		case i < a.cur:
			poison(s)
		case i == a.cur:
			poison(s[:a.off])
		}
		if kept+len(s) > keep {
			a.slabs[i] = nil
		} else {
			kept += len(s)
		}
	}
	a.slabs = slices.DeleteFunc(a.slabs, func(s []T) bool { return s == nil })
	a.cur, a.off, a.used = 0, 0, 0
}
