package envelope

import (
	"crypto/md5"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// What Debezium writes for the infinities of dates and timestamps where a number is wanted.
const (
	infinityDate    = -2147472692
	negInfinityDate = -2147472691
	infinityUs      = 9223372036825200000
	negInfinityUs   = -9223372036832400000
)

// appendValue appends v, a present value of a column of type t.
func (enc *Encoder) appendValue(dst []byte, t *change.Type, v *change.Value) []byte {
	switch v.Kind {
	case change.Text, change.JSON:
		return jsontext.AppendString(dst, v.Data)
	case change.Int:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case change.Uint:
		return strconv.AppendUint(dst, v.Num, 10)
	case change.Bool:
		return strconv.AppendBool(dst, v.Num != 0)
	case change.Decimal:
		return appendDecimal(dst, t, v.Data)
	case change.Timestamp:
		return appendTimestamp(dst, t, v.Int64())
	case change.TimestampTZ:
		digits := 6
		if t.Kind == change.TimestampTZ && t.Precision >= 0 {
			digits = int(t.Precision)
		}
		return append(jsontext.AppendTimestampTZ(append(dst, '"'), v.Int64(), digits), '"')
	case change.Date:
		return appendDate(dst, t, v.Int64())
	case change.Time:
		return appendTime(dst, t, v.Int64())
	case change.Float64:
		return jsontext.AppendFloat64(dst, v.Float())
	case change.Float32:
		return jsontext.AppendFloat32(dst, float32(v.Float()))
	case change.UUID:
		return append(jsontext.AppendUUID(append(dst, '"'), v.Data), '"')
	case change.Bytes:
		return append(appendBytes(append(dst, '"'), t, v.Data), '"')
	case change.Array:
		return enc.appendArray(dst, t.Elem, v.Data)
	}
	return append(dst, "null"...)
}

func appendBytes(dst []byte, t *change.Type, p []byte) []byte {
	switch t.Render {
	case change.RenderHex:
		return jsontext.AppendHex(dst, p)
	case change.RenderBase64URL:
		return jsontext.AppendBase64URL(dst, p)
	}
	return jsontext.AppendBase64(dst, p)
}

func appendDate(dst []byte, t *change.Type, days int64) []byte {
	if t.Render == change.RenderISO {
		dst = jsontext.AppendDate(append(dst, '"'), days)
		return append(appendZone(dst, days), '"')
	}
	switch days {
	case change.InfinityMicros:
		days = infinityDate
	case change.NegInfinityMicros:
		days = negInfinityDate
	}
	return strconv.AppendInt(dst, days, 10)
}

// appendZone ends a date or timestamp in ISO form, unless it is infinite.
func appendZone(dst []byte, n int64) []byte {
	if n == change.InfinityMicros || n == change.NegInfinityMicros {
		return dst
	}
	return append(dst, 'Z')
}

// coarse reports whether a time of type t has at most milliseconds.
func coarse(t *change.Type) bool { return t.Precision >= 0 && t.Precision <= 3 }

func appendTime(dst []byte, t *change.Type, micros int64) []byte {
	switch t.Render {
	case change.RenderISO:
		return append(jsontext.AppendTime(append(dst, '"'), micros, jsontext.AsNeeded), 'Z', '"')
	case change.RenderConnect:
		return strconv.AppendInt(dst, floorDiv(micros, 1000), 10)
	case change.RenderMicros:
		return strconv.AppendInt(dst, micros, 10)
	case change.RenderNanos:
		return appendNanos(dst, micros)
	}
	if coarse(t) {
		return strconv.AppendInt(dst, floorDiv(micros, 1000), 10)
	}
	return strconv.AppendInt(dst, micros, 10)
}

func appendTimestamp(dst []byte, t *change.Type, micros int64) []byte {
	if t.Render == change.RenderISO {
		return append(appendZone(jsontext.AppendTimestamp(append(dst, '"'), micros, jsontext.AsNeeded), micros), '"')
	}
	infinite := true
	switch micros {
	case change.InfinityMicros:
		micros = infinityUs
	case change.NegInfinityMicros:
		micros = negInfinityUs
	default:
		infinite = false
	}
	switch {
	case t.Render == change.RenderConnect || t.Render == change.RenderDefault && coarse(t):
		return strconv.AppendInt(dst, floorDiv(micros, 1000), 10)
	case t.Render == change.RenderNanos && !infinite:
		if micros > math.MaxInt64/1000 || micros < math.MinInt64/1000 { // no int64 holds it: its text
			return append(jsontext.AppendTimestamp(append(dst, '"'), micros, jsontext.AsNeeded), 'Z', '"')
		}
		return appendNanos(dst, micros)
	}
	return strconv.AppendInt(dst, micros, 10)
}

// appendArray appends the array text p, or a string if it is no array.
func (enc *Encoder) appendArray(dst []byte, elem *change.Type, p []byte) []byte {
	start := len(dst)
	a := jsontext.NewArray(p)
	comma := false
	for {
		tok := a.Next()
		if comma && (tok == jsontext.ArrayOpen || tok == jsontext.ArrayElem || tok == jsontext.ArrayNull) {
			dst = append(dst, ',')
		}
		comma = tok != jsontext.ArrayOpen
		switch tok {
		case jsontext.ArrayOpen:
			dst = append(dst, '[')
		case jsontext.ArrayClose:
			dst = append(dst, ']')
		case jsontext.ArrayNull:
			dst = append(dst, "null"...)
		case jsontext.ArrayElem:
			dst = enc.appendElem(dst, elem, &a)
		case jsontext.ArrayEnd:
			return dst
		case jsontext.ArrayBad:
			return jsontext.AppendString(dst[:start], p)
		}
	}
}

// appendElem uses the room behind dst for the element's bare text and moves the result over it.
func (enc *Encoder) appendElem(dst []byte, elem *change.Type, a *jsontext.Array) []byte {
	if !a.Escaped && (elem == nil || elem.Kind == change.Text) {
		return jsontext.AppendString(dst, a.Raw)
	}
	start, text := len(dst), a.Raw
	if a.Escaped {
		dst = a.AppendElem(dst)
		text = dst[start:]
	}
	v, dst := jsontext.ParseElem(elem, text, dst)
	if v.Kind == change.Array { // an array type whose elements are arrays does not exist; keep its text
		v.Kind = change.Text
	}
	end := len(dst)
	dst = enc.appendValue(dst, elem, &v)
	return dst[:start+copy(dst[start:], dst[end:])]
}

// appendAbsent appends what stands for a value of type t that was not sent: the placeholder in the shape of the type.
func appendAbsent(dst []byte, t *change.Type, placeholder string) []byte {
	switch t.Kind {
	case change.Bytes:
		return append(appendBytes(append(dst, '"'), t, []byte(placeholder)), '"')
	case change.Array:
		if t.Elem == nil {
			break
		}
		dst = append(dst, '[')
		switch t.Elem.Kind {
		case change.Int, change.Uint:
			for i := range len(placeholder) {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = strconv.AppendUint(dst, uint64(placeholder[i]), 10)
			}
		case change.UUID:
			dst = append(jsontext.AppendUUID(append(dst, '"'), nameUUID(placeholder)), '"')
		default:
			dst = appendAbsent(dst, t.Elem, placeholder)
		}
		return append(dst, ']')
	}
	return jsontext.AppendText(dst, placeholder)
}

// nameUUID is Java's UUID.nameUUIDFromBytes: version 3 without a name space.
func nameUUID(name string) []byte {
	u := md5.Sum([]byte(name))
	u[6] = u[6]&0x0F | 0x30
	u[8] = u[8]&0x3F | 0x80
	return u[:]
}
