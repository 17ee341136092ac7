package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source/mysql/binlog"
	"github.com/tailrace/tailrace/source/mysql/ddl"
)

// relate returns the relation of a table map: one for each structure that rows come in.
func (s *stream) relate(ctx context.Context, m *binlog.TableMap) (*relation, error) {
	if r := s.relations[m]; r != nil {
		return r, nil
	}
	if len(s.relations) >= maxRelations {
		clear(s.relations) // most are of maps that don't come again
	}
	r := &relation{}
	if s.src.settings.captures(m.Schema, m.Table) {
		var err error
		if r, err = s.bind(ctx, m); err != nil {
			return nil, err
		}
	}
	s.relations[m] = r
	return r, nil
}

// maxRelations bounds how many structures are remembered.
const maxRelations = 4096

// bind makes the relation of a captured table's map. The columns are those of the map where the server logs them, else
// those of the history.
func (s *stream) bind(ctx context.Context, m *binlog.TableMap) (*relation, error) {
	name := tableRef{m.Schema, m.Table}
	for fresh := false; ; fresh = true {
		d, err := s.describe(ctx, name, fresh)
		if err != nil {
			return nil, err
		}
		var t *ddl.Table
		if !m.Full() {
			if t, err = s.structure(ctx, name, fresh); err != nil {
				return nil, err
			}
		}
		r, err := s.bindTo(m, name, t, d)
		var mismatch *binlog.Mismatch
		switch {
		case errors.As(err, &mismatch) && !fresh:
			continue // the catalog was asked before the table changed
		case errors.As(err, &mismatch):
			return s.inconsistent(name, mismatch)
		case err != nil:
			return nil, err
		}
		if r.captured {
			s.src.tables.publish(r)
		}
		return r, nil
	}
}

func (s *stream) bindTo(m *binlog.TableMap, name tableRef, t *ddl.Table, d *detail) (*relation, error) {
	var columns []binlog.Column
	var primary []string
	switch {
	case m.Full():
		var err error
		if columns, err = m.Columns(); err != nil {
			return nil, err
		}
		primary = primaryKey(m, columns)
		m.Refine(columns, s.known(name, d))
	case t == nil:
		return nil, &binlog.Mismatch{Schema: m.Schema, Table: m.Table, Reason: "the table was changed or dropped since, and the binary log has no names of columns"}
	default:
		columns, primary = d.sized(t.Columns), t.Key
	}
	if s.src.flavor == mariadb {
		d = d.versionedAt(m, columns, primary)
	}
	if d != nil && d.end != "" {
		primary = slices.DeleteFunc(slices.Clone(primary), func(name string) bool { return name == d.end })
		if d.hidden && !m.Full() && len(columns)+2 == len(m.Types) {
			at := binlog.Column{Base: "timestamp", Precision: 6, Scale: -1}
			start, end := at, at
			start.Name, end.Name = hiddenStart, hiddenEnd
			columns = append(slices.Clone(columns), start, end)
		}
	}
	if s.src.flavor == mariadb && sequence(columns) {
		return &relation{end: -1}, nil
	}
	r, err := s.src.newRelation(name, columns, primary, d)
	if err != nil {
		return nil, err
	}
	target := r.target
	if d != nil && d.end != "" {
		target = r.versioned(d.end)
	}
	r.layout, err = binlog.NewLayout(&s.charsets, m, r.columns, target)
	return r, err
}

// versionedAt returns what the catalog says of a table, with what the table map and the columns at its time tell of system versioning
// that the catalog knows nothing of any more.
func (d *detail) versionedAt(m *binlog.TableMap, columns []binlog.Column, primary []string) *detail {
	if d != nil && d.end != "" {
		return d
	}
	var was detail
	if d != nil {
		was = *d
	}
	n, all := len(columns), len(m.Types)
	switch {
	case !m.Full() && n+2 == all && periodType(m, all-2) && periodType(m, all-1):
		was.end, was.hidden = hiddenEnd, true
	case m.Full() && n >= 2 && columns[n-2].Name == hiddenStart && columns[n-1].Name == hiddenEnd && periodType(m, n-2) && periodType(m, n-1) && was.column(hiddenEnd) < 0:
		was.end, was.hidden = hiddenEnd, true
	case m.Full() && len(m.Key) > 1 && len(was.primary) == len(m.Key)-1 && periodType(m, m.Key[len(m.Key)-1]) && slices.Equal(was.primary, primary[:len(primary)-1]):
		was.end = primary[len(primary)-1] // the server has added it to the key
	default:
		return d
	}
	return &was
}

// periodType reports whether a column has the type of those that say from when to when a row counts.
func periodType(m *binlog.TableMap, i int) bool {
	return m.Types[i] == binlog.ColumnTimestamp2 && m.Meta[i] == 6
}

// sized returns columns that come from statements with the display widths of integers, and the sizes of vectors, that the server has
// given them.
func (d *detail) sized(columns []binlog.Column) []binlog.Column {
	if d == nil {
		return columns
	}
	columns = slices.Clone(columns)
	for i := range columns {
		c := &columns[i]
		if k := d.column(c.Name); k >= 0 && d.columns[k].Base == c.Base && (c.Type().Kind == change.Int || c.Type().Kind == change.Uint || c.Base == "vector") {
			c.Length = d.columns[k].Length
		}
	}
	return columns
}

// known returns what is known of the columns of a table whose rows come with names: those that it has by the statements that were
// followed, else those that the catalog has, and those that it does not have any more but that rows of the table had before: it may
// have been changed, renamed or dropped since.
func (s *stream) known(name tableRef, d *detail) (columns []binlog.Column) {
	if t := s.history.known.Table(ddl.Name(name)); t != nil {
		columns = slices.Clip(d.sized(t.Columns))
	}
	more := func(list []binlog.Column) {
		for _, c := range list {
			if !hasColumns(columns, []string{c.Name}) {
				columns = append(columns, c)
			}
		}
	}
	if d != nil {
		more(d.columns)
	}
	if r := s.src.tables.named(change.TableName{Database: name.Database, Table: name.Table}); r != nil {
		more(r.columns)
	}
	return columns
}

// sequence reports whether columns are those of a sequence of MariaDB, whose state is in the binary log as the row of a table.
func sequence(columns []binlog.Column) bool {
	names := [...]string{"next_not_cached_value", "minimum_value", "maximum_value", "start_value", "increment", "cache_size", "cycle_option", "cycle_count"}
	return slices.EqualFunc(columns, names[:], func(c binlog.Column, name string) bool { return c.Name == name })
}

// inconsistent is what becomes of a table whose structure at that time is not known: its rows are left out, and it is copied again;
// without that they are left out only where the configuration says so. (Invariant 7)
func (s *stream) inconsistent(name tableRef, why error) (*relation, error) {
	switch s.src.settings.Inconsistent {
	case "copy":
		if s.src.copies() {
			s.copyAgain(name, why)
			return &relation{}, nil
		}
	case "skip":
		return &relation{}, nil
	case "warn":
		s.src.log.Warn("rows are left out: the table's structure at that time is not known", "table", name.String(), "file", s.file, "pos", s.at, "err", why)
		return &relation{}, nil
	}
	return nil, fault.Permanentf("SCHEMA_MISMATCH", "run SET GLOBAL binlog_row_metadata = 'FULL' (MySQL 8, MariaDB 10.5 and later), and reset the connector's "+
		"offsets to take a new snapshot, or exclude the table", "%s at %d: %w", s.file, s.at, why)
}

// describe returns what the catalog says of a table, asking it if it was not asked since the table changed, or if fresh.
func (s *stream) describe(ctx context.Context, name tableRef, fresh bool) (*detail, error) {
	if d, ok := s.details[name]; ok && !fresh {
		return d, nil
	}
	var d *detail
	err := s.src.control.do(ctx, func(c *conn) (err error) {
		if err = s.settle(c); err != nil {
			return err
		}
		d, err = describe(c, s.src.flavor, name.Database, name.Table)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("structure of %s: %w", name, err)
	}
	s.details[name] = d
	return d, nil
}

// settle waits until the open transaction has taken effect: MySQL sends one from its binary log before its dictionary has it.
func (s *stream) settle(c *conn) error {
	if s.src.flavor != mysqld || !s.tx.open || !s.tx.identified {
		return nil
	}
	_, err := c.row(fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %d)", quoted(s.tx.gtid), settleSeconds))
	return err
}

// settleSeconds bounds how long a transaction is waited for that was sent already.
const settleSeconds = 10

// statement handles a statement that is not about transactions.
func (s *stream) statement(ctx context.Context, b *change.Batch, st statement, text []byte) error {
	if st.verb == verbWrite || s.ev.Query.Load {
		return s.written(st)
	}
	if !s.effective() || !st.verb.ddl() {
		return nil
	}
	s.forget(st)
	for _, name := range s.src.tables.emptied(st) {
		if !s.src.settings.captures(name.Database, name.Table) {
			continue
		}
		if !s.pos.inside() { // else the rows that follow in this transaction were begun before the resume
			s.truncate(b, name)
		}
		s.tx.ordinal++
	}
	if s.pos.inside() {
		return nil
	}
	return s.schemaChange(ctx, b, st, text)
}

// written is a change in statement format: of a captured table it is one that we can't see.
func (s *stream) written(st statement) error {
	for _, name := range st.names {
		if s.src.settings.captures(name.Database, name.Table) {
			return fault.Permanentf("NON_ROW_DML", "run SET GLOBAL binlog_format = 'ROW', have sessions not set it otherwise, and reset the connector's offsets "+
				"to take a new snapshot", "a session changed %s in statement format: %s at %d has the statement and not the rows", name, s.file, s.at)
		}
	}
	return nil
}

// forget drops what is known of the tables that a statement changes.
func (s *stream) forget(st statement) {
	for _, name := range st.tables {
		delete(s.details, name)
	}
	if st.verb == verbDropDatabase || st.verb == verbDatabase {
		clear(s.details)
	}
}

// truncate tells that a table is empty.
func (s *stream) truncate(b *change.Batch, name tableRef) {
	r := s.src.tables.named(change.TableName{Database: name.Database, Table: name.Table})
	if r == nil { // nothing of it was seen in this run, and it may be gone: what remains is its name
		topic := s.src.settings.topic(name.Database, name.Table)
		r = &relation{topic: topic, table: &change.Table{Name: change.TableName{Database: name.Database, Table: name.Table},
			Origin: s.src.origin, Topic: topic, Version: 1}}
	}
	if s.tx.info == nil {
		s.tx.info = &change.Binlog{File: s.file, GTID: s.tx.gtid, ServerID: s.tx.serverID}
		if s.src.flavor == mysqld { // MariaDB's rows have none
			s.tx.info.Thread = uint64(s.ev.Query.Thread)
		}
	}
	e := b.Add()
	e.Table, e.Op, e.Topic = r.table, change.OpTruncate, r.topic
	e.Txn, e.Ordinal, e.LSN = s.tx.number, s.tx.ordinal, s.at-uint64(s.ev.Header.Size)
	e.Commit, e.Seen, e.Binlog = s.tx.commit, s.seen, s.tx.info
}
