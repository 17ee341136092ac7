package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

// readBytes is how much of a segment a Reader reads at a time, and about the most that one Read returns.
const readBytes = 1 << 20

// Reader is a topic.Reader of a Log. Partitions with records take turns; a turn is what one read of the disk gave.
type Reader struct {
	log  *Log
	wake chan struct{} // holds a token while there may be something in due
	done chan struct{} // closed by Close

	mu     sync.Mutex
	follow map[lane]*follower
	due    []*follower // followers that may have something to read, in the order of their turns, from head on
	head   int
	closed bool

	// Used by Read alone.
	cur     *follower // whose turn it is: buf[lo:hi] are its next batches
	buf     []byte
	lo, hi  int
	open    bool  // decoder is inside the batch at lo
	batch   int   // its size
	last    int64 // and its last offset
	packed  bool  // its records are in the decoder's buffer
	decoder recordbatch.Decoder
	recs    []topic.Record
	headers []topic.Header
}

// A follower is a Reader's place in one partition.
type follower struct {
	reader *Reader
	p      *partition
	next   int64 // offset
	fresh  bool  // from the start, and nothing read yet: it can't be left behind

	waiting bool // for more records; guarded by p.mu
	moved   bool // another follower took its place; guarded by reader.mu

	// Used by Read alone.
	seg *segment
	pos int64 // in seg's file, of the batch that may have next
	at  int64 // the offset that this batch must begin with

	name  string // path of the segment named, for errors
	named *segment
}

// Reader implements topic.Log.
func (l *Log) Reader(ctx context.Context) (topic.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &Reader{log: l, wake: make(chan struct{}, 1), done: make(chan struct{}), follow: make(map[lane]*follower)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut() {
		return nil, topic.ErrClosed
	}
	l.readers[r] = struct{}{}
	return r, nil
}

// Add implements topic.Reader.
func (r *Reader) Add(name string, num int32, from int64) error {
	p, err := r.log.find(name, num)
	if err != nil {
		return err
	}
	f := &follower{reader: r, p: p, next: from}
	if err := f.enter(); err != nil {
		return err
	}
	key := lane{name, num}
	r.mu.Lock()
	old := f // to be taken out
	if !r.closed {
		old = r.follow[key]
		if old != nil {
			old.moved = true
		}
		r.follow[key] = f
		r.due = append(r.due, f)
	}
	r.mu.Unlock()
	token(r.wake)
	if old != nil {
		old.p.mu.Lock()
		old.p.unfollow(old)
		old.p.mu.Unlock()
	}
	if old == f {
		return topic.ErrClosed
	}
	return nil
}

// enter makes f one of its partition's followers, at the offset that f.next asks for.
func (f *follower) enter() error {
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	from := f.next
	switch {
	case from == topic.Start:
		f.next, f.fresh = p.start(), true
	case from == topic.End:
		f.next = p.end
	case from < 0:
		return fmt.Errorf("offset %d of %s is none: %w", from, p.topic.name, topic.ErrOutOfRange)
	case from < p.logStart:
		return p.leftBehind(from)
	case from > p.end:
		return fmt.Errorf("offset %d of %s/%d, which ends at %d: %w", from, p.topic.name, p.num, p.end, topic.ErrOutOfRange)
	}
	if n := len(p.segs); n > 0 && f.next == p.end { // a tail needs no search
		f.seg, f.pos, f.at = p.segs[n-1], p.segs[n-1].meta.Bytes, p.segs[n-1].meta.Next
	}
	p.followers = append(p.followers, f)
	return nil
}

// leftBehind is the error for one who wants records from the offset on that retention has removed. p.mu is held.
func (p *partition) leftBehind(from int64) error {
	return fmt.Errorf("%s/%d from offset %d on, which begins at %d: %w", p.topic.name, p.num, from, p.logStart, topic.ErrLeftBehind)
}

// unfollow removes f. p.mu is held.
func (p *partition) unfollow(f *follower) {
	for i, o := range p.followers {
		if o == f {
			last := len(p.followers) - 1
			p.followers[i] = p.followers[last]
			p.followers[last] = nil
			p.followers = p.followers[:last]
			return
		}
	}
}

// ready gives f a turn. It is called with the partition's mu held.
func (r *Reader) ready(f *follower) {
	r.mu.Lock()
	r.due = append(r.due, f)
	r.mu.Unlock()
	token(r.wake)
}

// Read implements topic.Reader. Damage is the permanent error LOG_CORRUPT, again at each call: nothing is skipped.
func (r *Reader) Read(ctx context.Context, most int) ([]topic.Record, error) {
	if most < 1 {
		return nil, errors.New("read of less than one record")
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := r.turn()
		if err != nil {
			return nil, err
		}
		if f == nil {
			select {
			case <-r.wake:
				continue
			case <-r.done:
				return nil, topic.ErrClosed
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		recs, err := r.take(f, most)
		if len(recs) > 0 || err != nil {
			return recs, err
		}
	}
}

// turn returns whose turn it is, nil if nobody has anything.
func (r *Reader) turn() (*follower, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, topic.ErrClosed
	}
	if r.cur != nil && r.cur.moved {
		r.cur = nil
	}
	for r.cur == nil && r.head < len(r.due) {
		f := r.due[r.head]
		r.due[r.head] = nil
		if r.head++; 2*r.head >= len(r.due) {
			n := copy(r.due, r.due[r.head:])
			clear(r.due[n:])
			r.due, r.head = r.due[:n], 0
		}
		if !f.moved {
			r.cur = f
			r.lo, r.hi, r.open = 0, 0, false
		}
	}
	return r.cur, nil
}

// yield ends the turn of f, which gets another one after the others.
func (r *Reader) yield(f *follower) {
	r.cur = nil
	r.mu.Lock()
	r.due = append(r.due, f)
	r.mu.Unlock()
}

// take returns the next records of f, of which it is the turn. None and no error: the turn is over.
func (r *Reader) take(f *follower, most int) ([]topic.Record, error) {
	r.recs, r.headers = r.recs[:0], r.headers[:0]
	if r.lo == r.hi || f.p.isGone() {
		if ok, err := r.fill(f); !ok || err != nil {
			return nil, err
		}
	}
	var err error
	for r.lo < r.hi && len(r.recs) < most && err == nil {
		if !r.open && r.packed && len(r.recs) > 0 {
			break // the next batch may overwrite the buffer of those
		}
		err = r.decode(f, most)
	}
	if err != nil {
		// The place is not given up: what was good is returned now, and the next Read comes back to the damage.
		err = corrupt(f.seg.path(), f.pos, err)
		r.yield(f)
		if len(r.recs) > 0 {
			return r.recs, nil
		}
		return nil, err
	}
	if r.lo == r.hi {
		r.yield(f)
	}
	return r.recs, nil
}

// decode takes records of the batch at lo.
func (r *Reader) decode(f *follower, most int) error {
	if !r.open {
		h, err := recordbatch.ParseHeader(r.buf[r.lo:r.hi])
		if err != nil {
			return err
		}
		if h.BaseOffset != f.at { // no checksum covers it
			return errNumbering
		}
		if err := checkOwner(&h, f.p.owner); err != nil {
			return err
		}
		r.last = h.LastOffset()
		if r.last < f.next { // before the place that was asked for
			r.advance(f, h.Size)
			return nil
		}
		if h, err = r.decoder.Reset(r.buf[r.lo:r.hi]); err != nil {
			return err
		}
		r.open, r.batch, r.packed = true, h.Size, h.Compression != recordbatch.None
	}
	for len(r.recs) < most {
		r.recs = append(r.recs, topic.Record{})
		rec := &r.recs[len(r.recs)-1]
		var ok bool
		var err error
		r.headers, ok, err = r.decoder.Next(rec, r.headers)
		if !ok {
			r.recs = r.recs[:len(r.recs)-1]
			r.open = false
			if err != nil {
				return err
			}
			r.advance(f, r.batch)
			return nil
		}
		if rec.Offset < f.next {
			r.recs = r.recs[:len(r.recs)-1]
			continue
		}
		rec.Topic, rec.Partition = f.p.topic.name, f.p.num
		f.next, f.fresh = rec.Offset+1, false
	}
	return nil
}

// advance goes on to the next batch.
func (r *Reader) advance(f *follower, size int) {
	r.lo += size
	f.pos += int64(size)
	f.at = r.last + 1
}

// fill reads the next whole batches of f. ok is false if there are none: f then waits for more, or is gone.
func (r *Reader) fill(f *follower) (ok bool, err error) {
	limit, st := f.locate()
	switch st {
	case overtaken:
		r.yield(f)
		f.p.mu.Lock()
		defer f.p.mu.Unlock()
		return false, f.p.leftBehind(f.next)
	case atEnd:
		r.cur = nil
		return false, nil
	case deleted:
		r.cur = nil
		r.mu.Lock()
		if key := (lane{f.p.topic.name, f.p.num}); r.follow[key] == f {
			delete(r.follow, key)
		}
		r.mu.Unlock()
		return false, nil
	case needsIndex:
		if err := r.log.buildIndex(f.p, f.seg); err != nil {
			r.yield(f)
			return false, r.gone(f, err)
		}
		f.seg = nil // with the index, locate finds the place
		return false, nil
	}
	n := int(min(limit-f.pos, readBytes))
	if err := r.load(f, n, limit); err != nil {
		r.yield(f)
		return false, r.gone(f, err)
	}
	return true, nil
}

// load reads n bytes at f's position, or more if the first batch is larger, and keeps the whole batches of them.
func (r *Reader) load(f *follower, n int, limit int64) error {
	file, err := r.log.files.acquire(f.seg, 0)
	if err != nil {
		return err
	}
	defer r.log.files.release(f.seg)
	if f.named != f.seg {
		f.name, f.named = f.seg.path(), f.seg
	}
	name := f.name
	for {
		if cap(r.buf) < n || cap(r.buf) > 4*readBytes && n <= readBytes {
			r.buf = make([]byte, max(n, min(readBytes, 2*len(r.buf))))
		}
		r.buf = r.buf[:cap(r.buf)]
		if err := readFull(file, name, r.buf[:n], f.pos); err != nil {
			return err
		}
		whole := 0
		need := n
		for whole < n {
			h, err := recordbatch.ParseHeader(r.buf[whole:n])
			if err == nil && int64(h.Size) > limit-f.pos-int64(whole) {
				err = recordbatch.ErrLength
			}
			if err == recordbatch.ErrShort && f.pos+int64(n) < limit {
				break
			}
			if err != nil {
				if whole > 0 {
					break // first those before it
				}
				return corrupt(name, f.pos, err)
			}
			if whole+h.Size > n {
				need = h.Size
				break
			}
			whole += h.Size
		}
		if whole > 0 {
			r.lo, r.hi, r.open = 0, whole, false
			return nil
		}
		if need <= n {
			return corrupt(name, f.pos, recordbatch.ErrShort)
		}
		n = need
	}
}

// place says what locate found.
type place int

const (
	found      place = iota
	needsIndex       // the segment's index must be built first
	atEnd            // f waits
	deleted          // the topic is gone
	overtaken        // retention has removed it
)

// locate finds the segment and the position of f's next record, and how far the segment may be read.
func (f *follower) locate() (limit int64, st place) {
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		p.unfollow(f)
		return 0, deleted
	}
	if f.seg != nil && f.pos < f.seg.meta.Bytes {
		return f.seg.meta.Bytes, found
	}
	if f.next < p.logStart {
		if !f.fresh {
			return 0, overtaken
		}
		f.next = p.logStart
	}
	for _, s := range p.segs {
		if s.meta.Next <= f.next || s.meta.Bytes == 0 || s == f.seg {
			continue
		}
		e, ok := s.seek(f.next)
		f.seg, f.pos, f.at = s, e.pos, e.offset
		if !ok {
			return 0, needsIndex
		}
		return s.meta.Bytes, found
	}
	f.waiting = true // in f.seg, which grows unless another segment follows
	return 0, atEnd
}

// gone returns nil instead of an error that only says that the files of a deleted topic were removed under f, or those
// of a segment that compaction replaced before f had opened it: f then looks again.
func (r *Reader) gone(f *follower, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	seg := f.seg
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	if !f.p.gone {
		for _, s := range f.p.segs {
			if s == seg {
				return corrupt(seg.path(), 0, err)
			}
		}
	}
	f.seg = nil
	return nil
}

// buildIndex indexes the part of a segment that was there when the log was opened.
func (l *Log) buildIndex(p *partition, s *segment) error {
	p.mu.Lock()
	end := s.indexFrom
	p.mu.Unlock()
	file, err := l.files.acquire(s, 0)
	if err != nil {
		return err
	}
	defer l.files.release(s)
	var index []indexEntry
	sc := scanner{name: s.path(), file: file, end: end, offset: s.meta.Base}
	last, latest := int64(-indexInterval), int64(math.MinInt64)
	for {
		b, h, pos, err := sc.next()
		if err != nil {
			return err
		}
		if b == nil {
			break
		}
		if pos-last >= indexInterval {
			index = append(index, indexEntry{h.BaseOffset, pos, latest})
			last = pos
		}
		latest = max(latest, h.MaxTime)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.indexFrom == end && end > 0 {
		s.index = append(index, s.index...)
		s.indexFrom = 0
	}
	return nil
}

// Close implements topic.Reader.
func (r *Reader) Close() error {
	r.shut()
	r.log.mu.Lock()
	delete(r.log.readers, r)
	r.log.mu.Unlock()
	return nil
}

// shut makes Read and Add return ErrClosed.
func (r *Reader) shut() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	close(r.done)
	follow := r.follow
	r.follow = nil
	r.mu.Unlock()
	for _, f := range follow {
		f.p.mu.Lock()
		f.p.unfollow(f)
		f.p.mu.Unlock()
	}
}

// shut reports whether Close has begun.
func (l *Log) shut() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}
