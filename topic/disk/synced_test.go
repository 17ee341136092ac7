package disk_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
)

const (
	firstJournal = "/var/tailrace/journal/00000000000000000000.journal"
	syncedMark   = "/var/tailrace/journal/SYNCED"
)

// markedLog is a killed log whose journal was marked every 200 bytes, with the position of the last mark.
func markedLog(t *testing.T, n int) (fs *crashfs.FS, mark int64) {
	t.Helper()
	fs = newFS()
	l := memLog(t, fs, disk.Options{JournalBytes: 64 * 200, ManualCompaction: true})
	for i := range n {
		if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
			t.Fatal(err)
		}
	}
	dead := fs.Kill()
	_ = l.Close() // of a process that is dead
	f, err := dead.Open(syncedMark, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 20)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dead, int64(binary.BigEndian.Uint64(b[8:]))
}

// TestCutOff cuts the journal's only file at every byte: behind the mark that looks like a torn tail, before it acknowledged
// records are missing, and Open, Verify and Salvage say so.
func TestCutOff(t *testing.T) {
	const n = 20
	fs, mark := markedLog(t, n)
	size := fileSize(t, fs, firstJournal)
	if end := size - 32; mark > end-200 || mark < end-2*200-200 {
		t.Fatalf("the mark is at %d of %d", mark, end)
	}
	refused, cut := 0, 0
	for at := int64(0); at < size; at += 3 {
		img := fs.Kill()
		cutFile(t, img, at)
		bad := verify(t, img, sampleDir)
		l, err := disk.Open(t.Context(), disk.Options{FS: img, Dir: sampleDir, ManualCompaction: true})
		if at-32 >= mark {
			if err != nil || len(bad) > 0 {
				t.Fatalf("cut at %d, the mark is at %d: %v, %v", at, mark+32, bad, err)
			}
			wantNumbers(t, l, int(end(t, l)))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			cut++
			continue
		}
		for _, err := range append(bad, err) {
			if fault.Code(err) != "LOG_CORRUPT" || !strings.Contains(err.Error(), firstJournal) {
				t.Fatalf("cut at %d, the mark is at %d: %v", at, mark+32, err)
			}
		}
		if len(bad) == 0 {
			t.Fatalf("cut at %d: Verify finds nothing", at)
		}
		if refused++; refused%20 == 1 {
			report, err := disk.Salvage(t.Context(), img, sampleDir, "/var/saved")
			if err != nil || len(report.Lost) == 0 {
				t.Fatalf("cut at %d: salvaged %+v, %v", at, report, err)
			}
		}
	}
	if refused == 0 || cut == 0 {
		t.Fatalf("%d refused, %d taken for a torn tail", refused, cut)
	}
}

// TestMarkSaysNothing: without a mark, or with a damaged one, the log opens, and one that can't be written costs nothing else.
func TestMarkSaysNothing(t *testing.T) {
	fs, mark := markedLog(t, 20)
	if err := fs.Remove(syncedMark); err != nil {
		t.Fatal(err)
	}
	l := memLog(t, fs, disk.Options{})
	wantNumbers(t, l, 20)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for pos := range int64(20) {
		fs, _ := markedLog(t, 20)
		flip(t, fs, syncedMark, pos)
		cutFile(t, fs, mark) // a mark that counted would refuse it
		l := memLog(t, fs, disk.Options{})
		wantNumbers(t, l, int(end(t, l)))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	fs = newFS()
	fs.Inject(func(op crashfs.Op) error {
		if op.Name == syncedMark && (op.Kind == crashfs.Create || op.Kind == crashfs.Write) {
			return errors.New("no marks")
		}
		return nil
	})
	l = memLog(t, fs, disk.Options{JournalBytes: 64 * 200})
	for i := range 20 {
		if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
			t.Fatal(err)
		}
	}
	wantNumbers(t, l, 20)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
