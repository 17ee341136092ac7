package snapshot

import (
	"context"

	"github.com/tailrace/tailrace/change"
)

// Scanner is the optional power of a source.Source to read the rows that exist already, chunk by chunk. It uses
// connections of its own: its methods may run while the source's stream is read by another goroutine.
type Scanner interface {
	// Tables returns the captured tables in the order in which they are to be copied.
	Tables(ctx context.Context) ([]*change.Table, error)
	// Scan reads the next chunk of t in key order: the rows whose key is greater than after (a key tuple as made by
	// change.AppendKey; nil: from the beginning), as OpRead events with Key, Topic, Commit and After set, into b. It
	// takes no lock, writes nothing, and holds no transaction after it has returned. Fewer rows than limit, also none,
	// mean that the table is done. A table without a key is read whole in one logical pass: see Window of the
	// implementation. When the table's structure is no longer t's, it returns an error.
	Scan(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (Window, error)
}

// Side tells where an event of the stream lies relative to the moment at which a chunk was read.
type Side int

const (
	// Before: the event's transaction is part of what the chunk saw; the event is passed on, the chunk's row is newer.
	Before Side = iota
	// Inside: the chunk did not see the event, and the stream has not passed the window yet; a chunk row of the same
	// key is stale.
	Inside
	// After: the stream has passed the window: everything the chunk saw has been delivered. The chunk's remaining rows go
	// out before this event.
	After
)

// A Window is the span of the log that a chunk's read overlaps, judged by the database's own rules of visibility.
type Window interface {
	Side(e *change.Event) Side
	// Passed reports whether a stream that stands at p, with no events before it outstanding, is past the window.
	Passed(p change.Position) bool
}
