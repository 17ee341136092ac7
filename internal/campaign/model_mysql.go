package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/compare"
)

// modelUser is who a daemon is on a MySQL or MariaDB server, so that its connections can be told from others.
const modelUser = "tailrace_model"

// mysqlDialect is MariaDB or MySQL.
type mysqlDialect struct {
	mysqlFamily
	class string // of the connector
}

var _ dialect = mysqlDialect{}

// newMySQLDialect makes the daemon's user.
func newMySQLDialect(ctx context.Context, f mysqlFamily) (mysqlDialect, error) {
	d := mysqlDialect{f, f.plugin.Name}
	return d, d.run(ctx, "CREATE USER "+modelUser+"@'%'", "GRANT ALL ON *.* TO "+modelUser+"@'%'")
}

func (d mysqlDialect) mariaDB() bool { return d.class == "mariadb" }

func (d mysqlDialect) create(ctx context.Context, name string, statements []string) error {
	return d.run(ctx, append([]string{"CREATE DATABASE " + name + " CHARACTER SET utf8mb4", "USE " + name}, statements...)...)
}

// enter implements dialect. What the last two clients log of an update is not the whole row.
func (d mysqlDialect) enter(ctx context.Context, name string, client int) (session, error) {
	s, err := d.connect(ctx, name)
	if err != nil {
		return nil, err
	}
	image := []string{"FULL", "FULL", "NOBLOB", "MINIMAL"}[client%4]
	for _, sql := range []string{"SET SESSION binlog_row_image = '" + image + "'", "SET SESSION lock_wait_timeout = 5"} {
		if err := s.exec(ctx, sql); err != nil {
			return nil, errors.Join(err, s.close(ctx))
		}
	}
	return s, nil
}

func (mysqlDialect) partial(_ *modelTable, client int) bool { return client > 1 }

func (d mysqlDialect) stale(err error) bool {
	var e *mysql.MyError
	return d.refused(err) || errors.As(err, &e) && slices.Contains([]uint16{mysql.ER_CHECKREAD, mysql.ER_BAD_FIELD_ERROR, mysql.ER_NO_SUCH_TABLE,
		mysql.ER_TABLE_DEF_CHANGED, mysql.ER_XA_RBDEADLOCK, mysql.ER_XA_RBTIMEOUT, mysql.ER_XA_RBROLLBACK}, e.Code)
}

func (d mysqlDialect) literal(t *modelType, text string) string {
	if t != nil && t.hex {
		return "x'" + text + "'"
	}
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(text) + "'"
}

func (mysqlDialect) insertIfAbsent(table, columns, tuple string) string {
	return fmt.Sprintf("INSERT IGNORE INTO %s (%s) VALUES %s", table, columns, tuple)
}

func (mysqlDialect) bulk(ctx context.Context, c *modelClient, t *modelTable, columns []modelColumn, rows [][]*string) error {
	return c.values(ctx, t, columns, rows)
}

func (mysqlDialect) renameColumn(t *modelTable, from modelColumn, to string) string {
	return fmt.Sprintf("ALTER TABLE %s CHANGE %s %s %s", t.name, from.name, to, from.typ.sql)
}

func (mysqlDialect) retype(t *modelTable, to modelColumn) string {
	return fmt.Sprintf("ALTER TABLE %s MODIFY %s %s", t.name, to.name, to.typ.sql)
}

func (mysqlDialect) transactionalDDL() bool { return false }

func (mysqlDialect) tablesCome() bool { return true }

func (mysqlDialect) schema(name string) string { return name }

func (d mysqlDialect) side(string) compare.Side { return compare.NewMySQL("source", d.server.Addr) }

func (d mysqlDialect) connector(name, _ string) map[string]string {
	return map[string]string{"connector.class": d.class, "database.hostname": "127.0.0.1", "database.port": fmt.Sprint(d.server.Port),
		"database.user": modelUser, "database.include.list": name}
}

func (d mysqlDialect) interrupt(ctx context.Context, name string) (n int, err error) {
	s, err := d.connect(ctx, name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	ids, err := s.numbers(ctx, "SELECT id FROM information_schema.processlist WHERE user = '"+modelUser+"'")
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		var e *mysql.MyError
		if err := s.exec(ctx, fmt.Sprintf("KILL %d", id)); err == nil {
			n++
		} else if !errors.As(err, &e) || e.Code != mysql.ER_NO_SUCH_THREAD {
			return n, err
		}
	}
	return n, nil
}

func (mysqlDialect) transaction(source []byte) (string, int64, error) { return byGTID(source) }

// variant implements dialect: partitions.
func (mysqlDialect) variant(k *modelKey, r *rand.Rand) (v modelVariant) {
	if strings.HasPrefix(k.clause, "PRIMARY KEY") && r.IntN(4) == 0 {
		v.options = " PARTITION BY KEY () PARTITIONS 3"
	}
	return v
}

// types implements dialect.
func (d mysqlDialect) types() []modelType {
	documents := []string{`{"a":[1,"x y"],"n":9007199254740993}`, `[]`, `"s"`, `true`, `{"é":{"deep":[null,{"k":"é"}]}}`}
	list := []modelType{
		{sql: "tinyint", kind: change.Int, value: modelInt(-128, 127)},
		{sql: "smallint unsigned", kind: change.Int, value: modelInt(0, 65535)},
		{sql: "mediumint", kind: change.Int, value: modelInt(-1<<23, 1<<23-1)},
		{sql: "int", kind: change.Int, value: modelInt(-1<<31, 1<<31-1)},
		{sql: "int unsigned", kind: change.Int, value: modelInt(0, 1<<32-1)},
		{sql: "bigint", kind: change.Int, value: modelInt(-1<<63, 1<<63-1)},
		{sql: "bigint unsigned", kind: change.Int, value: modelInt(0, 1<<63-1)},
		{sql: "decimal(12,2)", kind: change.Decimal, value: modelDecimal(2)},
		{sql: "decimal(30,9)", kind: change.Decimal, value: oneOf("0.000000000", "123456789012345678901.123456789", "-0.000000001")},
		{sql: "float", kind: change.Float32, value: modelFloat},
		{sql: "double", kind: change.Float64, value: modelFloat},
		{sql: "date", kind: change.Date, value: modelMoment("2006-01-02")},
		{sql: "time(6)", kind: change.Time, digits: 6, value: oneOf("00:00:00.000000", "23:59:59.999999", "12:00:00.500000")},
		{sql: "time", kind: change.Time, digits: 6, value: oneOf("00:00:00", "23:59:59")},
		{sql: "datetime", kind: change.Timestamp, value: modelMoment("2006-01-02 15:04:05")},
		{sql: "datetime(3)", kind: change.Timestamp, digits: 3, value: modelMoment("2006-01-02 15:04:05.000")},
		{sql: "datetime(6)", kind: change.Timestamp, digits: 6, value: modelMoment("2006-01-02 15:04:05.000000")},
		{sql: "timestamp(6) NULL", kind: change.TimestampTZ, digits: 6, value: oneOf("1970-01-01 00:00:01.000000", "2024-02-29 12:34:56.120000", "2038-01-19 03:14:07.000000")},
		{sql: "year", kind: change.Int, value: oneOf("1901", "2155", "2024")},
		{sql: "char(7)", kind: change.Text, value: oneOf("", "a", "abcdefg", "é x")},
		{sql: "varchar(60)", kind: change.Text, value: modelText(60)},
		{sql: "varchar(40) CHARACTER SET latin1", kind: change.Text, value: oneOf("", "né", "Zoë's", "ÿ", `a\b`)},
		{sql: "varchar(40) CHARACTER SET utf16", kind: change.Text, value: modelText(40)},
		{sql: "text", kind: change.Text, value: modelText(100)},
		{sql: "mediumtext", kind: change.Text, value: modelLarge, large: true},
		{sql: "mediumtext", kind: change.Text, value: modelLarge, large: true},
		{sql: "binary(6)", kind: change.Bytes, hex: true, value: oneOf("000000000000", "0102030405ff", "ab0000000000")},
		{sql: "varbinary(30)", kind: change.Bytes, hex: true, value: modelHex("", 0, 20)},
		{sql: "blob", kind: change.Bytes, hex: true, value: modelHex("", 0, 9000), large: true},
		{sql: "enum('sad','o''k','Zoë')", kind: change.Text, value: oneOf("sad", "o'k", "Zoë")},
		{sql: "set('x','y','ž')", kind: change.Text, value: oneOf("", "x", "x,ž", "x,y,ž")},
		{sql: "json", kind: change.JSON, value: oneOf(documents...)},
	}
	if d.mariaDB() { // whose JSON is a text
		list[len(list)-1].kind = change.Text
		list = append(list, modelType{sql: "uuid", kind: change.UUID, value: modelUUID}, modelType{sql: "inet6", kind: change.Text, value: oneOf("::1", "2001:db8::ff00", "::ffff:10.0.0.1")})
	}
	return list
}

// wider implements dialect.
func (d mysqlDialect) wider(t *modelType) *modelType {
	switch t.kind {
	case change.Int:
		return &modelType{sql: "bigint", kind: change.Int, value: modelInt(-1<<63, 1<<63-1)}
	case change.Decimal:
		return &modelType{sql: "decimal(40,10)", kind: change.Decimal, value: oneOf("1.5000000000", "-12345678901234567890.2500000000")}
	case change.Bytes:
		return &modelType{sql: "longblob", kind: change.Bytes, hex: true, value: modelHex("", 0, 9000), large: true}
	}
	return &modelType{sql: "longtext", kind: change.Text, value: modelLarge, large: true}
}

// keys implements dialect.
func (d mysqlDialect) keys() []modelKey {
	id := modelKeyColumn{name: "id", sql: "bigint", kind: change.Int, value: func(n int) string { return fmt.Sprint(n - 20) }}
	text := modelKeyColumn{name: "k", sql: "varchar(60)", kind: change.Text, value: func(n int) string { return fmt.Sprintf("ключ %d", n) }}
	uuid := modelKeyColumn{name: "u", sql: "char(36) CHARACTER SET ascii", kind: change.Text, value: func(n int) string { return fmt.Sprintf("d0000000-0000-4000-8000-%012x", n) }}
	if d.mariaDB() {
		uuid.sql, uuid.kind = "uuid", change.UUID
	}
	part := modelKeyColumn{name: "b", sql: "int unsigned", kind: change.Int, value: func(n int) string { return fmt.Sprint(n % 3) }}
	decimal := modelKeyColumn{name: "d", sql: "decimal(10,2)", kind: change.Decimal, value: func(n int) string { return fmt.Sprintf("%d.50", n) }}
	return []modelKey{
		{name: "id", columns: []modelKeyColumn{id}, clause: "PRIMARY KEY (id)"},
		{name: "text", columns: []modelKeyColumn{text}, clause: "PRIMARY KEY (k)"},
		{name: "uuid", columns: []modelKeyColumn{uuid}, clause: "PRIMARY KEY (u)"},
		{name: "decimal", columns: []modelKeyColumn{decimal}, clause: "PRIMARY KEY (d)"},
		{name: "pair", columns: []modelKeyColumn{text, part}, clause: "PRIMARY KEY (b, k)"},
		{name: "unique", columns: []modelKeyColumn{text}, clause: "UNIQUE (k)"},
		{name: "none"},
	}
}
