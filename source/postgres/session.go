package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
)

// pinned are the settings of all our sessions, replication included. The first seven decide how values are written as
// text, and roles and databases may have their own; the rest would end a long read or an idle stream.
func pinned() map[string]string {
	return map[string]string{
		"client_encoding":                     "UTF8",
		"DateStyle":                           "ISO, MDY",
		"IntervalStyle":                       "postgres",
		"extra_float_digits":                  "3",
		"bytea_output":                        "hex",
		"TimeZone":                            "UTC",
		"search_path":                         "pg_catalog",
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
		"idle_session_timeout":                "0",
	}
}

// connConfig makes the configuration of a connection to one of the hosts. Nothing of it comes from the environment but what a
// configuration file would have to name anyway: time zones and certificates' default places.
func connConfig(s *settings, connector string, hosts []endpoint) (*pgx.ConnConfig, error) {
	var dsn strings.Builder
	var names, ports []string
	for _, e := range hosts {
		names, ports = append(names, e.host), append(ports, strconv.Itoa(e.port))
	}
	target := s.Target
	if all, err := s.hosts(); target == "" && err == nil && len(all) > 1 {
		target = "primary"
	}
	for _, kv := range [][2]string{
		{"host", strings.Join(names, ",")}, {"port", strings.Join(ports, ",")}, {"user", s.User}, {"password", s.Password.Reveal()},
		{"dbname", s.Database}, {"sslmode", s.SSLMode}, {"sslcert", s.SSLCert}, {"sslkey", s.SSLKey},
		{"sslrootcert", s.SSLRootCert}, {"sslpassword", s.SSLPassword.Reveal()}, {"target_session_attrs", cmp.Or(target, "any")},
		{"passfile", "/dev/null"},
	} {
		if kv[1] == "" && kv[0] != "password" {
			continue
		}
		v := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(kv[1])
		fmt.Fprintf(&dsn, "%s='%s' ", kv[0], v)
	}
	c, err := pgx.ParseConfig(dsn.String())
	if err != nil {
		return nil, fault.Permanent("CONFIG_INVALID", "correct the database.* properties", errors.New("connection settings: "+cause(err)))
	}
	c.ConnectTimeout = s.Connect
	c.DialFunc = dialer(s).DialContext
	c.RuntimeParams = pinned()
	c.RuntimeParams["application_name"] = appName(connector)
	c.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	return c, nil
}

// cause returns the innermost message of err: pgconn's own text shows the connection string.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// appName is how our sessions appear in pg_stat_activity, cut to what the server keeps.
func appName(connector string) string {
	name := "tailrace " + connector
	return name[:min(len(name), 63)]
}

// aliveAfter bounds how long a server that is gone without a word goes unnoticed: idle connections are probed, and bytes that it does not
// confirm end them. The server's own silence says nothing: it may have much to decode and nothing to send.
const aliveAfter = 30 * time.Second

func dialer(s *settings) *net.Dialer {
	if !s.TCPKeepAlive {
		return &net.Dialer{KeepAlive: -1}
	}
	return &net.Dialer{Control: confirmWithin(aliveAfter),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: aliveAfter / 2, Interval: aliveAfter / 6, Count: 3}}
}

// connect opens a connection for queries. With plain the search_path is the role's.
func connect(ctx context.Context, s *settings, connector string, plain bool) (*pgx.Conn, error) {
	hosts, err := s.hosts()
	if err != nil {
		return nil, err
	}
	return connectTo(ctx, s, connector, plain, hosts)
}

func connectTo(ctx context.Context, s *settings, connector string, plain bool, hosts []endpoint) (*pgx.Conn, error) {
	c, err := connConfig(s, connector, hosts)
	if err != nil {
		return nil, err
	}
	if plain {
		delete(c.RuntimeParams, "search_path")
	}
	buffered(&c.Config, chunkBuffer)
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, explain(s, err)
	}
	return conn, nil
}

// gatherBuffer is what one read of a replication connection takes at most, in bytes.
const gatherBuffer = 64 << 10

// dialReplication opens a replication connection. Which of several hosts is the one to connect to is asked over ordinary connections:
// a walsender answers no such question.
func dialReplication(ctx context.Context, s *settings, connector string) (*pgconn.PgConn, error) {
	hosts, err := s.hosts()
	if err != nil {
		return nil, err
	}
	if len(hosts) > 1 {
		if hosts, err = choose(ctx, s, connector, hosts); err != nil {
			return nil, err
		}
	}
	c, err := connConfig(s, connector, hosts)
	if err != nil {
		return nil, err
	}
	c.RuntimeParams["replication"] = "database"
	c.ValidateConnect = nil
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { // a walsender sends each message by itself
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return source.Gather(conn), nil
	}
	buffered(&c.Config, gatherBuffer)
	conn, err := pgconn.ConnectConfig(ctx, &c.Config)
	if err != nil {
		return nil, explain(s, err)
	}
	return conn, nil
}

// choose returns the first of the hosts that can be connected to and is of the kind that is asked for.
func choose(ctx context.Context, s *settings, connector string, hosts []endpoint) ([]endpoint, error) {
	var errs []error
	for i := range hosts {
		conn, err := connectTo(ctx, s, connector, false, hosts[i:i+1])
		if err == nil {
			return hosts[i : i+1], conn.Close(ctx)
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// A session is a connection for queries that is opened when it is needed and again after it broke. Its users take turns.
type session struct {
	settings  *settings
	connector string
	plain     bool // the search_path is the role's
	turn      sync.Mutex
	conn      *pgx.Conn
	usedAt    time.Time
	closed    bool
}

// doubtAfter is how long a connection may rest before it is asked whether it is still there.
const doubtAfter = time.Second

// do runs f with the connection. It blocks while another user has it. A connection that broke, also while it rested, is
// replaced; when it breaks under f, f is not run again.
func (s *session) do(ctx context.Context, f func(*pgx.Conn) error) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed {
		return errors.New("source is closed")
	}
	if s.conn != nil && time.Since(s.usedAt) > doubtAfter && s.conn.Ping(ctx) != nil {
		_ = s.conn.Close(ctx) // it is broken: nobody needs to hear it twice
	}
	defer func() { s.usedAt = time.Now() }()
	if s.conn == nil || s.conn.IsClosed() {
		var err error
		if s.conn, err = connect(ctx, s.settings, s.connector, s.plain); err != nil {
			s.conn = nil
			return err
		}
	}
	return explain(s.settings, f(s.conn))
}

// close waits for the user of the connection and closes it.
func (s *session) close(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}

// explain marks the errors that no retry cures and says what to do about them. All others are returned as they are,
// without the connection string.
func explain(s *settings, err error) error {
	if err == nil || fault.IsPermanent(err) {
		return err
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		var c *pgconn.ConnectError
		if errors.As(err, &c) {
			return fmt.Errorf("cannot connect to %s port %d: %w", s.Host, s.Port, errors.Unwrap(c))
		}
		return err
	}
	what := fmt.Errorf("%s (SQLSTATE %s)", e.Message, e.Code)
	switch e.Code {
	case "28P01":
		return fault.Permanent("AUTH_FAILED", "correct database.user and database.password", what)
	case "28000":
		if strings.Contains(e.Message, "pg_hba.conf") {
			return fault.Permanent("AUTH_FAILED", "add to the server's pg_hba.conf the line: host "+ident(s.Database)+" "+ident(s.User)+
				" ADDRESS scram-sha-256, with the address of this host in place of ADDRESS, and run SELECT pg_reload_conf()", what)
		}
		return fault.Permanent("AUTH_FAILED", "correct database.user and database.password", what)
	case "42704":
		if strings.Contains(e.Message, "idle_session_timeout") {
			return fault.Permanent("SERVER_TOO_OLD", "upgrade the server to PostgreSQL 14 or later", what)
		}
	case "3D000":
		return fault.Permanent("DATABASE_MISSING", "correct database.dbname or create the database", what)
	case "42501":
		for _, start := range []string{"must be superuser or replication role", "permission denied to start WAL sender", "permission denied to use replication slots"} {
			if strings.HasPrefix(e.Message, start) {
				return fault.Permanent("NO_REPLICATION", service{}.letReplicate(s.User)+" (on Amazon RDS GRANT rds_replication TO "+ident(s.User)+")", what)
			}
		}
		return fault.Permanent("PERMISSION_DENIED", "grant the role "+ident(s.User)+" what the message names", what)
	case "55000":
		if strings.Contains(e.Message, "wal_level") {
			return fault.Permanent("WAL_LEVEL", walLevelRemedy, what)
		}
	case "53400":
		if strings.Contains(e.Message, "replication slots") {
			return fault.Permanent("SLOTS_EXHAUSTED", dropUnused+", or raise max_replication_slots with ALTER SYSTEM SET and restart the server", what)
		}
	}
	return err
}

const (
	walLevelRemedy = "run ALTER SYSTEM SET wal_level = 'logical' and restart the server"
	dropUnused     = "drop one that nobody needs, such as by SELECT pg_drop_replication_slot('NAME')"
)

// ident quotes an identifier.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// qualified quotes schema.table.
func qualified(schema, table string) string { return ident(schema) + "." + ident(table) }

// literal quotes a string constant. A backslash is an ordinary character, as standard_conforming_strings has it.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
