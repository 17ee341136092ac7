package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

func TestStreamDML(t *testing.T) { eachServer(t, testStreamDML) }

func testStreamDML(t *testing.T) {
	t.Run("case01_three_transactions", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE a (id int PRIMARY KEY, v text NOT NULL);
			CREATE TABLE f (id int PRIMARY KEY, v text); ALTER TABLE f REPLICA IDENTITY FULL`)
		p := d.stream(nil)
		for _, table := range []string{"a", "f"} {
			d.exec("INSERT INTO " + table + " VALUES (1, 'one')")
			d.exec("UPDATE " + table + " SET v = 'two'")
			d.exec("DELETE FROM " + table)
		}
		events := p.events(6)
		want(t, events,
			"c public.a 1 after{id=1 v=one}", "u public.a 1 after{id=1 v=two}", "d public.a 1 before{id=1}",
			"c public.f 1 after{id=1 v=one}", "u public.f 1 before{id=1 v=one} after{id=1 v=two}", "d public.f 1 before{id=1 v=two}")
		for i := range events {
			e := &events[i]
			if i > 0 && (e.PrevLSN <= events[i-1].PrevLSN || e.Txn == events[i-1].Txn) || e.Ordinal != 0 || e.Topic != "shop."+e.Table.Name.String() {
				t.Errorf("event %d: txn %d ordinal %d previous LSN %d topic %s", i, e.Txn, e.Ordinal, e.PrevLSN, e.Topic)
			}
			if now := time.Now().UnixMicro(); e.Commit > now || e.Commit < now-int64(patience/time.Microsecond) || e.Seen < e.Commit {
				t.Errorf("event %d: committed %d, seen %d", i, e.Commit, e.Seen)
			}
		}
		last := position{}
		for _, r := range p.resumes {
			pos, err := parsePosition(r)
			if err != nil || pos.LSN < last.LSN || pos.LSN == last.LSN && pos.Ordinal < last.Ordinal {
				t.Errorf("position %s after %+v: %v", r, last, err)
			}
			last = pos
		}
	})
	t.Run("case02_one_transaction_over_three_tables", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY)`)
		p := d.stream(nil)
		d.exec("BEGIN; INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (3); INSERT INTO c VALUES (4), (5); INSERT INTO a VALUES (6), (7); COMMIT")
		events := p.events(7)
		for i, e := range events {
			if e.Txn != events[0].Txn || e.Ordinal != uint32(i) {
				t.Errorf("event %d has txn %d, ordinal %d", i, e.Txn, e.Ordinal)
			}
		}
		if n := len(p.steps); n > 1 && p.steps[n-2] != 0 {
			t.Errorf("the transaction was delivered in parts: %v", p.steps)
		}
	})
	t.Run("case03_rolled_back", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE a (id int PRIMARY KEY)`)
		p := d.stream(nil)
		d.exec("BEGIN; INSERT INTO a VALUES (1); ROLLBACK")
		d.exec("BEGIN; INSERT INTO a VALUES (2); SAVEPOINT s; INSERT INTO a VALUES (3); ROLLBACK TO s; INSERT INTO a VALUES (4); COMMIT")
		if _, err := d.conn.PgConn().Exec(t.Context(), "BEGIN; INSERT INTO a VALUES (5); INSERT INTO a VALUES (4); COMMIT").ReadAll(); err == nil {
			t.Fatal("a duplicate key was accepted")
		}
		d.exec("ROLLBACK")
		d.exec("INSERT INTO a VALUES (6)")
		want(t, p.events(3), "c public.a 2 after{id=2}", "c public.a 4 after{id=4}", "c public.a 6 after{id=6}")
	})
	t.Run("case12_all_kinds_of_writes", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE p (id int PRIMARY KEY, v text);
			CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);
			CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log(v) VALUES (NEW.v); RETURN NEW; END $$;
			CREATE TRIGGER t AFTER INSERT OR UPDATE ON p FOR EACH ROW EXECUTE FUNCTION note()`)
		p := d.stream(nil)
		d.exec("INSERT INTO p SELECT i, 'v' || i FROM generate_series(1, 50) i; INSERT INTO c SELECT i, i % 50 + 1 FROM generate_series(1, 100) i")
		d.exec("INSERT INTO p VALUES (1, 'x'), (51, 'y') ON CONFLICT (id) DO UPDATE SET v = excluded.v")
		d.exec("MERGE INTO p USING (VALUES (2, 'm'), (52, 'n')) s(id, v) ON p.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)")
		if _, err := d.conn.PgConn().CopyFrom(t.Context(), strings.NewReader("60\tcopied\n61\t\\N\n"), "COPY p FROM STDIN"); err != nil {
			t.Fatal(err)
		}
		d.exec("UPDATE p SET v = v WHERE id = 3")
		d.exec("DELETE FROM p WHERE id BETWEEN 10 AND 20")
		d.exec("INSERT INTO p VALUES (99999, 'last')")
		state := map[string]change.Row{}
		for done := false; !done; {
			p.read()
			done = slices.ContainsFunc(p.keep.Events, func(e change.Event) bool { return change.KeyText(e.Key) == "99999" })
		}
		fold(state, p.keep.Events)
		for _, name := range []string{"p", "c", "log"} {
			part := map[string]change.Row{}
			for k, v := range state {
				if strings.HasPrefix(k, "public."+name+"/") {
					part[k] = v
				}
			}
			if got, src := table(part), d.rows("SELECT * FROM "+name); !slices.Equal(got, src) {
				t.Errorf("%s: folded\n%v\nsource\n%v", name, got, src)
			}
		}
	})
}

func TestStreamIdentity(t *testing.T) { eachServer(t, testStreamIdentity) }

func testStreamIdentity(t *testing.T) {
	t.Run("case04_key_change", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one')`)
		p := d.stream(nil)
		d.exec("UPDATE t SET id = 9 WHERE id = 1")
		events := p.events(2)
		want(t, events, "d public.t 1 before{id=1}", "c public.t 9 after{id=9 v=one}")
		if events[0].Txn != events[1].Txn || events[0].Ordinal != 0 || events[1].Ordinal != 1 || len(p.steps) < 1 || p.steps[len(p.steps)-1] != 2 {
			t.Errorf("the pair is not together: ordinals %d, %d", events[0].Ordinal, events[1].Ordinal)
		}
		for i, name := range []string{change.HeaderNewKey, change.HeaderOldKey} {
			if h := events[i].Headers; len(h) != 1 || h[0].Key != name || !bytes.Equal(h[0].Value, events[1-i].Key) {
				t.Errorf("the headers of event %d are %v", i, h)
			}
		}
	})
	t.Run("case105_key_change_with_unchanged_toast", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int, part char(3), big text, n int, PRIMARY KEY (part, id)); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
			INSERT INTO t VALUES (1, 'x', repeat('b', 5000), 1), (2, 'y', repeat('c', 5000), 1)`)
		src := d.open()
		woven, err := snapshot.Open(t.Context(), src, nil, snapshot.Options{Config: snapshot.Config{Mode: "no_data"}})
		if err != nil {
			t.Fatal(err)
		}
		p := &tap{testDB: d, src: src, st: woven} // woven completes what a key change leaves out
		d.exec("UPDATE t SET id = 9 WHERE id = 1")
		d.exec("BEGIN; UPDATE t SET id = 8 WHERE id = 2; DELETE FROM t WHERE id = 8; COMMIT")
		want(t, p.events(5), "d public.t x  ,1 before{id=1 part=x  }", "c public.t x  ,9 after{id=9 part=x   big=<5000> n=1}",
			"d public.t y  ,2 before{id=2 part=y  }", "c public.t y  ,8 after{id=8 part=y   n=1}", "d public.t y  ,8 before{id=8 part=y  }")
	})
	t.Run("case06_no_key_full_identity", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (a int, b text); ALTER TABLE t REPLICA IDENTITY FULL`)
		p := d.stream(nil)
		d.exec("INSERT INTO t VALUES (1, 'x'), (1, 'x')")
		d.exec("UPDATE t SET b = 'y' WHERE ctid = (SELECT min(ctid) FROM t)")
		d.exec("DELETE FROM t WHERE b = 'x'")
		events := p.events(4)
		want(t, events, "c public.t after{a=1 b=x}", "c public.t after{a=1 b=x}", "u public.t before{a=1 b=x} after{a=1 b=y}", "d public.t before{a=1 b=x}")
		count := map[string]int{}
		for _, e := range events {
			if e.Before != nil {
				count[string(e.Before[1].Data)]--
			}
			if e.After != nil {
				count[string(e.After[1].Data)]++
			}
			if e.Key != nil || len(e.Table.Key) != 0 || !e.Table.OldIdentity {
				t.Errorf("event of a table without a key has key %x", e.Key)
			}
		}
		if count["x"] != 0 || count["y"] != 1 {
			t.Errorf("multiset is %v", count)
		}
	})
	t.Run("case07_identity_by_index", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, b int NOT NULL, a int NOT NULL, v text); CREATE UNIQUE INDEX k ON t (a, b);
			ALTER TABLE t REPLICA IDENTITY USING INDEX k`)
		p := d.stream(nil)
		d.exec("INSERT INTO t VALUES (1, 2, 3, 'x')")
		d.exec("UPDATE t SET v = 'y'")
		d.exec("UPDATE t SET id = 7")
		d.exec("UPDATE t SET a = 4")
		d.exec("DELETE FROM t")
		want(t, p.events(6), "c public.t 3,2 after{id=1 b=2 a=3 v=x}", "u public.t 3,2 after{id=1 b=2 a=3 v=y}", "u public.t 3,2 after{id=7 b=2 a=3 v=y}",
			"d public.t 3,2 before{b=2 a=3}", "c public.t 4,2 after{id=7 b=2 a=4 v=y}", "d public.t 4,2 before{b=2 a=4}")
	})
	t.Run("case08_unchanged_toast", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL`)
		p := d.stream(nil)
		d.exec("INSERT INTO t VALUES (1, repeat('b', 5000), 1)")
		d.exec("UPDATE t SET n = 2")
		events := p.events(2)
		want(t, events, "c public.t 1 after{id=1 big=<5000> n=1}", "u public.t 1 after{id=1 n=2}")
		if events[1].After[1].Kind != change.Absent {
			t.Errorf("the unchanged column is %s", events[1].After[1].Kind)
		}
		state := map[string]change.Row{}
		fold(state, events)
		if got := table(state); !slices.Equal(got, d.rows("SELECT * FROM t")) {
			t.Errorf("folded to %.80v", got)
		}
	})
	t.Run("case09_unchanged_toast_full", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, big text, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY FULL;
			INSERT INTO t VALUES (1, repeat('b', 5000), 1)`)
		p := d.stream(nil)
		d.exec("UPDATE t SET n = 2")
		d.exec("UPDATE t SET id = 2")
		want(t, p.events(3), "u public.t 1 before{id=1 big=<5000> n=1} after{id=1 big=<5000> n=2}",
			"d public.t 1 before{id=1 big=<5000> n=2}", "c public.t 2 after{id=2 big=<5000> n=2}")
	})
	t.Run("case10_toast_set", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
			INSERT INTO t SELECT i, repeat('b', 5000) FROM generate_series(1, 3) i`)
		p := d.stream(nil)
		d.exec("UPDATE t SET big = NULL WHERE id = 1; UPDATE t SET big = '' WHERE id = 2; UPDATE t SET big = 's' WHERE id = 3")
		events := p.events(3)
		want(t, events, "u public.t 1 after{id=1 big=NULL}", "u public.t 2 after{id=2 big=}", "u public.t 3 after{id=3 big=s}")
		if v := events[1].After[1]; v.Kind != change.Text || len(v.Data) != 0 {
			t.Errorf("the empty text is %v", v)
		}
	})
	t.Run("case11_truncate", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id serial PRIMARY KEY, p int REFERENCES p);
			CREATE TABLE other (id int PRIMARY KEY, p int REFERENCES p); INSERT INTO p VALUES (1); INSERT INTO c (p) VALUES (1)`)
		p := d.stream(nil, "table.include.list", "public.p,public.c")
		d.exec("TRUNCATE p, c CASCADE")
		d.exec("INSERT INTO p VALUES (2)")
		events := p.events(3)
		got := shows(events)
		slices.Sort(got[:2])
		if !slices.Equal(got, []string{"t public.c", "t public.p", "c public.p 2 after{id=2}"}) {
			t.Errorf("got %q", got)
		}
		for _, e := range events[:2] {
			if e.Key != nil || e.Before != nil || e.After != nil {
				t.Errorf("truncate with key or rows: %+v", e)
			}
		}
	})
	t.Run("case05_no_identity", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE k (id int PRIMARY KEY); CREATE TABLE t (a int, b int); CREATE TABLE df (id int PRIMARY KEY DEFERRABLE); INSERT INTO t VALUES (1, 1); INSERT INTO df VALUES (1)`)
		problems := Plugin.Preflight(t.Context(), d.setup())
		for _, name := range []string{"public.t", "public.df"} {
			if !slices.ContainsFunc(problems, func(p configProblem) bool {
				return strings.Contains(p.Message, "table "+name+" ") && strings.Contains(p.Message, "REPLICA IDENTITY FULL")
			}) {
				t.Errorf("preflight does not name %s: %v", name, problems)
			}
		}
		p := d.stream(nil)
		d.exec("UPDATE t SET b = 2; DELETE FROM t; DELETE FROM df") // fails if the publication breaks it
		d.exec("INSERT INTO k VALUES (1)")
		want(t, p.events(1), "c public.k 1 after{id=1}")
	})
}

func TestStreamStructure(t *testing.T) { eachServer(t, testStreamStructure) }

func testStreamStructure(t *testing.T) {
	t.Run("case50_ddl_inside_a_transaction", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, a int)`)
		p := d.stream(nil)
		d.exec(`BEGIN; INSERT INTO t VALUES (1, 10); ALTER TABLE t ADD b text; INSERT INTO t VALUES (2, 20, 'x');
			ALTER TABLE t RENAME b TO c; INSERT INTO t VALUES (3, 30, 'y'); ALTER TABLE t DROP c; INSERT INTO t VALUES (4, 40); COMMIT`)
		events := p.events(4)
		want(t, events, "c public.t 1 after{id=1 a=10}", "c public.t 2 after{id=2 a=20 b=x}", "c public.t 3 after{id=3 a=30 c=y}", "c public.t 4 after{id=4 a=40}")
		for i, e := range events {
			if e.Table.Version != uint32(i+1) {
				t.Errorf("event %d is of version %d", i, e.Table.Version)
			}
		}
		d.exec("INSERT INTO t VALUES (5, 50)")
		if e := p.events(5); e[4].Table != e[3].Table {
			t.Error("an unchanged table has a new version")
		}
	})
	t.Run("case48_names", func(t *testing.T) {
		schema, name, column := `S "x".ß`, `注文 "a""b" 😀 %_\`, `a"b.c 'd' \`
		long := strings.Repeat("ü", 31) + "x" // 63 bytes
		q := qualified(schema, name)
		d := newDB(t, "CREATE SCHEMA "+ident(schema)+"; CREATE TABLE "+q+" (id int PRIMARY KEY, "+ident(column)+" text, "+ident(long)+` int, "select" int);
			CREATE TABLE "T" (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE "order" (id int PRIMARY KEY); CREATE TABLE `+ident(long)+" (id int PRIMARY KEY)")
		pub := `p"ü'b \`
		p := d.stream(nil, "publication.name", pub)
		d.exec("INSERT INTO " + q + " VALUES (1, 'v', 2, 3)")
		d.exec(`INSERT INTO "T" VALUES (1); INSERT INTO t VALUES (2); INSERT INTO "order" VALUES (3); INSERT INTO ` + ident(long) + " VALUES (4)")
		events := p.events(5)
		e := &events[0]
		if e.Table.Name.Schema != schema || e.Table.Name.Table != name || e.Table.Columns[1].Name != column || e.Table.Columns[2].Name != long ||
			string(e.After[1].Data) != "v" {
			t.Errorf("got %s", show(e))
		}
		if e.Topic != source.TopicName("shop."+schema+"."+name) || strings.ContainsAny(e.Topic, " \"'\\ß😀") {
			t.Errorf("topic %q", e.Topic)
		}
		want(t, events[1:], "c public.T 1 after{id=1}", "c public.t 2 after{id=2}", "c public.order 3 after{id=3}", "c public."+long+" 4 after{id=4}")
		tables, err := p.src.Tables(t.Context())
		if err != nil || len(tables) != 5 {
			t.Fatalf("%d tables, %v", len(tables), err)
		}
		rows := 0
		for _, tb := range tables {
			var b change.Batch
			if _, err := p.src.Scan(t.Context(), tb, nil, 10, &b); err != nil {
				t.Fatal(err)
			}
			rows += len(b.Events)
			if _, err := p.src.Scan(t.Context(), tb, b.Events[0].Key, 10, &b); err != nil {
				t.Fatal(err)
			}
		}
		if rows != 5 {
			t.Errorf("%d rows scanned", rows)
		}
	})
	t.Run("columns_left_out", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, secret text, g int GENERATED ALWAYS AS (id * 2) STORED, v text); INSERT INTO t VALUES (1, 's', DEFAULT, 'v')`)
		p := d.stream(nil, "column.exclude.list", `public\.t\.(secret|id)`)
		d.exec("INSERT INTO t VALUES (2, 's', DEFAULT, 'w')")
		want(t, p.events(1), "c public.t 2 after{id=2 v=w}")
		tables, err := p.src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b change.Batch
		if _, err := p.src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil {
			t.Fatal(err)
		}
		want(t, b.Events, "r public.t 1 after{id=1 v=v}", "r public.t 2 after{id=2 v=w}")
		if b.Events[0].Table != p.keep.Events[0].Table {
			t.Error("scan and stream have different versions of one structure")
		}
	})
	t.Run("case14_column_list_and_row_filter", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int, g int, v text, hidden text, PRIMARY KEY (id, g));
			INSERT INTO t VALUES (1, 1, 'a', 'h'), (100, 99, 'b', 'h'); CREATE PUBLICATION own FOR TABLE t (id, g, v) WHERE (g < 50)`)
		p := d.stream(nil, "publication.name", "own", "publication.autocreate.mode", "disabled")
		d.exec("INSERT INTO t VALUES (2, 2, 'c', 'h'), (200, 99, 'd', 'h')")
		d.exec("UPDATE t SET hidden = 'i', v = 'e' WHERE id IN (1, 100)")
		d.exec("UPDATE t SET g = 60 WHERE id = 2")                                   // out of the filter
		d.exec("UPDATE t SET g = 3 WHERE id = 200")                                  // into it
		d.exec("UPDATE t SET g = 61 WHERE id = 2; DELETE FROM t WHERE id IN (2, 1)") // beside it, and within
		want(t, p.events(5), "c public.t 2,2 after{id=2 g=2 v=c}", "u public.t 1,1 after{id=1 g=1 v=e}", "d public.t 2,2 before{id=2 g=2}",
			"c public.t 200,3 after{id=200 g=3 v=d}", "d public.t 1,1 before{id=1 g=1}")
		tables, err := p.src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b change.Batch
		if _, err := p.src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil {
			t.Fatal(err)
		}
		want(t, b.Events, "r public.t 200,3 after{id=200 g=3 v=d}")
	})
	t.Run("case46_enums", func(t *testing.T) {
		d := newDB(t, `CREATE SCHEMA two; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE two.mood AS ENUM ('red', 'blue');
			CREATE TABLE t (id mood PRIMARY KEY, a mood[], o two.mood); INSERT INTO t VALUES ('ok', '{sad,NULL}', 'red')`)
		p := d.stream(nil)
		d.exec("INSERT INTO t VALUES ('sad', '{}', 'blue')")
		d.exec("ALTER TYPE mood ADD VALUE 'glad' BEFORE 'sad'")
		d.exec("ALTER TYPE two.mood RENAME VALUE 'red' TO 'green'; INSERT INTO t VALUES ('glad', '{glad,ok}', 'green')")
		events := p.events(2) // the labels that the connector has read are those of now
		if labels := events[1].Table.Columns[0].Type.Labels; !slices.Equal(labels, []string{"glad", "sad", "ok"}) {
			t.Errorf("labels %q", labels)
		}
		d.exec("ALTER TYPE mood RENAME VALUE 'sad' TO 'low'; UPDATE t SET o = 'green' WHERE id = 'low'; UPDATE t SET id = 'low', a = '{low}' WHERE id = 'low'")
		want(t, p.events(4), "c public.t sad after{id=sad a={} o=blue}", "c public.t glad after{id=glad a={glad,ok} o=green}",
			"u public.t low after{id=low a={} o=green}", "u public.t low after{id=low a={low} o=green}")
		tables, err := p.src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var all []change.Event // in chunks of one row, in the order of the type
		for key := []byte(nil); len(all) < 4; {
			var b change.Batch
			if _, err := p.src.Scan(t.Context(), tables[0], key, 1, &b); err != nil {
				t.Fatal(err)
			}
			if len(b.Events) == 0 {
				break
			}
			all, key = append(all, b.Events...), b.Events[0].Key
		}
		want(t, all, "r public.t glad after{id=glad a={glad,ok} o=green}", "r public.t low after{id=low a={low} o=green}",
			"r public.t ok after{id=ok a={low,NULL} o=green}")
	})
	t.Run("partitions", func(t *testing.T) {
		for _, root := range []bool{false, true} {
			d := newDB(t, `CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
				CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20); INSERT INTO m VALUES (1), (11)`)
			p := d.stream(nil, "table.include.list", "public.m", "publish.via.partition.root", fmt.Sprint(root))
			d.exec("INSERT INTO m VALUES (2), (12)")
			tables, err := p.src.Tables(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var b change.Batch
			for _, tb := range tables {
				if _, err := p.src.Scan(t.Context(), tb, nil, 10, &b); err != nil {
					t.Fatal(err)
				}
			}
			if root {
				want(t, p.events(2), "c public.m 2 after{id=2}", "c public.m 12 after{id=12}")
				want(t, b.Events, "r public.m 1 after{id=1}", "r public.m 2 after{id=2}", "r public.m 11 after{id=11}", "r public.m 12 after{id=12}")
			} else {
				want(t, p.events(2), "c public.m1 2 after{id=2}", "c public.m2 12 after{id=12}")
				want(t, b.Events, "r public.m1 1 after{id=1}", "r public.m1 2 after{id=2}", "r public.m2 11 after{id=11}", "r public.m2 12 after{id=12}")
			}
		}
	})
}

func TestStreamPosition(t *testing.T) { twoServers(t, testStreamPosition) }

func testStreamPosition(t *testing.T) {
	t.Run("case15_copy_with_one_lsn", func(t *testing.T) {
		const rows = 10_000
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read() // the beginning
		start := p.resume
		p.stop()
		var data bytes.Buffer
		for i := range rows {
			fmt.Fprintln(&data, i)
		}
		if _, err := d.conn.PgConn().CopyFrom(t.Context(), &data, "COPY t FROM STDIN"); err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (-1)")
		for _, k := range []int{1, 2, 4999, 9999} {
			first := d.stream(start, "max.batch.size", fmt.Sprint(k))
			for len(first.keep.Events) == 0 {
				first.read()
			}
			if len(first.keep.Events) != k {
				t.Fatalf("a batch of %d instead of %d", len(first.keep.Events), k)
			}
			first.ack()
			first.stop()
			rest := d.stream(first.resume)
			seen := map[string]int{}
			all := append(slices.Clone(first.keep.Events), rest.events(rows+1-k)...)
			for i, e := range all {
				seen[string(e.Key)]++
				if i < rows && e.Ordinal != uint32(i) {
					t.Fatalf("event %d has ordinal %d", i, e.Ordinal)
				}
			}
			if len(seen) != rows+1 || all[0].LSN != all[1].LSN {
				t.Errorf("k=%d: %d different rows", k, len(seen))
			}
			rest.stop()
		}
	})
	t.Run("resume_between_transactions_and_changes", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int PRIMARY KEY)`)
		p := d.stream(nil, "max.batch.size", "1", "table.include.list", "public.t")
		p.read()
		d.exec("BEGIN; INSERT INTO t VALUES (1, 1), (2, 2); UPDATE t SET id = id + 10; TRUNCATE t; INSERT INTO t VALUES (3, 3); COMMIT")
		d.exec("INSERT INTO t VALUES (4, 4)")
		d.exec("UPDATE t SET v = 5")
		all := shows(p.events(11))
		steps, resumes := p.steps, p.resumes
		p.stop()
		for i, r := range resumes {
			again := d.stream(r)
			if n := len(all) - steps[i]; n > 0 {
				want(t, again.events(n), all[steps[i]:]...)
			}
			again.stop()
		}
	})
	t.Run("case16_idle_tables_and_other_wal", func(t *testing.T) {
		t.Parallel()
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE noise (v text)`)
		s := d.open("table.include.list", "public.t")
		s.idle = 50 * time.Millisecond
		st, err := s.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // a worker that stores and acknowledges what comes
			defer close(done)
			var b change.Batch
			for {
				b.Reset()
				if st.Read(ctx, &b) != nil || len(b.Events) > 0 || st.Ack(ctx, b.Resume) != nil {
					return
				}
			}
		}()
		d.exec("ALTER TABLE noise ALTER v SET STORAGE EXTERNAL")
		begin := d.text("SELECT pg_current_wal_lsn()::text")
		rounds, gigabytes := 4, "0.25"
		if fullSize(t) {
			rounds, gigabytes = 32, "2"
		}
		for range rounds {
			d.exec("INSERT INTO noise SELECT repeat('n', 8000) FROM generate_series(1, 8000)")
			d.exec("TRUNCATE noise")
			d.exec("CHECKPOINT")
		}
		end := d.text("SELECT pg_current_wal_lsn()::text")
		if wrote := d.text("SELECT ($1::text::pg_lsn - $2::text::pg_lsn >= $3::text::numeric * 1024 * 1024 * 1024)::text", end, begin, gigabytes); wrote != "true" {
			t.Fatalf("less than %s GiB of WAL: %s to %s", gigabytes, begin, end)
		}
		d.eventually(func() (bool, string) {
			d.exec("CHECKPOINT") // writes where running transactions are, which lets the restart LSN move
			return d.text(`SELECT (confirmed_flush_lsn >= $1::text::pg_lsn AND pg_current_wal_lsn() - restart_lsn < 64 * 1024 * 1024)::text
				FROM pg_replication_slots WHERE slot_name = $2`, end, d.slot) == "true", "the slot does not follow"
		})
		cancel()
		<-done
	})
	t.Run("case17_log_blocked", func(t *testing.T) {
		t.Parallel()
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
		p := d.stream(nil)
		p.read()
		d.exec("INSERT INTO t VALUES (0, '')")
		p.events(1)
		p.ack()
		pos, err := parsePosition(p.resume)
		if err != nil {
			t.Fatal(err)
		}
		st := p.st.(*stream)
		const rows = 200
		samples := 60
		if fullSize(t) {
			samples = 600 // ten a second for a minute
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := range samples { // nobody reads while 36 MB come, as if Append blocked
			d.exec(fmt.Sprintf("INSERT INTO t SELECT i, repeat('v', 300) FROM generate_series(%d, %d) i", i*rows+1, (i+1)*rows))
			ok := d.text(`SELECT (confirmed_flush_lsn <= $1::text::pg_lsn)::text FROM pg_replication_slots WHERE slot_name = $2`,
				lsnText(pos.LSN), d.slot)
			if ok != "true" {
				t.Fatalf("sample %d: the slot is ahead of what is durable", i)
			}
			if n := st.queue.Size(); n > source.QueueBytes {
				t.Fatalf("sample %d: %d bytes are queued", i, n)
			}
			<-tick.C
		}
		p.events(samples*rows + 1)
		if p.src.Gauges()["unacknowledged_bytes"] == 0 {
			t.Errorf("gauges %v", p.src.Gauges())
		}
	})
	t.Run("case28_stalled_longer_than_the_server_waits", func(t *testing.T) {
		t.Parallel()
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
		patience := time.Second
		if fullSize(t) {
			patience = 5 * time.Second
		}
		d.exec(fmt.Sprintf("ALTER DATABASE %s SET wal_sender_timeout = %d", ident(d.name), patience.Milliseconds()))
		p := d.stream(nil)
		p.read()
		pid := d.text(`SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = $1`, d.slot)
		d.exec("INSERT INTO t SELECT i, repeat('v', 300) FROM generate_series(1, 50000) i")
		timer := time.NewTimer(3*patience + patience/2) // longer than three timeouts; nothing can be waited for
		<-timer.C
		p.events(50_000)
		if now := d.text(`SELECT COALESCE(active_pid, 0)::text FROM pg_replication_slots WHERE slot_name = $1`, d.slot); now != pid {
			t.Errorf("walsender %s was replaced by %s", pid, now)
		}
	})
}
