package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

// A target is a table that rows are written to, as the catalog described it last.
type target struct {
	name       name
	columns    map[string]*column
	referenced bool // by a foreign key of another table: TRUNCATE would be refused
	layouts    map[*change.Table]*layout
}

// marked reports whether rows say which partition they came from.
func (t *target) marked() bool {
	c := t.columns[partitionColumn]
	return c != nil && !c.generated
}

// A column of a target.
type column struct {
	name      string
	declared  string // its type, with modifiers
	cast      string // its type without them, so that a cast to it cannot cut a value
	notNull   bool
	generated bool // computed by the database: never written
}

// A layout is how rows of one version of a source table go into a target.
type layout struct {
	target *target
	table  *change.Table
	cols   []*column // for each source column; nil: not written
	key    []int     // indexes into cols
	stmts  map[string]*statement
}

// layout returns where rows of t under topic go; it makes or alters the table if it must and may.
func (s *Sink) layout(ctx context.Context, topic string, t *change.Table) (*layout, error) {
	if l := s.last; l != nil && l.table == t && s.lastTopic == topic && (s.partition == 0 || l.target.marked() || s.cfg.Evolution == "none") {
		return l, nil
	}
	n, err := s.cfg.table(topic, t)
	if err != nil {
		return nil, fault.Permanent("NAME_INVALID", "set table.name.format, or rename the topic with a RegexRouter transform", err)
	}
	if other, ok := s.topics[n]; ok && other != topic {
		return nil, fault.Permanentf("TABLE_CONFLICT", "set table.name.format=${schema}.${table} or ${topic}, or rename one of the topics with a RegexRouter transform",
			"the topics %s and %s would share the table %s, and their rows would overwrite each other", other, topic, n)
	}
	s.topics[n] = topic
	tg := s.targets[n]
	if tg == nil {
		if tg, err = s.describe(ctx, n); err != nil {
			return nil, err
		}
		if tg == nil {
			if tg, err = s.create(ctx, n, t); err != nil {
				return nil, err
			}
		}
		s.targets[n] = tg
	}
	if s.partition > 0 && !tg.marked() && s.cfg.Evolution != "none" {
		if t.Column(partitionColumn) >= 0 {
			return nil, fault.Permanentf("NAME_INVALID", "leave the column out with column.exclude.list, or keep the topic in one partition",
				"table %s has a column %s, which the sink needs for itself", t.Name, partitionColumn)
		}
		if tg, err = s.alter(ctx, n, "ADD COLUMN IF NOT EXISTS "+partitionColumn+" integer"); err != nil {
			return nil, err
		}
	}
	l := tg.layouts[t]
	if l == nil {
		if l, err = s.arrange(ctx, tg, t); err != nil {
			s.forget(n) // somebody may mend the table: look again the next time
			return nil, err
		}
		l.target.layouts[t] = l
	}
	s.last, s.lastTopic = l, topic
	return l, nil
}

const describeSQL = `
SELECT a.attname, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), a.attnotnull::int, (a.attgenerated <> '')::int
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

const referencedSQL = `
SELECT 1 FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND f.contype = 'f' LIMIT 1`

// describe reads the catalog; nil if there is no such table.
func (s *Sink) describe(ctx context.Context, n name) (*target, error) {
	rows, err := s.query(ctx, describeSQL, n.schema, n.table)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	tg := &target{name: n, columns: map[string]*column{}, layouts: map[*change.Table]*layout{}}
	for _, r := range rows {
		tg.columns[r[0]] = &column{name: r[0], declared: r[1], cast: r[2], notNull: r[3] == "1", generated: r[4] == "1"}
	}
	referenced, err := s.query(ctx, referencedSQL, n.schema, n.table)
	tg.referenced = len(referenced) > 0
	return tg, err
}

// create makes the table: the columns of t, NOT NULL for its key only, so that a column which the source drops later, or
// lets be NULL, stands in nobody's way.
func (s *Sink) create(ctx context.Context, n name, t *change.Table) (*target, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (", n)
	for i := range t.Columns {
		if err := checkName(t.Columns[i].Name); err != nil {
			return nil, fault.Permanent("NAME_INVALID", "leave the column out with column.exclude.list", fmt.Errorf("column of %s: %w", t.Name, err))
		}
		fmt.Fprintf(&b, "%s %s, ", quote(t.Columns[i].Name), s.typeFor(ctx, &t.Columns[i], t))
	}
	b.WriteString("PRIMARY KEY (")
	for i, k := range t.Key {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(t.Columns[k].Name))
	}
	b.WriteString("))")
	if s.cfg.Evolution == "none" {
		return nil, fault.Permanentf("TABLE_MISSING", "make it, or set schema.evolution=basic: "+b.String(), "table %s does not exist", n)
	}
	if err := s.schema(ctx, n.schema); err != nil {
		return nil, err
	}
	if err := s.ddl(ctx, b.String()); err != nil {
		return nil, fmt.Errorf("create table %s: %w", n, err)
	}
	tg, err := s.describe(ctx, n)
	if err == nil && tg == nil {
		err = fmt.Errorf("table %s was made and is not there", n)
	}
	return tg, err
}

// schema makes a schema that is missing.
func (s *Sink) schema(ctx context.Context, schema string) error {
	rows, err := s.query(ctx, "SELECT 1 FROM pg_namespace WHERE nspname = $1", schema)
	if err != nil || len(rows) > 0 {
		return err
	}
	if err := s.exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quote(schema)); err != nil {
		return fmt.Errorf("create schema %s: %w", schema, err)
	}
	return nil
}

// typeFor returns the type of a column of t in this target. If the target can't be asked, that shows in the next statement.
func (s *Sink) typeFor(ctx context.Context, c *change.Column, t *change.Table) string {
	return typeFor(&c.Type, connector(t), func(name string) bool {
		there, known := s.installed[name]
		if !known {
			rows, err := s.query(ctx, "SELECT to_regtype($1) IS NOT NULL", quote(name))
			if err != nil {
				return false
			}
			there = rows[0][0] == "t"
			s.installed[name] = there
		}
		return there
	})
}

func connector(t *change.Table) string {
	if t.Origin == nil {
		return ""
	}
	return t.Origin.Connector
}

// arrange makes the layout of t's rows in tg, and first alters the table so that they fit.
func (s *Sink) arrange(ctx context.Context, tg *target, t *change.Table) (*layout, error) {
	var alter []string
	for i := range t.Columns {
		c := &t.Columns[i]
		want := s.typeFor(ctx, c, t)
		have := tg.columns[c.Name]
		if have == nil {
			if err := checkName(c.Name); err != nil {
				return nil, fault.Permanent("NAME_INVALID", "leave the column out with column.exclude.list", fmt.Errorf("column of %s: %w", t.Name, err))
			}
			alter = append(alter, fmt.Sprintf("ADD COLUMN IF NOT EXISTS %s %s", quote(c.Name), want))
			continue
		}
		switch how, wider := compare(want, have.declared); how {
		case widen:
			alter = append(alter, fmt.Sprintf("ALTER COLUMN %s TYPE %s USING %s::%s", quote(c.Name), wider, quote(c.Name), wider))
		case differs:
			return nil, fault.Permanentf("SCHEMA_INCOMPATIBLE", fmt.Sprintf("alter or rename the column in %s, or leave it out with column.exclude.list", tg.name),
				"column %s of %s is %s at the source and %s in the target: values would be lost", c.Name, tg.name, want, have.declared)
		}
	}
	if len(alter) > 0 {
		ddl := fmt.Sprintf("ALTER TABLE %s %s", tg.name, strings.Join(alter, ", "))
		if s.cfg.Evolution == "none" {
			return nil, fault.Permanentf("SCHEMA_MISMATCH", "alter it, or set schema.evolution=basic: "+ddl, "table %s does not fit version %d of %s", tg.name, t.Version, t.Name)
		}
		var err error
		if tg, err = s.alter(ctx, tg.name, strings.Join(alter, ", ")); err != nil {
			return nil, err
		}
	}
	return s.place(ctx, tg, t)
}

// alter alters a table and reads the catalog again.
func (s *Sink) alter(ctx context.Context, n name, actions string) (*target, error) {
	if err := s.ddl(ctx, fmt.Sprintf("ALTER TABLE %s %s", n, actions)); err != nil {
		return nil, fmt.Errorf("alter table %s: %w", n, err)
	}
	s.forget(n)
	tg, err := s.describe(ctx, n)
	if err == nil && tg == nil {
		err = fmt.Errorf("table %s has vanished", n)
	}
	if err == nil {
		s.targets[n] = tg
	}
	return tg, err
}

// uniqueSQL finds a unique index on exactly the columns $3, in any order, that ON CONFLICT can use.
const uniqueSQL = `
SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute a
       WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
    = (SELECT array_agg(k ORDER BY k) FROM unnest($3::text[]) k)
LIMIT 1`

func (s *Sink) place(ctx context.Context, tg *target, t *change.Table) (*layout, error) {
	l := &layout{target: tg, table: t, cols: make([]*column, len(t.Columns)), key: t.Key, stmts: map[string]*statement{}}
	for i := range t.Columns {
		c := tg.columns[t.Columns[i].Name]
		if c == nil {
			return nil, fmt.Errorf("table %s has no column %s after it was altered", tg.name, t.Columns[i].Name)
		}
		if !c.generated {
			l.cols[i] = c
		}
	}
	var keys []string
	for _, k := range t.Key {
		if l.cols[k] == nil {
			return nil, fault.Permanentf("KEY_GENERATED", "make the column an ordinary one", "key column %s of %s is computed by the database", t.Columns[k].Name, tg.name)
		}
		keys = append(keys, t.Columns[k].Name)
	}
	rows, err := s.query(ctx, uniqueSQL, tg.name.schema, tg.name.table, arrayLiteral(keys))
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		if there, err := s.describe(ctx, tg.name); err != nil || there == nil {
			return nil, errors.Join(fmt.Errorf("table %s has vanished", tg.name), err)
		}
		return nil, fault.Permanentf("NO_UNIQUE_INDEX", fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s)", tg.name, quoted(keys)),
			"table %s has no unique index on the source table's key (%s)", tg.name, strings.Join(keys, ", "))
	}
	return l, nil
}

func quoted(names []string) string {
	var q []string
	for _, n := range names {
		q = append(q, quote(n))
	}
	return strings.Join(q, ", ")
}

// arrayLiteral writes a text[] as PostgreSQL reads it.
func arrayLiteral(list []string) string {
	var q []string
	for _, v := range list {
		q = append(q, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v)+`"`)
	}
	return "{" + strings.Join(q, ",") + "}"
}

// forget drops what is known of a table; its statements are prepared anew.
func (s *Sink) forget(n name) {
	delete(s.targets, n)
	s.last = nil
}

// query runs one statement outside of a batch and returns all rows as text; NULL is the empty string.
func (s *Sink) query(ctx context.Context, sql string, args ...string) ([][]string, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	r := s.conn.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, r.Err
	}
	var rows [][]string
	for _, values := range r.Rows {
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// ddl runs a statement that may have to rewrite a table: it has a time limit of its own.
func (s *Sink) ddl(ctx context.Context, sql string) error {
	s.watchdog.Reset(s.cfg.DDL + s.cfg.Timeout)
	defer s.watchdog.Reset(s.patience())
	return s.exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %s; %s", millis(s.cfg.DDL), sql))
}

func (s *Sink) exec(ctx context.Context, sql string) error {
	_, err := s.conn.Exec(ctx, sql).ReadAll()
	return err
}
