package mysql

import (
	"slices"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// formSettings are the properties that decide how events look.
type formSettings struct {
	source.FormSettings

	DecimalMode  string `cfg:"decimal.handling.mode" default:"precise" oneof:"precise,double,string" doc:"How decimal columns are written in events."`
	TimeMode     string `cfg:"time.precision.mode" default:"adaptive_time_microseconds" oneof:"adaptive_time_microseconds,adaptive,connect,isostring,microseconds,nanoseconds,structured" doc:"How dates and times are written in events. structured is refused."`
	BinaryMode   string `cfg:"binary.handling.mode" default:"bytes" oneof:"bytes,base64,base64-url-safe,hex" doc:"How binary columns are written in events."`
	UnsignedMode string `cfg:"bigint.unsigned.handling.mode" default:"long" oneof:"long,precise" doc:"How bigint unsigned columns are written in events. long shows values from 2^63 on as negative numbers; the log and the sinks have the true ones."`

	Placeholder string `cfg:"unavailable.value.placeholder" default:"__debezium_unavailable_value" doc:"Stands in events for a value that the server did not log."`

	Unchanged  bool   `cfg:"skip.messages.without.change" default:"false" doc:"Leave out updates that change no captured column."`
	KeyColumns string `cfg:"message.key.columns" doc:"Keys of tables: DATABASE.TABLE:COLUMN,COLUMN;... with a regular expression for the table. Default: the primary key, or a unique index without NULL."`

	Naming     string   `cfg:"topic.naming.strategy" default:"io.debezium.schema.DefaultTopicNamingStrategy" oneof:"io.debezium.schema.SchemaTopicNamingStrategy,io.debezium.schema.DefaultTopicNamingStrategy" doc:"Accepted for compatibility: topics are PREFIX.DATABASE.TABLE. The route transform renames them."`
	Converters []string `cfg:"converters" doc:"Names of converters, each with NAME.type and its properties. Known are TinyIntOneToBooleanConverter (NAME.selector, NAME.length.checker) and JdbcSinkDataTypesConverter (NAME.selector.boolean, .selector.real, .selector.string, NAME.treat.real.as.double) of io.debezium.connector.binlog.converters, and under its older name io.debezium.connector.mysql.converters. Other Java classes can't run here."`

	rules      *source.Columns
	converters converters
}

// parseForm checks what can't be said by tags, and reads the rules of columns.
func (s *formSettings) parseForm(props map[string]string) []config.Problem {
	rules, problems := source.ParseColumns(props)
	s.rules = rules
	list, mistakes := parseConverters(s.Converters, props)
	s.converters = list
	return slices.Concat(problems, mistakes, s.Problems(), source.CheckTimeMode(s.TimeMode))
}

// origin says which connector tables are from.
func (s *settings) origin(f flavor, version string) *change.Origin {
	return &change.Origin{Connector: f.String(), Name: s.Prefix, Version: version, Placeholder: s.Placeholder,
		SchemaNames: source.NameAdjust(s.SchemaAdjust), FieldNames: source.NameAdjust(s.FieldAdjust), NoContext: !s.Context}
}

// shaper makes what gives events their last touch.
func (s *settings) shaper() *source.Shaper {
	return source.NewShaper(s.rules, s.SkippedOps(), s.Unchanged)
}

// render returns how values of a column are written, by the handling modes.
func (s *settings) render(c *binlog.Column, t *change.Type) change.Render {
	switch t.Kind {
	case change.Float32:
		if c.Scale >= 0 { // FLOAT(M,D) is a double in Debezium's events
			return change.RenderDouble
		}
	case change.Decimal:
		return source.DecimalRender(s.DecimalMode)
	case change.Uint:
		if t.Bits == 64 && s.UnsignedMode == "precise" {
			return change.RenderPrecise
		}
	case change.Time, change.Date, change.Timestamp, change.TimestampTZ:
		return source.TimeRender(s.TimeMode, t.Kind)
	case change.Bytes:
		return source.BinaryRender(s.BinaryMode)
	}
	return change.RenderDefault
}
