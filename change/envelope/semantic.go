package envelope

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// form says how values of a column's own kind are written where the kind does not.
type form uint8

const (
	byKind form = iota
	formBits
	formBit
	formInterval
	formISOInterval
	formTimeTZ
	formHStore
	formHStoreMap
	formPoint
	formGeometry
	formVector
	formFloatVector
	formSparseVector
	formTextBytes
	formMoney
	formUnsigned
	formPreciseUnsigned
)

// binaryText reports whether the text of a type that nobody taught us is to be written as its bytes.
func binaryText(t *change.Type) bool {
	switch t.Render {
	case change.RenderBytes, change.RenderHex, change.RenderBase64, change.RenderBase64URL:
		return t.Semantic == change.SemanticUnknown
	}
	return false
}

func formOf(t *change.Type) form {
	switch {
	case t.Kind == change.Uint && t.Bits == 64 && t.Render == change.RenderPrecise:
		return formPreciseUnsigned
	case t.Kind == change.Uint && t.Bits == 64:
		return formUnsigned
	case t.Kind == change.Decimal && t.Semantic == change.SemanticMoney:
		return formMoney
	case binaryText(t):
		return formTextBytes
	case t.Kind != change.Text:
		return byKind
	}
	switch t.Semantic {
	case change.SemanticBits:
		if t.Length == 1 {
			return formBit
		}
		return formBits
	case change.SemanticInterval:
		if t.Render == change.RenderString {
			return formISOInterval
		}
		return formInterval
	case change.SemanticTimeTZ:
		return formTimeTZ
	case change.SemanticHStore:
		if t.Render == change.RenderMap {
			return formHStoreMap
		}
		return formHStore
	case change.SemanticPoint:
		return formPoint
	case change.SemanticGeometry, change.SemanticGeography:
		if isPoint(t) {
			return formPoint
		}
		return formGeometry
	case change.SemanticVector:
		return formVector
	case change.SemanticFloatVector:
		return formFloatVector
	case change.SemanticSparseVector:
		return formSparseVector
	}
	return byKind
}

// appendForm appends a value of a column with a form. It reports false, and appends nothing, if the value has none.
func (enc *Encoder) appendForm(dst []byte, c *column, v *change.Value) ([]byte, bool) {
	switch c.form {
	case formBits:
		return appendBits(dst, v.Data, c.leastBits())
	case formBit:
		if len(v.Data) != 1 || v.Data[0]&^1 != '0' {
			return dst, false
		}
		return strconv.AppendBool(dst, v.Data[0] == '1'), true
	case formInterval, formISOInterval:
		s, ok := parseInterval(v.Data)
		if !ok {
			return dst, false
		}
		if c.form == formISOInterval {
			return s.appendISO(dst), true
		}
		return strconv.AppendInt(dst, s.total(), 10), true
	case formTimeTZ:
		return appendTimeTZ(dst, v.Data)
	case formHStore, formHStoreMap:
		return enc.appendHStore(dst, v.Data, c.form == formHStore)
	case formPoint:
		return appendPoint(dst, v.Data)
	case formGeometry:
		return appendGeometry(dst, v.Data, !c.pg)
	case formVector:
		return appendVector(dst, v.Data, 64)
	case formFloatVector:
		return appendVector(dst, v.Data, 32)
	case formSparseVector:
		return appendSparse(dst, v.Data)
	case formTextBytes:
		return append(appendBytes(append(dst, '"'), c.t, v.Data), '"'), true
	case formMoney:
		return appendMoney(dst, c.t, v.Data)
	case formUnsigned:
		return strconv.AppendInt(dst, int64(v.Num), 10), true
	}
	return appendUnsigned(dst, v.Num), true
}

// leastBits returns the number of bytes that a bit string takes at least: Debezium trims those of PostgreSQL alone.
func (c *column) leastBits() int {
	if c.pg {
		return 0
	}
	return (int(c.t.Length) + 7) / 8
}

// appendBits appends base64 of a text of 0 and 1 as little-endian bytes, without bytes of zeros at the end beyond least.
func appendBits(dst, text []byte, least int) ([]byte, bool) {
	start := len(dst)
	dst = append(dst, make([]byte, max((len(text)+7)/8, least))...)
	raw := dst[start:]
	for i, b := range text {
		switch n := len(text) - 1 - i; b {
		case '1':
			raw[n/8] |= 1 << (n % 8)
		case '0':
		default:
			return dst[:start], false
		}
	}
	for len(raw) > least && raw[len(raw)-1] == 0 {
		raw = raw[:len(raw)-1]
	}
	end := len(dst)
	dst = append(jsontext.AppendBase64(append(dst, '"'), raw), '"')
	return dst[:start+copy(dst[start:], dst[end:])], true
}

// span is an interval.
type span struct {
	months, days, micros int64
}

const (
	microsPerHour   = 3600 * 1_000_000
	microsPerMinute = 60 * 1_000_000
	microsPerSecond = 1_000_000
	microsPerDay    = 24 * microsPerHour
	microsPerMonth  = 2_629_800_000_000 // of 365.25/12 days
)

// parseInterval reads an interval as PostgreSQL writes it (IntervalStyle postgres): 1 year -2 mons +3 days -04:05:06.7
func parseInterval(p []byte) (s span, ok bool) {
	for ok = false; len(p) > 0; ok = true {
		word := p
		if i := bytes.IndexByte(p, ' '); i >= 0 {
			word, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if bytes.IndexByte(word, ':') > 0 {
			if s.micros, ok = parseSpan(word); !ok || p != nil {
				return s, false
			}
			continue
		}
		n, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil {
			return s, false
		}
		unit := p
		if i := bytes.IndexByte(p, ' '); i >= 0 {
			unit, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		switch string(bytes.TrimSuffix(unit, []byte{'s'})) {
		case "year":
			s.months += 12 * n
		case "mon":
			s.months += n
		case "day":
			s.days = n
		default:
			return s, false
		}
	}
	return s, ok
}

// parseSpan reads [-+]H..H:MM:SS[.ffffff] into microseconds.
func parseSpan(p []byte) (int64, bool) {
	negative := false
	if p[0] == '-' || p[0] == '+' {
		negative, p = p[0] == '-', p[1:]
	}
	i := bytes.IndexByte(p, ':')
	if i < 1 || len(p) < i+6 || p[i+3] != ':' {
		return 0, false
	}
	h, err := strconv.ParseUint(string(p[:i]), 10, 32)
	m, err1 := strconv.ParseUint(string(p[i+1:i+3]), 10, 8)
	sec, err2 := strconv.ParseUint(string(p[i+4:i+6]), 10, 8)
	if err != nil || err1 != nil || err2 != nil {
		return 0, false
	}
	n := int64(h)*microsPerHour + int64(m)*microsPerMinute + int64(sec)*microsPerSecond
	if frac := p[i+6:]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) > 7 {
			return 0, false
		}
		unit := int64(microsPerSecond)
		for _, c := range frac[1:] {
			if c -= '0'; c > 9 {
				return 0, false
			}
			unit /= 10
			n += int64(c) * unit
		}
	}
	if negative {
		n = -n
	}
	return n, true
}

// total returns the interval in microseconds, at most what an int64 holds.
func (s span) total() int64 {
	f := float64(s.months)*microsPerMonth + float64(s.days)*microsPerDay + float64(s.micros)
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return s.months*microsPerMonth + s.days*microsPerDay + s.micros
}

// appendISO appends the interval with all its parts: "P1Y2M-3DT4H5M6.7S".
func (s span) appendISO(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `"P`...), s.months/12, 10)
	dst = strconv.AppendInt(append(dst, 'Y'), s.months%12, 10)
	dst = strconv.AppendInt(append(dst, 'M'), s.days, 10)
	dst = strconv.AppendInt(append(dst, 'D', 'T'), s.micros/microsPerHour, 10)
	dst = strconv.AppendInt(append(dst, 'H'), s.micros/microsPerMinute%60, 10)
	dst = append(dst, 'M')
	rest := s.micros % microsPerMinute
	if rest < 0 {
		dst, rest = append(dst, '-'), -rest
	}
	dst = strconv.AppendInt(dst, rest/microsPerSecond, 10)
	if frac := rest % microsPerSecond; frac != 0 {
		start := len(dst)
		dst = strconv.AppendInt(dst, frac+microsPerSecond, 10)
		dst[start] = '.' // over the 1 that keeps the leading zeros
		dst = bytes.TrimRight(dst, "0")
	}
	return append(dst, 'S', '"')
}

// appendTimeTZ appends a time with its offset, as PostgreSQL writes it, as the same moment in UTC.
func appendTimeTZ(dst, p []byte) ([]byte, bool) {
	i := bytes.LastIndexAny(p, "+-")
	if i < 8 {
		return dst, false
	}
	clock, ok := parseSpan(p[:i])
	if !ok {
		return dst, false
	}
	offset := int64(0)
	for n, unit := i+1, int64(microsPerHour); n < len(p); n, unit = n+3, unit/60 {
		if n+2 > len(p) || unit < microsPerSecond || n+2 < len(p) && p[n+2] != ':' {
			return dst, false
		}
		part, err := strconv.ParseUint(string(p[n:n+2]), 10, 8)
		if err != nil {
			return dst, false
		}
		offset += int64(part) * unit
	}
	if p[i] == '-' {
		offset = -offset
	}
	utc := (clock - offset) % microsPerDay
	if utc < 0 {
		utc += microsPerDay
	}
	return append(jsontext.AppendTime(append(dst, '"'), utc, jsontext.AsNeeded), 'Z', '"'), true
}

// appendPoint appends a point, (x,y) as PostgreSQL writes it or an EWKB of one, as a struct.
func appendPoint(dst, p []byte) ([]byte, bool) {
	if len(p) > 0 && p[0] != '(' {
		return appendWKBPoint(dst, p)
	}
	i := bytes.IndexByte(p, ',')
	if i < 2 || p[len(p)-1] != ')' {
		return dst, false
	}
	x, err := strconv.ParseFloat(string(p[1:i]), 64)
	y, err1 := strconv.ParseFloat(string(p[i+1:len(p)-1]), 64)
	if err != nil || err1 != nil {
		return dst, false
	}
	wkb := [21]byte{1, 1}
	putFloat(wkb[5:], x)
	putFloat(wkb[13:], y)
	return appendPointStruct(dst, x, y, wkb[:], 0, false), true
}

// putFloat puts f as Java does: there is one NaN.
func putFloat(p []byte, f float64) {
	n := math.Float64bits(f)
	if f != f {
		n = 0x7FF8000000000000
	}
	binary.LittleEndian.PutUint64(p, n)
}

func appendPointStruct(dst []byte, x, y float64, wkb []byte, srid uint32, hasSRID bool) []byte {
	dst = jsontext.AppendFloat64(append(dst, `{"x":`...), x)
	dst = jsontext.AppendFloat64(append(dst, `,"y":`...), y)
	dst = jsontext.AppendBase64(append(dst, `,"wkb":"`...), wkb)
	return appendSRID(append(dst, '"'), srid, hasSRID)
}

func appendSRID(dst []byte, srid uint32, has bool) []byte {
	dst = append(dst, `,"srid":`...)
	if !has {
		return append(dst, "null}"...)
	}
	return append(strconv.AppendUint(dst, uint64(srid), 10), '}')
}

// A hexadecimal EWKB begins with its byte order and a type, whose flag says that an SRID follows.
const (
	ewkbHead    = 5
	ewkbHasSRID = 0x20000000
)

// decodeEWKB decodes p behind dst; wkb is that part of all, without the SRID if strip.
func decodeEWKB(dst, p []byte, strip bool) (all, wkb []byte, srid uint32, has, ok bool) {
	start := len(dst)
	all, err := hex.AppendDecode(dst, p)
	if err != nil || len(all)-start < ewkbHead {
		return dst, nil, 0, false, false
	}
	wkb = all[start:]
	var order binary.ByteOrder = binary.BigEndian
	if wkb[0] == 1 {
		order = binary.LittleEndian
	}
	kind := order.Uint32(wkb[1:])
	if kind&ewkbHasSRID == 0 {
		return all, wkb, 0, false, true
	}
	if len(wkb) < ewkbHead+4 {
		return dst, nil, 0, false, false
	}
	srid = order.Uint32(wkb[ewkbHead:])
	if strip {
		order.PutUint32(wkb[1:], kind&^uint32(ewkbHasSRID))
		wkb = append(wkb[:ewkbHead], wkb[ewkbHead+4:]...)
	}
	return all, wkb, srid, true, true
}

// appendGeometry appends a geometry as {"wkb","srid"}. With strip the WKB is without the SRID, as MySQL keeps it.
func appendGeometry(dst, p []byte, strip bool) ([]byte, bool) {
	start := len(dst)
	dst, wkb, srid, has, ok := decodeEWKB(dst, p, strip)
	if !ok {
		return dst[:start], false
	}
	end := len(dst)
	dst = jsontext.AppendBase64(append(dst, `{"wkb":"`...), wkb)
	dst = appendSRID(append(dst, '"'), srid, has)
	return dst[:start+copy(dst[start:], dst[end:])], true
}

func appendWKBPoint(dst, p []byte) ([]byte, bool) {
	start := len(dst)
	dst, wkb, srid, has, ok := decodeEWKB(dst, p, true)
	if !ok || len(wkb) < ewkbHead+16 || wkb[0] != 1 {
		return dst[:start], false
	}
	end := len(dst)
	x := math.Float64frombits(binary.LittleEndian.Uint64(wkb[ewkbHead:]))
	y := math.Float64frombits(binary.LittleEndian.Uint64(wkb[ewkbHead+8:]))
	dst = appendPointStruct(dst, x, y, wkb, srid, has)
	return dst[:start+copy(dst[start:], dst[end:])], true
}

// appendVector appends [1,2.5] with elements as a float of so many bits is written.
func appendVector(dst, p []byte, bits int) ([]byte, bool) {
	start := len(dst)
	if len(p) < 2 || p[0] != '[' || p[len(p)-1] != ']' {
		return dst, false
	}
	dst = append(dst, '[')
	for elem := range bytes.SplitSeq(p[1:len(p)-1], []byte{','}) {
		if len(elem) == 0 && len(p) == 2 {
			break
		}
		f, err := strconv.ParseFloat(string(bytes.TrimSpace(elem)), bits)
		if err != nil {
			return dst[:start], false
		}
		if len(dst) > start+1 {
			dst = append(dst, ',')
		}
		if bits == 32 {
			dst = jsontext.AppendFloat32(dst, float32(f))
		} else {
			dst = jsontext.AppendFloat64(dst, f)
		}
	}
	return append(dst, ']'), true
}

// appendSparse appends {1:1.5,7:2}/8 as a struct. Its map has numbers as keys: Connect writes such maps as pairs.
func appendSparse(dst, p []byte) ([]byte, bool) {
	start := len(dst)
	i := bytes.Index(p, []byte("}/"))
	if i < 1 || p[0] != '{' {
		return dst, false
	}
	dims, err := strconv.ParseUint(string(p[i+2:]), 10, 32)
	if err != nil {
		return dst, false
	}
	dst = strconv.AppendUint(append(dst, `{"dimensions":`...), dims, 10)
	dst = append(dst, `,"vector":[`...)
	open := len(dst)
	for pair := range bytes.SplitSeq(p[1:i], []byte{','}) {
		if i == 1 {
			break
		}
		index, value, found := bytes.Cut(pair, []byte{':'})
		n, err := strconv.ParseUint(string(bytes.TrimSpace(index)), 10, 32)
		f, err1 := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		if !found || err != nil || err1 != nil {
			return dst[:start], false
		}
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(append(dst, '['), n, 10)
		dst = append(jsontext.AppendFloat64(append(dst, ','), f), ']')
	}
	return append(dst, ']', '}'), true
}
