package servers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// pg15Bin is where Debian keeps PostgreSQL 15.
const pg15Bin = "/usr/lib/postgresql/15/bin"

// postgres15 is PostgreSQL 15 from Debian: trust authentication, logical decoding on, nothing synced to disk.
func postgres15() kind {
	return kind{
		name:     "postgres15",
		variable: "TAILRACE_TEST_POSTGRES15",
		packages: []string{"postgresql-15", "postgresql-contrib"},
		missing: func() error {
			for _, b := range []string{"postgres", "initdb"} {
				if _, err := os.Stat(filepath.Join(pg15Bin, b)); err != nil {
					return fmt.Errorf("PostgreSQL 15 is not installed: %w", err)
				}
			}
			return nil
		},
		prepare:  initdb,
		command:  postgresCommand,
		url:      func(s *Server) string { return "postgres://postgres@" + s.Addr + "/postgres" },
		ready:    postgresReady,
		stop:     syscall.SIGINT,  // "fast": sessions are ended
		kill:     syscall.SIGQUIT, // "immediate": no checkpoint, recovery at the next start
		unrooted: true,
	}
}

// initdb makes the cluster, unless it is there.
func initdb(ctx context.Context, s *Server) error {
	data := filepath.Join(s.Dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return nil
	}
	cmd, err := s.exec(filepath.Join(pg15Bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return ctx.Err()
}

// postgresCommand is the command line: settings for tests, then the caller's.
func postgresCommand(s *Server) []string {
	settings := map[string]string{
		"listen_addresses":          "127.0.0.1",
		"unix_socket_directories":   s.Dir,
		"wal_level":                 "logical",
		"max_wal_senders":           "40",
		"max_replication_slots":     "60",
		"max_connections":           "200",
		"fsync":                     "off",
		"full_page_writes":          "off",
		"shared_buffers":            "128MB",
		"max_wal_size":              "2GB",
		"logging_collector":         "off",
		"max_prepared_transactions": "10",
	}
	maps.Copy(settings, s.settings)
	argv := []string{filepath.Join(pg15Bin, "postgres"), "-D", filepath.Join(s.Dir, "data"), "-p", fmt.Sprint(s.Port)}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		argv = append(argv, "-c", k+"="+settings[k])
	}
	return argv
}

// postgresReady logs in. A server that answers with an error other than "starting up" is ready, too: it may have been told to
// refuse us.
func postgresReady(ctx context.Context, s *Server) error {
	c, err := pgconn.Connect(ctx, s.URL+"?sslmode=disable&connect_timeout=5")
	if err == nil {
		return c.Close(ctx)
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code != "57P03" {
		return nil
	}
	return err
}
