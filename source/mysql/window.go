package mysql

import (
	"hash/fnv"
	"sync"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
)

// A window is judged by what the snapshot under which the chunk was read has certainly seen, and by where the binary log
// ended after the read: everything that it can have seen is before that.
//
// MariaDB tells the place of a consistent snapshot exactly: low and high are the same, unless other sessions disturbed the answers
// (see snapshotPosition): of what is between nothing is known. On MySQL with GTIDs it has seen all
// that was executed before it began; a transaction that became visible in the moment between is taken for unseen, which
// is safe: its events carry all that the chunk's row has and come after the chunk was read. Without GTIDs low is a place
// that was the log's end long enough before for everything up to it to have become visible.
//
// Of a distributed transaction that was committed on MariaDB in the moment in which the snapshot was begun nothing is known.
type window struct {
	numbers  *numbers
	branches *branches
	doubts   *doubts    // MariaDB, else nil
	executed *mysqlSet  // MySQL with GTIDs; else nil, and low holds
	low      coordinate // transactions that begin before it were seen
	high     coordinate
	unsure   coordinate // MariaDB: of what is from low to here nothing is known
	gtids    string     // MariaDB: what was in the log soon after, which is all that was seen and perhaps more; "": not known
}

var _ snapshot.Window = (*window)(nil)

// Side implements snapshot.Window.
func (w *window) Side(e *change.Event) snapshot.Side {
	side := w.side(e)
	switch {
	case side == snapshot.Inside && coordinate(e.Txn) < w.unsure,
		side == snapshot.Before && w.doubts != nil && w.branches.doubtful(w.doubts, e.Txn):
		return snapshot.Unknown
	}
	return side
}

func (w *window) side(e *change.Event) snapshot.Side {
	if w.executed != nil {
		if src, gno, ok := w.numbers.source(e.Txn); !ok || w.executed.has(src.sid, []byte(src.tag), gno) {
			return snapshot.Before
		}
		return snapshot.Inside
	}
	switch {
	case coordinate(e.Txn) < w.low:
		return snapshot.Before
	case coordinate(e.Txn) >= w.high:
		return snapshot.After
	}
	return snapshot.Inside
}

// Passed implements snapshot.Window. A position that is no position of ours has passed nothing. One with the same
// transactions has passed although what is no transaction may still come: an idle server does not send it for some time.
func (w *window) Passed(p change.Position) bool {
	pos, err := parsePosition(p)
	return err == nil && !pos.inside() && (pos.coordinate() >= w.high || w.gtids != "" && pos.GTIDs == w.gtids)
}

// numbers turns GTIDs of MySQL into the numbers that events carry as Txn, and back: 16 bits stand for the server and tag,
// the others are the transaction's number there. The 16 bits are a hash, so that they are the same after a restart; should two
// servers have the same one, the second takes the next that is free. It is safe for concurrent use.
type numbers struct {
	mu      sync.RWMutex
	sources map[uint16]gtidSource
}

const gnoBits = 48

// number returns the number of a transaction.
func (n *numbers) number(sid [16]byte, tag []byte, gno int64) (uint64, error) {
	if gno <= 0 || gno >= 1<<gnoBits {
		return 0, fault.Permanentf("GTID_TOO_LARGE", "exclude that server by gtid.source.excludes", "transaction %s has a number past 2^%d",
			appendGTID(nil, sid, tag, gno), gnoBits)
	}
	h := fnv.New32a()
	h.Write(sid[:])
	h.Write(tag)
	slot := uint16(h.Sum32()>>16 ^ h.Sum32())
	n.mu.RLock()
	s, ok := n.sources[slot]
	n.mu.RUnlock()
	for !ok || s.sid != sid || s.tag != string(tag) {
		n.mu.Lock()
		if s, ok = n.sources[slot]; !ok {
			s, ok = gtidSource{sid: sid, tag: string(tag)}, true
			n.sources[slot] = s
		} else if s.sid != sid || s.tag != string(tag) {
			slot++
			s, ok = n.sources[slot]
		}
		n.mu.Unlock()
	}
	return uint64(slot)<<gnoBits | uint64(gno), nil
}

// source returns the server and tag of a number, and the transaction's number there; ok is false for a number that no
// transaction of this run had.
func (n *numbers) source(number uint64) (s gtidSource, gno int64, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok = n.sources[uint16(number>>gnoBits)]
	return s, int64(number & (1<<gnoBits - 1)), ok
}
