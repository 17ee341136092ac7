package ddl

import (
	"slices"
	"strings"
)

// Schemas holds the structures of tables at a place of the log. The zero Schemas holds none. It is not safe for concurrent
// use.
type Schemas struct {
	tables    map[Name]*Table
	databases map[string]string // charsets
	doubt     map[Name]bool     // tables that may be there, with another structure than was held
}

// Effect is what a statement did. A table is in one list only.
type Effect struct {
	Changed []Name // these have another structure now; Schemas.Table has it
	Dropped []Name // these are gone
	Unknown []Name // their structure can't be told: read it from the catalog and Set it
	// Databases that were dropped, with all their tables.
	DroppedDatabases []string
	Databases        []string // databases that were made or got another charset
}

// Set tells the structure of a table.
func (s *Schemas) Set(t *Table) {
	if s.tables == nil {
		s.tables = map[Name]*Table{}
	}
	s.tables[t.Name] = t
	delete(s.doubt, t.Name)
}

// SetDatabase tells the default charset of a database, and that all of its tables are or will be Set.
func (s *Schemas) SetDatabase(name, charset string) {
	if s.databases == nil {
		s.databases = map[string]string{}
	}
	s.databases[name] = charset
}

// Forget drops what is held of a table that is still there.
func (s *Schemas) Forget(n Name) {
	delete(s.tables, n)
	if s.doubt == nil {
		s.doubt = map[Name]bool{}
	}
	s.doubt[n] = true
}

// Doubtful reports whether a table may be there although its structure is not held.
func (s *Schemas) Doubtful(n Name) bool { return s.doubt[n] }

// Database returns the default charset of a database; false if it is not held.
func (s *Schemas) Database(name string) (charset string, ok bool) {
	charset, ok = s.databases[name]
	return charset, ok
}

// Remove drops a table that is not there any more.
func (s *Schemas) Remove(n Name) {
	delete(s.tables, n)
	delete(s.doubt, n)
}

// Table returns the structure of a table, nil if it is not held.
func (s *Schemas) Table(n Name) *Table { return s.tables[n] }

// Tables returns the names of all tables that are held, in order.
func (s *Schemas) Tables() []Name {
	names := make([]Name, 0, len(s.tables))
	for n := range s.tables {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b Name) int { return strings.Compare(a.String(), b.String()) })
	return names
}

// A Statement is what a QUERY event has.
type Statement struct {
	Text     string // in UTF-8
	Database string // the session's default one
	// Failed says that the event has an error code: the statement did a part of its work before it failed, as a CREATE OR
	// REPLACE that dropped the old table.
	Failed bool
}

// Apply follows a statement. Statements that change no structure have no effect.
func (s *Schemas) Apply(st Statement, d Dialect) Effect {
	e := s.apply(st, d)
	if !st.Failed {
		return e
	}
	var failed Effect
	for _, names := range [][]Name{e.Changed, e.Dropped, e.Unknown} {
		for _, n := range names {
			s.unknown(&failed, n)
		}
	}
	return failed
}

func (s *Schemas) apply(st Statement, d Dialect) Effect {
	p := &parser{tokens: scan(st.Text, &d), database: d.fold(st.Database), dialect: &d}
	if p.take("set", "statement") { // MariaDB: SET STATEMENT variables FOR statement
		for !p.end() && !p.take("for") {
			if !p.group() {
				p.at++
			}
		}
	}
	e := Effect{}
	switch {
	case p.take("create"):
		s.create(p, &e)
	case p.take("alter"):
		s.alter(p, &e)
	case p.take("drop"):
		s.drop(p, &e)
	case p.take("rename"):
		if p.takeAny("table", "tables") {
			s.rename(p, &e)
		}
	}
	return e
}

// unknown forgets a table.
func (s *Schemas) unknown(e *Effect, n Name) {
	s.Forget(n)
	if n.Table != "" && !slices.Contains(e.Unknown, n) {
		e.Unknown = append(e.Unknown, n)
	}
}

func (s *Schemas) changed(e *Effect, t *Table) {
	s.Set(t)
	if !slices.Contains(e.Changed, t.Name) {
		e.Changed = append(e.Changed, t.Name)
	}
}

func (s *Schemas) create(p *parser, e *Effect) {
	replace := p.take("or", "replace")
	switch {
	case p.is("temporary"):
		return
	case p.takeAny("database", "schema"):
		existing := p.ifNotExists()
		if replace {
			s.dropDatabase(p.dialect.fold(p.peek().text), e)
		}
		s.database(p, e, !existing)
	case p.take("table"):
		s.createTable(p, e)
	case p.take("sequence"):
		p.ifNotExists()
		s.unknown(e, p.name())
	}
}

// database reads CREATE or ALTER DATABASE.
func (s *Schemas) database(p *parser, e *Effect, replaces bool) {
	name := p.database
	if !p.is("character", "charset", "default", "collate") {
		name = p.folded()
	}
	charset := p.options(p.dialect.Charset)
	if _, known := s.databases[name]; !known || replaces {
		s.SetDatabase(name, charset)
		e.Databases = append(e.Databases, name)
	}
}

// options reads the options of a database or table, and returns the charset that they name, else def.
func (p *parser) options(def string) string {
	charset, named := def, false
	for !p.end() {
		switch {
		case p.take("character", "set"), p.take("charset"), p.take("char", "set"):
			p.takeAny("=")
			if c := p.charset(); c != "default" {
				charset, named = c, true
			}
		case p.take("collate"):
			p.takeAny("=")
			if c := charsetOf(p.next().text); c != "" && !named {
				charset = c
			}
		case p.group():
		default:
			p.at++
		}
	}
	return charset
}

func (s *Schemas) createTable(p *parser, e *Effect) {
	keep := p.ifNotExists()
	n := p.name()
	if p.failed {
		return
	}
	if keep && s.tables[n] != nil {
		return
	}
	_, all := s.databases[n.Database]
	t, ok := s.newTable(p, n)
	if !ok || keep && (!all || s.doubt[n]) {
		s.unknown(e, n) // not understood, or it may have been there, and have stayed as it was
		return
	}
	s.changed(e, t)
}

// newTable reads what stands behind the name in CREATE TABLE.
func (s *Schemas) newTable(p *parser, n Name) (*Table, bool) {
	if p.take("like") || p.take("(", "like") {
		other := s.tables[p.name()]
		if other == nil || p.failed {
			return nil, false
		}
		t := other.clone()
		t.Name = n
		return t, true
	}
	if !p.take("(") {
		return nil, false // CREATE TABLE ... SELECT without columns: a log of rows has them written out
	}
	var list []definition
	var key []string
	for !p.failed && !p.end() {
		if p.constraint(&key) {
			p.skip()
		} else {
			list = append(list, p.definition())
		}
		if p.take(")") {
			break
		}
		p.expect(",")
	}
	charset, known := s.databases[n.Database]
	if !known {
		charset = ""
	}
	rest := *p
	t := &Table{Name: n, Charset: p.options(charset)}
	if p.failed || rest.refuses() {
		return nil, false
	}
	for _, d := range list {
		c, ok := d.column(t, p.dialect)
		if !ok {
			return nil, false
		}
		t.Columns = append(t.Columns, c)
		if d.key {
			key = []string{c.Name}
		}
	}
	return t, t.setKey(key)
}

// refuses reports whether the options of a table have what changes its columns in a way that we don't follow: the hidden
// columns of versioning by the system, or the columns of a SELECT.
func (p *parser) refuses() bool {
	for ; !p.end(); p.at++ {
		if p.are("system", "versioning") || p.is("select", "values") {
			return true
		}
	}
	return false
}

// constraint reads the head of what is no column in CREATE TABLE: a key or a constraint. A primary key is noted.
func (p *parser) constraint(key *[]string) bool {
	if p.peek().kind != wordToken {
		return false
	}
	if p.take("constraint") {
		if !p.is("primary", "unique", "foreign", "check") {
			p.identifier()
		}
	}
	switch {
	case p.take("primary", "key"):
		for !p.end() && !p.is("(") { // USING BTREE, a name
			p.at++
		}
		*key = p.columnList()
		return true
	case p.is("unique", "index", "key", "fulltext", "spatial", "foreign", "check"), p.are("period", "for"), p.are("vector", "index"), p.are("vector", "key"):
		return true
	}
	return false
}

func (s *Schemas) drop(p *parser, e *Effect) {
	switch {
	case p.takeAny("database", "schema"):
		p.ifExists()
		name := p.folded()
		if p.failed {
			return
		}
		s.dropDatabase(name, e)
	case p.takeAny("table", "tables", "sequence"):
		p.ifExists()
		for !p.failed {
			n := p.name()
			if p.failed {
				return
			}
			s.Remove(n)
			e.Dropped = append(e.Dropped, n)
			if !p.take(",") {
				return
			}
		}
	}
}

func (s *Schemas) dropDatabase(name string, e *Effect) {
	e.DroppedDatabases = append(e.DroppedDatabases, name)
	delete(s.databases, name)
	for n := range s.doubt {
		if n.Database == name {
			delete(s.doubt, n)
		}
	}
	for _, n := range s.Tables() {
		if n.Database == name {
			s.Remove(n)
			e.Dropped = append(e.Dropped, n)
		}
	}
}

// rename reads a TO b [, c TO d] ...; each takes effect before the next.
func (s *Schemas) rename(p *parser, e *Effect) {
	p.ifExists()
	for {
		from := p.name()
		for !p.end() && !p.is("to", ",") { // WAIT n, NOWAIT
			p.at++
		}
		p.expect("to")
		to := p.name()
		if p.failed {
			s.unknown(e, from)
			return
		}
		s.move(e, from, to)
		if !p.take(",") {
			return
		}
	}
}

func (s *Schemas) move(e *Effect, from, to Name) {
	if s.tables[to] != nil || s.doubt[to] {
		// The name was taken: what is held is not what was there.
		s.unknown(e, from)
		s.unknown(e, to)
		e.Changed = slices.DeleteFunc(e.Changed, func(n Name) bool { return n == from })
		return
	}
	t := s.tables[from]
	s.Remove(from)
	e.Changed = slices.DeleteFunc(e.Changed, func(n Name) bool { return n == from })
	if !slices.Contains(e.Dropped, from) {
		e.Dropped = append(e.Dropped, from)
	}
	e.Dropped = slices.DeleteFunc(e.Dropped, func(n Name) bool { return n == to })
	if t == nil {
		s.unknown(e, to)
		return
	}
	moved := *t
	moved.Name = to
	s.changed(e, &moved)
}
