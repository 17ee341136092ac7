package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/worker"
)

var binary string // built once for all tests, by TestMain

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite the golden files")
	flag.Parse()
	os.Exit(withBinary(m.Run))
}

func withBinary(run func() int) int {
	dir, err := os.MkdirTemp("", "tailrace-cmd")
	if err == nil {
		defer os.RemoveAll(dir)
		binary, err = daemon.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// start runs a daemon of the built binary until the test ends.
func start(t *testing.T, dataDir, file string, args ...string) *daemon.Daemon {
	t.Helper()
	listen, err := daemon.Port()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon.Daemon{Bin: binary, DataDir: dataDir, Listen: listen, Log: filepath.Join(t.TempDir(), "log"),
		Args: append([]string{"serve", "--data-dir", dataDir, "--listen", listen}, args...)}
	if file != "" {
		d.Args = append(d.Args, "-c", file)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !d.Alive() {
			return
		}
		if err := d.Stop(); err != nil || d.ExitCode() != 0 {
			t.Errorf("it ended with status %d, %v: %s", d.ExitCode(), err, d.LastWords())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

// tailrace runs the built binary to its end.
func tailrace(t *testing.T, env []string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%v did not end: %s", args, out)
	}
	if err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

func TestServe(t *testing.T) {
	t.Parallel()
	t.Run("case84_one_daemon_for_a_data_directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		d := start(t, dir, "")
		for range 2 {
			out, code := tailrace(t, nil, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0")
			if code != 1 || !strings.Contains(out, "LOG_LOCKED") || !strings.Contains(out, fmt.Sprintf("process %d", d.Pid())) {
				t.Errorf("the second daemon: %d %s", code, out)
			}
		}
		if err := d.Ready(t.Context()); err != nil {
			t.Errorf("the first daemon is disturbed: %v", err)
		}
		if err := d.Kill(); err != nil {
			t.Fatal(err)
		}
		start(t, dir, "") // the lock of a daemon that was killed is no hindrance
	})
	t.Run("case95_binds", func(t *testing.T) {
		t.Parallel()
		for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
			out, code := tailrace(t, nil, "serve", "--data-dir", t.TempDir(), "--listen", listen)
			if code != 1 || !strings.Contains(out, "TAILRACE_REST_PASSWORD_FILE") {
				t.Errorf("listen on %s: %d %s", listen, code, out)
			}
		}
		d := start(t, t.TempDir(), "")
		if !strings.HasPrefix(d.Listen, "127.0.0.1:") {
			t.Errorf("listens on %s", d.Listen)
		}
	})
	t.Run("case96_only_files_of_the_configured_roots", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file, password, outside := filepath.Join(dir, "connectors.yaml"), filepath.Join(dir, "password"), filepath.Join(t.TempDir(), "password")
		text := "version: 1\nconnectors:\n"
		for name, path := range map[string]string{"inside": password, "outside": outside, "escape": filepath.Join(dir, "link"), "passwd": "/etc/passwd"} {
			text += fmt.Sprintf("  - name: %s\n    config: {connector.class: redis, topics: t, redis.uri: \"redis://127.0.0.1:1\", redis.password: \"${file:%s}\"}\n", name, path)
		}
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(password, []byte("x"), 0o600), os.WriteFile(outside, []byte("x"), 0o600),
			os.Symlink(outside, filepath.Join(dir, "link"))); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{nil, {"--secrets-dir", filepath.Dir(outside)}} {
			d := start(t, t.TempDir(), file, args...)
			for name, allowed := range map[string]bool{"inside": args == nil, "outside": args != nil, "escape": false, "passwd": false} {
				err := d.Until(t.Context(), func() (bool, error) {
					list, err := fetch[[]rest.StatusInfo](t.Context(), &client{url: d.URL(), http: http.DefaultClient}, "/tailrace/status")
					if err != nil {
						return false, err
					}
					for _, s := range list {
						if s.Name != name || len(s.Tasks) != 1 {
							continue
						}
						refused := s.Tasks[0].State == worker.Failed && strings.Contains(s.Tasks[0].Trace, "--secrets-dir")
						escapes := s.Tasks[0].State == worker.Failed && strings.Contains(s.Tasks[0].Trace, "escapes")
						tried := s.Tasks[0].Retries > 0 // nothing listens on port 1
						if allowed && (refused || escapes) || !allowed && tried {
							return false, fmt.Errorf("%s with %v: %+v", name, args, s)
						}
						return allowed && tried || !allowed && (refused || escapes), nil
					}
					return false, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("case95_credentials", func(t *testing.T) {
		t.Parallel()
		secret := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		env := []string{"TAILRACE_REST_USER=ops", "TAILRACE_REST_PASSWORD_FILE=" + secret}
		listen, err := daemon.Port()
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(listen)
		d := &daemon.Daemon{Bin: binary, Listen: listen, Env: env, Log: filepath.Join(t.TempDir(), "log"),
			Args: []string{"serve", "--data-dir", t.TempDir(), "--listen", "0.0.0.0:" + port}}
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		defer d.Stop()
		err = d.Until(t.Context(), func() (bool, error) {
			resp, err := http.Get(d.URL() + "/healthz")
			if err != nil {
				return false, nil // not yet
			}
			return resp.StatusCode == 200, resp.Body.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get(d.URL() + "/connectors")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != 401 {
			t.Errorf("without credentials: %d", resp.StatusCode)
		}
		if out, code := tailrace(t, nil, "status", "--url", d.URL()); code != 1 || !strings.Contains(out, "Set TAILRACE_REST_USER") {
			t.Errorf("%d %s", code, out)
		}
		err = d.Until(t.Context(), func() (bool, error) {
			_, code := tailrace(t, env, "status", "--url", d.URL())
			return code == 0, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("case99_slowloris_and_1GB", func(t *testing.T) {
		t.Parallel()
		d := start(t, t.TempDir(), "")
		before := resident(t, d.Pid())
		huge, err := http.NewRequest("POST", d.URL()+"/connectors", io.LimitReader(zeros{}, 1<<30))
		if err != nil {
			t.Fatal(err)
		}
		// The server may cut the connection before the client has read the answer: it must end soon either way.
		if resp, err := http.DefaultClient.Do(huge); err == nil {
			if resp.Body.Close(); resp.StatusCode != 413 {
				t.Errorf("1 GB: %d", resp.StatusCode)
			}
		}
		slow, err := net.Dial("tcp", d.Listen)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		if err := slow.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(slow); err != nil {
			t.Errorf("a request that never ends holds its connection: %v", err)
		}
		if after := resident(t, d.Pid()); after > before+64<<20 {
			t.Errorf("resident memory went from %d to %d", before, after)
		}
	})
	t.Run("case103_sigterm_ends_it_well_a_follower_too", func(t *testing.T) {
		t.Parallel()
		c := exec.CommandContext(t.Context(), binary, "serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--log-format", "json")
		stderr, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var log []string
		for dec := json.NewDecoder(stderr); ; {
			var l struct{ Level, Msg, Address string }
			if err := dec.Decode(&l); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			log = append(log, l.Msg)
			if l.Level == "ERROR" {
				t.Errorf("it logs %s", l.Msg)
			}
			if l.Msg == "serving" {
				resp, err := http.Get("http://" + l.Address + "/tailrace/records?topic=__tailrace_offsets") // follows
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if err := c.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if text, err := io.ReadAll(resp.Body); err != nil || len(text) > 0 {
					t.Errorf("the follower got %s, %v", text, err)
				}
			}
		}
		if err := c.Wait(); err != nil {
			t.Errorf("exit: %v after %q", err, log)
		}
	})
	t.Run("case103_the_second_sigterm_ends_it_at_once", func(t *testing.T) {
		t.Parallel()
		c := exec.CommandContext(t.Context(), binary, "serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--log-format", "json")
		stderr, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for dec := json.NewDecoder(stderr); ; {
			var l struct{ Msg, Address string }
			if err := dec.Decode(&l); err != nil {
				break // it has ended
			}
			switch l.Msg {
			case "serving": // a request whose body never comes holds up the end
				conn, err := net.Dial("tcp", l.Address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, "POST /connectors HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(make([]byte, 16)); err != nil { // 100 Continue: the handler waits for the body
					t.Fatal(err)
				}
				if err := c.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			case "stopping":
				if err := c.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.Wait(); c.ProcessState.ExitCode() != 1 {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("a broken log is named", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		d := start(t, dir, "")
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		manifest := filepath.Join(dir, "MANIFEST")
		if err := os.WriteFile(manifest, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := tailrace(t, nil, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0")
		if code != 1 || !strings.Contains(out, "LOG_CORRUPT") || !strings.Contains(out, manifest) {
			t.Errorf("%d %s", code, out)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// resident returns the resident memory of a process, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Skipf("not run: memory can't be read here: %v", err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestShop is the whole line: a database, the daemon with its file, a cache, and the commands that scripts depend on.
func TestShop(t *testing.T) {
	postgres, redis := servers.Need(t, "postgres15"), servers.Need(t, "redis")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	db := database(t, ctx, postgres)
	file := filepath.Join(t.TempDir(), "connectors.yaml")
	text := fmt.Sprintf(`version: 1
connectors:
  - name: shop
    config: {connector.class: postgres, topic.prefix: shop, database.hostname: %q, database.port: %d, database.user: %q, database.dbname: %q,
             slot.name: %[4]s, slot.drop.on.stop: false, publication.name: %[4]s, table.include.list: public.t}
  - name: cache
    config: {connector.class: redis, topics.regex: 'shop\..*', redis.uri: 'redis://%[5]s', key.format: '%[4]s:${topic}:${key}', state.prefix: '%[4]s:'}
`, db.Config().Host, db.Config().Port, db.Config().User, db.Config().Database, redis)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := tailrace(t, nil, "validate", file); code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	d := start(t, t.TempDir(), file)
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	captured := func(n int64) func() (bool, error) {
		return func() (bool, error) {
			list, err := d.Topics(ctx)
			for _, i := range list {
				if i.Topic == "shop.public.t" && i.Records >= n {
					return true, err
				}
			}
			return false, err
		}
	}
	if err := d.Until(ctx, captured(2)); err != nil { // the snapshot
		t.Fatal(err)
	}
	exec(`UPDATE t SET v = 'zwei' WHERE id = 2; DELETE FROM t WHERE id = 1`)
	if err := d.Until(ctx, captured(5)); err != nil {
		t.Fatal(err)
	}
	out, code := tailrace(t, nil, "tail", "shop.public.t", "--from", "start", "--until", "end", "-o", "json", "--url", d.URL())
	if code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	var got []string
	for line := range strings.Lines(out) {
		var r struct {
			Topic             string
			Partition, Offset *int
			Timestamp         int64
			Key               json.RawMessage
			Value             *struct{ Op string }
			Headers           []json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Topic != "shop.public.t" || r.Partition == nil || r.Offset == nil || r.Timestamp == 0 || r.Headers == nil {
			t.Fatalf("%s: %v", line, err)
		}
		op := "null"
		if r.Value != nil {
			op = r.Value.Op
		}
		got = append(got, string(r.Key)+" "+op)
	}
	if want := `{"id":1} r|{"id":2} r|{"id":2} u|{"id":1} d|{"id":1} null`; strings.Join(got, "|") != want {
		t.Errorf("got %s, want %s", strings.Join(got, "|"), want)
	}
	out, code = tailrace(t, []string{"TAILRACE_URL=" + d.URL()}, "topics", "-o", "json")
	var topics []rest.TopicInfo
	if err := json.Unmarshal([]byte(out), &topics); err != nil || code != 0 || len(topics) != 1 || topics[0].Records != 5 || topics[0].Partitions != 1 {
		t.Errorf("%d %s: %v", code, out, err)
	}
	err := d.Until(ctx, func() (bool, error) {
		lags, err := d.Lag(ctx)
		return len(lags) == 1 && lags[0].Lag == 0 && lags[0].Offset == 5, err
	})
	if err != nil {
		t.Error(err)
	}
	if out, code := tailrace(t, nil, "status", "--url", d.URL()); code != 0 || strings.Count(out, "RUNNING") != 2 || !strings.Contains(out, "done, 2") {
		t.Errorf("%d %s", code, out)
	}
}

// database makes a database with a table of two rows, and drops it, with its slot, when the test ends.
func database(t *testing.T, ctx context.Context, url string) *pgx.Conn {
	t.Helper()
	admin, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("cmd_%d_%08x", os.Getpid(), crc32.ChecksumIEEE([]byte(t.Name())))
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, sql := range []string{
			"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '" + name + "' AND active",
			"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + name + "'",
			"DROP DATABASE " + name + " WITH (FORCE)",
		} {
			if _, err := admin.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
		if err := admin.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c := admin.Config().Copy()
	c.Database = name
	db, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) }) // DROP DATABASE has ended it
	if _, err := db.Exec(ctx, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two')"); err != nil {
		t.Fatal(err)
	}
	return db
}
