package golden

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/go-mysql-org/go-mysql/client"

	"github.com/tailrace/tailrace/internal/servers"
)

// recordedName is what the database is called in the scenarios.
const recordedName = "refdb"

// mysql is a database of its own on a shared server, of MySQL or MariaDB.
type mysql struct {
	url    *url.URL
	name   string
	conn   *client.Conn
	target place // as far as the connector must have read
}

// place is a place in a binary log. Names of files grow with their numbers. MySQL's connector begins in a file before the
// transactions that it has, so there they count.
type place struct {
	File  string `json:"file"`
	Pos   uint64 `json:"pos"`
	GTIDs string `json:"gtids"`
}

func newMySQL(t *testing.T, server string) *mysql {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	db := &mysql{url: u, name: "golden_" + strings.ToLower(rand.Text()[:10])}
	if db.conn, err = client.Connect(u.Host, u.User.Username(), "", ""); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"SET NAMES utf8mb4", "CREATE DATABASE " + db.name, "USE " + db.name} {
		if _, err := db.conn.Execute(sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := db.conn.Execute("DROP DATABASE " + db.name); err != nil {
			t.Error(err)
		}
		db.conn.Close()
	})
	return db
}

func (m *mysql) Setup(ctx context.Context, sql string) error { return m.Exec(ctx, sql) }

// comment is what MySQL's client removes from statements.
var comment = regexp.MustCompile(`/\*[^!+].*?\*/`)

// Exec runs SQL in a session of its own, as the client does that it was written for.
func (m *mysql) Exec(_ context.Context, sql string) error {
	c, err := client.Connect(m.url.Host, m.url.User.Username(), "", m.name)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, s := range append([]string{"SET NAMES utf8mb4"}, Statements(sql, true)...) {
		if _, err := c.Execute(comment.ReplaceAllString(s, "")); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	r, err := m.conn.Execute("SHOW MASTER STATUS")
	if err != nil { // MySQL 8.4 and later
		r, err = m.conn.Execute("SHOW BINARY LOG STATUS")
	}
	if err != nil {
		return err
	}
	if m.target.File, err = r.GetString(0, 0); err != nil {
		return err
	}
	if m.target.Pos, err = r.GetUint(0, 1); err != nil || r.ColumnNumber() < 5 {
		return err
	}
	m.target.GTIDs, err = r.GetString(0, 4)
	return err
}

func (m *mysql) Properties() map[string]string {
	host, port, _ := net.SplitHostPort(m.url.Host)
	return map[string]string{"database.hostname": host, "database.port": port, "database.user": m.url.User.Username(), "database.password": "",
		"database.server.id": "0"}
}

func (m *mysql) Caught(_ context.Context, offset json.RawMessage) (bool, error) {
	var at place
	if offset == nil {
		return false, nil
	}
	if err := json.Unmarshal(offset, &at); err != nil {
		return false, err
	}
	if m.target.GTIDs != "" {
		r, err := m.conn.Execute(fmt.Sprintf("SELECT GTID_SUBSET('%s', '%s')", m.target.GTIDs, at.GTIDs))
		if err != nil {
			return false, err
		}
		n, err := r.GetInt(0, 0)
		return n == 1, err
	}
	return at.File > m.target.File || at.File == m.target.File && at.Pos >= m.target.Pos, nil
}

// replayMySQL replays the scenarios of a folder on a server. Those that are about all transactions of a server have one of
// their own.
func replayMySQL(t *testing.T, name string, f family) {
	server := servers.Need(t, name)
	f.missing = func(error) bool { return false }
	f.alone = map[string]bool{"multi_row_index_txmeta": true, "txmeta_ddl": true, "snapshot_initial_schema_changes": true}
	own := sync.OnceValue(func() string { return servers.Private(t, name, nil).URL })
	f.open = func(t *testing.T, s Scenario) (Database, Scenario) {
		addr := server
		if f.alone[s.Name] {
			addr = own()
		}
		db := newMySQL(t, addr)
		return db, s.Rename(recordedName, db.name)
	}
	f.replay(t)
}

func TestMySQL(t *testing.T) {
	replayMySQL(t, "mysql80", family{dir: "testdata/mysql", table: mysqlDifferences(), later: laterMySQL()})
}

func TestMariaDB(t *testing.T) {
	replayMySQL(t, "mariadb10", family{dir: "testdata/maria", table: mariaDifferences(), later: laterMariaDB(),
		now: map[string]string{"heartbeat": "ts"}})
}

// TestMySQLDerived and TestMariaDBDerived replay scenarios that no Debezium recorded, as TestPostgresDerived does.
func TestMySQLDerived(t *testing.T) {
	replayMySQL(t, "mysql80", family{dir: "testdata/mysql-derived"})
}

func TestMariaDBDerived(t *testing.T) {
	replayMySQL(t, "mariadb10", family{dir: "testdata/maria-derived"})
}

// laterMySQL and laterMariaDB are the scenarios that are not run, with what they are about.
func laterMySQL() map[string]string {
	return map[string]string{
		"smt_unwrap":                    "the transform ExtractNewRecordState",
		"tinyint1_to_boolean_converter": "nothing was recorded",
	}
}

func laterMariaDB() map[string]string {
	return map[string]string{
		"smt_outbox":          "the transform EventRouter",
		"types_mariadb_inet6": "its only statement is refused by the server",
	}
}
