package disk_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// A pausable is the file system of a process that is stopped at a moment: before the operation that at says, pause runs,
// once. Its locks don't work, as on some network file systems or when somebody has removed the lock file.
type pausable struct {
	*crashfs.FS
	pause atomic.Pointer[func()]
	at    func(kind crashfs.Kind, name string) bool
}

func (p *pausable) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (p *pausable) reached(kind crashfs.Kind, name string) {
	if f := p.pause.Load(); f != nil && p.at(kind, name) && p.pause.CompareAndSwap(f, nil) {
		(*f)()
	}
}

func (p *pausable) Open(name string, flag int) (vfs.File, error) {
	if flag&os.O_CREATE != 0 {
		p.reached(crashfs.Create, name)
	}
	f, err := p.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &pausableFile{f, p, name}, nil
}

func (p *pausable) Rename(from, to string) error {
	p.reached(crashfs.Rename, to)
	return p.FS.Rename(from, to)
}

func (p *pausable) Remove(name string) error {
	p.reached(crashfs.Remove, name)
	return p.FS.Remove(name)
}

type pausableFile struct {
	vfs.File
	fs   *pausable
	name string
}

func (f *pausableFile) WriteAt(b []byte, at int64) (int, error) {
	f.fs.reached(crashfs.Write, f.name)
	return f.File.WriteAt(b, at)
}

func (f *pausableFile) Sync() error {
	f.fs.reached(crashfs.Sync, f.name)
	return f.File.Sync()
}

// TestPausedProcess stops a process at each of its steps and lets another one take its place meanwhile. When the first one
// goes on, nothing that it does is acknowledged, and nothing that the second one does is harmed.
func TestPausedProcess(t *testing.T) {
	steps := map[string]func(kind crashfs.Kind, name string) bool{
		"before_segment_write": func(k crashfs.Kind, n string) bool { return k == crashfs.Write && strings.HasSuffix(n, ".log") },
		"before_journal_write": func(k crashfs.Kind, n string) bool { return k == crashfs.Write && strings.Contains(n, "/journal/") },
		"before_journal_fsync": func(k crashfs.Kind, n string) bool { return k == crashfs.Sync && strings.Contains(n, "/journal/") },
		"before_new_segment":   func(k crashfs.Kind, n string) bool { return k == crashfs.Create && strings.HasSuffix(n, ".log") },
		"idle":                 func(k crashfs.Kind, n string) bool { return k == "idle" },
	}
	for name, at := range steps {
		t.Run("case84_"+name, func(t *testing.T) {
			for before := range 12 { // another place in segment and journal each time
				pausedAppend(t, at, before)
			}
		})
	}
}

func pausedAppend(t *testing.T, at func(crashfs.Kind, string) bool, before int) {
	fs := newFS()
	paused := &pausable{FS: fs, at: at}
	opt := disk.Options{FS: paused, Dir: "/var/tailrace", SegmentBytes: 400, ManualCompaction: true}
	first := memLogOn(t, opt)
	for n := range before {
		if err := first.Append(t.Context(), []topic.Record{numbered(n)}); err != nil {
			t.Fatal(err)
		}
	}
	var second *disk.Log
	secondOpt := opt
	secondOpt.FS = noLocks{fs}
	n := before
	replace := func() {
		second = memLogOn(t, secondOpt)
		n = int(end(t, second)) // the first one's last record may have been written, which is as good as any
		for range 5 {
			if err := second.Append(t.Context(), []topic.Record{numbered(n)}); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	paused.pause.Store(&replace)
	paused.reached("idle", "")
	err := first.Append(t.Context(), []topic.Record{numbered(before)})
	if second == nil { // this append made no new segment
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	if fault.Code(err) != "LOG_FENCED" {
		t.Fatalf("append of a process that was replaced: %v", err)
	}
	if err := first.Compact(t.Context(), "a"); fault.Code(err) != "LOG_FENCED" {
		t.Fatalf("compaction of a process that was replaced: %v", err)
	}
	if err := first.Close(); fault.Code(err) != "LOG_FENCED" {
		t.Fatalf("Close of a process that was replaced: %v", err)
	}
	check := func(l *disk.Log) {
		t.Helper()
		wantNumbers(t, l, n)
		reports, err := l.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	check(second)
	// A kill of the second: its journal and the files of both are what there is.
	killed := fs.Kill()
	_ = second.Close()
	secondOpt.FS = noLocks{killed}
	third := memLogOn(t, secondOpt)
	check(third)
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
}

// memLogOn opens a log with the topic "a".
func memLogOn(t *testing.T, opt disk.Options) *disk.Log {
	t.Helper()
	l, err := disk.Open(t.Context(), opt)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if infos, err := l.Topics(t.Context()); err != nil || len(infos) == 0 {
		if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// TestManifestGone: a log whose directory was removed under it must not go on acknowledging.
func TestManifestGone(t *testing.T) {
	dir := t.TempDir()
	l, err := disk.Open(t.Context(), disk.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), []topic.Record{numbered(0)}); fault.Code(err) != "LOG_CORRUPT" || !strings.Contains(err.Error(), "MANIFEST") {
		t.Fatalf("append to a removed directory: %v", err)
	}
	if err := l.Close(); fault.Code(err) != "LOG_CORRUPT" {
		t.Fatalf("Close: %v", err)
	}
}

// TestFormat1 opens a directory that format version 1 wrote, with what a killed process left in its journal.
func TestFormat1(t *testing.T) {
	t.Run("case85_version_before", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/format1")); err != nil {
			t.Fatal(err)
		}
		for round := range 2 { // the second one reads what the first one wrote
			l, err := disk.Open(t.Context(), disk.Options{Dir: dir, ManualCompaction: true, SegmentBytes: 600})
			if err != nil {
				t.Fatal(err)
			}
			infos, err := l.Topics(t.Context())
			if err != nil || len(infos) != 2 || infos[0].Name != "a" || infos[1].Name != "z" {
				t.Fatalf("%+v, %v", infos, err)
			}
			all, err := readAll(t.Context(), l, "z", 0)
			if err != nil || len(all) != 40+round {
				t.Fatalf("%d records, %v", len(all), err)
			}
			for n, r := range all[:40] {
				if string(r.Value) != fmt.Sprintf("%0200d", n) || r.Timestamp != int64(n) {
					t.Fatalf("record %d is %q", n, r.Value)
				}
			}
			state := map[string]string{}
			for p := range int32(2) {
				recs, err := readAll(t.Context(), l, "a", p)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range recs {
					n := fmt.Sprint(r.Timestamp)
					if string(r.Headers[0].Value) != n || r.Value != nil && string(r.Value) != "value "+n {
						t.Fatalf("%+v", r)
					}
					state[fmt.Sprint(string(r.Key), " ", p)] = string(r.Value)
				}
			}
			for n := 30; n < 40; n++ {
				want := fmt.Sprint("value ", n)
				if n%7 == 6 {
					want = ""
				}
				if got := state[fmt.Sprint("key ", n%5, " ", n%2)]; got != want {
					t.Fatalf("record %d: %q", n, got)
				}
			}
			if err := l.Append(t.Context(), []topic.Record{{Topic: "z", Value: []byte("more")}}); err != nil {
				t.Fatal(err)
			}
			if err := l.Compact(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
