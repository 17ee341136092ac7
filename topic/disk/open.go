package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// Open opens the log in opt.Dir, or makes one, and brings back what is durable: the manifest's state and the journal
// after it. It fails with LOG_LOCKED while another process has the log open, LOG_VERSION if a newer Tailrace wrote it, and
// LOG_CORRUPT, naming the file and the place, if durable bytes are damaged; all three leave the files as they are, but
// LOG_CORRUPT for the lock file and the generation in the manifest.
// ctx bounds recovery only.
func Open(ctx context.Context, opt Options) (*Log, error) {
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{
		opt:        opt,
		opened:     opt.Now(),
		files:      files{fs: opt.FS, max: opt.MaxOpenFiles},
		topics:     make(map[string]*logTopic),
		retired:    make(map[string]uint32),
		watch:      make(chan struct{}),
		changes:    1,
		spaceFreed: make(chan struct{}),
		readers:    make(map[*Reader]struct{}),
		qwake:      make(chan struct{}, 1),
		byID:       make(map[uint32]*logTopic),
		nextID:     1,
		dirty:      newDirt(), unsynced: newDirt(),
		shots:    make(chan snapshot, 1),
		tidyWake: make(chan struct{}, 1),
		stop:     make(chan struct{}),
	}
	if err := opt.FS.Mkdir(opt.Dir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if _, err := presentGeneration(opt.FS, opt.Dir); fault.Code(err) == "LOG_VERSION" { // before the lock file gets our number
		return nil, err
	}
	lock, err := opt.FS.Lock(path.Join(opt.Dir, lockName))
	if held := (*vfs.Locked)(nil); errors.As(err, &held) {
		return nil, fault.Permanentf("LOG_LOCKED", "stop that process, or give this one another data directory",
			"data directory %s is in use: %w", opt.Dir, held)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	l.lock = lock
	if err := l.recover(ctx); err != nil {
		if l.journal.file != nil {
			err = errors.Join(err, l.journal.file.Close())
		}
		return nil, errors.Join(err, l.files.closeAll(), lock.Close())
	}
	l.manMu.Lock()
	l.reserve()
	l.manMu.Unlock()
	l.workers.Go(l.write)
	l.workers.Go(l.checkpoints)
	if !opt.ManualCompaction {
		l.tidier.Go(l.tidy)
	}
	return l, nil
}

// recover brings the log to the state of the last whole frame of the journal. It first takes the log over, by its
// generation, then looks at everything, and changes nothing before it knows that nothing durable is damaged.
func (l *Log) recover(ctx context.Context) error {
	began := l.opt.Now()
	man, err := readManifest(l.opt.FS, l.opt.Dir)
	if err != nil {
		return err
	}
	l.journal = journal{fs: l.opt.FS, dir: path.Join(l.opt.Dir, journalDir)}
	if man == nil {
		if man, err = l.firstManifest(); err != nil {
			return err
		}
	}
	// A process that was killed may have renamed the manifest, or begun a journal file, and not come to sync the
	// directory. What follows builds on them, so they must stay.
	if err := errors.Join(l.opt.FS.SyncDir(l.opt.Dir), l.opt.FS.SyncDir(l.journal.dir)); err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	orderly := man.Closed
	man.Closed = false
	man.Generation++
	l.journal.gen, l.mine = man.Generation, headPrefix(man.Generation)
	if err := writeManifest(l.opt.FS, l.opt.Dir, man); err != nil {
		return err
	}
	if err := l.load(man, orderly); err != nil {
		return err
	}
	found, err := l.survey(ctx, man.Journal)
	if err != nil {
		return err
	}
	if err := errors.Join(l.cutSegments(), l.removeOrphans(man)); err != nil {
		return err
	}
	frames, err := l.replay(ctx, found)
	if err != nil {
		return err
	}
	l.man = man
	l.opt.Logger.Info("log is open", "dir", l.opt.Dir, "topics", len(l.topics), "bytes", l.bytes.Load(),
		"generation", man.Generation, "replayed_frames", frames, "replayed_bytes", l.kept.Load(), "took", l.opt.Now().Sub(began))
	return nil
}

// firstManifest makes an empty log. It refuses to if there are files that only a log with a manifest can have.
func (l *Log) firstManifest() (*manifest, error) {
	topics := path.Join(l.opt.Dir, topicsDir)
	if err := errors.Join(l.opt.FS.Mkdir(topics), l.opt.FS.Mkdir(l.journal.dir)); err != nil {
		return nil, err
	}
	// Whoever finds a manifest need not ask whether the directories are durable.
	if err := errors.Join(l.opt.FS.SyncDir(path.Dir(path.Clean(l.opt.Dir))), l.opt.FS.SyncDir(l.opt.Dir)); err != nil {
		return nil, err
	}
	names, err := l.opt.FS.List(topics)
	if err != nil {
		return nil, err
	}
	bases, err := journalFiles(l.opt.FS, l.journal.dir)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 || len(bases) > 1 || len(bases) == 1 && bases[0] != 0 {
		return nil, corrupt(path.Join(l.opt.Dir, manifestName), 0, errors.New("it is missing, but there are files of a log"))
	}
	if err := l.journal.create(0); err != nil {
		return nil, err
	}
	err = l.journal.file.Close()
	l.journal.file = nil
	if err != nil {
		return nil, err
	}
	m := &manifest{NextID: 1}
	if err := writeManifest(l.opt.FS, l.opt.Dir, m); err != nil {
		return nil, err
	}
	return m, nil
}

// load makes the topics and segments that the manifest names, and checks that their files are there.
// Segments go on only after an orderly close: else a process that was replaced may still write to them.
func (l *Log) load(man *manifest, orderly bool) error {
	l.nextID = man.NextID
	maps.Copy(l.retired, man.Retired)
	for i := range man.Topics {
		tm := &man.Topics[i]
		t, err := l.newTopic(tm)
		if err != nil {
			return err
		}
		for j, p := range t.parts {
			if err := l.loadPartition(p, &tm.Partitions[j], orderly); err != nil {
				return err
			}
		}
		l.addTopic(t)
	}
	return nil
}

func (l *Log) loadPartition(p *partition, pm *partitionMeta, orderly bool) error {
	p.next, p.end, p.clean, p.logStart = pm.Next, pm.Next, pm.Clean, pm.LogStart
	p.made = len(pm.Segments) > 0
	for i, m := range pm.Segments {
		s := &segment{dir: p.dir, meta: m, indexFrom: m.Bytes, indexed: -indexInterval, latest: m.MaxTime}
		// The last segment goes on only if it ends where the partition does: compaction may have removed one after it.
		s.sealed = i < len(pm.Segments)-1 || m.Next != pm.Next || !orderly
		s.saved = s.sealed
		f, err := l.opt.FS.Open(s.path(), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return corrupt(s.path(), 0, errors.New("the file is missing"))
		}
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err == nil && size < m.Bytes {
			err = corrupt(s.path(), size, fmt.Errorf("the file ends here, but %d bytes of it were durable", m.Bytes))
		}
		s.excess = size > m.Bytes
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		p.segs = append(p.segs, s)
		l.bytes.Add(m.Bytes)
	}
	return nil
}

// cutSegments cuts the files of segments to the sizes that the manifest says: the journal has what came after.
func (l *Log) cutSegments() error {
	for _, t := range l.topics {
		for _, p := range t.parts {
			for _, s := range p.segs {
				if !s.excess {
					continue
				}
				f, err := l.opt.FS.Open(s.path(), 0)
				if err == nil {
					err = errors.Join(f.Truncate(s.meta.Bytes), f.Close())
				}
				if err != nil {
					return err
				}
				s.excess = false
			}
		}
	}
	return nil
}

// removeOrphans removes what the manifest does not name: files that a crash left between two steps of a roll, a
// compaction or a deletion. What of it counts is in the journal and is written again.
func (l *Log) removeOrphans(man *manifest) error {
	known := make(map[string]map[string]bool)
	for i := range man.Topics {
		t := &man.Topics[i]
		for num := range t.Partitions {
			names := make(map[string]bool)
			for k := range t.Partitions[num].Segments {
				names[t.Partitions[num].Segments[k].fileName()] = true
			}
			known[dirName(t.Name, t.Epoch, int32(num))] = names
		}
	}
	root := path.Join(l.opt.Dir, topicsDir)
	dirs, err := l.opt.FS.List(root)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		names := known[d]
		if len(names) == 0 {
			if err := l.removeDir(path.Join(root, d)); err != nil {
				return err
			}
			continue
		}
		files, err := l.opt.FS.List(path.Join(root, d))
		if err != nil {
			return err
		}
		for _, f := range files {
			if !names[f] {
				if err := remove(l.opt.FS.Remove, path.Join(root, d, f)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// A survey is what there is of the journal from the manifest's position on.
type survey struct {
	files []surveyed
	old   []int64 // bases of files that are not needed any more
	end   int64   // position after the last whole frame
}

// surveyed is a file of the journal.
type surveyed struct {
	base  int64
	bytes int64 // of whole frames
	torn  int64 // bytes after them; of the last file only
}

// survey reads the journal from the position on and changes nothing. A torn tail is noted; damage before it is
// LOG_CORRUPT. (Invariant 7)
func (l *Log) survey(ctx context.Context, from int64) (survey, error) {
	v := survey{end: from}
	mark, err := readMark(l.opt.FS, l.journal.dir)
	if err != nil {
		return v, err
	}
	bases, err := journalFiles(l.opt.FS, l.journal.dir)
	if err != nil {
		return v, err
	}
	for i, base := range bases {
		if base < from {
			v.old = append(v.old, base)
			continue
		}
		if base != v.end {
			break // a file is missing; said below
		}
		next := int64(-1)
		if i+1 < len(bases) {
			next = bases[i+1]
		}
		f, err := l.surveyFile(ctx, base, next)
		if err != nil {
			return v, err
		}
		v.files = append(v.files, f)
		v.end = base + f.bytes
	}
	if n := len(bases); len(v.files) == 0 || bases[n-1] > v.files[len(v.files)-1].base {
		return v, corrupt(path.Join(l.journal.dir, journalName(v.end)), 0, errors.New("the file is missing"))
	}
	last := v.files[len(v.files)-1].base
	return v, checkMark(path.Join(l.journal.dir, journalName(last)), last, v.end, mark)
}

// surveyFile reads the frames of one file. The next one begins at next; -1: there is none.
func (l *Log) surveyFile(ctx context.Context, base, next int64) (f surveyed, err error) {
	f.base = base
	jr, ok, err := openJournal(l.opt.FS, l.journal.dir, base)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, jr.file.Close()) }()
	if !ok { // it was synced before the file had its name
		return f, corrupt(jr.name, 0, errors.New("bad header"))
	}
	if next >= 0 { // what is beyond was written by a process that had been replaced
		jr.bytes = min(jr.bytes, next-base)
	}
	for {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		_, ok, err := jr.next()
		if err != nil {
			return f, err
		}
		if !ok {
			break
		}
	}
	f.bytes = jr.at
	damaged := next >= 0 && base+jr.at != next // a file was synced before the next one was begun
	if next < 0 && jr.at < jr.bytes {
		f.torn = jr.bytes - jr.at
		if damaged, err = jr.syncedBeyond(); err != nil {
			return f, err
		}
	}
	if damaged {
		return f, corrupt(jr.name, journalHeader+jr.at, errors.New("a frame that was durable is not whole"))
	}
	return f, nil
}

// replay applies the frames that the survey found, cuts off a torn tail, and goes on in another file: a process that was
// replaced may still write to the last one. It returns how many frames there were.
func (l *Log) replay(ctx context.Context, v survey) (frames int, err error) {
	for _, base := range v.old {
		if err := remove(l.opt.FS.Remove, path.Join(l.journal.dir, journalName(base))); err != nil {
			return frames, err
		}
	}
	for i := range v.files {
		n, err := l.replayFile(ctx, &v.files[i], i == len(v.files)-1)
		if err != nil {
			return frames, err
		}
		frames += n
	}
	l.kept.Store(v.end - v.files[0].base)
	return frames, l.journal.create(v.end)
}

// replayFile applies the frames of one file.
func (l *Log) replayFile(ctx context.Context, v *surveyed, last bool) (frames int, err error) {
	jr, _, err := openJournal(l.opt.FS, l.journal.dir, v.base)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, jr.file.Close()) }()
	for jr.at < v.bytes {
		if err := ctx.Err(); err != nil {
			return frames, err
		}
		f, ok, err := jr.next()
		if err == nil && !ok {
			err = corrupt(jr.name, journalHeader+jr.at, errors.New("a frame has changed while the log was opened"))
		}
		if err != nil {
			return frames, err
		}
		if err := l.replayFrame(&f); err != nil {
			if errors.Is(err, errNumbering) {
				err = corrupt(jr.name, journalHeader+f.pos-jr.base, err)
			}
			return frames, err
		}
		frames++
	}
	if !last {
		return frames, nil
	}
	if v.torn > 0 {
		l.opt.Logger.Info("cutting off the journal's torn tail", "file", jr.name, "at", journalHeader+v.bytes, "bytes", v.torn)
		if err := jr.file.Truncate(journalHeader + v.bytes); err != nil {
			return frames, err
		}
	}
	// A process that was killed leaves frames that were written and never synced. Readers will see them: now they must
	// stay. (Invariant 1)
	return frames, jr.file.Sync()
}

// replayFrame does again what a frame says.
func (l *Log) replayFrame(f *frame) error {
	switch f.kind {
	case kindRecords:
		err := eachSection(f.payload, func(id uint32, num int32, batches []byte) error {
			t := l.byID[id]
			if t == nil || int(num) >= len(t.parts) || num < 0 {
				return errNumbering
			}
			return l.stage(t.parts[num], batches, false)
		})
		if err != nil {
			return err
		}
		l.publish()
		return nil
	case kindCreate:
		return l.replayCreate(f.payload)
	case kindConfig:
		return l.replayConfig(f.payload)
	case kindDelete:
		if len(f.payload) != 4 {
			return errNumbering
		}
		t := l.byID[uint32(f.payload[0])<<24|uint32(f.payload[1])<<16|uint32(f.payload[2])<<8|uint32(f.payload[3])]
		if t == nil {
			return errNumbering
		}
		l.dropTopic(t)
		return nil
	}
	return fault.Permanentf("LOG_VERSION", "start the Tailrace that wrote it, or a newer one", "a frame of the journal has the unknown kind %d", f.kind)
}
