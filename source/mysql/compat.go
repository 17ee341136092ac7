package mysql

import (
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
)

// compatSettings are the properties of Debezium's connectors for MySQL and MariaDB alone that have no room here for more than one
// value, or none for any: they are accepted where they change nothing, and refused where they would have to.
type compatSettings struct {
	source.CompatSettings

	BinlogBuffer  int    `cfg:"binlog.buffer.size" default:"0" min:"0" doc:"Accepted for compatibility: nothing is looked ahead, the server logs only what is committed."`
	Nongraceful   bool   `cfg:"use.nongraceful.disconnect" default:"false" doc:"Accepted for compatibility: closing never waits for the server."`
	TimeAdjuster  bool   `cfg:"enable.time.adjuster" default:"true" doc:"Accepted for compatibility: years come from the server with four digits."`
	Parser        string `cfg:"ddl.parser.type" default:"default" doc:"Accepted for compatibility: there is one way to read DDL."`
	History       string `cfg:"schema.history.internal" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryTopic  string `cfg:"schema.history.internal.kafka.topic" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryServer string `cfg:"schema.history.internal.kafka.bootstrap.servers" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryTries  int    `cfg:"schema.history.internal.kafka.recovery.attempts" default:"100" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryPoll   int    `cfg:"schema.history.internal.kafka.recovery.poll.interval.ms" default:"100" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryQuery  int    `cfg:"schema.history.internal.kafka.query.timeout.ms" default:"3000" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryCreate int    `cfg:"schema.history.internal.kafka.create.timeout.ms" default:"30000" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistoryFile   string `cfg:"schema.history.internal.file.filename" doc:"Accepted for compatibility: the history of structures is kept in Tailrace's own log."`
	HistorySkip   bool   `cfg:"schema.history.internal.skip.unparseable.ddl" default:"false" doc:"Accepted for compatibility: a statement that is not understood never stops the stream."`
	HistoryTables bool   `cfg:"schema.history.internal.store.only.captured.tables.ddl" default:"false" doc:"Accepted for compatibility: only captured tables matter."`
	HistoryBases  bool   `cfg:"schema.history.internal.store.only.captured.databases.ddl" default:"false" doc:"Accepted for compatibility: only captured tables matter."`
	TCPKeepAlive  bool   `cfg:"database.tcpKeepAlive" default:"true" doc:"Accepted for compatibility: see connect.keep.alive."`
	JDBCProtocol  string `cfg:"database.protocol" doc:"Accepted for compatibility with Debezium's MariaDB connector: there is no JDBC driver."`
	JDBCAdapter   string `cfg:"connector.adapter" doc:"Accepted for compatibility: the connector's class says which database it is."`

	Malformed  string `cfg:"event.deserialization.failure.handling.mode" default:"fail" oneof:"fail,warn,skip,ignore" doc:"fail: an event that can't be read stops the connector. Others are refused: they lose events."`
	GTIDFilter bool   `cfg:"gtid.source.filter.dml.events" default:"true" doc:"true: of the servers that gtid.source.* leaves out nothing is captured. false is refused."`
	Driver     string `cfg:"database.jdbc.driver" doc:"Refused: it is a Java class."`
}

// refused returns a problem for each value that would ask for what is not done.
func (c *compatSettings) refused() []config.Problem {
	list := source.Refusals(c.Refused())
	if c.Malformed != "fail" {
		list.Add("event.deserialization.failure.handling.mode", c.Malformed, "it would lose events; an event that can't be read stops the connector")
	}
	if !c.GTIDFilter {
		list.Add("gtid.source.filter.dml.events", c.GTIDFilter, "a transaction of a server that gtid.source.* leaves out is not captured")
	}
	if c.Driver != "" {
		list.Add("database.jdbc.driver", c.Driver, "it is a Java class, which can't be loaded; remove it")
	}
	return list
}
