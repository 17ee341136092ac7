package binlog

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
)

func littleEndian64(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// value decodes the stored bytes p of a value, of which there are as many as stored said, into v.
func (l *Layout) value(f *field, p []byte, b *change.Batch, v *change.Value) error {
	switch f.form {
	case formInt:
		v.Kind, v.Num = change.Int, signed(p)
	case formUint:
		v.Kind, v.Num = change.Uint, littleEndian(p)
	case formTruth:
		f.truth.value(v, p[0] != 0 && (f.unsigned || p[0] < 0x80))
	case formYear:
		if v.Kind, v.Num = change.Int, uint64(p[0]); p[0] != 0 {
			v.Num += 1900
		}
	case formFloat:
		v.Kind, v.Num = change.Float32, uint64(binary.LittleEndian.Uint32(p))
	case formDouble:
		v.Kind, v.Num = change.Float64, littleEndian64(p)
	case formDecimal:
		var text [maxDecimal]byte
		s, ok := appendDecimal(text[:0], p, f.prec, f.scale)
		if !ok {
			return errors.New("not a decimal")
		}
		v.Kind, v.Data = change.Decimal, b.Copy(s)
	case formBit:
		v.Kind, v.Data = change.Text, b.Bytes(f.prec)
		bitText(v.Data, p)
	case formEnum:
		return enumValue(f, littleEndian(p), b, v)
	case formSet:
		return setValue(f, littleEndian(p), b, v)
	case formDate, formOldTime, formOldDatetime, formOldTimestamp, formTime, formDatetime, formTimestamp:
		return temporal(f, p, b, v)
	default:
		return l.bytesValue(f, p[f.size:], b, v)
	}
	return nil
}

// signed reads a little-endian number of 1, 2, 3, 4 or 8 bytes.
func signed(p []byte) uint64 {
	shift := 64 - 8*len(p)
	return uint64(int64(littleEndian(p)<<shift) >> shift)
}

// bitText writes the last len(dst) bits of a big-endian number.
func bitText(dst, p []byte) {
	n := len(p)*8 - len(dst)
	for i := range dst {
		k := n + i
		dst[i] = '0' + p[k>>3]>>(7-k&7)&1
	}
}

var errLabel = errors.New("the number of an enum or set label that does not exist")

// enumValue: 0 is the empty string that the server stores for an invalid value.
func enumValue(f *field, n uint64, b *change.Batch, v *change.Value) error {
	if n > uint64(len(f.labels)) {
		return errLabel
	}
	v.Kind, v.Data = change.Text, b.Bytes(0)
	if n > 0 {
		v.Data = b.Copy(f.labels[n-1])
	}
	return nil
}

func setValue(f *field, bits uint64, b *change.Batch, v *change.Value) error {
	if len(f.labels) < 64 && bits>>len(f.labels) != 0 {
		return errLabel
	}
	size := 0
	for i, s := range f.labels {
		if bits>>i&1 != 0 {
			size += len(s) + 1
		}
	}
	text := b.Bytes(max(size-1, 0))[:0]
	for i, s := range f.labels {
		if bits>>i&1 == 0 {
			continue
		}
		if len(text) > 0 || bits&(1<<i-1) != 0 {
			text = append(text, ',')
		}
		text = append(text, s...)
	}
	v.Kind, v.Data = change.Text, text
	return nil
}

// bytesValue decodes values that have a length before them, which is cut off.
func (l *Layout) bytesValue(f *field, p []byte, b *change.Batch, v *change.Value) error {
	switch f.form {
	case formText:
		f.cs.value(b, v, p)
	case formPadded:
		if len(p) > f.total {
			return errors.New("longer than its column")
		}
		v.Kind, v.Data = change.Bytes, b.Bytes(f.total)
		clear(v.Data[copy(v.Data, p):])
	case formUUID, formInet:
		return addressValue(f, p, b, v)
	case formCompressed:
		text, err := l.uncompress(p)
		if err != nil {
			return err
		}
		f.cs.value(b, v, text)
		l.scratch.keep(text)
	case formJSON:
		text, err := appendJSON(l.scratch.take(), p, !l.table.format.MariaDB && l.table.format.version < 80000)
		if err != nil {
			return err
		}
		v.Kind, v.Data = change.JSON, b.Copy(text)
		l.scratch.keep(text)
	case formGeometry:
		return geometryValue(p, b, v)
	case formVector:
		return vectorValue(p, b, v)
	}
	return nil
}

// addressValue decodes MariaDB's types of fixed size; trailing zeros are cut off in the log.
func addressValue(f *field, p []byte, b *change.Batch, v *change.Value) error {
	var whole [16]byte
	if len(p) > f.total || f.total > len(whole) {
		return errors.New("longer than its column")
	}
	copy(whole[:], p)
	if f.form == formUUID {
		v.Kind, v.Data = change.UUID, b.Bytes(16)
		uuidOrder(v.Data, whole[:])
		return nil
	}
	var text [maxInet]byte
	v.Kind, v.Data = change.Text, b.Copy(appendInet(text[:0], whole[:f.total]))
	return nil
}

// uncompress expands a value of a column with MariaDB's COMPRESSED attribute: a byte of 0x80, 8 for a stream without zlib's
// frame, and the size of the length; the length, big endian; the stream. A first byte of 0 stands before bytes as they are.
// The empty value has no bytes at all.
func (l *Layout) uncompress(p []byte) ([]byte, error) {
	switch {
	case len(p) == 0 || p[0] == 0:
		return append(l.scratch.take(), p[min(1, len(p)):]...), nil
	case p[0]&0xF0 != 0x80 || p[0]&7 == 0 || p[0]&7 > 4 || len(p) < 1+int(p[0]&7):
		return nil, errors.New("unknown compression of a column")
	}
	n := int(p[0] & 7)
	text, reason := l.inflate.run(p[1+n:], l.scratch.take(), bigEndian(p[1:1+n]), p[0]&8 != 0)
	if reason != "" {
		return nil, errors.New(reason)
	}
	return text, nil
}

// vectorValue writes the elements, little-endian float32, as text.
func vectorValue(p []byte, b *change.Batch, v *change.Value) error {
	if len(p)%4 != 0 {
		return errors.New("a vector of a part of a number")
	}
	text := b.Bytes(2 + len(p)/4*maxFloat32)[:0]
	text = append(text, '[')
	for i := 0; i < len(p); i += 4 {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendFloat(text, float64(math.Float32frombits(binary.LittleEndian.Uint32(p[i:]))), 'g', -1, 32)
	}
	text = append(text, ']')
	v.Kind, v.Data = change.Text, text[:len(text):len(text)]
	return nil
}

const maxFloat32 = 16 // bytes of a float32 in text with its comma

// geometryValue writes a stored geometry, an SRID and well-known binary, as hexadecimal EWKB.
func geometryValue(p []byte, b *change.Batch, v *change.Value) error {
	const head = 4 + 1 + 4 // SRID, byte order, type
	if len(p) < head || p[4] != 1 {
		return errors.New("not a geometry")
	}
	hasSRID := littleEndian(p[:4]) != 0
	size := len(p) - 4
	if hasSRID {
		size += 4
	}
	text := b.Bytes(2 * size)[:0]
	text = appendHex(text, p[4:8])
	if hasSRID {
		text = appendHexByte(text, p[8]|ewkbSRID)
		text = appendHex(text, p[:4])
	} else {
		text = appendHexByte(text, p[8])
	}
	v.Kind, v.Data = change.Text, appendHex(text, p[head:])
	return nil
}

const ewkbSRID = 0x20 // in the highest byte of the type: the SRID follows

func appendHex(dst, p []byte) []byte {
	for _, c := range p {
		dst = appendHexByte(dst, c)
	}
	return dst
}

func appendHexByte(dst []byte, c byte) []byte {
	return append(dst, "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
}
