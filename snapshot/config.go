package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailrace/tailrace/config"
)

// Config is the part of a source connector's configuration that says whether and how existing rows are copied, under
// Debezium's names. It is made by Decode; a source plugin lists it among its keys with config.Keys, and OverrideFamily among its
// families of properties.
type Config struct {
	Mode        string `cfg:"snapshot.mode" default:"initial" oneof:"initial,initial_only,always,no_data,never,schema_only,when_needed,recovery,configuration_based" doc:"when to copy the rows that exist already: initial copies each table once; initial_only does so and stops; always copies again at each start after a complete copy; no_data (also never, schema_only) copies nothing; when_needed is initial, and starts over when the database can no longer serve the stored position; recovery copies nothing (structures are in the log, there is no history to rebuild); configuration_based goes by the five properties snapshot.mode.configuration.based.*"`
	ByData      bool   `cfg:"snapshot.mode.configuration.based.snapshot.data" default:"false" doc:"configuration_based: copy the rows that exist already"`
	BySchema    bool   `cfg:"snapshot.mode.configuration.based.snapshot.schema" default:"false" doc:"configuration_based: accepted; structures are always recorded"`
	ByStream    bool   `cfg:"snapshot.mode.configuration.based.start.stream" default:"false" doc:"configuration_based: follow the changes"`
	ByDataError bool   `cfg:"snapshot.mode.configuration.based.snapshot.on.data.error" default:"false" doc:"configuration_based: start over when the database can no longer serve the stored position"`
	BySchErr    bool   `cfg:"snapshot.mode.configuration.based.snapshot.on.schema.error" default:"false" doc:"configuration_based: accepted; structures can't be lost, they are in the log"`

	// FetchSize bounds the rows of a chunk. A chunk is also bounded to about 8 MiB of row memory and to about two seconds, by
	// what the chunks before it were.
	FetchSize    int             `cfg:"snapshot.fetch.size" default:"10240" min:"1" max:"1000000" doc:"most rows that are read at once"`
	ChunkSize    int             `cfg:"incremental.snapshot.chunk.size" default:"0" min:"0" max:"1000000" doc:"most rows of a chunk of an incremental snapshot; 0: as snapshot.fetch.size"`
	Include      config.Patterns `cfg:"snapshot.include.collection.list" doc:"the tables to copy, among the captured ones, as schema.table; empty: all of them"`
	Threads      int             `cfg:"snapshot.max.threads" default:"1" min:"1" max:"64" doc:"chunks that are read at the same time, of one table or several"`
	LegacyThread bool            `cfg:"legacy.snapshot.max.threads" default:"false" doc:"accepted: chunks of one table are read by several threads whatever it says"`
	Delay        time.Duration   `cfg:"snapshot.delay.ms" default:"0" min:"0" doc:"milliseconds from the start of the connector to the first chunk; the stream flows meanwhile"`
	StreamDelay  time.Duration   `cfg:"streaming.delay.ms" default:"0" min:"0" doc:"milliseconds between the end of the copy and the next change that is streamed"`
	Order        string          `cfg:"snapshot.tables.order.by.row.count" default:"disabled" oneof:"disabled,ascending,descending" doc:"copy small or large tables first, by the database's statistics"`
	Overrides    []string        `cfg:"snapshot.select.statement.overrides" doc:"tables (schema.table) of which the snapshot reads a SELECT of your own, given by snapshot.select.statement.overrides.<table>; the statement must give all columns of the table"`

	Locking     string        `cfg:"snapshot.locking.mode" default:"none" oneof:"none,shared,minimal,minimal_percona,minimal_percona_no_table_locks,extended" doc:"accepted: no lock is taken in any mode, and none is needed"`
	LockTimeout time.Duration `cfg:"snapshot.lock.timeout.ms" default:"10000" min:"0" doc:"accepted: no lock is waited for"`
	Isolation   string        `cfg:"snapshot.isolation.mode" default:"repeatable_read" oneof:"serializable,repeatable_read,read_committed,read_uncommitted" doc:"accepted: each chunk is read under one snapshot of its own (repeatable read), and corrected by the stream"`
	MinStream   int           `cfg:"min.row.count.to.stream.results" default:"1000" min:"0" doc:"accepted: results are always streamed"`

	SignalTable    string        `cfg:"signal.data.collection" doc:"a captured table (schema.table) with the columns id, type and data; a row that is inserted there is a signal"`
	SignalChannels []string      `cfg:"signal.enabled.channels" default:"source" doc:"where signals come from besides the REST API: source (signal.data.collection), file (signal.file), kafka (the log's topic for signals)"`
	SignalFile     string        `cfg:"signal.file" default:"file-signals.txt" doc:"a file whose lines are signals as JSON; it is emptied when they were taken"`
	SignalTopic    string        `cfg:"signal.kafka.topic" default:"__tailrace_signals" oneof:"__tailrace_signals" doc:"the topic of signals: the log has one for all connectors"`
	SignalPoll     time.Duration `cfg:"signal.poll.interval.ms" default:"5000" min:"1" doc:"milliseconds between looks at signal.file"`
	Watermarking   string        `cfg:"incremental.snapshot.watermarking.strategy" default:"insert_insert" oneof:"insert_insert,insert_delete" doc:"accepted: nothing is written into the source"`
	AllowSchema    bool          `cfg:"incremental.snapshot.allow.schema.changes" default:"false" doc:"accepted: a table whose structure changes is read on or again"`
	ReadOnly       bool          `cfg:"read.only" default:"false" doc:"accepted: nothing is ever written into the source"`

	NotifyChannels []string `cfg:"notification.enabled.channels" doc:"who is told about the progress of snapshots: sink (a topic), log"`
	NotifyTopic    string   `cfg:"notification.sink.topic.name" doc:"the topic of notifications for the channel sink"`

	statements map[string]string // snapshot.select.statement.overrides.<table>, by table
}

// OverrideFamily is the family of properties that hold the statements of snapshot.select.statement.overrides.
const OverrideFamily = "snapshot.select.statement.overrides.*"

// refusals are properties that can't mean here what they mean in Debezium.
func refusals() [][2]string {
	return [][2]string{
		{"snapshot.mode.custom.name", "a Java class can't be loaded; use one of the other snapshot modes"},
		{"snapshot.locking.mode.custom.name", "a Java class can't be loaded, and no lock is needed; remove it"},
		{"snapshot.query.mode.custom.name", "a Java class can't be loaded; use snapshot.select.statement.overrides"},
	}
}

// Decode reads the snapshot part of props and returns every mistake in it.
func Decode(props map[string]string, c *Config) []config.Problem {
	problems := config.Decode(props, c)
	if props["snapshot.mode"] == "custom" {
		problems = slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Key == "snapshot.mode" })
		problems = append(problems, config.Problem{Key: "snapshot.mode", Message: "custom needs a Java class, which can't be loaded; use " +
			"configuration_based, or snapshot.select.statement.overrides to choose rows"})
	}
	report := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for _, r := range refusals() {
		if _, ok := props[r[0]]; ok {
			report(r[0], "%s", r[1])
		}
	}
	if c.Mode == "configuration_based" && !c.ByData && !c.ByStream {
		report("snapshot.mode", "configuration_based with neither snapshot.mode.configuration.based.snapshot.data nor "+
			"snapshot.mode.configuration.based.start.stream would do nothing; set one of them to true")
	}
	c.statements = map[string]string{}
	for _, table := range c.Overrides {
		key := OverrideFamily[:len(OverrideFamily)-1] + table
		if statement := strings.TrimSpace(props[key]); statement == "" {
			report("snapshot.select.statement.overrides", "%s has no statement: set %s", table, key)
		} else {
			c.statements[table] = strings.TrimRight(statement, "; \t\r\n")
		}
	}
	for _, ch := range c.SignalChannels {
		switch ch {
		case "source", "file", "kafka":
		case "jmx":
			report("signal.enabled.channels", "jmx is Java's own; signals can be sent to POST /connectors/NAME/signals instead")
		default:
			report("signal.enabled.channels", "%q is not one of source, file, kafka", ch)
		}
	}
	for _, ch := range c.NotifyChannels {
		switch ch {
		case "sink":
			if c.NotifyTopic == "" {
				report("notification.sink.topic.name", "is required with the channel sink of notification.enabled.channels")
			}
		case "log":
		case "jmx":
			report("notification.enabled.channels", "jmx is Java's own; GET /connectors/NAME/snapshot and /metrics tell the same")
		default:
			report("notification.enabled.channels", "%q is not one of sink, log", ch)
		}
	}
	return problems
}

// Check returns every mistake in the snapshot part of props.
func Check(props map[string]string) []config.Problem {
	var c Config
	return Decode(props, &c)
}

// rows returns the bound of a chunk's rows.
func (c *Config) rows(incremental bool) int {
	switch {
	case c.ChunkSize > 0 && (incremental || c.FetchSize == 0):
		return c.ChunkSize
	case c.FetchSize > 0:
		return c.FetchSize
	}
	return 10240
}

// copies reports whether the mode copies rows at all.
func (c *Config) copies() bool {
	switch c.Mode {
	case "no_data", "never", "schema_only", "recovery":
		return false
	case "configuration_based":
		return c.ByData
	}
	return true
}

// only reports whether nothing is left to do after the copy.
func (c *Config) only() bool {
	return c.Mode == "initial_only" || c.Mode == "configuration_based" && c.ByData && !c.ByStream
}

// restarts reports whether the copy starts over when the stored position can't be served.
func (c *Config) restarts() bool {
	return c.Mode == "when_needed" || c.Mode == "configuration_based" && c.ByDataError
}

// statement returns the SELECT to read in place of a table, "" if there is none.
func (c *Config) statement(table string) string { return c.statements[table] }
