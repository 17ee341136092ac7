// Package recordbatch encodes and decodes Kafka's record batches of magic 2, the bytes of which the embedded log's
// journal and segments are made.
//
// A [Builder] appends records to a batch in the caller's buffer; a [Decoder] walks over the records of one batch. Both
// are reused from batch to batch and then allocate nothing. Batches compressed with gzip, snappy, lz4 and zstd can be
// read and written.
//
//	 0 base offset        i64   patched by SetBaseOffset; the CRC does not cover it
//	 8 batch length       i32   bytes after this field
//	12 leader epoch       i32   -1, or patched by SetOwner; not covered by the CRC
//	16 magic              i8    2
//	17 crc                u32   CRC-32C of byte 21 to the end
//	21 attributes         i16   bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//	23 last offset delta  i32
//	27 base timestamp     i64   with bit 6: the time from which tombstones of the batch may go
//	35 max timestamp      i64
//	43 producer id i64, 51 producer epoch i16, 53 base sequence i32: -1, -1, -1
//	57 record count       i32
//	61 records            each: length, attributes i8, timestamp delta, offset delta, key, value, headers; all varints
//
// Invariants: a batch that Check accepts has the length and the CRC that its header says; a Decoder never reads beyond
// its batch, never returns a record of a malformed one after the malformation, and never panics. Null and empty keys,
// values and header values are told apart.
//
// It does no I/O and assigns no offsets. Magic 0 and 1, transactions and control batches are not interpreted.
package recordbatch
