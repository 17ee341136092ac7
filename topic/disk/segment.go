package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// indexInterval is how many bytes of a segment share an index entry.
const indexInterval = 64 << 10

// segmentMeta is what the manifest keeps of a segment.
type segmentMeta struct {
	Base    int64  `json:"base"`          // names the file
	Gen     uint32 `json:"gen,omitempty"` // how often compaction rewrote it
	Bytes   int64  `json:"bytes"`
	Records int64  `json:"records"`
	First   int64  `json:"first"` // offset of the first record
	Next    int64  `json:"next"`  // offset after the last record it was made with
	MaxTime int64  `json:"maxTime"`

	// By the log's clock, in milliseconds; 0 in what format version 1 wrote.
	Begun   int64 `json:"begun,omitempty"`   // when the first of its records was appended
	Written int64 `json:"written,omitempty"` // when the last one was
	Horizon int64 `json:"horizon,omitempty"` // when the first of its tombstones may go; 0: none may
}

// A segment is a file of record batches. Its meta and index are guarded by its partition's mu; bytes of the file below
// meta.Bytes never change.
type segment struct {
	dir    string
	meta   segmentMeta
	sealed bool // another segment follows
	saved  bool // sealed and whole in the manifest: compaction and retention may take it
	excess bool // Open's: the file is longer than the manifest says

	index     []indexEntry // ascending, for the bytes from indexFrom on
	indexFrom int64
	indexed   int64 // the writer's: where the last entry points
	latest    int64 // the writer's: no timestamp that it wrote is over this

	// The file, opened when it is needed.
	fm   sync.Mutex
	file vfs.File
	refs int
}

// indexEntry says that the batch at pos has base offset offset, and that no record before it has a timestamp over before.
type indexEntry struct{ offset, pos, before int64 }

// fileName is Kafka's name of a segment: its base offset, here with the compaction's count if it was rewritten.
func (m *segmentMeta) fileName() string {
	if m.Gen == 0 {
		return fmt.Sprintf("%020d.log", m.Base)
	}
	return fmt.Sprintf("%020d.%d.log", m.Base, m.Gen)
}

func (s *segment) path() string { return path.Join(s.dir, s.meta.fileName()) }

// seek returns a batch at or before the one that has offset. ok is false if that part has no index yet.
func (s *segment) seek(offset int64) (at indexEntry, ok bool) {
	lo, hi := 0, len(s.index)
	for lo < hi {
		if mid := (lo + hi) / 2; s.index[mid].offset <= offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo > 0 {
		return s.index[lo-1], true
	}
	return s.begin(), s.indexFrom == 0 || offset <= s.meta.First
}

// begin is an entry for the first batch.
func (s *segment) begin() indexEntry { return indexEntry{s.meta.Base, 0, math.MinInt64} }

// seekTime returns a batch at or before the first one with a record of timestamp ms or later. The index must be whole.
func (s *segment) seekTime(ms int64) indexEntry {
	n, _ := slices.BinarySearchFunc(s.index, ms, func(e indexEntry, ms int64) int { return cmp.Compare(e.before, ms) })
	if n > 0 { // the last one before which all is older
		return s.index[n-1]
	}
	return s.begin()
}

// touched is when the segment was last written to by the log's clock, or, if its timestamps are earlier, the greatest of
// them: what its age counts from. Timestamps in the future don't keep it for ever.
func (m *segmentMeta) touched() int64 {
	if m.Written == 0 {
		return m.MaxTime
	}
	return min(m.MaxTime, m.Written)
}

// corrupt is the permanent error for damage at position pos of a file.
func corrupt(file string, pos int64, err error) error {
	return fault.Permanentf("LOG_CORRUPT", "restore the file from a copy, or save what is whole by `tailrace log salvage`",
		"%s is damaged at byte %d: %w", file, pos, err)
}

// files keeps a bounded number of segment files open.
type files struct {
	fs   vfs.FS
	max  int
	mu   sync.Mutex
	open []*segment
}

// acquire opens the segment's file, or shares the one that is open, until release.
func (c *files) acquire(s *segment, flag int) (vfs.File, error) {
	s.fm.Lock()
	defer s.fm.Unlock()
	if s.file == nil {
		f, err := c.fs.Open(s.path(), flag)
		if err != nil {
			return nil, err
		}
		s.file = f
		s.refs++ // before evict can see it
		c.admit(s)
	} else {
		s.refs++
	}
	return s.file, nil
}

// create makes the segment's file, which must be new, and acquires it. A file of the name can only be what an Append or a
// compaction left that failed, and goes, unless owned says that it may be another process's.
func (c *files) create(s *segment, owned func() error) (vfs.File, error) {
	f, err := c.acquire(s, os.O_CREATE|os.O_EXCL)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := owned(); err != nil {
		return nil, err
	}
	if err := remove(c.fs.Remove, s.path()); err != nil {
		return nil, err
	}
	return c.acquire(s, os.O_CREATE|os.O_EXCL)
}

func (c *files) release(s *segment) {
	s.fm.Lock()
	s.refs--
	s.fm.Unlock()
}

// admit adds s to the open ones and closes the one that was opened first among those that nobody uses.
func (c *files) admit(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, s)
	for i := 0; i < len(c.open) && len(c.open) > c.max; {
		v := c.open[i]
		if v == s || !v.fm.TryLock() {
			i++
			continue
		}
		if v.refs > 0 {
			v.fm.Unlock()
			i++
			continue
		}
		// Nothing is lost by a failed close: what was written is synced by name at the checkpoint.
		_ = v.file.Close()
		v.file = nil
		v.fm.Unlock()
		c.open = append(c.open[:i], c.open[i+1:]...)
	}
}

// forget closes the file of a segment that has no name any more, unless someone still reads it: then eviction or
// closeAll does. A failure loses nothing, since the file is gone.
func (l *Log) forget(s *segment) {
	c := &l.files
	s.fm.Lock()
	defer s.fm.Unlock()
	if s.file == nil || s.refs > 0 {
		return
	}
	c.mu.Lock()
	if i := slices.Index(c.open, s); i >= 0 {
		c.open = slices.Delete(c.open, i, i+1)
	}
	c.mu.Unlock()
	if err := s.file.Close(); err != nil {
		l.opt.Logger.Warn("closing a segment that is not needed any more", "file", s.path(), "error", err)
	}
	s.file = nil
}

// closeAll closes every file. Nobody may use one any more.
func (c *files) closeAll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.open {
		s.fm.Lock()
		if s.file != nil {
			errs = append(errs, s.file.Close())
			s.file = nil
		}
		s.fm.Unlock()
	}
	c.open = nil
	return errors.Join(errs...)
}

// A scanner walks over the batches of a file, reading big pieces. It checks that each batch begins with the offset with
// which the one before ends: base offsets are not covered by a batch's checksum.
type scanner struct {
	name string
	file vfs.File
	pos  int64 // of the next batch
	end  int64
	buf  []byte
	lo   int // of the next batch in buf
	hi   int

	offset int64 // that the next batch must begin with
	owner  int32 // 0: as the file's directory says
}

const scanBytes = 256 << 10

// next returns the next batch, unchecked but whole, and where it is; nil at the end. The bytes are valid until the next
// call.
func (sc *scanner) next() (batch []byte, h recordbatch.Header, pos int64, err error) {
	if sc.pos == sc.end {
		return nil, h, sc.pos, nil
	}
	if err = sc.need(recordbatch.HeaderSize); err != nil {
		return nil, h, sc.pos, err
	}
	h, err = recordbatch.ParseHeader(sc.buf[sc.lo:sc.hi])
	if err == nil && int64(h.Size) > sc.end-sc.pos {
		err = recordbatch.ErrLength
	}
	if err == nil && h.BaseOffset != sc.offset {
		err = errNumbering
	}
	if sc.owner == 0 {
		sc.owner = ownerOf(path.Dir(sc.name))
	}
	if err == nil {
		err = checkOwner(&h, sc.owner)
	}
	if err != nil {
		return nil, h, sc.pos, corrupt(sc.name, sc.pos, err)
	}
	sc.offset = h.LastOffset() + 1
	if err = sc.need(h.Size); err != nil {
		return nil, h, sc.pos, err
	}
	batch = sc.buf[sc.lo : sc.lo+h.Size]
	pos = sc.pos
	sc.lo += h.Size
	sc.pos += int64(h.Size)
	return batch, h, pos, nil
}

// need sees to it that n bytes from pos on are in buf.
func (sc *scanner) need(n int) error {
	if sc.hi-sc.lo >= n {
		return nil
	}
	if int64(n) > sc.end-sc.pos {
		return corrupt(sc.name, sc.pos, recordbatch.ErrShort)
	}
	sc.hi = copy(sc.buf, sc.buf[sc.lo:sc.hi])
	sc.lo = 0
	if want := max(n, int(min(scanBytes, sc.end-sc.pos))); len(sc.buf) < want {
		sc.buf = append(make([]byte, 0, want), sc.buf[:sc.hi]...)[:want]
	}
	from := sc.pos + int64(sc.hi)
	want := int(min(int64(len(sc.buf)-sc.hi), sc.end-from))
	if err := readFull(sc.file, sc.name, sc.buf[sc.hi:sc.hi+want], from); err != nil {
		return err
	}
	sc.hi += want
	return nil
}

// readFull fills b from position pos. That the file ends before is damage: the log knows how long its files are.
func readFull(f vfs.File, name string, b []byte, pos int64) error {
	n, err := f.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	if isEOF(err) {
		return corrupt(name, pos+int64(n), recordbatch.ErrShort)
	}
	return fmt.Errorf("read %s: %w", name, err)
}
