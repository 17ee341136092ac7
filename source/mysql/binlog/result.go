package binlog

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// A Result turns rows of a SELECT over the text protocol into the values that row events of the same rows have. The
// session must have character_set_results = NULL, so that text comes in the charset of its column, time_zone = '+00:00',
// and a sql_mode without PAD_CHAR_TO_FULL_LENGTH; the columns must be selected as [Column.Expression] says. A Result is
// not safe for concurrent use.
type Result struct {
	cols    []Column
	fields  []resultField
	scratch scratch
}

type resultField struct {
	kind change.Kind // of the column
	cs   *charset    // of what is text or bytes
}

// NewResult returns the reader of results with the given columns. It fails permanently with UNKNOWN_CHARSET.
func NewResult(cs *Charsets, cols []Column) (*Result, error) {
	r := &Result{cols: cols, fields: make([]resultField, len(cols))}
	for i := range cols {
		c, f := &cols[i], &r.fields[i]
		f.kind = c.Type().Kind
		name := c.Charset
		if c.Base == "json" || name == "" {
			name = "utf8mb4"
		}
		var err error
		if f.cs, err = cs.get(name, c.Name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Expression returns what to select for the column of the given name, which is quoted already. It differs from the name
// where the text protocol would lose digits.
func (c *Column) Expression(quoted string) string {
	if c.Base == "float" {
		return "(" + quoted + " * 1e0)" // a FLOAT is printed with six digits, a DOUBLE with all
	}
	return quoted
}

var errResult = errors.New("not a row of the text protocol with these columns")

// Row decodes the packet of a row, without its header, into the memory of b.
func (r *Result) Row(p []byte, b *change.Batch) (change.Row, error) {
	row := b.Row(len(r.fields))
	in := reader{p: p}
	for i := range row {
		if in.left() > 0 && p[in.off] == 0xFB {
			in.off++
			row[i].Kind = change.Null
			continue
		}
		value := in.bytes(in.length())
		if in.reason != "" {
			return nil, errResult
		}
		if err := r.Value(i, value, b, &row[i]); err != nil {
			return nil, err
		}
	}
	if in.left() > 0 {
		return nil, errResult
	}
	return row, nil
}

// Value decodes the text p of column i, which is not NULL, into v with its bytes in the memory of b.
func (r *Result) Value(i int, p []byte, b *change.Batch, v *change.Value) error {
	f, c := &r.fields[i], &r.cols[i]
	var err error
	switch f.kind {
	case change.Int, change.Bool:
		var n int64
		n, err = strconv.ParseInt(string(p), 10, 64)
		if v.Kind, v.Num = change.Int, uint64(n); c.Truth != Numbers {
			c.Truth.value(v, n > 0)
		}
	case change.Uint:
		v.Kind = change.Uint
		v.Num, err = strconv.ParseUint(string(p), 10, 64)
	case change.Float32, change.Float64:
		err = floatValue(f.kind, p, v)
	case change.Decimal:
		v.Kind, v.Data = change.Decimal, b.Copy(trimZeros(p))
	case change.Date, change.Timestamp, change.TimestampTZ:
		err = dateText(f.kind, c.Precision, p, b, v)
	case change.Time:
		err = timeText(p, v)
	case change.JSON:
		v.Kind, v.Data = change.JSON, jsonLines(p, b)
	case change.UUID:
		err = uuidText(p, b, v)
	default:
		err = r.bytesText(f, c, p, b, v)
	}
	if err != nil {
		return fmt.Errorf("column %s of type %s: %w", c.Name, c.TypeName(), err)
	}
	return nil
}
