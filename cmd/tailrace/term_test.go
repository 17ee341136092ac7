package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/worker"
)

// capturing writes a file with the source connector src of the database's tables, with more properties, and returns its path.
func capturing(t *testing.T, db *pgx.Conn, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "connectors.yaml")
	c := db.Config()
	text := fmt.Sprintf(`version: 1
connectors:
  - name: src
    config: {connector.class: postgres, topic.prefix: p, database.hostname: %q, database.port: %d, database.user: %q, database.dbname: %q,
             slot.name: %[4]s, publication.name: %[4]s%s}
`, c.Host, c.Port, c.User, c.Database, more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// records counts the records of a topic.
func records(ctx context.Context, d *daemon.Daemon, name string) (int64, error) {
	list, err := d.Topics(ctx)
	for _, i := range list {
		if i.Topic == name {
			return i.Records, err
		}
	}
	return 0, err
}

// stopped ends the daemon by SIGTERM, in time and with status 0.
func stopped(t *testing.T, d *daemon.Daemon) {
	t.Helper()
	if err := d.Stop(); err != nil || d.ExitCode() != 0 {
		t.Fatalf("SIGTERM: exit status %d, %v: %s", d.ExitCode(), err, d.LastWords())
	}
	if out, code := tailrace(t, nil, "log", "verify", "--data-dir", d.DataDir); code != 0 {
		t.Errorf("the log after SIGTERM: %s", out)
	}
}

func TestSigterm(t *testing.T) {
	postgres := servers.Need(t, "postgres15")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Run("case103_in_the_snapshot", func(t *testing.T) {
		const rows = 20_000
		db := database(t, ctx, postgres)
		if _, err := db.Exec(ctx, fmt.Sprintf("TRUNCATE t; INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, %d) n", rows)); err != nil {
			t.Fatal(err)
		}
		file, dir := capturing(t, db, ", snapshot.fetch.size: 100"), t.TempDir()
		d := start(t, dir, file)
		err := d.Until(ctx, func() (bool, error) {
			n, err := records(ctx, d, "p.public.t")
			return n > 0, err
		})
		if err != nil {
			t.Fatal(err)
		}
		stopped(t, d)
		if n := offline(t, dir, "p.public.t"); n == 0 || n >= rows {
			t.Fatalf("%d of %d rows were copied when it was told to end", n, rows)
		}
		d = start(t, dir, file)
		err = d.Until(ctx, func() (bool, error) {
			list, err := d.Status(ctx)
			return len(list) == 1 && len(list[0].Tasks) == 1 && list[0].Tasks[0].Snapshot != nil && list[0].Tasks[0].Snapshot.Completed, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := records(ctx, d, "p.public.t"); n != rows || err != nil {
			t.Errorf("%d records of %d rows, %v: chunks were read twice, or not at all", n, rows, err)
		}
	})
	t.Run("case103_in_the_stream", func(t *testing.T) {
		db := database(t, ctx, postgres)
		dir, file := t.TempDir(), capturing(t, db, ", snapshot.mode: no_data")
		d := start(t, dir, file)
		err := d.Until(ctx, func() (bool, error) {
			list, err := d.Status(ctx)
			return len(list) == 1 && len(list[0].Tasks) == 1 && list[0].Tasks[0].State == worker.Running, err
		})
		if err != nil {
			t.Fatal(err)
		}
		writer, err := pgx.ConnectConfig(ctx, db.Config())
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close(ctx)
		writing, enough := context.WithCancel(ctx)
		defer enough()
		var g errgroup.Group
		g.Go(func() error {
			for n := 3; writing.Err() == nil; n++ {
				if _, err := writer.Exec(ctx, "INSERT INTO t VALUES ($1, 'x')", n); err != nil {
					return err
				}
			}
			return nil
		})
		err = d.Until(ctx, func() (bool, error) {
			n, err := records(ctx, d, "p.public.t")
			return n > 300, err
		})
		if err != nil {
			t.Fatal(err)
		}
		stopped(t, d)
		enough()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		// What is durable is acknowledged, and nothing beyond it.
		var confirmed uint64
		if err := db.QueryRow(ctx, "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots WHERE slot_name = current_database()").Scan(&confirmed); err != nil {
			t.Fatal(err)
		}
		if stored := storedLSN(t, dir); stored != confirmed {
			t.Errorf("the log is durable up to %d, the server was told %d", stored, confirmed)
		}
		d = start(t, dir, file)
		var rows int64
		if err := db.QueryRow(ctx, "SELECT count(*) FROM t WHERE id > 2").Scan(&rows); err != nil {
			t.Fatal(err)
		}
		err = d.Until(ctx, func() (bool, error) {
			n, err := records(ctx, d, "p.public.t")
			return n >= rows, err
		})
		if n, rerr := records(ctx, d, "p.public.t"); err != nil || rerr != nil || n != rows {
			t.Errorf("%d records of %d rows, %v, %v", n, rows, err, rerr)
		}
	})
}

// offline counts the records of a topic of a log that no daemon has open.
func offline(t *testing.T, dir, name string) (n int64) {
	t.Helper()
	out, code := tailrace(t, nil, "log", "ls", name, "--data-dir", dir, "-o", "json")
	var list []logSegment
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil {
		t.Fatalf("%d %v %s", code, err, out)
	}
	for _, s := range list {
		n += s.Records
	}
	return n
}

// storedLSN returns the source's last position in a log that no daemon has open.
func storedLSN(t *testing.T, dir string) (lsn uint64) {
	t.Helper()
	out, code := tailrace(t, nil, "log", "dump", "__tailrace_offsets", "--data-dir", dir, "-o", "json")
	if code != 0 {
		t.Fatal(out)
	}
	for line := range strings.Lines(out) {
		var p dumpedPlace
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			var pos struct{ LSN uint64 }
			if r.Value != nil && json.Unmarshal([]byte(*r.Value.Text), &pos) == nil && pos.LSN > 0 {
				lsn = pos.LSN
			}
		}
	}
	return lsn
}

// TestForgedLines: what comes from outside never looks like a line of the log, nor moves a terminal's cursor.
func TestForgedLines(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run("case103_"+format, func(t *testing.T) {
			t.Parallel()
			d := start(t, t.TempDir(), "", "--log-format", format)
			const forged = "x%0D%0Atime=2026-01-01T00:00:00Z%20level=ERROR%20msg=forged%0A{%22msg%22:%22forged%22}%1B[2J%C2%9B31m%E2%80%AE"
			for _, path := range []string{"/connectors/" + forged + "/pause", "/connectors/" + forged + "/config"} {
				req, err := http.NewRequestWithContext(t.Context(), "PUT", d.URL()+path, strings.NewReader(`{"connector.class":"redis","topics":"t"}`))
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth("u\r\nlevel=ERROR msg=forged", "p")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if resp.Body.Close(); resp.StatusCode/100 != 4 {
					t.Errorf("%s: %d", path, resp.StatusCode)
				}
			}
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(d.Log)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(b), "forged") {
				t.Fatal("the requests are not in the log: this shows nothing")
			}
			if strings.ContainsAny(string(b), "\r\x1b\u009b\u202e") {
				t.Errorf("control characters in the log: %q", b)
			}
			for line := range strings.Lines(string(b)) {
				var l struct{ Msg string }
				switch {
				case format == "json" && (json.Unmarshal([]byte(line), &l) != nil || l.Msg == "forged"),
					format == "text" && (!strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "time=2026-01-01")):
					t.Errorf("a forged line: %q", line)
				}
			}
		})
	}
	if got := indented("a\nlevel=ERROR\x1b[2J\r\n"); got != "a\n  level=ERROR?[2J?\n  " {
		t.Errorf("%q", got)
	}
}
