package rest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/worker"
)

// TopicInfo is one topic of /tailrace/topics.
type TopicInfo struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Records    int64  `json:"records"`
	Bytes      int64  `json:"bytes"`
	Start      int64  `json:"start"` // of partition 0
	End        int64  `json:"end"`
}

// LagInfo is one sink in one partition of /tailrace/lag.
type LagInfo struct {
	Connector string `json:"connector"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
}

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

// SnapshotInfo is the state of a snapshot: rows copied, rows there are in all (-1: unknown).
type SnapshotInfo struct {
	Rows      int64 `json:"rows"`
	Total     int64 `json:"total"`
	Completed bool  `json:"completed"`
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

func snapshotInfo(p *snapshot.Progress) *SnapshotInfo {
	if p == nil {
		return nil
	}
	done, total := p.Rows()
	return &SnapshotInfo{done, total, p.Completed}
}

// own answers everything below /tailrace.
func (s *Server) own(q *request) {
	if len(q.path) != 2 {
		q.notFound()
		return
	}
	if !q.allow(http.MethodGet) {
		return
	}
	ctx := q.r.Context()
	switch q.path[1] {
	case "status":
		q.answer(http.StatusOK, s.statuses())
	case "topics":
		list, err := s.w.TopicList(ctx)
		if err != nil {
			q.failed(err, "")
			return
		}
		out := []TopicInfo{}
		for _, t := range list {
			i := TopicInfo{Topic: t.Name, Partitions: len(t.Partitions), Start: t.Partitions[0].Start, End: t.Partitions[0].End}
			for _, p := range t.Partitions {
				i.Records += p.Records
				i.Bytes += p.Bytes
			}
			out = append(out, i)
		}
		q.answer(http.StatusOK, out)
	case "lag":
		list, err := s.w.Lag(ctx)
		if err != nil {
			q.failed(err, "")
			return
		}
		out := []LagInfo{}
		for _, l := range list {
			out = append(out, LagInfo(l))
		}
		q.answer(http.StatusOK, out)
	case "records":
		s.records(q)
	default:
		q.notFound()
	}
}

func (s *Server) statuses() []StatusInfo {
	out := []StatusInfo{}
	for _, name := range s.w.Names() {
		st, err := s.w.Status(name)
		if err != nil { // deleted meanwhile
			continue
		}
		i := StatusInfo{Name: name, Type: st.Type, State: st.State, Code: st.Code, Trace: st.Trace, Tasks: []TaskInfo{}}
		for _, t := range st.Tasks {
			ti := TaskInfo{t.ID, t.State, t.Code, t.Trace, t.Events, t.Batches, t.Bytes, t.Rejected, t.Retries, t.LagMS, nil, snapshotInfo(t.Snapshot), t.Gauges}
			if !t.Last.IsZero() {
				ti.Last = &t.Last
			}
			i.Tasks = append(i.Tasks, ti)
		}
		out = append(out, i)
	}
	return out
}

// flushEvery is how long records may wait in the buffer of a client that follows.
const flushEvery = 50 * time.Millisecond

// records streams records as JSON lines until the present end, or until the client goes.
func (s *Server) records(q *request) {
	v := q.r.URL.Query()
	req := worker.TailRequest{Topics: v["topic"], From: v.Get("from"), Until: v.Get("until")}
	if len(req.Topics) == 0 {
		fail(q.w, http.StatusBadRequest, "topic is required")
		return
	}
	rc := http.NewResponseController(q.w)
	_ = rc.SetWriteDeadline(time.Time{}) // a stream has no end; not every writer has deadlines
	var buf []byte
	started, last := false, time.Time{}
	err := s.w.Tail(q.r.Context(), req, func(r *worker.TailRecord) error {
		if !started {
			started = true
			q.w.Header().Set("Content-Type", "application/x-ndjson")
			q.w.WriteHeader(http.StatusOK)
		}
		buf = appendRecord(buf[:0], r)
		if _, err := q.w.Write(buf); err != nil {
			return err
		}
		if now := s.opt.Now(); req.Until == "" && now.Sub(last) > flushEvery {
			last = now
			return rc.Flush()
		}
		return nil
	})
	switch {
	case err != nil && !started && q.r.Context().Err() == nil:
		q.failed(err, err.Error())
	case err != nil && q.r.Context().Err() == nil:
		s.opt.Logger.Warn("records were cut short", "error", err)
		panic(http.ErrAbortHandler) // the client must not take it for the end
	case !started:
		q.w.Header().Set("Content-Type", "application/x-ndjson")
		q.w.WriteHeader(http.StatusOK)
	}
}

// appendRecord appends a record as one line of JSON. Key and value are put in as they are: they are JSON.
func appendRecord(dst []byte, r *worker.TailRecord) []byte {
	dst = jsontext.AppendString(append(dst, `{"topic":`...), []byte(r.Topic))
	dst = strconv.AppendInt(append(dst, `,"partition":`...), int64(r.Partition), 10)
	dst = strconv.AppendInt(append(dst, `,"offset":`...), r.Offset, 10)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), r.Timestamp, 10)
	dst = appendJSON(append(dst, `,"key":`...), r.Key)
	dst = appendJSON(append(dst, `,"value":`...), r.Value)
	dst = append(dst, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsontext.AppendString(append(dst, `{"key":`...), []byte(h.Key))
		dst = appendJSON(append(dst, `,"value":`...), h.Value)
		dst = append(dst, '}')
	}
	return append(dst, "]}\n"...)
}

// appendJSON appends p as it is if it is JSON, otherwise as a string.
func appendJSON(dst, p []byte) []byte {
	switch {
	case p == nil:
		return append(dst, "null"...)
	case json.Valid(p):
		return append(dst, p...)
	}
	return jsontext.AppendString(dst, p)
}
