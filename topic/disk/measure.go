package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

// lookTries is how often a search begins again because compaction has replaced what it was looking at.
const lookTries = 100

// OffsetAt implements topic.Clock. It reads some 64 KiB of one segment, but all batch headers of one that was there when
// the log was opened and has no index yet.
func (l *Log) OffsetAt(ctx context.Context, name string, num int32, ms int64) (int64, error) {
	p, err := l.find(name, num)
	if err != nil {
		return 0, err
	}
	for range lookTries {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		p.mu.Lock()
		end, seg, from := p.end, (*segment)(nil), int64(0)
		for _, s := range p.segs {
			if s.meta.MaxTime >= ms && s.meta.Records > 0 && s.meta.Next > from {
				seg = s
				break
			}
		}
		p.mu.Unlock()
		if seg == nil {
			return end, nil
		}
		offset, err := l.offsetIn(p, seg, ms)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return offset, err
		}
	}
	return 0, fmt.Errorf("the segments of %s/%d changed too fast to find an offset by time", name, num)
}

// offsetIn returns the offset of the segment's first record of timestamp ms or later, of which there is one.
func (l *Log) offsetIn(p *partition, s *segment, ms int64) (offset int64, err error) {
	if err := l.buildIndex(p, s); err != nil {
		return 0, err
	}
	f, err := l.files.acquire(s, 0)
	if err != nil {
		return 0, err
	}
	defer l.files.release(s)
	p.mu.Lock()
	at, end := s.seekTime(ms), s.meta.Bytes
	p.mu.Unlock()
	sc := scanner{name: s.path(), file: f, pos: at.pos, end: end, offset: at.offset}
	var d recordbatch.Decoder
	for {
		b, h, pos, err := sc.next()
		if err != nil {
			return 0, err
		}
		if b == nil {
			return 0, corrupt(s.path(), end, fmt.Errorf("no record has the timestamp %d that the segment is said to have", ms))
		}
		if h.MaxTime < ms {
			continue
		}
		if _, err := d.Reset(b); err != nil {
			return 0, corrupt(s.path(), pos, err)
		}
		var rec topic.Record
		var headers []topic.Header
		for {
			var ok bool
			headers, ok, err = d.Next(&rec, headers[:0])
			if err != nil {
				return 0, corrupt(s.path(), pos, err)
			}
			if !ok {
				break
			}
			if rec.Timestamp >= ms {
				return rec.Offset, nil
			}
		}
	}
}

// Lag implements topic.Gauge.
func (l *Log) Lag(ctx context.Context, name string, num int32, next int64) (topic.Lag, error) {
	p, err := l.find(name, num)
	if err != nil {
		return topic.Lag{}, err
	}
	for range lookTries {
		if err := ctx.Err(); err != nil {
			return topic.Lag{}, err
		}
		lag := p.lag(next, l.now())
		if lag.Records == 0 {
			return lag, nil
		}
		seg, at := p.segmentAt(next)
		if seg == nil {
			return lag, nil
		}
		lag.Oldest, err = l.timeAt(seg, at, next)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return lag, err
		}
	}
	return topic.Lag{}, fmt.Errorf("the segments of %s/%d changed too fast to measure a lag", name, num)
}

// lag sums up what is stored from the offset on, without looking into files.
func (p *partition) lag(next, now int64) (lag topic.Lag) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := p.topic.conf()
	lag.LeftBehind = next != topic.Start && next < p.logStart
	var left int64
	for i := len(p.segs) - 1; i >= 0; i-- {
		s := p.segs[i]
		if s.meta.Next <= next {
			break
		}
		if s.meta.Records == 0 {
			continue
		}
		lag.AtRisk = set.expired(&s.meta, now, left, 0.8) // of the last one that is looked at: where the consumer is
		left += s.meta.Bytes
		bytes, records := s.meta.Bytes, s.meta.Records
		if e, ok := s.seek(next); ok && e.pos > 0 {
			bytes -= e.pos
		}
		if next > s.meta.First {
			if records != s.meta.Next-s.meta.First { // compaction has made gaps somewhere
				records = max(1, int64(float64(records)*float64(bytes)/float64(s.meta.Bytes)))
			}
			records = min(records, s.meta.Next-next)
		}
		lag.Bytes += bytes
		lag.Records += records
	}
	return lag
}

// segmentAt returns the segment that holds the first record from the offset on, and an entry for a batch not after it.
func (p *partition) segmentAt(offset int64) (*segment, indexEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.segs {
		if s.meta.Next > offset && s.meta.Records > 0 {
			e, ok := s.seek(offset)
			if !ok {
				e = s.begin()
			}
			return s, e
		}
	}
	return nil, indexEntry{}
}

// timeAt returns the greatest timestamp of the batch that holds the first record from the offset on.
func (l *Log) timeAt(s *segment, at indexEntry, offset int64) (int64, error) {
	f, err := l.files.acquire(s, 0)
	if err != nil {
		return 0, err
	}
	defer l.files.release(s)
	h := make([]byte, recordbatch.HeaderSize)
	for pos := at.pos; ; {
		if err := readFull(f, s.path(), h, pos); err != nil {
			return 0, err
		}
		b, err := recordbatch.ParseHeader(h)
		if err != nil {
			return 0, corrupt(s.path(), pos, err)
		}
		if b.LastOffset() >= offset && b.Count > 0 || b.LastOffset() == math.MaxInt64 {
			return b.MaxTime, nil
		}
		pos += int64(b.Size)
	}
}
