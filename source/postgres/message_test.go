package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
)

// raws writes events that are no rows as "topic key value", rows as show does.
func raws(events []change.Event) []string {
	var list []string
	for i := range events {
		e := &events[i]
		if e.Raw == nil {
			list = append(list, show(e))
			continue
		}
		list = append(list, fmt.Sprintf("%s %s %s", e.Topic, e.Raw.Key, e.Raw.Value))
	}
	return list
}

func TestLogicalMessages(t *testing.T) { eachServer(t, testLogicalMessages) }

func testLogicalMessages(t *testing.T) {
	const sql = `SELECT pg_logical_emit_message(false, 'audit', 'hello');
		BEGIN; INSERT INTO t VALUES (1); SELECT pg_logical_emit_message(true, 'audit', 'in tx'); SELECT pg_logical_emit_message(false, 'loose', 'inside');
		INSERT INTO t VALUES (2); COMMIT;
		SELECT pg_logical_emit_message(true, 'bin', '\x00ff'::bytea);
		BEGIN; SELECT pg_logical_emit_message(true, 'rolled', 'back'); SELECT pg_logical_emit_message(false, 'rolled', 'stays'); ROLLBACK;
		INSERT INTO t VALUES (3)`
	run := func(d *testDB) {
		for statement := range strings.SplitSeq(sql, ";\n") {
			d.exec(statement)
		}
	}
	all := []string{"shop.message audit hello", "shop.message loose inside", "c public.t 1 after{id=1}", "shop.message audit in tx", "c public.t 2 after{id=2}",
		"shop.message bin \x00\xff", "shop.message rolled stays", "c public.t 3 after{id=3}"}
	t.Run("case21_messages", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil, "max.batch.size", "1")
		p.read()
		run(d)
		events := p.events(len(all))
		if got := raws(events); !slices.Equal(got, all) {
			t.Errorf("got %q", got)
		}
		for i, e := range events {
			in := !strings.Contains(all[i], "hello") && !strings.Contains(all[i], "inside") && !strings.Contains(all[i], "stays")
			if (e.Txn != 0) != in || e.LSN == 0 || e.Commit == 0 || e.Table.Origin == nil {
				t.Errorf("%s: transaction %d, LSN %d, time %d", all[i], e.Txn, e.LSN, e.Commit)
			}
		}
		resumes, steps := p.resumes, p.steps
		p.stop()
		for i, from := range resumes { // as after a kill there
			again := d.stream(from)
			if n := len(all) - steps[i]; n > 0 {
				if got := raws(again.events(n)); !slices.Equal(got, all[steps[i]:]) {
					t.Errorf("after %d events: got %q", steps[i], got)
				}
			}
			again.stop()
		}
	})
	t.Run("case21_dropped_by_prefix", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil, "message.prefix.include.list", "bin|r.*")
		run(d)
		if got, want := raws(p.events(5)), []string{all[2], all[4], all[5], all[6], all[7]}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

func TestTransactionMetadata(t *testing.T) {
	d := newDB(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE hidden (id int PRIMARY KEY)`)
	p := d.stream(nil, "provide.transaction.metadata", "true", "max.batch.size", "1", "table.exclude.list", "public.hidden")
	p.read()
	d.exec("BEGIN; INSERT INTO hidden VALUES (1); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (2); INSERT INTO a VALUES (2); COMMIT")
	d.exec("UPDATE b SET id = 10 WHERE id = 2")
	events := p.events(10)
	id, ms := events[0].Raw.Key, events[1].Commit/1000
	all := []string{
		fmt.Sprintf(`shop.transaction %s {"status":"BEGIN",%s,"event_count":null,"data_collections":null,"ts_ms":%d}`, id, id[1:len(id)-1], ms),
		"c public.a 1 after{id=1}", "c public.b 1 after{id=1}", "c public.b 2 after{id=2}", "c public.a 2 after{id=2}",
		fmt.Sprintf(`shop.transaction %s {"status":"END",%s,"event_count":4,"data_collections":[{"data_collection":"public.a","event_count":2},{"data_collection":"public.b","event_count":2}],"ts_ms":%d}`,
			id, id[1:len(id)-1], ms)}
	if got := raws(events[:6]); !slices.Equal(got, all) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(all, "\n"))
	}
	for i, place := range [][2]uint64{{1, 1}, {2, 1}, {3, 2}, {4, 2}} {
		if e := events[i+1]; e.TxOrder != place[0] || e.TxInTable != place[1] || fmt.Sprintf(`{"id":%q}`, e.TxID) != string(id) {
			t.Errorf("event %d is %s, %d, %d", i, e.TxID, e.TxOrder, e.TxInTable)
		}
	}
	if events[6].Raw == nil || events[7].TxOrder != 1 || events[8].TxOrder != 2 || events[9].Raw == nil {
		t.Errorf("the second transaction is %q", raws(events[6:]))
	}
	places := func(events []change.Event) (list []uint64) {
		for _, e := range events {
			list = append(list, e.TxOrder*100+e.TxInTable)
		}
		return list
	}
	whole, wholePlaces := raws(events), places(events)
	resumes, steps := p.resumes, p.steps
	p.stop()
	for i, from := range resumes {
		again := d.stream(from, "provide.transaction.metadata", "true", "table.exclude.list", "public.hidden")
		if n := len(whole) - steps[i]; n > 0 {
			rest := again.events(n)
			if got := raws(rest); !slices.Equal(got, whole[steps[i]:]) || !slices.Equal(places(rest), wholePlaces[steps[i]:]) {
				t.Errorf("after %d events: got %q", steps[i], got)
			}
		}
		again.stop()
	}
}

func TestOrigin(t *testing.T) {
	d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	origin := d.name
	t.Cleanup(func() {
		d.exec("SELECT pg_replication_origin_session_reset(); SELECT pg_replication_origin_drop(" + literal(origin) + ")")
	})
	p := d.stream(nil)
	d.exec("INSERT INTO t VALUES (1)")
	d.exec("SELECT pg_replication_origin_create(" + literal(origin) + "); SELECT pg_replication_origin_session_setup(" + literal(origin) + ")")
	d.exec("BEGIN; SELECT pg_replication_origin_xact_setup('0/AB', now()); INSERT INTO t VALUES (2), (3); COMMIT")
	events := p.events(3)
	if events[0].Replica != nil {
		t.Errorf("what was written here has the origin %v", events[0].Replica)
	}
	if r := events[1].Replica; r == nil || *r != (change.Replica{Origin: origin, LSN: 0xAB}) || events[2].Replica != r {
		t.Errorf("origin %v", r)
	}
}

func TestHeartbeat(t *testing.T) {
	t.Run("events_while_idle_and_query", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE beats (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)`)
		p := d.stream(nil, "heartbeat.interval.ms", "20", "heartbeat.action.query", "INSERT INTO beats DEFAULT VALUES", "table.include.list", "public.t")
		for n := 0; n < 3; n++ {
			for len(p.keep.Events) == n {
				p.read()
			}
		}
		for i := range p.keep.Events {
			e := &p.keep.Events[i]
			want := fmt.Sprintf(`__debezium-heartbeat.shop {"serverName":"shop"} {"ts_ms":%d}`, e.Commit/1000)
			if got := raws(p.keep.Events[i : i+1])[0]; got != want || e.Raw.Form != change.FormHeartbeat {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		d.eventually(func() (bool, string) {
			return d.text("SELECT (count(*) > 1)::text FROM beats") == "true", "the query is not run"
		})
	})
	t.Run("events_while_busy", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil, "heartbeat.interval.ms", "1")
		d.exec("INSERT INTO t VALUES (1)")
		beats, rows := 0, 0
		for deadline := time.Now().Add(patience); (beats < 2 || rows < 1) && time.Now().Before(deadline); {
			p.read()
			beats, rows = 0, 0
			for _, e := range p.keep.Events {
				if e.Raw != nil {
					beats++
				} else {
					rows++
				}
			}
		}
		if beats < 2 || rows != 1 {
			t.Errorf("%d heartbeats, %d rows", beats, rows)
		}
	})
	t.Run("off_by_default", func(t *testing.T) {
		_, problems := parse(map[string]string{"database.hostname": "h", "database.user": "u", "database.dbname": "d", "topic.prefix": "shop",
			"heartbeat.action.query": "SELECT 1", "topic.transaction": "a b"})
		if !mentions(problems, "heartbeat.action.query", "heartbeat.interval.ms") || !mentions(problems, "topic.transaction", "not part of a topic's name") {
			t.Errorf("problems: %v", problems)
		}
	})
}
