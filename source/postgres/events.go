package postgres

import (
	"bytes"
	"fmt"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source/postgres/pgoutput"
)

// change turns the decoded insert, update, delete, truncate or message into events in b.
func (s *stream) change(b *change.Batch, lsn uint64) error {
	switch s.msg.Kind {
	case pgoutput.KindTruncate:
		return s.truncate(b, lsn)
	case pgoutput.KindMessage:
		s.message(b, &s.msg.Logical)
		return nil
	}
	row := &s.msg.Row
	r := s.relations[row.Relation]
	if r == nil {
		return fmt.Errorf("a row of relation %d, which was not described", row.Relation)
	}
	if !r.captured {
		s.ordinal++
		return nil
	}
	switch s.msg.Kind {
	case pgoutput.KindInsert:
		after, err := r.row(b, row.New, false)
		if err != nil {
			return err
		}
		e := s.event(b, r.table, r.topic, change.OpCreate, lsn)
		e.After, e.Key = after, s.rowKey(b, r, after, 1)
		return nil
	case pgoutput.KindDelete:
		before, err := r.row(b, row.Old, row.OldKind == pgoutput.OldKey)
		if err != nil {
			return err
		}
		e := s.event(b, r.table, r.topic, change.OpDelete, lsn)
		e.Before, e.Key = before, s.rowKey(b, r, before, 0)
		return nil
	default:
		return s.update(b, r, lsn)
	}
}

func (s *stream) update(b *change.Batch, r *relation, lsn uint64) error {
	row := &s.msg.Row
	after, err := r.row(b, row.New, false)
	if err != nil {
		return err
	}
	key := s.rowKey(b, r, after, 1)
	if row.OldKind == pgoutput.NoOld {
		e := s.event(b, r.table, r.topic, change.OpUpdate, lsn)
		e.After, e.Key = after, key
		return nil
	}
	before, err := r.row(b, row.Old, row.OldKind == pgoutput.OldKey)
	if err != nil {
		return err
	}
	if row.OldKind == pgoutput.OldFull {
		for i := range after { // an unchanged TOAST value is only in the old image
			if after[i].Kind == change.Absent {
				after[i] = before[i]
			}
		}
	}
	oldKey, ok := change.AppendKey(s.key[0][:0], r.table, before)
	s.key[0] = oldKey
	if !ok || r.chosen || bytes.Equal(oldKey, key) {
		e := s.event(b, r.table, r.topic, change.OpUpdate, lsn)
		e.Before, e.After, e.Key = before, after, key
		return nil
	}
	// The key has changed: to those who keep rows by key that is one row less and another one more. Package snapshot reads what the
	// other one lacks.
	was := b.Copy(oldKey)
	e := s.event(b, r.table, r.topic, change.OpDelete, lsn)
	e.Before, e.Key, e.Headers = before, was, []change.Header{{Key: change.HeaderNewKey, Value: key}}
	e = s.event(b, r.table, r.topic, change.OpCreate, lsn)
	e.After, e.Key, e.Headers = after, key, []change.Header{{Key: change.HeaderOldKey, Value: was}}
	return nil
}

func (s *stream) truncate(b *change.Batch, lsn uint64) error {
	for _, oid := range s.msg.Truncate.Relations {
		r := s.relations[oid]
		if r == nil {
			return fmt.Errorf("a truncate of relation %d, which was not described", oid)
		}
		if !r.captured {
			s.ordinal++
			continue
		}
		s.event(b, r.table, r.topic, change.OpTruncate, lsn)
	}
	return nil
}

// event appends an event of the open transaction.
func (s *stream) event(b *change.Batch, t *change.Table, topic string, op change.Op, lsn uint64) *change.Event {
	if s.meta != nil && !s.meta.Begun() {
		s.meta.Begin(b, s.boundary())
	}
	e := b.Add()
	e.Table, e.Op, e.Topic = t, op, topic
	e.Txn, e.Ordinal, e.LSN, e.PrevLSN = uint64(s.begin.XID), s.ordinal, lsn, s.pos.LSNCommit
	e.Commit, e.Seen, e.Replica = s.commit, s.seen, s.replica
	s.ordinal++
	if s.meta != nil {
		collection := "message"
		if op != change.OpMessage {
			collection = t.Name.String()
		}
		s.meta.Number(e, collection)
	}
	return e
}

// rowKey returns the row's key tuple in b's memory, nil if the table has no key.
func (s *stream) rowKey(b *change.Batch, r *relation, row change.Row, scratch int) []byte {
	key, ok := change.AppendKey(s.key[scratch][:0], r.table, row)
	s.key[scratch] = key
	if !ok {
		return nil
	}
	return b.Copy(key)
}
