package compare

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/change"
)

// mysqlSide is a MySQL or MariaDB server whose databases are the schemas of tables.
type mysqlSide struct{ name, addr string }

// NewMySQL returns the side that a MySQL or MariaDB server at host:port is, for root without a password.
func NewMySQL(name, addr string) Side { return &mysqlSide{name, addr} }

// Name implements Side.
func (m *mysqlSide) Name() string { return m.name }

// Read implements Side.
func (m *mysqlSide) Read(ctx context.Context, t *Table, emit func(key, line string) error) (err error) {
	conn, err := client.Connect(m.addr, "root", "", t.Schema)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stop := context.AfterFunc(ctx, func() { conn.Conn.Close() })
	defer stop()
	list := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		switch list[i] = "`" + c.Name + "`"; c.Kind {
		case change.JSON, change.Decimal, change.Float32, change.Float64, change.Time, change.Timestamp, change.TimestampTZ:
			list[i] = "CAST(" + list[i] + " AS CHAR)" // the text protocol's form, whatever the client makes of the type
		}
	}
	for _, sql := range []string{"SET NAMES utf8mb4", "SET time_zone = '+00:00'"} {
		if _, err := conn.Execute(sql); err != nil {
			return err
		}
	}
	var r row
	var res mysql.Result
	return conn.ExecuteSelectStreaming(fmt.Sprintf("SELECT %s FROM `%s`", strings.Join(list, ", "), t.Name), &res, func(values []mysql.FieldValue) error {
		r.clear(t)
		for i := range values {
			if values[i].Type == mysql.FieldValueTypeNull {
				continue
			}
			text, err := fromMySQL(t.Columns[i].Kind, &values[i])
			if err != nil {
				return fmt.Errorf("%s, column %s: %w", t, t.Columns[i].Name, err)
			}
			r.set(i, text)
		}
		return emit(r.key(), r.line())
	}, nil)
}

// fromMySQL returns the normal form of a value.
func fromMySQL(k change.Kind, v *mysql.FieldValue) ([]byte, error) {
	text := v.AsString()
	if v.Type != mysql.FieldValueTypeString {
		text = []byte(v.String())
	}
	switch k {
	case change.JSON:
		return compact(nil, text), nil
	case change.Bytes:
		return base64.StdEncoding.AppendEncode(nil, text), nil
	case change.Float32, change.Float64:
		return appendFloat(nil, k, text)
	case change.Time, change.Timestamp, change.TimestampTZ:
		text = bytes.Replace(text, []byte(" "), []byte("T"), 1)
		if bytes.IndexByte(text, '.') > 0 {
			text = bytes.TrimRight(bytes.TrimRight(text, "0"), ".")
		}
		if k == change.TimestampTZ {
			text = append(text, 'Z')
		}
	}
	return text, nil
}
