package crashfs_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/tailrace/tailrace/topic/disk/crashfs"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

func create(t *testing.T, fs *crashfs.FS, name, content string, sync bool) {
	t.Helper()
	f, err := fs.Open(name, os.O_CREATE|os.O_TRUNC)
	if err == nil {
		_, err = f.WriteAt([]byte(content), 0)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// content returns what is in a file, "none" if there is no such file.
func content(t *testing.T, fs *crashfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name, 0)
	if errors.Is(err, os.ErrNotExist) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil && n > 0 {
		t.Fatal(err)
	}
	return string(b)
}

// TestCrash looks at many crashes of one state: what was synced is always there, and what was not is sometimes there,
// sometimes torn and sometimes gone.
func TestCrash(t *testing.T) {
	seen := map[string]map[string]int{}
	for seed := range uint64(300) {
		fs := crashfs.New()
		create(t, fs, "/synced", "old", true)
		create(t, fs, "/entry", "whole", true)
		if err := fs.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		create(t, fs, "/synced", "new", false)
		create(t, fs, "/unnamed", "content", true)
		if err := fs.Rename("/entry", "/renamed"); err != nil {
			t.Fatal(err)
		}
		after := fs.Crash(rand.New(rand.NewPCG(seed, 1)))
		for _, name := range []string{"/synced", "/entry", "/renamed", "/unnamed"} {
			if seen[name] == nil {
				seen[name] = map[string]int{}
			}
			seen[name][content(t, after, name)]++
		}
		if (content(t, after, "/entry") == "whole") == (content(t, after, "/renamed") == "whole") {
			t.Fatal("a rename was torn")
		}
		if _, err := fs.Open("/synced", 0); !errors.Is(err, crashfs.ErrPowerOff) {
			t.Fatalf("after the crash: %v", err)
		}
	}
	for name, want := range map[string][]string{
		"/synced": {"old", "new", "nld", "ned"}, "/unnamed": {"none", "content"}, "/entry": {"whole", "none"}, "/renamed": {"whole", "none"},
	} {
		for _, w := range want {
			if seen[name][w] == 0 {
				t.Errorf("%s was never %q: %v", name, w, seen[name])
			}
		}
		if name != "/synced" && len(seen[name]) != len(want) {
			t.Errorf("%s: %v", name, seen[name])
		}
	}
}

func TestKill(t *testing.T) {
	fs := crashfs.New()
	create(t, fs, "/a", "unsynced", false)
	lock, err := fs.Lock("/LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Lock("/LOCK"); !errors.As(err, new(*vfs.Locked)) {
		t.Fatalf("second lock: %v", err)
	}
	defer lock.Close()
	after := fs.Kill()
	if got := content(t, after, "/a"); got != "unsynced" {
		t.Fatalf("%q", got)
	}
	if l, err := after.Lock("/LOCK"); err != nil || l.Close() != nil {
		t.Fatalf("the lock outlived its process: %v", err)
	}
	// What was not synced before the kill can still be lost by a power cut after it.
	lost := false
	for seed := range uint64(50) {
		fs := crashfs.New()
		create(t, fs, "/a", "unsynced", false)
		lost = lost || content(t, fs.Kill().Crash(rand.New(rand.NewPCG(seed, 2))), "/a") != "unsynced"
	}
	if !lost {
		t.Fatal("a kill made everything durable")
	}
}

func TestFull(t *testing.T) {
	fs := crashfs.New()
	fs.SetCapacity(10)
	f, err := fs.Open("/a", os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := f.WriteAt(make([]byte, 15), 0); n != 10 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d, %v", n, err)
	}
	if _, err := f.WriteAt(make([]byte, 10), 0); err != nil {
		t.Fatalf("overwriting needs no space: %v", err)
	}
	if err := f.Truncate(2); err != nil || fs.Used() != 2 {
		t.Fatalf("%d used, %v", fs.Used(), err)
	}
	fs.PowerOffAfter(0)
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, crashfs.ErrPowerOff) {
		t.Fatalf("power off: %v", err)
	}
}
