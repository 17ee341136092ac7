package postgres

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
)

// settings is the typed configuration of the connector, under Debezium's names.
type settings struct {
	Host     string          `cfg:"database.hostname" required:"true" doc:"Host name or address of the database server, or the directory of its unix socket. Several, separated by commas and each with :port if it isn't database.port, are tried in order."`
	Port     int             `cfg:"database.port" default:"5432" min:"1" max:"65535" doc:"Port of the database server."`
	User     string          `cfg:"database.user" required:"true" doc:"Role to log in as. It needs LOGIN and REPLICATION, and SELECT on the captured tables."`
	Password config.Password `cfg:"database.password" doc:"Password of the role."`
	Database string          `cfg:"database.dbname" required:"true" doc:"Database to capture."`

	Target       string `cfg:"database.target.session.attrs" oneof:",any,read-write,read-only,primary,standby,prefer-standby" doc:"Which of several hosts to connect to, as libpq's target_session_attrs. Default: primary where there are several, else any. Tailrace's own."`
	TCPKeepAlive bool   `cfg:"database.tcpKeepAlive" default:"true" doc:"Probe idle connections, so that a server that is gone is noticed within half a minute."`

	SSLMode     string          `cfg:"database.sslmode" default:"prefer" oneof:"disable,allow,prefer,require,verify-ca,verify-full" doc:"How the connection is encrypted, as in libpq. Default where database.sslrootcert is given and the server is not on this machine: verify-full."`
	SSLCert     string          `cfg:"database.sslcert" doc:"File with the client certificate."`
	SSLKey      string          `cfg:"database.sslkey" doc:"File with the client's private key."`
	SSLRootCert string          `cfg:"database.sslrootcert" doc:"File with the certificates that the server is checked against."`
	SSLPassword config.Password `cfg:"database.sslpassword" doc:"Password of the client's private key."`

	Prefix         string          `cfg:"topic.prefix" required:"true" doc:"Logical name of the server: the first part of every topic's name and of the offsets. Never change it."`
	TableInclude   config.Patterns `cfg:"table.include.list" doc:"Tables to capture: anchored regular expressions on schema.table. Default: all tables that are not the system's."`
	TableExclude   config.Patterns `cfg:"table.exclude.list" doc:"Tables not to capture."`
	SchemaInclude  config.Patterns `cfg:"schema.include.list" doc:"Schemas to capture: anchored regular expressions."`
	SchemaExclude  config.Patterns `cfg:"schema.exclude.list" doc:"Schemas not to capture."`
	ColumnInclude  config.Patterns `cfg:"column.include.list" doc:"Columns to capture: anchored regular expressions on schema.table.column. A key column stays in the key."`
	ColumnExclude  config.Patterns `cfg:"column.exclude.list" doc:"Columns not to capture. A key column stays in the key."`
	SignalTable    string          `cfg:"signal.data.collection" doc:"A table (schema.table) with the columns id, type and data, which is captured whatever the lists say: a row that is inserted there is a signal."`
	PartitionRoot  bool            `cfg:"publish.via.partition.root" default:"false" doc:"Capture changes of partitions under the name of the partitioned table."`
	PluginName     string          `cfg:"plugin.name" default:"pgoutput" doc:"Logical decoding plugin. Always pgoutput; other names are accepted and replaced."`
	Slot           string          `cfg:"slot.name" default:"debezium" doc:"Replication slot, one for each connector. It is made when it doesn't exist."`
	SlotDrop       bool            `cfg:"slot.drop.on.stop" default:"false" doc:"Drop the slot when the connector stops. Changes made while it is stopped are then lost; for tests only."`
	SlotFailover   bool            `cfg:"slot.failover" default:"false" doc:"Let standbys keep the slot (PostgreSQL 17 and later), so that the connector goes on with the one that is promoted."`
	Mismatch       string          `cfg:"offset.mismatch.strategy" default:"no_validation" oneof:"no_validation,trust_offset,trust_slot,trust_greater_lsn" doc:"What to do when the slot begins after the stored offset, so that changes are missing: no_validation and trust_offset fail, trust_slot and trust_greater_lsn go on from the slot's place and lose them. A slot that is behind the offset never repeats changes."`
	RetainedAlarm  int64           `cfg:"slot.retained.wal.alarm.bytes" default:"1073741824" min:"0" doc:"WAL retained by the slot above which a warning is logged and the metric retained_wal_alarm is 1; 0: never. Tailrace's own."`
	Publication    string          `cfg:"publication.name" default:"dbz_publication" doc:"Publication that the slot reads."`
	AutoCreate     string          `cfg:"publication.autocreate.mode" default:"filtered" oneof:"filtered,all_tables,disabled,no_tables" doc:"filtered makes the publication for the captured tables and adds to it. all_tables is treated as filtered. disabled and no_tables expect it to be made by others."`
	StatusInterval time.Duration   `cfg:"status.update.interval.ms" default:"10000" min:"1" doc:"Milliseconds between status updates to the server at most. They are sent twice a second and when there is something to tell."`

	Heartbeat       time.Duration   `cfg:"heartbeat.interval.ms" default:"0" min:"0" doc:"Milliseconds between heartbeat events and runs of heartbeat.action.query; 0: none. An idle database recycles its WAL without them: the position moves on by itself."`
	HeartbeatTopic  string          `cfg:"topic.heartbeat.prefix" default:"__debezium-heartbeat" doc:"First part of the heartbeat topic's name; topic.prefix follows."`
	HeartbeatQuery  string          `cfg:"heartbeat.action.query" doc:"Statement to run in the database with each heartbeat."`
	Transactions    bool            `cfg:"provide.transaction.metadata" default:"false" doc:"Send an event at the begin and end of each transaction, and tell in each change its place in it."`
	TransactionName string          `cfg:"topic.transaction" default:"transaction" doc:"Last part of the name of the topic for begin and end of transactions."`
	MessageInclude  config.Patterns `cfg:"message.prefix.include.list" doc:"Prefixes of logical messages to capture: anchored regular expressions. Default: all."`
	MessageExclude  config.Patterns `cfg:"message.prefix.exclude.list" doc:"Prefixes of logical messages not to capture."`

	formSettings
	compatSettings

	MaxBatch   int           `cfg:"max.batch.size" default:"8192" min:"1" max:"1000000" doc:"Events in one batch at most."`
	Tombstones bool          `cfg:"tombstones.on.delete" default:"true" doc:"Follow a delete by a tombstone record."`
	Connect    time.Duration `cfg:"connect.timeout.ms" default:"30000" min:"1" doc:"Milliseconds to wait for a connection."`
}

// Bounds of a batch besides max.batch.size.
const maxBatchBytes = 4 << 20

var slotName = regexp.MustCompile(`\A[a-z0-9_]{1,63}\z`)

// parse decodes and checks a configuration without touching the network.
func parse(props map[string]string) (*settings, []config.Problem) {
	s := &settings{}
	problems := config.Decode(props, s)
	report := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	literal := func(v string) bool { return v != "" && !config.HasPlaceholder(v) }
	if _, chosen := props["database.sslmode"]; !chosen && s.SSLRootCert != "" && !s.local() {
		s.SSLMode = "verify-full"
	}
	if literal(s.Host) {
		if _, err := s.hosts(); err != nil {
			report("database.hostname", "%v", err)
		}
	}
	for key, v := range map[string]string{"database.hostname": s.Host, "database.user": s.User, "database.dbname": s.Database,
		"topic.prefix": s.Prefix} {
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
	if !config.HasPlaceholder(s.Slot) && !slotName.MatchString(s.Slot) {
		report("slot.name", "%q is not a slot name: 1 to 63 lower case letters, digits and underscores", s.Slot)
	}
	if literal(s.Publication) && (len(s.Publication) > 63 || strings.ContainsRune(s.Publication, 0)) {
		report("publication.name", "must have at most 63 bytes and no zero byte")
	} else if s.Publication == "" {
		report("publication.name", "must not be empty")
	}
	for key, name := range map[string]string{"topic.heartbeat.prefix": s.HeartbeatTopic, "topic.transaction": s.TransactionName} {
		if literal(name) && name != source.TopicName(name) || name == "" {
			report(key, "%q is not part of a topic's name; use letters, digits, '.', '_' and '-'", name)
		}
	}
	if s.HeartbeatQuery != "" && s.Heartbeat == 0 {
		report("heartbeat.action.query", "is run with each heartbeat, and there is none: set heartbeat.interval.ms")
	}
	for _, pair := range []struct {
		include, exclude string
		both             bool
	}{
		{"table.include.list", "table.exclude.list", !s.TableInclude.Empty() && !s.TableExclude.Empty()},
		{"schema.include.list", "schema.exclude.list", !s.SchemaInclude.Empty() && !s.SchemaExclude.Empty()},
		{"column.include.list", "column.exclude.list", !s.ColumnInclude.Empty() && !s.ColumnExclude.Empty()},
		{"message.prefix.include.list", "message.prefix.exclude.list", !s.MessageInclude.Empty() && !s.MessageExclude.Empty()},
	} {
		if pair.both {
			report(pair.exclude, "can't be set together with %s: keep one of them", pair.include)
		}
	}
	return s, slices.Concat(problems, s.parseForm(props), s.refused())
}

// endpoint is one server of database.hostname.
type endpoint struct {
	host string
	port int
}

// hosts takes database.hostname apart: names, addresses (IPv6 ones with a port in brackets) or directories, each with :port if it has
// one of its own.
func (s *settings) hosts() ([]endpoint, error) {
	var list []endpoint
	for part := range strings.SplitSeq(s.Host, ",") {
		e := endpoint{strings.TrimSpace(part), s.Port}
		if !strings.HasPrefix(e.host, "/") && (strings.HasPrefix(e.host, "[") || strings.Count(e.host, ":") == 1) {
			host, port, err := net.SplitHostPort(e.host)
			if err != nil {
				if host, ok := strings.CutSuffix(strings.TrimPrefix(e.host, "["), "]"); ok {
					list = append(list, endpoint{host, s.Port})
					continue
				}
				return nil, fmt.Errorf("%q is not host:port", e.host)
			}
			if e.port, err = strconv.Atoi(port); err != nil || e.port < 1 || e.port > 65535 {
				return nil, fmt.Errorf("%q has no port from 1 to 65535", e.host)
			}
			e.host = host
		}
		if e.host == "" {
			return nil, errors.New("has an empty host in its list")
		}
		list = append(list, e)
	}
	return list, nil
}

// local reports whether all servers are on this machine.
func (s *settings) local() bool {
	list, err := s.hosts()
	return err == nil && !slices.ContainsFunc(list, func(e endpoint) bool {
		ip := net.ParseIP(e.host)
		return e.host != "localhost" && !strings.HasPrefix(e.host, "/") && (ip == nil || !ip.IsLoopback())
	})
}

// captures reports whether a table is to be captured by the include and exclude lists. The system's own tables never are.
func (s *settings) captures(schema, table string) bool {
	if schema == "information_schema" || strings.HasPrefix(schema, "pg_") {
		return false
	}
	name := schema + "." + table
	if name == s.SignalTable {
		return true
	}
	if !s.SchemaInclude.Empty() && !s.SchemaInclude.Match(schema) || s.SchemaExclude.Match(schema) {
		return false
	}
	return (s.TableInclude.Empty() || s.TableInclude.Match(name)) && !s.TableExclude.Match(name)
}

// capturesColumn reports whether a column is to be captured by the column lists; key columns are without it, for keys alone.
func (s *settings) capturesColumn(schema, table, column string) bool {
	if s.ColumnInclude.Empty() && s.ColumnExclude.Empty() {
		return true
	}
	name := schema + "." + table + "." + column
	return (s.ColumnInclude.Empty() || s.ColumnInclude.Match(name)) && !s.ColumnExclude.Match(name)
}

// capturesMessage reports whether logical messages of a prefix are to be captured.
func (s *settings) capturesMessage(prefix string) bool {
	return (s.MessageInclude.Empty() || s.MessageInclude.Match(prefix)) && !s.MessageExclude.Match(prefix)
}

// topic returns the topic of a table, as Debezium names it.
func (s *settings) topic(schema, table string) string {
	return s.TopicOf(s.Prefix, schema, table)
}
