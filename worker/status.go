package worker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
)

// State is the state of a connector or task, under Kafka Connect's names.
type State string

const (
	Running    State = "RUNNING"
	Paused     State = "PAUSED"
	Stopped    State = "STOPPED"
	Failed     State = "FAILED"
	Unassigned State = "UNASSIGNED" // not started yet
	Restarting State = "RESTARTING" // failed in a way that a retry may cure, or being restarted; Trace says why
)

// Status is the state of a connector and its tasks.
type Status struct {
	Name   string
	Type   string // source, sink or unknown
	State  State
	Code   string // reason code of a permanent failure
	Trace  string
	Worker string
	Tasks  []TaskStatus
}

// TaskStatus is the state of one task, with its figures.
type TaskStatus struct {
	ID    int
	State State
	Code  string // reason code if the failure is permanent
	Trace string

	Events   int64     // events appended or written since the daemon started
	Batches  int64     // Appends or Writes
	Bytes    int64     // source: bytes of records appended
	Rejected int64     // rows that the target can never take
	Retries  int64     // failures that were retried
	Last     time.Time // when the task last advanced; zero: not yet
	LagMS    int64     // commit to durable or written, of the last event, in milliseconds; 0 when a source has nothing to do; -1: unknown

	Snapshot *snapshot.Progress // source with a snapshot: its state
	Gauges   map[string]float64 // source: figures of its place in the database
}

// task is the live side of a TaskStatus.
type task struct {
	id       int
	events   atomic.Int64
	batches  atomic.Int64
	bytes    atomic.Int64
	rejected atomic.Int64
	retries  atomic.Int64
	last     atomic.Int64 // Unix nanoseconds
	lag      atomic.Int64

	mu       sync.Mutex
	state    State
	err      error
	progress *snapshot.Progress
	gauges   func() map[string]float64
}

func newTask(id int) *task {
	t := &task{id: id, state: Unassigned}
	t.lag.Store(-1)
	return t
}

func (t *task) set(s State, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.err = s, err
}

// advanced counts n events that reached the end of the loop at now; commit is the last one's commit time in
// microseconds, 0 if unknown.
func (t *task) advanced(n int, commit int64, now time.Time) {
	t.events.Add(int64(n))
	t.batches.Add(1)
	t.last.Store(now.UnixNano())
	if commit > 0 {
		t.lag.Store(max(0, (now.UnixMicro()-commit)/1000))
	}
}

func (t *task) status() TaskStatus {
	t.mu.Lock()
	s := TaskStatus{ID: t.id, State: t.state, Code: fault.Code(t.err), Snapshot: t.progress}
	if t.err != nil {
		s.Trace = t.err.Error()
	}
	gauges := t.gauges
	t.mu.Unlock()
	s.Events, s.Batches, s.Bytes = t.events.Load(), t.batches.Load(), t.bytes.Load()
	s.Rejected, s.Retries, s.LagMS = t.rejected.Load(), t.retries.Load(), t.lag.Load()
	if n := t.last.Load(); n != 0 {
		s.Last = time.Unix(0, n)
	}
	if gauges != nil {
		s.Gauges = gauges()
		if waiting, ok := s.Gauges["unacknowledged_bytes"]; ok && waiting == 0 && s.LagMS > 0 {
			s.LagMS = 0
		}
	}
	return s
}
