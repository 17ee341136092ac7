package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// Sink writes batches into Elasticsearch.
type Sink struct {
	cfg     *Config
	client  *client
	jitter  func() float64    // in [0,1)
	indexes map[string]*index // by topic

	partition int // that the batch comes from

	// The rows of the batch that is being written, up to the next truncate: one state for each document.
	fold   sink.Fold
	places []place // of the fold's states
	keys   []byte  // the fold's keys: topic, 0, key
	ids    []byte  // the documents' ids
	order  []int   // the states, in the order of sending
	lanes  []*lane
}

var _ sink.Sink = (*Sink)(nil)

// place is where the document of a state is.
type place struct {
	index  *index
	lo, hi int // the id in Sink.ids
}

func open(ctx context.Context, s sink.Setup) (sink.Sink, error) {
	cfg, problems := parse(s.Props)
	if len(problems) > 0 {
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the configuration", "%s", problems[0])
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	k := newSink(cfg, c)
	if err := c.greet(ctx); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func newSink(cfg *Config, c *client) *Sink {
	k := &Sink{cfg: cfg, client: c, jitter: rand.Float64, indexes: map[string]*index{}}
	for range cfg.InFlight {
		k.lanes = append(k.lanes, &lane{k: k})
	}
	return k
}

// Close implements sink.Sink.
func (k *Sink) Close() error {
	k.client.close()
	return nil
}

// Write implements sink.Sink. Of several events of one row in a batch only what they come to is sent; if Elasticsearch
// refuses that, what the events before the last come to, so that exactly the refused ones are rejected.
func (k *Sink) Write(ctx context.Context, b *change.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.partition = sink.Partition(b.Origin)
	var rejected sink.Rejected
	from := 0
	for i := range b.Events {
		if e := &b.Events[i]; e.Op == change.OpTruncate && e.Raw == nil {
			if err := k.writeRows(ctx, b.Events, from, i, &rejected); err != nil {
				return err
			}
			if err := k.truncate(ctx, e); err != nil {
				return err
			}
			from = i + 1
		}
	}
	if err := k.writeRows(ctx, b.Events, from, len(b.Events), &rejected); err != nil {
		return err
	}
	if len(rejected) > 0 {
		slices.SortFunc(rejected, func(a, b sink.RowError) int { return a.Index - b.Index })
		return rejected
	}
	return nil
}

// writeRows writes the row events from (inclusive) to to (exclusive).
func (k *Sink) writeRows(ctx context.Context, events []change.Event, from, to int, rejected *sink.Rejected) error {
	k.begin()
	for i := from; i < to; i++ {
		if err := k.take(ctx, i, &events[i], rejected); err != nil {
			return err
		}
	}
	for len(k.fold.States) > 0 {
		if err := k.flush(ctx, rejected); err != nil {
			return err
		}
		again := k.refused()
		k.begin()
		for _, i := range again {
			if err := k.take(ctx, i, &events[i], rejected); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Sink) begin() {
	k.fold.Reset()
	k.places, k.keys, k.ids, k.order = k.places[:0], k.keys[:0], k.ids[:0], k.order[:0]
	for _, l := range k.lanes {
		l.refused = l.refused[:0]
		l.rejected = l.rejected[:0]
	}
}

// take adds an event to the fold. Events that are no rows are left out, rows that can't be documents are rejected.
func (k *Sink) take(ctx context.Context, i int, e *change.Event, rejected *sink.Rejected) error {
	row := e.After
	switch {
	case e.Raw != nil || e.Op == change.OpMessage:
		return nil
	case e.Op == change.OpDelete || e.Op == change.OpTombstone:
		if k.cfg.Nulls == "ignore" {
			return nil
		}
		row = e.Before
	case e.Op != change.OpRead && e.Op != change.OpCreate && e.Op != change.OpUpdate:
		return fault.Permanentf("EVENT_UNKNOWN", "upgrade Tailrace", "event with op %q", e.Op)
	}
	if why := misfit(e, row); why != nil {
		*rejected = append(*rejected, sink.RowError{Index: i, Err: why})
		return nil
	}
	x, err := k.index(ctx, e.Topic, e.Table)
	if err != nil {
		return err
	}
	at := len(k.keys)
	k.keys = append(append(append(k.keys, e.Topic...), 0), e.Key...) // tables may share keys
	k.fold.Add(k.keys[at:len(k.keys):len(k.keys)], i, e)
	if n := len(k.fold.States); n > len(k.places) {
		lo := len(k.ids)
		k.ids = appendID(k.ids, e.Table, row)
		k.places = append(k.places, place{x, lo, len(k.ids)})
		k.order = append(k.order, n-1)
	}
	return nil
}

func misfit(e *change.Event, row change.Row) error {
	switch {
	case e.Table == nil || e.Key == nil || len(e.Table.Key) == 0:
		name := e.Topic
		if e.Table != nil {
			name = e.Table.Name.String()
		}
		return fmt.Errorf("%s has no key, so its rows can't be documents; give the table a primary key or leave its topic out", name)
	case len(row) != len(e.Table.Columns):
		return fmt.Errorf("the row has %d columns, its table %s has %d", len(row), e.Table.Name, len(e.Table.Columns))
	case e.Version > math.MaxInt64:
		return fmt.Errorf("version %d is too large for Elasticsearch", e.Version)
	}
	for _, i := range e.Table.Key {
		if row[i].Kind == change.Absent {
			return fmt.Errorf("the row lacks its key column %s", e.Table.Columns[i].Name)
		}
	}
	return nil
}

// id returns the document id of a state.
func (k *Sink) id(state int) []byte { return k.ids[k.places[state].lo:k.places[state].hi] }

// flush writes what the fold holds. No document occurs twice in it, so that requests may overlap and an item that is
// sent again overtakes nobody. (Invariant 2)
func (k *Sink) flush(ctx context.Context, rejected *sink.Rejected) error {
	err := k.deal(ctx)
	for _, l := range k.lanes {
		*rejected = append(*rejected, l.rejected...)
		l.rejected = l.rejected[:0]
	}
	return err
}

// deal gives each lane runs of at most batch.size documents.
func (k *Sink) deal(ctx context.Context) error {
	runs := (len(k.order) + k.cfg.Rows - 1) / k.cfg.Rows
	if runs <= 1 {
		return k.lanes[0].write(ctx, k.order)
	}
	g, ctx := errgroup.WithContext(ctx)
	n := min(runs, len(k.lanes))
	for i, l := range k.lanes[:n] {
		g.Go(func() error {
			for run := i; run < runs; run += n {
				lo := run * k.cfg.Rows
				if err := l.write(ctx, k.order[lo:min(lo+k.cfg.Rows, len(k.order))]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// refused returns the events before the refused ones of rows of which several are in the batch, in order.
func (k *Sink) refused() []int {
	var events []int
	for _, l := range k.lanes {
		for _, n := range l.refused {
			newest := true
			k.fold.Events(&k.fold.States[n], func(i int) {
				if !newest {
					events = append(events, i)
				}
				newest = false
			})
		}
	}
	slices.Sort(events)
	return events
}
