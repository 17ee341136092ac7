// Package jsontext writes JSON by appending to a byte slice: strings, numbers, dates, arrays and whole rows, without
// allocating anything but the growth of that slice.
//
// Values of package change come in, JSON text goes out. [AppendRow] and [AppendValue] write the natural form that
// document sinks store; change/envelope builds Debezium's form from the same primitives. Only [AppendString],
// [AppendKey], [AppendRow], [AppendValue] and the float functions write complete JSON tokens. The others
// (AppendDate, AppendUUID, AppendBase64 ...) write bare text that never needs escaping, for a caller who puts it
// between quotes or into SQL, a hash field or a file.
//
// The natural form of a value follows its kind, not its column's:
//
//	Bool                 true, false
//	Int Uint Decimal     a number with all its digits; the decimals NaN, Infinity, -Infinity as strings
//	Float32 Float64      the shortest number that reads back the same; NaN, Infinity, -Infinity as strings
//	Text                 a string
//	JSON                 the document itself, nested; text that is not one JSON document is a string
//	Bytes                base64 (RFC 4648 section 4) in a string
//	UUID                 "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
//	Date                 "2024-01-31", "-0043-03-15" for 44 BC, "+20000-06-15", "infinity", "-infinity"
//	Time                 "12:00:00", "12:00:00.5", "24:00:00"
//	Timestamp            "2024-01-31T12:00:00.123456"; fraction only as far as it is not zero
//	TimestampTZ          the same with Z at the end
//	Array                an array of its elements, nested as deep as it has dimensions; lower bounds are dropped
//
// Invariants: what is appended is one line of valid JSON (a raw line break inside a JSON column, which can only stand
// between tokens, becomes a space), so that it may be put into line-oriented formats as it is; no digit of a number
// and no byte of a string is lost. A byte that is not UTF-8 is written as the escape \udcXX, the way Python's
// surrogateescape does it: the text stays valid JSON, nothing turns into U+FFFD, and the byte can be got back.
//
// It does not parse JSON into values, and it knows no schemas, envelopes or field names but those of the table.
package jsontext
