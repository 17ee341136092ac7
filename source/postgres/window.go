package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
)

// A window is judged by visibility: an event is Before if the snapshot under which the chunk was read sees its
// transaction, which is what the xid in the transaction's begin message tells (subtransactions share their parent's
// fate, and only the top-level xid is in it). high is where the WAL ended after the read: every transaction that the snapshot
// sees has its commit record before that. So once the stream has delivered up to high, all that is Before was delivered.
// An event that is not seen is Inside until a transaction that ended at or after high came before it.
type window struct {
	view view
	low  uint64 // where the WAL ended when the snapshot was taken, at least; shown in events
	high uint64
	cut  bool  // the read ended before its end
	last place // of the last row of a read by place
}

var _ snapshot.Shortened = (*window)(nil)

// Shortened implements snapshot.Shortened.
func (w *window) Shortened() bool { return w.cut }

// A placedWindow is the window of a read that tells where it ended.
type placedWindow struct {
	*window
	at []byte
}

var _ snapshot.Cursored = placedWindow{}

// Cursor implements snapshot.Cursored.
func (w placedWindow) Cursor() []byte { return w.at }

// Side implements snapshot.Window.
func (w *window) Side(e *change.Event) snapshot.Side {
	switch {
	case w.view.sees(uint32(e.Txn)):
		return snapshot.Before
	case e.PrevLSN >= w.high:
		return snapshot.After
	}
	return snapshot.Inside
}

// Passed implements snapshot.Window. A position that is no position of ours has passed nothing.
func (w *window) Passed(p change.Position) bool {
	pos, err := parsePosition(p)
	return err == nil && pos.Ordinal == 0 && pos.LSN >= w.high
}

// A view is pg_current_snapshot(): 64-bit transaction numbers. Below xmin all is seen, from xmax on nothing, between them
// all but those in progress.
type view struct {
	xmin, xmax uint64
	inProgress []uint64 // sorted
}

// parseView reads "xmin:xmax:xid,xid,...".
func parseView(text string) (view, error) {
	var v view
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return v, fmt.Errorf("malformed snapshot %q", text)
	}
	var err error
	if v.xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return v, fmt.Errorf("malformed snapshot %q", text)
	}
	if v.xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return v, fmt.Errorf("malformed snapshot %q", text)
	}
	for x := range strings.SplitSeq(parts[2], ",") {
		if x == "" {
			continue
		}
		n, err := strconv.ParseUint(x, 10, 64)
		if err != nil {
			return v, fmt.Errorf("malformed snapshot %q", text)
		}
		v.inProgress = append(v.inProgress, n)
	}
	slices.Sort(v.inProgress)
	return v, nil
}

// sees reports whether a transaction, known by the low 32 bits of its number, is part of the snapshot. The stream is
// never two billion transactions away from a chunk, so the high bits are those that put it nearest to xmax.
func (v view) sees(xid uint32) bool {
	full := v.xmax + uint64(int64(int32(xid-uint32(v.xmax))))
	if full < v.xmin {
		return true
	}
	if full >= v.xmax {
		return false
	}
	_, running := slices.BinarySearch(v.inProgress, full)
	return !running
}

// recordEnd returns where the last record before the insert position lsn ends. At the beginning of a page the insert
// position is behind the page's header (24 bytes, 40 on the first page of a segment), and a server with nothing to write
// never says that it has decoded that far.
func recordEnd(lsn, block uint64) uint64 {
	if off := lsn % block; off == 24 || off == 40 {
		return lsn - off
	}
	return lsn
}
