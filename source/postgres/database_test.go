package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/source"
)

// patience bounds every wait of the tests.
const patience = 30 * time.Second

// testDB is a database of its own for one test, with a slot of its own.
type testDB struct {
	*testing.T
	addr string // of the server
	name string
	conn *pgx.Conn
	slot string

	scratch string // where transactions in progress are kept; empty: they are not streamed
}

// eachServer runs a test on PostgreSQL 15 and 18, and on one of 14, 16 and 17: which of them follows from the test's name, so that
// the tests together cover all and each stays the same from run to run.
func eachServer(t *testing.T, run func(t *testing.T)) {
	h := fnv.New32a()
	h.Write([]byte(t.Name()))
	others := []string{"postgres14", "postgres16", "postgres17"}
	for _, name := range []string{"postgres15", "postgres18", others[h.Sum32()%3]} {
		t.Run(name, parallel(run))
	}
}

// twoServers runs a test on PostgreSQL 15 and 18 only.
func twoServers(t *testing.T, run func(t *testing.T)) {
	for _, name := range []string{"postgres15", "postgres18"} {
		t.Run(name, parallel(run))
	}
}

// parallel lets a test run beside the same test on other servers: most of the time it waits for its own.
func parallel(run func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		run(t)
	}
}

// serverName returns the server that the test's name says, PostgreSQL 15 if it says none.
func serverName(t *testing.T) string {
	for part := range strings.SplitSeq(t.Name(), "/") {
		if strings.HasPrefix(part, "postgres") && servers.Variable(part) != "" {
			return part
		}
	}
	return "postgres15"
}

// fullSize reports whether a test that needs minutes at its full size is to run so: TAILRACE_FULL_SIZE asks for it, and once is enough,
// on PostgreSQL 18.
func fullSize(t *testing.T) bool {
	return serverName(t) == "postgres18" && os.Getenv("TAILRACE_FULL_SIZE") != ""
}

// newDB makes a database on the shared server of the test (see serverName) and runs sql in it.
func newDB(t *testing.T, sql string) *testDB {
	t.Helper()
	return newDBAt(t, servers.Need(t, serverName(t)), sql)
}

// newDBAt makes a database on the server at addr. At the end of the test the slot, the database and what wrongly kept
// them alive are gone.
func newDBAt(t *testing.T, addr, sql string) *testDB {
	t.Helper()
	id := strings.ToLower(rand.Text()[:10])
	d := &testDB{T: t, addr: addr, name: "tr_" + id, slot: "tr_" + id, scratch: t.TempDir()}
	admin := d.connect("")
	mustExec(t, admin, "CREATE DATABASE "+ident(d.name))
	mustClose(t, admin)
	d.conn = d.connect(d.name)
	t.Cleanup(func() {
		d.conn.Close(context.Background())
		admin := d.connect("")
		defer admin.Close(context.Background())
		mustExec(t, admin, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND database = "+literal(d.name))
		d.eventually(func() (bool, string) {
			_, err := admin.Exec(context.Background(), "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = "+literal(d.name))
			return err == nil, fmt.Sprint(err)
		})
		mustExec(t, admin, "DROP DATABASE "+ident(d.name)+" WITH (FORCE)")
	})
	d.exec(sql)
	return d
}

func (d *testDB) connect(database string) *pgx.Conn {
	d.Helper()
	cfg, err := pgx.ParseConfig(d.addr)
	if err != nil {
		d.Fatal(err)
	}
	if database != "" {
		cfg.Database = database
	}
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		d.Fatal(err)
	}
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
}

func mustClose(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if err := conn.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// exec runs statements, all in one transaction unless they say otherwise.
func (d *testDB) exec(sql string) {
	d.Helper()
	mustExec(d.T, d.conn, sql)
}

// text returns the first column of the first row of a query.
func (d *testDB) text(sql string, args ...any) string {
	d.Helper()
	var v string
	if err := d.conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		d.Fatalf("%s: %v", sql, err)
	}
	return v
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
	password, _ := u.User.Password()
	p := map[string]string{"database.hostname": host, "database.port": port, "database.user": u.User.Username(),
		"database.password": password, "database.dbname": d.name, "topic.prefix": "shop", "slot.name": d.slot}
	for i := 0; i+1 < len(pairs); i += 2 {
		p[pairs[i]] = pairs[i+1]
	}
	return p
}

func (d *testDB) setup(pairs ...string) source.Setup {
	return source.Setup{Connector: "test", Props: d.props(pairs...), Version: "1.0", Now: time.Now, Scratch: d.scratch}
}

// open opens a source and closes it at the end of the test.
func (d *testDB) open(pairs ...string) *Source {
	d.Helper()
	s, err := open(d.Context(), d.setup(pairs...))
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

// tap is an open stream with what it delivered.
type tap struct {
	*testDB
	src     *Source
	st      source.Stream
	keep    change.Batch // holds all events
	resume  change.Position
	steps   []int // number of events after each Read
	resumes []change.Position
}

// stream opens a source and a stream at the position.
func (d *testDB) stream(from change.Position, pairs ...string) *tap {
	d.Helper()
	s := d.open(pairs...)
	st, err := s.Stream(d.Context(), from)
	if err != nil {
		d.Fatal(err)
	}
	return &tap{testDB: d, src: s, st: st}
}

// read reads once, within the time that tests have patience for.
func (p *tap) read() {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	var b change.Batch
	if err := p.st.Read(ctx, &b); err != nil {
		p.Fatalf("after %d events: %v", len(p.keep.Events), err)
	}
	if b.Origin != "shop" || len(b.Resume) == 0 {
		p.Fatalf("batch with Origin %q and Resume %q", b.Origin, b.Resume)
	}
	for i := range b.Events {
		p.keep.CopyEvent(&b.Events[i])
	}
	p.resume = b.Resume
	p.steps, p.resumes = append(p.steps, len(p.keep.Events)), append(p.resumes, b.Resume)
}

// events reads until n events have come in all, and fails if there are more.
func (p *tap) events(n int) []change.Event {
	p.Helper()
	for len(p.keep.Events) < n {
		p.read()
	}
	if len(p.keep.Events) != n {
		p.Fatalf("%d events instead of %d", len(p.keep.Events), n)
	}
	return p.keep.Events
}

func (p *tap) ack() {
	p.Helper()
	if err := p.st.Ack(p.Context(), p.resume); err != nil {
		p.Fatal(err)
	}
}

// stop closes stream and source.
func (p *tap) stop() {
	p.Helper()
	if err := p.src.Close(); err != nil {
		p.Fatal(err)
	}
}

// prompt asks for the position and reads it.
func (p *tap) prompt() {
	p.st.(source.Prompter).Prompt()
	p.read()
}

// show writes an event as `c public.t 1 before{..} after{a=1 b=NULL}`; Absent columns are left out.
func show(e *change.Event) string {
	s := fmt.Sprintf("%c %s", e.Op, e.Table.Name)
	if e.Key != nil {
		s += " " + change.KeyText(e.Key)
	}
	for _, image := range []struct {
		name string
		row  change.Row
	}{{"before", e.Before}, {"after", e.After}} {
		if image.row == nil {
			continue
		}
		var cols []string
		for i, v := range image.row {
			switch v.Kind {
			case change.Absent:
				continue
			case change.Null:
				cols = append(cols, e.Table.Columns[i].Name+"=NULL")
			default:
				text := string(appendValue(nil, v))
				if len(text) > 40 {
					text = fmt.Sprintf("<%d>", len(text))
				}
				cols = append(cols, e.Table.Columns[i].Name+"="+text)
			}
		}
		s += " " + image.name + "{" + strings.Join(cols, " ") + "}"
	}
	return s
}

func shows(events []change.Event) []string {
	var list []string
	for i := range events {
		list = append(list, show(&events[i]))
	}
	return list
}

// want compares the events with what show writes of them.
func want(t *testing.T, events []change.Event, lines ...string) {
	t.Helper()
	if got := shows(events); !slices.Equal(got, lines) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// fold applies events to a state of rows by key: what a sink would hold. Absent columns keep what is there.
func fold(state map[string]change.Row, events []change.Event) {
	for i := range events {
		e := &events[i]
		key := e.Table.Name.String() + "/" + string(e.Key)
		switch e.Op {
		case change.OpDelete:
			delete(state, key)
		case change.OpTruncate:
			maps.DeleteFunc(state, func(k string, _ change.Row) bool { return strings.HasPrefix(k, key) })
		default:
			row := slices.Clone(e.After)
			for c := range row {
				if old := state[key]; row[c].Kind == change.Absent && old != nil {
					row[c] = old[c]
				}
			}
			state[key] = row
		}
	}
}

// table writes a state of one table as sorted lines of values.
func table(state map[string]change.Row) []string {
	var lines []string
	for _, row := range state {
		var cols []string
		for _, v := range row {
			if v.Kind == change.Null {
				cols = append(cols, "NULL")
				continue
			}
			cols = append(cols, string(appendValue(nil, v)))
		}
		lines = append(lines, strings.Join(cols, "|"))
	}
	slices.Sort(lines)
	return lines
}

// rows returns a query's rows as table writes them.
func (d *testDB) rows(sql string) []string {
	d.Helper()
	res, err := d.conn.PgConn().Exec(d.Context(), sql).ReadAll()
	if err != nil {
		d.Fatal(err)
	}
	var lines []string
	for _, r := range res[len(res)-1].Rows {
		var cols []string
		for _, v := range r {
			if v == nil {
				cols = append(cols, "NULL")
				continue
			}
			cols = append(cols, string(v))
		}
		lines = append(lines, strings.Join(cols, "|"))
	}
	slices.Sort(lines)
	return lines
}

// eventually polls until ok, and fails with what it last said.
func (d *testDB) eventually(ok func() (bool, string)) {
	d.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		good, last := ok()
		if good {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			d.Fatal(last)
		}
	}
}

// configProblem shortens a type in tests.
type configProblem = config.Problem

func lsnText(lsn uint64) string { return pglogrepl.LSN(lsn).String() }
