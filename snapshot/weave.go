package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
)

const (
	batchRows    = 10240 // bound of the rows of one batch
	batchBytes   = 16 << 20
	mostRestarts = 20 // a table whose copy had to begin anew so often fails
)

// Options say how to copy.
type Options struct {
	Config Config
	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
	// Report is told the state of the copy when it begins and after each chunk, by the goroutine that calls Open and
	// Read. It must not block. nil: nobody is told.
	Report func(Progress)
	// MaxBatch bounds the rows of one batch of a chunk; 0: 10240.
	MaxBatch int
	// Keys is what the log holds, to remove from it rows that the source no longer has; nil: they stay.
	Keys Keys
	// Signals is where others put signals; nil: there are none but those of signal.data.collection.
	Signals *Mailbox
	// Connector is the connector's name, shown in notifications.
	Connector string
	// NewID makes the id of a notification; nil: they are numbered.
	NewID func() string
}

// tableState is one table of the copy.
type tableState struct {
	name     string
	table    *change.Table
	after    []byte // the cursor up to which everything was sent
	rows     int64
	done     bool
	estimate int64
	held     bool   // not to be copied in this mode; its progress is kept
	stopped  bool   // its copy was ended by a signal
	failed   string // why its copy ended in this run before it was complete
	job      *job   // the ad-hoc snapshot that it is copied for; nil: the initial one

	mark  json.RawMessage // where its topic ended before the first row; nil: there is nothing to sweep
	sweep []byte          // cursor of the sweep; not nil: all rows were sent

	begun    bool   // the first chunk was asked for, in this run
	cursor   []byte // the cursor up to which everything was read or is being read
	ended    bool   // the last chunk was asked for (a table without a Divider: was read)
	busy     bool   // a chunk of it is being read, and the next one depends on it
	rest     []part // pieces that were cut short, in their order
	limit    int    // rows of the next chunk
	loose    bool   // rows may move between pieces: see Piece.Loose
	touched  bool   // the log may hold rows of the table: a table without a key must be emptied before its copy
	topic    string // where its events go, as far as we saw
	restarts int
	chunks   int64 // sent in this run
}

// A part is a piece with its place in the order in which chunks are sent.
type part struct {
	Piece
	place uint64
}

// weave is the stream that Open returns.
//
// All fields belong to the goroutine that calls Read; the reader goroutines have a chunk only between request and result.
type weave struct {
	inner   source.Stream
	scanner Scanner // nil: the source has no rows to copy
	divider Divider // nil: pieces of a table are read one after the other
	fetcher Fetcher // nil: the source has none
	reader  *reader // nil: nothing is being copied
	prompt  func()
	log     *slog.Logger
	now     func() time.Time
	o       Options
	maxRows int

	had     map[string]tableProgress // what the position that we began with knows
	foreign bool                     // it knows nothing of a copy: somebody else made it
	resumed bool                     // there was one
	tables  []*tableState            // in copy order
	planned bool                     // tables is what the source has
	byName  map[change.TableName]*tableState
	byTable map[*change.Table]*tableState // what byName said; nil entries for tables that are not copied
	met     map[change.TableName]bool     // tables of events that were looked for
	opened  time.Time
	started time.Time     // the copy of this run
	pauses  time.Duration // of it
	copied  int64         // rows sent in this run

	flights  []*flight // chunks being read
	open     []*chunk  // read and not yet sent, in the order of their places
	place    uint64    // of the next piece
	free     []*change.Batch
	unproven []ref  // delivered transactions that not all windows are known to have seen
	seq      uint64 // of the next ref
	events   uint64 // passed so far
	latest   Window // of the newest read

	resume    change.Position // the source's own, after what Read returned last; nil: not known yet
	origin    string
	suffix    []byte // our member of the position
	dirty     bool   // the member has changed without a batch that tells
	announced bool   // the first row of the copy was sent, in this run or before
	resets    []*tableState
	completed bool
	delayed   bool // streaming.delay.ms is over, or there is nothing to wait for

	paused  bool
	since   time.Time // it is
	jobs    int64     // the highest number of a job so far
	signals signals
	notes   notes
}

// Read implements source.Stream.
func (w *weave) Read(ctx context.Context, b *change.Batch) error {
	if err := w.take(ctx); err != nil {
		return err
	}
	if err := w.copyStep(ctx); err != nil {
		return err
	}
	if w.tell(b) {
		return nil
	}
	if c := w.ready(); c != nil {
		return w.send(ctx, c, b)
	}
	if w.o.Config.only() && w.idle() {
		if !w.completed {
			return fault.Permanentf("SNAPSHOT_INCOMPLETE", "mend the tables' problems, which the status names, and restart the connector",
				"the copy of some tables has failed")
		}
		return ErrDone
	}
	if err := w.wait(ctx); err != nil {
		return err
	}
	if err := w.inner.Read(ctx, b); err != nil {
		return err
	}
	w.origin = b.Origin
	if err := w.watch(ctx, b); err != nil {
		return err
	}
	if w.reader != nil {
		if err := w.pass(ctx, b); err != nil {
			return err
		}
	}
	if w.fetcher != nil {
		if err := w.mend(ctx, b); err != nil {
			return err
		}
	}
	w.resume = append(w.resume[:0], b.Resume...)
	p, err := join(b.Resume, w.suffix)
	b.Resume, w.dirty = p, false
	return err
}

// tell fills b without events where the position's member has changed, or with the notifications that wait.
func (w *weave) tell(b *change.Batch) bool {
	if w.resume == nil || !w.dirty && !w.notes.pending() {
		return false
	}
	p, err := join(w.resume, w.suffix)
	if err != nil {
		return false // the stream's next position tells
	}
	w.notes.flush(b)
	b.Origin, b.Resume, w.dirty = w.origin, p, false
	return true
}

// wait holds the stream back once, when the copy is complete, as streaming.delay.ms asks.
func (w *weave) wait(ctx context.Context) error {
	if !w.completed || w.delayed || w.o.Config.StreamDelay == 0 || w.copied == 0 {
		return nil
	}
	w.delayed = true
	if !sleep(ctx, w.o.Config.StreamDelay) {
		return ctx.Err()
	}
	return nil
}

// Ack implements source.Stream. The source ignores our member of the position.
func (w *weave) Ack(ctx context.Context, p change.Position) error { return w.inner.Ack(ctx, p) }

// Prompt implements source.Prompter where the source's stream does.
func (w *weave) Prompt() { w.prompt() }

// Close implements source.Stream.
func (w *weave) Close() error {
	w.o.Signals.attach(nil)
	w.stopReader()
	var errs []error
	for _, c := range w.open {
		errs = append(errs, c.closeReading())
	}
	return errors.Join(append(errs, w.inner.Close())...)
}

func (w *weave) stopReader() {
	if w.reader != nil {
		w.reader.close()
		w.reader = nil
	}
}

// idle reports whether there is nothing to copy, now.
func (w *weave) idle() bool {
	for _, t := range w.tables {
		if !t.over() {
			return false
		}
	}
	return true
}

func (t *tableState) keyless() bool { return len(t.table.Key) == 0 || t.table.KeyChosen }

// over reports whether nothing of the table is left to copy in this run.
func (t *tableState) over() bool { return t.done || t.held || t.failed != "" }

// untouched reports whether nothing of the table was read, so that its copy has yet to begin.
func (t *tableState) untouched() bool {
	return !t.over() && !t.begun && t.after == nil && t.sweep == nil && t.rows == 0
}
