package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
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

const turmoilClients = 6

// turmoil is clients that write in every way there is.
type turmoil struct {
	url       string
	seed      uint64
	committed atomic.Int64
}

func (l *turmoil) run(ctx context.Context) error {
	var g errgroup.Group
	for id := range turmoilClients {
		c := &rioter{load: l, id: id, rnd: rand.New(rand.NewPCG(l.seed, uint64(id)+100))}
		g.Go(func() error { return c.run(ctx) })
	}
	return g.Wait()
}

// rioter is one client.
type rioter struct {
	load *turmoil
	id   int
	n    int
	rnd  *rand.Rand
}

func (c *rioter) run(ctx context.Context) error {
	open := context.WithoutCancel(ctx) // what was begun is finished
	conn, err := pgx.Connect(open, c.load.url)
	if err != nil {
		return err
	}
	defer conn.Close(open)
	for ctx.Err() == nil {
		err := c.transaction(open, conn)
		var e *pgconn.PgError
		switch {
		case err == nil:
			c.load.committed.Add(1)
		case errors.As(err, &e) && slices.Contains([]string{"40P01", "23505"}, e.Code): // a deadlock, a key that is taken
			if _, err := conn.Exec(open, "ROLLBACK"); err != nil {
				return err
			}
		default:
			return fmt.Errorf("client %d: %w", c.id, err)
		}
	}
	return nil
}

// transaction runs some statements and ends them in one of five ways.
func (c *rioter) transaction(ctx context.Context, conn *pgx.Conn) error {
	exec := func(sql string) error {
		_, err := conn.Exec(ctx, sql)
		return err
	}
	if err := exec("BEGIN"); err != nil {
		return err
	}
	for range 1 + c.rnd.IntN(5) {
		if err := exec(c.statement()); err != nil {
			return err
		}
		if c.rnd.IntN(8) == 0 { // a part of it is taken back
			if err := errors.Join(exec("SAVEPOINT s"), exec(c.statement()), exec("ROLLBACK TO s")); err != nil {
				return err
			}
		} else if c.rnd.IntN(8) == 0 { // and a part of it has a transaction number of its own
			if err := errors.Join(exec("SAVEPOINT s"), exec(c.statement()), exec("RELEASE s")); err != nil {
				return err
			}
		}
	}
	switch c.rnd.IntN(12) {
	case 0:
		return exec("ROLLBACK")
	case 1: // long
		if err := pauseFor(ctx, time.Duration(20+c.rnd.IntN(200))*time.Millisecond); err != nil {
			return err
		}
	case 2, 3: // in two phases
		c.n++
		gid := fmt.Sprintf("'%d-%d'", c.id, c.n)
		if err := exec("PREPARE TRANSACTION " + gid); err != nil {
			return err
		}
		if err := pauseFor(ctx, time.Duration(c.rnd.IntN(60))*time.Millisecond); err != nil {
			return err
		}
		if c.rnd.IntN(5) == 0 {
			return exec("ROLLBACK PREPARED " + gid)
		}
		return exec("COMMIT PREPARED " + gid)
	}
	return exec("COMMIT")
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// statement returns one change, or some that belong together.
func (c *rioter) statement() string {
	id, other := 1+c.rnd.IntN(handoffRows), 1+c.rnd.IntN(handoffRows)
	switch c.rnd.IntN(13) {
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
	case 8:
		return fmt.Sprintf("UPDATE pair SET v = 'w%d', ver = nextval('ver') WHERE b = %d AND a LIKE '%%%d'", id, other%7, other%10)
	case 9:
		return fmt.Sprintf("UPDATE pair SET a = 'm' || a, ver = nextval('ver') WHERE b = %d AND a LIKE '%%%d' AND length(a) < 12", other%7, other%50)
	case 10: // the old row is logged whole, the new one without the large value
		return fmt.Sprintf("UPDATE whole SET ver = nextval('ver') WHERE id = 'w%d'", id/3)
	case 11:
		return fmt.Sprintf("DELETE FROM whole WHERE id = 'w%[1]d'; INSERT INTO whole VALUES ('w%[1]d', nextval('ver'), repeat('y', 2100)) ON CONFLICT DO NOTHING", id/3)
	}
	return []string{
		fmt.Sprintf("INSERT INTO bag VALUES (%d, nextval('ver'))", id%10),
		fmt.Sprintf("UPDATE bag SET v = v + 1 WHERE ver = (SELECT min(ver) FROM bag WHERE v = %d)", id%10),
		fmt.Sprintf("DELETE FROM bag WHERE ver = (SELECT max(ver) FROM bag WHERE v = %d)", id%10),
	}[c.rnd.IntN(3)]
}
