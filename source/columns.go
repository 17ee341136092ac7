package source

import (
	"crypto"
	_ "crypto/md5" // the algorithms that column.mask.hash may name
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
)

// Columns is what a configuration says about columns, under Debezium's names, for every database: which are masked,
// hashed or cut, which tell their type in schemas, and which make a table's key. It is immutable.
//
//	column.mask.with.N.chars                       N asterisks, also for NULL
//	column.mask.hash.ALGORITHM.with.salt.SALT      hexadecimal hash, over the value as Java serializes it
//	column.mask.hash.v2.ALGORITHM.with.salt.SALT   the same over its UTF-8
//	column.truncate.to.N.chars                     at most N characters of UTF-16, or bytes
//	column.propagate.source.type                   the column's own type as parameters of its schema
//	datatype.propagate.source.type                 the same, chosen by the type's name
//	message.key.columns                            TABLE:COLUMN,COLUMN;...
//
// Values are regular expressions on schema.table.column (MySQL: database.table.column). The first rule that matches a
// column is the one that counts, truncation before masks before types.
type Columns struct {
	rules []columnRule
	keys  []keyRule
}

type ruleKind uint8

const (
	truncateRule ruleKind = iota
	maskRule
	hashRule
	hash2Rule
	typeRule
	datatypeRule
)

type columnRule struct {
	kind     ruleKind
	patterns config.Patterns
	length   int         // of the mask, or to which values are cut
	hash     crypto.Hash // hashRule, hash2Rule
	salt     string
}

type keyRule struct {
	table   config.Patterns
	columns []string
}

// ColumnFamilies are the families of properties that ParseColumns reads. A star stands for any text.
func ColumnFamilies() []string {
	return []string{"column.mask.with.*.chars", "column.truncate.to.*.chars", "column.mask.hash.*.with.salt.*",
		"column.propagate.source.type", "datatype.propagate.source.type"}
}

// algorithms are the hashes by their names in Java.
func algorithms() map[string]crypto.Hash {
	return map[string]crypto.Hash{"MD5": crypto.MD5, "SHA": crypto.SHA1, "SHA-1": crypto.SHA1, "SHA-224": crypto.SHA224, "SHA-256": crypto.SHA256,
		"SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512, "SHA-512/224": crypto.SHA512_224, "SHA-512/256": crypto.SHA512_256}
}

var (
	lengthName = regexp.MustCompile(`\Acolumn\.(truncate\.to|mask\.with)\.(.+)\.chars\z`)
	hashName   = regexp.MustCompile(`\Acolumn\.mask\.hash\.(v2\.)?(.+?)\.with\.salt\.(.+)\z`)
)

// ParseColumns reads the rules from a configuration and returns every mistake it finds.
func ParseColumns(props map[string]string) (*Columns, []config.Problem) {
	c := &Columns{}
	var problems []config.Problem
	for _, name := range slices.Sorted(maps.Keys(props)) {
		rule, ok, err := parseRule(name)
		if !ok {
			continue
		}
		if err == nil && !config.HasPlaceholder(props[name]) {
			rule.patterns, err = config.ParsePatterns(props[name])
		}
		if err != nil {
			problems = append(problems, config.Problem{Key: name, Message: err.Error()})
			continue
		}
		c.rules = append(c.rules, rule)
	}
	slices.SortStableFunc(c.rules, func(a, b columnRule) int { return int(a.kind) - int(b.kind) })
	if text := props["message.key.columns"]; text != "" && !config.HasPlaceholder(text) {
		var err error
		if c.keys, err = parseKeys(text); err != nil {
			problems = append(problems, config.Problem{Key: "message.key.columns", Message: err.Error()})
		}
	}
	return c, problems
}

// parseRule reads the name of a property. ok is false if it is none of a rule.
func parseRule(name string) (r columnRule, ok bool, err error) {
	switch name {
	case "column.propagate.source.type":
		return columnRule{kind: typeRule}, true, nil
	case "datatype.propagate.source.type":
		return columnRule{kind: datatypeRule}, true, nil
	}
	if m := lengthName.FindStringSubmatch(name); m != nil {
		if r.kind = maskRule; m[1] == "truncate.to" {
			r.kind = truncateRule
		}
		r.length, err = strconv.Atoi(m[2])
		if err != nil || r.length < 0 || r.length == 0 && r.kind == truncateRule {
			return r, true, fmt.Errorf("%q is not a number of characters", m[2])
		}
		return r, true, nil
	}
	m := hashName.FindStringSubmatch(name)
	if m == nil {
		return r, false, nil
	}
	if r.kind = hashRule; m[1] != "" {
		r.kind = hash2Rule
	}
	r.salt = m[3]
	known := algorithms()
	if r.hash, ok = known[strings.ToUpper(m[2])]; !ok {
		return r, true, fmt.Errorf("%q is not a hash that is known: %s", m[2], strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return r, true, nil
}

func parseKeys(text string) ([]keyRule, error) {
	var keys []keyRule
	for entry := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		i := strings.LastIndexByte(entry, ':')
		if i < 1 || i == len(entry)-1 {
			return nil, fmt.Errorf("%q is not TABLE:COLUMN,COLUMN", strings.TrimSpace(entry))
		}
		table, err := config.ParsePatterns(strings.TrimSpace(entry[:i]))
		if err != nil {
			return nil, err
		}
		rule := keyRule{table: table}
		for column := range strings.SplitSeq(entry[i+1:], ",") {
			rule.columns = append(rule.columns, strings.TrimSpace(column))
		}
		keys = append(keys, rule)
	}
	return keys, nil
}

// Key returns the columns that message.key.columns chooses as the key of a table, those alone that it has; nil: none.
func (c *Columns) Key(t change.TableName, has func(column string) bool) []string {
	var key []string
	for i := range c.keys {
		if !c.keys[i].table.Match(t.String()) {
			continue
		}
		for _, column := range c.keys[i].columns {
			if has(column) && !slices.Contains(key, column) {
				key = append(key, column)
			}
		}
	}
	return key
}

// SameColumns reports whether a and b, each without repetition, name the same columns in any order.
func SameColumns(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, n := range a {
		if !slices.Contains(b, n) {
			return false
		}
	}
	return true
}

// A NativeType is a column's type in the words of its database's JDBC driver, which parameters of schemas repeat.
type NativeType struct {
	Name    string // int4, varchar
	Length  int64  // -1: none
	Scale   int64  // -1: none
	Comment string // "": none
}

// find returns the rule that counts for a column, nil if there is none.
func (c *Columns) find(t change.TableName, column, typ string) *columnRule {
	name := t.String() + "." + column
	for i := range c.rules {
		r := &c.rules[i]
		if r.kind == datatypeRule && (r.patterns.Match(typ) || r.patterns.Match(t.String()+"."+typ)) || r.kind != datatypeRule && r.patterns.Match(name) {
			return r
		}
	}
	return nil
}

// Describe sets what the rules say of a column of table t: Masked and Params.
func (c *Columns) Describe(t change.TableName, col *change.Column, native NativeType) {
	r := c.find(t, col.Name, native.Name)
	if r == nil {
		return
	}
	param := func(name, value string) { col.Params = append(col.Params, change.Param{Name: name, Value: value}) }
	switch r.kind {
	case truncateRule:
		if native.Length < 0 || native.Length > int64(r.length) {
			col.Masked = true
			param("truncateLength", strconv.Itoa(r.length))
		}
	case maskRule, hashRule, hash2Rule:
		col.Masked = true
		param("masked", "true")
	default:
		param("__debezium.source.column.type", strings.ToUpper(native.Name))
		if native.Length >= 0 {
			param("__debezium.source.column.length", strconv.FormatInt(native.Length, 10))
		}
		if native.Scale >= 0 {
			param("__debezium.source.column.scale", strconv.FormatInt(native.Scale, 10))
		}
		param("__debezium.source.column.name", col.Name)
		if native.Comment != "" {
			param("__debezium.source.column.comment", native.Comment)
		}
	}
}
