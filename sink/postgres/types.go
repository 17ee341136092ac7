package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// typeFor returns the type that a column is made with: the source's own if it is PostgreSQL's and the target has it, else one
// that holds every value of the column's kind. installed tells whether the target has an extension's type.
func typeFor(t *change.Type, connector string, installed func(name string) bool) string {
	same := connector == "postgresql"
	switch t.Kind {
	case change.Bool:
		return "boolean"
	case change.Int:
		switch t.Bits {
		case 8, 16:
			return "smallint"
		case 24, 32:
			return "integer"
		}
		return "bigint"
	case change.Uint:
		switch t.Bits {
		case 8:
			return "smallint"
		case 16, 24:
			return "integer"
		case 32:
			return "bigint"
		}
		return "numeric(20,0)"
	case change.Float32:
		return "real"
	case change.Float64:
		return "double precision"
	case change.Decimal:
		if t.Precision > 0 && t.Precision <= 1000 && t.Scale >= 0 && t.Scale <= t.Precision { // what all servers take
			return fmt.Sprintf("numeric(%d,%d)", t.Precision, t.Scale)
		}
		return "numeric"
	case change.JSON:
		if same && t.Name == "json" {
			return "json"
		}
		return "jsonb"
	case change.Bytes:
		return "bytea"
	case change.UUID:
		return "uuid"
	case change.Date:
		return "date"
	case change.Time:
		if !same {
			return "interval" // MySQL's TIME goes from -838 to 838 hours
		}
		return withPrecision("time", t.Precision, " without time zone")
	case change.Timestamp:
		return withPrecision("timestamp", t.Precision, " without time zone")
	case change.TimestampTZ:
		return withPrecision("timestamp", t.Precision, " with time zone")
	case change.Array:
		if !same || t.Elem == nil {
			return "text"
		}
		if t.Elem.Semantic == change.SemanticMoney {
			return "money[]" // an array travels as the text of its database, with the currency's sign
		}
		return typeFor(t.Elem, connector, installed) + "[]"
	}
	if extension := extensionType(t, same); extension != "" {
		if installed(extension) {
			return extension
		}
		return "text"
	}
	switch {
	case same:
		return textual(t)
	case t.Semantic == change.SemanticBits && t.Length > 0:
		return withLength("bit", t.Length)
	case t.Semantic == change.SemanticBits:
		return "bit varying"
	}
	return "text"
}

// extensionType returns the name of the type outside of the catalog's own schema, or younger than PostgreSQL 13, that takes
// the text of a column's values; "" if there is none.
func extensionType(t *change.Type, same bool) string {
	switch t.Semantic {
	case change.SemanticGeometry, change.SemanticGeography, change.SemanticHStore, change.SemanticLTree:
		return t.Semantic
	case change.SemanticVector, "", change.SemanticFloatVector, change.SemanticSparseVector, change.SemanticUnknown:
	default:
		return ""
	}
	if !same {
		return "" // MySQL's VECTOR is text: nothing is lost, and no extension needed
	}
	switch t.Name {
	case "hstore", "ltree", "citext", "geometry", "geography", "vector", "halfvec", "sparsevec",
		"int4multirange", "int8multirange", "nummultirange", "datemultirange", "tsmultirange", "tstzmultirange":
		return t.Name
	}
	return ""
}

func withPrecision(base string, p int32, zone string) string {
	if p < 0 || p >= 6 {
		return base + zone
	}
	return base + "(" + strconv.Itoa(int(p)) + ")" + zone
}

// textual returns the type of a column whose values travel as text: the built-in types by their name, everything else
// (enums, domains, composites, extensions) as text.
func textual(t *change.Type) string {
	switch t.Name {
	case "character varying", "varchar":
		return withLength("character varying", t.Length)
	case "character", "char", "bpchar":
		if t.Length == 0 {
			return "bpchar"
		}
		return withLength("character", t.Length)
	case "bit":
		return withLength("bit", max(t.Length, 1))
	case "bit varying", "varbit":
		return withLength("bit varying", t.Length)
	case "time with time zone", "timetz":
		return withPrecision("time", t.Precision, " with time zone")
	case "inet", "cidr", "macaddr", "macaddr8", "interval", "money", "xml", "name", "pg_lsn",
		"point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery",
		"int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange":
		return t.Name
	}
	return "text"
}

func withLength(base string, n int32) string {
	if n == 0 {
		return base
	}
	return base + "(" + strconv.Itoa(int(n)) + ")"
}

// fit is how a column of the target takes the values of a type.
type fit uint8

const (
	fits    fit = iota // every value fits, or the server refuses those that don't
	widen              // the column can be made wider without changing a value
	differs            // values would change silently, or none would fit
)

// compare tells how a column of type have takes values of type want, both as PostgreSQL's format_type writes them, and
// the type to widen it to.
func compare(want, have string) (fit, string) {
	if want == have || have == "text" || have == "character varying" {
		return fits, ""
	}
	w, wp := split(want)
	h, hp := split(have)
	if w == h {
		return compareModifiers(w, want, wp, hp)
	}
	switch {
	case w == "numeric" && h == "money": // which rounds to the fraction digits of the target's locale, as the source's did
		return fits, ""
	case rank(w) > 0 && rank(h) > 0: // smallint integer bigint numeric
		return compareNumbers(want, w, h, wp, hp)
	case w == "real" && h == "double precision", (w == "real" || w == "double precision") && h == "numeric" && hp == nil:
		return fits, ""
	case w == "double precision" && h == "real":
		return widen, want
	case isText(w) && isText(h):
		return widen, "text"
	case isText(w) && known(h):
		return widen, "text"
	case isJSON(h), isText(h):
		return fits, ""
	case known(w) && known(h):
		return differs, ""
	}
	return fits, "" // a type of the target's own: its input function decides, row by row
}

// split takes the modifiers out of a type: timestamp(3) with time zone, 3.
func split(s string) (base string, modifiers []int) {
	open, end := strings.IndexByte(s, '('), strings.IndexByte(s, ')')
	if open < 0 || end < open {
		return s, nil
	}
	for p := range strings.SplitSeq(s[open+1:end], ",") {
		n, err := strconv.Atoi(p)
		if err != nil {
			return s, nil
		}
		modifiers = append(modifiers, n)
	}
	return s[:open] + s[end+1:], modifiers
}

func compareModifiers(base, want string, wp, hp []int) (fit, string) {
	switch {
	case hp == nil:
		return fits, ""
	case base == "numeric":
		return compareNumeric(want, wp, hp)
	case wp != nil && wp[0] <= hp[0] && base != "bit":
		return fits, ""
	case base == "bit":
		return widen, "bit varying"
	}
	return widen, want
}

// compareNumeric compares numeric(p,s); without modifiers a numeric takes everything.
func compareNumeric(want string, wp, hp []int) (fit, string) {
	if len(wp) == 2 && len(hp) == 2 {
		if wp[1] <= hp[1] && wp[0]-wp[1] <= hp[0]-hp[1] {
			return fits, ""
		}
		if wp[1] >= hp[1] && wp[0]-wp[1] >= hp[0]-hp[1] {
			return widen, want
		}
	}
	return widen, "numeric"
}

func rank(base string) int {
	switch base {
	case "smallint":
		return 1
	case "integer":
		return 2
	case "bigint":
		return 3
	case "numeric":
		return 4
	}
	return 0
}

func compareNumbers(want, w, h string, wp, hp []int) (fit, string) {
	switch {
	case h == "numeric" && hp == nil, h != "numeric" && rank(h) > rank(w):
		return fits, ""
	case h == "numeric": // an integer into numeric(p,s): room for its digits?
		if len(hp) == 2 && hp[0]-hp[1] >= digits(w) {
			return fits, ""
		}
		return widen, "numeric"
	case w == "numeric" && len(wp) == 2 && wp[0]-wp[1] >= digits(h):
		return widen, want
	case w == "numeric":
		return widen, "numeric"
	}
	return widen, want
}

// digits returns how many decimal digits an integer type needs.
func digits(base string) int { return [...]int{0, 5, 10, 19, 0}[rank(base)] }

func isText(base string) bool {
	return base == "text" || base == "character varying" || base == "character" || base == "bpchar"
}

func isJSON(base string) bool { return base == "json" || base == "jsonb" }

// known reports whether base is a type that typeFor makes columns with.
func known(base string) bool {
	if b, ok := strings.CutSuffix(base, "[]"); ok {
		return known(b)
	}
	switch base {
	case "boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "json", "jsonb", "bytea", "uuid",
		"date", "interval", "timestamp without time zone", "timestamp with time zone", "time without time zone", "time with time zone", "text":
		return true
	}
	return isText(base) || textual(&change.Type{Name: base}) != "text"
}
