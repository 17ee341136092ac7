package postgres

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source/postgres/pgoutput"
)

// A relation is a table as we decode it: one version of its structure with what a row needs to become values. It is
// immutable.
type relation struct {
	shape    shape
	captured bool
	table    *change.Table
	topic    string
	plan     []wirePlan // one for each column of the shape
	target   string     // the table quoted for a FROM, with ONLY unless it is partitioned
	keyCasts []string   // the types of the key columns for casts of parameters
}

// A wirePlan says what becomes of a column as it is sent.
type wirePlan struct {
	target int // index in the table's columns, -1: not captured
	kind   change.Kind
	key    bool   // belongs to the replica identity
	result uint32 // the type's number in the description of a query's result, where a domain shows as its base type
}

// newRelation makes the relation of a shape. Its table has no version yet: see registry.
func newRelation(s *settings, origin *change.Origin, sh *shape, d *detail) *relation {
	r := &relation{shape: *sh, captured: s.captures(sh.schema, sh.name) || d.rootName != "" && s.captures(d.rootSchema, d.rootName)}
	r.target = "ONLY " + qualified(sh.schema, sh.name)
	if d.partitioned {
		r.target = qualified(sh.schema, sh.name)
	}
	if !r.captured {
		return r
	}
	r.topic = s.topic(sh.schema, sh.name)
	key := d.keyColumns(sh)
	t := &change.Table{Name: change.TableName{Database: s.Database, Schema: sh.schema, Table: sh.name}, Origin: origin,
		OldIdentity: sh.identity == 'f'}
	r.plan = make([]wirePlan, len(sh.columns))
	for i, c := range sh.columns {
		r.plan[i] = wirePlan{target: -1, key: c.key, result: d.baseType(c.typeOID)}
		if !slices.Contains(key, c.name) && !s.capturesColumn(sh.schema, sh.name, c.name) {
			continue
		}
		typ := d.columnType(s, c.typeOID, c.modifier)
		r.plan[i].target, r.plan[i].kind = len(t.Columns), typ.Kind
		t.Columns = append(t.Columns, change.Column{Name: c.name, Type: typ, Nullable: !d.notNull[c.name] && !slices.Contains(key, c.name)})
	}
	for _, name := range key {
		i := slices.IndexFunc(sh.columns, func(c wireColumn) bool { return c.name == name })
		t.Key = append(t.Key, r.plan[i].target)
		r.keyCasts = append(r.keyCasts, d.casts[i])
	}
	r.table = t
	return r
}

// row decodes a tuple into a row in b's memory. With keyOnly the columns outside the replica identity are Absent: the
// server writes them as null. It allocates nothing.
func (r *relation) row(b *change.Batch, cells []pgoutput.Cell, keyOnly bool) (change.Row, error) {
	if len(cells) != len(r.plan) {
		return nil, fmt.Errorf("a row of %s has %d columns and its relation %d", r.table.Name, len(cells), len(r.plan))
	}
	row := b.Row(len(r.table.Columns))
	for i := range cells {
		p, c := &r.plan[i], &cells[i]
		if p.target < 0 || keyOnly && !p.key {
			continue
		}
		switch c.Kind {
		case pgoutput.Text:
			row[p.target] = parseValue(b, p.kind, c.Data)
		case pgoutput.Null:
			row[p.target].Kind = change.Null
		case pgoutput.Unchanged: // Absent
		default:
			return nil, fmt.Errorf("a row of %s has a value in a form that was not asked for: %q", r.table.Name, c.Kind)
		}
	}
	return row, nil
}

// result decodes a row of a SELECT of the shape's columns, in text format, as row does for a tuple.
func (r *relation) result(b *change.Batch, values [][]byte) (change.Row, error) {
	if len(values) != len(r.plan) {
		return nil, fmt.Errorf("a result of %s has %d columns instead of %d", r.table.Name, len(values), len(r.plan))
	}
	row := b.Row(len(r.table.Columns))
	for i, v := range values {
		p := &r.plan[i]
		switch {
		case p.target < 0:
		case v == nil:
			row[p.target].Kind = change.Null
		default:
			row[p.target] = parseValue(b, p.kind, v)
		}
	}
	return row, nil
}

// selectList returns the shape's columns for a SELECT. Columns that are not captured are not read: NULL stands for them.
func (r *relation) selectList() string {
	var q strings.Builder
	for i, c := range r.shape.columns {
		if i > 0 {
			q.WriteString(", ")
		}
		if r.plan[i].target < 0 {
			q.WriteString("NULL")
		} else {
			q.WriteString(ident(c.name))
		}
	}
	return q.String()
}

// keyList returns the key columns and as many parameters cast to their types, for comparisons.
func (r *relation) keyList() (columns, parameters string) {
	var c, p []string
	for n, i := range r.table.Key {
		c = append(c, ident(r.table.Columns[i].Name))
		p = append(p, fmt.Sprintf("$%d::text::%s", n+1, r.keyCasts[n]))
	}
	return strings.Join(c, ", "), strings.Join(p, ", ")
}

// keyParameters turns a key tuple of the table into the parameters for keyList.
func (r *relation) keyParameters(key []byte) ([][]byte, error) {
	var b change.Batch
	row, err := change.DecodeKey(&b, r.table, key)
	if err != nil {
		return nil, err
	}
	var params [][]byte
	for _, i := range r.table.Key {
		if row[i].Kind == change.Null {
			params = append(params, nil)
			continue
		}
		params = append(params, appendValue([]byte{}, row[i]))
	}
	return params, nil
}

// registry gives out the versions of tables, for the stream and the scanner alike: the same structure as the newest one
// is the same *Table.
type registry struct {
	mu     sync.Mutex
	newest map[change.TableName]*relation
}

// relation returns the relation of a table if that is the newest version of it, else nil.
func (g *registry) relation(t *change.Table) *relation {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.newest[t.Name]; r != nil && r.table == t {
		return r
	}
	return nil
}

// publish replaces r's table by the newest version if that has the same structure, and else makes it the newest.
func (g *registry) publish(r *relation) {
	if r.table == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := g.newest[r.table.Name]; last != nil {
		r.table.Version = last.table.Version
		if reflect.DeepEqual(last.table, r.table) {
			r.table = last.table
			g.newest[r.table.Name] = r // the plan of the newest, should columns that are not captured have changed
			return
		}
	}
	r.table.Version++
	g.newest[r.table.Name] = r
}
