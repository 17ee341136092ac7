package source

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/tailrace/tailrace/change"
)

// A Heartbeat makes an event every interval, as Debezium's heartbeat.interval.ms does. It belongs to the goroutine that reads the
// stream.
type Heartbeat struct {
	interval time.Duration // 0: there are none
	next     time.Time
	topic    string
	key      []byte
	now      func() time.Time
}

// NewHeartbeat returns one whose events go to a topic; name is topic.prefix. An interval of 0 makes none.
func NewHeartbeat(interval time.Duration, topic, name string, now func() time.Time) Heartbeat {
	return Heartbeat{interval: interval, next: now().Add(interval), topic: topic, now: now,
		key: fmt.Appendf(nil, `{"serverName":%s}`, quote(name))}
}

// quote returns text as JSON.
func quote(text string) []byte {
	b, _ := json.Marshal(text) // a string always marshals
	return b
}

// Wait returns how long it is until the next event, at most d.
func (h *Heartbeat) Wait(d time.Duration) time.Duration {
	if h.interval == 0 {
		return d
	}
	return max(0, min(d, h.next.Sub(h.now())))
}

// Due reports whether it is time for an event.
func (h *Heartbeat) Due() bool { return h.interval > 0 && !h.now().Before(h.next) }

// Append adds the event to b if it is due, and returns it for the caller to say where in the database's log it is; else nil.
func (h *Heartbeat) Append(b *change.Batch) *change.Event {
	if !h.Due() {
		return nil
	}
	now := h.now()
	h.next = now.Add(h.interval)
	e := b.Add()
	e.Op, e.Topic, e.Commit, e.Seen = change.OpCreate, h.topic, now.UnixMicro(), now.UnixMicro()
	e.Raw = &change.Raw{Key: h.key, Value: fmt.Appendf(nil, `{"ts_ms":%d}`, now.UnixMilli()), Form: change.FormHeartbeat}
	return e
}

// Act runs heartbeat.action.query every interval until ctx is done, while streams says that a stream is open. A failure is told
// of when it begins and when it ends.
func Act(ctx context.Context, interval time.Duration, log *slog.Logger, streams func() bool, query func() error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !streams() {
			continue
		}
		err := query()
		switch {
		case err != nil && !failed && ctx.Err() == nil:
			log.Warn("heartbeat.action.query fails", "error", err.Error())
		case err == nil && failed:
			log.Info("heartbeat.action.query works again")
		}
		failed = err != nil
	}
}
