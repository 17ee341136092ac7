package mysql

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// maxBranches bounds the distributed transactions that are remembered. No chunk is read for so long that an older one matters.
const maxBranches = 1 << 15

// stuck is how long after its delivery a transaction may still be on its way into the engine. One that is prepared after that has taken
// over the identifier.
const stuck = time.Minute

// branches are the distributed transactions of MariaDB that were delivered. The server logs XA COMMIT first and commits in the engine
// then, out of the order of its log, so the place of a snapshot does not tell whether it has seen one. It has if the transaction was
// prepared, and had been committed, before it was begun. It is safe for concurrent use.
type branches struct {
	mu     sync.RWMutex
	recent []uint64          // Txns, the oldest first
	index  map[uint64]branch // by Txn
}

// A branch is a distributed transaction that was delivered.
type branch struct {
	id       string     // as binlog.XA spells it
	prepared coordinate // where its first phase begins
	at       time.Time
}

// doubts tell of which distributed transactions a snapshot can't be sure: those that were prepared behind a place, and those that the
// server had among its prepared ones when it was there.
type doubts struct {
	at       coordinate
	prepared map[string]bool
	asked    time.Time
}

// add notes a transaction before it is delivered.
func (l *branches) add(txn uint64, b branch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index == nil {
		l.index = map[uint64]branch{}
	}
	if len(l.recent) == 2*maxBranches {
		for _, old := range l.recent[:maxBranches] {
			delete(l.index, old)
		}
		l.recent = slices.Delete(l.recent, 0, maxBranches)
	}
	l.index[txn] = b
	l.recent = append(l.recent, txn)
}

// doubtful reports whether d leaves open if a transaction was seen.
func (l *branches) doubtful(d *doubts, txn uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	b, ok := l.index[txn]
	return ok && (b.prepared >= d.at || d.prepared[b.id] && d.asked.Sub(b.at) < stuck)
}

// askDoubts is called before a snapshot is begun.
func askDoubts(c *conn, now time.Time) (*doubts, error) {
	end, err := readStatus(c)
	if err != nil {
		return nil, err
	}
	rows, err := c.rows("XA RECOVER")
	if err != nil {
		return nil, err
	}
	d := &doubts{at: end.coordinate(), prepared: map[string]bool{}, asked: now}
	for _, r := range rows { // formatID, gtrid_length, bqual_length, data
		format, err := strconv.ParseInt(r[0], 10, 32)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(r[1])
		if err != nil {
			return nil, err
		}
		n = min(max(0, n), len(r[3]))
		x := binlog.XA{FormatID: int32(format), GlobalID: []byte(r[3][:n]), BranchID: []byte(r[3][n:])}
		d.prepared[string(x.AppendID(nil))] = true
	}
	return d, nil
}
