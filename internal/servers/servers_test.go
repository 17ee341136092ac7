package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestUnknownNames(t *testing.T) {
	if _, err := Start(t.Context(), "oracle", Options{}); err == nil || !strings.Contains(err.Error(), "postgres15") {
		t.Errorf("Start(oracle) = %v, want an error that lists the known names", err)
	}
	if v := Variable("oracle"); v != "" {
		t.Errorf("Variable(oracle) = %q", v)
	}
	if err := Missing("oracle"); err == nil {
		t.Error("Missing(oracle) = nil")
	}
	for _, set := range []string{"", "../x", "a/b"} {
		if _, err := Env(set); err == nil {
			t.Errorf("Env(%q) took the name", set)
		}
	}
}

func TestNeedSkipsByName(t *testing.T) {
	t.Setenv("TAILRACE_TEST_REDIS", "127.0.0.1:1")
	if got := Need(t, "redis"); got != "127.0.0.1:1" {
		t.Errorf("Need = %q", got)
	}
	t.Setenv("TAILRACE_TEST_REDIS", "")
	spy := &skipSpy{TB: t}
	func() {
		defer func() { _ = recover() }() // Skipf does not return
		Need(spy, "redis")
	}()
	if !strings.HasPrefix(spy.message, "not run: no redis: ") {
		t.Errorf("Need without an address says %q", spy.message)
	}
}

// skipSpy is a test that keeps the message of its skip.
type skipSpy struct {
	testing.TB
	message string
}

func (s *skipSpy) Skipf(format string, args ...any) {
	s.message = fmt.Sprintf(format, args...)
	panic("skipped")
}

func TestPostgresSurvivesKill(t *testing.T) {
	for _, r := range pgReleases() {
		t.Run(r.major, func(t *testing.T) { testPostgresSurvivesKill(t, "postgres"+r.major) })
	}
}

func testPostgresSurvivesKill(t *testing.T, name string) {
	s := Private(t, name, map[string]string{"max_connections": "17"})
	exec := func(sql string) string {
		t.Helper()
		c, err := pgx.Connect(t.Context(), s.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		var got string
		if err := c.QueryRow(t.Context(), sql).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := exec("show max_connections"); got != "17" {
		t.Errorf("max_connections = %s, want the caller's 17", got)
	}
	if got := exec("show wal_level"); got != "logical" {
		t.Errorf("wal_level = %s", got)
	}
	exec("with x as (select pg_logical_emit_message(true, 'a', 'b')) select 'ok'")
	url := s.URL
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if s.Pid() != 0 {
		t.Errorf("Pid = %d after Kill", s.Pid())
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.URL != url {
		t.Errorf("the address moved from %s to %s", url, s.URL)
	}
	if got := exec("show max_connections"); got != "17" {
		t.Errorf("max_connections = %s after Restart", got)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, ".s.PGSQL."+strconv.Itoa(s.Port))); err != nil {
		t.Errorf("no unix socket: %v", err)
	}
}

func TestRedisStopRemovesItsDirectory(t *testing.T) {
	s := Private(t, "redis", nil)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there", s.Dir)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func TestStartReportsWhatTheServerSaid(t *testing.T) {
	if err := Missing("redis"); err != nil {
		t.Skipf("not run: %v", err)
	}
	_, err := Start(t.Context(), "redis", Options{Settings: map[string]string{"maxmemory": "rubbish"}})
	if err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("Start = %v, want Redis's own complaint", err)
	}
}

func TestUpDownOnlyTouchesItsOwn(t *testing.T) {
	if err := Missing("redis"); err != nil {
		t.Skipf("not run: %v", err)
	}
	set := "test-" + strconv.Itoa(os.Getpid())
	var out strings.Builder
	env, err := Up(t.Context(), set, []string{"redis"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(set, &out); err != nil {
			t.Error(err)
		}
		os.RemoveAll(filepath.Join(root, "sets", set))
	})
	again, err := Up(t.Context(), set, []string{"redis"}, &out)
	if err != nil || again["TAILRACE_TEST_REDIS"] != env["TAILRACE_TEST_REDIS"] || env["TAILRACE_TEST_REDIS"] == "" {
		t.Fatalf("second Up = %v, %v; first %v", again, err, env)
	}
	r, err := readRecord(filepath.Join(root, "sets", set, "redis"))
	if err != nil {
		t.Fatal(err)
	}
	other := r
	other.Started = "1" // the number was given to another process
	if adopt(other) != nil {
		t.Error("took a foreign process for ours")
	}
	if err := Down(set, &out); err != nil {
		t.Fatal(err)
	}
	if adopt(r) != nil {
		t.Error("still running after Down")
	}
	if env, err := Env(set); err != nil || len(env) != 0 {
		t.Errorf("Env after Down = %v, %v", env, err)
	}
}

// TestDiesWithItsOwner starts a server in a process that is then killed.
func TestDiesWithItsOwner(t *testing.T) {
	if err := Missing("redis"); err != nil {
		t.Skipf("not run: %v", err)
	}
	if os.Getenv("TAILRACE_TEST_OWNER") != "" {
		s, err := Start(t.Context(), "redis", Options{Dir: os.Getenv("TAILRACE_TEST_OWNER")})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(s.Addr)
		select {} // until killed
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiesWithItsOwner$")
	cmd.Env = append(os.Environ(), "TAILRACE_TEST_OWNER="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var r record
	waitFor(t, "the server's record", func() bool {
		var err error
		r, err = readRecord(dir)
		return err == nil
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitFor(t, "the server's end", func() bool { return adopt(r) == nil })
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

func TestMariaDBSurvivesKill(t *testing.T) {
	s := Private(t, "mariadb10", map[string]string{"server_id": "7"})
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := mysqlReady(t.Context(), s); err == nil {
		t.Error("a killed server greets")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := mysqlReady(t.Context(), s); err != nil {
		t.Errorf("after Restart: %v", err)
	}
}

func TestMySQLArguments(t *testing.T) {
	got := mysqlArguments([]string{"mysqld"}, map[string]string{"a": "1", "b": "2", "c": "3"}, map[string]string{"b": "x", "c": "", "d": "4"})
	if want := "mysqld --a=1 --b=x --d=4"; strings.Join(got, " ") != want {
		t.Errorf("mysqlArguments = %q, want %q", got, want)
	}
}
