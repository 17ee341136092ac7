// Package disk is the embedded log: topics in a directory of one machine, durable, compacted, and read by many.
//
// Open gives a [Log]. Append takes records of any number of topics and returns when they are fsynced; a [Reader] follows
// any number of partitions and hands out records without copying or allocating. [Options] hold all that the log needs
// of the world: the file system, the clock, a logger, a merger of partial values.
//
//	Append   encode (caller) ──> queue ──> writer: segments (no fsync) ─> journal ─> fsync ─> visible, answered
//	                                           │                             │
//	Read     <────────────── page cache ───────┘                             │
//	                                                                         │
//	checkpoint, when the journal has 64 MiB:  begin another journal file ────┘
//	                                          fsync segments, write MANIFEST, remove the old journal
//	compaction, after a checkpoint:           rewrite sealed segments, write MANIFEST, remove the old ones;
//	                                          not of a partition that is being filled
//
// FORMAT.md beside this file draws every byte. One goroutine, the writer, assigns offsets; whatever is queued while it
// syncs shares the next fsync. Segments are written before the journal and count only up to the size that the last
// manifest and the journal after it give them, so whatever fails before the fsync is forgotten without a trace.
//
// Invariants: an Append is answered after the fsync of the one frame that holds all of it, and readers see it not
// before (Invariants 1 and 3). After a failed fsync nothing is acknowledged any more (LOG_BROKEN). Recovery cuts off a
// torn tail, and refuses bytes that were durable and are damaged (LOG_CORRUPT), as does every read (Invariant 7). No
// lock is held across I/O that a reader could wait for. A fold of the compacted log equals a fold of the log before.
// Journal, memory and, with MaxBytes, the whole directory have bounds (Invariant 8).
//
// It knows bytes, not rows: what a partial value is, a [Merger] tells. It has no replication and no consumer groups,
// and it serves one process at a time, which a lock file and a generation number see to.
package disk
