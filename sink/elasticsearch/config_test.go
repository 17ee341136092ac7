package elasticsearch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		props map[string]string
		bad   string // the keys that are wrong
	}{
		"least":        {map[string]string{}, ""},
		"no url":       {map[string]string{"connection.url": ""}, "connection.url"},
		"cloud":        {map[string]string{"connection.url": "", "connection.cloud.id": "shop:" + base64.StdEncoding.EncodeToString([]byte("eu.example.com:9243$abc$kib"))}, ""},
		"bad cloud":    {map[string]string{"connection.url": "", "connection.cloud.id": "shop:" + base64.StdEncoding.EncodeToString([]byte("evil.example.com/?$abc$kib"))}, "connection.cloud.id"},
		"torn cloud":   {map[string]string{"connection.url": "", "connection.cloud.id": "shop:ZXU"}, "connection.cloud.id"},
		"two places":   {map[string]string{"connection.cloud.id": "shop:" + base64.StdEncoding.EncodeToString([]byte("eu.example.com$abc"))}, "connection.cloud.id"},
		"half a pair":  {map[string]string{"connection.ssl.key": "/key.pem"}, "connection.ssl.certificate"},
		"confluent's":  {map[string]string{"key.ignore": "false", "schema.ignore": "true", "write.method": "INSERT", "behavior.on.malformed.documents": "fail", "linger.ms": "10", "flush.timeout.ms": "180000", "type.name": "_doc", "data.stream.type": "NONE"}, ""},
		"key.ignore":   {map[string]string{"key.ignore": "true"}, "key.ignore"},
		"data stream":  {map[string]string{"data.stream.type": "logs", "data.stream.dataset": "x"}, "data.stream.dataset data.stream.type"},
		"malformed":    {map[string]string{"behavior.on.malformed.documents": "ignore"}, "behavior.on.malformed.documents"},
		"version":      {map[string]string{"external.version.header": "v"}, "external.version.header"},
		"no checks":    {map[string]string{"elastic.https.ssl.verification.mode": "none"}, "elastic.https.ssl.verification.mode"},
		"credentials":  {map[string]string{"connection.url": "http://u:p@h:9200"}, "connection.url"},
		"scheme":       {map[string]string{"connection.url": "h:9200"}, "connection.url"},
		"half a login": {map[string]string{"connection.username": "u"}, "connection.username"},
		"two logins":   {map[string]string{"connection.username": "u", "connection.password": "p", "connection.api.key": "k"}, "connection.api.key"},
		"placeholders": {map[string]string{"connection.url": "${env:U}", "connection.username": "u", "connection.password": "${env:P}", "key.ignore": "${env:K}", "index.settings": "${env:S}", "batch.size": "${env:B}"}, ""},
		"settings":     {map[string]string{"index.settings": "[1]"}, "index.settings"},
		"prefix":       {map[string]string{"index.prefix": "Big-"}, "index.prefix"},
		"mapped":       {map[string]string{"topic.to.external.resource.mapping": "shop.public.a:one, shop.public.b:two"}, ""},
		"shared":       {map[string]string{"topic.to.external.resource.mapping": "a:one,b:one"}, "topic.to.external.resource.mapping"},
		"bad index":    {map[string]string{"topic.to.external.resource.mapping": "a:One"}, "topic.to.external.resource.mapping"},
		"numbers":      {map[string]string{"batch.size": "0", "max.in.flight.requests": "many"}, "batch.size max.in.flight.requests"},
	} {
		props := map[string]string{"connection.url": "http://127.0.0.1:9200"}
		maps.Copy(props, c.props)
		var bad []string
		for _, p := range Plugin.Check(props) {
			bad = append(bad, p.Key)
			if p.Message == "" {
				t.Errorf("%s: problem without a message", name)
			}
		}
		slices.Sort(bad)
		if got := strings.Join(bad, " "); got != c.bad {
			t.Errorf("%s: problems with %q, want %q", name, got, c.bad)
		}
	}
	if problems := Plugin.Check(map[string]string{}); len(problems) != 1 || problems[0].Key != "connection.url" {
		t.Errorf("without anything: %v", problems)
	}
	names := map[string]bool{}
	for _, k := range Plugin.Keys {
		if names[k.Name] || k.Doc == "" {
			t.Errorf("key %s is there twice or has no text", k.Name)
		}
		names[k.Name] = true
	}
}

func TestOpen(t *testing.T) {
	try := func(props map[string]string) error {
		s, err := Plugin.Open(context.Background(), sink.Setup{Connector: "c", Props: props, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			return s.Close()
		}
		return err
	}
	t.Run("not_elasticsearch", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
		defer srv.Close()
		if err := try(map[string]string{"connection.url": srv.URL}); fault.Code(err) != "NOT_ELASTICSEARCH" {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("opensearch", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"name":"n","version":{"distribution":"opensearch","number":"2.19.1"},"tagline":"The OpenSearch Project"}`))
		}))
		defer srv.Close()
		if err := try(map[string]string{"connection.url": srv.URL}); fault.Code(err) != "NOT_ELASTICSEARCH" || !strings.Contains(err.Error(), "the server is OpenSearch") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("client_certificate", func(t *testing.T) {
		cert, key := pairOfFiles(t)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if len(r.TLS.PeerCertificates) != 1 || r.TLS.PeerCertificates[0].Subject.CommonName != "tailrace" {
				w.WriteHeader(http.StatusUnauthorized)
			}
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
		}))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		srv.StartTLS()
		defer srv.Close()
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		props := map[string]string{"connection.url": srv.URL, "connection.ssl.ca": ca}
		if err := try(props); err == nil {
			t.Errorf("the server took a client without a certificate, so the test shows nothing")
		}
		props["connection.ssl.certificate"], props["connection.ssl.key"] = cert, key
		if err := try(props); err != nil {
			t.Error(err)
		}
		props["connection.ssl.key"] = cert
		if err := try(props); fault.Code(err) != "CONFIG_INVALID" {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("nobody_there", func(t *testing.T) {
		srv := httptest.NewServer(nil)
		srv.Close()
		if err := try(map[string]string{"connection.url": srv.URL}); err == nil || fault.IsPermanent(err) {
			t.Errorf("error is %v, want one that a retry may cure", err)
		}
	})
	t.Run("wrong_password", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, _ := r.BasicAuth(); u != "u" || p != "right" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
		}))
		defer srv.Close()
		props := map[string]string{"connection.url": srv.URL, "connection.username": "u", "connection.password": "wrong-hunter2"}
		if err := try(props); fault.Code(err) != "AUTH_FAILED" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error is %v", err)
		}
		props["connection.password"] = "right"
		if err := try(props); err != nil {
			t.Error(err)
		}
	})
	t.Run("api_key", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "APIKey secret" {
				w.WriteHeader(http.StatusUnauthorized)
			}
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
		}))
		defer srv.Close()
		if err := try(map[string]string{"connection.url": srv.URL, "connection.api.key": "secret"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("certificates_are_verified", func(t *testing.T) {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Elastic-Product", "Elasticsearch") }))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		srv.StartTLS()
		defer srv.Close()
		if err := try(map[string]string{"connection.url": srv.URL}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("error is %v", err)
		}
		ca := filepath.Join(t.TempDir(), "ca.pem")
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		if err := os.WriteFile(ca, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := try(map[string]string{"connection.url": srv.URL, "connection.ssl.ca": ca}); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(ca, []byte("nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := try(map[string]string{"connection.url": srv.URL, "connection.ssl.ca": ca}); fault.Code(err) != "CONFIG_INVALID" {
			t.Errorf("error is %v", err)
		}
	})
}

// pairOfFiles makes a certificate of its own signature and its key.
func pairOfFiles(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tailrace"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCloudID(t *testing.T) {
	for id, want := range map[string]string{
		"shop:" + base64.StdEncoding.EncodeToString([]byte("eu.example.com:9243$abc$kib")): "https://abc.eu.example.com:9243",
		base64.StdEncoding.EncodeToString([]byte("eu.example.com$abc")):                    "https://abc.eu.example.com:443",
	} {
		if got, err := cloudURL(id); err != nil || got != want {
			t.Errorf("%s stands for %s, %v; want %s", id, got, err, want)
		}
	}
}

// TestUnfitIndexes: an index, alias or data stream that can't be kept equal to a table ends in an error that names the remedy;
// no row becomes a dead letter for it.
func TestUnfitIndexes(t *testing.T) {
	const topic = "shop.public.t"
	try := func(f *fake, props map[string]string) error {
		h, tb := pairs()
		h.Create(tb, sinktest.Int(1), sinktest.Int(1))
		return write(t, f.open(props), h.Take())
	}
	other := func(name string) *fakeIndex {
		return &fakeIndex{mappings: fakeMappings{Properties: map[string]json.RawMessage{}}, docs: map[string]*fakeDoc{}, name: name}
	}
	t.Run("refused_by_a_template", func(t *testing.T) {
		f := newFake(t)
		f.template = "cannot create index with name [shop.public.t], because it matches with template [shop] that creates data streams only"
		if err := try(f, nil); fault.Code(err) != "INDEX_REFUSED" || !strings.Contains(err.Error(), "data streams only") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("data_stream", func(t *testing.T) {
		f := newFake(t)
		f.indexes[topic] = other(".ds-shop.public.t-2026.01.01-000001")
		if err := try(f, nil); fault.Code(err) != "DATA_STREAM" {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("alias_of_several", func(t *testing.T) {
		f := newFake(t)
		f.indexes[topic] = other("shop-000001,shop-000002")
		if err := try(f, nil); fault.Code(err) != "INDEX_SEVERAL" {
			t.Errorf("error is %v", err)
		}
	})
	for kind, why := range map[string]string{
		"routing_missing_exception":  "routing is required for [shop.public.t]/[1]",
		"illegal_argument_exception": "no write index is defined for alias [shop.public.t]",
	} {
		t.Run(kind, func(t *testing.T) {
			f := newFake(t)
			f.why, f.item = why, func(string) (int, string) { return 400, kind }
			if err := try(f, map[string]string{"schema.ignore": "true"}); fault.Code(err) != "INDEX_REFUSED" {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestIndexes: what the sink does to indexes, its own and others.
func TestIndexes(t *testing.T) {
	one := sinktest.Table("t", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "int8"))
	two := sinktest.Table("t", 2, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("n", "text"), sinktest.Column("more", "timestamp"))
	t.Run("new_columns_are_mapped", func(t *testing.T) {
		f := newFake(t)
		k := f.open(map[string]string{"index.settings": `{"index.number_of_replicas":0}`})
		h := sinktest.NewHistory("shop.public.t")
		h.Create(one, sinktest.Int(1), sinktest.Int(1))
		h.Create(two, sinktest.Int(2), sinktest.Text("x"), sinktest.Null())
		if err := write(t, k, h.Take()); err != nil {
			t.Fatal(err)
		}
		x := f.indexes["shop.public.t"]
		if got := string(x.mappings.Properties["more"]); got != `{"type":"date","ignore_malformed":true}` {
			t.Errorf("more is mapped as %s", got)
		}
		if got := string(x.mappings.Properties["n"]); got != `{"type":"long","ignore_malformed":true}` {
			t.Errorf("n is mapped as %s: a field that is there keeps its type", got)
		}
		if string(x.settings["index.gc_deletes"]) != `"1h"` || string(x.settings["index.number_of_replicas"]) != "0" {
			t.Errorf("settings are %s", x.settings)
		}
		if f.count() != 2 {
			t.Errorf("%d documents", f.count())
		}
	})
	t.Run("two_topics_with_one_name", func(t *testing.T) {
		f := newFake(t)
		k := f.open(nil)
		h := sinktest.NewHistory("shop.public.T")
		h.Create(one, sinktest.Int(1), sinktest.Int(1))
		if err := write(t, k, h.Take()); err != nil {
			t.Fatal(err)
		}
		h.Topic = "shop.public.t"
		h.Create(one, sinktest.Int(1), sinktest.Int(1))
		if err := write(t, k, h.Take()); fault.Code(err) != "INDEX_CONFLICT" || !strings.Contains(err.Error(), "topic.to.external.resource.mapping") {
			t.Errorf("error is %v", err)
		}
		k = f.open(map[string]string{"topic.to.external.resource.mapping": "shop.public.t:small-t"})
		if err := write(t, k, h.Slice(1, 2)); err != nil || len(f.rows(t, "small-t")) != 1 {
			t.Error(err)
		}
	})
	t.Run("schema_ignore_makes_none", func(t *testing.T) {
		f := newFake(t)
		h := sinktest.NewHistory("shop.public.t")
		h.Create(one, sinktest.Int(1), sinktest.Int(1))
		if err := write(t, f.open(map[string]string{"schema.ignore": "true"}), h.Take()); err != nil {
			t.Fatal(err)
		}
		if len(f.indexes["shop.public.t"].mappings.Properties) != 0 {
			t.Errorf("the index has a mapping")
		}
	})
}
