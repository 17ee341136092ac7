package snapshot

import (
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

// Open opens the source's stream at from and, where the configuration and the progress in from ask for it, weaves the
// rows that exist already into it. The stream is opened first, so that nothing is missed between the two.
//
// The positions of the stream are the source's own JSON objects with one member more, "snapshot", which holds the
// progress; the source ignores it. A position without the member is one that somebody else made: the captured tables
// count as copied, as in Debezium, and only tables that come later are copied.
//
// Open blocks until the source has accepted the position and told its tables. The stream is used as source.Stream
// says; closing it joins the goroutine that reads chunks. It does not close src.
func Open(ctx context.Context, src source.Source, from change.Position, o Options) (source.Stream, error) {
	pr, known, err := parseProgress(from)
	if err != nil {
		return nil, err
	}
	if o.Config.Mode == "initial_only" && pr.Completed {
		return finished{}, nil
	}
	inner, err := src.Stream(ctx, from)
	startOver := err != nil && o.Config.Mode == "when_needed" && gap(err) && len(from) > 0
	if startOver {
		logger(o).Warn("stored position can't be served any more; copying all tables again", "reason", err)
		from, pr, known = nil, progress{}, false
		inner, err = src.Stream(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, src, inner, from, pr, known, o)
	if err != nil {
		inner.Close()
		return nil, err
	}
	if w, ok := s.(*weave); ok && startOver {
		w.resets = slices.Clone(w.tables)
	}
	return s, nil
}

func open(ctx context.Context, src source.Source, inner source.Stream, from change.Position, pr progress, known bool, o Options) (source.Stream, error) {
	sc, ok := src.(Scanner)
	fetcher, _ := src.(Fetcher)
	if !ok || !o.Config.copies() {
		if !known && fetcher == nil {
			return inner, nil
		}
		return carry(inner, fetcher, from)
	}
	w := &weave{inner: inner, scanner: sc, log: logger(o), now: o.Now, report: o.Report, maxRows: o.MaxBatch,
		limit: o.Config.rows(), only: o.Config.Mode == "initial_only",
		byName: map[change.TableName]*tableState{}, byTable: map[*change.Table]*tableState{}}
	if w.now == nil {
		w.now = time.Now
	}
	if w.maxRows <= 0 {
		w.maxRows = batchRows
	}
	w.fetcher = fetcher
	w.started = w.now()
	if o.Config.Mode == "always" && (pr.Completed || !known) {
		pr, known = progress{}, true // begin again
	}
	foreign := len(from) > 0 && !known
	if err := w.plan(ctx, pr, foreign, len(from) > 0, o.Config); err != nil {
		return nil, err
	}
	prompt := func() {}
	if p, ok := inner.(source.Prompter); ok {
		prompt = p.Prompt
	}
	w.reader = startReader(ctx, sc, prompt)
	w.progressed()
	return w, nil
}

// plan decides which tables are copied and from where on.
func (w *weave) plan(ctx context.Context, pr progress, foreign, resumed bool, c Config) error {
	tables, err := w.scanner.Tables(ctx)
	if err != nil {
		return fmt.Errorf("snapshot: tables: %w", err)
	}
	est, _ := w.scanner.(Estimator)
	for _, table := range tables {
		name := table.Name.String()
		if !c.Include.Empty() && !c.Include.Match(name) {
			continue
		}
		had := pr.Tables[name]
		t := &tableState{name: name, table: table, rows: had.Rows, done: had.Done || foreign, estimate: -1,
			limit: min(firstRows, w.limit), touched: resumed}
		if len(had.After) > 0 && !t.done && !t.keyless() && validKey(table, had.After) {
			t.after = had.After
		} else if !t.done {
			t.rows = 0
		}
		t.cursor, t.ended = t.after, t.done
		w.announced = w.announced || t.rows > 0
		if est != nil && !t.done {
			if n, err := est.Estimate(ctx, table); err == nil {
				t.estimate = n
			} else if ctx.Err() != nil {
				return ctx.Err()
			} else {
				w.log.Warn("no estimate of a table's rows", "table", name, "err", err)
			}
		}
		w.tables = append(w.tables, t)
		w.byName[table.Name] = t
	}
	return nil
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
	case "SLOT_MISSING", "SLOT_LOST", "POSITION_GAP":
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

// carry keeps the progress that a position has while the mode copies nothing, so that a finished copy does not start
// again when the mode is changed back.
func carry(inner source.Stream, fetcher Fetcher, from change.Position) (source.Stream, error) {
	w := &weave{inner: inner, fetcher: fetcher}
	if len(from) == 0 {
		return w, nil
	}
	var outer struct {
		Snapshot json.RawMessage `json:"snapshot"`
	}
	if err := json.Unmarshal(from, &outer); err != nil {
		return nil, fmt.Errorf("snapshot: position: %w", err)
	}
	if outer.Snapshot != nil {
		w.suffix = append([]byte(`,"`+member+`":`), outer.Snapshot...)
	}
	return w, nil
}

// finished is the stream of a connector that has nothing left to do.
type finished struct{}

func (finished) Read(context.Context, *change.Batch) error  { return ErrDone }
func (finished) Ack(context.Context, change.Position) error { return nil }
func (finished) Close() error                               { return nil }
