package mysql

import (
	"fmt"
	"time"

	"github.com/tailrace/tailrace/config"
)

// compatSettings are properties of Debezium's that have no room here for more than one value, or none for any: they are accepted
// where they change nothing, and refused where they would have to.
type compatSettings struct {
	MaxQueue      int           `cfg:"max.queue.size" default:"8192" min:"1" doc:"Accepted for compatibility: the queue is bounded in bytes."`
	MaxQueueBytes int64         `cfg:"max.queue.size.in.bytes" default:"0" min:"0" doc:"Accepted for compatibility: the queue has 4 MiB."`
	PollInterval  time.Duration `cfg:"poll.interval.ms" default:"500" min:"0" doc:"Accepted for compatibility: events are delivered when they arrive."`
	BinlogBuffer  int           `cfg:"binlog.buffer.size" default:"0" min:"0" doc:"Accepted for compatibility: nothing is looked ahead, the server logs only what is committed."`
	Nongraceful   bool          `cfg:"use.nongraceful.disconnect" default:"false" doc:"Accepted for compatibility: closing never waits for the server."`
	TimeAdjuster  bool          `cfg:"enable.time.adjuster" default:"true" doc:"Accepted for compatibility: years come from the server with four digits."`
	Parser        string        `cfg:"ddl.parser.type" default:"default" doc:"Accepted for compatibility: there is one way to read DDL."`
	Converting    string        `cfg:"event.converting.failure.handling.mode" default:"warn" oneof:"fail,warn,skip" doc:"Accepted for compatibility: a value that its type can't hold keeps the server's text."`
	History       string        `cfg:"schema.history.internal" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryTopic  string        `cfg:"schema.history.internal.kafka.topic" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryServer string        `cfg:"schema.history.internal.kafka.bootstrap.servers" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryTries  int           `cfg:"schema.history.internal.kafka.recovery.attempts" default:"100" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryPoll   int           `cfg:"schema.history.internal.kafka.recovery.poll.interval.ms" default:"100" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryQuery  int           `cfg:"schema.history.internal.kafka.query.timeout.ms" default:"3000" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryCreate int           `cfg:"schema.history.internal.kafka.create.timeout.ms" default:"30000" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryFile   string        `cfg:"schema.history.internal.file.filename" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistorySkip   bool          `cfg:"schema.history.internal.skip.unparseable.ddl" default:"false" doc:"Accepted for compatibility: a statement that is not understood never stops the stream."`
	HistoryTables bool          `cfg:"schema.history.internal.store.only.captured.tables.ddl" default:"false" doc:"Accepted for compatibility: only captured tables matter."`
	HistoryBases  bool          `cfg:"schema.history.internal.store.only.captured.databases.ddl" default:"false" doc:"Accepted for compatibility: only captured tables matter."`
	TCPKeepAlive  bool          `cfg:"database.tcpKeepAlive" default:"true" doc:"Accepted for compatibility: see connect.keep.alive."`
	JDBCProtocol  string        `cfg:"database.protocol" doc:"Accepted for compatibility with Debezium's MariaDB connector: there is no JDBC driver."`
	JDBCAdapter   string        `cfg:"connector.adapter" doc:"Accepted for compatibility: the connector's class says which database it is."`
	RestartDelay  time.Duration `cfg:"retriable.restart.connector.wait.ms" default:"10000" min:"0" doc:"Accepted for compatibility: the pauses between tries grow by themselves."`
	GuardAction   string        `cfg:"guardrail.collections.limit.action" default:"warn" oneof:"warn,fail" doc:"Accepted for compatibility, see guardrail.collections.max."`

	Malformed  string `cfg:"event.deserialization.failure.handling.mode" default:"fail" oneof:"fail,warn,skip,ignore" doc:"fail: an event that can't be read stops the connector. Others are refused: they lose events."`
	Processing string `cfg:"event.processing.failure.handling.mode" default:"fail" oneof:"fail,warn,skip,ignore" doc:"fail: an event that can't be handled stops the connector. Others are refused: they lose events."`
	GTIDFilter bool   `cfg:"gtid.source.filter.dml.events" default:"true" doc:"true: of the servers that gtid.source.* leaves out nothing is captured. false is refused."`
	Driver     string `cfg:"database.jdbc.driver" doc:"Refused: it is a Java class."`
	Sanitize   string `cfg:"custom.sanitize.pattern" doc:"Refused: characters that a topic can't have become underscores. The route transform renames topics."`
	MetricTags string `cfg:"custom.metric.tags" doc:"Refused: metrics are labelled with the connector's name."`
	Guardrail  int    `cfg:"guardrail.collections.max" default:"0" min:"0" doc:"0: no limit. Others are refused."`
}

// refused returns a problem for each value that would ask for what is not done.
func (c *compatSettings) refused() []config.Problem {
	var problems []config.Problem
	refuse := func(key string, value any, why string) {
		if text := fmt.Sprint(value); !config.HasPlaceholder(text) {
			problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf("%s is not available: %s", text, why)})
		}
	}
	for key, mode := range map[string]string{"event.processing.failure.handling.mode": c.Processing, "event.deserialization.failure.handling.mode": c.Malformed} {
		if mode != "fail" {
			refuse(key, mode, "it would lose events; one that can't be read or handled stops the connector")
		}
	}
	if !c.GTIDFilter {
		refuse("gtid.source.filter.dml.events", c.GTIDFilter, "a transaction of a server that gtid.source.* leaves out is not captured")
	}
	if c.Driver != "" {
		refuse("database.jdbc.driver", c.Driver, "it is a Java class, which can't be loaded; remove it")
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
