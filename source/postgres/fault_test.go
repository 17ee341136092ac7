package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// refused opens a stream that must fail with a permanent fault of the code and a remedy.
func (d *testDB) refused(from change.Position, code string, pairs ...string) {
	d.Helper()
	s := d.open(pairs...)
	defer s.Close()
	_, err := s.Stream(d.Context(), from)
	d.permanent(err, code)
}

func (d *testDB) permanent(err error, code string) {
	d.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != code || f.Remedy == "" {
		d.Fatalf("got %v, want a permanent %s with a remedy", err, code)
	}
}

// ends reads until the stream fails.
func (p *tap) ends() error {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	for {
		var b change.Batch
		if err := p.st.Read(ctx, &b); err != nil {
			if again := p.st.Read(ctx, &b); !errors.Is(again, err) {
				p.Errorf("a finished stream says %v after %v", again, err)
			}
			return err
		}
	}
}

func TestFaults(t *testing.T) { eachServer(t, testFaults) }

func testFaults(t *testing.T) {
	t.Run("case22_immediate_stop_after_ack", func(t *testing.T) {
		t.Parallel()
		server := servers.Private(t, serverName(t), nil)
		d := newDBAt(t, server.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		d.exec("CHECKPOINT") // the slot's state on disk is that of now
		for i := range 20 {
			d.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
		}
		p.events(20)
		p.ack()
		acked := func() string {
			return d.text(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1`, d.slot)
		}
		pos, err := parsePosition(p.resume)
		if err != nil {
			t.Fatal(err)
		}
		d.eventually(func() (bool, string) { return acked() == lsnText(pos.LSN), "the server was not told: " + acked() })
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := p.ends(); fault.IsPermanent(err) {
			t.Fatalf("a crash is a permanent fault: %v", err)
		}
		p.stop()
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.conn = d.connect(d.name)
		if acked() == lsnText(pos.LSN) {
			t.Log("the slot did not go back this time")
		}
		d.exec("INSERT INTO t VALUES (100)")
		again := d.stream(p.resume)
		want(t, again.events(1), "c public.t 100 after{id=100}")
		again.stop()
	})
	t.Run("case24_slot_dropped", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		p.stop()
		d.eventually(func() (bool, string) {
			_, err := d.conn.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", d.slot)
			return err == nil, fmt.Sprint(err)
		})
		d.exec("INSERT INTO t VALUES (1)")
		d.refused(p.resume, "SLOT_MISSING")
		d.text("SELECT pg_create_logical_replication_slot($1, 'pgoutput')::text", d.slot)
		d.refused(p.resume, "POSITION_GAP")
		d.exec("SELECT pg_drop_replication_slot(" + literal(d.slot) + "); SELECT pg_create_logical_replication_slot(" + literal(d.slot) + ", 'test_decoding')")
		d.refused(nil, "SLOT_FOREIGN")
	})
	t.Run("case24_slot_dropped_while_running", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		d.eventually(func() (bool, string) {
			_, err := d.conn.Exec(t.Context(), `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1`, d.slot)
			if err == nil {
				_, err = d.conn.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", d.slot)
			}
			return err == nil, fmt.Sprint(err)
		})
		d.permanent(p.ends(), "SLOT_MISSING")
	})
	t.Run("case25_slot_invalidated", func(t *testing.T) {
		t.Parallel()
		server := servers.Private(t, serverName(t), map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"})
		d := newDBAt(t, server.URL, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE noise (v text)`)
		p := d.stream(nil)
		p.read() // and acknowledge nothing
		for range 6 {
			d.exec("INSERT INTO noise SELECT repeat('n', 100) FROM generate_series(1, 1000)")
			d.exec("SELECT pg_switch_wal()")
		}
		start := time.Now()
		d.exec("CHECKPOINT")
		d.permanent(p.ends(), "SLOT_LOST")
		if took := time.Since(start); took > patience {
			t.Errorf("took %s", took)
		}
		p.stop()
		d.refused(p.resume, "SLOT_LOST")
		if problems := Plugin.Preflight(t.Context(), d.setup()); !mentions(problems, "slot.name", "max_slot_wal_keep_size") {
			t.Errorf("preflight: %v", problems)
		}
	})
	t.Run("case26_publication_dropped_while_running", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		d.exec("DROP PUBLICATION dbz_publication")
		d.exec("INSERT INTO t VALUES (1)")
		d.permanent(p.ends(), "PUBLICATION_MISSING")
	})
	t.Run("case26_publication_changed_while_running", func(t *testing.T) {
		for sql, text := range map[string]string{
			"ALTER PUBLICATION dbz_publication DROP TABLE u":                                                "table public.u is no longer in publication",
			"ALTER PUBLICATION dbz_publication DROP TABLE u; ALTER PUBLICATION dbz_publication ADD TABLE u": "was taken out of publication",
			"DROP PUBLICATION dbz_publication; CREATE PUBLICATION dbz_publication FOR TABLE t, u":           "dropped and made again",
			"ALTER PUBLICATION dbz_publication SET (publish = 'insert')":                                    `publishes only "insert"`,
		} {
			d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
			p := d.stream(nil)
			p.read()
			p.src.look(t.Context())
			d.exec("INSERT INTO t VALUES (1)")
			p.events(1) // all is well
			d.exec(sql)
			p.src.look(t.Context())
			err := p.ends()
			d.permanent(err, "PUBLICATION_CHANGED")
			if !strings.Contains(err.Error(), text) {
				t.Errorf("after %s: %v", sql, err)
			}
			p.stop()
		}
	})
	t.Run("publication_follows_tables", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		d.exec("DROP TABLE u; CREATE TABLE n (id int PRIMARY KEY); CREATE TABLE keyless (id int)")
		p.src.look(t.Context())
		d.exec("INSERT INTO n VALUES (1); INSERT INTO keyless VALUES (1); UPDATE keyless SET id = 2")
		want(t, p.events(1), "c public.n 1 after{id=1}")
		p.src.look(t.Context())
		d.exec("ALTER TABLE keyless REPLICA IDENTITY FULL")
		p.src.look(t.Context())
		d.exec("UPDATE keyless SET id = 3")
		want(t, p.events(2)[1:], "u public.keyless before{id=2} after{id=3}")
	})
	t.Run("new_table_that_nobody_lets_us_publish", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t`)
		role := d.name + "_role"
		d.exec("CREATE ROLE " + role + " LOGIN REPLICATION; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO " + role + "; GRANT SELECT ON t TO " + role)
		t.Cleanup(func() { d.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
		props := []string{"database.user", role, "publication.name", "p"}
		p := d.stream(nil, props...)
		p.read()
		d.exec("CREATE TABLE n (id int PRIMARY KEY); CREATE TABLE keyless (id int)")
		d.exec("INSERT INTO n VALUES (1)")
		p.src.look(t.Context())
		d.exec("INSERT INTO t VALUES (1)")
		want(t, p.events(1), "c public.t 1 after{id=1}")
		if left := p.src.Gauges()["tables_left_out"]; left != 2 {
			t.Errorf("%v tables are left out, want 2", left)
		}
		p.stop()
		p = d.stream(p.resume, props...)
		d.exec("INSERT INTO t VALUES (2)")
		want(t, p.events(1), "c public.t 2 after{id=2}")
		d.exec("ALTER PUBLICATION p ADD TABLE n")
		p.src.look(t.Context())
		d.exec("INSERT INTO n VALUES (2)")
		want(t, p.events(2)[1:], "c public.n 2 after{id=2}")
		if left := p.src.Gauges()["tables_left_out"]; left != 1 {
			t.Errorf("%v tables are left out, want 1", left)
		}
		if grown := p.src.grown.list; len(grown) != 1 || grown[0].Table.Table != "n" {
			t.Errorf("%v are new and to be copied, want n", grown)
		}
	})
	t.Run("new_tables_are_copied", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
		s := d.open()
		woven, err := snapshot.Open(t.Context(), s, nil, snapshot.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := &tap{testDB: d, src: s, st: woven}
		t.Cleanup(func() { woven.Close() })
		want(t, p.events(1), "r public.t 1 after{id=1}")
		d.exec("CREATE TABLE n (id int PRIMARY KEY); INSERT INTO n VALUES (5)") // before the publication has it
		s.look(t.Context())
		want(t, p.events(2)[1:], "r public.n 5 after{id=5}")
		d.exec("INSERT INTO n VALUES (6)")
		want(t, p.events(3)[2:], "c public.n 6 after{id=6}")
		d.exec("DROP TABLE n; CREATE TABLE n (id int PRIMARY KEY, v text); INSERT INTO n VALUES (7, 'again')")
		s.look(t.Context())
		want(t, p.events(4)[3:], "r public.n 7 after{id=7 v=again}")
	})
	t.Run("other_server", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		p.stop()
		d.refused(bytesReplace(p.resume, d.text("SELECT system_identifier::text FROM pg_control_system()"), "12345"), "OTHER_SERVER")
		d.refused(position{LSN: 1 << 62}.encode(nil), "POSITION_AHEAD")
		d.refused(change.Position(`{"file":"binlog.000001"}`), "POSITION_INVALID")
		d.refused(change.Position(`{`), "POSITION_INVALID")
	})
	t.Run("slot_in_use", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		other := d.setup()
		other.Connector = "other"
		if problems := Plugin.Preflight(t.Context(), other); !mentions(problems, "slot.name", "is in use by process") {
			t.Errorf("preflight: %v", problems)
		}
		if _, err := p.src.Stream(t.Context(), p.resume); err == nil || fault.IsPermanent(err) {
			t.Errorf("a second stream of one source: %v", err)
		}
		second := d.open()
		second.busy = 200 * time.Millisecond
		_, err := second.Stream(t.Context(), p.resume)
		if err == nil || fault.IsPermanent(err) || !strings.Contains(err.Error(), "in use by process") {
			t.Errorf("second connector: %v", err)
		}
		p.stop()
		second.busy = busyWait
		st, err := second.Stream(t.Context(), p.resume)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("terminated_walsender", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		d.exec("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = " + literal(d.slot))
		if err := p.ends(); fault.IsPermanent(err) {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (1)")
		st, err := p.src.Stream(t.Context(), p.resume) // the old stream is finished, not closed
		if err == nil {
			t.Fatal("a second stream while the first is open")
		}
		if err := p.st.Close(); err != nil {
			t.Fatal(err)
		}
		if st, err = p.src.Stream(t.Context(), p.resume); err != nil {
			t.Fatal(err)
		}
		p.st = st
		want(t, p.events(1), "c public.t 1 after{id=1}")
	})
	t.Run("drop_on_stop", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		d.stream(nil, "slot.drop.on.stop", "true").stop()
		if n := d.text(`SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1`, d.slot); n != "0" {
			t.Error("the slot is still there")
		}
	})
}

func bytesReplace(p change.Position, old, now string) change.Position {
	return change.Position(strings.ReplaceAll(string(p), old, now))
}

// withoutNotes leaves out what does not keep a connector from working: on a shared server other tests' slots are noted.
func withoutNotes(problems []configProblem) []configProblem {
	return slices.DeleteFunc(problems, func(p configProblem) bool { return p.Note })
}

func mentions(problems []configProblem, key, text string) bool {
	return slices.ContainsFunc(problems, func(p configProblem) bool { return p.Key == key && strings.Contains(p.Message, text) })
}

func TestPreflight(t *testing.T) { twoServers(t, testPreflight) }

func testPreflight(t *testing.T) {
	check := func(t *testing.T, d *testDB, setup source.Setup, key string, texts ...string) {
		t.Helper()
		before := d.rows(`SELECT slot_name::text FROM pg_replication_slots UNION ALL SELECT pubname::text FROM pg_publication`)
		problems := withoutNotes(Plugin.Preflight(t.Context(), setup))
		if len(problems) != 1 || problems[0].Key != key {
			t.Fatalf("got %v, want one problem of %s", problems, key)
		}
		for _, text := range texts {
			if !strings.Contains(problems[0].Message, text) {
				t.Errorf("%q lacks %q", problems[0].Message, text)
			}
		}
		if after := d.rows(`SELECT slot_name::text FROM pg_replication_slots UNION ALL SELECT pubname::text FROM pg_publication`); !slices.Equal(before, after) {
			t.Errorf("left behind: %v, before %v", after, before)
		}
	}
	t.Run("case27_shared_server", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS one; CREATE UNLOGGED TABLE ul (id int PRIMARY KEY)`)
		role := d.name + "_role"
		d.exec("CREATE ROLE " + role + " LOGIN REPLICATION; GRANT CREATE ON DATABASE " + d.name + " TO " + role)
		t.Cleanup(func() { d.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
		if problems := withoutNotes(Plugin.Preflight(t.Context(), d.setup())); len(problems) != 0 {
			t.Fatalf("a good configuration has problems: %v", problems)
		}
		check(t, d, d.setup("table.include.list", "public.t,public.tt"), "table.include.list", `"public.tt"`, "create the table")
		check(t, d, d.setup("table.include.list", "public.t,public.v"), "table.include.list", "is a view")
		check(t, d, d.setup("table.include.list", "public.t,public.ul"), "table.include.list", "is an unlogged table")
		check(t, d, d.setup("database.dbname", d.name+"_not"), "database.dbname", "does not exist")
		check(t, d, d.setup("database.user", role+"_not"), "database.password", "does not exist")
		check(t, d, d.setup("database.port", "1"), "database.hostname", "cannot connect to 127.0.0.1 port 1")
		d.exec("CREATE PUBLICATION p FOR TABLE t")
		check(t, d, d.setup("database.user", role, "publication.name", "p"), "database.user", "GRANT SELECT ON TABLE", `"public"."t"`)
		d.exec("GRANT SELECT ON t TO " + role)
		if problems := withoutNotes(Plugin.Preflight(t.Context(), d.setup("database.user", role, "publication.name", "p"))); len(problems) != 0 {
			t.Errorf("the least privileges don't suffice: %v", problems)
		}
		check(t, d, d.setup("database.user", role), "publication.name", "CREATE PUBLICATION", `"public"."t"`)
		d.refused(nil, "PUBLICATION_MISSING", "database.user", role)
		check(t, d, d.setup("publication.autocreate.mode", "disabled"), "publication.name", "CREATE PUBLICATION")
		d.refused(nil, "PUBLICATION_MISSING", "publication.autocreate.mode", "disabled")
		d.exec("ALTER ROLE " + role + " NOREPLICATION")
		check(t, d, d.setup("database.user", role, "publication.name", "p"), "database.user", "ALTER ROLE", "REPLICATION")
		d.refused(nil, "NO_REPLICATION", "database.user", role, "publication.name", "p")
		d.refused(nil, "NO_TABLES", "table.include.list", "public.none")
	})
	t.Run("case27_idle_and_own_slot", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		notes := func(pairs ...string) (list []string) {
			for _, p := range Plugin.Preflight(t.Context(), d.setup(pairs...)) {
				if !p.Note {
					t.Errorf("a problem: %v", p)
				}
				if strings.Contains(p.Message, d.slot) {
					list = append(list, p.Message)
				}
			}
			return list
		}
		p := d.stream(nil)
		p.read()
		if got := notes(); len(got) != 1 || !strings.Contains(got[0], "in use by this connector") {
			t.Errorf("while it runs: %q", got)
		}
		p.stop()
		d.exec("SELECT pg_logical_emit_message(true, 'noise', repeat('n', 1000000))")
		if got := notes("slot.retained.wal.alarm.bytes", "500000"); len(got) != 1 || !strings.Contains(got[0], "is idle and keeps") || !strings.Contains(got[0], "SELECT pg_drop_replication_slot('"+d.slot+"')") {
			t.Errorf("while it is stopped: %q", got)
		}
		if got := notes("slot.retained.wal.alarm.bytes", "0"); len(got) != 0 {
			t.Errorf("with the alarm off: %q", got)
		}
		s := d.open("slot.retained.wal.alarm.bytes", "500000")
		s.look(t.Context())
		if g := s.Gauges(); g["retained_wal_alarm"] != 1 || g["retained_wal_bytes"] < 500000 {
			t.Errorf("gauges: %v", g)
		}
	})
	t.Run("case27_wal_level", func(t *testing.T) {
		t.Parallel()
		server := servers.Private(t, serverName(t), map[string]string{"wal_level": "replica"})
		d := newDBAt(t, server.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
		check(t, d, d.setup(), "database.hostname", "wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'")
		_, err := Plugin.Open(t.Context(), d.setup())
		d.permanent(err, "WAL_LEVEL")
		for _, by := range services() { // that run servers for others
			d.exec("CREATE ROLE " + by.mark)
			check(t, d, d.setup(), "database.hostname", "wal_level is replica", by.decode)
			d.exec("DROP ROLE " + by.mark)
		}
		d.exec("CREATE ROLE rds_superuser; CREATE ROLE rds_replication; CREATE ROLE plain LOGIN; CREATE ROLE member LOGIN IN ROLE rds_replication; GRANT SELECT ON t TO plain, member; " +
			"CREATE PUBLICATION p FOR TABLE t")
		said := func(role string) string {
			return fmt.Sprint(withoutNotes(Plugin.Preflight(t.Context(), d.setup("database.user", role, "publication.name", "p"))))
		}
		if got := said("plain"); !strings.Contains(got, `role plain may not replicate; run GRANT "rds_replication" TO "plain"`) {
			t.Errorf("a role of RDS that may not replicate: %s", got)
		}
		if got := said("member"); strings.Contains(got, "role member may not replicate") {
			t.Errorf("a role of RDS that may replicate: %s", got)
		}
	})
	t.Run("case27_password_and_slots", func(t *testing.T) {
		t.Parallel()
		server := servers.Private(t, serverName(t), map[string]string{"max_replication_slots": "1"})
		d := newDBAt(t, server.URL, `CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE cdc LOGIN SUPERUSER REPLICATION PASSWORD 'right'`)
		hba := filepath.Join(server.Dir, "data", "pg_hba.conf")
		if err := os.WriteFile(hba, []byte("host all cdc 127.0.0.1/32 scram-sha-256\nhost replication cdc 127.0.0.1/32 scram-sha-256\n"+
			"host all postgres 127.0.0.1/32 trust\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		d.exec("SELECT pg_reload_conf()")
		secret := "canary-7f3a"
		d.eventually(func() (bool, string) { // the reload takes a moment
			problems := Plugin.Preflight(t.Context(), d.setup("database.user", "cdc", "database.password", secret))
			return len(problems) > 0, "a wrong password is accepted"
		})
		check(t, d, d.setup("database.user", "cdc", "database.password", secret), "database.password", "password authentication failed", "correct database.user and database.password")
		_, err := Plugin.Open(t.Context(), d.setup("database.user", "cdc", "database.password", secret))
		d.permanent(err, "AUTH_FAILED")
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the password is in %v", err)
		}
		if problems := withoutNotes(Plugin.Preflight(t.Context(), d.setup("database.user", "cdc", "database.password", "right"))); len(problems) != 0 {
			t.Errorf("the right password: %v", problems)
		}
		d.exec("SELECT pg_create_physical_replication_slot('other')")
		check(t, d, d.setup(), "slot.name", "all 1 replication slots", "pg_drop_replication_slot('NAME')", "run ALTER SYSTEM SET max_replication_slots = 11 and restart the server")
		d.refused(nil, "SLOTS_EXHAUSTED")
		d.exec("SELECT pg_drop_replication_slot('other')")
		d.exec("CREATE ROLE replication_reader LOGIN REPLICATION")
		check(t, d, d.setup("database.user", "replication_reader"), "database.password", "no pg_hba.conf entry",
			`the line: host "`+d.name+`" "replication_reader" ADDRESS scram-sha-256`)
	})
}
