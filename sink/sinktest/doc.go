// Package sinktest is the contract suite that every sink passes: one list of what a target must hold after batches,
// replays, faults and schema changes.
//
// In comes a [Harness], which makes fresh targets, opens sinks on them, reads their rows back and injects those faults
// that the target allows; [Run] writes histories through the sink and compares. A [History] builds events as the log
// gives them to a sink (versions that grow, deletes with the key columns in Before, Absent columns) and folds them into
// the rows that must be there; sinks use it in tests of their own as well.
//
//	History.Create, Update, Delete ... -> Take, Replay, Compacted -> *change.Batch -> Sink.Write -> target
//	       |                                                                                        |
//	       +--- fold ---> rows that must be there      == compared as text ==      rows that are ---+
//
// Invariants: after Write has returned, the suite overwrites all memory of the batch (Invariant 6), so a sink that keeps
// a slice of it fails; no case sleeps to synchronize; what a target cannot hold is named with a reason in
// Harness.Unsupported and reported as skipped, never passed over in silence.
//
// It does not start servers, does not know any target, and does not measure speed.
package sinktest
