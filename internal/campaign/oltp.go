package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/compare"
)

// The tables of sysbench's oltp_read_write, with columns of more types, and the journal of what each transaction did.
const (
	oltpTables = 3
	oltpRows   = 40000
)

func oltpTable(n int) string { return fmt.Sprintf("sbtest%d", n) }

// oltpSchema are the statements that make the tables of a database.
func oltpSchema() []string {
	list := []string{"CREATE TABLE journal (client int, seq bigint, ops longtext NOT NULL, PRIMARY KEY (client, seq))", "CREATE TABLE sentinel (id int PRIMARY KEY, mark varchar(20))",
		"CREATE TABLE digits (d int PRIMARY KEY)", "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)"}
	for n := 1; n <= oltpTables; n++ {
		list = append(list, fmt.Sprintf(`CREATE TABLE %s (id int unsigned AUTO_INCREMENT PRIMARY KEY, k int NOT NULL, c char(120) NOT NULL, pad varchar(60), amount decimal(12,2), at datetime(6), raw varbinary(20), KEY (k))
			CHARACTER SET %s`, oltpTable(n), []string{"utf8mb4", "latin1", "utf8mb4"}[n-1]),
			fmt.Sprintf(`INSERT INTO %[1]s (k, c, pad, amount, at, raw) SELECT i * 7 %% %[2]d, left(sha2(i, 256), 32), concat('pad é ', i), i / 100, '2024-02-29 12:34:56' + INTERVAL i SECOND, unhex(left(sha2(i, 256), 32))
			FROM (SELECT f.d * 10000 + a.d * 1000 + b.d * 100 + c.d * 10 + e.d + 1 AS i FROM digits a, digits b, digits c, digits e, digits f) s WHERE i <= %[2]d`, oltpTable(n), oltpRows))
	}
	return append(list, "DROP TABLE digits")
}

// oltpCompared are the tables as the comparison reads them.
func oltpCompared(database string) []*compare.Table {
	list := []*compare.Table{compare.NewTable(database, "journal", []compare.Column{{Name: "client", Kind: change.Int}, {Name: "seq", Kind: change.Int}, {Name: "ops", Kind: change.Text}}, 0, 1),
		compare.NewTable(database, "sentinel", []compare.Column{{Name: "id", Kind: change.Int}, {Name: "mark", Kind: change.Text}}, 0)}
	for n := 1; n <= oltpTables; n++ {
		list = append(list, compare.NewTable(database, oltpTable(n), []compare.Column{{Name: "id", Kind: change.Int}, {Name: "k", Kind: change.Int}, {Name: "c", Kind: change.Text},
			{Name: "pad", Kind: change.Text}, {Name: "amount", Kind: change.Decimal}, {Name: "at", Kind: change.Timestamp, Digits: 6}, {Name: "raw", Kind: change.Bytes}}, 0))
	}
	return list
}

// oltpLoad writes as sysbench's oltp_read_write does, until ctx is done. Each transaction notes in the journal what it did. Beside it the
// tables get and lose a column, and are replaced by copies of themselves.
type oltpLoad struct {
	addr, database string
	seed           uint64
	crashes        bool // the server does, and comes back
	committed      atomic.Int64
}

func (l *oltpLoad) run(ctx context.Context) error {
	var g errgroup.Group
	for id := range clients {
		g.Go(func() error {
			c := &oltpClient{load: l, id: id, rnd: rand.New(rand.NewPCG(l.seed, uint64(id)))}
			return c.run(ctx)
		})
	}
	g.Go(func() error { return l.alter(ctx) })
	return g.Wait()
}

func (l *oltpLoad) connect() (*mysqlclient.Conn, error) {
	c, err := mysqlclient.Connect(l.addr, "root", "", l.database)
	if err == nil {
		_, err = c.Execute("SET NAMES utf8mb4")
	}
	return c, err
}

// alter changes structures now and then.
func (l *oltpLoad) alter(ctx context.Context) (err error) {
	c, err := l.connect()
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the server may be away
	for n := 0; ; n++ {
		if pauseFor(ctx, 4*time.Second) != nil {
			return nil
		}
		name := oltpTable(1 + n/3%oltpTables)
		switch n % 3 {
		case 0:
			_, err = c.Execute("ALTER TABLE " + name + " ADD extra varchar(10) DEFAULT 'ex' AFTER id")
		case 1:
			err = migrate(c, name, n)
		case 2:
			_, err = c.Execute("ALTER TABLE " + name + " DROP extra")
		}
		var e *mysql.MyError
		switch {
		case err == nil, errors.As(err, &e) && (e.Code == mysql.ER_DUP_FIELDNAME || e.Code == mysql.ER_CANT_DROP_FIELD_OR_KEY) && l.crashes:
		case e != nil || !l.crashes:
			return err
		default:
			if err := l.again(ctx, &c); err != nil || ctx.Err() != nil {
				return err
			}
			if err := tidy(c, name, n); err != nil {
				return err
			}
		}
	}
}

// again replaces a connection that broke when the server crashed, once that has come back. It gives up when ctx is done.
func (l *oltpLoad) again(ctx context.Context, c **mysqlclient.Conn) error {
	_ = (*c).Close() // it is broken
	for pauseFor(ctx, 50*time.Millisecond) == nil {
		made, err := l.connect()
		if err == nil {
			*c = made
			return nil
		}
	}
	return nil
}

// tidy removes what a migration left behind that the server's crash cut short.
func tidy(c *mysqlclient.Conn, name string, n int) error {
	for _, sql := range []string{fmt.Sprintf("DROP TRIGGER IF EXISTS d%d", n), fmt.Sprintf("DROP TRIGGER IF EXISTS u%d", n), fmt.Sprintf("DROP TRIGGER IF EXISTS i%d", n),
		"DROP TABLE IF EXISTS _" + name + "_new", "DROP TABLE IF EXISTS _" + name + "_old"} {
		if _, err := c.Execute(sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// migrate gives a table another structure as pt-online-schema-change does: a copy with that structure is filled while triggers keep it
// up to date, and takes the table's place.
func migrate(c *mysqlclient.Conn, name string, n int) error {
	const columns = "id, k, c, pad, amount, at, raw"
	made, old := "_"+name+"_new", "_"+name+"_old"
	row := "NEW." + strings.ReplaceAll(columns, ", ", ", NEW.")
	steps := []string{"CREATE TABLE " + made + " LIKE " + name, fmt.Sprintf("ALTER TABLE %s MODIFY pad varchar(%d)", made, 70+n%30),
		fmt.Sprintf("CREATE TRIGGER d%d AFTER DELETE ON %s FOR EACH ROW DELETE IGNORE FROM %s WHERE id <=> OLD.id", n, name, made),
		fmt.Sprintf("CREATE TRIGGER u%d AFTER UPDATE ON %s FOR EACH ROW REPLACE INTO %s (%s) VALUES (%s)", n, name, made, columns, row),
		fmt.Sprintf("CREATE TRIGGER i%d AFTER INSERT ON %s FOR EACH ROW REPLACE INTO %s (%s) VALUES (%s)", n, name, made, columns, row)}
	for from := 0; from < oltpRows; from += 2000 {
		steps = append(steps, fmt.Sprintf("INSERT IGNORE INTO %s (%s) SELECT %[2]s FROM %[3]s WHERE id > %[4]d AND id <= %[4]d + 2000 LOCK IN SHARE MODE", made, columns, name, from))
	}
	for _, sql := range append(steps, fmt.Sprintf("RENAME TABLE %s TO %s, %s TO %[1]s", name, old, made), "DROP TABLE "+old) {
		for {
			_, err := c.Execute(sql)
			var e *mysql.MyError
			if err == nil {
				break
			}
			if !errors.As(err, &e) || e.Code != mysql.ER_LOCK_DEADLOCK && e.Code != mysql.ER_LOCK_WAIT_TIMEOUT {
				return fmt.Errorf("%.60s: %w", sql, err)
			}
		}
	}
	return nil
}

type oltpClient struct {
	load *oltpLoad
	id   int
	seq  int64
	rnd  *rand.Rand
	conn *mysqlclient.Conn
	ops  [][3]string // table, op, key
}

func (c *oltpClient) run(ctx context.Context) (err error) {
	if c.conn, err = c.load.connect(); err != nil {
		return err
	}
	defer func() { _ = c.conn.Close() }() // the server may be away
	for pauseFor(ctx, time.Duration(c.rnd.IntN(10))*time.Millisecond) == nil {
		err := c.transaction()
		var e *mysql.MyError
		switch {
		case errors.As(err, &e) && (e.Code == mysql.ER_LOCK_DEADLOCK || e.Code == mysql.ER_LOCK_WAIT_TIMEOUT || e.Code == mysql.ER_TABLE_DEF_CHANGED || e.Code == 1020):
			if _, err := c.conn.Execute("ROLLBACK"); err != nil { // it never was
				return err
			}
		case err != nil && e == nil && c.load.crashes:
			if err := c.again(ctx); err != nil {
				return fmt.Errorf("client %d: %w", c.id, err)
			}
		case err != nil:
			return fmt.Errorf("client %d: %w", c.id, err)
		}
	}
	return nil
}

// again connects anew after a crash of the server, which knows whether the last transaction was committed.
func (c *oltpClient) again(ctx context.Context) error {
	if err := c.load.again(ctx, &c.conn); err != nil || ctx.Err() != nil {
		return err
	}
	r, err := c.conn.Execute(fmt.Sprintf("SELECT coalesce(max(seq), 0) FROM journal WHERE client = %d", c.id))
	if err != nil {
		return c.again(ctx) // it has crashed once more
	}
	c.seq, err = r.GetInt(0, 0)
	return err
}

// exec runs a statement and notes what it did to a row, if it did.
func (c *oltpClient) exec(table, op string, id int, sql string, args ...any) error {
	r, err := c.conn.Execute(sql, args...)
	if err == nil && r.AffectedRows > 0 && op != "" {
		c.ops = append(c.ops, [3]string{table, op, fmt.Sprint(id)})
	}
	return err
}

// transaction is one of oltp_read_write: reads, an update of an indexed column and of another, a delete and an insert of the same key.
func (c *oltpClient) transaction() error {
	c.ops = c.ops[:0]
	id := func() int { return 1 + c.rnd.IntN(oltpRows) }
	if _, err := c.conn.Execute("BEGIN"); err != nil {
		return err
	}
	for range 1 + c.rnd.IntN(2) {
		t := oltpTable(1 + c.rnd.IntN(oltpTables))
		from, gone := id(), id()
		steps := []func() error{
			func() error { return c.exec(t, "", 0, fmt.Sprintf("SELECT c FROM %s WHERE id = %d", t, id())) },
			func() error {
				return c.exec(t, "", 0, fmt.Sprintf("SELECT sum(k) FROM %s WHERE id BETWEEN %d AND %d", t, from, from+99))
			},
			func() error {
				n := id()
				return c.exec(t, "u", n, fmt.Sprintf("UPDATE %s SET k = k + 1 WHERE id = %d", t, n))
			},
			func() error {
				n := id()
				return c.exec(t, "u", n, fmt.Sprintf("UPDATE %s SET c = '%s', amount = amount + 0.01, at = now(6) WHERE id = %d", t, strings.Repeat(fmt.Sprint(c.rnd.Uint32()), 3), n))
			},
			func() error { return c.exec(t, "d", gone, fmt.Sprintf("DELETE FROM %s WHERE id = %d", t, gone)) },
			func() error {
				return c.exec(t, "c", gone, fmt.Sprintf("INSERT IGNORE INTO %s (id, k, c, pad, amount, at, raw) VALUES (%d, %d, 'né', NULL, -1.5, now(6), x'00ff')", t, gone, id()))
			},
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
	}
	if c.rnd.IntN(12) == 0 {
		_, err := c.conn.Execute("ROLLBACK")
		return err
	}
	ops, err := json.Marshal(c.ops)
	if err != nil {
		return err
	}
	if _, err := c.conn.Execute(fmt.Sprintf("INSERT INTO journal VALUES (%d, %d, '%s')", c.id, c.seq+1, ops)); err != nil {
		return err
	}
	if _, err := c.conn.Execute("COMMIT"); err != nil {
		return err
	}
	c.seq++
	c.load.committed.Add(1)
	return nil
}
