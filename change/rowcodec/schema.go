package rowcodec

import (
	"encoding/binary"
	"errors"

	"github.com/tailrace/tailrace/change"
)

// The value of a schema record, all numbers varints (v, z), strings with their length before them:
//
//	02 | database schema table | connector name version | placeholder, schema names, field names, flags (1: no context)
//	   | v table version | flags (1: Before images are whole 2: chosen key) | topic
//	   | v number of columns, each: name, flags (1: nullable 2: masked 4: default 8: key only), type, [default: kind, v number, data],
//	     v number of parameters, each: name, value
//	   | v number of key columns, each: v index
//	type: kind, flags (1: has an element type) | name | bits | z length | z precision | z scale | render | semantic
//	   | v number of labels, each a string | [element type]
//
// Format 01, which is still read, lacks the third group but for the table version, the topic, and of a column all but
// name, nullable and type.
const (
	schemaFormat    = 2
	oldSchemaFormat = 1
)

const (
	tableWhole  = 1 << 0
	tableChosen = 1 << 1
)

const (
	columnNullable = 1 << 0
	columnMasked   = 1 << 1
	columnDefault  = 1 << 2
	columnKeyOnly  = 1 << 3
)

// maxElemDepth bounds array types of array types.
const maxElemDepth = 8

var errSchema = errors.New("malformed schema record")

func appendTable(dst []byte, t *change.Table) []byte {
	dst = append(dst, schemaFormat)
	dst = appendText(dst, t.Name.Database)
	dst = appendText(dst, t.Name.Schema)
	dst = appendText(dst, t.Name.Table)
	var o change.Origin
	if t.Origin != nil {
		o = *t.Origin
	}
	dst = appendText(dst, o.Connector)
	dst = appendText(dst, o.Name)
	dst = appendText(dst, o.Version)
	dst = appendText(dst, o.Placeholder)
	dst = appendFlag(append(dst, byte(o.SchemaNames), byte(o.FieldNames)), o.NoContext)
	dst = binary.AppendUvarint(dst, uint64(t.Version))
	flags := byte(0)
	if t.OldIdentity {
		flags |= tableWhole
	}
	if t.KeyChosen {
		flags |= tableChosen
	}
	dst = append(dst, flags)
	dst = appendText(dst, t.Topic)
	dst = binary.AppendUvarint(dst, uint64(len(t.Columns)))
	for i := range t.Columns {
		dst = appendColumn(dst, &t.Columns[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Key)))
	for _, i := range t.Key {
		dst = binary.AppendUvarint(dst, uint64(i))
	}
	return dst
}

func appendColumn(dst []byte, c *change.Column) []byte {
	flags := byte(0)
	if c.Nullable {
		flags |= columnNullable
	}
	if c.Masked {
		flags |= columnMasked
	}
	if c.HasDefault {
		flags |= columnDefault
	}
	if c.KeyOnly {
		flags |= columnKeyOnly
	}
	dst = append(appendText(dst, c.Name), flags)
	dst = appendType(dst, &c.Type)
	if c.HasDefault {
		dst = binary.AppendUvarint(append(dst, byte(c.Default.Kind)), c.Default.Num)
		dst = append(binary.AppendUvarint(dst, uint64(len(c.Default.Data))), c.Default.Data...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Params)))
	for _, p := range c.Params {
		dst = appendText(appendText(dst, p.Name), p.Value)
	}
	return dst
}

func appendType(dst []byte, t *change.Type) []byte {
	dst = appendFlag(append(dst, byte(t.Kind)), t.Elem != nil)
	dst = append(appendText(dst, t.Name), t.Bits)
	dst = binary.AppendVarint(dst, int64(t.Length))
	dst = binary.AppendVarint(dst, int64(t.Precision))
	dst = binary.AppendVarint(dst, int64(t.Scale))
	dst = appendText(append(dst, byte(t.Render)), t.Semantic)
	dst = binary.AppendUvarint(dst, uint64(len(t.Labels)))
	for _, l := range t.Labels {
		dst = appendText(dst, l)
	}
	if t.Elem != nil {
		dst = appendType(dst, t.Elem)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFlag(dst []byte, set bool) []byte {
	if set {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// decodeTable reads a schema record's value. The table shares no memory with p.
func decodeTable(p []byte) (*change.Table, error) {
	s := scanner{p: p}
	version := s.byte()
	if version != schemaFormat && version != oldSchemaFormat {
		return nil, newer("schema record", version)
	}
	old := version == oldSchemaFormat
	t := &change.Table{Name: change.TableName{Database: s.text(), Schema: s.text(), Table: s.text()}}
	t.Origin = &change.Origin{Connector: s.text(), Name: s.text(), Version: s.text()}
	if !old {
		t.Origin.Placeholder = s.text()
		t.Origin.SchemaNames, t.Origin.FieldNames, t.Origin.NoContext = change.Adjust(s.byte()), change.Adjust(s.byte()), s.flag()
	}
	t.Version = uint32(s.uvarint())
	flags := s.byte()
	t.OldIdentity, t.KeyChosen = flags&tableWhole != 0, flags&tableChosen != 0 && !old
	if !old {
		t.Topic = s.text()
	}
	t.Columns = make([]change.Column, s.count())
	for i := range t.Columns {
		t.Columns[i] = s.column(old)
	}
	if n := s.count(); n > 0 {
		t.Key = make([]int, n)
	}
	for i := range t.Key {
		k := s.uvarint()
		if k >= uint64(len(t.Columns)) {
			return nil, errSchema
		}
		t.Key[i] = int(k)
	}
	if s.failed || len(s.p) != 0 {
		return nil, errSchema
	}
	return t, nil
}

// scanner reads the parts of a schema record. After a failure it returns zeros.
type scanner struct {
	p      []byte
	failed bool
}

func (s *scanner) fail() {
	s.p, s.failed = nil, true
}

func (s *scanner) byte() byte {
	if len(s.p) == 0 {
		s.fail()
		return 0
	}
	b := s.p[0]
	s.p = s.p[1:]
	return b
}

func (s *scanner) flag() bool { return s.byte() == 1 }

func (s *scanner) uvarint() uint64 {
	u, n := binary.Uvarint(s.p)
	if n <= 0 {
		s.fail()
		return 0
	}
	s.p = s.p[n:]
	return u
}

func (s *scanner) varint32() int32 { return int32(unzigzag(s.uvarint())) }

// count reads a number of things that take at least a byte each.
func (s *scanner) count() int {
	n := s.uvarint()
	if n > uint64(len(s.p)) {
		s.fail()
		return 0
	}
	return int(n)
}

func (s *scanner) text() string {
	n := s.count()
	t := string(s.p[:n])
	s.p = s.p[n:]
	return t
}

func (s *scanner) column(old bool) change.Column {
	c := change.Column{Name: s.text()}
	flags := s.byte()
	c.Nullable = flags&columnNullable != 0
	c.Type = s.columnType(0)
	if old {
		return c
	}
	c.Masked, c.HasDefault, c.KeyOnly = flags&columnMasked != 0, flags&columnDefault != 0, flags&columnKeyOnly != 0
	if c.HasDefault {
		c.Default = change.Value{Kind: change.Kind(s.byte()), Num: s.uvarint()}
		if data := s.text(); hasData(c.Default.Kind) {
			c.Default.Data = []byte(data)
		}
		if !c.Default.Kind.Valid() {
			s.fail()
		}
	}
	if n := s.count(); n > 0 {
		c.Params = make([]change.Param, n)
		for i := range c.Params {
			c.Params[i] = change.Param{Name: s.text(), Value: s.text()}
		}
	}
	return c
}

// hasData reports whether values of a kind are in Data.
func hasData(k change.Kind) bool {
	switch k {
	case change.Text, change.Decimal, change.JSON, change.Bytes, change.Array, change.UUID:
		return true
	}
	return false
}

func (s *scanner) columnType(depth int) change.Type {
	t := change.Type{Kind: change.Kind(s.byte())}
	if !t.Kind.Valid() || depth > maxElemDepth {
		s.fail()
	}
	hasElem := s.flag()
	t.Name, t.Bits = s.text(), s.byte()
	t.Length, t.Precision, t.Scale = s.varint32(), s.varint32(), s.varint32()
	t.Render, t.Semantic = change.Render(s.byte()), s.text()
	if n := s.count(); n > 0 {
		t.Labels = make([]string, n)
		for i := range t.Labels {
			t.Labels[i] = s.text()
		}
	}
	if hasElem && !s.failed {
		elem := s.columnType(depth + 1)
		t.Elem = &elem
	}
	return t
}
