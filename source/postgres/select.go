package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

var (
	_ snapshot.Selector = (*Source)(nil)
	_ snapshot.Whole    = (*Source)(nil)
)

// from returns what a selection reads, for a FROM, and the conditions for its WHERE.
func (st *scanTable) from(sel snapshot.Selection) (from string, where []string) {
	from = st.relation.target
	if sel.Statement != "" {
		from = "(" + sel.Statement + ") AS " + ident(st.relation.shape.name)
	}
	if st.filter != "" {
		where = append(where, "("+st.filter+")")
	}
	if sel.Filter != "" {
		where = append(where, "("+sel.Filter+")")
	}
	return from, where
}

// ScanSelected implements snapshot.Selector. Names in statements and filters are looked up in pg_catalog alone, so all others
// need their schema.
func (s *Source) ScanSelected(ctx context.Context, t *change.Table, sel snapshot.Selection, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	st := s.lookup(t)
	if st == nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	r := st.relation
	from, where := st.from(sel)
	q := read{limit: limit, cut: true}
	order := r.keyOrder()
	var columns []int
	var err error
	switch {
	case sel.Surrogate != "":
		if columns, order, err = st.surrogate(sel.Surrogate); err != nil {
			return nil, err
		}
		if after != nil {
			var condition string
			if condition, q.params, err = st.behind(columns, after); err != nil {
				return nil, err
			}
			where = append(where, condition)
		}
	case after != nil:
		if q.params, err = r.keyParameters(after); err != nil {
			return nil, fmt.Errorf("cursor %.60q: %w", after, snapshot.ErrCursor)
		}
		where = append(where, r.keyAfter())
	}
	q.sql = "SELECT " + r.selectList() + " FROM " + from + conditions(where) + " ORDER BY " + order + " LIMIT " + strconv.Itoa(limit)
	w, err := s.readChunk(ctx, st, q, b)
	if err != nil || columns == nil {
		if err != nil {
			return nil, selectionRefused(err)
		}
		return w, nil
	}
	at := after
	if n := len(b.Events); n > 0 {
		if at, err = surrogateCursor(r, columns, b.Events[n-1].After); err != nil {
			return nil, err
		}
	}
	return placedWindow{w, at}, nil
}

// selectionRefused tells a statement or filter that names what there is not from a table that has changed.
func selectionRefused(err error) error {
	if gone(err) {
		return fmt.Errorf("%w: %w", snapshot.ErrTable, err)
	}
	return err
}

// surrogate finds the columns of a surrogate key. Rows are only sure to be read once each if they are those of a unique
// index and never null.
func (st *scanTable) surrogate(list string) (columns []int, order string, err error) {
	var names, quoted []string
	for name := range strings.SplitSeq(list, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	if !slices.ContainsFunc(st.unique, func(ix index) bool { return source.SameColumns(ix.columns, names) }) {
		return nil, "", fmt.Errorf("table %s: surrogate-key %q is not the columns of a unique index that are all NOT NULL: %w",
			st.relation.table.Name, list, snapshot.ErrTable)
	}
	for _, name := range names {
		i := slices.IndexFunc(st.relation.shape.columns, func(c wireColumn) bool { return c.name == name })
		if i < 0 || st.relation.plan[i].target < 0 {
			return nil, "", fmt.Errorf("table %s: column %q of surrogate-key is not captured: %w", st.relation.table.Name, name, snapshot.ErrTable)
		}
		columns, quoted = append(columns, i), append(quoted, ident(name))
	}
	return columns, strings.Join(quoted, ", "), nil
}

// surrogateCursor is the columns of a row as a JSON list of texts.
func surrogateCursor(r *relation, columns []int, row change.Row) ([]byte, error) {
	var values []string
	for _, i := range columns {
		values = append(values, string(appendValue(nil, row[r.plan[i].target])))
	}
	return json.Marshal(values)
}

// behind makes the condition that the surrogate key is greater than a cursor.
func (st *scanTable) behind(columns []int, cursor []byte) (condition string, params [][]byte, err error) {
	var values, names, casts []string
	if json.Unmarshal(cursor, &values) != nil || len(values) != len(columns) {
		return "", nil, fmt.Errorf("cursor %.60q: %w", cursor, snapshot.ErrCursor)
	}
	for n, i := range columns {
		names = append(names, ident(st.relation.shape.columns[i].name))
		casts = append(casts, fmt.Sprintf("$%d::text::%s", n+1, st.casts[i]))
		params = append(params, []byte(values[n]))
	}
	return "(" + strings.Join(names, ", ") + ") > (" + strings.Join(casts, ", ") + ")", params, nil
}

// A reading is a table without a key that is being read by one statement. The server waits while nobody takes rows.
type reading struct {
	conn   *pgx.Conn
	rows   *rowReader
	window window
	shaper *source.Shaper
	st     *scanTable
	cancel context.CancelFunc
}

// ReadWhole implements snapshot.Whole, with a connection of its own.
func (s *Source) ReadWhole(ctx context.Context, t *change.Table, sel snapshot.Selection) (snapshot.Reading, error) {
	st := s.lookup(t)
	if st == nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	r := &reading{st: st, shaper: s.settings.shaper()}
	var err error
	if r.conn, err = connect(ctx, s.settings, s.setup.Connector, false); err != nil {
		return nil, err
	}
	from, where := st.from(sel)
	if err := s.beginReading(ctx, r, "SELECT "+st.relation.selectList()+" FROM "+from+conditions(where)); err != nil {
		_ = r.conn.Close(canceled()) // the error is told
		return nil, st.judge(explain(s.settings, err))
	}
	return r, nil
}

// beginReading takes the snapshot and locks the table against a rewrite, by the statement itself; what was rewritten between the
// two is found out at the first row.
func (s *Source) beginReading(ctx context.Context, r *reading, sql string) error {
	conn := r.conn.PgConn()
	head, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL max_parallel_workers_per_gather = 0; SELECT pg_current_snapshot();"+
		fmt.Sprintf(signatureQuery, r.st.relation.shape.oid)+fmt.Sprintf("; SELECT FROM %s LIMIT 0", r.st.relation.target)).ReadAll()
	if err != nil {
		return err
	}
	if r.window.view, err = parseView(field(head, 2)); err != nil {
		return err
	}
	if field(head, 3) != r.st.signature {
		return snapshot.ErrChanged
	}
	if err := r.window.end(conn.ExecParams(ctx, r.st.tail(), nil, nil, nil, nil), read{}); err != nil {
		return err
	}
	long, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	r.rows = s.rows(r.st.relation, conn.ExecParams(long, sql, nil, nil, nil, r.st.relation.appendFormats(nil)), false)
	r.rows.lsn = r.window.high
	return nil
}

// Next implements snapshot.Reading.
func (r *reading) Next(ctx context.Context, limit int, b *change.Batch) (done bool, err error) {
	stop := context.AfterFunc(ctx, r.cancel)
	defer stop()
	from := len(b.Events)
	defer func() { r.shaper.Apply(b, from) }()
	for n := 0; n < limit && b.Size() < snapshot.ChunkBytes; n++ {
		if r.rows.next(b) {
			continue
		}
		if err := r.rows.close(); err != nil {
			return false, r.st.judge(err)
		}
		return true, nil
	}
	return false, nil
}

// Window implements snapshot.Reading.
func (r *reading) Window() snapshot.Window { return &r.window }

// Close implements snapshot.Reading.
func (r *reading) Close() error {
	r.cancel()
	_ = r.conn.Close(canceled()) // the server may be in the middle of the statement; the transaction has nothing to keep
	return nil
}
