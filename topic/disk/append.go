package disk

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

// A request waits in the queue for the writer. It is used again for other Appends, with its buffers.
type request struct {
	kind byte
	spec topic.Spec          // of a Create or Delete
	made *logTopic           // of a Create, Delete or Configure, while it is written
	conf *settings           // of a Configure
	due  func(*segment) bool // of an askSeal: which segments; nil: all
	done chan error          // capacity 1

	// What an Append writes: a frame whose sections are parts of buf.
	buf   []byte
	parts []part

	// For encode.
	builder recordbatch.Builder
	chains  map[lane]int32
	links   []int32 // links[i] is the next record of record i's partition
}

// lane names a partition.
type lane struct {
	topic string
	num   int32
}

// A part is what an Append has for one partition.
type part struct {
	p           *partition
	first, last int32 // chain of records
	lo, hi      int   // the batches in buf
}

// batchBytes is the size from which Append begins another batch. Small enough that readers needn't decode much more
// than they asked for, large enough that a header weighs nothing.
const batchBytes = 128 << 10

// keepBytes is the largest buffer that a request keeps for the next Append.
const keepBytes = 8 << 20

// Append implements topic.Log. Records are encoded by the caller's goroutine; the writer commits them together with what
// others append at the same time. It waits while the log is over its budget and while the disk is full; if ctx ends
// meanwhile, nothing was written, and the error has the cause in its chain.
func (l *Log) Append(ctx context.Context, recs []topic.Record) error {
	if len(recs) == 0 {
		return ctx.Err()
	}
	req, _ := l.requests.Get().(*request)
	if req == nil {
		req = &request{done: make(chan error, 1), chains: make(map[lane]int32)}
	}
	req.kind = kindRecords
	err := req.encode(l, recs)
	if err == nil {
		err = l.appendWithSpace(ctx, req, isOwn(recs))
	}
	if cap(req.buf) <= keepBytes {
		clear(req.parts)
		clear(req.chains)
		req.parts = req.parts[:0]
		l.requests.Put(req)
	}
	return err
}

// encode makes a frame of recs: one section for each partition.
func (q *request) encode(l *Log, recs []topic.Record) error {
	if err := q.chain(l, recs); err != nil {
		return err
	}
	q.buf = append(q.buf[:0], emptyFrame[:]...)
	for i := range q.parts {
		pt := &q.parts[i]
		from := len(q.buf)
		q.buf = append(q.buf, emptyFrame[:sectionHeader]...)
		pt.lo = len(q.buf)
		delta := int32(0)
		for r := pt.first; ; r = q.links[r] {
			if delta == 0 {
				q.builder.Begin(q.buf, 0, pt.p.topic.conf().compression)
			}
			q.builder.Append(&recs[r], delta)
			delta++
			if r == pt.last || q.builder.Size() >= batchBytes {
				q.buf = q.builder.Finish()
				delta = 0
			}
			if r == pt.last {
				break
			}
		}
		pt.hi = len(q.buf)
		be := binary.BigEndian
		be.PutUint32(q.buf[from:], pt.p.topic.id)
		be.PutUint32(q.buf[from+4:], uint32(pt.p.num))
		be.PutUint32(q.buf[from+8:], uint32(pt.hi-pt.lo))
	}
	return nil
}

// emptyFrame is room for headers; it is never written.
var emptyFrame [frameHeader]byte

// chain sorts recs by partition, keeping their order, and checks that they can be written.
func (q *request) chain(l *Log, recs []topic.Record) error {
	if cap(q.links) < len(recs) {
		q.links = make([]int32, len(recs))
	}
	q.links = q.links[:len(recs)]
	var cur lane
	var pt *part
	total := int64(frameHeader)
	for i := range recs {
		r := &recs[i]
		if pt == nil || r.Partition != cur.num || r.Topic != cur.topic {
			cur = lane{r.Topic, r.Partition}
			n, ok := q.chains[cur]
			if !ok {
				p, err := l.find(r.Topic, r.Partition)
				if err != nil {
					return err
				}
				n = int32(len(q.parts))
				q.chains[cur] = n
				q.parts = append(q.parts, part{p: p, first: int32(i), last: -1})
				total += sectionHeader + recordbatch.HeaderSize
			}
			pt = &q.parts[n]
		}
		if pt.last >= 0 {
			q.links[pt.last] = int32(i)
		}
		pt.last = int32(i)
		size := int64(recordbatch.RecordBound(r))
		if most := pt.p.topic.conf().maxMessage; size > most {
			return fault.Permanentf("RECORD_TOO_LARGE", "raise the topic's max.message.bytes or leave the column out",
				"a record of %d bytes for topic %s is over max.message.bytes, %d", size, r.Topic, most)
		}
		total += size
	}
	total += total / batchBytes * recordbatch.HeaderSize
	if total > maxFramePayload {
		return fault.Permanentf("RECORD_TOO_LARGE", "append fewer records at a time",
			"%d records of %d bytes together are too much for one append", len(recs), total)
	}
	return nil
}

// do queues a request and waits for its outcome. If ctx ends while the request still waits for the writer, it is taken
// back; afterwards the outcome is near and is waited for, since it must not be unknown.
func (l *Log) do(ctx context.Context, req *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if req.done == nil {
		req.done = make(chan error, 1)
	}
	l.qmu.Lock()
	if l.closed {
		l.qmu.Unlock()
		return topic.ErrClosed
	}
	l.queue = append(l.queue, req)
	l.qmu.Unlock()
	token(l.qwake)
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		if l.takeBack(req) {
			return ctx.Err()
		}
		return <-req.done
	}
}

// takeBack removes a request from the queue if it is still there.
func (l *Log) takeBack(req *request) bool {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	for i, q := range l.queue {
		if q == req {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			return true
		}
	}
	return false
}

// notWritten wraps the cause of a failed group, of which nothing was written.
func notWritten(err error) error {
	if fault.IsPermanent(err) {
		return err
	}
	return fmt.Errorf("append to the log, nothing was written: %w", err)
}
