package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/source"
)

// heartbeat makes an event every interval. It belongs to the goroutine that reads the stream.
type heartbeat struct {
	interval time.Duration // 0: there are none
	next     time.Time
	topic    string
	key      []byte
}

func newHeartbeat(s *settings) heartbeat {
	return heartbeat{interval: s.Heartbeat, next: time.Now().Add(s.Heartbeat), topic: source.TopicName(s.HeartbeatTopic + "." + s.Prefix),
		key: append(jsontext.AppendString([]byte(`{"serverName":`), []byte(s.Prefix)), '}')}
}

// wait returns how long it is until the next one, at most d.
func (h *heartbeat) wait(d time.Duration) time.Duration {
	if h.interval == 0 {
		return d
	}
	return max(0, min(d, time.Until(h.next)))
}

func (h *heartbeat) due() bool { return h.interval > 0 && !time.Now().Before(h.next) }

// append adds the event if it is due.
func (h *heartbeat) append(b *change.Batch, now time.Time, at position) {
	if !h.due() {
		return
	}
	h.next = time.Now().Add(h.interval)
	e := b.Add()
	e.Op, e.Topic, e.LSN, e.PrevLSN = change.OpCreate, h.topic, at.LSN, at.LSNCommit
	e.Commit = now.UnixMicro()
	e.Seen = e.Commit
	e.Raw = &change.Raw{Key: h.key, Value: fmt.Appendf(nil, `{"ts_ms":%d}`, now.UnixMilli()), Form: change.FormHeartbeat}
}

// act runs heartbeat.action.query every interval while a stream is open, until ctx is done. A failure is told of when it
// begins and when it ends.
func (s *Source) act(ctx context.Context) {
	tick := time.NewTicker(s.settings.Heartbeat)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if st := s.stream.Load(); st == nil || st.isClosed() {
			continue
		}
		err := s.action.do(ctx, func(conn *pgx.Conn) error {
			_, err := conn.PgConn().Exec(ctx, s.settings.HeartbeatQuery).ReadAll()
			return err
		})
		switch {
		case err != nil && !failed && ctx.Err() == nil:
			s.log.Warn("heartbeat.action.query fails", "error", err.Error())
		case err == nil && failed:
			s.log.Info("heartbeat.action.query works again")
		}
		failed = err != nil
	}
}
