package change

import "math"

// Kind says which value a [Value] holds and how it is represented; see the table in the package comment.
// The numbers are part of the log format (change/rowcodec): append, never renumber.
type Kind uint8

const (
	Absent      Kind = 0
	Null        Kind = 1
	Bool        Kind = 2
	Int         Kind = 3
	Uint        Kind = 4
	Float32     Kind = 5
	Float64     Kind = 6
	Decimal     Kind = 7
	Text        Kind = 8
	JSON        Kind = 9
	Bytes       Kind = 10
	UUID        Kind = 11
	Date        Kind = 12
	Time        Kind = 13
	Timestamp   Kind = 14
	TimestampTZ Kind = 15
	Array       Kind = 16
)

// kindCount bounds the valid kinds: Kind < kindCount.
const kindCount = 17

var kindNames = [kindCount]string{
	"absent", "null", "bool", "int", "uint", "float32", "float64", "decimal", "text", "json", "bytes", "uuid",
	"date", "time", "timestamp", "timestamptz", "array",
}

// String returns the kind's name in lower case, "invalid" for a number that is no kind.
func (k Kind) String() string {
	if k.Valid() {
		return kindNames[k]
	}
	return "invalid"
}

// Valid reports whether k is one of the kinds of this package.
func (k Kind) Valid() bool { return k < kindCount }

// InfinityMicros and NegInfinityMicros are the Num (as int64) of an infinite Date, Timestamp or TimestampTZ.
const (
	InfinityMicros    = math.MaxInt64
	NegInfinityMicros = math.MinInt64
)

// A Value is one column of a row. Data is owned by the batch the value came in.
type Value struct {
	Data []byte
	Num  uint64
	Kind Kind
}

// Int64 returns Num as a signed number, the form in which Int and the date and time kinds keep it.
func (v Value) Int64() int64 { return int64(v.Num) }

// Float returns the number of a Float32 or Float64 value.
func (v Value) Float() float64 {
	if v.Kind == Float32 {
		return float64(math.Float32frombits(uint32(v.Num)))
	}
	return math.Float64frombits(v.Num)
}

// Present reports whether the value was sent at all; NULL is present.
func (v Value) Present() bool { return v.Kind != Absent }

// A Row is a row's values in the order of Table.Columns. A nil Row means that the event has no such image.
type Row []Value

// Complete reports whether no column of the row is Absent.
func (r Row) Complete() bool {
	for i := range r {
		if r[i].Kind == Absent {
			return false
		}
	}
	return true
}
