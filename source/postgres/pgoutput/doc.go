// Package pgoutput decodes the messages of PostgreSQL's built-in logical decoding plugin, protocol versions 1 and 2.
//
// The payload of one XLogData message comes in, one [Message] goes out: begin, commit, origin, relation, type, insert,
// update, delete, truncate, logical message, or one of the four about transactions in progress. A Message is reused for the next payload, its cells point into the
// payload they were decoded from, and a row costs no allocation.
//
//	B  begin     final LSN 8, commit time 8, xid 4
//	C  commit    flags 1, commit LSN 8, end LSN 8, commit time 8
//	O  origin    commit LSN 8, name
//	R  relation  oid 4, schema, name, replica identity 1, columns 2 x (flags 1, name, type oid 4, type modifier 4)
//	Y  type      oid 4, schema, name
//	I  insert    oid 4, N tuple
//	U  update    oid 4, [K tuple | O tuple], N tuple
//	D  delete    oid 4, K tuple | O tuple
//	T  truncate  count 4, options 1, oids 4 x count
//	M  message   flags 1, LSN 8, prefix, length 4, bytes
//	S  stream start   xid 4, first 1             changes of a transaction in progress follow, until
//	E  stream stop
//	c  stream commit  xid 4, flags 1, commit LSN 8, end LSN 8, commit time 8
//	A  stream abort   xid 4, xid of the subtransaction 4
//	   tuple     columns 2 x (n | u | t length 4 bytes | b length 4 bytes)
//
// Numbers are big endian, names end with a zero byte. Between S and E the messages R Y I U D T M have an xid 4 after their kind, which
// [Split] takes off (logicalproto.c of PostgreSQL 14 to 18; Logical Replication Message Formats in its manual). Invariants: decoding is a pure function of the bytes; every length
// is checked against the bytes that are there before it is used, so that a malformed message is an error and never a
// panic or a large allocation; bytes left over at the end are an error too, for they mean that we misread the message.
//
// It does not know what the columns mean, keeps no relations, reads no socket, does not put blocks of a transaction together, and does not
// decode the messages of protocol versions 3 and 4 (prepared transactions, parallel streaming), which a server sends only to those who
// ask.
package pgoutput
