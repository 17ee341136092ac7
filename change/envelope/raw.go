package envelope

import (
	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// rawKind tells the schemas of Raw events apart.
type rawKind struct {
	form      change.Form
	connector string
	adjust    change.Adjust
	content   change.Render // of logical messages
}

// rawHeads is what stands before the payload of a Raw event's key and value where they have schemas.
type rawHeads struct{ key, value []byte }

// headsOf returns the heads of a Raw event, empty where there are no schemas.
func (enc *Encoder) headsOf(e *change.Event) rawHeads {
	if !enc.o.Keys.Schemas && !enc.o.Values.Schemas || e.Raw.Form == change.FormBytes {
		return rawHeads{}
	}
	k := rawKind{form: e.Raw.Form}
	if e.Table != nil && e.Table.Origin != nil {
		k.connector, k.adjust, k.content = e.Table.Origin.Connector, e.Table.Origin.SchemaNames, contentType(e.Table).Render
	}
	h, ok := enc.heads[k]
	if !ok {
		key, value := k.fields()
		if enc.o.Keys.Schemas {
			h.key = wrap(key)
		}
		if enc.o.Values.Schemas {
			h.value = wrap(value)
		}
		enc.heads[k] = h
	}
	return h
}

// contentType returns the type of a logical message's content: that of the only column of its table.
func contentType(t *change.Table) change.Type {
	if len(t.Columns) > 0 {
		return t.Columns[0].Type
	}
	return change.Type{Kind: change.Bytes}
}

func (k *rawKind) common(name string, fields ...field) field {
	return field{typ: "struct", name: adjustName("io.debezium.connector."+name, k.adjust), version: 1, fields: fields}
}

func text(name string) field    { return field{typ: "string", field: name} }
func optText(name string) field { return field{typ: "string", optional: true, field: name} }
func long(name string) field    { return field{typ: "int64", field: name} }

// fields returns the schemas of key and value.
func (k *rawKind) fields() (key, value field) {
	switch k.form {
	case change.FormHeartbeat:
		return k.common("common.ServerNameKey", text("serverName")), k.common("common.Heartbeat", long("ts_ms"))
	case change.FormTransaction:
		collection := field{typ: "struct", optional: true, name: "event.collection", version: 1,
			fields: []field{text("data_collection"), long("event_count")}}
		return k.common("common.TransactionMetadataKey", text("id")),
			k.common("common.TransactionMetadataValue", text("status"), text("id"), field{typ: "int64", optional: true, field: "event_count"},
				field{typ: "array", items: &collection, optional: true, field: "data_collections"}, long("ts_ms"))
	case change.FormNotification:
		data := field{typ: "map", keys: &field{typ: "string"}, values: &field{typ: "string"}, optional: true, field: "additional_data"}
		return k.common("common.NotificationKey", text("id")),
			k.common("common.Notification", text("id"), text("type"), text("aggregate_type"), data, long("timestamp"))
	case change.FormSchemaChange:
		return k.schemaChange()
	}
	message := k.common("postgresql.Message", optText("prefix"), field{typ: bytesType(&change.Type{Render: k.content}), optional: true, field: "content"})
	message.field = "message"
	return k.common("postgresql.MessageKey", optText("prefix")),
		k.common("postgresql.MessageValue", text("op"), field{typ: "int64", optional: true, field: "ts_ms"},
			sourceField(k.connector, k.adjust), transactionField(), message)
}

func (k *rawKind) schemaChange() (key, value field) {
	integer := func(name string, optional bool) field { return field{typ: "int32", optional: optional, field: name} }
	boolean := func(name string) field { return field{typ: "boolean", optional: true, field: name} }
	names := func(name string) field {
		return field{typ: "array", items: &field{typ: "string"}, optional: true, field: name}
	}
	column := k.common("schema.Column", text("name"), integer("jdbcType", false), integer("nativeType", true), text("typeName"),
		optText("typeExpression"), optText("charsetName"), integer("length", true), integer("scale", true), integer("position", false),
		boolean("optional"), boolean("autoIncremented"), boolean("generated"), optText("comment"), optText("defaultValueExpression"), names("enumValues"))
	table := k.common("schema.Table", optText("defaultCharsetName"), names("primaryKeyColumnNames"),
		field{typ: "array", items: &column, field: "columns"}, optText("comment"))
	table.optional, table.field = true, "table"
	changed := k.common("schema.Change", text("type"), text("id"), table)
	return k.common(k.connector+".SchemaChangeKey", text("databaseName")),
		k.common(k.connector+".SchemaChangeValue", sourceField(k.connector, k.adjust), long("ts_ms"), optText("databaseName"),
			optText("schemaName"), optText("ddl"), field{typ: "array", items: &changed, field: "tableChanges"})
}

func (enc *Encoder) appendRawKey(dst []byte, e *change.Event) ([]byte, bool) {
	if e.Raw.Key == nil {
		return dst, false
	}
	head := enc.headsOf(e).key
	dst = append(dst, head...)
	if e.Raw.Form != change.FormMessage {
		return closeHead(append(dst, e.Raw.Key...), head), true
	}
	dst = jsontext.AppendString(append(dst, `{"prefix":`...), e.Raw.Key)
	return closeHead(append(dst, '}'), head), true
}

func (enc *Encoder) appendRawValue(dst []byte, e *change.Event) ([]byte, bool) {
	if e.Raw.Value == nil {
		return dst, false
	}
	head := enc.headsOf(e).value
	dst = append(dst, head...)
	if e.Raw.Form != change.FormMessage || e.Table == nil {
		return closeHead(append(dst, e.Raw.Value...), head), true
	}
	enc.seen.set(e.Seen)
	dst = enc.seen.appendMillis(append(dst, `{"op":"m","ts_ms":`...))
	dst = enc.appendSource(append(dst, ','), enc.planOf(e.Table), e)
	dst = appendTransaction(append(dst, ','), e)
	dst = jsontext.AppendString(append(dst, `,"message":{"prefix":`...), e.Raw.Key)
	t := contentType(e.Table)
	dst = appendBytes(append(dst, `,"content":"`...), &t, e.Raw.Value)
	return closeHead(append(dst, `"}}`...), head), true
}
