package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
)

// postgres is a side in a PostgreSQL database.
type postgres struct {
	name, url string
	place     func(*Table) (schema, table string)
}

// NewPostgres returns the side that a PostgreSQL database is. place tells under which name a table of the source is kept
// there; nil: under its own.
func NewPostgres(name, url string, place func(*Table) (schema, table string)) Side {
	if place == nil {
		place = func(t *Table) (string, string) { return t.Schema, t.Name }
	}
	return &postgres{name, url, place}
}

// Name implements Side.
func (p *postgres) Name() string { return p.name }

// settings pin how the server writes values.
const settings = `SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET bytea_output = 'hex'; ` +
	`SET extra_float_digits = 1; SET lc_monetary = 'C'`

// Read implements Side.
func (p *postgres) Read(ctx context.Context, t *Table, emit func(key, line string) error) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		return err
	}
	schema, table := p.place(t)
	present, err := columns(ctx, conn, schema, table)
	if err != nil || len(present) == 0 {
		return err
	}
	list := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		if list[i] = "NULL"; present[c.Name] {
			list[i] = pgx.Identifier{c.Name}.Sanitize()
			if c.Kind == change.Decimal { // money, too
				list[i] += "::numeric"
			}
		}
	}
	sql := fmt.Sprintf("COPY (SELECT %s FROM %s) TO STDOUT", strings.Join(list, ", "), pgx.Identifier{schema, table}.Sanitize())
	w := &copyReader{t: t, emit: emit}
	if _, err := conn.PgConn().CopyTo(ctx, w, sql); err != nil {
		return errors.Join(w.err, err)
	}
	return w.err
}

// columns returns the names of a table's columns, none if there is no such table.
func columns(ctx context.Context, conn *pgx.Conn, schema, table string) (map[string]bool, error) {
	rows, err := conn.Query(ctx, `SELECT attname::text FROM pg_attribute
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, pgx.Identifier{schema, table}.Sanitize())
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	present := map[string]bool{}
	for _, n := range names {
		present[n] = true
	}
	return present, err
}

// copyReader takes the text of a COPY in whatever pieces it comes.
type copyReader struct {
	t       *Table
	emit    func(key, line string) error
	row     row
	pending []byte
	value   []byte
	err     error
}

// Write implements io.Writer. After an error it takes everything and does nothing, because COPY cannot be left early.
func (r *copyReader) Write(p []byte) (int, error) {
	if r.err != nil {
		return len(p), nil
	}
	r.pending = append(r.pending, p...)
	rest := r.pending
	for r.err == nil {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		r.err = r.line(rest[:end])
		rest = rest[end+1:]
	}
	r.pending = append(r.pending[:0], rest...)
	return len(p), nil
}

// line takes one row.
func (r *copyReader) line(p []byte) error {
	r.row.clear(r.t)
	fields := bytes.Split(p, []byte{'\t'})
	if len(fields) != len(r.t.Columns) {
		return fmt.Errorf("%s: COPY sent %d columns, want %d", r.t, len(fields), len(r.t.Columns))
	}
	for i, f := range fields {
		if string(f) == null {
			continue
		}
		var err error
		r.value = unescape(r.value[:0], f)
		if r.row.buf, err = fromPostgres(r.row.buf[:0], &r.t.Columns[i], r.value); err != nil {
			return fmt.Errorf("%s, column %s: %w", r.t, r.t.Columns[i].Name, err)
		}
		r.row.set(i, r.row.buf)
	}
	return r.emit(r.row.key(), r.row.line())
}

// unescape appends a field of COPY without its backslashes.
func unescape(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' || i+1 == len(p) {
			dst = append(dst, p[i])
			continue
		}
		i++
		c := p[i]
		if at := strings.IndexByte("bfnrtv", c); at >= 0 {
			c = "\b\f\n\r\t\v"[at]
		}
		dst = append(dst, c)
	}
	return dst
}

// Exec runs statements in a database, for a caller that wants no connection of its own.
func Exec(ctx context.Context, url, sql string) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}
