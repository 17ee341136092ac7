// Package mask is the transform that hides the values of columns, Kafka Connect's MaskField and more.
//
// It replaces the values of the columns that it is given, in the new row and in the old image alike, before anything
// is stored: what was masked on its way into the log is nowhere in the log. Columns are given by their bare names
// (fields, as MaskField has them) or by patterns for schema.table.column (columns).
//
//	mode      becomes                                                        NULL      column type
//	zero      "", 0, false, 1970-01-01 ... by type; or replacement           masked    stays
//	fixed     as many asterisks as length says                               masked    text
//	hash      hex of algorithm(salt + text of the value)                     stays     text
//	truncate  its first length characters                                    stays     stays; text columns only
//	null      NULL                                                           NULL      stays, nullable
//
// Invariants: a value that is Absent stays Absent, for it is not there to be seen. A key column is never masked: that
// would join rows that differ (Invariant 2), so a configuration that matches one ends in FAILED with MASK_KEY. A value
// that cannot be masked as its column asks is a failure too, never passed on as it is (Invariant 7). Tables whose
// column types change are derived once for each table. No row costs an allocation.
//
// It does not look into JSON documents, arrays, or events that are no rows (outbox payloads, messages); and a hash of
// few possible values can be found by trying them all unless the salt stays secret.
package mask
