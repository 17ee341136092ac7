package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// converters are the custom converters of a configuration, in its order. Debezium's are Java classes; those that come with it do
// something that can be said in few words, which is done here under the same names. The first that is about a column counts.
type converters []converter

// A converter says how columns are read that are not what their type says.
type converter struct {
	class    string
	selector config.Patterns // of TinyIntOneToBooleanConverter; empty: all
	anyWidth bool            // not only columns of the display width 1
	booleans config.Patterns // of JdbcSinkDataTypesConverter; empty: none
	reals    config.Patterns
	strings  config.Patterns
	floats   bool // reals are read as float32
}

const (
	tinyIntClass  = "TinyIntOneToBooleanConverter"
	jdbcSinkClass = "JdbcSinkDataTypesConverter"
)

// converterFamilies are the properties of converters. A star stands for a converter's name.
func converterFamilies() []string {
	return []string{"*.type", "*.selector", "*.length.checker", "*.selector.boolean", "*.selector.real", "*.selector.string", "*.treat.real.as.double"}
}

// parseConverters reads what the configuration says about the converters that it names, and returns every mistake.
func parseConverters(names []string, props map[string]string) (converters, []config.Problem) {
	var list converters
	var problems []config.Problem
	for _, name := range names {
		p := converterParser{name: name, props: props}
		list = append(list, p.parse())
		problems = append(problems, p.problems...)
	}
	return list, problems
}

type converterParser struct {
	name     string
	props    map[string]string
	problems []config.Problem
}

func (p *converterParser) parse() converter {
	key := p.name + ".type"
	class := strings.TrimSpace(p.props[key])
	if config.HasPlaceholder(class) {
		return converter{}
	}
	simple := class
	for _, where := range []string{"io.debezium.connector.binlog.converters.", "io.debezium.connector.mysql.converters.", "io.debezium.connector.mariadb.converters."} {
		simple = strings.TrimPrefix(simple, where)
	}
	c := converter{class: simple}
	switch simple {
	case tinyIntClass:
		c.selector = p.patterns("selector")
		c.anyWidth = !p.flag("length.checker")
	case jdbcSinkClass:
		c.booleans, c.reals, c.strings = p.patterns("selector.boolean"), p.patterns("selector.real"), p.patterns("selector.string")
		c.floats = !p.flag("treat.real.as.double")
	case "":
		p.report("converters", "names %s, and %s is missing, which says what that is; known are %s and %s", p.name, key, tinyIntClass, jdbcSinkClass)
	default:
		p.report(key, "%q is a Java class, which can't run here; known are io.debezium.connector.binlog.converters.%s and .%s: remove %s from converters, and use a transform",
			class, tinyIntClass, jdbcSinkClass, p.name)
	}
	return c
}

func (p *converterParser) report(key, format string, args ...any) {
	p.problems = append(p.problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
}

// patterns reads a list of expressions on database.table.column.
func (p *converterParser) patterns(property string) config.Patterns {
	key := p.name + "." + property
	text := p.props[key]
	if config.HasPlaceholder(text) {
		return config.Patterns{}
	}
	list, err := config.ParsePatterns(text)
	if err != nil {
		p.report(key, "%v", err)
	}
	return list
}

// flag reads a property that is true by default.
func (p *converterParser) flag(property string) bool {
	key := p.name + "." + property
	switch text := strings.ToLower(strings.TrimSpace(p.props[key])); {
	case text == "false":
		return false
	case text != "" && text != "true" && !config.HasPlaceholder(text):
		p.report(key, "%q is neither true nor false", text)
	}
	return true
}

// declare returns the columns with what the converters make of tinyints. Columns of the key stay numbers: rows with 1 and 2 would
// share one.
func (l converters) declare(table change.TableName, columns []binlog.Column, key []string) []binlog.Column {
	if len(l) == 0 {
		return columns
	}
	columns = slices.Clone(columns)
	for i := range columns {
		c := &columns[i]
		if c.Base != "tinyint" || slices.Contains(key, c.Name) {
			continue
		}
		name := table.String() + "." + c.Name
		for k := range l {
			if c.Truth = l[k].truth(name, c); c.Truth != binlog.Numbers {
				break
			}
		}
	}
	return columns
}

// truth returns how the tinyint of that name is read.
func (v *converter) truth(name string, c *binlog.Column) binlog.Truth {
	switch {
	case v.class == tinyIntClass && (v.anyWidth || c.Length == 1) && (v.selector.Empty() || v.selector.Match(name)):
		return binlog.Booleans
	case v.class == jdbcSinkClass && v.booleans.Match(name):
		return binlog.Flags
	}
	return binlog.Numbers
}

// describe sets what the converters say of a column besides.
func (l converters) describe(table change.TableName, c *binlog.Column, made *change.Column) {
	name := table.String() + "." + c.Name
	for i := range l {
		v := &l[i]
		switch {
		case v.class != jdbcSinkClass || v.booleans.Match(name):
		case v.reals.Match(name) && made.Type.Kind == change.Float32:
			if made.Type.Render = change.RenderDouble; v.floats {
				made.Type.Render = change.RenderDefault
			}
			return
		case v.strings.Match(name) && c.Charset != "":
			made.Params = append(made.Params, change.Param{Name: "__debezium.source.column.character_set", Value: c.Charset})
			return
		}
	}
}
