package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	clients   = 4
	initial   = 20_000 // rows before the first start, which the snapshot copies
	keysEach  = 8_000  // key space of a client
	bigLength = 4_000  // characters of a value that PostgreSQL stores out of line
)

const schema = `
create table item (id bigint primary key, client int not null, ver bigint not null, name text, price numeric(12,2), big text);
alter table item alter column big set storage external;
create table journal (client int, seq bigint, n int not null, primary key (client, seq));
create table sentinel (id bigint primary key);
insert into item select i * 4 + i % 4, i % 4, 0, 'Élan '||i, i / 7.0, repeat(md5(i::text), 125) from generate_series(1, 20000) i;`

// client is one writer. Its keys are those with id % clients == its number.
type client struct {
	n    int
	rnd  *rand.Rand
	conn *pgx.Conn
	seq  int64 // transactions committed
	ver  int64 // only grows; in every row that the client writes
}

// run commits transactions until ctx is done, about rate a second.
func (c *client) run(ctx context.Context, rate int, committed *atomic.Int64) error {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// A transaction that has begun is finished: its outcome must be known.
		if err := c.transaction(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("client %d: %w", c.n, err)
		}
		committed.Add(1)
	}
}

var errRollback = errors.New("the model rolls this transaction back")

// transaction commits one random transaction and its journal row, or rolls it back.
func (c *client) transaction(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		ops := 1 + c.rnd.IntN(6)
		if c.rnd.IntN(50) == 0 {
			ops = 200
		}
		for range ops {
			if err := c.operation(ctx, tx); err != nil {
				return err
			}
		}
		if c.rnd.IntN(10) == 0 {
			err := pgx.BeginFunc(ctx, tx, func(sub pgx.Tx) error { // a savepoint, rolled back
				if err := c.phantom(ctx, sub); err != nil {
					return err
				}
				return errRollback
			})
			if !errors.Is(err, errRollback) {
				return err
			}
		}
		if c.rnd.IntN(20) == 0 {
			if err := c.phantom(ctx, tx); err != nil {
				return err
			}
			return errRollback
		}
		_, err := tx.Exec(ctx, "insert into journal values ($1, $2, $3)", c.n, c.seq+1, ops)
		return err
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	if err == nil {
		c.seq++
	}
	return err
}

// phantom writes a row that must never be seen.
func (c *client) phantom(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "insert into item values ($1, $2, 0, 'phantom', 0, '')", int64(10_000_000+c.rnd.IntN(1000)*clients+c.n), c.n)
	return err
}

func (c *client) key() int64 { return int64(1+c.rnd.IntN(keysEach))*clients + int64(c.n) }

func (c *client) operation(ctx context.Context, tx pgx.Tx) error {
	c.ver++
	id := c.key()
	var err error
	switch c.rnd.IntN(10) {
	case 0, 1, 2: // insert or replace, with a new large value
		_, err = tx.Exec(ctx, `insert into item values ($1, $2, $3, $4, $5, $6)
			on conflict (id) do update set ver = excluded.ver, name = excluded.name, big = excluded.big`,
			id, c.n, c.ver, fmt.Sprintf("名前 %d", c.ver), fmt.Sprintf("%d.%02d", c.rnd.IntN(1e6), c.rnd.IntN(100)), c.big())
	case 3, 4, 5, 6: // the large value stays as it is
		_, err = tx.Exec(ctx, "update item set ver = $2, name = $3 where id = $1", id, c.ver, fmt.Sprint("u", c.ver))
	case 7:
		_, err = tx.Exec(ctx, "delete from item where id = $1", id)
	case 8: // a change of key, unless the new one is taken
		_, err = tx.Exec(ctx, "update item set id = $2, ver = $3 where id = $1 and not exists (select from item where id = $2)", id, c.key(), c.ver)
	default: // delete and insert again
		if _, err = tx.Exec(ctx, "delete from item where id = $1", id); err == nil {
			c.ver++
			_, err = tx.Exec(ctx, "insert into item values ($1, $2, $3, null, null, $4)", id, c.n, c.ver, c.big())
		}
	}
	return err
}

// big returns a value that is stored out of line, now and then none or a short one.
func (c *client) big() *string {
	s := ""
	switch c.rnd.IntN(10) {
	case 0:
		return nil
	case 1:
		s = "short"
	default:
		s = strings.Repeat(fmt.Sprintf("%08x", c.rnd.Uint32()), bigLength/8)
	}
	return &s
}
