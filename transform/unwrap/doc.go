// Package unwrap is the transform that makes rows of change events, Debezium's ExtractNewRecordState.
//
// It marks an event as [change.Event].Flat: where it is written as JSON or another outside format it becomes the new
// row alone, and a delete becomes a record without a value. Row sinks write rows anyway, so to them the mark means
// nothing. On request a delete is dropped or rewritten, and fields of the envelope become columns or headers.
//
//	delete.tombstone.handling.mode   a delete becomes
//	tombstone, delete-to-tombstone   one record without a value, a tombstone; row sinks delete
//	drop                             nothing
//	rewrite                          the old row with __deleted "true"; row sinks update: a soft delete
//	rewrite-with-tombstone           the old row with __deleted "true" and a tombstone after it; row sinks delete
//
// Invariants: order stays and no event becomes two (Invariant 2): in rewrite-with-tombstone the event stays a delete,
// whose After is the rewritten row, and the codec writes the tombstone after it as after every delete. Columns that the
// database did not tell stay Absent. A table with added columns is derived once for each table, so that comparing
// pointers stays the test for a schema change; no row costs an allocation, added headers one for each batch.
//
// Truncates and events that are no rows (messages, heartbeats) pass unchanged. It does not choose columns or topics.
package unwrap
