package disk

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// A Place is one thing in a file of the log: a batch of records, or a frame of the journal that has none. Its bytes are
// valid during the call that gives it.
type Place struct {
	File     string
	Position int64 // of the batch or the frame in the file
	Frame    *Frame
	Batch    *recordbatch.Header // nil: a frame without records
	Topic    string              // "": not known, as in a file that is looked at alone
	TopicID  uint32              // in the journal
	Part     int32
	Records  []topic.Record
}

// A Frame is what the header of a frame of the journal says. FORMAT.md explains it.
type Frame struct {
	Position   int64 // in the journal
	Synced     int64
	Generation uint32
	Kind       string // records, create, delete or config
	Payload    []byte // of a frame without records: JSON of the topic that was made or of its settings, number of the one deleted
}

// frameKind names the kind of a frame.
func frameKind(k byte) string {
	switch k {
	case kindRecords:
		return "records"
	case kindCreate:
		return "create"
	case kindDelete:
		return "delete"
	case kindConfig:
		return "config"
	}
	return strconv.Itoa(int(k))
}

// A dumper gives the batches of a file to visit, decoded. It is reused from batch to batch.
type dumper struct {
	visit   func(*Place) error
	decoder recordbatch.Decoder
	records []topic.Record
	headers []topic.Header
}

// batch decodes b and visits it.
func (d *dumper) batch(p Place, b []byte) error {
	h, err := d.decoder.Reset(b)
	d.records, d.headers = d.records[:0], d.headers[:0]
	for ok := true; ok && err == nil; {
		var r topic.Record
		if d.headers, ok, err = d.decoder.Next(&r, d.headers); ok && err == nil {
			r.Topic, r.Partition = p.Topic, p.Part
			d.records = append(d.records, r)
		}
	}
	if err != nil {
		return err
	}
	p.Batch, p.Records = &h, d.records
	return d.visit(&p)
}

// segment visits the first bytes of a segment file, whose batches begin with offset base.
func (d *dumper) segment(ctx context.Context, fsys vfs.FS, at Place, base, bytes int64) (err error) {
	f, err := fsys.Open(at.File, 0)
	if err != nil {
		return missing(at.File, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if bytes < 0 {
		bytes = size
	}
	sc := scanner{name: at.File, file: f, end: min(bytes, size), offset: base}
	if at.Topic == "" { // alone, it may be in any directory
		sc.owner = recordbatch.NoOwner
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, _, pos, err := sc.next()
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		at.Position = pos
		if err := d.batch(at, b); err != nil {
			return damageOf(at.File, pos, err)
		}
	}
	if size < bytes {
		return corrupt(at.File, size, fmt.Errorf("the file ends here, but %d bytes of it were durable", bytes))
	}
	return nil
}

// damageOf makes damage of what is wrong with a batch; what visit returned passes.
func damageOf(name string, pos int64, err error) error {
	var bad recordbatch.Error
	if errors.As(err, &bad) {
		return corrupt(name, pos, err)
	}
	return err
}

// frame visits what a frame holds. topicName names a topic by its number.
func (d *dumper) frame(jr *journalReader, f *frame, topicName func(id uint32) string) error {
	fr := &Frame{Position: f.pos, Synced: f.synced, Generation: f.gen, Kind: frameKind(f.kind)}
	at := journalHeader + f.pos - jr.base
	if f.kind != kindRecords {
		fr.Payload = f.payload
		return d.visit(&Place{File: jr.name, Position: at, Frame: fr})
	}
	rest := int64(len(f.payload))
	return eachSection(f.payload, func(id uint32, num int32, batches []byte) error {
		pos := at + frameHeader + int64(len(f.payload)) - rest + sectionHeader
		rest -= int64(sectionHeader + len(batches))
		return eachBatch(batches, func(b []byte, h *recordbatch.Header) error {
			p := Place{File: jr.name, Position: pos, Frame: fr, Topic: topicName(id), TopicID: id, Part: num}
			pos += int64(h.Size)
			return d.batch(p, b)
		})
	})
}

// Dump visits the batches of a topic in the order of their offsets, those of one partition or, with -1, of all: segments
// first, then what the journal has beyond them. What visit returns ends it and is returned, as is damage, LOG_CORRUPT.
func (in *Inspection) Dump(ctx context.Context, name string, partition int32, visit func(*Place) error) error {
	t, err := in.Topic(name)
	if err != nil {
		return err
	}
	if int(partition) >= len(t.Partitions) {
		return fmt.Errorf("%s has %d partitions and none of number %d: %w", name, len(t.Partitions), partition, topic.ErrNoTopic)
	}
	d := dumper{visit: visit}
	for num := range t.Partitions {
		if partition >= 0 && int(partition) != num {
			continue
		}
		for i := range t.Partitions[num].Segments {
			s := &t.Partitions[num].Segments[i]
			if err := d.segment(ctx, in.fs, Place{File: s.File, Topic: name, Part: int32(num)}, s.Base, s.Bytes); err != nil {
				return in.explain(err, s, t.ID, num)
			}
		}
	}
	d.visit = func(p *Place) error {
		if p.TopicID != t.ID || partition >= 0 && p.Part != partition {
			return nil
		}
		return visit(p)
	}
	return d.journal(ctx, in.fs, path.Join(in.Dir, journalDir), in.man.Journal, func(uint32) string { return name })
}

// explain returns err, unless it only says that compaction removed the segment after Inspect had seen it.
func (in *Inspection) explain(err error, s *SegmentState, id uint32, num int) error {
	replaced, looked := in.replaced(s, id, num)
	if looked == nil && replaced {
		return fault.Permanentf("LOG_CHANGED", "begin again, or look at a copy", "the log is in use, and compaction has replaced %s meanwhile", s.File)
	}
	return err
}

// journal visits the frames from position from on. An error of visit is told from damage, and returned as it is.
func (d *dumper) journal(ctx context.Context, fsys vfs.FS, dir string, from int64, topicName func(uint32) string) error {
	var own error
	visit := d.visit
	d.visit = func(p *Place) error {
		own = visit(p)
		return own
	}
	files, err := walkJournal(ctx, fsys, dir, from, func(jr *journalReader, f *frame) error { return d.frame(jr, f, topicName) })
	if own != nil {
		return own
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// DumpFile visits a file of the log alone: all frames of a journal file, or all batches of a segment file. The file's name
// tells which it is, and where its offsets or positions begin.
func DumpFile(ctx context.Context, fsys vfs.FS, name string, visit func(*Place) error) error {
	file := path.Base(name)
	number, _, _ := strings.Cut(file, ".")
	base, err := strconv.ParseInt(number, 10, 64)
	journal := strings.HasSuffix(file, ".journal")
	if err != nil || len(number) != 20 || base < 0 || !journal && !strings.HasSuffix(file, ".log") {
		return fault.Permanentf("LOG_FILE", "name a file as the log does, like 00000000000000000000.log or 00000000000000000000.journal, or a topic",
			"%s is no file of a log", name)
	}
	d := dumper{visit: visit}
	if !journal {
		return d.segment(ctx, fsys, Place{File: name}, base, -1)
	}
	var own error
	d.visit = func(p *Place) error {
		own = visit(p)
		return own
	}
	s, _, err := walkFile(ctx, fsys, path.Dir(name), base, -1, func(jr *journalReader, f *frame) error {
		return d.frame(jr, f, func(uint32) string { return "" })
	})
	if own != nil {
		return own
	}
	if err != nil {
		return err
	}
	return s.err
}
