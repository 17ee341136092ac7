package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/rest"
)

// TestSnapshotFamilies runs daemons against the servers of both families.
func TestSnapshotFamilies(t *testing.T) {
	logged := map[string]string{"log_statement": "all", "log_line_prefix": "[%a/%d] ", "max_replication_slots": "30", "max_wal_senders": "30"}
	general := map[string]string{"general_log": "ON", "log_output": "TABLE"}
	for name, settings := range map[string]map[string]string{"postgres15": logged, "postgres18": logged, "mariadb10": general, "mysql80": general, "mysql97": general} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.Private(t, name, settings)
			t.Run("case33_kills", func(t *testing.T) { killedCopy(t, server) })
			t.Run("case35_ddl", func(t *testing.T) { changedTables(t, server) })
			if name != "postgres18" && name != "mysql97" { // one of each family is enough
				t.Run("modes", func(t *testing.T) { snapshotModes(t, server) })
			}
			t.Run("case38_timeouts_signals", func(t *testing.T) { signalsOnce(t, server) })
		})
	}
}

// many is the start of a table hist of 4000 rows, for both families.
func many(mysql bool) string {
	sql := "CREATE TABLE hist (id int PRIMARY KEY, v varchar(40)); CREATE TABLE other (id int PRIMARY KEY, v varchar(40)); " +
		"CREATE TABLE sig (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048)); INSERT INTO other VALUES (0, 'o'); "
	if !mysql {
		return sql + "INSERT INTO hist SELECT i, 'h' || i FROM generate_series(1, 4000) i"
	}
	digits := "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	return sql + fmt.Sprintf("INSERT INTO hist SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 1, CONCAT('h', a.d) FROM %[1]s a, %[1]s b, %[1]s c, %[1]s e WHERE e.d < 4", digits)
}

func isMySQL(s *servers.Server) bool { return !strings.HasPrefix(s.URL, "postgres:") }

// folded compares the fold of the log with a table of the columns id and v.
func (l *lab) folded(table string) {
	l.Helper()
	state := map[string]string{}
	l.read(table, func(r *compare.Record) error {
		if r.Value == nil {
			return nil
		}
		e, err := compare.ParseEvent(r.Value)
		if err != nil {
			return err
		}
		image := e.After
		if e.Op == "d" {
			image = e.Before
		}
		if e.Op == "t" {
			clear(state)
			return nil
		}
		id, err := compare.Member(image, "id")
		if err != nil {
			return err
		}
		if delete(state, id); e.Op != "d" {
			state[id], err = compare.Member(image, "v")
		}
		return err
	})
	rows := l.rows("SELECT concat(id, ' ', v) FROM " + table)
	for _, row := range rows {
		id, v, _ := strings.Cut(row, " ")
		if got, ok := state[id]; !ok || got != v {
			l.Errorf("%s: row %s of the table is %q in the log", table, row, got)
		}
	}
	if len(rows) != len(state) {
		l.Errorf("%s: %d rows in the table, %d in the log", table, len(rows), len(state))
	}
}

// killedCopy kills the daemon around each step of a copy: before anything, when the position is taken, after the first chunks, in
// the middle, at the last chunks, when all is done, at the first changes of the stream. The log has each row once, and the server has not been
// asked again for what was finished.
func killedCopy(t *testing.T, server *servers.Server) {
	l := newLab(t, server, many(isMySQL(server)), map[string]string{"snapshot.fetch.size": "10"})
	const kills = 7
	copying := 0
	rows := func(s *rest.SnapshotInfo) (n int64) {
		for _, table := range s.Tables {
			if table.Table == l.of("hist") {
				n = table.Rows
			}
		}
		return n
	}
	for i, ok := range []func(*rest.SnapshotInfo) bool{
		nil,
		func(s *rest.SnapshotInfo) bool { return len(s.Tables) > 0 },
		func(s *rest.SnapshotInfo) bool { return rows(s) > 0 },
		func(s *rest.SnapshotInfo) bool { return rows(s) >= 1500 },
		func(s *rest.SnapshotInfo) bool { return rows(s) >= 3000 },
		func(s *rest.SnapshotInfo) bool { return s.Completed },
		func(s *rest.SnapshotInfo) bool { return s.Completed && l.records("other")["c"] > 0 },
	} {
		if ok != nil && !l.until(fmt.Sprintf("step %d", i), ok).Completed {
			copying++
		}
		l.kill()
		if i == 5 {
			l.exec("INSERT INTO other VALUES (1, 'one')")
		}
	}
	l.exec("INSERT INTO other VALUES (2, 'two')")
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Drained(ctx, l.name+"."+l.of("other"), `"id":2`); err != nil {
		t.Fatal(err)
	}
	if n := l.records("hist"); n["r"] != 4000 || len(n) != 1 {
		t.Errorf("the log has %v of 4000 rows that were copied", n)
	}
	if n := l.records("other"); n["r"] != 1 || n["c"] != 2 {
		t.Errorf("of the other table the log has %v", n)
	}
	l.folded("hist")
	l.folded("other")
	reads, searches := 0, 0
	chunk := regexp.MustCompile(`SELECT (ctid|.id.), .*hist`)
	for _, sql := range l.statements() {
		if chunk.MatchString(sql) {
			reads++
		}
		if strings.Contains(sql, "BINLOG_GTID_POS") {
			searches++ // of the binary log, from a file's beginning
		}
	}
	if searches > kills {
		t.Errorf("MariaDB had to search its log %d times", searches)
	}
	t.Logf("%d kills while rows were copied, %d reads", copying, reads)
	// 400 chunks of 10 rows and the last one without any; in each life at most ten that are under way, wait for the stream, or are read and
	// not yet durable.
	if reads < 400 || reads > 401+kills*10 {
		t.Errorf("the server was asked for %d chunks of 10 rows", reads)
	}
	l.readOnly()
}

// changedTables alters, renames, empties and drops tables while they are copied: each goes through, or ends alone.
func changedTables(t *testing.T, server *servers.Server) {
	sql := many(isMySQL(server))
	for _, name := range []string{"added", "dropped", "renamed", "emptied", "gone", "moved"} {
		sql += "; CREATE TABLE " + name + " (id int PRIMARY KEY, v varchar(40), x int); INSERT INTO " + name + " SELECT id, v, 0 FROM hist"
	}
	l := newLab(t, server, sql, map[string]string{"snapshot.fetch.size": "50"})
	l.until("the copy has begun", func(s *rest.SnapshotInfo) bool { return s.Rows > 0 })
	l.cli("snapshot", "pause", "pg")
	l.exec("ALTER TABLE added ADD y int DEFAULT 7; ALTER TABLE dropped DROP COLUMN x; ALTER TABLE renamed RENAME COLUMN x TO z")
	l.exec("TRUNCATE TABLE emptied; INSERT INTO emptied VALUES (1, 'one', 1); DROP TABLE gone; ALTER TABLE moved RENAME TO moved2")
	l.exec("INSERT INTO added VALUES (9001, 'late', 1, 2); UPDATE renamed SET v = 'changed', z = 2 WHERE id % 3 = 0; DELETE FROM dropped WHERE id % 7 = 0")
	l.cli("snapshot", "resume", "pg")
	s := l.completed()
	for _, table := range s.Tables {
		if table.State != "done" {
			t.Errorf("%s: %s, %s", table.Table, table.State, table.Reason)
		}
	}
	l.exec("INSERT INTO other VALUES (3, 'last')")
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Drained(ctx, l.name+"."+l.of("other"), `"id":3`); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"hist", "other", "added", "dropped", "renamed", "emptied"} {
		l.folded(table)
	}
}

// signalsOnce copies tables again as signals of each kind ask, one of them by a filter, and pauses and stops the copies; the roles'
// timeouts would end each session that waits.
func signalsOnce(t *testing.T, server *servers.Server) {
	sql := many(isMySQL(server)) + "; CREATE TABLE slow (id int PRIMARY KEY, v varchar(40)); INSERT INTO slow SELECT id, v FROM hist WHERE id <= 20"
	slow := "SLEEP(0.03) = 0"
	switch {
	case strings.HasPrefix(server.URL, "postgres:"):
		slow = "pg_sleep(0.03)::text = ''"
	case strings.HasPrefix(server.Name, "mariadb"):
		sql = "SET GLOBAL max_statement_time = 0.3; " + sql
	default:
		sql = "SET GLOBAL max_execution_time = 300; " + sql
	}
	if isMySQL(server) {
		sql = "SET GLOBAL wait_timeout = 1; SET GLOBAL net_write_timeout = 1; SET GLOBAL lock_wait_timeout = 1; SET GLOBAL innodb_lock_wait_timeout = 1; " + sql
	} else {
		sql = "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET statement_timeout = 300'; EXECUTE 'ALTER DATABASE ' || current_database() || ' SET lock_timeout = 100'; " +
			"EXECUTE 'ALTER DATABASE ' || current_database() || ' SET idle_in_transaction_session_timeout = 100'; END $$; " + sql
	}
	l := newLab(t, server, sql, map[string]string{"signal.enabled.channels": "source,file", "signal.file": filepath.Join(t.TempDir(), "signals"),
		"signal.poll.interval.ms": "50"})
	props := map[string]string{"signal.data.collection": l.of("sig"), "signal.enabled.channels": "source,file",
		"signal.file": filepath.Join(l.dir, "signals"), "signal.poll.interval.ms": "50", "snapshot.select.statement.overrides": l.of("slow"),
		"snapshot.select.statement.overrides." + l.of("slow"): "SELECT * FROM " + l.of("slow") + " WHERE " + slow}
	req, err := http.NewRequest(http.MethodPut, l.d.URL()+"/connectors/pg/config", strings.NewReader(string(l.props(props))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK || res.Body.Close() != nil {
		t.Fatalf("%v %v", res, err)
	}
	l.completed()
	total := 0
	copied := func(op string, n int, what string) {
		t.Helper()
		total += n
		ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
		defer cancel()
		if err := l.d.Until(ctx, func() (bool, error) { return l.records("hist")[op] >= total, nil }); err != nil {
			t.Fatalf("%s: %v; %v", what, err, l.records("hist"))
		}
		l.completed()
		if got := l.records("hist")[op]; got != total {
			t.Fatalf("%s: %d rows instead of %d", what, got, total)
		}
	}
	l.exec(`INSERT INTO sig VALUES ('log-1', 'log', '{"message": "we are at {}"}')`)
	l.exec(`INSERT INTO sig VALUES ('adhoc-1', 'execute-snapshot', '{"data-collections": ["` + l.of("hist") + `"], "type": "incremental"}')`)
	copied("incremental", 4000, "a row in signal.data.collection")
	l.exec(`INSERT INTO sig VALUES ('slow-1', 'execute-snapshot', '{"data-collections": ["` + l.of("slow") + `"]}')`)
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Until(ctx, func() (bool, error) { return l.records("slow")["incremental"] == 20, nil }); err != nil {
		t.Fatalf("a chunk that takes longer than the server's limits: %v", err)
	}
	file := fmt.Sprintf(`{"id":"f1","type":"execute-snapshot","data":{"data-collections":["%[1]s"],"additional-conditions":[{"data-collection":"%[1]s","filter":"id > 3990"}]}}`, l.of("hist"))
	if err := os.WriteFile(filepath.Join(l.dir, "signals"), []byte(file+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	copied("incremental", 10, "a file, with a condition")
	res, err = http.Post(l.d.URL()+"/connectors/pg/signals", "application/json",
		strings.NewReader(`{"id":"s1","type":"execute-snapshot","data":{"data-collections":["`+l.of("hist")+`"],"surrogate-key":"id"}}`))
	if err != nil || res.StatusCode != http.StatusAccepted || res.Body.Close() != nil {
		t.Fatalf("%v %v", res, err)
	}
	copied("incremental", 4000, "the REST API, with a surrogate key")
	l.cli("snapshot", "pause", "pg")
	l.until("paused", func(s *rest.SnapshotInfo) bool { return s.Paused })
	l.cli("snapshot", "start", "pg", l.of("hist"), l.of("other"))
	l.until("both wait", func(s *rest.SnapshotInfo) bool {
		n := 0
		for _, table := range s.Tables {
			if table.Signal != "" {
				n++
			}
		}
		return n == 2
	})
	l.cli("snapshot", "stop", "pg", l.of("hist"))
	l.cli("snapshot", "resume", "pg")
	l.completed()
	copied("incremental", 0, "a copy that was stopped")
	if n := l.records("other"); n["incremental"] != 1 {
		t.Errorf("beside the one that was stopped: %v", n)
	}
	total = l.records("hist")["r"] // incremental ones are among them
	res, err = http.Post(l.d.URL()+"/connectors/pg/signals", "application/json",
		strings.NewReader(`{"id":"b1","type":"execute-snapshot","data":{"data-collections":["`+l.of("hist")+`"],"type":"blocking"}}`))
	if err != nil || res.StatusCode != http.StatusAccepted || res.Body.Close() != nil {
		t.Fatalf("%v %v", res, err)
	}
	copied("r", 4000, "the REST API, of the type blocking")
	if n := l.records("hist"); n["incremental"] != 8010 {
		t.Errorf("after a blocking snapshot %v", n)
	}
	text, err := os.ReadFile(l.d.Log)
	if err != nil || !strings.Contains(string(text), "we are at {") {
		t.Errorf("the message of signal log-1 is not in the daemon's log: %v", err)
	}
	l.folded("hist")
	l.readOnly()
}
