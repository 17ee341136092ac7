package redis

import (
	"bytes"
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
		dst = appendField(dst, &t.Columns[i], row[i])
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

// An encoder turns states into the arguments of the write script. The arguments are spans of one buffer until args
// makes strings of them, so that the buffer may grow meanwhile.
type encoder struct {
	buf  []byte
	ends []int // of each argument in buf
	hash bool
	args []string
}

func (e *encoder) reset() {
	e.buf, e.ends = e.buf[:0], e.ends[:0]
}

// forget gives up the memory: something that outlives the call may still look at it.
func (e *encoder) forget() {
	e.buf, e.args = nil, nil
}

func (e *encoder) end() { e.ends = append(e.ends, len(e.buf)) }

func (e *encoder) text(p []byte) {
	e.buf = append(e.buf, p...)
	e.end()
}

func (e *encoder) number(n uint64) {
	e.buf = strconv.AppendUint(e.buf, n, 10)
	e.end()
}

var errTooLarge = fault.Permanentf("ROW_TOO_LARGE", "leave large columns out with column.exclude.list",
	"the row is larger than the 512 MB that Redis takes")

// whole appends a row of which all is known. On an error nothing was appended.
func (e *encoder) whole(s *sink.State) error {
	buf, ends := len(e.buf), len(e.ends)
	e.text(s.Key)
	e.number(s.Version)
	start := len(e.buf)
	if e.hash {
		e.number(uint64(e.fields(s, false)))
		e.fields(s, true)
	} else {
		e.buf = jsontext.AppendRow(e.buf, s.Table, s.Row)
		e.end()
	}
	if len(e.buf)-start > maxValue {
		e.buf, e.ends = e.buf[:buf], e.ends[:ends]
		return errTooLarge
	}
	return nil
}

// fields counts, or appends as names and values, the columns that are neither NULL nor Absent.
func (e *encoder) fields(s *sink.State, write bool) (n int) {
	for i := range s.Row {
		if s.Row[i].Kind <= change.Null {
			continue
		}
		n++
		if write {
			c := &s.Table.Columns[i]
			e.buf = append(e.buf, c.Name...)
			e.end()
			e.buf = appendField(e.buf, c, s.Row[i])
			e.end()
		}
	}
	return n
}

// merge appends a row with Absent columns. On an error nothing was appended.
func (e *encoder) merge(s *sink.State) error {
	buf, ends := len(e.buf), len(e.ends)
	e.text(s.Key)
	e.number(s.Version)
	if s.Replace {
		e.number(1)
	} else {
		e.number(0)
	}
	start := len(e.buf)
	if e.hash {
		e.mergeFields(s)
	} else {
		e.number(uint64(len(s.Row)))
		for i := range s.Row {
			e.buf = jsontext.AppendText(e.buf, s.Table.Columns[i].Name)
			e.end()
			if s.Row[i].Present() {
				e.buf = jsontext.AppendValue(e.buf, &s.Table.Columns[i], s.Row[i])
			}
			e.end()
		}
	}
	if len(e.buf)-start > maxValue {
		e.buf, e.ends = e.buf[:buf], e.ends[:ends]
		return errTooLarge
	}
	return nil
}

func (e *encoder) mergeFields(s *sink.State) {
	e.number(uint64(e.fields(s, false)))
	e.fields(s, true)
	nulls := 0
	for i := range s.Row {
		if s.Row[i].Kind == change.Null {
			nulls++
		}
	}
	e.number(uint64(nulls))
	for i := range s.Row {
		if s.Row[i].Kind == change.Null {
			e.buf = append(e.buf, s.Table.Columns[i].Name...)
			e.end()
		}
	}
}

func (e *encoder) remove(s *sink.State) {
	e.text(s.Key)
	e.number(s.Version)
}
