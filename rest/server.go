package rest

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/worker"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// Options of a Server.
type Options struct {
	Access  Access
	Level   *slog.LevelVar // of the root logger, which /admin/loggers shows and sets
	Logger  *slog.Logger
	Version string
	Now     func() time.Time
}

// Server answers the API. It is safe for concurrent use.
type Server struct {
	w       *worker.Worker
	opt     Options
	metrics http.Handler
}

// New returns the handler of the whole API.
func New(w *worker.Worker, opt Options) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{w})
	s := &Server{w: w, opt: opt, metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{})}
	return opt.Access.guard(http.HandlerFunc(s.serve))
}

// request is a request under way: its path in unescaped segments.
type request struct {
	w    http.ResponseWriter
	r    *http.Request
	path []string
}

// serve routes by the escaped path, so that a name may hold a slash as %2F.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p) // the connection is to be cut
		}
		if p != nil {
			s.opt.Logger.Error("request panicked", "path", r.URL.Path, "panic", p)
			fail(w, http.StatusInternalServerError, "internal error")
		}
	}()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	q := &request{w: w, r: r}
	for seg := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		u, err := url.PathUnescape(seg)
		if err != nil {
			fail(w, http.StatusBadRequest, "malformed path")
			return
		}
		q.path = append(q.path, u)
	}
	switch q.path[0] {
	case "connectors":
		s.connectors(q)
	case "connector-plugins":
		s.plugins(q)
	case "admin":
		s.loggers(q)
	case "tailrace":
		s.own(q)
	default:
		s.root(q)
	}
}

func (s *Server) root(q *request) {
	if len(q.path) > 1 {
		q.notFound()
		return
	}
	if !q.allow(http.MethodGet, http.MethodHead) {
		return
	}
	switch q.path[0] {
	case "":
		q.answer(http.StatusOK, map[string]string{"version": "3.9.0-tailrace-" + s.opt.Version, "commit": "tailrace", "kafka_cluster_id": "embedded"})
	case "healthz":
		q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(q.w, "ok\n")
	case "readyz", "health":
		if _, err := s.w.TopicList(q.r.Context()); err != nil {
			q.answer(http.StatusServiceUnavailable, map[string]string{"status": "unhealthy", "message": "the log does not answer: " + err.Error()})
			return
		}
		q.answer(http.StatusOK, map[string]string{"status": "healthy", "message": "Worker has completed startup and is ready to handle requests."})
	case "metrics":
		s.metrics.ServeHTTP(q.w, q.r)
	default:
		q.notFound()
	}
}

// allow answers 405 unless the method is one of these.
func (q *request) allow(methods ...string) bool {
	for _, m := range methods {
		if q.r.Method == m {
			return true
		}
	}
	q.w.Header().Set("Allow", strings.Join(methods, ", "))
	fail(q.w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	return false
}

func (q *request) notFound() { fail(q.w, http.StatusNotFound, "HTTP 404 Not Found") }

// answer writes v as JSON.
func (q *request) answer(status int, v any) {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	enc := json.NewEncoder(q.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client has gone
}

func fail(w http.ResponseWriter, status int, message string) {
	q := &request{w: w}
	q.answer(status, struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{status, message})
}

// body decodes the request's JSON body into v. It answers and returns false if it can't.
func (q *request) body(v any) bool {
	if t := q.r.Header.Get("Content-Type"); t != "" && !strings.HasPrefix(t, "application/json") {
		fail(q.w, http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type")
		return false
	}
	text, err := io.ReadAll(q.r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		fail(q.w, http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.Itoa(maxBody)+" bytes")
		return false
	}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		fail(q.w, http.StatusBadRequest, "the body is not the JSON that this call takes: "+err.Error())
		return false
	}
	return true
}

// failed answers an error of the worker. text is what Kafka Connect says when the connector does not exist.
func (q *request) failed(err error, text string) {
	var invalid *worker.InvalidError
	switch {
	case errors.As(err, &invalid):
		fail(q.w, http.StatusBadRequest, invalidText(invalid))
	case errors.Is(err, worker.ErrNotFound), errors.Is(err, topic.ErrNoTopic):
		fail(q.w, http.StatusNotFound, text)
	case errors.Is(err, worker.ErrNotStopped):
		fail(q.w, http.StatusBadRequest, "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/"+q.path[1]+"/stop' endpoint")
	default:
		fail(q.w, http.StatusInternalServerError, err.Error())
	}
}

// invalidText is Kafka Connect's list of mistakes. An unknown class stands alone: clients look for how it begins.
func invalidText(e *worker.InvalidError) string {
	var b strings.Builder
	for _, p := range e.Problems {
		if strings.HasPrefix(p.Message, "Failed to find any class") {
			return p.Message
		}
		b.WriteString("\n" + p.Key + ": " + p.Message)
	}
	return "Connector configuration is invalid and contains the following " + strconv.Itoa(len(e.Problems)) + " error(s):" + b.String() +
		"\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"
}

// quoted shows a client's text in a message.
func quoted(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strconv.Quote(s)
}
