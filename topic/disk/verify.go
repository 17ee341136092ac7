package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// A FileReport says how Verify found a file.
type FileReport struct {
	Topic     string // "": a file of all topics
	Partition int32
	File      string
	Bytes     int64  // that count
	Records   int64  // that were found; in the journal, frames
	Note      string // what is not damage but worth knowing
	Err       error  // LOG_CORRUPT with the place and the cause; nil if the file is whole
}

// Verify reads every record of every segment and checks checksums, offsets and counts. It goes on after damage: the
// reports name all damaged files, each up to its first damage. The error is only about not having come to the end.
func (l *Log) Verify(ctx context.Context) ([]FileReport, error) {
	var reports []FileReport
	for _, t := range l.all() {
		for _, p := range t.parts {
			l.compactMu.Lock() // segments stay while they are read
			p.mu.Lock()
			segs := append([]*segment(nil), p.segs...)
			metas := make([]segmentMeta, len(segs))
			for i, s := range segs {
				metas[i] = s.meta
			}
			p.mu.Unlock()
			for i, s := range segs {
				if err := ctx.Err(); err != nil {
					l.compactMu.Unlock()
					return reports, err
				}
				r := FileReport{Topic: t.name, Partition: p.num, File: s.path(), Bytes: metas[i].Bytes}
				r.Records, r.Err = l.verify(ctx, s, &metas[i])
				if p.isGone() || l.shut() {
					continue
				}
				reports = append(reports, r)
			}
			l.compactMu.Unlock()
		}
	}
	if l.shut() {
		return reports, topic.ErrClosed
	}
	return reports, nil
}

// verify checks one segment against what the log knows of it.
func (l *Log) verify(ctx context.Context, s *segment, m *segmentMeta) (records int64, err error) {
	f, err := l.files.acquire(s, 0)
	if err != nil {
		return 0, corrupt(s.path(), 0, err)
	}
	defer l.files.release(s)
	return checkSegment(ctx, s.path(), f, m)
}

// checkSegment reads a segment's file and checks it against its meta. It returns how many records it found.
func checkSegment(ctx context.Context, name string, f vfs.File, m *segmentMeta) (records int64, err error) {
	sc := scanner{name: name, file: f, end: m.Bytes, offset: m.Base}
	var d recordbatch.Decoder
	var rec topic.Record
	var headers []topic.Header
	last, latest := m.Base-1, int64(0)
	for {
		if err := ctx.Err(); err != nil {
			return records, err
		}
		b, _, pos, err := sc.next()
		if err != nil {
			return records, err
		}
		if b == nil {
			break
		}
		if _, err := d.Reset(b); err != nil {
			return records, corrupt(name, pos, err)
		}
		for {
			var ok bool
			headers, ok, err = d.Next(&rec, headers[:0])
			if err == nil && ok && (rec.Offset <= last || rec.Offset >= m.Next || records == 0 && rec.Offset != m.First) {
				err = errNumbering
			}
			if err != nil {
				return records, corrupt(name, pos, err)
			}
			if !ok {
				break
			}
			last = rec.Offset
			if records == 0 || rec.Timestamp > latest {
				latest = rec.Timestamp
			}
			records++
		}
	}
	switch {
	case records != m.Records:
		err = fmt.Errorf("it has %d records instead of %d", records, m.Records)
	case sc.offset != m.Next:
		err = fmt.Errorf("it ends before offset %d instead of %d", sc.offset, m.Next)
	case records > 0 && latest != m.MaxTime:
		err = fmt.Errorf("its latest record is of %d ms instead of %d", latest, m.MaxTime)
	}
	if err != nil {
		return records, corrupt(name, m.Bytes, err)
	}
	return records, nil
}

// Verify reads every byte that counts: the manifest, which Inspect has judged, each frame of the journal with its batches,
// and each segment. The reports name all files, each up to its first damage, and files that the log doesn't know. Of a
// log that is open it sees what was there at the moment of Inspect; segments that compaction replaces meanwhile are left
// out, and checked in their new form by the next one. The error is only about not having come to the end.
func (in *Inspection) Verify(ctx context.Context) ([]FileReport, error) {
	reports := []FileReport{{File: path.Join(in.Dir, manifestName), Records: int64(len(in.man.Topics))}}
	journal, err := in.verifyJournal(ctx)
	if err != nil {
		return reports, err
	}
	reports = append(reports, journal...)
	for i := range in.Topics {
		t := &in.Topics[i]
		for num := range t.Partitions {
			for j := range t.Partitions[num].Segments {
				s := &t.Partitions[num].Segments[j]
				r := FileReport{Topic: t.Name, Partition: int32(num), File: s.File, Bytes: s.Bytes}
				r.Records, r.Err = in.verifySegment(ctx, s)
				if err := ctx.Err(); err != nil {
					return reports, err
				}
				if r.Err != nil {
					replaced, err := in.replaced(s, t.ID, num)
					if err != nil {
						return reports, err
					}
					if replaced {
						continue
					}
				}
				reports = append(reports, r)
			}
		}
	}
	strangers, err := in.strangers()
	return append(reports, strangers...), err
}

func (in *Inspection) verifySegment(ctx context.Context, s *SegmentState) (records int64, err error) {
	f, err := in.fs.Open(s.File, 0)
	if err != nil {
		return 0, missing(s.File, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return checkSegment(ctx, s.File, f, &s.meta)
}

// replaced reports whether the manifest, as it is now, does not name the segment any more.
func (in *Inspection) replaced(s *SegmentState, id uint32, num int) (bool, error) {
	now, err := readManifest(in.fs, in.Dir)
	if err != nil || now == nil {
		return false, err
	}
	for i := range now.Topics {
		if t := &now.Topics[i]; t.ID == id {
			for _, m := range t.Partitions[num].Segments {
				if m.Base == s.meta.Base && m.Gen == s.meta.Gen {
					return false, nil
				}
			}
		}
	}
	return true, nil
}

// verifyJournal checks the batches in the frames too, which recovery leaves to those who read them. The state that
// Inspect found is made once more, so that damage that it met is met again.
func (in *Inspection) verifyJournal(ctx context.Context) ([]FileReport, error) {
	var d recordbatch.Decoder
	again := Inspection{Dir: in.Dir, fs: in.fs}
	for i := range in.man.Topics {
		if err := again.add(&in.man.Topics[i]); err != nil {
			return nil, err
		}
	}
	files, err := walkJournal(ctx, in.fs, path.Join(in.Dir, journalDir), in.man.Journal, func(_ *journalReader, f *frame) error {
		if err := again.apply(f); err != nil || f.kind != kindRecords {
			return err
		}
		return eachSection(f.payload, func(_ uint32, _ int32, batches []byte) error { return checkBatches(&d, batches) })
	})
	if err != nil {
		return nil, err
	}
	if now, err := readManifest(in.fs, in.Dir); err != nil || now == nil || now.Journal != in.man.Journal {
		files = in.files // a checkpoint has cut the journal meanwhile: what Inspect saw counts
	}
	reports := make([]FileReport, 0, len(files))
	for _, f := range files {
		r := FileReport{File: f.name, Bytes: f.bytes, Records: f.frames, Err: f.err}
		if f.torn > 0 && f.err == nil {
			r.Note = fmt.Sprintf("the last %d bytes are no whole frame and were never acknowledged; the next start cuts them off", f.torn)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// checkBatches decodes all records of batches.
func checkBatches(d *recordbatch.Decoder, batches []byte) error {
	var rec topic.Record
	var headers []topic.Header
	return eachBatch(batches, func(b []byte, _ *recordbatch.Header) error {
		_, err := d.Reset(b)
		for ok := true; ok && err == nil; {
			headers, ok, err = d.Next(&rec, headers[:0])
		}
		return err
	})
}

// strangers reports files that are no part of the log: leftovers of a crash, which the next Open removes, or files that
// somebody put there. Files that the process that has the log open is about to publish look like that too.
func (in *Inspection) strangers() ([]FileReport, error) {
	known := map[string]bool{}
	for i := range in.Topics {
		t := &in.Topics[i]
		for num := range t.Partitions {
			for j := range t.Partitions[num].Segments {
				known[t.Partitions[num].Segments[j].File] = true
			}
		}
	}
	root := path.Join(in.Dir, topicsDir)
	dirs, err := in.fs.List(root)
	if err != nil {
		return nil, missing(root, err)
	}
	var reports []FileReport
	for _, dir := range dirs {
		names, err := in.fs.List(path.Join(root, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return reports, err
		}
		for _, n := range names {
			name := path.Join(root, dir, n)
			if known[name] {
				continue
			}
			note := "not in the manifest: it was begun after the last checkpoint, or a crash has left it; what counts of it is in the journal"
			reports = append(reports, FileReport{File: name, Note: note})
		}
	}
	return reports, nil
}
