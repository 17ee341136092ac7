package postgres

import (
	"slices"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
)

// formSettings are the properties that decide how events look.
type formSettings struct {
	source.FormSettings

	DecimalMode  string `cfg:"decimal.handling.mode" default:"precise" oneof:"precise,double,string" doc:"How numeric columns are written in events."`
	TimeMode     string `cfg:"time.precision.mode" default:"adaptive" oneof:"adaptive,adaptive_time_microseconds,connect,isostring,microseconds,nanoseconds,structured" doc:"How dates and times are written in events. structured is refused."`
	BinaryMode   string `cfg:"binary.handling.mode" default:"bytes" oneof:"bytes,base64,base64-url-safe,hex" doc:"How bytea columns are written in events."`
	IntervalMode string `cfg:"interval.handling.mode" default:"numeric" oneof:"numeric,string" doc:"How intervals are written in events: microseconds, or P1Y2M3DT4H5M6.7S."`
	HStoreMode   string `cfg:"hstore.handling.mode" default:"json" oneof:"json,map" doc:"How hstore columns are written in events: as text with an object in it, or as an object."`
	MoneyDigits  int    `cfg:"money.fraction.digits" default:"2" min:"0" max:"18" doc:"Digits after the point of money in events."`
	UnknownTypes string `cfg:"include.unknown.datatypes" default:"" oneof:",true,false" doc:"How columns of types without a form of their own are written in events: true: their text as binary, false: not at all, unset: their text."`

	Placeholder string `cfg:"unavailable.value.placeholder" default:"__debezium_unavailable_value" doc:"Stands in events for a large value that the database did not send because it did not change."`
	Comments    bool   `cfg:"include.schema.comments" default:"false" doc:"Whether comments of columns are among the parameters that column.propagate.source.type adds."`

	Unchanged  bool   `cfg:"skip.messages.without.change" default:"false" doc:"Leave out updates that change no captured column. It takes REPLICA IDENTITY FULL to know."`
	KeyColumns string `cfg:"message.key.columns" doc:"Keys of tables: SCHEMA.TABLE:COLUMN,COLUMN;... with a regular expression for the table. Default: the primary key or replica identity."`

	Naming string `cfg:"topic.naming.strategy" default:"io.debezium.schema.SchemaTopicNamingStrategy" oneof:"io.debezium.schema.SchemaTopicNamingStrategy,io.debezium.schema.DefaultTopicNamingStrategy" doc:"Accepted for compatibility: topics are PREFIX.SCHEMA.TABLE. The route transform renames them."`

	Converters string `cfg:"converters" doc:"Not available: custom converters are Java classes."`

	rules *source.Columns
}

// parseForm checks what can't be said by tags, and reads the rules of columns.
func (s *formSettings) parseForm(props map[string]string) []config.Problem {
	rules, problems := source.ParseColumns(props)
	s.rules = rules
	if s.Converters != "" {
		problems = append(problems, config.Problem{Key: "converters", Message: "custom converters are Java classes and can't run here: remove it, and use a transform"})
	}
	return slices.Concat(problems, s.Problems(), source.CheckTimeMode(s.TimeMode))
}

// origin says which connector tables are from.
func (s *settings) origin(version string) *change.Origin {
	return &change.Origin{Connector: "postgresql", Name: s.Prefix, Version: version, Placeholder: s.Placeholder,
		SchemaNames: source.NameAdjust(s.SchemaAdjust), FieldNames: source.NameAdjust(s.FieldAdjust), NoContext: !s.Context}
}

// shaper makes what gives events their last touch.
func (s *settings) shaper() *source.Shaper {
	return source.NewShaper(s.rules, s.SkippedOps(), s.Unchanged)
}
