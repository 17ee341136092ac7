package disk

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
)

// errStopped ends a compaction because the log is being closed.
var errStopped = errors.New("the log is being closed")

// errFloorFell ends a compaction because a consumer has come, or has gone back, that needs a tombstone which it left out.
var errFloorFell = errors.New("a consumer has not passed a tombstone that was to go")

// A compaction is one pass over the saved segments of a partition.
//
// First it notes the newest offset of each key in the part that no compaction has seen, until memory for keys is used
// up. Then it rewrites the segments from the first on, leaving out records of which a newer one is noted. Values that a
// partial newer one needs are carried along in memory until that one comes by; what memory cannot hold stays in the log.
type compaction struct {
	l       *Log
	p       *partition
	set     *settings
	hurry   bool // no pauses
	segs    []*segment
	clean   int64
	upto    int64 // records from here on are not looked at
	last    int64 // offset of the partition's last record, which stays
	now     int64
	floor   int64
	dropped int64 // offset after the last tombstone that is left out because its term is over
	keys    *keyTable
	eraser  Eraser            // nil: there are no erasing records
	erased  []erasure         // ascending; none of them covers another
	pending map[string][]byte // values left out that a later partial one needs
	held    int64             // bytes of pending
	full    bool              // memory for pending ran out at least once
	stayed  int64             // offset of the first record that stayed for that reason
	owed    int64             // bytes read and written since the last pause
	woke    time.Time         // when that ended
	noticed int64             // what Appends had written then
	behind  int64             // bytes of the part that no compaction has seen
	decoder recordbatch.Decoder
	scanner scanner
	swaps   []swap
}

// An erasure is a record that erases older ones.
type erasure struct {
	offset int64
	value  []byte
}

// How a compaction uses CompactionMemory: three quarters for keys, one for pending values. It takes less for keys if that
// makes at most about eight passes.
const (
	leastKeyBytes    = 18 << 20
	keyBytesPerEight = 6 // for each record: an eighth of what a table with all their keys would take
	pendingOverhead  = 64
)

func (l *Log) newCompaction(p *partition, segs []*segment, clean int64) *compaction {
	c := &compaction{l: l, p: p, set: p.topic.conf(), segs: segs, clean: clean, stayed: math.MaxInt64, pending: map[string][]byte{}}
	c.now, c.floor = l.now(), l.floor(p)
	c.woke, c.noticed = l.opt.Now(), l.appended.Load()
	c.eraser, _ = l.opt.Merger.(Eraser)
	p.mu.Lock()
	c.last = p.end - 1
	p.mu.Unlock()
	var records int64
	for _, s := range segs {
		if s.meta.Next > clean {
			records += s.meta.Records
			c.behind += s.meta.Bytes
		}
	}
	c.keys = newKeyTable(min(max(leastKeyBytes, records*keyBytesPerEight), l.opt.CompactionMemory/4*3))
	return c
}

// floor returns the offset that all registered consumers of the partition have passed.
func (l *Log) floor(p *partition) int64 {
	if l.opt.ConsumerFloor == nil {
		return math.MaxInt64
	}
	return l.opt.ConsumerFloor(p.topic.name, p.topic.epoch, p.num)
}

// run makes the pass. whole is false if memory for keys ended before the segments did: then another pass is due.
func (c *compaction) run() (whole bool, err error) {
	if whole, err = c.noteKeys(); err != nil {
		return false, err
	}
	limit := c.set.segmentBytes
	for i := 0; i < len(c.segs) && c.segs[i].meta.Base < c.upto; {
		n, bytes := 1, c.segs[i].meta.Bytes
		for i+n < len(c.segs) && bytes+c.segs[i+n].meta.Bytes <= limit && c.segs[i+n].meta.Next-c.segs[i].meta.Base < 1<<30 {
			bytes += c.segs[i+n].meta.Bytes
			n++
		}
		if err := c.rewrite(c.segs[i : i+n]); err != nil {
			return false, errors.Join(err, c.abandon())
		}
		i += n
		// A value carried along is in no file any more but the old one, so only without such values may files go.
		if len(c.pending) == 0 && len(c.swaps) > 0 && i < len(c.segs) {
			if err := c.commit(-1); err != nil {
				return false, err
			}
		}
	}
	// Of what stayed for want of memory, and a tombstone after it, only another pass from there on knows what to do.
	return whole, c.commit(min(c.upto, c.stayed))
}

func (c *compaction) commit(clean int64) error {
	if len(c.swaps) > 0 {
		if err := c.l.opt.FS.SyncDir(c.p.dir); c.p.isGone() {
			return nil // deleted meanwhile, the directory too
		} else if err != nil {
			return c.l.unsafe(err)
		}
	}
	if c.dropped > c.l.floor(c.p) {
		if err := c.abandon(); err != nil {
			return err
		}
		return errFloorFell
	}
	c.dropped = 0
	err := c.l.replace(c.p, c.swaps, clean, -1)
	if err != nil && !fault.IsPermanent(err) { // as on a full disk: no manifest has the new files
		err = errors.Join(err, c.abandon())
	}
	c.swaps = nil
	return err
}

// abandon removes what was written and is in no manifest.
func (c *compaction) abandon() error {
	var errs []error
	for _, s := range c.swaps {
		if s.new != nil {
			c.l.forget(s.new)
			errs = append(errs, remove(c.l.opt.FS.Remove, s.new.path()))
		}
	}
	return errors.Join(errs...)
}

// each calls visit for the records of a segment, with the batch's header. visit returns false to end it.
func (c *compaction) each(seg *segment, visit func(h *recordbatch.Header, r *topic.Record) (bool, error)) error {
	f, err := c.l.files.acquire(seg, 0)
	if err != nil {
		return err
	}
	defer c.l.files.release(seg)
	c.scanner = scanner{name: seg.path(), file: f, end: seg.meta.Bytes, offset: seg.meta.Base, buf: c.scanner.buf}
	var headers []topic.Header
	var rec topic.Record
	for {
		if c.l.shut() {
			return errStopped
		}
		b, _, pos, err := c.scanner.next()
		if err != nil || b == nil {
			return err
		}
		if err := c.pace(len(b)); err != nil {
			return err
		}
		h, err := c.decoder.Reset(b)
		if err != nil {
			return corrupt(seg.path(), pos, err)
		}
		for {
			var ok bool
			headers, ok, err = c.decoder.Next(&rec, headers[:0])
			if err != nil {
				return corrupt(seg.path(), pos, err)
			}
			if !ok {
				break
			}
			if more, err := visit(&h, &rec); err != nil || !more {
				return err
			}
		}
	}
}

// How a compaction makes room for Appends: while they write an eighth of what it reads and writes itself, it works a fifth of the
// time, unless it is too far behind.
const (
	busyPart  = 8
	busyPause = 4
	maxBehind = 1 << 30 // bytes
)

// pauseBytes is after how many bytes a compaction pauses, so as to keep to CompactionRate.
const pauseBytes = 1 << 20

// pace counts bytes read or written, and pauses now and then, unless there is haste. No lock but compactMu is held.
func (c *compaction) pace(n int) error {
	c.l.compacted.Add(int64(n))
	if c.owed += int64(n); c.owed < pauseBytes {
		return nil
	}
	d := time.Duration(c.owed) * time.Second / time.Duration(c.l.opt.CompactionRate)
	appended := c.l.appended.Load()
	if appended-c.noticed >= c.owed/busyPart && c.behind < maxBehind {
		d = max(d, busyPause*c.l.opt.Now().Sub(c.woke))
	}
	c.owed = 0
	if c.hurry || c.l.space() != topic.SpaceOK {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		c.woke, c.noticed = c.l.opt.Now(), appended
		return nil
	case <-c.l.stop:
		return errStopped
	}
}

// noteKeys fills keys and erased from the part that no compaction has seen, and sets upto.
func (c *compaction) noteKeys() (whole bool, err error) {
	c.upto = c.segs[len(c.segs)-1].meta.Next
	whole = true
	for _, seg := range c.segs {
		if seg.meta.Next <= c.clean || !whole {
			continue
		}
		err := c.each(seg, func(_ *recordbatch.Header, r *topic.Record) (bool, error) {
			if r.Offset < c.clean {
				return true, nil
			}
			if r.Key == nil {
				c.noteErasure(r)
				return true, nil
			}
			if !c.keys.put(r.Key, r.Offset, c.partial(r)) {
				c.upto, whole = r.Offset, false
				return false, nil
			}
			return true, nil
		})
		if err != nil {
			return false, err
		}
	}
	return whole, nil
}

// maxErasures bounds those that are noted; of more, the oldest ones are kept in the log with all that they cover.
const maxErasures = 1024

func (c *compaction) noteErasure(r *topic.Record) {
	if c.eraser == nil || r.Value == nil || !c.eraser.Erases(r.Value) {
		return
	}
	e := erasure{r.Offset, slices.Clone(r.Value)}
	c.erased = slices.DeleteFunc(c.erased, func(o erasure) bool { return c.eraser.Covers(e.value, o.value) })
	if c.erased = append(c.erased, e); len(c.erased) > maxErasures {
		c.erased = c.erased[1:]
	}
}

// isErased reports whether a newer record makes r meaningless.
func (c *compaction) isErased(r *topic.Record) bool {
	for i := len(c.erased) - 1; i >= 0 && c.erased[i].offset > r.Offset; i-- {
		if c.eraser.Covers(c.erased[i].value, r.Value) {
			return true
		}
	}
	return false
}

func (c *compaction) partial(r *topic.Record) bool {
	return c.l.opt.Merger != nil && r.Value != nil && c.l.opt.Merger.Partial(r.Value)
}

// fate says what is to become of a record.
type fate int

const (
	keep      fate = iota
	leave          // out: a newer record says it all
	expire         // leave out: the tombstone has done its work
	carry          // leave out, but a newer partial record needs its value
	complete       // keep, with what was carried for its key
	beginTerm      // keep; a tombstone that from now on has a time to go
	sever          // keep; a tombstone before which nothing counts that was carried
)

// judge decides a record's fate. It changes nothing.
func (c *compaction) judge(h *recordbatch.Header, r *topic.Record) fate {
	if r.Offset >= c.upto {
		return keep
	}
	if r.Key == nil { // what has no key is not compacted by key; a truncate that another one follows says nothing
		if r.Value != nil && r.Offset != c.last && c.eraser != nil && c.eraser.Erases(r.Value) && c.isErased(r) {
			return leave
		}
		return keep
	}
	if r.Value != nil && c.isErased(r) {
		return leave
	}
	newest, partial := c.keys.newest(r.Key)
	switch {
	case newest > r.Offset && !partial:
		return leave
	case r.Value == nil:
		// Also before a newer partial record: who has read up to here would lay that one over what this one deletes.
		return c.judgeTombstone(h, r)
	case newest > r.Offset:
		return carry
	case partial && c.pending[string(r.Key)] != nil:
		return complete
	}
	return keep
}

func (c *compaction) judgeTombstone(h *recordbatch.Header, r *topic.Record) fate {
	switch {
	case !h.DeleteHorizon:
		return beginTerm
	case c.now >= h.BaseTime && r.Offset < c.floor && r.Offset != c.last && !c.full: // if full, what it deletes may still be there
		return expire
	case c.pending[string(r.Key)] != nil:
		return sever
	}
	return keep
}

// needed reports whether rewriting the segment alone would change it.
func (c *compaction) needed(seg *segment) (bool, error) {
	changes := false
	err := c.each(seg, func(h *recordbatch.Header, r *topic.Record) (bool, error) {
		changes = c.judge(h, r) != keep
		return !changes, nil
	})
	return changes, err
}

// rewrite writes what stays of segments that follow each other into a new one.
func (c *compaction) rewrite(group []*segment) error {
	if len(group) == 1 {
		if ok, err := c.needed(group[0]); !ok || err != nil {
			return err
		}
	}
	first, last := group[0].meta, group[len(group)-1].meta
	seg := &segment{dir: c.p.dir, sealed: true, saved: true, indexed: -indexInterval}
	seg.meta = segmentMeta{Base: first.Base, Gen: first.Gen + 1, First: last.Next, Next: last.Next, MaxTime: math.MinInt64,
		Begun: first.Begun, Written: last.Written}
	f, err := c.l.files.create(seg, c.l.owned)
	if err != nil {
		return err
	}
	defer c.l.files.release(seg)
	c.swaps = append(c.swaps, swap{old: group, new: seg}) // abandon finds it
	out := &output{seg: seg, file: f, base: first.Base, before: math.MinInt64, compression: c.set.compression, pace: c.pace}
	for _, s := range group {
		if err := c.each(s, func(h *recordbatch.Header, r *topic.Record) (bool, error) { return true, c.move(out, h, r) }); err != nil {
			return err
		}
	}
	if err := out.finish(); err != nil {
		return err
	}
	if seg.meta.Bytes == 0 {
		c.swaps[len(c.swaps)-1].new = nil
		return remove(c.l.opt.FS.Remove, seg.path())
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", seg.path(), err) // the file is given up; nothing depends on it
	}
	return nil
}

// move copies a record to out, or not, as its fate is.
func (c *compaction) move(out *output, h *recordbatch.Header, r *topic.Record) error {
	horizon := int64(-1)
	if h.DeleteHorizon && r.Value == nil {
		horizon = h.BaseTime
	}
	fate := c.judge(h, r)
	if r.Key != nil && r.Value == nil {
		c.drop(string(r.Key), c.pending[string(r.Key)])
	}
	switch fate {
	case leave:
		return nil
	case expire:
		c.dropped = max(c.dropped, r.Offset+1)
		return nil
	case carry:
		if stays, err := c.carry(r); err != nil || !stays {
			return err
		}
	case complete:
		key := string(r.Key)
		older := c.pending[key]
		value, err := c.l.opt.Merger.Merge(nil, older, r.Value)
		if err != nil {
			return fmt.Errorf("merge values of offset %d: %w", r.Offset, err)
		}
		r.Value = value
		c.drop(key, older)
	case beginTerm:
		horizon = c.now + c.set.deleteRetention
	}
	return out.add(r, horizon)
}

// carry keeps r's value in memory for the newer partial record of its key. If there is no room it stays in the log
// instead, completed by what was carried for it: then stays is true.
func (c *compaction) carry(r *topic.Record) (stays bool, err error) {
	key := string(r.Key)
	older := c.pending[key]
	value := r.Value
	if older != nil && c.partial(r) {
		if value, err = c.l.opt.Merger.Merge(nil, older, r.Value); err != nil {
			return false, fmt.Errorf("merge values of offset %d: %w", r.Offset, err)
		}
	}
	c.drop(key, older)
	if c.held > 0 && c.held+pendingBytes(key, value) > c.l.opt.CompactionMemory/4 {
		r.Value = value
		c.full, c.stayed = true, min(c.stayed, r.Offset)
		return true, nil
	}
	c.pending[key] = append(make([]byte, 0, max(1, len(value))), value...)
	c.held += pendingBytes(key, value)
	return false, nil
}

// pendingBytes is what an entry of pending takes of memory, about.
func pendingBytes(key string, value []byte) int64 {
	return int64(len(key) + len(value) + pendingOverhead)
}

func (c *compaction) drop(key string, value []byte) {
	if value != nil {
		delete(c.pending, key)
		c.held -= pendingBytes(key, value)
	}
}
