package mysql

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// A relation is a table as we decode it: one version of its structure. It is immutable; only the stream's goroutine uses
// its layout.
type relation struct {
	captured bool
	table    *change.Table
	topic    string
	columns  []binlog.Column // all of the table's, in its order
	target   []int           // places of columns in a row, -1: not captured
	unique   bool            // the key is one that the database keeps unique
	layout   *binlog.Layout  // nil for a relation that is only scanned
	end      int             // place in a row that the layout reads of what says until when the row counts, -1: there is none
}

// newRelation makes the relation of a table with the given columns. d is what the catalog knows of it, nil for nothing. Its
// table has no version yet: see registry.
func (s *Source) newRelation(name tableRef, columns []binlog.Column, primary []string, d *detail) (*relation, error) {
	c := s.settings
	table := change.TableName{Database: name.Database, Table: name.Table}
	key := c.rules.Key(table, func(name string) bool { return hasColumns(columns, []string{name}) })
	chosen := key != nil
	if !chosen {
		key = keyColumns(columns, primary, d)
	}
	columns = c.converters.declare(table, columns, key)
	r := &relation{captured: true, end: -1, columns: columns, topic: c.topic(name.Database, name.Table)}
	r.unique = !chosen && len(key) > 0
	t := &change.Table{Name: table, Origin: s.origin, Topic: r.topic, KeyChosen: chosen, OldIdentity: s.fullImage.Load()}
	r.target = make([]int, len(columns))
	for i := range columns {
		column := &columns[i]
		r.target[i] = -1
		if d != nil && d.hidden && (column.Name == hiddenStart || column.Name == hiddenEnd) {
			continue
		}
		captured := c.capturesColumn(name.Database, name.Table, column.Name)
		if !captured && !slices.Contains(key, column.Name) {
			continue
		}
		typ := column.Type()
		typ.Render = c.render(column, &typ)
		made := change.Column{Name: column.Name, Type: typ, Nullable: column.Nullable, KeyOnly: !captured}
		if d != nil {
			d.constant(column, &made)
		}
		c.converters.describe(table, column, &made)
		c.rules.Describe(table, &made, c.nativeType(column, d))
		r.target[i] = len(t.Columns)
		t.Columns = append(t.Columns, made)
	}
	for _, name := range key {
		t.Key = append(t.Key, t.Column(name))
	}
	r.table = t
	return r, nil
}

// keyColumns chooses the columns of a table's key, in key order: the primary key, else a unique index over NOT NULL columns. None:
// the table has no key.
func keyColumns(columns []binlog.Column, primary []string, d *detail) []string {
	if hasColumns(columns, primary) {
		return primary
	}
	if d != nil {
		for _, u := range d.uniques {
			if hasColumns(columns, u) {
				return u
			}
		}
	}
	return nil
}

// hasColumns reports whether there are names, and all are columns.
func hasColumns(columns []binlog.Column, names []string) bool {
	for _, n := range names {
		if !slices.ContainsFunc(columns, func(c binlog.Column) bool { return c.Name == n }) {
			return false
		}
	}
	return len(names) > 0
}

// nativeType is a column's type as Debezium tells it in parameters of schemas.
func (s *settings) nativeType(c *binlog.Column, d *detail) source.NativeType {
	length, scale := declaredSize(c)
	n := source.NativeType{Name: strings.ToUpper(c.TypeName()), Length: length, Scale: scale}
	if d != nil && s.Comments {
		if i := d.column(c.Name); i >= 0 {
			n.Comment = d.extra[i].comment
		}
	}
	return n
}

// declaredSize returns the length and scale that a column is declared with, -1 for what it is not. As in Debezium an enum has one
// character, and a set one for each label and comma.
func declaredSize(c *binlog.Column) (length, scale int64) {
	length, scale = int64(c.Length), -1
	switch c.Base {
	case "decimal", "float", "double":
		length, scale = int64(c.Precision), int64(c.Scale)
	case "time", "datetime", "timestamp":
		length = int64(c.Precision)
	case "enum":
		length = 1
	case "set":
		length = int64(2*len(c.Labels) - 1)
	}
	if length == 0 {
		length = -1
	}
	return length, scale
}

// versioned binds the relation of a system-versioned table: the layout reads until when each row counts, also where that column is not
// captured. It returns the targets for the layout.
func (r *relation) versioned(end string) []int {
	i := slices.IndexFunc(r.columns, func(c binlog.Column) bool { return c.Name == end })
	if i < 0 {
		return r.target // it became versioned later
	}
	target := slices.Clone(r.target)
	if target[i] < 0 {
		target[i] = len(r.table.Columns)
	}
	r.end = target[i]
	return target
}

// endOfTime is when rows count until that count now, in microseconds: 2038-01-19 03:14:07.999999, or later since MariaDB 11.5.
const endOfTime = (1<<31-1)*1_000_000 + 999_999

// current returns what a change of a system-versioned table is to those who see the rows that count now, 0 if it is only about
// others. MariaDB logs the version that an update or a delete ends.
func (r *relation) current(before, after change.Row) (op change.Op, old, row change.Row) {
	counts := func(row change.Row) bool { return row != nil && row[r.end].Int64() >= endOfTime }
	was, is := counts(before), counts(after)
	n := len(r.table.Columns)
	switch {
	case was && is:
		return change.OpUpdate, before[:n], after[:n]
	case was:
		return change.OpDelete, before[:n], nil
	case is:
		return change.OpCreate, nil, after[:n]
	}
	return 0, nil, nil
}

// primaryKey returns the names of the primary key's columns as a table map has them.
func primaryKey(m *binlog.TableMap, columns []binlog.Column) []string {
	var names []string
	for _, i := range m.Key {
		names = append(names, columns[i].Name)
	}
	return names
}

// constant sets the default of a column if it is a constant of the column's type. As Debezium shows them the present time and,
// where the column has no NULL, zero dates are the epoch.
func (d *detail) constant(c *binlog.Column, column *change.Column) {
	i := d.column(c.Name)
	if i < 0 || !d.extra[i].hasDefault || d.columns[i].Base != c.Base || d.extra[i].generated {
		return
	}
	kind := column.Type.Kind
	moment := kind == change.Date || kind == change.Timestamp || kind == change.TimestampTZ
	text, ok := d.extra[i].literal()
	if moment && (!ok && d.extra[i].now() || ok && !c.Nullable && strings.HasPrefix(text, "0000-00-00")) {
		column.HasDefault, column.Default = true, change.Value{Kind: kind}
		return
	}
	if ok && kind == change.Bytes {
		text, ok = binaryDefault(c, text, d.extra[i].quotes)
	}
	if !ok {
		return
	}
	res, err := binlog.NewResult(new(binlog.Charsets), []binlog.Column{utf8Column(*c)})
	if err != nil {
		return
	}
	var b change.Batch
	if c.Base == "bit" {
		column.Default = change.Value{Kind: change.Text, Data: bitDefault(text, c.Length)}
		column.HasDefault = column.Default.Data != nil
		return
	}
	var v change.Value
	if err := res.Value(0, []byte(text), &b, &v); err != nil {
		return // an expression, or text that is no value of the type
	}
	if v.Kind != kind {
		return
	}
	v.Data = slices.Clone(v.Data)
	column.HasDefault, column.Default = true, v
}

// binaryDefault returns the default of a binary column. MySQL 8 shows it as 0x6162, and of one that begins with a zero byte nothing
// but 0x; MySQL 5.7 shows its bytes. quotes says that it is MariaDB's text.
func binaryDefault(c *binlog.Column, text string, quotes bool) (string, bool) {
	if digits, ok := strings.CutPrefix(text, "0x"); ok && !quotes {
		p, err := hex.DecodeString(digits)
		if err != nil || len(p) == 0 {
			return "", false
		}
		text = string(p)
	}
	if c.Base == "binary" && len(text) < c.Length {
		text += strings.Repeat("\x00", c.Length-len(text))
	}
	return text, true
}

// utf8Column is the column as the catalog writes its default.
func utf8Column(c binlog.Column) binlog.Column {
	if c.Charset != "" && c.Charset != "binary" {
		c.Charset = "utf8mb4"
	}
	return c
}

// now reports whether a default that is no constant is the present time.
func (x *columnExtra) now() bool {
	return len(x.def) >= len(presentTime) && strings.EqualFold(x.def[:len(presentTime)], presentTime)
}

const presentTime = "current_timestamp"

// literal returns the text of a default that is a constant. MariaDB quotes strings and writes NULL and expressions as they are;
// MySQL writes strings as they are and marks expressions in EXTRA, but for the present time before 8.0.
func (x *columnExtra) literal() (string, bool) {
	if !x.quotes {
		return x.def, !x.expression && !x.now()
	}
	if n := len(x.def); n >= 2 && x.def[0] == '\'' && x.def[n-1] == '\'' {
		return unquote(x.def[1 : n-1]), true
	}
	return x.def, !strings.EqualFold(x.def, "null") && !strings.HasSuffix(x.def, ")")
}

// unquote takes the escapes out of a string constant of SQL.
func unquote(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if i+1 < len(text) && (c == '\\' || c == '\'' && text[i+1] == '\'') {
			i++
			if c = text[i]; text[i-1] == '\\' {
				c = escaped(c)
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// escaped is the character that stands behind a backslash as c.
func escaped(c byte) byte {
	switch c {
	case '0':
		return 0
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'Z':
		return 0x1A
	}
	return c
}

// bitDefault reads b'0101', nil if it is something else.
func bitDefault(text string, bits int) []byte {
	digits, ok := strings.CutPrefix(text, "b'")
	digits, ok2 := strings.CutSuffix(digits, "'")
	if !ok || !ok2 || len(digits) > bits || strings.Trim(digits, "01") != "" {
		return nil
	}
	return []byte(strings.Repeat("0", bits-len(digits)) + digits)
}

// selectList returns the columns for a SELECT whose rows row decodes. Those that are not captured are not read.
func (r *relation) selectList() (sql string, columns []binlog.Column) {
	var list []string
	for i := range r.columns {
		if c := &r.columns[i]; r.target[i] >= 0 {
			list = append(list, c.Expression(ident(c.Name)))
			columns = append(columns, *c)
		}
	}
	return strings.Join(list, ", "), columns
}

// target is the table for a FROM.
func (r *relation) from() string { return qualified(r.table.Name.Database, r.table.Name.Table) }

// keyOrder returns the key columns for an ORDER BY, "" if the table has no key that chunks can be made of.
func (r *relation) keyOrder() string {
	if !r.unique {
		return ""
	}
	var list []string
	for _, i := range r.table.Key {
		list = append(list, ident(r.table.Columns[i].Name))
	}
	return strings.Join(list, ", ")
}

// keyAfter returns the condition that the key is greater than those of a key tuple, in the order of keyOrder, spelled out
// behind a bound on the first column, which an index answers.
func (r *relation) keyAfter(key []byte) (string, error) {
	columns, values, err := r.keyLiterals(key)
	if err != nil {
		return "", err
	}
	var spelled []string
	equal := ""
	for i := range columns {
		spelled = append(spelled, fmt.Sprintf("%s%s > %s", equal, columns[i], values[i]))
		equal += fmt.Sprintf("%s = %s AND ", columns[i], values[i])
	}
	if len(columns) == 1 {
		return spelled[0], nil
	}
	return fmt.Sprintf("%s >= %s AND (%s)", columns[0], values[0], strings.Join(spelled, " OR ")), nil
}

// keyEquals returns the condition that the key is that of a tuple.
func (r *relation) keyEquals(key []byte) (string, error) {
	columns, values, err := r.keyLiterals(key)
	if err != nil {
		return "", err
	}
	var list []string
	for i := range columns {
		op := " = "
		if values[i] == "NULL" {
			op = " <=> "
		}
		list = append(list, columns[i]+op+values[i])
	}
	return strings.Join(list, " AND "), nil
}

// keyLiterals returns the key columns as they compare in the order of ORDER BY, and the values of a tuple for it. Enums and
// sets are ordered by their numbers.
func (r *relation) keyLiterals(key []byte) (columns, values []string, err error) {
	var b change.Batch
	row, err := change.DecodeKey(&b, r.table, key)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range r.table.Key {
		c := &r.table.Columns[i]
		name, declared := ident(c.Name), r.declared(c.Name)
		if declared.Base == "enum" || declared.Base == "set" || declared.Base == "bit" {
			name = "(" + name + " + 0)"
		}
		columns = append(columns, name)
		v, err := sqlLiteral(declared, row[i])
		if err != nil {
			return nil, nil, fmt.Errorf("key column %s: %w", c.Name, err)
		}
		values = append(values, v)
	}
	return columns, values, nil
}

func (r *relation) declared(name string) *binlog.Column {
	return &r.columns[slices.IndexFunc(r.columns, func(c binlog.Column) bool { return c.Name == name })]
}

// sqlLiteral writes a value as a constant that compares with its column.
func sqlLiteral(c *binlog.Column, v change.Value) (string, error) {
	switch v.Kind {
	case change.Null:
		return "NULL", nil
	case change.Int:
		return strconv.FormatInt(v.Int64(), 10), nil
	case change.Uint:
		return strconv.FormatUint(v.Num, 10), nil
	case change.Float32, change.Float64:
		return strconv.FormatFloat(v.Float(), 'e', -1, 64), nil
	case change.Decimal:
		return string(v.Data), nil
	case change.Date:
		return "'" + string(appendDate(nil, v.Int64())) + "'", nil
	case change.Time:
		return "'" + string(appendTime(nil, v.Int64())) + "'", nil
	case change.Timestamp, change.TimestampTZ:
		return "'" + string(appendTimestamp(nil, v.Int64())) + "'", nil
	case change.UUID:
		return "'" + formatUUID([16]byte(v.Data)) + "'", nil
	case change.Bytes:
		charset := ""
		if c.Charset != "" && c.Charset != "binary" { // text that is not valid in its charset
			charset = "_" + c.Charset + " "
		}
		return charset + "X'" + hex.EncodeToString(v.Data) + "'", nil
	case change.Text:
		return textLiteral(c, string(v.Data))
	}
	return "", fmt.Errorf("a value of kind %s is no constant of SQL", v.Kind)
}

func textLiteral(c *binlog.Column, text string) (string, error) {
	switch c.Base {
	case "bit":
		return "b'" + text + "'", nil
	case "enum":
		return strconv.Itoa(slices.Index(c.Labels, text) + 1), nil // 0 is the empty label of a value that was not valid
	case "set":
		var bits uint64
		for i, label := range c.Labels {
			if slices.Contains(strings.Split(text, ","), label) {
				bits |= 1 << i
			}
		}
		return strconv.FormatUint(bits, 10), nil
	case "date", "datetime", "timestamp", "time", "inet4", "inet6", "uuid":
		return quoted(text), nil
	}
	if c.Charset == "" {
		return "", errors.New("it has no charset")
	}
	return "_utf8mb4 X'" + hex.EncodeToString([]byte(text)) + "'", nil
}

// registry gives out the versions of tables, for the stream and the scanner alike: the same structure as the newest one
// is the same *Table.
type registry struct {
	mu      sync.Mutex
	newest  map[change.TableName]*relation
	dropped map[tableRef]bool // tables that were dropped, until one of the same name is made
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

// named returns the newest version of a table, nil if none was seen.
func (g *registry) named(name change.TableName) *relation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest[name]
}

// emptied returns the tables that are empty after the statement although they had rows: those that were truncated, and those
// that were made in place of one that was dropped. A drop alone empties nothing: another table may be renamed to take the
// place, with the same rows, as tools for online schema changes do it.
func (g *registry) emptied(st statement) []tableRef {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch st.verb {
	case verbTruncate, verbReplace:
		return st.tables
	case verbDrop:
		for _, name := range st.tables {
			g.dropped[name] = true
		}
	case verbDropDatabase:
		for name := range g.newest {
			if name.Database == st.tables[0].Database {
				g.dropped[tableRef{name.Database, name.Table}] = true
			}
		}
	case verbRename:
		for i := 0; i+1 < len(st.tables); i += 2 { // in order: a name may be given away and taken again
			g.dropped[st.tables[i]] = true
			delete(g.dropped, st.tables[i+1])
		}
	case verbCreate:
		if name := st.tables[0]; g.dropped[name] {
			delete(g.dropped, name)
			return st.tables
		}
	}
	return nil
}

// publish replaces r's table by the newest version if that has the same structure, and else makes it the newest.
func (g *registry) publish(r *relation) {
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
