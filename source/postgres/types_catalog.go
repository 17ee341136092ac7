package postgres

import (
	"slices"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
)

// Further built-in types that events show in a form of their own, or that Debezium knows as text.
const (
	oidChar     = 18
	oidName     = 19
	oidText     = 25
	oidPoint    = 600
	oidCIDR     = 650
	oidMacaddr8 = 774
	oidMoney    = 790
	oidMacaddr  = 829
	oidInet     = 869
	oidTSVector = 3614
)

// columnType makes the type of a column. A type that the catalog no longer knows is text, and so is an array of boxes or of another
// type that has not commas between its elements.
func (d *detail) columnType(s *settings, oid uint32, modifier int32) change.Type {
	info, ok := d.types[oid]
	if !ok {
		info = typeInfo{name: "unknown", class: 'b'}
	}
	if info.class == 'd' && info.base != 0 {
		return d.columnType(s, info.base, info.mod)
	}
	t := change.Type{Name: info.name}
	if info.elem != 0 {
		elem := d.columnType(s, info.elem, modifier)
		if info.elem == oidMoney { // amounts in arrays keep their text, which depends on the locale
			elem = change.Type{Kind: change.Text, Name: elem.Name, Semantic: change.SemanticUnknown}
		}
		t.Kind, t.Elem = change.Array, &elem
		if unknownArray(info.elem, &elem) || d.types[info.elem].class == 'd' {
			t.Semantic, t.Render = change.SemanticUnknown, s.unknownRender()
		}
		return t
	}
	t.Kind, t.Bits = builtin(oid)
	modify(&t, oid, modifier)
	if t.Kind == change.Text {
		t.Labels = info.labels
		t.Semantic = textSemantic(oid, &info)
	}
	if oid == oidMoney {
		t.Kind, t.Semantic, t.Scale, t.Labels = change.Decimal, change.SemanticMoney, int32(s.MoneyDigits), nil
	}
	t.Render = s.render(&t)
	return t
}

// textSemantic returns what the values of a type that we pass on as text are.
func textSemantic(oid uint32, info *typeInfo) string {
	switch oid {
	case oidXML:
		return change.SemanticXML
	case oidInterval:
		return change.SemanticInterval
	case oidTimeTZ:
		return change.SemanticTimeTZ
	case oidBit, oidVarbit:
		return change.SemanticBits
	case oidPoint:
		return change.SemanticPoint
	case oidTSVector:
		return change.SemanticTSVector
	case oidChar, oidName, oidText, oidBpchar, oidVarchar, oidInet, oidCIDR, oidMacaddr, oidMacaddr8:
		return ""
	}
	switch info.class {
	case 'e':
		return change.SemanticEnum
	case 'b':
		return extensionSemantic(info.name)
	case 'r':
		if slices.Contains(builtinRanges(), info.name) {
			return ""
		}
	}
	return change.SemanticUnknown
}

func builtinRanges() []string {
	return []string{"int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"}
}

// extensionSemantic knows the types of extensions by their names.
func extensionSemantic(name string) string {
	switch name {
	case "citext", "isbn":
		return ""
	case "hstore":
		return change.SemanticHStore
	case "ltree":
		return change.SemanticLTree
	case "geometry":
		return change.SemanticGeometry
	case "geography":
		return change.SemanticGeography
	case "vector":
		return change.SemanticVector
	case "halfvec":
		return change.SemanticFloatVector
	case "sparsevec":
		return change.SemanticSparseVector
	}
	return change.SemanticUnknown
}

// unknownArray reports whether Debezium has no form for arrays of an element type, although it has one for the element.
func unknownArray(oid uint32, elem *change.Type) bool {
	switch oid {
	case oidMoney, oidName, oidInterval, oidBit, oidVarbit, oidXML, oidPoint:
		return true
	}
	return elem.Semantic == change.SemanticUnknown
}

// unknownRender is how include.unknown.datatypes has types written that nobody taught us. Unless it is set they are text.
func (s *settings) unknownRender() change.Render {
	switch s.UnknownTypes {
	case "true":
		if r := source.BinaryRender(s.BinaryMode); r != change.RenderDefault {
			return r
		}
		return change.RenderBytes
	case "false":
		return change.RenderOmit
	}
	return change.RenderDefault
}

// render returns how values of a type are written, by the handling modes.
func (s *settings) render(t *change.Type) change.Render {
	switch t.Kind {
	case change.Decimal:
		return source.DecimalRender(s.DecimalMode)
	case change.Date, change.Time, change.Timestamp:
		return source.TimeRender(s.TimeMode, t.Kind)
	case change.Bytes:
		return source.BinaryRender(s.BinaryMode)
	case change.Text:
		switch {
		case t.Semantic == change.SemanticUnknown:
			return s.unknownRender()
		case t.Semantic == change.SemanticInterval && s.IntervalMode == "string":
			return change.RenderString
		case t.Semantic == change.SemanticHStore && s.HStoreMode == "map":
			return change.RenderMap
		}
	}
	return change.RenderDefault
}

// unknownLength is the length that the JDBC driver has for types without one.
const unknownLength = 1<<31 - 1

// nativeType returns a column's type as PostgreSQL's JDBC driver describes it: the name in pg_type, the size and the
// decimal digits of DatabaseMetaData.getColumns.
func (d *detail) nativeType(oid uint32, modifier int32) source.NativeType {
	n := source.NativeType{Name: d.types[oid].native}
	if base := d.baseType(oid); base != oid {
		modifier = d.types[oid].mod
		oid = base
	}
	if e := d.types[oid].elem; e != 0 {
		oid = e
	}
	digits := int64(6)
	if modifier >= 0 {
		digits = int64(modifier)
	}
	second := digits + 1 // the point and the digits
	if digits == 0 {
		second = 0
	} else if digits == 1 {
		second = 3
	}
	n.Length = unknownLength
	switch oid {
	case oidInt2:
		n.Length = 5
	case oidInt4, oidOID:
		n.Length = 10
	case oidInt8:
		n.Length = 19
	case oidFloat4:
		n.Length, n.Scale = 8, 8
	case oidFloat8:
		n.Length, n.Scale = 17, 17
	case oidNumeric:
		if n.Length = 131089; modifier >= 4 {
			n.Length, n.Scale = int64(modifier-4)>>16&0xFFFF, int64(modifier-4)&0xFFFF
		}
	case oidChar, oidBool:
		n.Length = 1
	case oidBpchar, oidVarchar:
		if modifier >= 4 {
			n.Length = int64(modifier - 4)
		}
	case oidBit, oidVarbit:
		if modifier >= 0 {
			n.Length = int64(modifier)
		}
	case oidDate:
		n.Length = 13
	case oidTime:
		n.Length, n.Scale = 8+second, digits
	case oidTimeTZ:
		n.Length, n.Scale = 8+second+6, digits
	case oidTimestamp:
		n.Length, n.Scale = 22+second, digits
	case oidTimestampTZ:
		n.Length, n.Scale = 22+second+6, digits
	case oidInterval:
		if n.Length, n.Scale = 49, 6; modifier >= 0 {
			n.Scale = int64(modifier & 0xFFFF)
		}
	}
	return n
}
