package source

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// QueueBytes is what a Queue holds at most; its reader holds one more segment. A single larger record is let in.
const QueueBytes = queueLimit * segmentSize

const (
	segmentSize  = 1 << 20 // bytes of one segment
	queueLimit   = 3       // segments in the queue
	wakeBytes    = 256 << 10
	recordHeader = 12 // place 8, length 4
)

// A Segment is a run of records: place, length, bytes of one message of the database's replication protocol. A record of
// length zero is a mark. Segments are larger than segmentSize only for a single larger record.
type Segment struct {
	buf  []byte
	mark int // offset of the last record if it is a mark, else -1
}

// Next returns the record at off and where the one after it begins; ok is false at the end. The bytes are valid until the
// segment is given back to Take.
func (s *Segment) Next(off int) (place uint64, record []byte, end int, ok bool) {
	if off >= len(s.buf) {
		return 0, nil, off, false
	}
	place = binary.LittleEndian.Uint64(s.buf[off:])
	n := int(binary.LittleEndian.Uint32(s.buf[off+8:]))
	off += recordHeader
	return place, s.buf[off : off+n : off+n], off + n, true
}

// End reports whether there is no record at off.
func (s *Segment) End(off int) bool { return off >= len(s.buf) }

// A Queue hands raw messages from the goroutine that owns the socket, which must not keep the server waiting, to Read, which
// waits for the log. It is bounded: a full queue is how a slow log slows the server down (Invariant 8).
//
// The reader is woken when a transaction is complete, enough bytes are there, it was prompted, or the queue failed: not
// for each message. One goroutine puts and one reads; Prompt, Failure and Size may be called by any.
type Queue struct {
	mu       sync.Mutex
	segments []*Segment // oldest first; the last one may still grow
	free     []*Segment
	bytes    int
	ready    bool // there is something worth waking the reader for
	waiting  bool // the reader waits on wake
	prompted bool
	err      error

	wake  chan struct{} // to the reader
	space chan struct{} // to who puts: a segment was taken
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	return &Queue{wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// Put appends a copy of a record that is not empty; whole says that a transaction ends with it, or that nothing may follow
// for long. It reports false when the queue is full: Space tells when to try again. It does not block.
func (q *Queue) Put(place uint64, record []byte, whole bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.tail(recordHeader + len(record))
	if s == nil {
		q.ready = true
		q.signal()
		return false
	}
	s.mark = -1
	q.append(s, place, record)
	if whole || q.bytes >= wakeBytes {
		q.ready = true
		q.signal()
	}
	return true
}

// Mark notes that the server has got as far as place. Marks in a row take the place of one, and wake nobody. When the queue is
// full it is dropped: there will be others.
func (q *Queue) Mark(place uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.segments); n > 0 && q.segments[n-1].mark >= 0 {
		s := q.segments[n-1]
		binary.LittleEndian.PutUint64(s.buf[s.mark:], place)
	} else if s := q.tail(recordHeader); s != nil {
		s.mark = len(s.buf)
		q.append(s, place, nil)
	}
}

func (q *Queue) append(s *Segment, place uint64, record []byte) {
	s.buf = binary.LittleEndian.AppendUint64(s.buf, place)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(len(record)))
	s.buf = append(s.buf, record...)
	q.bytes += recordHeader + len(record)
}

// tail returns the segment that has room for n more bytes, nil if the queue is full.
func (q *Queue) tail(n int) *Segment {
	if k := len(q.segments); k > 0 {
		if s := q.segments[k-1]; cap(s.buf)-len(s.buf) >= n {
			return s
		}
		if k >= queueLimit {
			return nil
		}
	}
	var s *Segment
	if k := len(q.free); k > 0 && n <= segmentSize {
		s, q.free = q.free[k-1], q.free[:k-1]
	} else {
		s = &Segment{buf: make([]byte, 0, max(n, segmentSize))}
	}
	s.mark = -1
	q.segments = append(q.segments, s)
	return s
}

// signal wakes the reader if it waits.
func (q *Queue) signal() {
	if q.waiting {
		q.waiting = false
		q.wake <- struct{}{} // never blocks: the reader takes it before it waits again
	}
}

// Take gives back the segment that the reader is done with, and returns the oldest one, nil if there is none.
func (q *Queue) Take(done *Segment) *Segment {
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

// Wait blocks until there is something worth reading, d has passed by the reader's timer, or ctx is done, whose error it returns.
func (q *Queue) Wait(ctx context.Context, timer *time.Timer, d time.Duration) error {
	if !q.arm() {
		return ctx.Err()
	}
	timer.Reset(d)
	defer timer.Stop()
	select {
	case <-q.wake:
		return ctx.Err()
	case <-timer.C:
	case <-ctx.Done():
	}
	q.disarm()
	return ctx.Err()
}

// arm tells that the reader is about to wait. It reports false when there is no need to.
func (q *Queue) arm() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready || q.prompted || q.err != nil {
		return false
	}
	q.waiting = true
	return true
}

// disarm is for a reader that stopped waiting for another reason than the wake.
func (q *Queue) disarm() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = false
	select {
	case <-q.wake:
	default:
	}
}

// Space is sent to when a full queue may have room again.
func (q *Queue) Space() <-chan struct{} { return q.space }

// Prompt ends the reader's wait.
func (q *Queue) Prompt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.prompted = true
	q.signal()
}

// Prompted reports whether the reader was prompted since the last call.
func (q *Queue) Prompted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.prompted
	q.prompted = false
	return p
}

// Fail ends the queue: what is in it can still be taken. The first error counts.
func (q *Queue) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.signal()
}

// Failure returns the error that the queue ended with, nil if it goes on.
func (q *Queue) Failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Size returns the bytes that are queued.
func (q *Queue) Size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
