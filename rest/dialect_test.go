package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestWordsOfKafkaConnect holds the texts that clients look for, as a real worker of Kafka Connect sends them.
func TestWordsOfKafkaConnect(t *testing.T) {
	a := newAPI(t, Access{})
	const tail = "\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"
	const one = "Connector configuration is invalid and contains the following 1 error(s):\n"
	a.call("PUT", "/connectors/src/config", `{"connector.class":"quiet","topic.prefix":"p"}`)
	a.call("PUT", "/connectors/snk/config", `{"connector.class":"hole","topics":"p.t"}`)
	for _, s := range []struct {
		method, path, body string
		status             int
		want               string // the whole message
	}{
		{"GET", "/connectors/nope", "", 404, "Connector nope not found"},
		{"GET", "/connectors/nope/config", "", 404, "Connector nope not found"},
		{"GET", "/connectors/nope/tasks", "", 404, "Connector nope not found"},
		{"GET", "/connectors/nope/offsets", "", 404, "Connector nope not found"},
		{"DELETE", "/connectors/nope/offsets", "", 404, "Connector nope not found"},
		{"PATCH", "/connectors/nope/offsets", `{"offsets":[{"partition":{"server":"a"},"offset":{"lsn":1}}]}`, 404, "Connector nope not found"},
		{"PATCH", "/connectors/nope/config", `{"foo":"bar"}`, 404, "Connector nope not found"},
		{"GET", "/connectors/nope/status", "", 404, "No status found for connector nope"},
		{"GET", "/connectors/nope/tasks/0/status", "", 404, "No status found for task nope-0"},
		{"GET", "/connectors/src/tasks/9/status", "", 404, "No status found for task src-9"},
		{"PUT", "/connectors/nope/pause", "", 404, "Unknown connector nope"},
		{"PUT", "/connectors/nope/resume", "", 404, "Unknown connector nope"},
		{"PUT", "/connectors/nope/stop", "", 404, "Unknown connector nope"},
		{"POST", "/connectors/nope/restart", "", 404, "Unknown connector: nope"},
		{"POST", "/connectors/nope/restart?includeTasks=true", "", 404, "Unknown connector: nope"},
		{"POST", "/connectors/nope/tasks/0/restart", "", 404, "Unknown connector: nope"},
		{"POST", "/connectors/src/tasks/9/restart", "", 404, "Unknown task: src-9"},
		{"POST", "/connectors/src/tasks/abc/restart", "", 404, "HTTP 404 Not Found"},
		{"GET", "/connectors/src/tasks/abc/status", "", 404, "HTTP 404 Not Found"},
		{"GET", "/connectors/src/tasks-config", "", 404, "HTTP 404 Not Found"},
		{"GET", "/connectors/src/nope", "", 404, "HTTP 404 Not Found"},
		{"GET", "/admin/loggers/com.example.nope", "", 404, "Logger com.example.nope not found."},
		{"PUT", "/admin/loggers/root", `{"level":"LOUD"}`, 404, "invalid log level 'LOUD'."},
		{"PUT", "/admin/loggers/root", `{}`, 400, "Desired 'level' parameter was not specified in request."},
		{"GET", "/connector-plugins/NoSuch/config", "", 404, "Unknown plugin NoSuch."},
		{"POST", "/connectors", `{"name":"x","config":{"tasks.max":"1"}}`, 400, "Connector config {tasks.max=1} contains no connector type"},
		{"POST", "/connectors", `{"config":{"connector.class":"quiet"}}`, 400, one + "Invalid value  for configuration name: String may not be empty" + tail},
		{"POST", "/connectors", `{"name":"  ","config":{"connector.class":"quiet"}}`, 400, one + "Invalid value  for configuration name: String may not be empty" + tail},
		{"POST", "/connectors", `{"name":"x","config":{"connector.class":"quiet"}}`, 400, one + "Missing required configuration \"topic.prefix\" which has no default value." + tail},
		{"POST", "/connectors", `{"name":"x","config":{"connector.class":"quiet","topic.prefix":"p","foo":null}}`, 400, one + "Null value can not be supplied as the configuration value." + tail},
		{"POST", "/connectors", `{"name":"x","config":{"connector.class":"hole","topics":"t","tasks.max":"abc"}}`, 400, one + `Invalid value abc for configuration tasks.max: "abc" is not a whole number` + tail},
		{"POST", "/connectors", `{"name":"x","config":{"connector.class":"quiet","name":"y"}}`, 400, "Connector name configuration (y) doesn't match connector name in the URL (x)"},
		{"POST", "/connectors", `{"name":"src","config":{"connector.class":"quiet","topic.prefix":"p"}}`, 409, "Connector src already exists"},
		{"PATCH", "/connectors/src/offsets", `{"offsets":[{"partition":{"server":"p"},"offset":{"lsn":5}}]}`, 400, "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/src/stop' endpoint"},
		{"DELETE", "/connectors/src/offsets", "", 400, "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/src/stop' endpoint"},
		{"PATCH", "/connectors/src/offsets", `{"offsets":[]}`, 400, "Partitions / offsets need to be provided for an alter offsets request"},
		{"PATCH", "/connectors/src/offsets", `{}`, 400, "Partitions / offsets need to be provided for an alter offsets request"},
		{"PATCH", "/connectors/src/offsets", `{"offsets":[{"offset":{"lsn":5}}]}`, 400, "Partition objects cannot be null"},
		{"PATCH", "/connectors/src/offsets", `{"offsets":[{"partition":null,"offset":{"lsn":5}}]}`, 400, "Partition objects cannot be null"},
		{"PATCH", "/connectors/snk/offsets", `{"offsets":[{"partition":{"topic":"x"},"offset":{"kafka_offset":1}}]}`, 400, "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'"},
		{"PUT", "/connector-plugins/QuietConnector/config/validate", `{"connector.class":"hole","topics":"t","name":"v"}`, 400, "Included connector type hole does not match request type QuietConnector"},
		{"PUT", "/connector-plugins/QuietConnector/config/validate", `{"name":"v","topic":"t"}`, 400, "Connector config {name=v, topic=t} contains no connector type"},
		{"GET", "/nope", "", 404, "HTTP 404 Not Found"},
		{"PUT", "/connectors", "", 405, "HTTP 405 Method Not Allowed"},
		{"GET", "/connectors/src/restart", "", 405, "HTTP 405 Method Not Allowed"},
		{"POST", "/connectors/src/pause", "", 405, "HTTP 405 Method Not Allowed"},
		{"PUT", "/connectors/src/offsets", "", 405, "HTTP 405 Method Not Allowed"},
		{"PUT", "/connectors/src/tasks", "", 405, "HTTP 405 Method Not Allowed"},
		{"POST", "/", "", 405, "HTTP 405 Method Not Allowed"},
		{"TRACE", "/connectors", "", 405, "HTTP 405 Method Not Allowed"},
	} {
		w := a.call(s.method, s.path, s.body)
		var e struct {
			Code    int    `json:"error_code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != s.status || e.Code != s.status || e.Message != s.want {
			t.Errorf("%s %s %s:\n got %d %s\nwant %d %s", s.method, s.path, s.body, w.Code, w.Body, s.status, s.want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: error of type %q", s.method, s.path, got)
		}
	}
}

// TestWhatClientsSend holds requests that are seen in the field.
func TestWhatClientsSend(t *testing.T) {
	a := newAPI(t, Access{})
	form := func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	if w := a.call("POST", "/connectors/", `{"name":" a ü+","config":{"connector.class":"org.example.QuietConnector","topic.prefix":"p","n":7,"b":true,"f":1.50},"initial_state":"paused"}`); w.Code != 201 ||
		w.Header().Get("Location") != "http://127.0.0.1:8083/connectors/a%20%C3%BC+" {
		t.Fatalf("%d %s %s", w.Code, w.Body, w.Header().Get("Location"))
	}
	const name = "/connectors/a%20%C3%BC+"
	for _, s := range []struct {
		method, path, body string
		adapt              func(*http.Request)
		status             int
		want               string
	}{
		{"GET", name + "/config/", "", nil, 200, `"b":"true","connector.class":"org.example.QuietConnector","f":"1.50","n":"7","name":"a ü+"`},
		{"GET", name + "/status", "", nil, 200, `"connector":{"state":"PAUSED","worker_id":"127.0.0.1:8083"},"tasks":[{"id":0,"state":"PAUSED"`},
		{"POST", name + "/restart", `{"x":1}`, nil, 204, ""},
		{"GET", name + "/status", "", nil, 200, `"state":"PAUSED"`}, // a restart does not resume
		{"PUT", name + "/resume", "", form, 202, ""},
		{"PUT", name + "/pause", "{}", nil, 202, ""},
		{"PUT", name + "/pause", "", nil, 202, ""},
		{"PUT", name + "/resume", "", nil, 202, ""},
		{"POST", name + "/restart?includeTasks=bogus", "", nil, 204, ""},
		{"POST", name + "/restart?onlyFailed=true", "", nil, 202, `"connector":{"state":"RUNNING"`},
		{"GET", "/connectors/?expand=status&expand=info", "", nil, 200, `{"a ü+":{"status":{"name":"a ü+"`},
		{"GET", "/connectors?expand=info,status", "", nil, 200, `{"a ü+":{}}`},
		{"GET", "/connectors?expand[]=status", "", nil, 200, `["a ü+"]`},
		{"PUT", name + "/topics/reset", "", nil, 202, ""},
		{"GET", name + "/topics", "", nil, 200, `{"a ü+":{"topics":[]}}`},
		{"GET", "/connector-plugins/Quiet/config", "", nil, 200, `"name":"topic.prefix"`},
		{"GET", "/connector-plugins?connectorsOnly=false", "", nil, 200, `"class":"org.example.Nothing","type":"transformation"`},
		{"GET", "/connector-plugins/Nothing/config", "", nil, 200, `[{"name":"level","type":"INT"`},
		{"HEAD", "/tailrace/records?topic=t", "", nil, 200, ""},
		{"PUT", "/admin/loggers/root?scope=cluster", `{"level":"OFF"}`, nil, 204, ""},
		{"GET", "/admin/loggers/root", "", nil, 200, `"level":"OFF","last_modified":1`},
		{"GET", "/health", "", nil, 200, `"status":"healthy"`},
		{"GET", "/", "", func(r *http.Request) { r.Header.Set("Accept", "text/plain") }, 406, `HTTP 406 Not Acceptable`},
		{"GET", "/", "", func(r *http.Request) { r.Header.Set("Accept", "text/html, */*;q=0.8") }, 200, `"version":"3.9.0`},
		{"OPTIONS", "/connectors", "", nil, 200, "GET, POST, HEAD, OPTIONS"},
		{"HEAD", "/connectors", "", nil, 200, ""},
	} {
		adapt := s.adapt
		if adapt == nil {
			adapt = func(*http.Request) {}
		}
		w := a.call(s.method, s.path, s.body, adapt)
		if w.Code != s.status || !strings.Contains(w.Body.String(), s.want) || s.want == "" && s.method != "HEAD" && w.Body.Len() > 0 {
			t.Errorf("%s %s %s:\n got %d %s\nwant %d with %s", s.method, s.path, s.body, w.Code, w.Body, s.status, s.want)
		}
	}
}

func TestSinkOffsets(t *testing.T) {
	a := newAPI(t, Access{})
	a.call("PUT", "/connectors/snk/config", `{"connector.class":"hole","topics":"p-1.t"}`)
	a.call("PUT", "/connectors/snk/stop", "")
	body := `{"offsets":[{"partition":{"kafka_topic":"p-1.t","kafka_partition":0},"offset":{"kafka_offset":1}}]}`
	if w := a.call("PATCH", "/connectors/snk/offsets", body); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := `{"offsets":[{"partition":{"kafka_partition":0,"kafka_topic":"p-1.t"},"offset":{"kafka_offset":1}}]}` + "\n"
	if w := a.call("GET", "/connectors/snk/offsets", ""); w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	for _, wrong := range []string{`{"kafka_offset":-1}`, `{"kafka_offset":"1"}`, `{"offset":1}`, `5`, `{"kafka_offset":1,"altered":true}`} {
		body := `{"offsets":[{"partition":{"kafka_topic":"p-1.t","kafka_partition":0},"offset":` + wrong + `}]}`
		if w := a.call("PATCH", "/connectors/snk/offsets", body); w.Code != 400 {
			t.Errorf("offset %s: %d %s", wrong, w.Code, w.Body)
		}
	}
}

func TestValidateIsNotAnError(t *testing.T) {
	a := newAPI(t, Access{})
	w := a.call("PUT", "/connector-plugins/QuietConnector/config/validate", `{"connector.class":"quiet","database.password":"hunter2","tasks.max":1}`)
	var v validation
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	errs := map[string][]string{}
	for _, c := range v.Values {
		if len(c.Value.Errors) > 0 {
			errs[c.Value.Name] = c.Value.Errors
		}
		if c.Value.Name != c.Definition.Name || c.Definition.Order == 0 {
			t.Errorf("%+v", c)
		}
		if c.Value.Name == "database.password" && (c.Definition.Type != "PASSWORD" || c.Value.Value == nil || *c.Value.Value != "[hidden]") {
			t.Errorf("the password is %+v", c)
		}
	}
	if v.Name != "quiet" || v.Errors != 2 || len(errs["topic.prefix"]) != 1 || len(errs["name"]) != 1 {
		t.Errorf("name %s, %d errors: %v", v.Name, v.Errors, errs)
	}
}

func TestNames(t *testing.T) {
	t.Run("case97_connector_names", func(t *testing.T) {
		a := newAPI(t, Access{})
		for name, path := range map[string]string{
			`x"; DROP TABLE y;--`: "x%22%3B%20DROP%20TABLE%20y%3B--", "`whoami`": "%60whoami%60", "../../x": "..%2F..%2Fx", "a/b": "a%2Fb", "..": "%2E%2E", "名": "%E5%90%8D",
		} {
			body, err1 := json.Marshal(map[string]any{"name": name, "config": map[string]string{"connector.class": "quiet", "topic.prefix": "p"}})
			w := a.call("POST", "/connectors", string(body))
			var got connectorInfo
			err2 := json.Unmarshal(a.call("GET", "/connectors/"+path, "").Body.Bytes(), &got)
			if err := errors.Join(err1, err2); err != nil || w.Code != 201 || got.Name != name {
				t.Errorf("%q: %d %s, then %+v, %v", name, w.Code, w.Body, got, err)
			}
			if w := a.call("DELETE", "/connectors/"+path, ""); w.Code != 204 {
				t.Errorf("delete %q: %d %s", name, w.Code, w.Body)
			}
		}
		for _, name := range []string{`a\u0000b`, `a\nb`, `a\u001b[31m`, strings.Repeat("x", 250)} {
			if w := a.call("POST", "/connectors", `{"name":"`+name+`","config":{"connector.class":"quiet","topic.prefix":"p"}}`); w.Code != 400 {
				t.Errorf("%q: %d %s", name, w.Code, w.Body)
			}
		}
		if w := a.call("GET", "/connectors", ""); w.Body.String() != "[]\n" {
			t.Errorf("left are %s", w.Body)
		}
	})
}
