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
}

// signatureQuery describes everything about a table's structure that Scan relies on, as one text. %d is the table's oid.
// Columns that are generated are not published and not part of it.
const signatureQuery = `
SELECT c.relreplident::text || (SELECT string_agg(format(' %%s %%s %%s %%s', quote_ident(attname), atttypid, atttypmod, attnotnull), ',' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '')
       || COALESCE((SELECT string_agg(format(' %%s %%s %%s', indkey, indisprimary, indisreplident), ',' ORDER BY indexrelid)
         FROM pg_index WHERE indrelid = c.oid AND indisunique AND indisvalid), '')
       || ' ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %d`

// Tables implements snapshot.Scanner: the captured tables that the publication sends, by name.
func (s *Source) Tables(ctx context.Context) ([]*change.Table, error) {
	var tables []*change.Table
	scans := map[*change.Table]*scanTable{}
	err := s.scan.do(ctx, func(conn *pgx.Conn) error {
		found, err := discover(ctx, conn, s.settings)
		if err != nil {
			return err
		}
		sent, _, err := readPublication(ctx, conn, s.settings.Publication)
		if err != nil {
			return err
		}
		for _, c := range found {
			p, in := sent[c.oid]
			if !in {
				continue
			}
			t, err := s.scanTable(ctx, conn, c, p)
			if err != nil {
				return fmt.Errorf("structure of %s: %w", c, err)
			}
			scans[t.relation.table] = t
			tables = append(tables, t.relation.table)
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

func (s *Source) scanTable(ctx context.Context, conn *pgx.Conn, c candidate, p published) (*scanTable, error) {
	t := &scanTable{filter: p.filter}
	if err := conn.QueryRow(ctx, fmt.Sprintf(signatureQuery, c.oid)).Scan(&t.signature); err != nil {
		return nil, err
	}
	sh := &shape{oid: c.oid, schema: c.schema, name: c.name, identity: c.identity}
	rows, err := conn.Query(ctx, `SELECT attname::text, atttypid, atttypmod FROM pg_attribute
		WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`, c.oid)
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
	t.relation = newRelation(s.settings, s.origin, sh, d)
	s.tables.publish(t.relation)
	return t, nil
}

func (s *Source) lookup(t *change.Table) *scanTable {
	s.scansMu.Lock()
	defer s.scansMu.Unlock()
	return s.scans[t]
}

// Scan implements snapshot.Scanner. A chunk is read in one REPEATABLE READ transaction, whose snapshot the window keeps;
// the order of keys is the database's own. A table without a key is read whole, in no order, by one statement.
func (s *Source) Scan(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	st := s.lookup(t)
	if st == nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, snapshot.ErrChanged)
	}
	var w *window
	err := s.scan.do(ctx, func(conn *pgx.Conn) error {
		var err error
		w, err = s.readChunk(ctx, conn.PgConn(), st, after, limit, b)
		if err != nil && !conn.IsClosed() {
			_, rollback := conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, rollback)
		}
		return err
	})
	if err != nil {
		if gone(err) {
			return nil, fmt.Errorf("table %s: %w: %w", t.Name, snapshot.ErrChanged, err)
		}
		return nil, fmt.Errorf("read chunk of %s: %w", t.Name, err)
	}
	return w, nil
}

// readChunk reads the snapshot first and the rows under it, then whether the table was rewritten meanwhile (a rewrite
// hides all rows from an older snapshot), then where the WAL ends: all that the snapshot sees is before that.
func (s *Source) readChunk(ctx context.Context, conn *pgconn.PgConn, st *scanTable, after []byte, limit int, b *change.Batch) (*window, error) {
	r := st.relation
	head, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_current_snapshot();"+
		fmt.Sprintf(signatureQuery, r.shape.oid)).ReadAll()
	if err != nil {
		return nil, err
	}
	w := &window{}
	if w.view, err = parseView(field(head, 1)); err != nil {
		return nil, err
	}
	if field(head, 2) != st.signature {
		return nil, snapshot.ErrChanged
	}
	sql, params, err := st.query(after, limit)
	if err != nil {
		return nil, err
	}
	if err := s.readRows(ctx, conn, r, sql, params, b); err != nil {
		return nil, err
	}
	tail, err := conn.Exec(ctx, fmt.Sprintf(`SELECT relfilenode = COALESCE(pg_relation_filenode(oid), 0) FROM pg_class WHERE oid = %d;
		SELECT pg_current_wal_insert_lsn(); SELECT current_setting('wal_block_size'); COMMIT`, r.shape.oid)).ReadAll()
	if err != nil {
		return nil, err
	}
	if field(tail, 0) != "t" {
		return nil, snapshot.ErrChanged
	}
	high, err := pglogrepl.ParseLSN(field(tail, 1))
	if err != nil {
		return nil, err
	}
	block, err := strconv.ParseUint(field(tail, 2), 10, 32)
	if err != nil {
		return nil, err
	}
	w.high = recordEnd(uint64(high), block)
	return w, nil
}

// query makes the SELECT for the rows after a key.
func (st *scanTable) query(after []byte, limit int) (string, [][]byte, error) {
	r := st.relation
	sql := "SELECT " + r.selectList() + " FROM " + r.target
	var where []string
	if st.filter != "" {
		where = append(where, "("+st.filter+")")
	}
	order := r.keyOrder()
	var params [][]byte
	if after != nil && order != "" {
		var err error
		if params, err = r.keyParameters(after); err != nil {
			return "", nil, err
		}
		where = append(where, r.keyAfter())
	}
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if order != "" {
		sql += " ORDER BY " + order + " LIMIT " + strconv.Itoa(limit)
	}
	return sql, params, nil
}

// readRows runs a SELECT of the relation's columns and adds its rows as events to b.
func (s *Source) readRows(ctx context.Context, conn *pgconn.PgConn, r *relation, sql string, params [][]byte, b *change.Batch) error {
	now := s.setup.Now().UnixMicro()
	res := conn.ExecParams(ctx, sql, params, nil, nil, nil)
	if err := sameTypes(r, res.FieldDescriptions()); err != nil {
		_, closed := res.Close()
		return errors.Join(err, closed)
	}
	var key []byte
	for res.NextRow() {
		row, err := r.result(b, res.Values())
		if err != nil {
			_, closed := res.Close()
			return errors.Join(err, closed)
		}
		e := b.Add()
		e.Table, e.Op, e.After, e.Topic, e.Commit, e.Seen = r.table, change.OpRead, row, r.topic, now, now
		var ok bool
		if key, ok = change.AppendKey(key[:0], r.table, row); ok {
			e.Key = b.Copy(key)
		}
	}
	_, err := res.Close()
	return err
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

// Fetch implements snapshot.Fetcher.
func (s *Source) Fetch(ctx context.Context, t *change.Table, key []byte, b *change.Batch) (change.Row, snapshot.Window, error) {
	r := s.tables.relation(t)
	if r == nil {
		return nil, nil, nil
	}
	row, v, err := s.fetch(ctx, r, key, b)
	if err != nil || v == nil {
		return nil, nil, err
	}
	return row, &window{view: *v, high: math.MaxUint64}, nil
}

// fetch reads the row with a key as it is now, in b's memory, with the snapshot it was read under. The row is nil if there
// is none; both are nil if the table has changed too much to be asked.
func (s *Source) fetch(ctx context.Context, r *relation, key []byte, b *change.Batch) (row change.Row, seen *view, err error) {
	params, err := r.keyParameters(key)
	if err != nil {
		return nil, nil, err
	}
	sql := "SELECT s.v, r.* FROM (SELECT pg_current_snapshot() AS v) s LEFT JOIN LATERAL (SELECT true, " + r.selectList() + " FROM " +
		r.target + " WHERE " + r.keyEquals() + " LIMIT 1) r ON true"
	err = s.control.do(ctx, func(conn *pgx.Conn) error {
		res := conn.PgConn().ExecParams(ctx, sql, params, nil, nil, nil)
		var failed error
		if fields := res.FieldDescriptions(); len(fields) > 2 {
			failed = sameTypes(r, fields[2:])
		}
		if res.NextRow() && failed == nil {
			values := res.Values()
			var v view
			if v, failed = parseView(string(values[0])); failed == nil {
				seen = &v
			}
			if failed == nil && values[1] != nil {
				row, failed = r.result(b, values[2:])
			}
		}
		_, err := res.Close()
		return errors.Join(failed, err)
	})
	if gone(err) || errors.Is(err, snapshot.ErrChanged) {
		return nil, nil, nil
	}
	return row, seen, err
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
