package mysql

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
	ColumnInclude   config.Patterns `cfg:"column.include.list" doc:"Columns to capture: anchored regular expressions on database.table.column. A key column stays in the key."`
	ColumnExclude   config.Patterns `cfg:"column.exclude.list" doc:"Columns not to capture. A key column stays in the key."`
	IgnoreBuiltin   bool            `cfg:"table.ignore.builtin" default:"true" doc:"Must be true: the system's own tables are never captured."`

	GTIDIncludes  config.Patterns `cfg:"gtid.source.includes" doc:"UUIDs (MariaDB: server ids) of the servers whose transactions are captured, where replication brings those of several."`
	GTIDExcludes  config.Patterns `cfg:"gtid.source.excludes" doc:"UUIDs (MariaDB: server ids) of the servers whose transactions are not captured."`
	GTIDIgnore    bool            `cfg:"gtid.ignore.on.recovery" default:"false" doc:"Resume by file and position on the same server even where the stored position has GTIDs."`
	SchemaChanges bool            `cfg:"include.schema.changes" default:"true" doc:"Write DDL statements to the topic that has the prefix as its name."`
	Comments      bool            `cfg:"include.schema.comments" default:"false" doc:"Have the comments of tables and columns in schema changes."`
	Query         bool            `cfg:"include.query" default:"false" doc:"Have the statement in each event, where the server logs it (binlog_rows_query_log_events, on MariaDB binlog_annotate_row_events)."`
	Inconsistent  string          `cfg:"inconsistent.schema.handling.mode" default:"copy" oneof:"copy,fail,warn,skip" doc:"What to do with rows of a table whose structure at that time is not known: leave them out and copy the table again (fail where snapshot.mode copies nothing), fail, or leave them out with or without a warning."`

	Heartbeat      time.Duration `cfg:"heartbeat.interval.ms" default:"0" min:"0" doc:"Milliseconds between heartbeat events and runs of heartbeat.action.query; 0: none. A server that is silent must say that it is there as often, every 10000 at least: after two and a half of them without a word the connection is given up."`
	HeartbeatTopic string        `cfg:"topic.heartbeat.prefix" default:"__debezium-heartbeat" doc:"First part of the heartbeat topic's name; topic.prefix follows."`
	HeartbeatQuery string        `cfg:"heartbeat.action.query" doc:"Statement to run on the server with each heartbeat."`

	Transactions    bool   `cfg:"provide.transaction.metadata" default:"false" doc:"Send an event at the begin and end of each transaction, and tell in each change its place in it."`
	TransactionName string `cfg:"topic.transaction" default:"transaction" doc:"Last part of the name of the topic of transactions, after topic.prefix."`

	MaxBatch int `cfg:"max.batch.size" default:"8192" min:"1" max:"1000000" doc:"Events in one batch at most."`

	formSettings
}

// Bounds of a batch besides max.batch.size.
const maxBatchBytes = 4 << 20

// parse decodes and checks a configuration without touching the network.
func parse(props map[string]string) (*settings, []config.Problem) {
	s := &settings{}
	problems := config.Decode(props, s)
	old := &compatSettings{}
	problems = append(problems, config.Decode(props, old)...)
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
	for key, name := range map[string]string{"topic.heartbeat.prefix": s.HeartbeatTopic, "topic.transaction": s.TransactionName} {
		if literal(name) && name != source.TopicName(name) || name == "" {
			report(key, "%q is not part of a topic's name; use letters, digits, '.', '_' and '-'", name)
		}
	}
	if s.HeartbeatQuery != "" && s.Heartbeat == 0 {
		report("heartbeat.action.query", "is run with each heartbeat, and there is none: set heartbeat.interval.ms")
	}
	if !s.IgnoreBuiltin {
		report("table.ignore.builtin", "must be true: changes of the system's own tables are not rows to capture")
	}
	s.checkPairs(report)
	s.checkFiles(report)
	problems = append(problems, s.parseForm(props)...)
	return s, append(problems, old.refused()...)
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

// capturesColumn reports whether a column is to be captured by the column lists; key columns are without it, for keys alone.
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
	return s.TopicOf(s.Prefix, database, table)
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
