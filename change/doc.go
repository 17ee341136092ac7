// Package change is the vocabulary of Tailrace: what a row, a table, an event, a batch of events and a position are.
//
// Sources fill a [Batch] with [Event] values, transforms rewrite it in place, codecs turn it into log records and
// back, sinks read it. Every package of the house imports change; change imports the standard library only.
//
// A value is unboxed: its [Kind] says how to read Num and Data.
//
//	Kind         Num                                       Data
//	Absent       -                                         -            the column was not sent; it is not NULL
//	Null         -                                         -
//	Bool         0 or 1                                    -
//	Int          two's complement int64                    -
//	Uint         uint64                                    -
//	Float32      math.Float32bits                          -
//	Float64      math.Float64bits                          -
//	Decimal      -                                         canonical text: "-12.340", "NaN", "Infinity", "-Infinity"
//	Text         -                                         UTF-8
//	JSON         -                                         the JSON text exactly as the database printed it
//	Bytes        -                                         raw bytes
//	UUID         -                                         16 raw bytes
//	Date         days since 1970-01-01 (int64)             -
//	Time         microseconds since midnight (24:00 is 86400000000); MySQL: signed, to 838:59:59.999999 either way
//	Timestamp    microseconds since 1970-01-01 00:00:00, no zone (int64)
//	TimestampTZ  microseconds since the Unix epoch, UTC (int64)
//	Array        -                                         the database's own array text, for PostgreSQL {1,NULL,"a b"}
//
// Date, Timestamp and TimestampTZ hold [InfinityMicros] and [NegInfinityMicros] for the database's infinities. A value
// that its column's kind cannot represent exactly (a timestamp past the range of int64, a type that nobody taught us)
// travels as Text with the database's own text: the log never falsifies. So a consumer switches on the kind of the
// value, and takes only parameters (scale, element type, rendering) from the column. What a kind does not tell (an
// enum's label, an interval, a geometry) the column's Semantic does: the constants say how each is represented, and it
// is the same for every database. Handling modes that a source was configured with travel in Type.Render and Origin,
// so that rows in the log need no configuration to be read.
//
// An event that is not a row is [Raw]; its [Form] tells formats what it is. [Binlog], [Replica] and the transaction's
// members of Event are what source and transaction blocks show.
//
// Invariants: a [Table] and its columns never change after they were published, a schema change makes a new *Table;
// the bytes of an event belong to its batch and are dead after [Batch.Reset] (Invariant 6); keys made by [AppendKey]
// order as their tuples of values do and are injective.
//
// This package does not know databases, logs, targets, or any output format.
package change
