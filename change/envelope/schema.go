package envelope

import (
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// A field is a Connect schema, with the name of the field that it is of unless that is empty.
type field struct {
	typ      string // Connect's: struct, array, map, string, bytes, boolean, int16, int32, int64, float, double
	optional bool
	name     string // semantic name
	version  int    // 0: none
	doc      string
	params   []change.Param
	fallback []byte // the default as JSON; nil: none
	field    string
	fields   []field // of a struct
	items    *field  // of an array
	keys     *field  // of a map
	values   *field
}

// append appends the schema as Connect's JsonConverter writes it.
func (f *field) append(dst []byte) []byte {
	dst = jsontext.AppendText(append(dst, `{"type":`...), f.typ)
	switch {
	case f.typ == "struct":
		dst = append(dst, `,"fields":[`...)
		for i := range f.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = f.fields[i].append(dst)
		}
		dst = append(dst, ']')
	case f.items != nil:
		dst = f.items.append(append(dst, `,"items":`...))
	case f.keys != nil:
		dst = f.keys.append(append(dst, `,"keys":`...))
		dst = f.values.append(append(dst, `,"values":`...))
	}
	dst = strconv.AppendBool(append(dst, `,"optional":`...), f.optional)
	if f.name != "" {
		dst = jsontext.AppendText(append(dst, `,"name":`...), f.name)
	}
	if f.version > 0 {
		dst = strconv.AppendInt(append(dst, `,"version":`...), int64(f.version), 10)
	}
	if f.doc != "" {
		dst = jsontext.AppendText(append(dst, `,"doc":`...), f.doc)
	}
	for i, p := range f.params {
		if i == 0 {
			dst = append(dst, `,"parameters":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst = jsontext.AppendText(append(jsontext.AppendText(dst, p.Name), ':'), p.Value)
	}
	if len(f.params) > 0 {
		dst = append(dst, '}')
	}
	if f.fallback != nil {
		dst = append(append(dst, `,"default":`...), f.fallback...)
	}
	if f.field != "" {
		dst = jsontext.AppendText(append(dst, `,"field":`...), f.field)
	}
	return append(dst, '}')
}

// named is a schema with a semantic name.
func named(typ, name string) field { return field{typ: typ, name: name, version: 1} }

// typeField returns the schema of values of type t, without what belongs to a column: its name, whether it is optional,
// its default. pg says that it is PostgreSQL's.
func typeField(t *change.Type, pg bool) field {
	switch t.Kind {
	case change.Bool:
		return field{typ: "boolean"}
	case change.Int:
		if t.Semantic == change.SemanticYear {
			return named("int32", "io.debezium.time.Year")
		}
		return field{typ: intType(t.Bits, 0)}
	case change.Uint:
		if t.Bits == 64 && t.Render == change.RenderPrecise {
			return decimalField("0", unsignedDigits)
		}
		return field{typ: intType(t.Bits, 1)}
	case change.Float32:
		if t.Render == change.RenderDouble {
			return field{typ: "double"}
		}
		return field{typ: "float"}
	case change.Float64:
		return field{typ: "double"}
	case change.Decimal:
		return decimalType(t)
	case change.Bytes:
		return field{typ: bytesType(t)}
	case change.JSON:
		return named("string", "io.debezium.data.Json")
	case change.UUID:
		return named("string", "io.debezium.data.Uuid")
	case change.Date, change.Time, change.Timestamp:
		return timeField(t)
	case change.TimestampTZ:
		return named("string", "io.debezium.time.ZonedTimestamp")
	case change.Array:
		return arrayField(t, pg)
	}
	return textField(t, pg)
}

// intType returns the smallest Connect type that holds integers of so many bits, one more if they are unsigned.
func intType(bits, unsigned uint8) string {
	switch {
	case bits == 0 || bits+unsigned > 32:
		return "int64"
	case bits+unsigned > 16:
		return "int32"
	}
	return "int16"
}

// unsignedDigits is the precision of an unsigned 64-bit number as a decimal.
const unsignedDigits = 20

func decimalField(scale string, precision int32) field {
	f := named("bytes", "org.apache.kafka.connect.data.Decimal")
	f.params = []change.Param{{Name: "scale", Value: scale}}
	if precision > 0 {
		f.params = append(f.params, change.Param{Name: "connect.decimal.precision", Value: strconv.Itoa(int(precision))})
	}
	return f
}

func decimalType(t *change.Type) field {
	switch {
	case t.Render == change.RenderString:
		return field{typ: "string"}
	case t.Render == change.RenderDouble:
		return field{typ: "double"}
	case t.Semantic == change.SemanticMoney:
		return decimalField(strconv.Itoa(int(t.Scale)), 0)
	case t.Precision > 0:
		return decimalField(strconv.Itoa(int(t.Scale)), t.Precision)
	}
	f := named("struct", "io.debezium.data.VariableScaleDecimal")
	f.doc = "Variable scaled decimal"
	f.fields = []field{{typ: "int32", field: "scale"}, {typ: "bytes", field: "value"}}
	return f
}

func bytesType(t *change.Type) string {
	switch t.Render {
	case change.RenderHex, change.RenderBase64, change.RenderBase64URL:
		return "string"
	}
	return "bytes"
}

func timeField(t *change.Type) field {
	unit := ""
	switch {
	case t.Render == change.RenderConnect:
		typ := "int32"
		if t.Kind == change.Timestamp {
			typ = "int64"
		}
		return named(typ, "org.apache.kafka.connect.data."+timeName(t.Kind))
	case t.Render == change.RenderISO:
		return named("string", "io.debezium.time.Iso"+timeName(t.Kind))
	case t.Kind == change.Date:
		return named("int32", "io.debezium.time.Date")
	case t.Render == change.RenderNanos:
		unit = "Nano"
	case t.Render == change.RenderMicros || !coarse(t):
		unit = "Micro"
	case t.Kind == change.Time:
		return named("int32", "io.debezium.time.Time")
	}
	return named("int64", "io.debezium.time."+unit+timeName(t.Kind))
}

func timeName(k change.Kind) string {
	switch k {
	case change.Date:
		return "Date"
	case change.Time:
		return "Time"
	}
	return "Timestamp"
}

func arrayField(t *change.Type, pg bool) field {
	if binaryText(t) {
		return field{typ: bytesType(t)}
	}
	items := field{typ: "string"}
	if t.Elem != nil {
		items = typeField(t.Elem, pg)
		// The names of an enum's labels are not optional in arrays: a quirk of Debezium's that readers have come to know.
		items.optional = t.Elem.Semantic != change.SemanticEnum
	} else {
		items.optional = true
	}
	return field{typ: "array", items: &items}
}

// textField returns the schema of a type whose values are Text.
func textField(t *change.Type, pg bool) field {
	switch t.Semantic {
	case change.SemanticEnum:
		f := named("string", "io.debezium.data.Enum")
		f.params = []change.Param{{Name: "allowed", Value: allowed(t.Labels, pg)}}
		return f
	case change.SemanticSet:
		f := named("string", "io.debezium.data.EnumSet")
		f.params = []change.Param{{Name: "allowed", Value: allowed(t.Labels, pg)}}
		return f
	case change.SemanticBits:
		if t.Length == 1 {
			return field{typ: "boolean"}
		}
		f := named("bytes", "io.debezium.data.Bits")
		length := int64(t.Length)
		if length == 0 {
			length = 1<<31 - 1
		}
		f.params = []change.Param{{Name: "length", Value: strconv.FormatInt(length, 10)}}
		return f
	case change.SemanticInterval:
		if t.Render == change.RenderString {
			return named("string", "io.debezium.time.Interval")
		}
		return named("int64", "io.debezium.time.MicroDuration")
	case change.SemanticTimeTZ:
		return named("string", "io.debezium.time.ZonedTime")
	case change.SemanticHStore:
		if t.Render == change.RenderMap {
			return field{typ: "map", keys: &field{typ: "string"}, values: &field{typ: "string", optional: true}}
		}
		return named("string", "io.debezium.data.Json")
	case change.SemanticXML:
		return named("string", "io.debezium.data.Xml")
	case change.SemanticLTree:
		return named("string", "io.debezium.data.Ltree")
	case change.SemanticTSVector:
		return named("string", "io.debezium.data.Tsvector")
	case change.SemanticPoint:
		return pointField()
	case change.SemanticGeometry:
		if isPoint(t) {
			return pointField()
		}
		return geometryField("Geometry")
	case change.SemanticGeography:
		return geometryField("Geography")
	case change.SemanticVector:
		return vectorField("DoubleVector", "double")
	case change.SemanticFloatVector:
		return vectorField("FloatVector", "float")
	case change.SemanticSparseVector:
		f := named("struct", "io.debezium.data.SparseDoubleVector")
		f.doc = "Sparse double vector"
		f.fields = []field{{typ: "int16", field: "dimensions"},
			{typ: "map", keys: &field{typ: "int16"}, values: &field{typ: "double"}, field: "vector"}}
		return f
	}
	if binaryText(t) {
		return field{typ: bytesType(t)}
	}
	return field{typ: "string"}
}

// isPoint reports whether a geometry is declared to be a point, as MySQL's POINT is.
func isPoint(t *change.Type) bool { return t.Semantic == change.SemanticGeometry && t.Name == "point" }

func pointField() field {
	f := named("struct", "io.debezium.data.geometry.Point")
	f.doc = "Geometry (POINT)"
	f.fields = []field{{typ: "double", field: "x"}, {typ: "double", field: "y"},
		{typ: "bytes", optional: true, field: "wkb"}, {typ: "int32", optional: true, field: "srid"}}
	return f
}

func geometryField(name string) field {
	f := named("struct", "io.debezium.data.geometry."+name)
	f.doc = name
	f.fields = []field{{typ: "bytes", field: "wkb"}, {typ: "int32", optional: true, field: "srid"}}
	return f
}

func vectorField(name, elem string) field {
	f := named("array", "io.debezium.data."+name)
	f.items = &field{typ: elem}
	return f
}

// allowed joins labels; commas in them get a backslash, but for those of PostgreSQL.
func allowed(labels []string, pg bool) string {
	if pg {
		return strings.Join(labels, ",")
	}
	quoted := make([]string, len(labels))
	for i, l := range labels {
		quoted[i] = strings.ReplaceAll(l, ",", `\,`)
	}
	return strings.Join(quoted, ",")
}

// sourceField returns the schema of the source block.
func sourceField(connector string, adjust change.Adjust) field {
	f := field{typ: "struct", name: adjustName("io.debezium.connector."+connector+".Source", adjust), version: 1, field: "source"}
	snapshot := named("string", "io.debezium.data.Enum")
	snapshot.optional, snapshot.field, snapshot.fallback = true, "snapshot", []byte(`"false"`)
	snapshot.params = []change.Param{{Name: "allowed", Value: "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}}
	f.fields = []field{{typ: "string", field: "version"}, {typ: "string", field: "connector"}, {typ: "string", field: "name"},
		{typ: "int64", field: "ts_ms"}, snapshot, {typ: "string", field: "db"}, {typ: "string", optional: true, field: "sequence"},
		{typ: "int64", optional: true, field: "ts_us"}, {typ: "int64", optional: true, field: "ts_ns"}}
	if connector == connectorPostgres {
		f.fields = append(f.fields, field{typ: "string", field: "schema"}, field{typ: "string", field: "table"},
			field{typ: "int64", optional: true, field: "txId"}, field{typ: "int64", optional: true, field: "lsn"},
			field{typ: "int64", optional: true, field: "xmin"}, field{typ: "string", optional: true, field: "origin"},
			field{typ: "int64", optional: true, field: "origin_lsn"})
	} else {
		f.fields = append(f.fields, field{typ: "string", optional: true, field: "table"}, field{typ: "int64", field: "server_id"},
			field{typ: "string", optional: true, field: "gtid"}, field{typ: "string", field: "file"}, field{typ: "int64", field: "pos"},
			field{typ: "int32", field: "row"}, field{typ: "int64", optional: true, field: "thread"},
			field{typ: "string", optional: true, field: "query"})
	}
	return f
}

// transactionField returns the schema of the transaction block.
func transactionField() field {
	return field{typ: "struct", optional: true, name: "event.block", version: 1, field: "transaction",
		fields: []field{{typ: "string", field: "id"}, {typ: "int64", field: "total_order"}, {typ: "int64", field: "data_collection_order"}}}
}

// envelopeField returns the schema of a value: row is that of the rows.
func envelopeField(stem, connector string, adjust change.Adjust, row field) field {
	before, after := row, row
	before.field, after.field = "before", "after"
	return field{typ: "struct", name: adjustName(stem+".Envelope", adjust), version: 2, fields: []field{before, after,
		sourceField(connector, adjust), transactionField(), {typ: "string", field: "op"}, {typ: "int64", optional: true, field: "ts_ms"},
		{typ: "int64", optional: true, field: "ts_us"}, {typ: "int64", optional: true, field: "ts_ns"}}}
}
