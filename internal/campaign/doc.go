// Command campaign puts the daemon through many failures under load and proves that nothing was lost, doubled or put out of
// order; scripts/campaign runs it.
//
// In come the number of cycles and a seed; out go one line for each cycle and, as the last line, the verdict:
//
//	cycles=60 lost=0 doubled=0 misordered=0 checksums=equal
//
//	kill -n 60 -seed 1        kill -9 of the daemon at random moments, 20 ms to 3 s after its start
//	kill -copying -n 200      the same while rows are copied: when a copy is complete, another one is asked for
//	dbcrash -n 30 -seed 1     immediate stops of the database, up to a second long
//	resets -n 100 -seed 1     connections between the daemon and the database cut after random numbers of bytes
//	pgbench -n 120            pgbench at scale 10 for so many seconds; its last line is transactions=N checksums=equal
//	powercut -n 2000          power cuts of the embedded log on a file system in memory, see topic/disk
//	weave -n 5000 -seed 1     simulated databases that are written to while they are copied, and connectors that die, see snapshot
//	handoff -n 200 -seed 1    clients that write in every way there is against a snapshot that is under way
//	oltp -n 120               the load of sysbench's oltp_read_write on a source with a binary log, for so many seconds
//	model -n 200 -seed 1      random tables, random transactions, kills and pauses; each seed a database and a daemon of its own
//	ddl -n 10000 -seed 1      random DDL statements on a MariaDB or MySQL, followed by package source/mysql/ddl
//
// A campaign is made of lives: fresh databases, a fresh data directory, up to 15 cycles, the first half of which fall into the snapshot, or
// at least begin there.
// All the while clients write into the source: inserts, updates, deletes, key changes, many rows at once, savepoints and whole
// transactions rolled back, updates that leave a large value unchanged. Each transaction lists what it did in its own row of the
// table journal, and each row carries a number ver that only grows for one key. At the end of a life the log is read from its
// beginning and held against the journal, and the tables are compared by checksum in source, log and each sink:
//
//	lost         an operation of a committed transaction, or a tombstone, that is not in the log
//	doubled      an event in the log that no operation stands behind, or a second one behind the same operation
//	misordered   events of one transaction, one key or one table that do not stand in the order of their commits
//
// On MariaDB and MySQL (-db) kill, dbcrash, resets and oltp have the load of sysbench's oltp_read_write, and the tables change their structure meanwhile; the
// server logs no names of columns. A transaction is known by its GTID there, and the journal has its operations.
//
// With -copying each row of the log that was copied is counted, on PostgreSQL: the same content at most once for each copy, for what was
// finished before a death is not read again.
//
// A run of handoff is one database with 2,000 transactions a second where the machine allows it, one connector that dies up to three
// times, and the judgement of all that it delivered: the history of each key is legal, the fold of all events equals the tables. Its
// last line is runs=200 violations=0. It runs on PostgreSQL, MariaDB and MySQL (-db); of the last two some clients log only what an
// update has changed.
//
// A seed of model is three to six tables of random types, keys, replica identities and partitions, which four clients write to in every
// way there is, also by DDL; each transaction tells in the table journal what it did. One connector was there before the first row, a
// second one comes while they write, a third one copies what there is at the end. Meanwhile the daemon is killed, stopped and paused,
// connections are ended, tables are copied again. Its last line is seeds=200 violations=0. What is counted:
//
//	the tables, the fold of each of the three logs, and Redis behind the first two hold the same rows (what was streamed, what was
//	copied, and what was both are one)
//	the first log, folded up to a transaction that wrote nothing but its row of the journal, holds the rows that the tables had then
//	each log against the journal: each client's transactions in their order, none missing, none twice, each of them whole, every row
//	stamped by the transaction that it came with, a tombstone after each delete
//
// A seed that fails keeps its directory: s.json, w.json and c.json are the three logs.
//
// The campaign ddl needs no daemon: after each statement the structures that the tracker has of all tables must be those of
// information_schema. Its last line ends with "0 structures wrong".
//
// Invariants: the same seed gives the same moments and the same operations for each client, as far as the scheduler of
// the system lets it; what is judged is read over the daemon's public doors only; any doubt counts as a failure.
//
// It deliberately does not look into the daemon and injects nothing: those tests stand beside the code that they test.
package main
