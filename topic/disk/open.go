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
// LOG_CORRUPT, naming the file and the place, if durable bytes are damaged; all three leave the files as they are.
// ctx bounds recovery only.
func Open(ctx context.Context, opt Options) (*Log, error) {
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{
		opt:     opt,
		files:   files{fs: opt.FS, max: opt.MaxOpenFiles},
		topics:  make(map[string]*logTopic),
		retired: make(map[string]uint32),
		watch:   make(chan struct{}),
		changes: 1,
		space:   make(chan struct{}),
		readers: make(map[*Reader]struct{}),
		qwake:   make(chan struct{}, 1),
		byID:    make(map[uint32]*logTopic),
		nextID:  1,
		dirty:   newDirt(), unsynced: newDirt(),
		shots:    make(chan snapshot, 1),
		tidyWake: make(chan struct{}, 1),
		stop:     make(chan struct{}),
	}
	if err := opt.FS.Mkdir(opt.Dir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
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
	l.workers.Go(l.write)
	l.workers.Go(l.checkpoints)
	if !opt.ManualCompaction {
		l.tidier.Go(l.tidy)
	}
	return l, nil
}

// recover brings the log to the state of the last whole frame of the journal.
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
	man.Generation++
	l.journal.gen = man.Generation
	if err := l.load(man); err != nil {
		return err
	}
	if err := l.removeOrphans(man); err != nil {
		return err
	}
	frames, err := l.replay(ctx, man.Journal)
	if err != nil {
		return err
	}
	if err := writeManifest(l.opt.FS, l.opt.Dir, man); err != nil {
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

// load makes the topics and segments that the manifest names, cut to the sizes that it says.
func (l *Log) load(man *manifest) error {
	l.nextID = man.NextID
	maps.Copy(l.retired, man.Retired)
	for i := range man.Topics {
		tm := &man.Topics[i]
		t, err := l.newTopic(tm)
		if err != nil {
			return err
		}
		for j, p := range t.parts {
			if err := l.loadPartition(p, &tm.Partitions[j]); err != nil {
				return err
			}
		}
		l.addTopic(t)
	}
	return nil
}

func (l *Log) loadPartition(p *partition, pm *partitionMeta) error {
	p.next, p.end, p.clean = pm.Next, pm.Next, pm.Clean
	p.made = len(pm.Segments) > 0
	for i, m := range pm.Segments {
		s := &segment{dir: p.dir, meta: m, indexFrom: m.Bytes, indexed: -indexInterval}
		// The last segment goes on only if it ends where the partition does: compaction may have removed one after it.
		s.sealed = i < len(pm.Segments)-1 || m.Next != pm.Next
		s.saved = s.sealed
		f, err := l.opt.FS.Open(s.path(), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return corrupt(s.path(), 0, errors.New("the file is missing"))
		}
		if err != nil {
			return err
		}
		size, err := f.Size()
		switch {
		case err != nil:
		case size < m.Bytes:
			err = corrupt(s.path(), size, fmt.Errorf("the file ends here, but %d bytes of it were durable", m.Bytes))
		case size > m.Bytes:
			err = f.Truncate(m.Bytes) // the journal has what came after
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		p.segs = append(p.segs, s)
		l.bytes.Add(m.Bytes)
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

// replay applies the frames of the journal from the position on, and opens the journal for more. It returns how many
// frames there were. A torn tail is cut off; damage before it is LOG_CORRUPT. (Invariant 7)
func (l *Log) replay(ctx context.Context, from int64) (frames int, err error) {
	bases, err := journalFiles(l.opt.FS, l.journal.dir)
	if err != nil {
		return 0, err
	}
	pos := from
	for i, base := range bases {
		if base < from {
			if err := remove(l.opt.FS.Remove, path.Join(l.journal.dir, journalName(base))); err != nil {
				return frames, err
			}
			continue
		}
		if base != pos {
			break // a file is missing; said below
		}
		jr, ok, err := openJournal(l.opt.FS, l.journal.dir, base)
		if err != nil {
			return frames, err
		}
		last := i == len(bases)-1
		n, err := l.replayFile(ctx, jr, ok, last)
		if err != nil {
			return frames, errors.Join(err, jr.file.Close())
		}
		frames += n
		if !ok { // the file after a rotation that power cut short; frames were never in it
			if err := jr.file.Close(); err != nil {
				return frames, err
			}
			break
		}
		pos = base + jr.at
		l.kept.Add(jr.at)
		if l.journal.file != nil {
			if err := l.journal.file.Close(); err != nil {
				return frames, err
			}
		}
		l.journal.file, l.journal.name, l.journal.base, l.journal.size = jr.file, jr.name, base, jr.at
	}
	if n := len(bases); l.journal.file == nil || bases[n-1] > pos {
		return frames, corrupt(path.Join(l.journal.dir, journalName(pos)), 0, errors.New("the file is missing"))
	}
	l.journal.synced = pos
	if n := len(bases); bases[n-1] != l.journal.base { // its header was torn
		return frames, l.journal.create(pos)
	}
	return frames, nil
}

// replayFile applies the frames of one file. whole says that its header is good.
func (l *Log) replayFile(ctx context.Context, jr *journalReader, whole, last bool) (frames int, err error) {
	if !whole {
		if last && jr.base > 0 && jr.bytes <= 0 {
			return 0, nil
		}
		return 0, corrupt(jr.name, 0, errors.New("bad header"))
	}
	for {
		if err := ctx.Err(); err != nil {
			return frames, err
		}
		f, ok, err := jr.next()
		if err != nil {
			return frames, err
		}
		if !ok {
			break
		}
		if err := l.replayFrame(&f); err != nil {
			if errors.Is(err, errNumbering) {
				err = corrupt(jr.name, journalHeader+f.pos-jr.base, err)
			}
			return frames, err
		}
		frames++
	}
	if jr.at < jr.bytes {
		damaged := !last
		if last {
			if damaged, err = jr.syncedBeyond(); err != nil {
				return frames, err
			}
		}
		if damaged {
			return frames, corrupt(jr.name, journalHeader+jr.at, errors.New("a frame that was durable is not whole"))
		}
		l.opt.Logger.Info("cutting off the journal's torn tail", "file", jr.name, "at", journalHeader+jr.at, "bytes", jr.bytes-jr.at)
		if err := jr.file.Truncate(journalHeader + jr.at); err != nil {
			return frames, err
		}
	}
	if last {
		// A process that was killed leaves frames that were written and never synced. Readers will see them: now they
		// must stay. (Invariant 1)
		return frames, jr.file.Sync()
	}
	return frames, nil
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
