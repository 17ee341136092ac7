// Package mysql captures MySQL (5.7 and later) and MariaDB (10.5 and later): the rows that a server commits, in the order of
// its binary log, and the rows that exist already, chunk by chunk.
//
// [Plugin] and [MariaDB] are what it exports. In come the events of a dump of the binary log, and rows of SELECT in the text
// protocol; out go change.Event values, both through the same decoder of types (package binlog), so that a row looks the
// same whether it was copied or streamed. A source has three connections: dump, control (catalog, re-reads) and scan.
//
//	socket --> pump goroutine --> queue of raw events --> Read --> binlog.Decoder --> Layout --> caller's Batch
//	                              4 MiB at most: when it is full the server waits       ^
//	                                                                relations <-- table maps + catalog
//
// A position is {"file":F,"pos":P,"gtids":G,...}: what was delivered whole, by place and, where the server has them, by
// GTIDs; inside of a large transaction also {"gtid":T,"events":N,"rows":M}: N row events of transaction T and M rows of the
// next were delivered too. Resume asks for what is not in G (or follows P), counts N and M in T, and has no other filter.
// An event's Txn is the transaction's GTID as a number, or the place where it begins (see numbers and coordinate), so that a
// chunk's window can judge it. Invariants: whole transactions in the server's order (Invariant 2); a server that lacks
// something after the position, or has less than it, is a permanent fault (Invariant 7); a key is never made of columns
// that were not logged.
//
// It takes no lock and writes nothing on the server. It does not parse rows out of statements: a change of a captured table
// in statement format is a fault, and so is anything else that the log does not have whole. It asks no
// catalog for the past: structures come with the events (binlog_row_metadata=FULL), or from a history that package ddl keeps by the
// statements in the log, which is stored in Tailrace's own log beside the positions (see history, change.Note).
package mysql
