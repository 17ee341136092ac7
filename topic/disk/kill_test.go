package disk_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// childDir, in the environment of a child that TestKillNine starts, is the log that it appends to until it is killed.
const childDir = "TAILRACE_TEST_CHILD_LOG"

// TestKillNine kills a process that appends to a real log, again and again: whatever it was told is durable is there, in order
// and once.
func TestKillNine(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForEver(t, dir)
	}
	t.Run("case75_kill_nine", func(t *testing.T) {
		dir := t.TempDir()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		acked := 0
		for cycle := range 8 {
			cmd := exec.Command(self, "-test.run=^TestKillNine$")
			cmd.Env = append(os.Environ(), childDir+"="+dir)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			// It says how many records are durable; after some more of them, another number each time, it dies.
			lines := bufio.NewScanner(out)
			for more := 10 + 13*cycle; more > 0 && lines.Scan(); more-- {
				if acked, err = strconv.Atoi(lines.Text()); err != nil {
					t.Fatalf("the child says %q", lines.Text())
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() { // what it said before it was dead
				if n, err := strconv.Atoi(lines.Text()); err == nil {
					acked = n
				}
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the child ended by itself")
			}
			l, err := disk.Open(t.Context(), disk.Options{Dir: dir, ManualCompaction: true})
			if err != nil {
				t.Fatal(err)
			}
			n := int(end(t, l))
			if n < acked || acked == 0 {
				t.Fatalf("cycle %d: %d records are there, %d were acknowledged", cycle, n, acked)
			}
			wantNumbers(t, l, n)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// appendForEver appends numbered records to the log in dir and prints how many are durable, until it is killed.
func appendForEver(t *testing.T, dir string) {
	l, err := disk.Open(t.Context(), disk.Options{Dir: dir, JournalBytes: 5000, SegmentBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1, Config: map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"}})
	if n, _ := l.Topics(t.Context()); len(n) == 0 {
		t.Fatal(err)
	}
	for n := int(end(t, l)); ; n++ {
		if err := l.Append(t.Context(), []topic.Record{numbered(n)}); err != nil {
			t.Fatal(err)
		}
		fmt.Println(n + 1)
	}
}

// cutReal cuts the only journal of a real log in its last three frames: it recovers up to the last whole one.
func cutReal(t *testing.T) {
	dir := t.TempDir()
	l := open(t, disk.Options{Dir: dir})
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	const n = 6
	var ends []int
	for i := range n {
		if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "journal", "00000000000000000000.journal"))
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(b))
	}
	for cut := ends[n-4]; cut <= ends[n-1]; cut++ {
		if !slices.ContainsFunc(ends, func(end int) bool { return -1 <= cut-end && cut-end <= 1 }) && cut%19 > 0 {
			continue // each byte costs some fsyncs; the file system in memory takes all
		}
		image := filepath.Join(t.TempDir(), "log")
		if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(image, "journal", "00000000000000000000.journal"), int64(cut)); err != nil {
			t.Fatal(err)
		}
		whole, _ := slices.BinarySearch(ends, cut+1) // so many end up to the cut
		l, err := disk.Open(t.Context(), disk.Options{Dir: image, ManualCompaction: true})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		wantNumbers(t, l, whole)
		if err := l.Append(t.Context(), []topic.Record{numbered(whole)}); err != nil { // the source sends again
			t.Fatal(err)
		}
		wantNumbers(t, l, whole+1)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
