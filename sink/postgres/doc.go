// Package postgres keeps tables of a PostgreSQL database equal to the source's, each change exactly once.
//
// In come batches of events. Out goes one transaction for each batch: one state for each row, grouped by table and by the
// set of columns that are present, each group written by one prepared statement whose parameters are the columns; and, in
// the same transaction, the batch's position. Tables and columns that are missing are made from the source's structure,
// columns are widened where that changes no value.
//
//	BEGIN; SELECT owner, position FROM _tailrace_offsets WHERE connector, origin FOR UPDATE     <- fence
//	deletes   DELETE ... USING unnest($1::text[], ...)
//	whole     INSERT ... SELECT c0::type, ... FROM unnest($1::text[], ...) ON CONFLICT (key) DO UPDATE
//	patches   UPDATE ... SET what was sent; then INSERT of those that were not there
//	UPDATE _tailrace_offsets SET position, version; COMMIT
//
//	_tailrace_offsets (connector, origin, owner, position, version, updated), primary key (connector, origin)
//
// Invariants: rows and position take effect together or not at all (Invariant 3), so after a crash nothing is lost or
// doubled. The entry's version is the newest that was written for the origin, a partition of a topic, in which versions only
// grow: an event that is not above it is old news and is passed over. So no replay can undo an update or resurrect a deleted
// row, and the tables need no column for versions (Invariant 4); when the operator moves the offset, the sink is not asked for
// its position, and takes what comes. Whoever asks for the position, or writes first, becomes the entry's owner: an older
// task that wakes up finds the lock's row changed and ends as FENCED. If the answer to a COMMIT is lost, the entry tells
// whether it happened. If the target refuses rows (a check, an overflow, a NUL in text), the transaction is run again
// in halves around savepoints until each of them stands alone; all others are committed and the position stays where it
// was, because only the worker knows when the dead letters are durable: it moves with the next batch, and a crash in
// between repeats the batch, which ends in the same rows. No value is cut: casts name types without their lengths.
// A truncate is in every partition of its topic and removes the rows that came from its own: as soon as rows of a second
// partition come, the table gets a column _tailrace_partition that tells them apart. Nothing waits for ever: statements, locks and the
// whole batch have limits, after which it is rolled back and tried again.
//
// It does not keep a row's NOT NULL, defaults, checks, indexes or foreign keys but for the primary key, does not drop
// columns or tables (a column that the source dropped becomes NULL in new rows), and does not rename. Foreign keys and
// unique constraints of the target's own hold only if the order within a batch, deletes first, satisfies them. Two topics never share
// a table within a task. Types that are not built in become the target's type of that name if an extension brings it, else text
// (enums, domains, composites), unless the table was made beforehand with other types.
package postgres
