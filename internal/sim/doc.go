// Package sim is a deterministic world for tests: a database made from a seed, with clients, a replication log,
// snapshots and a source that captures it; and the judge of what a connector made of it.
//
// In goes a seed; out come tables (large columns, keys of several columns, none), transactions of several clients
// (inserts, updates that leave large columns out of the log, deletes, changes of key, re-inserts, truncates, rollbacks),
// and [Source], which implements source.Source, source.Prompter, snapshot.Scanner and snapshot.Fetcher. [History] takes
// the batches that became durable, judges each event and folds them.
//
//	clients --> txn --commit--> log ------------> Stream.Read     each Read and each step of a Scan lets the clients go on
//	                   |  (a while later)                         by as many steps as the seed says
//	                   +-------> visible -------> Scan, Fetch
//
// A transaction is in the log before snapshots see it, its keys stay locked until they do, and a snapshot sees what was
// visible when it was taken: those are PostgreSQL's rules. With Config.Settle set to synctest.Wait in a synctest bubble
// the seed decides the whole schedule, so that a failure can be repeated by its number.
//
// It does not model structure changes, prepared transactions or crashes of the database itself.
package sim
