package binlog

import (
	"errors"
	"fmt"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

var errShort = errors.New("ends early")

// Rows are the rows of one row event, read one by one with [Rows.Next]. They stay valid until the Decoder decodes the
// next event.
type Rows struct {
	// Table is the table's map. It is nil for the event without rows that only ends a statement.
	Table *TableMap
	Op    change.Op // OpCreate, OpUpdate or OpDelete
	// Partial marks an event that may have partial values of JSON columns (binlog_row_value_options=PARTIAL_JSON). [Rows.Next] makes
	// whole ones of them and those in the before image.
	Partial bool
	// EndOfStatement marks the last row event of a statement.
	EndOfStatement bool

	header        Header
	columns       int
	before, after []byte // present bits of each image
	allBefore     bool
	allAfter      bool
	p             []byte
	off           int
}

const (
	rowsEndOfStatement = 1
	dummyTable         = 0x00FFFFFF // the table id of an event without rows
	extraRowsHeader    = 2          // bytes of the length of extra data, which counts itself
)

func (d *Decoder) rows(e *Event, r *reader) error {
	t := e.Header.Type
	e.Kind = KindRows
	w := &e.Rows
	*w = Rows{header: e.Header, Partial: t == TypePartialUpdateRows, Op: rowsOp(t)}
	id := r.uintN(d.tableIDSize(t))
	w.EndOfStatement = r.uint16()&rowsEndOfStatement != 0
	if hasExtra(t) {
		r.bytes(int(r.uint16()) - extraRowsHeader)
	}
	w.columns = int(min(r.lenenc(), 1<<16))
	bits := (w.columns + 7) / 8
	if w.Op != change.OpCreate {
		w.before = r.bytes(bits)
	}
	if w.Op != change.OpDelete {
		w.after = r.bytes(bits)
	}
	w.p, w.off = r.rest(), 0
	if t >= TypeWriteRowsCompressedV1 && r.reason == "" { // MariaDB compresses the rows alone
		var reason string
		w.p, reason = d.inflate.expand(w.p, d.scratch.take())
		r.fail(reason)
		d.scratch.keep(w.p)
	}
	if r.reason != "" {
		return nil // decode makes the error
	}
	if w.Table = d.maps[id]; w.Table == nil && (id != dummyTable || len(w.p) > 0) {
		r.fail("rows of a table whose map did not come before")
		return nil
	}
	if w.Table != nil && len(w.Table.Types) != w.columns {
		r.fail("the table map has another number of columns")
		return nil
	}
	w.allBefore, w.allAfter = ones(w.before, w.columns) == w.columns, ones(w.after, w.columns) == w.columns
	if w.EndOfStatement && len(d.maps) > maxTableMaps {
		clear(d.maps) // every statement has its own
	}
	return nil
}

func rowsOp(t EventType) change.Op {
	switch t {
	case TypeWriteRowsV1, TypeWriteRows, TypeWriteRowsCompressedV1, TypeWriteRowsCompressed:
		return change.OpCreate
	case TypeDeleteRowsV1, TypeDeleteRows, TypeDeleteRowsCompressedV1, TypeDeleteRowsCompressed:
		return change.OpDelete
	}
	return change.OpUpdate
}

// hasExtra reports whether the event is of version 2, with room for extra data.
func hasExtra(t EventType) bool {
	switch t {
	case TypeWriteRows, TypeUpdateRows, TypeDeleteRows, TypePartialUpdateRows, TypeWriteRowsCompressed,
		TypeUpdateRowsCompressed, TypeDeleteRowsCompressed:
		return true
	}
	return false
}

// More reports whether there is another row.
func (w *Rows) More() bool { return w.off < len(w.p) }

// Next reads the next row into the memory of b: before is nil for inserts, after for deletes. Columns that are not in the
// image (binlog_row_image MINIMAL, NOBLOB) are Absent. l must be made of w.Table. An error is an *[Error], or permanent:
// PARTIAL_JSON where the before image lacks a value of which only the changed parts were logged.
func (w *Rows) Next(l *Layout, b *change.Batch) (before, after change.Row, err error) {
	if l.table != w.Table {
		return nil, nil, w.fail(fmt.Errorf("the layout is one of another table map, %s.%s", l.table.Schema, l.table.Table))
	}
	start := w.off
	if w.before != nil {
		if before, w.off, err = l.row(w.p, w.off, w.before, w.allBefore, nil, b); err != nil {
			return nil, nil, w.fail(err)
		}
	}
	var d *partial
	if w.Partial {
		if d, err = w.partial(l, before); err != nil {
			return nil, nil, w.fail(err)
		}
	}
	if w.after != nil {
		if after, w.off, err = l.row(w.p, w.off, w.after, w.allAfter, d, b); err != nil {
			return nil, nil, w.fail(err)
		}
	}
	if w.off == start {
		return nil, nil, w.fail(errors.New("a row without bytes"))
	}
	return before, after, nil
}

// partial reads what stands before the new image of a partial update; nil: its values are whole.
func (w *Rows) partial(l *Layout, before change.Row) (*partial, error) {
	r := reader{p: w.p, off: w.off}
	const partialJSON = 1
	var d *partial
	if r.lenenc()&partialJSON != 0 {
		d = &partial{bits: r.bytes((l.json + 7) / 8), before: before}
	}
	w.off = r.off
	if r.reason != "" {
		return nil, errors.New(r.reason)
	}
	return d, nil
}

// fail ends the event: there is no way to find the next row behind one that can't be read.
func (w *Rows) fail(err error) error {
	at := w.off
	w.off = len(w.p)
	if fault.IsPermanent(err) {
		return err
	}
	if errors.Is(err, errNoBefore) {
		return fault.Permanent("PARTIAL_JSON", partialRemedy, fmt.Errorf("the update of %s.%s that ends at %d: %w", w.Table.Schema, w.Table.Table, w.header.End, err))
	}
	table := ""
	if w.Table != nil {
		table = " of " + w.Table.Schema + "." + w.Table.Table
	}
	return &Error{Type: w.header.Type, End: w.header.End, Offset: at, Reason: "row" + table + ": " + err.Error()}
}
