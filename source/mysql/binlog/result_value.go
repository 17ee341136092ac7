package binlog

import (
	"encoding/hex"
	"errors"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

func floatValue(kind change.Kind, p []byte, v *change.Value) error {
	f, err := strconv.ParseFloat(string(p), 64)
	if v.Kind, v.Num = kind, math.Float64bits(f); kind == change.Float32 {
		v.Num = uint64(math.Float32bits(float32(f)))
	}
	return err
}

// trimZeros cuts off the leading zeros that ZEROFILL writes.
func trimZeros(p []byte) []byte {
	for len(p) > 1 && p[0] == '0' && p[1] >= '0' && p[1] <= '9' {
		p = p[1:]
	}
	return p
}

// number reads n digits of p from off.
func number(p []byte, off, n int) (v int, ok bool) {
	if len(p) < off+n {
		return 0, false
	}
	for _, c := range p[off : off+n] {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

// fractionText reads ".123" as microseconds; nothing stands for 0.
func fractionText(p []byte) (micros int, ok bool) {
	if len(p) == 0 {
		return 0, true
	}
	if p[0] != '.' || len(p) < 2 || len(p) > 7 {
		return 0, false
	}
	micros, ok = number(p, 1, len(p)-1)
	for range 7 - len(p) {
		micros *= 10
	}
	return micros, ok
}

// dateText reads "2024-02-29" and "2024-02-29 12:34:56.789".
func dateText(kind change.Kind, digits int, p []byte, b *change.Batch, v *change.Value) error {
	d := datetime{date: kind == change.Date, digits: digits}
	ok := len(p) >= 10
	part := func(to *int, off, n int) {
		var fine bool
		*to, fine = number(p, off, n)
		ok = ok && fine
	}
	part(&d.year, 0, 4)
	part(&d.month, 5, 2)
	part(&d.day, 8, 2)
	if !d.date {
		part(&d.hour, 11, 2)
		part(&d.minute, 14, 2)
		part(&d.second, 17, 2)
		if ok {
			d.micros, ok = fractionText(p[19:])
		}
	}
	if !ok {
		return errTemporal
	}
	if err := d.value(b, v); err != nil {
		return err
	}
	if kind == change.TimestampTZ && v.Kind == change.Timestamp {
		v.Kind = change.TimestampTZ
	}
	return nil
}

// timeText reads "-838:59:59.999999".
func timeText(p []byte, v *change.Value) error {
	negative := len(p) > 0 && p[0] == '-'
	if negative {
		p = p[1:]
	}
	hours := 0
	for hours < len(p) && p[hours] != ':' {
		hours++
	}
	h, ok1 := number(p, 0, hours)
	m, ok2 := number(p, hours+1, 2)
	s, ok3 := number(p, hours+4, 2)
	if !ok1 || !ok2 || !ok3 || hours > 3 || m > 59 || s > 59 {
		return errTemporal
	}
	micros, ok := fractionText(p[hours+6:])
	if !ok {
		return errTemporal
	}
	n := int64((h*60+m)*60+s)*microsPerSecond + int64(micros)
	if negative {
		n = -n
	}
	v.Kind, v.Num = change.Time, uint64(n)
	return nil
}

func uuidText(p []byte, b *change.Batch, v *change.Value) error {
	if len(p) != 36 {
		return errors.New("not a UUID")
	}
	var digits [32]byte
	n := copy(digits[:], p[0:8])
	n += copy(digits[n:], p[9:13])
	n += copy(digits[n:], p[14:18])
	n += copy(digits[n:], p[19:23])
	copy(digits[n:], p[24:36])
	v.Kind, v.Data = change.UUID, b.Bytes(16)
	_, err := hex.Decode(v.Data, digits[:])
	return err
}

// bytesText reads what is text or bytes.
func (r *Result) bytesText(f *resultField, c *Column, p []byte, b *change.Batch, v *change.Value) error {
	switch {
	case c.Base == "bit": // bytes of a big-endian number
		if len(p)*8 < c.Length {
			return errors.New("fewer bits than declared")
		}
		v.Kind, v.Data = change.Text, b.Bytes(c.Length)
		bitText(v.Data, p)
	case c.geometry():
		return geometryValue(p, b, v)
	case c.Base == "vector":
		return vectorValue(p, b, v)
	default:
		f.cs.value(b, v, p)
	}
	return nil
}
