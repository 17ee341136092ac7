package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/postgres/pgoutput"
)

// epochMicros is 2000-01-01 in microseconds since the Unix epoch, the zero of PostgreSQL's clock.
const epochMicros = 946_684_800 * microsPerSecond

// stream turns the messages that the pump queues into events. All fields but the atomic ones belong to the goroutine
// that calls Read.
type stream struct {
	src   *Source
	queue *source.Queue
	pump  *pump
	msg   pgoutput.Message
	seg   *source.Segment
	off   int
	key   [2][]byte // scratch for key tuples: old, new

	members   atomic.Pointer[membership] // what the publication sends
	noted     atomic.Pointer[[]byte]     // the same as a member of positions
	relations map[uint32]*relation
	shaper    *source.Shaper
	trial     change.Batch // holds the rows of changes that were delivered before the resume

	pos       position // after the last message that was read
	fresh     bool     // the first position is to be reported at once
	reported  position // as Read returned it last
	quietFrom time.Time
	seen      int64 // time of the last take, microseconds
	timer     *time.Timer

	// The transaction that is open.
	inTx    bool
	skipTx  bool // it was delivered whole before the resume
	begin   pgoutput.Begin
	commit  int64  // its commit time, microseconds since the Unix epoch
	changes uint32 // changes of it that were read
	ordinal uint32 // events of it, all tables counted
	replica *change.Replica
	meta    *source.Metadata // nil: not asked for

	spool *spool    // transactions in progress
	block uint32    // the transaction whose block is open, 0: none
	play  *playback // the transaction in progress that has committed and is being read; its commit is to follow

	beat source.Heartbeat

	delivered atomic.Uint64 // pos.LSN for the gauges
	closed    atomic.Bool
	err       error // why the stream is finished
}

var (
	_ source.Stream   = (*stream)(nil)
	_ source.Prompter = (*stream)(nil)
)

func newStream(s *Source, conn *pgconn.PgConn, p position, fresh bool, interval time.Duration) *stream {
	q := source.NewQueue()
	st := &stream{src: s, queue: q, relations: map[uint32]*relation{}, pos: p, reported: p, fresh: fresh,
		quietFrom: time.Now(), timer: time.NewTimer(time.Hour), beat: source.NewHeartbeat(s.settings.Heartbeat, s.settings.TopicOf(s.settings.HeartbeatTopic, s.settings.Prefix), s.settings.Prefix, s.setup.Now),
		spool: newSpool(s.setup.Scratch), shaper: s.settings.shaper()}
	if s.settings.Transactions {
		st.meta = source.NewMetadata(s.settings.TopicOf(s.settings.Prefix, s.settings.TransactionName))
	}
	st.delivered.Store(p.LSN)
	st.pump = startPump(conn, q, p.LSN, interval, s.setup.Now)
	return st
}

// Read implements source.Stream. A batch ends at the end of a transaction unless it is full or the connection broke.
// Without events it returns when the position has moved for some seconds, or when it was prompted.
func (s *stream) Read(ctx context.Context, b *change.Batch) error {
	if s.err != nil {
		return s.err
	}
	b.Origin = s.src.settings.Prefix
	if s.fresh {
		s.fresh = false
		return s.finish(b)
	}
	for {
		full, err := s.drain(ctx, b)
		if err != nil {
			return s.fail(ctx, err)
		}
		broken := s.queue.Failure()
		switch {
		case full, len(b.Events) > 0 && (!s.inTx || broken != nil), s.queue.Prompted(), s.beat.Due():
			return s.finish(b)
		case broken != nil:
			if s.more() {
				continue // it came between the drain and the failure
			}
			return s.fail(ctx, broken)
		case len(b.Events) == 0 && s.pos != s.reported && time.Since(s.quietFrom) >= s.src.idle:
			return s.finish(b)
		}
		if err := s.wait(ctx); err != nil {
			s.err = err
			return err
		}
	}
}

// finish ends a batch with the position after it.
func (s *stream) finish(b *change.Batch) error {
	if e := s.beat.Append(b); e != nil {
		e.LSN, e.PrevLSN = s.pos.LSN, s.pos.LSNCommit
	}
	s.shaper.Apply(b, 0)
	b.Resume = s.pos.encode(*s.noted.Load())
	s.reported, s.quietFrom = s.pos, time.Now()
	s.delivered.Store(s.pos.LSN)
	return nil
}

// fail ends the stream. The events that are in the batch are dropped with it: they come again after the resume.
func (s *stream) fail(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		err = s.src.diagnose(ctx, err, position{LSN: s.pump.acked.Load()})
	}
	s.err = err
	return err
}

// wait blocks until the queue has something worth reading, or it is time to report the position.
func (s *stream) wait(ctx context.Context) error {
	pause := s.src.idle - time.Since(s.quietFrom)
	if pause <= 0 {
		pause = s.src.idle
	}
	return s.queue.Wait(ctx, s.timer, s.beat.Wait(pause))
}

// more reports whether there is an unread message, and makes its segment the current one.
func (s *stream) more() bool {
	if s.seg == nil || s.seg.End(s.off) {
		s.seg, s.off = s.queue.Take(s.seg), 0
		if s.seg != nil {
			s.seen = s.src.setup.Now().UnixMicro()
		}
	}
	return s.seg != nil
}

// drain decodes what is queued into b and reports whether b is full.
func (s *stream) drain(ctx context.Context, b *change.Batch) (full bool, err error) {
	for {
		if s.play != nil {
			if err := s.playOne(ctx, b); err != nil {
				return false, err
			}
		} else if s.more() {
			lsn, payload, next, _ := s.seg.Next(s.off)
			if err := s.received(ctx, b, lsn, payload); err != nil {
				return false, err
			}
			s.off = next
		} else {
			return false, nil
		}
		if len(b.Events) >= s.src.settings.MaxBatch || b.Size() >= maxBatchBytes {
			return true, nil
		}
	}
}

// received takes one message of the queue: a keepalive, one of a transaction in progress, or one to decode.
func (s *stream) received(ctx context.Context, b *change.Batch, lsn uint64, payload []byte) error {
	switch {
	case len(payload) == 0:
		s.keepalive(lsn)
		return nil
	case s.block != 0 && pgoutput.Kind(payload[0]) != pgoutput.KindStreamStop:
		return s.spool.add(s.block, lsn, payload)
	}
	return s.decode(ctx, b, lsn, payload)
}

// playOne decodes the next message of a transaction that was in progress, or ends it.
func (s *stream) playOne(ctx context.Context, b *change.Batch) error {
	lsn, payload, err := s.play.next()
	switch {
	case err != nil:
		return err
	case payload != nil:
		return s.decode(ctx, b, lsn, payload)
	}
	done := s.play
	s.play = nil
	if err := s.commitTx(b, done.commit); err != nil {
		return errors.Join(err, done.t.close())
	}
	return done.t.close()
}

// keepalive moves the position to where the server has decoded, when nothing before that is outstanding.
func (s *stream) keepalive(end uint64) {
	if !s.inTx && s.pos.Ordinal == 0 && end > s.pos.LSN {
		s.pos.LSN = end
	}
}

// decode reads one message.
func (s *stream) decode(ctx context.Context, b *change.Batch, lsn uint64, payload []byte) error {
	m := &s.msg
	if err := m.Decode(payload); err != nil {
		return err
	}
	switch m.Kind {
	case pgoutput.KindBegin:
		if s.inTx {
			return fmt.Errorf("transaction %d begins inside of transaction %d", m.Begin.XID, s.begin.XID)
		}
		return s.beginTx(m.Begin)
	case pgoutput.KindCommit:
		return s.commitTx(b, m.Commit)
	case pgoutput.KindOrigin:
		s.replica = &change.Replica{Origin: string(m.Origin.Name), LSN: m.Origin.CommitLSN}
		return nil
	case pgoutput.KindRelation:
		return s.relate(ctx, &m.Relation)
	case pgoutput.KindInsert, pgoutput.KindUpdate, pgoutput.KindDelete, pgoutput.KindTruncate, pgoutput.KindMessage:
		if m.Kind == pgoutput.KindMessage && !m.Logical.Transactional {
			return s.loose(b, &m.Logical)
		}
		if !s.inTx {
			return fmt.Errorf("a change outside of a transaction at LSN %X", lsn)
		}
		if s.skipTx {
			return nil
		}
		s.changes++
		if s.changes > s.pos.Ordinal {
			s.pos.Ordinal, s.pos.TxID, s.pos.Time = s.changes, s.begin.XID, s.commit
			return s.change(b, lsn)
		}
		// Delivered before the resume: only its events are counted.
		s.trial.Reset()
		return s.change(&s.trial, lsn)
	case pgoutput.KindType:
		return nil
	default:
		return s.progress(m)
	}
}

// progress handles what the server says about transactions in progress. Their changes wait in the spool, and are decoded like those of
// any other when the commit has come: whether a transaction was streamed makes no difference to its events and positions.
func (s *stream) progress(m *pgoutput.Message) error {
	if s.inTx {
		return fmt.Errorf("pgoutput message %q inside of transaction %d", byte(m.Kind), s.begin.XID)
	}
	switch m.Kind {
	case pgoutput.KindStreamStart:
		s.block = m.StreamStart.XID
		return nil
	case pgoutput.KindStreamStop:
		s.block = 0
		return nil
	case pgoutput.KindStreamAbort:
		return s.spool.abort(m.StreamAbort.XID, m.StreamAbort.SubXID)
	case pgoutput.KindStreamCommit:
		c := &m.StreamCommit
		s.play = s.spool.take(c.XID)
		s.play.commit = c.Commit
		if err := s.beginTx(pgoutput.Begin{FinalLSN: c.CommitLSN, CommitTime: c.CommitTime, XID: c.XID}); err != nil {
			return err
		}
		s.replica = s.play.t.replica
		return nil
	default:
		return fmt.Errorf("pgoutput message %q is not expected", byte(m.Kind))
	}
}

// beginTx opens a transaction. Whether it was delivered already is decided by its commit record alone: the record starts
// before the position exactly if it is part of what the position covers.
func (s *stream) beginTx(begin pgoutput.Begin) error {
	s.inTx, s.begin, s.changes, s.ordinal = true, begin, 0, 0
	s.commit, s.replica = begin.CommitTime+epochMicros, nil
	if s.meta != nil {
		// Debezium's id has the LSN of each change; ours has that of the commit, so that it is one.
		s.meta.Open(fmt.Sprintf("%d:%d", begin.XID, begin.FinalLSN))
	}
	s.skipTx = begin.FinalLSN < s.pos.LSN
	if !s.skipTx && s.pos.Ordinal > 0 && s.pos.TxID != 0 && s.pos.TxID != begin.XID {
		return s.moved(fmt.Sprintf("the server sends transaction %d", begin.XID))
	}
	return nil
}

func (s *stream) commitTx(b *change.Batch, commit pgoutput.Commit) error {
	if !s.inTx || commit.CommitLSN != s.begin.FinalLSN {
		return fmt.Errorf("a commit at LSN %X that does not belong to the open transaction", commit.CommitLSN)
	}
	s.inTx = false
	if s.skipTx {
		return nil
	}
	if s.changes < s.pos.Ordinal {
		return s.moved(fmt.Sprintf("the server sends only %d", s.changes))
	}
	if s.meta != nil {
		s.meta.End(b, s.boundary())
	}
	s.pos.LSN, s.pos.LSNCommit, s.pos.Ordinal = commit.EndLSN, commit.EndLSN, 0
	s.pos.TxID, s.pos.Time = s.begin.XID, s.commit
	return nil
}

// boundary is where the events are that tell the begin and end of the open transaction.
func (s *stream) boundary() *change.Event {
	return &change.Event{Txn: uint64(s.begin.XID), Ordinal: s.ordinal, LSN: s.begin.FinalLSN, PrevLSN: s.pos.LSNCommit, Commit: s.commit, Seen: s.seen}
}

// moved is a resume inside of a transaction that is not there any more as it was. (Invariant 7)
func (s *stream) moved(what string) error {
	return fault.Permanentf("POSITION_GAP", "reset the connector's offsets to take a new snapshot; the publication must not change while a transaction is half delivered",
		"the stored position is after %d changes of transaction %d, and %s", s.pos.Ordinal, s.pos.TxID, what)
}

// relate takes note of a table's structure. The catalog is asked for what the message doesn't tell.
func (s *stream) relate(ctx context.Context, rel *pgoutput.Relation) error {
	sh := &shape{oid: rel.OID, schema: rel.Schema, name: rel.Name, identity: rel.Identity, streamed: true}
	for _, c := range rel.Columns {
		sh.columns = append(sh.columns, wireColumn{c.Name, c.TypeOID, c.Modifier, c.Key})
	}
	var d *detail
	err := s.src.control.do(ctx, func(conn *pgx.Conn) (err error) {
		d, err = describe(ctx, conn, sh)
		return err
	})
	if err != nil {
		return fmt.Errorf("structure of %s.%s: %w", rel.Schema, rel.Name, err)
	}
	r := newRelation(s.src.settings, s.src.origin, sh, d)
	s.src.tables.publish(r)
	s.relations[rel.OID] = r
	return nil
}

// Ack implements source.Stream. It does not wait: the server is told within half a second.
func (s *stream) Ack(_ context.Context, p change.Position) error {
	pos, err := parsePosition(p)
	if err != nil {
		return err
	}
	s.pump.ack(pos.LSN)
	return nil
}

// Prompt implements source.Prompter: the server is asked where it stands, and its answer ends a Read that waits.
func (s *stream) Prompt() { s.pump.prompt() }

func (s *stream) isClosed() bool { return s.closed.Load() }

// Close implements source.Stream.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	var errs []error
	if s.play != nil {
		errs = append(errs, s.play.t.close())
	}
	return errors.Join(append(errs, s.spool.close(), s.pump.close())...)
}
