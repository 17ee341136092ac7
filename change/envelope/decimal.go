package envelope

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// maxInlineDigits is the most digits that an int64 is sure to hold.
const maxInlineDigits = 18

// appendDecimal appends a decimal by the handling mode of its column. It reports false, and appends nothing, if the mode
// has no form for it: NaN and infinities as precise decimals, more digits than the column's scale or a double can say.
func appendDecimal(dst []byte, t *change.Type, text []byte) ([]byte, bool) {
	switch t.Render {
	case change.RenderString:
		switch string(text) {
		case "NaN":
			return append(dst, `"NAN"`...), true
		case "Infinity":
			return append(dst, `"POSITIVE_INFINITY"`...), true
		case "-Infinity":
			return append(dst, `"NEGATIVE_INFINITY"`...), true
		}
		return jsontext.AppendString(dst, text), true
	case change.RenderDouble:
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil { // beyond a double: not Infinity
			return dst, false
		}
		return jsontext.AppendFloat64(dst, f), true
	}
	d, ok := parse(text)
	if !ok {
		return dst, false
	}
	if t.Kind == change.Decimal && t.Precision > 0 {
		zeros, ok := d.rescale(int(t.Scale))
		if !ok {
			return dst, false
		}
		return append(d.appendUnscaled(append(dst, '"'), zeros), '"'), true
	}
	d.frac = bytes.TrimRight(d.frac, "0")
	dst = strconv.AppendInt(append(dst, `{"scale":`...), int64(len(d.frac)), 10)
	return append(d.appendUnscaled(append(dst, `,"value":"`...), 0), '"', '}'), true
}

// appendMoney appends an amount of money as a decimal of the column's scale, rounded half away from zero if
// money.fraction.digits asks for fewer digits than it has.
func appendMoney(dst []byte, t *change.Type, text []byte) ([]byte, bool) {
	if t.Render != change.RenderDefault {
		return appendDecimal(dst, t, text)
	}
	d, ok := parse(text)
	if !ok {
		return dst, false
	}
	if zeros, ok := d.rescale(int(t.Scale)); ok {
		return append(d.appendUnscaled(append(dst, '"'), zeros), '"'), true
	}
	d, _ = parse(text)
	n, _ := new(big.Int).SetString(string(d.whole)+string(d.frac), 10)
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(d.frac))-int64(t.Scale)), nil)
	n.Add(n, new(big.Int).Rsh(unit, 1)).Quo(n, unit)
	rounded := number{negative: d.negative, whole: []byte(n.String())}
	return append(rounded.appendUnscaled(append(dst, '"'), 0), '"'), true
}

// appendUnsigned appends n as a decimal of scale 0.
func appendUnsigned(dst []byte, n uint64) []byte {
	var p [9]byte
	binary.BigEndian.PutUint64(p[1:], n)
	return append(jsontext.AppendBase64(append(dst, '"'), shortest(p[:])), '"')
}

// number is a finite decimal: its digits before and after the point.
type number struct {
	negative    bool
	whole, frac []byte
}

func parse(text []byte) (d number, ok bool) {
	if len(text) > 0 && text[0] == '-' {
		d.negative, text = true, text[1:]
	}
	d.whole = text
	if i := bytes.IndexByte(text, '.'); i >= 0 {
		d.whole, d.frac = text[:i], text[i+1:]
	}
	for _, c := range d.whole {
		if c < '0' || c > '9' {
			return d, false
		}
	}
	for _, c := range d.frac {
		if c < '0' || c > '9' {
			return d, false
		}
	}
	return d, len(d.whole) > 0
}

// rescale cuts d to scale digits after the point (before it, if scale is negative) and returns how many zeros are to
// follow its digits. It reports false if digits other than zero would be lost.
func (d *number) rescale(scale int) (zeros int, ok bool) {
	if scale >= len(d.frac) {
		return scale - len(d.frac), true
	}
	keep := max(scale, 0)
	lost := d.frac[keep:]
	d.frac = d.frac[:keep]
	if scale < 0 {
		n := max(len(d.whole)+scale, 0)
		if len(bytes.Trim(d.whole[n:], "0")) > 0 {
			return 0, false
		}
		d.whole = d.whole[:n]
	}
	return 0, len(bytes.Trim(lost, "0")) == 0
}

// appendUnscaled appends base64 of the digits with zeros after them, as the shortest big-endian two's complement.
func (d *number) appendUnscaled(dst []byte, zeros int) []byte {
	if len(d.whole)+len(d.frac)+zeros > maxInlineDigits {
		return d.appendBig(dst, zeros)
	}
	n := int64(0)
	for _, c := range d.whole {
		n = n*10 + int64(c-'0')
	}
	for _, c := range d.frac {
		n = n*10 + int64(c-'0')
	}
	for range zeros {
		n *= 10
	}
	if d.negative {
		n = -n
	}
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], uint64(n))
	return jsontext.AppendBase64(dst, shortest(p[:]))
}

// appendBig is appendUnscaled for numbers beyond int64. It allocates.
func (d *number) appendBig(dst []byte, zeros int) []byte {
	digits := append(append(append(make([]byte, 0, len(d.whole)+len(d.frac)+zeros), d.whole...), d.frac...), bytes.Repeat([]byte{'0'}, zeros)...)
	n, _ := new(big.Int).SetString(string(digits), 10)
	size := n.BitLen()/8 + 2 // room for a sign bit
	if d.negative {
		n.Sub(new(big.Int).Lsh(big.NewInt(1), uint(size)*8), n)
		if n.BitLen() > size*8 { // -0
			n.SetInt64(0)
		}
	}
	return jsontext.AppendBase64(dst, shortest(n.FillBytes(make([]byte, size))))
}

// shortest cuts leading bytes that only repeat the sign.
func shortest(p []byte) []byte {
	for len(p) > 1 && (p[0] == 0 && p[1] < 0x80 || p[0] == 0xFF && p[1] >= 0x80) {
		p = p[1:]
	}
	return p
}
