package servers

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// Where Debian keeps MariaDB. Its mysqld is only another name, and MySQL's are elsewhere.
const (
	mariadbd         = "/usr/sbin/mariadbd"
	mariadbInstallDB = "mariadb-install-db"
)

// mariadb10 is MariaDB 10.11 from Debian: root without a password, a binary log of rows with all metadata, nothing synced.
func mariadb10() kind {
	return kind{
		name:     "mariadb10",
		variable: "TAILRACE_TEST_MARIADB10",
		packages: []string{"mariadb-server"},
		missing: func() error {
			if _, err := os.Stat(mariadbd); err != nil {
				return fmt.Errorf("MariaDB is not installed: %w", err)
			}
			if _, err := exec.LookPath(mariadbInstallDB); err != nil {
				return fmt.Errorf("MariaDB is not installed: %w", err)
			}
			return nil
		},
		prepare:  mariadbPrepare,
		command:  mariadbCommand,
		url:      mysqlURL,
		ready:    mysqlReady,
		stop:     syscall.SIGTERM,
		kill:     syscall.SIGKILL,
		unrooted: true,
	}
}

// mariadbPrepare makes the system tables, unless they are there.
func mariadbPrepare(ctx context.Context, s *Server) error {
	data := filepath.Join(s.Dir, "data")
	if _, err := os.Stat(filepath.Join(data, "mysql")); err == nil {
		return nil
	}
	cmd, err := s.exec(mariadbInstallDB, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db",
		"--skip-name-resolve", "--datadir="+data, "--tmpdir="+s.Dir, "--innodb-flush-log-at-trx-commit=0")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", mariadbInstallDB, err, out)
	}
	return ctx.Err()
}

// mariadbCommand is the command line: settings for tests, then the caller's.
func mariadbCommand(s *Server) []string {
	settings := mysqlSettings(s)
	settings["gtid_strict_mode"] = "ON"
	settings["performance_schema"] = "OFF"
	return mysqlArguments([]string{mariadbd, "--no-defaults"}, settings, s.settings)
}

// mysqlSettings are those that MariaDB and all versions of MySQL share. What is committed is in the files when the process is
// killed, and not synced to disk.
func mysqlSettings(s *Server) map[string]string {
	return map[string]string{
		"datadir":                        filepath.Join(s.Dir, "data"),
		"port":                           fmt.Sprint(s.Port),
		"bind_address":                   "127.0.0.1",
		"socket":                         filepath.Join(s.Dir, "s.sock"),
		"tmpdir":                         s.Dir, // a server that starts removes what others have in a shared one
		"pid_file":                       filepath.Join(s.Dir, "pid"),
		"server_id":                      "1",
		"log_bin":                        "binlog",
		"binlog_format":                  "ROW",
		"binlog_row_image":               "FULL",
		"binlog_row_metadata":            "FULL",
		"sync_binlog":                    "0",
		"innodb_flush_log_at_trx_commit": "2",
		"innodb_buffer_pool_size":        "64M",
		"max_connections":                "300",
		"max_connect_errors":             "1000000", // the look whether it is ready is one
		"max_allowed_packet":             "64M",
		"default_time_zone":              "+00:00",
		"character_set_server":           "utf8mb4",
	}
}

// mysqlArguments writes settings as options, the caller's instead of the same ones for tests. An empty value leaves an
// option out.
func mysqlArguments(argv []string, settings, callers map[string]string) []string {
	maps.Copy(settings, callers)
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		if settings[k] != "" {
			argv = append(argv, "--"+k+"="+settings[k])
		}
	}
	return argv
}

func mysqlURL(s *Server) string { return "mysql://root@" + s.Addr }

// mysqlReady waits for the server's greeting, which comes when it accepts logins.
func mysqlReady(ctx context.Context, s *Server) error {
	c, err := dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.Close()
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if head[4] != 10 { // the protocol's version; 255 begins an error
		return fmt.Errorf("greets with %x", head)
	}
	_, err = io.CopyN(io.Discard, c, int64(binary.LittleEndian.Uint32(append(head[:3:3], 0)))-1)
	return err
}
