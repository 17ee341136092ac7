package ddl

import (
	"slices"
	"strings"
)

func (s *Schemas) alter(p *parser, e *Effect) {
	for p.takeAny("online", "offline", "ignore") {
	}
	switch {
	case p.takeAny("database", "schema"):
		s.database(p, e, true)
		return
	case !p.take("table"):
		return
	}
	p.ifExists()
	n := p.name()
	if p.failed {
		return
	}
	old := s.tables[n]
	if old == nil {
		s.alterUnknown(p, e, n)
		return
	}
	for p.takeAny("wait", "nowait") {
		if p.peek().kind == wordToken && strings.Trim(p.peek().text, "0123456789") == "" {
			p.at++
		}
	}
	a := &alteration{parser: p, table: old, to: n, dropped: map[string]bool{}, changed: map[string]definition{}, renamed: map[string]string{},
		invisible: map[string]bool{}, charset: old.Charset}
	for !p.end() && !p.failed {
		a.action()
		if !p.take(",") {
			break
		}
	}
	t, ok := a.result()
	if p.failed || !ok || !p.end() && !p.is(";") {
		s.unknown(e, n)
		if a.to != n {
			s.unknown(e, a.to)
		}
		return
	}
	s.changed(e, t)
	if a.to != n {
		s.move(e, n, a.to)
	}
}

// alterUnknown is an ALTER of a table that is not held: it stays unknown, under a new name if it gets one.
func (s *Schemas) alterUnknown(p *parser, e *Effect, n Name) {
	to := n
	for ; !p.end(); p.at++ {
		for p.group() {
		}
		if p.take("rename") && !p.is("column", "index", "key") {
			p.takeAny("to", "as", "=")
			if to = p.name(); p.failed {
				return
			}
		}
	}
	if to != n {
		s.move(e, n, to)
		return
	}
	s.unknown(e, n)
}

// An alteration collects the actions of one ALTER TABLE. Columns that are dropped, changed or renamed are meant under the
// names that they had before it, those in AFTER under the names that they get: a, b can be swapped in one statement.
type alteration struct {
	*parser
	table     *Table
	to        Name
	dropped   map[string]bool       // by name in lower case
	changed   map[string]definition // likewise
	renamed   map[string]string     // likewise; RENAME COLUMN
	placed    []definition          // added or moved, in order
	invisible map[string]bool
	key       []string // ADD PRIMARY KEY
	noKey     bool     // DROP PRIMARY KEY
	charset   string   // default for columns that name none
	named     bool     // charset is that of an option
	converted string   // CONVERT TO CHARACTER SET
}

// result makes the table that the actions lead to, as the servers do: first what was there, in its place, then what was
// added or moved, in the order of the statement.
func (a *alteration) result() (*Table, bool) {
	if a.failed {
		return nil, false
	}
	t := a.table.clone()
	t.Columns, t.Charset = nil, a.charset
	key := slices.Clone(a.table.Key)
	for _, c := range a.table.Columns {
		low := strings.ToLower(c.Name)
		old := c.Name
		if a.dropped[low] {
			again := slices.ContainsFunc(a.placed, func(d definition) bool { return d.added && strings.EqualFold(d.name, old) })
			key = slices.DeleteFunc(key, func(k string) bool { return strings.EqualFold(k, old) && !again })
			continue
		}
		if to, ok := a.renamed[low]; ok {
			c.Name = to
		}
		if v, ok := a.invisible[low]; ok {
			c.Invisible = v
		}
		d, changed := a.changed[low]
		if changed {
			c.Name = d.name
		}
		for i := range key {
			if strings.EqualFold(key[i], old) {
				key[i] = c.Name + "\x00" // not to be renamed again
			}
		}
		if changed {
			if d.at.first || d.at.after != "" {
				continue
			}
			var ok bool
			if c, ok = d.column(t, a.dialect); !ok {
				return nil, false
			}
		}
		t.Columns = append(t.Columns, c)
	}
	for i := range key {
		key[i] = strings.TrimSuffix(key[i], "\x00")
	}
	for i := range a.placed {
		c, ok := a.placed[i].column(t, a.dialect)
		if !ok || t.find(c.Name) >= 0 || !t.insert(c, a.placed[i].at) {
			return nil, false
		}
	}
	if a.noKey {
		key = nil
	}
	if a.key != nil {
		key = a.key
	}
	// What a conversion does to columns of the same statement, and a default charset beside it, is left to the server.
	if a.converted != "" && (len(a.changed)+len(a.placed) > 0 || a.named || !t.convert(a.converted)) {
		return nil, false
	}
	return t, t.setKey(key)
}

func (a *alteration) must(ok bool) {
	if !ok {
		a.failed = true
	}
}

// action reads one action.
func (a *alteration) action() {
	p := a.parser
	switch {
	case p.take("add"):
		a.add()
	case p.take("drop"):
		a.drop()
	case p.take("change"):
		p.takeAny("column")
		may := p.ifExists()
		old := p.identifier()
		a.redefine(old, p.definition(), may)
	case p.take("modify"):
		p.takeAny("column")
		may := p.ifExists()
		d := p.definition()
		a.redefine(d.name, d, may)
	case p.take("rename", "column"):
		may := p.ifExists()
		from := p.identifier()
		p.expect("to")
		a.renameColumn(from, p.identifier(), may)
	case p.take("rename", "index"), p.take("rename", "key"):
		p.skip()
	case p.take("rename"):
		p.takeAny("to", "as", "=")
		a.to = p.name()
	case p.take("alter"):
		a.alterColumn()
	case p.take("convert", "to"):
		a.convert()
	default:
		a.option()
	}
}

func (a *alteration) add() {
	p := a.parser
	if p.takeAny("partition") || p.are("system", "versioning") {
		a.must(!p.are("system", "versioning"))
		p.skip()
		return
	}
	var key []string
	if p.constraint(&key) {
		if key != nil {
			a.key = key
		}
		p.skip()
		return
	}
	p.takeAny("column")
	may := p.ifNotExists()
	if !p.take("(") {
		a.addColumn(p.definition(), may)
		return
	}
	for !p.failed && !p.end() {
		a.addColumn(p.definition(), may)
		if p.take(")") {
			return
		}
		p.expect(",")
	}
}

func (a *alteration) addColumn(d definition, may bool) {
	if may && a.table.find(d.name) >= 0 {
		return
	}
	d.added = true
	a.placed = append(a.placed, d)
	if d.key {
		a.key = []string{d.name}
	}
}

func (a *alteration) drop() {
	p := a.parser
	switch {
	case p.take("primary", "key"):
		a.noKey = true
	case p.takeAny("index", "key", "constraint", "check", "partition"), p.take("foreign", "key"), p.are("period", "for"):
		p.skip()
	case p.are("system", "versioning"):
		a.failed = true
	default:
		p.takeAny("column")
		may := p.ifExists()
		name := p.identifier()
		p.takeAny("restrict", "cascade")
		a.must(a.table.find(name) >= 0 || may)
		a.dropped[strings.ToLower(name)] = true
	}
}

// redefine is CHANGE and MODIFY.
func (a *alteration) redefine(old string, d definition, may bool) {
	if a.table.find(old) < 0 {
		a.must(may)
		return
	}
	if a.changed[strings.ToLower(old)] = d; d.at.first || d.at.after != "" {
		a.placed = append(a.placed, d)
	}
	if d.key {
		a.key = []string{d.name}
	}
}

func (a *alteration) renameColumn(from, to string, may bool) {
	if a.table.find(from) < 0 {
		a.must(may)
		return
	}
	a.renamed[strings.ToLower(from)] = to
}

// alterColumn is ALTER [COLUMN] c SET DEFAULT, and ALTER INDEX i VISIBLE.
func (a *alteration) alterColumn() {
	p := a.parser
	if p.takeAny("index", "key", "check", "constraint") {
		p.skip()
		return
	}
	p.takeAny("column")
	p.ifExists()
	name := strings.ToLower(p.identifier())
	switch {
	case p.take("set", "invisible"):
		a.invisible[name] = true
	case p.take("set", "visible"):
		a.invisible[name] = false
	default:
		p.skip()
	}
}

func (a *alteration) convert() {
	p := a.parser
	if !p.take("character", "set") && !p.take("charset") {
		a.failed = true
		return
	}
	charset := p.charset()
	if p.take("collate") {
		p.takeAny("=")
		if c := charsetOf(p.next().text); c != "" && charset == "default" {
			charset = c
		}
	}
	if charset == "default" {
		a.failed = true // that of the database, perhaps with another collation
		return
	}
	a.converted, a.charset = charset, charset
}

// option reads an option of the table, or a phrase about partitions, which change no column.
func (a *alteration) option() {
	p := a.parser
	if p.are("system", "versioning") {
		a.failed = true
		return
	}
	p.take("default")
	switch {
	case p.take("character", "set"), p.take("charset"), p.take("char", "set"):
		p.takeAny("=")
		a.charset = p.charset()
		a.named = true
		a.must(a.charset != "default")
		a.more()
		return
	case p.take("collate"):
		p.takeAny("=")
		if c := charsetOf(p.next().text); c != "" {
			a.charset = c
		}
		a.named = true
		a.more()
		return
	case p.is("order", "partition", "remove", "reorganize", "coalesce", "truncate", "analyze", "check", "optimize", "rebuild", "repair", "exchange",
		"discard", "import"):
		for !p.end() { // they stand alone or last, and have commas of their own
			p.at++
		}
		return
	case p.take("enable", "keys"), p.take("disable", "keys"), p.take("force"):
		return
	}
	a.must(a.harmless())
	a.more()
}

// harmless reads an option that changes no column.
func (a *alteration) harmless() bool {
	p := a.parser
	switch {
	case p.take("with", "validation"), p.take("without", "validation"), p.take("secondary_load"), p.take("secondary_unload"):
		return true
	case p.take("data", "directory"), p.take("index", "directory"):
	case p.takeAny("engine", "type", "auto_increment", "avg_row_length", "checksum", "table_checksum", "comment", "compression", "connection",
		"delay_key_write", "encryption", "encrypted", "encryption_key_id", "insert_method", "key_block_size", "max_rows", "min_rows", "pack_keys",
		"page_checksum", "page_compressed", "page_compression_level", "password", "row_format", "sequence", "stats_auto_recalc",
		"stats_persistent", "stats_sample_pages", "tablespace", "storage", "transactional", "union", "autoextend_size", "engine_attribute",
		"secondary_engine", "secondary_engine_attribute", "ietf_quotes", "algorithm", "lock"):
	default:
		return false
	}
	p.takeAny("=")
	if !p.group() {
		p.next()
	}
	return true
}

// more reads options that follow without a comma.
func (a *alteration) more() {
	for !a.end() && !a.failed && !a.is(",", ";") {
		a.option()
	}
}
