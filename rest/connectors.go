package rest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/worker"
)

type taskID struct {
	Connector string `json:"connector"`
	Task      int    `json:"task"`
}

type connectorInfo struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
	Tasks  []taskID          `json:"tasks"`
	Type   string            `json:"type"`
}

// info shows a connector; literal secrets are hidden. (Invariant 9)
func (s *Server) info(i worker.Info) connectorInfo {
	out := connectorInfo{Name: i.Name, Config: s.redact(i.Config), Type: i.Type, Tasks: []taskID{}}
	for _, t := range i.Tasks {
		out.Tasks = append(out.Tasks, taskID{i.Name, t})
	}
	return out
}

func (s *Server) redact(cfg map[string]string) map[string]string {
	keys, _ := s.w.Keys(cfg["connector.class"])
	return config.Redact(cfg, keys)
}

type state struct {
	ID     *int         `json:"id,omitempty"`
	State  worker.State `json:"state"`
	Worker string       `json:"worker_id"`
	Trace  string       `json:"trace,omitempty"`
}

type statusInfo struct {
	Name      string  `json:"name"`
	Connector state   `json:"connector"`
	Tasks     []state `json:"tasks"`
	Type      string  `json:"type"`
}

func statusOf(st worker.Status) statusInfo {
	out := statusInfo{Name: st.Name, Connector: state{nil, st.State, st.Worker, st.Trace}, Tasks: []state{}, Type: st.Type}
	for _, t := range st.Tasks {
		out.Tasks = append(out.Tasks, state{&t.ID, t.State, st.Worker, t.Trace})
	}
	return out
}

func (s *Server) list(q *request) {
	names := s.w.Names()
	expand, ok := q.r.URL.Query()["expand"]
	if !ok {
		if names == nil {
			names = []string{}
		}
		q.answer(http.StatusOK, names)
		return
	}
	type expansion struct {
		Status *statusInfo    `json:"status,omitempty"`
		Info   *connectorInfo `json:"info,omitempty"`
	}
	out := map[string]expansion{}
	for _, n := range names {
		st, err1 := s.w.Status(n)
		in, err2 := s.w.Info(n)
		if err1 != nil || err2 != nil { // deleted meanwhile
			continue
		}
		var e expansion
		if slices.Contains(expand, "status") {
			v := statusOf(st)
			e.Status = &v
		}
		if slices.Contains(expand, "info") {
			v := s.info(in)
			e.Info = &v
		}
		out[n] = e
	}
	q.answer(http.StatusOK, out)
}

func (s *Server) create(q *request) {
	var body struct {
		Name   string            `json:"name"`
		Config map[string]scalar `json:"config"`
		State  string            `json:"initial_state"`
	}
	if !q.body(&body) {
		return
	}
	cfg, problems := texts(body.Config)
	if len(problems) > 0 {
		q.invalid(problems, nil)
		return
	}
	name := strings.TrimSpace(body.Name)
	if name == "" {
		name = strings.TrimSpace(cfg["name"])
	}
	states := []string{"", string(worker.Running), string(worker.Paused), string(worker.Stopped)}
	switch target := strings.ToUpper(body.State); {
	case name == "":
		q.invalid([]config.Problem{{Key: "name", Message: "String may not be empty"}}, map[string]string{"name": ""})
	case !slices.Contains(states, target):
		fail(q.w, http.StatusBadRequest, "initial_state "+quoted(body.State)+" is not one of RUNNING, PAUSED, STOPPED")
	case s.acceptable(q, name, cfg, nil):
		info, err := s.w.Create(q.r.Context(), name, cfg, worker.State(target))
		if errors.Is(err, worker.ErrExists) {
			fail(q.w, http.StatusConflict, "Connector "+name+" already exists")
			return
		}
		s.configured(q, info, true, cfg, err)
	}
}

// acceptable judges what the worker does not: that the name agrees, that there is a class, and that no secret is replaced
// by what stands for it on display. It puts the secrets of old in the place of those. If something is wrong it answers
// and returns false.
func (s *Server) acceptable(q *request, name string, cfg, old map[string]string) bool {
	hidden := s.redact(old)
	for k, v := range cfg {
		if was, ok := old[k]; ok && v == hidden[k] { // a client that sends back what it was shown means the secret
			cfg[k] = was
		}
	}
	for _, k := range slices.Sorted(maps.Keys(cfg)) {
		if strings.Contains(cfg[k], config.Hidden) {
			q.invalid([]config.Problem{{Key: k, Message: "the value is what stands for a secret on display; send the secret itself, or a placeholder for it"}}, nil)
			return false
		}
	}
	if n := cfg["name"]; n != "" && n != name {
		fail(q.w, http.StatusBadRequest, "Connector name configuration ("+n+") doesn't match connector name in the URL ("+name+")")
		return false
	}
	if cfg["connector.class"] == "" {
		fail(q.w, http.StatusBadRequest, s.noClass(cfg))
		return false
	}
	return true
}

// noClass is Kafka Connect's message for a configuration without connector.class.
func (s *Server) noClass(cfg map[string]string) string {
	var list []string
	shown := s.redact(cfg)
	for _, k := range slices.Sorted(maps.Keys(shown)) {
		list = append(list, k+"="+shown[k])
	}
	return "Connector config {" + strings.Join(list, ", ") + "} contains no connector type"
}

// configured answers a change of a connector's configuration to cfg.
func (s *Server) configured(q *request, info worker.Info, created bool, cfg map[string]string, err error) {
	var invalid *worker.InvalidError
	switch {
	case errors.As(err, &invalid):
		q.invalid(invalid.Problems, s.redact(cfg))
	case err != nil:
		q.failed(err, "Connector "+info.Name+" not found")
	case created:
		scheme := "http://"
		if q.r.TLS != nil {
			scheme = "https://"
		}
		q.w.Header().Set("Location", scheme+q.r.Host+"/connectors/"+url.PathEscape(info.Name))
		q.answer(http.StatusCreated, s.info(info))
	default:
		q.answer(http.StatusOK, s.info(info))
	}
}

// find returns the connector of the path, or answers that there is none.
func (s *Server) find(q *request) (worker.Info, bool) {
	info, err := s.w.Info(q.name())
	if err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return info, false
	}
	return info, true
}

func (s *Server) connector(q *request) {
	if info, ok := s.find(q); ok {
		q.answer(http.StatusOK, s.info(info))
	}
}

func (s *Server) remove(q *request) {
	defer s.edits.lock(q.name())()
	if err := s.w.Delete(q.r.Context(), q.name()); err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return
	}
	q.done(http.StatusNoContent)
}

func (s *Server) config(q *request) {
	if info, ok := s.find(q); ok {
		q.answer(http.StatusOK, s.redact(info.Config))
	}
}

func (s *Server) putConfig(q *request) {
	var body map[string]scalar
	if !q.body(&body) {
		return
	}
	cfg, problems := texts(body)
	if len(problems) > 0 {
		q.invalid(problems, nil)
		return
	}
	defer s.edits.lock(q.name())()
	old, err := s.w.Info(q.name())
	if err != nil && !errors.Is(err, worker.ErrNotFound) {
		q.failed(err, "")
		return
	}
	if s.acceptable(q, q.name(), cfg, old.Config) {
		info, created, err := s.w.Put(q.r.Context(), q.name(), cfg)
		s.configured(q, info, created, cfg, err)
	}
}

// patchConfig merges: null removes a property.
func (s *Server) patchConfig(q *request) {
	var body map[string]scalar
	if !q.body(&body) {
		return
	}
	defer s.edits.lock(q.name())()
	old, ok := s.find(q)
	if !ok {
		return
	}
	cfg := maps.Clone(old.Config)
	for k, v := range body {
		if v.null {
			delete(cfg, k)
		} else {
			cfg[k] = v.text
		}
	}
	if s.acceptable(q, q.name(), cfg, old.Config) {
		info, _, err := s.w.Put(q.r.Context(), q.name(), cfg)
		s.configured(q, info, false, cfg, err)
	}
}

func (s *Server) status(q *request) {
	st, err := s.w.Status(q.name())
	if err != nil {
		q.failed(err, "No status found for connector "+q.name())
		return
	}
	q.answer(http.StatusOK, statusOf(st))
}

// target makes the handler that gives a connector a target state.
func (s *Server) target(state worker.State, status int) func(*request) {
	return func(q *request) {
		if err := s.w.SetState(q.r.Context(), q.name(), state); err != nil {
			q.failed(err, "Unknown connector "+q.name())
			return
		}
		q.done(status)
	}
}

func (s *Server) restart(q *request) {
	include := strings.EqualFold(q.r.URL.Query().Get("includeTasks"), "true")
	only := strings.EqualFold(q.r.URL.Query().Get("onlyFailed"), "true")
	st, err := s.w.Restart(q.r.Context(), q.name(), include, only)
	if err != nil {
		q.failed(err, "Unknown connector: "+q.name())
		return
	}
	if include || only {
		q.answer(http.StatusAccepted, statusOf(st))
		return
	}
	q.done(http.StatusNoContent)
}

func (s *Server) tasks(q *request) {
	info, ok := s.find(q)
	if !ok {
		return
	}
	type task struct {
		ID     taskID            `json:"id"`
		Config map[string]string `json:"config"`
	}
	out := []task{}
	for _, t := range info.Tasks {
		out = append(out, task{taskID{info.Name, t}, s.redact(info.Config)})
	}
	q.answer(http.StatusOK, out)
}

// task returns the number of a task in the path, or answers that there is no such path.
func (q *request) task() (int, bool) {
	id, err := strconv.Atoi(q.args[1])
	if err != nil || id < 0 {
		q.notFound()
		return 0, false
	}
	return id, true
}

func (s *Server) taskStatus(q *request) {
	id, ok := q.task()
	if !ok {
		return
	}
	st, err := s.w.Status(q.name())
	if err != nil || id >= len(st.Tasks) {
		fail(q.w, http.StatusNotFound, fmt.Sprintf("No status found for task %s-%d", q.name(), id))
		return
	}
	q.answer(http.StatusOK, statusOf(st).Tasks[id])
}

func (s *Server) restartTask(q *request) {
	id, ok := q.task()
	if !ok {
		return
	}
	if _, err := s.w.Info(q.name()); err != nil {
		q.failed(err, "Unknown connector: "+q.name())
		return
	}
	if err := s.w.RestartTask(q.r.Context(), q.name(), id); err != nil {
		q.failed(err, fmt.Sprintf("Unknown task: %s-%d", q.name(), id))
		return
	}
	q.done(http.StatusNoContent)
}

// topics answers the topics of a connector; one that does not exist has none.
func (s *Server) topics(q *request) {
	names, err := s.w.Topics(q.r.Context(), q.name())
	if err != nil && !errors.Is(err, worker.ErrNotFound) {
		q.failed(err, "")
		return
	}
	if names == nil {
		names = []string{}
	}
	type topics struct {
		Topics []string `json:"topics"`
	}
	q.answer(http.StatusOK, map[string]topics{q.name(): {names}})
}

// edits are locks for the names of connectors: reading a configuration and writing it back is one step for others. Names
// may share a lock.
type edits struct {
	seed  maphash.Seed
	locks [64]sync.Mutex
}

// lock blocks until nobody else edits the connector and returns what ends the edit.
func (e *edits) lock(name string) (unlock func()) {
	mu := &e.locks[maphash.String(e.seed, name)%uint64(len(e.locks))]
	mu.Lock()
	return mu.Unlock
}
