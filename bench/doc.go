// Command bench measures Tailrace against what the machine can do: each figure is a ratio of two things that are run
// alternately in one run, the median of several rounds, and is held against a floor and a target.
//
// In comes a list of ids (B1 B2 ...); out goes one line for each: ratio or figure, floor, target, rounds. The exit status
// is 1 if a figure misses its floor. It starts a PostgreSQL of its own and runs itself as a child process for the
// measured side, so that CPU time and memory are the operating system's account of that process alone.
//
//	parent   backlog of changes in PostgreSQL, a slot for each round
//	         round: pg_recvlogical --endpos -> /dev/null | bench child: source -> rowcodec -> fsynced log, up to the same LSN
//	         B11: a MariaDB; bench parse: go-mysql's parser, discard | bench child, up to the same place
//	child    the worker with the real plugins on a data directory; prints rows, allocations, latencies as JSON
//
// Invariants: both sides of a ratio read the same backlog through the same kind of slot over the same socket; the
// children's logs are real, fsynced files.
//
// It does not judge correctness (the tests and campaigns do), and its absolute figures are for orientation only.
package main
