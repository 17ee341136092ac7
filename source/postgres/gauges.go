package postgres

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/fault"
)

// gauges are the figures about the slot that the control connection reads now and then.
type gauges struct {
	mu     sync.Mutex
	values map[string]float64
}

// Gauges implements source.Gauger. Those whose name ends so are bytes:
//
//	lag_bytes            from the last position that was read to the end of what the server has sent
//	unacknowledged_bytes from the flush LSN to the same end
//	retained_wal_bytes   WAL that the server keeps for the slot
//	retained_wal_alarm   1 while that is more than slot.retained.wal.alarm.bytes
//	server_lag_bytes     from the slot's confirmed LSN to the end of the server's WAL
//	queue_bytes          messages received and not read yet
//	spool_bytes          changes of transactions in progress, in memory and on disk
//	slot_active          1 while the slot is streamed from
//	tables_left_out      tables that the include and exclude lists choose and that can't be captured; the log says why
func (s *Source) Gauges() map[string]float64 {
	g := map[string]float64{"tables_left_out": float64(s.leftOut.Load())}
	s.gauges.mu.Lock()
	maps.Copy(g, s.gauges.values)
	s.gauges.mu.Unlock()
	st := s.stream.Load()
	if st == nil {
		return g
	}
	end := st.pump.received.Load()
	g["lag_bytes"] = distance(st.delivered.Load(), end)
	g["unacknowledged_bytes"] = distance(st.pump.acked.Load(), end)
	g["queue_bytes"] = float64(st.queue.Size())
	g["spool_bytes"] = float64(st.spool.kept.Load())
	return g
}

func distance(from, to uint64) float64 {
	if from >= to {
		return 0
	}
	return float64(to - from)
}

// watch looks after slot and publication until ctx is done.
func (s *Source) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look refreshes the slot's figures, which an unreachable server leaves as they were, and ends the stream if the publication does not
// send any more what it did.
func (s *Source) look(ctx context.Context) {
	if values, err := s.readGauges(ctx); err == nil {
		s.gauges.mu.Lock()
		before := s.gauges.values["retained_wal_alarm"]
		s.gauges.values = values
		s.gauges.mu.Unlock()
		if values["retained_wal_alarm"] > before {
			s.log.Warn("the slot retains much WAL: the server's disk may fill", "slot", s.settings.Slot, "bytes", int64(values["retained_wal_bytes"]))
		}
	}
	st := s.stream.Load()
	if st == nil || st.isClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	switch err := s.guard(ctx, st); {
	case fault.IsPermanent(err):
		st.queue.Fail(err)
	case err != nil && ctx.Err() == nil:
		s.log.Warn("cannot look at the publication", "error", err.Error())
	case s.grown.any():
		st.Prompt()
	}
}

func (s *Source) readGauges(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	var retained, lag, active float64
	err := s.control.do(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT COALESCE(max(pg_wal_lsn_diff(e, restart_lsn)), 0)::float8,
			COALESCE(max(pg_wal_lsn_diff(e, confirmed_flush_lsn)), 0)::float8, COALESCE(max(active::int), 0)::float8
			FROM pg_replication_slots, (SELECT `+walEnd+` AS e) w WHERE slot_name = $1`, s.settings.Slot).
			Scan(&retained, &lag, &active)
	})
	alarm := 0.0
	if limit := s.settings.RetainedAlarm; limit > 0 && retained > float64(limit) {
		alarm = 1
	}
	return map[string]float64{"retained_wal_bytes": max(0, retained), "retained_wal_alarm": alarm, "server_lag_bytes": max(0, lag), "slot_active": active}, err
}
