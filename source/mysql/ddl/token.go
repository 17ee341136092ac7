package ddl

import "strings"

// A Dialect is how a statement is to be read.
type Dialect struct {
	MariaDB bool
	Version int // of the server: 100611 for MariaDB 10.6.11, 80015 for MySQL 8.0.15; 0 executes all comments
	// AnsiQuotes and NoBackslash are modes of the session (sql_mode ANSI_QUOTES, NO_BACKSLASH_ESCAPES).
	AnsiQuotes  bool
	NoBackslash bool
	// ImplicitTimestamps is explicit_defaults_for_timestamp = OFF: a TIMESTAMP is NOT NULL unless it says NULL.
	ImplicitTimestamps bool
	// FoldNames is lower_case_table_names other than 0: names of databases and tables are held in lower case.
	FoldNames bool
	// Charset is that of the session's collation_server: of databases that name none.
	Charset string
}

// fold returns a name of a database or table as it is held.
func (d *Dialect) fold(name string) string {
	if d.FoldNames {
		return strings.ToLower(name)
	}
	return name
}

// A token is a word, a quoted name, a constant or a sign.
type token struct {
	text string // as written, without quotes
	kind tokenKind
}

type tokenKind uint8

const (
	wordToken tokenKind = iota
	nameToken           // in backticks, or in double quotes with ANSI_QUOTES
	stringToken
	signToken
)

// is reports whether the token is one of the words, which are in lower case.
func (t token) is(words ...string) bool {
	if t.kind != wordToken && t.kind != signToken {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.text, w) {
			return true
		}
	}
	return false
}

// scanner splits SQL into tokens.
type scanner struct {
	text    string
	off     int
	dialect *Dialect
}

// scan returns the tokens of a statement, without comments, but with what the server executes in them.
func scan(text string, d *Dialect) []token {
	s := scanner{text: text, dialect: d}
	var all []token
	for s.off < len(s.text) {
		if t, ok := s.next(); ok {
			all = append(all, t)
		}
	}
	return all
}

func (s *scanner) next() (token, bool) {
	rest := s.text[s.off:]
	c := rest[0]
	switch {
	case c <= ' ':
		s.off++
		return token{}, false
	case strings.HasPrefix(rest, "/*"):
		s.comment(rest)
		return token{}, false
	case strings.HasPrefix(rest, "*/"): // the end of what is executed
		s.off += 2
		return token{}, false
	case c == '#', strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
		s.skipTo("\n")
		return token{}, false
	case c == '`':
		return token{s.quoted('`'), nameToken}, true
	case c == '"' && s.dialect.AnsiQuotes:
		return token{s.quoted('"'), nameToken}, true
	case c == '"', c == '\'':
		return token{s.quoted(c), stringToken}, true
	case isWord(c):
		n := 1
		for n < len(rest) && isWord(rest[n]) {
			n++
		}
		s.off += n
		return token{rest[:n], wordToken}, true
	}
	s.off++
	return token{rest[:1], signToken}, true
}

func isWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '@' || c >= 0x80
}

func (s *scanner) skipTo(mark string) {
	if n := strings.Index(s.text[s.off:], mark); n >= 0 {
		s.off += n + len(mark)
	} else {
		s.off = len(s.text)
	}
}

// comment passes over a comment, or over the head of one that the server executes.
func (s *scanner) comment(rest string) {
	n := len("/*")
	mine := true
	if strings.HasPrefix(rest[n:], "M!") {
		mine = s.dialect.MariaDB
		n++
	}
	if !strings.HasPrefix(rest[n:], "!") {
		s.off += len("/*")
		s.skipTo("*/")
		return
	}
	n++
	version, digits := 0, 0
	for digits < 6 && n+digits < len(rest) && rest[n+digits] >= '0' && rest[n+digits] <= '9' {
		version = version*10 + int(rest[n+digits]-'0')
		digits++
	}
	if digits < 5 {
		version, digits = 0, 0
	}
	// MariaDB leaves out what is meant for versions of MySQL that it does not follow.
	foreign := s.dialect.MariaDB && rest[2] != 'M' && version >= 50700 && version <= 99999
	if !mine || foreign || s.dialect.Version != 0 && version > s.dialect.Version {
		s.off += len("/*")
		s.skipTo("*/")
		return
	}
	s.off += n + digits
}

// quoted reads what stands in quotes. Doubled quotes are one; in strings a backslash gives the next character its meaning.
func (s *scanner) quoted(q byte) string {
	var b strings.Builder
	escapes := q == '\'' || q == '"' && !s.dialect.AnsiQuotes
	for s.off++; s.off < len(s.text); s.off++ {
		switch c := s.text[s.off]; {
		case c == '\\' && escapes && !s.dialect.NoBackslash && s.off+1 < len(s.text):
			s.off++
			b.WriteString(escaped(s.text[s.off]))
		case c != q:
			b.WriteByte(c)
		case s.off+1 < len(s.text) && s.text[s.off+1] == q:
			s.off++
			b.WriteByte(q)
		default:
			s.off++
			return b.String()
		}
	}
	return b.String()
}

func escaped(c byte) string {
	switch c {
	case '0':
		return "\x00"
	case 'b':
		return "\b"
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case 'Z':
		return "\x1a"
	case '%', '_':
		return "\\" + string(c)
	}
	return string(c)
}
