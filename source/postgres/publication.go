package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
)

// published is how a publication sends a table: its columns (nil: all) and its row filter ("": all rows).
type published struct {
	columns []string
	filter  string
	entry   uint32 // oid of the table's own entry in the publication, 0 if it is in it by its schema, its root or with all tables
}

// readPublication returns the tables of a publication and whether it exists.
func readPublication(ctx context.Context, conn *pgx.Conn, name string) (tables map[uint32]published, exists bool, err error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1), current_setting('server_version_num')::int`,
		name).Scan(&exists, &version); err != nil || !exists {
		return nil, false, err
	}
	lists := "p.attnames::text[], COALESCE(p.rowfilter, '')"
	if version < 150000 {
		lists = "NULL::text[], ''"
	}
	rows, err := conn.Query(ctx, `SELECT c.oid, `+lists+`, COALESCE(e.oid, 0) FROM pg_publication_tables p
		JOIN pg_publication b ON b.pubname = p.pubname
		JOIN pg_namespace n ON n.nspname = p.schemaname JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
		LEFT JOIN pg_publication_rel e ON e.prpubid = b.oid AND e.prrelid = c.oid
		WHERE p.pubname = $1`, name)
	if err != nil {
		return nil, true, err
	}
	tables = map[uint32]published{}
	var oid uint32
	var p published
	_, err = pgx.ForEachRow(rows, []any{&oid, &p.columns, &p.filter, &p.entry}, func() error {
		tables[oid] = published{slices.Clone(p.columns), p.filter, p.entry}
		return nil
	})
	return tables, true, err
}

// A membership is what a publication sends of the captured tables. PostgreSQL says nothing when a table leaves a publication, and from
// 18 on gives no more than a warning when the publication is gone: the changes are simply not sent. So what it was when the stream
// began is compared with what it is, again and again.
type membership struct {
	oid     uint32 // of the publication, 0: it does not exist; one that was made again under its name has another
	actions string // the operations that it publishes
	tables  []candidate
	sent    map[uint32]published
}

// readMembership reads what the publication sends of the tables.
func readMembership(ctx context.Context, conn *pgx.Conn, name string, tables []candidate) (*membership, error) {
	m := &membership{tables: tables}
	rows, err := conn.Query(ctx, `SELECT oid, concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END,
		CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END) FROM pg_publication WHERE pubname = $1`, name)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&m.oid, &m.actions}, func() error { return nil })
	}
	if err != nil || m.oid == 0 {
		return m, err
	}
	m.sent, _, err = readPublication(ctx, conn, name)
	return m, err
}

const resnapshot = "reset the connector's offsets to take a new snapshot"

// lost tells what is no longer sent of that what m sent, as a permanent fault. A table that is no longer among those of now was
// dropped, which is no loss. (Invariant 7)
func (m *membership) lost(name string, now *membership) error {
	switch {
	case now.oid == 0:
		return unpublished(name, "it was dropped")
	case now.oid != m.oid:
		return fault.Permanentf("PUBLICATION_CHANGED", resnapshot+": changes made without the publication were not sent",
			"publication %s was dropped and made again", name)
	case now.actions != m.actions:
		return fault.Permanentf("PUBLICATION_CHANGED", "run ALTER PUBLICATION "+ident(name)+" SET (publish = "+literal(m.actions)+") and "+resnapshot,
			"publication %s publishes only %q now", name, now.actions)
	}
	for _, c := range m.tables {
		was, is := m.sent[c.oid], now.sent[c.oid]
		_, in := now.sent[c.oid]
		switch {
		case in && (is.entry == was.entry || is.filter != was.filter || !slices.Equal(is.columns, was.columns)):
		case in:
			return fault.Permanentf("PUBLICATION_CHANGED", resnapshot+": changes made meanwhile were not sent",
				"table %s was taken out of publication %s and added again", c, name)
		case slices.ContainsFunc(now.tables, func(n candidate) bool { return n.oid == c.oid }):
			return fault.Permanentf("PUBLICATION_CHANGED", "run ALTER PUBLICATION "+ident(name)+" ADD TABLE "+qualified(c.schema, c.name)+
				" and "+resnapshot+", or take it out of table.include.list", "table %s is no longer in publication %s, so its changes are not sent", c, name)
		}
	}
	return nil
}

// unpublished is a publication that does not exist where the server decodes.
func unpublished(name, what string) error {
	return fault.Permanentf("PUBLICATION_MISSING", resnapshot+": the changes made without the publication are not decodable",
		"publication %s is missing: %s", name, what)
}

// prepare makes the publication cover the captured tables and returns what it sends of them. It comes before the slot: what is
// decoded under a slot older than its publication fails or is left out.
func (s *Source) prepare(ctx context.Context, conn *pgx.Conn) (*membership, error) {
	if err := checkServer(ctx, conn, s.settings.SlotFailover); err != nil {
		return nil, err
	}
	all, err := discover(ctx, conn, s.settings)
	if err != nil {
		return nil, err
	}
	sent, exists, err := readPublication(ctx, conn, s.settings.Publication)
	if err != nil {
		return nil, err
	}
	tables, err := s.cover(ctx, conn, all, sent, exists)
	if err != nil {
		return nil, err
	}
	return readMembership(ctx, conn, s.settings.Publication, tables)
}

// cover adds to the publication, which sends the tables in sent, what it lacks of the chosen tables, and returns those that are
// captured. A table that can't be is told of once.
func (s *Source) cover(ctx context.Context, conn *pgx.Conn, all []candidate, sent map[uint32]published, exists bool) ([]candidate, error) {
	var tables, missing []candidate
	for _, c := range all {
		_, in := sent[c.oid]
		if !c.usable && !in {
			if s.told[c.oid] != c.identity {
				s.told[c.oid] = c.identity
				s.log.Warn(c.identityProblem(), "table", c.String())
			}
			continue
		}
		tables = append(tables, c)
		if !in {
			missing = append(missing, c)
		}
	}
	if len(tables) == 0 {
		return nil, fault.Permanentf("NO_TABLES", "correct table.include.list, or give the tables a primary key or REPLICA IDENTITY FULL",
			"none of the %d tables that the include and exclude lists choose in database %s can be captured", len(all), s.settings.Database)
	}
	if exists && len(missing) == 0 {
		return tables, nil
	}
	sql := publicationSQL(s.settings, missing, exists)
	if mode := s.settings.AutoCreate; mode == "disabled" || mode == "no_tables" {
		return nil, fault.Permanentf("PUBLICATION_MISSING", "run "+sql, "publication %s does not exist or lacks captured tables, and "+
			"publication.autocreate.mode=%s leaves it to you", s.settings.Publication, mode)
	}
	if _, err := conn.Exec(ctx, sql); err != nil {
		var e *pgconn.PgError
		if errors.As(err, &e) && e.Code == "25006" {
			return nil, fault.Permanentf("PUBLICATION_MISSING", "run on the primary "+sql, "the server is a standby, on which no publication can be made")
		}
		if errors.As(err, &e) && e.Code == "42501" {
			return nil, fault.Permanentf("PUBLICATION_MISSING", "let an owner of the tables run "+sql,
				"role %s may not make the publication: %s", s.settings.User, e.Message)
		}
		return nil, fmt.Errorf("make publication: %w", err)
	}
	s.log.Info("publication now covers the captured tables", "publication", s.settings.Publication, "added", names(missing))
	now, _, err := readPublication(ctx, conn, s.settings.Publication)
	if err != nil {
		return nil, err
	}
	for _, c := range tables {
		if _, in := now[c.oid]; !in {
			return nil, fmt.Errorf("table %s is not in publication %s although it was added", c, s.settings.Publication)
		}
	}
	return tables, nil
}

// guard compares the publication with what it was when the stream began, and adds the captured tables that are new.
func (s *Source) guard(ctx context.Context, st *stream) error {
	return s.control.do(ctx, func(conn *pgx.Conn) error {
		found, err := discover(ctx, conn, s.settings)
		if err != nil {
			return err
		}
		now, err := readMembership(ctx, conn, s.settings.Publication, found)
		if err != nil {
			return err
		}
		if err := st.members.lost(s.settings.Publication, now); err != nil {
			return err
		}
		tables, err := s.cover(ctx, conn, found, now.sent, true)
		if err != nil {
			return err
		}
		before := st.members
		if st.members, err = readMembership(ctx, conn, s.settings.Publication, tables); err == nil {
			s.grown.add(before.tables, tables, s.settings.Database)
		}
		return err
	})
}

// growth is what snapshot.Grower tells. It is safe for concurrent use.
type growth struct {
	mu   sync.Mutex
	list []snapshot.Growth
}

// add notes the tables that are in now and not in before.
func (g *growth) add(before, now []candidate, database string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range now {
		if slices.ContainsFunc(before, func(b candidate) bool { return b.oid == c.oid }) {
			continue
		}
		remade := slices.ContainsFunc(before, func(b candidate) bool { return b.schema == c.schema && b.name == c.name })
		g.list = append(g.list, snapshot.Growth{Table: change.TableName{Database: database, Schema: c.schema, Table: c.name}, Remade: remade})
	}
}

func (g *growth) any() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.list) > 0
}

// Grown implements snapshot.Grower.
func (s *Source) Grown() []snapshot.Growth {
	s.grown.mu.Lock()
	defer s.grown.mu.Unlock()
	list := s.grown.list
	s.grown.list = nil
	return list
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
