package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const noAlias = "anchors and aliases are not supported: put shared properties under defaults"

// An entry is a key of a YAML map with its value.
type entry struct {
	key     string
	node    ast.Node
	at      place // of the key
	valueAt place
}

// parse returns the root node of a YAML text, nil after a syntax error.
func (l *loader) parse(text []byte) ast.Node {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if len(text) > maxFileBytes {
		l.add(place{}, "", fmt.Sprintf("the file has more than %d bytes", maxFileBytes))
		return nil
	}
	l.file.lines = strings.Split(string(text), "\n")
	if at, ok := badText(text); !ok {
		l.add(at, "", "the text is not UTF-8, or has a NUL in it")
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	if at, message := tooLarge(tokens); message != "" {
		l.add(at, "", message)
		return nil
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case body != nil:
			l.add(placeOf(d.Body), "", "a second YAML document: the file must be one")
			return body
		default:
			body = d.Body
		}
	}
	if body == nil {
		l.add(place{1, 1}, "", "the file is empty")
	}
	return body
}

func badText(text []byte) (place, bool) {
	line, from := 1, 0
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 || r == 0 {
			return place{line, utf8.RuneCount(text[from:i]) + 1}, false
		}
		i += n
		if r == '\n' {
			line, from = line+1, i
		}
	}
	return place{}, true
}

// tooLarge bounds what the parser is given: its time grows with the square of the entries of a map and of the depth.
func tooLarge(tokens token.Tokens) (place, string) {
	depth, run, entries := 0, 0, 0
	for i, t := range tokens {
		at := place{t.Position.Line, t.Position.Column}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.MappingValueType:
			entries++
		}
		switch t.Type {
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			run++
		case token.StringType, token.IntegerType:
			if i == 0 || tokens[i-1].Type != token.AnchorType {
				run = 0
			}
		default:
			run = 0
		}
		switch {
		case depth > maxDepth || run > maxDepth:
			return at, fmt.Sprintf("lists and maps are nested deeper than %d", maxDepth)
		case entries > maxEntries:
			return at, fmt.Sprintf("the file has more than %d keys", maxEntries)
		case i > maxTokens:
			return at, "the file has too many values"
		}
	}
	return place{}, ""
}

func (l *loader) syntax(err error) {
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		p := ye.GetToken().Position
		l.add(place{p.Line, p.Column}, "", "YAML syntax: "+ye.GetMessage())
		return
	}
	l.add(place{}, "", "YAML syntax error") // the text of an unknown error may quote the file
}

func placeOf(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return place{1, 1}
	}
	p := n.GetToken().Position
	return place{p.Line, p.Column}
}

// entries returns the entries of a map, without those that are wrong in themselves.
func (l *loader) entries(n ast.Node, what string) []entry {
	m, ok := n.(ast.MapNode)
	if !ok {
		switch n.Type() {
		case ast.AnchorType, ast.AliasType:
			l.add(placeOf(n), "", noAlias)
		default:
			l.add(placeOf(n), "", what+" must be a map of keys and values")
		}
		return nil
	}
	var list []entry
	first := map[string]place{}
	for it := m.MapRange(); it.Next(); {
		key, value := it.Key(), it.Value()
		e := entry{node: value, at: placeOf(key), valueAt: placeOf(value)}
		if key.IsMergeKey() {
			l.add(e.at, "<<", "merge keys are not supported: put shared properties under defaults")
			continue
		}
		if e.key, ok = plainText(key); !ok {
			l.add(e.at, "", "a key must be plain text")
			continue
		}
		if at, dup := first[e.key]; dup {
			l.add(e.at, e.key, fmt.Sprintf("is already set in line %d", at.line))
			continue
		}
		first[e.key] = e.at
		list = append(list, e)
	}
	return list
}

// properties returns a flat map of texts, with the values that are none marked as broken.
func (l *loader) properties(e entry) []property {
	if e.node.Type() == ast.NullType {
		return nil
	}
	var list []property
	for _, p := range l.entries(e.node, e.key) {
		value, ok := l.scalar(p)
		list = append(list, property{p.key, value, p.at, p.valueAt, !ok})
	}
	return list
}

// scalar returns the raw text of a value: 012, 1_000, 1.10 and yes stay what they are. A list is joined by commas.
func (l *loader) scalar(e entry) (string, bool) {
	list, ok := e.node.(*ast.SequenceNode)
	if !ok {
		return l.text(e.key, e.node)
	}
	parts := make([]string, 0, len(list.Values))
	ok = true
	for _, n := range list.Values {
		text, good := l.text(e.key, n)
		parts, ok = append(parts, text), ok && good
	}
	return strings.Join(parts, ","), ok
}

func (l *loader) text(key string, n ast.Node) (string, bool) {
	if text, ok := plainText(n); ok {
		return text, true
	}
	at := placeOf(n)
	switch n := n.(type) {
	case *ast.NullNode:
		l.add(at, key, `has no value: leave it out, or write "" for an empty text`)
	case *ast.AnchorNode, *ast.AliasNode:
		l.add(at, key, noAlias)
	case *ast.TagNode:
		l.add(at, key, "YAML tags other than !!str are not supported")
	case *ast.SequenceNode:
		l.add(at, key, "a list inside a list is not a value")
	case ast.MapNode:
		inner := "NAME"
		if it := n.MapRange(); it.Next() {
			if k, ok := plainText(it.Key()); ok {
				inner = k
			}
		}
		l.add(at, key, "a map is not a value: properties are flat, write "+key+"."+inner)
	default:
		l.add(at, key, "must be a text, number or list")
	}
	return "", false
}

// plainText returns the text of a scalar exactly as written, after quoting, folding and comments were taken away.
func plainText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.TagNode:
		if n.Start.Value == "!!str" && n.Value != nil {
			return plainText(n.Value)
		}
	}
	return "", false
}
