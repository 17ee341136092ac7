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
// Pieces. A scanner that can tell places apart ([Divider]) has its tables read by place, several pieces at once, each under a
// snapshot of its own; they are sent in the order of their places. A snapshot sees at most one version of a row, at one place, and
// what was said above holds for each piece alone. What is left to show is that no row is missed. A row that nobody writes stays
// where it is (a rewrite of the table is noticed, and the copy begins anew), and one piece has it. A row that transaction T moves
// from piece j to piece i is missed if snapshot Si did not see T and Sj did. Then T committed after Si was taken, so its event is in
// the stream, behind the position with which the copy began; it comes before the rows of j are sent, for Sj saw T; and it is made
// whole by reading the row where it leaves out columns ([Piece].Loose): from then on the log has all of the row. This is needed as long as
// a place of the table is behind the cursor, also while the copy is paused and in later runs.
//
// Sweeps. A copy that is made again removes ghosts: rows that the log has and the database no longer. Before the first chunk
// the end of the table's topic is noted as its mark. When the last chunk was sent, each key of the table has a record behind the mark: a
// copied row, or the event that evicted it, or a later one. So a key whose newest record is before the mark is not in the table, unless
// an event that the stream has not brought yet inserts it; that event is Inside the window of a sweep whatever it is, and takes the
// delete away if it comes first, and follows it otherwise. [Keys].Ghosts reads the log itself, which has all that was delivered before;
// what is delivered while it reads is recorded and applied as for a chunk. A copy of a part (a filter, a statement) sweeps nothing.
//
// What a snapshot saw. PostgreSQL tells it exactly: pg_current_snapshot lists the transactions by number, those under way too, and
// a subtransaction is visible with its top one, whose number events carry. A prepared transaction is one under way. MariaDB tells the
// place in the binary log up to which a consistent snapshot sees everything and nothing behind it (binlog_snapshot_position), for commits
// become visible in the log's order. MySQL tells which GTIDs were executed before the snapshot was begun; one is added to them after its
// transaction is visible, so they were all seen. A transaction that becomes visible in the moment between counts as unseen, though
// the rows hold it: its event comes after the read began and replaces or completes the row by what the row holds already. Columns
// of it may be ahead of the event then, by a transaction of the same moment whose event follows. A distributed transaction is the
// exception on MariaDB: XA COMMIT is logged before the rows are visible, out of the log's order. A snapshot has seen one that was
// prepared and was no longer among the server's prepared ones before it was begun, and none that is behind its place. Of what is left,
// the commits of that moment, nothing is known ([Unknown]): a chunk for which such a one matters is read again.
//
// Invariants: order per key (2), positions never go back (4), bytes belong to the caller's batch (6), at most snapshot.max.threads
// + 3 chunks of about 8 MiB are in memory (8).
//
// The package does not know any database's rules of visibility, stores nothing, and leaves signals and the choice of
// topics to others.
package snapshot
