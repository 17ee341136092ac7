package disk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// memLog opens a log on fs with the topic "a".
func memLog(t *testing.T, fs *crashfs.FS, opt disk.Options) *disk.Log {
	t.Helper()
	opt.FS, opt.Dir = fs, "/var/tailrace"
	l, err := disk.Open(t.Context(), opt)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil && !errors.Is(err, topic.ErrTopicExists) {
		t.Fatal(err)
	}
	return l
}

func numbered(n int) topic.Record {
	return topic.Record{Topic: "a", Timestamp: int64(n), Key: fmt.Appendf(nil, "%d", n), Value: fmt.Appendf(nil, "value %d", n)}
}

func end(t *testing.T, l *disk.Log) int64 {
	t.Helper()
	infos, err := l.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return infos[0].Partitions[0].End
}

// wantNumbers reads the topic "a" and checks that it holds the records numbered 0 to n-1.
func wantNumbers(t *testing.T, l *disk.Log, n int) {
	t.Helper()
	got, err := readAll(t.Context(), l, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != n {
		t.Fatalf("%d records, should be %d", len(got), n)
	}
	for i, r := range got {
		if string(r.Value) != fmt.Sprintf("value %d", i) || r.Offset != int64(i) {
			t.Fatalf("record %d is %q at offset %d", i, r.Value, r.Offset)
		}
	}
}

// TestFsyncFails: a failed fsync is the end. Nothing is acknowledged after it, not even if later fsyncs succeed.
func TestFsyncFails(t *testing.T) {
	fs := newFS()
	l := memLog(t, fs, disk.Options{})
	if err := l.Append(t.Context(), []topic.Record{numbered(0)}); err != nil {
		t.Fatal(err)
	}
	fs.Inject(func(op crashfs.Op) error {
		if op.Kind == crashfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	err := l.Append(t.Context(), []topic.Record{numbered(1)})
	if fault.Code(err) != "LOG_BROKEN" || !errors.Is(err, syscall.EIO) {
		t.Fatalf("append with a failing fsync: %v", err)
	}
	fs.Inject(nil)
	if err := l.Append(t.Context(), []topic.Record{numbered(2)}); fault.Code(err) != "LOG_BROKEN" {
		t.Fatalf("append after a failed fsync: %v", err)
	}
	if err := l.Create(t.Context(), topic.Spec{Name: "b", Partitions: 1}); fault.Code(err) != "LOG_BROKEN" {
		t.Fatalf("create after a failed fsync: %v", err)
	}
	wantNumbers(t, l, 1) // readers go on, and don't see what may be lost
	if err := l.Close(); fault.Code(err) != "LOG_BROKEN" {
		t.Fatalf("Close: %v", err)
	}
	l = memLog(t, fs.Crash(rand.New(rand.NewPCG(1, 1))), disk.Options{})
	if n := end(t, l); n != 1 && n != 2 { // the second is unknown, the third was refused
		t.Fatalf("%d records after recovery", n)
	}
	wantNumbers(t, l, int(end(t, l)))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointFsyncFails: a segment whose fsync failed can't be trusted, so the journal must not be cut.
func TestCheckpointFsyncFails(t *testing.T) {
	fs := newFS()
	l := memLog(t, fs, disk.Options{})
	for n := range 10 {
		if err := l.Append(t.Context(), []topic.Record{numbered(n)}); err != nil {
			t.Fatal(err)
		}
	}
	fs.Inject(func(op crashfs.Op) error {
		if op.Kind == crashfs.Sync && strings.HasSuffix(op.Name, ".log") {
			return syscall.EIO
		}
		return nil
	})
	if err := l.Checkpoint(t.Context()); fault.Code(err) != "LOG_BROKEN" {
		t.Fatalf("Checkpoint: %v", err)
	}
	fs.Inject(nil)
	if err := l.Append(t.Context(), []topic.Record{numbered(10)}); fault.Code(err) != "LOG_BROKEN" {
		t.Fatalf("append: %v", err)
	}
	if err := l.Close(); fault.Code(err) != "LOG_BROKEN" {
		t.Fatalf("Close: %v", err)
	}
	l = memLog(t, fs.Crash(rand.New(rand.NewPCG(1, 1))), disk.Options{})
	wantNumbers(t, l, 10)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWriteFails fails each write in turn, whole or short, on the journal and on segments: the append reports it,
// nothing of it is there, also not after a power cut, and the next append works.
func TestWriteFails(t *testing.T) {
	for _, suffix := range []string{".journal", ".log"} {
		for _, short := range []int{0, 1, 45, 90} {
			t.Run(fmt.Sprintf("%s_after_%d_bytes", suffix[1:], short), func(t *testing.T) {
				fs := newFS()
				l := memLog(t, fs, disk.Options{SegmentBytes: 300})
				for n := range 20 {
					fail := true
					fs.Inject(func(op crashfs.Op) error {
						if fail && op.Kind == crashfs.Write && strings.HasSuffix(op.Name, suffix) {
							fail = false
							return &crashfs.Short{Bytes: short, Err: syscall.EIO}
						}
						return nil
					})
					err := l.Append(t.Context(), []topic.Record{numbered(1000 + n)})
					if !errors.Is(err, syscall.EIO) || fault.IsPermanent(err) {
						t.Fatalf("append with a failing write: %v", err)
					}
					if end(t, l) != int64(n) {
						t.Fatalf("the failed append is visible")
					}
					if n%5 == 4 {
						fs2 := fs.Crash(rand.New(rand.NewPCG(1, uint64(n))))
						_ = l.Close() // of a machine that has no power
						fs = fs2
						l = memLog(t, fs, disk.Options{SegmentBytes: 300})
					}
					if err := l.Append(t.Context(), []topic.Record{numbered(n)}); err != nil {
						t.Fatalf("append after a failed write: %v", err)
					}
				}
				wantNumbers(t, l, 20)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestTruncated cuts the journal at every byte of its last three frames.
func TestTruncated(t *testing.T) {
	t.Run("case76_real_files", cutReal)
	t.Run("case76_every_byte_of_the_last_three", func(t *testing.T) {
		fs := newFS()
		l := memLog(t, fs, disk.Options{})
		const n = 8
		var sizes []int64
		size := func() int64 {
			f, err := fs.Open("/var/tailrace/journal/00000000000000000000.journal", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s, err := f.Size()
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		for i := range n {
			if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, size())
		}
		fs2 := fs.Kill()
		_ = l.Close() // of a process that is dead
		for cut := sizes[n-4]; cut <= sizes[n-1]; cut++ {
			img := fs2.Kill() // a copy
			whole := n - 3
			for i := n - 3; i < n; i++ {
				if sizes[i] <= cut {
					whole = i + 1
				}
			}
			cutFile(t, img, cut)
			l := memLog(t, img, disk.Options{})
			wantNumbers(t, l, whole)
			for i := whole; i < n; i++ { // the source sends again what is missing
				if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
					t.Fatal(err)
				}
			}
			wantNumbers(t, l, n)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func cutFile(t *testing.T, fs *crashfs.FS, size int64) {
	t.Helper()
	f, err := fs.Open("/var/tailrace/journal/00000000000000000000.journal", 0)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamage flips bytes of files at rest. Whatever the byte, the log is refused, or reading reports the file and the
// place, or the byte didn't matter: never are fewer or other records served as if they were all.
func TestDamage(t *testing.T) {
	build := func(checkpoint bool) *crashfs.FS {
		fs := newFS()
		l := memLog(t, fs, disk.Options{SegmentBytes: 400, ManualCompaction: true})
		for n := range 12 {
			if err := l.Append(t.Context(), []topic.Record{numbered(n)}); err != nil {
				t.Fatal(err)
			}
		}
		if checkpoint {
			if err := l.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		fs2 := fs.Kill()
		_ = l.Close() // of a process that is dead
		return fs2
	}
	t.Run("segments", func(t *testing.T) { damageAll(t, build(true), "/var/tailrace/topics/a@1-0", 12) })
	t.Run("manifest", func(t *testing.T) {
		fs := build(true)
		for pos := int64(0); pos < fileSize(t, fs, "/var/tailrace/MANIFEST"); pos++ {
			fs = fs.Kill()
			flip(t, fs, "/var/tailrace/MANIFEST", pos)
			l, err := disk.Open(t.Context(), disk.Options{Dir: "/var/tailrace", FS: fs})
			if code := fault.Code(err); code != "LOG_CORRUPT" && code != "LOG_VERSION" {
				t.Fatalf("byte %d of the manifest: log %v, error %v", pos, l, err)
			}
			fs = fs.Kill() // the lock and what recovery did are gone
			flip(t, fs, "/var/tailrace/MANIFEST", pos)
		}
	})
	t.Run("journal", func(t *testing.T) {
		name := "/var/tailrace/journal/00000000000000000000.journal"
		fs := build(false)
		size := fileSize(t, fs, name)
		lastFrame := size - 200 // the last frame is shorter than that; nothing after it can prove that it was synced
		for pos := int64(0); pos < lastFrame; pos++ {
			fs = fs.Kill()
			flip(t, fs, name, pos)
			_, err := disk.Open(t.Context(), disk.Options{Dir: "/var/tailrace", FS: fs})
			if pos >= 20 && pos < 28 && err == nil {
				t.Fatalf("byte %d of the journal's header was not checked", pos)
			}
			if fault.Code(err) != "LOG_CORRUPT" || !strings.Contains(err.Error(), name) {
				t.Fatalf("byte %d of the journal: %v", pos, err)
			}
			fs = build(false)
		}
	})
}

// damageAll flips each byte of each file in a directory in turn.
func damageAll(t *testing.T, fs *crashfs.FS, dir string, n int) {
	names, err := fs.List(dir)
	if err != nil || len(names) < 2 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, file := range names {
		name := dir + "/" + file
		for pos := range fileSize(t, fs, name) {
			fs = fs.Kill()
			flip(t, fs, name, pos)
			l := memLog(t, fs, disk.Options{ManualCompaction: true})
			reports, err := l.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			bad := 0
			for _, r := range reports {
				if r.Err != nil {
					bad++
					if r.File != name || fault.Code(r.Err) != "LOG_CORRUPT" || !strings.Contains(r.Err.Error(), name) {
						t.Fatalf("byte %d of %s: report %+v", pos, name, r)
					}
				}
			}
			got, err := readAll(t.Context(), l, "a", 0)
			if bad == 0 { // only the leader epoch is no part of what a record is
				if err != nil || len(got) != n {
					t.Fatalf("byte %d of %s: nothing reported, %d records, error %v", pos, name, len(got), err)
				}
			} else if err != nil && (fault.Code(err) != "LOG_CORRUPT" || !strings.Contains(err.Error(), name)) {
				t.Fatalf("byte %d of %s: %v", pos, name, err)
			}
			fs2 := fs.Kill()
			_ = l.Close() // of a process that is dead
			fs = fs2
			flip(t, fs, name, pos)
		}
	}
}

func fileSize(t *testing.T, fs *crashfs.FS, name string) int64 {
	t.Helper()
	f, err := fs.Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// flip changes a byte of a file; done twice it changes nothing.
func flip(t *testing.T, fs *crashfs.FS, name string, pos int64) {
	t.Helper()
	f, err := fs.Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, pos); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	b[0] ^= 0x15
	if _, err := f.WriteAt(b, pos); err != nil {
		t.Fatal(err)
	}
}

func TestMissingFiles(t *testing.T) {
	for _, what := range []string{"topics/a@1-0/00000000000000000000.log", "MANIFEST", "journal"} {
		t.Run(filepath.Base(what), func(t *testing.T) {
			dir := t.TempDir()
			l, err := disk.Open(t.Context(), disk.Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
				t.Fatal(err)
			}
			if err := l.Append(t.Context(), []topic.Record{numbered(0)}); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, what)
			if what == "journal" {
				names, err := filepath.Glob(filepath.Join(name, "*"))
				if err != nil || len(names) != 1 {
					t.Fatal(names, err)
				}
				name = names[0]
			}
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			_, err = disk.Open(t.Context(), disk.Options{Dir: dir})
			if fault.Code(err) != "LOG_CORRUPT" || !strings.Contains(err.Error(), name) {
				t.Fatalf("Open without %s: %v", what, err)
			}
		})
	}
}

func TestLock(t *testing.T) {
	t.Run("case84_second_daemon", func(t *testing.T) {
		dir := t.TempDir()
		l, err := disk.Open(t.Context(), disk.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		_, err = disk.Open(t.Context(), disk.Options{Dir: dir})
		if fault.Code(err) != "LOG_LOCKED" || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
			t.Fatalf("second Open: %v", err)
		}
		if held := (*vfs.Locked)(nil); !errors.As(err, &held) {
			t.Fatalf("second Open: %v", err)
		}
		if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
			t.Fatalf("the first must not notice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// The lock file is still there, as after a kill; it holds nobody up.
		if _, err := os.Stat(filepath.Join(dir, "LOCK")); err != nil {
			t.Fatal(err)
		}
		l, err = disk.Open(t.Context(), disk.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("fenced", func(t *testing.T) {
		// A file system whose locks don't work, as some network ones: the generation tells who is the one.
		fs := newFS()
		first := memLog(t, fs, disk.Options{})
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		opt := disk.Options{FS: noLocks{fs}, Dir: "/var/tailrace"}
		old, err := disk.Open(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Append(t.Context(), []topic.Record{numbered(0)}); err != nil {
			t.Fatal(err)
		}
		young, err := disk.Open(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Checkpoint(t.Context()); fault.Code(err) != "LOG_FENCED" {
			t.Fatalf("the old writer's checkpoint: %v", err)
		}
		if err := old.Append(t.Context(), []topic.Record{numbered(1)}); fault.Code(err) != "LOG_FENCED" {
			t.Fatalf("the old writer's append: %v", err)
		}
		if err := old.Close(); fault.Code(err) != "LOG_FENCED" {
			t.Fatalf("the old writer's Close: %v", err)
		}
		wantNumbers(t, young, 1)
		if err := young.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// noLocks gives its locks to everyone.
type noLocks struct{ *crashfs.FS }

func (noLocks) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func TestVersion(t *testing.T) {
	t.Run("case85_newer_is_refused_untouched", func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, disk.Options{Dir: dir})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "MANIFEST")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		newer := strings.Replace(string(b), "tailrace-log 2 ", "tailrace-log 3 ", 1)
		if err := os.WriteFile(name, []byte(newer), 0o640); err != nil {
			t.Fatal(err)
		}
		before := tree(t, dir)
		_, err = disk.Open(t.Context(), disk.Options{Dir: dir})
		if fault.Code(err) != "LOG_VERSION" || !strings.Contains(err.Error(), "version 3") {
			t.Fatalf("Open: %v", err)
		}
		if after := tree(t, dir); after != before {
			t.Fatalf("files were touched:\n%s\nbefore:\n%s", after, before)
		}
	})
}

// tree describes all files.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(name string, st os.FileInfo, err error) error {
		if err != nil || st.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		fmt.Fprintf(&b, "%s %v %x\n", name, st.ModTime(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTooLarge(t *testing.T) {
	l := open(t, disk.Options{Dir: t.TempDir()})
	err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1, Config: map[string]string{"max.message.bytes": "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Append(t.Context(), []topic.Record{numbered(0), {Topic: "a", Value: make([]byte, 1001)}})
	if fault.Code(err) != "RECORD_TOO_LARGE" || !strings.Contains(err.Error(), "topic a") {
		t.Fatalf("Append: %v", err)
	}
	if end(t, l) != 0 {
		t.Fatal("something was written")
	}
	if err := l.Append(t.Context(), []topic.Record{numbered(0), {Topic: "a", Value: make([]byte, 900)}}); err != nil {
		t.Fatal(err)
	}
}

func TestBudget(t *testing.T) {
	fs := newFS()
	l := memLog(t, fs, disk.Options{MaxBytes: 20_000, JournalBytes: 2000, SegmentBytes: 2000})
	if err := l.Create(t.Context(), topic.Spec{Name: "__own", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	big := func(key string) topic.Record {
		return topic.Record{Topic: "a", Key: []byte(key), Value: make([]byte, 500)}
	}
	// Updates of one key never block for good: compaction makes room.
	for range 200 {
		if err := l.Append(t.Context(), []topic.Record{big("same")}); err != nil {
			t.Fatal(err)
		}
	}
	// New keys do.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for n := range 1000 {
			if err := l.Append(ctx, []topic.Record{big(fmt.Sprint(n))}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for used := int64(0); used < 20_000; { // it comes to the limit
		infos, err := l.Topics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		used = infos[1].Partitions[0].Bytes
	}
	if err := l.Append(t.Context(), []topic.Record{{Topic: "__own", Key: []byte("k"), Value: []byte("v")}}); err != nil {
		t.Fatalf("the house's own topics must not wait: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("append over the budget: %v", err)
	}
	if err := l.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), []topic.Record{big("k")}); err != nil {
		t.Fatalf("append with space again: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
