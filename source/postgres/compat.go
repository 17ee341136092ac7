package postgres

import (
	"strings"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
)

// compatSettings are the properties of Debezium's connector for PostgreSQL alone that have no room here for more than one value,
// or none for any: they are accepted where they change nothing, and refused where they would have to.
type compatSettings struct {
	source.CompatSettings

	SlotRetries   int    `cfg:"slot.max.retries" default:"6" min:"0" doc:"Accepted for compatibility: a failure is tried again as errors.max.retries says."`
	SlotDelay     int64  `cfg:"slot.retry.delay.ms" default:"10000" min:"0" doc:"Accepted for compatibility: the pauses between tries grow by themselves."`
	QueryTimeout  int64  `cfg:"database.query.timeout.ms" default:"600000" min:"0" doc:"Accepted for compatibility: queries of the catalog are short, and those that read rows last as long as they must."`
	SchemaRefresh string `cfg:"schema.refresh.mode" default:"columns_diff" oneof:"columns_diff,columns_diff_exclude_unchanged_toast" doc:"Accepted for compatibility: a table's structure is read when the database announces a change of it."`

	FlushMode    string `cfg:"lsn.flush.mode" default:"connector" oneof:"connector,manual,connector_and_driver" doc:"connector: the database is told what is durable in the log. Others are refused."`
	FlushLSN     bool   `cfg:"flush.lsn.source" default:"true" doc:"true, as lsn.flush.mode=connector. false is refused: the database would keep its WAL for ever."`
	XminInterval int64  `cfg:"xmin.fetch.interval.ms" default:"0" min:"0" doc:"0: source.xmin is null. Others are refused."`
	StreamParams string `cfg:"slot.stream.params" doc:"Empty or origin=any. Others are refused: what the stream is asked for is not a matter of taste."`
	AutoIdentity string `cfg:"replica.identity.autoset.values" doc:"Refused: no tables are altered. The statement to run is told for each table that needs it."`
	Statements   string `cfg:"database.initial.statements" doc:"Refused: values are read under settings of their own. Settings of the role or database hold, as in ALTER ROLE ... SET."`
}

// refused returns a problem for each value that would ask for what is not done.
func (c *compatSettings) refused() []config.Problem {
	list := source.Refusals(c.Refused())
	if c.FlushMode != "connector" {
		list.Add("lsn.flush.mode", c.FlushMode, "the database is told what is durable in the log, no more and no less")
	}
	if !c.FlushLSN {
		list.Add("flush.lsn.source", c.FlushLSN, "the database would keep its WAL for ever")
	}
	if c.XminInterval > 0 {
		list.Add("xmin.fetch.interval.ms", c.XminInterval, "source.xmin is always null; set 0")
	}
	if p := strings.Trim(c.StreamParams, "; "); p != "" && p != "origin=any" {
		list.Add("slot.stream.params", c.StreamParams, "only origin=any is, which is the default")
	}
	if c.AutoIdentity != "" {
		list.Add("replica.identity.autoset.values", c.AutoIdentity, "no tables are altered; run ALTER TABLE ... REPLICA IDENTITY yourself, tailrace doctor says for which")
	}
	if c.Statements != "" {
		list.Add("database.initial.statements", c.Statements, "use ALTER ROLE ... SET for settings of the connector's sessions")
	}
	return list
}
