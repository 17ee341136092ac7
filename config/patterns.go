package config

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Bounds of a pattern list. They keep a hostile configuration from costing more than a moment.
const (
	maxPatternText  = 16 << 20 // bytes of a whole list
	maxPatternEntry = 4 << 10  // bytes of one regular expression; a plain name is bounded by maxPatternText only
	maxPatternSteps = 1 << 20  // instructions of all compiled expressions of a list together
)

// Patterns is a comma-separated list of names and regular expressions, as include and exclude lists use it:
//
//	public.orders, public\.customer_\d+, audit\..*
//
// Each entry must match the whole name (it is anchored) and upper and lower case differ, as they do in a database. An
// entry without regular expression characters other than dots is a plain name, and its dots are dots: public.a
// matches neither public.ab nor publicXa. Any other entry is an expression in RE2 syntax, in which an unescaped dot
// stands for any character, as in Debezium. A comma inside (), [] or {} or after a backslash does not separate.
//
// The zero Patterns is empty and matches nothing. Patterns is immutable after UnmarshalText and then safe for
// concurrent use.
type Patterns struct {
	text    string
	entries []string
	plain   map[string]struct{}
	regexes []*regexp.Regexp
}

// ParsePatterns parses a list. The error names the first entry that is wrong.
func ParsePatterns(text string) (Patterns, error) {
	if len(text) > maxPatternText {
		return Patterns{}, fmt.Errorf("the list has %d bytes, more than %d", len(text), maxPatternText)
	}
	p := Patterns{text: text, plain: map[string]struct{}{}}
	steps := 0
	for _, entry := range splitPatterns(text) {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		p.entries = append(p.entries, entry)
		if isPlainName(entry) {
			p.plain[entry] = struct{}{}
			continue
		}
		name, n, err := examine(entry)
		if err != nil {
			return Patterns{}, err
		}
		if name != "" {
			p.plain[name] = struct{}{}
			continue
		}
		if steps += n; steps > maxPatternSteps {
			return Patterns{}, errors.New("the regular expressions of the list are too large together")
		}
		re, err := regexp.Compile(`\A(?:` + entry + `)\z`)
		if err != nil {
			return Patterns{}, patternError(entry, err)
		}
		p.regexes = append(p.regexes, re)
	}
	return p, nil
}

// UnmarshalText implements encoding.TextUnmarshaler, so that a field of a plugin's configuration can be Patterns.
func (p *Patterns) UnmarshalText(text []byte) error {
	parsed, err := ParsePatterns(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// Match reports whether an entry of the list matches the whole of name. Its cost grows with the number of regular
// expressions, not with the number of plain names: ask once for each table, not for each row.
func (p Patterns) Match(name string) bool {
	if _, ok := p.plain[name]; ok {
		return true
	}
	for _, re := range p.regexes {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}

// Empty reports whether the list has no entry.
func (p Patterns) Empty() bool { return len(p.entries) == 0 }

// Entries returns the entries as they were written. The caller must not change them.
func (p Patterns) Entries() []string { return p.entries }

// String returns the list as it was written.
func (p Patterns) String() string { return p.text }

// MarshalText implements encoding.TextMarshaler.
func (p Patterns) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// isPlainName reports whether entry has no regular expression character but dots. A $ that is not the last character
// can't be an anchor of anything and is part of a name, as in MySQL's and Oracle's system tables.
func isPlainName(entry string) bool {
	return !strings.ContainsAny(entry, `\*+?()[]{}|^`) && !strings.HasSuffix(entry, "$")
}

// examine parses an entry and returns the name if it matches only that one (public\.orders), or else the number of
// steps of its program.
func examine(entry string) (name string, steps int, err error) {
	if len(entry) > maxPatternEntry {
		return "", 0, fmt.Errorf("a regular expression of the list has %d bytes, more than %d", len(entry), maxPatternEntry)
	}
	re, err := syntax.Parse(entry, syntax.Perl)
	if err != nil {
		return "", 0, patternError(entry, err)
	}
	re = re.Simplify()
	if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 {
		return string(re.Rune), 0, nil
	}
	prog, err := syntax.Compile(re)
	if err != nil {
		return "", 0, patternError(entry, err)
	}
	return "", len(prog.Inst), nil
}

func patternError(entry string, err error) error {
	var s *syntax.Error
	if !errors.As(err, &s) {
		return fmt.Errorf("%q is not a regular expression: %w", entry, err)
	}
	hint := ""
	switch {
	case s.Code == syntax.ErrInvalidPerlOp:
		hint = "; lookahead, lookbehind and possessive quantifiers are not supported, use an exclude list"
	case s.Code == syntax.ErrMissingRepeatArgument && strings.HasPrefix(entry, "*"):
		hint = "; this is a regular expression: write .* for anything"
	case s.Code == syntax.ErrInvalidRepeatSize, s.Code == syntax.ErrLarge:
		hint = "; it is too large"
	}
	return fmt.Errorf("%q is not a valid regular expression: %s: %q%s", entry, s.Code, s.Expr, hint)
}

// splitPatterns cuts text at the commas that are not escaped and not inside brackets.
func splitPatterns(text string) []string {
	var list []string
	start, round, curly, class := 0, 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '(':
			round++
		case c == ')':
			round = max(0, round-1)
		case c == '{':
			curly++
		case c == '}':
			curly = max(0, curly-1)
		case c == ',' && round == 0 && curly == 0:
			list = append(list, text[start:i])
			start = i + 1
		}
	}
	return append(list, text[start:])
}
