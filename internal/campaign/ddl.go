package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/source/mysql/binlog"
	"github.com/tailrace/tailrace/source/mysql/ddl"
)

// ddlDatabases are where the random statements make their tables.
var ddlDatabases = []string{"ddl_a", "ddl_b"}

// ddlVerdict is what a run of random DDL statements came to.
type ddlVerdict struct {
	statements int // that the server accepted
	refused    int
	unknown    int // effects on tables that the tracker gave up; their structure was read again
	wrong      []string
}

func (v *ddlVerdict) String() string {
	return fmt.Sprintf("%d statements followed, %d refused by the server, %d tables read again, %d structures wrong",
		v.statements, v.refused, v.unknown, len(v.wrong))
}

// A ddlRun compares what package ddl makes of the statements in a server's log with its information_schema, after each.
type ddlRun struct {
	verdict ddlVerdict
	conn    *mysqlclient.Conn
	dialect ddl.Dialect
	in      *replication.BinlogStreamer
	dec     binlog.Decoder
	known   ddl.Schemas
	maker   *ddlMaker
	file    string
	pos     uint32 // the end of the log
	at      uint32 // how far it was followed
}

// randomDDL runs n random statements on a server at the address, and follows them in its log.
func randomDDL(ctx context.Context, address string, n int, seed uint64) (*ddlVerdict, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return nil, err
	}
	conn, err := mysqlclient.Connect(u.Host, "root", "", "")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r := &ddlRun{conn: conn, dialect: dialectOf(conn.GetServerVersion()), maker: &ddlMaker{random: rand.New(rand.NewPCG(seed, 61))}}
	for _, q := range []string{"set names utf8mb4", "set session sql_mode = ''", "drop database if exists " + ddlDatabases[0], "drop database if exists " + ddlDatabases[1]} {
		if _, err := conn.Execute(q); err != nil {
			return nil, err
		}
	}
	if err := r.status(); err != nil {
		return nil, err
	}
	r.at = r.pos
	flavor := mysql.MySQLFlavor
	if r.dialect.MariaDB {
		flavor = mysql.MariaDBFlavor
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{ServerID: 900000 + uint32(seed%90000), Flavor: flavor, Host: u.Hostname(),
		Port: uint16(port), User: "root", RawModeEnabled: true, Logger: slog.New(slog.DiscardHandler)})
	defer syncer.Close()
	if r.in, err = syncer.StartSync(mysql.Position{Name: r.file, Pos: r.pos}); err != nil {
		return nil, err
	}
	for _, name := range ddlDatabases {
		if err := r.step(ctx, "create database "+name+" character set "+r.maker.pick("utf8mb4", "latin1")); err != nil {
			return nil, err
		}
	}
	for i := 0; i < n && len(r.verdict.wrong) < 10; i++ {
		r.maker.tables = r.known.Tables()
		r.maker.known = &r.known
		if err := r.step(ctx, r.maker.statement()); err != nil {
			return nil, err
		}
	}
	for _, name := range ddlDatabases {
		if _, err := conn.Execute("drop database if exists " + name); err != nil {
			return nil, err
		}
	}
	return &r.verdict, nil
}

func (r *ddlRun) status() error {
	s, err := r.conn.Execute("show master status")
	if err != nil {
		s, err = r.conn.Execute("show binary log status") // MySQL 8.4 and later
	}
	if err != nil {
		return err
	}
	file, err1 := s.GetString(0, 0)
	pos, err2 := s.GetUint(0, 1)
	r.file, r.pos = file, uint32(pos)
	return errors.Join(err1, err2)
}

// step runs a statement, follows what the log has of it, and compares.
func (r *ddlRun) step(ctx context.Context, statement string) error {
	_, err := r.conn.Execute(statement)
	var refusal *mysql.MyError
	switch {
	case errors.As(err, &refusal):
		r.verdict.refused++
	case err != nil:
		return fmt.Errorf("%s: %w", statement, err)
	default:
		r.verdict.statements++
	}
	if err := r.status(); err != nil {
		return err
	}
	for r.at < r.pos {
		if err := r.event(ctx); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return r.compare(statement)
}

// event follows the next event.
func (r *ddlRun) event(ctx context.Context) error {
	raw, err := r.in.GetEvent(ctx)
	if err != nil {
		return err
	}
	var e binlog.Event
	if err := r.dec.Decode(raw.RawData, &e); err != nil {
		return err
	}
	r.at = max(r.at, e.Header.End)
	if e.Kind == binlog.KindQuery {
		return r.apply(&e.Query)
	}
	return nil
}

func (r *ddlRun) apply(q *binlog.Query) error {
	charset, _ := binlog.CharsetName(q.Client)
	server, _ := binlog.CharsetName(q.Server)
	text, ok, err := new(binlog.Charsets).Append(nil, charset, q.Statement)
	if err != nil || !ok {
		return fmt.Errorf("statement in charset %s: %w", charset, err)
	}
	d := r.dialect
	d.AnsiQuotes, d.NoBackslash = q.SQLMode&binlog.ModeANSIQuotes != 0, q.SQLMode&binlog.ModeNoBackslashEscapes != 0
	d.ImplicitTimestamps, d.Charset = q.ImplicitTimestamps, server
	e := r.known.Apply(ddl.Statement{Text: string(text), Database: string(q.Schema), Failed: q.Error != 0}, d)
	for _, n := range e.Unknown {
		r.verdict.unknown++
		t, err := r.catalog(n)
		if err != nil {
			return err
		}
		if t != nil {
			r.known.Set(t)
		}
	}
	return nil
}

// catalog reads the structure of a table, nil if there is none.
func (r *ddlRun) catalog(n ddl.Name) (*ddl.Table, error) {
	collation := "collation_name"
	if r.dialect.MariaDB {
		collation = "full_collation_name"
	}
	res, err := r.conn.Execute(fmt.Sprintf("select column_name, column_type, ifnull(character_set_name, ''), is_nullable, column_key, extra, ifnull((select character_set_name"+
		" from information_schema.tables t join information_schema.collation_character_set_applicability a on a.%s = t.table_collation where t.table_schema = c.table_schema"+
		" and t.table_name = c.table_name limit 1), '') from information_schema.columns c where table_schema = '%s' and table_name = '%s' order by ordinal_position", collation, n.Database, n.Table))
	if err != nil || res.RowNumber() == 0 {
		return nil, err
	}
	t := &ddl.Table{Name: n}
	for i := range res.RowNumber() {
		var s [7]string
		for k := range s {
			s[k], _ = res.GetString(i, k)
		}
		c, err := binlog.ParseColumn(s[0], s[1], s[2], s[3] == "YES")
		if err != nil {
			return nil, err
		}
		c.Invisible = strings.Contains(s[5], "INVISIBLE")
		t.Columns, t.Charset = append(t.Columns, c), cmp.Or(map[string]string{"utf8": "utf8mb3"}[s[6]], s[6])
	}
	key, err := r.conn.Execute(fmt.Sprintf("select column_name from information_schema.statistics where table_schema = '%s' and table_name = '%s' and index_name = 'PRIMARY' order by seq_in_index",
		n.Database, n.Table))
	if err != nil {
		return nil, err
	}
	for i := range key.RowNumber() {
		s, _ := key.GetString(i, 0)
		t.Key = append(t.Key, s)
	}
	return t, nil
}

// compare finds structures that differ from the server's.
func (r *ddlRun) compare(statement string) error {
	res, err := r.conn.Execute("select table_schema, table_name from information_schema.tables where table_schema in ('" + strings.Join(ddlDatabases, "', '") + "') and table_type = 'BASE TABLE'")
	if err != nil {
		return err
	}
	there := map[ddl.Name]bool{}
	for i := range res.RowNumber() {
		database, _ := res.GetString(i, 0)
		table, _ := res.GetString(i, 1)
		n := ddl.Name{Database: database, Table: table}
		there[n] = true
		want, err := r.catalog(n)
		if err != nil {
			return err
		}
		if got := r.known.Table(n); ddlShape(got) != ddlShape(want) {
			r.verdict.wrong = append(r.verdict.wrong, fmt.Sprintf("%s\n  after %s\n  tracked %s\n  server  %s", n, statement, ddlShape(got), ddlShape(want)))
			r.known.Set(want)
		}
	}
	for _, n := range r.known.Tables() {
		if !there[n] {
			r.verdict.wrong = append(r.verdict.wrong, fmt.Sprintf("%s is tracked and not there, after %s", n, statement))
			r.known.Forget(n)
		}
	}
	return nil
}

// ddlShape writes what rows are read by. Display widths of numbers are not.
func ddlShape(t *ddl.Table) string {
	if t == nil {
		return "(not tracked)"
	}
	var b strings.Builder
	for _, c := range t.Columns {
		if k := c.Type().Bits; k != 0 {
			c.Length = 0
		}
		fmt.Fprintf(&b, "%+v ", c)
	}
	return fmt.Sprintf("%skey %v charset %s", b.String(), t.Key, t.Charset)
}

// dialectOf reads the version that a server greets with.
func dialectOf(version string) ddl.Dialect {
	version = strings.TrimPrefix(version, "5.5.5-") // how MariaDB begins for old replicas
	var major, minor, patch int
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch)
	return ddl.Dialect{MariaDB: strings.Contains(version, "MariaDB"), Version: major*10000 + minor*100 + patch}
}

// ddlCampaign runs on a private server.
func ddlCampaign(ctx context.Context, db string, n int, seed uint64) (*ddlVerdict, error) {
	name, _, _, err := binlogServer(db)
	if err != nil {
		return nil, err
	}
	server, err := servers.Start(ctx, name, servers.Options{})
	if err != nil {
		return nil, err
	}
	v, err := randomDDL(ctx, "mysql://root@"+server.Addr, n, seed)
	return v, errors.Join(err, server.Stop())
}
