package disk

import (
	"slices"

	"github.com/tailrace/tailrace/internal/fault"
)

// A swap puts one segment, or none, in the place of others that follow each other.
type swap struct {
	old []*segment
	new *segment
}

// replace makes swaps durable and visible, all or none, by writing the manifest; then it removes the old files. A clean
// or logStart that is not negative becomes the partition's.
func (l *Log) replace(p *partition, swaps []swap, clean, logStart int64) error {
	l.manMu.Lock()
	defer l.manMu.Unlock()
	if err := l.failure(); err != nil {
		return err
	}
	m := *l.man
	m.Topics = slices.Clone(m.Topics)
	i := slices.IndexFunc(m.Topics, func(t topicMeta) bool { return t.ID == p.topic.id })
	if i < 0 || p.isGone() {
		return nil // deleted meanwhile: its files go with it
	}
	t := &m.Topics[i]
	t.Partitions = slices.Clone(t.Partitions)
	pm := &t.Partitions[p.num]
	pm.Segments = swapAll(pm.Segments, swaps, func(s *segment) segmentMeta { return s.meta }, func(a, b segmentMeta) bool { return a.Base == b.Base && a.Gen == b.Gen })
	if clean >= 0 {
		pm.Clean = clean
	}
	pm.LogStart = max(pm.LogStart, logStart)
	if err := l.withReserve(func() error { return writeManifest(l.opt.FS, l.opt.Dir, &m) }); err != nil {
		if fault.IsPermanent(err) {
			return l.unsafe(err)
		}
		return err
	}
	l.man = &m
	p.mu.Lock()
	p.segs = swapAll(p.segs, swaps, func(s *segment) *segment { return s }, func(a, b *segment) bool { return a == b })
	if clean >= 0 {
		p.clean = clean
	}
	p.logStart = max(p.logStart, logStart)
	if !p.gone {
		for _, s := range swaps {
			for _, o := range s.old {
				l.bytes.Add(-o.meta.Bytes)
			}
			if s.new != nil {
				l.bytes.Add(s.new.meta.Bytes)
			}
		}
	}
	p.mu.Unlock()
	for _, s := range swaps {
		for _, o := range s.old {
			if err := remove(l.opt.FS.Remove, o.path()); err != nil {
				l.opt.Logger.Warn("a compacted segment stays until the next start", "file", o.path(), "error", err)
			}
			l.forget(o)
		}
	}
	l.reserve()
	l.freed()
	return nil
}

// swapAll returns list with the swaps done.
func swapAll[T any](list []T, swaps []swap, as func(*segment) T, same func(a, b T) bool) []T {
	out := make([]T, 0, len(list))
	for _, x := range list {
		keep := true
		for _, s := range swaps {
			for i, o := range s.old {
				if same(x, as(o)) {
					keep = false
					if i == 0 && s.new != nil {
						out = append(out, as(s.new))
					}
				}
			}
		}
		if keep {
			out = append(out, x)
		}
	}
	return out
}
