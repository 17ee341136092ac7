package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

const (
	sampleDir   = "/var/tailrace"
	sampleMark  = 400 // bytes of the journal between two marks of how far it is durable
	sampleFrame = 900 // no frame is longer
)

// A sample is the files of a log that was killed, with all there can be in it, and the records that it holds.
type sample struct {
	files map[string][]byte
	stale map[string][]byte // as they were at an earlier checkpoint
	want  map[string][]topic.Record
	last  int // records of the last frame of the journal
}

// lanes reads all records of a log by "topic/partition".
func lanes(ctx context.Context, l *disk.Log) (map[string][]topic.Record, error) {
	infos, err := l.Topics(ctx)
	if err != nil {
		return nil, err
	}
	got := map[string][]topic.Record{}
	for _, in := range infos {
		err := topic.Scan(ctx, l, in.Name, func(r *topic.Record) error {
			c := *r
			c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
			c.Headers = nil
			for _, h := range r.Headers {
				c.Headers = append(c.Headers, topic.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
			}
			key := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			got[key] = append(got[key], c)
			return nil
		})
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// content returns all files below a directory.
func content(t *testing.T, fs vfs.FS, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		name := path.Join(dir, n)
		f, err := fs.Open(name, 0)
		if err != nil { // a directory
			maps.Copy(all, content(t, fs, name))
			continue
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

// disk makes a file system of files.
func (s *sample) disk(t *testing.T, files map[string][]byte) *crashfs.FS {
	t.Helper()
	fs := newFS()
	for _, dir := range []string{sampleDir + "/topics", sampleDir + "/journal"} {
		if err := fs.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := fs.Mkdir(path.Dir(name)); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Open(name, os.O_CREATE)
		if err == nil {
			_, err = f.WriteAt(b, 0)
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

func takeSample(t *testing.T) *sample {
	t.Helper()
	fs := newFS()
	l, err := disk.Open(t.Context(), disk.Options{Dir: sampleDir, FS: fs, SegmentBytes: 900, JournalBytes: 64 * sampleMark, ManualCompaction: true, Now: func() time.Time { return time.UnixMilli(5000) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []topic.Spec{
		{Name: "a", Partitions: 2, Config: map[string]string{"compression.type": "zstd"}},
		{Name: "b", Partitions: 1, Config: map[string]string{"cleanup.policy": "delete"}},
		{Name: "gone", Partitions: 1},
	} {
		if err := l.Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	s := &sample{}
	put := func(appends int) {
		for range appends {
			var recs []topic.Record
			for i := range 6 {
				n++
				r := topic.Record{Topic: "a", Partition: int32(i % 2), Timestamp: int64(1000 + n), Key: fmt.Appendf(nil, "key %d", n%7),
					Value: fmt.Appendf(nil, "%s %d", strings.Repeat("value ", 9), n), Headers: []topic.Header{{Key: "n", Value: fmt.Append(nil, n)}}}
				if i%3 == 2 {
					r.Topic, r.Partition, r.Value = "b", 0, fmt.Appendf(nil, "event %d", n)
				}
				recs = append(recs, r)
			}
			if err := l.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
			s.last = len(recs)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put(12)
	check(l.Delete(t.Context(), "gone"))
	check(l.Compact(t.Context(), "a"))
	put(3)
	check(l.Checkpoint(t.Context()))
	s.stale = content(t, fs, sampleDir)
	put(3)
	check(l.Checkpoint(t.Context()))
	put(4)
	check(l.Create(t.Context(), topic.Spec{Name: "late", Partitions: 1}))
	check(l.Append(t.Context(), []topic.Record{{Topic: "late", Key: []byte("k"), Value: []byte("v")}}))
	// A checkpoint that can't write the manifest leaves two files of the journal, and both count.
	fs.Inject(func(op crashfs.Op) error {
		if op.Kind == crashfs.Rename {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := l.Checkpoint(t.Context()); err == nil {
		t.Fatal("the checkpoint should have failed")
	}
	put(5)
	s.want, err = lanes(t.Context(), l)
	check(err)
	dead := fs.Kill()
	_ = l.Close() // of a process that is dead
	s.files = content(t, dead, sampleDir)
	maps.DeleteFunc(s.files, func(name string, _ []byte) bool { // what is on its way to its name doesn't count
		return path.Base(name) == "MANIFEST.new" || path.Base(name) == "new.journal"
	})
	return s
}

// verify inspects the log and returns what is damaged.
func verify(t *testing.T, fs vfs.FS, dir string) (bad []error) {
	t.Helper()
	in, err := disk.Inspect(t.Context(), fs, dir)
	if err != nil {
		return []error{err}
	}
	reports, err := in.Verify(t.Context())
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	for _, r := range reports {
		if r.Err != nil {
			bad = append(bad, r.Err)
		}
	}
	return bad
}

// tailCut reports whether got is want without records of the last frame, or, with any, without any at the end: the one
// damage that looks like a torn tail.
func (s *sample) tailCut(got map[string][]topic.Record, any bool) bool {
	missing := 0
	for key, want := range s.want {
		if len(got[key]) > len(want) || len(got[key]) > 0 && !reflect.DeepEqual(got[key], want[:len(got[key])]) {
			return false
		}
		missing += len(want) - len(got[key])
	}
	return any || missing <= s.last
}

// A loss is what damage may cost without being told from a torn tail.
type loss int

const (
	none loss = iota
	lastFrame
	lastFile
)

// judge checks what Verify, Open and Salvage make of damaged files: nothing panics, a log that lacks records is never
// served as a complete one, and what Salvage did not save it names.
func (s *sample) judge(t *testing.T, files map[string][]byte, may loss, damaged ...string) {
	t.Helper()
	fs := s.disk(t, files)
	bad := verify(t, fs, sampleDir)
	named := len(bad) == 0
	for _, err := range bad {
		if code := fault.Code(err); code != "LOG_CORRUPT" && code != "LOG_VERSION" {
			t.Fatalf("without a code: %v", err)
		}
		named = named || slices.ContainsFunc(damaged, func(f string) bool { return strings.Contains(err.Error(), f) })
	}
	if !named {
		t.Fatalf("the reports name another file: %v", bad)
	}
	s.salvaged(t, fs, may, len(bad) > 0)
	s.served(t, fs, bad, may)
}

// served checks that Open, or a reader, refuses what lacks records, and that Verify has found that too.
func (s *sample) served(t *testing.T, fs *crashfs.FS, bad []error, may loss) {
	t.Helper()
	l, err := disk.Open(t.Context(), disk.Options{Dir: sampleDir, FS: fs, ManualCompaction: true})
	var got map[string][]topic.Record
	if err == nil {
		got, err = lanes(t.Context(), l)
		defer l.Close()
	}
	switch {
	case err != nil && (fault.Code(err) != "LOG_CORRUPT" && fault.Code(err) != "LOG_VERSION" || len(bad) == 0):
		t.Fatalf("Verify found %v, Open and Read: %v", bad, err)
	case err == nil && !reflect.DeepEqual(got, s.want) && !(may > none && s.tailCut(got, may == lastFile)):
		t.Fatalf("Verify found %v, and a log that lacks records is served", bad)
	}
}

// salvaged checks that the new log opens and holds all records but those that the report names.
func (s *sample) salvaged(t *testing.T, fs *crashfs.FS, may loss, lossy bool) {
	t.Helper()
	report, err := disk.Salvage(t.Context(), fs, sampleDir, "/var/saved")
	if fault.Code(err) == "LOG_VERSION" {
		return
	}
	if err != nil {
		t.Fatalf("Salvage: %v", err)
	}
	if bad := verify(t, fs, "/var/saved"); len(bad) > 0 {
		t.Fatalf("the salvaged log is damaged: %v", bad)
	}
	l, err := disk.Open(t.Context(), disk.Options{Dir: "/var/saved", FS: fs, ManualCompaction: true})
	if err != nil {
		t.Fatalf("the salvaged log does not open: %v", err)
	}
	defer l.Close()
	got, err := lanes(t.Context(), l)
	if err != nil {
		t.Fatalf("the salvaged log can't be read: %v", err)
	}
	tail := may > none && s.tailCut(got, may == lastFile)
	for key, want := range s.want {
		saved := map[int64]topic.Record{}
		for _, r := range got[key] {
			saved[r.Offset] = r
		}
		for _, r := range want {
			if g, ok := saved[r.Offset]; ok {
				if !reflect.DeepEqual(g, r) {
					t.Fatalf("%s@%d was changed: %v, should be %v", key, r.Offset, g, r)
				}
				continue
			}
			if !tail && !confessed(report, r) {
				t.Fatalf("%s@%d is missing, and the report doesn't say so: %+v", key, r.Offset, report)
			}
		}
		if n := len(got[key]); n > len(want) {
			t.Fatalf("%s has %d records, should have at most %d", key, n, len(want))
		}
	}
	if !lossy && len(report.Lost) > 0 {
		t.Fatalf("nothing is damaged, but lost: %+v", report)
	}
}

func confessed(report *disk.SalvageReport, r topic.Record) bool {
	for _, l := range report.Lost {
		if l.Topic == "" && l.To == math.MaxInt64 || l.Topic == r.Topic && l.Partition == r.Partition && l.From <= r.Offset && r.Offset < l.To {
			return true
		}
	}
	return false
}

// TestFaultMatrix is F11: every kind of damage in every file of a log.
func TestFaultMatrix(t *testing.T) {
	s := takeSample(t)
	if len(s.files) < 9 {
		t.Fatalf("the sample has %d files only", len(s.files))
	}
	with := func(name string, b []byte) map[string][]byte {
		files := maps.Clone(s.files)
		if b == nil {
			delete(files, name)
		} else {
			files[name] = b
		}
		return files
	}
	var last string // file of the journal
	for name := range s.files {
		if path.Ext(name) == ".journal" {
			last = max(last, name)
		}
	}
	step := 29 // TestDamage flips every byte; here each place is salvaged too
	if testing.Short() {
		step = 101
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		flip := none
		if name == last {
			flip = lastFrame
		}
		// A cut behind the mark before the last looks like a torn tail, but none within the header does.
		cut := func(size int) loss {
			if name == last && size > 32 && len(s.files[name])-size < 2*sampleMark+sampleFrame {
				return lastFile
			}
			return none
		}
		if path.Base(name) == "LOCK" {
			continue
		}
		t.Run(strings.ReplaceAll(strings.TrimPrefix(name, sampleDir+"/"), "/", "_"), func(t *testing.T) {
			whole := s.files[name]
			t.Run("bit_flip", func(t *testing.T) {
				for pos := 0; pos < len(whole); pos += 1 + pos%step {
					b := bytes.Clone(whole)
					b[pos] ^= 1 << (pos % 8)
					s.judge(t, with(name, b), flip, name)
				}
			})
			t.Run("truncated", func(t *testing.T) {
				for _, size := range []int{0, 1, min(31, len(whole)-2), min(40, len(whole)-1), len(whole) / 2, len(whole) - 1} {
					s.judge(t, with(name, bytes.Clone(whole[:size])), cut(size), name)
				}
			})
			t.Run("missing", func(t *testing.T) {
				s.judge(t, with(name, nil), none, name, sampleDir+"/MANIFEST", sampleDir+"/journal")
			})
			t.Run("swapped", func(t *testing.T) {
				for other, b := range s.files {
					if other <= name || path.Ext(other) != path.Ext(name) {
						continue
					}
					files := with(name, b)
					files[other] = whole
					s.judge(t, files, none, name, other)
				}
			})
			if old := s.stale[name]; old != nil && !bytes.Equal(old, whole) {
				t.Run("stale", func(t *testing.T) { s.judge(t, with(name, old), none, name, sampleDir+"/journal") })
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		s.judge(t, s.files, none)
		if bad := verify(t, s.disk(t, s.files), sampleDir); len(bad) > 0 {
			t.Fatalf("damage is reported where there is none: %v", bad)
		}
	})
}

// TestInspectReadOnly: a directory that may not be written is verified, dumped and counted.
func TestInspectReadOnly(t *testing.T) {
	dir := t.TempDir()
	l := open(t, disk.Options{Dir: dir})
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if err := l.Append(t.Context(), []topic.Record{numbered(n % 4)}); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, dir)
	if bad := verify(t, vfs.ReadOnly{}, dir); len(bad) > 0 { // beside the process that has it open
		t.Fatal(bad)
	}
	in, err := disk.Inspect(t.Context(), vfs.ReadOnly{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := in.Stats(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if s := stats[0]; s.Records != 10 || s.Live != 4 || s.Keys != 4 || s.Tombstones != 0 || s.PlainBytes != 10*8 || s.LiveBytes != 4*8 {
		t.Errorf("stats: %+v", s)
	}
	if tree(t, dir) != before {
		t.Error("looking has changed something")
	}
	if _, err := disk.Inspect(t.Context(), vfs.ReadOnly{}, filepath.Join(dir, "journal")); fault.Code(err) != "LOG_MISSING" {
		t.Errorf("no log: %v", err)
	}
}

// TestDump: a topic's records come out as they went in, from segments and from the journal, and a file's alone too.
func TestDump(t *testing.T) {
	s := takeSample(t)
	fs := s.disk(t, s.files)
	in, err := disk.Inspect(t.Context(), fs, sampleDir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]topic.Record{}
	for _, name := range []string{"a", "b", "late"} {
		err := in.Dump(t.Context(), name, -1, func(p *disk.Place) error {
			for _, r := range p.Records {
				key := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
				r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
				hs := r.Headers
				r.Headers = nil
				for _, h := range hs {
					r.Headers = append(r.Headers, topic.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
				}
				got[key] = append(got[key], r)
			}
			b := s.files[p.File][p.Position:]
			if p.Batch != nil && p.Batch.BaseOffset != int64(be64(b)) {
				t.Errorf("no batch of offset %d at %d of %s", p.Batch.BaseOffset, p.Position, p.File)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, s.want) {
		t.Errorf("got %d lanes, want %d", len(got), len(s.want))
	}
	for name := range s.files {
		records := 0
		err := disk.DumpFile(t.Context(), fs, name, func(p *disk.Place) error {
			records += len(p.Records)
			return nil
		})
		if strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".journal") {
			if err != nil || records == 0 {
				t.Errorf("%s: %d records, %v", name, records, err)
			}
		} else if fault.Code(err) != "LOG_FILE" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func be64(b []byte) (n uint64) {
	for _, c := range b[:8] {
		n = n<<8 | uint64(c)
	}
	return n
}

// TestVerifyLive: beside a log that is written to, checkpointed, compacted, and whose topics come and go, nothing looks damaged.
func TestVerifyLive(t *testing.T) {
	dir := t.TempDir()
	l := open(t, disk.Options{Dir: dir, SegmentBytes: 4000, JournalBytes: 20_000})
	if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var g errgroup.Group
	g.Go(func() error {
		for n := 0; ctx.Err() == nil; n++ {
			r := numbered(n % 50)
			r.Partition = int32(n % 2)
			if err := l.Append(t.Context(), []topic.Record{r}); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for n := 0; ctx.Err() == nil; n++ {
			if err := l.Compact(t.Context(), "a"); err != nil {
				return err
			}
			name := fmt.Sprint("b", n)
			if err := errors.Join(l.Create(t.Context(), topic.Spec{Name: name, Partitions: 1}), l.Append(t.Context(), []topic.Record{{Topic: name, Value: []byte("x")}}),
				l.Delete(t.Context(), name)); err != nil {
				return err
			}
		}
		return nil
	})
	for range 1500 {
		if bad := verify(t, vfs.ReadOnly{}, dir); len(bad) > 0 {
			t.Errorf("%v", bad)
			break
		}
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
