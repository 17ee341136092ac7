package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

var (
	_ snapshot.Fetcher   = (*Source)(nil)
	_ snapshot.Estimator = (*Source)(nil)
	_ snapshot.Selector  = (*Source)(nil)
	_ snapshot.Namer     = (*Source)(nil)
)

// A scanTable is what Scan needs to read a table that Tables has returned.
type scanTable struct {
	relation      *relation
	uniques       [][]string // columns of unique indexes that are never NULL
	signature     string
	rows          int64 // about
	transactional bool
}

// Tables implements snapshot.Scanner: the captured tables, by name.
func (s *Source) Tables(ctx context.Context) ([]*change.Table, error) {
	var tables []*change.Table
	scans := map[*change.Table]*scanTable{}
	err := s.scan.do(ctx, func(c *conn) error {
		found, err := discover(c, s.settings)
		if err != nil {
			return err
		}
		for _, t := range found {
			st, err := s.scanTable(c, t)
			if err != nil {
				return fmt.Errorf("structure of %s: %w", t, err)
			}
			if st != nil {
				scans[st.relation.table] = st
				tables = append(tables, st.relation.table)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.scansMu.Lock()
	defer s.scansMu.Unlock()
	s.scans = scans
	return tables, nil
}

func (s *Source) scanTable(c *conn, t candidate) (*scanTable, error) {
	d, err := describe(c, s.flavor, t.database, t.table)
	if err != nil || d == nil {
		return nil, err
	}
	r, err := s.newRelation(tableRef{t.database, t.table}, d.columns, nil, d)
	if err != nil {
		return nil, err
	}
	s.tables.publish(r)
	return &scanTable{relation: r, uniques: d.uniques, signature: d.signature, rows: t.rows, transactional: strings.EqualFold(t.engine, "InnoDB")}, nil
}

func (s *Source) lookup(t *change.Table) *scanTable {
	s.scansMu.Lock()
	defer s.scansMu.Unlock()
	return s.scans[t]
}

// Topic implements snapshot.Namer.
func (s *Source) Topic(t *change.Table) string { return t.Topic }

// Scan implements snapshot.Scanner. A chunk is read in one transaction under a consistent snapshot; the order of keys is the
// database's own. A table without a key that chunks can be made of is read whole, in no order, by one statement.
func (s *Source) Scan(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	return s.ScanSelected(ctx, t, snapshot.Selection{}, after, limit, b)
}

// ScanSelected implements snapshot.Selector.
func (s *Source) ScanSelected(ctx context.Context, t *change.Table, sel snapshot.Selection, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	st := s.lookup(t)
	if st == nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	by, err := st.orderedBy(sel.Surrogate)
	if err != nil {
		return nil, err
	}
	sql, columns, err := st.query(sel, by, after, limit)
	if err != nil {
		return nil, err
	}
	var w *window
	err = s.scan.do(ctx, func(c *conn) error {
		var err error
		w, err = s.readChunk(ctx, c, st, sql, columns, b)
		return err
	})
	switch {
	case changed(err):
		return nil, fmt.Errorf("table %s: %w: %w", t.Name, snapshot.ErrChanged, err)
	case err != nil && refusal(err) && sel != (snapshot.Selection{}):
		return nil, fmt.Errorf("table %s: %w: %w", t.Name, snapshot.ErrTable, err)
	case err != nil:
		return nil, fmt.Errorf("read chunk of %s: %w", t.Name, err)
	}
	if sel.Surrogate == "" {
		return w, nil
	}
	if n := len(b.Events); n > 0 {
		after, _ = change.AppendKey(nil, by.table, b.Events[n-1].After)
	}
	return surrogateWindow{w, after}, nil
}

// surrogateWindow is the window of a chunk in the order of a surrogate key, which is no key of events.
type surrogateWindow struct {
	*window
	cursor []byte // the surrogate key of the last row, as a key tuple
}

var _ snapshot.Cursored = surrogateWindow{}

// Cursor implements snapshot.Cursored.
func (w surrogateWindow) Cursor() []byte { return w.cursor }

// orderedBy returns the relation with the columns of a surrogate key as its key. Rows are only sure to be read once each if these are the
// columns of a unique index and never NULL. An empty list means the relation's own key.
func (st *scanTable) orderedBy(list string) (*relation, error) {
	if list == "" {
		return st.relation, nil
	}
	table := *st.relation.table
	table.Key = nil
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	if !slices.ContainsFunc(st.uniques, func(u []string) bool { return source.SameColumns(u, names) }) {
		return nil, fmt.Errorf("table %s: surrogate-key %q is not the columns of a unique index that are all NOT NULL: %w", table.Name, list, snapshot.ErrTable)
	}
	for _, name := range names {
		i := table.Column(name)
		if i < 0 {
			return nil, fmt.Errorf("table %s: column %q of surrogate-key is not captured: %w", table.Name, name, snapshot.ErrTable)
		}
		table.Key = append(table.Key, i)
	}
	r := *st.relation
	r.table, r.unique = &table, true
	return &r, nil
}

// query makes the SELECT for the rows after a key, in the order of the key of by.
func (st *scanTable) query(sel snapshot.Selection, by *relation, after []byte, limit int) (string, []binlog.Column, error) {
	r := st.relation
	list, columns := r.selectList()
	sql := "SELECT " + list + " FROM "
	if sel.Statement != "" {
		sql += "(" + sel.Statement + ") AS selected"
	} else {
		sql += r.from()
	}
	var where []string
	if sel.Filter != "" {
		where = append(where, "("+sel.Filter+")")
	}
	order := by.keyOrder()
	if after != nil && order != "" {
		cond, err := by.keyAfter(after)
		if err != nil {
			return "", nil, fmt.Errorf("%w: %w", snapshot.ErrCursor, err)
		}
		where = append(where, "("+cond+")")
	}
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if order != "" {
		sql += " ORDER BY " + order + " LIMIT " + strconv.Itoa(limit)
	}
	return sql, columns, nil
}

// readChunk reads rows under a snapshot. The transaction keeps the table's structure as it is once rows were read, so it is
// compared after that.
func (s *Source) readChunk(ctx context.Context, c *conn, st *scanTable, sql string, columns []binlog.Column, b *change.Batch) (*window, error) {
	w, at, err := s.beginSnapshot(ctx, c, len(st.relation.table.Key) == 0)
	if err == nil {
		err = s.readRows(c, st.relation, at, sql, columns, b)
	}
	if err == nil {
		err = s.sameStructure(c, st)
	}
	if err == nil && (s.flavor != mariadb || !st.transactional) {
		var end status
		if end, err = readStatus(c); err == nil {
			w.high, w.gtids = coordinateOf(end.file, end.pos), ""
		}
	}
	if err != nil && !refusal(err) && !errors.Is(err, snapshot.ErrChanged) && !fault.IsPermanent(err) {
		return nil, err // the connection is gone
	}
	_, ended := c.Execute("COMMIT")
	return w, errors.Join(err, ended)
}

func (s *Source) sameStructure(c *conn, st *scanTable) error {
	name := st.relation.table.Name
	d, err := describe(c, s.flavor, name.Database, name.Table)
	if err == nil && (d == nil || d.signature != st.signature) {
		return snapshot.ErrChanged
	}
	return err
}

// settled is how long after it was written a transaction is taken for visible on a server without GTIDs: between lie a
// sync of the binary log and the engine's commit.
const settled = time.Second

// quietTries bounds how often a snapshot is begun anew to find a moment in which nothing was committed.
const quietTries = 200

// beginSnapshot begins a transaction under a consistent snapshot, without a lock, and returns about where in the log it is.
// exact asks for one of which it is known exactly what it has seen.
func (s *Source) beginSnapshot(ctx context.Context, c *conn, exact bool) (*window, status, error) {
	id, err := identify(c, s.flavor)
	if err != nil {
		return nil, status{}, err
	}
	if server := s.server.Load(); server != nil && *server != id.name {
		return nil, status{}, fmt.Errorf("rows would be read from server %s, and changes come from %s", id.name, *server)
	}
	if s.flavor == mariadb {
		return s.beginMariaSnapshot(ctx, c, exact)
	}
	w := &window{numbers: &s.numbers}
	for try := 0; ; try++ {
		before, err := readStatus(c)
		if err != nil {
			return nil, before, err
		}
		if id.gtid {
			w.executed, err = parseMySQLSet(before.gtids)
		} else {
			w.low, err = s.settle(ctx, c, before)
		}
		if err == nil {
			_, err = c.Execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
		}
		if err != nil {
			return nil, before, err
		}
		after, err := readStatus(c)
		if err != nil || !exact || after == before {
			return w, before, err
		}
		if err := awaitQuiet(ctx, try); err != nil {
			return nil, before, err
		}
	}
}

// settle waits until all that is before the log's end is visible.
func (s *Source) settle(ctx context.Context, c *conn, end status) (coordinate, error) {
	return coordinateOf(end.file, end.pos), pause(ctx, settled)
}

func (s *Source) beginMariaSnapshot(ctx context.Context, c *conn, exact bool) (*window, status, error) {
	for try := 0; ; try++ {
		doubts, err := askDoubts(c, s.setup.Now())
		if err != nil {
			return nil, status{}, err
		}
		if _, err := c.Execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
			return nil, status{}, err
		}
		first, last, err := snapshotPosition(c)
		if err != nil {
			return nil, first, err
		}
		if !exact || first == last {
			set, err := gtidsNow(c)
			if err != nil {
				return nil, first, err
			}
			return &window{numbers: &s.numbers, branches: &s.branches, doubts: doubts, low: first.coordinate(), high: last.coordinate(), unsure: last.coordinate(),
				gtids: string(set.appendText(nil))}, first, nil
		}
		if err := awaitQuiet(ctx, try); err != nil {
			return nil, first, err
		}
	}
}

// awaitQuiet pauses before a snapshot is begun anew, since it was not known exactly what the last one had seen.
func awaitQuiet(ctx context.Context, try int) error {
	if try >= quietTries {
		return errors.New("the server was never quiet enough for an exact snapshot, which a table without a key needs")
	}
	return pause(ctx, time.Duration(try)*time.Millisecond)
}

// readRows runs a SELECT of the relation's columns and adds its rows as events to b.
func (s *Source) readRows(c *conn, r *relation, at status, sql string, columns []binlog.Column, b *change.Batch) error {
	now, info := s.setup.Now().UnixMicro(), &change.Binlog{File: at.file}
	res, err := binlog.NewResult(&s.charsets, columns)
	if err != nil {
		return err
	}
	var key []byte
	from := len(b.Events)
	err = c.query(sql, func(values [][]byte) error {
		row, err := r.result(res, values, b)
		if err != nil {
			return err
		}
		e := b.Add()
		e.Table, e.Op, e.After, e.Topic, e.Commit, e.Seen, e.Binlog, e.LSN = r.table, change.OpRead, row, r.topic, now, now, info, at.pos
		var ok bool
		if key, ok = change.AppendKey(key[:0], r.table, row); ok {
			e.Key = b.Copy(key)
		}
		return nil
	})
	s.settings.shaper().Apply(b, from)
	return err
}

// result decodes a row of a SELECT of the captured columns.
func (r *relation) result(res *binlog.Result, values [][]byte, b *change.Batch) (change.Row, error) {
	row := b.Row(len(r.table.Columns))
	if len(values) != len(row) {
		return nil, fmt.Errorf("a result of %s has %d columns instead of %d", r.table.Name, len(values), len(row))
	}
	for i, v := range values {
		if v == nil {
			row[i].Kind = change.Null
		} else if err := res.Value(i, v, b, &row[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", r.table.Name, err)
		}
	}
	return row, nil
}

// changed reports whether err means that a table or column is no longer there, or not as the snapshot has it.
func changed(err error) bool {
	if errors.Is(err, snapshot.ErrChanged) {
		return true
	}
	var e *mysql.MyError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case mysql.ER_NO_SUCH_TABLE, mysql.ER_BAD_FIELD_ERROR, mysql.ER_BAD_DB_ERROR, mysql.ER_TABLE_DEF_CHANGED:
		return true
	}
	return false
}

// Fetch implements snapshot.Fetcher.
func (s *Source) Fetch(ctx context.Context, t *change.Table, keys [][]byte, b *change.Batch) (rows []change.Row, seen snapshot.Window, err error) {
	r := s.tables.relation(t)
	if r == nil || !r.unique {
		return nil, nil, nil
	}
	list, columns := r.selectList()
	err = s.control.do(ctx, func(c *conn) error {
		w, _, err := s.beginSnapshot(ctx, c, false)
		if err != nil {
			return err
		}
		rows, err = r.fetch(c, list, columns, keys, b)
		seen = w
		if err != nil && !refusal(err) {
			return err
		}
		_, ended := c.Execute("COMMIT")
		return errors.Join(err, ended)
	})
	if changed(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	shaper := s.settings.shaper()
	for _, row := range rows {
		shaper.Mask(b, r.table, row)
	}
	return rows, seen, nil
}

// fetch reads the rows with these keys, nil where there is none.
func (r *relation) fetch(c *conn, list string, columns []binlog.Column, keys [][]byte, b *change.Batch) ([]change.Row, error) {
	res, err := binlog.NewResult(new(binlog.Charsets), columns)
	if err != nil {
		return nil, err
	}
	rows := make([]change.Row, len(keys))
	for i, key := range keys {
		where, err := r.keyEquals(key)
		if err != nil {
			return nil, err
		}
		err = c.query("SELECT "+list+" FROM "+r.from()+" WHERE "+where+" LIMIT 1", func(values [][]byte) (err error) {
			rows[i], err = r.result(res, values, b)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Estimate implements snapshot.Estimator by the engine's statistics.
func (s *Source) Estimate(_ context.Context, t *change.Table) (int64, error) {
	st := s.lookup(t)
	if st == nil {
		return -1, nil
	}
	return st.rows, nil
}
