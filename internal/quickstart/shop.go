package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// rows is how many rows the shop has before the daemon starts.
const rows = 200_000

// shop makes tables of many types; item counts add up to rows.
const shop = `
CREATE TYPE mood AS ENUM ('new', 'regular', 'gone');
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, email varchar(80), mood mood, tags text[], prefs jsonb, born date, since timestamptz NOT NULL, vip bool);
CREATE TABLE products (sku uuid PRIMARY KEY, title text NOT NULL, price numeric(10,2) NOT NULL, list_price money, weight real, description text, photo bytea);
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, placed timestamp NOT NULL, total numeric(12,2), status char(8), note text);
CREATE TABLE order_items (order_id bigint, line int, sku uuid NOT NULL, quantity smallint NOT NULL, price numeric(10,2), PRIMARY KEY (order_id, line));
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz, kind text, score double precision, path int[], body json, opens time);
CREATE TABLE sentinel (id int PRIMARY KEY, text text);
ALTER TABLE products ALTER description SET STORAGE external;
INSERT INTO customers SELECT i, (ARRAY['Zoë Müller','山田 太郎','Олена Шевченко','محمد علي','O''Brien, Séan','👩🏽‍💻 dev'])[1 + i % 6] || ' ' || i, 'c' || i || '@example.com',
	(ARRAY['new','regular','gone'])[1 + i % 3]::mood, ARRAY['a"b', NULL, 'x,' || i], jsonb_build_object('n', i, 'deep', jsonb_build_array(1.0, 'é')), date '1950-01-01' + i % 20000,
	timestamptz '2020-01-01Z' + i * interval '61.000001 s', i % 7 = 0 FROM generate_series(1, 40000) i;
INSERT INTO products SELECT md5('p' || i)::uuid, 'Product ' || i, i / 3.0, (i / 3.0)::numeric::money, i / 7.0::real, CASE WHEN i % 10 = 0 THEN repeat(md5(i::text), 200) ELSE 'short' END,
	decode(md5(i::text), 'hex') FROM generate_series(1, 10000) i;
INSERT INTO orders SELECT i, 1 + i % 40000, timestamp '2024-02-29 23:59:59.5' + i * interval '1 minute', i * 1.10, 'open', NULL FROM generate_series(1, 50000) i;
INSERT INTO order_items SELECT 1 + i / 2, i % 2, md5('p' || (1 + i % 10000))::uuid, 1 + i % 9, i % 1000 / 100.0 FROM generate_series(0, 69999) i;
INSERT INTO events SELECT i, now() - i * interval '1 s', 'click', i / 11.0, ARRAY[i, i % 10], json_build_object('i', i), time '08:00' + i % 600 * interval '1 minute' FROM generate_series(1, 30000) i;`

// writer changes the shop all the while.
type writer struct {
	conn   *pgx.Conn
	rnd    *rand.Rand
	done   atomic.Int64 // transactions committed
	orders int64
}

// run writes until ctx is done; a transaction that has begun is finished.
func (w *writer) run(ctx context.Context) error {
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	w.orders = 1_000_000
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.write(context.WithoutCancel(ctx), n); err != nil {
			return fmt.Errorf("writer: %w", err)
		}
		w.done.Add(1)
	}
}

func (w *writer) write(ctx context.Context, n int) error {
	id := int64(1 + w.rnd.IntN(40_000))
	switch n {
	case 300:
		return w.exec(ctx, "ALTER TABLE customers ADD COLUMN points int")
	case 305:
		return w.exec(ctx, "UPDATE customers SET points = 7 WHERE id % 100 = 0")
	case 310:
		return w.exec(ctx, "UPDATE orders SET id = id + 5000000 WHERE id = 17")
	case 320:
		return w.exec(ctx, "UPDATE products SET description = $1 WHERE title = 'Product 10'", strings.Repeat("a large value ", 20_000))
	}
	switch n % 6 {
	case 0, 1:
		w.orders++
		return pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1, $2, now(), 9.99, 'new', 'été')", w.orders, id); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO order_items SELECT $1, i, md5('p1')::uuid, 1, 9.99 FROM generate_series(1, 3) i", w.orders)
			return err
		})
	case 2:
		return w.exec(ctx, "UPDATE customers SET mood = 'regular', prefs = prefs || '{\"seen\": true}' WHERE id = $1", id)
	case 3:
		return w.exec(ctx, "UPDATE products SET price = price + 0.01 WHERE sku = md5('p' || $1::int)::uuid", int32(1+w.rnd.IntN(10_000))) // leaves large descriptions unchanged
	case 4:
		return w.exec(ctx, "DELETE FROM events WHERE id = $1", int64(1+w.rnd.IntN(30_000)))
	default:
		return w.exec(ctx, "UPDATE orders SET status = 'shipped' WHERE id = $1", int64(1+w.rnd.IntN(50_000)))
	}
}

func (w *writer) exec(ctx context.Context, sql string, args ...any) error {
	_, err := w.conn.Exec(ctx, sql, args...)
	return err
}
