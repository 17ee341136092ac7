package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"

	"github.com/tailrace/tailrace/internal/compare"
)

// oltpHistory holds the log of a life against the journal. A transaction is known by its GTID.
type oltpHistory struct {
	verdict
	complain func(format string, args ...any)
	byGTID   map[string]*oltpTransaction
	rows     map[string]int // client and seq -> how often its journal row is in the log
	seqs     map[string]int64
}

type oltpTransaction struct {
	journal int
	ops     [][3]string // that the journal has
	seen    [][3]string // table by table
}

func newOLTPHistory(out io.Writer) *oltpHistory {
	h := &oltpHistory{byGTID: map[string]*oltpTransaction{}, rows: map[string]int{}, seqs: map[string]int64{}}
	told := 0
	h.complain = func(format string, args ...any) {
		if told++; told <= maxComplaints {
			fmt.Fprintf(out, "  "+format+"\n", args...)
		}
	}
	return h
}

// read takes the records of a table.
func (h *oltpHistory) read(t *compare.Table, in io.Reader) error {
	last := int64(0)
	return compare.Records(in, func(r *compare.Record) error {
		if r.Value == nil {
			return nil
		}
		e, err := compare.ParseEvent(r.Value)
		if err != nil {
			return err
		}
		key := make([]string, len(t.Key))
		for i, k := range t.Key {
			if key[i], err = compare.Member(r.Key, t.Columns[k].Name); err != nil {
				return err
			}
		}
		gtid := ""
		if e.Op != "r" {
			if gtid, err = compare.Member(e.Source, "gtid"); err != nil {
				return err
			}
			n, err := strconv.ParseInt(gtid[strings.LastIndexAny(gtid, "-:")+1:], 10, 64)
			if err != nil {
				return fmt.Errorf("GTID %q: %w", gtid, err)
			}
			if n < last {
				h.misordered++
				h.complain("%s offset %d: transaction %s after number %d", t, r.Offset, gtid, last)
			}
			last = n
		}
		if t.Name == "journal" {
			return h.journalRow(&e, key, gtid)
		}
		if e.Op != "r" {
			h.of(gtid).seen = append(h.of(gtid).seen, [3]string{t.Name, e.Op, key[0]})
		}
		return nil
	})
}

func (h *oltpHistory) of(gtid string) *oltpTransaction {
	if h.byGTID[gtid] == nil {
		h.byGTID[gtid] = &oltpTransaction{}
	}
	return h.byGTID[gtid]
}

func (h *oltpHistory) journalRow(e *compare.Event, key []string, gtid string) error {
	h.rows[strings.Join(key, "\t")]++
	if e.Op == "r" {
		return nil
	}
	t := h.of(gtid)
	t.journal++
	ops, err := compare.Member(e.After, "ops")
	if err != nil {
		return err
	}
	seq, err := strconv.ParseInt(key[1], 10, 64)
	if err != nil {
		return err
	}
	if seq <= h.seqs[key[0]] {
		h.misordered++
		h.complain("journal: client %s's number %d after %d", key[0], seq, h.seqs[key[0]])
	}
	h.seqs[key[0]] = seq
	return json.Unmarshal([]byte(ops), &t.ops)
}

// close compares what was committed with what was seen, when all tables have been read. A journal row may be there twice only where the
// copy gave it, too.
func (h *oltpHistory) close(conn *mysqlclient.Conn) error {
	r, err := conn.Execute("SELECT concat(client, '\t', seq) FROM journal")
	if err != nil {
		return err
	}
	for i := range r.RowNumber() {
		key, err := r.GetString(i, 0)
		if err != nil {
			return err
		}
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
	for gtid, t := range h.byGTID {
		byTable := func(a, b [3]string) int { return strings.Compare(a[0], b[0]) }
		slices.SortStableFunc(t.ops, byTable)
		slices.SortStableFunc(t.seen, byTable)
		switch {
		case t.journal > 1:
			h.doubled++
			h.complain("transaction %s is there %d times", gtid, t.journal)
		case t.journal == 0:
			h.doubled++
			h.complain("transaction %s has %d changes and no journal", gtid, len(t.seen))
		case len(t.seen) < len(t.ops):
			h.lost += len(t.ops) - len(t.seen)
			h.complain("transaction %s has %v, the journal %v", gtid, t.seen, t.ops)
		case len(t.seen) > len(t.ops):
			h.doubled += len(t.seen) - len(t.ops)
			h.complain("transaction %s has %v, the journal %v", gtid, t.seen, t.ops)
		case !slices.Equal(t.ops, t.seen):
			h.misordered++
			h.complain("transaction %s has %v, the journal %v", gtid, t.seen, t.ops)
		}
	}
	if len(h.byGTID) == 0 {
		h.lost++
		h.complain("the log holds no transaction: the campaign proves nothing")
	}
	return nil
}
