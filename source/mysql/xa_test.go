package mysql

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/snapshot"
)

// Rows of a distributed transaction come when it is committed and not when it is prepared, however much lies between, and not at all
// if it is rolled back. The connector may have come to the server, or died, at any moment of it.
func TestDistributed_case63(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) { testDistributed(t, addr, "") })
	t.Run("compressed", func(t *testing.T) {
		onEach(t, []string{"mysql97"}, func(t *testing.T, addr string) { testDistributed(t, addr, "SET binlog_transaction_compression = ON") })
	})
}

func testDistributed(t *testing.T, addr, session string) {
	d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY, v varchar(20)); CREATE TABLE o (id int PRIMARY KEY)")
	id := func(name string) string { return "'" + d.name + name + "'" }
	other := d.connect()
	defer other.Close()
	start := d.stream(nil)
	at := readEmpty(d, start)
	run := func(sql string) {
		t.Helper()
		execOn(t, other, sql)
	}
	if session != "" {
		run(session)
	}
	run("USE " + d.name + "; XA START " + id("a") + "; INSERT INTO t VALUES (1, 'a'), (2, 'a'); UPDATE t SET v = 'b' WHERE id = 2; XA END " + id("a") + "; XA PREPARE " + id("a"))
	d.exec("INSERT INTO o VALUES (1)")
	_, between := d.read(d.stream(at), 1)
	if !strings.Contains(string(between), `"xa":[{`) {
		t.Errorf("the position while it is prepared is %s", between)
	}
	fresh := readEmpty(d, d.stream(nil)) // knows nothing of the first phase
	d.exec("INSERT INTO o VALUES (2)")
	run("XA COMMIT " + id("a"))
	run("XA START " + id("b") + "; INSERT INTO t VALUES (3, 'never'); XA END " + id("b") + "; XA PREPARE " + id("b"))
	d.exec("INSERT INTO o VALUES (3)")
	run("XA ROLLBACK " + id("b"))
	run("XA START " + id("c") + "; INSERT INTO t VALUES (4, 'c'); XA END " + id("c") + "; XA COMMIT " + id("c") + " ONE PHASE")
	d.exec("INSERT INTO o VALUES (4)")
	const want = "c 1; c 2; c 1,a; c 2,a; u 2,b; c 3; c 4,c; c 4"
	events, end := d.read(start, 8)
	if got := showAll(events); got != want {
		t.Errorf("streamed: %s", got)
	}
	for i := 3; i < 5; i++ {
		if events[i].Txn != events[2].Txn || events[i].Ordinal <= events[i-1].Ordinal || events[i].Binlog.GTID != events[2].Binlog.GTID {
			t.Errorf("row %d of the transaction: %+v", i-1, events[i])
		}
	}
	if strings.Contains(string(end), `"xa"`) {
		t.Errorf("nothing is prepared any more, and the position is %s", end)
	}
	for n := 1; n < 8; n++ { // resumed after each event, also inside of the transaction
		first, resume := d.read(d.stream(at, "max.batch.size", "1"), n)
		rest, _ := d.read(d.stream(resume), 8-len(first))
		if got := showAll(append(first, rest...)); got != want {
			t.Errorf("resumed after %d: %s", n, got)
		}
	}
	events, _ = d.read(d.stream(fresh), 7)
	if got := showAll(events); got != strings.TrimPrefix(want, "c 1; ") {
		t.Errorf("begun after the first phase: %s", got)
	}
}

// What was prepared, and is purged when it is committed, is a loss that is told.
func TestDistributedLost(t *testing.T) {
	server := servers.Private(t, "mariadb10", nil)
	d := newDB(t, server.URL, "CREATE TABLE t (id int PRIMARY KEY)")
	other := d.connect()
	defer other.Close()
	execOn(t, other, "USE "+d.name+"; XA START 'x'; INSERT INTO t VALUES (1); XA END 'x'; XA PREPARE 'x'")
	d.exec("FLUSH BINARY LOGS")
	waitFor(t, "the purge of binary logs", func() bool {
		d.exec("FLUSH ENGINE LOGS; PURGE BINARY LOGS TO '" + lastLog(d) + "'")
		return d.text("SHOW BINARY LOGS") == lastLog(d)
	})
	s := d.stream(nil)
	execOn(t, other, "XA COMMIT 'x'")
	var b change.Batch
	err := s.Read(context.Background(), &b)
	for err == nil {
		b.Reset()
		err = s.Read(t.Context(), &b)
	}
	if fault.Code(err) != "XA_TRANSACTION" {
		t.Errorf("%v", err)
	}
}

// MariaDB logs XA COMMIT before the rows are visible. Of a transaction that is committed in the moment in which a snapshot is begun it is
// not known whether that has seen it; as long as the server has one prepared under the identifier, that moment lasts.
func TestCase31SnapshotsAndDistributed(t *testing.T) {
	d := newDB(t, servers.Need(t, "mariadb10"), "CREATE TABLE t (id int PRIMARY KEY)")
	id := "'" + d.name + "','b\\'',7"
	other := d.connect()
	defer other.Close()
	src := d.open()
	s, err := src.Stream(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	readEmpty(d, s)
	begin := func() *window {
		t.Helper()
		w, _, err := src.beginSnapshot(t.Context(), d.conn, false)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("COMMIT")
		return w
	}
	older := begin()
	doubts, err := askDoubts(d.conn, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	execOn(t, other, "USE "+d.name+"; XA START "+id+"; INSERT INTO t VALUES (1); XA END "+id+"; XA PREPARE "+id+"; XA COMMIT "+id)
	events, _ := d.read(s, 1)
	check := func(w *window, want snapshot.Side, when string) {
		t.Helper()
		if got := w.Side(&events[0]); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check(older, snapshot.After, "a snapshot that is older than the commit")
	w := begin()
	w.doubts = doubts
	check(w, snapshot.Unknown, "one that was begun while it was prepared and committed")
	execOn(t, other, "XA START "+id+"; INSERT INTO t VALUES (2); XA END "+id+"; XA PREPARE "+id)
	w = begin()
	check(w, snapshot.Unknown, "while the server has it prepared")
	w.doubts.asked = time.Now().Add(stuck)
	check(w, snapshot.Before, "another one has taken its identifier")
	execOn(t, other, "XA ROLLBACK "+id)
	w = begin()
	check(w, snapshot.Before, "it is visible for sure")
	w.low, w.unsure = 0, w.low
	w.high = w.unsure
	check(w, snapshot.Unknown, "the place of the snapshot is not known")
}

// TestBranchesAreBounded: the oldest are forgotten.
func TestBranchesAreBounded(t *testing.T) {
	var l branches
	for txn := range uint64(3 * maxBranches) {
		l.add(txn, branch{prepared: 9})
	}
	d := &doubts{at: 9}
	if len(l.recent) > 2*maxBranches || len(l.index) != len(l.recent) || l.doubtful(d, 0) || !l.doubtful(d, 3*maxBranches-1) || !l.doubtful(d, 2*maxBranches) {
		t.Errorf("%d and %d are remembered", len(l.recent), len(l.index))
	}
}
