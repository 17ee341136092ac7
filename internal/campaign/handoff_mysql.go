package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/source"
	mysqlsource "github.com/tailrace/tailrace/source/mysql"
)

// tick is a number that only grows from one row that is written to the next one of the same key: the server's clock in
// microseconds, read when the row is written.
const tick = "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)"

// mysqlSchema makes the tables as handoffSchema does; sessions decide whether unchanged columns are logged.
func mysqlSchema(db string) []string {
	digits := "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	series := func(n int) string {
		return fmt.Sprintf("(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 1 i FROM %[1]s a, %[1]s b, %[1]s c, %[1]s e) s WHERE i <= %[2]d", digits, n)
	}
	return []string{"CREATE DATABASE " + db + " CHARACTER SET utf8mb4", "USE " + db,
		"CREATE TABLE item (id bigint PRIMARY KEY, n int, ver bigint NOT NULL, doc text)",
		"CREATE TABLE pair (a varchar(40), b int, ver bigint NOT NULL, v text, PRIMARY KEY (b, a)) COLLATE utf8mb4_unicode_ci",
		"CREATE TABLE whole (id varchar(20) PRIMARY KEY, ver bigint NOT NULL, doc text)",
		"CREATE TABLE bag (v int, ver bigint, KEY (v))",
		"INSERT INTO item SELECT i, i, " + tick + ", IF(i % 3 = 0, REPEAT(CHAR(65 + i % 26), 3000), NULL) FROM " + series(handoffRows),
		"INSERT INTO pair SELECT CONCAT(ELT(1 + i % 4, 'a', 'B', 'ä', 'z'), i), i % 7, " + tick + ", 'v' FROM " + series(handoffRows),
		"INSERT INTO whole SELECT CONCAT('w', i), " + tick + ", REPEAT('x', 2500) FROM " + series(handoffRows/3),
		"INSERT INTO bag SELECT i % 10, " + tick + " FROM " + series(handoffRows/3)}
}

// mysqlFamily is MariaDB or MySQL.
type mysqlFamily struct {
	server *servers.Server
	plugin source.Plugin
}

var _ family = mysqlFamily{}

func newMySQLFamily(s *servers.Server, database string) mysqlFamily {
	if strings.HasPrefix(database, "mariadb") {
		return mysqlFamily{s, mysqlsource.MariaDB}
	}
	return mysqlFamily{s, mysqlsource.Plugin}
}

func (f mysqlFamily) dial(ctx context.Context, name string) (*mysqlclient.Conn, error) {
	var d net.Dialer
	conn, err := mysqlclient.ConnectWithDialer(ctx, "tcp", f.server.Addr, "root", "", name, d.DialContext,
		func(c *mysqlclient.Conn) error { return c.SetCapability(mysql.CLIENT_MULTI_STATEMENTS) })
	if err != nil {
		return nil, err
	}
	return conn, conn.SetCharset("utf8mb4")
}

func (f mysqlFamily) create(ctx context.Context, name string) error {
	return f.run(ctx, mysqlSchema(name)...)
}

func (f mysqlFamily) drop(ctx context.Context, name string) error {
	return f.run(ctx, "DROP DATABASE "+name)
}

func (f mysqlFamily) run(ctx context.Context, statements ...string) (err error) {
	conn, err := f.dial(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, sql := range statements {
		if _, err := conn.Execute(sql); err != nil {
			return fmt.Errorf("%.60s: %w", sql, err)
		}
	}
	return nil
}

func (f mysqlFamily) source(name string) (source.Plugin, map[string]string, error) {
	host, port, err := net.SplitHostPort(f.server.Addr)
	return f.plugin, map[string]string{"database.hostname": host, "database.port": port, "database.user": "root", "database.password": "",
		"database.include.list": name, "include.schema.changes": "false"}, err
}

type mysqlSession struct{ *mysqlclient.Conn }

// connect opens a connection. One of six logs of an update only what has changed: each change of a key then costs the connector a read
// of that row, which a server can answer some hundred times a second.
func (f mysqlFamily) connect(ctx context.Context, name string) (session, error) {
	conn, err := f.dial(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET SESSION innodb_lock_wait_timeout = 2",
		"SET SESSION binlog_row_image = IF(CONNECTION_ID() % 6 = 0, 'MINIMAL', 'FULL')"} {
		if _, err := conn.Execute(sql); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return mysqlSession{conn}, nil
}

func (s mysqlSession) exec(_ context.Context, sql string) error {
	_, err := s.Execute(sql)
	return err
}

func (s mysqlSession) batch(_ context.Context, statements []string) (committed int, err error) {
	done := 0
	var failed error
	_, err = s.ExecuteMultiple(strings.Join(statements, ";"), func(_ *mysql.Result, err error) {
		if failed = err; err == nil && statements[done] == "COMMIT" {
			committed++
		}
		done++
	})
	return committed, errors.Join(err, failed)
}

func (s mysqlSession) affect(_ context.Context, sql string) (int64, error) {
	r, err := s.Execute(sql)
	if err != nil {
		return 0, err
	}
	return int64(r.AffectedRows), nil
}

func (s mysqlSession) numbers(_ context.Context, sql string) (list []int64, err error) {
	r, err := s.Execute(sql)
	if err != nil {
		return nil, err
	}
	for i := range r.RowNumber() {
		n, err := r.GetInt(i, 0)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (s mysqlSession) close(context.Context) error { return s.Close() }

func (mysqlFamily) twoPhase(gid string) phases {
	return phases{begin: "XA START " + gid, prepare: []string{"XA END " + gid, "XA PREPARE " + gid}, commit: "XA COMMIT " + gid, rollback: "XA ROLLBACK " + gid,
		abandon: []string{"XA END " + gid, "XA ROLLBACK " + gid}}
}

func (mysqlFamily) brisk() []string {
	return []string{"SET SESSION binlog_row_image = 'FULL'", "SET SESSION innodb_lock_wait_timeout = 1"}
}

func (mysqlFamily) refused(err error) bool {
	var e *mysql.MyError
	return errors.As(err, &e) && slices.Contains([]uint16{mysql.ER_LOCK_DEADLOCK, mysql.ER_LOCK_WAIT_TIMEOUT, mysql.ER_DUP_ENTRY}, e.Code)
}

func (f mysqlFamily) lines(ctx context.Context, name, table string) (lines []string, err error) {
	conn, err := f.dial(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	rows, err := conn.Execute("SELECT CONCAT_WS('|', " + handoffColumns(table) + ") FROM " + table)
	if err != nil {
		return nil, err
	}
	for i := range rows.RowNumber() {
		line, err := rows.GetString(i, 0)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// statement implements family. Before a key is inserted its place is locked, so that the clock is read after who had it is done.
func (mysqlFamily) statement(c *rioter) []string {
	id, other := 1+c.rnd.IntN(handoffRows), 1+c.rnd.IntN(handoffRows)
	one := func(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }
	insert := func(table, key, values string) []string {
		return []string{"SELECT 1 FROM " + table + " WHERE id = " + key + " FOR UPDATE", "INSERT IGNORE INTO " + table + " VALUES (" + key + ", " + values + ")"}
	}
	key := fmt.Sprint(id)
	switch c.kind(13, 3) {
	case 0, 1:
		return one("UPDATE item SET n = n + 1, ver = %s WHERE id = %d", tick, id)
	case 2:
		return one("UPDATE item SET doc = REPEAT('%c', 2000 + %d), ver = %s WHERE id = %d", 'a'+rune(id%26), other, tick, id)
	case 3:
		return one("DELETE FROM item WHERE id = %d", id)
	case 4:
		return insert("item", key, "0, "+tick+", REPEAT('i', 2500)")
	case 5: // the same key again
		return append(one("DELETE FROM item WHERE id = %d", id), insert("item", key, "1, "+tick+", NULL")...)
	case 6: // two rows change their keys
		low, high := min(id, other), max(id, other)
		if low == high {
			high++
		}
		aside := -low - 1000000*(1+c.id)
		return []string{fmt.Sprintf("UPDATE item SET id = %d, ver = %s WHERE id = %d", aside, tick, low),
			fmt.Sprintf("UPDATE item SET id = %d, ver = %s WHERE id = %d", low, tick, high),
			fmt.Sprintf("UPDATE item SET id = %d, ver = %s WHERE id = %d", high, tick, aside)}
	case 7: // a row gets a key that nobody had
		c.n++
		return one("UPDATE item SET id = %d, ver = %s WHERE id = %d", 10_000_000*(c.id+1)+c.n, tick, id)
	case 8:
		return one("UPDATE whole SET ver = %s WHERE id = 'w%d'", tick, id/3)
	case 9:
		key = fmt.Sprintf("'w%d'", id/3)
		return append(one("DELETE FROM whole WHERE id = %s", key), insert("whole", key, tick+", REPEAT('y', 2100)")...)
	case 10:
		return one("UPDATE pair SET v = 'w%d', ver = %s WHERE b = %d AND a LIKE '%%%d'", id, tick, other%7, other%10)
	case 11:
		return one("UPDATE pair SET a = CONCAT('m', a), ver = %s WHERE b = %d AND a LIKE '%%%d' AND LENGTH(a) < 12", tick, other%7, other%50)
	}
	return [][]string{
		one("INSERT INTO bag VALUES (%d, %s)", id%10, tick),
		one("UPDATE bag SET v = v + 1 WHERE v = %d ORDER BY ver LIMIT 1", id%10),
		one("DELETE FROM bag WHERE v = %d ORDER BY ver DESC LIMIT 1", id%10),
	}[c.rnd.IntN(3)]
}
