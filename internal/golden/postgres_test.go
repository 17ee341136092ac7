package golden

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
)

// patience bounds one scenario.
const patience = time.Minute

// binary is the daemon, compiled once for all tests of the package.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "golden")
		if err == nil {
			defer os.RemoveAll(dir)
			binary, err = daemon.Build(context.Background(), dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// postgres is a database of its own on a shared server.
type postgres struct {
	url    *url.URL
	name   string
	conn   *pgx.Conn
	target string // as far as the connector must have read
}

func newPostgres(t *testing.T, server string) *postgres {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	db := &postgres{url: u, name: "golden_" + strings.ToLower(rand.Text()[:10])}
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+db.name); err != nil {
		t.Fatal(err)
	}
	own := *u
	own.Path = "/" + db.name
	if db.conn, err = pgx.Connect(ctx, own.String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.conn.Close(ctx)
		admin, err := pgx.Connect(ctx, server)
		if err != nil {
			t.Error(err)
			return
		}
		defer admin.Close(ctx)
		for _, sql := range []string{
			"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND database = '" + db.name + "'",
			"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND database = '" + db.name + "'",
			"DROP DATABASE " + db.name + " WITH (FORCE)",
		} {
			if _, err := admin.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
	})
	return db
}

func (p *postgres) Setup(ctx context.Context, sql string) error { return p.Exec(ctx, sql) }

func (p *postgres) Exec(ctx context.Context, sql string) error {
	for _, s := range Statements(sql) {
		if _, err := p.conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return p.conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&p.target)
}

func (p *postgres) Properties() map[string]string {
	return map[string]string{"database.hostname": p.url.Hostname(), "database.port": p.url.Port(), "database.user": p.url.User.Username(),
		"database.dbname": p.name, "slot.name": p.name}
}

func (p *postgres) Caught(ctx context.Context) (caught bool, err error) {
	err = p.conn.QueryRow(ctx, "SELECT COALESCE((SELECT active AND confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2), false)",
		p.target, p.name).Scan(&caught)
	return caught, err
}

// missing reports whether an error says that the server lacks an extension.
func missing(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "0A000" || pg.Code == "58P01") && strings.Contains(pg.Message, "extension")
}

// report tells each kind of mismatch once.
func report(t *testing.T, list []Mismatch) {
	t.Helper()
	count := map[string]int{}
	for _, m := range list {
		count[m.Path+show(m.Got)+show(m.Want)]++
	}
	for _, m := range list {
		k := m.Path + show(m.Got) + show(m.Want)
		if n := count[k]; n > 0 {
			t.Errorf("%v (%d times)", m, n)
		}
		count[k] = 0
	}
}

// laterPostgres are the scenarios that are not run: they are about transforms, each about that named.
func laterPostgres() map[string]string {
	return map[string]string{
		"smt_changed_record_state":   "ExtractChangedRecordState",
		"smt_decode_message":         "DecodeLogicalDecodingMessageContent",
		"smt_outbox":                 "EventRouter",
		"smt_outbox_expand_headers":  "EventRouter",
		"smt_partition_routing":      "PartitionRouting",
		"smt_regex_router_predicate": "RegexRouter and Filter with predicates",
		"smt_unwrap_default":         "ExtractNewRecordState",
		"smt_unwrap_drop":            "ExtractNewRecordState",
		"smt_unwrap_rewrite_fields":  "ExtractNewRecordState",
		"smt_unwrap_tombstone":       "ExtractNewRecordState",
	}
}

// nowPostgres are the columns that a scenario fills with the present time.
func nowPostgres() map[string]string {
	return map[string]string{"heartbeat": "ts", "nulls_with_defaults": "k", "nulls_with_defaults_noreplace": "k", "types_hstore_json_generated": "d"}
}

// notNow takes mismatches away that are about the present time.
func notNow(column string, list []Mismatch) []Mismatch {
	return slices.DeleteFunc(list, func(m Mismatch) bool {
		return column != "" && strings.HasSuffix(m.Path, "."+column) && m.Got != nil && m.Want != nil && fmt.Sprintf("%T", m.Got) == fmt.Sprintf("%T", m.Want)
	})
}

func TestPostgres(t *testing.T) {
	server := servers.Need(t, "postgres15")
	scenarios, err := Load("testdata/pg")
	if err != nil {
		t.Fatal(err)
	}
	table := postgresDifferences()
	var mu sync.Mutex
	ran, seen := map[string]bool{}, map[string]bool{}
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			if laterPostgres()[s.Name] != "" {
				continue
			}
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				want := [][]Record{s.Records, s.Records2}
				enough := func(part int, recs []Record) bool {
					theirs, ours := LeaveOut(table, s.Name, want[part-1], recs, map[string]bool{})
					return len(ours) >= len(theirs)
				}
				recs, recs2, err := Run(ctx, binary, t.TempDir(), &s, newPostgres(t, server), enough)
				if missing(err) {
					t.Skipf("not run: %v", err)
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ran[s.Name] = true
				for i, got := range [][]Record{recs, recs2} {
					theirs, ours := LeaveOut(table, s.Name, want[i], got, seen)
					list, err := Explained(table, s.Name, notNow(nowPostgres()[s.Name], Compare(theirs, ours)), seen)
					if err != nil {
						t.Fatal(err)
					}
					report(t, list)
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, u := range Unseen(table, ran, seen) {
		t.Errorf("a difference that does not show any more: %s", u)
	}
}
