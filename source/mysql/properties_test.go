package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// TestProperties goes over the properties that Debezium documents for MySQL and MariaDB: each is known, its default and the
// values that are listed are taken, and each value that can't mean here what it means there is refused under its name.
func TestProperties(t *testing.T) {
	known := append(slices.Clone(Plugin.Keys), config.Keys(&snapshot.Config{})...)
	const class = "com.acme.Mine"
	for _, c := range []struct{ name, taken, refused string }{ // values separated by spaces
		{"database.hostname", "db /run/mysqld.sock", ""},
		{"database.port", "3306", "0 x"},
		{"database.user", "u", ""},
		{"database.password", "secret", ""},
		{"topic.prefix", "shop a.b-c_d", "a$b"},
		{"database.server.id", "0 5400", "-1 4294967296"},
		{"table.include.list", `shop\.t .*`, "("},
		{"table.exclude.list", `shop\.t`, "("},
		{"database.include.list", "shop", "("},
		{"database.exclude.list", "shop", "("},
		{"column.include.list", `shop\.t\.c`, "("},
		{"column.exclude.list", `shop\.t\.c`, "("},
		{"database.ssl.mode", "disabled preferred required verify_identity", "sometimes verify_ca"}, // verify_ca needs a truststore
		{"database.ssl.keystore", "/x.pem", "/x.jks"},
		{"database.ssl.keystore.password", "p", ""},
		{"database.ssl.truststore", "/x.pem", "/x.p12"},
		{"database.ssl.truststore.password", "p", ""},
		{"connect.timeout.ms", "30000", "0 x"},
		{"connect.keep.alive", "true false", "maybe"},
		{"connect.keep.alive.interval.ms", "60000", "0"},
		{"database.query.timeout.ms", "600000 0", "-1"},
		{"database.initial.statements", "SET@a=1", ""},
		{"gtid.source.includes", "a.*", "("},
		{"gtid.source.excludes", "a.*", "("},
		{"gtid.ignore.on.recovery", "true false", "maybe"},
		{"gtid.source.filter.dml.events", "true", "false"},
		{"binlog.buffer.size", "0 100", "-1"},
		{"use.nongraceful.disconnect", "true false", "maybe"},
		{"include.schema.changes", "true false", "maybe"},
		{"include.query", "true false", "maybe"},
		{"include.schema.comments", "true false", "maybe"},
		{"inconsistent.schema.handling.mode", "fail warn skip", "maybe"},
		{"table.ignore.builtin", "true", "false"},
		{"enable.time.adjuster", "true false", "maybe"},
		{"ddl.parser.type", "default legacy", ""},
		{"schema.history.internal", "io.debezium.storage.kafka.history.KafkaSchemaHistory", ""},
		{"schema.history.internal.kafka.topic", "h", ""},
		{"schema.history.internal.kafka.bootstrap.servers", "k:9092", ""},
		{"schema.history.internal.skip.unparseable.ddl", "true false", "maybe"},
		{"schema.history.internal.store.only.captured.tables.ddl", "true false", "maybe"},
		{"schema.history.internal.store.only.captured.databases.ddl", "true false", "maybe"},
		{"event.converting.failure.handling.mode", "warn fail skip", "maybe"},
		{"event.deserialization.failure.handling.mode", "fail", "warn skip ignore"},
		{"event.processing.failure.handling.mode", "fail", "warn skip ignore"},
		{"snapshot.mode", "initial always initial_only no_data never schema_only recovery when_needed", "sometimes configuration_based"}, // which needs a flag,
		{"snapshot.locking.mode", "minimal extended none minimal_percona", "sometimes"},
		{"snapshot.lock.timeout.ms", "10000", "-1"},
		{"snapshot.include.collection.list", `shop\.t`, "("},
		{"snapshot.select.statement.overrides", "", "shop.t"}, // without the statement
		{"min.row.count.to.stream.results", "1000 0", "-1"},
		{"snapshot.fetch.size", "10240", "0"},
		{"snapshot.tables.order.by.row.count", "disabled ascending descending", "sometimes"},
		{"snapshot.max.threads", "1 4", "0"},
		{"legacy.snapshot.max.threads", "true false", "maybe"},
		{"snapshot.delay.ms", "0 100", "-1"},
		{"streaming.delay.ms", "0 100", "-1"},
		{"signal.data.collection", "shop.signals", ""},
		{"signal.enabled.channels", "source source,file", ""},
		{"signal.file", "f", ""},
		{"incremental.snapshot.chunk.size", "1024", "-1"},
		{"incremental.snapshot.watermarking.strategy", "insert_insert insert_delete", "sometimes"},
		{"incremental.snapshot.allow.schema.changes", "false true", "maybe"},
		{"read.only", "false true", "maybe"},
		{"notification.enabled.channels", "log", ""},
		{"notification.sink.topic.name", "n", ""},
		{"decimal.handling.mode", "precise double string", "exact"},
		{"time.precision.mode", "adaptive_time_microseconds adaptive connect isostring microseconds nanoseconds", "structured"},
		{"binary.handling.mode", "bytes base64 base64-url-safe hex", "octal"},
		{"bigint.unsigned.handling.mode", "long precise", "short"},
		{"message.key.columns", "shop.t:a,b;shop.u:c", "shop.t"},
		{"skipped.operations", "none t c,u,d", "x"},
		{"skip.messages.without.change", "true false", "maybe"},
		{"unavailable.value.placeholder", "gone", ""},
		{"provide.transaction.metadata", "true false", "maybe"},
		{"topic.transaction", "tx", "a$b"},
		{"converters", "", class},
		{"schema.name.adjustment.mode", "none avro avro_unicode", "x"},
		{"field.name.adjustment.mode", "none avro avro_unicode", "x"},
		{"topic.delimiter", ". _", "$"},
		{"topic.naming.strategy", "io.debezium.schema.DefaultTopicNamingStrategy io.debezium.schema.SchemaTopicNamingStrategy", class},
		{"topic.heartbeat.prefix", "hb", "a$b"},
		{"extended.headers.enabled", "true false", "maybe"},
		{"heartbeat.interval.ms", "0 5000", "-1"},
		{"heartbeat.action.query", "", "SELECT"}, // without an interval
		{"max.batch.size", "2048", "0"},
		{"max.queue.size", "8192", "0"},
		{"max.queue.size.in.bytes", "0 1000", "-1"},
		{"poll.interval.ms", "500", "-1"},
		{"retriable.restart.connector.wait.ms", "10000", "-1"},
		{"custom.metric.tags", "", "k=v"},
		{"custom.sanitize.pattern", "", "[^a-z]"},
		{"guardrail.collections.max", "0", "5"},
		{"guardrail.collections.limit.action", "warn fail", "maybe"},
		{"column.mask.with.5.chars", "a.b.c", "("},
		{"column.truncate.to.5.chars", "a.b.c", "("},
		{"column.mask.hash.SHA-256.with.salt.s", "a.b.c", "("},
		{"column.mask.hash.v2.SHA-256.with.salt.s", "a.b.c", "("},
		{"column.mask.hash.CRC.with.salt.s", "", "a.b.c"},
		{"column.propagate.source.type", "a.b.c", "("},
		{"datatype.propagate.source.type", "a.b.INT", "("},
	} {
		family := slices.ContainsFunc(source.ColumnFamilies(), func(f string) bool {
			head, _, _ := strings.Cut(f, "*")
			return strings.HasPrefix(c.name, head)
		})
		if !family && !slices.ContainsFunc(known, func(k config.Key) bool { return k.Name == c.name }) {
			t.Errorf("%s is not known", c.name)
		}
		judge := func(value string) (about bool, text string) {
			props := map[string]string{"database.hostname": "db", "database.user": "u", "topic.prefix": "shop", c.name: value}
			for _, p := range append(Plugin.Check(props), snapshot.Check(props)...) {
				about = about || p.Key == c.name || value == "verify_ca" && p.Key == "database.ssl.truststore"
				text += p.String() + " "
			}
			return about, text
		}
		for value := range strings.FieldsSeq(c.taken) {
			if _, text := judge(value); text != "" {
				t.Errorf("%s=%s: %s", c.name, value, text)
			}
		}
		for value := range strings.FieldsSeq(c.refused) {
			if about, text := judge(value); !about {
				t.Errorf("%s=%s is taken (%s)", c.name, value, text)
			}
		}
	}
}
