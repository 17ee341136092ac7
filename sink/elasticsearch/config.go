package elasticsearch

import (
	"net/url"
	"time"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/sink"
)

// Config is the typed configuration of an elasticsearch sink.
type Config struct {
	URLs     []string        `cfg:"connection.url" required:"true" doc:"One or more addresses of the cluster, http://host:port."`
	Username string          `cfg:"connection.username" doc:"User for basic authentication."`
	Password config.Password `cfg:"connection.password" doc:"Password for basic authentication."`
	APIKey   config.Password `cfg:"connection.api.key" doc:"API key, instead of user and password."`
	Timeout  time.Duration   `cfg:"read.timeout.ms" default:"60000" min:"100" max:"3600000" doc:"Milliseconds to wait for the answer to a request."`
	Rows     int             `cfg:"batch.size" default:"2000" min:"1" max:"100000" doc:"Documents in one bulk request at most."`
	Bytes    int             `cfg:"bulk.size.bytes" default:"5242880" min:"1024" max:"104857600" doc:"Bytes of one bulk request, about."`
	Retries  int             `cfg:"max.retries" default:"5" min:"0" doc:"How often items that were refused for now are sent again before the batch is given back to the worker, which never gives up."`
	Backoff  time.Duration   `cfg:"retry.backoff.ms" default:"100" min:"1" max:"60000" doc:"Milliseconds before the first retry; it doubles, up to 10 s, with jitter."`
	Prefix   string          `cfg:"index.prefix" doc:"Put before the name of each index."`
	Refresh  bool            `cfg:"refresh" default:"false" doc:"Make each write visible to searches before it is done; slow, for tests."`
	Nulls    string          `cfg:"behavior.on.null.values" default:"delete" oneof:"delete" doc:"Must be delete: the index is kept equal to the table."`
	Method   string          `cfg:"write.method" default:"upsert" oneof:"upsert,insert" doc:"Both mean the same: documents are written whole, with versions."`
	KeyIgn   bool            `cfg:"key.ignore" default:"false" doc:"Must be false: the document's id is the row's key."`
}

// Plugin is the elasticsearch sink.
var Plugin = sink.Plugin{
	Name:    "elasticsearch",
	Classes: []string{"io.confluent.connect.elasticsearch.ElasticsearchSinkConnector"},
	Doc:     "Keeps one document for each row in Elasticsearch.",
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
	if c.KeyIgn {
		problems = append(problems, config.Problem{Key: "key.ignore", Message: "must be false: the document's id is the row's key"})
	}
	for _, text := range c.URLs {
		if config.HasPlaceholder(text) {
			continue
		}
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			problems = append(problems, config.Problem{Key: "connection.url", Message: "is not http://host:port or https://host:port"})
		case u.User != nil:
			problems = append(problems, config.Problem{Key: "connection.url", Message: "must not hold credentials, because it is shown; use connection.username and connection.password"})
		}
	}
	if (c.Username == "") != (c.Password == "") {
		problems = append(problems, config.Problem{Key: "connection.username", Message: "goes together with connection.password"})
	}
	return c, problems
}
