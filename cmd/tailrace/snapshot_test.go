package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/rest"
)

// snapshotPatience bounds every wait of these tests.
const snapshotPatience = time.Minute

// lab is a daemon with one source, of which the server logs every statement.
type lab struct {
	*testing.T
	server *servers.Server
	name   string // of the database, the slot and the topics' prefix
	schema string // of the tables: public, or the database
	url    string
	conn   *pgx.Conn         // PostgreSQL
	mysql  *mysqlclient.Conn // MariaDB and MySQL
	class  string            // of the connector
	d      *daemon.Daemon
	dir    string
}

// newLab runs sql in a fresh database and starts a daemon with a connector pg on it; more is added to its configuration.
func newLab(t *testing.T, server *servers.Server, sql string, more map[string]string) *lab {
	t.Helper()
	l := prepareLab(t, server, sql, more)
	l.d = start(t, filepath.Join(l.dir, "data"), filepath.Join(l.dir, "connectors.yaml"))
	return l
}

// prepareLab does what newLab does, but starts no daemon.
func prepareLab(t *testing.T, server *servers.Server, sql string, more map[string]string) *lab {
	t.Helper()
	l := &lab{T: t, dir: t.TempDir(), server: server, name: "lab_" + strings.ToLower(rand.Text()[:8])}
	if strings.HasPrefix(server.URL, "postgres:") {
		l.onPostgres(sql)
	} else {
		l.onMySQL(sql)
	}
	text := "version: 1\nconnectors:\n  - name: pg\n    config: " + string(l.props(more)) + "\n"
	if err := os.WriteFile(filepath.Join(l.dir, "connectors.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) onPostgres(sql string) {
	l.Helper()
	l.schema, l.class = "public", "postgres"
	l.url = "postgres://postgres@" + l.server.Addr + "/" + l.name
	if err := compare.Exec(l.Context(), l.server.URL, "CREATE DATABASE "+l.name); err != nil {
		l.Fatal(err)
	}
	var err error
	if l.conn, err = pgx.Connect(l.Context(), l.url); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { l.conn.Close(context.Background()) })
	l.exec(sql)
	l.exec("CREATE PUBLICATION p FOR ALL TABLES")
}

// onMySQL makes the database; sql is statements separated by semicolons.
func (l *lab) onMySQL(sql string) {
	l.Helper()
	var err error
	if l.mysql, err = mysqlclient.Connect(l.server.Addr, "root", "", ""); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { l.mysql.Close() })
	l.schema, l.class = l.name, "mysql"
	if version, err := l.mysql.Execute("SELECT @@version"); err != nil {
		l.Fatal(err)
	} else if text, err := version.GetString(0, 0); err != nil || strings.Contains(text, "MariaDB") {
		l.class = "mariadb"
	}
	l.exec("CREATE DATABASE " + l.name + "; USE " + l.name + "; CREATE USER " + l.name + " IDENTIFIED BY 'secret'; GRANT SELECT ON " + l.name + ".* TO " +
		l.name + "; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO " + l.name + "; " + sql)
}

// props is the configuration of the connector, as JSON.
func (l *lab) props(more map[string]string) []byte {
	host, port, err := net.SplitHostPort(l.server.Addr)
	if err != nil {
		l.Fatal(err)
	}
	p := map[string]string{"connector.class": l.class, "topic.prefix": l.name, "database.hostname": host, "database.port": port,
		"snapshot.fetch.size": "100"}
	if l.mysql != nil {
		maps.Copy(p, map[string]string{"database.user": l.name, "database.password": "secret", "database.include.list": l.name, "include.schema.changes": "false"})
	} else {
		maps.Copy(p, map[string]string{"database.user": "postgres", "database.dbname": l.name, "slot.name": l.name, "publication.name": "p",
			"publication.autocreate.mode": "disabled"})
	}
	maps.Copy(p, more)
	text, err := json.Marshal(p)
	if err != nil {
		l.Fatal(err)
	}
	return text
}

func (l *lab) exec(sql string) {
	l.Helper()
	if l.mysql == nil {
		if _, err := l.conn.Exec(l.Context(), sql); err != nil {
			l.Fatalf("%.100s: %v", sql, err)
		}
		return
	}
	for one := range strings.SplitSeq(sql, "; ") {
		if _, err := l.mysql.Execute(one); err != nil {
			l.Fatalf("%.100s: %v", one, err)
		}
	}
}

// of is a table's name in signals and lists.
func (l *lab) of(table string) string { return l.schema + "." + table }

// rows returns the rows of a query as lines of text.
func (l *lab) rows(sql string) (lines []string) {
	l.Helper()
	if l.mysql == nil {
		rows, err := l.conn.Query(l.Context(), sql)
		if err != nil {
			l.Fatal(err)
		}
		if lines, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			l.Fatal(err)
		}
		return lines
	}
	r, err := l.mysql.Execute(sql)
	for i := 0; err == nil && i < r.RowNumber(); i++ {
		var line string
		line, err = r.GetString(i, 0)
		lines = append(lines, line)
	}
	if err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
	return lines
}

// statements returns what the connector has run on the server, by the server's own log.
func (l *lab) statements() (list []string) {
	l.Helper()
	if l.mysql != nil {
		return l.rows("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type IN ('Query', 'Prepare', 'Execute') AND user_host LIKE '%[" + l.name + "]%' ORDER BY event_time")
	}
	text, err := os.ReadFile(filepath.Join(l.server.Dir, "server.log"))
	if err != nil {
		l.Fatal(err)
	}
	ours := regexp.MustCompile(`^\[tailrace pg/` + l.name + `\] LOG:  (?:statement: |execute [^:]*: |received replication command: )(.*)`)
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := ours.FindStringSubmatch(line); m != nil {
			list = append(list, m[1])
		}
	}
	return list
}

func (l *lab) cli(args ...string) string {
	l.Helper()
	out, code := tailrace(l.T, nil, append(args, "--url", l.d.URL())...)
	if code != 0 {
		l.Fatalf("%v: %d %s", args, code, out)
	}
	return out
}

// until waits for the state of the snapshot.
func (l *lab) until(what string, ok func(s *rest.SnapshotInfo) bool) *rest.SnapshotInfo {
	l.Helper()
	var last *rest.SnapshotInfo
	ctx, cancel := context.WithTimeout(l.Context(), snapshotPatience)
	defer cancel()
	err := l.d.Until(ctx, func() (bool, error) {
		list, err := l.d.Status(ctx)
		if err != nil {
			return false, nil // it is starting
		}
		for _, c := range list {
			if c.Name == "pg" && len(c.Tasks) == 1 && c.Tasks[0].Snapshot != nil {
				last = c.Tasks[0].Snapshot
				return ok(last), daemon.Failed(list)
			}
		}
		return false, daemon.Failed(list)
	})
	if err != nil {
		l.Fatalf("%s: %v; %+v", what, err, last)
	}
	return last
}

func (l *lab) completed() *rest.SnapshotInfo {
	l.Helper()
	return l.until("the copy does not end", func(s *rest.SnapshotInfo) bool { return s.Completed })
}

// records counts the records of a topic: by the op, and those of an incremental snapshot as "incremental".
func (l *lab) records(table string) map[string]int {
	l.Helper()
	n := map[string]int{}
	l.read(table, func(r *compare.Record) error {
		if r.Value == nil {
			n["tombstone"]++
			return nil
		}
		e, err := compare.ParseEvent(r.Value)
		if err != nil {
			return err
		}
		n[e.Op]++
		if s, err := compare.Member(e.Source, "snapshot"); err != nil || s == "incremental" {
			n[s]++
		}
		return nil
	})
	return n
}

func (l *lab) read(table string, visit func(*compare.Record) error) {
	l.Helper()
	in, err := l.d.Tail(l.Context(), l.name+"."+l.of(table))
	if err != nil {
		l.Fatal(err)
	}
	if in == nil {
		return
	}
	if err := errors.Join(compare.Records(in, visit), in.Close()); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) table(name string) *compare.Table {
	l.Helper()
	tables, err := compare.Tables(l.Context(), l.conn, "public")
	if err != nil {
		l.Fatal(err)
	}
	i := slices.IndexFunc(tables, func(t *compare.Table) bool { return t.Name == name })
	if i < 0 {
		l.Fatalf("no table %s", name)
	}
	return tables[i]
}

// equal compares the fold of the log with a table.
func (l *lab) equal(table string) {
	l.Helper()
	sides := append([]compare.Side{compare.NewPostgres("source", l.url, nil)}, daemon.Sides(l.d, l.name, daemon.Targets{})...)
	diffs, err := compare.Diff(l.Context(), l.table(table), sides[0], sides[1], 5)
	if err != nil || len(diffs) > 0 {
		l.Errorf("%s: the log differs from the table: %v, %v", table, diffs, err)
	}
}

func (l *lab) kill() {
	l.Helper()
	if err := l.d.Kill(); err != nil {
		l.Fatal(err)
	}
	if err := l.d.Start(); err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Ready(ctx); err != nil {
		l.Fatal(err)
	}
}

// readOnly holds the server's log against what a snapshot may do: no lock is taken and nothing is written.
func (l *lab) readOnly() {
	l.Helper()
	allowed := regexp.MustCompile(`(?i)^\s*(BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY|SELECT|COMMIT|ROLLBACK|SHOW |-- ping|IDENTIFY_SYSTEM|CREATE_REPLICATION_SLOT|START_REPLICATION|READ_REPLICATION_SLOT)`)
	if l.mysql != nil { // KILL ends a dump of its own that was left behind
		allowed = regexp.MustCompile(`(?i)^\s*(START TRANSACTION WITH CONSISTENT SNAPSHOT|SELECT|COMMIT|ROLLBACK|SHOW |XA RECOVER$|SET |KILL )`)
	}
	literals, writes := regexp.MustCompile(`'[^']*'`), regexp.MustCompile(`(?i)\b(LOCK|FLUSH|INSERT|UPDATE|DELETE|TRUNCATE|SHARE|SET (GLOBAL|PERSIST))\b`)
	n := 0
	for _, sql := range l.statements() {
		n++
		if sql != "" && !allowed.MatchString(sql) || writes.MatchString(literals.ReplaceAllString(sql, "")) {
			l.Errorf("the connector ran %s", sql)
		}
	}
	if n < 20 {
		l.Errorf("only %d statements of the connector are in the server's log", n)
	}
}

const labSchema = `CREATE TABLE hist (id int PRIMARY KEY, v text); INSERT INTO hist SELECT i, 'h' || i FROM generate_series(1, 4000) i;
	CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (0);
	CREATE TABLE sig (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048))`

// TestSnapshots runs daemons against one server, each in a database of its own.
func TestSnapshots(t *testing.T) {
	server := servers.Private(t, "postgres15", map[string]string{"log_statement": "all", "log_replication_commands": "on",
		"log_line_prefix": "[%a/%d] ", "max_wal_senders": "20", "max_replication_slots": "20"})
	for name, test := range map[string]func(*testing.T, *servers.Server){
		"signals":                                signals,
		"case39_case32_again":                    snapshotAgain,
		"stop":                                   snapshotStopped,
		"case40_table_added":                     tableAdded,
		"case40_table_created_while_running":     tableCreated,
		"ghosts_and_a_new_sink_fed_from_the_log": ghostsAndReplay,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server)
		})
	}
}

func signals(t *testing.T, server *servers.Server) {
	file := filepath.Join(t.TempDir(), "signals")
	l := newLab(t, server, labSchema, map[string]string{"signal.data.collection": "public.sig", "signal.enabled.channels": "source,file",
		"signal.file": file, "signal.poll.interval.ms": "50", "snapshot.max.threads": "2",
		"notification.enabled.channels": "sink,log", "notification.sink.topic.name": "notes"})
	l.completed()
	copied := func(n int, what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
		defer cancel()
		if err := l.d.Until(ctx, func() (bool, error) { return l.records("hist")["incremental"] >= n, nil }); err != nil {
			t.Fatalf("%s: %v; %v", what, err, l.records("hist"))
		}
		l.completed()
		if got := l.records("hist")["incremental"]; got != n {
			t.Fatalf("%s: %d rows instead of %d", what, got, n)
		}
	}
	l.exec(`INSERT INTO sig VALUES ('adhoc-1', 'execute-snapshot', '{"data-collections": ["public.hist"], "type": "incremental"}'),
		('log-1', 'log', '{"message": "at {}"}'), ('wrong-1', 'execute-snapshot', '{'), ('wrong-2', 'nonsense', NULL)`)
	copied(4000, "a row in signal.data.collection")
	if out := l.cli("snapshot", "start", "pg", "public.hist", "--filter", "public.hist:id <= 10", "-o", "json"); !strings.Contains(out, `"execute-snapshot"`) {
		t.Errorf("answer %s", out)
	}
	copied(4010, "the command line, with a filter")
	if err := os.WriteFile(file, []byte(`{"id":"f1","type":"execute-snapshot","data":{"data-collections":["public.hi.*"],"additional-conditions":[{"data-collection":"public.hist","filter":"id > 3990"}]}}`+"\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	copied(4020, "a file")
	res, err := http.Post(l.d.URL()+"/connectors/pg/signals", "application/json", strings.NewReader(`{"type":"execute-snapshot","data":"{\"data-collections\":[\"public.hist\"],\"surrogate-key\":\"id\"}"}`))
	if err != nil || res.StatusCode != http.StatusAccepted || res.Body.Close() != nil {
		t.Fatalf("%v %v", res, err)
	}
	copied(8020, "the REST API, with a surrogate key")
	for body, code := range map[string]int{`{"type":"nonsense"}`: 400, `{"type":"execute-snapshot"}`: 400, `{"type":"execute-snapshot","data":{"data-collections":["("]}}`: 400} {
		res, err := http.Post(l.d.URL()+"/connectors/pg/signals", "application/json", strings.NewReader(body))
		if err != nil || res.StatusCode != code || res.Body.Close() != nil {
			t.Errorf("%s: %v %v", body, res, err)
		}
	}
	l.readOnly()
	l.notes()
	res, err = http.Get(l.d.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var text strings.Builder
	if err := res.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`debezium_metrics_RowsScanned{context="snapshot",name="` + l.name + `",plugin="postgres",table="public.hist"} 4000`,
		`debezium_metrics_SnapshotCompleted{context="snapshot",name="` + l.name + `",plugin="postgres"} 1`, `debezium_metrics_SnapshotPaused{`,
		`debezium_metrics_RemainingTableCount{context="snapshot",name="` + l.name + `",plugin="postgres"} 0`, "debezium_metrics_SnapshotDurationInSeconds{"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// notes judges the notifications of signals.
func (l *lab) notes() {
	l.Helper()
	in, err := l.d.Tail(l.Context(), "notes")
	if err != nil || in == nil {
		l.Fatalf("no topic of notifications: %v", err)
	}
	n := map[string]int{}
	err = compare.Records(in, func(r *compare.Record) error {
		var key struct{ ID string }
		var note struct {
			ID, Type, Aggregate string
			AggregateType       string            `json:"aggregate_type"`
			Data                map[string]string `json:"additional_data"`
			Timestamp           int64
		}
		if err := errors.Join(json.Unmarshal(r.Key, &key), json.Unmarshal(r.Value, &note)); err != nil {
			return err
		}
		if key.ID == "" || key.ID != note.ID || note.Timestamp == 0 || note.Data["connector_name"] != "pg" {
			return fmt.Errorf("notification %s", r.Value)
		}
		n[note.AggregateType+" "+note.Type]++
		if note.Type == "TABLE_SCAN_COMPLETED" && note.Data["scanned_collection"] == "public.hist" {
			n[note.Data["total_rows_scanned"]+note.Data["status"]]++
		}
		return nil
	})
	if err = errors.Join(err, in.Close()); err != nil {
		l.Fatal(err)
	}
	for what, want := range map[string]int{"Initial Snapshot STARTED": 1, "Initial Snapshot IN_PROGRESS": 3, "Initial Snapshot TABLE_SCAN_COMPLETED": 3,
		"Initial Snapshot COMPLETED": 1, "Incremental Snapshot STARTED": 4, "Incremental Snapshot COMPLETED": 4, "4000SUCCEEDED": 3, "10SUCCEEDED": 2} {
		if n[what] != want {
			l.Errorf("%d notifications %s instead of %d: %v", n[what], what, want, n)
		}
	}
}

// A table is copied again while its neighbour is written to, with kill -9 on the way.
func snapshotAgain(t *testing.T, server *servers.Server) {
	l := newLab(t, server, labSchema, map[string]string{"snapshot.fetch.size": "50"})
	l.completed()
	writing, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		conn, err := pgx.Connect(context.WithoutCancel(writing), l.url)
		n := 0
		for err == nil && writing.Err() == nil {
			n++
			_, err = conn.Exec(context.WithoutCancel(writing), "INSERT INTO other VALUES ($1)", n)
		}
		if err = errors.Join(err, conn.Close(context.WithoutCancel(writing))); err != nil {
			t.Error(err)
		}
		written <- n
	}()
	l.exec("UPDATE hist SET v = 'new' WHERE id % 10 = 0")
	l.cli("snapshot", "start", "pg", "public.hist")
	const kills = 3
	for i := range int64(kills) {
		l.until("a part is copied", func(s *rest.SnapshotInfo) bool {
			for _, table := range s.Tables {
				if table.Table == "public.hist" {
					return table.Signal != "" && table.Rows >= 800*(i+1) || s.Completed && table.Chunks > 0
				}
			}
			return false
		})
		l.kill()
	}
	l.cli("snapshot", "pause", "pg")
	paused := l.until("paused", func(s *rest.SnapshotInfo) bool { return s.Paused || s.Completed })
	l.kill()
	if now := l.until("there", func(*rest.SnapshotInfo) bool { return true }); paused.Paused && !now.Paused {
		t.Errorf("after kill -9 it is not paused any more: %+v", now)
	}
	if out := l.cli("snapshot", "status", "pg"); !strings.Contains(out, "public.hist") || !strings.Contains(out, "[") {
		t.Errorf("status: %s", out)
	}
	l.cli("snapshot", "resume", "pg")
	l.completed()
	stop()
	n := <-written
	l.exec("INSERT INTO other VALUES (-1)")
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Drained(ctx, l.name+".public.other", `"id":-1`); err != nil {
		t.Fatal(err)
	}
	hist, other := l.records("hist"), l.records("other")
	if got := hist["incremental"]; got < 4000 || got > 4000+(kills+1)*200 {
		t.Errorf("%d rows were copied again: finished chunks were read again, or rows are missing", got)
	}
	if other["c"] != n+1 || other["r"] != 1 {
		t.Errorf("%d inserts into the neighbour, in the log %v", n+1, other)
	}
	l.equal("hist")
	l.equal("other")
}

func snapshotStopped(t *testing.T, server *servers.Server) {
	l := newLab(t, server, labSchema, nil)
	l.completed()
	l.cli("snapshot", "pause", "pg")
	l.until("paused", func(s *rest.SnapshotInfo) bool { return s.Paused })
	l.cli("snapshot", "start", "pg", "public.hist", "public.other")
	l.until("both wait", func(s *rest.SnapshotInfo) bool {
		return s.Tables[0].Signal != "" && s.Tables[1].Signal != ""
	})
	l.cli("snapshot", "stop", "pg", "public.hist")
	l.cli("snapshot", "resume", "pg")
	s := l.completed()
	if s.Tables[0].State != "stopped" || s.Tables[1].State != "done" || l.records("hist")["incremental"] > 0 || l.records("other")["incremental"] != 1 {
		t.Errorf("%+v", s)
	}
}

// A table that comes into the include list is copied by itself.
func tableAdded(t *testing.T, server *servers.Server) {
	l := newLab(t, server, labSchema, map[string]string{"table.include.list": "public.hist"})
	l.completed()
	l.exec("UPDATE hist SET v = 'streamed' WHERE id = 1")
	req, err := http.NewRequest(http.MethodPut, l.d.URL()+"/connectors/pg/config", strings.NewReader(string(l.props(map[string]string{"table.include.list": "public.hist,public.other"}))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK || res.Body.Close() != nil {
		t.Fatalf("%v %v", res, err)
	}
	l.exec("INSERT INTO other VALUES (1)")
	l.until("the new table", func(s *rest.SnapshotInfo) bool { return len(s.Tables) == 2 && s.Completed })
	l.exec("INSERT INTO other VALUES (2)")
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	if err := l.d.Drained(ctx, l.name+".public.other", `"id":2`); err != nil {
		t.Fatal(err)
	}
	if n := l.records("hist"); n["r"] != 4000 || n["u"] != 1 {
		t.Errorf("the old table: %v", n)
	}
	l.equal("hist")
	l.equal("other")
}

func tableCreated(t *testing.T, server *servers.Server) {
	l := newLab(t, server, labSchema, nil)
	l.completed()
	l.exec("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late SELECT generate_series(1, 100)")
	l.until("the new table", func(s *rest.SnapshotInfo) bool { return len(s.Tables) == 4 && s.Completed })
	l.equal("late")
}

// Rows that were deleted while nobody looked are removed from the log by a second copy; a new sink is fed from the log alone.
func ghostsAndReplay(t *testing.T, server *servers.Server) {
	l := newLab(t, server, labSchema, map[string]string{"snapshot.fetch.size": "1000"})
	l.completed()
	put := func(method, path string) {
		t.Helper()
		req, err := http.NewRequest(method, l.d.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode/100 != 2 || res.Body.Close() != nil {
			t.Fatalf("%s %s: %v %v", method, path, res, err)
		}
	}
	put(http.MethodPut, "/connectors/pg/stop")
	l.exec("DELETE FROM hist WHERE id % 4 = 0")
	l.exec("UPDATE hist SET v = 'changed' WHERE id % 4 = 1")
	l.exec("INSERT INTO hist SELECT 10000 + i, 'new' FROM generate_series(1, 10) i")
	l.exec("SELECT pg_drop_replication_slot('" + l.name + "')")
	put(http.MethodDelete, "/connectors/pg/offsets")
	put(http.MethodPut, "/connectors/pg/resume")
	l.completed()
	l.equal("hist")
	if n := l.records("hist"); n["d"] != 1000 || n["t"] > 0 {
		t.Errorf("records %v", n)
	}
	put(http.MethodPut, "/connectors/pg/stop")
	statements := func() int {
		text, err := os.ReadFile(filepath.Join(l.server.Dir, "server.log"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "[tailrace pg/"+l.name+"]")
	}
	before := statements()
	l.exec("CREATE DATABASE " + l.name + "_copy")
	sink := fmt.Sprintf(`{"name":"copy","config":{"connector.class":"postgres-sink","topics.regex":"%[2]s\\..*","connection.url":"postgres://%[1]s/%[2]s_copy","connection.username":"postgres"}}`, l.server.Addr, l.name)
	res, err := http.Post(l.d.URL()+"/connectors", "application/json", strings.NewReader(sink))
	if err != nil || res.StatusCode != http.StatusCreated || res.Body.Close() != nil {
		t.Fatalf("%v %v", res, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), snapshotPatience)
	defer cancel()
	sides := []compare.Side{compare.NewPostgres("source", l.url, nil),
		compare.NewPostgres("copy", l.url+"_copy", func(t *compare.Table) (string, string) { return "public", t.Name })}
	if err := l.d.Until(ctx, func() (bool, error) {
		results, err := compare.Run(ctx, []*compare.Table{l.table("hist")}, sides)
		return err == nil && results[0].Equal(), err
	}); err != nil {
		t.Fatalf("the new sink: %v", err)
	}
	if after := statements(); after != before {
		t.Errorf("the source was touched: %d statements", after-before)
	}
}
