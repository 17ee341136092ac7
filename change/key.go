package change

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Key tuples. One tagged element for each key column; elements compare as byte strings the way their values do, no
// element is a prefix of another, and equal values give equal bytes (1.0 and 1.00, 0.0 and -0.0), so a tuple is
// injective and order-preserving for values of one kind.
//
//	01                      NULL
//	02 b                    Bool
//	0C..13 complement       negative Int of 8..1 bytes       (as in FoundationDB's tuple layer)
//	14                      Int or Uint 0
//	15..1C bytes            positive Int or Uint of 1..8 bytes, big endian
//	20 4 bytes, 21 8 bytes  Float32, Float64: IEEE bits, sign flipped (all bits if negative)
//	22 class ...            Decimal: class 0 -Inf, 1 negative, 2 zero, 3 positive, 4 +Inf, 5 NaN; 1 and 3 go on with
//	                        4 bytes of biased exponent and the digits ended by 00, complemented if negative
//	28 29 2A 30 bytes 00    Text JSON Bytes Array: 00 inside is written 00 FF
//	2B 16 bytes             UUID
//	2C 2D 2E 2F 8 bytes     Date Time Timestamp TimestampTZ: big endian, sign flipped
const (
	tagNull      = 0x01
	tagBool      = 0x02
	tagIntZero   = 0x14
	tagFloat32   = 0x20
	tagFloat64   = 0x21
	tagDecimal   = 0x22
	tagText      = 0x28
	tagJSON      = 0x29
	tagBytes     = 0x2A
	tagUUID      = 0x2B
	tagDate      = 0x2C
	tagTime      = 0x2D
	tagStamp     = 0x2E
	tagStampTZ   = 0x2F
	tagArray     = 0x30
	expBias      = 1 << 30
	decNegInf    = 0
	decNegative  = 1
	decZero      = 2
	decPositive  = 3
	decInf       = 4
	decNaN       = 5
	signBit      = 1 << 63
	maxDecDigits = 1 << 20

	canonicalNaN32 = 0x7FC00000
	canonicalNaN64 = 0x7FF8000000000000
)

// AppendKey appends the key tuple of r, a row of t, to dst. It reports false, and dst as it was, when a key column is
// Absent, the table has no key, or r has not t's number of columns. It allocates only to grow dst.
func AppendKey(dst []byte, t *Table, r Row) ([]byte, bool) {
	if len(t.Key) == 0 || len(r) != len(t.Columns) {
		return dst, false
	}
	n := len(dst)
	for _, i := range t.Key {
		if r[i].Kind == Absent {
			return dst[:n], false
		}
		dst = appendKeyValue(dst, r[i])
	}
	return dst, true
}

func appendKeyValue(dst []byte, v Value) []byte {
	switch v.Kind {
	case Bool:
		return append(dst, tagBool, byte(v.Num&1))
	case Int:
		if v.Int64() < 0 {
			return appendNegative(dst, ^v.Num+1)
		}
		return appendPositive(dst, v.Num)
	case Uint:
		return appendPositive(dst, v.Num)
	case Float32:
		f := math.Float32frombits(uint32(v.Num))
		if f == 0 {
			f = 0
		}
		u := math.Float32bits(f)
		if f != f {
			u = canonicalNaN32
		}
		if u>>31 != 0 {
			u = ^u
		} else {
			u |= 1 << 31
		}
		return binary.BigEndian.AppendUint32(append(dst, tagFloat32), u)
	case Float64:
		return binary.BigEndian.AppendUint64(append(dst, tagFloat64), orderedFloat(v.Float()))
	case Decimal:
		return appendDecimal(append(dst, tagDecimal), v.Data)
	case Text:
		return appendEscaped(append(dst, tagText), v.Data)
	case JSON:
		return appendEscaped(append(dst, tagJSON), v.Data)
	case Bytes:
		return appendEscaped(append(dst, tagBytes), v.Data)
	case Array:
		return appendEscaped(append(dst, tagArray), v.Data)
	case UUID:
		var u [16]byte
		copy(u[:], v.Data)
		return append(append(dst, tagUUID), u[:]...)
	case Date:
		return binary.BigEndian.AppendUint64(append(dst, tagDate), v.Num^signBit)
	case Time:
		return binary.BigEndian.AppendUint64(append(dst, tagTime), v.Num^signBit)
	case Timestamp:
		return binary.BigEndian.AppendUint64(append(dst, tagStamp), v.Num^signBit)
	case TimestampTZ:
		return binary.BigEndian.AppendUint64(append(dst, tagStampTZ), v.Num^signBit)
	default: // Null; Absent never gets here
		return append(dst, tagNull)
	}
}

func orderedFloat(f float64) uint64 {
	if f == 0 {
		f = 0 // -0 and 0 are one key
	}
	u := math.Float64bits(f)
	if f != f {
		u = canonicalNaN64
	}
	if u>>63 != 0 {
		return ^u
	}
	return u | signBit
}

func byteLen(u uint64) int {
	n := 0
	for ; u != 0; u >>= 8 {
		n++
	}
	return n
}

func appendPositive(dst []byte, u uint64) []byte {
	n := byteLen(u)
	dst = append(dst, byte(tagIntZero+n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(u>>(8*i)))
	}
	return dst
}

// appendNegative appends -magnitude.
func appendNegative(dst []byte, magnitude uint64) []byte {
	n := byteLen(magnitude)
	dst = append(dst, byte(tagIntZero-n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, ^byte(magnitude>>(8*i)))
	}
	return dst
}

func appendEscaped(dst, p []byte) []byte {
	for {
		i := bytes.IndexByte(p, 0)
		if i < 0 {
			return append(append(dst, p...), 0)
		}
		dst = append(append(dst, p[:i]...), 0, 0xFF)
		p = p[i+1:]
	}
}

// appendDecimal writes the class and, for finite numbers other than zero, 0.DIGITS * 10^exponent.
func appendDecimal(dst, text []byte) []byte {
	switch string(text) {
	case "NaN":
		return append(dst, decNaN)
	case "Infinity":
		return append(dst, decInf)
	case "-Infinity":
		return append(dst, decNegInf)
	}
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	whole, frac := text, []byte(nil)
	if i := bytes.IndexByte(text, '.'); i >= 0 {
		whole, frac = text[:i], text[i+1:]
	}
	whole = bytes.TrimLeft(whole, "0")
	exp := len(whole)
	if exp == 0 {
		trimmed := bytes.TrimLeft(frac, "0")
		exp = len(trimmed) - len(frac)
		frac = trimmed
	}
	frac = bytes.TrimRight(frac, "0")
	if len(frac) == 0 {
		whole = bytes.TrimRight(whole, "0")
	}
	if len(whole)+len(frac) == 0 {
		return append(dst, decZero)
	}
	class := byte(decPositive)
	if negative {
		class = decNegative
	}
	start := len(dst) + 1
	dst = binary.BigEndian.AppendUint32(append(dst, class), uint32(exp+expBias))
	dst = append(append(append(dst, whole...), frac...), 0)
	if negative {
		for i := start; i < len(dst); i++ {
			dst[i] = ^dst[i]
		}
	}
	return dst
}

var errKey = errors.New("malformed key tuple")

// DecodeKey turns a key tuple of table t back into a row of t in b's memory: the key columns as they were, all others
// Absent. Ints that fit int64 come back as Int, decimals with the digits that their column declares, without trailing zeros
// where it declares none. A tuple that AppendKey cannot have
// made for t gives an error.
func DecodeKey(b *Batch, t *Table, key []byte) (Row, error) {
	row := b.Row(len(t.Columns))
	for n, i := range t.Key {
		v, rest, err := decodeKeyValue(b, key)
		if err != nil {
			return nil, fmt.Errorf("key of %s, column %d (%s): %w", t.Name, n+1, t.Columns[i].Name, err)
		}
		if typ := &t.Columns[i].Type; v.Kind == Decimal && typ.Kind == Decimal && typ.Precision > 0 {
			v.Data = scaled(b, v.Data, int(typ.Scale))
		}
		row[i], key = v, rest
	}
	if len(key) != 0 {
		return nil, fmt.Errorf("key of %s: %d bytes after its %d columns: %w", t.Name, len(key), len(t.Key), errKey)
	}
	return row, nil
}

func decodeKeyValue(b *Batch, p []byte) (Value, []byte, error) {
	if len(p) == 0 {
		return Value{}, nil, errKey
	}
	tag := p[0]
	p = p[1:]
	switch {
	case tag == tagNull:
		return Value{Kind: Null}, p, nil
	case tag == tagBool:
		if len(p) < 1 || p[0] > 1 {
			return Value{}, nil, errKey
		}
		return Value{Kind: Bool, Num: uint64(p[0])}, p[1:], nil
	case tag >= tagIntZero-8 && tag <= tagIntZero+8:
		return decodeInt(tag, p)
	case tag == tagFloat32:
		if len(p) < 4 {
			return Value{}, nil, errKey
		}
		u := binary.BigEndian.Uint32(p)
		if u>>31 != 0 {
			u &^= 1 << 31
		} else {
			u = ^u
		}
		if u == 1<<31 || u&0x7FFFFFFF > 0x7F800000 && u != canonicalNaN32 {
			return Value{}, nil, errKey // AppendKey writes one zero and one NaN
		}
		return Value{Kind: Float32, Num: uint64(u)}, p[4:], nil
	case tag == tagFloat64 || tag >= tagDate && tag <= tagStampTZ:
		if len(p) < 8 {
			return Value{}, nil, errKey
		}
		u := binary.BigEndian.Uint64(p)
		if tag == tagFloat64 {
			if u>>63 != 0 {
				u &^= signBit
			} else {
				u = ^u
			}
			if u == signBit || u&^signBit > 0x7FF0000000000000 && u != canonicalNaN64 {
				return Value{}, nil, errKey
			}
			return Value{Kind: Float64, Num: u}, p[8:], nil
		}
		return Value{Kind: Date + Kind(tag-tagDate), Num: u ^ signBit}, p[8:], nil
	case tag == tagUUID:
		if len(p) < 16 {
			return Value{}, nil, errKey
		}
		return Value{Kind: UUID, Data: b.Copy(p[:16])}, p[16:], nil
	case tag == tagDecimal:
		return decodeDecimal(b, p)
	case tag == tagText, tag == tagJSON, tag == tagBytes, tag == tagArray:
		data, rest, err := decodeEscaped(b, p)
		return Value{Kind: escapedKind(tag), Data: data}, rest, err
	}
	return Value{}, nil, errKey
}

func escapedKind(tag byte) Kind {
	switch tag {
	case tagText:
		return Text
	case tagJSON:
		return JSON
	case tagBytes:
		return Bytes
	}
	return Array
}

func decodeInt(tag byte, p []byte) (Value, []byte, error) {
	n, negative := int(tag)-tagIntZero, tag < tagIntZero
	if negative {
		n = -n
	}
	if len(p) < n {
		return Value{}, nil, errKey
	}
	var u uint64
	for _, c := range p[:n] {
		if negative {
			c = ^c
		}
		u = u<<8 | uint64(c)
	}
	if byteLen(u) != n || negative && u > signBit {
		return Value{}, nil, errKey
	}
	if negative {
		u = -u
	} else if u >= signBit {
		return Value{Kind: Uint, Num: u}, p[n:], nil
	}
	return Value{Kind: Int, Num: u}, p[n:], nil
}

func decodeEscaped(b *Batch, p []byte) (data, rest []byte, err error) {
	n, end := 0, -1
	for i := 0; i < len(p); i++ {
		if p[i] == 0 {
			if i+1 < len(p) && p[i+1] == 0xFF {
				i++
			} else {
				end = i
				break
			}
		}
		n++
	}
	if end < 0 {
		return nil, nil, errKey
	}
	data = b.Bytes(n)[:0]
	for i := 0; i < end; i++ {
		data = append(data, p[i])
		if p[i] == 0 {
			i++
		}
	}
	return data, p[end+1:], nil
}

func decodeDecimal(b *Batch, p []byte) (Value, []byte, error) {
	if len(p) == 0 || p[0] > decNaN {
		return Value{}, nil, errKey
	}
	class := p[0]
	p = p[1:]
	if name := [...]string{decNegInf: "-Infinity", decZero: "0", decInf: "Infinity", decNaN: "NaN"}; class != decNegative && class != decPositive {
		return Value{Kind: Decimal, Data: b.Copy([]byte(name[class]))}, p, nil
	}
	var flip byte
	if class == decNegative {
		flip = 0xFF
	}
	if len(p) < 4 {
		return Value{}, nil, errKey
	}
	end := 4 + bytes.IndexByte(p[4:], flip)
	if end < 5 { // no end, or no digits
		return Value{}, nil, errKey
	}
	exp := int64(binary.BigEndian.Uint32([]byte{p[0] ^ flip, p[1] ^ flip, p[2] ^ flip, p[3] ^ flip})) - expBias
	if exp > maxDecDigits || exp < -maxDecDigits {
		return Value{}, nil, errKey
	}
	digits := p[4:end]
	for _, c := range digits {
		if c ^= flip; c < '0' || c > '9' {
			return Value{}, nil, errKey
		}
	}
	if digits[0]^flip == '0' || digits[len(digits)-1]^flip == '0' { // not how AppendKey writes it
		return Value{}, nil, errKey
	}
	return Value{Kind: Decimal, Data: decimalText(b, digits, flip, int(exp))}, p[end+1:], nil
}

// scaled returns the text of a decimal with as many digits after the point, in b's memory; as it is if it has more, or is not finite.
func scaled(b *Batch, text []byte, scale int) []byte {
	point := bytes.IndexByte(text, '.')
	digits := len(text) - 1 - point
	if point < 0 {
		digits = 0
	}
	if last := text[len(text)-1]; digits >= scale || last < '0' || last > '9' {
		return text
	}
	out := append(b.Bytes(len(text) + 1 + scale)[:0], text...)
	if point < 0 {
		out = append(out, '.')
	}
	for range scale - digits {
		out = append(out, '0')
	}
	return out
}

// decimalText writes 0.DIGITS * 10^exp in b's memory. The digits are complemented, and the number is negative, if flip
// is not zero.
func decimalText(b *Batch, digits []byte, flip byte, exp int) []byte {
	lead, fill, point := 0, 0, exp // zeros before the digits, zeros after them, digits before the point
	switch {
	case exp <= 0:
		lead, point = 1-exp, 1
	case exp >= len(digits):
		fill, point = exp-len(digits), -1
	}
	n := lead + len(digits) + fill
	out := b.Bytes(n + 2)[:0]
	if flip != 0 {
		out = append(out, '-')
	}
	for i := range n {
		if i == point {
			out = append(out, '.')
		}
		if i >= lead && i < lead+len(digits) {
			out = append(out, digits[i-lead]^flip)
		} else {
			out = append(out, '0')
		}
	}
	return out
}

// KeyText writes a key tuple for people, as in error messages and dead letters: its values separated by commas. Bytes
// that are no tuple are shown in hexadecimal.
func KeyText(key []byte) string {
	var b Batch
	var out []byte
	for p := key; len(p) > 0; {
		v, rest, err := decodeKeyValue(&b, p)
		if err != nil {
			return fmt.Sprintf("%x", key)
		}
		if len(out) > 0 {
			out = append(out, ',')
		}
		switch v.Kind {
		case Null:
			out = append(out, "NULL"...)
		case Int, Date, Time, Timestamp, TimestampTZ:
			out = strconv.AppendInt(out, v.Int64(), 10)
		case Uint, Bool:
			out = strconv.AppendUint(out, v.Num, 10)
		case Float32, Float64:
			out = strconv.AppendFloat(out, v.Float(), 'g', -1, 64)
		case UUID, Bytes:
			out = fmt.Appendf(out, "%x", v.Data)
		default:
			out = append(out, v.Data...)
		}
		p = rest
	}
	return string(out)
}
