package binlog

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

// A partial update of a JSON column (binlog_row_value_options=PARTIAL_JSON) has, in the place of the new value, what is to be
// changed in the old one, which the before image has. Each step is
//
//	operation (1 byte) | length, path ($.a[1]."b c") | length, value as a column stores it (but for a removal)
//
// and works on what the steps before it have made. (Fact: sql-common/json_diff.cc in MySQL.)

// Operations of a step.
const (
	diffReplace = 0 // the value at the path
	diffInsert  = 1 // a member, or an element before the one at the path
	diffRemove  = 2
)

// partial is what a row of a partial update has besides its new image.
type partial struct {
	bits   []byte     // of the table's JSON columns, those that have steps
	before change.Row // the old image
}

// has reports whether the value of a column is made of steps.
func (d *partial) has(f *field) bool {
	return d != nil && f.form == formJSON && d.bits[f.prec>>3]>>(f.prec&7)&1 != 0
}

// errNoBefore says that a value can't be made of its steps.
var errNoBefore = errors.New("the row event has the changed parts of a JSON value alone, without the value that they change")

// patch makes a value of the one in the before image and the steps in p.
func (l *Layout) patch(d *partial, f *field, p []byte, b *change.Batch, v *change.Value) error {
	if f.target >= len(d.before) || d.before[f.target].Kind != change.JSON {
		return errNoBefore
	}
	text := append([]byte(nil), d.before[f.target].Data...)
	old := l.table.format.version < 80000
	for r := (reader{p: p}); r.left() > 0; {
		op, path := r.byte(), r.bytes(r.length())
		var value []byte
		if op != diffRemove {
			value = r.bytes(r.length())
		}
		if r.reason != "" {
			return errors.New(r.reason)
		}
		if op != diffRemove {
			var err error
			if value, err = appendJSON(l.scratch.take(), value, old); err != nil {
				return err
			}
		}
		var ok bool
		if text, ok = patchJSON(text, op, path, value); !ok {
			return fault.Permanentf("PARTIAL_JSON", partialRemedy, "a partial update of %s.%s does not fit to the value that it changes: operation %d at %.200q",
				l.table.Schema, l.table.Table, op, path)
		}
		l.scratch.keep(value)
	}
	v.Kind, v.Data = change.JSON, b.Copy(text)
	return nil
}

const partialRemedy = "run SET GLOBAL binlog_row_image = 'FULL' or SET GLOBAL binlog_row_value_options = '', have sessions set them no otherwise, and reset the " +
	"connector's offsets to take a new snapshot"

// span is a piece of a document's text: a value, or a member with its key.
type span struct {
	start, end int
	value      int // where the value begins
}

// patchJSON does one step on the text of a document, as the server prints it. It returns the new text, which may share memory with the
// old one.
func patchJSON(text []byte, op byte, path, value []byte) ([]byte, bool) {
	legs, ok := jsonPath(path)
	if !ok {
		return nil, false
	}
	end, ok := skipJSON(text, 0)
	at := span{end: end}
	if !ok || len(legs) == 0 && op != diffReplace {
		return nil, false
	}
	for i := range legs {
		leg := &legs[i]
		if op == diffReplace && leg.wraps(text[at.value]) {
			continue // [0] of what is no array is that itself
		}
		list, ok := contents(text, at.value, leg.key != nil)
		if !ok {
			return nil, false
		}
		n, found := leg.find(text, list)
		if op == diffInsert && i == len(legs)-1 {
			return insertJSON(text, at, list, n, leg, value), leg.key == nil || !found
		}
		if !found {
			return nil, false
		}
		if op == diffRemove && i == len(legs)-1 {
			return removeJSON(text, list, n), true
		}
		at = list[n]
	}
	return splice(text, at.value, at.end, value), true
}

// splice replaces a piece of text.
func splice(text []byte, start, end int, parts ...[]byte) []byte {
	dst := append(make([]byte, 0, len(text)+len(parts[0])+8), text[:start]...)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return append(dst, text[end:]...)
}

// insertJSON puts a value before the one with number n of a container's contents.
func insertJSON(text []byte, at span, list []span, n int, leg *jsonLeg, value []byte) []byte {
	var key []byte
	if leg.key != nil {
		j := jsonText{}
		j.quote(leg.key)
		key = append(j.dst, ": "...)
	}
	switch {
	case len(list) == 0:
		return splice(text, at.value+1, at.value+1, key, value)
	case n == len(list):
		end := list[n-1].end
		return splice(text, end, end, []byte(", "), key, value)
	}
	return splice(text, list[n].start, list[n].start, key, value, []byte(", "))
}

func removeJSON(text []byte, list []span, n int) []byte {
	start, end := list[n].start, list[n].end
	switch {
	case n > 0:
		start = list[n-1].end
	case len(list) > 1:
		end = list[1].start
	}
	return append(text[:start:start], text[end:]...)
}

// A jsonLeg is one step of a path: the member of a key, or where that is nil the element of a number.
type jsonLeg struct {
	key   []byte
	index int
}

// wraps reports whether the leg, applied to a value that begins with c, is that value.
func (g *jsonLeg) wraps(c byte) bool { return g.key == nil && g.index == 0 && c != '[' }

// find returns the number of what the leg means among the contents of a container, or the place where it would have to be.
func (g *jsonLeg) find(text []byte, list []span) (n int, found bool) {
	if g.key == nil {
		return min(g.index, len(list)), g.index < len(list)
	}
	var name []byte
	for n = range list {
		s := &list[n]
		end, _ := skipString(text, s.start)
		name = unquoteJSON(name[:0], text[s.start+1:end-1])
		if c := compareKeys(name, g.key); c >= 0 {
			return n, c == 0
		}
	}
	return len(list), false
}

// compareKeys orders keys as the server does in objects: shorter ones first.
func compareKeys(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}

// jsonPath takes apart $.name."any name"[12].
func jsonPath(p []byte) ([]jsonLeg, bool) {
	if len(p) == 0 || p[0] != '$' {
		return nil, false
	}
	var legs []jsonLeg
	for i := skipBlanks(p, 1); i < len(p); i = skipBlanks(p, i) {
		switch p[i] {
		case '[':
			n := bytes.IndexByte(p[i:], ']')
			if n < 0 {
				return nil, false
			}
			index, err := strconv.ParseUint(string(bytes.TrimSpace(p[i+1:i+n])), 10, 31)
			if err != nil {
				return nil, false
			}
			legs = append(legs, jsonLeg{index: int(index)})
			i += n + 1
		case '.':
			i = skipBlanks(p, i+1)
			start, end, quoted := i, i, i < len(p) && p[i] == '"'
			if quoted {
				var ok bool
				if i, ok = skipString(p, i); !ok {
					return nil, false
				}
				start, end = start+1, i-1
			} else {
				for i < len(p) && p[i] != '.' && p[i] != '[' && p[i] != ' ' {
					i++
				}
				end = i
			}
			legs = append(legs, jsonLeg{key: unquoteJSON([]byte{}, p[start:end])})
		default:
			return nil, false
		}
	}
	return legs, true
}

// contents returns the members of the object, or the elements of the array, that begins at i.
func contents(text []byte, i int, object bool) ([]span, bool) {
	closing := byte(']')
	if object {
		closing = '}'
	}
	if i >= len(text) || text[i] != closing-2 { // { and }, [ and ] are two apart
		return nil, false
	}
	var list []span
	for i = skipBlanks(text, i+1); i < len(text) && text[i] != closing; {
		s := span{start: i, value: i}
		ok := true
		if object {
			if i, ok = skipString(text, i); !ok {
				return nil, false
			}
			if i = skipBlanks(text, i); i >= len(text) || text[i] != ':' {
				return nil, false
			}
			s.value = skipBlanks(text, i+1)
		}
		if s.end, ok = skipJSON(text, s.value); !ok {
			return nil, false
		}
		list = append(list, s)
		if i = skipBlanks(text, s.end); i < len(text) && text[i] == ',' {
			i = skipBlanks(text, i+1)
		}
	}
	return list, i < len(text)
}

func skipBlanks(text []byte, i int) int {
	for i < len(text) && text[i] == ' ' {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i with its quotation mark.
func skipString(text []byte, i int) (int, bool) {
	if i >= len(text) || text[i] != '"' {
		return i, false
	}
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return i, false
}

// skipJSON returns the end of the value that begins at i.
func skipJSON(text []byte, i int) (int, bool) {
	if i >= len(text) {
		return i, false
	}
	switch c := text[i]; c {
	case '"':
		return skipString(text, i)
	case '{', '[':
		level := 0
		for ; i < len(text); i++ {
			switch text[i] {
			case '"':
				end, ok := skipString(text, i)
				if !ok {
					return i, false
				}
				i = end - 1
			case '{', '[':
				level++
			case '}', ']':
				if level--; level == 0 {
					return i + 1, true
				}
			}
		}
		return i, false
	}
	start := i
	for i < len(text) && bytes.IndexByte([]byte(",]} "), text[i]) < 0 {
		i++
	}
	return i, i > start
}

// unquoteJSON appends what stands between the quotation marks of a string, without its escapes.
func unquoteJSON(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u': // the server escapes control characters so
			if i+4 < len(s) {
				if n, err := strconv.ParseUint(string(s[i+1:i+5]), 16, 16); err == nil {
					dst = append(dst, string(rune(n))...)
					i += 4
				}
			}
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
