package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path"

	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// The journal's low-water mark: a position up to which the journal was durable some time ago; FORMAT.md draws it.
const (
	syncedName  = "SYNCED"
	syncedMagic = "TRSYNCED"
	syncedSize  = 20
)

// markShare is which part of JournalBytes the journal grows by between two marks.
const markShare = 64

// mark notes, now and then, how far the journal was durable at the mark before, so that a file that is cut off behind that
// is told from a torn tail. It is written after the fsync that makes it true, and never synced itself: whichever of the
// marks a power cut leaves is true. A failure costs nothing but the mark. The mark lags on purpose: a journal that lost
// its last few appends opens, and the source sends them again.
func (j *journal) mark(every int64) error {
	if j.synced-j.marked < every {
		return nil
	}
	var b [syncedSize]byte
	copy(b[:], syncedMagic)
	binary.BigEndian.PutUint64(b[8:], uint64(j.marked))
	binary.BigEndian.PutUint32(b[16:], crc32.Checksum(b[:16], castagnoli))
	j.marked = j.synced
	f, err := j.fs.Open(path.Join(j.dir, syncedName), os.O_CREATE)
	if err == nil {
		_, err = f.WriteAt(b[:], 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("mark how far the journal is durable: %w", err)
	}
	return nil
}

// readMark returns the position up to which the journal in dir is known to have been durable, 0 if nothing is known, as
// when the mark itself was torn.
func readMark(fsys vfs.FS, dir string) (int64, error) {
	b, err := readStart(fsys, path.Join(dir, syncedName), syncedSize)
	if err != nil || len(b) < syncedSize || string(b[:8]) != syncedMagic || binary.BigEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli) {
		return 0, err
	}
	return int64(min(binary.BigEndian.Uint64(b[8:]), math.MaxInt64)), nil
}

// checkMark is LOG_CORRUPT if the journal, whose last file has this name and base, ends at a position before the mark.
func checkMark(name string, base, end, mark int64) error {
	if end >= mark {
		return nil
	}
	return corrupt(name, journalHeader+end-base, fmt.Errorf("the journal ends here, %d bytes before a place up to which it was durable", mark-end))
}
