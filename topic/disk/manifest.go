package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// Names in the data directory.
const (
	manifestName = "MANIFEST"
	manifestTemp = "MANIFEST.new"
	lockName     = "LOCK"
	topicsDir    = "topics"
	journalDir   = "journal"
)

// formatVersion is the version of all bytes in the data directory. A log of a higher version is refused untouched, one
// of a lower version is read, and written in this version from then on.
const formatVersion = 2

// manifest is what the log was at a checkpoint. What came after is in the journal from Journal on.
type manifest struct {
	Generation uint32            `json:"-"`                // grows each time the log is opened: the last to open it is the one
	Journal    int64             `json:"journal"`          // recovery begins at this position
	Closed     bool              `json:"closed,omitempty"` // by Close: no process is left that could still write
	NextID     uint32            `json:"nextID"`
	Topics     []topicMeta       `json:"topics"`
	Retired    map[string]uint32 `json:"retired,omitempty"` // last epochs of names that have no topic
}

type topicMeta struct {
	ID         uint32            `json:"id"`
	Name       string            `json:"name"`
	Epoch      uint32            `json:"epoch"`
	Config     map[string]string `json:"config,omitempty"`
	Partitions []partitionMeta   `json:"partitions"`
}

type partitionMeta struct {
	Next     int64         `json:"next"`
	Clean    int64         `json:"clean,omitempty"`
	LogStart int64         `json:"logStart,omitempty"`
	Segments []segmentMeta `json:"segments"`
}

// encode returns the manifest's file: a line that guards the JSON after it.
func (m *manifest) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("tailrace-log %d generation=%d bytes=%d", formatVersion, m.Generation, len(body))
	crc := crc32.Update(crc32.Checksum([]byte(head), castagnoli), castagnoli, body)
	return append(fmt.Appendf(nil, "%s crc32c=%08x\n", head, crc), body...), nil
}

// headLine is the manifest's first line.
type headLine struct {
	generation uint32
	size       int
	crc        uint32
	guarded    []byte // what crc covers of the line
}

func decodeHead(name string, line []byte) (h headLine, err error) {
	var version uint32
	if n, err := fmt.Sscanf(string(line), "tailrace-log %d", &version); n != 1 || err != nil {
		return h, corrupt(name, 0, errors.New("not a manifest"))
	}
	if version > formatVersion {
		return h, fault.Permanentf("LOG_VERSION", "start the Tailrace that wrote it, or a newer one",
			"%s has format version %d; this Tailrace knows %d at most", name, version, formatVersion)
	}
	n, err := fmt.Sscanf(string(line), "tailrace-log %d generation=%d bytes=%d crc32c=%x", &version, &h.generation, &h.size, &h.crc)
	if n != 4 || err != nil {
		return h, corrupt(name, 0, errors.New("not a manifest"))
	}
	h.guarded, _, _ = bytes.Cut(line, []byte(" crc32c="))
	return h, nil
}

func decodeManifest(name string, b []byte) (*manifest, error) {
	line, body, _ := bytes.Cut(b, []byte("\n"))
	h, err := decodeHead(name, line)
	if err != nil {
		return nil, err
	}
	if len(body) != h.size || crc32.Update(crc32.Checksum(h.guarded, castagnoli), castagnoli, body) != h.crc {
		return nil, corrupt(name, int64(len(line))+1, errors.New("checksum mismatch"))
	}
	m := &manifest{Generation: h.generation}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, corrupt(name, int64(len(line))+1, err)
	}
	return m, nil
}

// headPrefix is how the first line of a manifest of this generation begins.
func headPrefix(generation uint32) []byte {
	return fmt.Appendf(nil, "tailrace-log %d generation=%d bytes=", formatVersion, generation)
}

// readManifest returns nil if there is none.
func readManifest(fsys vfs.FS, dir string) (*manifest, error) {
	name := path.Join(dir, manifestName)
	b, err := readStart(fsys, name, math.MaxInt64)
	if b == nil || err != nil {
		return nil, err
	}
	return decodeManifest(name, b)
}

// presentGeneration returns the generation of the manifest that is there, 0 if there is none.
func presentGeneration(fsys vfs.FS, dir string) (uint32, error) {
	name := path.Join(dir, manifestName)
	b, err := readStart(fsys, name, 200)
	if b == nil || err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	h, err := decodeHead(name, line)
	return h.generation, err
}

// readStart returns the first bytes of a file, most of them at most; nil if there is no such file.
func readStart(fsys vfs.FS, name string, most int64) ([]byte, error) {
	f, err := fsys.Open(name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	b := []byte{}
	if err == nil {
		b = make([]byte, min(size, most))
		err = readFull(f, name, b, 0)
	}
	return b, errors.Join(err, f.Close())
}

// fenced is the permanent error of a writer that another one has taken the place of.
func fenced(dir string, present, ours uint32) error {
	return fault.Permanentf("LOG_FENCED", "stop one of the two processes",
		"another process has opened %s (generation %d, ours is %d)", dir, present, ours)
}

// owned fails with LOG_FENCED if another process has opened the log since. The other wrote its generation before it
// read anything of the log, so what was durable when owned said yes is there for the other, and what owned said no to
// was never acknowledged.
func (l *Log) owned() error {
	name := path.Join(l.opt.Dir, manifestName)
	f, err := l.opt.FS.Open(name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(name, 0, errors.New("it is gone"))
	}
	if err != nil {
		return err
	}
	head := make([]byte, len(l.mine))
	n, err := f.ReadAt(head, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if bytes.Equal(head[:n], l.mine) {
		return nil
	}
	present, err := presentGeneration(l.opt.FS, l.opt.Dir)
	if err != nil {
		return err
	}
	return fenced(l.opt.Dir, present, l.journal.gen)
}

// writeManifest replaces the manifest durably: whatever happens, the old or the new one is there, whole. It refuses to
// if someone with a higher generation has taken over the directory.
func writeManifest(fsys vfs.FS, dir string, m *manifest) error {
	present, err := presentGeneration(fsys, dir)
	if err != nil {
		return err
	}
	if present > m.Generation {
		return fenced(dir, present, m.Generation)
	}
	b, err := m.encode()
	if err != nil {
		return err
	}
	temp := path.Join(dir, manifestTemp)
	f, err := fsys.Open(temp, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temp, path.Join(dir, manifestName)); err != nil {
		return err
	}
	// Which of the two a power cut would leave is unknown if this fails, so nothing may build on either.
	return broken(fsys.SyncDir(dir))
}
