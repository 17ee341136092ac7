package disk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/tailrace/tailrace/topic"
)

// spaceRetry is how often an Append that found the disk full looks whether somebody else has made room.
const spaceRetry = time.Second

// space tells how the log is off for space. (Invariant 8)
func (l *Log) space() topic.Space {
	used := l.bytes.Load() + l.kept.Load()
	switch {
	case l.opt.MaxBytes > 0 && used > l.opt.MaxBytes || l.diskFull.Load():
		return topic.SpaceFull
	case l.opt.AlarmBytes > 0 && used > l.opt.AlarmBytes:
		return topic.SpaceAlarm
	}
	return topic.SpaceOK
}

// look says in the log when the state of space has changed. The compactor calls it, and each Append that must wait.
func (l *Log) look() {
	now := l.space()
	before, _ := l.seen.Swap(now).(topic.Space)
	if before == now || before == "" && now == topic.SpaceOK {
		return
	}
	args := []any{"dir", l.opt.Dir, "state", now, "bytes", l.bytes.Load() + l.kept.Load(), "max", l.opt.MaxBytes, "alarm", l.opt.AlarmBytes}
	switch now {
	case topic.SpaceFull:
		l.opt.Logger.Error("the log has no space left; appends wait for it", args...)
	case topic.SpaceAlarm:
		l.opt.Logger.Warn("the log is short of space; compaction does what it can", args...)
	default:
		l.opt.Logger.Info("the log has space again", args...)
	}
}

// Usage implements topic.Meter.
func (l *Log) Usage() topic.Usage {
	return topic.Usage{Segments: l.bytes.Load(), Journal: l.kept.Load(), Max: l.opt.MaxBytes, Alarm: l.opt.AlarmBytes,
		Waiting: int(l.waiting.Load()), State: l.space(), Compacted: l.compacted.Load()}
}

// appendWithSpace queues an Append when there is space for it, and waits as long as there is none: while the log is over
// its budget, and when the disk is full. Records of the house's own topics, offsets above all, are not held back by the
// budget, though they count: they are small and compacted, and what consumers do with them is what frees space.
func (l *Log) appendWithSpace(ctx context.Context, req *request, own bool) error {
	var full error // why the last attempt failed
	for {
		l.mu.RLock()
		freed := l.spaceFreed
		l.mu.RUnlock()
		if own || l.opt.MaxBytes <= 0 || l.bytes.Load()+l.kept.Load() <= l.opt.MaxBytes {
			err := l.do(ctx, req)
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) || l.failure() != nil {
				if err == nil && l.diskFull.CompareAndSwap(true, false) {
					l.look()
				}
				return gaveUp(ctx, full, err)
			}
			full = err
			l.diskFull.Store(true)
		}
		if err := l.awaitSpace(ctx, freed, full); err != nil {
			return err
		}
	}
}

// gaveUp adds to the error of one whose ctx ended what it was waiting for.
func gaveUp(ctx context.Context, full, err error) error {
	if full != nil && err != nil && err == ctx.Err() {
		return fmt.Errorf("%w: %w", full, err)
	}
	return err
}

// awaitSpace waits until space was freed. With full, the cause of a failed attempt, it looks again after a while.
func (l *Log) awaitSpace(ctx context.Context, freed <-chan struct{}, full error) error {
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	l.look()
	token(l.tidyWake)
	var again <-chan time.Time
	if full != nil {
		t := time.NewTimer(spaceRetry)
		defer t.Stop()
		again = t.C
	}
	select {
	case <-freed:
		return nil
	case <-again:
		return nil
	case <-l.stop:
		return topic.ErrClosed
	case <-ctx.Done():
		return gaveUp(ctx, full, ctx.Err())
	}
}

// freed lets Appends look again that wait for space.
func (l *Log) freed() {
	l.mu.Lock()
	close(l.spaceFreed)
	l.spaceFreed = make(chan struct{})
	l.mu.Unlock()
}

// isOwn reports whether all records are for topics of the house.
func isOwn(recs []topic.Record) bool {
	for i := range recs {
		if !strings.HasPrefix(recs[i].Topic, "__") {
			return false
		}
	}
	return true
}
