package postgres

import (
	"fmt"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
)

func TestCapturedTables(t *testing.T) { eachServer(t, testCapturedTables) }

func testCapturedTables(t *testing.T) {
	t.Run("case13_partitions", func(t *testing.T) {
		for _, root := range []bool{false, true} {
			d := newDB(t, `CREATE TABLE m (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
				CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20)`)
			p := d.stream(nil, "publish.via.partition.root", fmt.Sprint(root))
			name := func(leaf string) string {
				if root {
					return "m"
				}
				return leaf
			}
			d.exec("INSERT INTO m VALUES (1, 'a')")
			d.exec("UPDATE m SET id = 11") // to the other partition
			want(t, p.events(3), "c public."+name("m1")+" 1 after{id=1 v=a}", "d public."+name("m1")+" 1 before{id=1}", "c public."+name("m2")+" 11 after{id=11 v=a}")
			d.exec("CREATE TABLE m3 (id int PRIMARY KEY, v text)")
			p.src.look(t.Context())
			d.exec("INSERT INTO m3 VALUES (21, 'alone')")
			d.exec("ALTER TABLE m ATTACH PARTITION m3 FOR VALUES FROM (20) TO (30)")
			p.src.look(t.Context())
			d.exec("INSERT INTO m VALUES (22, 'attached')")
			attached := name("m3")
			if serverName(t) == "postgres14" {
				attached = "m3" // it was published by itself before, and 14 goes on with that until the publication changes
			}
			want(t, p.events(5)[3:], "c public.m3 21 after{id=21 v=alone}", "c public."+attached+" 22 after{id=22 v=attached}")
			d.exec("ALTER TABLE m DETACH PARTITION m1")
			p.src.look(t.Context())
			d.exec("INSERT INTO m1 VALUES (2, 'detached')")
			d.exec("DROP TABLE m2")
			p.src.look(t.Context())
			d.exec("INSERT INTO m VALUES (23, 'last')")
			want(t, p.events(7)[5:], "c public.m1 2 after{id=2 v=detached}", "c public."+name("m3")+" 23 after{id=23 v=last}")
			p.stop()
		}
	})
	t.Run("case13_truncate", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10)`)
		p := d.stream(nil, "publish.via.partition.root", "true")
		d.exec("TRUNCATE m1") // the server does not tell of it under the root
		d.exec("TRUNCATE m")
		d.exec("INSERT INTO m VALUES (1)")
		want(t, p.events(2), "t public.m", "c public.m 1 after{id=1}")
	})
	t.Run("inheritance", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (v text, PRIMARY KEY (id)) INHERITS (p)`)
		p := d.stream(nil, "table.include.list", "public.p")
		d.exec("INSERT INTO c VALUES (1, 'child')")
		d.exec("INSERT INTO p VALUES (2)")
		want(t, p.events(1), "c public.p 2 after{id=2}")
		tables, err := p.src.Tables(t.Context())
		if err != nil || len(tables) != 1 {
			t.Fatal(tables, err)
		}
		var b change.Batch
		if _, err := p.src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil {
			t.Fatal(err)
		}
		want(t, b.Events, "r public.p 2 after{id=2}")
		p.stop()
		d.slot += "_both"
		both := d.stream(nil, "publication.name", "both")
		d.exec("INSERT INTO c VALUES (3, 'child')")
		want(t, both.events(1), "c public.c 3 after{id=3 v=child}")
		both.stop()
	})
	t.Run("case51_structure_while_stopped", func(t *testing.T) {
		d := newDB(t, `CREATE SCHEMA other; CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int); CREATE TABLE r (id int PRIMARY KEY)`)
		p := d.stream(nil, "schema.include.list", "public,other")
		p.read()
		p.stop()
		d.exec("INSERT INTO a VALUES (1, 1)")
		d.exec("ALTER TABLE a ALTER v TYPE text; INSERT INTO a VALUES (2, 'two')")
		d.exec("INSERT INTO b VALUES (1, 1)")
		d.exec("ALTER TABLE b DROP v; ALTER TABLE b ADD v date; INSERT INTO b VALUES (2, '2026-01-01')")
		d.exec("INSERT INTO r VALUES (1)")
		d.exec("ALTER TABLE r RENAME TO s; INSERT INTO s VALUES (2)")
		d.exec("ALTER TABLE s SET SCHEMA other; INSERT INTO other.s VALUES (3)")
		again := d.stream(p.resume, "schema.include.list", "public,other")
		want(t, again.events(7), "c public.a 1 after{id=1 v=1}", "c public.a 2 after{id=2 v=two}", "c public.b 1 after{id=1 v=1}", "c public.b 2 after{id=2 v=2026-01-01}",
			"c public.r 1 after{id=1}", "c public.s 2 after{id=2}", "c other.s 3 after{id=3}")
		kinds := []change.Kind{change.Int, change.Text, change.Int, change.Date}
		for i, kind := range kinds {
			if got := again.keep.Events[i].After[1].Kind; got != kind {
				t.Errorf("event %d: v is %s, not %s", i, got, kind)
			}
		}
	})
	t.Run("case49_fast_default_under_full_identity", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1), (2)`)
		p := d.stream(nil)
		d.exec("ALTER TABLE t ADD v text DEFAULT 'old'")
		d.exec("UPDATE t SET v = 'new' WHERE id = 1")
		d.exec("DELETE FROM t WHERE id = 2")
		want(t, p.events(2), "u public.t 1 before{id=1 v=old} after{id=1 v=new}", "d public.t 2 before{id=2 v=old}")
	})
	t.Run("case52_latin1", func(t *testing.T) {
		d := newEncodedDB(t, "LATIN1")
		d.exec("CREATE TABLE t (id int PRIMARY KEY, \"größe\" text); INSERT INTO t VALUES (1, 'é')")
		p := d.stream(nil)
		d.exec("INSERT INTO t VALUES (2, 'ÿ£')")
		want(t, p.events(1), "c public.t 2 after{id=2 größe=ÿ£}")
		tables, err := p.src.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b change.Batch
		if _, err := p.src.Scan(t.Context(), tables[0], nil, 1, &b); err != nil {
			t.Fatal(err)
		}
		want(t, b.Events, "r public.t 1 after{id=1 größe=é}")
	})
	t.Run("case52_sql_ascii", func(t *testing.T) { // its text may be in any encoding: nobody can say which
		d := newEncodedDB(t, "SQL_ASCII")
		d.exec("CREATE TABLE t (id int PRIMARY KEY, v text)")
		if problems := Plugin.Preflight(t.Context(), d.setup()); !mentions(problems, "database.dbname", "SQL_ASCII") {
			t.Errorf("preflight: %v", problems)
		}
		_, err := Plugin.Open(t.Context(), d.setup())
		d.permanent(err, "ENCODING")
	})
}

// newEncodedDB makes a database of another encoding.
func newEncodedDB(t *testing.T, encoding string) *testDB {
	t.Helper()
	d := newDB(t, "")
	mustClose(t, d.conn)
	admin := d.connect("")
	mustExec(t, admin, "DROP DATABASE "+ident(d.name))
	mustExec(t, admin, "CREATE DATABASE "+ident(d.name)+" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING "+literal(encoding))
	mustClose(t, admin)
	d.conn = d.connect(d.name)
	d.exec("SET client_encoding = 'UTF8'")
	return d
}

// 18 can publish stored generated columns.
func TestGeneratedColumns(t *testing.T) {
	d := newDBAt(t, servers.Need(t, "postgres18"), `CREATE TABLE t (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id * 2) STORED, v int GENERATED ALWAYS AS (id * 3) VIRTUAL);
		CREATE PUBLICATION gen FOR TABLE t WITH (publish_generated_columns = stored); INSERT INTO t (id) VALUES (1)`)
	p := d.stream(nil, "publication.name", "gen")
	d.exec("INSERT INTO t (id) VALUES (2)")
	want(t, p.events(1), "c public.t 2 after{id=2 s=4}")
	tables, err := p.src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	if _, err := p.src.Scan(t.Context(), tables[0], nil, 1, &b); err != nil {
		t.Fatal(err)
	}
	want(t, b.Events, "r public.t 1 after{id=1 s=2}")
	if b.Events[0].Table != p.keep.Events[0].Table {
		t.Error("scan and stream have different structures")
	}
}

// Publications that others made: all tables, all of a schema, and one whose partitions are published otherwise than configured.
func TestForeignPublications(t *testing.T) {
	d := newDB(t, `CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
		CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
		CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION schemas FOR TABLES IN SCHEMA s; CREATE PUBLICATION leaves FOR TABLE m`)
	for pub, tables := range map[string]string{"everything": "s.t,public.u", "schemas": "s.t"} {
		p := d.stream(nil, "publication.name", pub, "table.include.list", tables, "slot.name", d.slot+"_"+pub, "publication.autocreate.mode", "disabled")
		p.src.look(t.Context())
		d.exec("INSERT INTO s.t VALUES (1); DELETE FROM s.t")
		want(t, p.events(2), "c s.t 1 after{id=1}", "d s.t 1 before{id=1}")
		p.stop()
	}
	p := d.stream(nil, "publication.name", "leaves", "publish.via.partition.root", "true", "table.include.list", "public.m", "slot.name", d.slot+"_leaves",
		"publication.autocreate.mode", "disabled")
	d.exec("INSERT INTO m VALUES (1)")
	want(t, p.events(1), "c public.m1 1 after{id=1}") // the publication decides, not the configuration
	p.stop()
}
