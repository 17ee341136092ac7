package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
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

// formatVersion is the version of all bytes in the data directory. A log of a higher version is refused untouched.
const formatVersion = 1

// manifest is what the log was at a checkpoint. What came after is in the journal from Journal on.
type manifest struct {
	Generation uint32            `json:"generation"` // grows each time the log is opened: the last to open it is the one
	Journal    int64             `json:"journal"`    // recovery begins at this position
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
	Segments []segmentMeta `json:"segments"`
}

// encode returns the manifest's file: a line that guards the JSON after it.
func (m *manifest) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("tailrace-log %d crc32c=%08x bytes=%d\n", formatVersion, crc32.Checksum(body, castagnoli), len(body))
	return append([]byte(head), body...), nil
}

func decodeManifest(name string, b []byte) (*manifest, error) {
	head, body, _ := bytes.Cut(b, []byte("\n"))
	var version, crc uint32
	var size int
	if n, err := fmt.Sscanf(string(head), "tailrace-log %d", &version); n != 1 || err != nil {
		return nil, corrupt(name, 0, errors.New("not a manifest"))
	}
	if version > formatVersion {
		return nil, fault.Permanentf("LOG_VERSION", "start the Tailrace that wrote it, or a newer one",
			"%s has format version %d; this Tailrace knows %d at most", name, version, formatVersion)
	}
	if n, err := fmt.Sscanf(string(head), "tailrace-log %d crc32c=%x bytes=%d", &version, &crc, &size); n != 3 || err != nil {
		return nil, corrupt(name, 0, errors.New("not a manifest"))
	}
	if len(body) != size || crc32.Checksum(body, castagnoli) != crc {
		return nil, corrupt(name, int64(len(head))+1, errors.New("checksum mismatch"))
	}
	m := new(manifest)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, corrupt(name, int64(len(head))+1, err)
	}
	return m, nil
}

// readManifest returns nil if there is none.
func readManifest(fsys vfs.FS, dir string) (*manifest, error) {
	name := path.Join(dir, manifestName)
	f, err := fsys.Open(name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	var b []byte
	if err == nil {
		b = make([]byte, size)
		err = readFull(f, name, b, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return decodeManifest(name, b)
}

// writeManifest replaces the manifest durably: whatever happens, the old or the new one is there, whole. It refuses to
// if someone with a higher generation has taken over the directory.
func writeManifest(fsys vfs.FS, dir string, m *manifest) error {
	old, err := readManifest(fsys, dir)
	if err != nil {
		return err
	}
	if old != nil && old.Generation > m.Generation {
		return fault.Permanentf("LOG_FENCED", "stop one of the two processes",
			"another process has opened %s (generation %d, ours is %d)", dir, old.Generation, m.Generation)
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
