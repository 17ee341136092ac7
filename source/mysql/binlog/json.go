package binlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// Types of values in MySQL's binary JSON.
const (
	jsonSmallObject = 0x00
	jsonLargeObject = 0x01
	jsonSmallArray  = 0x02
	jsonLargeArray  = 0x03
	jsonLiteral     = 0x04
	jsonInt16       = 0x05
	jsonUint16      = 0x06
	jsonInt32       = 0x07
	jsonUint32      = 0x08
	jsonInt64       = 0x09
	jsonUint64      = 0x0A
	jsonDouble      = 0x0B
	jsonString      = 0x0C
	jsonOpaque      = 0x0F
)

const (
	jsonMaxDepth = 100 // of documents that the server accepts
	// jsonGrowth bounds the text of a document of which parts are referred to many times, which no server writes: a byte
	// of a document makes 6 bytes of text at most (a control character), a number of 2 bytes at most 8.
	jsonGrowth = 16
)

var errJSON = errors.New("not a JSON document")

// jsonText writes documents as text.
type jsonText struct {
	dst   []byte
	limit int
	old   bool // as MySQL 5.7 prints: no ".0" behind whole doubles
}

// appendJSON appends the text of a stored JSON document exactly as MySQL prints it: ", " between members, ": " behind
// keys, in the stored order; old is for MySQL 5.7. An empty document is the null that the server reads it as.
func appendJSON(dst, p []byte, old bool) ([]byte, error) {
	if len(p) == 0 {
		return append(dst, "null"...), nil
	}
	j := jsonText{dst: dst, limit: len(dst) + 64 + jsonGrowth*len(p), old: old}
	if !j.value(p[0], p[1:], 0) {
		return dst, errJSON
	}
	return j.dst, nil
}

// value writes a value whose bytes start at p, and may be longer than p is used.
func (j *jsonText) value(kind byte, p []byte, depth int) bool {
	if len(j.dst) > j.limit {
		return false
	}
	switch kind {
	case jsonSmallObject, jsonSmallArray:
		return j.container(kind == jsonSmallObject, 2, p, depth)
	case jsonLargeObject, jsonLargeArray:
		return j.container(kind == jsonLargeObject, 4, p, depth)
	case jsonString:
		s, ok := jsonBytes(p)
		j.quote(s)
		return ok
	case jsonOpaque:
		if len(p) == 0 {
			return false
		}
		data, ok := jsonBytes(p[1:])
		return ok && j.opaque(p[0], data)
	}
	return j.scalar(kind, p)
}

func (j *jsonText) scalar(kind byte, p []byte) bool {
	size := 8
	switch kind {
	case jsonLiteral:
		size = 1
	case jsonInt16, jsonUint16:
		size = 2
	case jsonInt32, jsonUint32:
		size = 4
	case jsonInt64, jsonUint64, jsonDouble:
	default:
		return false
	}
	if len(p) < size {
		return false
	}
	switch p = p[:size]; kind {
	case jsonLiteral:
		literals := [...]string{"null", "true", "false"}
		if int(p[0]) >= len(literals) {
			return false
		}
		j.dst = append(j.dst, literals[p[0]]...)
	case jsonUint16, jsonUint32, jsonUint64:
		j.dst = strconv.AppendUint(j.dst, littleEndian(p), 10)
	case jsonDouble:
		j.dst = appendDouble(j.dst, math.Float64frombits(littleEndian(p)), j.old)
	default:
		j.dst = strconv.AppendInt(j.dst, int64(signed(p)), 10)
	}
	return true
}

// container writes an object or array: count, size, then for objects offset and length of each key, then type and offset
// of each value. Numbers have width bytes, lengths of keys two; offsets count from p. Small values stand in place of their
// offset.
func (j *jsonText) container(object bool, width int, p []byte, depth int) bool {
	if depth >= jsonMaxDepth || len(p) < 2*width {
		return false
	}
	count, size := littleEndian(p[:width]), littleEndian(p[width:2*width])
	if size > uint64(len(p)) {
		return false
	}
	p = p[:size]
	entry, values := uint64(1+width), uint64(2*width)
	if object {
		values += count * uint64(width+2)
	}
	if count > size || values+count*entry > size {
		return false
	}
	open, end := byte('['), byte(']')
	if object {
		open, end = '{', '}'
	}
	j.dst = append(j.dst, open)
	for i := range count {
		if i > 0 {
			j.dst = append(j.dst, ", "...)
		}
		if object && !j.key(p, 2*width+int(i)*(width+2), width) {
			return false
		}
		at := values + i*entry
		kind, inline := p[at], p[at+1:at+entry]
		if !jsonInline(kind, width) {
			off := littleEndian(inline)
			if off > size {
				return false
			}
			inline = p[off:]
		}
		if !j.value(kind, inline, depth+1) {
			return false
		}
	}
	j.dst = append(j.dst, end)
	return true
}

func (j *jsonText) key(p []byte, at, width int) bool {
	off, n := littleEndian(p[at:at+width]), littleEndian(p[at+width:at+width+2])
	if off+n > uint64(len(p)) {
		return false
	}
	j.quote(p[off : off+n])
	j.dst = append(j.dst, ": "...)
	return true
}

// jsonInline reports whether a value of a kind stands in place of its offset.
func jsonInline(kind byte, width int) bool {
	switch kind {
	case jsonLiteral, jsonInt16, jsonUint16:
		return true
	case jsonInt32, jsonUint32:
		return width == 4
	}
	return false
}

// jsonBytes reads bytes with their length before them: seven bits a byte, the lowest first.
func jsonBytes(p []byte) ([]byte, bool) {
	n := uint64(0)
	for i := range min(len(p), 5) {
		n |= uint64(p[i]&0x7F) << (7 * i)
		if p[i]&0x80 == 0 {
			if p = p[i+1:]; n > uint64(len(p)) {
				return nil, false
			}
			return p[:n], true
		}
	}
	return nil, false
}

// quote writes a string as the server does: only what must be escaped is.
func (j *jsonText) quote(s []byte) {
	j.dst = append(j.dst, '"')
	start := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		j.dst = append(j.dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			j.dst = append(j.dst, '\\', c)
		case '\b':
			j.dst = append(j.dst, `\b`...)
		case '\f':
			j.dst = append(j.dst, `\f`...)
		case '\n':
			j.dst = append(j.dst, `\n`...)
		case '\r':
			j.dst = append(j.dst, `\r`...)
		case '\t':
			j.dst = append(j.dst, `\t`...)
		default:
			j.dst = append(j.dst, `\u00`...)
			j.dst = append(j.dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	j.dst = append(append(j.dst, s[start:]...), '"')
}

const base64Line = 76 / 4 * 3 // bytes in a line of the server's base64

// jsonLines copies a document that the server printed. MySQL 5.7 does not escape the line ends in base64, which no JSON
// may have; later versions do.
func jsonLines(p []byte, b *change.Batch) []byte {
	n := bytes.Count(p, []byte{'\n'})
	if n == 0 {
		return b.Copy(p)
	}
	text := b.Bytes(len(p) + n)[:0]
	for _, c := range p {
		if c == '\n' {
			text = append(text, '\\', 'n')
		} else {
			text = append(text, c)
		}
	}
	return text
}

// opaque writes a value that JSON has no type for: decimals as numbers, dates and times as strings, all else in base64.
func (j *jsonText) opaque(t byte, p []byte) bool {
	switch ColumnType(t) {
	case ColumnNewDecimal:
		if len(p) < 2 {
			return false
		}
		dst, ok := appendDecimal(j.dst, p[2:], int(p[0]), int(p[1]))
		j.dst = dst
		return ok
	case ColumnDate, ColumnDatetime, ColumnTimestamp, ColumnTime:
		if len(p) != 8 {
			return false
		}
		return j.temporal(ColumnType(t), int64(littleEndian64(p)))
	}
	j.dst = append(j.dst, `"base64:type`...)
	j.dst = strconv.AppendUint(j.dst, uint64(t), 10)
	j.dst = append(j.dst, ':')
	for ; len(p) > base64Line; p = p[base64Line:] {
		j.dst = append(base64.StdEncoding.AppendEncode(j.dst, p[:base64Line]), `\n`...)
	}
	j.dst = append(base64.StdEncoding.AppendEncode(j.dst, p), '"')
	return true
}

// temporal writes a date or time, which is packed as in a DATETIME(6) or TIME(6) column, in a signed number.
func (j *jsonText) temporal(t ColumnType, packed int64) bool {
	negative := packed < 0
	n := uint64(max(packed, -packed))
	micros, hms := int(n&(1<<24-1)), int(n>>24&(1<<17-1))
	d := datetime{hour: hms >> 12, minute: hms >> 6 & 63, second: hms & 63, micros: micros, digits: 6}
	if micros >= microsPerSecond {
		return false
	}
	j.dst = append(j.dst, '"')
	if t == ColumnTime {
		if negative {
			j.dst = append(j.dst, '-')
		}
		hour := n >> 24 >> 12 & 1023
		if hour > 99 {
			j.dst = strconv.AppendUint(j.dst, hour, 10)
		} else {
			j.dst = appendDigits(j.dst, hour, 2)
		}
		var text [32]byte
		d.hour = 0
		j.dst = append(j.dst, d.append(text[:0])[len("0000-00-00 00"):]...)
	} else {
		ymd := int(n >> 41)
		d.year, d.month, d.day, d.date = ymd>>5/13, ymd>>5%13, ymd&31, t == ColumnDate
		if d.year > 9999 {
			return false
		}
		j.dst = d.append(j.dst)
	}
	j.dst = append(j.dst, '"')
	return true
}

// Doubles are written without an exponent as long as the point is at most so many digits away.
const doublePoint = 15

// appendDouble appends the shortest text that reads as the same number, in the server's form (my_gcvt): without an
// exponent where the point is near, "1e20" and "1e-20" where it is far, and unless old ".0" behind whole numbers.
func appendDouble(dst []byte, f float64, old bool) []byte {
	var buf [32]byte
	e := strconv.AppendFloat(buf[:0], f, 'e', -1, 64) // [-]d[.ddd]e±dd
	if e[0] == '-' {
		dst = append(dst, '-')
		e = e[1:]
	}
	k := len(e) - 1
	for k > 0 && e[k] != 'e' {
		k--
	}
	exp, err := strconv.Atoi(string(e[k+1:]))
	if err != nil {
		return strconv.AppendFloat(dst, f, 'g', -1, 64) // no server stores an infinity
	}
	e[1] = e[0] // the digits without their point
	digits := e[1:max(2, k)]
	point := exp + 1
	switch {
	case point > doublePoint || point < 1-doublePoint:
		dst = append(dst, digits[0])
		if len(digits) > 1 {
			dst = append(append(dst, '.'), digits[1:]...)
		}
		dst = strconv.AppendInt(append(dst, 'e'), int64(exp), 10)
	case point <= 0:
		dst = append(dst, "0."...)
		for range -point {
			dst = append(dst, '0')
		}
		dst = append(dst, digits...)
	case point >= len(digits):
		dst = append(dst, digits...)
		for range point - len(digits) {
			dst = append(dst, '0')
		}
		if !old {
			dst = append(dst, ".0"...)
		}
	default:
		dst = append(dst, digits[:point]...)
		dst = append(append(dst, '.'), digits[point:]...)
	}
	return dst
}
