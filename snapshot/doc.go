// Package snapshot weaves the rows that exist already into the live stream of a database, chunk by chunk, while the
// stream runs from the first row on. It takes no lock and writes nothing in the source.
//
// [Open] takes a source and a position and gives a stream like any other. Into it goes what the source's own stream and
// its [Scanner] deliver; out of it come the same events, completed where only a copied row knows a column, and between
// them the copied rows as r events. Its positions are the source's, with the progress of the copy as one member more:
// what Resume claims is in the log, so a crash goes on at the next chunk, and a finished chunk is not read again.
//
//	stream  ---- B -------- I --- I ------------ I ------- A ----------->   B Before, I Inside, A After: Window.Side
//	                                                  ^
//	chunk      |== Scan: snapshot S ... ==|-- open ---| H passed: the rows that are left go out, then the next events
//	              events that pass now are   events evict and complete
//	              recorded, judged later     rows as they pass
//
// Why the log stays one legal history. Let S be the snapshot under which a chunk was read and k a key in it. A
// transaction that S saw (Before) has been delivered when the stream passes the window, for S saw it only after its
// commit was logged. A transaction that S did not see comes, for the same key, after all that S saw: writers of a row
// wait for each other. So the events of k are first some Before ones, then some that S did not see. As long as none of
// the latter was delivered, the chunk's row is the state of k after all Before events, and right to send once the window
// is passed. The first of them that is delivered makes the row stale: it is evicted, and the log has something newer.
// If that event leaves out a column (an unchanged TOAST value), the row it evicts holds it, for S is the state just
// before it; the event is completed from the row, so a fold of the log has the column. All this holds for every event
// that S did not see, whether the stream has passed the window or not; so [After] only tells that the window is passed,
// and the rows may wait for the end of the batch, where the source gives a position that they can carry.
//
// Events that pass while Scan runs can't be judged yet: they are recorded, a key each and, of an update that leaves out
// columns, its values. When the chunk lands they are applied in order, an incomplete update by laying its values over
// the row, which is the state of k after it and stays to be sent. The record has a fixed budget; when it is used up the
// stream waits for the scan (Invariant 8). Events delivered before Scan began are covered too: a database may send a
// commit before its snapshots see it (PostgreSQL logs the commit first, and with synchronous replication it may take
// long), so each delivered transaction is remembered until some window has seen it, and a chunk from which one of those
// is hidden is read again. Resume covers the stream up to the batch before the rows and the rows up to the last one
// sent; whatever a chunk in memory would still have said is in the database, and is read again under a later snapshot.
//
// A change of key is a delete and a create, and the create may lack columns. Its old row may be in no chunk yet and its
// new key in one that is finished, so that nobody would ever read it: where the open chunk does not know the columns,
// the row is read by its new key ([Fetcher]), under a snapshot that sees the event. A table without a key can't be
// woven by key: it is read to its end under one snapshot, in pieces ([Whole]; by one Scan where a source lacks it), while
// the stream waits, after a truncate event if the log may hold rows of it, and until the window is passed its Before
// events are dropped. A truncate evicts all rows. A change of structure throws away what was read and not sent.
//
// A scanner that can tell places apart ([Divider]) has its tables read by place, several pieces at once; they are sent in
// their order. A copy that is made again sweeps ghosts at its end: rows that the log has and the database no longer.
//
// Invariants: order per key (2), positions never go back (4), bytes belong to the caller's batch (6), at most two chunks
// of about 8 MiB are in memory (8).
//
// The package does not know any database's rules of visibility, stores nothing, and leaves signals and the choice of
// topics to others.
package snapshot
