package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/sim"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// scenario is one way to run a world; the seed decides the rest.
type scenario struct {
	keyless bool
	crashes int // how often the connector dies; -1: as the seed says
	rows    int
	steps   int
	batch   int // MaxBatch of stream and weave; 0: by the seed
	chunk   int // 0: by the seed
	heap    bool
	threads int // 0: 1, or with a heap by the seed
	pauses  bool
}

type outcome struct {
	events, copied, scans, crashes int
}

// run drives one world to its end and checks the law: fold of the durable log == table.
func run(seed uint64, sc scenario) (out outcome, err error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	db := sim.New(sim.Config{Seed: seed, Keyless: sc.keyless, Rows: sc.rows, Steps: sc.steps, MaxBatch: sc.batch, Heap: sc.heap, Settle: synctest.Wait})
	h := db.History()
	crashes := sc.crashes
	if crashes < 0 {
		crashes = rng.IntN(6)
	}
	chunk := sc.chunk
	if chunk == 0 {
		chunk = 1 + rng.IntN(12)
	}
	o := snapshot.Options{Config: snapshot.Config{Mode: "initial", FetchSize: chunk, Threads: sc.threads}, MaxBatch: sc.batch}
	if sc.heap && sc.threads == 0 {
		o.Config.Threads = 1 + rng.IntN(4)
	}
	if o.MaxBatch == 0 && rng.IntN(2) == 0 {
		o.MaxBatch = 1 + rng.IntN(8)
	}
	if sc.pauses {
		o.Signals = &snapshot.Mailbox{}
	}
	var durable change.Position
	for {
		die := never
		if crashes > 0 {
			crashes--
			out.crashes++
			die = death{rng.IntN(60), rng.IntN(2) == 0}
		}
		over, err := live(db, sourceOf(db, sc.heap), h, &durable, o, die, rng)
		if err != nil {
			return out, err
		}
		if over {
			break
		}
	}
	out.events, out.copied, out.scans = h.Events, h.Copied, len(db.Scans())
	return out, h.Equal()
}

func sourceOf(db *sim.DB, heap bool) source.Source {
	if heap {
		return db.HeapSource()
	}
	return db.Source()
}

// death is when a connector dies: at a Read, with its batch or before it is durable.
type death struct {
	read int
	lost bool
}

var never = death{read: -1}

// live is one run of a connector: it ends when all is copied and delivered, or by its death. It acknowledges as rng says,
// without one always.
func live(db *sim.DB, src source.Source, h *sim.History, durable *change.Position, o snapshot.Options, die death, rng *rand.Rand) (over bool, err error) {
	ctx := context.Background()
	defer src.Close()
	s, err := snapshot.Open(ctx, src, *durable, o)
	if err != nil {
		return false, err
	}
	defer s.Close()
	var b change.Batch
	for n := 0; ; n++ {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			return false, err
		}
		if len(b.Resume) == 0 {
			return false, errors.New("a batch without Resume")
		}
		if n != die.read || !die.lost {
			if err := h.Append(&b); err != nil {
				return false, err
			}
			*durable = bytes.Clone(b.Resume)
		}
		if n == die.read {
			return false, nil
		}
		if o.Signals != nil && rng.IntN(10) == 0 {
			o.Signals.Put(snapshot.Signal{Type: []string{"pause-snapshot", "resume-snapshot"}[rng.IntN(2)]})
		}
		if rng == nil || rng.IntN(3) == 0 {
			if err := s.Ack(ctx, *durable); err != nil {
				return false, err
			}
		}
		if end, quiet := db.End(); quiet && bytes.Contains(*durable, []byte(`"completed":true`)) &&
			bytes.Contains(*durable, fmt.Appendf(nil, `"lsn":%d,"ord":0`, end)) {
			return true, nil
		}
		if end, quiet := db.End(); quiet && n > 20000 {
			return false, fmt.Errorf("no end: database at %d, connector at %s", end, *durable)
		}
	}
}

// seeds runs a scenario for n seeds from first on, each in a bubble of its own.
func seeds(t *testing.T, first, n int, sc scenario) {
	t.Helper()
	var sum outcome
	for seed := first; seed < first+n; seed++ {
		synctest.Test(t, func(t *testing.T) {
			out, err := run(uint64(seed), sc)
			if err != nil {
				t.Fatalf("seed %d, %+v: %v", seed, sc, err)
			}
			sum.events += out.events
			sum.copied += out.copied
			sum.scans += out.scans
			sum.crashes += out.crashes
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d worlds: %d events, %d of them copied, %d chunks, %d crashes", n, sum.events, sum.copied, sum.scans, sum.crashes)
}

// scenarios is what TestWeave runs: each from a seed of its own on, and its share of a thousand worlds.
func scenarios() []struct {
	name         string
	first, share int
	scenario
} {
	return []struct {
		name         string
		first, share int
		scenario
	}{
		{"case31_one_legal_history", 1, 150, scenario{}},
		{"case32_crashes", 10000, 150, scenario{crashes: -1}},
		{"case34_newest_wins", 60000, 50, scenario{crashes: -1, rows: 2, steps: 80}},
		{"case104_unchanged_columns", 70000, 100, scenario{rows: 3, steps: 60, chunk: 3}},
		{"case31_heap", 80000, 50, scenario{heap: true}},
		{"case32_heap_crashes", 90000, 100, scenario{heap: true, crashes: -1}},
		{"case104_heap", 100000, 100, scenario{heap: true, rows: 4, steps: 120, crashes: -1}},
		{"case32_heap_pauses", 120000, 100, scenario{heap: true, rows: 8, steps: 150, crashes: -1, pauses: true}},
		{"heap_keyless", 110000, 40, scenario{heap: true, keyless: true, crashes: -1}},
		{"keyless", 20000, 60, scenario{keyless: true}},
		{"keyless_crashes", 30000, 60, scenario{keyless: true, crashes: -1}},
		{"batch_1", 40000, 20, scenario{crashes: -1, batch: 1}},
		{"batch_10000", 50000, 20, scenario{crashes: -1, batch: 10000, chunk: 10000}},
	}
}

// TestWeave runs worlds: as many as TAILRACE_WORLDS says and from seed TAILRACE_SEED on where scripts/campaign weave sets them,
// else a thousand, and with -short two hundred.
func TestWeave(t *testing.T) {
	worlds, seed := 1000, 0
	if testing.Short() {
		worlds = 200
	}
	for name, n := range map[string]*int{"TAILRACE_WORLDS": &worlds, "TAILRACE_SEED": &seed} {
		if text := os.Getenv(name); text != "" {
			var err error
			if *n, err = strconv.Atoi(text); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	total := 0
	for _, s := range scenarios() {
		n := max(1, worlds*s.share/1000)
		total += n
		t.Run(s.name, func(t *testing.T) { seeds(t, seed+s.first, n, s.scenario) })
	}
	if !t.Failed() {
		t.Logf("worlds=%d violations=0", total)
	}
}

// TestCrashEverywhere kills the connector at each Read of a run in turn, once before and once after its batch is
// durable, until a run ends by itself: with the position taken and nothing sent, around the first and the last chunk,
// around the mark that the copy is complete, around the first batch of the stream.
func TestCrashEverywhere(t *testing.T) {
	t.Run("case33_every_read", func(t *testing.T) {
		runs := 0
		for seed := uint64(1); seed <= 6; seed++ {
			for die, over := -1, false; !over; die++ {
				for _, lost := range []bool{true, false} {
					synctest.Test(t, func(t *testing.T) {
						var err error
						if over, err = crashAt(seed, die, lost); err != nil {
							t.Fatalf("seed %d, crash at read %d, batch lost %t: %v", seed, die, lost, err)
						}
					})
					if t.Failed() {
						return
					}
					runs++
				}
			}
		}
		t.Logf("%d crashes", runs)
	})
}

// crashAt runs a world, kills the connector once and lets the next one finish. over says that the first one was done
// before it could be killed.
func crashAt(seed uint64, die int, lost bool) (over bool, err error) {
	db := sim.New(sim.Config{Seed: seed, Rows: 8, Steps: 40, MaxBatch: 8, Keyless: seed%3 == 0, Settle: synctest.Wait})
	h := db.History()
	o := snapshot.Options{Config: snapshot.Config{Mode: "initial", FetchSize: 3}, MaxBatch: 2}
	var durable change.Position
	if die < 0 { // killed before the first Read
		src := db.Source()
		s, err := snapshot.Open(context.Background(), src, nil, o)
		if err != nil {
			return false, err
		}
		if err := errors.Join(s.Close(), src.Close()); err != nil {
			return false, err
		}
	} else if over, err = live(db, db.Source(), h, &durable, o, death{die, lost}, nil); err != nil {
		return false, err
	}
	if !over {
		if _, err := live(db, db.Source(), h, &durable, o, never, nil); err != nil {
			return false, err
		}
	}
	return over, h.Equal()
}
