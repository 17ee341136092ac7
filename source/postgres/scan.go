package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
)

var (
	_ snapshot.Fetcher   = (*Source)(nil)
	_ snapshot.Estimator = (*Source)(nil)
)

// A scanTable is what Scan needs to read a table that Tables has returned.
type scanTable struct {
	relation  *relation
	signature string // of the structure, see signatureQuery
	filter    string // the publication's row filter
	casts     []string
	unique    []index // unique indexes over NOT NULL columns
	heap      bool    // an ordinary table, which can be read by place
	extent    extent
}

// signatureQuery describes everything about a table's structure that Scan relies on, as one text. %d is the table's oid.
// Columns that are generated are part of it, though few servers publish them.
const signatureQuery = `
SELECT c.relreplident::text || (SELECT string_agg(format(' %%s %%s %%s %%s', quote_ident(attname), atttypid, atttypmod, attnotnull), ',' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
       || COALESCE((SELECT string_agg(format(' %%s %%s %%s', indkey, indisprimary, indisreplident), ',' ORDER BY indexrelid)
         FROM pg_index WHERE indrelid = c.oid AND indisunique AND indisvalid), '')
       || ' ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %d`

// Tables implements snapshot.Scanner: the captured tables that the publication sends, by name. The catalog is read under one
// snapshot: the columns that the publication sends, a table's own and its signature belong together, and what changes later is
// found by the signature.
func (s *Source) Tables(ctx context.Context) ([]*change.Table, error) {
	var tables []*change.Table
	scans := map[*change.Table]*scanTable{}
	once := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := s.scans.do(ctx, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, once, func(tx pgx.Tx) error {
			found, err := discover(ctx, tx.Conn(), s.settings)
			if err != nil {
				return err
			}
			sent, _, err := readPublication(ctx, tx.Conn(), s.settings.Publication)
			if err != nil {
				return err
			}
			for _, c := range found {
				p, in := sent[c.oid]
				if !in {
					continue
				}
				t, err := s.scanTable(ctx, tx.Conn(), c, p)
				if err != nil {
					return fmt.Errorf("structure of %s: %w", c, err)
				}
				scans[t.relation.table] = t
				tables = append(tables, t.relation.table)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	s.scansMu.Lock()
	defer s.scansMu.Unlock()
	s.known = scans
	return tables, nil
}

func (s *Source) scanTable(ctx context.Context, conn *pgx.Conn, c candidate, p published) (*scanTable, error) {
	t := &scanTable{filter: p.filter}
	if err := conn.QueryRow(ctx, fmt.Sprintf(signatureQuery, c.oid)).Scan(&t.signature); err != nil {
		return nil, err
	}
	if err := conn.QueryRow(ctx, `SELECT relkind = 'r' AND a.amname = 'heap' FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
		WHERE c.oid = $1`, c.oid).Scan(&t.heap); err != nil {
		return nil, err
	}
	sh := &shape{oid: c.oid, schema: c.schema, name: c.name, identity: c.identity}
	rows, err := conn.Query(ctx, `SELECT attname::text, atttypid, atttypmod FROM pg_attribute
		WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND (attgenerated = ''
			OR current_setting('server_version_num')::int >= 180000 AND attname = ANY($2::text[])) ORDER BY attnum`, c.oid, p.columns)
	if err != nil {
		return nil, err
	}
	var w wireColumn
	if _, err = pgx.ForEachRow(rows, []any{&w.name, &w.typeOID, &w.modifier}, func() error {
		if p.columns == nil || slices.Contains(p.columns, w.name) {
			sh.columns = append(sh.columns, w)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	d, err := describe(ctx, conn, sh)
	if err != nil {
		return nil, err
	}
	t.casts, t.unique = d.casts, d.indexes
	t.relation = newRelation(s.settings, s.origin, sh, d)
	s.tables.publish(t.relation)
	return t, nil
}

func (s *Source) lookup(t *change.Table) *scanTable {
	s.scansMu.Lock()
	defer s.scansMu.Unlock()
	return s.known[t]
}

// Scan implements snapshot.Scanner: the rows after a key, in the database's own order of keys; of a table without a key all, in
// no order.
func (s *Source) Scan(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	st := s.lookup(t)
	if st == nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	sel, err := st.inKeyOrder(after, limit)
	if err != nil {
		return nil, err
	}
	w, err := s.readChunk(ctx, st, sel, b)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// A read is one SELECT of a table's rows.
type read struct {
	sql    string
	params [][]byte
	limit  int  // rows that it gives at most
	cut    bool // it may end early; places or keys ascend then
	places bool // the first column is ctid
	file   uint32
}

// inKeyOrder makes the read of the rows after a key.
func (st *scanTable) inKeyOrder(after []byte, limit int) (read, error) {
	r := st.relation
	q := read{limit: limit}
	order := r.keyOrder()
	var where []string
	if st.filter != "" {
		where = append(where, "("+st.filter+")")
	}
	if after != nil && order != "" {
		var err error
		if q.params, err = r.keyParameters(after); err != nil {
			return q, err
		}
		where = append(where, r.keyAfter())
	}
	q.sql = "SELECT " + r.selectList() + " FROM " + r.target + conditions(where)
	if order != "" {
		q.sql += " ORDER BY " + order + " LIMIT " + strconv.Itoa(limit)
		q.cut = true
	}
	return q, nil
}

func conditions(where []string) string {
	if len(where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(where, " AND ")
}

// readChunk runs a read in a transaction of its own, which is over when it returns, and makes errors what snapshot.Scanner
// says.
func (s *Source) readChunk(ctx context.Context, st *scanTable, q read, b *change.Batch) (*window, error) {
	w, from := &window{}, len(b.Events)
	err := s.scans.do(ctx, func(conn *pgx.Conn) error {
		err := s.readUnder(ctx, conn, st, q, b, w)
		if err != nil && !conn.IsClosed() {
			_, rollback := conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, rollback)
		}
		return err
	})
	if err == nil && w.cut && w.high == 0 { // the connection was given up in the middle of the rows
		err = s.scans.do(ctx, func(conn *pgx.Conn) error {
			return w.end(conn.PgConn().ExecParams(ctx, st.tail(), nil, nil, nil, nil), q)
		})
	}
	if err != nil {
		return nil, st.judge(err)
	}
	s.settings.shaper().Apply(b, from)
	return w, nil
}

// judge says what an error means for the copy of the table.
func (st *scanTable) judge(err error) error {
	name := st.relation.table.Name
	var e *pgconn.PgError
	switch {
	case errors.Is(err, snapshot.ErrChanged), errors.Is(err, snapshot.ErrCursor):
		return fmt.Errorf("table %s: %w", name, err)
	case gone(err):
		return fmt.Errorf("table %s: %w: %w", name, snapshot.ErrChanged, err)
	case fault.Code(err) == "PERMISSION_DENIED",
		errors.As(err, &e) && (e.Code[:2] == "42" || e.Code[:2] == "22" || e.Code == "XX001" || e.Code == "XX002"):
		return fmt.Errorf("table %s: %w: %w", name, snapshot.ErrTable, err)
	}
	return fmt.Errorf("read chunk of %s: %w", name, err)
}

// readSettings are those of a transaction that reads rows. Reads by place rely on the order of places, which only a TID range
// scan keeps.
const readSettings = "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_tidscan', 'on', true), " +
	"set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)"

// readUnder reads the snapshot first and the rows under it, then whether the table was rewritten meanwhile (a rewrite
// hides all rows from an older snapshot), then where the WAL ends: all that the snapshot sees is before that. All of it is one
// round trip.
func (s *Source) readUnder(ctx context.Context, c *pgx.Conn, st *scanTable, q read, b *change.Batch, w *window) error {
	conn := c.PgConn()
	batch := &pgconn.Batch{}
	for _, sql := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", readSettings,
		"SELECT pg_current_snapshot()::text || ' ' || " + insertEnd,
		fmt.Sprintf(signatureQuery, st.relation.shape.oid)} {
		batch.ExecParams(sql, nil, nil, nil, nil)
	}
	var formats []int16
	if q.places {
		formats = append(formats, binaryFormat)
	}
	batch.ExecParams(q.sql, q.params, nil, nil, st.relation.appendFormats(formats))
	batch.ExecParams(st.tail(), nil, nil, nil, nil)
	batch.ExecParams("COMMIT", nil, nil, nil, nil)
	results := conn.ExecBatch(ctx, batch)
	err := s.readResults(results, conn, st, q, b, w)
	if conn.IsClosed() {
		return err
	}
	return errors.Join(err, results.Close())
}

// readResults reads the results of readUnder's batch.
func (s *Source) readResults(results *pgconn.MultiResultReader, conn *pgconn.PgConn, st *scanTable, q read, b *change.Batch, w *window) error {
	refuse := func(err error) error {
		if closed := results.Close(); closed != nil { // it says why there is no result
			return closed
		}
		return err
	}
	view, low, _ := strings.Cut(value(results, 3), " ")
	var err error
	if w.view, err = parseView(view); err != nil {
		return refuse(err)
	}
	at, err := pglogrepl.ParseLSN(low)
	if err != nil {
		return refuse(err)
	}
	w.low = uint64(at)
	if value(results, 1) != st.signature {
		return refuse(snapshot.ErrChanged)
	}
	if !results.NextResult() {
		return results.Close()
	}
	if err := s.readRows(results.ResultReader(), conn, st.relation, q, b, w); err != nil || conn.IsClosed() {
		return err
	}
	if !results.NextResult() {
		return results.Close()
	}
	return w.end(results.ResultReader(), q)
}

// value skips to the n-th next result and returns the first column of its first row, "" if there is none.
func value(results *pgconn.MultiResultReader, n int) (text string) {
	for range n {
		if !results.NextResult() {
			return ""
		}
		text = ""
		r := results.ResultReader()
		if r.NextRow() {
			text = string(r.Values()[0])
		}
		if _, err := r.Close(); err != nil {
			return "" // the batch's Close tells
		}
	}
	return text
}

// tail is the query for what must be known after the rows were read.
func (st *scanTable) tail() string {
	return fmt.Sprintf(`SELECT relfilenode = COALESCE(pg_relation_filenode(oid), 0), %s, current_setting('wal_block_size'),
		COALESCE(pg_relation_filenode(oid), 0) FROM pg_class WHERE oid = %d`, insertEnd, st.relation.shape.oid)
}

// end checks that the table's file is the one that was read, and notes where the WAL ends.
func (w *window) end(r *pgconn.ResultReader, q read) error {
	var values []string
	if r.NextRow() {
		for _, v := range r.Values() {
			values = append(values, string(v))
		}
	}
	if _, err := r.Close(); err != nil {
		return err
	}
	if len(values) != 4 || values[0] != "t" {
		return snapshot.ErrChanged
	}
	if q.places && values[3] != strconv.FormatUint(uint64(q.file), 10) {
		return snapshot.ErrCursor
	}
	high, err := pglogrepl.ParseLSN(values[1])
	if err != nil {
		return err
	}
	block, err := strconv.ParseUint(values[2], 10, 32)
	if err != nil {
		return err
	}
	w.high = recordEnd(uint64(high), block)
	return nil
}

// readRows reads the rows of a read as events into b, until b holds snapshot.ChunkBytes if the read may end early: then the
// connection is given up, for the server would send the rest.
func (s *Source) readRows(result *pgconn.ResultReader, conn *pgconn.PgConn, r *relation, q read, b *change.Batch, w *window) error {
	rows := s.rows(r, result, q.places)
	rows.lsn = w.low
	full := false
	for !full && rows.next(b) {
		full = q.cut && b.Size() >= snapshot.ChunkBytes
	}
	if rows.err == nil && full && len(b.Events) < q.limit {
		w.cut = true
		_ = conn.Close(canceled()) // not politely: the server is in the middle of a statement
	} else if err := rows.close(); err != nil {
		return err
	}
	w.cut = w.cut || q.cut && q.limit > 0 && len(b.Events) >= q.limit
	w.last = rows.place
	return nil
}

// canceled is a context that is over: with it a connection is closed at once.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A rowReader makes events of the rows of a result.
type rowReader struct {
	relation *relation
	result   *pgconn.ResultReader
	places   bool
	place    place // of the last row
	now      int64
	lsn      uint64 // shown as the events' position
	key      []byte
	err      error
}

func (s *Source) rows(r *relation, result *pgconn.ResultReader, places bool) *rowReader {
	rr := &rowReader{relation: r, result: result, places: places, now: s.setup.Now().UnixMicro()}
	fields := result.FieldDescriptions()
	if places && len(fields) > 0 {
		fields = fields[1:]
	}
	rr.err = sameTypes(r, fields)
	return rr
}

// next adds the next row to b; false if there is none or it can't be read, which close tells.
func (rr *rowReader) next(b *change.Batch) bool {
	if rr.err != nil || !rr.result.NextRow() {
		return false
	}
	values := rr.result.Values()
	if rr.places {
		at, err := binaryPlace(values[0])
		if err == nil && !rr.place.before(at) {
			err = fmt.Errorf("rows of %s do not come in the order of their places: %v after %v", rr.relation.table.Name, at, rr.place)
		}
		if rr.err = err; err != nil {
			return false
		}
		rr.place, values = at, values[1:]
	}
	row, err := rr.relation.result(b, values)
	if rr.err = err; err != nil {
		return false
	}
	e := b.Add()
	e.Table, e.Op, e.After, e.Topic, e.Commit, e.Seen = rr.relation.table, change.OpRead, row, rr.relation.topic, rr.now, rr.now
	e.LSN = rr.lsn
	var ok bool
	if rr.key, ok = change.AppendKey(rr.key[:0], rr.relation.table, row); ok {
		e.Key = b.Copy(rr.key)
	}
	return true
}

func (rr *rowReader) close() error {
	_, err := rr.result.Close()
	return errors.Join(rr.err, err)
}

// sameTypes compares the types of a result with those of the relation: a column may have changed its type after the
// transaction's snapshot was taken. An empty description means an error that Close will tell.
func sameTypes(r *relation, fields []pgconn.FieldDescription) error {
	for i, f := range fields {
		if i < len(r.plan) && r.plan[i].target >= 0 && f.DataTypeOID != r.plan[i].result {
			return snapshot.ErrChanged
		}
	}
	return nil
}

// field returns the first column of the first row of the n-th result, "" if there is none.
func field(results []*pgconn.Result, n int) string {
	if n >= len(results) || len(results[n].Rows) == 0 {
		return ""
	}
	return string(results[n].Rows[0][0])
}

// gone reports whether err means that a table or column is no longer there.
func gone(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "42P01" || e.Code == "42703" || e.Code == "42704" || e.Code == "3F000")
}

// Fetch implements snapshot.Fetcher by one statement.
func (s *Source) Fetch(ctx context.Context, t *change.Table, keys [][]byte, b *change.Batch) ([]change.Row, snapshot.Window, error) {
	r := s.tables.relation(t)
	if r == nil {
		return nil, nil, nil
	}
	arrays, err := r.keyArrays(keys)
	if err != nil {
		return nil, nil, err
	}
	from, where := r.keyList()
	sql := "SELECT s.v, r.* FROM (SELECT pg_current_snapshot() AS v) s CROSS JOIN " + from + " LEFT JOIN LATERAL (SELECT true, " +
		r.selectList() + " FROM " + r.target + " WHERE " + where + " LIMIT 1) r ON true ORDER BY k.number"
	rows := make([]change.Row, 0, len(keys))
	seen := &window{high: math.MaxUint64}
	err = s.control.do(ctx, func(conn *pgx.Conn) error {
		rows = rows[:0]
		res := conn.PgConn().ExecParams(ctx, sql, arrays, nil, nil, r.appendFormats([]int16{textFormat, textFormat}))
		var failed error
		if fields := res.FieldDescriptions(); len(fields) > 2 {
			failed = sameTypes(r, fields[2:])
		}
		for failed == nil && res.NextRow() {
			values := res.Values()
			var row change.Row
			if len(rows) == 0 {
				seen.view, failed = parseView(string(values[0]))
			}
			if failed == nil && values[1] != nil {
				row, failed = r.result(b, values[2:])
			}
			rows = append(rows, row)
		}
		_, err := res.Close()
		return errors.Join(failed, err)
	})
	if gone(err) || errors.Is(err, snapshot.ErrChanged) {
		return nil, nil, nil
	}
	if err == nil && len(rows) != len(keys) {
		err = fmt.Errorf("%d rows of %s for %d keys", len(rows), t.Name, len(keys))
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

// Estimate implements snapshot.Estimator by the planner's statistics.
func (s *Source) Estimate(ctx context.Context, t *change.Table) (int64, error) {
	st := s.lookup(t)
	if st == nil {
		return -1, nil
	}
	var n float64
	err := s.control.do(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT COALESCE(max(reltuples), -1)::float8 FROM pg_class WHERE oid = $1`, st.relation.shape.oid).Scan(&n)
	})
	return int64(n), err
}
