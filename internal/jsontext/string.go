package jsontext

import "encoding/binary"

const hexDigits = "0123456789ABCDEF"

// AppendString appends s as a JSON string. It escapes the quotation mark, the backslash and control characters below
// U+0020 and nothing else. A byte that is not part of valid UTF-8 becomes \udcXX, see the package comment.
func AppendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	n := plain(s)
	dst = append(dst, s[:n]...)
	if n < len(s) {
		dst = appendEscaped(dst, s[n:])
	}
	return append(dst, '"')
}

// AppendText is AppendString for a string.
func AppendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	n := len(dst)
	dst = append(dst, s...)
	if i := plain(dst[n:]); i < len(s) {
		dst = appendEscaped(dst[:n+i], s[i:])
	}
	return append(dst, '"')
}

// AppendKey appends name as an object key: the string and a colon. Separating commas are the caller's.
func AppendKey(dst []byte, name string) []byte {
	return append(AppendText(dst, name), ':')
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns the length of the longest prefix of s that needs no escape and no look at UTF-8, or less: it looks at
// eight bytes at a time.
func plain(s []byte) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := binary.LittleEndian.Uint64(s[i:])
		quote, slash := x^('"'*ones), x^('\\'*ones)
		// A byte of x is below 0x20, or zero in quote or slash, or has its high bit set. Borrows can only report too
		// much, in bytes above a true hit.
		if ((x-0x20*ones)|(quote-ones)|(slash-ones)|x)&highs != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			break
		}
	}
	return i
}

// appendEscaped appends s with its escapes, without quotation marks.
func appendEscaped[T []byte | string](dst []byte, s T) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x80 {
			i++
			continue
		}
		if c >= 0x80 {
			if n := sequence(s, i); n > 0 {
				i += n
				continue
			}
		}
		dst = append(dst, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, '\\', 'u', 'd', 'c', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(dst, s[from:]...)
}

// sequence returns the length of the UTF-8 sequence of two to four bytes at s[i], 0 if there is no valid one.
func sequence[T []byte | string](s T, i int) int {
	c, left := s[i], len(s)-i
	if left < 2 {
		return 0
	}
	lo, hi := byte(0x80), byte(0xBF) // what the second byte may be
	n := 0
	switch {
	case c >= 0xC2 && c <= 0xDF:
		n = 2
	case c >= 0xE0 && c <= 0xEF:
		n = 3
		if c == 0xE0 {
			lo = 0xA0
		} else if c == 0xED {
			hi = 0x9F // surrogates
		}
	case c >= 0xF0 && c <= 0xF4:
		n = 4
		if c == 0xF0 {
			lo = 0x90
		} else if c == 0xF4 {
			hi = 0x8F // above U+10FFFF
		}
	}
	if n == 0 || left < n || s[i+1] < lo || s[i+1] > hi {
		return 0
	}
	for j := 2; j < n; j++ {
		if s[i+j]&0xC0 != 0x80 {
			return 0
		}
	}
	return n
}
