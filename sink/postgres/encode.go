package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// textOID is the type of the elements of all arrays that are sent.
const textOID = 25

// A column of rows on its way to the server: PostgreSQL's binary form of a text[] of one dimension.
//
//	dimensions 1 | has NULLs | element type 25 | length | lower bound 1 | length or -1, bytes | length or -1, bytes | ...
type array struct{ buf []byte }

const arrayHeader = 20

// reset starts an array of n elements.
func (a *array) reset(n int) {
	a.buf = binary.BigEndian.AppendUint32(a.buf[:0], 1)
	a.buf = binary.BigEndian.AppendUint32(a.buf, 0)
	a.buf = binary.BigEndian.AppendUint32(a.buf, textOID)
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(n))
	a.buf = binary.BigEndian.AppendUint32(a.buf, 1)
}

// append appends v in the text form that PostgreSQL reads as any type that can hold it.
func (a *array) append(v change.Value) {
	at := len(a.buf)
	if v.Kind <= change.Null {
		a.buf[7] = 1
		a.buf = append(a.buf, 0xFF, 0xFF, 0xFF, 0xFF)
		return
	}
	a.buf = appendText(append(a.buf, 0, 0, 0, 0), v)
	binary.BigEndian.PutUint32(a.buf[at:], uint32(len(a.buf)-at-4))
}

// appendText appends the text form of v, which is neither NULL nor Absent, under DateStyle ISO and TimeZone UTC.
func appendText(dst []byte, v change.Value) []byte {
	switch v.Kind {
	case change.Bool:
		if v.Num != 0 {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case change.Int:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case change.Uint:
		return strconv.AppendUint(dst, v.Num, 10)
	case change.Float32:
		return appendFloat(dst, v.Float(), 32)
	case change.Float64:
		return appendFloat(dst, v.Float(), 64)
	case change.Bytes:
		return hex.AppendEncode(append(dst, `\x`...), v.Data)
	case change.UUID:
		return jsontext.AppendUUID(dst, v.Data)
	case change.Date:
		return appendMoment(dst, v, v.Int64(), -1, "")
	case change.Time:
		return jsontext.AppendTime(dst, v.Int64(), jsontext.AsNeeded)
	case change.Timestamp, change.TimestampTZ:
		days, rest := v.Int64()/microsPerDay, v.Int64()%microsPerDay
		if rest < 0 {
			days, rest = days-1, rest+microsPerDay
		}
		zone := ""
		if v.Kind == change.TimestampTZ {
			zone = "+00"
		}
		return appendMoment(dst, v, days, rest, zone)
	}
	return append(dst, v.Data...) // Decimal, Text, JSON, Array
}

const microsPerDay = 86_400_000_000

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case f != f:
		return append(dst, "NaN"...)
	case f > math.MaxFloat64:
		return append(dst, "Infinity"...)
	case f < -math.MaxFloat64:
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

// appendMoment appends a date, and the time of day if it is not negative. PostgreSQL reads years before 1 with BC at the
// end only, and years after 9999 without a plus.
func appendMoment(dst []byte, v change.Value, days, micros int64, zone string) []byte {
	switch v.Int64() {
	case change.InfinityMicros:
		return append(dst, "infinity"...)
	case change.NegInfinityMicros:
		return append(dst, "-infinity"...)
	}
	start := len(dst)
	dst = jsontext.AppendDate(dst, days)
	bc := false
	if c := dst[start]; c == '+' {
		dst = append(dst[:start], dst[start+1:]...)
	} else if c == '-' || bytes.HasPrefix(dst[start:], []byte("0000-")) {
		dst, bc = beforeChrist(dst, start), true
	}
	if micros >= 0 {
		dst = jsontext.AppendTime(append(dst, ' '), micros, jsontext.AsNeeded)
		dst = append(dst, zone...)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

// beforeChrist turns the ISO year at start, 0000 or negative, into the year before Christ: -0043 into 0044.
func beforeChrist(dst []byte, start int) []byte {
	digits := start
	if dst[digits] == '-' {
		digits++
	}
	end := digits + bytes.IndexByte(dst[digits:], '-')
	year, err := strconv.ParseInt(string(dst[digits:end]), 10, 64)
	if err != nil {
		return dst // jsontext.AppendDate does not write such
	}
	var tail [6]byte
	n := copy(tail[:], dst[end:])
	dst = dst[:start]
	if year++; year < 1000 {
		dst = append(dst, "0000"[:4-len(strconv.FormatInt(year, 10))]...)
	}
	return append(strconv.AppendInt(dst, year, 10), tail[:n]...)
}
