package envelope

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

func semantic(name string, r change.Render) change.Type {
	return change.Type{Kind: change.Text, Semantic: name, Render: r}
}

// bits is a type of bit strings of so many bits.
func bits(n int32) change.Type {
	return change.Type{Kind: change.Text, Semantic: change.SemanticBits, Length: n}
}

// TestSemantics writes values of each semantic, as PostgreSQL prints them, without and with schemas. What has no form is text without
// schemas and null with them, unless the schema's type is string.
func TestSemantics(t *testing.T) {
	money := change.Type{Kind: change.Decimal, Semantic: change.SemanticMoney, Scale: 1}
	for _, c := range []struct {
		typ          change.Type
		text         string
		want, strict string // strict "": the same
	}{
		{bits(8), "10000001", `"gQ=="`, ""},
		{bits(9), "100000001", `"AQE="`, ""},
		{bits(0), "", `""`, ""},
		{bits(8), "1000000x", `"1000000x"`, "null"},
		{bits(1), "1", "true", ""},
		{bits(1), "0", "false", ""},
		{bits(1), "", `""`, "null"},
		{semantic(change.SemanticInterval, 0), "1 year 2 mons 3 days 04:05:06.789", "37091106789000", ""},
		{semantic(change.SemanticInterval, 0), "-1 days -00:00:01", "-86401000000", ""},
		{semantic(change.SemanticInterval, 0), "00:00:00", "0", ""},
		{semantic(change.SemanticInterval, 0), "178000000 years", fmt.Sprint(math.MaxInt64), ""},
		{semantic(change.SemanticInterval, 0), "-178000000 years", fmt.Sprint(math.MinInt64), ""},
		{semantic(change.SemanticInterval, 0), "infinity", `"infinity"`, "null"},
		{semantic(change.SemanticInterval, 0), "1 fortnight", `"1 fortnight"`, "null"},
		{semantic(change.SemanticInterval, change.RenderString), "-1 years -9 mons -4 days +05:06:07", `"P-1Y-9M-4DT5H6M7S"`, ""},
		{semantic(change.SemanticInterval, change.RenderString), "25:00:00.000001", `"P0Y0M0DT25H0M0.000001S"`, ""},
		{semantic(change.SemanticInterval, change.RenderString), "-25:30:00.5", `"P0Y0M0DT-25H-30M-0.5S"`, ""},
		{semantic(change.SemanticInterval, change.RenderString), "infinity", `"infinity"`, ""},
		{semantic(change.SemanticTimeTZ, 0), "13:14:15.5+02", `"11:14:15.5Z"`, ""},
		{semantic(change.SemanticTimeTZ, 0), "24:00:00-05", `"05:00:00Z"`, ""},
		{semantic(change.SemanticTimeTZ, 0), "00:00:00+15:59:59", `"08:00:01Z"`, ""},
		{semantic(change.SemanticTimeTZ, 0), "06:30:00+05:45", `"00:45:00Z"`, ""},
		{semantic(change.SemanticTimeTZ, 0), "noon+00", `"noon+00"`, ""},
		{semantic(change.SemanticHStore, 0), `"a"=>"1", "q"=>"x\"y", "b c"=>NULL`, `"{\"a\":\"1\",\"q\":\"x\\\"y\",\"b c\":null}"`, ""},
		{semantic(change.SemanticHStore, 0), `"a"=>"1", "q"=>"2", "z"=>"9", "b c"=>NULL`, `"{\"a\":\"1\",\"q\":\"2\",\"b c\":null,\"z\":\"9\"}"`, ""}, // Java's order
		{semantic(change.SemanticHStore, 0), "", `"{}"`, ""},
		{semantic(change.SemanticHStore, change.RenderMap), `"ä"=>"\\"`, `{"ä":"\\"}`, ""},
		{semantic(change.SemanticHStore, change.RenderMap), `"a"=>1`, `"\"a\"=>1"`, "null"},
		{semantic(change.SemanticPoint, 0), "(1.5,-2)", `{"x":1.5,"y":-2.0,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}`, ""},
		{semantic(change.SemanticPoint, 0), "(Infinity,NaN)", `{"x":"Infinity","y":"NaN","wkb":"AQEAAAAAAAAAAADwfwAAAAAAAPh/","srid":null}`, ""},
		{semantic(change.SemanticPoint, 0), "0101000020E6100000000000000000F03F0000000000000040", `{"x":1.0,"y":2.0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA","srid":4326}`, ""},
		{semantic(change.SemanticPoint, 0), "1,2", `"1,2"`, "null"},
		{semantic(change.SemanticGeometry, 0), "0101000020E6100000000000000000F03F0000000000000040", `{"wkb":"AQEAACDmEAAAAAAAAAAA8D8AAAAAAAAAQA==","srid":4326}`, ""},
		{semantic(change.SemanticGeography, 0), "010700000000000000", `{"wkb":"AQcAAAAAAAAA","srid":null}`, ""},
		{semantic(change.SemanticGeometry, 0), "0x", `"0x"`, "null"},
		{semantic(change.SemanticVector, 0), "[1,0.1,-3e+10]", "[1.0,0.1,-3.0E10]", ""},
		{semantic(change.SemanticFloatVector, 0), "[0.1]", "[0.1]", ""},
		{semantic(change.SemanticFloatVector, 0), "[]", "[]", ""},
		{semantic(change.SemanticVector, 0), "[1,x]", `"[1,x]"`, "null"},
		{semantic(change.SemanticSparseVector, 0), "{1:1.5,7:2}/8", `{"dimensions":8,"vector":[[1,1.5],[7,2.0]]}`, ""},
		{semantic(change.SemanticSparseVector, 0), "{}/3", `{"dimensions":3,"vector":[]}`, ""},
		{semantic(change.SemanticSparseVector, 0), "{1:1.5}", `"{1:1.5}"`, "null"},
		{semantic(change.SemanticUnknown, change.RenderBytes), "a&b", `"YSZi"`, ""},
		{semantic(change.SemanticUnknown, change.RenderHex), "a&b", `"612662"`, ""},
		{semantic(change.SemanticUnknown, 0), "a&b", `"a&b"`, ""},
		{money, "-1234.56", `"z8Y="`, ""}, // -12346 at one digit, away from zero
		{money, "1234.5", `"MDk="`, ""},
		{money, "many", `"many"`, "null"},
		{change.Type{Kind: change.Decimal, Precision: 5, Scale: 2}, "NaN", `"NaN"`, "null"},
		{listOf(change.Type{Kind: change.Int}), "{{1,2},{3,4}}", "[[1,2],[3,4]]", "[null,null]"},
		{listOf(change.Type{Kind: change.Int}), "{1,NULL,x}", `[1,null,"x"]`, "[1,null,null]"},
		{listOf(semantic(change.SemanticInterval, 0)), `{"1 day",NULL}`, "[86400000000,null]", ""},
		{listOf(semantic(change.SemanticHStore, 0)), `{"\"a\"=>\"1\""}`, `["{\"a\":\"1\"}"]`, ""},
	} {
		for _, schemas := range []bool{false, true} {
			col := columnOf(c.typ, Side{Schemas: schemas})
			v := change.Value{Kind: c.typ.Kind, Data: []byte(c.text)}
			want := c.want
			if schemas && c.strict != "" {
				want = c.strict
			}
			if got := string(New(Options{}).appendValue(nil, &col, &v)); got != want || !json.Valid([]byte(got)) {
				t.Errorf("%s %q, schemas %v: %s, want %s", c.typ.Semantic, c.text, schemas, got, want)
			}
		}
	}
}

// TestBinlogForms are the forms that only MySQL and MariaDB have.
func TestBinlogForms(t *testing.T) {
	enc := New(Options{Values: Side{Schemas: true}})
	for _, c := range []struct {
		typ  change.Type
		v    change.Value
		want string
	}{
		{bits(20), change.Value{Kind: change.Text, Data: []byte("00000000000000000001")}, `"AQAA"`}, // the full width
		{change.Type{Kind: change.Uint, Bits: 64}, change.Value{Kind: change.Uint, Num: math.MaxUint64}, "-1"},
		{change.Type{Kind: change.Uint, Bits: 64, Render: change.RenderPrecise}, change.Value{Kind: change.Uint, Num: math.MaxUint64}, `"AP//////////"`},
		{change.Type{Kind: change.Uint, Bits: 64}, change.Value{Kind: change.Int, Num: 7}, "7"}, // from a key tuple
		{change.Type{Kind: change.Uint, Bits: 32}, change.Value{Kind: change.Uint, Num: math.MaxUint32}, "4294967295"},
		{semantic(change.SemanticGeometry, 0), change.Value{Kind: change.Text, Data: []byte("0101000020E6100000000000000000F03F0000000000000040")},
			`{"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA","srid":4326}`},
	} {
		col := enc.newColumn(&change.Column{Type: c.typ}, &change.Origin{Connector: "mysql"}, Side{Schemas: true}, Placeholder)
		if got := string(enc.appendValue(nil, &col, &c.v)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.v, got, c.want)
		}
	}
	for _, c := range []struct {
		typ  change.Type
		want string
	}{
		{change.Type{Kind: change.Int, Bits: 8}, "int16"}, {change.Type{Kind: change.Uint, Bits: 8}, "int16"},
		{change.Type{Kind: change.Uint, Bits: 16}, "int32"}, {change.Type{Kind: change.Int, Bits: 24}, "int32"}, {change.Type{Kind: change.Uint, Bits: 24}, "int32"},
		{change.Type{Kind: change.Uint, Bits: 32}, "int64"}, {change.Type{Kind: change.Uint, Bits: 64}, "int64"},
		{change.Type{Kind: change.Uint, Bits: 64, Render: change.RenderPrecise}, "bytes org.apache.kafka.connect.data.Decimal scale=0 connect.decimal.precision=20"},
		{change.Type{Kind: change.Int, Semantic: change.SemanticYear}, "int32 io.debezium.time.Year"},
		{change.Type{Kind: change.Text, Semantic: change.SemanticSet, Labels: []string{"a", "b,c"}}, `string io.debezium.data.EnumSet allowed=a,b\,c`},
		{semantic(change.SemanticFloatVector, 0), "array io.debezium.data.FloatVector"},
	} {
		f := typeField(&c.typ, false)
		got := strings.TrimSpace(f.typ + " " + f.name)
		for _, p := range f.params {
			got += " " + p.Name + "=" + p.Value
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.typ, got, c.want)
		}
	}
}

func TestAdjust(t *testing.T) {
	for _, c := range []struct {
		name, avro, unicode, field string
	}{
		{"ref.My Schema.t_x.Key", "ref.My_Schema.t_x.Key", "ref.My_u0020Schema.t_u005fx.Key", "ref_My_Schema_t_x_Key"},
		{"1st", "_1st", "_u0031st", "_1st"},
		{"naïve", "na_ve", "na_u00efve", "na_ve"},
		{"a😀", "a__", "a_ud83d_ude00", "a__"},
		{"ok.9", "ok.9", "ok.9", "ok_9"},
	} {
		if a, u, f := adjustName(c.name, change.AdjustAvro), adjustName(c.name, change.AdjustAvroUnicode), adjustField(c.name, change.AdjustAvro); a != c.avro || u != c.unicode || f != c.field {
			t.Errorf("%s: %s %s %s, want %s %s %s", c.name, a, u, f, c.avro, c.unicode, c.field)
		}
		if adjustName(c.name, change.AdjustNone) != c.name {
			t.Errorf("%s is changed", c.name)
		}
	}
}

// TestNulls are the ways of NULL and of values that were not sent.
func TestNulls(t *testing.T) {
	c := change.Column{Name: "c", Type: change.Type{Kind: change.Int, Bits: 32}, Nullable: true, HasDefault: true, Default: change.Value{Kind: change.Int, Num: 7}}
	o := &change.Origin{Connector: connectorPostgres}
	for _, tt := range []struct {
		side                  Side
		nullable              bool
		null, missing, absent string
	}{
		{Side{}, true, "null", "null", `"gone"`},
		{Side{}, false, "null", "null", `"gone"`},
		{Side{NullDefault: true}, true, "7", "7", `"gone"`},
		{Side{Schemas: true}, true, "null", "null", "null"},
		{Side{Schemas: true}, false, "null", "7", "7"},
		{Side{Schemas: true, NullDefault: true}, true, "7", "7", "7"},
	} {
		c.Nullable = tt.nullable
		col := New(Options{}).newColumn(&c, o, tt.side, "gone")
		if string(col.null) != tt.null || string(col.missing) != tt.missing || string(col.absent) != tt.absent {
			t.Errorf("%+v %v: %s %s %s", tt.side, tt.nullable, col.null, col.missing, col.absent)
		}
	}
	for want, typ := range map[string]change.Type{
		`"AA=="`: {Kind: change.Decimal, Precision: 5, Scale: 2}, `{"scale":0,"value":"AA=="}`: {Kind: change.Decimal},
		`"0.00"`: {Kind: change.Decimal, Precision: 5, Scale: 2, Render: change.RenderString}, `"0"`: {Kind: change.Decimal, Render: change.RenderString},
		"0.0": {Kind: change.Float64}, "0": {Kind: change.Int}, "false": {Kind: change.Bool}, "[]": {Kind: change.Array}, "{}": hstoreMap(),
		`"{}"`: semantic(change.SemanticHStore, 0), zeroPoint: semantic(change.SemanticPoint, 0), zeroGeometry: semantic(change.SemanticGeography, 0),
		zeroInterval: {Kind: change.Text, Semantic: change.SemanticInterval, Render: change.RenderString}, epoch: {Kind: change.TimestampTZ},
		`"00:00:00Z"`: semantic(change.SemanticTimeTZ, 0), `{"dimensions":0,"vector":[]}`: semantic(change.SemanticSparseVector, 0), `""`: {Kind: change.Text},
	} {
		f := typeField(&typ, true)
		if got := string(zero(&typ, &f)); got != want {
			t.Errorf("%+v: %s, want %s", typ, got, want)
		}
	}
}

func hstoreMap() change.Type {
	return change.Type{Kind: change.Text, Semantic: change.SemanticHStore, Render: change.RenderMap}
}

// TestLabels: Debezium's schemas have the labels of PostgreSQL's enums as they are.
func TestLabels(t *testing.T) {
	labels := []string{"a", "b,c"}
	for pg, want := range map[bool]string{true: "a,b,c", false: `a,b\,c`} {
		if got := allowed(labels, pg); got != want {
			t.Errorf("%v: %s", pg, got)
		}
	}
}

// TestRaw writes what is no row, with schemas that fit.
func TestRaw(t *testing.T) {
	table := &change.Table{Name: change.TableName{Database: "db"}, Origin: &change.Origin{Connector: "postgresql", Name: "shop"},
		Columns: []change.Column{{Name: "content", Type: change.Type{Kind: change.Bytes, Render: change.RenderHex}}}}
	mysql := &change.Table{Origin: &change.Origin{Connector: "mysql", Name: "shop"}}
	raw := func(t *change.Table, form change.Form, key, value string) *change.Event {
		return &change.Event{Table: t, Op: change.OpMessage, LSN: 5, TxID: "9:5", TxOrder: 2, TxInTable: 1, Raw: &change.Raw{Key: []byte(key), Value: []byte(value), Form: form}}
	}
	for _, c := range []struct {
		e               *change.Event
		key, value      string // payloads
		keyName, member string // of the schema
	}{
		{raw(nil, change.FormHeartbeat, `{"serverName":"shop"}`, `{"ts_ms":1}`), `{"serverName":"shop"}`, `{"ts_ms":1}`, "common.ServerNameKey", "common.Heartbeat"},
		{raw(nil, change.FormTransaction, `{"id":"1"}`, `{"status":"BEGIN"}`), `{"id":"1"}`, `{"status":"BEGIN"}`, "common.TransactionMetadataKey", "common.TransactionMetadataValue"},
		{raw(nil, change.FormNotification, `{"id":"1"}`, `{"type":"STARTED"}`), `{"id":"1"}`, `{"type":"STARTED"}`, "common.NotificationKey", "common.Notification"},
		{raw(mysql, change.FormSchemaChange, `{"databaseName":"db"}`, `{"ddl":""}`), `{"databaseName":"db"}`, `{"ddl":""}`, "mysql.SchemaChangeKey", "mysql.SchemaChangeValue"},
		{raw(table, change.FormMessage, `a"b`, "\x00\xff"), `{"prefix":"a\"b"}`, `{"op":"m","ts_ms":0,"source":{"version":"","connector":"postgresql","name":"shop","ts_ms":0,"snapshot":"false",` +
			`"db":"db","sequence":"[null,\"5\"]","ts_us":0,"ts_ns":0,"schema":"","table":"","txId":null,"lsn":5,"xmin":null,"origin":null,"origin_lsn":null},` +
			`"transaction":{"id":"9:5","total_order":2,"data_collection_order":1},"message":{"prefix":"a\"b","content":"00ff"}}`, "postgresql.MessageKey", "postgresql.MessageValue"},
	} {
		plain, strict := New(Options{}), New(Options{Keys: Side{Schemas: true}, Values: Side{Schemas: true}})
		key, _ := plain.AppendKey(nil, c.e)
		value, _ := plain.AppendValue(nil, c.e)
		if string(key) != c.key || string(value) != c.value {
			t.Errorf("%s %s\nwant %s %s", key, value, c.key, c.value)
		}
		for _, x := range []struct {
			text          []byte
			payload, name string
		}{{first(strict.AppendKey(nil, c.e)), c.key, c.keyName}, {first(strict.AppendValue(nil, c.e)), c.value, c.member}} {
			var v struct {
				Schema  struct{ Name string }
				Payload json.RawMessage
			}
			if err := json.Unmarshal(x.text, &v); err != nil || string(v.Payload) != x.payload || v.Schema.Name != "io.debezium.connector."+x.name {
				t.Errorf("%v %s", err, x.text)
			}
		}
	}
}

// TestReplica shows where a change came from, and keys that hold the true value of a masked column.
func TestReplica(t *testing.T) {
	e := wide()
	e.Replica = &change.Replica{Origin: "node_b", LSN: 4660}
	got, _ := New(Options{}).AppendValue(nil, e)
	if !strings.Contains(string(got), `"xmin":null,"origin":"node_b","origin_lsn":4660}`) {
		t.Errorf("%s", got)
	}
	e.Key, _ = change.AppendKey(nil, e.Table, e.After)
	e.Table.Columns[0].Masked = true
	e.After[0] = change.Value{Kind: change.Text, Data: []byte("***")}
	if key, _ := New(Options{}).AppendKey(nil, e); string(key) != `{"id":123456}` {
		t.Errorf("%s", key)
	}
	e.Table.Origin = &change.Origin{Connector: "postgresql", NoContext: true}
	if h := New(Options{RunID: "x"}).AppendHeaders(nil, e); string(h) != "[]" {
		t.Errorf("%s", h)
	}
}

// TestAbsentForms: what stands for a value that was not sent has the shape of the column's type, as Debezium gives it.
func TestAbsentForms(t *testing.T) {
	bytea := change.Type{Kind: change.Bytes}
	hex := change.Type{Kind: change.Bytes, Render: change.RenderHex}
	date := change.Type{Kind: change.Date}
	iso := change.Type{Kind: change.Date, Render: change.RenderISO}
	for _, tt := range []struct {
		typ  change.Type
		want string
	}{
		{bytea, `"Z29uZQ=="`}, {hex, `"gone"`}, {semantic(change.SemanticHStore, 0), `"{\"gone\":\"gone\"}"`}, {hstoreMap(), `{"gone":"gone"}`},
		{change.Type{Kind: change.Array, Elem: &bytea}, `["Z29uZQ=="]`}, {change.Type{Kind: change.Array, Elem: &hex}, `["gone"]`},
		{change.Type{Kind: change.Array, Elem: &date}, `[103,111,110,101]`}, {change.Type{Kind: change.Array, Elem: &iso}, `["gone"]`},
		{change.Type{Kind: change.Decimal}, "null"}, {change.Type{Kind: change.Decimal, Render: change.RenderString}, `"gone"`},
	} {
		c := change.Column{Name: "c", Type: tt.typ, Nullable: true}
		col := New(Options{}).newColumn(&c, &change.Origin{Connector: connectorPostgres}, Side{Schemas: true}, "gone")
		if string(col.absent) != tt.want {
			t.Errorf("%+v: %s, want %s", tt.typ, col.absent, tt.want)
		}
	}
}
