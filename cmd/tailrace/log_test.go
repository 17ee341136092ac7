package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// writtenLog makes a log of the topic orders: 40 records of 10 keys, in small segments.
func writtenLog(t *testing.T) (dir string, log *disk.Log) {
	t.Helper()
	dir = t.TempDir()
	log, err := disk.Open(t.Context(), disk.Options{Dir: dir, SegmentBytes: 600, ManualCompaction: true})
	if err == nil {
		err = log.Create(t.Context(), topic.Spec{Name: "orders", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}})
	}
	for n := 0; n < 40 && err == nil; n++ {
		err = log.Append(t.Context(), []topic.Record{{Topic: "orders", Timestamp: int64(n), Key: fmt.Appendf(nil, "key %d", n%10), Value: []byte{0xff, byte(n)},
			Headers: []topic.Header{{Key: "h", Value: []byte("\x1b[31m")}}}})
	}
	if err == nil {
		err = log.Checkpoint(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir, log
}

func TestLogCommands(t *testing.T) {
	dir, log := writtenLog(t)
	run := func(want int, args ...string) string {
		t.Helper()
		out, code := execute(t, append(args, "--data-dir", dir)...)
		if code != want {
			t.Fatalf("%v: exit status %d: %s", args, code, out)
		}
		return out
	}
	t.Run("beside_a_running_daemon", func(t *testing.T) {
		if out := run(0, "log", "verify"); !strings.HasSuffix(out, ": whole\n") {
			t.Errorf("verify: %s", out)
		}
		if out := run(1, "log", "compact"); !strings.Contains(out, "LOG_LOCKED") || !strings.Contains(out, "compacts by itself") {
			t.Errorf("compact: %s", out)
		}
		if out, code := execute(t, "log", "salvage", dir, filepath.Join(t.TempDir(), "new")); code != 1 || !strings.Contains(out, "LOG_LOCKED") {
			t.Errorf("salvage: %d %s", code, out)
		}
	})
	t.Run("ls", func(t *testing.T) {
		var list []logSegment
		if err := json.Unmarshal([]byte(run(0, "log", "ls", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		var records int64
		for _, s := range list {
			records += s.Records
		}
		if len(list) < 3 || records != 40 || list[0].Topic != "orders" || list[0].First.UnixMilli() != 0 {
			t.Errorf("%+v", list)
		}
		if out := run(0, "log", "ls"); !strings.Contains(out, "00000000000000000000.log") || !strings.Contains(out, "1970-01-01T00:00:00.000Z") {
			t.Error(out)
		}
	})
	t.Run("dump", func(t *testing.T) {
		out := run(0, "log", "dump", "orders", "--from", "7", "--until", "9")
		if !strings.Contains(out, `  8 1970-01-01T00:00:00.008Z key="key 8" value=0xff08 "h":0x1b5b33316d`) || strings.Contains(out, "key 9") || strings.Contains(out, "\x1b") {
			t.Error(out)
		}
		lines := strings.Split(strings.TrimSpace(run(0, "log", "dump", "orders", "-o", "json")), "\n")
		records := 0
		for _, l := range lines {
			var p dumpedPlace
			if err := json.Unmarshal([]byte(l), &p); err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Records {
				if *r.Key.Text != fmt.Sprintf("key %d", records%10) || *r.Value.Hex != fmt.Sprintf("ff%02x", records) {
					t.Errorf("%s", l)
				}
				records++
			}
		}
		if records != 40 {
			t.Errorf("%d records", records)
		}
		file := filepath.Join(dir, "topics", "orders@1-0", "00000000000000000000.log")
		if out := run(0, "log", "dump", file, "--batches"); !strings.HasPrefix(out, file+":0 batch 0..0, 1 records") {
			t.Error(out)
		}
		if out := run(1, "log", "dump", "nothing"); !strings.Contains(out, "log ls") {
			t.Error(out)
		}
	})
	t.Run("stats", func(t *testing.T) {
		var list []logStats
		if err := json.Unmarshal([]byte(run(0, "log", "stats", "-o", "json")), &list); err != nil || len(list) != 1 {
			t.Fatal(err, list)
		}
		if s := list[0]; s.Records != 40 || s.Live != 10 || s.Dead != 30 || s.Keys != 10 || s.DirtyRatio != 1 || s.Compression <= 0 {
			t.Errorf("%+v", s)
		}
	})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("compact", func(t *testing.T) {
		if out := run(0, "log", "compact", "orders"); !strings.Contains(out, "orders") {
			t.Error(out)
		}
		var list []logStats
		if err := json.Unmarshal([]byte(run(0, "log", "stats", "orders", "-o", "json")), &list); err != nil || list[0].Records != 10 || list[0].Dead != 0 {
			t.Fatal(err, list)
		}
	})
	t.Run("damage", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(dir, "topics", "orders@1-0", "*.log"))
		if err != nil || len(files) == 0 {
			t.Fatal(err, files)
		}
		b, err := os.ReadFile(files[0])
		if err == nil {
			b[len(b)-3] ^= 1
			err = os.WriteFile(files[0], b, 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
		if out := run(1, "log", "verify"); !strings.Contains(out, files[0]+" is damaged at byte") || !strings.Contains(out, "log salvage") {
			t.Error(out)
		}
		if out := run(1, "log", "dump", "orders"); !strings.Contains(out, "LOG_CORRUPT") {
			t.Error(out)
		}
		dst := filepath.Join(t.TempDir(), "new")
		out, code := execute(t, "log", "salvage", dir, dst)
		if code != 0 || !strings.Contains(out, "orders/0") || !strings.Contains(out, "lost: 1 range") {
			t.Errorf("%d %s", code, out)
		}
		if out, code := execute(t, "log", "verify", "--data-dir", dst); code != 0 {
			t.Errorf("%d %s", code, out)
		}
		if out, code := execute(t, "log", "salvage", dir, dst, "-o", "json"); code != 1 || !strings.Contains(out, "LOG_NOT_EMPTY") {
			t.Errorf("%d %s", code, out)
		}
	})
	t.Run("no_log", func(t *testing.T) {
		for _, name := range []string{"ls", "verify", "stats", "compact"} {
			empty := t.TempDir()
			if out, code := execute(t, "log", name, "--data-dir", empty); code != 1 || !strings.Contains(out, "--data-dir") {
				t.Errorf("%s: %d %s", name, code, out)
			}
			if names, err := os.ReadDir(empty); err != nil || len(names) > 0 {
				t.Errorf("%s has made %v, %v", name, names, err)
			}
		}
		if out, code := execute(t, "log", "verfy"); code != 2 || !strings.Contains(out, "verify") {
			t.Errorf("%d %s", code, out)
		}
	})
}
