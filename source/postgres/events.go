package postgres

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source/postgres/pgoutput"
)

// maxVisibleWait bounds the pauses of complete, which double: about twice as long in all.
const maxVisibleWait = 5 * time.Second

// change turns the decoded insert, update, delete, truncate or message into events in b. With old, they were delivered before: they
// are counted, not completed.
func (s *stream) change(ctx context.Context, b *change.Batch, lsn uint64, old bool) error {
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
		return s.update(ctx, b, r, lsn, old)
	}
}

func (s *stream) update(ctx context.Context, b *change.Batch, r *relation, lsn uint64, old bool) error {
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
	// The key has changed: to those who keep rows by key that is one row less and another one more.
	if !old && !after.Complete() {
		if err := s.complete(ctx, b, r, after, key); err != nil {
			return err
		}
	}
	was := b.Copy(oldKey)
	e := s.event(b, r.table, r.topic, change.OpDelete, lsn)
	e.Before, e.Key, e.Headers = before, was, []change.Header{{Key: change.HeaderNewKey, Value: key}}
	e = s.event(b, r.table, r.topic, change.OpCreate, lsn)
	e.After, e.Key, e.Headers = after, key, []change.Header{{Key: change.HeaderOldKey, Value: was}}
	return nil
}

// complete fills the Absent columns of a row under a new key from the table as it is now: nobody downstream has a row
// of that key to take them from. A transaction is in the stream a moment before others see it, so the read is repeated
// until it does. When the row is gone by now, its next event says so and they stay Absent.
func (s *stream) complete(ctx context.Context, b *change.Batch, r *relation, after change.Row, key []byte) error {
	wait := time.Millisecond
	for {
		now, seen, err := s.src.fetch(ctx, r, key, b)
		if err != nil {
			return fmt.Errorf("complete a row of %s under its new key: %w", r.table.Name, err)
		}
		if seen != nil && !seen.sees(s.begin.XID) {
			if wait > maxVisibleWait {
				return fmt.Errorf("complete a row of %s under its new key: transaction %d is committed and still not visible", r.table.Name, s.begin.XID)
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
			wait *= 2
			continue
		}
		for i := range now {
			if after[i].Kind == change.Absent {
				after[i] = now[i]
			}
		}
		return nil
	}
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
