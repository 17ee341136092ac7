package source

import (
	"slices"
	"testing"
)

func TestQueue(t *testing.T) {
	q := NewQueue()
	big := make([]byte, segmentSize/2)
	n := 0
	for q.Put(uint64(n), big, false) {
		n++
	}
	if n != queueLimit || q.Size() > queueLimit*segmentSize {
		t.Errorf("%d messages of half a segment, %d bytes", n, q.Size())
	}
	if q.arm() {
		t.Error("a full queue lets its reader wait")
	}
	s := q.Take(nil)
	if lsn, p, end, ok := s.Next(0); !ok || lsn != 0 || len(p) != len(big) || end != len(s.buf) {
		t.Errorf("record %d of %d bytes", lsn, len(p))
	}
	select {
	case <-q.space:
	default:
		t.Error("the pump is not told of space")
	}
	if !q.Put(9, make([]byte, 3*segmentSize), false) {
		t.Error("a message larger than a segment is refused")
	}
	var lsns []uint64
	for s = q.Take(s); s != nil; s = q.Take(s) {
		lsn, _, _, _ := s.Next(0)
		lsns = append(lsns, lsn)
	}
	if !slices.Equal(lsns, []uint64{1, 2, 9}) || q.Size() != 0 {
		t.Errorf("took %v, %d bytes left", lsns, q.Size())
	}
	// The reader is woken by a commit, not by a row.
	if !q.arm() {
		t.Fatal("an empty queue does not let its reader wait")
	}
	q.Put(1, []byte("I"), false)
	if len(q.wake) != 0 {
		t.Error("woken by a row")
	}
	q.Put(2, []byte("C"), true)
	if len(q.wake) != 1 {
		t.Error("not woken by a commit")
	}
}
