package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
)

// preflight connects and reports what on the server would keep the connector from working. It only reads: catalogs over an
// ordinary connection, and IDENTIFY_SYSTEM over a replication connection.
func preflight(ctx context.Context, setup source.Setup) []config.Problem {
	s, problems := parse(setup.Props)
	if len(problems) > 0 {
		return problems
	}
	c := &checkup{settings: s, connector: setup.Connector}
	control := &session{settings: s, connector: setup.Connector}
	err := control.do(ctx, func(conn *pgx.Conn) error { return c.run(ctx, conn) })
	if err = errors.Join(err, control.close(context.WithoutCancel(ctx))); err != nil {
		c.fail(err)
		return c.problems
	}
	if !c.noReplication {
		c.replication(ctx)
	}
	return c.problems
}

// checkup collects what a preflight finds.
type checkup struct {
	settings      *settings
	connector     string
	problems      []config.Problem
	by            service // who runs the server
	noReplication bool    // known already: the role can't replicate
}

func (c *checkup) report(key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

func (c *checkup) note(key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...), Note: true})
}

// fail reports an error under the property that it is about.
func (c *checkup) fail(err error) {
	key := map[string]string{"AUTH_FAILED": "database.password", "DATABASE_MISSING": "database.dbname", "ENCODING": "database.dbname", "NO_REPLICATION": "database.user",
		"PERMISSION_DENIED": "database.user"}[fault.Code(err)]
	if key == "" {
		key = "database.hostname"
	}
	var f *fault.Error
	if errors.As(err, &f) {
		c.report(key, "%v; %s", f.Err, f.Remedy)
		return
	}
	c.report(key, "%v", err)
}

// run makes all checks that need only queries. A check that can't be made because of an earlier problem is left out.
func (c *checkup) run(ctx context.Context, conn *pgx.Conn) error {
	for _, check := range []func(context.Context, *pgx.Conn) error{c.server, c.role, c.slot, c.tables} {
		if err := check(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkup) server(ctx context.Context, conn *pgx.Conn) error {
	err := checkServer(ctx, conn, c.settings.SlotFailover)
	if fault.IsPermanent(err) {
		c.fail(err)
		return nil
	}
	return err
}

func (c *checkup) role(ctx context.Context, conn *pgx.Conn) error {
	var err error
	if c.by, err = serviceOf(ctx, conn); err != nil {
		return err
	}
	may, err := c.by.replicates(ctx, conn)
	if err == nil && !may {
		c.noReplication = true
		c.report("database.user", "role %s may not replicate; %s", c.settings.User, c.by.letReplicate(c.settings.User))
	}
	return err
}

func (c *checkup) slot(ctx context.Context, conn *pgx.Conn) error {
	state, err := readSlot(ctx, conn, c.settings.Slot)
	if err != nil {
		return err
	}
	if err := state.check(c.settings, position{}); err != nil {
		c.report("slot.name", "%s", plain(err))
	} else if err := c.use(ctx, conn, state); err != nil {
		return err
	}
	var slots, maxSlots, senders, maxSenders int
	if err := conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int,
		(SELECT count(*) FROM pg_stat_get_wal_senders()), current_setting('max_wal_senders')::int`).
		Scan(&slots, &maxSlots, &senders, &maxSenders); err != nil {
		return err
	}
	if !state.exists && slots >= maxSlots {
		c.report("slot.name", "all %d replication slots of the server are taken; "+dropUnused+", or %s", maxSlots, c.by.raise("max_replication_slots", maxSlots+10))
	}
	if senders >= maxSenders {
		c.report("database.hostname", "all %d walsenders of the server are taken; %s", maxSenders, c.by.raise("max_wal_senders", maxSenders+10))
	}
	return c.idle(ctx, conn)
}

// use reports a slot that another client has, and one of ours whose WAL is in danger.
func (c *checkup) use(ctx context.Context, conn *pgx.Conn, state slotState) error {
	if state.walStatus == "unreserved" {
		c.note("slot.name", "slot %s is about to lose WAL that it needs (wal_status is unreserved); start the connector, or run ALTER SYSTEM SET "+
			"max_slot_wal_keep_size = -1; SELECT pg_reload_conf()", c.settings.Slot)
	}
	if state.holder == 0 {
		return nil
	}
	var name, role string
	if err := conn.QueryRow(ctx, `SELECT COALESCE(max(application_name), 'unknown'), COALESCE(max(usename::text), 'unknown')
		FROM pg_stat_replication WHERE pid = $1`, state.holder).Scan(&name, &role); err != nil {
		return err
	}
	if c.connector != "" && name == appName(c.connector) {
		c.note("slot.name", "slot %s is in use by this connector, which runs", c.settings.Slot)
		return nil
	}
	c.report("slot.name", "slot %s is in use by process %d (%s of role %s); stop that client, choose another slot.name, or run SELECT pg_terminate_backend(%d)",
		c.settings.Slot, state.holder, name, role, state.holder)
	return nil
}

// idle notes the slots, also those of others, that nobody reads and that keep WAL.
func (c *checkup) idle(ctx context.Context, conn *pgx.Conn) error {
	if c.settings.RetainedAlarm == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT slot_name::text, pg_wal_lsn_diff(`+walEnd+`, restart_lsn)::bigint FROM pg_replication_slots
		WHERE NOT active AND pg_wal_lsn_diff(`+walEnd+`, restart_lsn) > $1 ORDER BY slot_name`, c.settings.RetainedAlarm)
	if err != nil {
		return err
	}
	var name string
	var bytes int64
	_, err = pgx.ForEachRow(rows, []any{&name, &bytes}, func() error {
		what := "start its client"
		if name == c.settings.Slot {
			what = "start the connector"
		}
		c.note("slot.name", "slot %s is idle and keeps %d MiB of WAL from being removed; %s, or run SELECT pg_drop_replication_slot(%s)", name, bytes>>20, what, literal(name))
		return nil
	})
	return err
}

// plain writes a permanent fault without its code, which means nothing before there is a connector.
func plain(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Err.Error() + "; " + f.Remedy
	}
	return err.Error()
}

func (c *checkup) tables(ctx context.Context, conn *pgx.Conn) error {
	found, err := discover(ctx, conn, c.settings)
	if err != nil {
		return err
	}
	sent, exists, err := readPublication(ctx, conn, c.settings.Publication)
	if err != nil {
		return err
	}
	if err := c.named(ctx, conn, found); err != nil {
		return err
	}
	if len(found) == 0 && c.settings.TableInclude.Empty() {
		c.report("table.include.list", "database %s has no table to capture; create one or correct the include and exclude lists", c.settings.Database)
	}
	var missing, foreign, unread, left []candidate
	for _, t := range found {
		_, in := sent[t.oid]
		if !t.usable && !in {
			left = append(left, t)
			continue
		}
		if !t.readable {
			unread = append(unread, t)
		}
		if !in {
			missing = append(missing, t)
			if !t.owned {
				foreign = append(foreign, t)
			}
		}
	}
	for _, t := range left {
		report := c.note // the others are captured
		if len(left) == len(found) || slices.ContainsFunc(c.settings.TableInclude.Entries(), func(e string) bool { return plainName(e) == t.String() }) {
			report = c.report
		}
		report("table.include.list", "%s", t.identityProblem())
	}
	for _, t := range unread {
		c.report("database.user", "role %s may not read table %s; run GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON TABLE %s TO %s",
			c.settings.User, t, ident(t.schema), ident(c.settings.User), qualified(t.schema, t.name), ident(c.settings.User))
	}
	return c.publication(ctx, conn, exists, missing, foreign)
}

// named reports the plain names of the include list that name no table, or something that can't be captured.
func (c *checkup) named(ctx context.Context, conn *pgx.Conn, found []candidate) error {
	for _, entry := range c.settings.TableInclude.Entries() {
		p, err := config.ParsePatterns(entry)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(found, func(t candidate) bool { return p.Match(t.String()) || p.Match(t.parent) }) {
			continue
		}
		var what string
		err = conn.QueryRow(ctx, `SELECT CASE WHEN c.relpersistence = 'u' THEN 'an unlogged table' WHEN c.relkind = 'v' THEN 'a view'
			WHEN c.relkind = 'm' THEN 'a materialized view' WHEN c.relkind = 'f' THEN 'a foreign table' WHEN c.relkind = 'p' THEN 'a partitioned table without partitions'
			ELSE 'excluded or a partition' END
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname || '.' || c.relname = $1 AND c.relkind IN ('r', 'v', 'm', 'f', 'p')`, plainName(entry)).Scan(&what)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			c.report("table.include.list", "%q matches no table of database %s; create the table or correct the name (schema.table)", entry, c.settings.Database)
		case err != nil:
			return err
		default:
			c.report("table.include.list", "%q is %s, which can't be captured; remove it from the list", entry, what)
		}
	}
	return nil
}

// plainName is the table that an entry of an include list names, if it is no pattern.
func plainName(entry string) string { return strings.ReplaceAll(entry, `\`, "") }

func (c *checkup) publication(ctx context.Context, conn *pgx.Conn, exists bool, missing, foreign []candidate) error {
	if len(missing) == 0 {
		return nil
	}
	s := c.settings
	sql := publicationSQL(s, missing, exists)
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return err
	}
	if standby {
		c.report("publication.name", "the server is a standby, on which no publication can be made; run on the primary %s", sql)
		return nil
	}
	if s.AutoCreate == "disabled" || s.AutoCreate == "no_tables" {
		c.report("publication.name", "publication %s does not exist or lacks captured tables; run %s, or set publication.autocreate.mode=filtered", s.Publication, sql)
		return nil
	}
	var create, owner bool
	if err := conn.QueryRow(ctx, `SELECT has_database_privilege(current_database(), 'CREATE'),
		COALESCE((SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = $1), true)`, s.Publication).Scan(&create, &owner); err != nil {
		return err
	}
	switch {
	case !owner || len(foreign) > 0:
		c.report("publication.name", "role %s does not own all that publication %s needs; as a superuser or the owner run %s", s.User, s.Publication, sql)
	case !exists && !create:
		c.report("publication.name", "role %s may not create publication %s; run GRANT CREATE ON DATABASE %s TO %s, or, as a superuser, %s",
			s.User, s.Publication, ident(s.Database), ident(s.User), sql)
	}
	return nil
}

// replication opens a replication connection, which pg_hba.conf may refuse where it lets ordinary ones in.
func (c *checkup) replication(ctx context.Context) {
	conn, err := dialReplication(ctx, c.settings, c.connector)
	if err != nil {
		var e *pgconn.PgError
		if errors.As(err, &e) && e.Code == "53300" {
			return // the walsenders are taken: reported
		}
		c.fail(err)
		return
	}
	if _, err := pglogrepl.IdentifySystem(ctx, conn); err != nil {
		c.fail(explain(c.settings, err))
	}
	if err := conn.Close(ctx); err != nil {
		c.fail(err)
	}
}
