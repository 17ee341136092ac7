package mysql

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
)

// user makes a user with privileges, dropped at the end, and returns the properties to log in as it.
func (d *testDB) user(identified string, grants ...string) []string {
	d.Helper()
	name := "u_" + d.name[3:9]
	account := "'" + name + "'@'%'"
	d.exec("CREATE USER " + account + " " + identified)
	d.Cleanup(func() { d.exec("DROP USER " + account) })
	for _, g := range grants {
		d.exec("GRANT " + g + " TO " + account)
	}
	return []string{"database.user", name, "database.password", "se'cret"}
}

func TestPreflight(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80", "mysql97"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		check := func(want string, pairs ...string) {
			t.Helper()
			got := problemsText(d.plugin().Preflight(t.Context(), d.setup(pairs...)))
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("%q lacks %q", got, want)
			}
			if strings.Contains(got, "se'cret") {
				t.Errorf("%q has the password", got)
			}
		}
		check("")
		check("matches no table", "table.include.list", d.name+".missing")
		check("correct database.user and database.password", "database.user", "nobody", "database.password", "se'cret")
		poor := d.user("IDENTIFIED BY 'se''cret'", "SELECT ON "+d.name+".*")
		check("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.*", poor...)
		if d.flavor == mariadb {
			d.exec("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '" + poor[1] + "'")
		} else {
			d.exec("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '" + poor[1] + "'")
		}
		check("", poor...)
		other := Plugin
		if d.flavor == mysqld {
			other = MariaDB
		}
		if got := problemsText(other.Preflight(t.Context(), d.setup())); !strings.Contains(got, "use connector.class") {
			t.Errorf("the other family's connector says %q", got)
		}
	})
}

// TestLeastPrivilege: what the documentation names is enough to stream and to copy. (case 101)
func TestCase101LeastPrivilege(t *testing.T) {
	onEach(t, []string{"mariadb10", "mysql80", "mysql97", "mysql57"}, func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		src := d.open(d.user("IDENTIFIED BY 'se''cret'", "SELECT ON "+d.name+".*", "REPLICATION SLAVE, REPLICATION CLIENT ON *.*")...)
		s, err := src.Stream(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO t VALUES (1)")
		if events, _ := d.read(s, 1); showAll(events) != "c 1" {
			t.Error(showAll(events))
		}
		tables, err := src.Tables(t.Context())
		if err != nil || len(tables) != 1 {
			t.Fatalf("%v, %v", tables, err)
		}
		var b change.Batch
		if _, err := src.Scan(t.Context(), tables[0], nil, 10, &b); err != nil || showAll(b.Events) != "r 1" {
			t.Errorf("%s, %v", showAll(b.Events), err)
		}
	})
}

// TestAuthentication logs in by each plugin that the servers have, with and without TLS.
func TestAuthentication(t *testing.T) {
	for _, c := range []struct{ name, server, identified string }{
		{"caching_sha2", "mysql80", "IDENTIFIED WITH caching_sha2_password BY 'se''cret'"},
		{"sha256", "mysql80", "IDENTIFIED WITH sha256_password BY 'se''cret'"},
		{"native", "mysql57", "IDENTIFIED WITH mysql_native_password BY 'se''cret'"},
		{"caching_sha2 of MySQL 9", "mysql97", "IDENTIFIED BY 'se''cret'"},
		{"ed25519", "mariadb10", "IDENTIFIED VIA ed25519 USING PASSWORD('se''cret')"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDB(t, servers.Need(t, c.server), "")
			if c.name == "ed25519" {
				if _, err := d.conn.Execute("INSTALL SONAME 'auth_ed25519'"); err != nil && !strings.Contains(err.Error(), "already") {
					t.Fatal(err)
				}
			}
			user := d.user(c.identified, "REPLICATION CLIENT ON *.*")
			for _, mode := range []string{"disabled", "preferred", "required"} {
				if mode == "required" && c.server != "mysql97" {
					continue // no certificate, or a TLS that is no longer safe
				}
				src, err := open(t.Context(), d.setup(append(user, "database.ssl.mode", mode)...), d.flavor)
				if err != nil {
					t.Errorf("%s: %v", mode, err)
					continue
				}
				if err := src.control.do(t.Context(), func(c *conn) error {
					_, secure := c.Conn.Conn.Conn.(*tls.Conn)
					if mode == "required" && !secure || mode == "disabled" && secure {
						t.Errorf("%s: TLS is %v", mode, secure)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
				if err := src.Close(); err != nil {
					t.Error(err)
				}
			}
			wrong := append([]string{}, user...)
			wrong[3] = "wr0ng"
			if _, err := open(t.Context(), d.setup(wrong...), d.flavor); fault.Code(err) != "AUTH_FAILED" || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
}

// TestTLSRefused: a certificate that nobody vouches for is refused where it is to be checked, and so is a server without TLS
// where TLS is required. (case 100)
func TestCase100TLSRefused(t *testing.T) {
	d := newDB(t, servers.Need(t, "mysql97"), "")
	if _, err := open(t.Context(), d.setup("database.ssl.mode", "verify_identity"), mysqld); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a self-signed certificate: %v", err)
	}
	m := newDB(t, servers.Need(t, "mariadb10"), "")
	if _, err := open(t.Context(), m.setup("database.ssl.mode", "required"), mariadb); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("a server without TLS: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	s := servers.Private(t, "mariadb10", nil)
	d := newDB(t, s.URL, "")
	src := d.open("database.hostname", s.Dir+"/s.sock")
	if err := src.control.do(t.Context(), func(c *conn) error { return c.Ping() }); err != nil {
		t.Error(err)
	}
}

func TestConfiguration(t *testing.T) {
	good := map[string]string{"database.hostname": "db", "database.user": "u", "topic.prefix": "shop"}
	with := func(pairs ...string) map[string]string {
		p := map[string]string{}
		for k, v := range good {
			p[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			p[pairs[i]] = pairs[i+1]
		}
		return p
	}
	for _, c := range []struct {
		props map[string]string
		want  string
	}{
		{good, ""},
		{with("database.password", "${env:SECRET}", "table.include.list", `shop\.orders`, "schema.history.internal.kafka.topic", "h"), ""},
		{with("topic.prefix", "a b"), "topic.prefix"},
		{with("topic.prefix", strings.Repeat("p", 111)), "topic.prefix"},
		{with("database.port", "x"), "database.port"},
		{with("database.server.id", "4294967296"), "database.server.id"},
		{with("table.include.list", "a.b", "table.exclude.list", "c.d"), "table.exclude.list"},
		{with("gtid.source.includes", "a", "gtid.source.excludes", "b"), "gtid.source.excludes"},
		{with("database.ssl.truststore", "/x/trust.jks"), "Java key store"},
		{with("database.ssl.mode", "verify_ca"), "database.ssl.truststore"},
		{with("database.ssl.mode", "sometimes"), "database.ssl.mode"},
		{with("topic.naming.strategy", "com.acme.Mine"), "topic.naming.strategy"},
		{with("event.deserialization.failure.handling.mode", "skip"), "event.deserialization.failure.handling.mode"},
		{with("table.ignore.builtin", "false"), "table.ignore.builtin"},
		{with("gtid.source.filter.dml.events", "false"), "gtid.source.filter.dml.events"},
		{with("message.key.columns", "a.b"), "message.key.columns"},
		{with("message.key.columns", "a.b:x,y;c.d:z"), ""},
		{map[string]string{}, "database.hostname"},
	} {
		if got := problemsText(Plugin.Check(c.props)); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.props, got, c.want)
		}
	}
	known := map[string]bool{}
	for _, k := range append(config.CommonKeys(), Plugin.Keys...) {
		if known[k.Name] && k.Name != "name" {
			t.Errorf("%s is declared twice", k.Name)
		}
		known[k.Name] = true
		if k.Doc == "" {
			t.Errorf("%s has no documentation", k.Name)
		}
	}
	s, _ := parse(with("database.initial.statements", "SET a = 1; SET b = 'x;;y' ;"))
	if got := s.statements(); len(got) != 2 || got[1] != "SET b = 'x;y'" {
		t.Errorf("statements %q", got)
	}
	if !s.captures("shop", "t") || s.captures("mysql", "user") || s.captures("sys", "x") {
		t.Error("the system's tables are captured, or others are not")
	}
}
