package postgres

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tailrace/tailrace/change"
)

// Results of SELECTs come in the binary format where that spares the server the writing of a text and us the reading of it.
const (
	textFormat   = 0
	binaryFormat = 1

	epochDays  = 10957 // from 1970-01-01 to 2000-01-01, where PostgreSQL counts from
	placeBytes = 6     // of a ctid
)

// comesBinary reports whether values of a column are asked for in the binary format: those of built-in types that have a kind of
// their own and whose binary form is simpler than their text.
func comesBinary(oid uint32, kind change.Kind) bool {
	switch oid {
	case oidBool, oidInt2, oidInt4, oidInt8, oidOID, oidFloat4, oidFloat8, oidBytea, oidUUID, oidDate, oidTime, oidTimestamp, oidTimestampTZ:
		k, _ := builtin(oid)
		return k == kind
	}
	return false
}

// appendFormats appends the formats of the columns of selectList.
func (r *relation) appendFormats(formats []int16) []int16 {
	for i := range r.plan {
		if r.plan[i].binary && r.plan[i].target >= 0 {
			formats = append(formats, binaryFormat)
		} else {
			formats = append(formats, textFormat)
		}
	}
	return formats
}

// parseBinary reads the binary form of a value of a built-in type that comesBinary, and makes of it what parseValue makes of its text.
func parseBinary(b *change.Batch, v *change.Value, oid uint32, kind change.Kind, p []byte) error {
	be := binary.BigEndian
	size := 8
	switch oid {
	case oidBytea:
		v.Kind, v.Data = kind, b.Copy(p)
		return nil
	case oidUUID:
		size = 16
	case oidBool:
		size = 1
	case oidInt2:
		size = 2
	case oidInt4, oidOID, oidFloat4, oidDate:
		size = 4
	}
	if len(p) != size {
		return fmt.Errorf("a value of type %d has %d bytes instead of %d", oid, len(p), size)
	}
	v.Kind = kind
	switch oid {
	case oidUUID:
		v.Data = b.Copy(p)
	case oidBool:
		v.Num = uint64(p[0] & 1)
	case oidInt2:
		v.Num = uint64(int64(int16(be.Uint16(p))))
	case oidInt4:
		v.Num = uint64(int64(int32(be.Uint32(p))))
	case oidOID:
		v.Num = uint64(be.Uint32(p))
	case oidInt8, oidTime:
		v.Num = be.Uint64(p)
	case oidFloat4:
		if v.Num = uint64(be.Uint32(p)); v.Float() != v.Float() {
			v.Num = uint64(math.Float32bits(float32(math.NaN()))) // there is one NaN
		}
	case oidFloat8:
		if v.Num = be.Uint64(p); v.Float() != v.Float() {
			v.Num = math.Float64bits(math.NaN())
		}
	case oidDate:
		binaryDate(v, int32(be.Uint32(p)))
	case oidTimestamp, oidTimestampTZ:
		binaryMoment(b, v, int64(be.Uint64(p)))
	default:
		return fmt.Errorf("type %d does not come in the binary format", oid)
	}
	return nil
}

func binaryDate(v *change.Value, days int32) {
	n := int64(days) + epochDays
	switch days {
	case math.MaxInt32:
		n = change.InfinityMicros
	case math.MinInt32:
		n = change.NegInfinityMicros
	}
	v.Num = uint64(n)
}

// binaryMoment sets a timestamp of so many microseconds since 2000. What can't be told in microseconds since 1970 is text.
func binaryMoment(b *change.Batch, v *change.Value, micros int64) {
	switch {
	case micros == math.MaxInt64:
		v.Num = change.InfinityMicros
	case micros == math.MinInt64:
		n := int64(change.NegInfinityMicros)
		v.Num = uint64(n)
	case micros >= (maxDays+1-epochDays)*microsPerDay:
		v.Data = b.Copy(appendDayAndClock(nil, v.Kind, micros/microsPerDay+epochDays, micros%microsPerDay))
		v.Kind = change.Text
	default:
		v.Num = uint64(micros + epochMicros)
	}
}

// binaryPlace reads a ctid.
func binaryPlace(p []byte) (place, error) {
	if len(p) != placeBytes {
		return place{}, fmt.Errorf("malformed ctid %x", p)
	}
	return place{binary.BigEndian.Uint32(p), binary.BigEndian.Uint16(p[4:])}, nil
}
