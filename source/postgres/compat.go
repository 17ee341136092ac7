package postgres

import (
	"fmt"
	"strings"

	"github.com/tailrace/tailrace/config"
)

// compatSettings are properties of Debezium's that have no room here for more than one value, or none for any: they are accepted
// where they change nothing, and refused where they would have to.
type compatSettings struct {
	SlotRetries   int    `cfg:"slot.max.retries" default:"6" min:"0" doc:"Accepted for compatibility: a failure is tried again as errors.max.retries says."`
	SlotDelay     int64  `cfg:"slot.retry.delay.ms" default:"10000" min:"0" doc:"Accepted for compatibility: the pauses between tries grow by themselves."`
	RestartDelay  int64  `cfg:"retriable.restart.connector.wait.ms" default:"10000" min:"0" doc:"Accepted for compatibility: the pauses between tries grow by themselves."`
	QueueBytes    int64  `cfg:"max.queue.size.in.bytes" default:"0" min:"0" doc:"Accepted for compatibility: the queue is bounded in bytes by itself."`
	QueryTimeout  int64  `cfg:"database.query.timeout.ms" default:"600000" min:"0" doc:"Accepted for compatibility: queries of the catalog are short, and those that read rows last as long as they must."`
	SchemaRefresh string `cfg:"schema.refresh.mode" default:"columns_diff" oneof:"columns_diff,columns_diff_exclude_unchanged_toast" doc:"Accepted for compatibility: a table's structure is read when the database announces a change of it."`
	Converting    string `cfg:"event.converting.failure.handling.mode" default:"warn" oneof:"fail,warn,skip" doc:"Accepted for compatibility: a value that can't be converted keeps its text."`
	Processing    string `cfg:"event.processing.failure.handling.mode" default:"fail" oneof:"fail,warn,skip,ignore" doc:"fail: an event that can't be processed stops the connector. Others are refused: they lose events."`

	FlushMode    string `cfg:"lsn.flush.mode" default:"connector" oneof:"connector,manual,connector_and_driver" doc:"connector: the database is told what is durable in the log. Others are refused."`
	FlushLSN     bool   `cfg:"flush.lsn.source" default:"true" doc:"true, as lsn.flush.mode=connector. false is refused: the database would keep its WAL for ever."`
	XminInterval int64  `cfg:"xmin.fetch.interval.ms" default:"0" min:"0" doc:"0: source.xmin is null. Others are refused."`
	StreamParams string `cfg:"slot.stream.params" doc:"Empty or origin=any. Others are refused: what the stream is asked for is not a matter of taste."`
	AutoIdentity string `cfg:"replica.identity.autoset.values" doc:"Refused: no tables are altered. The statement to run is told for each table that needs it."`
	Statements   string `cfg:"database.initial.statements" doc:"Refused: values are read under settings of their own. Settings of the role or database hold, as in ALTER ROLE ... SET."`
	Sanitize     string `cfg:"custom.sanitize.pattern" doc:"Refused: characters that a topic can't have become underscores. The route transform renames topics."`
	MetricTags   string `cfg:"custom.metric.tags" doc:"Refused: metrics are labelled with the connector's name."`
	Guardrail    int    `cfg:"guardrail.collections.max" default:"0" min:"0" doc:"0: no limit. Others are refused."`
	GuardAction  string `cfg:"guardrail.collections.limit.action" default:"warn" oneof:"warn,fail" doc:"Accepted for compatibility, see guardrail.collections.max."`
}

// refused returns a problem for each value that would ask for what is not done.
func (c *compatSettings) refused() []config.Problem {
	var problems []config.Problem
	refuse := func(key string, value any, why string) {
		if text := fmt.Sprint(value); !config.HasPlaceholder(text) {
			problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf("%s is not available: %s", text, why)})
		}
	}
	if c.Processing != "fail" {
		refuse("event.processing.failure.handling.mode", c.Processing, "it would lose events; an event that can't be processed stops the connector")
	}
	if c.FlushMode != "connector" {
		refuse("lsn.flush.mode", c.FlushMode, "the database is told what is durable in the log, no more and no less")
	}
	if !c.FlushLSN {
		refuse("flush.lsn.source", c.FlushLSN, "the database would keep its WAL for ever")
	}
	if c.XminInterval > 0 {
		refuse("xmin.fetch.interval.ms", c.XminInterval, "source.xmin is always null; set 0")
	}
	if p := strings.Trim(c.StreamParams, "; "); p != "" && p != "origin=any" {
		refuse("slot.stream.params", c.StreamParams, "only origin=any is, which is the default")
	}
	if c.AutoIdentity != "" {
		refuse("replica.identity.autoset.values", c.AutoIdentity, "no tables are altered; run ALTER TABLE ... REPLICA IDENTITY yourself, tailrace doctor says for which")
	}
	if c.Statements != "" {
		refuse("database.initial.statements", c.Statements, "use ALTER ROLE ... SET for settings of the connector's sessions")
	}
	if c.Sanitize != "" {
		refuse("custom.sanitize.pattern", c.Sanitize, "the route transform renames topics")
	}
	if c.MetricTags != "" {
		refuse("custom.metric.tags", c.MetricTags, "metrics are labelled with the connector's name")
	}
	if c.Guardrail > 0 {
		refuse("guardrail.collections.max", c.Guardrail, "bound the tables by table.include.list")
	}
	return problems
}
