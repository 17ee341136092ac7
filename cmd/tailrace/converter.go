package main

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change/envelope"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/worker"
)

// converterSettings are what Connect's JsonConverter takes. Its names follow key.converter, value.converter or
// header.converter.
type converterSettings struct {
	Schemas  string `cfg:"schemas.enable" default:"" oneof:",true,false" doc:"whether the schema stands beside the payload; true if the converter is named, else false"`
	Nulls    string `cfg:"replace.null.with.default" default:"" oneof:",true,false" doc:"whether NULL in a column with a default is written as the default; unlike in Connect it is not unless asked for"`
	Decimals string `cfg:"decimal.format" default:"BASE64" oneof:"BASE64" doc:"how decimals are written"`
	Cache    int    `cfg:"schemas.cache.size" default:"1000" min:"0" doc:"accepted for compatibility: schemas are kept as long as they are needed"`
}

// converterClasses are the classes that are known for each side, in lower case: those that write JSON.
var converterClasses = map[string][]string{
	"key.converter":    {"org.apache.kafka.connect.json.jsonconverter", "jsonconverter", "json"},
	"value.converter":  {"org.apache.kafka.connect.json.jsonconverter", "jsonconverter", "json"},
	"header.converter": {"org.apache.kafka.connect.json.jsonconverter", "jsonconverter", "json", "org.apache.kafka.connect.storage.simpleheaderconverter"},
}

// converter reads the settings of a side and says what is wrong with them.
func converter(props map[string]string, side string) (s envelope.Side, problems []config.Problem) {
	class := strings.ToLower(strings.TrimSpace(props[side]))
	json := strings.HasSuffix(class, "jsonconverter") || class == "json"
	if class != "" && !slices.Contains(converterClasses[side], class) && !config.HasPlaceholder(class) {
		problems = append(problems, config.Problem{Key: side,
			Message: fmt.Sprintf("%s is not available; org.apache.kafka.connect.json.JsonConverter is", props[side])})
	}
	own := map[string]string{}
	for name, value := range props {
		if rest, ok := strings.CutPrefix(name, side+"."); ok {
			own[rest] = value
		}
	}
	var set converterSettings
	for _, p := range append(config.Decode(own, &set), config.Unknown(own, config.Keys(&set))...) {
		problems = append(problems, config.Problem{Key: side + "." + p.Key, Message: p.Message})
	}
	s.Schemas = set.Schemas == "true" || set.Schemas == "" && json
	s.NullDefault, s.NullMarker = set.Nulls == "true", set.Nulls == "false"
	return s, problems
}

// checkConverters judges the converters of a source connector.
func checkConverters(props map[string]string) []config.Problem {
	_, keys := converter(props, "key.converter")
	_, values := converter(props, "value.converter")
	_, headers := converter(props, "header.converter")
	return slices.Concat(keys, values, headers)
}

// newFormatter returns what makes formatters for the events of source connectors: Debezium's JSON, by the connector's
// converters. Their context headers have an identity of this run of the daemon.
func newFormatter() func(props map[string]string) worker.Formatter {
	var id [16]byte
	rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0F|0x40, id[8]&0x3F|0x80
	run := fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return func(props map[string]string) worker.Formatter {
		o := envelope.Options{RunID: run}
		o.Keys, _ = converter(props, "key.converter")
		o.Values, _ = converter(props, "value.converter")
		o.Headers, _ = converter(props, "header.converter")
		return envelope.New(o)
	}
}
