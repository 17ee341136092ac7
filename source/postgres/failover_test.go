package postgres

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
)

// at is the same database on another server, once it is there.
func (d *testDB) at(addr string) *testDB {
	other := *d
	other.addr = addr
	admin := other.connect("")
	defer mustClose(d.T, admin)
	d.eventually(func() (bool, string) {
		var n int
		err := admin.QueryRow(d.Context(), "SELECT count(*) FROM pg_database WHERE datname = $1", d.name).Scan(&n)
		return n == 1, fmt.Sprint("the database does not come: ", err)
	})
	other.conn = other.connect(d.name)
	d.Cleanup(func() { mustClose(d.T, other.conn) })
	return &other
}

// promote ends the standby's recovery.
func (d *testDB) promote() {
	d.Helper()
	if d.text("SELECT pg_promote()::text") != "true" {
		d.Fatal("the standby is not promoted")
	}
}

// caughtUp waits until the standby has replayed what the primary has written.
func (d *testDB) caughtUp(standby *testDB) {
	d.Helper()
	end := d.text("SELECT pg_current_wal_lsn()::text")
	d.eventually(func() (bool, string) {
		return standby.text("SELECT (pg_last_wal_replay_lsn() >= $1::text::pg_lsn)::text", end) == "true", "the standby does not follow"
	})
}

func TestFailover(t *testing.T) {
	t.Run("case29_failover_slot", func(t *testing.T) {
		primary := servers.Private(t, "postgres18", nil)
		follower := servers.Standby(t, primary, map[string]string{"hot_standby_feedback": "on", "primary_slot_name": "standby", "sync_replication_slots": "off"})
		d := newDBAt(t, primary.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
		d.text("SELECT pg_create_physical_replication_slot('standby')::text")
		p := d.stream(nil, "slot.failover", "true")
		p.read()
		d.exec("INSERT INTO t VALUES (1)")
		p.events(1)
		d.eventually(func() (bool, string) {
			return d.text("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = 'standby' AND active") == "1", "the standby does not connect"
		})
		s := d.at(follower.URL)
		d.caughtUp(s)
		d.eventually(func() (bool, string) { // the slot must be as far as the standby can serve
			d.exec("SELECT pg_log_standby_snapshot()")
			p.prompt()
			p.ack()
			d.caughtUp(s)
			_, err := s.conn.Exec(t.Context(), "SELECT pg_sync_replication_slots()")
			return err == nil && s.text("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1 AND NOT temporary", d.slot) == "1", fmt.Sprint("not synced: ", err)
		})
		p.stop()
		d.exec("INSERT INTO t VALUES (2)")
		d.caughtUp(s)
		if err := primary.Kill(); err != nil {
			t.Fatal(err)
		}
		s.promote()
		s.exec("INSERT INTO t VALUES (3)")
		again := s.stream(p.resume, "slot.failover", "true")
		want(t, again.events(2), "c public.t 2 after{id=2}", "c public.t 3 after{id=3}")
		again.stop()
		d.eventually(func() (bool, string) {
			_, err := s.conn.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", d.slot)
			return err == nil, fmt.Sprint(err)
		})
		s.refused(p.resume, "SLOT_MISSING", "slot.failover", "true")
		if err := primary.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.conn = d.connect(d.name)
	})
	t.Run("lost_in_the_failover", func(t *testing.T) {
		primary := servers.Private(t, "postgres15", nil)
		follower := servers.Standby(t, primary, nil)
		d := newDBAt(t, primary.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		d.exec("INSERT INTO t VALUES (1)")
		p.events(1)
		shared := p.resume
		s := d.at(follower.URL)
		d.caughtUp(s)
		s.promote() // away from the primary, which goes on
		d.exec("INSERT INTO t SELECT i FROM generate_series(2, 2000) i")
		p.events(2000)
		p.stop()
		s.exec("INSERT INTO t SELECT i FROM generate_series(5000, 9000) i")
		s.refused(p.resume, "OTHER_TIMELINE")
		s.refused(shared, "SLOT_MISSING") // of the common history, but the slot did not follow
		s.refused(bytes.ReplaceAll(p.resume, []byte(`"timeline":1`), []byte(`"timeline":7`)), "OTHER_TIMELINE")
	})
	t.Run("case30_standby_as_source", func(t *testing.T) {
		primary := servers.Private(t, "postgres18", nil)
		follower := servers.Standby(t, primary, map[string]string{"hot_standby_feedback": "off", "max_standby_streaming_delay": "0"})
		d := newDBAt(t, primary.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
		s := d.at(follower.URL)
		d.caughtUp(s)
		s.refused(nil, "PUBLICATION_MISSING")
		d.exec("CREATE PUBLICATION dbz_publication FOR TABLE t")
		d.caughtUp(s)
		logged := make(chan struct{})
		done := make(chan struct{})
		go func() { // a slot on a standby begins where the primary tells which transactions run
			defer close(done)
			other := d.connect(d.name)
			defer other.Close(t.Context())
			for {
				select {
				case <-logged:
					return
				default:
					mustExec(t, other, "SELECT pg_log_standby_snapshot()")
				}
			}
		}()
		p := s.stream(nil)
		close(logged)
		<-done
		p.read()
		d.exec("INSERT INTO t VALUES (1), (2)")
		want(t, p.events(2), "c public.t 1 after{id=1}", "c public.t 2 after{id=2}")
		tables, err := p.src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b change.Batch
		if _, err := p.src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil || len(b.Events) != 2 {
			t.Errorf("%d rows scanned, %v", len(b.Events), err)
		}
		p.src.look(t.Context())
		if p.src.Gauges()["slot_active"] != 1 {
			t.Errorf("gauges: %v", p.src.Gauges())
		}
		d.eventually(func() (bool, string) { // the primary removes rows of the catalog that the slot needs
			d.exec("CREATE TABLE gone (id int); DROP TABLE gone")
			d.exec("VACUUM pg_class")
			d.exec("VACUUM pg_attribute")
			return s.text("SELECT (wal_status = 'lost')::text FROM pg_replication_slots WHERE slot_name = $1", s.slot) == "true", "the slot survives"
		})
		err = p.ends()
		d.permanent(err, "SLOT_LOST")
		if !strings.Contains(err.Error(), "catalog rows") {
			t.Errorf("the reason is not told: %v", err)
		}
		p.stop()
		s.refused(p.resume, "SLOT_LOST")
	})
	t.Run("case30_refused_before_16", func(t *testing.T) {
		follower := servers.Standby(t, servers.Private(t, "postgres15", nil), nil)
		d := &testDB{T: t, addr: follower.URL, name: "postgres", slot: "s"}
		_, err := Plugin.Open(t.Context(), d.setup())
		d.permanent(err, "STANDBY")
		if problems := Plugin.Preflight(t.Context(), d.setup()); !mentions(problems, "database.hostname", "upgrade to PostgreSQL 16") {
			t.Errorf("preflight: %v", problems)
		}
	})
	t.Run("failover_needs_17", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		_, err := Plugin.Open(t.Context(), d.setup("slot.failover", "true"))
		d.permanent(err, "SLOT_FAILOVER")
	})
}

func TestBranch(t *testing.T) {
	history := []byte("1\t0/3000060\tno recovery target specified\n\n# a comment\n2\t1/A0\tbefore 2000-01-01\n")
	for timeline, want := range map[int32]uint64{1: 0x3000060, 2: 0x1000000A0, 3: 0} {
		if end, ok := branch(history, timeline); end != want || ok != (want != 0) {
			t.Errorf("timeline %d ended at %X, %v", timeline, end, ok)
		}
	}
}

// The slot was advanced by somebody else: by default that is a fault, and by request the connector goes on without what is missing.
func TestOffsetMismatch(t *testing.T) {
	d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	p := d.stream(nil)
	p.read()
	p.stop()
	d.exec("INSERT INTO t VALUES (1)")
	d.eventually(func() (bool, string) {
		_, err := d.conn.Exec(t.Context(), "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", d.slot)
		return err == nil, fmt.Sprint(err)
	})
	d.exec("INSERT INTO t VALUES (2)")
	d.refused(p.resume, "POSITION_GAP")
	d.refused(p.resume, "POSITION_GAP", "offset.mismatch.strategy", "trust_offset")
	for _, strategy := range []string{"trust_slot", "trust_greater_lsn"} {
		again := d.stream(p.resume, "offset.mismatch.strategy", strategy)
		want(t, again.events(1), "c public.t 2 after{id=2}")
		again.stop()
	}
}

// With synchronous replication a commit is sent before it is visible; a stream that begins after it waits until it is.
func TestHiddenCommits(t *testing.T) {
	server := servers.Private(t, "postgres15", map[string]string{"synchronous_standby_names": "away", "synchronous_commit": "local"})
	d := newDBAt(t, server.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
	p := d.stream(nil)
	p.read()
	writer := d.connect(d.name)
	written := make(chan error, 1)
	go func() {
		_, err := writer.PgConn().Exec(t.Context(), "SET synchronous_commit = on; INSERT INTO t VALUES (1)").ReadAll()
		written <- err
	}()
	want(t, p.events(1), "c public.t 1 after{id=1}")
	if n := d.text("SELECT count(*)::text FROM t"); n != "0" {
		t.Fatal("the commit is visible: nothing is tested")
	}
	p.stop()
	opened := make(chan error, 1)
	second := d.open()
	go func() {
		_, err := second.Stream(t.Context(), p.resume)
		opened <- err
	}()
	d.eventually(func() (bool, string) { // it looks, and looks again
		return d.text("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'tailrace test' AND query LIKE '%pg_current_snapshot%'") == "1", "it does not look"
	})
	select {
	case err := <-opened:
		t.Fatalf("the stream began before the commit was visible: %v", err)
	default:
	}
	d.exec(fmt.Sprintf("SELECT pg_cancel_backend(%d)", writer.PgConn().PID())) // it waits no longer for the standby; the commit stands
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if n := d.text("SELECT count(*)::text FROM t"); n != "1" {
		t.Error("the stream began before the commit was visible")
	}
	mustClose(t, writer)
}
