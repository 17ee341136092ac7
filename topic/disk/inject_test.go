package disk_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// TestFaultAtEveryOperation fails one operation of a life after the other, each once, until a life ends without a hit.
// Whatever fails: what was refused did not happen, what was acknowledged is there, also after a power cut, and after a
// failed fsync nothing is acknowledged any more.
func TestFaultAtEveryOperation(t *testing.T) {
	writes := func(op crashfs.Op) bool { return op.Kind == crashfs.Write }
	for name, f := range map[string]struct {
		err error
		on  func(op crashfs.Op) bool
	}{
		"EIO":         {syscall.EIO, func(crashfs.Op) bool { return true }},
		"EINTR":       {syscall.EINTR, func(op crashfs.Op) bool { return op.Kind == crashfs.Write || op.Kind == crashfs.Sync }},
		"ENOSPC":      {syscall.ENOSPC, func(op crashfs.Op) bool { return op.Kind != crashfs.Read && op.Kind != crashfs.Open }},
		"short_write": {&crashfs.Short{Bytes: 50, Err: syscall.EIO}, writes},
		"torn_full":   {&crashfs.Short{Bytes: 7, Err: syscall.ENOSPC}, writes},
	} {
		t.Run(name, func(t *testing.T) {
			hits := 0
			for n := 0; ; n++ {
				var at atomic.Int64
				at.Store(int64(n))
				var hit atomic.Pointer[crashfs.Op]
				inject := func(op crashfs.Op) error {
					if f.on(op) && at.Add(-1) == -1 {
						hit.Store(&op)
						return f.err
					}
					return nil
				}
				synctest.Test(t, func(t *testing.T) {
					if err := faultyLife(t.Context(), inject); err != nil {
						t.Fatalf("operation %d, %v: %v", n, hit.Load(), err)
					}
				})
				if hit.Load() == nil {
					break
				}
				hits++
			}
			if hits < 20 {
				t.Fatalf("only %d operations", hits)
			}
		})
	}
}

// faultyLife lives with operations that inject fails, and judges what is left.
func faultyLife(ctx context.Context, inject func(crashfs.Op) error) error {
	w := newWorld(77)
	w.opt.ManualCompaction, w.opt.JournalBytes, w.opt.SegmentBytes, w.opt.MaxOpenFiles = true, 3000, 700, 2
	w.opt.CompactionMemory, w.opt.ConsumerFloor, w.model.floor = 1<<20, nil, -1
	w.opt.FS = w.fs
	w.fs.Inject(inject)
	var err error
	for range 2 { // the fault comes once
		if w.log, err = disk.Open(ctx, w.opt); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	unknown := act{done: func() {}} // what may have happened or not
	broken := false
	for _, a := range w.faultyActs() {
		switch err := a.do(ctx); {
		case err == nil && broken:
			return errors.New("something was acknowledged after a failed fsync")
		case err == nil:
			a.done()
		case fault.Code(err) == "LOG_BROKEN":
			if !broken {
				unknown = a
			}
			broken = true
		case fault.IsPermanent(err):
			return err
		}
	}
	if err := w.model.check(ctx, w.log); err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.EINTR) {
		return fmt.Errorf("before the end: %w", err)
	}
	seen, err := ends(ctx, w.log)
	if err != nil {
		return err
	}
	w.fs.Inject(nil)
	if broken {
		w.fs = w.fs.Crash(w.rnd)
	}
	if err := w.log.Close(); (err != nil) != broken {
		return fmt.Errorf("close: %w", err)
	}
	w.opt.FS = w.fs
	if w.log, err = disk.Open(ctx, w.opt); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	if err := w.settle(ctx, unknown, seen); err != nil {
		return err
	}
	return w.log.Close()
}

// errSkipped is what an act returns that changes nothing.
var errSkipped = errors.New("nothing was done")

// faultyActs are appends to two topics that are rolled, compacted, configured, deleted and made again, and reads between.
func (w *world) faultyActs() []act {
	none := func() {}
	create := func(name string) act {
		return act{func(ctx context.Context) error { return w.log.Create(ctx, topic.Spec{Name: name, Partitions: 2}) }, func() { w.model.create(name) }}
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	add := func() act {
		var recs []topic.Record
		return act{func(ctx context.Context) error {
			if recs = w.model.random(rnd); len(recs) == 0 {
				return errSkipped
			}
			return w.log.Append(ctx, recs)
		}, func() { w.model.append(recs) }}
	}
	read := act{func(ctx context.Context) error {
		err := w.model.check(ctx, w.log)
		if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.EINTR) {
			return fault.Permanent("TEST", "", err)
		}
		return errSkipped
	}, none}
	onA := func(f func(ctx context.Context, name string) error) act {
		return act{func(ctx context.Context) error {
			if !w.model.exists["a"] {
				return errSkipped
			}
			return f(ctx, "a")
		}, none}
	}
	acts := []act{create("a"), create("b")}
	for i := range 12 {
		acts = append(acts, add())
		switch i {
		case 5:
			acts = append(acts, onA(func(ctx context.Context, name string) error {
				return w.log.Configure(ctx, name, map[string]string{"segment.bytes": "500", "compression.type": "lz4"})
			}))
		case 6, 11:
			acts = append(acts, onA(func(ctx context.Context, name string) error { return w.log.Compact(ctx, name) }))
		}
	}
	remove := act{func(ctx context.Context) error {
		if !w.model.exists["b"] {
			return errSkipped
		}
		return w.log.Delete(ctx, "b")
	}, func() { w.model.exists["b"] = false }}
	again := create("b")
	makeB := act{func(ctx context.Context) error {
		if w.model.exists["b"] {
			return topic.ErrTopicExists
		}
		return again.do(ctx)
	}, again.done}
	return append(acts, remove, add(), makeB, add(), act{func(ctx context.Context) error { return w.log.Checkpoint(ctx) }, none}, add(), read)
}

// slowFS holds up its nth fsync until release.
type slowFS struct {
	*crashfs.FS
	left    atomic.Int64
	hit     chan struct{} // capacity 1
	release chan struct{}
}

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (s *slowFS) Open(name string, flag int) (vfs.File, error) {
	f, err := s.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return slowFile{f, s}, nil
}

func (f slowFile) Sync() error {
	if f.fs.left.Add(-1) == -1 {
		f.fs.hit <- struct{}{}
		<-f.fs.release
	}
	return f.File.Sync()
}

// TestSlowFsync holds up each fsync of a life in turn, as a disk does that has a bad day: nothing is acknowledged before it
// is durable, readers go on, and nothing but time is lost.
func TestSlowFsync(t *testing.T) {
	for n := int64(0); ; n++ {
		hit, err := slowLife(t.Context(), n)
		if err != nil {
			t.Fatalf("fsync %d: %v", n, err)
		}
		if !hit {
			break
		}
	}
}

func slowLife(ctx context.Context, n int64) (hit bool, err error) {
	w := newWorld(77)
	w.opt.ManualCompaction, w.opt.JournalBytes, w.opt.SegmentBytes = true, 3000, 700
	slow := &slowFS{FS: w.fs, hit: make(chan struct{}, 1), release: make(chan struct{})}
	slow.left.Store(n)
	w.opt.FS = slow
	opens := act{func(ctx context.Context) (err error) {
		w.log, err = disk.Open(ctx, w.opt)
		return err
	}, func() {}}
	closes := act{func(context.Context) error { return w.log.Close() }, func() {}}
	for i, a := range append(append([]act{opens}, w.faultyActs()...), closes) {
		done := make(chan error, 1)
		go func() { done <- a.do(ctx) }()
		var err error
		select {
		case err = <-done:
		case <-slow.hit:
			hit = true
			// It may hang; readers must not.
			for name, there := range w.model.exists {
				if !there || i == 0 {
					continue
				}
				if _, err := readAll(ctx, w.log, name, 0); err != nil && !errors.Is(err, topic.ErrClosed) {
					return hit, fmt.Errorf("act %d: %w", i, err)
				}
			}
			close(slow.release)
			err = <-done
		}
		if err != nil && err != errSkipped {
			return hit, fmt.Errorf("act %d: %w", i, err)
		}
		if err == nil {
			a.done()
		}
	}
	w.opt.FS = w.fs
	if w.log, err = disk.Open(ctx, w.opt); err != nil {
		return hit, err
	}
	return hit, errors.Join(w.model.check(ctx, w.log), w.log.Close())
}
