package redis

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// Config is the typed configuration of a redis sink.
type Config struct {
	URI       string          `cfg:"redis.uri" default:"redis://127.0.0.1:6379" doc:"redis://host:port/database, or rediss:// for TLS. User and password have properties of their own."`
	Username  string          `cfg:"redis.username" doc:"User name for AUTH; empty for the default user."`
	Password  config.Password `cfg:"redis.password" doc:"Password for AUTH."`
	CA        string          `cfg:"redis.cacert" doc:"PEM file with the certificates that the server's certificate must be signed by; empty: the system's. There is no way to leave it unverified."`
	Cert      string          `cfg:"redis.key.cert" doc:"PEM file with the certificate that the sink shows to the server."`
	Key       string          `cfg:"redis.key.file" doc:"PEM file with the private key of redis.key.cert, not encrypted."`
	Type      string          `cfg:"redis.type" default:"json" oneof:"json,hash" doc:"How a row is stored: json, a JSON document in a string; hash, a hash with one field for each column that is not NULL."`
	KeyFormat string          `cfg:"key.format" default:"${topic}:${key}" doc:"Name of a row's key, with ${topic}, ${schema}, ${table} and, at the end, ${key}: the values of the key columns."`
	Separator string          `cfg:"key.separator" default:":" doc:"One character between the values of a key of several columns. Where a value contains it, it is preceded by a backslash."`
	State     string          `cfg:"state.prefix" default:"tailrace:" doc:"Prefix of the sink's own keys: the versions of the rows and the offsets."`
	TTL       time.Duration   `cfg:"ttl.ms" default:"0" min:"0" max:"31536000000" doc:"Milliseconds that a row lives after its last write; 0: for ever."`
	Graves    time.Duration   `cfg:"deleted.retention.ms" default:"86400000" min:"1000" max:"31536000000" doc:"Milliseconds for which the version of a deleted row is remembered at least, so that a replay cannot show it again."`
	MaxRows   int             `cfg:"batch.size" default:"2000" min:"1" max:"50000" doc:"Rows that are written by one call of the script at most. Redis serves nobody else meanwhile: about 1 ms for 500 rows."`
	Timeout   time.Duration   `cfg:"redis.timeout.ms" default:"10000" min:"100" max:"600000" doc:"Milliseconds to wait for a connection and for an answer."`
	Cluster   bool            `cfg:"redis.cluster.enabled" default:"false" doc:"Must be false: a Redis Cluster is not supported yet."`
}

// Plugin is the redis sink.
var Plugin = sink.Plugin{
	Name:    "redis",
	Classes: []string{"com.redis.kafka.connect.RedisSinkConnector"},
	Doc:     "Keeps one JSON document or hash for each row in Redis.",
	Keys:    config.Keys(&Config{}),
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
	if !config.HasPlaceholder(c.URI) {
		if u, err := url.Parse(c.URI); err != nil {
			bad("redis.uri", "is not a URI; write redis://host:port/database")
		} else if _, has := u.User.Password(); has {
			bad("redis.uri", "must not hold a password, because it is shown; put that into redis.password")
		} else if _, err := rueidis.ParseURL(c.URI); err != nil {
			bad("redis.uri", "%v", err)
		}
	}
	if !config.HasPlaceholder(c.KeyFormat) {
		if _, err := parseFormat(c.KeyFormat); err != nil {
			bad("key.format", "%v", err)
		}
	}
	if !config.HasPlaceholder(c.Separator) && (len(c.Separator) != 1 || c.Separator == `\`) {
		bad("key.separator", "must be one ASCII character, not a backslash")
	}
	if (c.Cert == "") != (c.Key == "") {
		bad("redis.key.cert", "goes together with redis.key.file")
	}
	if c.CA+c.Cert != "" && strings.HasPrefix(c.URI, "redis://") {
		bad("redis.uri", "must begin with rediss:// for certificates to be of use")
	}
	if c.State == "" {
		bad("state.prefix", "must not be empty")
	}
	if c.Cluster {
		bad("redis.cluster.enabled", "a Redis Cluster is not supported yet; name a server that is not in cluster mode")
	}
	return c, problems
}

// client returns the settings of a connection: one connection, no cache, no retries of its own.
func (c *Config) client(connector string) (rueidis.ClientOption, error) {
	o, err := rueidis.ParseURL(c.URI)
	if err != nil {
		return o, err
	}
	if c.Username != "" {
		o.Username = c.Username
	}
	o.Password = c.Password.Reveal()
	if o.TLSConfig != nil {
		if err := c.certificates(o.TLSConfig); err != nil {
			return o, fault.Permanent("CONFIG_INVALID", "correct redis.cacert, redis.key.cert and redis.key.file", err)
		}
	}
	o.ClientName = "tailrace-" + clientName(connector)
	o.Dialer.Timeout = c.Timeout
	o.ConnWriteTimeout = c.Timeout
	o.ForceSingleClient, o.DisableCache, o.DisableRetry = true, true, true
	o.PipelineMultiplex = -1
	return o, nil
}

// certificates reads the files into t.
func (c *Config) certificates(t *tls.Config) error {
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	if c.CA == "" {
		return nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return err
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate in PEM form", c.CA)
	}
	return nil
}

// clientName replaces what CLIENT SETNAME does not take.
func clientName(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
}

// refused makes an answer of the server to an error with a remedy, if it is one that no retry cures.
func refused(err error) error {
	text := err.Error()
	for _, p := range []struct{ begins, code, remedy string }{
		{"WRONGPASS", "AUTH_FAILED", "correct redis.username and redis.password"},
		{"NOAUTH", "AUTH_FAILED", "set redis.password, the server demands one"},
		{"ERR AUTH <password> called without any password", "AUTH_FAILED", "remove redis.password, the server has none, or set one there"},
		{"ERR invalid password", "AUTH_FAILED", "correct redis.username and redis.password"},
		{"NOPERM", "PERMISSION_DENIED", "allow the user on its keys: ACL SETUSER name ~* +@read +@write +@scripting +@transaction +@connection +info"},
		{"ERR DB index is out of range", "CONFIG_INVALID", "correct the database number at the end of redis.uri"},
		{"ERR invalid DB index", "CONFIG_INVALID", "correct the database number at the end of redis.uri"},
	} {
		if strings.Contains(text, p.begins) {
			return fault.Permanent(p.code, p.remedy, err)
		}
	}
	return err
}
