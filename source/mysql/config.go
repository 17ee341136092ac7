package mysql

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
)

// settings is the typed configuration of the connector, under Debezium's names.
type settings struct {
	Host     string          `cfg:"database.hostname" required:"true" doc:"Host name or address of the database server, or the path of its unix socket."`
	Port     int             `cfg:"database.port" default:"3306" min:"1" max:"65535" doc:"Port of the database server."`
	User     string          `cfg:"database.user" required:"true" doc:"User to log in as. It needs SELECT on the captured tables and the privileges to read the binary log."`
	Password config.Password `cfg:"database.password" doc:"Password of the user."`
	ServerID int64           `cfg:"database.server.id" default:"0" min:"0" max:"4294967295" doc:"Number by which the server knows this connector as a replica, unlike that of every other replica. 0: one is chosen."`

	SSLMode       string          `cfg:"database.ssl.mode" default:"preferred" oneof:"disabled,preferred,required,verify_ca,verify_identity" doc:"How the connection is encrypted and the server is checked."`
	SSLTruststore string          `cfg:"database.ssl.truststore" doc:"PEM file with the certificates that the server is checked against. A Java key store can't be read."`
	SSLKeystore   string          `cfg:"database.ssl.keystore" doc:"PEM file with the client's certificate and its private key. A Java key store can't be read."`
	SSLTrustPass  config.Password `cfg:"database.ssl.truststore.password" doc:"Accepted for compatibility: certificates in PEM files are not encrypted."`
	SSLKeyPass    config.Password `cfg:"database.ssl.keystore.password" doc:"Accepted for compatibility: the private key must not be encrypted."`

	Connect       time.Duration `cfg:"connect.timeout.ms" default:"30000" min:"1" doc:"Milliseconds to wait for a connection."`
	KeepAlive     bool          `cfg:"connect.keep.alive" default:"true" doc:"Let the system probe connections that are silent."`
	KeepAliveTime time.Duration `cfg:"connect.keep.alive.interval.ms" default:"60000" min:"1" doc:"Milliseconds between such probes."`
	QueryTimeout  time.Duration `cfg:"database.query.timeout.ms" default:"600000" min:"0" doc:"Milliseconds that the server may be silent during a query. 0: without end."`
	Statements    string        `cfg:"database.initial.statements" doc:"SQL statements, separated by semicolons, that each connection begins with; a double semicolon stands for one that is meant."`

	Prefix          string          `cfg:"topic.prefix" required:"true" doc:"Logical name of the server: the first part of every topic's name and of the offsets. Never change it."`
	DatabaseInclude config.Patterns `cfg:"database.include.list" doc:"Databases to capture: anchored regular expressions. Default: all that are not the system's."`
	DatabaseExclude config.Patterns `cfg:"database.exclude.list" doc:"Databases not to capture."`
	TableInclude    config.Patterns `cfg:"table.include.list" doc:"Tables to capture: anchored regular expressions on database.table."`
	TableExclude    config.Patterns `cfg:"table.exclude.list" doc:"Tables not to capture."`
	ColumnInclude   config.Patterns `cfg:"column.include.list" doc:"Columns to capture: anchored regular expressions on database.table.column. Key columns always are."`
	ColumnExclude   config.Patterns `cfg:"column.exclude.list" doc:"Columns not to capture. Key columns always are."`
	IgnoreBuiltin   bool            `cfg:"table.ignore.builtin" default:"true" doc:"Must be true: the system's own tables are never captured."`

	GTIDIncludes  config.Patterns `cfg:"gtid.source.includes" doc:"UUIDs (MariaDB: server ids) of the servers whose transactions are captured, where replication brings those of several."`
	GTIDExcludes  config.Patterns `cfg:"gtid.source.excludes" doc:"UUIDs (MariaDB: server ids) of the servers whose transactions are not captured."`
	GTIDIgnore    bool            `cfg:"gtid.ignore.on.recovery" default:"false" doc:"Resume by file and position on the same server even where the stored position has GTIDs."`
	SchemaChanges bool            `cfg:"include.schema.changes" default:"true" doc:"Write DDL statements to the topic that has the prefix as its name."`
	Comments      bool            `cfg:"include.schema.comments" default:"false" doc:"Have the comments of tables and columns in schema changes."`
	Query         bool            `cfg:"include.query" default:"false" doc:"Have the statement in each event, where the server logs it (binlog_rows_query_log_events, on MariaDB binlog_annotate_row_events)."`
	Inconsistent  string          `cfg:"inconsistent.schema.handling.mode" default:"copy" oneof:"copy,fail,warn,skip" doc:"What to do with rows of a table whose structure at that time is not known: leave them out and copy the table again (fail where snapshot.mode copies nothing), fail, or leave them out with or without a warning."`
	Malformed     string          `cfg:"event.deserialization.failure.handling.mode" default:"fail" oneof:"fail" doc:"Must be fail: an event that can't be read is never passed over."`
	Failure       string          `cfg:"event.processing.failure.handling.mode" default:"fail" oneof:"fail" doc:"Must be fail: an event that can't be handled is never passed over."`

	DecimalMode  string `cfg:"decimal.handling.mode" default:"precise" oneof:"precise,double,string" doc:"How decimal columns are written in events."`
	TimeMode     string `cfg:"time.precision.mode" default:"adaptive_time_microseconds" oneof:"adaptive_time_microseconds,adaptive,connect,isostring,microseconds,nanoseconds" doc:"How dates and times are written in events."`
	BinaryMode   string `cfg:"binary.handling.mode" default:"bytes" oneof:"bytes,base64,base64-url-safe,hex" doc:"How binary columns are written in events."`
	UnsignedMode string `cfg:"bigint.unsigned.handling.mode" default:"long" oneof:"long,precise" doc:"How bigint unsigned columns are written in events. long shows values from 2^63 on as negative numbers; the log and the sinks have the true ones."`

	Placeholder string        `cfg:"unavailable.value.placeholder" doc:"Text that stands in events for a value that the server did not log."`
	SchemaNames string        `cfg:"schema.name.adjustment.mode" default:"none" oneof:"none,avro,avro_unicode" doc:"How names of schemas are changed for formats that allow fewer characters."`
	FieldNames  string        `cfg:"field.name.adjustment.mode" default:"none" oneof:"none,avro,avro_unicode" doc:"How names of fields are changed for formats that allow fewer characters."`
	Context     bool          `cfg:"extended.headers.enabled" default:"true" doc:"Add the __debezium.context headers to events."`
	MessageKey  string        `cfg:"message.key.columns" doc:"Key columns in place of the table's own: database.table:column,column;... The table is an anchored regular expression."`
	Delimiter   string        `cfg:"topic.delimiter" default:"." doc:"What stands between the parts of a topic's name."`
	Heartbeat   time.Duration `cfg:"heartbeat.interval.ms" default:"0" min:"0" doc:"Milliseconds after which a silent server must say that it is there, 10000 at most and if 0. After three without a word the connection is given up."`

	MaxBatch int `cfg:"max.batch.size" default:"8192" min:"1" max:"1000000" doc:"Events in one batch at most."`
}

// accepted are the properties that are taken and change nothing here, with the reason.
type accepted struct {
	MaxQueue      int           `cfg:"max.queue.size" default:"8192" min:"1" doc:"Accepted for compatibility: the queue is bounded in bytes."`
	MaxQueueBytes int64         `cfg:"max.queue.size.in.bytes" default:"0" min:"0" doc:"Accepted for compatibility: the queue has 4 MiB."`
	PollInterval  time.Duration `cfg:"poll.interval.ms" default:"500" min:"0" doc:"Accepted for compatibility: events are delivered when they arrive."`
	Tombstones    bool          `cfg:"tombstones.on.delete" default:"true" doc:"Follow a delete by a tombstone record."`
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
}

// Bounds of a batch besides max.batch.size.
const maxBatchBytes = 4 << 20

// refusals are properties that can't mean here what they mean in Debezium, with what to do instead.
func refusals() [][2]string {
	return [][2]string{
		{"topic.naming.strategy", "is a Java class, which can't be loaded; use the route transform for other names of topics"},
		{"database.jdbc.driver", "is a Java class, which can't be loaded; remove it"},
		{"gtid.source.filter.dml.events", ""},
	}
}

// parse decodes and checks a configuration without touching the network.
func parse(props map[string]string) (*settings, []config.Problem) {
	s := &settings{}
	problems := config.Decode(props, s)
	problems = append(problems, config.Decode(props, &accepted{})...)
	report := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for key, v := range map[string]string{"database.hostname": s.Host, "database.user": s.User, "topic.prefix": s.Prefix} {
		if p, ok := props[key]; ok && strings.TrimSpace(p) == "" {
			report(key, "must not be empty")
		} else if strings.ContainsRune(v, 0) {
			report(key, "must not contain a zero byte")
		}
	}
	if literal(s.Prefix) {
		if err := source.CheckPrefix(s.Prefix); err != nil {
			report("topic.prefix", "%v", err)
		}
	}
	if literal(s.Delimiter) && s.Delimiter != source.TopicName(s.Delimiter) || s.Delimiter == "" {
		report("topic.delimiter", "%q has characters that a topic name can't have; use '.', '_' or '-'", s.Delimiter)
	}
	if !s.IgnoreBuiltin {
		report("table.ignore.builtin", "must be true: changes of the system's own tables are not rows to capture")
	}
	for _, r := range refusals() {
		if v, ok := props[r[0]]; ok && r[1] != "" {
			report(r[0], "%q %s", v, r[1])
		}
	}
	if props["gtid.source.filter.dml.events"] == "false" {
		report("gtid.source.filter.dml.events", "must be true: a transaction of a server that gtid.source.* leaves out is not captured")
	}
	s.checkPairs(report)
	s.checkFiles(report)
	if _, err := parseMessageKey(s.MessageKey); err != nil && literal(s.MessageKey) {
		report("message.key.columns", "%v", err)
	}
	return s, problems
}

func literal(v string) bool { return v != "" && !config.HasPlaceholder(v) }

func (s *settings) checkPairs(report func(key, format string, args ...any)) {
	for _, pair := range []struct {
		include, exclude string
		in, ex           config.Patterns
	}{
		{"table.include.list", "table.exclude.list", s.TableInclude, s.TableExclude},
		{"database.include.list", "database.exclude.list", s.DatabaseInclude, s.DatabaseExclude},
		{"column.include.list", "column.exclude.list", s.ColumnInclude, s.ColumnExclude},
		{"gtid.source.includes", "gtid.source.excludes", s.GTIDIncludes, s.GTIDExcludes},
	} {
		if !pair.in.Empty() && !pair.ex.Empty() {
			report(pair.exclude, "can't be set together with %s: keep one of them", pair.include)
		}
	}
}

func (s *settings) checkFiles(report func(key, format string, args ...any)) {
	for key, file := range map[string]string{"database.ssl.truststore": s.SSLTruststore, "database.ssl.keystore": s.SSLKeystore} {
		lower := strings.ToLower(file)
		if slices.ContainsFunc([]string{".jks", ".p12", ".pfx", ".keystore", ".truststore"}, func(x string) bool { return strings.HasSuffix(lower, x) }) {
			report(key, "%q is a Java key store; export it as PEM (keytool -exportcert -rfc, openssl pkcs12 -nodes) and name that file", file)
		}
	}
	if s.SSLMode == "verify_ca" && s.SSLTruststore == "" {
		report("database.ssl.truststore", "is required by database.ssl.mode=verify_ca; name a PEM file with the authority's certificate")
	}
}

// captures reports whether a table is to be captured by the include and exclude lists. The system's own tables never are.
func (s *settings) captures(database, table string) bool {
	if !s.capturesDatabase(database) {
		return false
	}
	name := database + "." + table
	return (s.TableInclude.Empty() || s.TableInclude.Match(name)) && !s.TableExclude.Match(name)
}

func (s *settings) capturesDatabase(database string) bool {
	switch strings.ToLower(database) {
	case "mysql", "information_schema", "performance_schema", "sys", "":
		return false
	}
	return (s.DatabaseInclude.Empty() || s.DatabaseInclude.Match(database)) && !s.DatabaseExclude.Match(database)
}

// capturesColumn reports whether a column is to be captured by the column lists; key columns always are.
func (s *settings) capturesColumn(database, table, column string) bool {
	if s.ColumnInclude.Empty() && s.ColumnExclude.Empty() {
		return true
	}
	name := database + "." + table + "." + column
	return (s.ColumnInclude.Empty() || s.ColumnInclude.Match(name)) && !s.ColumnExclude.Match(name)
}

// capturesServer reports whether transactions that come from a server, by its UUID or on MariaDB its id, are to be captured.
func (s *settings) capturesServer(id string) bool {
	return (s.GTIDIncludes.Empty() || s.GTIDIncludes.Match(id)) && !s.GTIDExcludes.Match(id)
}

// topic returns the topic of a table, as Debezium names it.
func (s *settings) topic(database, table string) string {
	return source.TopicName(s.Prefix + s.Delimiter + database + s.Delimiter + table)
}

// statements splits database.initial.statements.
func (s *settings) statements() []string {
	const mark = "\x00"
	var list []string
	for part := range strings.SplitSeq(strings.ReplaceAll(s.Statements, ";;", mark), ";") {
		if part = strings.TrimSpace(strings.ReplaceAll(part, mark, ";")); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// A keyRule is one entry of message.key.columns.
type keyRule struct {
	table   config.Patterns
	columns []string
}

func parseMessageKey(text string) ([]keyRule, error) {
	var rules []keyRule
	for entry := range strings.SplitSeq(text, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		table, columns, ok := strings.Cut(entry, ":")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form database.table:column,column", entry)
		}
		p, err := config.ParsePatterns(strings.ReplaceAll(strings.TrimSpace(table), ",", `\,`))
		if err != nil {
			return nil, err
		}
		rule := keyRule{table: p}
		for c := range strings.SplitSeq(columns, ",") {
			if c = strings.TrimSpace(c); c == "" {
				return nil, fmt.Errorf("%q names an empty column", entry)
			} else if !slices.Contains(rule.columns, c) {
				rule.columns = append(rule.columns, c)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// adjust returns how names are changed.
func adjust(mode string) change.Adjust {
	switch mode {
	case "avro":
		return change.AdjustAvro
	case "avro_unicode":
		return change.AdjustAvroUnicode
	}
	return change.AdjustNone
}

// render returns how values of a type are written, by the handling modes.
func (s *settings) render(t *change.Type) change.Render {
	switch t.Kind {
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
