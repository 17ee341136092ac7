package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/worker"
)

// scalar is a configuration value: JSON numbers and booleans are taken as their text, null is remembered as absent.
type scalar struct {
	text string
	null bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *scalar) UnmarshalJSON(p []byte) error {
	switch {
	case bytes.Equal(p, []byte("null")):
		s.null = true
	case p[0] == '"':
		return json.Unmarshal(p, &s.text)
	case p[0] == '{' || p[0] == '[':
		return errors.New("a configuration value must be a string")
	default:
		s.text = string(p)
	}
	return nil
}

func texts(m map[string]scalar) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if !v.null {
			out[k] = v.text
		}
	}
	return out
}

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

// connectors answers everything below /connectors.
func (s *Server) connectors(q *request) {
	if len(q.path) == 1 {
		s.list(q)
		return
	}
	name := q.path[1]
	if len(q.path) == 2 {
		s.connector(q, name)
		return
	}
	switch q.path[2] {
	case "config":
		s.config(q, name)
	case "status":
		if q.allow(http.MethodGet) {
			st, err := s.w.Status(name)
			if err != nil {
				q.failed(err, "No status found for connector "+name)
				return
			}
			q.answer(http.StatusOK, statusOf(st))
		}
	case "pause", "resume", "stop":
		s.target(q, name)
	case "restart":
		s.restart(q, name)
	case "tasks":
		s.tasks(q, name)
	case "topics":
		s.topics(q, name)
	case "offsets":
		s.offsets(q, name)
	default:
		q.notFound()
	}
}

func (s *Server) list(q *request) {
	if !q.allow(http.MethodGet, http.MethodPost) {
		return
	}
	if q.r.Method == http.MethodPost {
		s.create(q)
		return
	}
	names := s.w.Names()
	expand, ok := q.r.URL.Query()["expand"]
	if !ok {
		if names == nil {
			names = []string{}
		}
		q.answer(http.StatusOK, names)
		return
	}
	out := map[string]map[string]any{}
	for _, n := range names {
		st, err1 := s.w.Status(n)
		in, err2 := s.w.Info(n)
		if err1 != nil || err2 != nil { // deleted meanwhile
			continue
		}
		out[n] = map[string]any{}
		for _, e := range expand {
			switch e {
			case "status":
				out[n]["status"] = statusOf(st)
			case "info":
				out[n]["info"] = s.info(in)
			}
		}
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
	cfg := texts(body.Config)
	if body.Name == "" {
		body.Name = cfg["name"]
	}
	switch {
	case body.Name == "":
		fail(q.w, http.StatusBadRequest, "the body has no name")
	case cfg["name"] != "" && cfg["name"] != body.Name:
		fail(q.w, http.StatusBadRequest, "Connector name configuration ("+cfg["name"]+") doesn't match connector name in the URL ("+body.Name+")")
	case body.State != "" && body.State != "RUNNING" && body.State != "PAUSED" && body.State != "STOPPED":
		fail(q.w, http.StatusBadRequest, "initial_state "+quoted(body.State)+" is not one of RUNNING, PAUSED, STOPPED")
	default:
		info, err := s.w.Create(q.r.Context(), body.Name, cfg, worker.State(body.State))
		if errors.Is(err, worker.ErrExists) {
			fail(q.w, http.StatusConflict, "Connector "+body.Name+" already exists")
			return
		}
		if err != nil {
			q.failed(err, "Connector "+body.Name+" not found")
			return
		}
		q.w.Header().Set("Location", "/connectors/"+url.PathEscape(body.Name))
		q.answer(http.StatusCreated, s.info(info))
	}
}

func (s *Server) connector(q *request, name string) {
	if !q.allow(http.MethodGet, http.MethodDelete) {
		return
	}
	if q.r.Method == http.MethodDelete {
		if err := s.w.Delete(q.r.Context(), name); err != nil {
			q.failed(err, "Connector "+name+" not found")
			return
		}
		q.w.WriteHeader(http.StatusNoContent)
		return
	}
	info, err := s.w.Info(name)
	if err != nil {
		q.failed(err, "Connector "+name+" not found")
		return
	}
	q.answer(http.StatusOK, s.info(info))
}

func (s *Server) config(q *request, name string) {
	if !q.allow(http.MethodGet, http.MethodPut, http.MethodPatch) {
		return
	}
	if q.r.Method == http.MethodGet {
		info, err := s.w.Info(name)
		if err != nil {
			q.failed(err, "Connector "+name+" not found")
			return
		}
		q.answer(http.StatusOK, s.redact(info.Config))
		return
	}
	var body map[string]scalar
	if !q.body(&body) {
		return
	}
	old, oldErr := s.w.Info(name)
	cfg := texts(body)
	if q.r.Method == http.MethodPatch {
		if oldErr != nil {
			q.failed(oldErr, "Connector "+name+" not found")
			return
		}
		merged := old.Config
		for k, v := range body {
			if v.null {
				delete(merged, k)
			} else {
				merged[k] = v.text
			}
		}
		cfg = merged
	}
	for k, v := range cfg { // a client that read a hidden secret and sends it back means the secret
		if was, ok := old.Config[k]; ok && v == config.Hidden {
			cfg[k] = was
		}
	}
	if n := cfg["name"]; n != "" && n != name {
		fail(q.w, http.StatusBadRequest, "Connector name configuration ("+n+") doesn't match connector name in the URL ("+name+")")
		return
	}
	info, created, err := s.w.Put(q.r.Context(), name, cfg)
	if err != nil {
		q.failed(err, "Connector "+name+" not found")
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		q.w.Header().Set("Location", "/connectors/"+url.PathEscape(name))
	}
	q.answer(status, s.info(info))
}

func (s *Server) target(q *request, name string) {
	if !q.allow(http.MethodPut) {
		return
	}
	target, status := worker.Paused, http.StatusAccepted
	switch q.path[2] {
	case "resume":
		target = worker.Running
	case "stop":
		target, status = worker.Stopped, http.StatusNoContent
	}
	if err := s.w.SetState(q.r.Context(), name, target); err != nil {
		q.failed(err, "Unknown connector "+name)
		return
	}
	q.w.WriteHeader(status)
}

func (s *Server) restart(q *request, name string) {
	if !q.allow(http.MethodPost) {
		return
	}
	include := strings.EqualFold(q.r.URL.Query().Get("includeTasks"), "true")
	only := strings.EqualFold(q.r.URL.Query().Get("onlyFailed"), "true")
	st, err := s.w.Restart(q.r.Context(), name, include, only)
	if err != nil {
		q.failed(err, "Unknown connector: "+name)
		return
	}
	if include || only {
		q.answer(http.StatusAccepted, statusOf(st))
		return
	}
	q.w.WriteHeader(http.StatusNoContent)
}

func (s *Server) tasks(q *request, name string) {
	info, err := s.w.Info(name)
	if err != nil {
		q.failed(err, "Connector "+name+" not found")
		return
	}
	if len(q.path) == 3 {
		if !q.allow(http.MethodGet) {
			return
		}
		type task struct {
			ID     taskID            `json:"id"`
			Config map[string]string `json:"config"`
		}
		out := []task{}
		for _, t := range info.Tasks {
			out = append(out, task{taskID{name, t}, s.redact(info.Config)})
		}
		q.answer(http.StatusOK, out)
		return
	}
	id, err := strconv.Atoi(q.path[3])
	if err != nil || len(q.path) != 5 {
		q.notFound()
		return
	}
	switch q.path[4] {
	case "status":
		st, err := s.w.Status(name)
		if err != nil || id < 0 || id >= len(st.Tasks) {
			fail(q.w, http.StatusNotFound, fmt.Sprintf("No status found for task %s-%d", name, id))
			return
		}
		q.answer(http.StatusOK, statusOf(st).Tasks[id])
	case "restart":
		if !q.allow(http.MethodPost) {
			return
		}
		if err := s.w.RestartTask(q.r.Context(), name, id); err != nil {
			q.failed(err, fmt.Sprintf("Unknown task: %s-%d", name, id))
			return
		}
		q.w.WriteHeader(http.StatusNoContent)
	default:
		q.notFound()
	}
}

func (s *Server) topics(q *request, name string) {
	if len(q.path) == 4 && q.path[3] == "reset" { // what a connector uses follows from the log: nothing is tracked
		if q.allow(http.MethodPut) {
			q.w.WriteHeader(http.StatusAccepted)
		}
		return
	}
	if !q.allow(http.MethodGet) {
		return
	}
	names, err := s.w.Topics(q.r.Context(), name)
	if err != nil && !errors.Is(err, worker.ErrNotFound) {
		q.failed(err, "")
		return
	}
	if names == nil {
		names = []string{}
	}
	q.answer(http.StatusOK, map[string]any{name: map[string]any{"topics": names}})
}

// offsetBody is one offset as Kafka Connect's API has it.
type offsetBody struct {
	Partition json.RawMessage `json:"partition"`
	Offset    json.RawMessage `json:"offset"`
}

type offsetsBody struct {
	Offsets []offsetBody `json:"offsets"`
}

func (s *Server) offsets(q *request, name string) {
	if !q.allow(http.MethodGet, http.MethodPatch, http.MethodDelete) {
		return
	}
	info, err := s.w.Info(name)
	if err != nil {
		q.failed(err, "Connector "+name+" not found")
		return
	}
	ctx := q.r.Context()
	switch q.r.Method {
	case http.MethodGet:
		list, err := s.w.Offsets(name)
		if err != nil {
			q.failed(err, "Connector "+name+" not found")
			return
		}
		out := offsetsBody{Offsets: []offsetBody{}}
		for _, o := range list {
			out.Offsets = append(out.Offsets, offsetBody{partitionOf(info.Type, o.Origin), json.RawMessage(o.Position)})
		}
		q.answer(http.StatusOK, out)
	case http.MethodDelete:
		if err := s.w.ResetOffsets(ctx, name); err != nil {
			q.failed(err, "Connector "+name+" not found")
			return
		}
		q.answer(http.StatusOK, map[string]string{"message": "The offsets for this connector have been reset successfully"})
	default:
		var body offsetsBody
		if !q.body(&body) {
			return
		}
		list, err := originsOf(info.Type, body)
		if err != nil {
			fail(q.w, http.StatusBadRequest, err.Error())
			return
		}
		if err := s.w.AlterOffsets(ctx, name, list); err != nil {
			q.failed(err, "Connector "+name+" not found")
			return
		}
		q.answer(http.StatusOK, map[string]string{"message": "The offsets for this connector have been altered successfully"})
	}
}

type sinkPartition struct {
	Topic     *string `json:"kafka_topic"`
	Partition *int32  `json:"kafka_partition"`
}

// partitionOf shows an origin as Kafka Connect's partition object.
func partitionOf(kind, origin string) json.RawMessage {
	var v any = map[string]string{"server": origin}
	if name, p, err := offsets.ParseLane(origin); kind == "sink" && err == nil {
		v = sinkPartition{&name, &p}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

// originsOf reads a body of PATCH offsets.
func originsOf(kind string, body offsetsBody) ([]offsets.Offset, error) {
	if len(body.Offsets) == 0 {
		return nil, errors.New("Partitions / offsets need to be provided for an alter offsets request")
	}
	var list []offsets.Offset
	for i, o := range body.Offsets {
		origin := ""
		if kind == "sink" {
			var p sinkPartition
			if err := json.Unmarshal(o.Partition, &p); err != nil || p.Topic == nil || p.Partition == nil {
				return nil, fmt.Errorf("offset %d: the partition of a sink is {\"kafka_topic\":..,\"kafka_partition\":..}", i)
			}
			origin = offsets.Lane(*p.Topic, *p.Partition)
		} else {
			var p struct{ Server string }
			if err := json.Unmarshal(o.Partition, &p); err != nil || p.Server == "" {
				return nil, fmt.Errorf("offset %d: the partition of a source is {\"server\":topic.prefix}", i)
			}
			origin = p.Server
		}
		off := offsets.Offset{Origin: origin}
		if t := bytes.TrimSpace(o.Offset); len(t) > 0 && !bytes.Equal(t, []byte("null")) {
			if t[0] != '{' {
				return nil, fmt.Errorf("offset %d is not an object", i)
			}
			off.Position = change.Position(t)
		}
		if kind == "sink" && off.Position != nil {
			if _, err := offsets.ParseLogPosition(off.Position); err != nil {
				return nil, err
			}
		}
		list = append(list, off)
	}
	return list, nil
}
