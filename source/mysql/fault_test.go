package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
	"github.com/tailrace/tailrace/snapshot"
)

// positionAfter streams one row and returns the position after it.
func positionAfter(d *testDB, src *Source, row int) change.Position {
	d.Helper()
	s, err := src.Stream(d.Context(), nil)
	if err != nil {
		d.Fatal(err)
	}
	d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", row))
	_, at := d.read(s, 1)
	if err := s.Close(); err != nil {
		d.Fatal(err)
	}
	return at
}

// refused opens a stream at a position and returns why it can't, at once or with the first read.
func refused(d *testDB, src *Source, at change.Position) error {
	d.Helper()
	src.visible = time.Second
	s, err := src.Stream(d.Context(), at)
	if err != nil {
		return err
	}
	defer s.Close()
	return d.fails(s)
}

// TestCase69LostLogs: what follows the position is not there any more, or the position is not of this server.
func TestCase69LostLogs(t *testing.T) {
	for _, name := range []string{"mariadb10", "mysql80"} {
		t.Run(name, func(t *testing.T) {
			server := servers.Private(t, name, nil)
			d := newDB(t, server.URL, "CREATE TABLE t (id int PRIMARY KEY)")
			src := d.open()
			at := positionAfter(d, src, 1)

			d.exec("FLUSH BINARY LOGS; INSERT INTO t VALUES (2); FLUSH BINARY LOGS; INSERT INTO t VALUES (3); FLUSH BINARY LOGS")
			waitFor(t, "the purge of binary logs", func() bool { // MariaDB keeps those that its recovery may need
				d.exec("FLUSH ENGINE LOGS; PURGE BINARY LOGS TO '" + lastLog(d) + "'")
				return d.text("SHOW BINARY LOGS") == lastLog(d)
			})
			if err := refused(d, src, at); fault.Code(err) != "POSITION_PURGED" || !strings.Contains(err.Error(), "when_needed") {
				t.Errorf("purged: %v", err)
			}
			byFile, err := parsePosition(at)
			if err != nil {
				t.Fatal(err)
			}
			byFile.GTIDs = ""
			if err := refused(d, src, byFile.encode()); fault.Code(err) != "POSITION_PURGED" {
				t.Errorf("purged, by file: %v", err)
			}
			testResnapshot(d, at)

			at = positionAfter(d, src, 10)
			ahead, err := parsePosition(at)
			if err != nil {
				t.Fatal(err)
			}
			ahead.GTIDs = ""
			ahead.Pos += 100000
			if err := refused(d, src, ahead.encode()); fault.Code(err) != "POSITION_AHEAD" {
				t.Errorf("past the end: %v", err)
			}
			ahead.Server = "another"
			if err := refused(d, src, ahead.encode()); fault.Code(err) != "OTHER_SERVER" {
				t.Errorf("another server's file: %v", err)
			}

			d.exec("RESET MASTER")
			if err := refused(d, src, at); fault.Code(err) != "OTHER_SERVER" {
				t.Errorf("after RESET MASTER: %v", err)
			}
			d.exec("INSERT INTO t VALUES (11)")
			if err := refused(d, src, at); fault.Code(err) != "POSITION_AHEAD" && fault.Code(err) != "OTHER_SERVER" {
				t.Errorf("after RESET MASTER and a new transaction: %v", err)
			}
		})
	}
}

func lastLog(d *testDB) string {
	d.Helper()
	rows, err := d.conn.rows("SHOW BINARY LOGS")
	if err != nil {
		d.Fatal(err)
	}
	return rows[len(rows)-1][0]
}

// testResnapshot: with when_needed a lost position begins a new copy, and what was deleted meanwhile goes.
func testResnapshot(d *testDB, at change.Position) {
	d.Helper()
	d.exec("DELETE FROM t WHERE id = 2")
	s, err := snapshot.Open(d.Context(), d.open(), at, snapshot.Options{Config: snapshot.Config{Mode: "when_needed"}})
	if err != nil {
		d.Fatal(err)
	}
	defer s.Close()
	events, _ := d.read(s, 3)
	state := map[string]bool{}
	for i := range events {
		if e := &events[i]; e.Op == change.OpTruncate {
			clear(state)
		} else {
			state[show(e)] = true
		}
	}
	if len(state) != 2 || !state["r 1"] || !state["r 3"] {
		d.Errorf("copied again: %s", showAll(events))
	}
}

// TestCase70Failover: the connector goes on by GTIDs on a replica.
func TestCase70Failover(t *testing.T) {
	for _, name := range []string{"mariadb10", "mysql80"} {
		t.Run(name, func(t *testing.T) {
			first := servers.Private(t, name, nil)
			second := servers.Private(t, name, map[string]string{"server_id": "2", "log_slave_updates": "ON"})
			d := newDB(t, first.URL, "CREATE TABLE t (id int PRIMARY KEY)")
			replica := &testDB{T: t, addr: second.URL, flavor: d.flavor, name: d.name, prefix: d.prefix}
			replica.conn = replica.connect()
			defer replica.conn.Close()
			follow := "MASTER_AUTO_POSITION = 1"
			if d.flavor == mariadb {
				follow = "MASTER_USE_GTID = slave_pos"
			}
			replica.exec(fmt.Sprintf("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = %d, MASTER_USER = 'root', %s; START SLAVE", first.Port, follow))

			s := d.stream(nil)
			const before, total = 300, 600
			for i := range before {
				d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
			}
			events, at := d.read(s, before)
			for i := before; i < total; i++ {
				d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
			}
			waitFor(t, "the replica to catch up", func() bool { return replica.count("t") == total })
			if err := first.Kill(); err != nil {
				t.Fatal(err)
			}
			again := replica.stream(at)
			replica.exec("STOP SLAVE; USE " + d.name + "; INSERT INTO t VALUES (1000)")
			rest, newest := replica.read(again, total-before+1)
			for i, e := range append(events, rest...) {
				want := i
				if i == total {
					want = 1000
				}
				if got := e.After[0].Int64(); got != int64(want) {
					t.Fatalf("event %d is row %d", i, got)
				}
			}
			replica.exec("RESET SLAVE ALL; DROP DATABASE " + d.name)
			if err := first.Restart(t.Context()); err != nil { // for the cleanup, and to see that it lacks what the replica has
				t.Fatal(err)
			}
			d.conn = d.connect()
			lost := refused(d, d.open(), newest)
			if code := fault.Code(lost); code != "POSITION_AHEAD" {
				t.Errorf("back on the server that lacks a transaction: %v", lost)
			}
		})
	}
}

func (d *testDB) count(table string) int {
	d.Helper()
	r, err := d.conn.row("SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = " + quoted(d.name) + " AND TABLE_NAME = " + quoted(table))
	if err != nil || r[0] == "0" {
		return 0
	}
	var n int
	if _, err := fmt.Sscan(d.text("SELECT count(*) FROM "+qualified(d.name, table)), &n); err != nil {
		d.Fatal(err)
	}
	return n
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// through gives the properties of a connector that reaches the server through a proxy.
func (d *testDB) through(p *proxy.Proxy) []string {
	d.Helper()
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		d.Fatal(err)
	}
	return []string{"database.hostname", host, "database.port", port}
}

func target(d *testDB) string { return strings.TrimPrefix(d.addr, "mysql://root@") }

// TestCase71Blackhole: a connection on which nothing comes any more is given up, and the stream goes on with a new one.
func TestCase71Blackhole(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		p := proxy.New(t, target(d))
		src := d.open(append(d.through(p), "heartbeat.interval.ms", "300")...)
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (1)")
		_, at := d.read(s, 1)
		if patience := s.(*stream).pump.conn.raw.patience; patience >= 3*300*time.Millisecond {
			t.Errorf("silence is borne for %v, three heartbeats or more", patience)
		}
		resume := p.Hang()
		d.exec("INSERT INTO t VALUES (2)")
		var silent net.Error
		if err := d.fails(s); !errors.As(err, &silent) || !silent.Timeout() || fault.IsPermanent(err) {
			t.Errorf("%v", err)
		}
		resume()
		s.Close()
		if s, err = src.Stream(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if events, _ := d.read(s, 1); showAll(events) != "c 2" {
			t.Error(showAll(events))
		}
	})
}

// TestCase67CutConnections cuts the connection at many places of a transaction of many row events.
func TestCase67CutConnections(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v varchar(1000))")
		p := proxy.New(t, target(d))
		src := d.open(append(d.through(p), "max.batch.size", "300")...)
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		at := readEmpty(d, s)
		const rows = 10000
		d.exec("BEGIN")
		for i := 0; i < rows; i += 1000 {
			var values []string
			for k := range 1000 {
				values = append(values, fmt.Sprintf("(%d, repeat('x', 1000))", i+k))
			}
			d.exec("INSERT INTO t VALUES " + strings.Join(values, ","))
		}
		d.exec("COMMIT; INSERT INTO t VALUES (-1, '')")
		next, cuts := int64(0), 0
		var b change.Batch
		for next <= rows {
			b.Reset()
			if err := s.Read(t.Context(), &b); err != nil {
				cuts++
				s.Close()
				waitFor(t, "a new stream", func() bool { // the other connections were cut, too
					s, err = src.Stream(t.Context(), at)
					if fault.IsPermanent(err) {
						t.Fatal(err)
					}
					return err == nil
				})
				continue
			}
			for i := range b.Events {
				want := next
				if next == rows {
					want = -1
				}
				if got := b.Events[i].After[0].Int64(); got != want {
					t.Fatalf("row %d came where %d should", got, want)
				}
				next++
			}
			at = append(change.Position(nil), b.Resume...)
			if cuts < 20 {
				p.Reset()
			}
		}
		if cuts == 0 {
			t.Error("the connection was never cut")
		}
	})
}

// TestCase74ServerID: two connectors with the same number stay connected: MySQL does not mind, and for MariaDB the second one
// takes another. MySQL is not asked who its replicas are: see [Source.request].
func TestCase74ServerID(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		one, two := d.stream(nil, "database.server.id", "4711"), d.stream(nil, "database.server.id", "4711")
		for i := range 3 {
			d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
			for _, s := range []interface {
				Read(context.Context, *change.Batch) error
			}{one, two} {
				var b change.Batch
				for len(b.Events) == 0 {
					b.Reset()
					if err := s.Read(t.Context(), &b); err != nil {
						t.Fatal(err)
					}
				}
				if got := showAll(b.Events); got != fmt.Sprintf("c %d", i) {
					t.Fatal(got)
				}
			}
		}
		if d.flavor == mysqld {
			return
		}
		rows, err := d.conn.rows("SHOW SLAVE HOSTS")
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, r := range rows {
			if r[0] == "4711" {
				seen++
			}
		}
		if seen != 1 {
			t.Errorf("number 4711 is listed %d times in %v", seen, rows)
		}
	})
}

// TestLeavesNoReplica: neither a look at the server nor a stream that ends stays in the list of replicas of a MySQL that does
// not clear it by itself.
func TestLeavesNoReplica(t *testing.T) {
	server := servers.Private(t, "mysql80", nil)
	d := newDB(t, server.URL, "CREATE TABLE t (id int PRIMARY KEY)")
	if got := problemsText(d.plugin().Preflight(t.Context(), d.setup())); got != "" {
		t.Fatal(got)
	}
	s, err := d.open().Stream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	list := func() int {
		rows, err := d.conn.rows("SHOW SLAVE HOSTS")
		if err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	if n := list(); n != 1 {
		t.Errorf("%d replicas while one streams", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d.exec("INSERT INTO t VALUES (1)") // the server notices
	for list() > 0 {
		d.exec("DELETE FROM t; INSERT INTO t VALUES (1)")
	}
}

// TestCase41NoLocks: a snapshot beside changes and a DDL takes no lock.
func TestCase41NoLocks(t *testing.T) {
	for _, name := range []string{"mariadb10"} {
		t.Run(name, func(t *testing.T) {
			server := servers.Private(t, name, map[string]string{"general_log": "ON", "log_output": "TABLE"})
			d := newDB(t, server.URL, "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int)")
			var values []string
			for i := range 3000 {
				values = append(values, fmt.Sprintf("(%d, 0)", i))
			}
			d.exec("INSERT INTO t VALUES " + strings.Join(values, ",") + "; INSERT INTO u VALUES (1), (1), (2)")
			s, err := snapshot.Open(t.Context(), d.open(), nil, snapshot.Options{Config: snapshot.Config{Mode: "initial", FetchSize: 500}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			state := follow(d, s, func(step int) {
				switch {
				case step == 3:
					d.exec("ALTER TABLE t ADD w int DEFAULT 3")
				case step < 20:
					d.exec(fmt.Sprintf("UPDATE t SET v = v + 1 WHERE id %% 7 = %d; DELETE FROM t WHERE id = %d; INSERT INTO t (id, v) VALUES (%d, 1)", step%7, step*100, 5000+step))
				case step == 20:
					d.exec("INSERT INTO t (id, v) VALUES (99999, 0)")
				}
			})
			rows, err := d.conn.rows("SELECT id, v FROM t")
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) != len(state) {
				t.Errorf("%d rows in the table, %d in the log", len(rows), len(state))
			}
			for _, r := range rows {
				if state[r[0]] != r[1] {
					t.Errorf("row %s is %s, in the log %q", r[0], r[1], state[r[0]])
				}
			}
			locks := d.text("SELECT count(*) FROM mysql.general_log WHERE argument LIKE 'LOCK %' OR argument LIKE 'FLUSH %' OR argument LIKE 'SELECT % FOR UPDATE' OR argument LIKE 'SELECT % LOCK IN SHARE MODE'")
			if locks != "0" {
				t.Errorf("%s statements that lock", locks)
			}
		})
	}
}

// follow folds the events of table t by its key until row 99999 was streamed and the copy is complete. Before each read step is called.
func follow(d *testDB, s interface {
	Read(context.Context, *change.Batch) error
}, step func(int)) map[string]string {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	state := map[string]string{}
	var b change.Batch
	for i := 0; ; i++ {
		step(i)
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			d.Fatalf("step %d: %v", i, err)
		}
		for k := range b.Events {
			e := &b.Events[k]
			if e.Table.Name.Table != "t" {
				continue
			}
			switch e.Op {
			case change.OpDelete:
				delete(state, showValue(e.Before[0]))
			case change.OpTruncate:
				clear(state)
			default:
				state[showValue(e.After[0])] = showValue(e.After[1])
			}
		}
		if _, last := state["99999"]; last && strings.Contains(string(b.Resume), `"completed":true`) {
			return state
		}
	}
}

// TestIncident: the server tells that its log has a hole.
func TestCase66Incident(t *testing.T) {
	s := &stream{src: &Source{settings: &settings{}}, file: "binlog.000001"}
	incident := []byte{0, 0, 0, 0, 26, 1, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 4, 'l', 'o', 's', 't'}
	incident[9] = byte(len(incident))
	format := formatEvent()
	if err := s.outer(t.Context(), nil, format); err != nil {
		t.Fatal(err)
	}
	if err := s.outer(t.Context(), nil, incident); fault.Code(err) != "INCIDENT" || !strings.Contains(err.Error(), "lost") {
		t.Errorf("%v", err)
	}
	unknown := append([]byte(nil), incident...)
	unknown[4] = 99
	if err := s.outer(t.Context(), nil, unknown); fault.Code(err) != "UNKNOWN_EVENT" {
		t.Errorf("%v", err)
	}
	ignorable := append([]byte(nil), unknown...)
	ignorable[17] = 0x80
	if err := s.outer(t.Context(), nil, ignorable); err != nil {
		t.Errorf("an event that may be ignored: %v", err)
	}
}

// formatEvent is a format description of MySQL 5.6.0, which knows no checksums.
func formatEvent() []byte {
	body := append([]byte{4, 0}, make([]byte, 50+4)...)
	copy(body[2:], "5.6.0")
	body = append(body, 19)
	body = append(body, make([]byte, 40)...)
	event := append([]byte{0, 0, 0, 0, 15, 1, 0, 0, 0, byte(19 + len(body)), 0, 0, 0, 0, 0, 0, 0, 0, 0}, body...)
	return event
}

// TestResetWhileStreaming: a server that begins its binary log anew is noticed, not taken for one at which nothing happens. What it
// has written and we have not read yet is no sign of that, however long nothing had happened before.
func TestResetWhileStreaming(t *testing.T) {
	server := servers.Private(t, "mariadb10", nil)
	d := newDB(t, server.URL, "CREATE TABLE t (id int PRIMARY KEY)")
	src := d.open("heartbeat.interval.ms", "300")
	src.lookEvery, src.idle = 200*time.Millisecond, 100*time.Millisecond
	s, err := src.Stream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.exec("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
	d.read(s, 2)
	look := func() {
		s.(*stream).looked = time.Time{}
		if err := s.(*stream).look(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	look()
	s.(*stream).beats = 10
	d.exec("INSERT INTO t VALUES (4)")
	look()
	_, at := d.read(s, 1)
	d.exec("RESET MASTER; INSERT INTO t VALUES (3)")
	if err := d.fails(s); errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("a reset binary log is not noticed")
	}
	s.Close()
	if err := refused(d, src, at); fault.Code(err) != "POSITION_AHEAD" {
		t.Errorf("%v", err)
	}
}

// TestQuietServer: looking at the end of the log does not disturb a stream at which nothing happens.
func TestQuietServer(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		src := d.open("heartbeat.interval.ms", "500")
		src.lookEvery, src.idle = 20*time.Millisecond, 10*time.Millisecond
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var b change.Batch
		for {
			b.Reset()
			if err := s.Read(ctx, &b); ctx.Err() != nil {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}
