package postgres

import (
	"regexp"
	"strings"

	"github.com/tailrace/tailrace/change"
)

// The defaults of columns are expressions. Debezium shows those that are a constant, as 7 or 'a'::text, and for a call of
// a function the zero of the type; it knows them for the types below. Of an expression in which a text occurs it takes the
// first text. We show the same: only readers of schemas see it, since NULL stays NULL.
var (
	callDefault = regexp.MustCompile(`\A\(?[A-Za-z0-9_.]+\((?:.+(?:, ?.+)*)?\)`)
	textDefault = regexp.MustCompile(`'(.*?)'`)
)

// zeroDefault returns the text that stands for what a function returns, and whether defaults of the type are shown at all.
func zeroDefault(oid uint32) (text string, known bool) {
	switch oid {
	case oidBool:
		return "f", true
	case oidBpchar, oidVarchar, oidText, oidXML:
		return "", true
	case oidJSON, oidJSONB:
		return "{}", true
	case oidNumeric, oidFloat4, oidFloat8, oidInt2, oidInt4, oidInt8, oidVarbit:
		return "0", true
	case oidBit:
		return "00", true
	case oidUUID:
		return "00000000-0000-0000-0000-000000000000", true
	case oidDate:
		return "1970-01-01", true
	case oidTime:
		return "00:00:00", true
	case oidTimestamp:
		return "1970-01-01 00:00:00", true
	case oidTimestampTZ:
		return "1970-01-01 00:00:00+00", true
	case oidInterval:
		return "00:00:00", true
	}
	return "", false
}

// setDefault sets the default of a column of a base type from its expression, as pg_get_expr prints it.
func setDefault(c *change.Column, oid uint32, expression string) {
	text, known := zeroDefault(oid)
	if !known || expression == "" || strings.HasPrefix(expression, "NULL::") {
		return
	}
	if !callDefault.MatchString(expression) {
		if text = expression; strings.Contains(expression, "'") {
			m := textDefault.FindStringSubmatch(expression)
			if m == nil {
				return
			}
			text = m[1]
		}
		if oid == oidBool {
			text = map[bool]string{true: "t", false: "f"}[strings.EqualFold(text, "true")]
		}
	}
	var b change.Batch
	var v change.Value
	parseValue(&b, &v, c.Type.Kind, []byte(text))
	if v.Kind != c.Type.Kind || v.Kind == change.Int && !fits(v.Int64(), c.Type.Bits) || v.Kind == change.Decimal && !isNumber(text) {
		return
	}
	c.HasDefault, c.Default = true, v
}

// fits reports whether n is an integer of so many bits.
func fits(n int64, bits uint8) bool { return bits == 64 || n>>(bits-1) == 0 || n>>(bits-1) == -1 }

// isNumber reports whether text is a decimal number.
func isNumber(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	whole, frac, _ := strings.Cut(digits, ".")
	return whole != "" && strings.Trim(whole+frac, "0123456789") == ""
}

// parseMoney reads an amount of money in the locale of the session, which has so many digits after the point: whatever else
// there is, its digits are in it, in order.
func parseMoney(b *change.Batch, v *change.Value, p []byte, digits int) {
	text := b.Bytes(len(p) + digits + 3)[:0]
	negative, n := false, 0
	for _, c := range p {
		switch {
		case c >= '0' && c <= '9':
			n++
		case c == '-' || c == '(':
			negative = true
		}
	}
	if n == 0 {
		v.Kind, v.Data = change.Text, b.Copy(p)
		return
	}
	if negative {
		text = append(text, '-')
	}
	for ; n <= digits; n++ { // there is always a digit before the point
		text = append(text, '0')
	}
	for _, c := range p {
		if c < '0' || c > '9' {
			continue
		}
		if n == digits {
			text = append(text, '.')
		}
		text = append(text, c)
		n--
	}
	v.Kind, v.Data = change.Decimal, text
}
