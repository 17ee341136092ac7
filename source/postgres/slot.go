package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/fault"
)

// busyWait is how long a start waits for a slot that another process holds: the walsender of a predecessor that was
// killed needs a moment to notice.
const busyWait = 5 * time.Second

// diagnoseTimeout bounds the question why a stream ended.
const diagnoseTimeout = 5 * time.Second

// slotState is a row of pg_replication_slots.
type slotState struct {
	exists    bool
	kind      string // logical or physical
	plugin    string
	database  string
	holder    int32 // process that has it, 0: none
	confirmed uint64
	walStatus string
	reason    string // why it was invalidated, where the server tells (17 and later)
	failover  bool
	retained  int64 // bytes of WAL that are kept for it
}

// walEnd is where the server's WAL ends: on a standby, what it has replayed.
const walEnd = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"

// insertEnd is where the next record of the server's WAL begins, also where the last ones are not written to its file yet: with
// asynchronous commits a snapshot sees transactions that are not. On a standby, it is what was replayed.
const insertEnd = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"

// readSlot reads the slot's state. A slot that doesn't exist is no error.
func readSlot(ctx context.Context, conn *pgx.Conn, name string) (slotState, error) {
	s := slotState{exists: true}
	var confirmed string
	err := conn.QueryRow(ctx, `SELECT slot_type, COALESCE(plugin::text, ''), COALESCE(database::text, ''), COALESCE(active_pid, 0),
		COALESCE(confirmed_flush_lsn, '0/0')::text, COALESCE(wal_status, ''), COALESCE(to_jsonb(s)->>'invalidation_reason', ''),
		COALESCE(to_jsonb(s)->>'failover', '') = 'true', COALESCE(pg_wal_lsn_diff(`+walEnd+`, restart_lsn), 0)::bigint
		FROM pg_replication_slots s WHERE slot_name = $1`, name).
		Scan(&s.kind, &s.plugin, &s.database, &s.holder, &confirmed, &s.walStatus, &s.reason, &s.failover, &s.retained)
	if errors.Is(err, pgx.ErrNoRows) {
		return slotState{}, nil
	}
	if err != nil {
		return s, err
	}
	lsn, err := pglogrepl.ParseLSN(confirmed)
	s.confirmed = uint64(lsn)
	return s, err
}

// check tells what makes the slot unusable for a stream from the given position (zero: from the slot's own), nil if
// nothing does. (Invariant 7)
func (s slotState) check(c *settings, from position) error {
	switch {
	case !s.exists && from.LSN != 0:
		return fault.Permanentf("SLOT_MISSING", resnapshot, "replication slot %s does not exist, so the changes since %s can't be had",
			c.Slot, pglogrepl.LSN(from.LSN))
	case !s.exists:
		return nil
	case s.kind != "logical" || s.plugin != "pgoutput" || s.database != c.Database:
		return fault.Permanentf("SLOT_FOREIGN", "choose another slot.name, or run SELECT pg_drop_replication_slot("+literal(c.Slot)+") if nobody needs it",
			"slot %s is %s, not a pgoutput slot of database %s", c.Slot, s.describe(), c.Database)
	case s.walStatus == "lost" || s.reason != "":
		return s.lost(c)
	case from.LSN != 0 && s.confirmed > from.LSN && c.Mismatch != "trust_slot" && c.Mismatch != "trust_greater_lsn":
		return fault.Permanentf("POSITION_GAP", resnapshot+", and let nobody else use, drop or advance the slot",
			"slot %s begins at %s, after the stored position %s: the changes between them are gone", c.Slot,
			pglogrepl.LSN(s.confirmed), pglogrepl.LSN(from.LSN))
	}
	return nil
}

// describe says what kind of slot it is.
func (s slotState) describe() string {
	if s.kind != "logical" {
		return "a " + s.kind + " slot"
	}
	return fmt.Sprintf("a slot of plugin %s in database %s", s.plugin, s.database)
}

// lost explains a slot that the server has invalidated.
func (s slotState) lost(c *settings) error {
	again := dropSlot(c) + resnapshot
	switch s.reason {
	case "rows_removed":
		return fault.Permanentf("SLOT_LOST", "run on the standby ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); "+again, "slot %s of the standby was invalidated, since the primary removed "+
			"catalog rows that it needs", c.Slot)
	case "wal_level_insufficient":
		return fault.Permanentf("SLOT_LOST", walLevelRemedy+"; then "+again, "slot %s was invalidated, since wal_level was lowered", c.Slot)
	case "idle_timeout":
		return fault.Permanentf("SLOT_LOST", "run ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(); "+again, "slot %s was invalidated, since it was idle for longer than "+
			"idle_replication_slot_timeout", c.Slot)
	}
	return fault.Permanentf("SLOT_LOST", "run ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf(), or set a larger size than now; "+again, "slot %s has lost WAL that it needs, since it was further behind than "+
		"max_slot_wal_keep_size, or by a conflict with recovery", c.Slot)
}

// checkServer tells what makes the server unusable for logical decoding.
func checkServer(ctx context.Context, conn *pgx.Conn, failover bool) error {
	var version int
	var level, encoding string
	var standby bool
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(),
		current_setting('server_encoding')`).Scan(&version, &level, &standby, &encoding)
	switch {
	case err != nil:
		return err
	case encoding == "SQL_ASCII":
		return fault.Permanentf("ENCODING", "move the data to a database with an encoding, such as UTF8", "the database has the encoding SQL_ASCII, "+
			"in which text is bytes of no known encoding")
	case version < 140000:
		return fault.Permanentf("SERVER_TOO_OLD", "upgrade the server to PostgreSQL 14 or later", "server version %d is too old", version/10000)
	case standby && version < 160000:
		return fault.Permanentf("STANDBY", "set database.hostname to the primary, or upgrade to PostgreSQL 16", "the server is a standby, "+
			"which can't decode its WAL in version %d", version/10000)
	case failover && version < 170000:
		return fault.Permanentf("SLOT_FAILOVER", "set slot.failover to false, or upgrade to PostgreSQL 17", "slot.failover needs PostgreSQL 17, "+
			"and the server is version %d", version/10000)
	case failover && standby:
		return fault.Permanentf("SLOT_FAILOVER", "set slot.failover to false, or database.hostname to the primary",
			"the server is a standby, whose slots can't fail over")
	case level != "logical":
		by, err := serviceOf(ctx, conn)
		if err != nil {
			return err
		}
		return fault.Permanentf("WAL_LEVEL", by.letDecode(), "wal_level is %s, and logical decoding needs logical", level)
	}
	return nil
}

// claimSlot waits until the slot is free, makes it if there is none and the position is the beginning, and returns where
// the stream is to start.
func (s *Source) claimSlot(ctx context.Context, conn *pgconn.PgConn, from position) (uint64, error) {
	deadline := time.Now().Add(s.busy)
	for {
		var state slotState
		if err := s.control.do(ctx, func(c *pgx.Conn) (err error) {
			state, err = readSlot(ctx, c, s.settings.Slot)
			return err
		}); err != nil {
			return 0, err
		}
		if err := state.check(s.settings, from); err != nil {
			return 0, err
		}
		switch {
		case !state.exists:
			return s.createSlot(ctx, conn)
		case state.holder == 0:
			if state.walStatus == "unreserved" {
				s.log.Warn("replication slot is about to lose WAL that it needs", "slot", s.settings.Slot)
			}
			if from.LSN != 0 && state.confirmed > from.LSN {
				s.log.Warn("changes are lost, as offset.mismatch.strategy allows", "slot", s.settings.Slot,
					"offset", pglogrepl.LSN(from.LSN).String(), "begin", pglogrepl.LSN(state.confirmed).String())
			}
			if s.settings.SlotFailover && !state.failover {
				if err := replicationCommand(ctx, conn, "ALTER_REPLICATION_SLOT "+ident(s.settings.Slot)+" (FAILOVER true)"); err != nil {
					return 0, explain(s.settings, fmt.Errorf("let replication slot %s fail over: %w", s.settings.Slot, err))
				}
			}
			return max(from.LSN, state.confirmed), nil
		case time.Now().After(deadline):
			return 0, fmt.Errorf("replication slot %s is in use by process %d of the server; stop the other connector, choose another slot.name, "+
				"or run SELECT pg_terminate_backend(%d)", s.settings.Slot, state.holder, state.holder)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// createSlot makes the slot and returns where it begins.
func (s *Source) createSlot(ctx context.Context, conn *pgconn.PgConn) (uint64, error) {
	sql := "CREATE_REPLICATION_SLOT " + ident(s.settings.Slot) + " LOGICAL pgoutput NOEXPORT_SNAPSHOT"
	if s.settings.SlotFailover {
		sql = "CREATE_REPLICATION_SLOT " + ident(s.settings.Slot) + " LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER true)"
	}
	made, err := pglogrepl.ParseCreateReplicationSlot(conn.Exec(ctx, sql))
	if err != nil {
		return 0, explain(s.settings, fmt.Errorf("create replication slot %s: %w", s.settings.Slot, err))
	}
	lsn, err := pglogrepl.ParseLSN(made.ConsistentPoint)
	s.log.Info("replication slot created", "slot", s.settings.Slot, "lsn", lsn.String())
	return uint64(lsn), err
}

func replicationCommand(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	_, err := conn.Exec(ctx, sql).ReadAll()
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// dropSlot drops the slot if there is one, waiting a moment for its walsender to end.
func (s *Source) dropSlot(ctx context.Context) error {
	deadline := time.Now().Add(s.busy)
	for {
		err := s.control.do(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1`, s.settings.Slot)
			return err
		})
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != "55006" || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// diagnose finds out why a stream ended, when the slot or the publication is the reason.
func (s *Source) diagnose(ctx context.Context, err error, at position) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == "42704" && strings.Contains(e.Message, "publication") || errors.As(err, &e) && e.Code == skippedPublication {
		return unpublished(s.settings, e.Message)
	}
	if err = explain(s.settings, err); fault.IsPermanent(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	var reason error
	asked := s.control.do(ctx, func(c *pgx.Conn) error {
		state, err := readSlot(ctx, c, s.settings.Slot)
		if err == nil {
			reason = state.check(s.settings, at)
		}
		return err
	})
	if asked == nil && reason != nil {
		return reason
	}
	return err // the server is away, or the slot is fine: the next try will tell
}
