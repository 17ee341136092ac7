// Package rowcodec is the form in which the embedded log stores rows: compact, typed, and decoded without a copy.
//
// Events of package change go in and records of package topic come out, and back. An [Encoder] serves one source lane,
// a [Decoder] one reader; both share the [Registry] of table versions, which lives in the topic [SchemaTopic]. A row
// refers to its table version by four bytes, so a reader needs nothing but the log.
//
// The record's key is the event's key tuple, its timestamp the commit time in milliseconds, its headers the event's
// headers. Its value (v: unsigned varint, z: zigzag varint, as in Protocol Buffers; numbers little endian):
//
//	+---+-------+---------+-----------+-----+---------+-----+-------------+---------+-------------+--------+--------+-------+
//	| 2 | flags | [extra] | schema: 4 | v   | v       | v   | z           | v       | z           | [rare] | Before | After |
//	|   |       |         |           | txn | ordinal | LSN | LSN-PrevLSN | µs % ms | Seen-Commit |        | image  | image |
//	+---+-------+---------+-----------+-----+---------+-----+-------------+---------+-------------+--------+--------+-------+
//	flags   bits 0-2 the op: r c u d t m; 3 a Before image, 4 an After image, 5 After has Absent columns, 6 Raw, 7 extra
//	extra   bits 0-2 the snapshot marker, 3 Flat, 4-7 the rare members that follow the times; only there if not zero
//	rare    bit 4 v row, v length of: file, gtid, query (each with its length), v server, v thread
//	        bit 5 v length of: origin (with its length), v its LSN; 6 transaction's id (with its length), v order, v in table
//	        bit 7 the form of a Raw event
//	image   for each column of the table a lead byte, then what it announces:
//	        every kind        00 Absent, 01 NULL, 02 a value of another kind than the column's: its kind, then as there
//	        Bool              03 false, 04 true
//	        Int Uint          04..0B 1..8 bytes; 0C..FF the number itself: 0 to 243. Zigzag, except for Uint.
//	        Date Time Timestamp TimestampTZ      as Int
//	        Float32 Float64 UUID                 03, then 4, 8, 16 bytes
//	        Text JSON Bytes Array Decimal        length+3 as v (which begins at 03), then the bytes
//
// A Raw event has its bytes as they are in place of the images, and Raw.Key as the record's key. A tombstone has no
// value; its header _tr (format, flags, schema) tells by which table version the key is to be read. A schema record has
// the table version's number as its key and format, names, origin, columns and key in its value, see schema.go. Records
// and schemas of format 1, which had no rare members and less in a schema, are read as well; a later format is refused. The
// number is a hash of the value, moved on where another table has it.
//
// Invariants: a table version is appended before its first event by each encoder (Invariant 5); NULL and Absent stay
// apart; every field of an event survives except Version, which is made of the topic's epoch and the record's offset
// (Invariant 4), and the Key of Raw events; [Registry.Merge] loses no state in compaction; damaged bytes give an error,
// never a panic and never a row of another shape.
//
// It does not write to the log, choose partitions, compress (the log compresses whole blocks), or know any format that
// the outside reads.
package rowcodec
