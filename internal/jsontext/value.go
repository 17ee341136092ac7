package jsontext

import (
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// AppendRow appends r, a row of t, as an object of its present columns in table order: NULL is null, Absent columns
// are left out. A nil row is null.
func AppendRow(dst []byte, t *change.Table, r change.Row) []byte {
	if r == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	first := true
	for i := range min(len(r), len(t.Columns)) {
		if r[i].Kind == change.Absent {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = AppendKey(dst, t.Columns[i].Name)
		dst = AppendValue(dst, &t.Columns[i], r[i])
	}
	return append(dst, '}')
}

// AppendValue appends the natural form of v, a value of column c. An Absent value, which has no JSON form, is appended
// as null: leave it out instead.
func AppendValue(dst []byte, c *change.Column, v change.Value) []byte {
	switch v.Kind {
	case change.Text:
		return AppendString(dst, v.Data)
	case change.Array:
		return appendArray(dst, c.Type.Elem, v.Data)
	case change.JSON:
		return AppendJSON(dst, v.Data)
	}
	return appendScalar(dst, v)
}

func appendScalar(dst []byte, v change.Value) []byte {
	switch v.Kind {
	case change.Absent, change.Null:
		return append(dst, "null"...)
	case change.Bool:
		return strconv.AppendBool(dst, v.Num != 0)
	case change.Int:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case change.Uint:
		return strconv.AppendUint(dst, v.Num, 10)
	case change.Float32:
		return AppendShortest(dst, v.Float(), 32)
	case change.Float64:
		return AppendShortest(dst, v.Float(), 64)
	case change.Decimal:
		return AppendDecimal(dst, v.Data)
	case change.JSON:
		return AppendJSON(dst, v.Data)
	}
	dst = append(dst, '"')
	switch v.Kind {
	case change.Bytes:
		dst = AppendBase64(dst, v.Data)
	case change.UUID:
		dst = AppendUUID(dst, v.Data)
	case change.Date:
		dst = AppendDate(dst, v.Int64())
	case change.Time:
		dst = AppendTime(dst, v.Int64(), AsNeeded)
	case change.Timestamp:
		dst = AppendTimestamp(dst, v.Int64(), AsNeeded)
	case change.TimestampTZ:
		dst = AppendTimestampTZ(dst, v.Int64(), AsNeeded)
	default: // Text; Array inside an array does not occur, its text is kept
		return AppendString(dst[:len(dst)-1], v.Data)
	}
	return append(dst, '"')
}

// appendArray appends the array text p as a JSON array of elements of type elem, or as a string if it is no array.
func appendArray(dst []byte, elem *change.Type, p []byte) []byte {
	start := len(dst)
	a := NewArray(p)
	comma := false
	for {
		tok := a.Next()
		if comma && (tok == ArrayOpen || tok == ArrayElem || tok == ArrayNull) {
			dst = append(dst, ',')
		}
		comma = tok != ArrayOpen
		switch tok {
		case ArrayOpen:
			dst = append(dst, '[')
		case ArrayClose:
			dst = append(dst, ']')
		case ArrayNull:
			dst = append(dst, "null"...)
		case ArrayElem:
			dst = appendElem(dst, elem, &a)
		case ArrayEnd:
			return dst
		case ArrayBad:
			return AppendString(dst[:start], p)
		}
	}
}

// appendElem uses the room behind dst for the element's bare text and moves the result over it.
func appendElem(dst []byte, elem *change.Type, a *Array) []byte {
	if !a.Escaped && (elem == nil || elem.Kind == change.Text) {
		return AppendString(dst, a.Raw)
	}
	start, text := len(dst), a.Raw
	if a.Escaped {
		dst = a.AppendElem(dst)
		text = dst[start:]
	}
	v, dst := ParseElem(elem, text, dst)
	end := len(dst)
	dst = appendScalar(dst, v)
	return dst[:start+copy(dst[start:], dst[end:])]
}
