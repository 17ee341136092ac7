package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
)

// scanAll copies a table chunk by chunk and returns its rows as table writes them.
func scanAll(t *testing.T, s *Source, tb *change.Table, limit int) []string {
	t.Helper()
	var lines []string
	var after []byte
	for {
		var b change.Batch
		w, err := s.Scan(t.Context(), tb, after, limit, &b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Op != change.OpRead || e.Commit == 0 || e.Topic == "" {
				t.Fatalf("row %+v", e)
			}
			lines = append(lines, table(map[string]change.Row{"": e.After})...)
		}
		if len(b.Events) < limit && !w.(snapshot.Shortened).Shortened() {
			slices.Sort(lines)
			return lines
		}
		after = slices.Clone(b.Events[len(b.Events)-1].Key)
	}
}

// Chunks by keys of all kinds, with chunk limits that cut anywhere, copy each row once.
func TestScanKeys(t *testing.T) {
	for name, sql := range map[string]string{
		"case36_int8":             "id int8 PRIMARY KEY, v int| VALUES (-9223372036854775808, 1), (9223372036854775807, 2), (0, NULL), (-1, 4)",
		"case36_uuid":             "id uuid PRIMARY KEY, v int| SELECT gen_random_uuid(), i FROM generate_series(1, 50) i",
		"case36_numeric":          "id numeric PRIMARY KEY, v int| VALUES ('NaN', 1), ('-Infinity', 2), (1.10, 3), (-1e40, 4), (1e-40, 5), ('Infinity', 6)",
		"case36_bytea":            `id bytea PRIMARY KEY, v int| VALUES ('\x', 1), ('\x00', 2), ('\x0000', 3), ('\xff', 4)`,
		"case36_timestamptz":      "id timestamptz PRIMARY KEY, v int| VALUES ('-infinity', 1), ('infinity', 2), ('0044-03-15 BC', 3), ('2024-01-01', 4), ('1969-12-31 23:59:59.999999+00', 5), ('294276-12-31', 6)",
		"case36_enum":             "id mood PRIMARY KEY, v int| VALUES ('z', 1), ('a', 2), ('m', 3)",
		"case36_composite":        "a text, b int, v int, PRIMARY KEY (b, a)| SELECT chr(65 + i % 7), i / 7, i FROM generate_series(0, 60) i",
		"case36_nondeterministic": "id text COLLATE nd PRIMARY KEY, v int| VALUES ('a', 1), ('B', 2), ('ä', 3), ('', 4), ('zz', 5), ('a b', 6)",
		"case36_real":             "id float4 PRIMARY KEY, v int| VALUES ('-0', 1), (0.1, 2), ('NaN', 3), (16777217, 4), (1e-45, 5), ('-Infinity', 6)",
		"case36_minus_zero":       "id float8, n int, v int, PRIMARY KEY (id, n)| VALUES ('-0', 1, 1), (0, 2, 2), ('-0', 3, 3), (1, 4, 4), (-1, 5, 5)",
		"case36_domain":           "id word, n whole, v int, PRIMARY KEY (n, id)| VALUES ('a', 1, 1), ('B', 1, 2), ('a', 2, 3), ('', 2, 4)",
		"case36_timestamp":        "id timestamp PRIMARY KEY, v int| VALUES ('infinity', 1), ('294276-12-31 23:59:59.5', 2), ('294276-12-31 23:59:59', 3), ('4713-01-01 BC', 4), ('1999-12-31 23:59:59.999999', 5)",
		"case36_scales":           "id numeric, n numeric(9,3), v int, PRIMARY KEY (n, id)| VALUES (1.0, 1.5, 1), (1.10, 1.5, 2), (-1, 1.5, 3), (1e30, 0, 4)",
		"case36_padded":           "id char(5), v int, n int, PRIMARY KEY (id, n)| VALUES ('a  ', 1, 1), ('a', 2, 2), ('a b', 3, 1), ('', 4, 1)",
		"date":                    "id date PRIMARY KEY, v int| VALUES ('infinity', 1), ('0001-01-01 BC', 2), ('2024-02-29', 3)",
		"time":                    "id time PRIMARY KEY, v int| VALUES ('24:00', 1), ('00:00:00.000001', 2), ('12:00', 3)",
		"float":                   "id float8 PRIMARY KEY, v int| VALUES ('NaN', 1), ('-Infinity', 2), (0.1, 3), (5e-324, 4), ('Infinity', 5), (-1e300, 6)",
		"bool":                    "id bool PRIMARY KEY, v int| VALUES (true, 1), (false, 2)",
		"char":                    "id char(5) PRIMARY KEY, v int| VALUES ('ab', 1), ('a', 2), ('', 3), ('é', 4)",
		"text_collated":           `id text COLLATE "de-x-icu" PRIMARY KEY, v int| VALUES ('a', 1), ('B', 2), ('ä', 3), ('Z', 4), ('', 5), ('a b', 6), ('A', 7), ('''"\', 8)`,
		"citext":                  "id citext PRIMARY KEY, v int| VALUES ('a', 1), ('B', 2), ('C', 3)",
		"citext_composite":        "b int, id citext, c text, v int, PRIMARY KEY (b, id, c)| SELECT i % 2, chr(65 + i % 5) || 'x', chr(97 + i % 7), i FROM generate_series(1, 30) i",
		"inet_domain":             "id addr PRIMARY KEY, v int| VALUES ('10.0.0.1/8', 1), ('::1', 2), ('10.0.0.1', 3)",
		"array":                   "id int[] PRIMARY KEY, v int| VALUES ('{}', 1), ('{1,2}', 2), ('{1,10}', 3)",
		"interval":                "id interval PRIMARY KEY, v int| VALUES ('1 mon', 1), ('-1 day', 2), ('31 days', 3)",
		"no_key":                  "a int, v int| SELECT i % 3, NULL FROM generate_series(1, 50) i",
		"empty":                   "id int PRIMARY KEY| SELECT 1 WHERE false",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDB(t, "CREATE TYPE mood AS ENUM ('z', 'm', 'a'); CREATE EXTENSION citext; CREATE DOMAIN addr AS inet; CREATE DOMAIN word AS text COLLATE \"C\"; "+
				"CREATE DOMAIN whole AS int CHECK (VALUE >= 0); CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
			columns, rows, _ := strings.Cut(sql, "|")
			d.exec("SET TimeZone = 'UTC'; CREATE TABLE t (" + columns + "); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t " + rows)
			s := d.stream(nil).src
			tables, err := s.Tables(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			count := d.text("SELECT count(*)::text FROM t")
			whole := scanAll(t, s, tables[0], 1<<30)
			if fmt.Sprint(len(whole)) != count {
				t.Fatalf("%d rows instead of %s", len(whole), count)
			}
			if len(tables[0].Key) == 0 {
				return
			}
			for _, limit := range []int{1, 2, 3, 7} {
				if got := scanAll(t, s, tables[0], limit); !slices.Equal(got, whole) {
					t.Errorf("limit %d: %v\nwhole: %v", limit, got, whole)
				}
				if got, _ := pieces(t, s, tables[0], limit); !slices.Equal(got, whole) {
					t.Errorf("pieces of %d: %v\nwhole: %v", limit, got, whole)
				}
			}
		})
	}
}

func TestScanChanged(t *testing.T) {
	for name, ddl := range map[string]string{
		"add":        "ALTER TABLE t ADD w int DEFAULT 1",
		"drop":       "ALTER TABLE t DROP v",
		"rename":     "ALTER TABLE t RENAME v TO w",
		"type":       "ALTER TABLE t ALTER v TYPE text",
		"key":        "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (v)",
		"table_gone": "DROP TABLE t",
		"renamed":    "ALTER TABLE t RENAME TO t2",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL); INSERT INTO t VALUES (1, 1); CREATE TABLE u (id int PRIMARY KEY)")
			s := d.stream(nil).src
			tables, err := s.Tables(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			d.exec(ddl)
			var b change.Batch
			if _, err := s.Scan(t.Context(), tables[0], nil, 10, &b); !errors.Is(err, snapshot.ErrChanged) {
				t.Errorf("got %v, want ErrChanged", err)
			}
			if n := d.text(`SELECT count(*)::text FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'`, d.name); n != "0" {
				t.Error("a transaction is left open")
			}
			if again, err := s.Tables(t.Context()); err != nil || slices.Contains(again, tables[0]) {
				t.Errorf("Tables still returns the old structure, %v", err)
			}
		})
	}
}

// Rows that are written while chunks are read: an event is Before exactly if the chunk has its effect.
func TestWindowJudgesByVisibility(t *testing.T) {
	d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i")
	p := d.stream(nil)
	tables, err := p.src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const updates = 400
	var writers sync.WaitGroup
	for w := range 4 {
		conn := d.connect(d.name)
		writers.Go(func() {
			defer conn.Close(context.Background())
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range updates / 4 {
				// Each writer has rows of its own; a savepoint gives the change an xid that is not in the stream.
				id := w*5 + 1 + r.IntN(5)
				if _, err := conn.PgConn().Exec(context.Background(), fmt.Sprintf("BEGIN; SAVEPOINT s; UPDATE t SET n = n + 1 WHERE id = %d; COMMIT", id)).ReadAll(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	type chunk struct {
		w    snapshot.Window
		rows map[string]int64
	}
	var chunks []chunk
	for range 30 {
		var b change.Batch
		w, err := p.src.Scan(t.Context(), tables[0], nil, 100, &b)
		if err != nil {
			t.Fatal(err)
		}
		c := chunk{w, map[string]int64{}}
		for _, e := range b.Events {
			c.rows[string(e.Key)] = e.After[1].Int64()
		}
		chunks = append(chunks, c)
	}
	writers.Wait()
	p.events(updates)
	p.prompt()
	for i, c := range chunks {
		seen := map[string]int64{}
		after := false
		for j := range p.keep.Events {
			e := &p.keep.Events[j]
			side := c.w.Side(e)
			if side == snapshot.Before {
				seen[string(e.Key)] = e.After[1].Int64()
			}
			if after && side != snapshot.After {
				t.Fatalf("chunk %d: event %d is %d after the window was passed", i, j, side)
			}
			after = side == snapshot.After
		}
		for key, n := range c.rows {
			if seen[key] != n {
				t.Fatalf("chunk %d: row %s has %d, events Before say %d", i, change.KeyText([]byte(key)), n, seen[key])
			}
		}
	}
	d.eventually(func() (bool, string) { // an idle stream passes the window when it is prompted
		p.prompt()
		return chunks[len(chunks)-1].w.Passed(p.resume), "the last window is not passed: " + string(p.resume)
	})
}

func TestFetchAndEstimate(t *testing.T) {
	d := newDB(t, "CREATE TABLE t (a int, b text, v text, PRIMARY KEY (b, a)); INSERT INTO t VALUES (1, 'x', 'v'); ANALYZE t")
	p := d.stream(nil)
	tables, err := p.src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	if _, err := p.src.Scan(t.Context(), tables[0], nil, 1, &b); err != nil {
		t.Fatal(err)
	}
	none, ok := change.AppendKey(nil, tables[0], change.Row{{Kind: change.Int, Num: 1}, {Kind: change.Text, Data: []byte(`{"\,NULL`)}, {Kind: change.Null}})
	if !ok {
		t.Fatal("no key")
	}
	d.exec(`INSERT INTO t VALUES (2, '{"\,NULL', 'w')`)
	odd, ok := change.AppendKey(nil, tables[0], change.Row{{Kind: change.Int, Num: 2}, {Kind: change.Text, Data: []byte(`{"\,NULL`)}, {Kind: change.Null}})
	if !ok {
		t.Fatal("no key")
	}
	keys := [][]byte{odd, none, b.Events[0].Key}
	rows, w, err := p.src.Fetch(t.Context(), tables[0], keys, &b)
	if err != nil || w == nil || len(b.Events) != 1 || len(rows) != 3 || string(rows[0][2].Data) != "w" || rows[1] != nil || string(rows[2][2].Data) != "v" {
		t.Fatalf("%v, %v, %v", rows, w, err)
	}
	if n, err := p.src.Estimate(t.Context(), tables[0]); n != 1 || err != nil {
		t.Errorf("estimate %d, %v", n, err)
	}
	d.exec("DELETE FROM t")
	if rows, w, err := p.src.Fetch(t.Context(), tables[0], keys[:1], &b); len(rows) != 1 || rows[0] != nil || w == nil || err != nil {
		t.Errorf("a row that is gone: %v, %v, %v", rows, w, err)
	}
	d.exec("ALTER TABLE t DROP v")
	if rows, w, err := p.src.Fetch(t.Context(), tables[0], keys, &b); rows != nil || w != nil || err != nil {
		t.Errorf("a changed table: %v, %v, %v", rows, w, err)
	}
}

func TestView(t *testing.T) {
	const epoch = 1 << 32
	for _, tt := range []struct {
		text string
		xid  uint32
		sees bool
	}{
		{"100:100:", 99, true},
		{"100:100:", 100, false},
		{"100:105:100,103", 99, true},
		{"100:105:100,103", 100, false},
		{"100:105:103,100", 102, true},
		{"100:105:100,103", 103, false},
		{"100:105:100,103", 105, false},
		{fmt.Sprintf("%d:%d:", epoch+10, epoch+10), 4294967295, true}, // before the number wrapped around
		{fmt.Sprintf("%d:%d:", epoch+10, epoch+10), 9, true},
		{fmt.Sprintf("%d:%d:", epoch+10, epoch+10), 10, false},
		{fmt.Sprintf("%d:%d:%d", epoch-5, epoch+10, epoch-2), 4294967294, false},
		{fmt.Sprintf("%d:%d:%d", epoch-5, epoch+10, epoch-2), 4294967295, true},
		{fmt.Sprintf("%d:%d:", epoch-5, epoch-5), 3, false}, // after it will have wrapped around
	} {
		v, err := parseView(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if v.sees(tt.xid) != tt.sees {
			t.Errorf("%s sees %d: %v", tt.text, tt.xid, !tt.sees)
		}
	}
	for _, bad := range []string{"", "1:2", "a:2:", "1:b:", "1:2:c", "1:2:3:4", "-1:2:"} {
		if _, err := parseView(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestRecordEnd(t *testing.T) {
	for in, out := range map[uint64]uint64{0x3000028: 0x3000000, 0x3002018: 0x3002000, 0x3002030: 0x3002030, 0x3002000: 0x3002000} {
		if got := recordEnd(in, 8192); got != out {
			t.Errorf("%X: %X, want %X", in, got, out)
		}
	}
}

func TestSessionsIgnoreTimeouts(t *testing.T) {
	t.Run("case38_timeouts_of_the_role", func(t *testing.T) {
		d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('v', 100) FROM generate_series(1, 50000) i")
		for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"} {
			d.exec("ALTER DATABASE " + ident(d.name) + " SET " + setting + " = '20ms'")
		}
		s := d.stream(nil).src
		tables, err := s.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := len(scanAll(t, s, tables[0], 1<<30)); n != 50_000 {
			t.Errorf("%d rows", n)
		}
		for _, do := range []func(context.Context, func(*pgx.Conn) error) error{s.control.do, s.scans.do} {
			if err := do(t.Context(), func(c *pgx.Conn) error {
				_, err := c.Exec(t.Context(), "BEGIN; SELECT pg_sleep(0.1)", pgx.QueryExecModeSimpleProtocol)
				if err != nil {
					return err
				}
				timer := time.NewTimer(100 * time.Millisecond) // idle in a transaction
				<-timer.C
				_, err = c.Exec(t.Context(), "COMMIT")
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("broken_while_resting", func(t *testing.T) {
		d := newDB(t, "CREATE TABLE t (id int PRIMARY KEY)")
		s := d.open()
		d.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tailrace test'")
		s.control.turn.Lock()
		s.control.usedAt = time.Time{}
		s.control.turn.Unlock()
		if err := s.control.do(t.Context(), func(c *pgx.Conn) error { return c.Ping(t.Context()) }); err != nil {
			t.Errorf("the connection is not replaced: %v", err)
		}
	})
}

// A column that comes while the catalog is read is in the rows that are copied, or the table counts as changed; it is not left out.
func TestTablesUnderOneSnapshot(t *testing.T) {
	d := newDB(t, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE z (id int PRIMARY KEY); INSERT INTO z VALUES (1)")
	s := d.stream(nil).src
	type found struct {
		tables []*change.Table
		err    error
	}
	if _, err := s.Tables(t.Context()); err != nil { // the connection is there then
		t.Fatal(err)
	}
	done := make(chan found, 1)
	d.exec("BEGIN; LOCK TABLE pg_am IN ACCESS EXCLUSIVE MODE") // the structure of a needs it; what the publication sends has been read then
	go func() {
		tables, err := s.Tables(t.Context())
		done <- found{tables, err}
	}()
	d.eventually(func() (bool, string) {
		return d.text("SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'pg_am'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == "1",
			"the catalog is not being read"
	})
	d.exec("ALTER TABLE z ADD COLUMN v text DEFAULT 'new'; COMMIT")
	got := <-done
	for {
		if got.err != nil || len(got.tables) != 2 {
			t.Fatalf("%d tables, %v", len(got.tables), got.err)
		}
		z := got.tables[1]
		var b change.Batch
		_, err := s.Scan(t.Context(), z, nil, 10, &b)
		if errors.Is(err, snapshot.ErrChanged) {
			got.tables, got.err = s.Tables(t.Context())
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if i := z.Column("v"); i < 0 || len(b.Events) != 1 || string(b.Events[0].After[i].Data) != "new" {
			t.Fatalf("columns %v, rows %+v", z.Columns, b.Events)
		}
		return
	}
}
