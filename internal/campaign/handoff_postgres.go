package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/postgres"
)

// handoffSchema makes the tables with %d rows each: large values that are not logged when they stay as they are, a key of two
// columns under a collation that is not that of bytes, an identity of all columns, and no key at all.
const handoffSchema = `
CREATE SEQUENCE ver;
CREATE TABLE item (id bigint PRIMARY KEY, n int, ver bigint NOT NULL, doc text);
ALTER TABLE item ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE pair (a text COLLATE "und-x-icu", b int, ver bigint NOT NULL, v text, PRIMARY KEY (b, a));
CREATE TABLE whole (id text PRIMARY KEY, ver bigint NOT NULL, doc text);
ALTER TABLE whole ALTER doc SET STORAGE EXTERNAL;
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE bag (v int, ver bigint);
ALTER TABLE bag REPLICA IDENTITY FULL;
INSERT INTO item SELECT i, i, nextval('ver'), CASE WHEN i %% 3 = 0 THEN repeat(chr(65 + i %% 26), 3000) END FROM generate_series(1, %[1]d) i;
INSERT INTO pair SELECT (ARRAY['a','B','ä','z'])[1 + i %% 4] || i, i %% 7, nextval('ver'), 'v' FROM generate_series(1, %[1]d) i;
INSERT INTO whole SELECT 'w' || i, nextval('ver'), repeat('x', 2500) FROM generate_series(1, %[1]d / 3) i;
INSERT INTO bag SELECT i %% 10, nextval('ver') FROM generate_series(1, %[1]d / 3) i;`

// pgFamily is PostgreSQL.
type pgFamily struct{ server *servers.Server }

var _ family = pgFamily{}

func (f pgFamily) url(name string) string { return "postgres://postgres@" + f.server.Addr + "/" + name }

func (f pgFamily) create(ctx context.Context, name string) error {
	if err := compare.Exec(ctx, f.server.URL, "CREATE DATABASE "+name); err != nil {
		return err
	}
	return compare.Exec(ctx, f.url(name), fmt.Sprintf(handoffSchema, handoffRows))
}

func (f pgFamily) drop(ctx context.Context, name string) error {
	return errors.Join(
		compare.Exec(ctx, f.server.URL, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '"+name+"'"),
		compare.Exec(ctx, f.server.URL, "DROP DATABASE "+name+" WITH (FORCE)"))
}

func (f pgFamily) source(name string) (source.Plugin, map[string]string, error) {
	host, port, err := net.SplitHostPort(f.server.Addr)
	return postgres.Plugin, map[string]string{"database.hostname": host, "database.port": port, "database.user": "postgres", "database.dbname": name,
		"slot.name": name, "table.include.list": `public\..*`}, err
}

type pgSession struct{ *pgx.Conn }

func (f pgFamily) connect(ctx context.Context, name string) (session, error) {
	conn, err := pgx.Connect(ctx, f.url(name))
	return pgSession{conn}, err
}

func (s pgSession) exec(ctx context.Context, sql string) error {
	_, err := s.Exec(ctx, sql)
	return err
}

func (s pgSession) batch(ctx context.Context, statements []string) (committed int, err error) {
	results := s.PgConn().Exec(ctx, strings.Join(statements, ";"))
	for results.NextResult() {
		tag, err := results.ResultReader().Close()
		if err != nil {
			break // Close below tells
		}
		if tag.String() == "COMMIT" {
			committed++
		}
	}
	return committed, results.Close()
}

func (s pgSession) affect(ctx context.Context, sql string) (int64, error) {
	tag, err := s.Exec(ctx, sql)
	return tag.RowsAffected(), err
}

func (s pgSession) numbers(ctx context.Context, sql string) ([]int64, error) {
	rows, err := s.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (s pgSession) close(ctx context.Context) error { return s.Close(ctx) }

func (pgFamily) twoPhase(gid string) phases {
	return phases{begin: "BEGIN", prepare: []string{"PREPARE TRANSACTION " + gid}, commit: "COMMIT PREPARED " + gid, rollback: "ROLLBACK PREPARED " + gid,
		abandon: []string{"ROLLBACK"}}
}

func (pgFamily) brisk() []string {
	return []string{"SET synchronous_commit = off", "SET lock_timeout = '20ms'"}
}

func (pgFamily) refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && slices.Contains([]string{"40P01", "23505", "55P03"}, e.Code)
}

func (f pgFamily) lines(ctx context.Context, name, table string) ([]string, error) {
	conn, err := pgx.Connect(ctx, f.url(name))
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT concat_ws('|', "+handoffColumns(table)+") FROM "+table)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (pgFamily) statement(c *rioter) []string {
	return []string{pgStatement(c)}
}

func pgStatement(c *rioter) string {
	id, other := 1+c.rnd.IntN(handoffRows), 1+c.rnd.IntN(handoffRows)
	switch c.kind(13, 3) {
	case 0, 1: // leaves the large value as it is
		return fmt.Sprintf("UPDATE item SET n = n + 1, ver = nextval('ver') WHERE id = %d", id)
	case 2:
		return fmt.Sprintf("UPDATE item SET doc = repeat('%c', 2000 + %d), ver = nextval('ver') WHERE id = %d", 'a'+rune(id%26), other, id)
	case 3:
		return fmt.Sprintf("DELETE FROM item WHERE id = %d", id)
	case 4:
		return fmt.Sprintf("INSERT INTO item VALUES (%d, 0, nextval('ver'), repeat('i', 2500)) ON CONFLICT DO NOTHING", id)
	case 5: // the same key again
		return fmt.Sprintf("DELETE FROM item WHERE id = %[1]d; INSERT INTO item VALUES (%[1]d, 1, nextval('ver'), NULL) ON CONFLICT DO NOTHING", id)
	case 6: // two rows change their keys
		low, high := min(id, other), max(id, other)
		if low == high {
			high++
		}
		return fmt.Sprintf(`UPDATE item SET id = -%[1]d - 1000000 * (1 + %[3]d), ver = nextval('ver') WHERE id = %[1]d;
			UPDATE item SET id = %[1]d, ver = nextval('ver') WHERE id = %[2]d;
			UPDATE item SET id = %[2]d, ver = nextval('ver') WHERE id = -%[1]d - 1000000 * (1 + %[3]d)`, low, high, c.id)
	case 7: // a row gets a key that nobody had
		c.n++
		return fmt.Sprintf("UPDATE item SET id = %d, ver = nextval('ver') WHERE id = %d", 10_000_000*(c.id+1)+c.n, id)
	case 8: // the old row is logged whole, the new one without the large value
		return fmt.Sprintf("UPDATE whole SET ver = nextval('ver') WHERE id = 'w%d'", id/3)
	case 9:
		return fmt.Sprintf("DELETE FROM whole WHERE id = 'w%[1]d'; INSERT INTO whole VALUES ('w%[1]d', nextval('ver'), repeat('y', 2100)) ON CONFLICT DO NOTHING", id/3)
	case 10:
		return fmt.Sprintf("UPDATE pair SET v = 'w%d', ver = nextval('ver') WHERE b = %d AND a LIKE '%%%d'", id, other%7, other%10)
	case 11:
		return fmt.Sprintf("UPDATE pair SET a = 'm' || a, ver = nextval('ver') WHERE b = %d AND a LIKE '%%%d' AND length(a) < 12", other%7, other%50)
	}
	return []string{
		fmt.Sprintf("INSERT INTO bag VALUES (%d, nextval('ver'))", id%10),
		fmt.Sprintf("UPDATE bag SET v = v + 1 WHERE ver = (SELECT min(ver) FROM bag WHERE v = %d)", id%10),
		fmt.Sprintf("DELETE FROM bag WHERE ver = (SELECT max(ver) FROM bag WHERE v = %d)", id%10),
	}[c.rnd.IntN(3)]
}
