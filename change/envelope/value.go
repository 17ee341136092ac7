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

// appendValue appends v, a present value of column c: in the form of the column's type if it can be, and else as its
// text. In strict columns, whose readers go by a schema, text that is no string is null, or what stands for none.
func (enc *Encoder) appendValue(dst []byte, c *column, v *change.Value) []byte {
	if v.Kind != c.t.Kind {
		return enc.appendOther(dst, c, v)
	}
	if c.form != byKind {
		if out, ok := enc.appendForm(dst, c, v); ok {
			return out
		}
		return appendUnfit(dst, c, v.Data)
	}
	switch v.Kind {
	case change.Text, change.JSON:
		return jsontext.AppendString(dst, v.Data)
	case change.Int:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case change.Bool:
		return strconv.AppendBool(dst, v.Num != 0)
	case change.Decimal:
		if out, ok := appendDecimal(dst, c.t, v.Data); ok {
			return out
		}
		return appendUnfit(dst, c, v.Data)
	case change.Timestamp:
		return appendTimestamp(dst, c, v.Int64())
	case change.Time:
		if us := v.Int64(); c.t.Render == change.RenderConnect && (us < 0 || us > microsPerDay) { // Connect's type is a time of day
			var text [40]byte
			return appendUnfit(dst, c, jsontext.AppendTime(text[:0], us, jsontext.AsNeeded))
		}
	case change.Array:
		return enc.appendArray(dst, c, v.Data)
	}
	return appendScalar(dst, c.t, v)
}

// appendScalar appends a value of a kind whose every value has a form, by the parameters of t.
func appendScalar(dst []byte, t *change.Type, v *change.Value) []byte {
	switch v.Kind {
	case change.Uint:
		return strconv.AppendUint(dst, v.Num, 10)
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
		if t.Render == change.RenderDouble {
			return jsontext.AppendFloat64(dst, v.Float())
		}
		return jsontext.AppendFloat32(dst, float32(v.Float()))
	case change.UUID:
		return append(jsontext.AppendUUID(append(dst, '"'), v.Data), '"')
	case change.Bytes:
		return append(appendBytes(append(dst, '"'), t, v.Data), '"')
	}
	return append(dst, "null"...)
}

// appendOther appends a value of another kind than its column's: a value that the kind can't represent, or what a
// transform put there.
func (enc *Encoder) appendOther(dst []byte, c *column, v *change.Value) []byte {
	switch v.Kind {
	case change.Text, change.JSON, change.Decimal, change.Array:
		return appendUnfit(dst, c, v.Data)
	}
	integers := c.t.Kind == change.Int || c.t.Kind == change.Uint
	plain := change.Type{Kind: v.Kind, Precision: -1, Render: c.t.Render}
	switch {
	case integers && (v.Kind == change.Int || v.Kind == change.Uint):
		own := *v
		own.Kind = c.t.Kind
		return enc.appendValue(dst, c, &own)
	case c.unfit != nil:
		return append(dst, c.unfit...)
	}
	start := len(dst)
	if v.Kind == change.Int || v.Kind == change.Bool || v.Kind == change.Timestamp {
		dst = enc.appendValue(dst, &column{t: &plain}, v)
	} else {
		dst = appendScalar(dst, &plain, v)
	}
	if c.strict && dst[start] != '"' {
		text := string(dst[start:])
		return jsontext.AppendText(dst[:start], text)
	}
	return dst
}

// appendUnfit appends the text of a value that the column's type can't hold.
func appendUnfit(dst []byte, c *column, text []byte) []byte {
	if c.unfit != nil {
		return append(dst, c.unfit...)
	}
	return jsontext.AppendString(dst, text)
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

func appendTimestamp(dst []byte, c *column, micros int64) []byte {
	t := c.t
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
		if micros > math.MaxInt64/1000 || micros < math.MinInt64/1000 { // no int64 holds it
			var text [40]byte
			return appendUnfit(dst, c, append(jsontext.AppendTimestamp(text[:0], micros, jsontext.AsNeeded), 'Z'))
		}
		return appendNanos(dst, micros)
	}
	return strconv.AppendInt(dst, micros, 10)
}

// appendArray appends the array text p, or a string if it is no array. A schema has room for one dimension: in strict
// columns an array inside of an array is null.
func (enc *Encoder) appendArray(dst []byte, c *column, p []byte) []byte {
	start := len(dst)
	a := jsontext.NewArray(p)
	comma := false
	for depth := 0; ; {
		tok := a.Next()
		if tok == jsontext.ArrayOpen {
			depth++
		}
		hidden := c.strict && depth > 1
		if comma && !hidden && (tok == jsontext.ArrayOpen || tok == jsontext.ArrayElem || tok == jsontext.ArrayNull) ||
			hidden && tok == jsontext.ArrayOpen && depth == 2 && comma {
			dst = append(dst, ',')
		}
		comma = tok != jsontext.ArrayOpen || hidden
		switch {
		case tok == jsontext.ArrayEnd:
			return dst
		case tok == jsontext.ArrayBad:
			return appendUnfit(dst[:start], c, p)
		case tok == jsontext.ArrayOpen && hidden && depth == 2:
			dst = append(dst, "null"...)
		case tok == jsontext.ArrayClose && depth == 1, tok == jsontext.ArrayClose && !hidden:
			dst = append(dst, ']')
		case hidden:
		case tok == jsontext.ArrayOpen:
			dst = append(dst, '[')
		case tok == jsontext.ArrayNull:
			dst = append(dst, "null"...)
		case tok == jsontext.ArrayElem:
			dst = enc.appendElem(dst, c.elem, &a)
		}
		if tok == jsontext.ArrayClose {
			depth--
		}
	}
}

// appendElem uses the room behind dst for the element's bare text and moves the result over it.
func (enc *Encoder) appendElem(dst []byte, c *column, a *jsontext.Array) []byte {
	if !a.Escaped && (c == nil || c.t.Kind == change.Text && c.form == byKind) {
		return jsontext.AppendString(dst, a.Raw)
	}
	start, text := len(dst), a.Raw
	if a.Escaped {
		dst = a.AppendElem(dst)
		text = dst[start:]
	}
	if c == nil { // nothing is known of the elements
		return jsontext.AppendString(dst[:start], []byte(string(text)))
	}
	v, dst := jsontext.ParseElem(c.t, text, dst)
	if v.Kind == change.Array { // an array type whose elements are arrays does not exist; keep its text
		v.Kind = change.Text
	}
	end := len(dst)
	dst = enc.appendValue(dst, c, &v)
	return dst[:start+copy(dst[start:], dst[end:])]
}

// nameUUID is Java's UUID.nameUUIDFromBytes: version 3 without a name space.
func nameUUID(name string) []byte {
	u := md5.Sum([]byte(name))
	u[6] = u[6]&0x0F | 0x30
	u[8] = u[8]&0x3F | 0x80
	return u[:]
}
