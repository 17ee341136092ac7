package postgres

import (
	"bytes"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// Built-in types with a kind of their own. Every other type is passed on as text.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidOID         = 26
	oidJSON        = 114
	oidXML         = 142
	oidFloat4      = 700
	oidFloat8      = 701
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestampTZ = 1184
	oidInterval    = 1186
	oidTimeTZ      = 1266
	oidBit         = 1560
	oidVarbit      = 1562
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// builtin returns the kind of a built-in base type and its size in bits where it has one.
func builtin(oid uint32) (change.Kind, uint8) {
	switch oid {
	case oidBool:
		return change.Bool, 0
	case oidInt2:
		return change.Int, 16
	case oidInt4:
		return change.Int, 32
	case oidInt8, oidOID:
		return change.Int, 64
	case oidFloat4:
		return change.Float32, 0
	case oidFloat8:
		return change.Float64, 0
	case oidNumeric:
		return change.Decimal, 0
	case oidBytea:
		return change.Bytes, 0
	case oidJSON, oidJSONB:
		return change.JSON, 0
	case oidUUID:
		return change.UUID, 0
	case oidDate:
		return change.Date, 0
	case oidTime:
		return change.Time, 0
	case oidTimestamp:
		return change.Timestamp, 0
	case oidTimestampTZ:
		return change.TimestampTZ, 0
	}
	return change.Text, 0
}

// modify sets the parameters that a type modifier carries.
func modify(t *change.Type, oid uint32, modifier int32) {
	switch oid {
	case oidNumeric:
		if m := modifier - 4; modifier >= 4 {
			t.Precision = m >> 16 & 0xFFFF
			t.Scale = (m&0x7FF ^ 1024) - 1024 // 11 bits, signed
		}
	case oidBpchar, oidVarchar:
		if modifier >= 4 {
			t.Length = modifier - 4
		}
	case oidBit, oidVarbit:
		t.Length = max(0, modifier)
	case oidTime, oidTimeTZ, oidTimestamp, oidTimestampTZ:
		t.Precision = -1
		if modifier >= 0 {
			t.Precision = modifier
		}
	case oidInterval:
		t.Precision = -1
		if p := modifier & 0xFFFF; modifier >= 0 && p != 0xFFFF {
			t.Precision = p
		}
	}
}

// parseValue reads the text form of a value of a column of the given kind, as PostgreSQL writes it under the settings
// that every session of ours has, into v, which is Absent. Its bytes are in b's memory. Text that the kind can't represent
// exactly comes back as Text: nothing is falsified and nothing fails.
func parseValue(b *change.Batch, v *change.Value, kind change.Kind, p []byte) {
	switch kind {
	case change.Int:
		if n, ok := parseInt(p); ok {
			v.Kind, v.Num = kind, uint64(n)
			return
		}
	case change.Bool:
		if len(p) == 1 && (p[0] == 't' || p[0] == 'f') {
			if v.Kind = kind; p[0] == 't' {
				v.Num = 1
			}
			return
		}
	case change.Float64:
		if f, err := strconv.ParseFloat(string(p), 64); err == nil {
			v.Kind, v.Num = kind, math.Float64bits(f)
			return
		}
	case change.Float32:
		if f, err := strconv.ParseFloat(string(p), 32); err == nil {
			v.Kind, v.Num = kind, uint64(math.Float32bits(float32(f)))
			return
		}
	case change.Decimal, change.JSON, change.Array:
		v.Kind, v.Data = kind, b.Copy(p)
		return
	case change.Bytes:
		if len(p) >= 2 && p[0] == '\\' && p[1] == 'x' {
			data := b.Bytes((len(p) - 2) / 2)
			if n, err := hex.Decode(data, p[2:]); err == nil && 2*n == len(p)-2 {
				v.Kind, v.Data = kind, data
				return
			}
		}
	case change.UUID:
		if u := parseUUID(b, p); u != nil {
			v.Kind, v.Data = kind, u
			return
		}
	case change.Date:
		if n, ok := parseDate(p); ok {
			v.Kind, v.Num = kind, uint64(n)
			return
		}
	case change.Time:
		if n, rest, ok := parseClock(p); ok && len(rest) == 0 {
			v.Kind, v.Num = kind, uint64(n)
			return
		}
	case change.Timestamp, change.TimestampTZ:
		if n, ok := parseTimestamp(p, kind == change.TimestampTZ); ok {
			v.Kind, v.Num = kind, uint64(n)
			return
		}
	}
	v.Kind, v.Data = change.Text, b.Copy(p)
}

// parseInt reads a decimal int64 without a plus sign or leading spaces.
func parseInt(p []byte) (int64, bool) {
	negative := len(p) > 0 && p[0] == '-'
	if negative {
		p = p[1:]
	}
	if len(p) == 0 || len(p) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range p {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	if negative {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

// parseUUID reads 32 lower case hexadecimal digits in groups of 8, 4, 4, 4 and 12; nil if p is something else.
func parseUUID(b *change.Batch, p []byte) []byte {
	if len(p) != 36 || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-' {
		return nil
	}
	u := b.Bytes(16)
	n := 0
	for i := 0; i < 36; i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			i++
		}
		hi, lo := unhex(p[i]), unhex(p[i+1])
		if hi|lo > 15 {
			return nil
		}
		u[n] = hi<<4 | lo
		n++
	}
	return u
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xFF
}

const (
	infinity    = "infinity"
	negInfinity = "-infinity"
	bcSuffix    = " BC"

	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond
	maxDays         = math.MaxInt64/microsPerDay - 1
)

// parseDate reads YYYY-MM-DD with four or more digits of the year and perhaps " BC" into days since 1970-01-01.
func parseDate(p []byte) (int64, bool) {
	if n, ok := parseInfinity(p); ok {
		return n, true
	}
	p, bc := cutBC(p)
	days, rest, ok := parseYMD(p, bc)
	return days, ok && len(rest) == 0
}

func parseInfinity(p []byte) (int64, bool) {
	switch {
	case string(p) == infinity:
		return change.InfinityMicros, true
	case string(p) == negInfinity:
		return change.NegInfinityMicros, true
	}
	return 0, false
}

func cutBC(p []byte) (rest []byte, bc bool) {
	if n := len(p) - len(bcSuffix); n > 0 && string(p[n:]) == bcSuffix {
		return p[:n], true
	}
	return p, false
}

// parseTimestamp reads a date, a space, a time of day and, with zone, the offset of UTC, into microseconds since 1970.
func parseTimestamp(p []byte, zone bool) (int64, bool) {
	if n, ok := parseInfinity(p); ok {
		return n, true
	}
	p, bc := cutBC(p)
	days, rest, ok := parseYMD(p, bc)
	if !ok || len(rest) == 0 || rest[0] != ' ' || days > maxDays || days < -maxDays {
		return 0, false
	}
	clock, rest, ok := parseClock(rest[1:])
	if !ok {
		return 0, false
	}
	if zone {
		if len(rest) != 3 || rest[0] != '+' || rest[1] != '0' || rest[2] != '0' {
			return 0, false // not the UTC that we asked for
		}
	} else if len(rest) != 0 {
		return 0, false
	}
	return days*microsPerDay + clock, true
}

// parseYMD reads year, month and day and returns the days since 1970-01-01 in the proleptic Gregorian calendar, and
// what follows.
func parseYMD(p []byte, bc bool) (days int64, rest []byte, ok bool) {
	i := bytes.IndexByte(p, '-')
	if i < 4 || i > 7 || len(p) < i+6 || p[i+3] != '-' {
		return 0, nil, false
	}
	year, ok := parseInt(p[:i])
	month, ok1 := digits2(p[i+1:])
	day, ok2 := digits2(p[i+4:])
	if !ok || !ok1 || !ok2 || year < 1 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, nil, false
	}
	if bc {
		year = 1 - year // there is no year 0: 1 BC is year 0 of the astronomers
	}
	return daysFromCivil(year, month, day), p[i+6:], true
}

// daysFromCivil counts days from 1970-01-01. Years begin in March, so that the leap day is the last of its year.
func daysFromCivil(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	y := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	return era*146097 + y*365 + y/4 - y/100 + dayOfYear - 719468
}

// civilFromDays is the inverse of daysFromCivil.
func civilFromDays(days int64) (year, month, day int64) {
	days += 719468
	era := days / 146097
	if days < 0 {
		era = (days - 146096) / 146097
	}
	d := days - era*146097
	y := (d - d/1460 + d/36524 - d/146096) / 365
	dayOfYear := d - (365*y + y/4 - y/100)
	m := (5*dayOfYear + 2) / 153
	year, month, day = y+era*400, m+3, dayOfYear-(153*m+2)/5+1
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// parseClock reads HH:MM:SS with up to six digits of a fraction, 24:00:00 included, and returns what follows.
func parseClock(p []byte) (micros int64, rest []byte, ok bool) {
	if len(p) < 8 || p[2] != ':' || p[5] != ':' {
		return 0, nil, false
	}
	h, ok1 := digits2(p)
	m, ok2 := digits2(p[3:])
	s, ok3 := digits2(p[6:])
	if !ok1 || !ok2 || !ok3 || h > 24 || m > 59 || s > 60 {
		return 0, nil, false
	}
	micros = (h*3600 + m*60 + s) * microsPerSecond
	if rest = p[8:]; len(rest) > 0 && rest[0] == '.' {
		scale := int64(microsPerSecond)
		for rest = rest[1:]; len(rest) > 0 && rest[0]-'0' <= 9; rest = rest[1:] {
			if scale /= 10; scale == 0 {
				return 0, nil, false
			}
			micros += int64(rest[0]-'0') * scale
		}
	}
	return micros, rest, true
}

func digits2(p []byte) (int64, bool) {
	a, b := p[0]-'0', p[1]-'0'
	return int64(a)*10 + int64(b), a <= 9 && b <= 9
}

// appendValue writes a value in a text form that PostgreSQL reads back as the same value under our session settings. It
// is how key values become query parameters. The value is present and not NULL.
func appendValue(dst []byte, v change.Value) []byte {
	switch v.Kind {
	case change.Bool:
		return append(dst, "ft"[v.Num&1])
	case change.Int:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case change.Uint:
		return strconv.AppendUint(dst, v.Num, 10)
	case change.Float32, change.Float64:
		bits := 64
		if v.Kind == change.Float32 {
			bits = 32
		}
		f := v.Float()
		if math.IsInf(f, 0) {
			return appendInfinity(dst, f < 0)
		}
		return strconv.AppendFloat(dst, f, 'g', -1, bits)
	case change.Bytes:
		return hex.AppendEncode(append(dst, `\x`...), v.Data)
	case change.UUID:
		return hex.AppendEncode(dst, v.Data)
	case change.Date, change.Timestamp, change.TimestampTZ:
		return appendMoment(dst, v)
	case change.Time:
		return appendClock(dst, v.Int64())
	default: // Text, Decimal, JSON, Array: the database's own text
		return append(dst, v.Data...)
	}
}

func appendInfinity(dst []byte, negative bool) []byte {
	if negative {
		return append(dst, negInfinity...)
	}
	return append(dst, infinity...)
}

func appendMoment(dst []byte, v change.Value) []byte {
	n := v.Int64()
	if n == change.InfinityMicros || n == change.NegInfinityMicros {
		return appendInfinity(dst, n < 0)
	}
	days, clock := n, int64(0)
	if v.Kind != change.Date {
		days = n / microsPerDay
		if clock = n % microsPerDay; clock < 0 {
			clock += microsPerDay
			days--
		}
	}
	return appendDayAndClock(dst, v.Kind, days, clock)
}

// appendDayAndClock writes a Date, Timestamp or TimestampTZ of so many days since 1970 and microseconds of that day.
func appendDayAndClock(dst []byte, kind change.Kind, days, clock int64) []byte {
	year, month, day := civilFromDays(days)
	bc := year < 1
	if bc {
		year = 1 - year
	}
	dst = appendPadded(dst, year, 4)
	dst = appendPadded(append(dst, '-'), month, 2)
	dst = appendPadded(append(dst, '-'), day, 2)
	if kind != change.Date {
		dst = appendClock(append(dst, ' '), clock)
	}
	if kind == change.TimestampTZ {
		dst = append(dst, "+00"...)
	}
	if bc {
		dst = append(dst, bcSuffix...)
	}
	return dst
}

func appendClock(dst []byte, micros int64) []byte {
	seconds := micros / microsPerSecond
	dst = appendPadded(dst, seconds/3600, 2)
	dst = appendPadded(append(dst, ':'), seconds/60%60, 2)
	dst = appendPadded(append(dst, ':'), seconds%60, 2)
	if f := micros % microsPerSecond; f != 0 {
		dst = bytes.TrimRight(appendPadded(append(dst, '.'), f, 6), "0") // as PostgreSQL does
	}
	return dst
}

func appendPadded(dst []byte, n int64, width int) []byte {
	start := len(dst)
	dst = strconv.AppendInt(dst, n, 10)
	for len(dst)-start < width {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '0'
	}
	return dst
}
