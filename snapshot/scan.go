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
	recordBytes  = 4 << 20 // bound of the memory for what passes while a chunk is read
	eventBytes   = 256     // about the size of a change.Event
)

// A flight is a chunk being read, with what the stream delivered meanwhile.
type flight struct {
	state *tableState
	chunk *chunk
	limit int
	retry time.Duration // the pause before this try; 0: the first
	stale bool          // the result is to be thrown away
	seen  int           // len(weave.unproven) when the read began
	log   *change.Batch // events of the table that were delivered while the read ran, rows only where needed
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
	return f.log.Size()+(len(f.log.Events)+unproven)*eventBytes > recordBytes
}

// A ref is what a Window needs of a transaction to judge it.
type ref struct {
	txn, lsn, prev uint64
	commit         int64
}

func (r ref) event() change.Event {
	return change.Event{Txn: r.txn, LSN: r.lsn, PrevLSN: r.prev, Commit: r.commit}
}

// request and result are what the weave and its reader goroutine exchange; each channel holds one.
type request struct {
	table *change.Table
	after []byte
	limit int
	batch *change.Batch
	pause time.Duration
}

type result struct {
	window Window
	err    error
}

// reader runs the scans, one at a time, in a goroutine of its own, and prompts the stream while there is a copy.
type reader struct {
	requests chan request
	results  chan result
	done     chan struct{}
	cancel   context.CancelFunc
}

func startReader(ctx context.Context, sc Scanner, prompt func()) *reader {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &reader{requests: make(chan request, 1), results: make(chan result, 1), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(r.done)
		r.run(ctx, sc, prompt)
	}()
	return r
}

func (r *reader) run(ctx context.Context, sc Scanner, prompt func()) {
	tick := time.NewTicker(promptEvery)
	defer tick.Stop()
	prompt()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			prompt()
		case q := <-r.requests:
			if q.pause > 0 && !sleep(ctx, q.pause) {
				return
			}
			w, err := sc.Scan(ctx, q.table, q.after, q.limit, q.batch)
			r.results <- result{w, err}
			prompt() // an idle stream returns, and whoever reads it finds the result
		}
	}
}

// close ends the goroutine and joins it.
func (r *reader) close() {
	r.cancel()
	<-r.done
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
