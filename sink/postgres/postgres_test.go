package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// bench is a schema of a test's own, seen directly and through a proxy.
type bench struct {
	testing.TB
	conn   *pgconn.PgConn // unqualified names are in the schema
	proxy  *proxy.Proxy
	schema string
	props  map[string]string
}

func connect(t testing.TB, dsn string) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exec(t testing.TB, c *pgconn.PgConn, sql string) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func newBench(t testing.TB, dsn string) *bench {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, conn: connect(t, dsn), proxy: proxy.New(t, u.Host), schema: fmt.Sprintf("sink_%d", time.Now().UnixNano())}
	exec(t, b.conn, fmt.Sprintf("CREATE SCHEMA %s; SET search_path = %[1]s; SET client_min_messages = warning", b.schema))
	u.Host = b.proxy.Addr()
	u.RawQuery = "sslmode=disable"
	b.props = map[string]string{"connection.url": "jdbc:" + u.String(), "schema": b.schema}
	t.Cleanup(func() {
		exec(t, b.conn, "DROP SCHEMA "+b.schema+" CASCADE")
		b.conn.Close(context.Background())
	})
	return b
}

func (b *bench) tryOpen(props map[string]string) (sink.Sink, error) {
	all := maps.Clone(b.props)
	maps.Copy(all, props)
	return Plugin.Open(b.Context(), sink.Setup{Connector: "conn", Props: all, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
}

func (b *bench) open(t testing.TB, props map[string]string) sink.Sink {
	t.Helper()
	s, err := b.tryOpen(props)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

// query returns all rows as text, NULL as "(null)".
func (b *bench) query(sql string) [][]string {
	b.Helper()
	r := b.conn.ExecParams(context.Background(), sql, nil, nil, nil, nil).Read()
	if r.Err != nil {
		b.Fatalf("%s: %v", sql, r.Err)
	}
	var rows [][]string
	for _, values := range r.Rows {
		var row []string
		for _, v := range values {
			if v == nil {
				row = append(row, "(null)")
			} else {
				row = append(row, string(v))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// text is query for a single value.
func (b *bench) text(sql string) string {
	b.Helper()
	rows := b.query(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		b.Fatalf("%s: %v, want one value", sql, rows)
	}
	return rows[0][0]
}

// rows reads a table back through the parser of PostgreSQL's text forms, independent of the encoder under test.
func (b *bench) rows(t testing.TB, topic string, table *change.Table) []map[string]string {
	name := topic[strings.LastIndexByte(topic, '.')+1:]
	if b.text("SELECT to_regclass('"+quote(name)+"') IS NULL") == "t" {
		return nil
	}
	var cols []string
	for i := range table.Columns {
		cols = append(cols, quote(table.Columns[i].Name))
	}
	var out []map[string]string
	for _, row := range b.query("SELECT " + strings.Join(cols, ", ") + " FROM " + quote(name)) {
		m := map[string]string{}
		for i, text := range row {
			c := &table.Columns[i]
			if text == "(null)" {
				continue
			}
			v := change.Value{Kind: change.Array, Data: []byte(text)}
			if c.Type.Kind != change.Array {
				v, _ = jsontext.ParseElem(&c.Type, []byte(text), nil)
			}
			if v.Kind == change.Text && (c.Type.Kind == change.Timestamp || c.Type.Kind == change.TimestampTZ) {
				// Past what the parser takes for a timestamp, and within what PostgreSQL prints.
				text = "+" + strings.Replace(strings.Replace(text, " ", "T", 1), "+00", "Z", 1)
				v.Data = []byte(text)
			}
			m[c.Name] = sinktest.NaturalText(c, v)
		}
		out = append(out, m)
	}
	return out
}

func harness(dsn string, props map[string]string) sinktest.Harness {
	return sinktest.Harness{
		New: func(t testing.TB) sinktest.Target {
			b := newBench(t, dsn)
			maps.Copy(b.props, props)
			return sinktest.Target{
				Open: b.open,
				Rows: b.rows,
				FailAfterWrite: func(testing.TB) {
					b.proxy.DropAnswer("COMMIT")
				},
				Hang: func(testing.TB) func() { return b.proxy.Hang() },
				Refuse: func(t testing.TB, topic string, table *change.Table, column string) change.Value {
					exec(t, b.conn, fmt.Sprintf(`ALTER TABLE %s ADD CHECK (%s <> 'forbidden')`, quote(table.Name.Table), quote(column)))
					return sinktest.Text("forbidden")
				},
			}
		},
		Unsupported: map[string]string{
			"value/text_nul":    "PostgreSQL stores no NUL character in text; the row is rejected",
			"value/other_kinds": "a column of PostgreSQL holds values of its type only; the row is rejected",
		},
		Leaks: []goleak.Option{
			goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).accept"),
			goleak.IgnoreAnyFunction("github.com/tailrace/tailrace/internal/servers/proxy.(*Proxy).pass"),
		},
	}
}

func TestSinktest(t *testing.T) {
	dsn := servers.Need(t, "postgres15")
	t.Run("defaults", func(t *testing.T) { sinktest.Run(t, harness(dsn, nil)) })
	t.Run("three_rows_a_statement", func(t *testing.T) { sinktest.Run(t, harness(dsn, map[string]string{"batch.size": "3"})) })
}
