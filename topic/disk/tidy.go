package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/tailrace/tailrace/topic"
)

// tidyEvery is how often compaction and retention look around without having been asked to.
const tidyEvery = time.Minute

// tidy is the compactor: it looks around after each checkpoint until the log is closed.
func (l *Log) tidy() error {
	l.compactMu.Lock()
	for _, t := range l.all() {
		for _, p := range t.parts {
			p.had = p.info().Bytes // did not come fast
		}
	}
	l.compactMu.Unlock()
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return nil
		case <-l.tidyWake:
		case <-tick.C:
		}
		l.look()
		if err := l.endSegments(); err != nil && !errors.Is(err, topic.ErrClosed) {
			l.complain(slog.LevelWarn, "a checkpoint before compaction failed", err, "dir", l.opt.Dir)
		}
		for _, t := range l.all() {
			for _, p := range t.parts {
				if err := l.tidyPartition(p, false); err != nil && !errors.Is(err, errStopped) {
					l.complain(slog.LevelError, "compaction failed; the records stay as they are", err, "topic", t.name, "partition", p.num)
				}
			}
		}
		l.look()
	}
}

// endSegments ends the segments whose time is over and, without space, all, and makes a checkpoint, so that compaction
// and retention can take them.
func (l *Log) endSegments() error {
	full := l.space() == topic.SpaceFull
	ended := false
	for _, t := range l.all() {
		due := func(s *segment) bool { return full || l.isDue(t.conf(), &s.meta) }
		active := false
		for _, p := range t.parts {
			a, s := p.unsaved(due)
			active, ended = active || a, ended || s
		}
		if !active {
			continue
		}
		err := l.do(context.Background(), &request{kind: askSeal, spec: topic.Spec{Name: t.name}, due: due})
		if errors.Is(err, topic.ErrNoTopic) { // deleted meanwhile
			continue
		}
		if err != nil {
			return err
		}
		ended = true
	}
	if !ended && !(full && l.kept.Load() > 0) {
		return nil
	}
	return l.Checkpoint(context.Background())
}

// isDue reports whether a segment that is being written should end, so that its records don't outlive their term.
func (l *Log) isDue(set *settings, m *segmentMeta) bool {
	now := l.now()
	return now-m.Begun >= set.rollMs() || set.remove && set.retentionMs >= 0 && now-m.touched() > set.retentionMs
}

// unsaved reports whether due holds of the segment that is being written, and of one that has ended since the last
// checkpoint.
func (p *partition) unsaved(due func(*segment) bool) (active, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.segs) - 1; i >= 0 && !p.segs[i].saved; i-- {
		if s := p.segs[i]; s.meta.Bytes > 0 && due(s) {
			active, ended = active || !s.sealed, ended || s.sealed
		}
	}
	return active, ended
}

// all returns the topics as they are now.
func (l *Log) all() []*logTopic {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]*logTopic, 0, len(l.topics))
	for _, t := range l.topics {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *logTopic) int { return int(int64(a.id) - int64(b.id)) })
	return all
}

// Compact compacts a topic and applies its retention now, its last segments included, as far as min.compaction.lag.ms
// lets it. It blocks until that is done.
func (l *Log) Compact(ctx context.Context, name string) error {
	if err := l.do(ctx, &request{kind: askSeal, spec: topic.Spec{Name: name}}); err != nil {
		return err
	}
	if err := l.Checkpoint(ctx); err != nil {
		return err
	}
	p, err := l.find(name, 0)
	if err != nil {
		return err
	}
	for _, p := range p.topic.parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.tidyPartition(p, true); err != nil {
			return fmt.Errorf("compact %s/%d: %w", name, p.num, err)
		}
	}
	return nil
}

// tidyPartition applies retention, and compacts if enough has changed or force says so.
func (l *Log) tidyPartition(p *partition, force bool) error {
	l.compactMu.Lock()
	defer l.compactMu.Unlock()
	if p.topic.conf().remove {
		if err := l.retain(p); err != nil {
			return err
		}
	}
	for set := p.topic.conf(); set.compact; {
		segs, clean := p.saved()
		segs = l.ripe(set, segs, clean)
		if len(segs) == 0 || !force && !l.worthIt(p, set, segs, clean) {
			return nil
		}
		c := l.newCompaction(p, segs, clean)
		c.hurry = force
		whole, err := c.run()
		if errors.Is(err, errFloorFell) { // the next one knows
			continue
		}
		if err != nil || whole {
			return err
		}
	}
	return nil
}

// ripe returns the segments that compaction may take: those up to the first one that is too young.
func (l *Log) ripe(set *settings, segs []*segment, clean int64) []*segment {
	now := l.now()
	for i, s := range segs {
		written := s.meta.Written
		if written == 0 {
			written = s.meta.MaxTime
		}
		if set.minLag > 0 && s.meta.Next > clean && now-written < set.minLag {
			return segs[:i]
		}
	}
	return segs
}

// worthIt reports whether segments should be compacted now: if enough of them is new or, when space is short, anything;
// if something new is as old as max.compaction.lag.ms lets it be; if tombstones may go.
func (l *Log) worthIt(p *partition, set *settings, segs []*segment, clean int64) bool {
	now := l.now()
	var dirty, total int64
	for _, s := range segs {
		m := &s.meta
		total += m.Bytes
		if m.Next <= clean {
			continue
		}
		dirty += m.Bytes
		if now-m.Begun >= set.maxLag {
			return true
		}
	}
	filling := l.filling(p)
	if dirty > 0 && (float64(dirty) >= set.dirtyRatio*float64(total) && (!filling || dirty >= maxBehind) || l.space() != topic.SpaceOK) {
		return true
	}
	return l.mayDrop(p, segs, now)
}

// A partition counts as being filled while it grows by fillRate bytes a second, looked at fillLook apart at least.
const (
	fillRate = 16 << 20
	fillLook = 100 * time.Millisecond
)

// filling reports whether the partition has grown fast of late: a table is copied into it, or a backlog comes in. Compaction waits
// for the end of that, unless it is far behind: it would find little, again and again, and take the processor from what fills the
// partition. l.compactMu is held.
func (l *Log) filling(p *partition) bool {
	now := l.opt.Now()
	if took := now.Sub(p.lookedAt); took >= fillLook {
		bytes := p.info().Bytes
		p.filled = float64(bytes-p.had) >= took.Seconds()*fillRate
		p.lookedAt, p.had = now, bytes
	}
	return p.filled
}

// mayDrop reports whether there are tombstones whose term is over and that all consumers have passed.
func (l *Log) mayDrop(p *partition, segs []*segment, now int64) bool {
	p.mu.Lock()
	end := p.end
	p.mu.Unlock()
	floor := int64(-1)
	for _, s := range segs {
		m := &s.meta
		if m.Horizon == 0 || now < m.Horizon || m.Next == end { // the last record stays in any case
			continue
		}
		if floor < 0 {
			floor = l.floor(p)
		}
		if floor >= m.Next {
			return true
		}
	}
	return false
}

// saved returns the segments that compaction may take: sealed, and whole in the manifest. Their meta doesn't change.
func (p *partition) saved() (segs []*segment, clean int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, 0
	}
	for _, s := range p.segs {
		if !s.saved {
			break
		}
		segs = append(segs, s)
	}
	return segs, p.clean
}

// retain removes the oldest segments that are older, or more, than the topic keeps. It warns of consumers that this
// leaves behind, and, before it comes to that, of those that are near it.
func (l *Log) retain(p *partition) error {
	set, now := p.topic.conf(), l.now()
	segs, _ := p.saved()
	left := p.info().Bytes
	n := 0
	for _, s := range segs {
		left -= s.meta.Bytes
		if !set.expired(&s.meta, now, left, 1) {
			break
		}
		n++
	}
	floor := l.floor(p)
	if n > 0 {
		start := segs[n-1].meta.Next
		if floor < start {
			l.opt.Logger.Warn("retention removes records that a consumer has not read", "topic", p.topic.name, "partition", p.num,
				"consumer_offset", floor, "start", start)
		}
		if err := l.replace(p, []swap{{old: segs[:n]}}, -1, start); err != nil {
			return err
		}
	}
	atRisk := floor != math.MaxInt64 && p.lag(floor, now).AtRisk
	if atRisk && !p.warned {
		l.opt.Logger.Warn("retention will soon remove records that a consumer has not read", "topic", p.topic.name, "partition", p.num,
			"consumer_offset", floor)
	}
	p.warned = atRisk
	return nil
}

// expired reports whether so much of what retention.ms or retention.bytes grants a segment is used up: 1 is all. left is
// the bytes of the segments after it.
func (s *settings) expired(m *segmentMeta, now, left int64, part float64) bool {
	if !s.remove {
		return false
	}
	return s.retentionMs >= 0 && float64(now-m.touched()) > part*float64(s.retentionMs) ||
		s.retentionBytes >= 0 && float64(left) >= part*float64(s.retentionBytes)
}
