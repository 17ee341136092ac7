package binlog

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// newCharset builds a charset, nil if there is none of this name.
func newCharset(name string) *charset {
	switch name {
	case binaryCharset:
		return &charset{bytes: true}
	case "utf8mb4", "utf8mb3", "utf8":
		return &charset{utf8: true}
	case "ascii":
		return &charset{ascii: true, grow: 1, decode: func(dst, p []byte) ([]byte, bool) { return append(dst, p...), isASCII(p) }}
	case "ucs2":
		return &charset{grow: 2, decode: decodeUCS2}
	case "utf16":
		return &charset{grow: 2, decode: func(dst, p []byte) ([]byte, bool) { return decodeUTF16(dst, p, binary.BigEndian) }}
	case "utf16le":
		return &charset{grow: 2, decode: func(dst, p []byte) ([]byte, bool) { return decodeUTF16(dst, p, binary.LittleEndian) }}
	case "utf32":
		return &charset{grow: 1, decode: decodeUTF32}
	case "swe7":
		return &charset{grow: 2, decode: func(dst, p []byte) ([]byte, bool) { return decodeBytes(dst, p, swe7) }}
	case "gb18030":
		return &charset{grow: 2, ascii: true, decode: decodeGB18030}
	}
	if upper, ok := singleByte[name]; ok {
		table := [128]rune([]rune(upper))
		return &charset{grow: 3, ascii: true, decode: func(dst, p []byte) ([]byte, bool) {
			return decodeBytes(dst, p, func(c byte) rune {
				if c < 0x80 {
					return rune(c)
				}
				return table[c-0x80]
			})
		}}
	}
	if e := multiByte(name); e != nil {
		m := newMultiByte(name, e)
		return &charset{grow: 3, ascii: true, decode: m.decode}
	}
	return nil
}

// charsetWidth returns the bytes of a charset's longest character.
func charsetWidth(name string) int {
	switch name {
	case "utf8mb4", "utf16", "utf16le", "utf32", "gb18030":
		return 4
	case "utf8mb3", "utf8", "ujis", "eucjpms":
		return 3
	case "ucs2", "big5", "cp932", "sjis", "euckr", "gb2312", "gbk":
		return 2
	}
	return 1
}

func decodeBytes(dst, p []byte, of func(byte) rune) ([]byte, bool) {
	for _, c := range p {
		r := of(c)
		if r == utf8.RuneError {
			return dst, false
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}

func decodeUCS2(dst, p []byte) ([]byte, bool) {
	if len(p)%2 != 0 {
		return dst, false
	}
	for ; len(p) > 0; p = p[2:] {
		r := rune(binary.BigEndian.Uint16(p))
		if utf16.IsSurrogate(r) {
			return dst, false
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}

func decodeUTF16(dst, p []byte, order binary.ByteOrder) ([]byte, bool) {
	if len(p)%2 != 0 {
		return dst, false
	}
	for ; len(p) > 0; p = p[2:] {
		r := rune(order.Uint16(p))
		if utf16.IsSurrogate(r) {
			if len(p) < 4 {
				return dst, false
			}
			pair := utf16.DecodeRune(r, rune(order.Uint16(p[2:])))
			if pair == utf8.RuneError {
				return dst, false
			}
			r, p = pair, p[2:]
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}

func decodeUTF32(dst, p []byte) ([]byte, bool) {
	if len(p)%4 != 0 {
		return dst, false
	}
	for ; len(p) > 0; p = p[4:] {
		r := binary.BigEndian.Uint32(p)
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return dst, false
		}
		dst = utf8.AppendRune(dst, rune(r))
	}
	return dst, true
}

// multiByte returns the encoding that golang.org/x/text has.
func multiByte(name string) encoding.Encoding {
	switch name {
	case "gbk", "gb2312":
		return simplifiedchinese.GBK
	case "big5":
		return traditionalchinese.Big5
	case "euckr":
		return korean.EUCKR
	case "sjis", "cp932":
		return japanese.ShiftJIS
	case "ujis", "eucjpms":
		return japanese.EUCJP
	}
	return nil
}

// multiByteTable holds the characters of a charset of one to three bytes: 0 where there is none.
type multiByteTable struct {
	single [128]rune     // of the bytes 0x80 to 0xFF that stand alone
	double [1 << 15]rune // of pairs, by the first byte less 0x80, and the second
	triple []rune        // of pairs behind 0x8F, in the charsets of EUC for Japanese
}

func newMultiByte(name string, e encoding.Encoding) *multiByteTable {
	t := &multiByteTable{}
	dec := e.NewDecoder()
	one := func(p ...byte) rune {
		var dst [8]byte
		dec.Reset()
		n, used, err := dec.Transform(dst[:], p, true)
		r, size := utf8.DecodeRune(dst[:n])
		if err != nil || used != len(p) || size != n || r == utf8.RuneError {
			return 0
		}
		return r
	}
	for a := range t.single {
		t.single[a] = one(byte(a + 0x80))
		if t.single[a] != 0 {
			continue
		}
		for b := 0x30; b < 0x100; b++ {
			t.double[a<<8|b] = one(byte(a+0x80), byte(b))
		}
	}
	if name == "ujis" || name == "eucjpms" {
		t.triple = make([]rune, 1<<15)
		for a := 0xA1; a < 0xFF; a++ {
			for b := 0xA1; b < 0xFF; b++ {
				t.triple[(a-0x80)<<8|b] = one(0x8F, byte(a), byte(b))
			}
		}
	}
	return t
}

func (t *multiByteTable) decode(dst, p []byte) ([]byte, bool) {
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c < 0x80 {
			dst = append(dst, c)
			continue
		}
		r := t.single[c-0x80]
		switch {
		case r != 0:
		case c == 0x8F && t.triple != nil:
			if i+2 >= len(p) || p[i+1] < 0x80 {
				return dst, false
			}
			r = t.triple[int(p[i+1]-0x80)<<8|int(p[i+2])]
			i += 2
		case i+1 < len(p):
			r = t.double[int(c-0x80)<<8|int(p[i+1])]
			i++
		}
		if r == 0 {
			return dst, false
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}

// decodeGB18030 uses the decoder of golang.org/x/text as it is. It writes U+FFFD for what it can't read, which is also
// a character of the charset with bytes of its own.
func decodeGB18030(dst, p []byte) ([]byte, bool) {
	dec := simplifiedchinese.GB18030.NewDecoder()
	start, at := len(dst), 0
	for at < len(p) {
		var room [256]byte
		n, used, _ := dec.Transform(room[:], p[at:], true)
		if used == 0 {
			return dst, false
		}
		dst, at = append(dst, room[:n]...), at+used
	}
	replaced := 0
	for _, r := range string(dst[start:]) {
		if r == utf8.RuneError {
			replaced++
		}
	}
	for i := 0; i+4 <= len(p) && replaced > 0; i++ {
		if [4]byte(p[i:]) == [4]byte{0x84, 0x31, 0xA4, 0x37} {
			replaced--
		}
	}
	return dst, replaced == 0
}
