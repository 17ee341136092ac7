package compare

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// null is the normal form of NULL. No value has it, because a backslash in a value is doubled.
const null = `\N`

// A row is being built from the values of one side.
type row struct {
	t      *Table
	values []string
	buf    []byte
	partly bool // a document since the last clear had columns that were not sent
}

// clear makes all columns NULL.
func (r *row) clear(t *Table) {
	r.t, r.partly = t, false
	r.values = r.values[:0]
	for range t.Columns {
		r.values = append(r.values, null)
	}
}

// set sets a column to a normal form. The JSON document null is NULL: a document that holds it cannot say which it means.
func (r *row) set(i int, value []byte) {
	if r.t.Columns[i].Kind == change.JSON && string(value) == "null" {
		r.values[i] = null
		return
	}
	r.values[i] = escape(value)
}

// key returns the canonical text of the key columns, and that of the row where there are none.
func (r *row) key() string {
	if len(r.t.Key) == 0 {
		return r.line()
	}
	if len(r.t.Key) == 1 {
		return r.values[r.t.Key[0]]
	}
	parts := make([]string, len(r.t.Key))
	for i, k := range r.t.Key {
		parts[i] = r.values[k]
	}
	return strings.Join(parts, "\t")
}

// line returns the canonical text of the row.
func (r *row) line() string { return strings.Join(r.values, "\t") }

// document fills the row from a JSON object. Members that are no columns are ignored. Columns whose value says that it was not
// sent keep what they have.
func (r *row) document(p []byte, f form) error {
	return object(p, func(name, value []byte) error {
		i, ok := r.t.index[string(name)]
		if !ok {
			return nil
		}
		c := &r.t.Columns[i]
		switch {
		case string(value) == "null":
			r.values[i] = null
			return nil
		case f == envelope && absent(value):
			r.partly = true
			return nil
		}
		var err error
		if r.buf, err = fromJSON(r.buf[:0], c, f, value); err != nil {
			return fmt.Errorf("%s, column %s: %w", r.t, c.Name, err)
		}
		r.set(i, r.buf)
		return nil
	})
}

// absent reports whether a value of an event stands for one that was not sent, in any of the shapes it has.
func absent(value []byte) bool {
	const inBase64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
	s := strings.TrimSpace(string(value))
	return s == `"`+unavailable+`"` || s == `"`+inBase64+`"` || s == `["`+unavailable+`"]`
}

// escape makes a value fit for a line.
func escape(value []byte) string {
	s := string(value)
	if !strings.ContainsAny(s, "\t\n\r\\") {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`).Replace(s)
}

// A Sum is the number of a table's rows and the sum of their hashes. The zero value is that of an empty table.
type Sum struct {
	Rows int64
	lane [4]uint64
}

// Add adds a row's canonical text.
func (s *Sum) Add(line string) {
	s.Rows++
	h := sha256.Sum256([]byte(line))
	for i := range s.lane {
		s.lane[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

// Hash returns the first 64 bits of the checksum, in hexadecimal; equal sums have equal hashes, but compare the sums.
func (s Sum) Hash() string { return fmt.Sprintf("%016x", s.lane[0]) }
