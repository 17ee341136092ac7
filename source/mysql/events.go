package mysql

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// begin opens a transaction at the place where its first event begins.
func (s *stream) begin() error {
	if s.tx.open {
		return fmt.Errorf("%s at %d: a transaction begins inside of another one", s.file, s.at)
	}
	begun := s.at - uint64(s.ev.Header.Size)
	s.tx = transaction{open: true, query: s.tx.query[:0], file: s.file, at: begun, number: uint64(coordinateOf(s.file, begun)),
		commit: int64(s.ev.Header.Timestamp) * microsPerSecond, serverID: s.ev.Header.ServerID}
	return nil
}

func (s *stream) beginMySQL() error {
	if err := s.begin(); err != nil {
		return err
	}
	g, t := &s.ev.GTID, &s.tx
	if g.FirstCommitted != 0 {
		t.commit = int64(g.FirstCommitted)
	}
	if s.ev.Kind == binlog.KindGTID {
		t.sid, t.gno, t.identified = g.SID, g.GNO, true
		t.tag = append(t.tag[:0], g.Tag...)
		t.gtid = string(appendGTID(nil, t.sid, t.tag, t.gno))
		t.skip = !s.src.settings.capturesServer(formatUUID(t.sid))
	}
	if my, ok := s.set.(*mysqlSet); ok && t.identified {
		if my.has(t.sid, t.tag, t.gno) {
			return s.repeated()
		}
		var err error
		if t.number, err = s.src.numbers.number(t.sid, t.tag, t.gno); err != nil {
			return err
		}
	}
	return s.resumed()
}

func (s *stream) beginMaria() error {
	if err := s.begin(); err != nil {
		return err
	}
	g, t := &s.ev.MariaGTID, &s.tx
	t.maria, t.identified = mariaGTID{g.Domain, g.Server, g.Sequence}, true
	t.gtid = string(t.maria.appendText(nil))
	t.begun = g.Flags&binlog.MariaStandalone == 0
	t.xa = g.Flags&binlog.MariaPreparedXA != 0
	t.alter = g.AlterPhase
	if last := s.set.(*mariaSet).domain(g.Domain); last.server == g.Server && g.Sequence < last.seq {
		return s.repeated()
	}
	t.skip = !s.src.settings.capturesServer(fmt.Sprint(g.Server))
	if err := s.resumed(); err != nil {
		return err
	}
	if t.begun {
		s.openMetadata()
	}
	return nil
}

// resumed checks that the first transaction is the one that the position is inside of.
func (s *stream) resumed() error {
	if s.pos.inside() && s.pos.GTID != s.tx.gtid {
		return s.moved(fmt.Sprintf("the server sends transaction %q first", s.tx.gtid))
	}
	return nil
}

// repeated is a transaction that was delivered before: the server numbers its transactions anew. (Invariant 7)
func (s *stream) repeated() error {
	return fault.Permanentf("OTHER_SERVER", aheadRemedy, "the server sends transaction %s, which was delivered before: its binary log was reset while it was read", s.tx.gtid)
}

// moved is a resume inside of a transaction that is not there any more as it was. (Invariant 7)
func (s *stream) moved(what string) error {
	return fault.Permanentf("POSITION_GAP", "reset the connector's offsets to take a new snapshot",
		"the stored position is after %d row events and %d rows of transaction %q, and %s", s.pos.Events, s.pos.Rows, s.pos.GTID, what)
}

// openMetadata begins to count the events of the open transaction, which BEGIN was seen of, for provide.transaction.metadata.
func (s *stream) openMetadata() {
	if s.meta == nil || s.tx.skip {
		return
	}
	id := s.tx.gtid
	if id == "" {
		id = fmt.Sprintf("file=%s,pos=%d", s.file, s.at-uint64(s.ev.Header.Size))
	}
	s.meta.Open(id)
}

// boundary is where the events are that tell the begin and end of the open transaction.
func (s *stream) boundary() *change.Event {
	return &change.Event{Txn: s.tx.number, Ordinal: s.tx.ordinal, LSN: s.at, Commit: s.tx.commit, Seen: s.seen}
}

// commit closes the transaction: the position is behind it.
func (s *stream) commit(b *change.Batch) error {
	t := &s.tx
	if !t.open {
		return fmt.Errorf("%s at %d: a commit without a transaction", s.file, s.at)
	}
	if s.pos.inside() && (t.events < s.pos.Events || t.events == s.pos.Events && t.rows < s.pos.Rows) {
		return s.moved(fmt.Sprintf("the server sends only %d row events", t.events))
	}
	if s.meta != nil && s.meta.IsOpen() {
		s.meta.End(b, s.boundary())
	}
	t.open = false
	s.pos.GTID, s.pos.Events, s.pos.Rows, s.pos.Time = "", 0, 0, t.commit
	if t.identified && s.set != nil {
		s.dirty = true
		if s.src.flavor == mariadb {
			s.set.(*mariaSet).set(t.maria)
		} else {
			s.set.(*mysqlSet).add(t.sid, t.tag, t.gno)
		}
	}
	return nil
}

// query handles a statement: the beginning or end of a transaction, DDL, or rows in statement format.
func (s *stream) query(ctx context.Context, b *change.Batch) error {
	q := &s.ev.Query
	if bytes.Equal(q.Statement, []byte("BEGIN")) || bytes.Equal(q.Statement, []byte("COMMIT")) {
		return s.bounds(b, q.Statement[0] == 'B')
	}
	text := s.decoded(q)
	st := scanStatement(text, string(q.Schema))
	switch st.verb {
	case verbBegin, verbXAStart:
		if err := s.bounds(b, true); err != nil {
			return err
		}
		s.tx.xa = s.tx.xa || st.verb == verbXAStart
		return nil
	case verbCommit:
		return s.bounds(b, false)
	case verbRollback:
		return s.rolledBack(b)
	case verbSavepoint:
		return nil
	case verbRollbackTo:
		return s.undone(b)
	case verbXACommit, verbXARollback:
		return s.decided(ctx, b, text, st.verb == verbXACommit)
	}
	implicit := !s.tx.open // a server that writes no GTID events
	if implicit {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if s.effective() && (st.verb.ddl() || st.verb == verbOther) {
		s.follow(text)
	}
	if !s.tx.skip {
		if err := s.statement(ctx, b, st, text); err != nil {
			return err
		}
	}
	if !s.tx.begun {
		return s.commit(b)
	}
	return nil
}

// decoded returns a statement in UTF-8.
func (s *stream) decoded(q *binlog.Query) []byte {
	if name, ok := binlog.CharsetName(q.Client); ok && name != "utf8mb4" && name != "utf8mb3" && name != "utf8" {
		if decoded, valid, err := s.charsets.Append(nil, name, q.Statement); err == nil && valid {
			return decoded
		}
	}
	return q.Statement
}

// effective reports whether a statement takes effect here: one that is logged in two phases does at its commit.
func (s *stream) effective() bool {
	return s.src.flavor != mariadb || s.tx.alter == binlog.NoAlterPhase || s.tx.alter == binlog.AlterCommit
}

// bounds handles BEGIN and COMMIT.
func (s *stream) bounds(b *change.Batch, begin bool) error {
	if !begin {
		return s.commit(b)
	}
	if !s.tx.open {
		if err := s.begin(); err != nil {
			return err
		}
		if err := s.resumed(); err != nil {
			return err
		}
	}
	s.tx.begun, s.tx.thread = true, uint64(s.ev.Query.Thread)
	s.openMetadata()
	return nil
}

// rolledBack is the end of a transaction that was logged although it was rolled back, because it had changed what can't be
// rolled back. Without rows of ours nothing happened; with some we can't tell which of them stay.
func (s *stream) rolledBack(b *change.Batch) error {
	if s.tx.open && s.tx.info != nil {
		return fault.Permanentf("ROLLED_BACK_ROWS", "don't change transactional and other tables in one transaction that may be rolled back, and reset the "+
			"connector's offsets to take a new snapshot", "transaction %s before %s at %d was rolled back after it changed tables that can't be", s.tx.gtid, s.file, s.at)
	}
	return s.commit(b)
}

// undone is a ROLLBACK TO that was logged for the same reason.
func (s *stream) undone(b *change.Batch) error {
	if s.tx.info != nil {
		return s.rolledBack(b)
	}
	return nil
}

// startRows begins the rows of an event.
func (s *stream) startRows(ctx context.Context, b *change.Batch) error {
	rows, t := &s.ev.Rows, &s.tx
	if rows.Table == nil {
		return nil // only the end of a statement
	}
	if !t.open {
		return fmt.Errorf("%s at %d: rows outside of a transaction", s.file, s.at)
	}
	r, err := s.relate(ctx, rows.Table)
	if err != nil {
		return err
	}
	if t.skip || !r.captured || !rows.More() || t.xa && s.second == nil {
		t.ordinal++
		s.endRows()
		return nil
	}
	if t.info == nil {
		t.info = &change.Binlog{File: s.file, GTID: t.gtid, ServerID: t.serverID, Thread: t.thread, Query: string(t.query)}
	} else if t.info.File != s.file {
		info := *t.info
		info.File, t.info = s.file, &info
	}
	s.current, s.inRows = r, true
	return nil
}

// endRows counts a row event that is done.
func (s *stream) endRows() {
	t := &s.tx
	t.events, t.rows = t.events+1, 0
	if t.events > s.pos.Events {
		s.pos.GTID, s.pos.Events, s.pos.Rows = t.gtid, t.events, 0
	}
}

// row makes the next row of the current event into events in b. Rows that were delivered before the resume are only
// counted.
func (s *stream) row(b *change.Batch) error {
	t := &s.tx
	old := t.events < s.pos.Events || t.events == s.pos.Events && t.rows < s.pos.Rows
	if old {
		s.trial.Reset()
		b = &s.trial
	}
	before, after, err := s.ev.Rows.Next(s.current.layout, b)
	if err != nil {
		return s.explain(err)
	}
	if err := s.change(b, s.ev.Rows.Op, before, after); err != nil {
		return err
	}
	if t.rows++; !old {
		s.pos.GTID, s.pos.Events, s.pos.Rows = t.gtid, t.events, t.rows
	}
	if s.inRows = s.ev.Rows.More(); !s.inRows {
		s.endRows()
	}
	return nil
}

// change makes the events of one row.
func (s *stream) change(b *change.Batch, op change.Op, before, after change.Row) error {
	r := s.current
	if op == change.OpUpdate {
		for i := range after { // what is not in the new image has not changed
			if after[i].Kind == change.Absent {
				after[i] = before[i]
			}
		}
	}
	if r.end >= 0 {
		if op, before, after = r.current(before, after); op == 0 {
			s.tx.ordinal++
			return nil
		}
	}
	switch op {
	case change.OpCreate:
		key, err := s.rowKey(r, after, 1)
		if err != nil {
			return err
		}
		e := s.event(b, r, op)
		e.After, e.Key = after, b.Copy(key)
		return nil
	case change.OpDelete:
		key, err := s.rowKey(r, before, 0)
		if err != nil {
			return err
		}
		e := s.event(b, r, op)
		e.Before, e.Key = before, b.Copy(key)
		return nil
	}
	oldKey, err := s.rowKey(r, before, 0)
	if err != nil {
		return err
	}
	key, err := s.rowKey(r, after, 1)
	if err != nil {
		return err
	}
	if r.table.KeyChosen || bytes.Equal(oldKey, key) {
		e := s.event(b, r, op)
		e.Before, e.After, e.Key = before, after, b.Copy(key)
		return nil
	}
	// The key has changed: to those who keep rows by key that is one row less and another one more.
	was, is := b.Copy(oldKey), b.Copy(key)
	e := s.event(b, r, change.OpDelete)
	e.Before, e.Key, e.Headers = before, was, []change.Header{{Key: change.HeaderNewKey, Value: is}}
	e = s.event(b, r, change.OpCreate)
	e.After, e.Key, e.Headers = after, is, []change.Header{{Key: change.HeaderOldKey, Value: was}}
	return nil
}

// event appends an event of the open transaction.
func (s *stream) event(b *change.Batch, r *relation, op change.Op) *change.Event {
	meta := s.meta != nil && s.meta.IsOpen()
	if meta && !s.meta.Begun() {
		s.meta.Begin(b, s.boundary())
	}
	e := b.Add()
	e.Table, e.Op, e.Topic = r.table, op, r.topic
	e.Txn, e.Ordinal, e.LSN = s.tx.number, s.tx.ordinal, s.at-uint64(s.ev.Header.Size)
	e.Commit, e.Seen, e.Binlog, e.Row = s.tx.commit, s.seen, s.tx.info, s.tx.rows
	s.tx.ordinal++
	if meta {
		s.meta.Number(e, r.table.Name.String())
	}
	return e
}

// rowKey returns the row's key tuple in scratch memory, nil if the table has no key.
func (s *stream) rowKey(r *relation, row change.Row, scratch int) ([]byte, error) {
	key, ok := change.AppendKey(s.key[scratch][:0], r.table, row)
	s.key[scratch] = key
	if !ok && len(r.table.Key) > 0 {
		return nil, fault.Permanentf("KEY_ABSENT", "run SET GLOBAL binlog_row_image = 'FULL', have sessions set it no lower, and reset the "+
			"connector's offsets to take a new snapshot", "a change of %s in %s at %d does not have all columns of the key", r.table.Name, s.file, s.at)
	}
	if !ok {
		return nil, nil
	}
	return key, nil
}
