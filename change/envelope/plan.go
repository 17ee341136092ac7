package envelope

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

const connectorPostgres = "postgresql"

// plan is what of a table's events is the same in each.
type plan struct {
	table   *change.Table
	columns []column
	key     []column // the key columns, in key order, as keys have them
	byTuple bool     // rows hold masked values of key columns: only the key tuple has the true ones
	pg      bool

	// With schemas, what stands before a payload: {"schema":{...},"payload":
	keyHead, headerHead []byte // a key, a key in a header
	valueHead, flatHead []byte // an envelope, a bare row

	head  []byte // ,"source":{ ... "ts_ms":
	db    []byte // ,"db":"...","sequence":
	place []byte // ,"schema":"...","table":"..."
}

// A column writes the values of one column.
type column struct {
	t        *change.Type
	form     form
	elem     *column
	name     []byte // "name":
	fallback []byte // the default; nil: none
	null     []byte // stands for NULL
	absent   []byte // stands for a value that was not sent, in an After image
	missing  []byte // the same in a Before image
	unfit    []byte // stands for text that the schema's type can't hold; nil: the text itself
	pg       bool
	omit     bool
	strict   bool // readers go by a schema
	isString bool // the schema's type is string
}

func (enc *Encoder) planOf(t *change.Table) *plan {
	if t == enc.last {
		return enc.plan
	}
	p, ok := enc.plans[t]
	if !ok {
		p = enc.newPlan(t)
		enc.plans[t] = p
	}
	enc.last, enc.plan = t, p
	return p
}

func (enc *Encoder) newPlan(t *change.Table) *plan {
	var o change.Origin
	if t.Origin != nil {
		o = *t.Origin
	}
	p := &plan{table: t, pg: o.Connector == connectorPostgres}
	placeholder := enc.o.Placeholder
	if o.Placeholder != "" {
		placeholder = o.Placeholder
	}
	if placeholder == "" {
		placeholder = Placeholder
	}
	for i := range t.Columns {
		p.columns = append(p.columns, enc.newColumn(&t.Columns[i], &o, enc.o.Values, placeholder))
	}
	for _, i := range t.Key {
		p.key = append(p.key, enc.newColumn(&t.Columns[i], &o, enc.o.Keys, placeholder))
		p.byTuple = p.byTuple || t.Columns[i].Masked
	}
	p.setSource(t, &o)
	if enc.o.Keys.Schemas {
		p.keyHead = wrap(p.keyField(&o))
	}
	if enc.o.Headers.Schemas {
		p.headerHead = wrap(p.keyField(&o))
	}
	if enc.o.Values.Schemas {
		row := p.rowField(&o)
		p.flatHead = wrap(row)
		p.valueHead = wrap(envelopeField(p.stem(&o), o.Connector, o.SchemaNames, row))
	}
	return p
}

// wrap returns what stands before a payload.
func wrap(f field) []byte {
	return append(f.append([]byte(`{"schema":`)), `,"payload":`...)
}

func (p *plan) setSource(t *change.Table, o *change.Origin) {
	p.head = jsontext.AppendText([]byte(`"source":{"version":`), o.Version)
	p.head = jsontext.AppendText(append(p.head, `,"connector":`...), o.Connector)
	p.head = jsontext.AppendText(append(p.head, `,"name":`...), o.Name)
	p.head = append(p.head, `,"ts_ms":`...)
	p.db = jsontext.AppendText([]byte(`,"db":`), t.Name.Database)
	p.db = append(p.db, `,"sequence":`...)
	if p.pg {
		p.place = jsontext.AppendText([]byte(`,"schema":`), t.Name.Schema)
	}
	p.place = append(p.place, `,"table":`...)
	if t.Name.Table == "" && !p.pg {
		p.place = append(p.place, "null"...)
	} else {
		p.place = jsontext.AppendText(p.place, t.Name.Table)
	}
}

// stem is what the names of the table's schemas begin with.
func (p *plan) stem(o *change.Origin) string {
	if p.table.Topic != "" {
		return p.table.Topic
	}
	return o.Name + "." + p.table.Name.String()
}

// newColumn makes a column for keys or values.
func (enc *Encoder) newColumn(c *change.Column, o *change.Origin, s Side, placeholder string) column {
	pg := o.Connector == connectorPostgres
	f := typeField(&c.Type, pg)
	col := column{t: &c.Type, form: formOf(&c.Type), pg: pg, strict: s.Schemas, isString: f.typ == "string",
		omit: c.Type.Render == change.RenderOmit || c.KeyOnly, name: jsontext.AppendKey(nil, adjustField(c.Name, o.FieldNames))}
	if c.Type.Elem != nil {
		e := typeField(c.Type.Elem, pg)
		col.elem = &column{t: c.Type.Elem, form: formOf(c.Type.Elem), pg: pg, strict: s.Schemas, isString: e.typ == "string", null: []byte("null")}
		if s.Schemas && !col.elem.isString {
			col.elem.unfit = []byte("null")
		}
	}
	if s.Schemas && !col.isString {
		col.unfit = []byte("null")
	}
	col.null, col.missing = []byte("null"), []byte("null")
	col.fallback = enc.appendDefault(c, &col)
	if s.NullDefault && col.fallback != nil {
		col.null, col.missing = col.fallback, col.fallback
	}
	if s.Schemas && !c.Nullable { // the schema allows no null
		if col.missing = col.fallback; col.missing == nil {
			col.missing = zero(&c.Type, &f)
		}
		if col.unfit != nil {
			col.unfit = zero(&c.Type, &f)
		}
	}
	col.absent = appendAbsent(nil, &col, &f, placeholder)
	if col.absent == nil {
		col.absent = col.missing
	}
	return col
}

// appendDefault returns the column's default as JSON, nil if it has none.
func (enc *Encoder) appendDefault(c *change.Column, col *column) []byte {
	if !c.HasDefault || !c.Default.Present() || c.Default.Kind == change.Null || c.Default.Kind == change.Array {
		return nil
	}
	v := c.Default
	if !col.pg && v.Kind == change.TimestampTZ && v.Num == 0 { // stands for the present time or a zero date
		return []byte(epoch)
	}
	text := enc.appendValue(nil, col, &v)
	if bytes.Equal(text, []byte("null")) || text[0] == '{' { // Connect knows no structs and arrays as defaults
		return nil
	}
	return text
}

// columnField returns the schema of a column.
func columnField(c *change.Column, o *change.Origin, fallback []byte) field {
	f := typeField(&c.Type, o.Connector == connectorPostgres)
	f.optional, f.field, f.fallback = c.Nullable, adjustField(c.Name, o.FieldNames), fallback
	return f
}

func (p *plan) keyField(o *change.Origin) field {
	f := field{typ: "struct", name: adjustName(p.stem(o)+".Key", o.SchemaNames)}
	for n, i := range p.table.Key {
		f.fields = append(f.fields, columnField(&p.table.Columns[i], o, p.key[n].fallback))
	}
	return f
}

func (p *plan) rowField(o *change.Origin) field {
	f := field{typ: "struct", optional: true, name: adjustName(p.stem(o)+".Value", o.SchemaNames)}
	for i := range p.table.Columns {
		c := &p.table.Columns[i]
		if p.columns[i].omit {
			continue
		}
		cf := columnField(c, o, p.columns[i].fallback)
		cf.params = append(cf.params, c.Params...)
		f.fields = append(f.fields, cf)
	}
	return f
}

const epoch = `"1970-01-01T00:00:00Z"`

// What stands for none in types whose values are structs or texts of a form: a point at the origin, an empty collection of
// geometries, no time at all.
const (
	zeroPoint    = `{"x":0.0,"y":0.0,"wkb":"AQEAAAAAAAAAAAAAAAAAAAAAAAAA","srid":null}`
	zeroGeometry = `{"wkb":"AQcAAAAAAAAA","srid":null}`
	zeroDecimal  = `{"scale":0,"value":"AA=="}`
	zeroInterval = `"P0Y0M0DT0H0M0S"`
)

// zero returns the value that stands for none where a schema allows no null, as Debezium has it.
func zero(t *change.Type, f *field) []byte {
	switch f.typ {
	case "boolean":
		return []byte("false")
	case "string":
		return zeroText(t, f)
	case "bytes":
		if f.name == "org.apache.kafka.connect.data.Decimal" {
			return []byte(`"AA=="`)
		}
		return []byte(`""`)
	case "array":
		return []byte("[]")
	case "map":
		return []byte("{}")
	case "struct":
		switch f.name {
		case "io.debezium.data.VariableScaleDecimal":
			return []byte(zeroDecimal)
		case "io.debezium.data.geometry.Point":
			return []byte(zeroPoint)
		case "io.debezium.data.SparseDoubleVector":
			return []byte(`{"dimensions":0,"vector":[]}`)
		}
		return []byte(zeroGeometry)
	case "double", "float":
		return []byte("0.0")
	}
	return []byte("0")
}

func zeroText(t *change.Type, f *field) []byte {
	switch f.name {
	case "io.debezium.time.ZonedTimestamp":
		return []byte(epoch)
	case "io.debezium.time.ZonedTime":
		return []byte(`"00:00:00Z"`)
	case "io.debezium.time.Interval":
		return []byte(zeroInterval)
	case "io.debezium.data.Json":
		if t.Semantic == change.SemanticHStore {
			return []byte(`"{}"`)
		}
	}
	if t.Kind == change.Decimal && t.Scale > 0 && (t.Precision > 0 || t.Semantic == change.SemanticMoney) {
		return fmt.Appendf(nil, `"0.%s"`, strings.Repeat("0", int(t.Scale)))
	} else if t.Kind == change.Decimal {
		return []byte(`"0"`)
	}
	return []byte(`""`)
}

// appendAbsent appends what stands for a value that was not sent: the placeholder in the shape of the column's type. It
// returns nil where the type has no room for it.
func appendAbsent(dst []byte, c *column, f *field, placeholder string) []byte {
	t := c.t
	switch t.Kind {
	case change.Bytes:
		if c.isString { // as it is, and not in the form of the other values
			return jsontext.AppendText(dst, placeholder)
		}
		return append(jsontext.AppendBase64(append(dst, '"'), []byte(placeholder)), '"')
	case change.Array:
		if f.items != nil && t.Elem != nil {
			return appendAbsentArray(dst, c.elem, f.items, placeholder)
		}
	case change.Text:
		if f.typ == "map" {
			dst = jsontext.AppendKey(append(dst, '{'), placeholder)
			return append(jsontext.AppendText(dst, placeholder), '}')
		}
		if t.Semantic == change.SemanticHStore {
			object := append(jsontext.AppendKey([]byte{'{'}, placeholder), jsontext.AppendText(nil, placeholder)...)
			return jsontext.AppendText(dst, string(append(object, '}')))
		}
	}
	if c.form == formTextBytes && !c.isString {
		return append(jsontext.AppendBase64(append(dst, '"'), []byte(placeholder)), '"')
	}
	if c.strict && !c.isString {
		return nil
	}
	return jsontext.AppendText(dst, placeholder)
}

func appendAbsentArray(dst []byte, elem *column, items *field, placeholder string) []byte {
	dst = append(dst, '[')
	switch elem.t.Kind {
	case change.Int, change.Uint, change.Date:
		if elem.isString {
			dst = jsontext.AppendText(dst, placeholder)
			break
		}
		for i := range len(placeholder) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(placeholder[i]), 10)
		}
	case change.UUID:
		dst = append(jsontext.AppendUUID(append(dst, '"'), nameUUID(placeholder)), '"')
	default:
		text := appendAbsent(nil, elem, items, placeholder)
		if text == nil {
			text = []byte("null")
		}
		dst = append(dst, text...)
	}
	return append(dst, ']')
}
