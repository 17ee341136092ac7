package change

// TableName names a table in its source. Schema is empty where the database has none (MySQL); Database is the
// catalog: the connected database on PostgreSQL, the schema's other name on MySQL.
type TableName struct {
	Database string
	Schema   string
	Table    string
}

// String returns schema.table, or database.table where there is no schema: the form that include lists match.
func (n TableName) String() string {
	if n.Schema == "" {
		return n.Database + "." + n.Table
	}
	return n.Schema + "." + n.Table
}

// Origin says which connector a table was captured by, and what of its configuration belongs to the form of its events.
// One Origin is shared by all tables of a connector.
type Origin struct {
	Connector   string // Debezium's name of the connector kind: postgresql, mysql, mariadb
	Name        string // topic.prefix: the logical name of the server
	Version     string // Tailrace's version, shown as source.version
	Placeholder string // unavailable.value.placeholder; "": Debezium's default
	SchemaNames Adjust // schema.name.adjustment.mode
	FieldNames  Adjust // field.name.adjustment.mode
	NoContext   bool   // extended.headers.enabled=false: no __debezium.context headers
}

// Adjust says how names are changed for formats that allow fewer characters.
type Adjust uint8

const (
	AdjustNone        Adjust = 0
	AdjustAvro        Adjust = 1 // avro: what Avro does not allow becomes _
	AdjustAvroUnicode Adjust = 2 // avro_unicode: it becomes _uXXXX, and _ becomes __
)

// Render says how the values of a column are written where a format leaves a choice. It carries Debezium's handling
// modes from the source's configuration to the formats at the doors, so that rows in the log need no configuration
// to be read.
type Render uint8

const (
	RenderDefault   Render = 0  // decimal: precise; time: adaptive; bytes: bytes; unsigned 64-bit: long; interval: numeric; hstore: json
	RenderString    Render = 1  // decimal.handling.mode=string, interval.handling.mode=string
	RenderDouble    Render = 2  // decimal.handling.mode=double; Float32: as a float64, MySQL's FLOAT(M,D)
	RenderConnect   Render = 3  // time.precision.mode=connect
	RenderISO       Render = 4  // time.precision.mode=isostring
	RenderMicros    Render = 5  // time.precision.mode=microseconds; for Time also adaptive_time_microseconds
	RenderNanos     Render = 6  // time.precision.mode=nanoseconds
	RenderHex       Render = 7  // binary.handling.mode=hex
	RenderBase64    Render = 8  // binary.handling.mode=base64 (a string in schemas)
	RenderBase64URL Render = 9  // binary.handling.mode=base64-url-safe
	RenderPrecise   Render = 10 // bigint.unsigned.handling.mode=precise: a Decimal of scale 0
	RenderMap       Render = 11 // hstore.handling.mode=map
	RenderBytes     Render = 12 // include.unknown.datatypes=true: the text's bytes, as binary
	RenderOmit      Render = 13 // include.unknown.datatypes=false: the column is left out of events, not of the log
)

// Semantics: names of what a value means where its kind alone does not tell. The representation is the same for every
// database, whatever its wire protocol has.
const (
	SemanticEnum         = "enum"         // Text: the label; Type.Labels has all of them
	SemanticSet          = "set"          // Text: labels separated by commas, in the order of Type.Labels
	SemanticYear         = "year"         // Int
	SemanticBits         = "bits"         // Text: 0 and 1, most significant bit first; Type.Length is the declared number, 0 if unbounded
	SemanticMoney        = "money"        // Decimal; Type.Scale is money.fraction.digits
	SemanticInterval     = "interval"     // Text as PostgreSQL writes it: "1 year 2 mons -3 days +04:05:06.7"
	SemanticTimeTZ       = "timetz"       // Text as PostgreSQL writes it: "12:34:56.789+02", "24:00:00-15:59:59"
	SemanticHStore       = "hstore"       // Text as PostgreSQL writes it: "a"=>"1", "b"=>NULL
	SemanticXML          = "xml"          // Text
	SemanticLTree        = "ltree"        // Text
	SemanticTSVector     = "tsvector"     // Text
	SemanticPoint        = "point"        // Text as PostgreSQL writes it: (1.5,-2)
	SemanticGeometry     = "geometry"     // Text: hexadecimal EWKB, the SRID in it where there is one
	SemanticGeography    = "geography"    // Text: hexadecimal EWKB
	SemanticVector       = "vector"       // Text: [1,2.5]; float64 elements in events (pgvector's vector)
	SemanticFloatVector  = "floatvector"  // Text: [1,2.5]; float32 elements in events (halfvec, MySQL's VECTOR)
	SemanticSparseVector = "sparsevector" // Text: {1:1.5,7:2}/8; indexes begin at 1
	SemanticUnknown      = "unknown"      // Text of a type that nobody taught us
)

// A Type is the type of a column, with what formats and targets need to know of it.
type Type struct {
	Kind      Kind   // the kind of the column's values; Text for a type we pass on as text
	Elem      *Type  // the element type of an Array
	Name      string // the database's own name of the type: "numeric", "timestamp with time zone", "mood"
	Bits      uint8  // Int, Uint: 8, 16, 24, 32 or 64
	Length    int32  // declared length of text and bit types, 0 if none
	Precision int32  // Decimal: declared precision, 0 if none; Time, Timestamp, TimestampTZ: fractional digits, -1 if not declared
	Scale     int32  // Decimal: declared scale; meaningless if Precision is 0
	Labels    []string
	Render    Render
	Semantic  string // one of the Semantic constants, "" where Kind says all
}

// A Column is one column of a Table.
type Column struct {
	Name     string
	Type     Type
	Nullable bool // NULL is allowed; Debezium's optional

	// HasDefault says that the column has a default that is a constant, or that Debezium shows as one (0 for a sequence).
	// Default is that value, of Type's kind; its Data belongs to the table.
	HasDefault bool
	Default    Value

	// Masked says that rows hold a masked, hashed or shortened value of the column. Keys hold the true one.
	Masked bool
	// KeyOnly says that events show the column in their keys alone: the configuration captures it only as part of the key. Rows
	// have its values all the same.
	KeyOnly bool
	// Params are further parameters of the column in schemas, in order: masked, truncateLength, and the
	// __debezium.source.column ones of column.propagate.source.type and datatype.propagate.source.type.
	Params []Param
}

// A Param is a parameter of a column in schemas.
type Param struct{ Name, Value string }

// A Table is one version of a table's structure. It is immutable once it was handed out: a schema change makes a new
// *Table, so e.Table != last is the whole test for a DDL change. Tables are shared between events, batches and
// goroutines.
type Table struct {
	Name    TableName
	Origin  *Origin
	Version uint32 // counts the structures of this table that its source has seen, from 1
	Columns []Column
	Key     []int // indexes into Columns of the key columns, in key order; empty: no key

	// KeyChosen says that the configuration chose the key (message.key.columns): it is what records are keyed by, and need
	// not identify a row.
	KeyChosen bool

	// Topic is the table's topic by the source's naming strategy, whatever transforms make of it later: the stem of the
	// names of its schemas.
	Topic string

	// OldIdentity reports that Before images carry all columns (REPLICA IDENTITY FULL, row_image FULL).
	OldIdentity bool
}

// Column returns the index of the named column, or -1.
func (t *Table) Column(name string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return i
		}
	}
	return -1
}
