package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// Lost is a range of offsets that Salvage could not save, From included and To not.
type Lost struct {
	Topic     string // "": records of any topic, in a damaged part of the journal
	Partition int32
	From, To  int64 // To is math.MaxInt64 if nobody knows how far the records went
	File      string
	Cause     string
}

// SalvageReport says what Salvage saved and what is lost.
type SalvageReport struct {
	Topics  int
	Records int64
	Bytes   int64
	Lost    []Lost
	Notes   []string // in what else the new log differs from the old one
}

// Salvage copies what is whole of the log in src into a new log in dst, which must not exist or be empty. It copies whole record
// batches, so that records keep their offsets; a damaged batch is left out as a whole. Nothing in src is
// changed but the lock file, which keeps out any process that would open it.
//
// A topic that lost records begins a new epoch, which keeps its versions growing (Invariant 4) and makes every sink read
// it from the start; if the journal lost some, or the manifest is lost, that goes for all topics. Where the journal is
// damaged, what segments still have of it is taken. Without a manifest topics are found by the names of directories.
//
// The error is about not having come to the end: damage is what Salvage is for.
func Salvage(ctx context.Context, fsys vfs.FS, src, dst string) (*SalvageReport, error) {
	if names, err := fsys.List(dst); err == nil && len(names) > 0 {
		return nil, fault.Permanentf("LOG_NOT_EMPTY", "give a directory that does not exist or is empty", "%s is not empty", dst)
	}
	lock, err := fsys.Lock(path.Join(src, lockName))
	var held *vfs.Locked
	if errors.As(err, &held) {
		return nil, fault.Permanentf("LOG_LOCKED", "stop that process", "data directory %s is in use: %w", src, held)
	}
	s := &salvage{fs: fsys, src: src, dst: dst, report: &SalvageReport{}, parts: map[lane]*salvagePart{}, names: map[uint32]string{}}
	err = s.run(ctx)
	if lock != nil { // nil where nobody can write
		err = errors.Join(err, lock.Close())
	}
	return s.report, err
}

// A salvage is one run of Salvage.
type salvage struct {
	fs       vfs.FS
	src, dst string
	report   *SalvageReport
	man      *manifest // of the new log
	blind    bool      // the manifest is lost: what partitions should hold is not known
	journal  bool      // the journal is damaged
	damaged  map[string]bool
	parts    map[lane]*salvagePart
	names    map[uint32]string // of topics, by the numbers that the journal uses
}

// A salvagePart is what becomes of one partition.
type salvagePart struct {
	lane
	from, to string // directories
	limit    int64  // of a segment in bytes
	next     int64  // what the manifest says; later what the journal says
	logStart int64
	segments []segmentMeta
	at       int64 // all offsets below are saved, known to be lost, or were not there
	tail     bool  // the last ones are lost
}

func (s *salvage) run(ctx context.Context) error {
	old, err := s.judge(ctx)
	if err != nil {
		return err
	}
	s.man = &manifest{Generation: old.Generation, NextID: old.NextID, Retired: maps.Clone(old.Retired)}
	if err := errors.Join(s.fs.Mkdir(path.Join(s.dst, topicsDir)), s.fs.Mkdir(path.Join(s.dst, journalDir))); err != nil {
		return err
	}
	for i := range old.Topics {
		if err := s.begin(&old.Topics[i]); err != nil {
			return err
		}
	}
	for i := range old.Topics {
		for num := range old.Topics[i].Partitions {
			if err := s.copySegments(ctx, s.parts[lane{old.Topics[i].Name, int32(num)}], old.Topics[i].Partitions[num].Segments); err != nil {
				return err
			}
		}
	}
	if err := s.copyJournal(ctx, old.Journal); err != nil {
		return err
	}
	return s.finish()
}

// judge reads the manifest, or makes one, and finds out which topics lost something.
func (s *salvage) judge(ctx context.Context) (*manifest, error) {
	in, err := Inspect(ctx, s.fs, s.src)
	if fault.Code(err) == "LOG_CORRUPT" {
		s.blind = true
		s.note("without a manifest (%s) the settings of topics and the epochs of deleted ones are lost, and what is missing at the end of a topic can't be told", plainCause(err))
		return s.guess()
	}
	if err != nil {
		return nil, err
	}
	reports, err := in.Verify(ctx)
	if err != nil {
		return nil, err
	}
	s.damaged = map[string]bool{}
	for _, r := range reports {
		switch {
		case r.Err == nil:
		case r.Topic == "":
			s.journal = true
		default:
			s.damaged[r.Topic] = true
		}
	}
	return in.man, nil
}

func (s *salvage) note(format string, args ...any) {
	s.report.Notes = append(s.report.Notes, fmt.Sprintf(format, args...))
}

func (s *salvage) lose(p *salvagePart, from, to int64, file, cause string) {
	s.report.Lost = append(s.report.Lost, Lost{Topic: p.topic, Partition: p.num, From: from, To: to, File: file, Cause: cause})
}

// begin takes a topic over into the new log.
func (s *salvage) begin(t *topicMeta) error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	m := topicMeta{ID: t.ID, Name: t.Name, Epoch: t.Epoch, Config: t.Config, Partitions: make([]partitionMeta, len(t.Partitions))}
	if s.blind || s.journal || s.damaged[t.Name] {
		m.Epoch++
		s.note("topic %s has epoch %d now: its sinks begin anew", t.Name, m.Epoch)
	}
	opt := Options{Dir: s.dst, FS: s.fs}
	if err := opt.setDefaults(); err != nil {
		return err
	}
	set, err := opt.parse(t.Config)
	if err != nil {
		return fmt.Errorf("topic %s: %w", t.Name, err)
	}
	s.man.Topics = append(s.man.Topics, m)
	s.man.NextID = max(s.man.NextID, t.ID+1)
	delete(s.man.Retired, t.Name)
	s.names[t.ID] = t.Name
	for num := range t.Partitions {
		p := &salvagePart{lane: lane{t.Name, int32(num)}, limit: set.segmentBytes, next: t.Partitions[num].Next, logStart: t.Partitions[num].LogStart}
		p.from = path.Join(s.src, topicsDir, dirName(t.Name, t.Epoch, int32(num)))
		p.to = path.Join(s.dst, topicsDir, dirName(t.Name, m.Epoch, int32(num)))
		s.parts[p.lane] = p
	}
	return nil
}

// copySegments copies what is whole of the segments that the manifest names.
func (s *salvage) copySegments(ctx context.Context, p *salvagePart, metas []segmentMeta) error {
	for i := range metas {
		m := &metas[i]
		name := path.Join(p.from, m.fileName())
		if s.blind && i > 0 && m.Base > p.at {
			s.lose(p, p.at, m.Base, name, "no file has the offsets before this one: compaction, retention or damage took them")
		}
		p.at = max(p.at, m.Base)
		upto := m.Next
		if s.blind {
			upto = math.MaxInt64
			if i+1 < len(metas) {
				upto = metas[i+1].Base
			}
		}
		var cause string
		var err error
		if s.damaged[p.topic] {
			cause, err = s.foreign(ctx, name, m)
		}
		if cause == "" && err == nil {
			cause, err = s.copyFile(ctx, p, name, m.Bytes, m.Base, upto)
		}
		if err != nil {
			return err
		}
		switch {
		case s.blind && cause != "":
			s.lose(p, p.at, upto, name, cause)
		case !s.blind && p.at < m.Next:
			s.lose(p, p.at, m.Next, name, cmp.Or(cause, "the file ends before"))
			p.at, p.tail = m.Next, true
		}
	}
	p.at = max(p.at, p.next) // compaction or retention took what no segment stands for
	return nil
}

// copyFile copies the whole batches of the first bytes of a segment file that have offsets from base to upto and are not
// there yet. It returns the cause of what is lost behind the last of them, "" if nothing seems to be.
func (s *salvage) copyFile(ctx context.Context, p *salvagePart, name string, bytes, base, upto int64) (cause string, err error) {
	f, err := s.fs.Open(name, 0)
	if err != nil {
		return plainCause(missing(name, err)), nil
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return "", err
	}
	sv := sieve{file: f, name: name, end: min(size, bytes), offset: base, upto: upto, owner: ownerOf(p.from)}
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		b, ok, err := sv.next()
		if err != nil {
			return "", err
		}
		if sv.cause != "" {
			cause = sv.cause
		}
		if !ok {
			if size < bytes && bytes < math.MaxInt64 {
				cause = cmp.Or(cause, fmt.Sprintf("the file ends at byte %d, but %d bytes of it were durable", size, bytes))
			}
			return cause, nil
		}
		if err := s.take(p, &b, name, cause); err != nil {
			return "", err
		}
		sv.cause, cause = "", ""
	}
}

// take adds a batch that goes on from what is there. What is between is lost; what is there already is passed over.
func (s *salvage) take(p *salvagePart, b *wholeBatch, file, cause string) error {
	if b.h.LastOffset() < p.at {
		return nil
	}
	if b.h.BaseOffset < p.at { // of a compaction that was under way
		s.lose(p, p.at, b.h.LastOffset()+1, file, "its batch overlaps another one")
		p.at, p.tail = b.h.LastOffset()+1, true
		return nil
	}
	if b.h.BaseOffset > p.at {
		s.lose(p, p.at, b.h.BaseOffset, file, cmp.Or(cause, "it is in no file"))
	}
	return s.write(p, b)
}

// write appends a batch to the last of the partition's new segments, or begins another one.
func (s *salvage) write(p *salvagePart, b *wholeBatch) (err error) {
	last := len(p.segments) - 1
	if last < 0 {
		if err := s.fs.Mkdir(p.to); err != nil {
			return err
		}
	}
	if last < 0 || p.segments[last].Next != b.h.BaseOffset || p.segments[last].Bytes+int64(b.h.Size) > p.limit ||
		b.h.LastOffset()-p.segments[last].Base > 1<<30 {
		p.segments = append(p.segments, segmentMeta{Base: b.h.BaseOffset, First: b.first, MaxTime: b.latest})
		last++
	}
	m := &p.segments[last]
	f, err := s.fs.Open(path.Join(p.to, m.fileName()), os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	recordbatch.SetOwner(b.bytes, ownerOf(p.to))
	if _, err := f.WriteAt(b.bytes, m.Bytes); err != nil {
		return err
	}
	m.Bytes += int64(b.h.Size)
	m.Records += int64(b.h.Count)
	m.MaxTime = max(m.MaxTime, b.latest)
	m.Next = b.h.LastOffset() + 1
	p.at, p.tail = m.Next, false
	s.report.Records += int64(b.h.Count)
	s.report.Bytes += int64(b.h.Size)
	return nil
}

// finish makes the new log durable.
func (s *salvage) finish() error {
	for i := range s.man.Topics {
		t := &s.man.Topics[i]
		for num := range t.Partitions {
			p := s.parts[lane{t.Name, int32(num)}]
			next := p.at
			if p.tail { // the last offset of a partition has a record
				next = 0
				if n := len(p.segments); n > 0 {
					next = p.segments[n-1].Next
				}
			}
			t.Partitions[num] = partitionMeta{Next: next, LogStart: min(p.logStart, next), Segments: p.segments}
			if err := s.sync(p); err != nil {
				return err
			}
		}
	}
	s.report.Topics = len(s.man.Topics)
	j := journal{fs: s.fs, dir: path.Join(s.dst, journalDir), gen: s.man.Generation}
	if err := j.create(0); err != nil {
		return err
	}
	if err := j.file.Close(); err != nil {
		return err
	}
	if err := errors.Join(s.fs.SyncDir(path.Join(s.dst, topicsDir)), s.fs.SyncDir(path.Dir(path.Clean(s.dst)))); err != nil {
		return err
	}
	return writeManifest(s.fs, s.dst, s.man)
}

// sync makes the new segments of a partition durable.
func (s *salvage) sync(p *salvagePart) error {
	for i := range p.segments {
		f, err := s.fs.Open(path.Join(p.to, p.segments[i].fileName()), 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	if len(p.segments) == 0 {
		return nil
	}
	return s.fs.SyncDir(p.to)
}

// plainCause is what was found, without code, file and remedy.
func plainCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
