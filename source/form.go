package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
)

// FormSettings are the properties that decide how events look and mean the same for every family of databases. Sources embed
// them in their settings.
type FormSettings struct {
	SchemaAdjust string   `cfg:"schema.name.adjustment.mode" default:"none" oneof:"none,avro,avro_unicode" doc:"How names of schemas are changed."`
	FieldAdjust  string   `cfg:"field.name.adjustment.mode" default:"none" oneof:"none,avro,avro_unicode" doc:"How names of fields are changed."`
	Context      bool     `cfg:"extended.headers.enabled" default:"true" doc:"Whether records have __debezium.context headers."`
	Skipped      []string `cfg:"skipped.operations" default:"none" doc:"Operations without events: a list of c, u, d and t, or none. Unlike in Debezium truncates are not skipped unless asked for: whoever keeps the rows has to know."`
	Delimiter    string   `cfg:"topic.delimiter" default:"." doc:"Stands between the parts of a topic's name."`
}

// Problems returns what tags can't say is wrong. Values with placeholders are judged once those are replaced.
func (s *FormSettings) Problems() []config.Problem {
	var problems []config.Problem
	report := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for _, op := range s.Skipped {
		if !slices.Contains([]string{"none", "c", "u", "d", "t"}, op) && !config.HasPlaceholder(op) {
			report("skipped.operations", "%q is not one of none, c, u, d, t", op)
		}
	}
	if s.Delimiter == "" || s.Delimiter != TopicName(s.Delimiter) && !config.HasPlaceholder(s.Delimiter) {
		report("topic.delimiter", "%q has characters that a topic name can't have; use '.', '_' or '-'", s.Delimiter)
	}
	return problems
}

// TopicOf returns the name of a topic of the given parts.
func (s *FormSettings) TopicOf(parts ...string) string {
	return TopicName(strings.Join(parts, s.Delimiter))
}

// SkippedOps returns the operations that have no events.
func (s *FormSettings) SkippedOps() []change.Op {
	var ops []change.Op
	for _, op := range s.Skipped {
		if op != "none" {
			ops = append(ops, change.Op(op[0]))
		}
	}
	return ops
}

// CheckTimeMode returns a problem if time.precision.mode is one of Debezium's that is not done.
func CheckTimeMode(mode string) []config.Problem {
	var list Refusals
	if mode == "structured" {
		list.Add("time.precision.mode", mode, "the form of its structs still changes from one version of Debezium to the next; isostring has every moment")
	}
	return list
}

// CompatSettings are properties of Debezium's that have no room here for more than one value, or none for any, whatever the
// database: they are accepted where they change nothing, and refused where they would have to. Sources embed them in their
// settings.
type CompatSettings struct {
	MaxQueue     int    `cfg:"max.queue.size" default:"8192" min:"1" doc:"Accepted for compatibility: the queue is bounded in bytes."`
	QueueBytes   int64  `cfg:"max.queue.size.in.bytes" default:"0" min:"0" doc:"Accepted for compatibility: the queue is bounded in bytes by itself."`
	PollInterval int64  `cfg:"poll.interval.ms" default:"500" min:"0" doc:"Accepted for compatibility: events are delivered when they arrive."`
	RestartDelay int64  `cfg:"retriable.restart.connector.wait.ms" default:"10000" min:"0" doc:"Accepted for compatibility: the pauses between tries grow by themselves."`
	Converting   string `cfg:"event.converting.failure.handling.mode" default:"warn" oneof:"fail,warn,skip" doc:"Accepted for compatibility: a value that its type can't hold keeps the server's text."`
	GuardAction  string `cfg:"guardrail.collections.limit.action" default:"warn" oneof:"warn,fail" doc:"Accepted for compatibility, see guardrail.collections.max."`

	Processing string `cfg:"event.processing.failure.handling.mode" default:"fail" oneof:"fail,warn,skip,ignore" doc:"fail: an event that can't be processed stops the connector. Others are refused: they lose events."`
	Sanitize   string `cfg:"custom.sanitize.pattern" doc:"Refused: characters that a topic can't have become underscores. The route transform renames topics."`
	MetricTags string `cfg:"custom.metric.tags" doc:"Refused: metrics are labelled with the connector's name."`
	Guardrail  int    `cfg:"guardrail.collections.max" default:"0" min:"0" doc:"0: no limit. Others are refused."`
}

// Refused returns a problem for each value that would ask for what is not done.
func (c *CompatSettings) Refused() []config.Problem {
	var list Refusals
	if c.Processing != "fail" {
		list.Add("event.processing.failure.handling.mode", c.Processing, "it would lose events; an event that can't be processed stops the connector")
	}
	if c.Sanitize != "" {
		list.Add("custom.sanitize.pattern", c.Sanitize, "the route transform renames topics")
	}
	if c.MetricTags != "" {
		list.Add("custom.metric.tags", c.MetricTags, "metrics are labelled with the connector's name")
	}
	if c.Guardrail > 0 {
		list.Add("guardrail.collections.max", c.Guardrail, "bound the tables by table.include.list")
	}
	return list
}

// Refusals are problems with values that would ask for what is not done.
type Refusals []config.Problem

// Add adds one, with the reason, unless the value has a placeholder.
func (r *Refusals) Add(key string, value any, why string) {
	if text := fmt.Sprint(value); !config.HasPlaceholder(text) {
		*r = append(*r, config.Problem{Key: key, Message: fmt.Sprintf("%s is not available: %s", text, why)})
	}
}
