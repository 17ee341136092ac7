package binlog

import (
	"bufio"
	"compress/zlib"
	"embed"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
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
		return &charset{grow: 2, ascii: true, decode: decodeGB18030(newMultiByte(name))}
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
	if m := newMultiByte(name); m != nil {
		return &charset{grow: 3, ascii: true, decode: m.decode}
	}
	return nil
}

// CharsetWidth returns the bytes of the longest character of a charset, 1 for one that is unknown.
func CharsetWidth(name string) int {
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

// charsetFiles has a table of each charset of two or three bytes, as a server has it: pairs of varints, the bytes as a
// big-endian number and the character, each as the difference to the pair before, compressed by zlib. Encodings of
// the same names elsewhere have other characters for some bytes. A test writes them from a live server, or checks them.
//
//go:embed charsets/*.z
var charsetFiles embed.FS

// multiByteTable holds the characters of a charset of one to three bytes: 0 where there is none.
type multiByteTable struct {
	single [128]rune     // of the bytes 0x80 to 0xFF that stand alone
	double [1 << 15]rune // of pairs, by the first byte less 0x80, and the second
	triple []rune        // of pairs behind 0x8F, in the charsets of EUC for Japanese
}

const eucThree = 0x8F // the first byte of three

// newMultiByte reads the table of a charset, nil if there is no such.
func newMultiByte(name string) *multiByteTable {
	f, err := charsetFiles.Open("charsets/" + name + ".z")
	if err != nil {
		return nil
	}
	z, err := zlib.NewReader(f)
	if err != nil {
		return nil
	}
	in := bufio.NewReader(z)
	t := &multiByteTable{}
	if name == "ujis" || name == "eucjpms" {
		t.triple = make([]rune, 1<<15)
	}
	code, char := uint64(0), int64(0)
	for {
		step, err := binary.ReadUvarint(in)
		if err != nil {
			return t
		}
		move, err := binary.ReadVarint(in)
		if err != nil {
			return nil
		}
		code, char = code+step, char+move
		switch pair := code & (1<<15 - 1); {
		case code < 1<<8:
			t.single[code-0x80] = rune(char)
		case code < 1<<16:
			t.double[pair] = rune(char)
		default:
			t.triple[pair] = rune(char)
		}
	}
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
		case c == eucThree && t.triple != nil:
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

// decodeGB18030 decodes a charset whose characters of two bytes are in t, and those of four in golang.org/x/text.
func decodeGB18030(t *multiByteTable) func(dst, p []byte) ([]byte, bool) {
	dec, char := simplifiedchinese.GB18030.NewDecoder(), make([]byte, utf8.UTFMax)
	return func(dst, p []byte) ([]byte, bool) {
		for len(p) > 0 {
			switch {
			case p[0] < 0x80:
				dst, p = append(dst, p[0]), p[1:]
			case len(p) < 2:
				return dst, false
			case p[1] >= 0x40:
				r := t.double[int(p[0]-0x80)<<8|int(p[1])]
				if r == 0 {
					return dst, false
				}
				dst, p = utf8.AppendRune(dst, r), p[2:]
			case len(p) < 4:
				return dst, false
			case [4]byte(p) == [4]byte{0x81, 0x35, 0xF4, 0x37}:
				dst, p = utf8.AppendRune(dst, 0xE7C7), p[4:] // the server's is of the year 2005; it became U+1E3F later
			default:
				n, used, err := dec.Transform(char, p[:4], true)
				if err != nil || used != 4 || string(char[:n]) == "\uFFFD" && [4]byte(p) != [4]byte{0x84, 0x31, 0xA4, 0x37} {
					return dst, false
				}
				dst, p = append(dst, char[:n]...), p[4:]
			}
		}
		return dst, true
	}
}
