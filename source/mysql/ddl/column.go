package ddl

import (
	"slices"
	"strings"
	"unicode"

	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// A definition is a column as a statement declares it.
type definition struct {
	name      string
	typ       string // as binlog.ParseColumn reads it
	charset   string // declared, or that of the declared collation
	null      bool   // NULL was said
	notNull   bool
	key       bool // PRIMARY KEY
	invisible bool
	generated bool
	added     bool // by ALTER TABLE ADD
	at        place
}

// definition reads name, type and attributes of a column.
func (p *parser) definition() definition {
	d := definition{name: p.identifier()}
	p.columnType(&d)
	for !p.failed && !p.end() && !p.is(",", ")") {
		p.attribute(&d)
	}
	return d
}

// columnType reads a type: its words, what stands in parentheses, and UNSIGNED, SIGNED, ZEROFILL. Labels are written again
// as information_schema does.
func (p *parser) columnType(d *definition) {
	var b strings.Builder
	b.WriteString(p.identifier())
	for p.is("precision", "varying", "char", "character", "varchar", "varcharacter", "varbinary", "byte") && !p.are("character", "set") && !p.are("char", "set") {
		b.WriteString(" " + p.next().text)
	}
	if p.take("(") {
		b.WriteByte('(')
		for !p.end() && !p.take(")") {
			switch t := p.next(); t.kind {
			case stringToken:
				b.WriteString("'" + strings.ReplaceAll(t.text, "'", "''") + "'")
			default:
				b.WriteString(t.text)
			}
		}
		b.WriteByte(')')
	}
	for p.is("unsigned", "signed", "zerofill") {
		b.WriteString(" " + p.next().text)
	}
	d.typ = b.String()
	switch first, _, _ := strings.Cut(strings.ToLower(d.typ), " "); {
	case strings.HasPrefix(first, "serial"):
		d.notNull = true
	case strings.HasPrefix(first, "nchar"), strings.HasPrefix(first, "nvarchar"), strings.HasPrefix(first, "national"):
		d.charset = "utf8mb3"
	}
}

// attribute reads one attribute of a column.
func (p *parser) attribute(d *definition) {
	switch {
	case p.take("not", "null"):
		d.notNull, d.null = true, false
	case p.take("null"):
		d.null, d.notNull = true, false
	case p.take("primary", "key"), p.take("primary"), p.take("key"):
		d.key = true
	case p.take("character", "set"), p.take("char", "set"), p.take("charset"):
		p.takeAny("=")
		d.charset = p.charset()
	case p.take("collate"):
		p.takeAny("=")
		if c := charsetOf(p.next().text); c != "" && d.charset == "" {
			d.charset = c
		}
	case p.take("ascii"):
		d.charset = "latin1"
	case p.take("unicode"):
		d.charset = "ucs2"
	case p.take("invisible"):
		d.invisible = true
	case p.take("first"):
		d.at.first = true
	case p.take("after"):
		d.at.after = p.identifier()
	case p.take("default"), p.take("on", "update"):
		p.expression()
	case p.take("generated", "always", "as", "row"), p.take("as", "row"):
		p.takeAny("start", "end")
		d.notNull = true
	case p.take("generated", "always", "as"), p.take("as"):
		d.generated = true
		if !p.group() {
			p.failed = true
		}
	case p.take("with", "system", "versioning"), p.take("without", "system", "versioning"):
	case p.take("check"):
		if !p.group() {
			p.failed = true
		}
	case p.take("references"):
		p.skip()
	case p.take("comment"), p.take("column_format"), p.take("storage"), p.take("srid"), p.take("ref_system_id"), p.take("engine_attribute"),
		p.take("secondary_engine_attribute"):
		p.takeAny("=")
		p.next()
	case p.take("compressed"), p.take("constraint"):
		if p.takeAny("=") || p.peek().kind == nameToken || !p.is("check", ",", ")", "not", "null", "default", "comment") && p.peek().kind == wordToken {
			p.next()
		}
	case p.takeAny("unique", "key", "auto_increment", "virtual", "stored", "persistent", "visible", "binary", "not", "enforced", "secondary"):
	default:
		p.failed = true
	}
}

// expression passes over a value: a constant, a name with its arguments, or something in parentheses.
func (p *parser) expression() {
	p.takeAny("+", "-")
	if p.group() {
		return
	}
	if p.take("next", "value", "for") {
		p.name()
		return
	}
	p.next()
	for p.peek().kind == stringToken || p.is(".") || p.is("(") { // x'00', _utf8'a', 1.5, now(6)
		if !p.group() {
			if t := p.next(); t.is(".") {
				p.next()
			}
		}
	}
}

func (p *parser) charset() string {
	t := p.next()
	if t.kind == signToken {
		p.failed = true
	}
	name := strings.ToLower(t.text)
	if name == "utf8" {
		return "utf8mb3"
	}
	return name
}

// charsetOf returns the charset of a collation by its name, "" for one that goes with several (MariaDB's uca1400_ai_ci).
func charsetOf(collation string) string {
	c, _, _ := strings.Cut(strings.ToLower(collation), "_")
	switch {
	case c == "utf8":
		return "utf8mb3"
	case strings.HasPrefix(c, "uca"), c == "default":
		return ""
	}
	return c
}

// column makes the column that a definition stands for in a table.
func (d *definition) column(t *Table, dialect *Dialect) (binlog.Column, bool) {
	nullable := !d.notNull && !d.key
	base := strings.ToLower(d.typ)
	if dialect.ImplicitTimestamps && strings.HasPrefix(base, "timestamp") && !d.null && !d.generated {
		nullable = false
	}
	charset := d.charset
	if charset == "" {
		charset = t.Charset
	}
	if base == "json" && dialect.MariaDB {
		d.typ, charset = "longtext", "utf8mb4"
	}
	c, err := binlog.ParseColumn(d.name, d.typ, charset, nullable)
	if err != nil {
		return c, false
	}
	c.Invisible = d.invisible
	if !settleCharset(&c) {
		return c, false
	}
	return c, true
}

// settleCharset gives a column the charset that the server does: none to what is no text, binary types where the charset is
// binary. It widens texts that are too long for their type.
func settleCharset(c *binlog.Column) bool {
	binary := map[string]string{"char": "binary", "varchar": "varbinary", "tinytext": "tinyblob", "text": "blob", "mediumtext": "mediumblob", "longtext": "longblob"}
	switch c.Base {
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		if c.Charset == "" {
			return false
		}
		if c.Charset == "binary" {
			c.Base = binary[c.Base]
		}
	case "enum", "set":
		for i := range c.Labels {
			if c.Charset != "binary" {
				c.Labels[i] = strings.TrimRight(c.Labels[i], " ")
			}
		}
		return c.Charset != "" && !slices.ContainsFunc(c.Labels, func(label string) bool { return !certain(c.Charset, label) })
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		c.Charset = "binary"
	default:
		c.Charset = ""
	}
	return true
}

// certain reports whether the charset surely has all characters of a label: the server writes ? for those that it has not.
func certain(charset, label string) bool {
	highest := unicode.MaxASCII
	switch charset {
	case "utf8mb4", "utf16", "utf16le", "utf32":
		highest = unicode.MaxRune
	case "utf8mb3", "ucs2":
		highest = 0xFFFF
	}
	return !strings.ContainsFunc(label, func(r rune) bool { return r > highest })
}

// convert is CONVERT TO CHARACTER SET: all texts get the charset, and types that have room for their longest value.
func (t *Table) convert(charset string) bool {
	t.Charset = charset
	for i := range t.Columns {
		c := &t.Columns[i]
		switch c.Base {
		case "tinytext", "text", "mediumtext":
			sizes := []string{"tinytext", "text", "mediumtext", "longtext"}
			n := slices.Index(sizes, c.Base)
			if length := (1<<(8*(n+1)) - 1) / binlog.CharsetWidth(c.Charset) * binlog.CharsetWidth(charset); length >= 1<<(8*(n+1)) {
				c.Base = sizes[n+1]
			}
			c.Charset = charset
		case "enum", "set":
			if strings.HasPrefix(c.Charset, "ucs2") || strings.HasPrefix(c.Charset, "utf16") || c.Charset == "utf32" {
				return false // MariaDB takes the labels' bytes for characters
			}
			if slices.ContainsFunc(c.Labels, func(label string) bool { return !certain("latin1", label) }) {
				return false // and so does MySQL 9 in some cases
			}
			c.Labels, c.Charset = slices.Clone(c.Labels), charset
		case "char", "varchar", "longtext":
			c.Charset = charset
		default:
			continue
		}
		if !settleCharset(c) {
			return false
		}
	}
	return true
}
