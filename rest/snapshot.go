package rest

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tailrace/tailrace/snapshot"
)

// SnapshotInfo is the state of a snapshot: rows copied, rows there are in all (-1: unknown).
type SnapshotInfo struct {
	Rows      int64       `json:"rows"`
	Total     int64       `json:"total"`
	Completed bool        `json:"completed"`
	Paused    bool        `json:"paused,omitempty"`
	Rate      float64     `json:"rows_per_second"`        // since this run began or continued the copy, without pauses
	Left      *float64    `json:"seconds_left,omitempty"` // estimated; absent: unknown
	Started   time.Time   `json:"started"`
	Tables    []TableInfo `json:"tables,omitempty"`
}

// TableInfo is the state of one table in a snapshot.
type TableInfo struct {
	Table  string         `json:"table"` // schema.table
	Rows   int64          `json:"rows"`
	Total  int64          `json:"total"` // estimated; -1: unknown
	State  snapshot.State `json:"state"`
	Reason string         `json:"reason,omitempty"` // why it has failed
	Signal string         `json:"signal,omitempty"` // the id of the signal that asked for it
	Chunks int64          `json:"chunks"`           // in this run
}

func snapshotInfo(p *snapshot.Progress, now time.Time) *SnapshotInfo {
	if p == nil {
		return nil
	}
	done, total := p.Rows()
	i := &SnapshotInfo{Rows: done, Total: total, Completed: p.Completed, Paused: p.Paused, Started: p.Started, Rate: p.Rate(now)}
	if left, ok := p.Left(now); ok {
		s := left.Seconds()
		i.Left = &s
	}
	for _, t := range p.Tables {
		i.Tables = append(i.Tables, TableInfo{t.Table.String(), t.Rows, t.Estimated, t.State, t.Reason, t.Signal, t.Chunks})
	}
	return i
}

// snapshot answers GET /connectors/NAME/snapshot: the state of the copy, 404 if the connector has none.
func (s *Server) snapshot(q *request) {
	st, err := s.w.Status(q.name())
	if err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return
	}
	for _, t := range st.Tasks {
		if t.Snapshot != nil {
			q.answer(http.StatusOK, snapshotInfo(t.Snapshot, s.opt.Now()))
			return
		}
	}
	fail(q.w, http.StatusNotFound, "Connector "+q.name()+" copies nothing: it is no source, does not run, or its snapshot.mode copies no rows and no signal asked for it")
}

// signal answers POST /connectors/NAME/signals with a body in Debezium's form, {"id", "type", "data"}: 202 when the signal is
// durable. data is an object, or a string that holds one. A signal without an id gets one.
func (s *Server) signal(q *request) {
	var body struct {
		ID   *string         `json:"id"`
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
		More json.RawMessage `json:"additionalData"` // for Debezium Server's clients; no signal has a use for it
	}
	if !q.body(&body) {
		return
	}
	sig := snapshot.Signal{Type: body.Type, Data: body.Data}
	if body.ID != nil {
		sig.ID = *body.ID
	}
	sig, err := s.w.Signal(q.r.Context(), q.name(), sig)
	if err != nil {
		q.failed(err, "Connector "+q.name()+" not found")
		return
	}
	q.answer(http.StatusAccepted, map[string]string{"id": sig.ID, "type": sig.Type})
}

// snapshot sends the figures of a copy under the names of the JMX exporter's rule for Debezium.
func (m meter) snapshot(labels []string, p *snapshot.Progress, running bool, now time.Time) {
	left, failed := 0, false
	for _, t := range p.Tables {
		if t.State == snapshot.Waiting || t.State == snapshot.Copying {
			left++
		}
		failed = failed || t.State == snapshot.Failed
		table := append(labels[:len(labels):len(labels)], "table", t.Table.String())
		m.gauge("debezium_metrics_RowsScanned", "rows copied", float64(t.Rows), table...)
		m.gauge("debezium_metrics_ChunkId", "chunks copied since the connector was started", float64(t.Chunks), table...)
	}
	took := p.Took.Seconds()
	if !p.Completed && left > 0 {
		took = max(0, now.Sub(p.Started).Seconds())
	}
	m.gauge("debezium_metrics_SnapshotRunning", "1 while rows are copied", truth(left > 0 && running && !p.Paused), labels...)
	m.gauge("debezium_metrics_SnapshotPaused", "1 while the copy is paused by a signal", truth(p.Paused), labels...)
	m.gauge("debezium_metrics_SnapshotCompleted", "1 when everything is copied", truth(p.Completed), labels...)
	m.gauge("debezium_metrics_SnapshotAborted", "1 when the copy of some table has failed", truth(failed), labels...)
	m.gauge("debezium_metrics_SnapshotSkipped", "1 when there was nothing to copy at the start", truth(p.Completed && p.Copied == 0), labels...)
	m.gauge("debezium_metrics_SnapshotDurationInSeconds", "how long the copy takes or took, in this run", took, labels...)
	m.gauge("debezium_metrics_TotalTableCount", "tables to copy", float64(len(p.Tables)), labels...)
	m.gauge("debezium_metrics_RemainingTableCount", "tables not copied yet", float64(left), labels...)
}
