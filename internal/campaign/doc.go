// Command campaign runs Tailrace under faults for as long as one likes and proves that nothing was lost, doubled or put
// out of order.
//
//	campaign kill -n 60 -seed 1      kill -9 of the daemon at random moments, under load, in snapshot and streaming
//
// A model generator writes to a private PostgreSQL: several clients, each with keys of its own, in transactions of random
// size with inserts, updates, deletes, changes of key, re-insertions, savepoints that are rolled back, transactions that
// are rolled back, and updates that leave a large value unchanged. Every row carries a number that only grows for its
// client, and every committed transaction leaves a row in a journal table, which is captured too. At the end a sentinel
// row is awaited and then source, log and sink are compared.
//
// Oracles: every journal row is in the log once (lost, doubled); no change is in the log twice, judged by transaction,
// LSN, operation and key (doubled); for each key the numbers never go back, snapshot rows included (misordered); no row
// of a rolled-back transaction is in the log (lost is then not the word, it is counted as doubled); the fold of the log,
// the rows of the sink and the rows of the source are equal (checksums).
//
// The last line of the output is the result; a seed repeats the generator's choices, not the machine's timing.
package main
