package binlog

import "math/bits"

// ColumnType is the type number of a column in a table map.
type ColumnType uint8

// The types of columns. Those of new temporal types end in 2.
const (
	ColumnDecimal           ColumnType = 0 // before MySQL 5.0
	ColumnTiny              ColumnType = 1
	ColumnShort             ColumnType = 2
	ColumnLong              ColumnType = 3
	ColumnFloat             ColumnType = 4
	ColumnDouble            ColumnType = 5
	ColumnNull              ColumnType = 6
	ColumnTimestamp         ColumnType = 7
	ColumnLonglong          ColumnType = 8
	ColumnInt24             ColumnType = 9
	ColumnDate              ColumnType = 10
	ColumnTime              ColumnType = 11
	ColumnDatetime          ColumnType = 12
	ColumnYear              ColumnType = 13
	ColumnNewDate           ColumnType = 14
	ColumnVarchar           ColumnType = 15
	ColumnBit               ColumnType = 16
	ColumnTimestamp2        ColumnType = 17
	ColumnDatetime2         ColumnType = 18
	ColumnTime2             ColumnType = 19
	ColumnBlobCompressed    ColumnType = 140 // MariaDB
	ColumnVarcharCompressed ColumnType = 141 // MariaDB
	ColumnVector            ColumnType = 242 // MySQL 9
	ColumnJSON              ColumnType = 245
	ColumnNewDecimal        ColumnType = 246
	ColumnEnum              ColumnType = 247
	ColumnSet               ColumnType = 248
	ColumnTinyBlob          ColumnType = 249
	ColumnMediumBlob        ColumnType = 250
	ColumnLongBlob          ColumnType = 251
	ColumnBlob              ColumnType = 252
	ColumnVarString         ColumnType = 253
	ColumnString            ColumnType = 254
	ColumnGeometry          ColumnType = 255
)

// A TableMap tells how the values of a table are stored in the row events that follow, and with
// binlog_row_metadata=FULL what its columns are. It is immutable, and the Decoder hands out the same one as long as the
// server sends the same bytes: a new pointer is the test for a change of structure.
type TableMap struct {
	ID     uint64
	Schema string
	Table  string
	Types  []ColumnType // real types: Enum and Set, not the String that they travel as
	Meta   []uint16     // what the type's values need: sizes, precision and scale, fractional digits

	// Optional metadata: nil where the server does not log it.
	Names      []string
	Unsigned   []bool     // for all columns, false for those that are no numbers; binlog_row_metadata=MINIMAL and FULL
	Charsets   []uint16   // collation ids of character columns (MINIMAL and FULL), enums and sets (FULL); 0 for all others
	Labels     [][][]byte // of enums and sets, in the charset of their column
	Geometry   []uint8    // types of geometry columns: 0 geometry, 1 point ... 7 geometrycollection
	Dimensions []uint32   // of vector columns
	Key        []int      // columns of the primary key, in key order; not nil but empty if FULL metadata has none
	Prefixes   []int      // for each column of Key: how many bytes of it are in the key, 0 for all
	Invisible  []bool

	format   Format
	guessed  bool // Unsigned may be wrong, see numeric
	nullable []byte
	raw      []byte
}

// Nullable reports whether column i may be NULL.
func (m *TableMap) Nullable(i int) bool { return m.nullable[i/8]>>(i%8)&1 != 0 }

// Full reports whether the map has names and key of its columns (binlog_row_metadata=FULL).
func (m *TableMap) Full() bool { return m.Names != nil }

func (m *TableMap) decode(r *reader) {
	r.uint16() // flags
	m.Schema = string(r.lengthName(int(r.byte())))
	m.Table = string(r.lengthName(int(r.byte())))
	types := r.bytes(r.length())
	meta := reader{p: r.bytes(r.length())}
	m.nullable = r.bytes((len(types) + 7) / 8)
	if r.reason != "" {
		return
	}
	m.Types, m.Meta = make([]ColumnType, len(types)), make([]uint16, len(types))
	for i, t := range types {
		m.Types[i], m.Meta[i] = columnMeta(ColumnType(t), &meta)
	}
	if r.fail(meta.reason); meta.left() > 0 {
		r.fail("more metadata than columns")
	}
	for r.left() > 0 && r.reason == "" {
		kind := r.byte()
		field := reader{p: r.bytes(r.length())}
		m.optional(kind, &field)
		r.fail(field.reason)
	}
	if m.Key == nil && m.Full() {
		m.Key, m.Prefixes = []int{}, []int{}
	}
}

// columnMeta reads what the type of a column needs, and finds the real type of what travels as String.
func columnMeta(t ColumnType, r *reader) (ColumnType, uint16) {
	switch t {
	case ColumnFloat, ColumnDouble, ColumnTimestamp2, ColumnDatetime2, ColumnTime2, ColumnBlob, ColumnTinyBlob,
		ColumnMediumBlob, ColumnLongBlob, ColumnGeometry, ColumnJSON, ColumnVector, ColumnBlobCompressed:
		return t, uint16(r.byte())
	case ColumnVarchar, ColumnVarString, ColumnVarcharCompressed:
		return t, r.uint16()
	case ColumnBit: // bits in the last byte, whole bytes
		low, high := uint16(r.byte()), uint16(r.byte())
		return t, high*8 + low
	case ColumnNewDecimal: // precision, scale
		high, low := uint16(r.byte()), uint16(r.byte())
		return t, high<<8 | low
	case ColumnString, ColumnEnum, ColumnSet:
		high, low := uint16(r.byte()), uint16(r.byte())
		if high == 0 {
			return t, low
		}
		// Lengths over 255 have their high bits inverted in those of the type.
		real := ColumnType(high | 0x30)
		if length := (high&0x30 ^ 0x30) << 4; real == ColumnString {
			return real, length | low
		}
		return ColumnType(high), low
	}
	return t, 0
}

// Kinds of optional metadata.
const (
	metaSignedness         = 1
	metaDefaultCharset     = 2
	metaColumnCharset      = 3
	metaNames              = 4
	metaSetLabels          = 5
	metaEnumLabels         = 6
	metaGeometry           = 7
	metaKey                = 8
	metaKeyPrefixes        = 9
	metaEnumDefaultCharset = 10
	metaEnumColumnCharset  = 11
	metaVisibility         = 12
	metaDimensions         = 13
)

// optional decodes one field. Unknown ones are left out: they are extensions by definition.
func (m *TableMap) optional(kind byte, r *reader) {
	switch kind {
	case metaSignedness:
		m.Unsigned = m.bits(r, m.numeric)
	case metaVisibility:
		visible := m.bits(r, func(int) bool { return true })
		m.Invisible = visible
		for i := range visible {
			m.Invisible[i] = !visible[i]
		}
	case metaDefaultCharset:
		m.defaultCharset(r, m.character)
	case metaColumnCharset:
		m.columnCharset(r, m.character)
	case metaEnumDefaultCharset:
		m.defaultCharset(r, m.labelled)
	case metaEnumColumnCharset:
		m.columnCharset(r, m.labelled)
	case metaNames:
		m.Names = make([]string, 0, len(m.Types))
		for r.left() > 0 && r.reason == "" {
			m.Names = append(m.Names, string(r.bytes(r.length())))
		}
		if len(m.Names) != len(m.Types) {
			r.fail("as many names as columns are needed")
		}
	case metaSetLabels:
		m.labels(r, ColumnSet)
	case metaEnumLabels:
		m.labels(r, ColumnEnum)
	case metaGeometry:
		m.Geometry = make([]uint8, len(m.Types))
		m.each(r, func(i int) bool { return m.Types[i] == ColumnGeometry }, func(i int) { m.Geometry[i] = uint8(r.lenenc()) })
	case metaDimensions:
		m.Dimensions = make([]uint32, len(m.Types))
		m.each(r, func(i int) bool { return m.Types[i] == ColumnVector }, func(i int) { m.Dimensions[i] = uint32(r.lenenc()) })
	case metaKey:
		m.key(r, false)
	case metaKeyPrefixes:
		m.key(r, true)
	}
}

// each calls read for the columns that are of a sort, and checks that there is nothing for others.
func (m *TableMap) each(r *reader, of func(int) bool, read func(int)) {
	for i := range m.Types {
		if of(i) && r.left() > 0 {
			read(i)
		}
	}
	if r.left() > 0 {
		r.fail("optional metadata for more columns than there are")
	}
}

func (m *TableMap) key(r *reader, prefixes bool) {
	m.Key, m.Prefixes = []int{}, []int{}
	for r.left() > 0 && r.reason == "" {
		i, prefix := r.lenenc(), uint64(0)
		if prefixes {
			prefix = r.lenenc()
		}
		if i >= uint64(len(m.Types)) || len(m.Key) == len(m.Types) {
			r.fail("key of columns that do not exist")
			return
		}
		m.Key, m.Prefixes = append(m.Key, int(i)), append(m.Prefixes, int(prefix&(1<<31-1)))
	}
}

// numeric reports whether column i has a bit of signedness. MariaDB counts YEAR, MySQL did not up to 8.0.15 and does now; we
// don't know since when, so for the versions between a guess is marked as one.
func (m *TableMap) numeric(i int) bool {
	const without, with = 80015, 80029 // versions that were seen
	switch m.Types[i] {
	case ColumnTiny, ColumnShort, ColumnInt24, ColumnLong, ColumnLonglong, ColumnNewDecimal, ColumnFloat, ColumnDouble:
		return true
	case ColumnYear:
		if !m.format.MariaDB && m.format.version > without && m.format.version < with {
			m.guessed = true
		}
		return m.format.MariaDB || m.format.version > without
	}
	return false
}

// character reports whether column i has a charset. For MariaDB geometry is a sort of blob, for MySQL a vector is.
func (m *TableMap) character(i int) bool {
	switch m.Types[i] {
	case ColumnString, ColumnVarString, ColumnVarchar, ColumnBlob, ColumnVarcharCompressed, ColumnBlobCompressed, ColumnVector:
		return true
	case ColumnGeometry:
		return m.format.MariaDB
	}
	return false
}

func (m *TableMap) labelled(i int) bool { return m.Types[i] == ColumnEnum || m.Types[i] == ColumnSet }

// bits reads one bit for each column of a sort, highest first.
func (m *TableMap) bits(r *reader, of func(int) bool) []bool {
	set, n := make([]bool, len(m.Types)), 0
	p := r.rest()
	for i := range m.Types {
		if !of(i) {
			continue
		}
		if n/8 >= len(p) {
			if !m.guessed {
				r.fail("fewer bits than columns")
			}
			return set
		}
		set[i] = bits.Reverse8(p[n/8])>>(n%8)&1 != 0
		n++
	}
	if len(p) != (n+7)/8 && !m.guessed {
		r.fail("more bits than columns")
	}
	return set
}

func (m *TableMap) setCharset(i int, id uint64, r *reader) {
	if m.Charsets == nil {
		m.Charsets = make([]uint16, len(m.Types))
	}
	if id > 1<<16-1 {
		r.fail("no such collation id")
		return
	}
	m.Charsets[i] = uint16(id)
}

// defaultCharset reads the charset of most columns of a sort, then number (among them) and charset of the others.
func (m *TableMap) defaultCharset(r *reader, of func(int) bool) {
	def := r.lenenc()
	other, id := ^uint64(0), uint64(0)
	next := func() {
		if other = ^uint64(0); r.left() > 0 {
			other, id = r.lenenc(), r.lenenc()
		}
	}
	next()
	n := uint64(0)
	for i := range m.Types {
		if !of(i) {
			continue
		}
		if n == other {
			m.setCharset(i, id, r)
			next()
		} else {
			m.setCharset(i, def, r)
		}
		n++
	}
	if other != ^uint64(0) {
		r.fail("charset of a column that does not exist")
	}
}

func (m *TableMap) columnCharset(r *reader, of func(int) bool) {
	m.each(r, of, func(i int) { m.setCharset(i, r.lenenc(), r) })
}

func (m *TableMap) labels(r *reader, t ColumnType) {
	if m.Labels == nil {
		m.Labels = make([][][]byte, len(m.Types))
	}
	m.each(r, func(i int) bool { return m.Types[i] == t }, func(i int) {
		n := r.length()
		m.Labels[i] = make([][]byte, 0, n)
		for range n {
			m.Labels[i] = append(m.Labels[i], r.bytes(r.length()))
		}
	})
}
