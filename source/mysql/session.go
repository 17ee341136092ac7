package mysql

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/internal/fault"
)

// pinned are the settings of all our sessions: they decide how values are written as text and how long statements may take, and
// servers have their own.
const pinned = "SET time_zone = '+00:00', sql_mode = '', autocommit = 1, sql_safe_updates = 0, sql_select_limit = DEFAULT, " +
	"net_read_timeout = 600, net_write_timeout = 600, wait_timeout = 28800, lock_wait_timeout = 86400, lc_messages = 'en_US' " +
	"/*M!100100 , max_statement_time = 0 */ /*!50708 , max_execution_time = 0 */" // MariaDB leaves out the latter

// A socket is a connection to the server. Each read waits so long for the server and no longer, 0: without end.
type socket struct {
	net.Conn
	patience time.Duration
	failed   error // of the last read: go-mysql keeps its text alone
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (n int, err error) {
	if s.patience > 0 {
		if err := s.SetReadDeadline(time.Now().Add(s.patience)); err != nil {
			return 0, err
		}
	}
	n, s.failed = s.Conn.Read(p)
	return n, s.failed
}

// A conn is a logged-in connection. Close may be called by any goroutine, all else by one.
type conn struct {
	*client.Conn
	raw *socket
	buf bytes.Buffer // the packet that was read last
}

// Close closes the socket: whoever reads from it gets an error.
func (c *conn) Close() error { return c.raw.Close() }

// dial connects and logs in. What the connection waits for at each read afterwards is patience.
func dial(ctx context.Context, s *settings, patience time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Connect)
	defer cancel()
	secure, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	c, err := login(ctx, s, secure)
	if err != nil && secure != nil && s.SSLMode == "preferred" && ctx.Err() == nil && !refusal(err) {
		c, err = login(ctx, s, nil) // the server has no TLS, or none that is safe
	}
	if err != nil {
		return nil, explain(s, err)
	}
	c.raw.patience = patience
	setup := []string{"SET NAMES utf8mb4", "SET character_set_results = NULL", pinned} // text comes as it is stored
	for _, sql := range append(setup, s.statements()...) {
		if _, err := c.Execute(sql); err != nil {
			return nil, errors.Join(explain(s, fmt.Errorf("prepare the session by %s: %w", sql, err)), c.Close())
		}
	}
	return c, nil
}

// refusal reports whether the server itself has said no, on a connection that is whole.
func refusal(err error) bool {
	var e *mysql.MyError
	return errors.As(err, &e)
}

func login(ctx context.Context, s *settings, secure *tls.Config) (*conn, error) {
	network, addr := "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if strings.HasPrefix(s.Host, "/") {
		network, addr, secure = "unix", s.Host, nil
	}
	c := &conn{}
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: s.KeepAlive, Idle: s.KeepAliveTime, Interval: s.KeepAliveTime}}
	if !s.KeepAlive {
		d.KeepAlive = -1
	}
	stop := func() bool { return true }
	var err error
	c.Conn, err = client.ConnectWithDialer(ctx, network, addr, s.User, s.Password.Reveal(), "",
		func(ctx context.Context, network, addr string) (net.Conn, error) {
			n, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			c.raw = &socket{Conn: n}
			stop = context.AfterFunc(ctx, func() { n.Close() }) // the login knows no context
			return c.raw, nil
		},
		func(n *client.Conn) error {
			n.SetTLSConfig(secure)
			n.UnsetCapability(mysql.CLIENT_QUERY_ATTRIBUTES)
			n.UnsetCapability(mysql.CLIENT_DEPRECATE_EOF)
			n.SetAttributes(map[string]string{"program_name": "tailrace"})
			return n.SetCollation("utf8mb4_general_ci")
		})
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		if c.raw != nil {
			err = errors.Join(err, ignoreClosed(c.raw.Close()))
		}
		return nil, err
	}
	return c, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tlsConfig makes the TLS side of a connection, nil for none.
func (s *settings) tlsConfig() (*tls.Config, error) {
	if s.SSLMode == "disabled" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.Host}
	if s.SSLTruststore != "" {
		pem, err := os.ReadFile(s.SSLTruststore)
		if err != nil {
			return nil, fault.Permanent("CONFIG_INVALID", "correct database.ssl.truststore", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Permanentf("CONFIG_INVALID", "name a PEM file in database.ssl.truststore", "%s has no certificate", s.SSLTruststore)
		}
	}
	if s.SSLKeystore != "" {
		pair, err := tls.LoadX509KeyPair(s.SSLKeystore, s.SSLKeystore)
		if err != nil {
			return nil, fault.Permanent("CONFIG_INVALID", "name a PEM file with certificate and private key in database.ssl.keystore", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if s.SSLMode == "verify_identity" {
		return c, nil
	}
	c.InsecureSkipVerify = true
	if s.SSLMode == "verify_ca" {
		roots := c.RootCAs
		c.VerifyConnection = func(state tls.ConnectionState) error { // the chain alone: the name may be another
			inner := x509.NewCertPool()
			for _, cert := range state.PeerCertificates[1:] {
				inner.AddCert(cert)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: inner})
			return err
		}
	}
	return c, nil
}

// A session is a connection for queries that is opened when it is needed and again after it broke. Its users take turns.
type session struct {
	settings *settings
	turn     sync.Mutex
	conn     *conn
	usedAt   time.Time
	closed   bool
}

// doubtAfter is how long a connection may rest before it is asked whether it is still there.
const doubtAfter = time.Second

// do runs f with the connection. It blocks while another user has it. A connection that broke, also while it rested, is
// replaced; when it breaks under f, or ctx is over, f is not run again.
func (s *session) do(ctx context.Context, f func(*conn) error) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed {
		return errors.New("source is closed")
	}
	if s.conn != nil && time.Since(s.usedAt) > doubtAfter && s.use(ctx, func(c *conn) error { return c.Ping() }) != nil {
		s.drop()
	}
	if s.conn == nil {
		c, err := dial(ctx, s.settings, s.settings.QueryTimeout)
		if err != nil {
			return err
		}
		s.conn = c
	}
	err := s.use(ctx, f)
	s.usedAt = time.Now()
	if err != nil && !refusal(err) {
		s.drop() // whatever is still to come on it is not for the next user
	}
	return explain(s.settings, err)
}

// use runs f; the connection breaks when ctx is over.
func (s *session) use(ctx context.Context, f func(*conn) error) error {
	c := s.conn
	stop := context.AfterFunc(ctx, func() { c.Close() })
	err := f(c)
	if !stop() {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

func (s *session) drop() {
	if s.conn != nil {
		_ = s.conn.Close() // it is broken: nobody needs to hear it twice
		s.conn = nil
	}
}

// close waits for the user of the connection and closes it.
func (s *session) close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	err := ignoreClosed(s.conn.Close())
	s.conn = nil
	return err
}

// row runs a query and returns its first row as text, nil if there is none.
func (c *conn) row(sql string) ([]string, error) {
	rows, err := c.rows(sql)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// rows runs a query and returns its rows as text; NULL is an empty text.
func (c *conn) rows(sql string) ([][]string, error) {
	var all [][]string
	err := c.query(sql, func(values [][]byte) error {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		all = append(all, row)
		return nil
	})
	return all, err
}

// query runs a query and calls row with the values of each row as the text protocol has them; nil is NULL. There may be
// fewer than columns. They are valid until row returns. After an error of row the connection can't be used any more, since rows are still to come.
func (c *conn) query(sql string, row func(values [][]byte) error) error {
	c.ResetSequence()
	packet := append(make([]byte, 4, 5+len(sql)), mysql.COM_QUERY)
	if err := c.WritePacket(append(packet, sql...)); err != nil {
		return err
	}
	head, err := c.packet()
	if err != nil {
		return err
	}
	if head[0] == mysql.OK_HEADER {
		return nil
	}
	columns, isNull, n := mysql.LengthEncodedInt(head)
	if isNull || n != len(head) || columns > 1<<16 {
		return fmt.Errorf("malformed answer to a query: %d bytes", len(head))
	}
	for range columns + 1 { // definitions, and the mark of their end
		if _, err := c.packet(); err != nil {
			return err
		}
	}
	values := make([][]byte, columns)
	for {
		p, err := c.packet()
		if err != nil {
			return err
		}
		if p[0] == mysql.EOF_HEADER && len(p) < 9 {
			return nil
		}
		got, err := splitRow(p, values)
		if err != nil {
			return err
		}
		if err := row(got); err != nil {
			return err
		}
	}
}

// packet reads a packet that is not empty. An error of the server comes as one. The bytes are valid until the next call.
func (c *conn) packet() ([]byte, error) {
	c.buf.Reset()
	if err := c.ReadPacketTo(&c.buf); err != nil {
		return nil, cmp.Or(c.raw.failed, err)
	}
	p := c.buf.Bytes()
	if len(p) == 0 {
		return nil, errors.New("empty packet")
	}
	if p[0] == mysql.ERR_HEADER {
		if len(p) < 9 {
			return nil, fmt.Errorf("malformed error of %d bytes", len(p))
		}
		return nil, c.HandleErrorPacket(bytes.Clone(p)) // the error keeps it
	}
	return p, nil
}

var errShortRow = errors.New("malformed row: it ends early")

// splitRow takes a row of the text protocol apart. It returns the values that are there, which may be fewer: MySQL 5.7 leaves
// out the last column of SHOW SLAVE HOSTS for a replica that is gone.
func splitRow(p []byte, values [][]byte) ([][]byte, error) {
	for i := range values {
		size, head := uint64(0), 1
		if len(p) == 0 {
			return values[:i], nil
		}
		switch p[0] {
		case 0xfb:
			values[i], p = nil, p[1:]
			continue
		case 0xfc:
			head = 3
		case 0xfd:
			head = 4
		case 0xfe:
			head = 9
		default:
			size = uint64(p[0])
		}
		if len(p) < head {
			return nil, errShortRow
		}
		for k := head - 1; k > 0; k-- {
			size = size<<8 | uint64(p[k])
		}
		if size > uint64(len(p)-head) {
			return nil, errShortRow
		}
		values[i], p = p[head:head+int(size):head+int(size)], p[head+int(size):]
	}
	if len(p) > 0 {
		return nil, errors.New("malformed row: it has more than its columns")
	}
	return values, nil
}

// explain marks the errors that no retry cures and says what to do about them. All others are returned as they are.
func explain(s *settings, err error) error {
	if err == nil || fault.IsPermanent(err) {
		return err
	}
	var e *mysql.MyError
	if !errors.As(err, &e) {
		return err
	}
	what := fmt.Errorf("%s (error %d)", e.Message, e.Code)
	switch e.Code {
	case mysql.ER_ACCESS_DENIED_ERROR, 1698:
		return fault.Permanent("AUTH_FAILED", "correct database.user and database.password", what)
	case mysql.ER_HOST_NOT_PRIVILEGED, mysql.ER_HOST_IS_BLOCKED:
		return fault.Permanent("AUTH_FAILED", "let this host in: create the user for it, or run FLUSH HOSTS if it is blocked", what)
	case mysql.ER_MUST_CHANGE_PASSWORD, 1862:
		return fault.Permanent("AUTH_FAILED", "give the user a new password with ALTER USER", what)
	case mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_TABLEACCESS_DENIED_ERROR, mysql.ER_COLUMNACCESS_DENIED_ERROR:
		return fault.Permanent("PERMISSION_DENIED", "grant the user "+s.account()+" what the message names", what)
	case mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR:
		return fault.Permanent("PERMISSION_DENIED", "run GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO "+s.account(), what)
	}
	return err
}

// account is the user as GRANT names it.
func (s *settings) account() string { return quoted(s.User) + "@'%'" }

// ident quotes an identifier.
func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// qualified quotes database.table.
func qualified(database, table string) string { return ident(database) + "." + ident(table) }

// quoted quotes a string constant, whatever the server's mode says of backslashes: the sessions have an empty one.
func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", `\0`).Replace(text) + "'"
}
