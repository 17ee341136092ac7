package postgres

import (
	"encoding/binary"
	"sync"
)

const (
	segmentSize  = 1 << 20 // bytes of one segment
	queueLimit   = 3       // segments in the queue; the reader holds one more
	wakeBytes    = 256 << 10
	recordHeader = 12 // LSN 8, length 4
)

// A segment is a run of records: LSN, length, payload of one XLogData message. A record of length zero is a keepalive:
// the server has decoded everything up to its LSN. Segments are larger than segmentSize only for a single larger message.
type segment struct {
	buf  []byte
	keep int // offset of the last record if it is a keepalive, else -1
}

// next returns the record at off and where the one after it begins; ok is false at the end.
func (s *segment) next(off int) (lsn uint64, payload []byte, end int, ok bool) {
	if off >= len(s.buf) {
		return 0, nil, off, false
	}
	lsn = binary.LittleEndian.Uint64(s.buf[off:])
	n := int(binary.LittleEndian.Uint32(s.buf[off+8:]))
	off += recordHeader
	return lsn, s.buf[off : off+n], off + n, true
}

// queue hands raw messages from the pump, which must never wait for the log, to Read, which does. It is bounded: a full
// queue is how a slow log slows the server down (Invariant 8).
//
// The reader is woken when a transaction is complete, enough bytes are there, a prompt was answered, or the pump failed:
// not for each message.
type queue struct {
	mu       sync.Mutex
	segments []*segment // oldest first; the last one may still grow
	free     []*segment
	bytes    int
	ready    bool // there is something worth waking the reader for
	waiting  bool // the reader waits on wake
	answered bool // a keepalive came after a prompt
	err      error

	wake  chan struct{} // to the reader
	space chan struct{} // to the pump: a segment was taken
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

// put appends a message. It reports false when the queue is full.
func (q *queue) put(lsn uint64, payload []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.tail(recordHeader + len(payload))
	if s == nil {
		q.ready = true
		q.signal()
		return false
	}
	s.keep = -1
	q.append(s, lsn, payload)
	if payload[0] == 'C' || payload[0] == 'c' || q.bytes >= wakeBytes {
		q.ready = true
		q.signal()
	}
	return true
}

// keepalive notes that the server has decoded up to lsn. Keepalives in a row take the place of one. When the queue is
// full it is dropped: there will be others.
func (q *queue) keepalive(lsn uint64, answer bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.segments); n > 0 && q.segments[n-1].keep >= 0 {
		s := q.segments[n-1]
		binary.LittleEndian.PutUint64(s.buf[s.keep:], lsn)
	} else if s := q.tail(recordHeader); s != nil {
		s.keep = len(s.buf)
		q.append(s, lsn, nil)
	}
	if answer {
		q.answered = true
		q.signal()
	}
}

func (q *queue) append(s *segment, lsn uint64, payload []byte) {
	s.buf = binary.LittleEndian.AppendUint64(s.buf, lsn)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(len(payload)))
	s.buf = append(s.buf, payload...)
	q.bytes += recordHeader + len(payload)
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
	s.keep = -1
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
	if q.ready || q.answered || q.err != nil {
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

// answer reports whether a prompt was answered since the last call.
func (q *queue) answer() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.answered
	q.answered = false
	return a
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
