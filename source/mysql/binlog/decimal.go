package binlog

import "strconv"

const (
	digitsPerWord = 9
	maxDecimal    = 84 // sign, 65 digits, point, and those of a word that a damaged value may have too many
	maxPrecision  = 65
	maxScale      = 38 // MariaDB; MySQL has 30
)

// wordSize is the number of bytes that hold 0 to 9 decimal digits.
const wordSize = "\x00\x01\x01\x02\x02\x03\x03\x04\x04\x04"

// decimalSize returns the bytes of a stored DECIMAL(precision, scale), -1 if there can be no such type.
func decimalSize(precision, scale int) int {
	if precision < 1 || precision > maxPrecision || scale > maxScale || scale > precision {
		return -1
	}
	whole := precision - scale
	return whole/digitsPerWord*4 + int(wordSize[whole%digitsPerWord]) + scale/digitsPerWord*4 + int(wordSize[scale%digitsPerWord])
}

// appendDecimal appends a stored DECIMAL(precision, scale) as the server prints it: all digits of the scale, no leading
// zeros. Words of nine digits are big endian, those with the rest are at both ends; the sign bit is inverted, and
// negative values have all their bits inverted.
func appendDecimal(dst, p []byte, precision, scale int) ([]byte, bool) {
	if len(p) == 0 || len(p) != decimalSize(precision, scale) {
		return dst, false
	}
	invert := byte(0)
	if p[0]&0x80 == 0 {
		invert = 0xFF
		dst = append(dst, '-')
	}
	off, ok := 0, true
	word := func(n int) uint64 {
		v := uint64(0)
		for range n {
			c := p[off] ^ invert
			if off == 0 {
				c ^= 0x80
			}
			v = v<<8 | uint64(c)
			off++
		}
		return v
	}
	start := len(dst)
	digits := func(n int) {
		v := word(int(wordSize[n]))
		if ok = ok && v < powers(n); !ok {
			return
		}
		if len(dst) == start { // no leading zeros
			if v != 0 {
				dst = strconv.AppendUint(dst, v, 10)
			}
			return
		}
		dst = appendDigits(dst, v, n)
	}
	whole := precision - scale
	digits(whole % digitsPerWord)
	for range whole / digitsPerWord {
		digits(digitsPerWord)
	}
	if len(dst) == start {
		dst = append(dst, '0')
	}
	if scale > 0 {
		dst = append(dst, '.')
		for range scale / digitsPerWord {
			digits(digitsPerWord)
		}
		digits(scale % digitsPerWord)
	}
	return dst, ok
}

func powers(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

// appendDigits appends n digits of v with leading zeros.
func appendDigits(dst []byte, v uint64, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; v > 0 && n > 0; i, n = i-1, n-1 {
		dst[i] = '0' + byte(v%10)
		v /= 10
	}
	return dst
}
