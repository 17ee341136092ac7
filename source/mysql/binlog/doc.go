// Package binlog decodes the binary log of MySQL (5.6 to 9) and MariaDB (10 to 12), format version 4, straight into the
// values of package change.
//
// The bytes of one event come in, as a dump sends them behind its OK byte or as they stand in a file. A [Decoder] keeps
// what later events depend on (format, checksums, table maps) and fills an [Event]; row events are walked row by row
// through a [Layout], which binds the columns of a table (from the table map's own metadata, or given by the caller) to
// a table map, into rows of a caller's batch. The same columns turn the results of a SELECT into the same values
// ([Result]), so that a snapshot and the stream agree byte for byte.
//
//	event    timestamp 4, type 1, server id 4, size 4, end position 4, flags 2, body, [CRC-32 4]
//	map      table id 6, flags 2, schema, table, columns, types, metadata, nullable bits, optional fields (type, length, value)
//	rows     table id 6, flags 2, [extra, v2], columns, present bits (update: twice), rows
//	row      null bits of the present columns, their values; an update has two: before and after
//	payload  fields (type, length, value) to type 0, then zstd of whole events without checksums (MySQL, compressed)
//
//	raw bytes --Decode--> Event --TableMap--> Columns, NewLayout      one for each structure of a table
//	                            --Rows--Next(layout, batch)--> before, after change.Row
//
// Numbers are little endian outside of the values. Invariants: decoding is a pure function of the bytes and of what the
// Decoder was given before; every length is checked before it is used, so that a malformed event is an *[Error] and never
// a panic or an allocation that its size does not justify; a column that is not in a row's image is Absent, which is not
// NULL; a row costs no allocation besides the batch's own memory; a value is exact or the event fails: text that is not
// valid in its column's charset comes out as Bytes, never as U+FFFD, and dates that no calendar has as Text.
//
// It opens no connection, keeps no position and reads no catalog. What it can't decode without loss is an error with a
// reason code: PARTIAL_JSON, UNKNOWN_CHARSET, UNKNOWN_EVENT, UNKNOWN_TYPE. Columns that do not fit a table map are a *[Mismatch].
package binlog
