package mysql

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
	"github.com/tailrace/tailrace/source/mysql/ddl"
)

// schemaChange tells a DDL statement in the topic of structures, one event for each table of it that is captured, as
// Debezium does. The structure is that of the history, where it has one, with what only the catalog knows: defaults, comments.
func (s *stream) schemaChange(ctx context.Context, b *change.Batch, st statement, text []byte) error {
	if !s.src.settings.SchemaChanges || st.verb == verbTruncate {
		return nil
	}
	if st.verb == verbDatabase || st.verb == verbDropDatabase {
		if database := st.tables[0].Database; s.src.settings.capturesDatabase(database) {
			s.addSchemaChange(b, tableRef{Database: database}, structure{}, text)
		}
		return nil
	}
	for i, name := range st.tables {
		if !s.src.settings.captures(name.Database, name.Table) || st.verb == verbRename && i%2 == 0 {
			continue // a rename is told under the new name
		}
		to, sql := structure{kind: "ALTER"}, text
		switch st.verb {
		case verbDrop: // one statement may drop many
			to.kind, sql = "DROP", dropTable(name, bytes.Contains(bytes.ToUpper(text), []byte("IF EXISTS")))
		case verbCreate, verbReplace:
			to.kind = "CREATE"
		}
		if to.kind != "DROP" {
			d, err := s.describe(ctx, name, false)
			if err != nil {
				return err
			}
			if to.detail, err = s.then(ctx, name, d); err != nil {
				return err
			}
		}
		s.addSchemaChange(b, name, to, sql)
	}
	return nil
}

// then returns what a table is at the stream's place, given what the catalog says now.
func (s *stream) then(ctx context.Context, name tableRef, now *detail) (*detail, error) {
	t := s.history.known.Table(ddl.Name(name))
	if t == nil {
		return now, nil
	}
	if now == nil {
		now = &detail{} // it is gone
	}
	same := func(a, b binlog.Column) bool {
		return a.Name == b.Name && a.TypeName() == b.TypeName() && a.Nullable == b.Nullable && a.Charset == b.Charset
	}
	if slices.EqualFunc(now.columns, t.Columns, same) && slices.Equal(now.primary, t.Key) {
		return now, nil
	}
	d := &detail{columns: t.Columns, extra: make([]columnExtra, len(t.Columns)), primary: t.Key, comment: now.comment, charset: cmp.Or(t.Charset, now.charset)}
	if d.charset == "" { // the database's, which the history knows only where the log has no structures
		if err := s.src.control.do(ctx, func(c *conn) error {
			r, err := c.row(databaseCharset + quoted(name.Database))
			if r != nil {
				d.charset = r[0]
			}
			return err
		}); err != nil {
			return nil, fmt.Errorf("charset of database %s: %w", name.Database, err)
		}
	}
	if len(t.Key) > 0 {
		d.uniques = [][]string{t.Key}
	}
	for i := range t.Columns {
		if k := now.column(t.Columns[i].Name); k >= 0 && now.columns[k].Base == t.Columns[i].Base {
			d.extra[i] = now.extra[k]
		}
	}
	return d, nil
}

const databaseCharset = "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = "

// structure is what a statement has made of a table.
type structure struct {
	kind     string // CREATE, ALTER, DROP; "": it is about no table
	detail   *detail
	snapshot string // no statement of the log, but of the beginning: source.snapshot
}

func dropTable(name tableRef, maybe bool) []byte {
	if maybe {
		return []byte("DROP TABLE IF EXISTS " + qualified(name.Database, name.Table))
	}
	return []byte("DROP TABLE " + qualified(name.Database, name.Table))
}

// introduce tells the structures of all captured tables in the topic of structures, as Debezium does before its snapshot: the
// statements that make them, in a place where there may be others.
func (s *stream) introduce(ctx context.Context, b *change.Batch) error {
	mode := s.src.setup.Props["snapshot.mode"]
	if !s.src.settings.SchemaChanges || mode == "never" {
		return nil
	}
	s.tx.info, s.tx.commit = &change.Binlog{File: s.pos.File}, s.pos.Time
	defer func() { s.tx = transaction{} }()
	s.seen = s.src.setup.Now().UnixMicro()
	err := s.src.control.do(ctx, func(c *conn) error {
		found, err := discover(c, s.src.settings)
		if err != nil {
			return err
		}
		r, err := c.row("SELECT @@global.character_set_server, @@global.collation_server")
		if err != nil {
			return err
		}
		s.addSchemaChange(b, tableRef{}, structure{snapshot: "true"}, fmt.Appendf(nil, "SET character_set_server=%s, collation_server=%s", r[0], r[1]))
		for _, t := range found {
			name := tableRef{t.database, t.table}
			s.addSchemaChange(b, name, structure{kind: "DROP", snapshot: "true"}, dropTable(name, true))
		}
		for i, t := range found {
			if i == 0 || t.database != found[i-1].database {
				if err := s.introduceDatabase(c, b, t.database); err != nil {
					return err
				}
			}
			if err := s.introduceTable(c, b, tableRef{t.database, t.table}); err != nil {
				return err
			}
		}
		return nil
	})
	if n := len(b.Events); err == nil && n > 0 && (mode == "no_data" || mode == "schema_only") { // no rows follow
		e := &b.Events[n-1]
		e.Raw.Value = bytes.Replace(e.Raw.Value, []byte(`"snapshot":"true"`), []byte(`"snapshot":"last"`), 1)
	}
	return err
}

func (s *stream) introduceDatabase(c *conn, b *change.Batch, database string) error {
	r, err := c.row(databaseCharset + quoted(database))
	if err != nil || r == nil {
		return err
	}
	name, id := tableRef{Database: database}, ident(database)
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + id, "CREATE DATABASE " + id + " CHARSET " + r[0] + " COLLATE " + r[1], "USE " + id} {
		s.addSchemaChange(b, name, structure{snapshot: "true"}, []byte(sql))
	}
	return nil
}

func (s *stream) introduceTable(c *conn, b *change.Batch, name tableRef) error {
	d, err := describe(c, s.src.flavor, name.Database, name.Table)
	if err != nil || d == nil {
		return err
	}
	r, err := c.row("SHOW CREATE TABLE " + qualified(name.Database, name.Table))
	if err != nil || len(r) < 2 {
		return err
	}
	s.addSchemaChange(b, name, structure{kind: "CREATE", detail: d, snapshot: "true"}, []byte(r[1]))
	return nil
}

func (s *stream) addSchemaChange(b *change.Batch, name tableRef, to structure, text []byte) {
	if s.tx.info == nil {
		s.tx.info = &change.Binlog{File: s.file, GTID: s.tx.gtid, ServerID: s.tx.serverID}
	}
	e := b.Add()
	e.Op, e.Topic = change.OpMessage, source.TopicName(s.src.settings.Prefix)
	e.Table = &change.Table{Name: change.TableName{Database: name.Database, Table: name.Table}, Origin: s.src.origin, Topic: e.Topic, Version: 1}
	e.Txn, e.Ordinal, e.LSN = s.tx.number, s.tx.ordinal, s.at-uint64(s.ev.Header.Size)
	e.Commit, e.Seen, e.Binlog = s.tx.commit, s.seen, s.tx.info
	if to.snapshot != "" {
		e.LSN = s.pos.Pos
	}
	s.tx.ordinal++
	key := append(jsontext.AppendText([]byte(`{"databaseName":`), name.Database), '}')
	e.Raw = &change.Raw{Key: b.Copy(key), Value: b.Copy(s.schemaValue(e, name, to, text)), Form: change.FormSchemaChange}
}

// schemaValue writes the value of a schema change.
func (s *stream) schemaValue(e *change.Event, name tableRef, to structure, text []byte) []byte {
	v := s.appendSource([]byte(`{"source":`), e, name, to.snapshot)
	v = strconv.AppendInt(append(v, `,"ts_ms":`...), e.Seen/1000, 10)
	v = jsontext.AppendText(append(v, `,"databaseName":`...), name.Database)
	v = jsontext.AppendString(append(v, `,"schemaName":null,"ddl":`...), text)
	v = append(v, `,"tableChanges":[`...)
	if to.kind != "" {
		v = append(append(append(v, `{"type":"`...), to.kind...), `","id":`...)
		v = jsontext.AppendText(v, `"`+name.Database+`"."`+name.Table+`"`)
		v = append(v, `,"table":`...)
		if to.detail == nil {
			v = append(v, "null"...)
		} else {
			v = s.appendStructure(v, to.detail)
		}
		v = append(v, '}')
	}
	return append(v, "]}"...)
}

// appendSource writes the source block, in Debezium's order.
func (s *stream) appendSource(v []byte, e *change.Event, name tableRef, snapshot string) []byte {
	o := s.src.origin
	if snapshot == "" {
		snapshot = "false"
	}
	v = jsontext.AppendText(append(v, `{"version":`...), o.Version)
	v = jsontext.AppendText(append(v, `,"connector":`...), o.Connector)
	v = jsontext.AppendText(append(v, `,"name":`...), o.Name)
	v = strconv.AppendInt(append(v, `,"ts_ms":`...), e.Commit/1000, 10)
	v = jsontext.AppendText(append(append(append(v, `,"snapshot":"`...), snapshot...), `","db":`...), name.Database)
	v = strconv.AppendInt(append(v, `,"sequence":null,"ts_us":`...), e.Commit, 10)
	v = strconv.AppendInt(append(v, `,"ts_ns":`...), e.Commit*1000, 10)
	v = appendNullable(append(v, `,"table":`...), name.Table)
	v = strconv.AppendUint(append(v, `,"server_id":`...), uint64(e.Binlog.ServerID), 10)
	v = appendNullable(append(v, `,"gtid":`...), e.Binlog.GTID)
	v = jsontext.AppendText(append(v, `,"file":`...), e.Binlog.File)
	v = strconv.AppendUint(append(v, `,"pos":`...), e.LSN, 10)
	return append(v, `,"row":0,"thread":null,"query":null}`...)
}

func appendNullable(v []byte, text string) []byte {
	if text == "" {
		return append(v, "null"...)
	}
	return jsontext.AppendText(v, text)
}

func (s *stream) appendStructure(v []byte, d *detail) []byte {
	v = appendNullable(append(v, `{"defaultCharsetName":`...), d.charset)
	v = append(v, `,"primaryKeyColumnNames":[`...)
	if len(d.uniques) > 0 {
		for i, name := range d.uniques[0] {
			if i > 0 {
				v = append(v, ',')
			}
			v = jsontext.AppendText(v, name)
		}
	}
	v = append(v, `],"columns":[`...)
	for i := range d.columns {
		if i > 0 {
			v = append(v, ',')
		}
		v = s.appendColumn(v, i, &d.columns[i], &d.extra[i])
	}
	v = append(v, `],"comment":`...)
	return append(s.appendComment(v, d.comment), '}')
}

func (s *stream) appendComment(v []byte, comment string) []byte {
	if !s.src.settings.Comments {
		comment = ""
	}
	return appendNullable(v, comment)
}

func (s *stream) appendColumn(v []byte, i int, c *binlog.Column, x *columnExtra) []byte {
	name := strings.ToUpper(c.TypeName())
	v = jsontext.AppendText(append(v, `{"name":`...), c.Name)
	v = strconv.AppendInt(append(v, `,"jdbcType":`...), int64(jdbcType(c)), 10)
	v = jsontext.AppendText(append(v, `,"nativeType":null,"typeName":`...), name)
	v = jsontext.AppendText(append(v, `,"typeExpression":`...), name)
	charset := c.Charset
	if charset == "binary" {
		charset = ""
	}
	v = appendNullable(append(v, `,"charsetName":`...), charset)
	length, scale := declaredSize(c)
	v = appendNumber(append(v, `,"length":`...), length)
	v = appendNumber(append(v, `,"scale":`...), scale)
	v = strconv.AppendInt(append(v, `,"position":`...), int64(i+1), 10)
	v = strconv.AppendBool(append(v, `,"optional":`...), c.Nullable)
	v = strconv.AppendBool(append(v, `,"autoIncremented":`...), x.auto)
	v = strconv.AppendBool(append(v, `,"generated":`...), x.generated)
	v = s.appendComment(append(v, `,"comment":`...), x.comment)
	v = append(v, `,"defaultValueExpression":`...)
	if text, ok := x.literal(); ok && x.hasDefault {
		v = jsontext.AppendText(v, text)
	} else {
		v = append(v, "null"...)
	}
	v = append(v, `,"enumValues":`...)
	if c.Labels == nil {
		return append(v, "null}"...)
	}
	v = append(v, '[')
	for i, label := range c.Labels {
		if i > 0 {
			v = append(v, ',')
		}
		v = jsontext.AppendText(v, "'"+strings.ReplaceAll(label, "'", "''")+"'")
	}
	return append(v, "]}"...)
}

// appendNumber appends a number that is not known if it is negative.
func appendNumber(v []byte, n int64) []byte {
	if n < 0 {
		return append(v, "null"...)
	}
	return strconv.AppendInt(v, n, 10)
}

// jdbcType is the number of a type in java.sql.Types that Debezium gives it.
func jdbcType(c *binlog.Column) int {
	switch c.Base {
	case "tinyint", "smallint":
		return 5
	case "mediumint", "int", "year":
		return 4
	case "bigint":
		return -5
	case "decimal":
		return 3
	case "float":
		return 6
	case "double":
		return 8
	case "bit":
		return -7
	case "char", "enum", "set":
		return 1
	case "varchar", "tinytext", "text", "mediumtext", "longtext":
		return 12
	case "binary":
		return -2
	case "varbinary":
		return -3
	case "tinyblob", "blob", "mediumblob", "longblob":
		return 2004
	case "date":
		return 91
	case "time":
		return 92
	case "datetime":
		return 93
	case "timestamp":
		return 2014
	}
	return 1111
}
