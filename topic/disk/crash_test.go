package disk_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
)

// powerCuts is how many power cuts TestPowerCuts makes: TAILRACE_POWERCUTS, or a number that takes some seconds.
func powerCuts(t *testing.T) int {
	if s := os.Getenv("TAILRACE_POWERCUTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("TAILRACE_POWERCUTS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return 200
	}
	return 600
}

// firstSeed is where TestPowerCuts begins: TAILRACE_SEED, or 1.
func firstSeed(t *testing.T) uint64 {
	s := os.Getenv("TAILRACE_SEED")
	if s == "" {
		return 1
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("TAILRACE_SEED: %v", err)
	}
	return n
}

// A world is a log on a file system that fails, and what should be in it.
type world struct {
	rnd   *rand.Rand
	fs    *crashfs.FS
	log   *disk.Log
	model *model
	clock atomic.Int64
	opt   disk.Options
	cuts  int
}

// newFS returns an empty file system with a durable /var.
func newFS() *crashfs.FS {
	fs := crashfs.New()
	if err := errors.Join(fs.Mkdir("/var"), fs.SyncDir("/")); err != nil {
		panic(err) // nothing can fail yet
	}
	return fs
}

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 75)), fs: newFS(), model: newModel()}
	w.clock.Store(1_000_000)
	w.opt = disk.Options{Dir: "/var/tailrace", Merger: columns{}, Now: func() time.Time { return time.UnixMilli(w.clock.Load()) },
		JournalBytes: 500 + w.rnd.Int64N(8000), SegmentBytes: 300 + w.rnd.Int64N(4000), MaxOpenFiles: 1 + w.rnd.IntN(8)}
	if w.rnd.IntN(3) == 0 {
		w.opt.CompactionMemory = 200 + w.rnd.Int64N(3000)
	}
	if w.rnd.IntN(2) == 0 {
		floor := w.rnd.Int64N(100)
		w.opt.ConsumerFloor = func(string, uint32, int32) int64 { return floor }
		w.model.floor = floor
	}
	return w
}

// open opens the log, in spite of power cuts meanwhile.
func (w *world) open(ctx context.Context) error {
	for {
		if w.rnd.IntN(3) == 0 {
			w.fs.PowerOffAfter(w.rnd.Int64N(60))
		}
		w.opt.FS = w.fs
		l, err := disk.Open(ctx, w.opt)
		if err == nil {
			w.log = l
			return nil
		}
		if !errors.Is(err, crashfs.ErrPowerOff) {
			return fmt.Errorf("recovery: %w", err)
		}
		w.crash()
	}
}

// crash takes the machine down, or the process only, and brings the file system back.
func (w *world) crash() {
	w.cuts++
	if w.rnd.IntN(4) == 0 {
		w.fs = w.fs.Kill()
	} else {
		w.fs = w.fs.Crash(w.rnd)
	}
}

// An act is something done to the log that either happened or not.
type act struct {
	do   func(ctx context.Context) error
	done func() // tells the model
}

func (w *world) act() act {
	none := func() {}
	name := string(rune('a' + w.rnd.IntN(3)))
	switch p := w.rnd.IntN(100); {
	case p < 6 && w.model.exists[name]:
		return act{func(ctx context.Context) error { return w.log.Compact(ctx, name) }, none}
	case p < 9:
		return act{w.log.Checkpoint, none}
	case p < 12:
		w.clock.Add(w.rnd.Int64N(2_000_000))
		return act{func(context.Context) error { return nil }, none}
	case p < 14 && w.model.exists[name]:
		return act{func(ctx context.Context) error { return w.log.Delete(ctx, name) }, func() { w.model.exists[name] = false }}
	case p < 17 && w.model.exists[name]:
		set := map[string]string{"segment.bytes": fmt.Sprint(300 + w.rnd.IntN(3000)), "delete.retention.ms": fmt.Sprint(w.rnd.IntN(1_000_000)),
			"min.cleanable.dirty.ratio": fmt.Sprint(w.rnd.IntN(3)) + "e-1", "min.compaction.lag.ms": fmt.Sprint(w.rnd.IntN(2) * 400_000),
			"compression.type": []string{"", "zstd", "snappy", "lz4"}[w.rnd.IntN(4)]}
		return act{func(ctx context.Context) error { return w.log.Configure(ctx, name, set) }, none}
	case p < 25 && !w.model.exists[name]:
		spec := topic.Spec{Name: name, Partitions: 2, Config: map[string]string{"delete.retention.ms": "500000"}}
		if name == "b" {
			spec.Config["compression.type"] = "lz4"
		}
		return act{func(ctx context.Context) error { return w.log.Create(ctx, spec) }, func() { w.model.create(name) }}
	}
	recs := w.model.random(w.rnd)
	return act{func(ctx context.Context) error { return w.log.Append(ctx, recs) }, func() { w.model.append(recs) }}
}

// live lets things happen until the power goes off, and checks what is there when it is back.
func (w *world) live(ctx context.Context) error {
	if err := w.open(ctx); err != nil {
		return err
	}
	w.fs.PowerOffAfter(w.rnd.Int64N(300))
	var last act
	for {
		last = w.act()
		if err := last.do(ctx); err != nil {
			if !errors.Is(err, crashfs.ErrPowerOff) {
				return err
			}
			break
		}
		last.done()
	}
	seen, err := ends(ctx, w.log)
	if err != nil {
		return err
	}
	w.crash()
	// The old process is gone; what its goroutines still do meets a dead file system.
	if err := w.log.Close(); err != nil && !errors.Is(err, crashfs.ErrPowerOff) {
		return err
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	if err := w.settle(ctx, last, seen); err != nil {
		return err
	}
	err = w.log.Close()
	if errors.Is(err, crashfs.ErrPowerOff) {
		w.crash()
		err = nil
	}
	return err
}

// settle finds out whether the act that the power cut interrupted happened, and checks everything.
func (w *world) settle(ctx context.Context, last act, seen map[place]int64) error {
	for {
		before := w.model.check(ctx, w.log)
		if before != nil && !errors.Is(before, crashfs.ErrPowerOff) {
			last.done() // it must have happened, or nothing fits
			if after := w.model.check(ctx, w.log); after != nil && !errors.Is(after, crashfs.ErrPowerOff) {
				return fmt.Errorf("neither the state before the last append: %w\nnor the one after: %w", before, after)
			}
		}
		now, err := ends(ctx, w.log)
		if err != nil {
			return err
		}
		for at, end := range seen {
			if got, ok := now[at]; ok && got < end {
				return fmt.Errorf("%v ended at %d for readers, and ends at %d after the crash", at, end, got)
			}
		}
		if !errors.Is(before, crashfs.ErrPowerOff) {
			return nil
		}
		// The power went off again while we looked.
		w.crash()
		if err := w.log.Close(); err != nil && !errors.Is(err, crashfs.ErrPowerOff) {
			return err
		}
		if err := w.open(ctx); err != nil {
			return err
		}
	}
}

// ends returns how far readers can see.
func ends(ctx context.Context, l *disk.Log) (map[place]int64, error) {
	infos, err := l.Topics(ctx)
	m := map[place]int64{}
	for _, in := range infos {
		for num, p := range in.Partitions {
			m[place{in.Name, in.Epoch, int32(num)}] = p.End
		}
	}
	return m, err
}

// TestPowerCuts lets seeded worlds live through power cuts and kills at random operations, recovery included. After each
// everything that was acknowledged is there, in order, each append whole or not at all, and compaction lost nothing.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	total := powerCuts(t)
	ctx := t.Context() // bounded by go test's -timeout
	cuts := 0
	for seed := firstSeed(t); cuts < total; seed++ {
		w := newWorld(seed)
		for range 5 {
			if err := w.live(ctx); err != nil {
				t.Fatalf("seed %d, cut %d: %v", seed, w.cuts, err)
			}
		}
		cuts += w.cuts
	}
	t.Logf("cuts=%d violations=0", cuts)
}

// TestCrashSteps cuts the power at every single operation of a life with rolled segments, checkpoints, compactions and
// a deletion.
func TestCrashSteps(t *testing.T) {
	t.Run("case78_between_all_steps", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		finished := false
		for n := int64(0); !finished; n++ {
			w := newWorld(7)
			w.opt.ManualCompaction, w.opt.JournalBytes, w.opt.SegmentBytes = true, 1<<20, 600
			w.opt.FS = w.fs
			w.fs.PowerOffAfter(n)
			last, seen, err := w.script(ctx)
			if err != nil && !errors.Is(err, crashfs.ErrPowerOff) {
				t.Fatalf("operation %d: %v", n, err)
			}
			finished = err == nil
			w.fs = w.fs.Crash(w.rnd)
			if w.log != nil {
				if err := w.log.Close(); err != nil && !errors.Is(err, crashfs.ErrPowerOff) && !errors.Is(err, topic.ErrClosed) {
					t.Fatalf("operation %d: Close: %v", n, err)
				}
			}
			w.opt.FS = w.fs
			if w.log, err = disk.Open(ctx, w.opt); err != nil {
				t.Fatalf("operation %d: recovery: %v", n, err)
			}
			if err := w.settle(ctx, last, seen); err != nil {
				t.Fatalf("operation %d: %v", n, err)
			}
			// No orphan grows the disk: after a compaction the log has the size that it always has.
			for _, name := range []string{"a", "b"} {
				if w.model.exists[name] {
					if err := w.log.Compact(ctx, name); err != nil {
						t.Fatalf("operation %d: %v", n, err)
					}
				}
			}
			if err := w.model.check(ctx, w.log); err != nil {
				t.Fatalf("operation %d, after compaction: %v", n, err)
			}
			if err := w.log.Close(); err != nil {
				t.Fatal(err)
			}
			if used := w.fs.Used(); used > 12<<10 {
				t.Fatalf("operation %d: %d bytes are in use after compaction", n, used)
			}
			if n > 5000 {
				t.Fatal("the script doesn't end")
			}
		}
	})
}

// script is the life that TestCrashSteps interrupts.
func (w *world) script(ctx context.Context) (last act, seen map[place]int64, err error) {
	last = act{done: func() {}}
	if w.log, err = disk.Open(ctx, w.opt); err != nil {
		return last, nil, err
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	create := func(name string) act {
		return act{func(ctx context.Context) error { return w.log.Create(ctx, topic.Spec{Name: name, Partitions: 2}) }, func() { w.model.create(name) }}
	}
	add := func() act {
		recs := w.model.random(rnd)
		return act{func(ctx context.Context) error { return w.log.Append(ctx, recs) }, func() { w.model.append(recs) }}
	}
	compact := act{func(ctx context.Context) error { return w.log.Compact(ctx, "a") }, func() {}}
	remove := act{func(ctx context.Context) error { return w.log.Delete(ctx, "b") }, func() { w.model.exists["b"] = false }}
	steps := []func() act{func() act { return create("a") }, func() act { return create("b") }}
	for i := range 36 {
		steps = append(steps, add)
		if i%12 == 11 {
			steps = append(steps, func() act { return compact })
		}
	}
	steps = append(steps, func() act { return remove }, add, func() act { return create("b") }, add, func() act { return compact }, add)
	for _, s := range steps {
		last = s()
		if err = last.do(ctx); err != nil {
			break
		}
		last.done()
		last = act{done: func() {}}
	}
	seen, endsErr := ends(ctx, w.log)
	return last, seen, errors.Join(err, endsErr)
}

// TestKilled is a kill -9 at any moment: all that was written stays, synced or not, and the next process must make it
// durable before it shows it to anyone.
func TestKilled(t *testing.T) {
	t.Run("case75_kill_then_power_cut", func(t *testing.T) {
		t.Parallel()
		for seed := uint64(1); seed <= 100; seed++ {
			w := newWorld(seed)
			w.opt.FS, w.opt.JournalBytes = w.fs, 1<<20
			l, err := disk.Open(t.Context(), w.opt)
			if err != nil {
				t.Fatal(err)
			}
			w.log = l
			for _, name := range []string{"a", "b"} {
				if err := l.Create(t.Context(), topic.Spec{Name: name, Partitions: 2}); err != nil {
					t.Fatal(err)
				}
				w.model.create(name)
			}
			// The process dies when it calls fsync: the frame is in the file and nobody knows.
			var armed atomic.Bool
			w.fs.Inject(func(op crashfs.Op) error {
				if armed.Load() && op.Kind == crashfs.Sync {
					return crashfs.ErrPowerOff
				}
				return nil
			})
			for range w.rnd.IntN(20) {
				recs := w.model.random(w.rnd)
				if err := l.Append(t.Context(), recs); err != nil {
					t.Fatal(err)
				}
				w.model.append(recs)
			}
			armed.Store(true)
			recs := w.model.random(w.rnd)
			err = l.Append(t.Context(), recs)
			if fault.Code(err) != "LOG_BROKEN" {
				t.Fatalf("append without fsync: %v", err)
			}
			next := w.fs.Kill()
			_ = l.Close() // of a dead process
			w.fs, w.opt.FS = next, next
			if l, err = disk.Open(t.Context(), w.opt); err != nil {
				t.Fatal(err)
			}
			seen, err := ends(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			next = w.fs.Crash(w.rnd)
			_ = l.Close()
			w.fs, w.opt.FS = next, next
			if w.log, err = disk.Open(t.Context(), w.opt); err != nil {
				t.Fatal(err)
			}
			if err := w.settle(t.Context(), act{done: func() { w.model.append(recs) }}, seen); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := w.log.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
