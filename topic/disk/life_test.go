package disk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
)

// defaultLifeSegment is the default of segment.bytes in a life, and lifeAppend is more than one of its appends takes.
const (
	defaultLifeSegment = 1500
	lifeAppend         = 4000
)

// A life is a log on a disk that loses power, with its real compactor, on the fake clock of a synctest bubble; its model,
// which is a map of topics and a slice of records for each partition; and the consumers that are registered.
type life struct {
	rnd       *rand.Rand
	fs        *crashfs.FS
	opt       disk.Options
	log       *disk.Log
	topics    map[string]*shelved
	epochs    map[string]uint32
	consumers []*consumer
	tail      topic.Reader // at the end of the partitions that tails names
	tails     []lifeLane
	count     int   // values
	crashed   int64 // when the last process ended that did not close the log, in ms

	mu     sync.Mutex
	floors map[place]int64
}

type lifeLane struct {
	name string
	num  int32
}

func (w *life) now() int64 { return time.Now().UnixMilli() }

func newLife(seed uint64) *life {
	w := &life{rnd: rand.New(rand.NewPCG(seed, 4)), fs: newFS(), topics: map[string]*shelved{}, epochs: map[string]uint32{}, floors: map[place]int64{}}
	w.opt = disk.Options{Dir: "/var/tailrace", Merger: columns{}, ConsumerFloor: w.floorOf, SegmentBytes: defaultLifeSegment,
		JournalBytes: 500 + w.rnd.Int64N(8000), MaxOpenFiles: 1 + w.rnd.IntN(8)}
	if w.rnd.IntN(4) == 0 {
		w.opt.CompactionMemory = 200 + w.rnd.Int64N(3000)
	}
	return w
}

// whole reports whether compactions have all the memory that they want.
func (w *life) whole() bool { return w.opt.CompactionMemory == 0 }

// open opens the log, in spite of power cuts meanwhile.
func (w *life) open(ctx context.Context) (err error) {
	w.opt.FS = w.fs
	w.log, err = disk.Open(ctx, w.opt)
	for errors.Is(err, crashfs.ErrPowerOff) {
		w.fs, w.crashed = w.fs.Crash(w.rnd), w.now()
		w.opt.FS = w.fs
		w.log, err = disk.Open(ctx, w.opt)
	}
	for _, t := range w.topics {
		t.since = w.now()
	}
	return err
}

// end ends the process: in order, or by a power cut or a kill.
func (w *life) end(orderly bool) error {
	for _, c := range w.consumers {
		c.reader = nil // Close closes it
	}
	w.tail = nil
	if orderly {
		return w.log.Close()
	}
	w.crashed = w.now()
	dead := w.fs
	if w.rnd.IntN(3) == 0 {
		w.fs = dead.Kill()
	} else {
		w.fs = dead.Crash(w.rnd)
	}
	_ = w.log.Close() // of a process that is dead
	return nil
}

// look compares the whole log with the model, when nothing goes on any more.
func (w *life) look(ctx context.Context) error {
	synctest.Wait()
	infos, err := w.log.Topics(ctx)
	if err != nil {
		return err
	}
	if len(infos) != len(w.topics) {
		return fmt.Errorf("there are %d topics, should be %d", len(infos), len(w.topics))
	}
	now := w.now()
	for _, in := range infos {
		t := w.topics[in.Name]
		if t == nil || t.epoch != in.Epoch || !maps.Equal(t.config, in.Config) {
			return fmt.Errorf("topic %s: %+v, should be %+v", in.Name, in, t)
		}
		t.ripen(now)
		for num, s := range t.parts {
			got, err := readAll(ctx, w.log, in.Name, int32(num))
			if err == nil {
				err = t.judge(s, in.Partitions[num], got, now)
			}
			if err == nil {
				err = t.overdue(s, now, w.crashed, w.whole())
			}
			if err != nil {
				return fmt.Errorf("%s/%d, %v, %+v: %w", in.Name, num, t.config, in.Partitions[num], err)
			}
		}
		t.was = t.config
	}
	return nil
}

// happens lets one deed happen. alive is false if the power went off meanwhile.
func (w *life) happens(ctx context.Context, d deed) (alive bool, err error) {
	err = d.do(ctx)
	if err == nil {
		err = d.done()
		w.commit()
		d.happened = nil
	}
	if err == nil {
		err = w.look(ctx)
	}
	if errors.Is(err, crashfs.ErrPowerOff) {
		return false, w.crash(ctx, d)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", d.what, err)
	}
	return true, err
}

// crash finds out what came of the deed that a power cut interrupted.
func (w *life) crash(ctx context.Context, d deed) error {
	if err := errors.Join(w.end(false), w.open(ctx)); err != nil {
		return err
	}
	list, err := w.log.Topics(ctx)
	if err != nil {
		return err
	}
	infos := map[string]topic.Info{}
	for _, in := range list {
		infos[in.Name] = in
	}
	if d.happened != nil && d.happened(infos) {
		if err := d.done(); err != nil {
			return err
		}
		w.commit()
	}
	if d.what == "refuse" { // what it set is taken back
		for name := range w.topics {
			if err := w.log.Configure(ctx, name, map[string]string{"max.message.bytes": ""}); err != nil {
				return err
			}
		}
	}
	if err := w.look(ctx); err != nil {
		return fmt.Errorf("after a crash during %s: %w", d.what, err)
	}
	return nil
}

// live lets so many things happen, and power cuts, kills and restarts between them.
func (w *life) live(ctx context.Context, steps int) error {
	if err := w.open(ctx); err != nil {
		return err
	}
	w.fs.PowerOffAfter(w.rnd.Int64N(600))
	for n := range steps {
		alive, err := w.happens(ctx, w.next())
		if err == nil && alive && w.rnd.IntN(60) == 0 {
			orderly := w.rnd.IntN(2) == 0
			if err = w.end(orderly); errors.Is(err, crashfs.ErrPowerOff) {
				err = w.end(false)
			}
			if err = errors.Join(err, w.open(ctx)); err == nil {
				err = w.look(ctx)
			}
			if errors.Is(err, crashfs.ErrPowerOff) { // in what the log does by itself
				if err = errors.Join(w.end(false), w.open(ctx)); err == nil {
					err = w.look(ctx)
				}
			}
			alive = false
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
		if !alive {
			w.fs.PowerOffAfter(w.rnd.Int64N(600))
		}
	}
	w.fs.PowerOffAfter(1 << 60)
	return w.end(true)
}

// TestLives: whatever is appended, read, compacted, removed, configured, and whenever the log ends or the power, a log
// holds what its model does: what no policy lets it lose, and nothing for longer than the policies say; readers and consumers
// find what they are promised. TAILRACE_LIVES says how many seeds there are, from TAILRACE_SEED on; a seed repeats what is
// done to the log, not the order of what the log does at once.
func TestLives(t *testing.T) {
	t.Parallel()
	lives := 100
	if s := os.Getenv("TAILRACE_LIVES"); s != "" {
		var err error
		if lives, err = strconv.Atoi(s); err != nil {
			t.Fatalf("TAILRACE_LIVES: %v", err)
		}
	}
	if testing.Short() {
		lives = 8
	}
	first := firstSeed(t)
	for seed := first; seed < first+uint64(lives); seed++ {
		synctest.Test(t, func(t *testing.T) {
			w := newLife(seed)
			if err := w.live(t.Context(), 150); err != nil {
				if w.log != nil {
					_ = w.log.Close()
				}
				t.Fatalf("seed %d, %v", seed, err)
			}
		})
	}
}
