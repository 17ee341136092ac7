package snapshot

import (
	"context"

	"github.com/tailrace/tailrace/change"
)

// everything is more rows than any table has.
const everything = 1<<31 - 1

// beginWhole begins the copy of a table without a key. Rows without a key can't be told apart, so nothing of the table may
// pass between its read and its copy: the stream waits until all rows were sent, and what it brings then is dropped if the
// read saw it.
func (w *weave) beginWhole(ctx context.Context, t *tableState) error {
	c := &chunk{state: t, table: t.table, batch: w.batch(), place: w.nextPlace(), last: true}
	var err error
	if s, ok := w.scanner.(Whole); ok {
		c.reading, err = s.ReadWhole(ctx, t.table, w.selection(t))
	} else {
		c.reading, err = readByScan(ctx, w.scanner, t.table)
	}
	if err != nil {
		return w.troubled(ctx, t, err)
	}
	c.window = c.reading.Window()
	for i := range w.unproven { // all that was delivered must be part of it
		e := w.unproven[i].event()
		if c.window.Side(&e) != Before {
			if !sleep(ctx, firstRetry) {
				return ctx.Err()
			}
			return c.closeReading() // the next step tries again
		}
	}
	w.unproven = w.unproven[:0]
	w.latest = c.window
	t.ended = true
	w.insert(c)
	return nil
}

// more reads the next rows of a table without a key. A read that broke begins anew.
func (w *weave) more(ctx context.Context, c *chunk) error {
	t := c.state
	c.batch.Reset()
	c.sent, c.packed = 0, false
	done, err := c.reading.Next(ctx, min(w.maxRows, w.o.Config.rows(t.job != nil)), c.batch)
	if err != nil {
		w.again(t)
		return w.troubled(ctx, t, err)
	}
	c.read += int64(len(c.batch.Events))
	if done {
		return c.closeReading()
	}
	return nil
}

// oneScan is a Reading of a scanner that reads tables whole.
type oneScan struct {
	scanner Scanner
	table   *change.Table
	window  Window
	rows    *change.Batch
	at      int
}

func readByScan(ctx context.Context, sc Scanner, t *change.Table) (Reading, error) {
	r := &oneScan{scanner: sc, table: t, rows: &change.Batch{}}
	var err error
	r.window, err = sc.Scan(ctx, t, nil, everything, r.rows)
	return r, err
}

// Next implements Reading.
func (r *oneScan) Next(_ context.Context, limit int, b *change.Batch) (bool, error) {
	for n := 0; n < limit && r.at < len(r.rows.Events) && b.Size() < ChunkBytes; n++ {
		b.CopyEvent(&r.rows.Events[r.at])
		r.at++
	}
	return r.at == len(r.rows.Events), nil
}

// Window implements Reading.
func (r *oneScan) Window() Window { return r.window }

// Close implements Reading.
func (r *oneScan) Close() error { return nil }
