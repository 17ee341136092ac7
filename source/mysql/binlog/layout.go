package binlog

import (
	"fmt"

	"github.com/tailrace/tailrace/change"
)

// A Mismatch says that the columns that a layout was to be made of are not those of the table map: the structure that
// the caller knows is not the one at the time of the event.
type Mismatch struct {
	Schema, Table string
	Column        string // "" if it is the number of columns
	Reason        string
}

// Error implements error.
func (e *Mismatch) Error() string {
	s := fmt.Sprintf("the known structure of %s.%s is not that of its binlog events: ", e.Schema, e.Table)
	if e.Column != "" {
		s += "column " + e.Column + ": "
	}
	return s + e.Reason
}

// form says how a value is stored.
type form uint8

const (
	formInt form = iota
	formUint
	formTruth
	formYear
	formFloat
	formDouble
	formDecimal
	formBit
	formDate
	formOldTime
	formOldDatetime
	formOldTimestamp
	formTime
	formDatetime
	formTimestamp
	formEnum
	formSet
	formText   // with a length of size bytes
	formPadded // of fixed size, trailing zeros cut off in the log
	formUUID
	formInet
	formCompressed
	formJSON
	formGeometry
	formVector
)

// A field is how one column of a table is read.
type field struct {
	form     form
	size     int // bytes of a fixed-size value, of a length before the value, of an enum or set
	total    int // padded: bytes of the whole value; temporal: fractional digits; decimal: bytes
	prec     int // decimal: digits, and those behind the point; JSON: its number among the table's JSON columns
	scale    int
	labels   [][]byte
	truth    Truth
	unsigned bool // of formTruth
	cs       *charset
	target   int // index in the row, -1: not wanted
}

// A Layout binds the columns of a table to a table map: it reads that table's rows. It is not safe for concurrent use.
type Layout struct {
	table   *TableMap
	fields  []field
	width   int // of the rows that it makes
	json    int // number of JSON columns
	inflate inflater
	scratch scratch
}

// NewLayout returns the layout of rows under m for a table with the given columns, all of them and in the table's order.
// target has the place of each column in the rows that are made, -1 for one that is left out; nil stands for 0, 1, 2 ...
// It fails with a *[Mismatch] if the columns can't be those of the map, or permanently with UNKNOWN_CHARSET or UNKNOWN_TYPE.
func NewLayout(cs *Charsets, m *TableMap, cols []Column, target []int) (*Layout, error) {
	if len(cols) != len(m.Types) {
		return nil, &Mismatch{Schema: m.Schema, Table: m.Table, Reason: fmt.Sprintf("%d columns are known, there are %d", len(cols), len(m.Types))}
	}
	l := &Layout{table: m, fields: make([]field, len(cols))}
	for i := range cols {
		f, t := &l.fields[i], i
		if m.Types[i] == ColumnJSON {
			f.prec = l.json
			l.json++
		}
		if target != nil {
			t = target[i]
		}
		if f.target = t; t >= 0 {
			l.width = max(l.width, t+1)
		}
		c := cols[i]
		if m.Unsigned != nil && !m.guessed {
			c.Unsigned = m.Unsigned[i]
		}
		if id := m.charset(i); id != 0 && c.Charset != "" {
			name, ok := CharsetName(id)
			if !ok {
				if t >= 0 {
					return nil, unknownCharset(c.Name, id)
				}
				name = binaryCharset
			}
			if m.Labels == nil || m.Labels[i] == nil {
				c.Charset = name
			}
		}
		if err := l.bind(i, &c, cs); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// bind finds how the values of column i are stored, and checks that the column can have them.
func (l *Layout) bind(i int, c *Column, cs *Charsets) error {
	m, f := l.table, &l.fields[i]
	t, meta := m.Types[i], int(m.Meta[i])
	if !fits(c, t, meta) {
		return &Mismatch{Schema: m.Schema, Table: m.Table, Column: c.Name,
			Reason: fmt.Sprintf("%s is known, stored is type %d (%#x)", c.TypeName(), t, meta)}
	}
	switch t {
	case ColumnTiny, ColumnShort, ColumnInt24, ColumnLong, ColumnLonglong:
		f.form, f.size = formInt, int(integerBits(c.Base)/8)
		switch {
		case c.Truth != Numbers:
			f.form, f.truth = formTruth, c.Truth
			f.unsigned = c.Unsigned
		case c.Unsigned:
			f.form = formUint
		}
	case ColumnYear:
		f.form, f.size = formYear, 1
	case ColumnFloat:
		f.form, f.size = formFloat, 4
	case ColumnDouble:
		f.form, f.size = formDouble, 8
	case ColumnNewDecimal:
		f.form, f.prec, f.scale = formDecimal, meta>>8, meta&0xFF
		if f.size = decimalSize(f.prec, f.scale); f.size < 0 {
			return &Mismatch{Schema: m.Schema, Table: m.Table, Column: c.Name, Reason: "no decimal has such a precision"}
		}
	case ColumnBit:
		f.form, f.size, f.prec = formBit, (meta+7)/8, meta
	case ColumnDate, ColumnNewDate:
		f.form, f.size = formDate, 3
	case ColumnTime:
		f.form, f.size = formOldTime, 3
	case ColumnDatetime:
		f.form, f.size = formOldDatetime, 8
	case ColumnTimestamp:
		f.form, f.size = formOldTimestamp, 4
	case ColumnTime2:
		f.form, f.size, f.prec = formTime, 3+(meta+1)/2, meta
	case ColumnDatetime2:
		f.form, f.size, f.prec = formDatetime, 5+(meta+1)/2, meta
	case ColumnTimestamp2:
		f.form, f.size, f.prec = formTimestamp, 4+(meta+1)/2, meta
	default:
		return l.bindBytes(i, c, cs)
	}
	return nil
}

// bindBytes is bind for types whose values are bytes of some sort.
func (l *Layout) bindBytes(i int, c *Column, cs *Charsets) (err error) {
	f := &l.fields[i]
	t, meta := l.table.Types[i], int(l.table.Meta[i])
	switch t {
	case ColumnEnum, ColumnSet:
		if f.form, f.size = formEnum, meta; t == ColumnSet {
			f.form = formSet
		}
		for _, s := range c.Labels {
			f.labels = append(f.labels, []byte(s))
		}
		return nil
	case ColumnJSON:
		f.form, f.size = formJSON, meta
		return nil
	case ColumnGeometry:
		f.form, f.size = formGeometry, meta
		return nil
	case ColumnVector:
		f.form, f.size = formVector, meta
		return nil
	case ColumnString:
		f.form, f.total, f.size = formText, meta, lengthSize(meta)
		switch {
		case c.Base == "uuid":
			f.form = formUUID
		case c.Base == "inet4" || c.Base == "inet6":
			f.form = formInet
		case c.Charset == binaryCharset:
			f.form = formPadded
		}
	case ColumnVarchar, ColumnVarString:
		if f.form, f.size = formText, lengthSize(meta); c.Base == "vector" {
			f.form = formVector
		}
	case ColumnVarcharCompressed:
		f.form, f.size = formCompressed, lengthSize(meta)
	case ColumnBlobCompressed:
		f.form, f.size = formCompressed, meta
	default: // blobs
		f.form, f.size = formText, meta
	}
	name := c.Charset
	if name == "" || f.target < 0 {
		name = binaryCharset
	}
	f.cs, err = cs.get(name, c.Name)
	return err
}

// lengthSize is the number of bytes before a string of at most max bytes.
func lengthSize(max int) int {
	if max > 255 {
		return 2
	}
	return 1
}

// fits reports whether a column of the declared type can be stored as the table map says.
func fits(c *Column, t ColumnType, meta int) bool {
	switch t {
	case ColumnTiny:
		return c.Base == "tinyint"
	case ColumnShort:
		return c.Base == "smallint"
	case ColumnInt24:
		return c.Base == "mediumint"
	case ColumnLong:
		return c.Base == "int"
	case ColumnLonglong:
		return c.Base == "bigint"
	case ColumnFloat:
		return c.Base == "float" && meta == 4
	case ColumnDouble:
		return c.Base == "double" && meta == 8
	case ColumnNewDecimal:
		return c.Base == "decimal" && c.Precision == meta>>8 && c.Scale == meta&0xFF
	case ColumnYear:
		return c.Base == "year"
	case ColumnBit:
		return c.Base == "bit" && c.Length == meta && meta > 0 && meta <= 64
	case ColumnDate, ColumnNewDate:
		return c.Base == "date"
	case ColumnTime, ColumnTime2:
		return c.Base == "time" && c.Precision == meta && meta <= 6
	case ColumnDatetime, ColumnDatetime2:
		return c.Base == "datetime" && c.Precision == meta && meta <= 6
	case ColumnTimestamp, ColumnTimestamp2:
		return c.Base == "timestamp" && c.Precision == meta && meta <= 6
	case ColumnEnum:
		return c.Base == "enum" && (meta == 1 || meta == 2)
	case ColumnSet:
		return c.Base == "set" && meta >= 1 && meta <= 8
	}
	return fitsBytes(c, t, meta)
}

func fitsBytes(c *Column, t ColumnType, meta int) bool {
	switch t {
	case ColumnString:
		switch c.Base {
		case "inet6", "uuid":
			return meta == 16
		case "inet4":
			return meta == 4
		}
		return c.Base == "char" || c.Base == "binary"
	case ColumnVarchar, ColumnVarString:
		return c.Base == "varchar" || c.Base == "varbinary" || c.Base == "vector"
	case ColumnVarcharCompressed:
		return c.Base == "varchar" || c.Base == "varbinary"
	case ColumnBlob, ColumnTinyBlob, ColumnMediumBlob, ColumnLongBlob, ColumnBlobCompressed:
		switch c.Base {
		case "tinytext", "tinyblob":
			return meta == 1
		case "text", "blob":
			return meta == 2
		case "mediumtext", "mediumblob":
			return meta == 3
		case "longtext", "longblob", "json": // MariaDB's JSON is a LONGTEXT
			return meta == 4
		}
	case ColumnJSON:
		return c.Base == "json" && meta == 4
	case ColumnGeometry:
		return c.geometry() && meta == 4
	case ColumnVector:
		return c.Base == "vector" && meta == 4
	}
	return false
}

// row reads one image. present has a bit for each column that is in it; d is what a partial update has, nil for whole values.
func (l *Layout) row(p []byte, off int, present []byte, all bool, d *partial, b *change.Batch) (change.Row, int, error) {
	row := b.Row(l.width)
	count := len(l.fields)
	if !all {
		count = ones(present, count)
	}
	nulls := p[off:]
	if len(nulls) < (count+7)/8 {
		return nil, off, errShort
	}
	off += (count + 7) / 8
	var unwanted change.Value
	n := 0
	for i := range l.fields {
		if !all && present[i>>3]>>(i&7)&1 == 0 {
			continue
		}
		f := &l.fields[i]
		v := &unwanted
		if f.target >= 0 {
			v = &row[f.target]
		}
		null := nulls[n>>3]>>(n&7)&1 != 0
		if n++; null {
			v.Kind = change.Null
			continue
		}
		size := f.stored(p[off:])
		if size > len(p)-off {
			return nil, off, errShort
		}
		if f.target >= 0 {
			var err error
			if d.has(f) {
				err = l.patch(d, f, p[off+f.size:off+size], b, v)
			} else {
				err = l.value(f, p[off:off+size], b, v)
			}
			if err != nil {
				return nil, off, err
			}
		}
		off += size
	}
	return row, off, nil
}

// stored returns how many bytes the value at the start of p has, more than there are if they don't say.
func (f *field) stored(p []byte) int {
	if f.form < formText {
		return f.size
	}
	if len(p) < f.size {
		return len(p) + 1
	}
	n := f.size
	switch f.size {
	case 1:
		n += int(p[0])
	case 2:
		n += int(p[0]) | int(p[1])<<8
	default:
		n += int(littleEndian(p[:f.size]))
	}
	return n
}

// ones counts the bits of a bitmap that belong to columns: MySQL may set those behind the last column, too.
func ones(bitmap []byte, columns int) (n int) {
	for i, c := range bitmap {
		if left := columns - 8*i; left < 8 {
			c &= 1<<max(left, 0) - 1
		}
		for ; c != 0; c &= c - 1 {
			n++
		}
	}
	return n
}
