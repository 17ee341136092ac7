package disk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tailrace/tailrace/topic"
)

// tidyEvery is how often compaction and retention look around without having been asked to.
const tidyEvery = time.Minute

// tidy is the compactor: it looks around after each checkpoint until the log is closed.
func (l *Log) tidy() error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return nil
		case <-l.tidyWake:
		case <-tick.C:
		}
		if m := l.opt.MaxBytes; m > 0 && l.bytes.Load()+l.kept.Load() > m && l.kept.Load() > 0 {
			if err := l.Checkpoint(context.Background()); err != nil {
				l.opt.Logger.Warn("a checkpoint to free space failed", "dir", l.opt.Dir, "error", err)
			}
		}
		for _, t := range l.all() {
			for _, p := range t.parts {
				if err := l.tidyPartition(p, false); err != nil && !errors.Is(err, errStopped) {
					l.opt.Logger.Error("compaction failed; the records stay as they are", "topic", t.name, "partition", p.num, "error", err)
				}
			}
		}
	}
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

// Compact compacts a topic and applies its retention now, its last segments included. It blocks until that is done.
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
	s := &p.topic.settings
	if s.remove {
		if err := l.retain(p); err != nil {
			return err
		}
	}
	for s.compact {
		segs, clean := p.saved()
		var dirty, total int64
		for _, seg := range segs {
			total += seg.meta.Bytes
			if seg.meta.Next > clean {
				dirty += seg.meta.Bytes
			}
		}
		if total == 0 || !force && (dirty == 0 || float64(dirty) < s.dirtyRatio*float64(total)) {
			return nil
		}
		whole, err := l.newCompaction(p, segs, clean).run()
		if err != nil || whole {
			return err
		}
	}
	return nil
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

// retain removes the oldest segments that are older, or more, than the topic keeps.
func (l *Log) retain(p *partition) error {
	s := &p.topic.settings
	segs, _ := p.saved()
	var total int64
	if s.retentionBytes >= 0 {
		total = p.info().Bytes
	}
	oldest := int64(math.MinInt64)
	if s.retentionMs >= 0 {
		oldest = l.opt.Now().UnixMilli() - s.retentionMs
	}
	n := 0
	for _, seg := range segs {
		if seg.meta.MaxTime >= oldest && (s.retentionBytes < 0 || total-seg.meta.Bytes < s.retentionBytes) {
			break
		}
		total -= seg.meta.Bytes
		n++
	}
	if n == 0 {
		return nil
	}
	return l.replace(p, []swap{{old: segs[:n]}}, -1)
}
