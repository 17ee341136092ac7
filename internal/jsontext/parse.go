package jsontext

import (
	"encoding/hex"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// ParseElem reads the text form that PostgreSQL prints of a value of type t (DateStyle ISO, TimeZone UTC), as it
// stands in arrays. Data of the value aliases text or buf, to which decoded bytes are appended. Text that t's kind
// cannot represent exactly comes back as Text.
func ParseElem(t *change.Type, text, buf []byte) (change.Value, []byte) {
	fallback := change.Value{Kind: change.Text, Data: text}
	if t == nil {
		return fallback, buf
	}
	v := change.Value{Kind: t.Kind}
	ok := false
	switch t.Kind {
	case change.Bool:
		if len(text) == 1 && (text[0] == 't' || text[0] == 'f') {
			ok = true
			if text[0] == 't' {
				v.Num = 1
			}
		}
	case change.Int:
		n, err := strconv.ParseInt(string(text), 10, 64)
		v.Num, ok = uint64(n), err == nil
	case change.Uint:
		n, err := strconv.ParseUint(string(text), 10, 64)
		v.Num, ok = n, err == nil
	case change.Float32:
		f, err := strconv.ParseFloat(string(text), 32)
		v.Num, ok = uint64(math.Float32bits(float32(f))), err == nil
	case change.Float64:
		f, err := strconv.ParseFloat(string(text), 64)
		v.Num, ok = math.Float64bits(f), err == nil
	case change.Decimal, change.Text, change.JSON, change.Array:
		v.Data, ok = text, true
	case change.Bytes:
		if len(text) >= 2 && text[0] == '\\' && text[1] == 'x' {
			v.Data, buf, ok = appendUnhex(buf, text[2:])
		}
	case change.UUID:
		v.Data, buf, ok = appendUUIDBytes(buf, text)
	case change.Date:
		n, good := ParseDate(text)
		v.Num, ok = uint64(n), good
	case change.Time:
		n, rest, good := parseClock(text)
		v.Num, ok = uint64(n), good && len(rest) == 0
	case change.Timestamp, change.TimestampTZ:
		n, good := ParseTimestamp(text)
		v.Num, ok = uint64(n), good
	}
	if !ok {
		return fallback, buf
	}
	return v, buf
}

func appendUnhex(buf, text []byte) (data, all []byte, ok bool) {
	n := len(buf)
	all, err := hex.AppendDecode(buf, text)
	if err != nil {
		return nil, buf, false
	}
	return all[n:], all, true
}

func appendUUIDBytes(buf, text []byte) (data, all []byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return nil, buf, false
	}
	all, n := buf, len(buf)
	for _, part := range [5][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		if _, all, ok = appendUnhex(all, text[part[0]:part[1]]); !ok {
			return nil, buf, false
		}
	}
	return all[n:], all, true
}

// ParseDate reads a date as PostgreSQL prints it: 2024-01-31, 0044-03-15 BC, infinity. It gives days since 1970-01-01.
func ParseDate(text []byte) (days int64, ok bool) {
	if n, ok := parseInfinity(text); ok {
		return n, true
	}
	text, bc := cutBC(text)
	days, rest, ok := parseDay(text, bc)
	return days, ok && len(rest) == 0
}

// ParseTimestamp reads a timestamp as PostgreSQL prints it, with or without a zone: 2024-01-31 12:00:00.5+02,
// 0044-03-15 12:00:00 BC, infinity. It gives microseconds since 1970-01-01 00:00:00 (UTC if there is a zone).
func ParseTimestamp(text []byte) (micros int64, ok bool) {
	if n, ok := parseInfinity(text); ok {
		return n, true
	}
	text, bc := cutBC(text)
	days, rest, ok := parseDay(text, bc)
	if !ok || len(rest) == 0 || rest[0] != ' ' && rest[0] != 'T' {
		return 0, false
	}
	clock, rest, ok := parseClock(rest[1:])
	if !ok {
		return 0, false
	}
	offset, ok := parseOffset(rest)
	if !ok || days > math.MaxInt64/microsPerDay-2 || days < math.MinInt64/microsPerDay+2 {
		return 0, false
	}
	return days*microsPerDay + clock - offset*microsPerSecond, true
}

func parseInfinity(text []byte) (int64, bool) {
	switch string(text) {
	case "infinity":
		return change.InfinityMicros, true
	case "-infinity":
		return change.NegInfinityMicros, true
	}
	return 0, false
}

func cutBC(text []byte) ([]byte, bool) {
	if n := len(text) - 3; n > 0 && string(text[n:]) == " BC" {
		return text[:n], true
	}
	return text, false
}

func parseDay(text []byte, bc bool) (days int64, rest []byte, ok bool) {
	i := digits(text, 0)
	if i < 4 || i > 7 || len(text) < i+6 || text[i] != '-' || text[i+3] != '-' {
		return 0, nil, false
	}
	year := int64(0)
	for _, c := range text[:i] {
		year = year*10 + int64(c-'0')
	}
	month, ok1 := two(text[i+1:])
	day, ok2 := two(text[i+4:])
	if !ok1 || !ok2 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, nil, false
	}
	if bc {
		year = 1 - year
	}
	return dayNumber(year, month, day), text[i+6:], true
}

// parseClock reads HH:MM:SS with up to 6 fractional digits.
func parseClock(text []byte) (micros int64, rest []byte, ok bool) {
	if len(text) < 8 || text[2] != ':' || text[5] != ':' {
		return 0, nil, false
	}
	h, ok1 := two(text)
	m, ok2 := two(text[3:])
	s, ok3 := two(text[6:])
	if !ok1 || !ok2 || !ok3 || h > 24 || m > 59 || s > 60 {
		return 0, nil, false
	}
	micros = int64(h*3600+m*60+s) * microsPerSecond
	text = text[8:]
	if len(text) == 0 || text[0] != '.' {
		return micros, text, true
	}
	end := digits(text, 1)
	if end == 1 || end > 7 {
		return 0, nil, false
	}
	fraction := int64(0)
	for i := 1; i < 7; i++ {
		fraction *= 10
		if i < end {
			fraction += int64(text[i] - '0')
		}
	}
	return micros + fraction, text[end:], true
}

// parseOffset reads nothing, Z, or +HH[:MM[:SS]] as seconds.
func parseOffset(text []byte) (seconds int64, ok bool) {
	if len(text) == 0 || len(text) == 1 && text[0] == 'Z' {
		return 0, true
	}
	if text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	negative := text[0] == '-'
	unit := int64(3600)
	for text = text[1:]; ; text = text[3:] {
		n, good := two(text)
		if !good || unit == 0 {
			return 0, false
		}
		seconds += int64(n) * unit
		unit /= 60
		if len(text) == 2 {
			break
		}
		if text[2] != ':' || len(text) < 5 {
			return 0, false
		}
	}
	if negative {
		seconds = -seconds
	}
	return seconds, true
}

func two(text []byte) (int, bool) {
	if len(text) < 2 || text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9' {
		return 0, false
	}
	return int(text[0]-'0')*10 + int(text[1]-'0'), true
}
