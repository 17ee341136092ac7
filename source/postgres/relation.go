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
	chosen   bool       // message.key.columns chose the key, which is none to find rows by
	keyCasts []string   // the types of the key columns for casts of parameters
	keySpace []string   // the schemas of their comparison operators, quoted
}

// A wirePlan says what becomes of a column as it is sent.
type wirePlan struct {
	target int // index in the table's columns, -1: not captured
	kind   change.Kind
	money  int    // digits after the point of an amount of money, -1: it is none
	key    bool   // belongs to the replica identity
	result uint32 // the type's number in the description of a query's result, where a domain shows as its base type
	binary bool   // results have it in the binary format
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
	has := func(name string) bool { return sh.has([]string{name}) }
	name := change.TableName{Database: s.Database, Schema: sh.schema, Table: sh.name}
	key := s.rules.Key(name, has)
	if r.chosen = key != nil; !r.chosen {
		key = d.keyColumns(sh)
	}
	t := &change.Table{Name: name, Origin: origin,
		Topic: r.topic, KeyChosen: r.chosen, OldIdentity: sh.identity == 'f'}
	r.plan = make([]wirePlan, len(sh.columns))
	for i, c := range sh.columns {
		r.plan[i] = wirePlan{target: -1, key: c.key, result: d.baseType(c.typeOID), money: -1}
		inKey, captured := slices.Contains(key, c.name), s.capturesColumn(sh.schema, sh.name, c.name)
		if !inKey && !captured {
			continue
		}
		typ := d.columnType(s, c.typeOID, c.modifier)
		r.plan[i].target, r.plan[i].kind = len(t.Columns), typ.Kind
		r.plan[i].binary = comesBinary(r.plan[i].result, typ.Kind)
		if typ.Semantic == change.SemanticMoney {
			r.plan[i].money = d.moneyDigits
		}
		col := s.column(t.Name, c, typ, d, !r.chosen && inKey)
		col.KeyOnly = !captured
		t.Columns = append(t.Columns, col)
	}
	for _, name := range key {
		i := slices.IndexFunc(sh.columns, func(c wireColumn) bool { return c.name == name })
		t.Key = append(t.Key, r.plan[i].target)
		r.keyCasts = append(r.keyCasts, d.casts[i])
		r.keySpace = append(r.keySpace, d.space(sh.columns[i].typeOID))
	}
	r.table = t
	return r
}

// column makes a column of a table.
func (s *settings) column(table change.TableName, c wireColumn, typ change.Type, d *detail, key bool) change.Column {
	col := change.Column{Name: c.name, Type: typ, Nullable: !d.notNull[c.name] && !key}
	setDefault(&col, c.typeOID, d.defaults[c.name])
	native := d.nativeType(c.typeOID, c.modifier)
	if s.Comments {
		native.Comment = d.comments[c.name]
	}
	s.rules.Describe(table, &col, native)
	return col
}

// parse reads the text of a value of the column.
func (p *wirePlan) parse(b *change.Batch, v *change.Value, text []byte) {
	if p.money >= 0 {
		parseMoney(b, v, text, p.money)
		return
	}
	parseValue(b, v, p.kind, text)
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
			p.parse(b, &row[p.target], c.Data)
		case pgoutput.Null:
			row[p.target].Kind = change.Null
		case pgoutput.Unchanged: // Absent
		default:
			return nil, fmt.Errorf("a row of %s has a value in a form that was not asked for: %q", r.table.Name, c.Kind)
		}
	}
	return row, nil
}

// result decodes a row of a SELECT of the shape's columns, in the formats of appendFormats, as row does for a tuple. It
// allocates nothing.
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
		case p.binary:
			if err := parseBinary(b, &row[p.target], p.result, p.kind, v); err != nil {
				return nil, err
			}
		default:
			p.parse(b, &row[p.target], v)
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

// keyColumn returns the n-th key column and its parameter, cast to its type.
func (r *relation) keyColumn(n int) (column, parameter string) {
	return ident(r.table.Columns[r.table.Key[n]].Name), fmt.Sprintf("$%d::text::%s", n+1, r.keyCasts[n])
}

// keyList returns a FROM item k of keys, each with its number, from one array of texts for each key column, and the condition that
// a row has the key of k. keyArrays makes the arrays.
func (r *relation) keyList() (from, where string) {
	var arrays, names, equal []string
	for n := range r.table.Key {
		column, _ := r.keyColumn(n)
		arrays, names = append(arrays, fmt.Sprintf("$%d::text[]", n+1)), append(names, fmt.Sprintf("k%d", n+1))
		equal = append(equal, fmt.Sprintf("%s OPERATOR(%s.=) k.k%d::text::%s", column, r.keySpace[n], n+1, r.keyCasts[n]))
	}
	return fmt.Sprintf("unnest(%s) WITH ORDINALITY AS k(%s, number)", strings.Join(arrays, ", "), strings.Join(names, ", ")), strings.Join(equal, " AND ")
}

// keyArrays turns key tuples of the table into the parameters for keyList.
func (r *relation) keyArrays(keys [][]byte) ([][]byte, error) {
	arrays := make([][]byte, len(r.table.Key))
	for i, key := range keys {
		params, err := r.keyParameters(key)
		if err != nil {
			return nil, err
		}
		for n, p := range params {
			arrays[n] = append(arrays[n], "{,"[min(i, 1)])
			if p == nil {
				arrays[n] = append(arrays[n], "NULL"...)
				continue
			}
			arrays[n] = append(arrays[n], '"')
			for _, c := range p {
				if c == '"' || c == '\\' {
					arrays[n] = append(arrays[n], '\\')
				}
				arrays[n] = append(arrays[n], c)
			}
			arrays[n] = append(arrays[n], '"')
		}
	}
	for n := range arrays {
		arrays[n] = append(arrays[n], '}')
	}
	return arrays, nil
}

// keyOrder returns the key columns for an ORDER BY, "" if the table has no key to find rows by.
func (r *relation) keyOrder() string {
	if r.chosen {
		return ""
	}
	var list []string
	for n := range r.table.Key {
		column, _ := r.keyColumn(n)
		list = append(list, column)
	}
	return strings.Join(list, ", ")
}

// keyAfter returns the condition that the key is greater than the parameters, in the order of keyOrder. The operators are
// named with their schema, since ORDER BY takes those of the type's operator class and a bare > those that the search path
// finds: for citext they differ. Where all columns have theirs in one schema it is a comparison of rows, which an index
// answers; else it is spelled out behind a bound on the first column.
func (r *relation) keyAfter() string {
	var columns, parameters, spelled []string
	equal := ""
	for n := range r.table.Key {
		column, parameter := r.keyColumn(n)
		columns, parameters = append(columns, column), append(parameters, parameter)
		spelled = append(spelled, fmt.Sprintf("%s%s OPERATOR(%s.>) %s", equal, column, r.keySpace[n], parameter))
		equal += fmt.Sprintf("%s OPERATOR(%s.=) %s AND ", column, r.keySpace[n], parameter)
	}
	if len(slices.Compact(slices.Clone(r.keySpace))) == 1 {
		return fmt.Sprintf("(%s) OPERATOR(%s.>) (%s)", strings.Join(columns, ", "), r.keySpace[0], strings.Join(parameters, ", "))
	}
	return fmt.Sprintf("%s OPERATOR(%s.>=) %s AND (%s)", columns[0], r.keySpace[0], parameters[0], strings.Join(spelled, " OR "))
}

// keyParameters turns a key tuple of the table into the parameters for keyAfter.
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
