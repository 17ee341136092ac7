package envelope

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/tailrace/tailrace/change"
)

// adjustName changes the full name of a schema into one that Avro allows: a letter or underscore, then letters, digits,
// underscores and dots.
func adjustName(name string, a change.Adjust) string { return adjust(name, a, true) }

// adjustField does the same for the name of a field, which has no dots.
func adjustField(name string, a change.Adjust) string { return adjust(name, a, false) }

func adjust(name string, a change.Adjust, dots bool) string {
	if a == change.AdjustNone {
		return name
	}
	unicode := a == change.AdjustAvroUnicode
	var b strings.Builder
	for i, c := range utf16.Encode([]rune(name)) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' && !unicode
		digit := c >= '0' && c <= '9'
		switch {
		case letter, i > 0 && digit, i > 0 && dots && c == '.':
			b.WriteByte(byte(c))
		case unicode:
			fmt.Fprintf(&b, "_u%04x", c)
		default:
			b.WriteByte('_')
			if digit { // the first: two names that differ in it must not become one
				b.WriteByte(byte(c))
			}
		}
	}
	return b.String()
}
