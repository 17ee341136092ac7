package mysql

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// The first phase of a distributed transaction has its rows in the log, where nobody may see them yet: they are passed over, and
// the position keeps where they are. The XA COMMIT, which may come much later, reads them from there a second time, as its own.

// A second is a transaction that is read a second time.
type second struct {
	*excerpt
	id     string
	begun  bool // its own events have begun
	unpack binlog.Unpacker
	packed bool // its events are read from what was compressed
}

// next decodes the next event of the transaction into e, which is valid until the next call.
func (x *second) next(e *binlog.Event) (more bool, err error) {
	for {
		if !x.packed {
			if more, err = x.excerpt.next(e); err != nil || !more || e.Kind != binlog.KindPayload {
				return more, err
			}
			if err := x.unpack.Open(&e.Payload); err != nil {
				return false, err
			}
			x.packed = true
		}
		event, err := x.unpack.Next()
		switch {
		case errors.Is(err, io.EOF):
			x.packed = false
			continue
		case err == nil:
			err = x.dec.DecodeInner(event, e)
		}
		return err == nil, err
	}
}

func (x *second) close() error {
	x.unpack.Close()
	return x.excerpt.close()
}

// prepared is the end of the first phase of a distributed transaction.
func (s *stream) prepared(ctx context.Context, b *change.Batch) error {
	t := &s.tx
	if !t.open || !t.xa || t.skip {
		return s.commit(b)
	}
	p := preparedXA{ID: string(s.ev.XA.AppendID(nil)), File: t.file, Pos: t.at}
	if s.ev.XA.OnePhase {
		return s.again(ctx, p)
	}
	s.pos.XA = append(s.withoutXA(p.ID), p)
	if s.meta != nil {
		s.meta.Drop()
	}
	return s.commit(b)
}

func (s *stream) withoutXA(id string) []preparedXA {
	return slices.DeleteFunc(slices.Clone(s.pos.XA), func(p preparedXA) bool { return p.ID == id })
}

// decided is XA COMMIT or XA ROLLBACK.
func (s *stream) decided(ctx context.Context, b *change.Batch, text []byte, commits bool) error {
	if !s.tx.open { // a server that writes no GTID events
		if err := s.begin(); err != nil {
			return err
		}
	}
	if s.tx.skip {
		return s.commit(b)
	}
	id := identifierXA(string(text))
	i := slices.IndexFunc(s.pos.XA, func(p preparedXA) bool { return p.ID == id })
	switch {
	case !commits:
		s.pos.XA = s.withoutXA(id)
		return s.commit(b)
	case i >= 0 && s.pos.XA[i].File != "":
		return s.again(ctx, s.pos.XA[i])
	}
	p, err := s.search(ctx, id)
	if err != nil {
		return err
	}
	return s.again(ctx, p)
}

// identifierXA returns the identifier in XA COMMIT X'61',X”,1 as binlog.XA spells it.
func identifierXA(statement string) string {
	_, id, _ := strings.Cut(strings.TrimSpace(statement), " ") // XA
	_, id, _ = strings.Cut(strings.TrimSpace(id), " ")         // COMMIT
	id, _, _ = strings.Cut(strings.TrimSpace(id), " ")         // ONE PHASE
	parts := strings.Split(id, ",")
	for i, p := range parts {
		if hex, ok := strings.CutPrefix(strings.ToUpper(p), "X'"); ok {
			parts[i] = "X'" + strings.ToLower(hex)
		}
	}
	return strings.Join(parts, ",")
}

// again begins to read a prepared transaction a second time. The present one ends with it.
func (s *stream) again(ctx context.Context, p preparedXA) error {
	x, err := s.src.openExcerpt(ctx, status{file: p.File, pos: p.Pos})
	if err != nil {
		return err
	}
	s.second = &second{excerpt: x, id: p.ID}
	if s.src.flavor == mariadb {
		s.src.branches.add(s.tx.number, branch{p.ID, coordinateOf(p.File, p.Pos), s.src.setup.Now()})
	}
	if s.meta != nil && !s.meta.IsOpen() {
		s.openMetadata()
	}
	return nil
}

// reread handles the next event of a transaction that is read a second time.
func (s *stream) reread(ctx context.Context, b *change.Batch) error {
	more, err := s.second.next(&s.ev)
	if err != nil {
		return err
	}
	e := &s.ev
	switch {
	case !more:
		return s.lostXA(s.second.id)
	case e.Kind == binlog.KindGTID, e.Kind == binlog.KindAnonymousGTID, e.Kind == binlog.KindMariaGTID:
		if s.second.begun {
			return s.lostXA(s.second.id) // another transaction begins before this one was prepared
		}
		s.second.begun = true
	case e.Kind == binlog.KindRows:
		return s.startRows(ctx, b)
	case e.Kind == binlog.KindRowsQuery && s.src.settings.Query:
		s.tx.query, s.tx.info = append(s.tx.query[:0], e.Statement...), nil
	case e.Kind == binlog.KindXAPrepare:
		if id := string(e.XA.AppendID(nil)); id != s.second.id {
			return s.lostXA(s.second.id)
		}
		err := s.second.close()
		s.pos.XA = s.withoutXA(s.second.id)
		s.second = nil
		if err = errors.Join(err, s.commit(b)); err == nil {
			s.advance()
		}
		return err
	}
	return nil
}

func (s *stream) lostXA(id string) error {
	return fault.Permanentf("XA_TRANSACTION", "reset the connector's offsets to take a new snapshot",
		"transaction %s is committed in %s at %d, and what it prepared is not in the server's binary logs any more", id, s.file, s.at)
}

// search looks for a transaction in all of the server's logs: it was prepared before the stream began, or on another server. The last
// one with the identifier counts.
func (s *stream) search(ctx context.Context, id string) (found preparedXA, err error) {
	var first status
	err = s.src.control.do(ctx, func(c *conn) error {
		rows, err := c.rows("SHOW BINARY LOGS")
		if err == nil && len(rows) > 0 {
			first = status{file: rows[0][0], pos: firstEvent}
		}
		return err
	})
	if err != nil || first.file == "" {
		return found, errors.Join(err, s.lostXA(id))
	}
	s.src.log.Info("a distributed transaction was prepared before the position; looking for it in the binary logs", "id", id, "from", first.file)
	var began status
	var packed preparations
	defer packed.Close()
	err = s.src.excerpt(ctx, first, status{file: s.file, pos: s.at}, func(e *binlog.Event, end status) (bool, error) {
		switch e.Kind {
		case binlog.KindGTID, binlog.KindAnonymousGTID, binlog.KindMariaGTID:
			began = status{file: end.file, pos: end.pos - uint64(e.Header.Size)}
			return false, nil
		case binlog.KindPayload:
			prepares, err := packed.has(&e.Payload, id)
			if err != nil || !prepares {
				return false, err
			}
		case binlog.KindXAPrepare:
			if string(e.XA.AppendID(nil)) != id {
				return false, nil
			}
		default:
			return false, nil
		}
		found = preparedXA{ID: id, File: began.file, Pos: began.pos}
		return false, nil
	})
	if err == nil && found.File == "" {
		err = s.lostXA(id)
	}
	return found, err
}

// preparations finds the first phases of distributed transactions in compressed ones.
type preparations struct{ binlog.Unpacker }

// has reports whether the transaction in p is the first phase of the one with the identifier.
func (u *preparations) has(p *binlog.Payload, id string) (bool, error) {
	if err := u.Open(p); err != nil {
		return false, err
	}
	var dec binlog.Decoder
	var e binlog.Event
	for {
		event, err := u.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err == nil && binlog.EventType(event[4]) != binlog.TypeXAPrepare {
			continue
		}
		if err == nil {
			err = dec.DecodeInner(event, &e)
		}
		if err != nil || string(e.XA.AppendID(nil)) == id {
			return err == nil, err
		}
	}
}
