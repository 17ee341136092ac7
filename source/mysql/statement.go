package mysql

import (
	"strings"
)

// A statement is what we need to know of one in the binary log: what it does to which tables. It is read by a tolerant
// scan of its tokens; what it does not know is verbOther.
type statement struct {
	verb   verb
	tables []tableRef // in order; for verbRename pairs of from and to
	names  []tableRef // verbWrite: what the statement may change
}

// A tableRef names a table; Database is filled in from the statement's default one.
type tableRef struct{ Database, Table string }

func (r tableRef) String() string { return r.Database + "." + r.Table }

// verb says what a statement does.
type verb uint8

const (
	verbOther verb = iota
	verbBegin
	verbCommit
	verbRollback
	verbSavepoint    // SAVEPOINT, RELEASE
	verbRollbackTo   // ROLLBACK TO
	verbXAStart      // XA START, XA END
	verbXACommit     // XA COMMIT
	verbXARollback   // XA ROLLBACK
	verbWrite        // INSERT, UPDATE ...: a change in statement format
	verbCreate       // CREATE TABLE
	verbReplace      // CREATE OR REPLACE TABLE: the old one is dropped
	verbAlter        // ALTER TABLE, CREATE INDEX, DROP INDEX
	verbRename       // RENAME TABLE, ALTER TABLE ... RENAME
	verbDrop         // DROP TABLE
	verbTruncate     // TRUNCATE TABLE
	verbDropDatabase // DROP DATABASE; the table's name is empty
	verbDatabase     // CREATE DATABASE, ALTER DATABASE
)

// ddl reports whether the statement may have changed a table's structure.
func (v verb) ddl() bool { return v >= verbCreate }

// scanStatement reads a statement. database is the session's default one.
func scanStatement(text []byte, database string) statement {
	t := tokens{text: string(text)}
	p := &phrase{database: database}
	for {
		k, ok := t.next()
		if !ok {
			break
		}
		p.words = append(p.words, k)
		if len(p.words) >= maxTokens {
			break
		}
	}
	p.skipSet()
	return p.statement()
}

// maxTokens bounds how far into a statement we look.
const maxTokens = 1 << 16

// A token is a word, a quoted identifier, a constant or a sign.
type token struct {
	text string // words in lower case
	raw  string // words as written
	kind tokenKind
}

type tokenKind uint8

const (
	word tokenKind = iota
	quotedName
	constant
	sign
)

// tokens splits SQL. Comments are left out, but those that the servers execute.
type tokens struct {
	text string
	off  int
}

func (t *tokens) next() (token, bool) {
	for t.off < len(t.text) {
		rest := t.text[t.off:]
		c := rest[0]
		switch {
		case c <= ' ':
			t.off++
		case strings.HasPrefix(rest, "/*"):
			t.comment(rest)
		case strings.HasPrefix(rest, "*/"): // the end of an executed comment
			t.off += 2
		case c == '#', strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
			t.skipTo("\n")
		case c == '`':
			return token{text: t.quoted('`'), kind: quotedName}, true
		case c == '"':
			s := t.quoted('"')
			return token{text: s, raw: s, kind: constant}, true
		case c == '\'':
			return token{text: t.quoted('\''), kind: constant}, true
		case isWord(c):
			n := 1
			for n < len(rest) && isWord(rest[n]) {
				n++
			}
			t.off += n
			return token{text: strings.ToLower(rest[:n]), raw: rest[:n], kind: word}, true
		default:
			t.off++
			return token{text: rest[:1], kind: sign}, true
		}
	}
	return token{}, false
}

func isWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '@' || c >= 0x80
}

// comment passes over a comment, or over the head of one that the servers execute: /*!50110 and /*M!100100.
func (t *tokens) comment(rest string) {
	n := 2
	if strings.HasPrefix(rest[n:], "M") {
		n++
	}
	if !strings.HasPrefix(rest[n:], "!") {
		t.off += 2
		t.skipTo("*/")
		return
	}
	for n++; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
	}
	t.off += n
}

func (t *tokens) skipTo(mark string) {
	if n := strings.Index(t.text[t.off:], mark); n >= 0 {
		t.off += n + len(mark)
	} else {
		t.off = len(t.text)
	}
}

// quoted reads what stands in quotes; doubled ones are one, and in strings a backslash takes the next character's meaning.
func (t *tokens) quoted(q byte) string {
	var b strings.Builder
	for t.off++; t.off < len(t.text); t.off++ {
		switch c := t.text[t.off]; {
		case c == '\\' && q != '`' && t.off+1 < len(t.text):
			t.off++
			b.WriteByte(t.text[t.off])
		case c != q:
			b.WriteByte(c)
		case t.off+1 < len(t.text) && t.text[t.off+1] == q:
			t.off++
			b.WriteByte(q)
		default:
			t.off++
			return b.String()
		}
	}
	return b.String()
}

// A phrase reads the tokens of a statement.
type phrase struct {
	words    []token
	at       int
	database string
}

// is reports whether the next token is one of the words, without taking it.
func (p *phrase) is(words ...string) bool {
	if p.at >= len(p.words) || p.words[p.at].kind == quotedName || p.words[p.at].kind == constant {
		return false
	}
	for _, w := range words {
		if p.words[p.at].text == w {
			return true
		}
	}
	return false
}

// take takes the next token if it is one of the words.
func (p *phrase) take(words ...string) bool {
	if p.is(words...) {
		p.at++
		return true
	}
	return false
}

// takeAll takes tokens as long as they are among the words.
func (p *phrase) takeAll(words ...string) {
	for p.take(words...) {
	}
}

// skipSet passes over MariaDB's SET STATEMENT variables FOR.
func (p *phrase) skipSet() {
	if !p.take("set") || !p.take("statement") {
		p.at = 0
		return
	}
	for p.at < len(p.words) && !p.take("for") {
		p.at++
	}
}

// name reads [database.]table.
func (p *phrase) name() (tableRef, bool) {
	first, ok := p.part()
	if !ok {
		return tableRef{}, false
	}
	if p.take(".") {
		if second, ok := p.part(); ok {
			return tableRef{first, second}, true
		}
		return tableRef{}, false
	}
	return tableRef{p.database, first}, true
}

func (p *phrase) part() (string, bool) {
	if p.at >= len(p.words) {
		return "", false
	}
	k := p.words[p.at]
	switch {
	case k.kind == quotedName:
		p.at++
		return k.text, true
	case k.kind == word, k.kind == constant && k.raw != "": // "name" with ANSI_QUOTES
		p.at++
		return k.raw, true
	}
	return "", false
}

func (p *phrase) statement() statement {
	switch {
	case p.take("begin"), p.is("start") && p.second("transaction"):
		return statement{verb: verbBegin}
	case p.take("commit"):
		return statement{verb: verbCommit}
	case p.take("rollback"):
		if p.take("work"); p.take("to") {
			return statement{verb: verbRollbackTo}
		}
		return statement{verb: verbRollback}
	case p.take("savepoint", "release"):
		return statement{verb: verbSavepoint}
	case p.take("xa"):
		return p.xa()
	case p.take("create"):
		return p.create()
	case p.take("alter"):
		return p.alter()
	case p.take("rename"):
		return p.rename()
	case p.take("drop"):
		return p.drop()
	case p.take("truncate"):
		p.take("table")
		return p.list(verbTruncate)
	case p.is("insert", "replace", "update", "delete", "load", "with"):
		return p.write()
	}
	return statement{}
}

func (p *phrase) second(w string) bool {
	return p.at+1 < len(p.words) && p.words[p.at+1].kind == word && p.words[p.at+1].text == w
}

func (p *phrase) xa() statement {
	switch {
	case p.take("start", "begin", "end"):
		return statement{verb: verbXAStart}
	case p.take("commit"):
		return statement{verb: verbXACommit}
	case p.take("rollback"):
		return statement{verb: verbXARollback}
	}
	return statement{}
}

func (p *phrase) create() statement {
	v := verbCreate
	if p.take("or") {
		p.take("replace")
		v = verbReplace
	}
	switch {
	case p.is("temporary"):
		return statement{}
	case p.take("table", "sequence"):
		p.takeAll("if", "not", "exists")
		return p.list(v)
	case p.take("database", "schema"):
		p.takeAll("if", "not", "exists")
		return p.databaseOf(verbDatabase)
	}
	return p.index()
}

// index finds the table of CREATE [UNIQUE ...] INDEX i ON t and DROP INDEX i ON t.
func (p *phrase) index() statement {
	p.takeAll("unique", "fulltext", "spatial", "online", "offline")
	if !p.take("index") {
		return statement{}
	}
	for p.at < len(p.words) && !p.take("on") {
		p.at++
	}
	return p.list(verbAlter)
}

// list reads table [, table] ...
func (p *phrase) list(v verb) statement {
	s := statement{verb: v}
	for {
		r, ok := p.name()
		if !ok {
			break
		}
		s.tables = append(s.tables, r)
		if v != verbDrop || !p.take(",") {
			break
		}
	}
	if len(s.tables) == 0 {
		return statement{}
	}
	return s
}

func (p *phrase) databaseOf(v verb) statement {
	name, ok := p.part()
	if !ok {
		name = p.database
	}
	return statement{verb: v, tables: []tableRef{{Database: name}}}
}

func (p *phrase) drop() statement {
	switch {
	case p.is("temporary"):
		return statement{}
	case p.take("table", "tables"):
		p.takeAll("if", "exists")
		return p.list(verbDrop)
	case p.take("database", "schema"):
		p.takeAll("if", "exists")
		return p.databaseOf(verbDropDatabase)
	}
	return p.index()
}

func (p *phrase) rename() statement {
	if !p.take("table", "tables") {
		return statement{}
	}
	p.takeAll("if", "exists")
	s := statement{verb: verbRename}
	for {
		from, ok := p.name()
		for p.at < len(p.words) && !p.is("to", ",") { // WAIT n, NOWAIT
			p.at++
		}
		if !ok || !p.take("to") {
			break
		}
		to, ok := p.name()
		if !ok {
			break
		}
		s.tables = append(s.tables, from, to)
		if !p.take(",") {
			break
		}
	}
	if len(s.tables) == 0 {
		return statement{}
	}
	return s
}

func (p *phrase) alter() statement {
	p.takeAll("online", "offline", "ignore")
	if p.take("database", "schema") {
		return p.databaseOf(verbDatabase)
	}
	if !p.take("table") {
		return statement{}
	}
	p.takeAll("if", "exists")
	s := p.list(verbAlter)
	depth := 0
	for ; p.at < len(p.words) && s.verb == verbAlter; p.at++ {
		switch {
		case p.is("("):
			depth++
		case p.is(")"):
			depth--
		case depth == 0 && p.take("rename"):
			if p.is("column", "index", "key") {
				continue
			}
			p.take("to", "as", "=")
			if to, ok := p.name(); ok {
				return statement{verb: verbRename, tables: append(s.tables, to)}
			}
		}
	}
	return s
}

// write finds the tables that a statement that changes rows may change: those behind the words that introduce them.
func (p *phrase) write() statement {
	s := statement{verb: verbWrite}
	depth, list := 0, false
	for p.at < len(p.words) {
		switch {
		case p.take("("):
			depth++
			continue
		case p.take(")"):
			depth--
			continue
		case p.take("set", "where", "values", "value", "select", "on", "using"):
			list = false
			continue
		case p.take("into", "update", "from", "join", "table", "replace", "delete", "insert"):
			list = true
		case list && depth == 0 && p.take(","):
		default:
			p.at++
			continue
		}
		p.takeAll("low_priority", "high_priority", "delayed", "quick", "ignore", "into", "from", "table")
		if r, ok := p.name(); ok {
			s.names = append(s.names, r)
		}
	}
	return s
}
