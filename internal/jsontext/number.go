package jsontext

import (
	"bytes"
	"math"
	"strconv"
)

// AppendFloat64 appends f the way Java's Double.toString prints it, which is how Debezium's JSON shows a double: 1.0,
// 1.0E10, 4.9E-324; NaN and the infinities as the strings "NaN", "Infinity" and "-Infinity".
func AppendFloat64(dst []byte, f float64) []byte { return appendJava(dst, f, 64) }

// AppendFloat32 is AppendFloat64 for Java's Float.toString.
func AppendFloat32(dst []byte, f float32) []byte { return appendJava(dst, float64(f), 32) }

// AppendShortest appends the shortest number that reads back as f, a float of 32 or 64 bits: 1, 0.1, 1e+22; NaN and
// the infinities as strings. The exponent form begins below 1e-6 and at 1e21, as in ECMAScript.
func AppendShortest(dst []byte, f float64, bits int) []byte {
	if s := notFinite(f); s != "" {
		return append(append(append(dst, '"'), s...), '"')
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

func notFinite(f float64) string {
	switch {
	case f != f:
		return "NaN"
	case f > math.MaxFloat64:
		return "Infinity"
	case f < -math.MaxFloat64:
		return "-Infinity"
	}
	return ""
}

// appendJava follows the specification of Double.toString: plain notation from 1e-3 up to 1e7, else d.dddE±n; at least
// one digit after the point; as few digits as read back the same, but the two closest ones where one would do.
func appendJava(dst []byte, f float64, bits int) []byte {
	if s := notFinite(f); s != "" {
		return append(append(append(dst, '"'), s...), '"')
	}
	a := math.Abs(f)
	if a == 0 || a >= 1e-3 && a < 1e7 {
		n := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
		if bytes.IndexByte(dst[n:], '.') < 0 {
			dst = append(dst, '.', '0')
		}
		return dst
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	e := n + bytes.IndexByte(dst[n:], 'e')
	if bytes.IndexByte(dst[n:e], '.') < 0 {
		dst = strconv.AppendFloat(dst[:n], f, 'e', 1, bits)
		e = n + bytes.IndexByte(dst[n:], 'e')
	}
	// Go prints e-07 and e+10, Java E-7 and E10.
	dst[e] = 'E'
	w := e + 1
	r := w
	if dst[r] == '-' {
		w++
	}
	r++
	for r < len(dst)-1 && dst[r] == '0' {
		r++
	}
	return dst[:w+copy(dst[w:], dst[r:])]
}

// AppendDecimal appends the text of a decimal as a JSON number with all its digits. Text that is not a JSON number
// ("NaN", "Infinity") is appended as a string.
func AppendDecimal(dst, text []byte) []byte {
	if number(text, 0) == len(text) && len(text) > 0 {
		return append(dst, text...)
	}
	return AppendString(dst, text)
}

// number returns the index after the JSON number that begins at p[i], or -1 if none does.
func number(p []byte, i int) int {
	if i < len(p) && p[i] == '-' {
		i++
	}
	switch {
	case i >= len(p) || p[i] < '0' || p[i] > '9':
		return -1
	case p[i] == '0':
		i++
	default:
		i = digits(p, i)
	}
	if i < len(p) && p[i] == '.' {
		n := digits(p, i+1)
		if n == i+1 {
			return -1
		}
		i = n
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		i++
		if i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		n := digits(p, i)
		if n == i {
			return -1
		}
		i = n
	}
	return i
}

func digits(p []byte, i int) int {
	for i < len(p) && p[i] >= '0' && p[i] <= '9' {
		i++
	}
	return i
}

// TrimDecimal returns the part of p, the canonical text of a decimal, that all equal decimals share: without the zeros at the end
// of its fraction, and without the sign of zero. The result is part of p.
func TrimDecimal(p []byte) []byte {
	if bytes.IndexByte(p, '.') >= 0 {
		p = bytes.TrimRight(p, "0")
		p = bytes.TrimSuffix(p, []byte{'.'})
	}
	if len(p) == 2 && p[0] == '-' && p[1] == '0' {
		p = p[1:]
	}
	return p
}
