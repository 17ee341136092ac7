package rowcodec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tailrace/tailrace/change"
)

// Lead bytes, see the package comment.
const (
	leadAbsent = 0
	leadNull   = 1
	leadOther  = 2
	leadValue  = 3  // the first that announces a value of the column's kind
	leadSmall  = 12 // integers from here on are their own value
)

var errImage = errors.New("malformed row image")

// appendRow appends the image of r, a row of t.
func appendRow(dst []byte, t *change.Table, r change.Row) ([]byte, error) {
	if len(r) != len(t.Columns) {
		return dst, fmt.Errorf("row of %s has %d values, its table version %d columns", t.Name, len(r), len(t.Columns))
	}
	var err error
	for i := range r {
		v := &r[i]
		switch kind := v.Kind; {
		case kind == change.Absent:
			dst = append(dst, leadAbsent)
			continue
		case kind == change.Null:
			dst = append(dst, leadNull)
			continue
		case kind != t.Columns[i].Type.Kind:
			dst = append(dst, leadOther, byte(kind))
		}
		if dst, err = appendValue(dst, v); err != nil {
			return dst, fmt.Errorf("column %s of %s: %w", t.Columns[i].Name, t.Name, err)
		}
	}
	return dst, nil
}

// appendValue appends a value that is neither Absent nor Null.
func appendValue(dst []byte, v *change.Value) ([]byte, error) {
	switch v.Kind {
	case change.Text, change.Decimal, change.JSON, change.Bytes, change.Array:
		if n := len(v.Data) + leadValue; n < 0x80 {
			dst = append(dst, byte(n))
		} else {
			dst = binary.AppendUvarint(dst, uint64(n))
		}
		return append(dst, v.Data...), nil
	case change.Int, change.Date, change.Time, change.Timestamp, change.TimestampTZ:
		return appendNumber(dst, zigzag(v.Int64())), nil
	case change.Uint:
		return appendNumber(dst, v.Num), nil
	case change.Bool:
		return append(dst, leadValue+byte(v.Num&1)), nil
	case change.Float32:
		return binary.LittleEndian.AppendUint32(append(dst, leadValue), uint32(v.Num)), nil
	case change.Float64:
		return binary.LittleEndian.AppendUint64(append(dst, leadValue), v.Num), nil
	case change.UUID:
		if len(v.Data) != 16 {
			return dst, fmt.Errorf("a uuid of %d bytes", len(v.Data))
		}
		return append(append(dst, leadValue), v.Data...), nil
	}
	return dst, fmt.Errorf("value of kind %d", v.Kind)
}

func appendNumber(dst []byte, u uint64) []byte {
	if u <= 0xFF-leadSmall {
		return append(dst, leadSmall+byte(u))
	}
	n := (bits.Len64(u) + 7) / 8
	dst = binary.LittleEndian.AppendUint64(append(dst, byte(leadValue+n)), u)
	return dst[:len(dst)-8+n]
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// decodeRow reads an image of t from p into r, which has t's number of columns, and returns what follows it. Data of the
// values aliases p.
func decodeRow(r change.Row, t *change.Table, p []byte) ([]byte, error) {
	for i := range r {
		if len(p) == 0 {
			return nil, errImage
		}
		lead, kind := p[0], t.Columns[i].Type.Kind
		v := &r[i]
		switch lead {
		case leadAbsent:
			*v = change.Value{}
			p = p[1:]
			continue
		case leadNull:
			*v = change.Value{Kind: change.Null}
			p = p[1:]
			continue
		case leadOther:
			if len(p) < 3 || p[2] < leadValue {
				return nil, errImage
			}
			kind, lead, p = change.Kind(p[1]), p[2], p[2:]
		}
		v.Kind = kind
		switch kind {
		case change.Text, change.Decimal, change.JSON, change.Bytes, change.Array:
			n, skip := uint64(lead), 1
			if lead >= 0x80 {
				if n, skip = binary.Uvarint(p); skip <= 0 || n < leadValue {
					return nil, errImage
				}
			}
			if n -= leadValue; n > uint64(len(p)-skip) {
				return nil, errImage
			}
			end := skip + int(n)
			v.Num, v.Data, p = 0, p[skip:end:end], p[end:]
		case change.Int, change.Date, change.Time, change.Timestamp, change.TimestampTZ, change.Uint:
			u, rest, ok := number(lead, p[1:])
			if !ok {
				return nil, errImage
			}
			if kind != change.Uint {
				u = uint64(unzigzag(u))
			}
			v.Num, v.Data, p = u, nil, rest
		default:
			rest, ok := decodeFixed(v, lead, p[1:])
			if !ok {
				return nil, errImage
			}
			p = rest
		}
	}
	return p, nil
}

func number(lead byte, p []byte) (u uint64, rest []byte, ok bool) {
	if lead >= leadSmall {
		return uint64(lead - leadSmall), p, true
	}
	n := int(lead) - leadValue
	if n < 1 || len(p) < n {
		return 0, nil, false
	}
	if len(p) >= 8 {
		return binary.LittleEndian.Uint64(p) & (^uint64(0) >> (64 - 8*n)), p[n:], true
	}
	for i := n - 1; i >= 0; i-- {
		u = u<<8 | uint64(p[i])
	}
	return u, p[n:], true
}

// decodeFixed reads the value of v's kind, one of those with a fixed size.
func decodeFixed(v *change.Value, lead byte, p []byte) (rest []byte, ok bool) {
	v.Num, v.Data = 0, nil
	if v.Kind == change.Bool {
		v.Num = uint64(lead - leadValue)
		return p, v.Num <= 1
	}
	if lead != leadValue {
		return nil, false
	}
	switch {
	case v.Kind == change.Float32 && len(p) >= 4:
		v.Num = uint64(binary.LittleEndian.Uint32(p))
		return p[4:], true
	case v.Kind == change.Float64 && len(p) >= 8:
		v.Num = binary.LittleEndian.Uint64(p)
		return p[8:], true
	case v.Kind == change.UUID && len(p) >= 16:
		v.Data = p[:16:16]
		return p[16:], true
	}
	return nil, false
}
