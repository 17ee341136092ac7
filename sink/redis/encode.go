package redis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/sink"
)

// maxValue is the longest string that Redis takes, less some room for the command around it.
const maxValue = 512<<20 - 64<<10

// A keyFormat makes the names of row keys.
type keyFormat struct{ prefix string }

func parseFormat(text string) (keyFormat, error) {
	prefix, ok := strings.CutSuffix(text, "${key}")
	if !ok {
		return keyFormat{}, errors.New("must end with ${key}, so that no two rows share a key")
	}
	rest := prefix
	for _, name := range []string{"${topic}", "${schema}", "${table}"} {
		rest = strings.ReplaceAll(rest, name, "")
	}
	if i := strings.Index(rest, "${"); i >= 0 {
		return keyFormat{}, fmt.Errorf("%q is unknown; there are ${topic}, ${schema}, ${table} and ${key}", rest[i:])
	}
	return keyFormat{prefix}, nil
}

// of returns what all row keys of a table in a topic begin with.
func (f keyFormat) of(topic string, t *change.Table) string {
	return strings.NewReplacer("${topic}", topic, "${schema}", t.Name.Schema, "${table}", t.Name.Table).Replace(f.prefix)
}

// appendKey appends the values of the key columns of row, a row of t. A backslash in a value is doubled, the separator
// is preceded by one if there are several columns, and NULL is \N: different keys give different texts.
func appendKey(dst []byte, t *change.Table, row change.Row, separator byte) []byte {
	several := len(t.Key) > 1
	for n, i := range t.Key {
		if n > 0 {
			dst = append(dst, separator)
		}
		if row[i].Kind == change.Null {
			dst = append(dst, `\N`...)
			continue
		}
		start := len(dst)
		switch v := row[i]; {
		case v.Kind == change.Decimal: // 1.0 and 1.00 are one key
			dst = append(dst, jsontext.TrimDecimal(v.Data)...)
		case (v.Kind == change.Float32 || v.Kind == change.Float64) && v.Float() == 0: // so are 0 and -0
			dst = append(dst, '0')
		default:
			dst = appendField(dst, &t.Columns[i], v)
		}
		if bytes.IndexByte(dst[start:], '\\') >= 0 || several && bytes.IndexByte(dst[start:], separator) >= 0 {
			dst = escapeKey(dst, start, separator, several)
		}
	}
	return dst
}

func escapeKey(dst []byte, start int, separator byte, several bool) []byte {
	value := bytes.Clone(dst[start:])
	dst = dst[:start]
	for _, c := range value {
		if c == '\\' || several && c == separator {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}

// appendField appends v as text without quotation marks, as hash fields and keys have it: text and JSON as they are,
// everything else as in documents. v is neither NULL nor Absent.
func appendField(dst []byte, c *change.Column, v change.Value) []byte {
	switch v.Kind {
	case change.Text, change.JSON, change.Decimal:
		return append(dst, v.Data...)
	}
	start := len(dst)
	dst = jsontext.AppendValue(dst, c, v)
	if dst[start] == '"' {
		copy(dst[start:], dst[start+1:len(dst)-1])
		dst = dst[:len(dst)-2]
	}
	return dst
}

// A list is a MessagePack array of strings or numbers that grows at its end.
type list struct {
	buf []byte
	n   int
}

const (
	packArray32 = 0xDD
	packString  = 0xDB // followed by 4 bytes of length
	packUint32  = 0xCE
	packHeader  = 5 // bytes of each of the three before the content
)

func (l *list) reset() { l.buf, l.n = append(l.buf[:0], packArray32, 0, 0, 0, 0), 0 }

// begin starts a string: append it to buf, then call end with what begin returned.
func (l *list) begin() (at int) {
	at = len(l.buf)
	l.buf = append(l.buf, packString, 0, 0, 0, 0)
	return at
}

func (l *list) end(at int) {
	binary.BigEndian.PutUint32(l.buf[at+1:], uint32(len(l.buf)-at-packHeader))
	l.n++
}

func (l *list) number(n int) {
	l.buf = binary.BigEndian.AppendUint32(append(l.buf, packUint32), uint32(n))
	l.n++
}

// bytes returns the whole array.
func (l *list) bytes() []byte {
	binary.BigEndian.PutUint32(l.buf[1:], uint32(l.n))
	return l.buf
}

// An encoder turns states into the last arguments of the write script: four MessagePack arrays, because taking a few
// large arguments apart in the server is cheaper than a few thousand small ones.
//
//	keys      of all rows
//	versions  of all rows, as decimal text
//	body      json, whole: document                    merge: n times name in quotation marks and value, empty if absent
//	          hash, whole: n times field and value     merge: the same, then d fields to remove
//	numbers   json, whole: nothing                     merge: replace (0 or 1), n
//	          hash, whole: n                           merge: replace, n, d
type encoder struct {
	keys, versions, body, numbers list
	hash                          bool
	limit                         int // bytes of a row at most
}

func (e *encoder) lists() [4]*list { return [...]*list{&e.keys, &e.versions, &e.body, &e.numbers} }

func (e *encoder) reset() {
	for _, l := range e.lists() {
		l.reset()
	}
}

// forget gives up the memory: something that outlives the call may still look at it.
func (e *encoder) forget() {
	for _, l := range e.lists() {
		l.buf = nil
	}
}

// head appends what all rows have.
func (e *encoder) head(s *sink.State) {
	at := e.keys.begin()
	e.keys.buf = append(e.keys.buf, s.Key...)
	e.keys.end(at)
	at = e.versions.begin()
	e.versions.buf = strconv.AppendUint(e.versions.buf, s.Version, 10)
	e.versions.end(at)
}

var errTooLarge = fault.Permanentf("ROW_TOO_LARGE", "leave large columns out with column.exclude.list",
	"the row is larger than the 512 MB that Redis takes")

// row appends a row that is written; without columns that are Absent it is whole. On an error nothing was appended.
func (e *encoder) row(s *sink.State, whole bool) error {
	body, numbers := e.body, e.numbers
	switch {
	case whole && e.hash:
		e.fields(s)
	case whole:
		at := e.body.begin()
		e.body.buf = jsontext.AppendRow(e.body.buf, s.Table, s.Row)
		e.body.end(at)
	default:
		replace := 0
		if s.Replace {
			replace = 1
		}
		e.numbers.number(replace)
		if e.hash {
			e.fields(s)
			e.nulls(s)
		} else {
			e.members(s)
		}
	}
	if len(e.body.buf)-len(body.buf) > e.limit {
		e.body, e.numbers = list{e.body.buf[:len(body.buf)], body.n}, list{e.numbers.buf[:len(numbers.buf)], numbers.n}
		return errTooLarge
	}
	e.head(s)
	return nil
}

// fields appends the columns that are neither NULL nor Absent, and how many they are.
func (e *encoder) fields(s *sink.State) {
	n := 0
	for i := range s.Row {
		if s.Row[i].Kind <= change.Null {
			continue
		}
		n++
		c := &s.Table.Columns[i]
		e.name(c.Name)
		at := e.body.begin()
		e.body.buf = appendField(e.body.buf, c, s.Row[i])
		e.body.end(at)
	}
	e.numbers.number(n)
}

// nulls appends the names of the columns that are NULL, and how many they are.
func (e *encoder) nulls(s *sink.State) {
	n := 0
	for i := range s.Row {
		if s.Row[i].Kind == change.Null {
			n++
			e.name(s.Table.Columns[i].Name)
		}
	}
	e.numbers.number(n)
}

func (e *encoder) name(name string) {
	at := e.body.begin()
	e.body.buf = append(e.body.buf, name...)
	e.body.end(at)
}

// members appends every column's name as JSON and its value, and how many they are.
func (e *encoder) members(s *sink.State) {
	for i := range s.Row {
		at := e.body.begin()
		e.body.buf = jsontext.AppendText(e.body.buf, s.Table.Columns[i].Name)
		e.body.end(at)
		at = e.body.begin()
		if s.Row[i].Present() {
			e.body.buf = jsontext.AppendValue(e.body.buf, &s.Table.Columns[i], s.Row[i])
		}
		e.body.end(at)
	}
	e.numbers.number(len(s.Row))
}
