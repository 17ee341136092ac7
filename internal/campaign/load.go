package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// schema of a life. ver only grows for one key in the order of commits: it is drawn while the row is locked, and only the client
// that owns a key inserts it.
const schema = `
CREATE SEQUENCE ver;
CREATE TABLE account (id bigint PRIMARY KEY, owner text, balance numeric(14,2), active bool, changed timestamptz, ver bigint NOT NULL);
CREATE TABLE item (grp text, n bigint, qty int, price float8, tags text[], ver bigint NOT NULL, PRIMARY KEY (grp, n));
CREATE TABLE doc (id uuid PRIMARY KEY, title text, body text, meta jsonb, raw bytea, ver bigint NOT NULL);
ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;
CREATE INDEX ON item (n);
CREATE TABLE journal (client int, seq bigint, xid bigint NOT NULL, ops jsonb NOT NULL, PRIMARY KEY (client, seq));
CREATE TABLE sentinel (id int PRIMARY KEY, mark text);
INSERT INTO account SELECT i, 'név ' || i, i * 1.25, i % 3 = 0, '2024-01-01'::timestamptz + i * interval '1 s', nextval('ver') FROM generate_series(1, 40000) i;
INSERT INTO item SELECT 'g' || i % 7, i, i, i / 3.0, ARRAY['a', NULL, 'x y'], nextval('ver') FROM generate_series(1, 20000) i;
INSERT INTO doc SELECT ('d0000000-0000-4000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'title ' || i, repeat(md5(i::text), 100), jsonb_build_object('n', i, 'on', true), '\x00ff', nextval('ver')
	FROM generate_series(1, 2000) i;
ANALYZE;`

// baseAccounts and the like are the rows that are there when a life begins. They belong to nobody: they are never inserted again.
const (
	baseAccounts = 40000
	baseItems    = 20000
	baseDocs     = 2000
)

// clients is how many connections write at once.
const clients = 4

// An op is what a transaction did to one row, as the log must show it: op is c, u or d; key is the row's canonical key.
type op struct {
	Table string
	Op    string
	Key   string
	Ver   int64
}

// MarshalJSON writes an op in the short form of the table journal.
func (o op) MarshalJSON() ([]byte, error) { return json.Marshal([]any{o.Table, o.Op, o.Key, o.Ver}) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (o *op) UnmarshalJSON(p []byte) error {
	return json.Unmarshal(p, &[]any{&o.Table, &o.Op, &o.Key, &o.Ver})
}

// errRolledBack ends a transaction that was meant to be rolled back.
var errRolledBack = errors.New("rolled back on purpose")

// load writes until ctx is done. Each transaction is a step of one client.
type load struct {
	url     string
	seed    uint64
	crashes bool // the server goes away now and then: clients come again

	drawn     [clients]atomic.Int64 // keys that each client has made
	committed atomic.Int64
}

// run writes until ctx is done, and returns when no transaction is open any more.
func (l *load) run(ctx context.Context) error {
	var g errgroup.Group
	for id := range clients {
		c := &client{load: l, id: id, rnd: rand.New(rand.NewPCG(l.seed, uint64(id)))}
		g.Go(func() error { return c.run(ctx) })
	}
	return g.Wait()
}

// client is one writer.
type client struct {
	load *load
	id   int
	seq  int64
	rnd  *rand.Rand
	ops  []op // of the open transaction
}

func (c *client) run(ctx context.Context) error {
	open := context.WithoutCancel(ctx) // what was begun is finished
	conn, err := c.connect(open)
	if err != nil {
		return err
	}
	defer func() { conn.Close(open) }()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		err := c.transaction(open, conn)
		if err != nil && c.load.crashes && conn.IsClosed() {
			conn, err = c.connect(open)
		}
		if err != nil {
			return fmt.Errorf("client %d: %w", c.id, err)
		}
		pause.Reset(time.Duration(c.rnd.IntN(20)) * time.Millisecond)
	}
}

// connect connects, with patience where the server crashes, and asks which transaction was this client's last: of one whose commit
// was not answered nobody knows.
func (c *client) connect(ctx context.Context) (*pgx.Conn, error) {
	for deadline := time.Now().Add(settleTime); ; {
		conn, err := pgx.Connect(ctx, c.load.url)
		if err == nil {
			if err = conn.QueryRow(ctx, `SELECT COALESCE(max(seq), 0) FROM journal WHERE client = $1`, c.id).Scan(&c.seq); err == nil {
				return conn, nil
			}
			conn.Close(ctx)
		}
		if !c.load.crashes || time.Now().After(deadline) {
			return nil, err
		}
		if err := pauseFor(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// transaction makes one transaction of some operations and its row of the journal.
func (c *client) transaction(ctx context.Context, conn *pgx.Conn) error {
	if c.ops = c.ops[:0]; c.ops == nil {
		c.ops = []op{} // in JSON an empty list, not null
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for range 1 + c.rnd.IntN(5) {
			if err := c.step(ctx, tx); err != nil {
				return err
			}
		}
		if c.rnd.IntN(12) == 0 {
			return errRolledBack
		}
		ops, err := json.Marshal(c.ops)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO journal VALUES ($1, $2, pg_current_xact_id()::text::bigint, $3)`, c.id, c.seq+1, string(ops))
		return err
	})
	var pe *pgconn.PgError
	switch {
	case err == nil:
		c.seq++
		c.load.committed.Add(1)
		return nil
	case errors.Is(err, errRolledBack), errors.As(err, &pe) && pe.Code == "40P01": // a deadlock: the transaction never was
		return nil
	}
	return err
}

// step does one thing; one in eight is undone by a savepoint.
func (c *client) step(ctx context.Context, tx pgx.Tx) error {
	if c.rnd.IntN(8) != 0 {
		return c.change(ctx, tx)
	}
	kept := len(c.ops)
	err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		if err := c.change(ctx, inner); err != nil {
			return err
		}
		return errRolledBack
	})
	c.ops = c.ops[:kept]
	if errors.Is(err, errRolledBack) {
		return nil
	}
	return err
}

// change makes one statement.
func (c *client) change(ctx context.Context, tx pgx.Tx) error {
	switch c.rnd.IntN(14) {
	case 0, 1:
		return c.insert(ctx, tx)
	case 2, 3:
		return c.update(ctx, tx, "account", c.account(), `UPDATE account SET balance = balance + 1.1, changed = now(), ver = nextval('ver') WHERE id = $1 RETURNING id::text, ver`)
	case 4:
		first := c.rnd.IntN(baseAccounts)
		return c.update(ctx, tx, "account", first, `UPDATE account SET active = NOT active, ver = nextval('ver') WHERE id BETWEEN $1 AND $1::bigint + 9 RETURNING id::text, ver`)
	case 5, 6:
		return c.update(ctx, tx, "item", c.item(), `UPDATE item SET qty = qty + 1, tags = array_append(tags, 'é"\'), ver = nextval('ver') WHERE n = $1 RETURNING grp || E'\t' || n, ver`)
	case 7, 8: // body stays as it is and is not sent
		return c.update(ctx, tx, "doc", c.doc(), `UPDATE doc SET title = title || '.', ver = nextval('ver') WHERE id = $1 RETURNING id::text, ver`)
	case 9:
		body := []any{nil, "", "short", strings.Repeat(fmt.Sprint(c.rnd.Uint64()), 200)}[c.rnd.IntN(4)]
		return c.update(ctx, tx, "doc", c.doc(), `UPDATE doc SET body = $2, ver = nextval('ver') WHERE id = $1 RETURNING id::text, ver`, body)
	case 10:
		return c.remove(ctx, tx)
	case 11, 12:
		return c.move(ctx, tx)
	default:
		return c.upsert(ctx, tx)
	}
}

// A key is one that existed once: of the rows from the beginning, or made by any client.
func (c *client) account() int { return c.pick(baseAccounts) }
func (c *client) item() int    { return c.pick(baseItems) }
func (c *client) doc() string  { return docID(c.pick(baseDocs)) }

// pick draws a number that some row had; the small numbers more often, so that clients meet.
func (c *client) pick(base int) int {
	if c.rnd.IntN(3) > 0 {
		return 1 + c.rnd.IntN(base)
	}
	owner := c.rnd.IntN(clients)
	n := int(c.load.drawn[owner].Load())
	return number(owner, 1+c.rnd.IntN(max(1, n)))
}

// number is the n-th number that a client owns.
func number(owner, n int) int { return 1_000_000*(owner+1) + n }

// fresh draws a number that this client owns: mostly a new one, sometimes one whose row may be gone.
func (c *client) fresh() int {
	if n := int(c.load.drawn[c.id].Load()); n > 0 && c.rnd.IntN(5) == 0 {
		return number(c.id, 1+c.rnd.IntN(n))
	}
	return number(c.id, int(c.load.drawn[c.id].Add(1)))
}

// docID is the key of the n-th document.
func docID(n int) string {
	var b [16]byte
	b[0], b[6], b[8] = 0xd0, 0x40, 0x80
	for i := range 8 {
		b[15-i] = byte(n >> (8 * i))
	}
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// update runs a statement on rows of a table that returns the keys and vers of those it touched.
func (c *client) update(ctx context.Context, tx pgx.Tx, table string, key any, sql string, more ...any) error {
	return c.returning(ctx, tx, table, "u", sql, append([]any{key}, more...)...)
}

// returning notes an operation for each row that a statement returns.
func (c *client) returning(ctx context.Context, tx pgx.Tx, table, kind, sql string, args ...any) error {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	o := op{Table: table, Op: kind}
	_, err = pgx.ForEachRow(rows, []any{&o.Key, &o.Ver}, func() error {
		c.ops = append(c.ops, o)
		return nil
	})
	return err
}

// insert makes a row of this client, unless it is there. The row is locked first: whoever deletes it just now draws a smaller
// ver than the insert.
func (c *client) insert(ctx context.Context, tx pgx.Tx) error {
	n := c.fresh()
	table, sql, key := "doc", `INSERT INTO doc VALUES ($1::uuid, 'new', repeat(md5($1::uuid::text), 120), '{"a": [1, 2.50]}', '\xdeadbeef', nextval('ver'))
		ON CONFLICT DO NOTHING RETURNING id::text, ver`, any(docID(n))
	switch c.rnd.IntN(3) {
	case 0:
		table, sql, key = "account", `INSERT INTO account VALUES ($1, '李雷 "Zoë"', 0.10, NULL, clock_timestamp(), nextval('ver'))
			ON CONFLICT DO NOTHING RETURNING id::text, ver`, n
	case 1:
		table, sql, key = "item", `INSERT INTO item VALUES ('own', $1, 0, 0.1, '{}', nextval('ver'))
			ON CONFLICT DO NOTHING RETURNING grp || E'\t' || n, ver`, n
	}
	column := "id"
	if table == "item" {
		column = "grp = 'own' AND n"
	}
	if _, err := tx.Exec(ctx, "SELECT FROM "+table+" WHERE "+column+" = $1 FOR UPDATE", key); err != nil {
		return err
	}
	return c.returning(ctx, tx, table, "c", sql, key)
}

// upsert inserts or updates an account of this client in one statement, with the row locked as in insert.
func (c *client) upsert(ctx context.Context, tx pgx.Tx) error {
	n := c.fresh()
	tag, err := tx.Exec(ctx, "SELECT FROM account WHERE id = $1 FOR UPDATE", n)
	if err != nil {
		return err
	}
	kind := "c"
	if tag.RowsAffected() > 0 {
		kind = "u"
	}
	return c.returning(ctx, tx, "account", kind, `INSERT INTO account (id, balance, ver) VALUES ($1, -0.01, nextval('ver'))
		ON CONFLICT (id) DO UPDATE SET owner = 'upserted', ver = nextval('ver') RETURNING id::text, ver`, n)
}

// remove deletes a row.
func (c *client) remove(ctx context.Context, tx pgx.Tx) error {
	switch c.rnd.IntN(3) {
	case 0:
		return c.returning(ctx, tx, "account", "d", `DELETE FROM account WHERE id = $1 RETURNING id::text, nextval('ver')`, c.account())
	case 1:
		return c.returning(ctx, tx, "item", "d", `DELETE FROM item WHERE n = $1 RETURNING grp || E'\t' || n, nextval('ver')`, c.item())
	}
	return c.returning(ctx, tx, "doc", "d", `DELETE FROM doc WHERE id = $1 RETURNING id::text, nextval('ver')`, c.doc())
}

// move changes the key of a row to a new one of this client: the log shows a delete and a create.
func (c *client) move(ctx context.Context, tx pgx.Tx) error {
	n := number(c.id, int(c.load.drawn[c.id].Add(1)))
	switch c.rnd.IntN(3) {
	case 0:
		from := c.account()
		return c.moved(ctx, tx, "account", fmt.Sprint(from), fmt.Sprint(n),
			`UPDATE account SET id = $2, ver = nextval('ver') WHERE id = $1 RETURNING ver`, from, n)
	case 1:
		from := 1 + c.rnd.IntN(baseItems)
		return c.moved(ctx, tx, "item", fmt.Sprintf("g%d\t%d", from%7, from), fmt.Sprintf("moved\t%d", n),
			`UPDATE item SET grp = 'moved', n = $3, ver = nextval('ver') WHERE grp = $1 AND n = $2 RETURNING ver`, fmt.Sprintf("g%d", from%7), from, n)
	}
	from := c.doc() // the large body is not sent with its new key
	return c.moved(ctx, tx, "doc", from, docID(n), `UPDATE doc SET id = $2, ver = nextval('ver') WHERE id = $1 RETURNING ver`, from, docID(n))
}

// moved notes what a change of a key does.
func (c *client) moved(ctx context.Context, tx pgx.Tx, table, from, to, sql string, args ...any) error {
	var ver int64
	err := tx.QueryRow(ctx, sql, args...).Scan(&ver)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		c.ops = append(c.ops, op{table, "d", from, ver}, op{table, "c", to, ver})
	}
	return err
}
