package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// The journal's bytes; FORMAT.md draws them.
const (
	journalMagic    = "TRJOURN1"
	journalHeader   = 32
	journalTemp     = "new.journal"
	frameMagic      = 0x54524a46 // "TRJF"
	frameHeader     = 40
	sectionHeader   = 12
	maxFramePayload = 1 << 30

	kindRecords = 1
	kindCreate  = 2
	kindDelete  = 3
	kindConfig  = 4

	// Not in frames: what else the writer can be asked.
	askClose      = 253 // begin the last checkpoint
	askSeal       = 254 // end a topic's last segments
	askCheckpoint = 255 // begin a checkpoint
)

// errNumbering is the cause of damage that checksums can't find: batches whose offsets don't follow each other.
var errNumbering = errors.New("offsets don't follow those before")

// errOwner is one of them: a file, or a part of one, is in the place of another.
var errOwner = fmt.Errorf("%w: the batch is of another partition", errNumbering)

// castagnoli is the table of CRC-32C; it is never written.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A frame is one entry of the journal: what one Append, Create or Delete changes.
type frame struct {
	pos     int64 // in the journal, counted over all of its files
	synced  int64 // the journal was durable up to here when the frame was written
	kind    byte
	gen     uint32
	payload []byte
}

// sealFrame fills in the header of the frame that b is, header and payload.
func sealFrame(b []byte, pos, synced int64, kind byte, gen uint32) {
	be := binary.BigEndian
	be.PutUint32(b, frameMagic)
	be.PutUint64(b[8:], uint64(pos))
	be.PutUint64(b[16:], uint64(synced))
	be.PutUint32(b[24:], uint32(len(b)-frameHeader))
	be.PutUint32(b[28:], crc32.Checksum(b[frameHeader:], castagnoli))
	be.PutUint32(b[32:], uint32(kind)<<24)
	be.PutUint32(b[36:], gen)
	be.PutUint32(b[4:], crc32.Checksum(b[8:frameHeader], castagnoli))
}

// parseFrameHeader returns the frame at the start of b without its payload, and the payload's size and checksum.
func parseFrameHeader(b []byte) (f frame, size int, crc uint32, ok bool) {
	be := binary.BigEndian
	if len(b) < frameHeader || be.Uint32(b) != frameMagic || be.Uint32(b[4:]) != crc32.Checksum(b[8:frameHeader], castagnoli) {
		return f, 0, 0, false
	}
	f = frame{pos: int64(be.Uint64(b[8:])), synced: int64(be.Uint64(b[16:])), kind: b[32], gen: be.Uint32(b[36:])}
	size = int(be.Uint32(b[24:]))
	return f, size, be.Uint32(b[28:]), size <= maxFramePayload
}

// A journal is the writer's end of the journal: the file that it appends to.
type journal struct {
	fs     vfs.FS
	dir    string
	gen    uint32
	file   vfs.File
	name   string
	base   int64 // position of the file's first frame
	size   int64 // bytes of frames in the file
	synced int64 // all before is durable
	marked int64 // what synced was at the last mark
}

func (j *journal) end() int64 { return j.base + j.size }

func journalName(base int64) string { return fmt.Sprintf("%020d.journal", base) }

// create makes the file that begins at base and makes it durable. The journal goes on in it. It is made under another
// name first: one of its name, empty, may be there, of which a process that was replaced still has hold.
func (j *journal) create(base int64) error {
	name, temp := path.Join(j.dir, journalName(base)), path.Join(j.dir, journalTemp)
	f, err := j.fs.Open(temp, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	h := make([]byte, journalHeader)
	copy(h, journalMagic)
	binary.BigEndian.PutUint64(h[8:], uint64(base))
	binary.BigEndian.PutUint32(h[16:], j.gen)
	binary.BigEndian.PutUint32(h[28:], crc32.Checksum(h[:28], castagnoli))
	if _, err = f.WriteAt(h, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = j.fs.Rename(temp, name)
	}
	if err == nil {
		err = j.fs.SyncDir(j.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if j.file != nil {
		err = j.file.Close() // it was synced: a failure can lose nothing
	} else {
		j.marked = base
	}
	j.file, j.name, j.base, j.size, j.synced = f, name, base, 0, base
	return err
}

// write writes whole frames at position at. They are not part of the journal before the writer adds them to size.
func (j *journal) write(b []byte, at int64) error {
	_, err := j.file.WriteAt(b, journalHeader+at-j.base)
	return err
}

// retreat cuts off whatever was written beyond the last good frame, durably, so that no frame of a failed Append can
// come back.
func (j *journal) retreat() error {
	if err := j.file.Truncate(journalHeader + j.size); err != nil {
		return err
	}
	return j.file.Sync()
}

// journalFiles lists the bases of the files in dir, ascending.
func journalFiles(fs vfs.FS, dir string) ([]int64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, n := range names { // sorted, and the numbers have a fixed width
		base, err := strconv.ParseInt(strings.TrimSuffix(n, ".journal"), 10, 64)
		if err != nil || journalName(base) != n {
			continue
		}
		bases = append(bases, base)
	}
	return bases, nil
}

// A journalReader reads one file's frames.
type journalReader struct {
	name  string
	file  vfs.File
	base  int64
	bytes int64 // of frames, up to where the next file begins
	at    int64 // of the next frame in the file, header not counted
	buf   []byte
	lo    int
	hi    int
}

// openJournal opens the file that begins at base. ok is false if its header is not whole.
func openJournal(fs vfs.FS, dir string, base int64) (jr *journalReader, ok bool, err error) {
	name := path.Join(dir, journalName(base))
	f, err := fs.Open(name, 0)
	if err != nil {
		return nil, false, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	jr = &journalReader{name: name, file: f, base: base, bytes: size - journalHeader}
	h := make([]byte, journalHeader)
	if size < journalHeader {
		return jr, false, nil
	}
	if err := readFull(f, name, h, 0); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	be := binary.BigEndian
	ok = string(h[:8]) == journalMagic && int64(be.Uint64(h[8:])) == base && be.Uint32(h[28:]) == crc32.Checksum(h[:28], castagnoli)
	return jr, ok, nil
}

// next returns the next whole frame. ok is false at the end and at the first frame that is not whole, where at stays.
func (jr *journalReader) next() (f frame, ok bool, err error) {
	if ok, err := jr.need(frameHeader); !ok {
		return f, false, err
	}
	f, size, crc, ok := parseFrameHeader(jr.buf[jr.lo:jr.hi])
	if !ok || f.pos != jr.base+jr.at {
		return f, false, nil
	}
	if ok, err := jr.need(frameHeader + size); !ok {
		return f, false, err
	}
	f.payload = jr.buf[jr.lo+frameHeader : jr.lo+frameHeader+size]
	if crc32.Checksum(f.payload, castagnoli) != crc {
		return f, false, nil
	}
	jr.lo += frameHeader + size
	jr.at += int64(frameHeader + size)
	return f, true, nil
}

// need sees to it that n bytes from at on are in buf; ok is false if the file has fewer.
func (jr *journalReader) need(n int) (ok bool, err error) {
	if jr.hi-jr.lo >= n {
		return true, nil
	}
	if int64(n) > jr.bytes-jr.at {
		return false, nil
	}
	jr.hi = copy(jr.buf, jr.buf[jr.lo:jr.hi])
	jr.lo = 0
	if want := max(n, int(min(1<<20, jr.bytes-jr.at))); len(jr.buf) < want {
		jr.buf = append(make([]byte, 0, want), jr.buf[:jr.hi]...)[:want]
	}
	from := jr.at + int64(jr.hi)
	want := int(min(int64(len(jr.buf)-jr.hi), jr.bytes-from))
	if err := readFull(jr.file, jr.name, jr.buf[jr.hi:jr.hi+want], journalHeader+from); err != nil {
		return false, err
	}
	jr.hi += want
	return true, nil
}

// syncedBeyond looks behind the damage at jr.at for the header of a frame that says that the journal was durable beyond
// it. There is one if synced bytes were damaged, and none behind a torn tail: nothing was synced after a torn tail.
func (jr *journalReader) syncedBeyond() (bool, error) {
	var mark [4]byte
	binary.BigEndian.PutUint32(mark[:], frameMagic)
	buf := make([]byte, min(256<<10, jr.bytes-jr.at))
	for from := jr.at; jr.bytes-from >= frameHeader; {
		b := buf[:min(int64(len(buf)), jr.bytes-from)]
		if err := readFull(jr.file, jr.name, b, journalHeader+from); err != nil {
			return false, err
		}
		for i := 0; i+frameHeader <= len(b); i++ {
			n := bytes.Index(b[i:], mark[:])
			if n < 0 || i+n+frameHeader > len(b) {
				break
			}
			i += n
			f, _, _, ok := parseFrameHeader(b[i:])
			if ok && f.pos == jr.base+from+int64(i) && f.synced > jr.base+jr.at {
				return true, nil
			}
		}
		if int64(len(b)) == jr.bytes-from {
			break
		}
		from += int64(len(b) - frameHeader + 1) // a header may lie across the end
	}
	return false, nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
