package mysql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// An excerpt is a piece of the binary log that is read a second time, on a connection of its own, while the stream stands still.
type excerpt struct {
	conn *conn
	stop func() bool
	dec  binlog.Decoder
	at   status // the end of the event that was read last
	past passage
	// bounds asks for statements, compressed transactions and the bounds of all others alone. It may begin in the midst of one, where rows can't be read.
	bounds bool
}

// telling reports whether an event is one that excerpts of bounds have.
func telling(event []byte) bool {
	if len(event) < binlog.HeaderSize {
		return true // decoding it gives the error
	}
	switch binlog.EventType(event[4]) {
	case binlog.TypeFormat, binlog.TypeRotate, binlog.TypeQuery, binlog.TypeQueryCompressed, binlog.TypeGTID, binlog.TypeAnonymousGTID,
		binlog.TypeGTIDTagged, binlog.TypeMariaGTID, binlog.TypeXAPrepare, binlog.TypePayload, binlog.TypeHeartbeat, binlog.TypeHeartbeatV2:
		return true
	}
	return false
}

// nonBlocking asks for what is in the log now, and no more.
const nonBlocking = 1

// openExcerpt begins to read at a place. It ends with close.
func (s *Source) openExcerpt(ctx context.Context, from status) (*excerpt, error) {
	c, err := dial(ctx, s.settings, s.settings.QueryTimeout)
	if err != nil {
		return nil, err
	}
	x := &excerpt{conn: c, stop: context.AfterFunc(ctx, func() { c.Close() }), at: from}
	if err := x.request(s, from); err != nil {
		return nil, errors.Join(explain(s.settings, dumpError(err)), x.close())
	}
	return x, nil
}

// request asks as a replica that nobody knows: under its own number the server would end the dump of the stream.
func (x *excerpt) request(s *Source, from status) error {
	setup := []string{"SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum",
		"SET @slave_uuid = '" + newUUID() + "'"}
	if s.flavor == mariadb {
		setup = append(setup, "SET @mariadb_slave_capability = 4")
	}
	for _, sql := range setup {
		if _, err := x.conn.Execute(sql); err != nil {
			return fmt.Errorf("prepare the dump by %s: %w", sql, err)
		}
	}
	flags := uint16(nonBlocking)
	if s.flavor == mariadb && s.settings.Query {
		flags |= annotateRows
	}
	at, past := s.ask(from.pos)
	x.past, x.at.pos = past, uint64(at)
	body := binary.LittleEndian.AppendUint32(nil, at)
	body = binary.LittleEndian.AppendUint16(body, flags)
	body = binary.LittleEndian.AppendUint32(body, 1<<31|rand.Uint32()>>1)
	return x.conn.command(mysql.COM_BINLOG_DUMP, append(body, from.file...))
}

// next decodes the next event into e, which is valid until the next call; false at the end of what the server has.
func (x *excerpt) next(e *binlog.Event) (bool, error) {
	event, err := x.event()
	if event == nil || err != nil {
		return false, err
	}
	if x.bounds && !telling(event) {
		e.Kind = binlog.KindIgnored
		e.Header, err = binlog.ParseHeader(event)
	} else {
		err = x.dec.Decode(event, e)
	}
	if err != nil {
		return false, fmt.Errorf("%s at %d: %w", x.at.file, x.at.pos, err)
	}
	switch {
	case e.Kind == binlog.KindRotate:
		x.at = status{file: string(e.Rotate.File), pos: e.Rotate.Position}
	case e.Header.Flags&binlog.FlagArtificial == 0 && e.Kind != binlog.KindHeartbeat:
		x.at.pos = endOf(x.at.pos, &e.Header)
	}
	return true, nil
}

// event reads the next event that is not to be passed over, nil at the end of what the server has.
func (x *excerpt) event() ([]byte, error) {
	for {
		packet, err := x.conn.packet()
		if err != nil {
			return nil, dumpError(err)
		}
		if packet[0] == mysql.EOF_HEADER && len(packet) < binlog.HeaderSize {
			return nil, nil
		}
		event, err := eventOf(packet)
		if err != nil {
			return nil, err
		}
		passed, end, err := x.past.over(event, x.at.pos)
		if x.at.pos = end; !passed || err != nil {
			return event, err
		}
	}
}

func (x *excerpt) close() error {
	x.stop()
	return ignoreClosed(x.conn.Close())
}

// excerpt calls visit with the statements and bounds of transactions between two places of the log, each with the place of its end, until that says that it has
// seen enough.
func (s *Source) excerpt(ctx context.Context, from, to status, visit func(e *binlog.Event, end status) (enough bool, err error)) (err error) {
	goal := coordinateOf(to.file, to.pos)
	if coordinateOf(from.file, from.pos) >= goal {
		return nil
	}
	x, err := s.openExcerpt(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	x.bounds = true
	var e binlog.Event
	for {
		more, err := x.next(&e)
		if err != nil || !more {
			return err
		}
		if enough, err := visit(&e, x.at); err != nil || enough {
			return err
		}
		if coordinateOf(x.at.file, x.at.pos) >= goal {
			return nil
		}
	}
}

// endOf returns where an event ends whose header has the position's low 32 bits, 0 if the server does not know it: files may be
// larger.
func endOf(at uint64, h *binlog.Header) uint64 {
	at += uint64(h.Size)
	if h.End == 0 {
		return at
	}
	if at = at&^0xFFFFFFFF | uint64(h.End); at < uint64(h.Size) {
		at += 1 << 32
	}
	return at
}
