package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tailrace/tailrace/source"
)

const (
	tickInterval = 500 * time.Millisecond // how late an acknowledgement may reach the server
	writeTimeout = 10 * time.Second
	partTimeout  = 3 * time.Second       // for the server to end a stream in order
	promptPause  = 10 * time.Millisecond // between prompts to the server

	// skippedPublication is the SQLSTATE by which PostgreSQL 18 warns that it decodes without the publication, which did not exist at
	// that point of the WAL; older servers fail.
	skippedPublication = "55000"
)

// pump owns a replication connection in CopyBoth mode: it moves messages into the queue and tells the server that we are
// alive and what is durable. It never waits for the log: while the queue is full, status updates go on.
type pump struct {
	conn     *pgconn.PgConn
	queue    *source.Queue
	interval time.Duration // between status updates without news
	now      func() time.Time

	acked    atomic.Uint64 // the flush LSN: set by Ack alone (Invariant 1)
	received atomic.Uint64 // as far as the server has sent
	prompted atomic.Bool   // the position is wanted
	stop     chan struct{}
	done     chan struct{}

	// Of the pump goroutine alone.
	asked   bool // a reply was requested and has not come
	told    uint64
	toldAt  time.Time
	askedAt time.Time
}

// startPump starts the goroutine. flush, which must not be zero, is what is durable already.
func startPump(conn *pgconn.PgConn, q *source.Queue, flush uint64, interval time.Duration, now func() time.Time) *pump {
	p := &pump{conn: conn, queue: q, interval: interval, now: now, stop: make(chan struct{}), done: make(chan struct{})}
	p.acked.Store(flush)
	p.received.Store(flush)
	go func() {
		defer close(p.done)
		q.Fail(p.run())
	}()
	return p
}

var errStopped = errors.New("stream is closed")

func (p *pump) run() error {
	if err := p.tick(); err != nil {
		return err
	}
	for {
		msg, err := p.conn.ReceiveMessage(context.Background())
		if err != nil {
			var t net.Error
			if !errors.As(err, &t) || !t.Timeout() {
				return fmt.Errorf("replication connection: %w", err)
			}
			if err := p.tick(); err != nil {
				return err
			}
			continue
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			if err := p.copyData(m.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone:
			return errors.New("server ended the replication stream")
		case *pgproto3.NoticeResponse:
			if m.Code == skippedPublication {
				return pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(m))
			}
		case *pgproto3.ParameterStatus:
		default:
			return fmt.Errorf("unexpected message %T in the replication stream", m)
		}
	}
}

func (p *pump) copyData(d []byte) error {
	switch {
	case len(d) > 25 && d[0] == pglogrepl.XLogDataByteID: // start 8, end 8, time 8, payload
		start := binary.BigEndian.Uint64(d[1:])
		p.advance(start)
		return p.deliver(start, d[25:])
	case len(d) == 18 && d[0] == pglogrepl.PrimaryKeepaliveMessageByteID: // end 8, time 8, reply requested 1
		end := binary.BigEndian.Uint64(d[1:])
		p.advance(end)
		p.queue.Mark(end)
		if p.asked {
			p.asked = false
			p.queue.Prompt()
		}
		if d[17] != 0 {
			return p.tell(false)
		}
		return nil
	case len(d) == 25 && d[0] == pglogrepl.XLogDataByteID:
		return nil // nothing in it
	}
	return fmt.Errorf("malformed replication message of %d bytes", len(d))
}

func (p *pump) advance(lsn uint64) {
	if lsn > p.received.Load() {
		p.received.Store(lsn)
	}
}

// endsTransaction reports whether a message, which is not empty, is the commit of a transaction, streamed or not.
func endsTransaction(payload []byte) bool { return payload[0] == 'C' || payload[0] == 'c' }

// deliver puts a message into the queue, however long that takes.
func (p *pump) deliver(lsn uint64, payload []byte) error {
	for !p.queue.Put(lsn, payload, endsTransaction(payload)) {
		timer := time.NewTimer(tickInterval)
		select {
		case <-p.queue.Space():
		case <-timer.C:
		case <-p.stop:
		}
		timer.Stop()
		if err := p.tick(); err != nil {
			return err
		}
	}
	return nil
}

// tick tells the server what is due and sets when the next read is interrupted. The deadline comes first: whoever pokes
// after we looked moves it again.
func (p *pump) tick() error {
	if err := p.conn.Conn().SetReadDeadline(time.Now().Add(tickInterval)); err != nil {
		return err
	}
	select {
	case <-p.stop:
		// A last word, so that the server does not send again what is durable.
		err := p.tell(false)
		if err == nil {
			p.part()
		}
		return errors.Join(errStopped, err)
	default:
	}
	if p.prompted.Load() {
		wait := promptPause - time.Since(p.askedAt)
		if wait > 0 {
			return p.conn.Conn().SetReadDeadline(time.Now().Add(wait))
		}
		p.prompted.Store(false)
		return p.tell(true)
	}
	if p.acked.Load() != p.told || time.Since(p.toldAt) >= p.interval {
		return p.tell(false)
	}
	return nil
}

// tell sends a status update; with ask the server answers by a keepalive at once.
func (p *pump) tell(ask bool) error {
	flush := p.acked.Load()
	if err := p.conn.Conn().SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	err := pglogrepl.SendStandbyStatusUpdate(context.Background(), p.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: pglogrepl.LSN(max(flush, p.received.Load())), WALFlushPosition: pglogrepl.LSN(flush),
		WALApplyPosition: pglogrepl.LSN(flush), ClientTime: p.now(), ReplyRequested: ask})
	if err != nil {
		return fmt.Errorf("replication connection: %w", err)
	}
	p.told, p.toldAt = flush, time.Now()
	if ask {
		p.asked, p.askedAt = true, p.toldAt
	}
	return nil
}

// part ends the stream and waits until the server has taken note, and with that the last status update. A connection that is
// closed with bytes of the server unread is reset, and then the server may never read what we told it. Failing that, it
// sends something again, which is no loss.
func (p *pump) part() {
	if p.conn.Conn().SetDeadline(time.Now().Add(partTimeout)) != nil {
		return
	}
	p.conn.Frontend().Send(&pgproto3.CopyDone{})
	if p.conn.Frontend().Flush() != nil {
		return
	}
	for {
		msg, err := p.conn.ReceiveMessage(context.Background())
		if err != nil {
			return
		}
		switch msg.(type) {
		case *pgproto3.CopyDone, *pgproto3.ErrorResponse:
			return
		}
	}
}

// ack sets the flush LSN. It never goes back.
func (p *pump) ack(lsn uint64) {
	if lsn > p.acked.Load() {
		p.acked.Store(lsn)
	}
}

// prompt makes the pump ask the server where it stands. It does not block.
func (p *pump) prompt() {
	p.prompted.Store(true)
	p.poke()
}

// poke interrupts the pump's read.
func (p *pump) poke() {
	// The error means that the connection is closed, which the pump finds out by itself.
	_ = p.conn.Conn().SetReadDeadline(time.Unix(1, 0))
}

// close ends the goroutine, joins it and closes the connection.
func (p *pump) close() error {
	close(p.stop)
	p.poke()
	<-p.done
	_ = p.conn.Conn().SetDeadline(time.Time{}) // an error means that the connection is closed already
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return p.conn.Close(ctx)
}
