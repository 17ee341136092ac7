package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// stream turns the events that the pump queues into those of package change. All fields but the atomic ones belong to the
// goroutine that calls Read.
type stream struct {
	src    *Source
	queue  *source.Queue
	pump   *pump
	thread uint32 // the dump's connection on the server

	seg *source.Segment
	off int
	dec binlog.Decoder
	ev  binlog.Event

	unpack  binlog.Unpacker // of a compressed transaction
	packed  bool            // its events are being read
	inRows  bool            // rows of ev are left
	current *relation       // of those rows
	second  *second         // a transaction that is read a second time

	charsets  binlog.Charsets
	relations map[*binlog.TableMap]*relation
	details   map[tableRef]*detail // what the catalog said, until a statement changes the table
	history   *history
	trial     change.Batch // holds rows that were delivered before the resume
	key       [2][]byte    // scratch for key tuples: old, new

	set      gtidSet // what pos.GTIDs says, nil where the server has no GTIDs
	file     string  // the file that is read, and the place in it: where the event that was decoded last ends
	at       uint64
	past     passage
	pos      position // after the last event that was read
	dirty    bool     // pos.GTIDs is older than set
	fresh    bool     // the first position is to be reported at once
	reported coordinate
	quiet    time.Time  // since when nothing was reported
	looked   time.Time  // when the server was last asked where its log ends
	stuck    coordinate // where we stood when its log went on and nothing had come; 0: it did not
	beats    int        // heartbeats since then
	seen     int64      // time of the last take, microseconds
	timer    *time.Timer
	tx       transaction
	meta     *source.Metadata // nil: not asked for
	beat     source.Heartbeat
	shaper   *source.Shaper

	delivered atomic.Uint64 // the coordinate up to which events were given to the reader, for gauges
	closed    atomic.Bool
	err       error // why the stream is finished
}

// A transaction is the one that is open.
type transaction struct {
	open       bool
	file       string // where it begins
	at         uint64
	begun      bool     // statements in it do not end it: BEGIN was seen, or on MariaDB it is not a standalone one
	skip       bool     // its rows are not for us
	xa         bool     // it is distributed: its rows are not for us until it is committed
	number     uint64   // see numbers; where it can't be one of them, the place where the transaction begins
	sid        [16]byte // MySQL
	tag        []byte
	gno        int64
	maria      mariaGTID
	alter      binlog.AlterPhase
	events     uint32 // row events that were read
	rows       uint32 // rows of the current one that were read
	ordinal    uint32 // events of change that were made or passed over
	commit     int64  // when it was committed, microseconds since the Unix epoch
	serverID   uint32
	query      []byte         // the statement behind the rows that follow
	info       *change.Binlog // of the events that are made now; nil: to be made
	gtid       string
	thread     uint64
	identified bool // it has a GTID
}

var (
	_ source.Stream   = (*stream)(nil)
	_ source.Prompter = (*stream)(nil)
)

func newStream(s *Source, c *conn, p position, set gtidSet, h *history, fresh bool) *stream {
	q := source.NewQueue()
	st := &stream{src: s, queue: q, thread: c.GetConnectionID(), relations: map[*binlog.TableMap]*relation{}, details: map[tableRef]*detail{},
		history: h, set: set, pos: p, file: p.File, at: p.Pos, fresh: fresh, quiet: time.Now(), looked: time.Now(), timer: time.NewTimer(time.Hour),
		beat: source.NewHeartbeat(s.settings.Heartbeat, s.settings.TopicOf(s.settings.HeartbeatTopic, s.settings.Prefix), s.settings.Prefix, s.setup.Now), shaper: s.settings.shaper()}
	if s.settings.Transactions {
		st.meta = source.NewMetadata(s.settings.TopicOf(s.settings.Prefix, s.settings.TransactionName))
	}
	st.reported = p.coordinate()
	st.deliver()
	st.pump = startPump(c, q)
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
		if err := s.introduce(ctx, b); err != nil {
			return s.fail(ctx, err)
		}
		s.fresh = false
		return s.finish(b)
	}
	for {
		prompted := s.queue.Prompted()
		full, err := s.drain(ctx, b)
		if err != nil {
			err = s.fail(ctx, err)
			if len(b.Events) > 0 && fault.IsPermanent(err) {
				return s.finish(b) // what came before is whole; the next Read fails
			}
			return err
		}
		broken := s.queue.Failure()
		switch {
		case full, len(b.Events) > 0 && (!s.tx.open || broken != nil), prompted, s.beat.Due():
			return s.finish(b)
		case broken != nil:
			if s.more() {
				continue // it came between the drain and the failure
			}
			return s.fail(ctx, broken)
		case len(b.Events) == 0 && s.pos.coordinate() != s.reported && time.Since(s.quiet) >= s.src.idle:
			return s.finish(b)
		}
		if err := s.wait(ctx); err != nil {
			s.err = err
			return err
		}
		if err := s.look(ctx, len(b.Events) == 0); err != nil {
			return s.fail(ctx, err)
		}
	}
}

// look compares the position with the end of the server's log now and then while nothing comes: a dump does not notice that
// the log was reset, it waits for ever at the end of a file that is gone.
func (s *stream) look(ctx context.Context, quiet bool) error {
	if !quiet || s.tx.open || time.Since(s.looked) < s.src.lookEvery {
		return nil
	}
	s.looked = time.Now()
	var end coordinate
	err := s.src.control.do(ctx, func(c *conn) error {
		id, err := identify(c, s.src.flavor)
		if err != nil || id.name != s.pos.Server {
			return err // another server behind the same address: the dump's connection will break
		}
		st, err := readStatus(c)
		end = coordinateOf(st.file, st.pos)
		return err
	})
	at := coordinateOf(s.file, s.at)
	switch {
	case err != nil:
		return fmt.Errorf("look where the binary log ends: %w", err)
	case end == 0 || end == at:
		s.stuck = 0
		return nil
	case s.stuck != at: // what was written just now may be on its way
		s.stuck, s.beats = at, 0
		return nil
	case s.beats < 2: // until a heartbeat the server does not tell that it has passed what is no transaction
		return nil
	}
	return fmt.Errorf("nothing has come since %s at %d although the server's binary log is elsewhere: it may have been reset", s.file, s.at)
}

// finish ends a batch with the position after it.
func (s *stream) finish(b *change.Batch) error {
	if s.dirty {
		s.pos.GTIDs, s.dirty = string(s.set.appendText(nil)), false
	}
	b.Notes = s.history.notes(b.Notes, s.src.setup.Now().UnixMicro())
	s.pos.Structures = s.history.number
	s.settleAgain()
	if e := s.beat.Append(b); e != nil {
		e.LSN = s.pos.Pos
	}
	s.shaper.Apply(b, 0)
	b.Resume = s.pos.encode()
	s.reported, s.quiet = s.pos.coordinate(), time.Now()
	s.deliver()
	return nil
}

func (s *stream) deliver() {
	s.delivered.Store(uint64(coordinateOf(s.file, s.at)))
}

// fail ends the stream. The events that are in the batch are dropped with it: they come again after the resume.
func (s *stream) fail(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		err = dumpError(err)
	}
	s.err = err
	return err
}

// wait blocks until the queue has something worth reading, or it is time to report the position.
func (s *stream) wait(ctx context.Context) error {
	pause := s.src.idle - time.Since(s.quiet)
	if pause <= 0 {
		pause = s.src.idle
	}
	return s.queue.Wait(ctx, s.timer, s.beat.Wait(pause))
}

// more reports whether there is an unread event, and makes its segment the current one.
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
		for s.inRows {
			if len(b.Events) >= s.src.settings.MaxBatch || b.Size() >= maxBatchBytes {
				return true, nil
			}
			n := len(b.Events)
			if err := s.row(b); err != nil {
				b.Events = b.Events[:n]
				return false, err
			}
		}
		n := len(b.Events)
		switch {
		case s.second != nil:
			err = s.reread(ctx, b)
		case s.packed:
			err = s.inner(ctx, b)
		case s.more():
			var event []byte
			_, event, s.off, _ = s.seg.Next(s.off)
			err = s.outer(ctx, b, event)
		default:
			return false, nil
		}
		if err != nil {
			b.Events = b.Events[:n]
			return false, err
		}
	}
}

// outer decodes an event as it stands in the file.
func (s *stream) outer(ctx context.Context, b *change.Batch, event []byte) error {
	passed, end, err := s.past.over(event, s.at)
	if err == nil && !passed {
		err = s.dec.Decode(event, &s.ev)
	}
	if s.at = end; passed || err != nil {
		return s.explain(err)
	}
	h := &s.ev.Header
	if h.Flags&binlog.FlagArtificial == 0 && s.ev.Kind != binlog.KindHeartbeat {
		s.at = endOf(s.at, h)
	}
	if err := s.handle(ctx, b); err != nil {
		return err
	}
	if h.Flags&binlog.FlagArtificial == 0 && s.ev.Kind != binlog.KindHeartbeat {
		s.advance()
	}
	return nil
}

// advance moves the position to where the log was read, unless that is inside of a transaction. A dump by GTIDs begins with
// files and transactions that are before the place that we know: it never goes back. (Invariant 4)
func (s *stream) advance() {
	if !s.tx.open && coordinateOf(s.file, s.at) > s.pos.coordinate() {
		s.pos.File, s.pos.Pos = s.file, s.at
	}
}

// inner decodes the next event of a compressed transaction.
func (s *stream) inner(ctx context.Context, b *change.Batch) error {
	event, err := s.unpack.Next()
	if errors.Is(err, io.EOF) {
		s.packed = false
		s.advance()
		return nil
	}
	if err == nil {
		err = s.dec.DecodeInner(event, &s.ev)
	}
	if err != nil {
		return s.explain(err)
	}
	return s.handle(ctx, b)
}

// explain says what to do about an event that can't be decoded. What was damaged on its way comes whole the next time, so
// that is worth a new connection.
func (s *stream) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s at %d: %w", s.file, s.at, err)
}

// handle does what a decoded event asks for.
func (s *stream) handle(ctx context.Context, b *change.Batch) error {
	e := &s.ev
	switch e.Kind {
	case binlog.KindRows:
		return s.startRows(ctx, b)
	case binlog.KindTableMap:
		return nil
	case binlog.KindGTID, binlog.KindAnonymousGTID:
		return s.beginMySQL()
	case binlog.KindMariaGTID:
		return s.beginMaria()
	case binlog.KindQuery:
		return s.query(ctx, b)
	case binlog.KindXID:
		return s.commit(b)
	case binlog.KindXAPrepare:
		return s.prepared(ctx, b)
	case binlog.KindRowsQuery:
		if s.src.settings.Query {
			s.tx.query, s.tx.info = append(s.tx.query[:0], e.Statement...), nil
		}
		return nil
	case binlog.KindPayload:
		s.packed = true
		return s.unpack.Open(&e.Payload)
	case binlog.KindRotate:
		return s.rotate()
	case binlog.KindHeartbeat:
		s.heartbeat()
		return nil
	case binlog.KindIncident:
		return fault.Permanentf("INCIDENT", "compare the captured tables with their topics and reset the connector's offsets to take a new snapshot",
			"the server could not log all changes: incident %d in %s at %d: %s", e.Incident.Number, s.file, s.at, e.Incident.Message)
	case binlog.KindFormat, binlog.KindGTIDList, binlog.KindPreviousGTIDs, binlog.KindStop, binlog.KindStartEncryption,
		binlog.KindStatement, binlog.KindIgnored:
		return nil
	}
	return fmt.Errorf("binlog event of kind %d is not expected", e.Kind)
}

// rotate goes on in another file. The artificial one that starts a dump says where that begins to read.
func (s *stream) rotate() error {
	r := &s.ev.Rotate
	if _, ok := fileNumber(string(r.File)); !ok {
		return fmt.Errorf("the server names its binary log %.200q, which has no number", r.File)
	}
	s.file, s.at = string(r.File), r.Position
	s.advance()
	return nil
}

// heartbeat moves the position to where the server reads, when nothing before that is outstanding.
func (s *stream) heartbeat() {
	r := &s.ev.Rotate
	s.beats++
	if s.tx.open || s.pos.inside() || r.Position == 0 || string(r.File) != s.file {
		return
	}
	at := r.Position
	if s.ev.Header.Type == binlog.TypeHeartbeat { // 32 bits of it
		at |= s.at &^ 0xFFFFFFFF
	}
	if at > s.at {
		s.at = at
	}
	s.advance()
}

// Ack implements source.Stream. The server does not wait for us: it keeps its logs for as long as it was told to.
func (s *stream) Ack(_ context.Context, p change.Position) error {
	_, err := parsePosition(p)
	return err
}

// Prompt implements source.Prompter: a Read that waits returns.
func (s *stream) Prompt() { s.queue.Prompt() }

func (s *stream) isClosed() bool { return s.closed.Load() }

// Close implements source.Stream.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	alive, err := s.pump.close()
	s.unpack.Close()
	if s.second != nil {
		err = errors.Join(err, s.second.close())
	}
	if alive {
		s.src.kill(s.thread)
	}
	return err
}
