package jsontext

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

// AsNeeded as the number of fractional digits prints a fraction only as far as it is not zero, at most 6 digits.
const AsNeeded = -1

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond
)

// AppendDate appends the date that is days after 1970-01-01, bare: 2024-01-31. Years follow ISO 8601: 0000 is 1 BC,
// years before it have a minus, years after 9999 a plus. The infinities of package change are infinity and -infinity.
func AppendDate(dst []byte, days int64) []byte {
	if s := infinity(days); s != "" {
		return append(dst, s...)
	}
	y, m, d := civil(days)
	switch {
	case y < 0:
		dst, y = append(dst, '-'), -y
	case y > 9999:
		dst = append(dst, '+')
	}
	if y < 10_000 {
		dst = appendTwo(dst, int(y/100))
		dst = appendTwo(dst, int(y%100))
	} else {
		dst = strconv.AppendInt(dst, y, 10)
	}
	dst = appendTwo(append(dst, '-'), m)
	return appendTwo(append(dst, '-'), d)
}

// AppendTime appends a time of day or a span given in microseconds, bare: 12:00:00.5. Hours are not wrapped (24:00:00,
// -838:59:59). frac is the number of fractional digits, 0 to 6 (digits beyond are cut), or AsNeeded.
func AppendTime(dst []byte, micros int64, frac int) []byte {
	u := uint64(micros)
	if micros < 0 {
		dst, u = append(dst, '-'), -u
	}
	seconds, fraction := u/microsPerSecond, int(u%microsPerSecond)
	if hours := seconds / 3600; hours < 100 {
		dst = appendTwo(dst, int(hours))
	} else {
		dst = strconv.AppendUint(dst, hours, 10)
	}
	dst = appendTwo(append(dst, ':'), int(seconds/60%60))
	dst = appendTwo(append(dst, ':'), int(seconds%60))
	if frac == 0 || frac < 0 && fraction == 0 {
		return dst
	}
	f := [7]byte{0: '.'}
	for i := 6; i > 0; i-- {
		f[i] = byte('0' + fraction%10)
		fraction /= 10
	}
	n := 1 + frac
	if frac < 0 {
		for n = 7; f[n-1] == '0'; n-- {
		}
	}
	return append(dst, f[:min(n, 7)]...)
}

// AppendTimestamp appends the time that is micros after 1970-01-01 00:00:00, bare and without a zone:
// 2024-01-31T12:00:00.123456. For frac see AppendTime, for years and infinities AppendDate.
func AppendTimestamp(dst []byte, micros int64, frac int) []byte {
	if s := infinity(micros); s != "" {
		return append(dst, s...)
	}
	days, clock := micros/microsPerDay, micros%microsPerDay
	if clock < 0 {
		days, clock = days-1, clock+microsPerDay
	}
	return AppendTime(append(AppendDate(dst, days), 'T'), clock, frac)
}

// AppendTimestampTZ is AppendTimestamp with a Z at the end; the infinities have none.
func AppendTimestampTZ(dst []byte, micros int64, frac int) []byte {
	dst = AppendTimestamp(dst, micros, frac)
	if infinity(micros) != "" {
		return dst
	}
	return append(dst, 'Z')
}

func infinity(n int64) string {
	switch n {
	case change.InfinityMicros:
		return "infinity"
	case change.NegInfinityMicros:
		return "-infinity"
	}
	return ""
}

// civil gives the proleptic Gregorian date of a day number. It counts in eras of 400 years that begin on March 1.
func civil(days int64) (year int64, month, day int) {
	z := days + 719_468
	era := z / 146_097
	if z%146_097 < 0 {
		era--
	}
	doe := z - era*146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	year = era*400 + yoe
	if mp < 10 {
		return year, int(mp + 3), day
	}
	return year + 1, int(mp - 9), day
}

// dayNumber is the inverse of civil.
func dayNumber(year int64, month, day int) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year%400 < 0 {
		era--
	}
	yoe := year - era*400
	mp := int64(month+9) % 12
	doy := (153*mp+2)/5 + int64(day) - 1
	return era*146_097 + yoe*365 + yoe/4 - yoe/100 + doy - 719_468
}

func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// AppendUUID appends 16 bytes in the usual form, bare: 8-4-4-4-12 lower case hexadecimal digits. Other lengths are
// appended as plain hexadecimal.
func AppendUUID(dst, u []byte) []byte {
	if len(u) != 16 {
		return hex.AppendEncode(dst, u)
	}
	dst = append(hex.AppendEncode(dst, u[:4]), '-')
	dst = append(hex.AppendEncode(dst, u[4:6]), '-')
	dst = append(hex.AppendEncode(dst, u[6:8]), '-')
	dst = append(hex.AppendEncode(dst, u[8:10]), '-')
	return hex.AppendEncode(dst, u[10:])
}

// AppendBase64 appends p in standard base64 with padding, bare.
func AppendBase64(dst, p []byte) []byte { return base64.StdEncoding.AppendEncode(dst, p) }

// AppendBase64URL appends p in URL-safe base64 with padding, bare.
func AppendBase64URL(dst, p []byte) []byte { return base64.URLEncoding.AppendEncode(dst, p) }

// AppendHex appends p in lower case hexadecimal digits, bare.
func AppendHex(dst, p []byte) []byte { return hex.AppendEncode(dst, p) }
