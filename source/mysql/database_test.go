package mysql

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/source"
)

// patience bounds every wait of the tests.
const patience = 30 * time.Second

// all are the servers that tests run on, each where it can be had.
func all() []string { return []string{"mariadb10", "mysql80", "mysql97", "mysql57"} }

// onEach runs a test on each of the servers, as a subtest of its name.
func onEach(t *testing.T, names []string, test func(*testing.T, string)) {
	t.Helper()
	for _, name := range names {
		t.Run(name, func(t *testing.T) { test(t, servers.Need(t, name)) })
	}
}

// testDB is a database of its own for one test.
type testDB struct {
	*testing.T
	addr   string // of the server
	flavor flavor
	name   string
	conn   *conn
	prefix string
	notes  map[string][]byte // of what was read
}

// newDB makes a database on the server at addr and runs sql in it. At the end of the test it is dropped.
func newDB(t *testing.T, addr, sql string) *testDB {
	t.Helper()
	id := strings.ToLower(rand.Text()[:10])
	d := &testDB{T: t, addr: addr, name: "tr_" + id, prefix: "p" + id, notes: map[string][]byte{}}
	d.conn = d.connect()
	var version string
	if r, err := d.conn.row("SELECT @@version"); err == nil {
		version = r[0]
	}
	if strings.Contains(version, "MariaDB") {
		d.flavor = mariadb
	}
	d.exec("CREATE DATABASE " + d.name + " CHARACTER SET utf8mb4; USE " + d.name)
	t.Cleanup(func() {
		if _, err := d.conn.Execute("DROP DATABASE " + d.name); err != nil {
			t.Error(err)
		}
		d.conn.Close()
	})
	d.exec(sql)
	return d
}

// connect opens a connection of its own as the administrator.
func (d *testDB) connect() *conn {
	d.Helper()
	s, problems := parse(d.props())
	if len(problems) > 0 {
		d.Fatal(problems)
	}
	c, err := dial(context.Background(), s, patience)
	if err != nil {
		d.Fatal(err)
	}
	return c
}

// exec runs statements that are separated by semicolons at line ends or followed by a space.
func (d *testDB) exec(sql string) {
	d.Helper()
	execOn(d.T, d.conn, sql)
}

func execOn(t *testing.T, c *conn, sql string) {
	t.Helper()
	for _, one := range strings.Split(sql, "; ") {
		if one = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(one), ";")); one == "" {
			continue
		}
		if _, err := c.Execute(one); err != nil {
			t.Fatalf("%.200s: %v", one, err)
		}
	}
}

// text returns the first column of the first row of a query.
func (d *testDB) text(sql string) string {
	d.Helper()
	r, err := d.conn.row(sql)
	if err != nil || r == nil {
		d.Fatalf("%s: %v, %v", sql, r, err)
	}
	return r[0]
}

// props is the configuration of a connector on the database. Pairs of key and value come on top.
func (d *testDB) props(pairs ...string) map[string]string {
	d.Helper()
	u, err := url.Parse(d.addr)
	if err != nil {
		d.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		d.Fatal(err)
	}
	p := map[string]string{"database.hostname": host, "database.port": port, "database.user": u.User.Username(), "database.password": "",
		"database.include.list": d.name, "topic.prefix": d.prefix, "include.schema.changes": "false"}
	for i := 0; i+1 < len(pairs); i += 2 {
		p[pairs[i]] = pairs[i+1]
	}
	return p
}

func (d *testDB) setup(pairs ...string) source.Setup {
	return source.Setup{Connector: "test", Props: d.props(pairs...), Version: "1.0", Now: time.Now,
		Notes: func(context.Context) (map[string][]byte, error) { return maps.Clone(d.notes), nil }}
}

func (d *testDB) plugin() source.Plugin {
	if d.flavor == mariadb {
		return MariaDB
	}
	return Plugin
}

// open opens a source and closes it at the end of the test.
func (d *testDB) open(pairs ...string) *Source {
	d.Helper()
	s, err := open(d.Context(), d.setup(pairs...), d.flavor)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if err := s.Close(); err != nil {
			d.Errorf("close source: %v", err)
		}
	})
	return s
}

// stream opens a source and its stream.
func (d *testDB) stream(from change.Position, pairs ...string) source.Stream {
	d.Helper()
	s, err := d.open(pairs...).Stream(d.Context(), from)
	if err != nil {
		d.Fatal(err)
	}
	return s
}

// read collects n events; its batch stays as it is.
func (d *testDB) read(s source.Stream, n int) ([]change.Event, change.Position) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	var kept change.Batch
	var b change.Batch
	var resume change.Position
	for len(kept.Events) < n {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			d.Fatalf("after %d of %d events: %v", len(kept.Events), n, err)
		}
		for i := range b.Events {
			kept.CopyEvent(&b.Events[i])
		}
		d.remember(&b)
		resume = append(change.Position(nil), b.Resume...)
	}
	return kept.Events, resume
}

// remember keeps the notes of a batch.
func (d *testDB) remember(b *change.Batch) {
	for _, n := range b.Notes {
		if d.notes[n.Key] = n.Value; n.Value == nil {
			delete(d.notes, n.Key)
		}
	}
}

// fails reads until the stream fails and returns the error.
func (d *testDB) fails(s source.Stream) error {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	var b change.Batch
	for {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			return err
		}
	}
}

// show writes an event as "c 1,x" with the values of its new row, or of its old one: text for what tests compare.
func show(e *change.Event) string {
	row := e.After
	if e.Op == change.OpDelete {
		row = e.Before
	}
	var parts []string
	for i := range row {
		parts = append(parts, showValue(row[i]))
	}
	return fmt.Sprintf("%c %s", e.Op, strings.Join(parts, ","))
}

func showValue(v change.Value) string {
	switch v.Kind {
	case change.Absent:
		return "absent"
	case change.Null:
		return "NULL"
	case change.Bool:
		return fmt.Sprint(v.Num == 1)
	case change.Int:
		return fmt.Sprint(v.Int64())
	case change.Uint:
		return fmt.Sprint(v.Num)
	case change.Float32, change.Float64:
		return fmt.Sprint(v.Float())
	case change.Date, change.Time, change.Timestamp, change.TimestampTZ:
		return fmt.Sprintf("%s:%d", v.Kind, v.Int64())
	case change.Bytes, change.UUID:
		return fmt.Sprintf("x%x", v.Data)
	}
	return string(v.Data)
}

func showAll(events []change.Event) string {
	var lines []string
	for i := range events {
		lines = append(lines, show(&events[i]))
	}
	return strings.Join(lines, "; ")
}

func problemsText(problems []config.Problem) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}
