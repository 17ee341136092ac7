package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

// A FileReport says how Verify found a segment file.
type FileReport struct {
	Topic     string
	Partition int32
	File      string
	Bytes     int64 // that count
	Records   int64 // that were found
	Err       error // LOG_CORRUPT with the place and the cause; nil if the file is whole
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
	sc := scanner{name: s.path(), file: f, end: m.Bytes, offset: m.Base}
	var d recordbatch.Decoder
	var rec topic.Record
	var headers []topic.Header
	last := m.Base - 1
	for ctx.Err() == nil {
		b, _, pos, err := sc.next()
		if err != nil {
			return records, err
		}
		if b == nil {
			break
		}
		if _, err := d.Reset(b); err != nil {
			return records, corrupt(s.path(), pos, err)
		}
		for {
			var ok bool
			headers, ok, err = d.Next(&rec, headers[:0])
			if err == nil && ok && (rec.Offset <= last || rec.Offset >= m.Next) {
				err = errNumbering
			}
			if err != nil {
				return records, corrupt(s.path(), pos, err)
			}
			if !ok {
				break
			}
			last = rec.Offset
			records++
		}
	}
	if err := ctx.Err(); err != nil {
		return records, err
	}
	if records != m.Records {
		return records, corrupt(s.path(), m.Bytes, errors.New(fmt.Sprint("it has ", records, " records instead of ", m.Records)))
	}
	return records, nil
}
