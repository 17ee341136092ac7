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

// Origin says which connector a table was captured by. One Origin is shared by all tables of a connector.
type Origin struct {
	Connector string // Debezium's name of the connector kind: postgresql, mysql, mariadb
	Name      string // topic.prefix: the logical name of the server
	Version   string // Tailrace's version, shown as source.version
}

// Render says how the values of a column are written where a format leaves a choice. It carries Debezium's handling
// modes from the source's configuration to the formats at the doors, so that rows in the log need no configuration
// to be read.
type Render uint8

const (
	RenderDefault    Render = 0 // decimal: precise; time: adaptive; bytes: base64
	RenderString     Render = 1 // decimal.handling.mode=string
	RenderDouble     Render = 2 // decimal.handling.mode=double
	RenderConnect    Render = 3 // time.precision.mode=connect
	RenderISO        Render = 4 // time.precision.mode=isostring
	RenderMicros     Render = 5 // time.precision.mode=microseconds
	RenderNanos      Render = 6 // time.precision.mode=nanoseconds
	RenderHex        Render = 7 // binary.handling.mode=hex
	RenderBase64     Render = 8 // binary.handling.mode=base64 (a string in schemas)
	RenderBase64URL  Render = 9 // binary.handling.mode=base64-url-safe
	RenderMaxInvalid Render = 10
)

// A Type is the type of a column, with what formats and targets need to know of it.
type Type struct {
	Kind      Kind   // the kind of the column's values; Text for a type we pass on as text
	Elem      *Type  // the element type of an Array
	Name      string // the database's own name of the type: "numeric", "timestamp with time zone", "mood"
	Bits      uint8  // Int, Uint: 16, 32 or 64
	Length    int32  // declared length of text and bit types, 0 if none
	Precision int32  // Decimal: declared precision, 0 if none; Time, Timestamp, TimestampTZ: fractional digits, -1 if not declared
	Scale     int32  // Decimal: declared scale; meaningless if Precision is 0
	Labels    []string
	Render    Render
	Semantic  string // a semantic name that Kind does not tell: "enum", "xml", "interval" ...
}

// A Column is one column of a Table.
type Column struct {
	Name     string
	Type     Type
	Nullable bool
}

// A Table is one version of a table's structure. It is immutable once it was handed out: a schema change makes a new
// *Table, so e.Table != last is the whole test for a DDL change. Tables are shared between events, batches and
// goroutines.
type Table struct {
	Name    TableName
	Origin  *Origin
	Version uint32 // counts the structures of this table that its source has seen, from 1
	Columns []Column
	Key     []int // indexes into Columns of the key columns, in key order; empty: no key

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
