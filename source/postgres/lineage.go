package postgres

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/fault"
)

// sameHistory tells whether the server's WAL is a continuation of the WAL that the position is in, nil if so. A promoted standby, a server
// restored to a point in time and one that pg_rewind made follow another have a new timeline, which branched off the old one
// somewhere: what was streamed after that place exists no more. (Invariant 7)
func sameHistory(ctx context.Context, conn *pgconn.PgConn, id pglogrepl.IdentifySystemResult, p position) error {
	switch {
	case p.LSN == 0:
		return nil
	case p.System != "" && p.System != id.SystemID:
		return fault.Permanentf("OTHER_SERVER", "connect to the server that the position is from, or "+resnapshot,
			"the stored position is from the server with system identifier %s, this one has %s", p.System, id.SystemID)
	case p.LSN > uint64(id.XLogPos):
		return fault.Permanentf("POSITION_AHEAD", resnapshot, "the stored position %s is ahead of the server's WAL, which ends at %s: the server "+
			"was restored from a backup or lost WAL in a failover", pglogrepl.LSN(p.LSN), id.XLogPos)
	case p.Timeline == 0 || p.Timeline == id.Timeline:
		return nil
	}
	history, err := pglogrepl.TimelineHistory(ctx, conn, id.Timeline)
	if err != nil {
		return fmt.Errorf("history of timeline %d: %w", id.Timeline, err)
	}
	end, ok := branch(history.Content, p.Timeline)
	switch {
	case !ok:
		return fault.Permanentf("OTHER_TIMELINE", resnapshot, "the stored position is on timeline %d, which is not part of the history of the server's timeline %d: "+
			"the server was restored or rewound to a time before it", p.Timeline, id.Timeline)
	case p.LSN > end:
		return fault.Permanentf("OTHER_TIMELINE", resnapshot, "the stored position %s is after %s, where the server's timeline %d left timeline %d: what was streamed "+
			"in between was lost in the failover", pglogrepl.LSN(p.LSN), pglogrepl.LSN(end), id.Timeline, p.Timeline)
	}
	return nil
}

// branch returns where a timeline ended by a timeline history file (lines of parent, LSN, reason; # begins a comment).
func branch(history []byte, timeline int32) (end uint64, ok bool) {
	for line := range bytes.Lines(history) {
		var parent int32
		var lsn string
		if n, err := fmt.Sscan(string(line), &parent, &lsn); err != nil || n != 2 || parent != timeline {
			continue
		}
		if at, err := pglogrepl.ParseLSN(lsn); err == nil {
			return uint64(at), true
		}
	}
	return 0, false
}

// hiddenWarning is how long a start waits for a commit to become visible before it says so.
const hiddenWarning = 5 * time.Second

// awaitVisible waits until the last transaction that was delivered is visible to queries. With synchronous replication a commit is sent to us
// before the standby has confirmed it, and until then nobody sees it: a table read now would lack rows that were delivered.
// Waiting commits are released in the order of the WAL, so the last one stands for all before it.
func (s *Source) awaitVisible(ctx context.Context, p position) error {
	if p.TxID == 0 {
		return nil
	}
	warn := time.Now().Add(hiddenWarning)
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		var text string
		if err := s.control.do(ctx, func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&text)
		}); err != nil {
			return err
		}
		v, err := parseView(text)
		if err != nil || v.sees(p.TxID) {
			return err
		}
		if !warn.IsZero() && time.Now().After(warn) {
			warn = time.Time{}
			s.log.Warn("waiting for a delivered transaction to become visible: is a synchronous standby away?", "transaction", p.TxID)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}
