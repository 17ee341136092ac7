package main

import (
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/change/envelope"
)

func TestConverter(t *testing.T) {
	const json = "org.apache.kafka.connect.json.JsonConverter"
	for _, c := range []struct {
		props   string // name=value, ...
		want    envelope.Side
		problem string
	}{
		{"", envelope.Side{}, ""},
		{"value.converter=" + json, envelope.Side{Schemas: true}, ""}, // as in Connect
		{"value.converter=" + json + ",value.converter.schemas.enable=false", envelope.Side{}, ""},
		{"value.converter.schemas.enable=true,value.converter.replace.null.with.default=true", envelope.Side{Schemas: true, NullDefault: true}, ""},
		{"value.converter.replace.null.with.default=false", envelope.Side{NullMarker: true}, ""},
		{"value.converter=io.confluent.connect.avro.AvroConverter", envelope.Side{}, "value.converter: io.confluent.connect.avro.AvroConverter is not available"},
		{"value.converter.schemas.enable=maybe", envelope.Side{}, `value.converter.schemas.enable: "maybe" is not one of`},
		{"value.converter.schema.enable=true", envelope.Side{}, "value.converter.schema.enable: unknown property"},
		{"value.converter.decimal.format=NUMERIC", envelope.Side{}, "value.converter.decimal.format: "},
		{"key.converter=" + json, envelope.Side{}, ""},
	} {
		props := map[string]string{}
		for pair := range strings.SplitSeq(c.props, ",") {
			name, value, _ := strings.Cut(pair, "=")
			props[name] = value
		}
		got, problems := converter(props, "value.converter")
		if c.problem == "" && (len(problems) > 0 || got != c.want) {
			t.Errorf("%s: %+v %v, want %+v", c.props, got, problems, c.want)
		}
		if c.problem != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0].String(), c.problem)) {
			t.Errorf("%s: %v, want %s", c.props, problems, c.problem)
		}
	}
	if p := checkConverters(map[string]string{"key.converter": "x", "value.converter": "x", "header.converter": "x"}); len(p) != 3 {
		t.Errorf("%v", p)
	}
}

func TestFormatter(t *testing.T) {
	e := &change.Event{Op: change.OpCreate, After: change.Row{{Kind: change.Int, Num: 7}}, Table: &change.Table{Key: []int{0}, Topic: "shop.public.t",
		Origin: &change.Origin{Connector: "postgresql", Name: "shop"}, Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int, Bits: 32}}}}}
	f := newFormatter()
	plain, _ := f(nil).AppendKey(nil, e)
	schema, _ := f(map[string]string{"key.converter.schemas.enable": "true"}).AppendKey(nil, e)
	if string(plain) != `{"id":7}` || !strings.HasPrefix(string(schema), `{"schema":{"type":"struct","fields":[{"type":"int32"`) {
		t.Errorf("%s, %s", plain, schema)
	}
	a, b := string(f(nil).AppendHeaders(nil, e)), string(f(nil).AppendHeaders(nil, e))
	if a != b || !strings.Contains(a, `{"key":"__debezium.context.runId","value":"`) {
		t.Errorf("context headers %s and %s", a, b)
	}
}
