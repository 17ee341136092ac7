package disk_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// The reader of this file is written from FORMAT.md alone and shares no code with the log: what it reads is what another
// program would read. It panics at whatever the page does not allow; TestFormat turns that into a failure.

type formatSegment struct {
	Base, Gen, Bytes, Records, First, Next, MaxTime int64
}

type formatTopic struct {
	ID         uint32
	Name       string
	Epoch      int
	Partitions []struct {
		Next     int64
		Segments []formatSegment
	}
}

type formatManifest struct {
	Journal int64
	Topics  []formatTopic
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func demand(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf(format, args...))
	}
}

func crc32c(parts ...[]byte) uint32 {
	return crc32.Checksum(bytes.Join(parts, nil), crc32.MakeTable(crc32.Castagnoli))
}

// A formatReader reads a data directory.
type formatReader struct {
	dir   string
	lanes map[string][]topic.Record
	next  map[string]int64
	names map[uint32]formatTopic
	dirs  map[string]string
	codec map[byte]int // batches by compression
}

func readFormat(dir string) *formatReader {
	r := &formatReader{dir: dir, lanes: map[string][]topic.Record{}, next: map[string]int64{}, names: map[uint32]formatTopic{}, dirs: map[string]string{}, codec: map[byte]int{}}
	m := r.manifest()
	for _, t := range m.Topics {
		r.names[t.ID] = t
		for num, p := range t.Partitions {
			r.dirs[laneKey(t.Name, num)] = fmt.Sprintf("%s@%d-%d", t.Name, t.Epoch, num)
			for _, s := range p.Segments {
				r.segment(t, num, s)
			}
			r.next[laneKey(t.Name, num)] = p.Next
		}
	}
	r.journal(m.Journal)
	return r
}

// formatSynced reads the place up to which the journal in dir is known to have been durable.
func formatSynced(dir string) int64 {
	b := must(os.ReadFile(filepath.Join(dir, "journal", "SYNCED")))
	demand(len(b) == 20 && string(b[:8]) == "TRSYNCED" && binary.BigEndian.Uint32(b[16:]) == crc32c(b[:16]), "SYNCED is %x", b)
	return int64(binary.BigEndian.Uint64(b[8:]))
}

func laneKey(name string, num int) string { return fmt.Sprintf("%s/%d", name, num) }

func (r *formatReader) manifest() (m formatManifest) {
	b := must(os.ReadFile(filepath.Join(r.dir, "MANIFEST")))
	line, body, _ := bytes.Cut(b, []byte("\n"))
	guarded, sum, _ := bytes.Cut(line, []byte(" crc32c="))
	var version, generation, size int
	must(fmt.Sscanf(string(guarded), "tailrace-log %d generation=%d bytes=%d", &version, &generation, &size))
	demand(version <= 2 && generation > 0, "version %d, generation %d", version, generation)
	demand(size == len(body), "the manifest has %d bytes, says %d", len(body), size)
	demand(fmt.Sprintf("%08x", crc32c(guarded, body)) == string(sum), "the manifest's checksum is wrong")
	if err := json.Unmarshal(body, &m); err != nil {
		panic(err)
	}
	return m
}

func (r *formatReader) segment(t formatTopic, num int, s formatSegment) {
	name := fmt.Sprintf("%020d", s.Base)
	if s.Gen != 0 {
		name += fmt.Sprintf(".%d", s.Gen)
	}
	b := must(os.ReadFile(filepath.Join(r.dir, "topics", fmt.Sprintf("%s@%d-%d", t.Name, t.Epoch, num), name+".log")))
	demand(int64(len(b)) >= s.Bytes, "%s is short", name)
	b = b[:s.Bytes]
	key := laneKey(t.Name, num)
	from := len(r.lanes[key])
	r.next[key] = s.Base
	r.batches(key, b)
	recs := r.lanes[key][from:]
	latest := int64(-1 << 63)
	for _, rec := range recs {
		latest = max(latest, rec.Timestamp)
	}
	demand(r.next[key] == s.Next && int64(len(recs)) == s.Records && recs[0].Offset == s.First && latest == s.MaxTime, "%s is not as the manifest says", name)
}

// batches reads record batches of which the first begins with the lane's next offset.
func (r *formatReader) batches(key string, b []byte) {
	be := binary.BigEndian
	for len(b) > 0 {
		base, length := int64(be.Uint64(b)), int(be.Uint32(b[8:]))
		batch := b[:12+length]
		b = b[12+length:]
		demand(base == r.next[key], "%s: a batch begins with %d instead of %d", key, base, r.next[key])
		demand(batch[16] == 2, "magic %d", batch[16])
		owner := int32(be.Uint32(batch[12:]))
		demand(owner == -1 || owner == int32(crc32c([]byte(r.dirs[key]))&0x7fffffff), "%s: the batch at %d is another partition's", key, base)
		demand(be.Uint32(batch[17:]) == crc32c(batch[21:]), "%s: the checksum of the batch at %d is wrong", key, base)
		attributes := be.Uint16(batch[21:])
		demand(attributes&^0x47 == 0, "attributes %x", attributes)
		codec := byte(attributes & 7)
		r.codec[codec]++
		last, baseTime, maxTime := int64(be.Uint32(batch[23:])), int64(be.Uint64(batch[27:])), int64(be.Uint64(batch[35:]))
		records := unpackFormat(codec, batch[61:])
		latest := int64(-1 << 63)
		for range be.Uint32(batch[57:]) {
			rec := formatRecord(&records, base, baseTime)
			latest = max(latest, rec.Timestamp)
			demand(rec.Offset <= base+last, "offset %d is beyond its batch", rec.Offset)
			rec.Topic = key[:strings.IndexByte(key, '/')]
			rec.Partition = int32(key[len(key)-1] - '0')
			r.lanes[key] = append(r.lanes[key], rec)
		}
		demand(len(records) == 0 && latest == maxTime, "%s: the batch at %d is not as its header says", key, base)
		r.next[key] = base + last + 1
	}
}

func formatVarint(b *[]byte) int64 {
	var u uint64
	for shift := 0; ; shift += 7 {
		c := (*b)[0]
		*b = (*b)[1:]
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1)
		}
	}
}

func formatBytes(b *[]byte) []byte {
	n := formatVarint(b)
	if n == -1 {
		return nil
	}
	v := (*b)[:n]
	*b = (*b)[n:]
	return v
}

func formatRecord(b *[]byte, base, baseTime int64) (rec topic.Record) {
	n := formatVarint(b)
	body := (*b)[:n]
	*b = (*b)[n:]
	demand(body[0] == 0, "the record's attributes are %d", body[0])
	body = body[1:]
	rec.Timestamp = baseTime + formatVarint(&body)
	rec.Offset = base + formatVarint(&body)
	rec.Key, rec.Value = formatBytes(&body), formatBytes(&body)
	for range formatVarint(&body) {
		name := formatBytes(&body)
		rec.Headers = append(rec.Headers, topic.Header{Key: string(name), Value: formatBytes(&body)})
	}
	demand(len(body) == 0, "%d bytes too many in the record at %d", len(body), rec.Offset)
	return rec
}

func unpackFormat(codec byte, b []byte) []byte {
	switch codec {
	case 0:
		return b
	case 1:
		return must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(b)))))
	case 2:
		demand(string(b[:16]) == "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01", "snappy's header is %x", b[:16])
		var plain []byte
		for b = b[16:]; len(b) > 0; {
			n := binary.BigEndian.Uint32(b)
			plain = append(plain, must(snappy.Decode(nil, b[4:4+n]))...)
			b = b[4+n:]
		}
		return plain
	case 3:
		return must(io.ReadAll(lz4.NewReader(bytes.NewReader(b))))
	case 4:
		d := must(zstd.NewReader(nil))
		defer d.Close()
		return must(d.DecodeAll(b, nil))
	}
	panic(fmt.Sprint("compression ", codec))
}

func (r *formatReader) journal(from int64) {
	be := binary.BigEndian
	names := must(filepath.Glob(filepath.Join(r.dir, "journal", "*.journal")))
	slices.Sort(names)
	at := from
	for _, name := range names {
		var base int64
		if n, err := fmt.Sscanf(filepath.Base(name), "%020d.journal", &base); n != 1 || err != nil || base < from {
			continue
		}
		demand(base == at, "the journal goes on at %d, not at %d", base, at)
		b := must(os.ReadFile(name))
		demand(string(b[:8]) == "TRJOURN1" && int64(be.Uint64(b[8:])) == base && be.Uint32(b[28:]) == crc32c(b[:28]), "bad header of %s", name)
		for b = b[32:]; len(b) > 0; {
			length := int64(be.Uint32(b[24:]))
			payload := b[40 : 40+length]
			demand(string(b[:4]) == "TRJF" && be.Uint32(b[4:]) == crc32c(b[8:40]) && int64(be.Uint64(b[8:])) == at, "no frame at %d", at)
			demand(be.Uint32(b[28:]) == crc32c(payload) && int64(be.Uint64(b[16:])) <= at, "bad frame at %d", at)
			r.frame(b[32], payload)
			b = b[40+length:]
			at += 40 + length
		}
	}
}

func (r *formatReader) frame(kind byte, payload []byte) {
	be := binary.BigEndian
	switch kind {
	case 1:
		for len(payload) > 0 {
			t, ok := r.names[be.Uint32(payload)]
			demand(ok, "topic number %d is unknown", be.Uint32(payload))
			length := be.Uint32(payload[8:])
			r.batches(laneKey(t.Name, int(be.Uint32(payload[4:]))), payload[12:12+length])
			payload = payload[12+length:]
		}
	case 2:
		var t formatTopic
		if err := json.Unmarshal(payload, &t); err != nil {
			panic(err)
		}
		r.names[t.ID] = t
		for num, p := range t.Partitions {
			r.next[laneKey(t.Name, num)] = p.Next
			r.dirs[laneKey(t.Name, num)] = fmt.Sprintf("%s@%d-%d", t.Name, t.Epoch, num)
		}
	case 3:
		t := r.names[be.Uint32(payload)]
		delete(r.names, t.ID)
		for num := range t.Partitions {
			delete(r.lanes, laneKey(t.Name, num))
		}
	case 4:
		var c struct {
			ID     uint32
			Config map[string]string
		}
		if err := json.Unmarshal(payload, &c); err != nil {
			panic(err)
		}
		demand(r.names[c.ID].Name != "" && c.Config != nil, "settings of topic number %d", c.ID)
	default:
		panic(fmt.Sprint("frame of kind ", kind))
	}
}

// TestFormat: FORMAT.md says all that one needs to read the log.
func TestFormat(t *testing.T) {
	dir := t.TempDir()
	l := mixedLog(t, dir, false)
	if err := l.Create(t.Context(), topic.Spec{Name: "made-late", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	if err := l.Configure(t.Context(), "made-late", map[string]string{"compression.type": "zstd"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), []topic.Record{{Topic: "made-late", Timestamp: 1, Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T) {
		t.Helper()
		want, err := lanes(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		var r *formatReader
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("FORMAT.md does not say how to read this: %v", p)
				}
			}()
			r = readFormat(dir)
		}()
		if !reflect.DeepEqual(r.lanes, want) {
			for key := range want {
				if !reflect.DeepEqual(r.lanes[key], want[key]) {
					t.Errorf("%s: %d records, should be %d, or they differ", key, len(r.lanes[key]), len(want[key]))
				}
			}
			t.Fatalf("%d lanes, should be %d", len(r.lanes), len(want))
		}
		if len(r.codec) != 5 {
			t.Errorf("batches by compression: %v", r.codec)
		}
	}
	t.Run("journal", check)
	if err := l.Delete(t.Context(), "made-late"); err != nil {
		t.Fatal(err)
	}
	t.Run("deleted", check)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("segments", check)
	t.Run("synced", func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, disk.Options{Dir: dir, JournalBytes: 64 * 200, ManualCompaction: true})
		if err := l.Create(t.Context(), topic.Spec{Name: "a", Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := l.Append(t.Context(), []topic.Record{numbered(i)}); err != nil {
				t.Fatal(err)
			}
		}
		frames := must(os.Stat(filepath.Join(dir, "journal", fmt.Sprintf("%020d.journal", 0)))).Size() - 32
		if at := formatSynced(dir); at <= 0 || at > frames-200 || at < frames-600 {
			t.Errorf("SYNCED says %d of %d", at, frames)
		}
	})
	t.Run("reader_sees_damage", func(t *testing.T) {
		b := must(os.ReadFile(filepath.Join(dir, "MANIFEST")))
		b[len(b)/2] ^= 1
		broken := t.TempDir()
		if err := os.WriteFile(filepath.Join(broken, "MANIFEST"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if recover() == nil {
				t.Error("the reader accepts anything")
			}
		}()
		readFormat(broken)
	})
}
