package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
)

// journalSlack is how many times JournalBytes the journal may grow to while a checkpoint is under way.
const journalSlack = 4

// checkpointPause is how long after a failed checkpoint the next one is tried.
const checkpointPause = time.Second

// A snapshot is the state of the log between two groups, with the journal rotated: what a checkpoint makes durable. The
// files named in it are whole up to the sizes in it, if not yet durable.
type snapshot struct {
	man    *manifest
	dirty  dirt
	sealed []sealed   // that the manifest has whole
	kept   int64      // of the journal, and not needed any more afterwards
	done   chan error // may be nil
}

// sealed is a segment of a partition that ended before the snapshot.
type sealed struct {
	p   *partition
	seg *segment
}

// startCheckpoint begins a checkpoint unless one, or a compaction's commit, is under way. The writer calls it.
func (l *Log) startCheckpoint() {
	if !l.manMu.TryLock() {
		return
	}
	if l.ckErr != nil && l.opt.Now().Before(l.ckAfter) {
		l.manMu.Unlock()
		return
	}
	if err := l.shoot(nil, false); err != nil {
		l.complain(slog.LevelWarn, "a checkpoint must wait", err, "dir", l.opt.Dir)
	}
}

// forceCheckpoint begins a checkpoint whose outcome done gets; it is the last one if the log is being closed. The writer
// calls it.
func (l *Log) forceCheckpoint(done chan error, last bool) {
	if err := l.failure(); err != nil {
		done <- err
		return
	}
	l.manMu.Lock()
	if err := l.shoot(done, last); err != nil {
		done <- err
	}
}

// shoot takes a snapshot and gives it, and the lock on the manifest that the caller holds, to the checkpointer.
func (l *Log) shoot(done chan error, last bool) error {
	kept := l.kept.Load()
	if l.journal.size > 0 {
		if err := l.withReserve(l.rotate); err != nil {
			l.failed(err)
			l.manMu.Unlock()
			return err
		}
	}
	s := l.snapshot()
	s.kept, s.done = kept, done
	s.man.Closed = last
	l.shots <- s
	return nil
}

// rotate goes on in another journal file. If that can't be begun, the present one goes on, and nothing of the other may
// stay, since it would be taken for the continuation of this one.
func (l *Log) rotate() error {
	if err := l.mayWrite(); err != nil {
		return err
	}
	end := l.journal.end()
	err := l.journal.create(end)
	if err == nil || l.journal.base == end {
		return err
	}
	err = fmt.Errorf("begin another journal file: %w", err)
	undo := remove(l.opt.FS.Remove, path.Join(l.journal.dir, journalName(end)))
	if undo == nil {
		undo = l.opt.FS.SyncDir(l.journal.dir)
	}
	if undo != nil {
		return l.unsafe(errors.Join(err, undo))
	}
	return err
}

// failed notes the outcome of a checkpoint. l.manMu is held.
func (l *Log) failed(err error) {
	l.ckErr = err
	l.ckAfter = l.opt.Now().Add(checkpointPause)
}

// journalRoom waits for the checkpoint under way if the journal has grown far beyond its size. (Invariant 8)
func (l *Log) journalRoom() error {
	for try := 0; l.kept.Load() >= journalSlack*l.opt.JournalBytes; try++ {
		l.manMu.Lock() // the checkpoint under way is over
		if l.kept.Load() < journalSlack*l.opt.JournalBytes {
			l.manMu.Unlock()
			return nil
		}
		if try == 2 {
			defer l.manMu.Unlock()
			return notWritten(fmt.Errorf("the journal is full and can't be cut: %w", l.ckErr))
		}
		if err := l.shoot(nil, false); err != nil {
			return notWritten(err)
		}
	}
	return nil
}

// snapshot describes the log as it is between two groups. Only the writer may call it.
func (l *Log) snapshot() snapshot {
	s := snapshot{dirty: l.dirty}
	l.dirty = newDirt()
	m := &manifest{Generation: l.journal.gen, Journal: l.journal.base, NextID: l.nextID}
	l.mu.RLock()
	defer l.mu.RUnlock()
	m.Retired = maps.Clone(l.retired)
	m.Topics = make([]topicMeta, 0, len(l.topics))
	for _, t := range l.topics {
		tm := topicMeta{ID: t.id, Name: t.name, Epoch: t.epoch, Config: t.conf().config, Partitions: make([]partitionMeta, len(t.parts))}
		for i, p := range t.parts {
			p.mu.Lock()
			pm := partitionMeta{Next: p.end, Clean: p.clean, LogStart: p.logStart, Segments: make([]segmentMeta, 0, len(p.segs))}
			for _, seg := range p.segs {
				pm.Segments = append(pm.Segments, seg.meta)
				if seg.sealed && !seg.saved {
					s.sealed = append(s.sealed, sealed{p, seg})
				}
			}
			p.mu.Unlock()
			tm.Partitions[i] = pm
		}
		m.Topics = append(m.Topics, tm)
	}
	s.man = m
	return s
}

// checkpoints is the checkpointer: it makes one snapshot after the other durable, until the writer ends.
func (l *Log) checkpoints() error {
	for s := range l.shots {
		err := l.checkpoint(&s)
		if err != nil {
			l.failed(err)
			l.unsynced.add(s.dirty)
			l.complain(slog.LevelWarn, "a checkpoint failed; the journal stays until one succeeds", err, "dir", l.opt.Dir)
		} else {
			l.ckErr = nil
			l.kept.Add(-s.kept)
			l.reserve()
		}
		l.manMu.Unlock()
		if err == nil && (s.kept > 0 || len(s.dirty.drop) > 0) {
			l.freed()
		}
		if s.done != nil {
			s.done <- err
		}
		if err == nil {
			token(l.tidyWake)
		}
	}
	return nil
}

// checkpoint makes s durable and removes what is not needed any more. l.manMu is held.
func (l *Log) checkpoint(s *snapshot) error {
	s.dirty.add(l.unsynced)
	l.unsynced = newDirt()
	for seg, p := range s.dirty.segs {
		if err := l.syncSegment(seg, p); err != nil {
			return err
		}
		delete(s.dirty.segs, seg)
	}
	for dir := range s.dirty.dirs {
		if err := l.opt.FS.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return l.unsafe(fmt.Errorf("sync %s: %w", dir, err))
		}
		delete(s.dirty.dirs, dir)
	}
	if err := l.withReserve(func() error { return writeManifest(l.opt.FS, l.opt.Dir, s.man) }); err != nil {
		if fault.IsPermanent(err) {
			return l.unsafe(err)
		}
		return err
	}
	l.man = s.man
	for _, x := range s.sealed {
		x.p.mu.Lock()
		x.seg.saved = true
		x.p.mu.Unlock()
	}
	// Files that can't be removed now are removed by the next checkpoint or the next Open.
	if err := l.removeJournals(s.man.Journal); err != nil {
		l.opt.Logger.Warn("old journal files stay for now", "dir", l.opt.Dir, "error", err)
	}
	for dir := range s.dirty.drop {
		if err := l.removeDir(dir); err != nil {
			l.opt.Logger.Warn("files of a deleted topic stay for now", "dir", dir, "error", err)
		}
	}
	return nil
}

// syncSegment makes what was written to a segment durable.
func (l *Log) syncSegment(seg *segment, p *partition) error {
	// A topic that was deleted after the snapshot is still in it, so its files count as any others.
	f, err := l.files.acquire(seg, 0)
	if errors.Is(err, fs.ErrNotExist) && p.isGone() {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.files.release(seg)
	if err := f.Sync(); err != nil {
		// The pages may count as clean now, so another try would prove nothing.
		return l.unsafe(fmt.Errorf("sync %s: %w", seg.path(), err))
	}
	return nil
}

// unsafe ends the writer: what is on disk is unknown.
func (l *Log) unsafe(err error) error {
	if fault.Code(err) == "" {
		err = broken(err)
	}
	l.fatal.CompareAndSwap(nil, &err)
	return err
}

// removeJournals removes the files before the one that begins at base.
func (l *Log) removeJournals(base int64) error {
	dir := path.Join(l.opt.Dir, journalDir)
	bases, err := journalFiles(l.opt.FS, dir)
	if err != nil {
		return err
	}
	for _, b := range bases {
		if b < base {
			if err := remove(l.opt.FS.Remove, path.Join(dir, journalName(b))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Log) removeDir(dir string) error {
	names, err := l.opt.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := remove(l.opt.FS.Remove, path.Join(dir, n)); err != nil {
			return err
		}
	}
	return remove(l.opt.FS.Remove, dir)
}

// remove is rm unless the file is gone already.
func remove(rm func(string) error, name string) error {
	if err := rm(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Checkpoint makes segments durable and cuts the journal. The log does it by itself; tools and tests may ask for one.
func (l *Log) Checkpoint(ctx context.Context) error {
	return l.do(ctx, &request{kind: askCheckpoint})
}
