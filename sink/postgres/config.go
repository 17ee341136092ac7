package postgres

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/sink"
)

// Config is the typed configuration of a PostgreSQL sink. Keys of the JDBC sinks are accepted where they mean the same.
type Config struct {
	URL        string          `cfg:"connection.url" required:"true" doc:"postgres://host:port/database or jdbc:postgresql://host:port/database. User and password have properties of their own."`
	Username   string          `cfg:"connection.username" doc:"The role to connect as."`
	User       string          `cfg:"connection.user" doc:"Another name of connection.username."`
	Password   config.Password `cfg:"connection.password" doc:"The role's password."`
	Timeout    time.Duration   `cfg:"connection.timeout.ms" default:"10000" min:"100" max:"600000" doc:"Milliseconds to wait for a connection."`
	Write      time.Duration   `cfg:"write.timeout.ms" default:"300000" min:"100" max:"86400000" doc:"Milliseconds that the target may take for a batch. After them the connection is given up, the server cancels what it is doing, and the batch is written again."`
	Lock       time.Duration   `cfg:"lock.timeout.ms" default:"30000" min:"0" max:"86400000" doc:"Milliseconds to wait for another session's lock before a batch is rolled back and written again after a pause; 0: as long as write.timeout.ms."`
	DDL        time.Duration   `cfg:"ddl.timeout.ms" default:"3600000" min:"100" max:"604800000" doc:"Milliseconds that CREATE TABLE and ALTER TABLE may take; widening a column rewrites its table."`
	Schema     string          `cfg:"schema" doc:"Schema of the tables where table.name.format names none. It is made if it is missing. Default: the first schema of currentSchema in connection.url, else public."`
	Collection string          `cfg:"collection.name.format" doc:"Another name of table.name.format."`
	Format     string          `cfg:"table.name.format" default:"${table}" doc:"Name of a topic's table: ${table} and ${schema} are the last and the second last part of the topic, ${topic} is all of it with _ for dots. A dot in the format separates schema and table."`
	Offsets    string          `cfg:"offsets.table" default:"_tailrace_offsets" doc:"Table in schema that holds the positions."`
	Evolution  string          `cfg:"schema.evolution" default:"basic" oneof:"none,basic" doc:"basic: missing tables and columns are made, and types widened where no value can change. none: a table that does not fit is an error."`
	AutoCreate bool            `cfg:"auto.create" default:"true" doc:"false is the same as schema.evolution=none."`
	AutoEvolve bool            `cfg:"auto.evolve" default:"true" doc:"false is the same as schema.evolution=none."`
	MaxRows    int             `cfg:"batch.size" default:"5000" min:"1" max:"100000" doc:"Rows of one statement at most. A batch is one transaction however many statements it needs."`

	InsertMode string `cfg:"insert.mode" default:"upsert" oneof:"upsert" doc:"Must be upsert: rows are kept by key."`
	KeyMode    string `cfg:"primary.key.mode" default:"record_key" oneof:"record_key,record_value" doc:"The key is the source table's. Both values mean the same."`
	KeyFields  string `cfg:"primary.key.fields" doc:"Must be empty: the key is the source table's; name another with message.key.columns at the source."`
	Deletes    bool   `cfg:"delete.enabled" default:"true" doc:"Must be true: the table is kept equal to the source's."`
	Truncates  bool   `cfg:"truncate.enabled" default:"true" doc:"Must be true: the table is kept equal to the source's."`
	Fields     string `cfg:"field.include.list" doc:"Must be empty: leave columns out with column.exclude.list at the source or a transform."`
	Reduction  bool   `cfg:"use.reduction.buffer" default:"true" doc:"Accepted; a batch is always reduced to one state for each row."`
	Dialect    string `cfg:"dialect.name" doc:"Accepted; empty or PostgreSqlDatabaseDialect."`
}

// Plugin is the PostgreSQL sink.
var Plugin = sink.Plugin{
	Name: "postgres-sink",
	Classes: []string{"jdbc", "io.debezium.connector.jdbc.JdbcSinkConnector", "io.confluent.connect.jdbc.JdbcSinkConnector",
		"PostgresSinkConnector"},
	Doc:  "Keeps tables of another PostgreSQL database equal to the source's, each change exactly once.",
	Keys: config.Keys(&Config{}),
	Check: func(props map[string]string) []config.Problem {
		_, problems := parse(props)
		return problems
	},
	Open: open,
}

func parse(props map[string]string) (*Config, []config.Problem) {
	c := &Config{}
	problems := config.Decode(props, c)
	bad := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	if c.Username == "" {
		c.Username = c.User
	}
	if c.Collection != "" {
		c.Format = c.Collection
	}
	if !c.AutoCreate || !c.AutoEvolve {
		c.Evolution = "none"
	}
	if c.URL != "" && !config.HasPlaceholder(c.URL) {
		session, err := c.connection("check")
		if err != nil {
			bad("connection.url", "%v", err)
		} else if c.Schema == "" {
			c.Schema = firstSchema(session.RuntimeParams["search_path"])
		}
	}
	if c.Schema == "" {
		c.Schema = "public"
	}
	if !config.HasPlaceholder(c.Format) {
		if err := checkFormat(c.Format); err != nil {
			bad("table.name.format", "%v", err)
		}
	}
	for _, name := range [][2]string{{"schema", c.Schema}, {"offsets.table", c.Offsets}} {
		if !config.HasPlaceholder(name[1]) {
			if err := checkName(name[1]); err != nil {
				bad(name[0], "%v", err)
			}
		}
	}
	for _, k := range []struct {
		name  string
		wrong bool
		why   string
	}{
		{"delete.enabled", !c.Deletes, "false is not supported: the table is kept equal to the source's"},
		{"truncate.enabled", !c.Truncates, "false is not supported: the table is kept equal to the source's"},
		{"primary.key.fields", c.KeyFields != "", "is not supported: the key is the source table's; name another with message.key.columns at the source"},
		{"field.include.list", c.Fields != "", "is not supported: leave columns out with column.exclude.list at the source or a transform"},
		{"dialect.name", c.Dialect != "" && !strings.HasPrefix(c.Dialect, "PostgreSql"), "only PostgreSqlDatabaseDialect is supported"},
	} {
		if k.wrong {
			bad(k.name, "%s", k.why)
		}
	}
	return c, problems
}

// jdbc says what becomes of the parameters of a JDBC URL: "" drops one that only concerns the driver.
func jdbc(name string) (string, bool) {
	switch name {
	case "ApplicationName":
		return "application_name", true
	case "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "target_session_attrs", "application_name", "search_path", "options":
		return name, true
	case "reWriteBatchedInserts", "stringtype", "tcpKeepAlive", "loginTimeout", "socketTimeout", "prepareThreshold", "defaultRowFetchSize", "assumeMinServerVersion":
		return "", true
	}
	return "", false
}

// connection returns the settings of a session. Its errors hold nothing of the URL.
func (c *Config) connection(connector string) (*pgconn.Config, error) {
	u, err := url.Parse(strings.TrimPrefix(c.URL, "jdbc:"))
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("must begin with postgres:// or jdbc:postgresql://")
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		return nil, fmt.Errorf("must not hold a password, because it is shown; put that into connection.password")
	}
	query := url.Values{}
	user := u.User.Username()
	for name, values := range u.Query() {
		switch {
		case name == "user":
			user = values[0]
		case name == "currentSchema":
			query.Set("search_path", values[0])
		case name == "ssl":
			if values[0] == "true" && !u.Query().Has("sslmode") {
				query.Set("sslmode", "verify-full")
			}
		default:
			to, ok := jdbc(name)
			if !ok {
				return nil, fmt.Errorf("the parameter %q is not known", name)
			}
			if to != "" {
				query[to] = values
			}
		}
	}
	if c.Username != "" {
		user = c.Username
	}
	u.User = nil
	if user != "" {
		u.User = url.User(user)
	}
	u.RawQuery = query.Encode()
	cfg, err := pgconn.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("cannot be understood; write postgres://host:port/database")
	}
	if c.Password != "" {
		cfg.Password = c.Password.Reveal()
	}
	cfg.ConnectTimeout = c.Timeout
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "tailrace " + connector
	}
	// What the text forms of values are read by, whatever the role or the database has set.
	for name, value := range map[string]string{"TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres",
		"client_encoding": "UTF8", "lc_monetary": "C", "xmloption": "content", "default_transaction_isolation": "read committed",
		// What ends a session whose client is gone or which waits for others, so that its locks don't outlive it.
		"statement_timeout": millis(c.Write), "lock_timeout": millis(c.Lock), "idle_in_transaction_session_timeout": "60000"} {
		cfg.RuntimeParams[name] = value
	}
	// A server that is gone without a word is noticed after half a minute.
	cfg.DialFunc = (&net.Dialer{Timeout: c.Timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second,
		Interval: 5 * time.Second, Count: 4}}).DialContext
	return cfg, nil
}

// firstSchema returns the first name of a search_path, which the server would make tables in; "" for none or "$user".
func firstSchema(path string) string {
	name, _, _ := strings.Cut(path, ",")
	name = strings.TrimSpace(name)
	if quoted, ok := strings.CutPrefix(name, `"`); ok {
		name = strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `""`, `"`)
	} else {
		name = strings.ToLower(name)
	}
	if name == "$user" {
		return ""
	}
	return name
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// checkName refuses names that the server would cut or cannot hold.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("must not be empty")
	case len(name) > 63:
		return fmt.Errorf("%q is longer than the 63 bytes that PostgreSQL keeps of a name", name)
	case strings.Contains(name, "\x00"):
		return fmt.Errorf("must not contain a NUL character")
	}
	return nil
}

func checkFormat(format string) error {
	rest := format
	for _, name := range []string{"${topic}", "${schema}", "${table}"} {
		rest = strings.ReplaceAll(rest, name, "")
	}
	if i := strings.Index(rest, "${"); i >= 0 {
		return fmt.Errorf("%q is unknown; there are ${topic}, ${schema} and ${table}", rest[i:])
	}
	if strings.Count(rest, ".") > 1 {
		return fmt.Errorf("must have one dot at most, between schema and table")
	}
	if !strings.Contains(format, "${topic}") && !strings.Contains(format, "${table}") {
		return fmt.Errorf("must contain ${table} or ${topic}, so that no two topics share a table")
	}
	return nil
}

// A name is a table's own.
type name struct{ schema, table string }

func (n name) String() string { return quote(n.schema) + "." + quote(n.table) }

// quote makes an identifier of any text without NUL.
func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// table returns the name of the table for a topic; t stands in for what the topic does not say.
func (c *Config) table(topic string, t *change.Table) (name, error) {
	parts := strings.Split(topic, ".")
	last, before := parts[len(parts)-1], t.Name.Schema
	if len(parts) > 1 {
		before = parts[len(parts)-2]
	}
	fill := strings.NewReplacer("${topic}", strings.ReplaceAll(topic, ".", "_"), "${schema}", before, "${table}", last).Replace
	n := name{c.Schema, fill(c.Format)}
	if schema, table, ok := strings.Cut(c.Format, "."); ok {
		n = name{fill(schema), fill(table)}
	}
	for _, part := range []string{n.schema, n.table} {
		if err := checkName(part); err != nil {
			return n, fmt.Errorf("name of the table for topic %s: %w", topic, err)
		}
	}
	return n, nil
}
