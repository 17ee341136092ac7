// Package sourcetest is the contract suite of sources: what every source.Source must do, whatever its database.
//
// A source's test makes a [Harness] and calls [Run]. The harness makes databases with one table items (id, n, doc) and
// writes transactions into it; the suite opens sources on them, reads their streams and compares what comes with what
// was written.
//
//	harness.New(t) --> Database --Exec(ops)--> one transaction in the database
//	                            --Open-------> source.Source -> Stream -> events, Resume    compared with the ops
//
// What it holds a source to: an empty position starts now; whole transactions in the order of their commits, nothing of
// one that was rolled back; each Resume continues with exactly the rest; positions only grow; nothing waits for Ack; a
// batch belongs to its caller; Read returns when its context is done; Close joins all goroutines. If the source is a
// snapshot.Scanner: chunks in key order, within their limit, and windows that judge by what the chunk saw.
//
// It does not test values and types, configuration, or what only one database can do.
package sourcetest
