package postgres

import (
	"errors"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/postgres/pgoutput"
)

// messages is what the events of logical messages have for a table: the database, the topic, and as the only column the content.
func messages(s *settings, origin *change.Origin) *change.Table {
	return &change.Table{Name: change.TableName{Database: s.Database}, Origin: origin, Version: 1, Topic: source.TopicName(s.Prefix + ".message"),
		Columns: []change.Column{{Name: "content", Type: change.Type{Kind: change.Bytes, Name: "bytea", Render: source.BinaryRender(s.BinaryMode)}}}}
}

// message makes the event of a logical message of the open transaction.
func (s *stream) message(b *change.Batch, m *pgoutput.Logical) {
	if !s.src.settings.capturesMessage(string(m.Prefix)) {
		s.ordinal++
		return
	}
	t := s.src.messages
	e := s.event(b, t, t.Topic, change.OpMessage, m.LSN)
	e.Raw = &change.Raw{Key: b.Copy(m.Prefix), Value: b.Copy(m.Content), Form: change.FormMessage}
}

// loose makes the event of a message that belongs to no transaction. The server sends it as soon as it has decoded it, so its place is
// between transactions: the position moves to its end, and a resume from there does not bring it again. One that an earlier run had
// before the first changes of a transaction is not later than the position either.
func (s *stream) loose(b *change.Batch, m *pgoutput.Logical) error {
	if s.inTx {
		return errors.New("a message that belongs to no transaction inside of one")
	}
	if m.LSN <= s.pos.LSN {
		return nil
	}
	if s.pos.Ordinal == 0 {
		s.pos.LSN = m.LSN
	}
	if !s.src.settings.capturesMessage(string(m.Prefix)) {
		return nil
	}
	e := b.Add()
	t := s.src.messages
	e.Table, e.Op, e.Topic = t, change.OpMessage, t.Topic
	e.LSN, e.PrevLSN, e.Commit, e.Seen = m.LSN, s.pos.LSNCommit, s.seen, s.seen
	e.Raw = &change.Raw{Key: b.Copy(m.Prefix), Value: b.Copy(m.Content), Form: change.FormMessage}
	return nil
}
