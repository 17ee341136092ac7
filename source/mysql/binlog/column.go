package binlog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

// A Column is a column as SQL declares it. It comes from a table map with full metadata ([TableMap.Columns]), or from
// information_schema ([ParseColumn]).
type Column struct {
	Name      string
	Base      string // DATA_TYPE in information_schema, in lower case: bigint, varchar, enum, inet6
	Unsigned  bool
	Zerofill  bool
	Nullable  bool
	Invisible bool
	// Length is the declared number of characters of char and varchar, of bytes of binary and varbinary, of bits of bit, of
	// elements of vector; of integers the display width, 0 if there is none.
	Length int
	// Precision and Scale of decimal, float and double; Scale is -1 where a float or double has none. For temporal types
	// Precision is the number of fractional digits.
	Precision int
	Scale     int
	Charset   string   // CHARACTER_SET_NAME, "binary" for binary strings, "" for what is no string
	Labels    []string // of enum and set, in order
	Truth     Truth    // of tinyint
}

// Truth says what the values of a tinyint are read as, from the binary log and from results alike.
type Truth uint8

// Ways to read a tinyint. Any number above 0 is true.
const (
	Numbers  Truth = iota // what they are
	Booleans              // change.Bool
	Flags                 // change.Int: 1 for true and 0 for false
)

// value makes of a number above 0, or of any other, what the way has for it.
func (t Truth) value(v *change.Value, positive bool) {
	v.Kind, v.Num = change.Int, 0
	if t == Booleans {
		v.Kind = change.Bool
	}
	if positive {
		v.Num = 1
	}
}

// integerBits returns the size of integer types, 0 for all others.
func integerBits(base string) uint8 {
	switch base {
	case "tinyint":
		return 8
	case "smallint":
		return 16
	case "mediumint":
		return 24
	case "int":
		return 32
	case "bigint":
		return 64
	}
	return 0
}

// TypeName returns the name of the type without its parameters: "int unsigned zerofill".
func (c *Column) TypeName() string {
	s := c.Base
	if c.Unsigned {
		s += " unsigned"
	}
	if c.Zerofill {
		s += " zerofill"
	}
	return s
}

// Type returns the column's type in the vocabulary of package change, without handling modes.
func (c *Column) Type() change.Type {
	t := change.Type{Kind: change.Text, Name: c.TypeName(), Length: int32(c.Length)}
	if bits := integerBits(c.Base); bits != 0 {
		t.Kind, t.Bits, t.Length = change.Int, bits, 0
		switch {
		case c.Truth == Booleans:
			t.Kind, t.Bits = change.Bool, 0
		case c.Unsigned && c.Truth == Numbers:
			t.Kind = change.Uint
		}
		return t
	}
	switch c.Base {
	case "year":
		t.Kind, t.Bits, t.Length, t.Semantic = change.Int, 32, 0, change.SemanticYear
	case "decimal":
		t.Kind, t.Precision, t.Scale = change.Decimal, int32(c.Precision), int32(c.Scale)
	case "float":
		t.Kind = change.Float32
	case "double":
		t.Kind = change.Float64
	case "bit":
		t.Semantic = change.SemanticBits
	case "date":
		t.Kind = change.Date
	case "time":
		t.Kind, t.Precision = change.Time, int32(c.Precision)
	case "datetime":
		t.Kind, t.Precision = change.Timestamp, int32(c.Precision)
	case "timestamp":
		t.Kind, t.Precision = change.TimestampTZ, int32(c.Precision)
	case "enum":
		t.Labels, t.Semantic = c.Labels, change.SemanticEnum
	case "set":
		t.Labels, t.Semantic = c.Labels, change.SemanticSet
	case "json":
		t.Kind = change.JSON
	case "uuid":
		t.Kind = change.UUID
	case "vector":
		t.Semantic = change.SemanticFloatVector
	default:
		if c.geometry() {
			t.Semantic = change.SemanticGeometry
		} else if c.Charset == binaryCharset {
			t.Kind = change.Bytes
		}
	}
	return t
}

func (c *Column) geometry() bool {
	switch c.Base {
	case "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
		"geometrycollection", "geomcollection":
		return true
	}
	return false
}

// ParseColumn makes a Column of what information_schema.COLUMNS says: COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME ("" for
// NULL) and IS_NULLABLE. The type may also be one that SQL accepts, as a DDL statement has it: synonyms (integer, bool,
// numeric, national varchar, long varbinary, serial ...) are resolved as the servers do. A type that is unknown is
// permanent, with code UNKNOWN_TYPE.
func ParseColumn(name, columnType, charset string, nullable bool) (Column, error) {
	if charset == "utf8" {
		charset = "utf8mb3" // as later servers say
	}
	c := Column{Name: name, Nullable: nullable, Charset: charset, Scale: -1}
	p := typeParser{rest: columnType}
	c.Base = p.word()
	args, ok := p.arguments()
	if ok {
		ok = p.attributes(&c)
	}
	if ok = ok && c.normalize(&p) && c.apply(args); !ok {
		return Column{}, unknownType(name, columnType)
	}
	if c.Charset == "" && c.binary() {
		c.Charset = binaryCharset
	}
	return c, nil
}

func unknownType(column, columnType string) error {
	return fault.Permanentf("UNKNOWN_TYPE", "exclude the column or its table, or upgrade Tailrace",
		"column %s has type %q, which is unknown", column, columnType)
}

// binary reports whether the column holds bytes and not text.
func (c *Column) binary() bool {
	switch c.Base {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return true
	}
	return false
}

// normalize resolves synonyms of types.
func (c *Column) normalize(p *typeParser) bool {
	switch c.Base {
	case "bool", "boolean":
		c.Base, c.Length = "tinyint", 1
	case "int1":
		c.Base = "tinyint"
	case "int2":
		c.Base = "smallint"
	case "int3", "middleint":
		c.Base = "mediumint"
	case "integer", "int4":
		c.Base = "int"
	case "int8":
		c.Base = "bigint"
	case "serial":
		c.Base, c.Unsigned, c.Nullable = "bigint", true, false
	case "dec", "numeric", "fixed", "number":
		c.Base = "decimal"
	case "float4":
		c.Base = "float"
	case "real", "float8", "double precision":
		c.Base = "double"
	case "character", "nchar", "national char", "national character":
		c.Base = "char"
	case "character varying", "char varying", "varcharacter", "nvarchar", "national varchar", "national varcharacter",
		"nchar varchar", "nchar varying", "national char varying", "national character varying", "varchar2":
		c.Base = "varchar"
	case "char byte":
		c.Base = "binary"
	case "long", "long varchar", "long varcharacter", "long char varying", "long character varying":
		c.Base = "mediumtext"
	case "long varbinary":
		c.Base = "mediumblob"
	case "clob":
		c.Base = "longtext"
	case "raw":
		c.Base = "varbinary"
	case "geomcollection":
		c.Base = "geometrycollection"
	case "sql_tsi_year":
		c.Base = "year"
	}
	return p.err == "" && knownBase(c.Base)
}

// knownBase reports whether a type is one whose values we can read.
func knownBase(base string) bool {
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit", "year", "date", "time",
		"datetime", "timestamp", "char", "varchar", "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob",
		"tinytext", "text", "mediumtext", "longtext", "enum", "set", "json", "inet4", "inet6", "uuid", "vector":
		return true
	}
	return (&Column{Base: base}).geometry()
}

// apply sets what the arguments in parentheses mean for the type.
func (c *Column) apply(args []string) bool {
	if c.Base == "enum" || c.Base == "set" {
		c.Labels = args
		return len(args) > 0
	}
	var n [2]int
	for i, a := range args {
		v, err := strconv.Atoi(a)
		if err != nil || v < 0 || i >= len(n) {
			return false
		}
		n[i] = v
	}
	switch c.Base {
	case "decimal":
		c.Precision, c.Scale = 10, 0
		if len(args) > 0 && n[0] > 0 {
			c.Precision = n[0]
		}
		c.Scale = n[1]
	case "float", "double":
		c.Precision = n[0]
		if len(args) == 2 {
			c.Scale = n[1]
		} else if c.Base == "float" && n[0] > 24 {
			c.Base, c.Precision = "double", 0
		} else if c.Base == "float" {
			c.Precision = 0
		}
	case "time", "datetime", "timestamp":
		c.Precision = n[0]
	case "bit", "char", "binary":
		c.Length = 1
		if len(args) > 0 {
			c.Length = n[0]
		}
	case "text", "blob": // TEXT(100) is the smallest sort of text that has room for it, which is what the server shows
		if len(args) == 0 {
			break
		}
		if c.Base == "text" {
			n[0] *= CharsetWidth(c.Charset)
		}
		c.Base = blobFor(n[0], c.Base)
	default:
		if len(args) > 0 {
			c.Length = n[0]
		}
	}
	return true
}

func blobFor(length int, base string) string {
	switch {
	case length < 1<<8:
		return "tiny" + base
	case length < 1<<16:
		return base
	case length < 1<<24:
		return "medium" + base
	}
	return "long" + base
}

// typeParser reads a type as SQL writes it.
type typeParser struct {
	rest string
	err  string
}

// word reads the words of the type's name: those before the first parenthesis that belong to it.
func (p *typeParser) word() string {
	base := p.next()
	for {
		saved := p.rest
		w := p.next()
		switch base + " " + w {
		case "double precision", "character varying", "char varying", "national char", "national character",
			"national varchar", "national varcharacter", "nchar varchar", "nchar varying", "national char varying",
			"national character varying", "long varchar", "long varcharacter", "long varbinary", "long char", "long character",
			"long char varying", "long character varying", "char byte":
			base += " " + w
		default:
			p.rest = saved
			return base
		}
	}
}

// next reads a word of letters, digits and underscores, in lower case.
func (p *typeParser) next() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	n := 0
	for n < len(p.rest) && (p.rest[n] == '_' || p.rest[n] >= '0' && p.rest[n] <= '9' || p.rest[n]|0x20 >= 'a' && p.rest[n]|0x20 <= 'z') {
		n++
	}
	w := strings.ToLower(p.rest[:n])
	p.rest = p.rest[n:]
	return w
}

// arguments reads what stands in parentheses behind the name: numbers and quoted labels.
func (p *typeParser) arguments() (args []string, ok bool) {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" || p.rest[0] != '(' {
		return nil, true
	}
	p.rest = p.rest[1:]
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\r\n")
		if p.rest == "" {
			return nil, false
		}
		if q := p.rest[0]; q == '\'' || q == '"' {
			label, ok := p.quoted(q)
			if !ok {
				return nil, false
			}
			args = append(args, label)
		} else if w := p.next(); w != "" {
			args = append(args, w)
		}
		p.rest = strings.TrimLeft(p.rest, " \t\r\n")
		if p.rest == "" || p.rest[0] != ',' && p.rest[0] != ')' {
			return nil, false
		}
		end := p.rest[0] == ')'
		if p.rest = p.rest[1:]; end {
			return args, true
		}
	}
}

// quoted reads a string. information_schema doubles quotes and writes backslashes as they are, but a backslash before a
// quote would be ambiguous there too: it is not an escape.
func (p *typeParser) quoted(q byte) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != q {
			b.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == q {
			b.WriteByte(q)
			i++
			continue
		}
		p.rest = p.rest[i+1:]
		return b.String(), true
	}
	return "", false
}

// attributes reads what may stand behind a type. What follows that is no attribute of a type is not its business.
func (p *typeParser) attributes(c *Column) bool {
	for {
		switch p.next() {
		case "unsigned":
			c.Unsigned = true
		case "zerofill":
			c.Unsigned, c.Zerofill = true, true
		case "signed":
		default:
			return true
		}
	}
}

// Columns returns the columns that a table map with full metadata describes. MariaDB's INET4, INET6 and UUID look like
// binary strings in it, and its JSON is a text: [TableMap.Refine] them by what information_schema says.
func (m *TableMap) Columns() ([]Column, error) {
	if !m.Full() {
		return nil, fmt.Errorf("the table map of %s.%s has no names of columns: binlog_row_metadata is not FULL", m.Schema, m.Table)
	}
	cols := make([]Column, len(m.Types))
	for i := range cols {
		c := Column{Name: m.Names[i], Nullable: m.Nullable(i), Scale: -1}
		c.Unsigned = m.Unsigned != nil && m.Unsigned[i]
		c.Invisible = m.Invisible != nil && m.Invisible[i]
		if id := m.charset(i); id != 0 {
			name, ok := CharsetName(id)
			if !ok {
				return nil, unknownCharset(c.Name, id)
			}
			c.Charset = name
		}
		if err := m.declare(i, &c); err != nil {
			return nil, err
		}
		cols[i] = c
	}
	return cols, nil
}

func (m *TableMap) charset(i int) uint16 {
	if m.Charsets == nil || m.Types[i] == ColumnGeometry || m.Types[i] == ColumnVector {
		return 0
	}
	return m.Charsets[i]
}

// declare sets type and parameters of a column by what the table map says.
func (m *TableMap) declare(i int, c *Column) error {
	meta := int(m.Meta[i])
	switch t := m.Types[i]; t {
	case ColumnTiny, ColumnShort, ColumnInt24, ColumnLong, ColumnLonglong:
		c.Base = [...]string{ColumnTiny: "tinyint", ColumnShort: "smallint", ColumnLong: "int", ColumnLonglong: "bigint", ColumnInt24: "mediumint"}[t]
	case ColumnFloat:
		c.Base = "float"
	case ColumnDouble:
		c.Base = "double"
	case ColumnNewDecimal:
		c.Base, c.Precision, c.Scale = "decimal", meta>>8, meta&0xFF
	case ColumnYear:
		c.Base, c.Unsigned = "year", false
	case ColumnBit:
		c.Base, c.Length = "bit", meta
	case ColumnDate, ColumnNewDate:
		c.Base = "date"
	case ColumnTime, ColumnTime2:
		c.Base, c.Precision = "time", meta
	case ColumnDatetime, ColumnDatetime2:
		c.Base, c.Precision = "datetime", meta
	case ColumnTimestamp, ColumnTimestamp2:
		c.Base, c.Precision = "timestamp", meta
	case ColumnJSON:
		c.Base = "json"
	case ColumnVector:
		c.Base = "vector"
		if m.Dimensions != nil {
			c.Length = int(m.Dimensions[i])
		}
	case ColumnGeometry:
		c.Base = m.geometryName(i)
	case ColumnEnum, ColumnSet:
		return m.declareLabels(i, c)
	case ColumnString, ColumnVarchar, ColumnVarString, ColumnVarcharCompressed, ColumnBlob, ColumnTinyBlob,
		ColumnMediumBlob, ColumnLongBlob, ColumnBlobCompressed:
		m.declareString(t, meta, c)
	default:
		return unknownType(c.Name, "number "+strconv.Itoa(int(t)))
	}
	return nil
}

func (m *TableMap) geometryName(i int) string {
	names := [...]string{"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection"}
	if m.Geometry != nil && int(m.Geometry[i]) < len(names) {
		return names[m.Geometry[i]]
	}
	return names[0]
}

func (m *TableMap) declareLabels(i int, c *Column) error {
	if c.Base = "enum"; m.Types[i] == ColumnSet {
		c.Base = "set"
	}
	if m.Labels == nil || m.Labels[i] == nil {
		return nil
	}
	cs, err := new(Charsets).get(c.Charset, c.Name)
	if err != nil {
		return err
	}
	c.Labels = make([]string, len(m.Labels[i]))
	for k, p := range m.Labels[i] {
		label, ok := cs.append(nil, p)
		if !ok {
			return &Mismatch{Schema: m.Schema, Table: m.Table, Column: c.Name,
				Reason: fmt.Sprintf("label %d is not valid in charset %s", k+1, c.Charset)}
		}
		c.Labels[k] = string(label)
	}
	return nil
}

// declareString finds the name of a string type: its charset tells text from bytes.
func (m *TableMap) declareString(t ColumnType, meta int, c *Column) {
	if c.Charset == "" {
		c.Charset = binaryCharset
	}
	bytes := c.Charset == binaryCharset
	name := func(text, binary string) string {
		if bytes {
			return binary
		}
		return text
	}
	switch t {
	case ColumnString:
		c.Base, c.Length = name("char", "binary"), meta/CharsetWidth(c.Charset)
	case ColumnVarchar, ColumnVarString:
		c.Base, c.Length = name("varchar", "varbinary"), meta/CharsetWidth(c.Charset)
	case ColumnVarcharCompressed:
		c.Base, c.Length = name("varchar", "varbinary"), (meta-1)/CharsetWidth(c.Charset)
	default:
		c.Base = [...]string{"", "tiny", "", "medium", "long"}[min(meta, 4)] + name("text", "blob")
	}
}

// Refine completes columns that come from m by those of the same names in known, in what a table map does not tell:
// MariaDB's INET4, INET6 and UUID travel as binary strings, widths and ZEROFILL are not logged, and some versions of MySQL
// are unclear about which columns are unsigned. It changes cols.
func (m *TableMap) Refine(cols, known []Column) {
	for i := range cols {
		c := &cols[i]
		for k := range known {
			o := &known[k]
			if o.Name != c.Name {
				continue
			}
			if m.guessed && c.Base == o.Base {
				c.Unsigned = o.Unsigned
			}
			c.Zerofill = o.Zerofill && c.Unsigned && c.Base == o.Base
			switch {
			case c.Base == "binary" && (o.Base == "inet6" || o.Base == "uuid") && c.Length == 16, c.Base == "binary" && o.Base == "inet4" && c.Length == 4:
				c.Base, c.Length, c.Charset = o.Base, 0, ""
			case c.Base == o.Base && (integerBits(c.Base) != 0 || c.Base == "year"):
				c.Length = o.Length
			case c.Base == o.Base && (c.Base == "float" || c.Base == "double"):
				c.Precision, c.Scale = o.Precision, o.Scale
			}
		}
	}
}
