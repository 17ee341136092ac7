package disk

import (
	"context"
	"testing"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
)

// image makes a data directory with a topic of one partition and three records, and returns its journal.
func image(t testing.TB) (*crashfs.FS, []byte) {
	t.Helper()
	fs := crashfs.New()
	l, err := Open(context.Background(), Options{Dir: "/log", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Create(context.Background(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Append(context.Background(), []topic.Record{{Topic: "a", Key: []byte("k"), Value: []byte("v")}}); err != nil {
			t.Fatal(err)
		}
	}
	dead := fs.Kill()
	_ = l.Close() // of a process that is dead
	f, err := dead.Open("/log/journal/"+journalName(0), 0)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return dead, b
}

// opens opens the log in fs. Whatever its files hold, it must not panic, and refuse with a reason or serve what verifies.
// With forged, a frame's checksums are right and its batches may be wrong all the same: then Verify must say so.
func opens(t *testing.T, fs *crashfs.FS, forged bool) {
	l, err := Open(context.Background(), Options{Dir: "/log", FS: fs})
	if err != nil {
		if fault.Code(err) == "" {
			t.Fatalf("refused without a reason code: %v", err)
		}
		return
	}
	reports, err := l.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if forged && fault.Code(r.Err) == "LOG_CORRUPT" {
			continue
		}
		if r.Err != nil {
			t.Fatalf("recovery let damage pass: %v", r.Err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, fs *crashfs.FS, name string, b []byte) {
	f, err := fs.Open(name, 0)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzJournal recovers from arbitrary bytes in place of the journal.
func FuzzJournal(f *testing.F) {
	_, b := image(f)
	f.Add(b)
	f.Add(b[:len(b)-5])
	f.Add(b[:journalHeader])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs, _ := image(t)
		overwrite(t, fs, "/log/journal/"+journalName(0), b)
		opens(t, fs, false)
	})
}

// FuzzFrame recovers from a journal whose last frame is whole and has an arbitrary kind and payload.
func FuzzFrame(f *testing.F) {
	_, b := image(f)
	_, size, _, _ := parseFrameHeader(b[journalHeader:])
	f.Add(byte(kindCreate), b[journalHeader+frameHeader:journalHeader+frameHeader+size])
	f.Add(byte(kindRecords), b[len(b)-80:])
	f.Add(byte(kindDelete), []byte{0, 0, 0, 1})
	f.Add(byte(9), []byte{})
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		fs, b := image(t)
		frame := append(make([]byte, frameHeader), payload...)
		sealFrame(frame, int64(len(b)-journalHeader), 0, kind, 1)
		overwrite(t, fs, "/log/journal/"+journalName(0), append(b, frame...))
		opens(t, fs, true)
	})
}

// FuzzManifest decodes arbitrary manifests.
func FuzzManifest(f *testing.F) {
	m := manifest{Generation: 3, NextID: 2, Topics: []topicMeta{{ID: 1, Name: "a", Epoch: 1, Partitions: []partitionMeta{{Next: 5}}}}}
	b, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("tailrace-log 2 \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest("MANIFEST", b)
		if (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
		if err != nil && fault.Code(err) == "" {
			t.Fatalf("refused without a reason code: %v", err)
		}
	})
}
