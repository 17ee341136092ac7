package mask

import (
	"context"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/transform"
)

// maxTables bounds the cache of plans; a source has far fewer tables.
const maxTables = 16 << 10

// A masker is not safe for concurrent use.
type masker struct {
	fields      map[string]bool
	columns     config.Patterns
	mode        mode
	length      int
	replacement *string
	stars       []byte
	salt        []byte
	hash        hash.Hash

	plans map[*change.Table]*plan
	last  *plan
	text  []byte // scratch for the text of a value
	sum   []byte // scratch for a hash
}

var _ transform.Transform = (*masker)(nil)

// A plan says what is to be done with the rows of one table.
type plan struct {
	source *change.Table
	table  *change.Table // source, or derived from it where columns change their types
	masked []int         // indexes of columns
	zeros  []change.Value
}

// Apply implements transform.Transform.
func (m *masker) Apply(_ context.Context, b *change.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Raw != nil || e.Table == nil {
			continue
		}
		p, err := m.plan(e.Table)
		if err != nil {
			return err
		}
		e.Table = p.table
		if len(p.masked) == 0 {
			continue
		}
		// A row may be shared between images and with earlier events: it is copied, never written to.
		e.Before = m.row(b, p, e.Before)
		e.After = m.row(b, p, e.After)
	}
	return nil
}

func (m *masker) row(b *change.Batch, p *plan, r change.Row) change.Row {
	if r == nil {
		return nil
	}
	out := b.Row(len(r))
	copy(out, r)
	for n, i := range p.masked {
		if i < len(out) && out[i].Kind != change.Absent {
			out[i] = m.value(b, out[i], p.zeros[n])
		}
	}
	return out
}

func (m *masker) value(b *change.Batch, v, zeroValue change.Value) change.Value {
	switch m.mode {
	case fixed:
		return change.Value{Kind: change.Text, Data: m.stars}
	case null:
		return change.Value{Kind: change.Null}
	case hashed:
		if v.Kind == change.Null {
			return v
		}
		m.hash.Reset()
		m.hash.Write(m.salt) // a hash never returns an error
		m.text = appendText(m.text[:0], v)
		m.hash.Write(m.text)
		m.sum = m.hash.Sum(m.sum[:0])
		return change.Value{Kind: change.Text, Data: hex.AppendEncode(b.Bytes(2 * len(m.sum))[:0], m.sum)}
	case truncate:
		if v.Kind == change.Text {
			v.Data = firstRunes(v.Data, m.length)
		} else if v.Kind != change.Null {
			return change.Value{Kind: change.Null} // text columns hold text; anything else is not shown
		}
		return v
	default: // zero
		return zeroValue
	}
}

// firstRunes returns the first n characters of p. The capacity ends there too, so that the rest can't be reached.
func firstRunes(p []byte, n int) []byte {
	end := 0
	for ; n > 0 && end < len(p); n-- {
		_, size := utf8.DecodeRune(p[end:])
		end += size
	}
	return p[:end:end]
}

// appendText appends what is hashed for v: its text, or for the kinds without one their number or raw bytes.
func appendText(dst []byte, v change.Value) []byte {
	switch v.Kind {
	case change.Bool:
		return strconv.AppendBool(dst, v.Num != 0)
	case change.Int, change.Date, change.Time, change.Timestamp, change.TimestampTZ:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case change.Uint:
		return strconv.AppendUint(dst, v.Num, 10)
	case change.Float32:
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 32)
	case change.Float64:
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 64)
	default: // the kinds whose bytes are in Data
		return append(dst, v.Data...)
	}
}

func (m *masker) plan(t *change.Table) (*plan, error) {
	if m.last != nil && m.last.source == t {
		return m.last, nil
	}
	p := m.plans[t]
	if p == nil {
		var err error
		if p, err = m.derive(t); err != nil {
			return nil, err
		}
		if m.plans == nil || len(m.plans) >= maxTables {
			m.plans = map[*change.Table]*plan{}
		}
		m.plans[t] = p
	}
	m.last = p
	return p, nil
}

func (m *masker) derive(t *change.Table) (*plan, error) {
	p := &plan{source: t, table: t}
	var columns []change.Column
	for i, c := range t.Columns {
		name := t.Name.String() + "." + c.Name
		if !m.fields[c.Name] && !m.columns.Match(name) {
			continue
		}
		if slices.Contains(t.Key, i) {
			return nil, fault.Permanentf("MASK_KEY", "leave the column out of the mask, or choose another key by message.key.columns",
				"column %s is part of the key of its table: masking it would join rows that differ", name)
		}
		masked, zeroValue, err := m.column(name, c)
		if err != nil {
			return nil, err
		}
		p.masked, p.zeros = append(p.masked, i), append(p.zeros, zeroValue)
		if masked.Type.Kind != c.Type.Kind || masked.Type.Length != c.Type.Length || masked.Type.Semantic != c.Type.Semantic || masked.Nullable != c.Nullable {
			if columns == nil {
				columns = slices.Clone(t.Columns)
			}
			columns[i] = masked
		}
	}
	if columns != nil {
		derived := *t
		derived.Columns = columns
		p.table = &derived
	}
	return p, nil
}

// column returns the column as it is after masking, and its value in mode zero.
func (m *masker) column(name string, c change.Column) (change.Column, change.Value, error) {
	switch m.mode {
	case fixed, hashed:
		size := len(m.stars)
		if m.mode == hashed {
			size = 2 * m.hash.Size()
		}
		if c.Type.Kind != change.Text || c.Type.Semantic != "" || c.Type.Length > 0 && int(c.Type.Length) < size {
			c.Type = change.Type{Kind: change.Text, Name: "text"}
			c.HasDefault, c.Default = false, change.Value{} // of the former type
		}
		return c, change.Value{}, nil
	case truncate:
		if c.Type.Kind != change.Text {
			return c, change.Value{}, m.unfit(name, c, "can't be truncated")
		}
		return c, change.Value{}, nil
	case null:
		c.Nullable = true
		return c, change.Value{}, nil
	default: // zero
		v, ok := zeroOf(c.Type.Kind)
		if ok && m.replacement != nil {
			v, ok = parse(*m.replacement, c.Type)
		}
		if !ok {
			return c, v, m.unfit(name, c, "has no such value")
		}
		return c, v, nil
	}
}

func (m *masker) unfit(name string, c change.Column, what string) error {
	return fault.Permanentf("MASK_TYPE", "choose mode fixed, hash or null for it", "column %s of type %s %s", name, c.Type.Name, what)
}
