package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/internal/fault"
)

// published is how a publication sends a table: its columns (nil: all) and its row filter ("": all rows).
type published struct {
	columns []string
	filter  string
	entry   uint32 // oid of what has put the table into the publication: an entry of its own, of its root or of its schema; 0: all tables are in it
	lists   uint32 // a hash of the row filter and the column list as they were written
}

// readPublication returns the tables of a publication and whether it exists.
func readPublication(ctx context.Context, conn *pgx.Conn, name string) (tables map[uint32]published, exists bool, err error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1), current_setting('server_version_num')::int`,
		name).Scan(&exists, &version); err != nil || !exists {
		return nil, false, err
	}
	lists, space := "p.attnames::text[], COALESCE(p.rowfilter, '')", "(SELECT x.oid FROM pg_publication_namespace x WHERE x.pnpubid = b.oid AND x.pnnspid = n.oid)"
	if version < 150000 {
		lists, space = "NULL::text[], ''", "NULL"
	}
	rows, err := conn.Query(ctx, `SELECT c.oid, `+lists+`, COALESCE(e.oid, (SELECT max(x.oid) FROM pg_publication_rel x WHERE x.prpubid = b.oid
			AND x.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid))), `+space+`, 0), COALESCE(to_jsonb(e)->>'prattrs', '')
		FROM pg_publication_tables p
		JOIN pg_publication b ON b.pubname = p.pubname
		JOIN pg_namespace n ON n.nspname = p.schemaname JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
		LEFT JOIN pg_publication_rel e ON e.prpubid = b.oid AND e.prrelid = c.oid
		WHERE p.pubname = $1`, name)
	if err != nil {
		return nil, true, err
	}
	tables = map[uint32]published{}
	var oid uint32
	var columns string
	var p published
	_, err = pgx.ForEachRow(rows, []any{&oid, &p.columns, &p.filter, &p.entry, &columns}, func() error {
		tables[oid] = published{slices.Clone(p.columns), p.filter, p.entry, crc32.ChecksumIEEE([]byte(columns + "\n" + p.filter))}
		return nil
	})
	return tables, true, err
}

const resnapshot = "reset the connector's offsets to take a new snapshot"

// unpublished is a publication that does not exist where the server decodes.
func unpublished(c *settings, what string) error {
	return fault.Permanentf("PUBLICATION_MISSING", dropSlot(c)+resnapshot+": the changes made without the publication are not decodable",
		"publication %s is missing: %s", c.Publication, what)
}

// dropSlot is the remedy for a slot that can't be decoded any more, to which another is joined.
func dropSlot(c *settings) string {
	return "run SELECT pg_drop_replication_slot(" + literal(c.Slot) + ") and "
}

// prepare makes the publication cover the captured tables and returns what it sends of them. It comes before the slot: what is
// decoded under a slot older than its publication fails or is left out. was is what the publication sent at the position where the
// stream is to begin, nil if that is not known or does not matter.
func (s *Source) prepare(ctx context.Context, conn *pgx.Conn, was *membership) (*membership, error) {
	if err := checkServer(ctx, conn, s.settings.SlotFailover); err != nil {
		return nil, err
	}
	for {
		now, err := s.follow(ctx, conn, was)
		if err != nil || now.doubted.IsZero() {
			return now, err
		}
		if s.setup.Now().Sub(now.doubted) > flushed { // the server does not count
			return nil, alteredBack(s.settings)
		}
		was.doubted = now.doubted
		if err := pause(ctx, time.Second/2); err != nil {
			return nil, err
		}
	}
}

// cover adds to the publication, which sends the tables in sent, what it lacks of the chosen tables, and returns those that are
// captured. A table that can't be is told of once and counted. Where the stream goes on from before (onward), that is also one which
// nobody lets us publish: it was never captured, so it must not hold back those that are, and it is tried again with each look.
func (s *Source) cover(ctx context.Context, conn *pgx.Conn, all []candidate, sent map[uint32]published, exists, onward bool) ([]candidate, error) {
	var tables, covered, missing []candidate
	for _, c := range all {
		_, in := sent[c.oid]
		switch {
		case in:
			covered = append(covered, c)
		case c.usable:
			missing = append(missing, c)
		default:
			s.leaveOut(c, c.identityProblem())
			continue
		}
		tables = append(tables, c)
	}
	if len(missing) > 0 {
		err := s.publish(ctx, conn, missing, exists)
		switch {
		case onward && len(covered) > 0 && fault.Code(err) == "PUBLICATION_MISSING":
			for _, c := range missing {
				s.leaveOut(c, "table "+c.String()+" is not captured: "+plain(err))
			}
			tables = covered
		case err != nil:
			return nil, err
		}
	}
	s.leftOut.Store(int64(len(all) - len(tables)))
	if len(tables) == 0 {
		return nil, fault.Permanentf("NO_TABLES", "correct table.include.list, or give the tables a primary key or REPLICA IDENTITY FULL",
			"none of the %d tables that the include and exclude lists choose in database %s can be captured", len(all), s.settings.Database)
	}
	return tables, nil
}

// leaveOut logs why a table is not captured, unless it did so before.
func (s *Source) leaveOut(c candidate, why string) {
	if s.told[c.oid] != why {
		s.told[c.oid] = why
		s.log.Warn(why, "table", c.String())
	}
}

// publish makes the publication with the tables, or adds them to it.
func (s *Source) publish(ctx context.Context, conn *pgx.Conn, tables []candidate, exists bool) error {
	sql := publicationSQL(s.settings, tables, exists)
	if mode := s.settings.AutoCreate; mode == "disabled" || mode == "no_tables" {
		return fault.Permanentf("PUBLICATION_MISSING", "run "+sql, "publication %s does not exist or lacks captured tables, and "+
			"publication.autocreate.mode=%s leaves it to you", s.settings.Publication, mode)
	}
	if _, err := conn.Exec(ctx, sql); err != nil {
		var e *pgconn.PgError
		if errors.As(err, &e) && e.Code == "25006" {
			return fault.Permanentf("PUBLICATION_MISSING", "run on the primary "+sql, "the server is a standby, on which no publication can be made")
		}
		if errors.As(err, &e) && e.Code == "42501" {
			return fault.Permanentf("PUBLICATION_MISSING", "let an owner of the tables run "+sql,
				"role %s may not make the publication: %s", s.settings.User, e.Message)
		}
		return fmt.Errorf("make publication: %w", err)
	}
	s.log.Info("publication now covers the captured tables", "publication", s.settings.Publication, "added", names(tables))
	now, _, err := readPublication(ctx, conn, s.settings.Publication)
	if err != nil {
		return err
	}
	for _, c := range tables {
		if _, in := now[c.oid]; !in {
			return fmt.Errorf("table %s is not in publication %s although it was added", c, s.settings.Publication)
		}
	}
	return nil
}

// publicationSQL makes the command that creates the publication or adds tables to it. ONLY keeps children by inheritance
// out unless they are captured themselves.
func publicationSQL(s *settings, tables []candidate, exists bool) string {
	var list []string
	for _, c := range tables {
		only := "ONLY "
		if c.root {
			only = ""
		}
		list = append(list, only+qualified(c.schema, c.name))
	}
	if exists {
		return "ALTER PUBLICATION " + ident(s.Publication) + " ADD TABLE " + strings.Join(list, ", ")
	}
	sql := "CREATE PUBLICATION " + ident(s.Publication) + " FOR TABLE " + strings.Join(list, ", ")
	if s.PartitionRoot {
		sql += " WITH (publish_via_partition_root = true)"
	}
	return sql
}

func names(tables []candidate) []string {
	var list []string
	for _, c := range tables {
		list = append(list, c.String())
	}
	return list
}
