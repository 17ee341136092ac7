package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/internal/compare"
)

// A chronicle holds the log against the rows of the table journal that the log itself has: each tells what its transaction did. A
// transaction is known by what its events say of it. The journal is read first.
type chronicle struct {
	verdict
	complain func(format string, args ...any)
	// identify tells the transaction of an event by its source block, and its number if the log numbers transactions in the order of
	// their commits; otherwise that order is the one of the journal.
	identify func(source []byte) (id string, number int64, err error)

	// copied tells tables whose changes are left out until they are copied, because their rows have no key. They are not judged.
	copied       func(table string) bool
	transactions map[string]*chronicled
	rows         map[string]int // client and seq -> how often its journal row is in the log
	seqs         map[string]int64
	alone        map[string]int // table -> truncates that are no part of a transaction
}

type chronicled struct {
	number  int64 // its place among the commits
	journal int
	by      string      // client and seq
	ops     [][3]string // that the journal has: table, op, key
	seen    [][3]string // table by table
}

func newChronicle(out io.Writer, identify func(source []byte) (string, int64, error)) *chronicle {
	h := &chronicle{identify: identify, copied: func(string) bool { return false }, transactions: map[string]*chronicled{}, rows: map[string]int{}, seqs: map[string]int64{}, alone: map[string]int{}}
	told := 0
	h.complain = func(format string, args ...any) {
		if told++; told <= maxComplaints {
			fmt.Fprintf(out, "  "+format+"\n", args...)
		}
	}
	return h
}

// byGTID identifies transactions of a server whose GTIDs are numbered; an event without one belongs to none.
func byGTID(source []byte) (gtid string, number int64, err error) {
	if gtid, err = compare.Member(source, "gtid"); err != nil || gtid == "" {
		return "", 0, err
	}
	if number, err = strconv.ParseInt(gtid[strings.LastIndexAny(gtid, "-:")+1:], 10, 64); err != nil {
		return "", 0, fmt.Errorf("GTID %q: %w", gtid, err)
	}
	return gtid, number, nil
}

// read takes the records of a table.
func (h *chronicle) read(t *compare.Table, in io.Reader) error {
	last := int64(0)
	fold := compare.NewFold(t)
	var deleted []byte // the key whose tombstone must come next
	err := compare.Records(in, func(r *compare.Record) error {
		if (deleted != nil) != (r.Value == nil) || deleted != nil && !bytes.Equal(deleted, r.Key) {
			h.lost++
			h.complain("%s offset %d: a delete without a tombstone, or a tombstone without a delete", t, r.Offset)
		}
		if deleted = nil; r.Value == nil {
			return nil
		}
		e, err := compare.ParseEvent(r.Value)
		if err != nil {
			return err
		}
		if e.Op == "d" {
			deleted = bytes.Clone(r.Key)
		}
		key, err := fold.Key(r)
		if err != nil {
			return err
		}
		if e.Op == "r" {
			if t.Name == "journal" {
				h.rows[key]++
			}
			return nil
		}
		id, number, err := h.identify(e.Source)
		if err != nil {
			return err
		}
		if id == "" && e.Op == "t" {
			return nil // a table without a key is being copied again
		}
		c := h.of(id)
		if t.Name == "journal" {
			if err := h.journalRow(c, &e, key); err != nil {
				return err
			}
		}
		if number > 0 {
			c.number = number
		}
		if c.number < last {
			h.misordered++
			h.complain("%s offset %d: transaction %s, the commit number %d, after number %d", t, r.Offset, id, c.number, last)
		}
		last = c.number
		if t.Name != "journal" && !h.copied(t.Name) {
			return h.row(t, r, c, &e, key)
		}
		return nil
	})
	if err == nil && deleted != nil {
		h.lost++
		h.complain("%s: the last delete has no tombstone", t)
	}
	return err
}

func (h *chronicle) of(id string) *chronicled {
	if h.transactions[id] == nil {
		h.transactions[id] = &chronicled{}
	}
	return h.transactions[id]
}

// place returns the place among the commits of the transaction by that client and number, -1 if the log does not have it.
func (h *chronicle) place(by string) int64 {
	for _, c := range h.transactions {
		if c.by == by {
			return c.number
		}
	}
	return -1
}

// row takes a change of a row, or of all rows.
func (h *chronicle) row(t *compare.Table, r *compare.Record, c *chronicled, e *compare.Event, key string) error {
	if e.Op == "t" && c.journal == 0 {
		h.alone[t.Name]++
		return nil
	}
	c.seen = append(c.seen, [3]string{t.Name, e.Op, key})
	if e.After == nil {
		return nil
	}
	stamp, err := compare.Member(e.After, stampColumn)
	if err != nil {
		return err
	}
	if stamp != "" && c.journal > 0 && !strings.HasPrefix(stamp, c.by+"-") {
		h.misordered++
		h.complain("%s offset %d: a row of transaction %s is in that of %s", t, r.Offset, stamp, c.by)
	}
	return nil
}

func (h *chronicle) journalRow(c *chronicled, e *compare.Event, key string) error {
	h.rows[key]++
	c.journal++
	client, number, _ := strings.Cut(key, "\t")
	c.by = client + "-" + number
	ops, err := compare.Member(e.After, "ops")
	if err != nil {
		return err
	}
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return err
	}
	last, known := h.seqs[client]
	switch {
	case known && seq <= last:
		h.misordered++
		h.complain("journal: client %s's number %d after %d", client, seq, last)
	case known && seq > last+1:
		h.lost++
		h.complain("journal: client %s's number %d after %d", client, seq, last)
	}
	h.seqs[client] = seq
	c.number = int64(len(h.rows))
	return json.Unmarshal([]byte(ops), &c.ops)
}

// proves complains if the log holds no transaction at all: then nothing is proved.
func (h *chronicle) proves() {
	if len(h.transactions) == 0 {
		h.lost++
		h.complain("the log holds no transaction: the campaign proves nothing")
	}
}

// close compares what was committed with what was seen, when all tables have been read; commits are client and seq of the source's
// journal. A journal row may be there twice only where the copy gave it, too.
func (h *chronicle) close(commits []string) {
	for _, key := range commits {
		if h.rows[key] == 0 {
			h.lost++
			h.complain("journal: transaction %q is lost", key)
		}
		delete(h.rows, key)
	}
	for key := range h.rows {
		h.doubled++
		h.complain("journal: transaction %q never committed", key)
	}
	for id, t := range h.transactions {
		t.ops = slices.DeleteFunc(t.ops, func(op [3]string) bool { return h.copied(op[0]) })
		byTable := func(a, b [3]string) int { return strings.Compare(a[0], b[0]) }
		slices.SortStableFunc(t.ops, byTable)
		slices.SortStableFunc(t.seen, byTable)
		switch {
		case t.journal > 1:
			h.doubled++
			h.complain("transaction %s is there %d times", id, t.journal)
		case t.journal == 0 && len(t.seen) > 0:
			h.doubled++
			h.complain("transaction %s has %d changes and no journal", id, len(t.seen))
		case len(t.seen) < len(t.ops):
			h.lost += len(t.ops) - len(t.seen)
			h.complain("transaction %s has %v, the journal %v", id, t.seen, t.ops)
		case len(t.seen) > len(t.ops):
			h.doubled += len(t.seen) - len(t.ops)
			h.complain("transaction %s has %v, the journal %v", id, t.seen, t.ops)
		case !slices.Equal(t.ops, t.seen):
			h.misordered++
			h.complain("transaction %s has %v, the journal %v", id, t.seen, t.ops)
		}
	}
}
