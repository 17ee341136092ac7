package rest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/worker"
)

func TestHostileBodies(t *testing.T) {
	a := newAPI(t, Access{})
	config := func(more string) string {
		return `{"name":"x","config":{"connector.class":"quiet","topic.prefix":"p"` + more + `}}`
	}
	for name, s := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"case99_deep_nesting_of_lists":   {`{"name":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 400, "nested deeper"},
		"case99_deep_nesting_of_objects": {strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000), 400, "nested deeper"},
		"case99_duplicate_keys":          {config(`,"topic.prefix":"q"`), 400, `the member \"topic.prefix\" is there twice`},
		"case99_duplicate_names":         {`{"name":"x","name":"y","config":{}}`, 400, "is there twice"},
		"case99_body_too_large":          {config(`,"x":"` + strings.Repeat("y", maxBody) + `"`), 413, "larger than 1048576 bytes"},
		"unknown member":                 {`{"name":"x","bogus":1}`, 400, "bogus"},
		"a list":                         {`[]`, 400, "not an object"},
		"null":                           {`null`, 400, "not an object"},
		"nothing":                        {``, 400, "not an object"},
		"cut off":                        {`{"name":"x",`, 400, "unexpected EOF"},
		"text after the end":             {config("") + "{}", 400, "something follows"},
		"not UTF-8":                      {config(",\"x\":\"\xff\""), 400, "not UTF-8"},
		"half a surrogate pair":          {config(`,"x":"a\ud83d"`), 400, "half a surrogate pair"},
		"a nested value":                 {config(`,"x":{"a":1}`), 400, "must be a string"},
		"config is a string":             {`{"name":"x","config":"s"}`, 400, "not the JSON"},
		"bad initial_state":              {`{"name":"x","config":{},"initial_state":"BOGUS"}`, 400, "is not one of RUNNING, PAUSED, STOPPED"},
	} {
		t.Run(name, func(t *testing.T) {
			if w := a.call("POST", "/connectors", s.body); w.Code != s.status || !strings.Contains(w.Body.String(), s.want) {
				t.Errorf("%d %.300s, want %d with %s", w.Code, w.Body, s.status, s.want)
			}
		})
	}
	t.Run("case99_gzip_bomb", func(t *testing.T) {
		var bomb bytes.Buffer
		z := gzip.NewWriter(&bomb)
		zeros := make([]byte, 1<<20)
		for range 64 {
			if _, err := z.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		w := a.call("POST", "/connectors", bomb.String(), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
		if w.Code != 415 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	if w := a.call("GET", "/connectors", ""); w.Body.String() != "[]\n" {
		t.Errorf("something was created: %s", w.Body)
	}
}

// endless is a body of 1 GB that counts what is read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	n := len(p)
	if e.read.Add(int64(n)) > 1<<30 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	return n, nil
}

func TestHugeBodyIsNotRead(t *testing.T) {
	for name, length := range map[string]int64{"case99_1GB_announced": 1 << 30, "case99_1GB_chunked": -1} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, Access{})
			body := &endless{}
			r := httptest.NewRequest("POST", "http://127.0.0.1:8083/connectors", body)
			r.ContentLength = length
			w := httptest.NewRecorder()
			a.h.ServeHTTP(w, r)
			if w.Code != 413 || body.read.Load() > 2*maxBody {
				t.Errorf("%d after %d bytes", w.Code, body.read.Load())
			}
		})
	}
}

func TestStandInNeverBecomesTheSecret(t *testing.T) {
	a := newAPI(t, Access{})
	if w := a.call("POST", "/connectors", `{"name":"a","config":{"connector.class":"quiet","topic.prefix":"p","database.password":"[hidden]"}}`); w.Code != 400 || !strings.Contains(w.Body.String(), "stands for a secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	a.call("POST", "/connectors", `{"name":"a","config":{"connector.class":"quiet","topic.prefix":"p","u":"http://me:hunter2@h/","database.password":"${env:X:-hunter3}"}}`)
	shown := a.call("GET", "/connectors/a/config", "").Body.String()
	if strings.Contains(shown, "hunter") || !strings.Contains(shown, "${env:X:-[hidden]}") {
		t.Errorf("shown is %s", shown)
	}
	if w := a.call("PUT", "/connectors/a/config", shown); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.call("PATCH", "/connectors/a/config", `{"m":"1"}`); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.call("PATCH", "/connectors/a/config", `{"u":"http://you:[hidden]@h/"}`); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	last := ""
	err := topic.Scan(t.Context(), a.log, worker.ConfigTopic, func(r *topic.Record) error {
		last = string(r.Value)
		return nil
	})
	if err != nil || !strings.Contains(last, "http://me:hunter2@h/") || !strings.Contains(last, "${env:X:-hunter3}") || !strings.Contains(last, `"m":"1"`) {
		t.Errorf("stored is %s, %v", last, err)
	}
	if w := a.call("GET", "/tailrace/records?from=start&until=end&topic="+worker.ConfigTopic, ""); w.Code != 403 || strings.Contains(w.Body.String(), "hunter") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestConcurrentChanges(t *testing.T) {
	t.Run("case102_outcome_is_that_of_one_order", func(t *testing.T) {
		a := newAPI(t, Access{})
		var created, deleted atomic.Int64
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				switch i % 4 {
				case 0, 1:
					if w := a.call("PUT", "/connectors/c/config", fmt.Sprintf(`{"connector.class":"quiet","topic.prefix":"p%d","twin":"p%d"}`, i, i)); w.Code == 201 {
						created.Add(1)
					} else if w.Code != 200 {
						t.Errorf("PUT: %d %s", w.Code, w.Body)
					}
				case 2:
					if w := a.call("DELETE", "/connectors/c", ""); w.Code == 204 {
						deleted.Add(1)
					} else if w.Code != 404 {
						t.Errorf("DELETE: %d %s", w.Code, w.Body)
					}
				default:
					if w := a.call("POST", "/connectors/c/restart?includeTasks=true", ""); w.Code != 202 && w.Code != 404 {
						t.Errorf("restart: %d %s", w.Code, w.Body)
					}
				}
			})
		}
		wg.Wait()
		w := a.call("GET", "/connectors/c", "")
		if left := created.Load() - deleted.Load(); left != 0 && left != 1 || (left == 1) != (w.Code == 200) {
			t.Errorf("%d created, %d deleted, then %d", created.Load(), deleted.Load(), w.Code)
		}
	})
	t.Run("case102_no_patch_is_lost", func(t *testing.T) {
		a := newAPI(t, Access{})
		a.call("PUT", "/connectors/c/config", `{"connector.class":"quiet","topic.prefix":"p"}`)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if w := a.call("PATCH", "/connectors/c/config", fmt.Sprintf(`{"k%d":"%d"}`, i, i)); w.Code != 200 {
					t.Errorf("PATCH: %d %s", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		got := a.call("GET", "/connectors/c/config", "").Body.String()
		for i := range 50 {
			if !strings.Contains(got, fmt.Sprintf(`"k%d":"%d"`, i, i)) {
				t.Errorf("k%d is lost", i)
			}
		}
	})
	t.Run("case102_500_cycles_leak_nothing", func(t *testing.T) {
		a := newAPI(t, Access{})
		cycle := func() {
			if w := a.call("PUT", "/connectors/c/config", `{"connector.class":"quiet","topic.prefix":"p"}`); w.Code != 201 {
				t.Fatalf("create: %d %s", w.Code, w.Body)
			}
			if w := a.call("DELETE", "/connectors/c", ""); w.Code != 204 {
				t.Fatalf("delete: %d %s", w.Code, w.Body)
			}
		}
		cycle()
		goroutines, files := runtime.NumGoroutine(), openFiles(t)
		for range 500 {
			cycle()
		}
		if n := runtime.NumGoroutine(); n > goroutines+5 {
			t.Errorf("%d goroutines, %d before", n, goroutines)
		}
		if n := openFiles(t); n > files+5 {
			t.Errorf("%d open files, %d before", n, files)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("open files can't be counted here: %v", err)
	}
	return len(list)
}

func TestAccessOfPages(t *testing.T) {
	env := map[string]string{"TAILRACE_REST_USER": "u", "TAILRACE_REST_PASSWORD_FILE": "/f", "TAILRACE_REST_HOSTS": "tailrace, cdc.example", "TAILRACE_REST_ORIGINS": "https://ui.example"}
	access, err := AccessFromEnv(func(k string) (string, bool) { v, ok := env[k]; return v, ok }, func(string) ([]byte, error) { return []byte("p\n"), nil })
	if err != nil || access.Password != "p" {
		t.Fatalf("%+v, %v", access, err)
	}
	if _, err := AccessFromEnv(func(k string) (string, bool) {
		return map[string]string{"TAILRACE_REST_USER": "u"}[k], k == "TAILRACE_REST_USER"
	}, nil); err == nil {
		t.Error("a user without a password is taken")
	}
	a := newAPI(t, access)
	for _, s := range []struct {
		host, origin string
		status       int
	}{
		{"127.0.0.1:8083", "", 200}, {"localhost:8083", "", 200}, {"[::1]:8083", "", 200}, {"TAILRACE:8083", "", 200}, {"cdc.example", "", 200}, {"10.1.2.3:8083", "", 200},
		{"evil.example", "", 403}, {"localhost.evil.example", "", 403}, {"", "", 403}, {"tailrace.evil.example:8083", "", 403},
		{"127.0.0.1:8083", "http://127.0.0.1:8083", 200}, {"127.0.0.1:8083", "https://ui.example", 200},
		{"127.0.0.1:8083", "http://127.0.0.1:3000", 403}, {"127.0.0.1:8083", "null", 403}, {"127.0.0.1:8083", "https://ui.example.evil", 403}, {"127.0.0.1:8083", "http://ui.example", 403},
	} {
		w := a.call("GET", "/connectors", "", func(r *http.Request) {
			r.SetBasicAuth("u", "p")
			r.Host = s.host
			if s.origin != "" {
				r.Header.Set("Origin", s.origin)
			}
		})
		if w.Code != s.status {
			t.Errorf("Host %q, Origin %q: %d", s.host, s.origin, w.Code)
		}
		if shared := w.Header().Get("Access-Control-Allow-Origin"); (shared != "") != (s.origin == "https://ui.example") {
			t.Errorf("Origin %q: shared with %q", s.origin, shared)
		}
	}
	preflight := func(origin string) *httptest.ResponseRecorder {
		return a.call("OPTIONS", "/connectors", "", func(r *http.Request) {
			r.Header.Set("Origin", origin)
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization, content-type")
		})
	}
	if w := preflight("https://ui.example"); w.Code != 200 || w.Header().Get("Access-Control-Allow-Headers") != "authorization, content-type" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if w := preflight("https://evil.example"); w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign preflight: %d %v", w.Code, w.Header())
	}
	open := newAPI(t, Access{})
	if w := open.call("GET", "/connectors", "", func(r *http.Request) { r.Host = "10.1.2.3:8083" }); w.Code != 403 {
		t.Errorf("an address that is not loopback, without credentials: %d", w.Code)
	}
}

func TestStarting(t *testing.T) {
	h := Starting(Access{})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/health": 503, "/connectors": 503} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+path, nil))
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	r := httptest.NewRequest("GET", "http://evil.example/readyz", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a foreign host: %d", w.Code)
	}
}

func TestReadyNamesWhatIsNot(t *testing.T) {
	a := newAPI(t, Access{})
	if err := a.log.Close(); err != nil {
		t.Fatal(err)
	}
	if w := a.call("GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "The log does not answer") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.call("GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.call("GET", "/metrics", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "tailrace_log_up 0") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	a.h.(*Server).Drain()
	if w := a.call("GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "stopping") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What has changed something is in the log, on one line whatever the name is.
func TestChangesAreLogged(t *testing.T) {
	a := newAPI(t, Access{})
	var log bytes.Buffer
	a.h.(*Server).opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	a.call("GET", "/connectors", "")
	a.call("DELETE", "/connectors/x%0Alevel=ERROR%20msg=%1B%5B31mforged", "", func(r *http.Request) { r.SetBasicAuth("ops", "p") })
	got := log.String()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg=request method=DELETE path="/connectors/x\nlevel=ERROR msg=\x1b[31mforged" status=404`) || !strings.Contains(got, "user=ops") {
		t.Errorf("%q", got)
	}
}

func TestRequestsThatPanic(t *testing.T) {
	a := newAPI(t, Access{})
	s := a.h.(*Server)
	s.routes = append([]route{on("GET", "/boom", func(*request) { panic("boom") })}, s.routes...)
	if w := a.call("GET", "/boom", ""); w.Code != 500 || !strings.Contains(w.Body.String(), "internal error") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Two sources with one prefix, and connectors of every kind: a scrape never fails as a whole.
func TestMetricsOfConnectorsThatShareAPrefix(t *testing.T) {
	a := newAPI(t, Access{})
	for _, n := range []string{"a", "b"} {
		a.call("PUT", "/connectors/"+n+"/config", `{"connector.class":"quiet","topic.prefix":"p"}`)
	}
	a.call("PUT", "/connectors/snk/config", `{"connector.class":"hole","topics":"t","tasks.max":"2"}`)
	w := a.call("GET", "/metrics", "")
	for _, want := range []string{
		`tailrace_connector_state{connector="a",state="RUNNING",type="source"} 1`, `tailrace_connector_state{connector="a",state="FAILED",type="source"} 0`,
		`debezium_metrics_Connected{context="streaming",name="p",plugin="quiet"}`, `kafka_connect_connect_worker_metrics_connector_count 3`,
		`kafka_connect_connect_worker_metrics_task_count 4`, `tailrace_sink_events_total{connector="snk",task="1"} 0`, `tailrace_build_info{version="test"} 1`, "process_open_fds", "go_goroutines",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is not there", want)
		}
	}
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
