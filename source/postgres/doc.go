// Package postgres captures PostgreSQL (14 and later): the rows that a database commits, in commit order, and the rows
// that exist already, chunk by chunk.
//
// [Plugin] is what it exports. In comes the replication stream of a logical slot with the pgoutput plugin, and text-format
// results of SELECT; out go change.Event values, both through the same decoder of types, so that a row looks the same
// whether it was copied or streamed. A source has three connections: replication, control (catalog, re-reads, gauges)
// and scan.
//
//	socket --> pump goroutine --> queue of raw messages --> Read --> pgoutput --> types --> caller's Batch
//	  ^           |  owns the socket, 4 MiB at most                  ^
//	  |           +-- status updates: on time, also when nobody reads|
//	  +------------------- flush LSN <------------------ Ack         +-- relation cache <-- Relation + catalog
//
// A transaction too large for the server's memory comes in blocks before it has committed: they wait in the spool, which is memory and
// then files, and are decoded when its commit comes, as if it had come whole.
//
// A position is {"lsn":E,"ordinal":N,...}: E is the end of the last transaction that was delivered whole (or a place
// that the server had decoded up to with nothing for us), N the number of changes of the next transaction that were
// delivered too. Resume asks the server for E, drops transactions whose commit record starts before E, then N changes of
// the first one that is left, and has no other filter: the LSN of a change is no identity. Invariants: the flush LSN that
// the server is told comes from Ack alone (Invariant 1); whole transactions in commit order (Invariant 2); a slot that is
// gone, lost or ahead of the position is a permanent fault (Invariant 7); the publication exists before the slot and
// covers the captured tables before every start.
//
// It deliberately does not publish FOR ALL TABLES or tables without a usable replica identity, for that breaks the
// application's UPDATE; it runs no DDL but on its publication; it does not convert values to any output format.
package postgres
