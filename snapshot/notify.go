package snapshot

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// A Notification tells what became of a snapshot, under Debezium's names.
type Notification struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`           // STARTED, IN_PROGRESS, TABLE_SCAN_COMPLETED, PAUSED, RESUMED, ABORTED, SKIPPED, COMPLETED
	Aggregate string            `json:"aggregate_type"` // Initial Snapshot or Incremental Snapshot
	Data      map[string]string `json:"additional_data"`
	Time      int64             `json:"timestamp"` // milliseconds since the Unix epoch
}

const (
	initialSnapshot     = "Initial Snapshot"
	incrementalSnapshot = "Incremental Snapshot"
)

// notes are the notifications that are to be sent with the next batch. The zero value has no channel.
type notes struct {
	topic   string // "": not to a topic
	log     bool
	waiting []Notification
	running [2]bool // a snapshot is under way: the initial one, an incremental one
	n       int
}

func newNotes(c *Config) notes {
	n := notes{log: slices.Contains(c.NotifyChannels, "log")}
	if slices.Contains(c.NotifyChannels, "sink") {
		n.topic = c.NotifyTopic
	}
	return n
}

func (n *notes) pending() bool { return len(n.waiting) > 0 }

// say adds a notification.
func (n *notes) say(w *weave, aggregate, kind string, data map[string]string) {
	if n.topic == "" && !n.log {
		return
	}
	n.n++
	id := strconv.Itoa(n.n)
	if w.o.NewID != nil {
		id = w.o.NewID()
	}
	data["connector_name"] = w.o.Connector
	if n.log {
		w.log.Info("snapshot notification", "aggregate", aggregate, "type", kind, "data", data)
	}
	if n.topic != "" {
		n.waiting = append(n.waiting, Notification{id, kind, aggregate, data, w.now().UnixMilli()})
	}
}

// flush adds the notifications that wait to b, as events of their topic.
func (n *notes) flush(b *change.Batch) {
	for i := range n.waiting {
		note := &n.waiting[i]
		key, _ := json.Marshal(map[string]string{"id": note.ID}) // strings always marshal
		value, _ := json.Marshal(note)
		e := b.Add()
		e.Op, e.Topic, e.Raw = change.OpMessage, n.topic, &change.Raw{Key: key, Value: value}
		e.Commit, e.Seen = note.Time*1000, note.Time*1000
	}
	n.waiting = n.waiting[:0]
}

func (t *tableState) aggregate() (string, int) {
	if t.job != nil && t.job.Type == "incremental" {
		return incrementalSnapshot, 1
	}
	return initialSnapshot, 0
}

// collections lists the tables that are copied with t.
func (w *weave) collections(aggregate string) string {
	var names []string
	for _, t := range w.tables {
		if a, _ := t.aggregate(); a == aggregate && !t.over() {
			names = append(names, t.name)
		}
	}
	return strings.Join(names, ",")
}

// begun tells that a table is being copied, and first that a snapshot has begun.
func (n *notes) begun(w *weave, t *tableState) {
	aggregate, i := t.aggregate()
	if !n.running[i] {
		n.running[i] = true
		data := map[string]string{}
		if i == 1 {
			data["data_collections"] = w.collections(aggregate)
		}
		n.say(w, aggregate, "STARTED", data)
	}
	if i == 0 {
		n.say(w, aggregate, "IN_PROGRESS", map[string]string{"data_collections": w.collections(aggregate), "current_collection_in_progress": t.name})
	}
}

// chunk tells that a chunk of an incremental snapshot was sent.
func (n *notes) chunk(w *weave, t *tableState) {
	if aggregate, i := t.aggregate(); i == 1 {
		n.say(w, aggregate, "IN_PROGRESS", map[string]string{"data_collections": w.collections(aggregate),
			"current_collection_in_progress": t.name, "total_rows_scanned": strconv.FormatInt(t.rows, 10)})
	}
}

// scanned tells that the copy of a table has ended, before the table leaves the copy.
func (n *notes) scanned(w *weave, t *tableState, status string) {
	aggregate, i := t.aggregate()
	if status == "SUCCEEDED" && t.rows == 0 && i == 1 {
		status = "EMPTY"
	}
	n.say(w, aggregate, "TABLE_SCAN_COMPLETED", map[string]string{"scanned_collection": t.name,
		"total_rows_scanned": strconv.FormatInt(t.rows, 10), "status": status, "data_collections": w.collections(aggregate)})
}

// ended tells that a snapshot has ended, when no table of it is left.
func (n *notes) ended(w *weave) {
	for i, aggregate := range []string{initialSnapshot, incrementalSnapshot} {
		if !n.running[i] || w.collections(aggregate) != "" {
			continue
		}
		n.running[i] = false
		kind := "COMPLETED"
		for _, t := range w.tables {
			if t.failed != "" && i == 0 {
				kind = "ABORTED"
			}
		}
		n.say(w, aggregate, kind, map[string]string{})
	}
}
