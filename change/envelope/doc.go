// Package envelope writes events as what the outside reads: Debezium's JSON without schemas.
//
// Events of package change go in, the text of a record's key, value and headers comes out, appended to the caller's
// slice. How a value is written follows its kind and what its column says: scale, precision and the handling mode
// (change.Render) that the source's configuration asked for.
//
//	{"before":row|null,"after":row|null,"source":{...},"transaction":null,"op":"c","ts_ms":1,"ts_us":1000,"ts_ns":1000000}
//
//	source             version connector name ts_ms snapshot db sequence ts_us ts_ns, then for PostgreSQL schema table
//	                   txId lsn xmin origin origin_lsn, for others table. Its times are the commit's, those at the end
//	                   are when Tailrace saw the event.
//	Decimal            precise: base64 of the unscaled number, in {"scale","value"} if the column has no scale
//	Date               days; with isostring 2024-01-31Z
//	Time, Timestamp    milliseconds if at most 3 fractional digits are declared, else microseconds; by mode otherwise
//	TimestampTZ        2024-01-31T12:00:00.123456Z with the declared number of digits
//	JSON, XML, enums   strings; UUID a string; Bytes base64 or by mode; arrays as arrays
//	Absent             in after: __debezium_unavailable_value in the shape of the column's type; in before: null
//	Raw, Flat          a Raw event is its own bytes; a Flat one only its after row
//
// Invariants: nothing is falsified. NULL stays null whatever the column's default; a value that its mode cannot express
// (NaN as a precise decimal, an infinite date in ISO form, the year 3000 in nanoseconds, a value of another kind than
// its column's) is written as its text; arrays keep their dimensions; before images have null where Debezium invents ""
// and 0. Field order is Debezium's. Nothing is allocated for a row once the table is known.
//
// It does not write schemas, Avro or CloudEvents, and transaction metadata is always null.
package envelope
