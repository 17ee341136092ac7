package rest

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/tailrace/tailrace/worker"
)

// requestTimeout bounds every request but a stream of records, as Kafka Connect does.
const requestTimeout = 90 * time.Second

// Options of a Server. All fields but Access are needed.
type Options struct {
	Access  Access
	Level   *slog.LevelVar // of the root logger, which /admin/loggers shows and sets
	Logger  *slog.Logger
	Version string
	Now     func() time.Time
}

// Server answers the API. It is safe for concurrent use.
type Server struct {
	w        *worker.Worker
	opt      Options
	routes   []route
	metrics  http.Handler
	edits    edits
	leveled  atomic.Int64  // when the level was last set, in milliseconds since the Unix epoch; 0: never
	stopping chan struct{} // closed by Drain
	drained  atomic.Bool
}

// New returns the handler of the whole API.
func New(w *worker.Worker, opt Options) *Server {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{w, opt})
	s := &Server{w: w, opt: opt, stopping: make(chan struct{})}
	s.metrics = promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
	s.edits.seed = maphash.MakeSeed()
	s.routes = s.table()
	return s
}

// Drain ends the streams of records that follow the log, which have no end of their own, and makes /readyz say that the
// daemon is stopping. It is for http.Server.RegisterOnShutdown.
func (s *Server) Drain() {
	if s.drained.CompareAndSwap(false, true) {
		close(s.stopping)
	}
}

// table is the whole API. A star is one segment of the path, which may hold a slash as %2F.
func (s *Server) table() []route {
	return []route{
		on("GET", "/", s.about),
		on("GET", "/healthz", alive),
		on("GET", "/readyz", s.ready),
		on("GET", "/health", s.ready),
		on("GET", "/metrics", func(q *request) { s.metrics.ServeHTTP(q.w, q.r) }),

		on("GET", "/connectors", s.list),
		on("POST", "/connectors", s.create),
		on("GET", "/connectors/*", s.connector),
		on("DELETE", "/connectors/*", s.remove),
		on("GET", "/connectors/*/config", s.config),
		on("PUT", "/connectors/*/config", s.putConfig),
		on("PATCH", "/connectors/*/config", s.patchConfig),
		on("GET", "/connectors/*/status", s.status),
		on("PUT", "/connectors/*/pause", s.target(worker.Paused, http.StatusAccepted)),
		on("PUT", "/connectors/*/resume", s.target(worker.Running, http.StatusAccepted)),
		on("PUT", "/connectors/*/stop", s.target(worker.Stopped, http.StatusNoContent)),
		on("POST", "/connectors/*/restart", s.restart),
		on("GET", "/connectors/*/tasks", s.tasks),
		on("GET", "/connectors/*/tasks/*/status", s.taskStatus),
		on("POST", "/connectors/*/tasks/*/restart", s.restartTask),
		on("GET", "/connectors/*/topics", s.topics),
		on("PUT", "/connectors/*/topics/reset", func(q *request) { q.done(http.StatusAccepted) }), // nothing is tracked: the log knows
		on("GET", "/connectors/*/offsets", s.offsets),
		on("PATCH", "/connectors/*/offsets", s.alterOffsets),
		on("DELETE", "/connectors/*/offsets", s.resetOffsets),

		on("GET", "/connectors/*/snapshot", s.snapshot),
		on("POST", "/connectors/*/signals", s.signal),

		on("GET", "/connector-plugins", s.plugins),
		on("GET", "/connector-plugins/*/config", s.pluginConfig),
		on("PUT", "/connector-plugins/*/config/validate", s.validate),
		on("GET", "/admin/loggers", s.loggers),
		on("GET", "/admin/loggers/*", s.logger),
		on("PUT", "/admin/loggers/*", s.setLogger),

		on("GET", "/tailrace/status", s.statuses),
		on("GET", "/tailrace/topics", s.topicList),
		on("GET", "/tailrace/topics/*/config", s.topicConfig),
		on("PUT", "/tailrace/topics/*/config", s.configureTopic),
		on("GET", "/tailrace/lag", s.lag),
		on("GET", "/tailrace/records", s.records),
	}
}

// route is one method of one path.
type route struct {
	method string
	path   []string
	serve  func(*request)
}

func on(method, path string, serve func(*request)) route {
	return route{method, strings.Split(path[1:], "/"), serve}
}

// match returns what stands for the stars, false if the path is another one.
func (rt route) match(path []string) ([]string, bool) {
	if len(path) != len(rt.path) {
		return nil, false
	}
	var args []string
	for i, seg := range rt.path {
		switch {
		case seg == "*" && path[i] != "":
			args = append(args, path[i])
		case seg != path[i] || seg == "*":
			return nil, false
		}
	}
	return args, true
}

// is reports whether the route is that of the path.
func (rt route) is(path ...string) bool { return slices.Equal(rt.path, path) }

// ServeHTTP implements http.Handler. It routes by the escaped path, so that a name may hold a slash as %2F; a slash at the
// end of a path means nothing.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recovered(w, r)
	if !s.opt.Access.admit(w, r) {
		return
	}
	var path []string
	for seg := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		u, err := url.PathUnescape(seg)
		if err != nil {
			fail(w, http.StatusBadRequest, "malformed path")
			return
		}
		path = append(path, u)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	var allowed []string
	for _, rt := range s.routes {
		args, ok := rt.match(path)
		if ok && rt.method == method {
			s.call(rt, w, r, args)
			return
		}
		if ok {
			allowed = append(allowed, rt.method)
		}
	}
	refuse(w, r, allowed)
}

// call serves a request that has found its route.
func (s *Server) call(rt route, w http.ResponseWriter, r *http.Request, args []string) {
	if rt.is("tailrace", "records") {
		rt.serve(&request{w, r, args})
		return
	}
	if !rt.is("healthz") && !rt.is("metrics") && !acceptsJSON(r) {
		fail(w, http.StatusNotAcceptable, "HTTP 406 Not Acceptable")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if rt.method == http.MethodGet {
		rt.serve(&request{w, r, args})
		return
	}
	n := &noted{ResponseWriter: w}
	rt.serve(&request{n, r, args})
	user, _, _ := r.BasicAuth()
	s.opt.Logger.Info("request", "method", r.Method, "path", r.URL.Path, "status", n.status, "from", r.RemoteAddr, "user", user)
}

// noted remembers the status of an answer: who changed what is in the log.
type noted struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (n *noted) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (n *noted) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// refuse answers a request that has no route: allowed are the methods that its path does have.
func refuse(w http.ResponseWriter, r *http.Request, allowed []string) {
	if len(allowed) == 0 {
		fail(w, http.StatusNotFound, "HTTP 404 Not Found")
		return
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	allow := strings.Join(append(allowed, http.MethodOptions), ", ")
	w.Header().Set("Allow", allow)
	if r.Method != http.MethodOptions {
		fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(allow)) // the client may have gone
}

// recovered, when deferred, answers a panic: one bad request stops itself, never the daemon.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request) {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p) // the connection is to be cut
	default:
		s.opt.Logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		fail(w, http.StatusInternalServerError, "internal error")
	}
}

// about answers GET /. Clients gate what they do by the version: it is the one of Kafka Connect that we are like.
func (s *Server) about(q *request) {
	q.answer(http.StatusOK, map[string]string{"version": "3.9.0-tailrace-" + s.opt.Version, "commit": "tailrace", "kafka_cluster_id": "embedded"})
}

// alive answers /healthz: the process serves requests. Whether it can do its work, /readyz says.
func alive(q *request) {
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = q.w.Write([]byte("ok\n")) // the client may have gone
}

// ready answers /readyz and Kafka Connect's /health.
func (s *Server) ready(q *request) {
	if s.drained.Load() {
		q.answer(http.StatusServiceUnavailable, health{"stopping", "The daemon is stopping."})
		return
	}
	if _, err := s.w.TopicList(q.r.Context()); err != nil {
		q.answer(http.StatusServiceUnavailable, health{"unhealthy", "The log does not answer: " + err.Error()})
		return
	}
	q.answer(http.StatusOK, health{"healthy", "Worker has completed startup and is ready to handle requests."})
}

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Starting returns the handler to use until the worker is there: /healthz answers, everything else is 503.
func Starting(access Access) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !access.admit(w, r) {
			return
		}
		q := &request{w: w, r: r}
		w.Header().Set("Retry-After", "1")
		switch strings.TrimSuffix(r.URL.Path, "/") {
		case "/healthz":
			alive(q)
		case "/readyz", "/health":
			q.answer(http.StatusServiceUnavailable, health{"starting", "The log is being opened."})
		default:
			fail(w, http.StatusServiceUnavailable, "The daemon is starting: the log is being opened.")
		}
	})
}
