// Package offsets remembers where every connector stands. An offset is itself a record of the log.
//
// A source's position goes into the same Append as the events before it, as the record that [Store.Record] makes, so
// after a crash rows and position are there together or not at all. A sink's position is committed by [Store.Commit]
// after the target has the rows. On start [Open] reads the topic to its end and knows all of them.
//
//	topic __tailrace_offsets, one partition, compacted
//	key    ["connector","origin"]        a JSON array of two strings
//	value  the position, a JSON object   {"lsn":23992840,...} or {"kafka_offset":1042,"epoch":1}
//	       null                          the offset was reset
//
// Origins: for a source its logical name (topic.prefix), for a sink TOPIC-PARTITION.
//
// Invariants: a position is in the store only when it is durable in the log (Invariants 1 and 3); the newest record of
// a key is the truth.
//
// The store does not judge positions: whether one is ahead of another only its source knows.
package offsets
