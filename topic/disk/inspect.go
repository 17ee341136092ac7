package disk

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// inspectTries is how often an inspection begins anew because the process that has the log open changed it meanwhile.
const inspectTries = 10

// An Inspection is a log as its files are, looked at without opening it: nothing is locked or written, so it works on a
// copy that may only be read, and beside the process that has the log open, as of the moment of Inspect. It is for one
// goroutine.
type Inspection struct {
	Dir        string
	Generation uint32
	Topics     []TopicState // sorted by number, that is in the order in which they were made

	fs    vfs.FS
	man   *manifest
	files []journalState
}

// TopicState is a topic as the manifest and the journal after it describe it.
type TopicState struct {
	ID         uint32
	Name       string
	Epoch      uint32
	Config     map[string]string
	Partitions []PartitionState
}

// PartitionState is a partition: its segments, and what the journal has beyond them.
type PartitionState struct {
	Segments []SegmentState
	Journal  SegmentState // records that are in the journal, and in segments only as long as power stays; File is ""
	Clean    int64        // compaction has seen all records below this offset
	End      int64        // offset of the next record
}

// SegmentState is a segment as the manifest describes it.
type SegmentState struct {
	File    string // path; "": the journal
	Base    int64  // the first offset that it stands for
	Next    int64  // the offset after the last one that it stands for
	First   int64  // offset of its first record
	Records int64
	Bytes   int64
	MaxTime int64 // milliseconds since the Unix epoch; math.MinInt64 if there are no records

	meta segmentMeta
}

// journalState is one file of the journal as an inspection found it.
type journalState struct {
	name   string
	bytes  int64 // in whole frames
	frames int64
	torn   int64 // bytes of a torn tail, which the next Open cuts off
	err    error // LOG_CORRUPT
}

// Inspect reads the manifest and the journal after it in dir. Damage of the manifest is the error LOG_CORRUPT; damage of
// the journal is only noted: Verify tells it, and what lies behind it is missing from Topics. A log of a newer format is
// LOG_VERSION, a directory without a log LOG_MISSING.
func Inspect(ctx context.Context, fsys vfs.FS, dir string) (*Inspection, error) {
	for try := 1; ; try++ {
		man, err := readManifest(fsys, dir)
		if err != nil {
			return nil, err
		}
		if man == nil {
			return nil, noManifest(fsys, dir)
		}
		in := &Inspection{Dir: dir, fs: fsys}
		err = in.replay(ctx, man)
		if err != nil {
			return nil, err
		}
		if in.damaged() == nil || try == inspectTries {
			return in, nil
		}
		// A checkpoint of the process that has the log open may have removed files between our looks at them.
		now, err := readManifest(fsys, dir)
		if err != nil {
			return nil, err
		}
		if now != nil && now.Journal == man.Journal && now.Generation == man.Generation {
			return in, nil
		}
	}
}

// noManifest is the error for a directory without a manifest: damage if there is anything of a log.
func noManifest(fsys vfs.FS, dir string) error {
	name := path.Join(dir, manifestName)
	for _, sub := range []string{topicsDir, journalDir} {
		if names, err := fsys.List(path.Join(dir, sub)); err == nil && len(names) > 0 {
			return corrupt(name, 0, errors.New("it is missing, but there are files of a log"))
		}
	}
	return fault.Permanentf("LOG_MISSING", "give the data directory of the daemon", "there is no log in %s", dir)
}

// replay makes the state of the manifest, and applies to it what the journal says, as recovery does.
func (in *Inspection) replay(ctx context.Context, man *manifest) error {
	in.man, in.Generation = man, man.Generation
	in.Topics, in.files = nil, nil
	for i := range man.Topics {
		if err := in.add(&man.Topics[i]); err != nil {
			return err
		}
	}
	files, err := walkJournal(ctx, in.fs, path.Join(in.Dir, journalDir), man.Journal, func(_ *journalReader, f *frame) error { return in.apply(f) })
	in.files = files
	return err
}

// add makes a topic that the manifest or a frame describes.
func (in *Inspection) add(m *topicMeta) error {
	if err := checkName(m.Name); err != nil {
		return err
	}
	t := TopicState{ID: m.ID, Name: m.Name, Epoch: m.Epoch, Config: m.Config, Partitions: make([]PartitionState, len(m.Partitions))}
	for num := range m.Partitions {
		pm := &m.Partitions[num]
		p := &t.Partitions[num]
		p.Clean, p.End = pm.Clean, pm.Next
		p.Journal = SegmentState{Base: pm.Next, Next: pm.Next, First: pm.Next, MaxTime: math.MinInt64}
		for _, s := range pm.Segments {
			p.Segments = append(p.Segments, SegmentState{File: path.Join(in.Dir, topicsDir, dirName(m.Name, m.Epoch, int32(num)), s.fileName()),
				Base: s.Base, Next: s.Next, First: s.First, Records: s.Records, Bytes: s.Bytes, MaxTime: s.MaxTime, meta: s})
		}
	}
	in.Topics = append(in.Topics, t)
	return nil
}

// apply does to the state what a frame says. Errors are the cause of damage.
func (in *Inspection) apply(f *frame) error {
	switch f.kind {
	case kindRecords:
		return eachSection(f.payload, func(id uint32, num int32, batches []byte) error {
			t := in.byID(id)
			if t == nil || num < 0 || int(num) >= len(t.Partitions) {
				return errNumbering
			}
			return t.Partitions[num].grow(batches, ownerOf(dirName(t.Name, t.Epoch, num)))
		})
	case kindCreate:
		var m topicMeta
		if err := json.Unmarshal(f.payload, &m); err != nil {
			return fmt.Errorf("%w: %w", errNumbering, err)
		}
		return in.add(&m)
	case kindDelete:
		if len(f.payload) != 4 {
			return errNumbering
		}
		id := binary.BigEndian.Uint32(f.payload)
		for i := range in.Topics {
			if in.Topics[i].ID == id {
				in.Topics = append(in.Topics[:i], in.Topics[i+1:]...)
				return nil
			}
		}
		return errNumbering
	case kindConfig:
		var c configFrame
		if err := json.Unmarshal(f.payload, &c); err != nil {
			return fmt.Errorf("%w: %w", errNumbering, err)
		}
		t := in.byID(c.ID)
		if t == nil {
			return errNumbering
		}
		t.Config = c.Config
		return nil
	}
	return fault.Permanentf("LOG_VERSION", "use the Tailrace that wrote it, or a newer one", "a frame of the journal has the unknown kind %d", f.kind)
}

// grow adds batches of the journal to the partition's state.
func (p *PartitionState) grow(batches []byte, owner int32) error {
	return eachBatch(batches, func(_ []byte, h *recordbatch.Header) error {
		if h.BaseOffset != p.End {
			return errNumbering
		}
		if err := checkOwner(h, owner); err != nil {
			return err
		}
		j := &p.Journal
		j.Records += int64(h.Count)
		j.Bytes += int64(h.Size)
		j.MaxTime = max(j.MaxTime, h.MaxTime)
		p.End = h.LastOffset() + 1
		j.Next = p.End
		return nil
	})
}

// eachBatch calls visit for each batch of b, unchecked but whole.
func eachBatch(b []byte, visit func(batch []byte, h *recordbatch.Header) error) error {
	for len(b) > 0 {
		h, err := recordbatch.ParseHeader(b)
		if err == nil && h.Size > len(b) {
			err = recordbatch.ErrLength
		}
		if err != nil {
			return err
		}
		if err := visit(b[:h.Size], &h); err != nil {
			return err
		}
		b = b[h.Size:]
	}
	return nil
}

func (in *Inspection) byID(id uint32) *TopicState {
	for i := range in.Topics {
		if in.Topics[i].ID == id {
			return &in.Topics[i]
		}
	}
	return nil
}

// Topic returns the topic of the name, or topic.ErrNoTopic.
func (in *Inspection) Topic(name string) (*TopicState, error) {
	for i := range in.Topics {
		if in.Topics[i].Name == name {
			return &in.Topics[i], nil
		}
	}
	return nil, fmt.Errorf("%s: %w", name, topic.ErrNoTopic)
}

// damaged returns the first damage of the journal, nil if it is whole.
func (in *Inspection) damaged() error {
	for _, f := range in.files {
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// FirstTime is the timestamp of a segment's first record, in milliseconds since the Unix epoch; it reads one batch.
func (in *Inspection) FirstTime(s *SegmentState) (ms int64, err error) {
	f, err := in.fs.Open(s.File, 0)
	if err != nil {
		return 0, missing(s.File, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sc := scanner{name: s.File, file: f, end: s.Bytes, offset: s.Base}
	b, _, pos, err := sc.next()
	if err != nil {
		return 0, err
	}
	var d recordbatch.Decoder
	var r topic.Record
	if _, err = d.Reset(b); err == nil {
		_, _, err = d.Next(&r, nil)
	}
	if err != nil {
		return 0, corrupt(s.File, pos, err)
	}
	return r.Timestamp, nil
}

// missing makes damage of the error that a file is not there.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(name, 0, errors.New("the file is missing"))
	}
	return err
}

// walkJournal calls visit for each whole frame of the journal from position from on, by the rules of recovery, and
// describes the files. Damage, which an error of visit counts as too, ends the walk and is noted with its file. The error
// is one of reading, or LOG_VERSION.
func walkJournal(ctx context.Context, fsys vfs.FS, dir string, from int64, visit func(*journalReader, *frame) error) (files []journalState, err error) {
	mark, err := readMark(fsys, dir) // before the files are looked at: a log in use goes on
	if err != nil {
		return nil, err
	}
	bases, err := journalFiles(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	pos, last := from, from
	for i, base := range bases {
		if base < from {
			continue // the next Open removes it
		}
		if base != pos {
			break // a file is missing; said below
		}
		next := int64(-1)
		if i+1 < len(bases) {
			next = bases[i+1]
		}
		state, end, err := walkFile(ctx, fsys, dir, base, next, visit)
		if err != nil {
			return files, err
		}
		files = append(files, state)
		if state.err != nil {
			return files, nil
		}
		pos, last = end, base
	}
	if n := len(bases); len(files) == 0 || bases[n-1] > pos {
		name := path.Join(dir, journalName(pos))
		files = append(files, journalState{name: name, err: corrupt(name, 0, errors.New("the file is missing"))})
		return files, nil
	}
	end := &files[len(files)-1]
	end.err = checkMark(end.name, last, pos, mark)
	return files, nil
}

// walkFile is walkJournal for the file that begins at base; the one after it begins at next, -1 if there is none. end is
// the position after its last whole frame.
func walkFile(ctx context.Context, fsys vfs.FS, dir string, base, next int64, visit func(*journalReader, *frame) error) (s journalState, end int64, err error) {
	s.name = path.Join(dir, journalName(base))
	jr, whole, err := openJournal(fsys, dir, base)
	if errors.Is(err, fs.ErrNotExist) {
		s.err = missing(s.name, err)
		return s, base, nil
	}
	if err != nil {
		return s, base, err
	}
	defer func() { err = errors.Join(err, jr.file.Close()) }()
	if !whole {
		s.err = corrupt(s.name, 0, errors.New("bad header"))
		return s, base, nil
	}
	if next >= 0 { // what is beyond is not part of the journal
		jr.bytes = min(jr.bytes, next-base)
	}
	for {
		if err := ctx.Err(); err != nil {
			return s, base, err
		}
		f, ok, err := jr.next()
		if err != nil {
			return s, base, err
		}
		if !ok {
			break
		}
		if err := visit(jr, &f); err != nil {
			if fault.Code(err) == "" {
				s.err = corrupt(s.name, journalHeader+f.pos-base, err)
				return s, base, nil
			}
			return s, base, err
		}
		s.frames++
		s.bytes = jr.at
	}
	damaged := next >= 0 && base+jr.at != next
	if next < 0 && jr.at < jr.bytes {
		s.torn = jr.bytes - jr.at
		if damaged, err = jr.syncedBeyond(); err != nil {
			return s, base, err
		}
	}
	if damaged {
		s.err = corrupt(s.name, journalHeader+jr.at, errors.New("a frame that was durable is not whole"))
	}
	return s, base + jr.at, nil
}
