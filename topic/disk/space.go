package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// spaceRetry is how often an Append that found the disk full looks whether somebody else has made room.
const spaceRetry = time.Second

// reserveName is a file that takes space for nothing, as long as the disk is not full. When it is, the file goes, and a
// checkpoint has room for the manifest and the next journal file, and so retention and compaction can make more.
const reserveName = "RESERVE"

// reserveShare is which part of JournalBytes the reserve takes.
const reserveShare = 64

// reserve makes the reserve unless it is there. It is called when there is space again and before Appends are told so.
// l.manMu is held.
func (l *Log) reserve() {
	if l.reserved || l.opt.ManualCompaction || l.owned() != nil {
		return
	}
	b := make([]byte, l.opt.JournalBytes/reserveShare)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails; a file system may store zeros in no space
	name := path.Join(l.opt.Dir, reserveName)
	f, err := l.opt.FS.Open(name, os.O_CREATE|os.O_TRUNC)
	if err == nil {
		_, err = f.WriteAt(b, 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		if undo := remove(l.opt.FS.Remove, name); undo != nil || !isFull(err) {
			l.opt.Logger.Warn("no disk space could be reserved", "file", name, "error", errors.Join(err, undo))
		}
		return
	}
	l.reserved = true
}

// withReserve does what a checkpoint or a compaction needs space for, and once more without the reserve if there is none.
// l.manMu is held.
func (l *Log) withReserve(do func() error) error {
	err := do()
	if !isFull(err) || fault.IsPermanent(err) || !l.reserved {
		return err
	}
	name := path.Join(l.opt.Dir, reserveName)
	if undo := remove(l.opt.FS.Remove, name); undo != nil {
		return errors.Join(err, undo)
	}
	l.reserved = false
	return do()
}

// isFull reports whether err says that the disk is full, or a quota used up.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// complain logs that something failed that will be tried again, unless it failed since the disk is full and that has been
// said.
func (l *Log) complain(level slog.Level, msg string, err error, args ...any) {
	if isFull(err) && l.seen.Load() == topic.SpaceFull {
		return
	}
	l.opt.Logger.Log(context.Background(), level, msg, append(args, "error", err)...)
}

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
	for waited := false; ; waited = true {
		l.mu.RLock()
		freed := l.spaceFreed
		l.mu.RUnlock()
		if own || l.opt.MaxBytes <= 0 || l.bytes.Load()+l.kept.Load() <= l.opt.MaxBytes {
			err := l.do(ctx, req)
			if !isFull(err) || l.failure() != nil {
				if err == nil && l.waiting.Load() == 0 && l.diskFull.CompareAndSwap(true, false) { // a small one may fit while larger ones wait
					l.look()
				}
				return gaveUp(ctx, full, err)
			}
			full = err
			l.diskFull.Store(true)
		}
		if !waited || full == nil {
			token(l.tidyWake)
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
