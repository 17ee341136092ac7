package jsontext

import "bytes"

// Token is what [Array.Next] found.
type Token uint8

// The tokens of an array text.
const (
	ArrayEnd   Token = iota // the text is complete
	ArrayOpen               // {
	ArrayClose              // }
	ArrayElem               // an element: Raw, Escaped
	ArrayNull               // an element that is NULL
	ArrayBad                // the text is no array; every further Next says so again
)

// maxDims bounds the depth of an array; PostgreSQL allows 6 dimensions.
const maxDims = 16

// Array walks over the text of a PostgreSQL array, {1,NULL,"a b"}, after its optional bounds ([0:1]=). It is a value
// to be kept on the stack and allocates nothing.
type Array struct {
	// Raw is the text of an element without its quotation marks, part of the array's text. If Escaped, it still has
	// backslashes: AppendElem gives it without them.
	Raw     []byte
	Escaped bool

	text  []byte
	pos   int
	depth int
	state arrayState
}

type arrayState uint8

const (
	wantValue  arrayState = iota // at the start and after a comma
	wantFirst                    // after {
	afterValue                   // after an element or }
	broken
)

// NewArray starts at the first brace of text.
func NewArray(text []byte) Array {
	a := Array{text: text}
	if len(text) > 0 && text[0] == '[' {
		if i := bytes.IndexByte(text, '='); i > 0 {
			a.pos = i + 1
		}
	}
	return a
}

// Next returns the next token.
func (a *Array) Next() Token {
	a.Raw, a.Escaped = nil, false
	for a.state != broken {
		if a.pos == len(a.text) {
			if a.state == afterValue && a.depth == 0 {
				return ArrayEnd
			}
			break
		}
		c := a.text[a.pos]
		switch {
		case a.depth == 0 && (a.state == afterValue || c != '{'):
			return a.bad()
		case c == '{' && a.state != afterValue && a.depth < maxDims:
			a.pos, a.depth, a.state = a.pos+1, a.depth+1, wantFirst
			return ArrayOpen
		case c == '}' && a.state != wantValue:
			a.pos, a.depth, a.state = a.pos+1, a.depth-1, afterValue
			return ArrayClose
		case c == ',' && a.state == afterValue:
			a.pos, a.state = a.pos+1, wantValue
		case a.state == afterValue || c == '{' || c == '}' || c == ',':
			return a.bad()
		case c == '"':
			return a.quoted()
		default:
			return a.bare()
		}
	}
	return a.bad()
}

func (a *Array) bad() Token {
	a.state = broken
	return ArrayBad
}

func (a *Array) quoted() Token {
	start := a.pos + 1
	for i := start; i < len(a.text); i++ {
		switch a.text[i] {
		case '\\':
			a.Escaped = true
			i++
		case '"':
			a.Raw, a.pos, a.state = a.text[start:i], i+1, afterValue
			return ArrayElem
		}
	}
	return a.bad()
}

func (a *Array) bare() Token {
	i := a.pos
	for i < len(a.text) && a.text[i] != ',' && a.text[i] != '}' {
		switch a.text[i] {
		case '{', '"':
			return a.bad()
		case '\\':
			if i+1 == len(a.text) {
				return a.bad()
			}
			a.Escaped = true
			i++
		}
		i++
	}
	a.Raw, a.pos, a.state = a.text[a.pos:i], i, afterValue
	if !a.Escaped && len(a.Raw) == 4 && bytes.EqualFold(a.Raw, []byte("null")) {
		return ArrayNull
	}
	return ArrayElem
}

// AppendElem appends the text of the present element without backslashes.
func (a *Array) AppendElem(dst []byte) []byte {
	if !a.Escaped {
		return append(dst, a.Raw...)
	}
	for i := 0; i < len(a.Raw); i++ {
		if a.Raw[i] == '\\' && i+1 < len(a.Raw) {
			i++
		}
		dst = append(dst, a.Raw[i])
	}
	return dst
}
