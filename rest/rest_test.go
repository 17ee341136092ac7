package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/transform"
	"github.com/tailrace/tailrace/worker"
)

// quiet is a source that never has anything.
type quiet struct{}

func (quiet) Stream(context.Context, change.Position) (source.Stream, error) { return quiet{}, nil }
func (quiet) Read(ctx context.Context, _ *change.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}
func (quiet) Ack(context.Context, change.Position) error { return nil }
func (quiet) Write(context.Context, *change.Batch) error { return nil }
func (quiet) Close() error                               { return nil }

type noCodec struct{}

func (noCodec) NewEncoder(bool) worker.Encoder { return noCodec{} }
func (noCodec) NewDecoder() worker.Decoder     { return noCodec{} }
func (noCodec) Encode(_ *change.Batch, recs []topic.Record) ([]topic.Record, error) {
	return recs, nil
}
func (noCodec) Decode(recs []topic.Record, _ uint32, b *change.Batch) error {
	for _, r := range recs {
		e := b.Add()
		e.Key, e.Raw = r.Key, &change.Raw{Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			e.Headers = append(e.Headers, change.Header{Key: h.Key, Value: h.Value})
		}
	}
	return nil
}
func (noCodec) AppendKey(dst []byte, e *change.Event) ([]byte, bool) {
	return append(dst, e.Raw.Key...), e.Raw.Key != nil
}
func (noCodec) AppendValue(dst []byte, e *change.Event) ([]byte, bool) {
	return append(dst, e.Raw.Value...), e.Raw.Value != nil
}

func (noCodec) AppendHeaders(dst []byte, e *change.Event) []byte {
	for i, h := range e.Headers {
		dst = append(dst, "[,"[min(i, 1)])
		dst = append(strconv.AppendQuote(append(dst, `{"key":`...), h.Key), `,"value":`...)
		dst = append(strconv.AppendQuote(dst, string(h.Value)), '}')
	}
	if len(e.Headers) == 0 {
		return append(dst, "[]"...)
	}
	return append(dst, ']')
}

type quietConfig struct {
	Prefix   string          `cfg:"topic.prefix" required:"true" doc:"the prefix"`
	Password config.Password `cfg:"database.password" doc:"the password"`
}

// api is a worker with quiet plugins behind the API.
type api struct {
	t   *testing.T
	log *disk.Log
	h   http.Handler
}

func newAPI(t *testing.T, access Access) *api {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	log, err := disk.Open(ctx, disk.Options{Dir: t.TempDir(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.Open(ctx, worker.Options{Log: log, Codec: noCodec{}, Formatter: func(map[string]string) worker.Formatter { return noCodec{} },
		Sources: []source.Plugin{{Name: "quiet", Classes: []string{"org.example.QuietConnector"}, Keys: config.Keys(&quietConfig{}),
			Check: func(props map[string]string) []config.Problem { return config.Decode(props, &quietConfig{}) },
			Open:  func(context.Context, source.Setup) (source.Source, error) { return quiet{}, nil }}},
		Sinks: []sink.Plugin{{Name: "hole", Check: func(map[string]string) []config.Problem { return nil },
			Open: func(context.Context, sink.Setup) (sink.Sink, error) { return quiet{}, nil }}},
		Transforms: []transform.Plugin{{Name: "nothing", Classes: []string{"org.example.Nothing"}, Keys: []config.Key{{Name: "level", Type: "INT"}}}},
		Version:    "test", ID: "127.0.0.1:8083", Logger: logger, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return &api{t, log, New(w, Options{Access: access, Level: new(slog.LevelVar), Logger: logger, Version: "test", Now: time.Now})}
}

// call sends a request and returns the answer's status, headers and body.
func (a *api) call(method, path, body string, adapt ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8083"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, f := range adapt {
		f(r)
	}
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	return w
}

const quietBody = `{"name":"a","config":{"connector.class":"quiet","topic.prefix":"p","database.password":"hunter2","n":7}}`

// TestKafkaConnectDialect is the exchange that clients of Kafka Connect rely on, in order, on one worker.
func TestKafkaConnectDialect(t *testing.T) {
	a := newAPI(t, Access{})
	steps := []struct {
		method, path, body string
		status             int
		want               string // in the body
	}{
		{"GET", "/", "", 200, `"version":"3.9.0-tailrace-test"`},
		{"GET", "/connectors/", "", 200, `[]`},
		{"POST", "/connectors/", quietBody, 201, `"tasks":[{"connector":"a","task":0}],"type":"source"`},
		{"POST", "/connectors", quietBody, 409, `Connector a already exists`},
		{"GET", "/connectors", "", 200, `["a"]`},
		{"GET", "/connectors/a/config", "", 200, `"n":"7"`},
		{"GET", "/connectors?expand=status", "", 200, `{"a":{"status":{"name":"a"`},
		{"GET", "/connectors?expand=bogus", "", 200, `{"a":{}}`},
		{"GET", "/connectors/a/status", "", 200, `"worker_id":"127.0.0.1:8083"`},
		{"GET", "/connectors/nope", "", 404, `Connector nope not found`},
		{"PUT", "/connectors/nope/pause", "", 404, `Unknown connector nope`},
		{"POST", "/connectors/nope/restart", "", 404, `Unknown connector: nope`},
		{"GET", "/connectors/nope/status", "", 404, `No status found for connector nope`},
		{"GET", "/connectors/nope/topics", "", 200, `{"nope":{"topics":[]}}`},
		{"PUT", "/connectors/a/pause", "{}", 202, ``},
		{"GET", "/connectors/a/status", "", 200, `"state":"PAUSED"`},
		{"PUT", "/connectors/a/resume", "", 202, ``},
		{"POST", "/connectors/a/restart", "", 204, ``},
		{"POST", "/connectors/a/restart?includeTasks=True&onlyFailed=False", "", 202, `"RESTARTING"`},
		{"POST", "/connectors/a/tasks/9/restart", "", 404, `Unknown task: a-9`},
		{"POST", "/connectors/a/tasks/0/restart", "", 204, ``},
		{"GET", "/connectors/a/tasks/0/status", "", 200, `"id":0`},
		{"PATCH", "/connectors/a/offsets", `{"offsets":[{"partition":{"server":"p"},"offset":{"lsn":5}}]}`, 400, `STOPPED state before their offsets`},
		{"PUT", "/connectors/a/stop", "", 204, ``},
		{"PUT", "/connectors/a/stop", "", 204, ``},
		{"GET", "/connectors/a/status", "", 200, `"tasks":[]`},
		{"PATCH", "/connectors/a/offsets", `{"offsets":[]}`, 400, `need to be provided`},
		{"PATCH", "/connectors/a/offsets", `{"offsets":[{"partition":{"server":"p"},"offset":{"lsn":5}}]}`, 200, `altered successfully`},
		{"GET", "/connectors/a/offsets", "", 200, `{"offsets":[{"partition":{"server":"p"},"offset":{"lsn":5}}]}`},
		{"DELETE", "/connectors/a/offsets", "", 200, `reset successfully`},
		{"GET", "/connectors/a/offsets", "", 200, `{"offsets":[]}`},
		{"PATCH", "/connectors/a/config", `{"n":null,"m":"1"}`, 200, `"m":"1"`},
		{"PUT", "/connectors/b/config", `{"connector.class":"QuietConnector","topic.prefix":"q"}`, 201, `"name":"b"`},
		{"PUT", "/connectors/b/config", `{"connector.class":"QuietConnector","topic.prefix":"q"}`, 200, `"name":"b"`},
		{"PUT", "/connectors/b/config", `{"name":"c","connector.class":"quiet"}`, 400, `doesn't match connector name`},
		{"PUT", "/connectors/x%2Fy/config", `{"connector.class":"quiet","topic.prefix":"q"}`, 201, `"name":"x/y"`},
		{"GET", "/connectors/x%2Fy", "", 200, `"name":"x/y"`},
		{"POST", "/connectors", `{"name":"z","config":{"connector.class":"quiet"}}`, 400, `contains the following 1 error(s):\nMissing required configuration \"topic.prefix\" which has no default value.\nYou can also`},
		{"POST", "/connectors", `{"name":"z","config":{"connector.class":"nope"}}`, 400, `"message":"Failed to find any class that implements Connector`},
		{"POST", "/connectors", `{"name":"z","config":{"connector.class":["x"]}}`, 400, `must be a string`},
		{"POST", "/connectors", `{"config":{}}`, 400, `String may not be empty`},
		{"POST", "/connectors", `{`, 400, `not the JSON`},
		{"GET", "/connector-plugins", "", 200, `"class":"org.example.QuietConnector","type":"source"`},
		{"GET", "/connector-plugins/QuietConnector/config", "", 200, `"name":"topic.prefix","type":"STRING","required":true`},
		{"GET", "/connector-plugins/nope/config", "", 404, `Unknown plugin nope.`},
		{"PUT", "/connector-plugins/QuietConnector/config/validate", `{"connector.class":"quiet","name":"v"}`, 200, `"error_count":1`},
		{"GET", "/admin/loggers", "", 200, `{"root":{"level":"INFO"`},
		{"PUT", "/admin/loggers/root", `{"level":"DEBUG"}`, 200, `["root"]`},
		{"PUT", "/admin/loggers/root", `{"level":"LOUD"}`, 404, `invalid log level`},
		{"PUT", "/admin/loggers/root", `{}`, 400, `was not specified`},
		{"DELETE", "/connectors/a", "", 204, ``},
		{"DELETE", "/connectors/a", "", 404, `Connector a not found`},
		{"GET", "/nowhere", "", 404, `"error_code":404`},
		{"DELETE", "/connectors", "", 405, `"error_code":405`},
		{"GET", "/healthz", "", 200, `ok`},
		{"GET", "/readyz", "", 200, `"status":"healthy"`},
		{"GET", "/metrics", "", 200, `tailrace_connector_state{connector="b",state="RUNNING",type="source"} 1`},
		{"GET", "/metrics", "", 200, `tailrace_log_space{state="OK"} 1`},
		{"GET", "/tailrace/topics/__tailrace_offsets/config", "", 200, `{"cleanup.policy":"compact"}`},
		{"PUT", "/tailrace/topics/__tailrace_offsets/config", `{"segment.ms":"86400000"}`, 200, `{"cleanup.policy":"compact","segment.ms":"86400000"}`},
		{"PUT", "/tailrace/topics/__tailrace_offsets/config", `{"segment.ms":""}`, 200, `{"cleanup.policy":"compact"}`},
		{"PUT", "/tailrace/topics/__tailrace_offsets/config", `{"segment.ms":"soon"}`, 400, `segment.ms`},
		{"PUT", "/tailrace/topics/__tailrace_offsets/config", `{"segment.mss":"1"}`, 400, `segment.mss`},
		{"PUT", "/tailrace/topics/nope/config", `{"segment.ms":"1"}`, 404, `Topic nope not found`},
		{"GET", "/tailrace/topics/nope/config", "", 404, `Topic nope not found`},
	}
	for _, s := range steps {
		w := a.call(s.method, s.path, s.body)
		if w.Code != s.status || !strings.Contains(w.Body.String(), s.want) {
			t.Errorf("%s %s %s: %d %s, want %d with %s", s.method, s.path, s.body, w.Code, w.Body, s.status, s.want)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: error of type %q", s.method, s.path, w.Header().Get("Content-Type"))
		}
	}
}

func TestSecretsAreHiddenAndKept(t *testing.T) {
	a := newAPI(t, Access{})
	for _, r := range []*httptest.ResponseRecorder{a.call("POST", "/connectors", quietBody), a.call("GET", "/connectors/a", ""),
		a.call("GET", "/connectors/a/config", ""), a.call("GET", "/connectors/a/tasks", ""), a.call("GET", "/connectors?expand=info", ""),
		a.call("PUT", "/connector-plugins/quiet/config/validate", `{"connector.class":"quiet","database.password":"hunter2"}`)} {
		if strings.Contains(r.Body.String(), "hunter2") {
			t.Errorf("the password is shown: %s", r.Body)
		}
	}
	// What was read is sent back, as clients do: the secret stays.
	cfg := a.call("GET", "/connectors/a/config", "").Body.String()
	if w := a.call("PUT", "/connectors/a/config", cfg); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var stored bool
	err := topic.Scan(context.Background(), a.log, worker.ConfigTopic, func(r *topic.Record) error {
		stored = bytes.Contains(r.Value, []byte("hunter2"))
		return nil
	})
	if err != nil || !stored {
		t.Errorf("the placeholder of display replaced the secret (%v)", err)
	}
}

func TestAccess(t *testing.T) {
	t.Run("case95_loopback_credentials_host_origin", func(t *testing.T) {
		locked := Access{User: "u", Password: "p"}
		for listen, ok := range map[string]bool{"127.0.0.1:8083": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:8083": false, ":8083": false, "10.1.2.3:1": false} {
			if err := (Access{}).Check(listen); (err == nil) != ok {
				t.Errorf("listen on %s: %v", listen, err)
			} else if err != nil && !strings.Contains(err.Error(), "TAILRACE_REST_PASSWORD_FILE") {
				t.Errorf("no remedy in %v", err)
			}
			if err := locked.Check(listen); err != nil {
				t.Errorf("listen on %s with credentials: %v", listen, err)
			}
		}
		open, closed := newAPI(t, Access{}), newAPI(t, locked)
		for _, path := range []string{"/", "/connectors", "/metrics", "/readyz", "/tailrace/status", "/admin/loggers", "/nowhere"} {
			if w := closed.call("GET", path, ""); w.Code != 401 {
				t.Errorf("%s without credentials: %d", path, w.Code)
			}
			if w := closed.call("GET", path, "", func(r *http.Request) { r.SetBasicAuth("u", "wrong") }); w.Code != 401 {
				t.Errorf("%s with wrong credentials: %d", path, w.Code)
			}
			if w := closed.call("GET", path, "", func(r *http.Request) { r.SetBasicAuth("u", "p") }); w.Code == 401 {
				t.Errorf("%s with credentials: 401", path)
			}
			if w := open.call("GET", path, "", func(r *http.Request) { r.Host = "evil.example:8083" }); w.Code != 403 {
				t.Errorf("%s for a foreign host: %d", path, w.Code)
			}
			if w := open.call("GET", path, "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }); w.Code != 403 {
				t.Errorf("%s from a foreign page: %d", path, w.Code)
			}
		}
		for _, rt := range closed.h.(*Server).routes {
			path := "/" + strings.ReplaceAll(strings.Join(rt.path, "/"), "*", "x")
			if w := closed.call(rt.method, path, ""); (w.Code == 401) == (path == "/healthz") {
				t.Errorf("%s %s without credentials: %d", rt.method, path, w.Code)
			}
		}
		if w := closed.call("GET", "/healthz", ""); w.Code != 200 {
			t.Errorf("/healthz: %d", w.Code)
		}
	})
}

func TestOversizeBodyIsRefused(t *testing.T) {
	a := newAPI(t, Access{})
	body := `{"name":"a","config":{"x":"` + strings.Repeat("y", maxBody) + `"}}`
	if w := a.call("POST", "/connectors", body); w.Code != 413 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.call("POST", "/connectors", strings.Repeat("[", 100_000)); w.Code != 400 {
		t.Errorf("deep nesting: %d", w.Code)
	}
	if w := a.call("POST", "/connectors", quietBody, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); w.Code != 415 {
		t.Errorf("text/plain: %d", w.Code)
	}
}

func TestRecords(t *testing.T) {
	a := newAPI(t, Access{})
	ctx := context.Background()
	if err := a.log.Create(ctx, topic.Spec{Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	recs := []topic.Record{{Topic: "t", Timestamp: 5, Key: []byte(`{"id":9007199254740993}`), Value: []byte(`{"x":1.0}`), Headers: []topic.Header{{Key: "h", Value: []byte("plain")}}},
		{Topic: "t", Timestamp: 6, Key: []byte(`{"id":2}`)}}
	if err := a.log.Append(ctx, recs); err != nil {
		t.Fatal(err)
	}
	want := `{"topic":"t","partition":0,"offset":0,"timestamp":5,"key":{"id":9007199254740993},"value":{"x":1.0},"headers":[{"key":"h","value":"plain"}]}
{"topic":"t","partition":0,"offset":1,"timestamp":6,"key":{"id":2},"value":null,"headers":[]}
`
	if w := a.call("GET", "/tailrace/records?topic=t&from=start&until=end", ""); w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s, want %s", w.Code, w.Body, want)
	}
	if w := a.call("GET", "/tailrace/records?topic=nope&from=start&until=end", ""); w.Code != 404 {
		t.Errorf("unknown topic: %d %s", w.Code, w.Body)
	}
	if w := a.call("GET", "/tailrace/records?topic=t&from=bogus", ""); w.Code != 400 {
		t.Errorf("bad offset: %d %s", w.Code, w.Body)
	}
	var topics []TopicInfo
	if err := json.Unmarshal(a.call("GET", "/tailrace/topics", "").Body.Bytes(), &topics); err != nil {
		t.Fatal(err)
	}
	for _, i := range topics {
		if i.Topic == "t" && (i.Records != 2 || i.Partitions != 1) {
			t.Errorf("topic is %+v", i)
		}
	}
}
