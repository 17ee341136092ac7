package mysql

import (
	"context"
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
			s.addSchemaChange(b, tableRef{Database: database}, "", nil, text)
		}
		return nil
	}
	for i, name := range st.tables {
		if !s.src.settings.captures(name.Database, name.Table) || st.verb == verbRename && i%2 == 0 {
			continue // a rename is told under the new name
		}
		kind := "ALTER"
		var d *detail
		switch st.verb {
		case verbDrop:
			kind = "DROP"
		case verbCreate, verbReplace:
			kind = "CREATE"
		}
		if kind != "DROP" {
			var err error
			if d, err = s.describe(ctx, name, false); err != nil {
				return err
			}
			d = s.then(name, d)
		}
		s.addSchemaChange(b, name, kind, d, text)
	}
	return nil
}

// then returns what a table is at the stream's place, given what the catalog says now.
func (s *stream) then(name tableRef, now *detail) *detail {
	t := s.history.known.Table(ddl.Name(name))
	if t == nil {
		return now
	}
	if now == nil {
		now = &detail{} // it is gone
	}
	same := func(a, b binlog.Column) bool {
		return a.Name == b.Name && a.TypeName() == b.TypeName() && a.Nullable == b.Nullable && a.Charset == b.Charset
	}
	if slices.EqualFunc(now.columns, t.Columns, same) && slices.Equal(now.primary, t.Key) {
		return now
	}
	d := &detail{columns: t.Columns, extra: make([]columnExtra, len(t.Columns)), primary: t.Key, comment: now.comment, charset: t.Charset}
	if len(t.Key) > 0 {
		d.uniques = [][]string{t.Key}
	}
	for i := range t.Columns {
		if k := now.column(t.Columns[i].Name); k >= 0 && now.columns[k].Base == t.Columns[i].Base {
			d.extra[i] = now.extra[k]
		}
	}
	return d
}

func (s *stream) addSchemaChange(b *change.Batch, name tableRef, kind string, d *detail, text []byte) {
	if s.tx.info == nil {
		s.tx.info = &change.Binlog{File: s.file, GTID: s.tx.gtid, ServerID: s.tx.serverID}
	}
	e := b.Add()
	e.Op, e.Topic = change.OpMessage, source.TopicName(s.src.settings.Prefix)
	e.Table = &change.Table{Name: change.TableName{Database: name.Database, Table: name.Table}, Origin: s.src.origin, Topic: e.Topic, Version: 1}
	e.Txn, e.Ordinal, e.LSN = s.tx.number, s.tx.ordinal, s.at-uint64(s.ev.Header.Size)
	e.Commit, e.Seen, e.Binlog = s.tx.commit, s.seen, s.tx.info
	s.tx.ordinal++
	key := append(jsontext.AppendText([]byte(`{"databaseName":`), name.Database), '}')
	e.Raw = &change.Raw{Key: b.Copy(key), Value: b.Copy(s.schemaValue(e, name, kind, d, text)), Form: change.FormSchemaChange}
}

// schemaValue writes the value of a schema change.
func (s *stream) schemaValue(e *change.Event, name tableRef, kind string, d *detail, text []byte) []byte {
	v := s.appendSource([]byte(`{"source":`), e, name)
	v = strconv.AppendInt(append(v, `,"ts_ms":`...), e.Seen/1000, 10)
	v = jsontext.AppendText(append(v, `,"databaseName":`...), name.Database)
	v = jsontext.AppendString(append(v, `,"schemaName":null,"ddl":`...), text)
	v = append(v, `,"tableChanges":[`...)
	if kind != "" {
		v = append(append(append(v, `{"type":"`...), kind...), `","id":`...)
		v = jsontext.AppendText(v, `"`+name.Database+`"."`+name.Table+`"`)
		v = append(v, `,"table":`...)
		if d == nil {
			v = append(v, "null"...)
		} else {
			v = s.appendStructure(v, d)
		}
		v = append(v, '}')
	}
	return append(v, "]}"...)
}

// appendSource writes the source block, in Debezium's order.
func (s *stream) appendSource(v []byte, e *change.Event, name tableRef) []byte {
	o := s.src.origin
	v = jsontext.AppendText(append(v, `{"version":`...), o.Version)
	v = jsontext.AppendText(append(v, `,"connector":`...), o.Connector)
	v = jsontext.AppendText(append(v, `,"name":`...), o.Name)
	v = strconv.AppendInt(append(v, `,"ts_ms":`...), e.Commit/1000, 10)
	v = jsontext.AppendText(append(v, `,"snapshot":"false","db":`...), name.Database)
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
	length, scale := c.Length, -1
	switch c.Base {
	case "decimal":
		length, scale = c.Precision, c.Scale
	case "float", "double":
		length, scale = c.Precision, c.Scale
	case "time", "datetime", "timestamp":
		length = c.Precision
	}
	v = appendNumber(append(v, `,"length":`...), length, length > 0)
	v = appendNumber(append(v, `,"scale":`...), scale, scale >= 0)
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
		v = jsontext.AppendText(v, "'"+label+"'")
	}
	return append(v, "]}"...)
}

func appendNumber(v []byte, n int, known bool) []byte {
	if !known {
		return append(v, "null"...)
	}
	return strconv.AppendInt(v, int64(n), 10)
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
