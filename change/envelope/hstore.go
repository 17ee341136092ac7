package envelope

import (
	"cmp"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tailrace/tailrace/internal/jsontext"
)

// pair is a key of an hstore with its value. They are parts of scratch.
type pair struct {
	key, value part
	null       bool
	hash       uint32
}

// part is a range of a byte slice.
type part struct{ from, to int }

// appendHStore appends an hstore, as PostgreSQL writes it ("a"=>"1", "b"=>NULL), as an object, inside of a string if
// asText. Its members stand in the order of Java's HashMap, in which Debezium has them.
func (enc *Encoder) appendHStore(dst, p []byte, asText bool) ([]byte, bool) {
	enc.pairs, enc.scratch = enc.pairs[:0], enc.scratch[:0]
	for len(p) > 0 {
		var e pair
		var ok bool
		if e.key, p, ok = enc.quoted(p); !ok || len(p) < 3 || p[0] != '=' || p[1] != '>' {
			return dst, false
		}
		p = p[2:]
		if len(p) >= 4 && string(p[:4]) == "NULL" {
			e.null, p = true, p[4:]
		} else if e.value, p, ok = enc.quoted(p); !ok {
			return dst, false
		}
		e.hash = javaHash(enc.scratch[e.key.from:e.key.to])
		enc.pairs = append(enc.pairs, e)
		if len(p) > 0 {
			if len(p) < 3 || p[0] != ',' || p[1] != ' ' {
				return dst, false
			}
			p = p[2:]
		}
	}
	mask := uint32(tableSize(len(enc.pairs)) - 1)
	slices.SortStableFunc(enc.pairs, func(a, b pair) int { return cmp.Compare(a.hash&mask, b.hash&mask) })
	start := len(dst)
	dst = append(dst, '{')
	for i := range enc.pairs {
		e := &enc.pairs[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsontext.AppendString(dst, enc.scratch[e.key.from:e.key.to]), ':')
		if e.null {
			dst = append(dst, "null"...)
		} else {
			dst = jsontext.AppendString(dst, enc.scratch[e.value.from:e.value.to])
		}
	}
	dst = append(dst, '}')
	if !asText {
		return dst, true
	}
	end := len(dst)
	dst = jsontext.AppendString(dst, dst[start:end])
	return dst[:start+copy(dst[start:], dst[end:])], true
}

// quoted reads a string in quotation marks into scratch.
func (enc *Encoder) quoted(p []byte) (s part, rest []byte, ok bool) {
	if len(p) < 2 || p[0] != '"' {
		return s, p, false
	}
	s.from = len(enc.scratch)
	for i := 1; i < len(p); i++ {
		switch p[i] {
		case '"':
			s.to = len(enc.scratch)
			return s, p[i+1:], true
		case '\\':
			if i++; i == len(p) {
				return s, p, false
			}
		}
		enc.scratch = append(enc.scratch, p[i])
	}
	return s, p, false
}

// javaHash is String.hashCode with the high bits folded in, as java.util.HashMap does.
func javaHash(s []byte) uint32 {
	h := uint32(0)
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		s = s[n:]
		if r >= 0x10000 {
			hi, lo := utf16.EncodeRune(r)
			h = (h*31+uint32(hi))*31 + uint32(lo)
			continue
		}
		h = h*31 + uint32(r)
	}
	return h ^ h>>16
}

// tableSize is the number of buckets of a HashMap of n entries: a power of two, at least 16, at most three quarters full.
func tableSize(n int) int {
	size := 16
	for size*3/4 < n {
		size *= 2
	}
	return size
}
