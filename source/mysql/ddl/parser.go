package ddl

// A Name names a table.
type Name struct{ Database, Table string }

// String returns database.table.
func (n Name) String() string { return n.Database + "." + n.Table }

// parser reads tokens. The first failure sticks.
type parser struct {
	tokens   []token
	at       int
	database string // the session's default one
	dialect  *Dialect
	failed   bool
}

func (p *parser) end() bool { return p.at >= len(p.tokens) }

func (p *parser) peek() token {
	if p.end() {
		return token{kind: signToken}
	}
	return p.tokens[p.at]
}

func (p *parser) next() token {
	t := p.peek()
	p.at++
	return t
}

func (p *parser) is(words ...string) bool { return p.peek().is(words...) }

// are reports whether the next tokens are these words.
func (p *parser) are(words ...string) bool {
	for i, w := range words {
		if p.at+i >= len(p.tokens) || !p.tokens[p.at+i].is(w) {
			return false
		}
	}
	return true
}

// take takes the next tokens if they are these words.
func (p *parser) take(words ...string) bool {
	if !p.are(words...) {
		return false
	}
	p.at += len(words)
	return true
}

// takeAny takes the next token if it is one of the words.
func (p *parser) takeAny(words ...string) bool {
	if p.is(words...) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(words ...string) {
	if !p.take(words...) {
		p.failed = true
	}
}

// identifier reads a name, quoted or not.
func (p *parser) identifier() string {
	t := p.next()
	if t.kind != wordToken && t.kind != nameToken || t.text == "" {
		p.failed = true
	}
	return t.text
}

// name reads [database.]table.
func (p *parser) name() Name {
	first := p.folded()
	if p.take(".") {
		return Name{first, p.folded()}
	}
	return Name{p.database, first}
}

// folded reads the name of a database or table.
func (p *parser) folded() string { return p.dialect.fold(p.identifier()) }

// ifExists and ifNotExists read these phrases.
func (p *parser) ifExists() bool    { return p.take("if", "exists") }
func (p *parser) ifNotExists() bool { return p.take("if", "not", "exists") }

// group passes over what stands in parentheses, if the next token opens one.
func (p *parser) group() bool {
	if !p.is("(") {
		return false
	}
	depth := 0
	for !p.end() {
		switch t := p.next(); {
		case t.is("("):
			depth++
		case t.is(")"):
			if depth--; depth == 0 {
				return true
			}
		}
	}
	p.failed = true
	return true
}

// skip passes over tokens up to a comma or closing parenthesis that is not in parentheses itself, or the end.
func (p *parser) skip() {
	for !p.end() && !p.is(",", ")") {
		if !p.group() {
			p.at++
		}
	}
}

// columnList reads (name [(length)] [ASC | DESC], ...): the columns of an index. An expression gives "".
func (p *parser) columnList() (columns []string) {
	p.expect("(")
	for !p.end() && !p.failed {
		if p.is("(") {
			p.group()
			columns = append(columns, "")
		} else {
			columns = append(columns, p.identifier())
			p.group()
		}
		p.takeAny("asc", "desc")
		if p.take(")") {
			return columns
		}
		p.expect(",")
	}
	p.failed = true
	return nil
}
