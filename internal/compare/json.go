package compare

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// errJSON is the error of text that is not JSON.
var errJSON = errors.New("malformed JSON")

// blank returns p without white space at its start.
func blank(p []byte) []byte { return bytes.TrimLeft(p, " \t\r\n") }

// element splits p into the text of the JSON value that it begins with and what follows it. It checks the nesting but not
// the spelling of literals.
func element(p []byte) (value, rest []byte, err error) {
	p = blank(p)
	depth := 0
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '"':
			end := closing(p[i+1:])
			if end < 0 {
				return nil, nil, errJSON
			}
			i += end + 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
			if depth < 0 {
				return nil, nil, errJSON
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return nil, nil, errJSON
			}
			continue
		default: // the rest of a literal
			for i+1 < len(p) && !bytes.ContainsRune([]byte(",:]}[{\" \t\r\n"), rune(p[i+1])) {
				i++
			}
		}
		if depth == 0 {
			return p[:i+1], p[i+1:], nil
		}
	}
	return nil, nil, errJSON
}

// closing returns the index of the quotation mark that ends a string whose content p begins with, -1 if there is none.
func closing(p []byte) int {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// object calls visit for each member of a JSON object, with the text of its value. name is valid during the call.
func object(p []byte, visit func(name, value []byte) error) error {
	p = blank(p)
	if len(p) == 0 || p[0] != '{' {
		return fmt.Errorf("%w: no object: %.40q", errJSON, p)
	}
	p = blank(p[1:])
	if len(p) > 0 && p[0] == '}' {
		return nil
	}
	for {
		name, rest, err := element(p)
		if err != nil || name[0] != '"' {
			return errJSON
		}
		if rest = blank(rest); len(rest) == 0 || rest[0] != ':' {
			return errJSON
		}
		value, rest, err := element(rest[1:])
		if err != nil {
			return err
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			name, err = unquote(name)
		} else {
			name = name[1 : len(name)-1]
		}
		if err == nil {
			err = visit(name, value)
		}
		if err != nil {
			return err
		}
		rest = blank(rest)
		if len(rest) == 0 || rest[0] != ',' {
			if len(rest) > 0 && rest[0] == '}' {
				return nil
			}
			return errJSON
		}
		p = rest[1:]
	}
}

// array calls visit for each element of a JSON array.
func array(p []byte, visit func(value []byte) error) error {
	p = blank(p)
	if len(p) == 0 || p[0] != '[' {
		return fmt.Errorf("%w: no array: %.40q", errJSON, p)
	}
	p = blank(p[1:])
	if len(p) > 0 && p[0] == ']' {
		return nil
	}
	for {
		value, rest, err := element(p)
		if err == nil {
			err = visit(value)
		}
		if err != nil {
			return err
		}
		rest = blank(rest)
		if len(rest) == 0 || rest[0] != ',' {
			if len(rest) > 0 && rest[0] == ']' {
				return nil
			}
			return errJSON
		}
		p = rest[1:]
	}
}

// unquote returns the bytes that a JSON string stands for. A lone low surrogate \udc80 to \udcff is the byte that Tailrace
// writes so because it is not UTF-8; any other lone surrogate is an error.
func unquote(p []byte) ([]byte, error) {
	if len(p) < 2 || p[0] != '"' || p[len(p)-1] != '"' {
		return nil, fmt.Errorf("%w: no string: %.40q", errJSON, p)
	}
	p = p[1 : len(p)-1]
	if bytes.IndexByte(p, '\\') < 0 {
		return p, nil
	}
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' {
			out = append(out, p[i])
			continue
		}
		if i++; i == len(p) {
			return nil, errJSON
		}
		switch p[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(p[i+1:])
			if !ok {
				return nil, errJSON
			}
			i += 4
			switch {
			case r >= 0xdc80 && r <= 0xdcff:
				out = append(out, byte(r))
			case utf16.IsSurrogate(r):
				if i+2 >= len(p) || p[i+1] != '\\' || p[i+2] != 'u' {
					return nil, errJSON
				}
				low, ok := hex4(p[i+3:])
				pair := utf16.DecodeRune(r, low)
				if !ok || pair == utf8.RuneError {
					return nil, errJSON
				}
				out = utf8.AppendRune(out, pair)
				i += 6
			default:
				out = utf8.AppendRune(out, r)
			}
		case '"', '\\', '/':
			out = append(out, p[i])
		default:
			return nil, errJSON
		}
	}
	return out, nil
}

// hex4 reads four hexadecimal digits.
func hex4(p []byte) (rune, bool) {
	if len(p) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range p[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// compact appends a JSON document without the white space between its tokens.
func compact(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := i + closing(p[i+1:]) + 2
			if end < i+2 {
				return append(dst, p[i:]...)
			}
			dst = append(dst, p[i:end]...)
			i = end - 1
		default:
			dst = append(dst, p[i])
		}
	}
	return dst
}
