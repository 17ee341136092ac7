package source

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
)

// A Shaper gives events the last touch that a configuration asks for before they leave their source: masked columns, and
// operations and updates that are left out. It belongs to one goroutine and allocates nothing for a row.
type Shaper struct {
	columns   *Columns
	skipped   []change.Op
	unchanged bool
	plans     map[*change.Table][]*masker
	last      *change.Table
	plan      []*masker
}

// NewShaper returns a shaper. skipped are the operations that are left out (skipped.operations); unchanged leaves out
// updates whose images are the same in all captured columns (skip.messages.without.change).
func NewShaper(columns *Columns, skipped []change.Op, unchanged bool) *Shaper {
	return &Shaper{columns: columns, skipped: skipped, unchanged: unchanged, plans: map[*change.Table][]*masker{}}
}

// Apply changes the events of b from the given one on, in place. Their keys stay: those are of the true values. No event may
// be given twice.
func (s *Shaper) Apply(b *change.Batch, from int) {
	if len(s.columns.rules) == 0 && len(s.skipped) == 0 && !s.unchanged {
		return
	}
	kept := b.Events[:from]
	for i := from; i < len(b.Events); i++ {
		e := &b.Events[i]
		if e.Raw == nil && (slices.Contains(s.skipped, e.Op) || s.unchanged && e.Op == change.OpUpdate && same(e.Before, e.After)) {
			continue
		}
		if e.Table != nil && e.Raw == nil {
			s.Mask(b, e.Table, e.Before)
			s.Mask(b, e.Table, e.After)
		}
		kept = append(kept, *e)
	}
	b.Events = kept
}

// Mask masks the columns of one row of t, in place: a row that reaches the log by another way than Apply. It may be nil. New
// values are in b's memory.
func (s *Shaper) Mask(b *change.Batch, t *change.Table, row change.Row) {
	if len(s.columns.rules) == 0 || row == nil {
		return
	}
	for _, m := range s.planOf(t) {
		m.apply(b, row)
	}
}

// same reports whether both images are there and hold the same.
func same(before, after change.Row) bool {
	if before == nil || len(before) != len(after) {
		return false
	}
	for i := range before {
		if before[i].Kind != after[i].Kind || before[i].Num != after[i].Num || !bytes.Equal(before[i].Data, after[i].Data) {
			return false
		}
	}
	return true
}

func (s *Shaper) planOf(t *change.Table) []*masker {
	if t == s.last {
		return s.plan
	}
	plan, ok := s.plans[t]
	if !ok {
		for i := range t.Columns {
			c := &t.Columns[i]
			if !c.Masked {
				continue
			}
			if r := s.columns.find(t.Name, c.Name, c.Type.Name); r != nil {
				plan = append(plan, newMasker(r, i, c))
			}
		}
		s.plans[t] = plan
	}
	s.last, s.plan = t, plan
	return plan
}

// masker masks the values of one column.
type masker struct {
	rule   *columnRule
	column int
	text   bool // the column holds text: only that is masked, and cut as bytes are
	mask   []byte
	hash   hash.Hash
	salt   []byte
	sum    []byte
	java   []byte // the value as Java serializes it
	length int    // to which a hash is cut; 0: not
}

func newMasker(r *columnRule, column int, c *change.Column) *masker {
	m := &masker{rule: r, column: column, length: int(c.Type.Length), text: isText(&c.Type)}
	switch r.kind {
	case maskRule:
		m.mask = bytes.Repeat([]byte{'*'}, r.length)
	case hashRule, hash2Rule:
		m.hash, m.salt = r.hash.New(), []byte(r.salt)
	}
	return m
}

// apply masks the column in a row.
func (m *masker) apply(b *change.Batch, r change.Row) {
	v := &r[m.column]
	switch {
	case m.rule.kind == truncateRule && v.Kind == change.Bytes:
		v.Data = v.Data[:min(len(v.Data), m.rule.length)]
	case !m.text:
	case m.rule.kind == truncateRule && v.Kind == change.Text:
		v.Data = v.Data[:cut(v.Data, m.rule.length)]
	case m.rule.kind == truncateRule:
	case m.rule.kind == maskRule:
		*v = change.Value{Kind: change.Text, Data: m.mask}
	case v.Kind == change.Text:
		v.Data = m.digest(b, v.Data)
	}
}

// isText reports whether events show the values of a type as the text that a row has: that of an interval or a bit string, cut or
// masked, would be another value or none.
func isText(t *change.Type) bool {
	switch t.Semantic {
	case "", change.SemanticEnum, change.SemanticSet, change.SemanticXML, change.SemanticLTree, change.SemanticTSVector, change.SemanticUnknown:
		return t.Kind == change.Text
	}
	return false
}

// cut returns the length of the longest part of text that has at most n characters of UTF-16.
func cut(text []byte, n int) int {
	if len(text) <= n {
		return len(text)
	}
	i := 0
	for i < len(text) {
		r, size := utf8.DecodeRune(text[i:])
		if n--; r >= 0x10000 {
			n--
		}
		if n < 0 {
			return i
		}
		i += size
	}
	return i
}

// digest returns the hexadecimal hash of salt and text in b's memory.
func (m *masker) digest(b *change.Batch, text []byte) []byte {
	m.hash.Reset()
	m.hash.Write(m.salt)
	if m.rule.kind == hashRule {
		m.java = appendJava(m.java[:0], text)
		text = m.java
	}
	m.hash.Write(text)
	m.sum = m.hash.Sum(m.sum[:0])
	dst := b.Bytes(hex.EncodedLen(len(m.sum)))
	hex.Encode(dst, m.sum)
	if m.length > 0 && m.length < len(dst) {
		dst = dst[:m.length]
	}
	return dst
}

// appendJava appends a string as java.io.ObjectOutputStream writes it: a header, then its length and modified UTF-8.
func appendJava(dst, text []byte) []byte {
	dst = append(dst, 0xAC, 0xED, 0, 5)
	n := 0
	for _, c := range text { // what takes another number of bytes than in UTF-8
		if c == 0 {
			n++
		} else if c >= 0xF0 {
			n += 2
		}
	}
	n += len(text)
	if n <= 0xFFFF {
		dst = binary.BigEndian.AppendUint16(append(dst, 't'), uint16(n))
	} else {
		dst = binary.BigEndian.AppendUint64(append(dst, '|'), uint64(n))
	}
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == 0:
			dst = append(dst, 0xC0, 0x80)
		case r >= 0x10000:
			r -= 0x10000
			dst = appendThree(appendThree(dst, 0xD800+r>>10), 0xDC00+r&0x3FF)
		default:
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
	return dst
}

func appendThree(dst []byte, r rune) []byte {
	return append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}
