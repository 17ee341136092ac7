package mysql

import (
	"encoding/binary"
	"sync"
)

const (
	segmentSize  = 1 << 20 // bytes of one segment
	queueLimit   = 3       // segments in the queue; the reader holds one more
	wakeBytes    = 256 << 10
	recordHeader = 4 // length
)

// A segment is a run of records, each the length and the bytes of one event. Segments are larger than segmentSize only for
// a single larger event.
type segment struct{ buf []byte }

// next returns the record at off and where the one after it begins. There must be one.
func (s *segment) next(off int) (event []byte, end int) {
	n := int(binary.LittleEndian.Uint32(s.buf[off:]))
	off += recordHeader
	return s.buf[off : off+n : off+n], off + n
}

// queue hands raw events from the pump, which must not keep the server waiting, to Read, which waits for the log. It is
// bounded: a full queue is how a slow log slows the server down (Invariant 8).
//
// The reader is woken when a transaction is complete, enough bytes are there, it was prompted, or the pump failed: not for
// each event.
type queue struct {
	mu       sync.Mutex
	segments []*segment // oldest first; the last one may still grow
	free     []*segment
	bytes    int
	ready    bool // there is something worth waking the reader for
	waiting  bool // the reader waits on wake
	prompted bool
	err      error

	wake  chan struct{} // to the reader
	space chan struct{} // to the pump: a segment was taken
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// put appends an event; whole says that a transaction ends with it, or that nothing may follow for long. It reports false
// when the queue is full.
func (q *queue) put(event []byte, whole bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.tail(recordHeader + len(event))
	if s == nil {
		q.ready = true
		q.signal()
		return false
	}
	s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(len(event)))
	s.buf = append(s.buf, event...)
	if q.bytes += recordHeader + len(event); whole || q.bytes >= wakeBytes {
		q.ready = true
		q.signal()
	}
	return true
}

// tail returns the segment that has room for n more bytes, nil if the queue is full.
func (q *queue) tail(n int) *segment {
	if k := len(q.segments); k > 0 {
		if s := q.segments[k-1]; cap(s.buf)-len(s.buf) >= n {
			return s
		}
		if k >= queueLimit {
			return nil
		}
	}
	var s *segment
	if k := len(q.free); k > 0 && n <= segmentSize {
		s, q.free = q.free[k-1], q.free[:k-1]
	} else {
		s = &segment{buf: make([]byte, 0, max(n, segmentSize))}
	}
	q.segments = append(q.segments, s)
	return s
}

// signal wakes the reader if it waits.
func (q *queue) signal() {
	if q.waiting {
		q.waiting = false
		q.wake <- struct{}{} // never blocks: the reader takes it before it waits again
	}
}

// take gives back the segment that the reader is done with, and returns the oldest one, nil if there is none.
func (q *queue) take(done *segment) *segment {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil && cap(done.buf) == segmentSize {
		done.buf = done.buf[:0]
		q.free = append(q.free, done)
	}
	if len(q.segments) == 0 {
		q.ready = false
		return nil
	}
	s := q.segments[0]
	copy(q.segments, q.segments[1:])
	q.segments = q.segments[:len(q.segments)-1]
	q.bytes -= len(s.buf)
	select {
	case q.space <- struct{}{}:
	default:
	}
	return s
}

// arm tells that the reader is about to wait. It reports false when there is no need to.
func (q *queue) arm() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready || q.prompted || q.err != nil {
		return false
	}
	q.waiting = true
	return true
}

// disarm is called by a reader that stopped waiting for another reason.
func (q *queue) disarm() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = false
	select {
	case <-q.wake:
	default:
	}
}

// prompt ends the reader's wait.
func (q *queue) prompt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.prompted = true
	q.signal()
}

// answer reports whether the reader was prompted since the last call.
func (q *queue) answer() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.prompted
	q.prompted = false
	return p
}

// fail ends the queue: what is in it can still be taken.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.signal()
}

func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// size returns the bytes that are queued.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
