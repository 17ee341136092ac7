package rest

import (
	"net/http"
	"time"

	"github.com/tailrace/tailrace/worker"
)

// TaskInfo is one task of /tailrace/status.
type TaskInfo struct {
	ID       int                `json:"id"`
	State    worker.State       `json:"state"`
	Code     string             `json:"code,omitempty"`
	Trace    string             `json:"trace,omitempty"`
	Events   int64              `json:"events"`
	Batches  int64              `json:"batches"`
	Bytes    int64              `json:"bytes"`
	Rejected int64              `json:"rejected"`
	Retries  int64              `json:"retries"`
	LagMS    int64              `json:"lag_ms"`
	Last     *time.Time         `json:"last,omitempty"`
	Snapshot *SnapshotInfo      `json:"snapshot,omitempty"`
	Gauges   map[string]float64 `json:"gauges,omitempty"`
}

// StatusInfo is one connector of /tailrace/status.
type StatusInfo struct {
	Name  string       `json:"name"`
	Type  string       `json:"type"`
	State worker.State `json:"state"`
	Code  string       `json:"code,omitempty"`
	Trace string       `json:"trace,omitempty"`
	Tasks []TaskInfo   `json:"tasks"`
}

// statuses answers everything there is to say about connectors and tasks.
func (s *Server) statuses(q *request) {
	out := []StatusInfo{}
	for _, name := range s.w.Names() {
		st, err := s.w.Status(name)
		if err != nil { // deleted meanwhile
			continue
		}
		i := StatusInfo{Name: name, Type: st.Type, State: st.State, Code: st.Code, Trace: st.Trace, Tasks: []TaskInfo{}}
		for _, t := range st.Tasks {
			i.Tasks = append(i.Tasks, taskInfo(t, s.opt.Now()))
		}
		out = append(out, i)
	}
	q.answer(http.StatusOK, out)
}

func taskInfo(t worker.TaskStatus, now time.Time) TaskInfo {
	i := TaskInfo{ID: t.ID, State: t.State, Code: t.Code, Trace: t.Trace, Events: t.Events, Batches: t.Batches, Bytes: t.Bytes,
		Rejected: t.Rejected, Retries: t.Retries, LagMS: t.LagMS, Snapshot: snapshotInfo(t.Snapshot, now), Gauges: t.Gauges}
	if !t.Last.IsZero() {
		i.Last = &t.Last
	}
	return i
}
