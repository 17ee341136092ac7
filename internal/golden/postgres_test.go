package golden

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/servers"
)

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
	for _, s := range Statements(sql, false) {
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

func (p *postgres) Caught(ctx context.Context, _ json.RawMessage) (caught bool, err error) {
	err = p.conn.QueryRow(ctx, "SELECT COALESCE((SELECT active AND confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $2), false)",
		p.target, p.name).Scan(&caught)
	return caught, err
}

// missing reports whether an error says that the server lacks an extension.
func missing(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "0A000" || pg.Code == "58P01") && strings.Contains(pg.Message, "extension")
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

// TestPostgresDerived replays scenarios that no Debezium recorded. What Debezium does there is derived from its published source
// (derived.txt says which part of it), and their records are what it says, written once by the connector itself and read by us.
func TestPostgresDerived(t *testing.T) {
	server := servers.Need(t, "postgres18")
	family{dir: "testdata/pg-derived", table: postgresDifferences(), missing: missing,
		open: func(t *testing.T, s Scenario) (Database, Scenario) { return newPostgres(t, server), s }}.replay(t)
}

// The recordings are of PostgreSQL 15, and 18 has nothing else to tell.
func TestPostgres(t *testing.T) {
	for _, name := range []string{"postgres15", "postgres18"} {
		t.Run(name, func(t *testing.T) {
			server := servers.Need(t, name)
			family{dir: "testdata/pg", table: postgresDifferences(), later: laterPostgres(), now: nowPostgres(), missing: missing,
				open: func(t *testing.T, s Scenario) (Database, Scenario) { return newPostgres(t, server), s }}.replay(t)
		})
	}
}
