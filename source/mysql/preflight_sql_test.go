package mysql

import (
	"regexp"
	"strings"
	"testing"
)

// printedSQL is a statement as a preflight prints it.
var printedSQL = regexp.MustCompile(`SET GLOBAL \w+ = (?:'\w+'|\w+)|GRANT [A-Z, ]+ ON \S+ TO '[^']*'@'[^']*'`)

// TestPreflightSQL: the statements that a preflight prints run as they stand, and nothing is left to be said after them.
func TestPreflightSQL(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		user := "p_" + d.name[3:9]
		account := "'" + user + "'@'127.0.0.1'"
		d.exec("CREATE USER " + account + " IDENTIFIED BY 'se''cret'; GRANT SELECT ON " + d.name + ".* TO " + account)
		defer d.exec("DROP USER " + account)
		was := map[string]string{}
		spoil := func(name, value string) {
			t.Helper()
			if r, err := d.conn.row("SHOW GLOBAL VARIABLES LIKE '" + name + "'"); err != nil || r == nil {
				return
			} else if _, ok := was[name]; !ok {
				was[name] = r[1]
			}
			d.exec("SET GLOBAL " + name + " = " + value)
		}
		defer func() {
			for _, name := range []string{"binlog_expire_logs_seconds", "expire_logs_days", "binlog_row_metadata", "server_id"} {
				if value, ok := was[name]; ok {
					d.exec("SET GLOBAL " + name + " = " + value)
				}
			}
		}()
		spoil("binlog_row_image", "'MINIMAL'")
		spoil("binlog_format", "'STATEMENT'")
		spoil("binlog_row_metadata", "'MINIMAL'")
		if d.flavor == mysqld {
			spoil("server_id", "0")
			for _, step := range []string{"ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"} {
				spoil("gtid_mode", step)
			}
		}
		expiry := "binlog_expire_logs_seconds"
		if r, err := d.conn.row("SHOW GLOBAL VARIABLES LIKE '" + expiry + "'"); err != nil || r == nil {
			spoil("expire_logs_days", "1")
		} else {
			spoil(expiry, "3600")
		}

		preflight := func() string {
			return problemsText(d.plugin().Preflight(t.Context(), d.setup("database.user", user, "database.password", "se'cret", "table.include.list", d.name+".t")))
		}
		said := preflight()
		for _, about := range []string{"binlog_row_image is MINIMAL", "binlog_format is STATEMENT", "binary logs are kept", account, "may not ask where the binary log is (ERROR 1227 (42000): Access denied; you need"} {
			if !strings.Contains(said, about) {
				t.Errorf("nothing about %q in %s", about, said)
			}
		}
		statements := printedSQL.FindAllString(said, -1)
		for _, sql := range statements {
			d.exec(sql)
		}
		after := preflight()
		if _, ok := was["binlog_row_metadata"]; !ok { // MySQL 5.7: an upgrade is the only way
			first, rest, _ := strings.Cut(after, "\n")
			if !strings.Contains(first, "upgrade the server") || rest != "" {
				t.Errorf("after %q:\n%s", statements, after)
			}
		} else if after != "" {
			t.Errorf("after %q:\n%s", statements, after)
		}
	})
}
