package mysql

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// maxBranches bounds the distributed transactions that are remembered. No chunk is read for so long that an older one matters.
const maxBranches = 1 << 15

// branches are the distributed transactions that were delivered. The server logs XA COMMIT first and then commits in the engine, out of
// the order of its log, so neither the place of a snapshot nor the executed GTIDs tell whether it has seen one. It has if the
// transaction was delivered, and no longer among those that the server has prepared, before it was begun. It is safe for
// concurrent use.
type branches struct {
	mu     sync.RWMutex
	n      uint64 // that were delivered
	recent []branch
	index  map[uint64]int // where in recent a Txn is, less gone
	gone   int            // how many were forgotten
}

// stuck is how long after its delivery a transaction may still be on its way into the engine. One that is prepared after that has taken
// over the identifier.
const stuck = time.Minute

// A branch is a distributed transaction that was delivered.
type branch struct {
	n       uint64
	txn     uint64
	id      string // as binlog.XA spells it
	at      time.Time
	visible bool
}

// doubts are the distributed transactions that a snapshot may not have seen although it was told that it has: those in hidden, and all
// that are delivered after the first n.
type doubts struct {
	n      uint64
	hidden map[uint64]bool // by Txn
}

// add notes a transaction before it is delivered.
func (l *branches) add(txn uint64, id string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index == nil {
		l.index = map[uint64]int{}
	}
	if len(l.recent) == 2*maxBranches {
		for _, b := range l.recent[:maxBranches] {
			delete(l.index, b.txn)
		}
		l.recent = slices.Delete(l.recent, 0, maxBranches)
		l.gone += maxBranches
	}
	l.n++
	l.index[txn] = l.gone + len(l.recent)
	l.recent = append(l.recent, branch{n: l.n, txn: txn, id: id, at: now})
}

// ask tells which transactions are not visible on the server for sure. It is called before a snapshot is begun. A server that does not tell
// what it has prepared is given the time of settled. exact leaves only doubts about what was delivered before.
func (l *branches) ask(c *conn, now time.Time, exact bool) (doubts, error) {
	l.mu.Lock()
	d := doubts{n: l.n}
	if exact {
		d.n = math.MaxUint64
	}
	open := slices.DeleteFunc(slices.Clone(l.recent), func(b branch) bool { return b.visible })
	l.mu.Unlock()
	if len(open) == 0 {
		return d, nil
	}
	prepared, told, err := preparedOn(c)
	if err != nil {
		return d, err
	}
	d.hidden = map[uint64]bool{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range open {
		if age := now.Sub(b.at); told && prepared[b.id] && age < stuck || !told && age < settled {
			d.hidden[b.txn] = true
		} else if i, ok := l.index[b.txn]; ok {
			l.recent[i-l.gone].visible = true
		}
	}
	return d, nil
}

// has reports whether a snapshot with such doubts may not have seen a transaction.
func (l *branches) has(d *doubts, txn uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i, ok := l.index[txn]
	return ok && (l.recent[i-l.gone].n > d.n || d.hidden[txn])
}

// preparedOn returns the distributed transactions that the server has prepared; told is false if the user may not ask for them.
func preparedOn(c *conn) (ids map[string]bool, told bool, err error) {
	rows, err := c.rows("XA RECOVER")
	if err != nil {
		if refusal(err) {
			err = nil
		}
		return nil, false, err
	}
	ids = map[string]bool{}
	for _, r := range rows { // formatID, gtrid_length, bqual_length, data
		format, err := strconv.ParseInt(r[0], 10, 32)
		if err != nil {
			return nil, false, err
		}
		n, err := strconv.Atoi(r[1])
		if err != nil || n < 0 || n > len(r[3]) {
			return nil, false, err
		}
		x := binlog.XA{FormatID: int32(format), GlobalID: []byte(r[3][:n]), BranchID: []byte(r[3][n:])}
		ids[string(x.AppendID(nil))] = true
	}
	return ids, true, nil
}
