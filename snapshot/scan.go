package snapshot

import (
	"context"
	"time"

	"github.com/tailrace/tailrace/change"
)

const (
	promptEvery  = 100 * time.Millisecond // how often an idle source is asked for its position while rows are copied
	firstRetry   = time.Millisecond       // wait before a chunk is read again that a delivered transaction was hidden from
	longestRetry = time.Second
	recordBytes  = 4 << 20  // bound of the memory for what passes while a chunk is read
	sweepBytes   = 32 << 20 // the same while the log is swept, which takes longer
	eventBytes   = 256      // about the size of a change.Event
)

// A flight is a chunk being read, with what the stream delivered meanwhile.
type flight struct {
	state  *tableState
	chunk  *chunk
	part   part
	limit  int
	begun  time.Time
	retry  time.Duration // the pause before this try; 0: the first
	stale  bool          // the result is to be thrown away
	seen   uint64        // the ref that the first delivery after the read began will get
	noted  uint64        // the last event that was recorded, by weave.events
	log    *change.Batch // events of the table that were delivered while the read ran, rows only where needed
	sweep  bool          // rows of the log are looked for, not rows of the table
	window Window        // the result
	took   time.Duration
	next   []byte // sweep: the cursor after it
	err    error
}

// record keeps of e what is needed to correct the chunk once it is there.
func (f *flight) record(e *change.Event) {
	r := f.log.Add()
	r.Table, r.Op = e.Table, e.Op
	r.Key = f.log.Copy(e.Key)
	r.Txn, r.Ordinal, r.LSN, r.PrevLSN, r.Commit = e.Txn, e.Ordinal, e.LSN, e.PrevLSN, e.Commit
	if e.Op == change.OpUpdate && !e.After.Complete() {
		r.After = f.log.CopyRow(e.After)
	}
}

func (f *flight) full(unproven int) bool {
	bound := recordBytes
	if f.sweep {
		bound = sweepBytes
	}
	return f.log.Size()+(len(f.log.Events)+unproven)*eventBytes > bound
}

// A ref is what a Window needs of a transaction to judge it.
type ref struct {
	n              uint64
	txn, lsn, prev uint64
	commit         int64
}

func (r ref) event() change.Event {
	return change.Event{Txn: r.txn, LSN: r.lsn, PrevLSN: r.prev, Commit: r.commit}
}

// request asks a reader goroutine to run a flight's read.
type request struct {
	flight *flight
	pause  time.Duration
	read   func(ctx context.Context, f *flight)
}

// reader runs the reads in goroutines of its own, and prompts the stream while there is a copy.
type reader struct {
	requests chan request
	results  chan *flight
	done     []chan struct{}
	cancel   context.CancelFunc
}

// startReader starts n goroutines that read and one that prompts. At most most flights are under way.
func startReader(ctx context.Context, n, most int, prompt func()) *reader {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &reader{requests: make(chan request, most), results: make(chan *flight, most), cancel: cancel}
	start := func(run func()) {
		done := make(chan struct{})
		r.done = append(r.done, done)
		go func() {
			defer close(done)
			run()
		}()
	}
	for range n {
		start(func() { r.run(ctx, prompt) })
	}
	start(func() {
		tick := time.NewTicker(promptEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			prompt()
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	return r
}

func (r *reader) run(ctx context.Context, prompt func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-r.requests:
			if q.pause > 0 && !sleep(ctx, q.pause) {
				return
			}
			q.read(ctx, q.flight)
			r.results <- q.flight
			prompt() // an idle stream returns, and whoever reads it finds the result
		}
	}
}

// close ends the goroutines and joins them.
func (r *reader) close() {
	r.cancel()
	for _, done := range r.done {
		<-done
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
