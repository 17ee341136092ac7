package disk

import (
	"hash/crc32"
	"math"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

// A logTopic is one topic of one epoch. All but settings and partitions' contents is fixed when it is made.
type logTopic struct {
	id       uint32 // never used again
	name     string
	epoch    uint32
	settings atomic.Pointer[settings] // replaced by Configure
	parts    []*partition
}

func (t *logTopic) conf() *settings { return t.settings.Load() }

// A partition is an ordered list of segments. Only the writer appends to it; anyone reads.
type partition struct {
	topic *logTopic
	num   int32
	dir   string
	owner int32 // what its batches say

	// The writer's own.
	next    int64 // the offset that the next record gets
	staged  []stagedRun
	entries []indexEntry // of the staged runs
	inGroup bool         // in the log's touched
	made    bool         // the directory is there

	// The compactor's own.
	warned   bool      // that a consumer will be left behind
	lookedAt time.Time // when filling measured last
	had      int64     // bytes it had then
	filled   bool      // what that found

	mu        sync.Mutex // guards the following; never held across I/O
	segs      []*segment // the last one is being written unless it is sealed
	end       int64      // next as readers see it: durable up to here
	clean     int64      // compaction has seen everything below
	logStart  int64      // retention has removed everything below
	gone      bool       // the topic was deleted
	followers []*follower
}

// stagedRun is a run of batches that was written to a segment and is not published yet.
type stagedRun struct {
	seg     *segment
	pos     int64
	bytes   int64
	records int64
	first   int64
	next    int64
	maxTime int64
	written int64
	lo, hi  int // its part of the partition's entries
}

func newPartition(t *logTopic, num int32, root string, now time.Time) *partition {
	name := dirName(t.name, t.epoch, num)
	return &partition{topic: t, num: num, dir: path.Join(root, topicsDir, name), owner: ownerOf(name), lookedAt: now}
}

// ownerOf is what the batches of a partition say in place of Kafka's leader epoch, so that a file in the place of another
// is found out: a hash of the name of the partition's directory.
func ownerOf(dir string) int32 {
	return int32(crc32.Checksum([]byte(path.Base(dir)), castagnoli) & math.MaxInt32)
}

// checkOwner fails if a batch is of another partition. One that says nothing was written before batches did.
func checkOwner(h *recordbatch.Header, owner int32) error {
	if h.Owner != owner && h.Owner != recordbatch.NoOwner && owner != recordbatch.NoOwner {
		return errOwner
	}
	return nil
}

// dirName is the directory of a partition. "@" is in no topic's name.
func dirName(name string, epoch uint32, num int32) string {
	return name + "@" + strconv.FormatUint(uint64(epoch), 10) + "-" + strconv.Itoa(int(num))
}

// info describes the partition as it is now.
func (p *partition) info() topic.PartitionInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := topic.PartitionInfo{Start: p.start(), LogStart: p.logStart, End: p.end}
	for _, s := range p.segs {
		in.Records += s.meta.Records
		in.Bytes += s.meta.Bytes
	}
	return in
}

// start is the offset of the first record. p.mu is held.
func (p *partition) start() int64 {
	for _, s := range p.segs {
		if s.meta.Records > 0 {
			return s.meta.First
		}
	}
	return p.end
}

// isGone reports whether the topic was deleted.
func (p *partition) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// position says where the writer appends: the segment and the position in it, staged runs included. The segment is nil
// if there is none to append to.
func (p *partition) position() (*segment, int64) {
	if n := len(p.staged); n > 0 {
		r := &p.staged[n-1]
		return r.seg, r.pos + r.bytes
	}
	// Only the writer changes segs' tail and the size of the last, so it may look without waiting for a reader.
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.segs); n > 0 && !p.segs[n-1].sealed {
		return p.segs[n-1], p.segs[n-1].meta.Bytes
	}
	return nil, 0
}

// stage writes batches to the partition's last segment without making them visible. With assign the batches get the
// next offsets, else they must have them.
func (l *Log) stage(p *partition, data []byte, assign bool) error {
	if !p.inGroup {
		p.inGroup = true
		l.touched = append(l.touched, p)
	}
	seg, pos := p.position()
	set, now := p.topic.conf(), l.now()
	if seg == nil || pos > 0 && (pos+int64(len(data)) > set.segmentBytes || p.next-seg.meta.Base > 1<<30 || now-seg.meta.Begun >= set.rollMs()) {
		var err error
		if seg, err = l.newSegment(p, now); err != nil {
			return err
		}
		pos = 0
	}
	run, err := p.number(data, seg, pos, assign)
	if err != nil {
		return err
	}
	run.written = now
	p.staged = append(p.staged, run) // before the write, so that unstage finds a new segment
	f, err := l.files.acquire(seg, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, pos)
	l.files.release(seg)
	return err
}

// number gives batches their offsets, or checks those that they have, and describes the run of them.
func (p *partition) number(data []byte, seg *segment, pos int64, assign bool) (stagedRun, error) {
	run := stagedRun{seg: seg, pos: pos, bytes: int64(len(data)), first: p.next, maxTime: math.MinInt64, lo: len(p.entries)}
	indexed := seg.indexed
	for rest := data; len(rest) > 0; {
		h, err := recordbatch.ParseHeader(rest)
		if err == nil && h.Size > len(rest) {
			err = recordbatch.ErrLength
		}
		if err == nil && !assign && h.BaseOffset != p.next {
			err = errNumbering
		}
		if err == nil && !assign {
			err = checkOwner(&h, p.owner)
		}
		if err != nil {
			return run, err
		}
		if assign {
			recordbatch.SetBaseOffset(rest, p.next)
			recordbatch.SetOwner(rest, p.owner)
		}
		at := pos + int64(len(data)-len(rest))
		if at-indexed >= indexInterval {
			p.entries = append(p.entries, indexEntry{p.next, at, seg.latest})
			indexed = at
		}
		seg.latest = max(seg.latest, h.MaxTime)
		p.next += int64(h.LastDelta) + 1
		run.records += int64(h.Count)
		run.maxTime = max(run.maxTime, h.MaxTime)
		rest = rest[h.Size:]
	}
	run.next, run.hi = p.next, len(p.entries)
	return run, nil
}

// newSegment makes the file of the segment that starts at the partition's next offset.
func (l *Log) newSegment(p *partition, now int64) (*segment, error) {
	if !p.made {
		if err := l.opt.FS.Mkdir(p.dir); err != nil {
			return nil, err
		}
		p.made = true
		l.dirty.dirs[path.Join(l.opt.Dir, topicsDir)] = true
	}
	s := &segment{dir: p.dir, meta: segmentMeta{Base: p.next, First: p.next, Next: p.next, MaxTime: math.MinInt64, Begun: now},
		indexed: -indexInterval, latest: math.MinInt64}
	if _, err := l.files.create(s, l.owned); err != nil {
		return nil, err
	}
	l.files.release(s)
	l.dirty.dirs[p.dir] = true
	return s, nil
}

// publish makes what was staged visible and wakes the readers that wait for it.
func (l *Log) publish() {
	for _, p := range l.touched {
		p.mu.Lock()
		for i := range p.staged {
			r := &p.staged[i]
			if n := len(p.segs); n == 0 || p.segs[n-1] != r.seg {
				if n > 0 {
					p.segs[n-1].sealed = true
				}
				p.segs = append(p.segs, r.seg)
			}
			m := &r.seg.meta
			if m.Records == 0 {
				m.First = r.first
			}
			m.Bytes = r.pos + r.bytes
			m.Records += r.records
			m.Next = r.next
			m.MaxTime = max(m.MaxTime, r.maxTime)
			m.Written = r.written
			for _, e := range p.entries[r.lo:r.hi] {
				r.seg.index = append(r.seg.index, e)
				r.seg.indexed = e.pos
			}
			l.dirty.segs[r.seg] = p
			l.bytes.Add(r.bytes)
		}
		p.end = p.next
		l.wake(p)
		p.mu.Unlock()
		p.leaveGroup()
	}
	l.touched = l.touched[:0]
}

// unstage forgets what was staged: the group failed, and the next one writes over it.
func (l *Log) unstage() {
	for _, p := range l.touched {
		for i := range p.staged {
			if s := p.staged[i].seg; s.meta.Bytes == 0 {
				l.forget(s)
			}
		}
		p.next = p.end
		p.leaveGroup()
	}
	l.touched = l.touched[:0]
}

func (p *partition) leaveGroup() {
	clear(p.staged)
	p.staged, p.entries = p.staged[:0], p.entries[:0]
	p.inGroup = false
}

// wake tells the partition's waiting readers that there is something to read, or that it is gone. p.mu is held.
func (l *Log) wake(p *partition) {
	for _, f := range p.followers {
		if f.waiting {
			f.waiting = false
			f.reader.ready(f)
		}
	}
}
