package postgres

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source/postgres/pgoutput"
)

const (
	spoolBudget = 8 << 20 // bytes of changes of transactions in progress that are kept in memory, all together
	spoolRead   = 1 << 20 // bytes read back at once
	spoolHeader = 16      // LSN 8, xid 4, length 4
)

// A spool keeps the changes of transactions in progress, which the server streams when they are too large for its memory, until they
// commit. What is over the budget goes to files, one for each transaction; they have no name, so that a crash leaves none. (Invariant 8)
//
// A record is LSN, number of the transaction or subtransaction, length, and the payload as it is outside of a block.
type spool struct {
	dir    string
	budget int
	held   int // bytes in memory
	open   map[uint32]*spooled
	kept   atomic.Int64 // bytes in memory and files, for the gauges
}

// spooled is one transaction in progress.
type spooled struct {
	tail    []byte   // records that are not in the file yet
	file    *os.File // nil: all is in tail
	size    int64    // of the file
	aborted map[uint32]struct{}
	replica *change.Replica
}

func newSpool(dir string) *spool {
	return &spool{dir: dir, budget: spoolBudget, open: map[uint32]*spooled{}}
}

// add appends a message of a block of the transaction.
func (s *spool) add(xid uint32, lsn uint64, payload []byte) error {
	t := s.open[xid]
	if t == nil {
		t = &spooled{}
		s.open[xid] = t
	}
	start := len(t.tail)
	t.tail = append(t.tail, make([]byte, spoolHeader)...)
	sub, tail, err := pgoutput.Split(t.tail, payload)
	if err != nil {
		t.tail = t.tail[:start]
		return err
	}
	switch kind := pgoutput.Kind(tail[start+spoolHeader]); kind {
	case pgoutput.KindOrigin:
		var m pgoutput.Message
		t.tail = tail[:start]
		if err := m.Decode(payload); err != nil {
			return err
		}
		t.replica = &change.Replica{Origin: string(m.Origin.Name), LSN: m.Origin.CommitLSN}
		return nil
	case pgoutput.KindType:
		t.tail = tail[:start]
		return nil
	case pgoutput.KindRelation:
		sub = xid // it holds for what follows, also when the subtransaction in which it was sent is rolled back
	}
	t.tail = tail
	binary.LittleEndian.PutUint64(tail[start:], lsn)
	binary.LittleEndian.PutUint32(tail[start+8:], sub)
	binary.LittleEndian.PutUint32(tail[start+12:], uint32(len(tail)-start-spoolHeader))
	s.held += len(tail) - start
	s.kept.Add(int64(len(tail) - start))
	return s.relieve()
}

// relieve writes the longest tails to their files while more is in memory than the budget.
func (s *spool) relieve() error {
	for s.held > s.budget {
		var longest *spooled
		for _, t := range s.open {
			if longest == nil || len(t.tail) > len(longest.tail) {
				longest = t
			}
		}
		if err := s.write(longest); err != nil {
			return fmt.Errorf("spool a transaction in progress: %w", err)
		}
	}
	return nil
}

func (s *spool) write(t *spooled) error {
	if t.file == nil {
		f, err := os.CreateTemp(s.dir, "transaction-")
		if err != nil {
			return err
		}
		t.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	n, err := t.file.WriteAt(t.tail, t.size)
	t.size += int64(n)
	if err != nil {
		return err
	}
	s.held -= len(t.tail)
	if t.tail = t.tail[:0]; len(s.open) > 1 || cap(t.tail) > 2*s.budget {
		t.tail = nil // only memory in use is counted
	}
	return nil
}

// abort forgets a subtransaction, or all of the transaction if sub is xid.
func (s *spool) abort(xid, sub uint32) error {
	t := s.open[xid]
	switch {
	case t == nil:
		return nil
	case sub == xid:
		return s.drop(xid)
	case t.aborted == nil:
		t.aborted = map[uint32]struct{}{}
	}
	t.aborted[sub] = struct{}{}
	return nil
}

func (s *spool) drop(xid uint32) error {
	t := s.open[xid]
	if t == nil {
		return nil
	}
	s.remove(xid, t)
	return t.close()
}

func (s *spool) remove(xid uint32, t *spooled) {
	delete(s.open, xid)
	s.held -= len(t.tail)
	s.kept.Add(-int64(len(t.tail)) - t.size)
}

func (t *spooled) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// take hands over a transaction that has committed, to be read once from the beginning. One that was never seen is empty.
func (s *spool) take(xid uint32) *playback {
	t := s.open[xid]
	if t == nil {
		t = &spooled{}
	}
	s.remove(xid, t)
	return &playback{t: t}
}

// close forgets all.
func (s *spool) close() error {
	var first error
	for xid := range s.open {
		if err := s.drop(xid); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// playback reads the records of a transaction that were not rolled back, in their order.
type playback struct {
	t      *spooled
	commit pgoutput.Commit
	buf    []byte // read and not used yet is buf[off:]
	off    int
	read   int64 // bytes of the file that were read
	tailed bool  // buf is the tail
}

// next returns the next record, nil at the end. The payload is valid until the next call.
func (p *playback) next() (lsn uint64, payload []byte, err error) {
	for {
		if p.tailed && p.off == len(p.buf) {
			return 0, nil, nil
		}
		if err := p.need(spoolHeader); err != nil {
			return 0, nil, err
		}
		if p.off == len(p.buf) {
			continue // the file had no more: now the tail, which may be empty
		}
		h := p.buf[p.off:]
		lsn = binary.LittleEndian.Uint64(h)
		xid, n := binary.LittleEndian.Uint32(h[8:]), int(binary.LittleEndian.Uint32(h[12:]))
		if err := p.need(spoolHeader + n); err != nil {
			return 0, nil, err
		}
		payload = p.buf[p.off+spoolHeader : p.off+spoolHeader+n]
		p.off += spoolHeader + n
		if _, gone := p.t.aborted[xid]; !gone {
			return lsn, payload, nil
		}
	}
}

// need makes n bytes available, unless the records end there: a file and the tail each hold whole records.
func (p *playback) need(n int) error {
	if len(p.buf)-p.off >= n {
		return nil
	}
	if p.tailed {
		return io.ErrUnexpectedEOF
	}
	rest := copy(p.buf, p.buf[p.off:])
	p.buf, p.off = p.buf[:rest], 0
	left := p.t.size - p.read
	if left == 0 {
		if rest > 0 {
			return io.ErrUnexpectedEOF
		}
		p.buf, p.tailed = p.t.tail, true
		return nil
	}
	grow := int(min(left, int64(max(n-rest, spoolRead-rest))))
	if cap(p.buf) < rest+grow {
		p.buf = append(make([]byte, 0, rest+grow), p.buf...)
	}
	p.buf = p.buf[:rest+grow]
	if _, err := p.t.file.ReadAt(p.buf[rest:], p.read); err != nil {
		return fmt.Errorf("read a spooled transaction: %w", err)
	}
	p.read += int64(grow)
	return nil
}
