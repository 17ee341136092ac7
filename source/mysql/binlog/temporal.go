package binlog

import (
	"encoding/binary"
	"errors"

	"github.com/tailrace/tailrace/change"
)

var errTemporal = errors.New("not a date or time")

const microsPerSecond = 1e6

// temporal decodes dates and times. Dates that the calendar does not have (0000-00-00, 2024-00-10, 2024-02-31) come out
// as the text that the server prints.
func temporal(f *field, p []byte, b *change.Batch, v *change.Value) error {
	switch f.form {
	case formDate: // year 15 bits, month 4, day 5; little endian
		n := littleEndian(p)
		return datetime{year: int(n >> 9), month: int(n >> 5 & 15), day: int(n & 31), date: true}.value(b, v)
	case formOldTime: // HHMMSS
		n := int64(signed(p))
		return clock(n < 0, max(n, -n), v)
	case formOldDatetime: // YYYYMMDDHHMMSS
		n := littleEndian(p)
		d, t := int(n/1e6), int(n%1e6)
		return datetime{year: d / 1e4, month: d / 100 % 100, day: d % 100, hour: t / 1e4, minute: t / 100 % 100, second: t % 100}.value(b, v)
	case formOldTimestamp:
		return timestamp(uint64(binary.LittleEndian.Uint32(p)), 0, 0, b, v)
	case formTimestamp: // seconds since the Unix epoch, fraction; big endian
		return timestamp(bigEndian(p[:4]), fraction(p[4:], f.prec), f.prec, b, v)
	case formTime:
		return packedTime(f, p, v)
	case formDatetime:
		// 1 bit that is always set, year*13+month 17, day 5, hour 5, minute 6, second 6, fraction; big endian
		n := bigEndian(p[:5])
		if n>>39 == 0 {
			return errTemporal // there are no negative ones
		}
		ym := int(n >> 22 & (1<<17 - 1))
		return datetime{year: ym / 13, month: ym % 13, day: int(n >> 17 & 31), hour: int(n >> 12 & 31), minute: int(n >> 6 & 63),
			second: int(n & 63), micros: fraction(p[5:], f.prec), digits: f.prec}.value(b, v)
	}
	return errTemporal
}

// fraction reads the fractional part of a second, in microseconds.
func fraction(p []byte, digits int) int {
	n := int(bigEndian(p))
	switch (digits + 1) / 2 {
	case 1:
		return n * 1e4
	case 2:
		return n * 100
	}
	return n
}

// packedTime: sign 1 (set: not negative), unused 1, hours 10, minutes 6, seconds 6, fraction; big endian. Negative values are the
// complement of the whole with its fraction.
func packedTime(f *field, p []byte, v *change.Value) error {
	n := int64(bigEndian(p)) - 1<<(8*len(p)-1)
	negative := n < 0
	n = max(n, -n)
	bits := 8 * (len(p) - 3)
	micros := int64(n & (1<<bits - 1))
	switch len(p) - 3 {
	case 1:
		micros *= 1e4
	case 2:
		micros *= 100
	}
	n >>= bits
	h, m, s := n>>12&1023, n>>6&63, n&63
	if n>>22 != 0 || m > 59 || s > 59 || micros >= microsPerSecond {
		return errTemporal
	}
	micros += ((h*60+m)*60 + s) * microsPerSecond
	if negative {
		micros = -micros
	}
	v.Kind, v.Num = change.Time, uint64(micros)
	return nil
}

// clock sets a time of the form HHMMSS.
func clock(negative bool, n int64, v *change.Value) error {
	h, m, s := n/1e4, n/100%100, n%100
	if m > 59 || s > 59 || h > 838 {
		return errTemporal
	}
	micros := ((h*60+m)*60 + s) * microsPerSecond
	if negative {
		micros = -micros
	}
	v.Kind, v.Num = change.Time, uint64(micros)
	return nil
}

// timestamp: 0 seconds stand for the zero date, not for the epoch.
func timestamp(seconds uint64, micros, digits int, b *change.Batch, v *change.Value) error {
	if micros >= microsPerSecond {
		return errTemporal
	}
	if seconds == 0 {
		return datetime{micros: micros, digits: digits}.value(b, v)
	}
	v.Kind, v.Num = change.TimestampTZ, seconds*microsPerSecond+uint64(micros)
	return nil
}

// A datetime is a date and time in its parts.
type datetime struct {
	year, month, day, hour, minute, second, micros int
	digits                                         int // of the fraction
	date                                           bool
}

// value sets v to the date or time, or to its text if the calendar does not have it.
func (d datetime) value(b *change.Batch, v *change.Value) error {
	if d.year > 9999 || d.month > 12 || d.day > 31 || d.hour > 23 || d.minute > 59 || d.second > 59 || d.micros >= microsPerSecond {
		return errTemporal
	}
	if d.month == 0 || d.day == 0 || d.day > daysIn(d.year, d.month) {
		var text [32]byte
		v.Kind, v.Data = change.Text, b.Copy(d.append(text[:0]))
		return nil
	}
	days := daysSinceEpoch(d.year, d.month, d.day)
	if d.date {
		v.Kind, v.Num = change.Date, uint64(days)
		return nil
	}
	seconds := int64(days)*86400 + int64(d.hour*3600+d.minute*60+d.second)
	v.Kind, v.Num = change.Timestamp, uint64(seconds*microsPerSecond+int64(d.micros))
	return nil
}

// append writes the text that the server prints.
func (d datetime) append(dst []byte) []byte {
	dst = append(appendDigits(dst, uint64(d.year), 4), '-')
	dst = append(appendDigits(dst, uint64(d.month), 2), '-')
	dst = appendDigits(dst, uint64(d.day), 2)
	if d.date {
		return dst
	}
	dst = appendDigits(append(dst, ' '), uint64(d.hour), 2)
	dst = appendDigits(append(dst, ':'), uint64(d.minute), 2)
	dst = appendDigits(append(dst, ':'), uint64(d.second), 2)
	if d.digits > 0 {
		dst = append(dst, '.')
		dst = appendDigits(dst, uint64(d.micros), 6)
		dst = dst[:len(dst)-(6-d.digits)]
	}
	return dst
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSinceEpoch counts days of the proleptic Gregorian calendar from 1970-01-01, by eras of 400 years that begin in
// March (Howard Hinnant, chrono-Compatible Low-Level Date Algorithms).
func daysSinceEpoch(y, m, d int) int {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	doe := yoe*365 + yoe/4 - yoe/100 + (153*(m-3)+2)/5 + d - 1
	return era*146097 + doe - 719468
}
