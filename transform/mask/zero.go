package mask

import (
	"math"
	"regexp"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// zeroOf returns the value of a kind that says nothing, false if there is none.
func zeroOf(k change.Kind) (change.Value, bool) {
	switch k {
	case change.Bool, change.Int, change.Uint, change.Float32, change.Float64, change.Date, change.Time, change.Timestamp, change.TimestampTZ:
		return change.Value{Kind: k}, true
	case change.Decimal:
		return change.Value{Kind: k, Data: []byte("0")}, true
	case change.Text, change.Bytes:
		return change.Value{Kind: k, Data: []byte{}}, true
	case change.JSON:
		return change.Value{Kind: k, Data: []byte("null")}, true
	case change.UUID:
		return change.Value{Kind: k, Data: make([]byte, 16)}, true
	case change.Array:
		return change.Value{Kind: k, Data: []byte("{}")}, true
	default: // Absent and Null are no types of columns
		return change.Value{}, false
	}
}

// parse reads a replacement as a value of a text or number column.
func parse(text string, t change.Type) (change.Value, bool) {
	switch t.Kind {
	case change.Text:
		return change.Value{Kind: t.Kind, Data: []byte(text)}, t.Length <= 0 || len([]rune(text)) <= int(t.Length)
	case change.Int:
		n, err := strconv.ParseInt(text, 10, bits(t))
		return change.Value{Kind: t.Kind, Num: uint64(n)}, err == nil
	case change.Uint:
		n, err := strconv.ParseUint(text, 10, bits(t))
		return change.Value{Kind: t.Kind, Num: n}, err == nil
	case change.Float32:
		f, err := strconv.ParseFloat(text, 32)
		return change.Value{Kind: t.Kind, Num: uint64(math.Float32bits(float32(f)))}, err == nil
	case change.Float64:
		f, err := strconv.ParseFloat(text, 64)
		return change.Value{Kind: t.Kind, Num: math.Float64bits(f)}, err == nil
	case change.Decimal:
		ok := regexp.MustCompile(`\A-?(0|[1-9][0-9]*)(\.[0-9]+)?\z`).MatchString(text)
		return change.Value{Kind: t.Kind, Data: []byte(text)}, ok
	default:
		return change.Value{}, false
	}
}

func bits(t change.Type) int {
	if t.Bits == 0 {
		return 64
	}
	return int(t.Bits)
}
