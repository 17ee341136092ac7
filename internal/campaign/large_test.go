package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
)

// largePatience bounds the waits for what is large.
const largePatience = 3 * time.Minute

// TestLarge gives the daemon a transaction and a value that are larger than what it wants to hold, while another connector goes on.
// TAILRACE_FULL_SIZE makes them as large as the conformance cases say: a million rows of 300 MB, 200 MB of bytea.
func TestLarge(t *testing.T) {
	full := os.Getenv("TAILRACE_FULL_SIZE") != ""
	source := servers.Private(t, "postgres15", nil)
	bin, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	limit, bytes, rows, memory := 1<<20, 2<<20, 100_000, 256
	if full {
		limit, bytes, rows, memory = 128<<20, 200<<20, 1_000_000, 512
	}
	d := newLarge(t, bin, source, limit)
	t.Run("case18_one_transaction", func(t *testing.T) {
		began := time.Now()
		d.exec("large", fmt.Sprintf("INSERT INTO t SELECT g, repeat(md5(g::text), 9) FROM generate_series(1, %d) g", rows))
		committed := time.Since(began)
		d.exec("other", "INSERT INTO t VALUES (1, 'meanwhile')")
		d.holds("other", 1)
		d.holds("large", int64(rows))
		mib := d.peak()
		t.Logf("%d rows: committed in %s, in the log after %s, peak RSS %d MiB", rows, committed, time.Since(began), mib)
		if mib > memory {
			t.Errorf("peak RSS %d MiB is over %d MiB", mib, memory)
		}
	})
	t.Run("case53_value_over_the_limit", func(t *testing.T) {
		d.exec("large", fmt.Sprintf("INSERT INTO t VALUES (-1, 'before'); INSERT INTO t (id, raw) SELECT -2, decode(repeat('ab', %d), 'hex')", bytes))
		d.exec("large", "INSERT INTO t VALUES (-3, 'after')")
		d.until(func() (bool, error) {
			list, err := d.Status(t.Context())
			for _, c := range list {
				for _, task := range c.Tasks {
					if c.Name == "large" && task.Code != "" {
						if task.Code != "RECORD_TOO_LARGE" || !strings.Contains(task.Trace, "max.message.bytes") {
							return false, fmt.Errorf("code %s: %s", task.Code, task.Trace)
						}
						return true, nil
					}
				}
			}
			return false, err
		})
		d.exec("other", "INSERT INTO t VALUES (2, 'and goes on')")
		d.holds("other", 2)
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		d.configure("column.exclude.list: public.t.raw") // what the remedy says
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		d.holds("large", int64(rows)+3)
		for _, text := range []string{"before", "after"} {
			if seen, err := d.Seen(t.Context(), "large.public.t", text); err != nil || !seen {
				t.Errorf("%s: %t, %v", text, seen, err)
			}
		}
	})
}

// large is a daemon with two connectors, on a database each.
type large struct {
	*testing.T
	*daemon.Daemon
	source *servers.Server
	limit  int
}

func newLarge(t *testing.T, bin string, source *servers.Server, limit int) *large {
	t.Helper()
	listen, err := daemon.Port()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := &large{T: t, source: source, limit: limit, Daemon: &daemon.Daemon{Bin: bin, Config: filepath.Join(dir, "connectors.yaml"), DataDir: filepath.Join(dir, "data"),
		Listen: listen, Log: filepath.Join(dir, "daemon.log")}}
	for _, db := range []string{"large", "other"} {
		if err := compare.Exec(t.Context(), source.URL, "CREATE DATABASE "+db); err != nil {
			t.Fatal(err)
		}
		d.exec(db, "CREATE TABLE t (id int PRIMARY KEY, v text, raw bytea)")
	}
	d.configure("")
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	d.until(func() (bool, error) {
		list, _ := d.Status(t.Context()) // none while it starts
		copied := 0
		for _, c := range list {
			for _, task := range c.Tasks {
				if task.Snapshot != nil && task.Snapshot.Completed {
					copied++
				}
			}
		}
		return copied == 2, daemon.Failed(list)
	})
	return d
}

// configure writes connectors.yaml, with a line more for the connector called large.
func (d *large) configure(line string) {
	d.Helper()
	text := fmt.Sprintf("version: 1\nlog:\n  type: embedded\n  max.message.bytes: %d\nconnectors:\n", d.limit)
	for _, name := range []string{"large", "other"} {
		text += fmt.Sprintf(`  - name: %[1]s
    config:
      connector.class: postgres
      topic.prefix: %[1]s
      database.hostname: 127.0.0.1
      database.port: %[2]d
      database.user: postgres
      database.dbname: %[1]s
      slot.name: %[1]s
      tombstones.on.delete: false
`, name, d.source.Port)
		if name == "large" && line != "" {
			text += "      " + line + "\n"
		}
	}
	if err := os.WriteFile(d.Config, []byte(text), 0o644); err != nil {
		d.Fatal(err)
	}
}

func (d *large) exec(database, sql string) {
	d.Helper()
	if err := compare.Exec(d.Context(), "postgres://postgres@"+d.source.Addr+"/"+database, sql); err != nil {
		d.Fatal(err)
	}
}

func (d *large) until(done func() (bool, error)) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), largePatience)
	defer cancel()
	if err := d.Until(ctx, done); err != nil {
		d.Fatal(err)
	}
}

// holds waits until the log has n records of a database's table.
func (d *large) holds(database string, n int64) {
	d.Helper()
	d.until(func() (bool, error) {
		topics, _ := d.Topics(d.Context()) // none while it starts
		for _, i := range topics {
			if i.Topic == database+".public.t" {
				if i.End > n {
					return false, fmt.Errorf("%d records instead of %d", i.End, n)
				}
				return i.End == n, nil
			}
		}
		return false, nil
	})
}

// peak returns the daemon's largest resident memory so far, in MiB.
func (d *large) peak() int {
	d.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", d.Pid()))
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kb, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kb), " kB"))
			if err != nil {
				d.Fatal(err)
			}
			return n >> 10
		}
	}
	d.Fatal("no VmHWM")
	return 0
}
