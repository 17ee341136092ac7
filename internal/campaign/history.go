package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/compare"
)

// A transaction is one that committed in the source, as the table journal tells it, and what the log shows of it.
type transaction struct {
	client    int
	seq       int64
	committed time.Time
	ops       map[string][]op // by table, in order
	seen      map[string][]op // events of the log, by table, in order
	streamed  int             // times that its journal row is in the log as a change
	copied    bool            // its journal row is in the log as a row of the snapshot
	place     int             // of its commit among those of the log
}

// history holds the log of one life against the journal.
type history struct {
	verdict
	byXid    map[int64]*transaction
	complain func(format string, args ...any)

	// of the table being read
	table   *compare.Table
	fold    *compare.Fold
	last    map[string]int64 // key -> ver of its newest change
	place   int              // of the newest transaction
	deleted string           // key whose tombstone must come next
	offset  int64            // of the newest record
}

// maxComplaints bounds what is told of one life.
const maxComplaints = 20

// newHistory reads the journal of a source.
func newHistory(ctx context.Context, url string, out io.Writer) (*history, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	h := &history{byXid: map[int64]*transaction{}}
	told := 0
	h.complain = func(format string, args ...any) {
		if told++; told <= maxComplaints {
			fmt.Fprintf(out, "  "+format+"\n", args...)
		}
	}
	rows, err := conn.Query(ctx, `SELECT client, seq, xid, ops::text, pg_xact_commit_timestamp(xid::text::xid) FROM journal`)
	if err != nil {
		return nil, err
	}
	var xid int64
	var text string
	var t transaction
	_, err = pgx.ForEachRow(rows, []any{&t.client, &t.seq, &xid, &text, &t.committed}, func() error {
		var ops []op
		if err := json.Unmarshal([]byte(text), &ops); err != nil {
			return err
		}
		n := t
		n.ops, n.seen, n.place = map[string][]op{}, map[string][]op{}, -1
		for _, o := range ops {
			n.ops[o.Table] = append(n.ops[o.Table], o)
		}
		h.byXid[xid&0xffffffff] = &n
		return nil
	})
	return h, err
}

// read takes the records of one table; tables must begin with journal, whose order is the order of the commits.
func (h *history) read(t *compare.Table, in io.Reader) error {
	h.table, h.fold, h.last, h.place, h.deleted, h.offset = t, compare.NewFold(t), map[string]int64{}, -1, "", -1
	seqs := map[string]int64{}
	commits := 0
	err := compare.Records(in, func(r *compare.Record) error {
		if r.Offset <= h.offset {
			h.misordered++
			h.complain("%s: offset %d after %d", t, r.Offset, h.offset)
		}
		h.offset = r.Offset
		if t.Name == "journal" {
			return h.journalRow(r, seqs, &commits)
		}
		return h.record(r)
	})
	if err == nil && h.deleted != "" {
		h.lost++
		h.complain("%s: no tombstone of %s", t, h.deleted)
	}
	return err
}

// event parses a record's event and the transaction it says it is of, which is nil for one that never committed.
func (h *history) event(r *compare.Record) (e compare.Event, xid int64, t *transaction, err error) {
	if e, err = compare.ParseEvent(r.Value); err != nil {
		return e, 0, nil, err
	}
	text, err := compare.Member(e.Source, "txId")
	if err != nil || text == "" {
		return e, 0, nil, err
	}
	xid, err = strconv.ParseInt(text, 10, 64)
	return e, xid, h.byXid[xid&0xffffffff], err
}

// journalRow takes a record of the journal.
func (h *history) journalRow(r *compare.Record, seqs map[string]int64, commits *int) error {
	e, xid, t, err := h.event(r)
	if err != nil {
		return err
	}
	client, err := compare.Member(e.After, "client")
	if err != nil {
		return err
	}
	text, err := compare.Member(e.After, "seq")
	if err != nil {
		return err
	}
	if e.Op == "r" {
		number, err := compare.Member(e.After, "xid")
		if err != nil {
			return err
		}
		if xid, err = strconv.ParseInt(number, 10, 64); err != nil {
			return err
		}
		t = h.byXid[xid&0xffffffff]
	}
	if t == nil || fmt.Sprint(t.client) != client || fmt.Sprint(t.seq) != text {
		h.doubled++
		h.complain("journal: transaction %d of client %s, number %s, never committed", xid, client, text)
		return nil
	}
	if e.Op == "r" {
		t.copied = true
		return nil
	}
	*commits++
	t.streamed, t.place = t.streamed+1, *commits
	if t.seq <= seqs[client] {
		h.misordered++
		h.complain("journal: client %s's number %d after %d", client, t.seq, seqs[client])
	}
	seqs[client] = t.seq
	return nil
}

// record takes a record of any other table.
func (h *history) record(r *compare.Record) error {
	key, err := h.key(r)
	if err != nil {
		return err
	}
	if r.Value == nil {
		if h.deleted != key {
			h.doubled++
			h.complain("%s offset %d: a tombstone of %s that follows no delete", h.table, r.Offset, key)
		}
		h.deleted = ""
		return nil
	}
	if h.deleted != "" {
		h.lost++
		h.complain("%s offset %d: no tombstone of %s", h.table, r.Offset, h.deleted)
		h.deleted = ""
	}
	e, xid, t, err := h.event(r)
	if err != nil {
		return err
	}
	o := op{Table: h.table.Name, Op: e.Op, Key: key}
	if e.After != nil {
		text, err := compare.Member(e.After, "ver")
		if err != nil {
			return err
		}
		if o.Ver, err = strconv.ParseInt(text, 10, 64); err != nil {
			return err
		}
	}
	if e.Op == "d" {
		h.deleted = key
	}
	if e.Op == "r" {
		if o.Ver < h.last[key] {
			h.misordered++
			h.complain("%s offset %d: the snapshot's row %s has ver %d, but %d was seen before", h.table, r.Offset, key, o.Ver, h.last[key])
		}
		h.last[key] = max(h.last[key], o.Ver)
		return nil
	}
	if t == nil {
		h.doubled++
		h.complain("%s offset %d: %s of %s by transaction %d, which never committed", h.table, r.Offset, e.Op, key, xid)
		return nil
	}
	h.ordered(r, t, &o)
	return nil
}

// key returns the canonical key of a record.
func (h *history) key(r *compare.Record) (string, error) {
	parts := make([]string, len(h.table.Key))
	for i, k := range h.table.Key {
		var err error
		if parts[i], err = compare.Member(r.Key, h.table.Columns[k].Name); err != nil {
			return "", err
		}
	}
	return strings.Join(parts, "\t"), nil
}

// ordered judges a change's place after what came before it.
func (h *history) ordered(r *compare.Record, t *transaction, o *op) {
	if o.Op == "d" { // its ver is known to the journal only
		taken := 0
		for _, s := range t.seen[o.Table] {
			if s.Op == "d" && s.Key == o.Key {
				taken++
			}
		}
		for _, want := range t.ops[o.Table] {
			if want.Op == "d" && want.Key == o.Key {
				if taken == 0 {
					o.Ver = want.Ver
					break
				}
				taken--
			}
		}
	}
	t.seen[o.Table] = append(t.seen[o.Table], *o)
	if o.Ver <= h.last[o.Key] {
		h.misordered++
		h.complain("%s offset %d: %s of %s has ver %d after %d", h.table, r.Offset, o.Op, o.Key, o.Ver, h.last[o.Key])
	}
	h.last[o.Key] = max(h.last[o.Key], o.Ver)
	if t.place < h.place {
		h.misordered++
		h.complain("%s offset %d: commit %d after commit %d", h.table, r.Offset, t.place, h.place)
	}
	h.place = t.place
}

// slack is by how much the time of a commit may be off its place in the WAL.
const slack = 2 * time.Second

// close compares what was committed with what was seen, when all tables have been read.
func (h *history) close() error {
	first := time.Time{} // the earliest commit that the log has as a change
	for _, t := range h.byXid {
		if t.streamed > 0 && (first.IsZero() || t.committed.Before(first)) {
			first = t.committed
		}
	}
	if first.IsZero() {
		return errors.New("the log holds no transaction: the campaign proves nothing")
	}
	for xid, t := range h.byXid {
		switch {
		case t.streamed > 1:
			h.doubled += t.streamed - 1
			h.complain("journal: transaction %d is there %d times", xid, t.streamed)
		case t.streamed == 0 && (!t.copied || t.committed.After(first.Add(slack))):
			h.lost++
			h.complain("journal: transaction %d of client %d, number %d, is lost", xid, t.client, t.seq)
			continue
		case t.streamed == 0: // it committed before the slot was made: only its effect was copied
			for table, seen := range t.seen {
				h.doubled += len(seen)
				h.complain("%s: transaction %d has %d changes but no journal", table, xid, len(seen))
			}
			continue
		}
		for _, table := range []string{"account", "item", "doc"} {
			h.judge(xid, table, t.ops[table], t.seen[table])
		}
	}
	return nil
}

// judge compares the operations of one transaction on one table with its events.
func (h *history) judge(xid int64, table string, want, seen []op) {
	if slices.Equal(want, seen) {
		return
	}
	count := map[op]int{}
	for _, o := range want {
		count[o]++
	}
	for _, o := range seen {
		count[o]--
	}
	lost, doubled := 0, 0
	for o, n := range count {
		if n > 0 {
			lost += n
			h.complain("%s: transaction %d lost %s of %s, ver %d", table, xid, o.Op, o.Key, o.Ver)
		}
		if n < 0 {
			doubled -= n
			h.complain("%s: transaction %d has %s of %s, ver %d, once too often", table, xid, o.Op, o.Key, o.Ver)
		}
	}
	if lost+doubled == 0 {
		h.misordered++
		h.complain("%s: the %d events of transaction %d are not in order", table, len(want), xid)
	}
	h.lost += lost
	h.doubled += doubled
}
