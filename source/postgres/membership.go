package postgres

import (
	"context"
	"encoding/json"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
)

// A membership is what a publication sends of the captured tables. PostgreSQL says nothing when a table leaves a publication, and from
// 18 on gives no more than a warning when the publication is gone: the changes are simply not sent. So what it was is compared with
// what it is, again and again while the stream runs, and when it begins with what it was at the position.
type membership struct {
	oid     uint32 // of the publication, 0: it does not exist; one that was made again under its name has another
	actions string // the operations that it publishes
	options uint32 // a hash of all that its row in the catalog says
	writer  uint32 // the transaction that wrote that row
	// rewrites counts how often rows of publications were written again in this database, by the server's statistics.
	rewrites int64
	// doubted is when it was first seen that the row was written again to the same values; zero: it was not.
	doubted time.Time
	tables  []candidate
	sent    map[uint32]published // of the tables
}

// readMembership reads what the publication sends of the tables.
func readMembership(ctx context.Context, conn *pgx.Conn, name string, tables []candidate) (*membership, error) {
	m := &membership{tables: tables, sent: map[uint32]published{}}
	rows, err := conn.Query(ctx, `SELECT oid, concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END,
		CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END), to_jsonb(p)::text, xmin::text::bigint,
		COALESCE(pg_stat_get_tuples_updated('pg_catalog.pg_publication'::regclass), 0)
		FROM pg_publication p WHERE pubname = $1`, name)
	var row string
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&m.oid, &m.actions, &row, &m.writer, &m.rewrites}, func() error { return nil })
	}
	m.options = crc32.ChecksumIEEE([]byte(row))
	if err != nil || m.oid == 0 {
		return m, err
	}
	all, _, err := readPublication(ctx, conn, name)
	for _, c := range tables {
		if p, in := all[c.oid]; in {
			m.sent[c.oid] = p
		}
	}
	return m, err
}

// lost tells what is no longer sent of that what m sent, as a permanent fault. A table that is no longer among those of now was
// dropped or is not captured any more, which is no loss. (Invariant 7)
func (m *membership) lost(c *settings, now *membership) error {
	name := c.Publication
	switch {
	case now.oid == 0:
		return unpublished(c, "it was dropped")
	case now.oid != m.oid:
		return fault.Permanentf("PUBLICATION_CHANGED", dropSlot(c)+resnapshot+": changes made without the publication were not sent",
			"publication %s was dropped and made again", name)
	case now.actions != m.actions:
		return fault.Permanentf("PUBLICATION_CHANGED", "run ALTER PUBLICATION "+ident(name)+" SET (publish = "+literal(m.actions)+") and "+resnapshot,
			"publication %s publishes only %q now", name, now.actions)
	}
	for _, c := range now.tables {
		was, captured := m.sent[c.oid]
		is, in := now.sent[c.oid]
		switch {
		case !captured || in && (is.entry == was.entry || is.lists != was.lists):
		case in:
			return fault.Permanentf("PUBLICATION_CHANGED", resnapshot+": changes made meanwhile were not sent",
				"table %s was taken out of publication %s and added again", c, name)
		default:
			return fault.Permanentf("PUBLICATION_CHANGED", "run ALTER PUBLICATION "+ident(name)+" ADD TABLE "+qualified(c.schema, c.name)+
				" and "+resnapshot+", or take it out of table.include.list", "table %s is no longer in publication %s, so its changes are not sent", c, name)
		}
	}
	return nil
}

// flushed is how long a session keeps what it counted to itself at most, once it has nothing to do.
const flushed = 11 * time.Second

// settle judges a publication whose row was written again and says what it said: once, by a command that changed nothing, or more than
// once, so that something was not sent meanwhile. The server counts how often, but a session may tell later what it did: until it must
// have told, now keeps the doubt. at is the time of now. (Invariant 7)
func (m *membership) settle(c *settings, now *membership, at time.Time) error {
	if now.options != m.options || now.writer == m.writer {
		return nil
	}
	if n := now.rewrites - m.rewrites; n < 0 || n > 1 {
		return alteredBack(c)
	}
	since := m.doubted
	if since.IsZero() {
		since = at
	}
	if now.rewrites == m.rewrites || at.Sub(since) < flushed {
		now.writer, now.rewrites, now.doubted = m.writer, m.rewrites, since
	}
	return nil
}

func alteredBack(c *settings) error {
	return fault.Permanentf("PUBLICATION_CHANGED", resnapshot+": what changed meanwhile may not have been sent",
		"publication %s was altered and altered back", c.Publication)
}

// noted is a membership as a position has it: by schema and table the oid, the entry and the lists of each.
type noted struct {
	OID      uint32                          `json:"oid"`
	Actions  string                          `json:"actions"`
	Options  uint32                          `json:"options"`
	Writer   uint32                          `json:"writer"`
	Rewrites *int64                          `json:"rewrites"` // nil: an older version wrote it
	Tables   map[string]map[string][3]uint32 `json:"tables"`
}

// note writes m as a member of a position, comma first, without the tables in except.
func (m *membership) note(except []snapshot.Growth) []byte {
	n := noted{OID: m.oid, Actions: m.actions, Options: m.options, Writer: m.writer, Rewrites: &m.rewrites, Tables: map[string]map[string][3]uint32{}}
	for _, c := range m.tables {
		p, in := m.sent[c.oid]
		if !in || slices.ContainsFunc(except, func(g snapshot.Growth) bool { return g.Table.Schema == c.schema && g.Table.Table == c.name }) {
			continue
		}
		if n.Tables[c.schema] == nil {
			n.Tables[c.schema] = map[string][3]uint32{}
		}
		n.Tables[c.schema][c.name] = [3]uint32{c.oid, p.entry, p.lists}
	}
	text, _ := json.Marshal(n) // strings and numbers always marshal
	return append([]byte(`,"publication":`), text...)
}

// parseNote reads what note wrote into a position, nil if there is none: the position is an older one, or somebody else's.
func parseNote(text change.Position) *membership {
	var outer struct {
		Publication *noted `json:"publication"`
	}
	if json.Unmarshal(text, &outer) != nil || outer.Publication == nil {
		return nil
	}
	n := outer.Publication
	m := &membership{oid: n.OID, actions: n.Actions, options: n.Options, writer: n.Writer, rewrites: math.MinInt32, sent: map[uint32]published{}}
	if n.Rewrites != nil {
		m.rewrites = *n.Rewrites
	}
	for _, schema := range slices.Sorted(maps.Keys(n.Tables)) {
		for _, name := range slices.Sorted(maps.Keys(n.Tables[schema])) {
			t := n.Tables[schema][name]
			m.tables = append(m.tables, candidate{oid: t[0], schema: schema, name: name})
			m.sent[t[0]] = published{entry: t[1], lists: t[2]}
		}
	}
	return m
}

// follow compares the publication with what it was, adds the captured tables that are new, and returns what it is.
func (s *Source) follow(ctx context.Context, conn *pgx.Conn, was *membership) (*membership, error) {
	found, err := discover(ctx, conn, s.settings)
	if err != nil {
		return nil, err
	}
	now, err := readMembership(ctx, conn, s.settings.Publication, found)
	if err != nil {
		return nil, err
	}
	if was != nil {
		if err := was.lost(s.settings, now); err != nil {
			return nil, err
		}
	}
	tables, err := s.cover(ctx, conn, found, now.sent, now.oid != 0, was != nil)
	if err != nil {
		return nil, err
	}
	if now, err = readMembership(ctx, conn, s.settings.Publication, tables); err != nil || was == nil {
		return now, err
	}
	if err := was.settle(s.settings, now, s.setup.Now()); err != nil {
		return nil, err
	}
	if !now.doubted.IsZero() && was.doubted.IsZero() {
		s.log.Info("the publication was altered to what it was", "publication", s.settings.Publication)
	}
	s.grown.add(was.tables, tables, s.settings.Database)
	return now, nil
}

// guard follows the publication while the stream runs.
func (s *Source) guard(ctx context.Context, st *stream) error {
	return s.control.do(ctx, func(conn *pgx.Conn) error {
		now, err := s.follow(ctx, conn, st.members.Load())
		if err == nil {
			s.note(st, now)
		}
		return err
	})
}

// note lets the positions of the stream tell from now on what the publication sends. A table that has come into capture is told of
// once its rows are sure to be copied: a start before that finds it new again.
func (s *Source) note(st *stream, m *membership) {
	s.grown.mu.Lock()
	defer s.grown.mu.Unlock()
	text := m.note(s.grown.list)
	st.members.Store(m)
	st.noted.Store(&text)
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
		grown := snapshot.Growth{Table: change.TableName{Database: database, Schema: c.schema, Table: c.name}, Remade: remade}
		if !slices.Contains(g.list, grown) {
			g.list = append(g.list, grown)
		}
	}
}

func (g *growth) any() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.list) > 0
}

func (g *growth) take() []snapshot.Growth {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.list
	g.list = nil
	return list
}

// Grown implements snapshot.Grower.
func (s *Source) Grown() []snapshot.Growth {
	list := s.grown.take()
	if st := s.stream.Load(); st != nil && len(list) > 0 {
		s.note(st, st.members.Load())
	}
	return list
}
