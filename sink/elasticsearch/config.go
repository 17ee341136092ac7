package elasticsearch

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/sink"
)

// Config is the typed configuration of an elasticsearch sink. Names are those of Confluent's connector where it has one.
type Config struct {
	URLs     []string        `cfg:"connection.url" doc:"One or more addresses of the cluster, http://host:port. This or connection.cloud.id is required."`
	Cloud    string          `cfg:"connection.cloud.id" doc:"The Cloud ID of a deployment of Elastic Cloud, instead of addresses."`
	Username string          `cfg:"connection.username" doc:"User for basic authentication."`
	Password config.Password `cfg:"connection.password" doc:"Password for basic authentication."`
	APIKey   config.Password `cfg:"connection.api.key" doc:"API key, instead of user and password."`
	CA       string          `cfg:"connection.ssl.ca" doc:"PEM file with the certificates that the cluster's certificate must be signed by; empty: the system's. There is no way to leave it unverified."`
	Cert     string          `cfg:"connection.ssl.certificate" doc:"PEM file with the certificate that the sink shows to the cluster, and those that it is signed by."`
	Key      string          `cfg:"connection.ssl.key" doc:"PEM file with the private key of connection.ssl.certificate, not encrypted."`
	Compress bool            `cfg:"connection.compression" default:"false" doc:"Send requests in gzip."`
	Timeout  time.Duration   `cfg:"read.timeout.ms" default:"60000" min:"100" max:"3600000" doc:"Milliseconds to wait for the answer to a request."`

	Rows     int           `cfg:"batch.size" default:"2000" min:"1" max:"100000" doc:"Documents in one bulk request at most."`
	Bytes    int           `cfg:"bulk.size.bytes" default:"5242880" min:"1024" max:"104857600" doc:"Bytes of one bulk request, about: it ends with the document that reaches them."`
	InFlight int           `cfg:"max.in.flight.requests" default:"5" min:"1" max:"64" doc:"Bulk requests of one batch at the same time. No document is in two of them."`
	Retries  int           `cfg:"max.retries" default:"5" min:"0" max:"1000" doc:"How often in a row a request of which nothing was accepted is sent again before the batch is given back to the worker, which never gives up."`
	Backoff  time.Duration `cfg:"retry.backoff.ms" default:"100" min:"1" max:"60000" doc:"Milliseconds before the first retry; it doubles, up to 10 s, with jitter."`

	Prefix    string `cfg:"index.prefix" doc:"Put before the name of each index."`
	Suffix    string `cfg:"index.suffix" doc:"Put behind the name of each index."`
	Mapped    names  `cfg:"topic.to.external.resource.mapping" doc:"Indexes with names of their own, as topic:index,topic:index. An alias with one write index will do."`
	IgnSchema bool   `cfg:"schema.ignore" default:"false" doc:"true: don't make indexes or mappings, Elasticsearch guesses them from the first documents."`
	Settings  string `cfg:"index.settings" doc:"A JSON object with further settings of indexes that the sink makes, such as {\"index.number_of_replicas\":0}."`
	GCDeletes string `cfg:"index.gc_deletes" default:"1h" doc:"How long an index that the sink makes remembers the version of a deleted document, which keeps a late write from bringing it back."`
	JSONAs    string `cfg:"json.mapping" default:"stored" oneof:"stored,flattened,dynamic" doc:"Columns of JSON: stored takes every document and indexes none; flattened indexes the leaves of objects as keywords and refuses other documents; dynamic maps fields as they come and refuses rows that contradict earlier ones."`
	Refresh   bool   `cfg:"refresh" default:"false" doc:"Make each write visible to searches before it is done; slow, for tests."`

	Nulls  string `cfg:"behavior.on.null.values" default:"delete" oneof:"delete,ignore" doc:"What the delete of a row does: delete the document, or leave it there."`
	Method string `cfg:"write.method" default:"upsert" oneof:"upsert,insert" doc:"Both mean the same: documents are written whole, with versions, and columns that an event does not carry are kept."`
}

// Plugin is the elasticsearch sink.
var Plugin = sink.Plugin{
	Name:    "elasticsearch",
	Classes: []string{"io.confluent.connect.elasticsearch.ElasticsearchSinkConnector", "ElasticsearchSinkConnector"},
	Doc:     "Keeps one document for each row in Elasticsearch.",
	Keys:    keys(),
	Check: func(props map[string]string) []config.Problem {
		_, problems := parse(props)
		return problems
	},
	Open: open,
}

// foreign is a property of Confluent's connector that means nothing here, or that can't be met.
type foreign struct {
	name, typ, value string // value: the only one that is accepted; empty: any, without effect
	why              string
}

func foreigns() []foreign {
	key := "the document's id is the row's key, without which no update or delete could find it"
	stream := "a data stream takes no updates or deletes, so it can't be kept equal to a table"
	return []foreign{
		{"key.ignore", "BOOLEAN", "false", key},
		{"topic.key.ignore", "LIST", "-", key},
		{"data.stream.type", "STRING", "none", stream},
		{"data.stream.dataset", "STRING", "-", stream},
		{"data.stream.namespace", "STRING", "-", stream},
		{"data.stream.timestamp.field", "LIST", "-", stream},
		{"external.version.header", "STRING", "-", "each document's version is the place of its row in the log"},
		{"behavior.on.malformed.documents", "STRING", "fail", "no row is dropped without a trace: set errors.tolerance=all and errors.deadletterqueue.topic.name"},
		{"drop.invalid.message", "BOOLEAN", "false", "no row is dropped without a trace: set errors.tolerance=all and errors.deadletterqueue.topic.name"},
		{"elastic.https.ssl.verification.mode", "STRING", "-", "certificates are always verified: name the signer in connection.ssl.ca"},
		{"elastic.https.ssl.truststore.location", "STRING", "-", "Java key stores can't be read: export the certificates as PEM and name the file in connection.ssl.ca"},
		{"elastic.https.ssl.keystore.location", "STRING", "-", "Java key stores can't be read: export certificate and key as PEM and name the files in connection.ssl.certificate and connection.ssl.key"},
		{"proxy.host", "STRING", "-", "proxies are taken from the environment: HTTPS_PROXY, NO_PROXY"},
		{"type.name", "STRING", "", "document types are gone from Elasticsearch"},
		{"linger.ms", "LONG", "", "a batch is sent as soon as it is read"},
		{"max.buffered.records", "INT", "", "nothing is buffered beyond the batch"},
		{"flush.timeout.ms", "LONG", "", "each batch is written before the next is read"},
		{"flush.synchronously", "BOOLEAN", "", "each batch is written before the next is read"},
		{"connection.timeout.ms", "LONG", "", "read.timeout.ms covers the whole request"},
		{"max.connection.idle.time.ms", "LONG", "", "idle connections are closed after 90 s"},
		{"compact.map.entries", "BOOLEAN", "", "rows have no maps"},
		{"use.autogenerated.ids", "BOOLEAN", "false", key},
	}
}

func keys() []config.Key {
	list := config.Keys(&Config{})
	for _, f := range foreigns() {
		doc := "Has no effect: " + f.why + "."
		switch f.value {
		case "":
		case "-":
			doc = "Must not be set: " + f.why + "."
		default:
			doc = "Must be " + f.value + ": " + f.why + "."
		}
		list = append(list, config.Key{Name: f.name, Type: f.typ, Doc: doc})
	}
	return list
}

func parse(props map[string]string) (*Config, []config.Problem) {
	c := &Config{}
	problems := config.Decode(props, c)
	bad := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for _, f := range foreigns() {
		text, set := props[f.name]
		if text = strings.TrimSpace(text); !set || f.value == "" || text == "" || strings.EqualFold(text, f.value) || config.HasPlaceholder(text) {
			continue
		}
		if f.value == "-" {
			bad(f.name, "must not be set: %s", f.why)
		} else {
			bad(f.name, "must be %s: %s", f.value, f.why)
		}
	}
	for _, text := range c.URLs {
		checkURL(text, bad)
	}
	addressed := strings.TrimSpace(props["connection.url"]) != ""
	switch {
	case addressed && c.Cloud != "":
		bad("connection.cloud.id", "can't be used together with connection.url")
	case c.Cloud != "" && !config.HasPlaceholder(c.Cloud):
		if _, err := cloudURL(c.Cloud); err != nil {
			bad("connection.cloud.id", "%v", err)
		}
	case !addressed && c.Cloud == "":
		bad("connection.url", "is required: the address of the cluster, http://host:port")
	}
	if (c.Cert == "") != (c.Key == "") {
		bad("connection.ssl.certificate", "goes together with connection.ssl.key")
	}
	if (c.Username == "") != (c.Password == "") {
		bad("connection.username", "goes together with connection.password")
	}
	if c.Username != "" && c.APIKey != "" {
		bad("connection.api.key", "can't be used together with connection.username")
	}
	if c.Settings != "" && !config.HasPlaceholder(c.Settings) && (!jsontext.Valid([]byte(c.Settings)) || c.Settings[0] != '{') {
		bad("index.settings", "is not a JSON object")
	}
	if c.GCDeletes == "" {
		bad("index.gc_deletes", "must not be empty; Elasticsearch's own value is 60s")
	}
	for _, key := range [2]string{"index.prefix", "index.suffix"} {
		if text := props[key]; !config.HasPlaceholder(text) && text != sanitize(text) {
			bad(key, "%q must be lower case and without \\ / * ? \" < > | space , # :", text)
		}
	}
	return c, problems
}

func checkURL(text string, bad func(key, format string, args ...any)) {
	if config.HasPlaceholder(text) {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		bad("connection.url", "is not http://host:port or https://host:port")
	case u.User != nil:
		bad("connection.url", "must not hold credentials, because it is shown; use connection.username and connection.password")
	}
}

// cloudURL returns the address that a Cloud ID stands for: name:base64(domain[:port]$elasticsearch$kibana).
func cloudURL(id string) (string, error) {
	wrong := errors.New("is not a Cloud ID; copy it from the deployment's page")
	text, err := base64.StdEncoding.DecodeString(id[strings.LastIndexByte(id, ':')+1:])
	parts := strings.Split(string(text), "$")
	if err != nil || len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return "", wrong
	}
	domain, port, ok := strings.Cut(parts[0], ":")
	if !ok {
		port = "443"
	}
	address := "https://" + parts[1] + "." + domain + ":" + port
	if u, err := url.Parse(address); err != nil || u.Hostname() != parts[1]+"."+domain {
		return "", wrong
	}
	return address, nil
}

// names maps topics to indexes. No two topics share an index: a truncate of one table would empty the other.
type names map[string]string

// UnmarshalText reads topic:index,topic:index.
func (n *names) UnmarshalText(text []byte) error {
	*n = names{}
	indexes := map[string]bool{}
	for pair := range strings.SplitSeq(string(text), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		topic, index, ok := strings.Cut(pair, ":")
		switch {
		case !ok || topic == "" || index == "":
			return fmt.Errorf("%q is not topic:index", pair)
		case index != indexName("", index, ""):
			return fmt.Errorf("%q can't be the name of an index: Elasticsearch would take %q", index, indexName("", index, ""))
		case (*n)[topic] != "":
			return fmt.Errorf("the topic %s is there twice", topic)
		case indexes[index]:
			return fmt.Errorf("two topics go to the index %s; a truncate of one table would empty the other", index)
		}
		(*n)[topic], indexes[index] = index, true
	}
	return nil
}

// tls returns the settings of TLS connections. It reads the files.
func (c *Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("connection.ssl.certificate and connection.ssl.key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	if c.CA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CA)
	}
	return t, nil
}
