package postgres

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
)

// What happens to the publication and its tables while the connector is stopped is noticed when it starts.
func TestChangedWhileStopped(t *testing.T) { eachServer(t, testChangedWhileStopped) }

func testChangedWhileStopped(t *testing.T) {
	t.Run("case26_publication", func(t *testing.T) {
		for _, tt := range []struct{ sql, code, text string }{
			{"ALTER PUBLICATION dbz_publication DROP TABLE u", "PUBLICATION_CHANGED", "table public.u is no longer in publication"},
			{"ALTER PUBLICATION dbz_publication DROP TABLE u; INSERT INTO u VALUES (1); ALTER PUBLICATION dbz_publication ADD TABLE u", "PUBLICATION_CHANGED", "was taken out of publication"},
			{"ALTER PUBLICATION dbz_publication SET (publish = 'insert')", "PUBLICATION_CHANGED", `publishes only "insert"`},
			{"ALTER PUBLICATION dbz_publication SET (publish = 'delete'); ALTER PUBLICATION dbz_publication SET (publish = 'insert, update, delete, truncate')",
				"PUBLICATION_CHANGED", "altered and altered back"},
			{"DROP PUBLICATION dbz_publication; CREATE PUBLICATION dbz_publication FOR TABLE t, u", "PUBLICATION_CHANGED", "dropped and made again"},
			{"DROP PUBLICATION dbz_publication", "PUBLICATION_MISSING", "it was dropped"},
		} {
			d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
			p := d.stream(nil)
			p.read()
			p.stop()
			for sql := range strings.SplitSeq(tt.sql, "; ") { // each in a transaction of its own
				d.exec(sql)
			}
			s := d.open()
			_, err := s.Stream(t.Context(), p.resume)
			d.permanent(err, tt.code)
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("after %s: %v", tt.sql, err)
			}
			if _, err := s.Stream(t.Context(), p.resume); err == nil {
				t.Errorf("after %s: the second start says nothing", tt.sql)
			}
		}
	})
	t.Run("case26_publication_set_to_the_same", func(t *testing.T) {
		if serverName(t) == "postgres14" {
			t.Skip("a session of PostgreSQL 14 keeps its counts while it is idle")
		}
		const same = "ALTER PUBLICATION dbz_publication SET (publish = 'insert, update, delete, truncate')"
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		p := d.stream(nil)
		d.exec(same)
		p.src.look(t.Context())
		d.exec("INSERT INTO t VALUES (1)")
		want(t, p.events(1), "c public.t 1 after{id=1}")
		p.stop()
		d.exec("ALTER PUBLICATION dbz_publication SET TABLE t")
		again := d.stream(p.resume)
		d.exec("INSERT INTO t VALUES (2)")
		want(t, again.events(1), "c public.t 2 after{id=2}")
	})
	t.Run("case26_partitions_of_a_root", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
			CREATE PUBLICATION leaves FOR TABLE m`)
		p := d.stream(nil, "publication.name", "leaves")
		p.read()
		p.stop()
		d.exec("ALTER PUBLICATION leaves DROP TABLE m")
		d.exec("INSERT INTO m VALUES (1)")
		d.exec("ALTER PUBLICATION leaves ADD TABLE m")
		d.refused(p.resume, "PUBLICATION_CHANGED", "publication.name", "leaves")
	})
	t.Run("harmless", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
		p := d.stream(nil)
		p.read()
		p.stop()
		role := d.name + "_owner"
		d.exec("CREATE ROLE " + role + " SUPERUSER; ALTER PUBLICATION dbz_publication OWNER TO " + role)
		t.Cleanup(func() { d.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
		d.exec("ALTER TABLE t ADD v int; DROP TABLE u; CREATE TABLE w (id int PRIMARY KEY)")
		d.exec("INSERT INTO t VALUES (1, 2)")
		again := d.stream(p.resume)
		want(t, again.events(1), "c public.t 1 after{id=1 v=2}")
		older := change.Position(p.resume[:slices.Index(p.resume, 'p')-2]) // without the member, as an older version wrote it
		if parseNote(p.resume) == nil || parseNote(append(older, '}')) != nil {
			t.Errorf("%s and %s", p.resume, older)
		}
		again.stop()
		third := d.stream(append(older, '}'))
		want(t, third.events(1), "c public.t 1 after{id=1 v=2}")
	})
	t.Run("case51_table_made_again", func(t *testing.T) {
		const create = `CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10000)` // read in the order of its keys
		for _, half := range []bool{false, true} {                                                                                                          // is the copy half done?
			d := newDB(t, create+"; INSERT INTO t SELECT g, 'old' FROM generate_series(3001, 6000) g")
			keep := map[string]change.Row{}
			run := func(from change.Position, enough func(change.Position) bool) change.Position {
				s := d.open("publish.via.partition.root", "true", "table.include.list", "public.t")
				woven, err := snapshot.Open(t.Context(), s, from, snapshot.Options{MaxBatch: 100, Config: snapshot.Config{FetchSize: 300}})
				if err != nil {
					t.Fatal(err)
				}
				p := &tap{testDB: d, src: s, st: woven}
				for p.resume == nil || !enough(p.resume) {
					p.read()
				}
				fold(keep, p.keep.Events)
				if err := woven.Close(); err != nil {
					t.Fatal(err)
				}
				p.stop()
				return p.resume
			}
			completed := func(p change.Position) bool {
				return strings.Contains(string(p), `"completed":true`) && !strings.Contains(string(p), `"job"`)
			}
			at := run(nil, func(p change.Position) bool {
				return completed(p) || half && strings.Contains(string(p), `"after"`)
			})
			if half == completed(at) {
				t.Fatalf("stopped at %s", at)
			}
			d.exec("DROP TABLE t; " + create)
			d.exec("INSERT INTO t SELECT g, 'new' FROM generate_series(1, 6000) g") // none of them is in the stream
			oid := d.text("SELECT 't'::regclass::oid::text")
			run(at, func(p change.Position) bool { return completed(p) && strings.Contains(string(p), `"t":[`+oid) })
			if got, rows := table(keep), d.rows("SELECT * FROM t"); !slices.Equal(got, rows) {
				t.Errorf("half %t: %d rows instead of %d", half, len(got), len(rows))
			}
		}
	})
}

// TestCase26Settle: one command that changes nothing of a publication is no change. Two are, and so is what can't be told.
func TestCase26Settle(t *testing.T) {
	start := time.Unix(0, 0)
	c := &settings{Publication: "p"}
	for name, looks := range map[string][]struct {
		after    time.Duration
		writer   uint32
		rewrites int64
		doubt    bool
		fails    bool
	}{
		"none":              {{0, 7, 3, false, false}, {time.Hour, 7, 9, false, false}},
		"one":               {{0, 8, 4, true, false}, {10 * time.Second, 8, 4, true, false}, {flushed, 8, 4, false, false}, {flushed, 8, 9, false, false}},
		"one, told late":    {{0, 8, 3, true, false}, {5 * time.Second, 8, 4, true, false}, {flushed, 8, 4, false, false}},
		"two":               {{0, 9, 5, false, true}},
		"two, told late":    {{0, 9, 4, true, false}, {5 * time.Second, 9, 5, false, true}},
		"not counted":       {{0, 8, 3, true, false}, {time.Hour, 8, 3, true, false}},
		"statistics erased": {{0, 8, 0, false, true}},
		"one after another": {{0, 8, 4, true, false}, {flushed, 8, 4, false, false}, {2 * flushed, 9, 5, true, false}},
	} {
		was := &membership{writer: 7, rewrites: 3}
		for i, l := range looks {
			now := &membership{writer: l.writer, rewrites: l.rewrites}
			err := was.settle(c, now, start.Add(l.after))
			if (fault.Code(err) == "PUBLICATION_CHANGED") != l.fails || now.doubted.IsZero() == l.doubt {
				t.Errorf("%s, look %d: %v, doubted %v", name, i, err, now.doubted)
			}
			was = now
		}
	}
}
