package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
)

// Open opens the source's stream at from and, where the configuration, the progress in from or a signal asks for it, weaves the
// rows that exist already into it. The stream is opened first, so that nothing is missed between the two.
//
// The positions of the stream are the source's own JSON objects with one member more, "snapshot", which holds the
// progress; the source ignores it. A position without the member is one that somebody else made: the captured tables
// count as copied, as in Debezium, and only tables that come later are copied.
//
// Open blocks until the source has accepted the position and told its tables. The stream is used as source.Stream
// says; closing it joins the goroutines that read chunks. It does not close src.
func Open(ctx context.Context, src source.Source, from change.Position, o Options) (source.Stream, error) {
	pr, known, err := parseProgress(from)
	if err != nil {
		return nil, err
	}
	if o.Config.only() && pr.Completed {
		return finished{}, nil
	}
	inner, err := src.Stream(ctx, from)
	startOver := err != nil && o.Config.restarts() && gap(err) && len(from) > 0
	if startOver {
		logger(o).Warn("stored position can't be served any more; copying all tables again", "reason", err)
		from, pr, known = nil, progress{}, false
		inner, err = src.Stream(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	w, err := open(ctx, src, inner, from, pr, known, o)
	if err != nil {
		inner.Close()
		return nil, err
	}
	if startOver {
		for _, t := range w.tables {
			if o.Keys == nil || t.keyless() { // else what is gone is swept out of the log after the copy
				w.resets = append(w.resets, t)
			}
		}
	}
	return w, nil
}

func open(ctx context.Context, src source.Source, inner source.Stream, from change.Position, pr progress, known bool, o Options) (*weave, error) {
	w := &weave{inner: inner, log: logger(o), now: o.Now, o: o, maxRows: o.MaxBatch, prompt: func() {}, had: pr.Tables, paused: pr.Paused,
		resumed: len(from) > 0, byName: map[change.TableName]*tableState{}, byTable: map[*change.Table]*tableState{},
		met: map[change.TableName]bool{}, notes: newNotes(&o.Config)}
	w.scanner, _ = src.(Scanner)
	w.divider, _ = src.(Divider)
	w.fetcher, _ = src.(Fetcher)
	if p, ok := inner.(source.Prompter); ok {
		w.prompt = p.Prompt
	}
	if w.now == nil {
		w.now = time.Now
	}
	if w.maxRows <= 0 {
		w.maxRows = batchRows
	}
	w.opened = w.now()
	w.started, w.since = w.opened, w.opened
	if o.Config.Mode == "always" && (pr.Completed || !known) {
		w.had, known = nil, true // begin again
	}
	w.foreign = len(from) > 0 && !known
	if err := w.plan(ctx, from, pr); err != nil {
		return nil, err
	}
	o.Signals.attach(w.prompt)
	if w.foreign && w.planned {
		w.prompt() // a position with the progress replaces the foreign one soon
	}
	return w, nil
}

// plan decides which tables are copied and from where on. Where the mode copies nothing and no signal does, the progress that the
// position has is carried along, so that a finished copy does not start again when the mode is changed back.
func (w *weave) plan(ctx context.Context, from change.Position, pr progress) error {
	busy := pr.Paused
	for _, t := range pr.Tables {
		busy = busy || t.Job != nil
	}
	if w.scanner == nil || !w.o.Config.copies() && !busy {
		var outer struct {
			Snapshot json.RawMessage `json:"snapshot"`
		}
		if len(from) == 0 {
			return nil
		}
		if err := json.Unmarshal(from, &outer); err != nil {
			return fmt.Errorf("snapshot: position: %w", err)
		}
		if outer.Snapshot != nil {
			w.suffix = append([]byte(`,"`+member+`":`), outer.Snapshot...)
		}
		return nil
	}
	if err := w.refresh(ctx); err != nil {
		return err
	}
	w.progressed()
	w.dirty = false
	return nil
}

// refresh takes tables that are new into the copy.
func (w *weave) refresh(ctx context.Context) error {
	tables, err := w.scanner.Tables(ctx)
	if err != nil {
		return fmt.Errorf("snapshot: tables: %w", err)
	}
	for _, table := range tables {
		t := w.byName[table.Name]
		if t == nil {
			if t, err = w.admit(ctx, table); err != nil {
				return err
			}
			w.tables = append(w.tables, t)
			w.byName[table.Name] = t
			clear(w.byTable)
		} else if t.over() {
			t.table = table
		}
	}
	w.planned = true
	if n := w.o.Config.Order; n == "ascending" || n == "descending" {
		slices.SortStableFunc(w.tables, func(a, b *tableState) int {
			if n == "descending" {
				a, b = b, a
			}
			return cmp.Compare(a.estimate, b.estimate)
		})
	}
	return nil
}

// admit makes the state of a table that the copy did not know, with the progress that the position has of it.
func (w *weave) admit(ctx context.Context, table *change.Table) (*tableState, error) {
	name := table.Name.String()
	had := w.had[name]
	c := &w.o.Config
	wanted := c.copies() && (c.Include.Empty() || c.Include.Match(name))
	t := &tableState{name: name, table: table, rows: had.Rows, estimate: -1, limit: min(firstRows, c.rows(had.Job != nil)),
		done: had.Job == nil && (had.Done || w.foreign && !w.planned), stopped: had.Stopped, job: had.Job, mark: had.Mark, sweep: had.Sweep, touched: w.resumed || w.met[table.Name]}
	t.held = !wanted && !t.done && t.job == nil
	if t.job != nil {
		w.jobs = max(w.jobs, t.job.Seq)
	}
	if len(had.After) > 0 && !t.done && !t.keyless() && (w.divider != nil || t.selected(w) || validKey(table, had.After)) {
		t.after = had.After
		// Whether pieces are loose is told with the next one, which a pause or a delay may keep away for long.
		t.loose = w.divider != nil && !t.selected(w) || t.surrogate()
	} else if !t.done && !t.held && t.sweep == nil {
		t.rows = 0
	}
	t.cursor, t.ended = t.after, t.done || t.sweep != nil
	w.announced = w.announced || t.rows > 0
	if est, ok := w.scanner.(Estimator); ok && !t.over() {
		n, err := est.Estimate(ctx, table)
		switch {
		case err == nil:
			t.estimate = n
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			w.log.Warn("no estimate of a table's rows", "table", name, "err", err)
		}
	}
	return t, nil
}

// validKey reports whether key can be a key of the table as it is now; if not, its copy begins anew.
func validKey(t *change.Table, key []byte) bool {
	var b change.Batch
	_, err := change.DecodeKey(&b, t, key)
	return err == nil
}

// gap reports whether err says that the database no longer has what follows the stored position.
func gap(err error) bool {
	switch fault.Code(err) {
	case "SLOT_MISSING", "SLOT_LOST", "POSITION_GAP", "POSITION_PURGED", "POSITION_AHEAD", "OTHER_SERVER", "OTHER_TIMELINE", "PUBLICATION_CHANGED":
		return true
	}
	return false
}

func logger(o Options) *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.New(slog.DiscardHandler)
}

// finished is the stream of a connector that has nothing left to do.
type finished struct{}

func (finished) Read(context.Context, *change.Batch) error  { return ErrDone }
func (finished) Ack(context.Context, change.Position) error { return nil }
func (finished) Close() error                               { return nil }
