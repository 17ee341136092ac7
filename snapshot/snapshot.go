package snapshot

import (
	"context"

	"github.com/tailrace/tailrace/change"
)

// Scanner is the optional power of a source.Source to read the rows that exist already, chunk by chunk. It uses
// connections of its own. What an earlier run of the connector was sent is visible to all of this run's reads: where
// commits can stay hidden after they were sent (synchronous replication), Stream waits for them. Its methods run while the source's stream is read by another goroutine, and a
// Fetcher's Fetch may run while Scan does.
type Scanner interface {
	// Tables returns the captured tables, as they are now, in the order in which they are to be copied.
	Tables(ctx context.Context) ([]*change.Table, error)
	// Scan reads the next chunk of t in key order: the rows whose key is greater than after (a key tuple as made by
	// change.AppendKey; nil: from the beginning), as OpRead events with Key, Topic, Commit and After set, into b. It
	// takes no lock, writes nothing, and holds no transaction after it has returned. Fewer rows than limit, also none,
	// mean that the table is done. A table without a key is read whole by one call: after is nil and limit is more than
	// any table has. When the table's structure is no longer t's, it returns an error that wraps ErrChanged.
	Scan(ctx context.Context, t *change.Table, after []byte, limit int, b *change.Batch) (Window, error)
}

// Fetcher is the optional power of a source.Source to read rows by their keys. Where the database does not log unchanged large columns,
// a change of key arrives as a delete and a create that lacks those columns; Fetch is how the create becomes whole.
type Fetcher interface {
	// Fetch returns the rows of t with these keys, of which there is at least one, as one snapshot of the database sees them now, in
	// b's memory: a row for each key, nil where there is none. The window tells which transactions the snapshot saw; it is asked for
	// Side only, and only whether that is Before. Both are nil if the rows can't be asked for: the table's structure is no longer t's,
	// or its key finds no rows. Fetch adds no event to b.
	Fetch(ctx context.Context, t *change.Table, keys [][]byte, b *change.Batch) (rows []change.Row, seen Window, err error)
}

// Estimator is the optional power of a Scanner to tell about how many rows a table has, -1 if it doesn't know. It must
// be cheap: statistics, not a count.
type Estimator interface {
	Estimate(ctx context.Context, t *change.Table) (int64, error)
}

// Grower is the optional power of a Scanner whose tables may become more while the stream runs.
type Grower interface {
	// Grown returns the tables that are captured since it was asked last. Rows that they had before are not in the stream.
	// When there are some, the source prompts its stream (see source.Prompter). It does not block.
	Grown() []Growth
}

// A Growth is a table that has come into capture. Remade says that one of this name was captured before it: it was dropped and
// made again.
type Growth struct {
	Table  change.TableName
	Remade bool
}

// Side tells where an event of the stream lies relative to the moment at which a chunk was read.
type Side int

const (
	// Before: the chunk saw the event's transaction; the chunk's row is as new as the event or newer.
	Before Side = iota
	// Inside: the chunk did not see the event's transaction, and the stream may not have passed the window yet; a chunk
	// row of the same key is stale.
	Inside
	// After: the chunk did not see the event's transaction, and the stream has passed the window: everything the chunk
	// saw has been delivered.
	After
	// Unknown: it can't be told whether the chunk saw the event's transaction. The chunk is read again.
	Unknown
)

// A Window is the span of the log that a chunk's read overlaps, judged by the database's own rules of visibility.
// It is used by the goroutine that reads the stream, after Scan has returned it.
type Window interface {
	// Side judges an event by Txn, LSN, PrevLSN and Commit alone; the other fields may be empty. An event that was
	// Before one window is Before every later one.
	Side(e *change.Event) Side
	// Passed reports whether a stream that stands at p, with no events before it outstanding, is past the window: all
	// transactions that the chunk saw have been delivered. A position inside a transaction has not passed it.
	Passed(p change.Position) bool
}

// Shortened is the optional power of a Window to tell that Scan stopped before limit, when b held ChunkBytes: the table
// is not done. A scanner whose windows have it keeps the memory of a chunk bounded whatever its rows are; for others
// the weave chooses the limit by the size of the rows before.
type Shortened interface {
	Shortened() bool
}

// ChunkBytes is the row memory, as Batch.Size counts it, at which a Scan should stop.
const ChunkBytes = 8 << 20

// Divider is the optional power of a Scanner to say where a piece of a table ends before it is read, so that several pieces are
// read at once, also of one table. With it tables that have a key are read by ScanPiece, not by Scan. The methods may be
// called concurrently with each other and with everything else. A place in a table is a cursor: bytes that only the scanner
// understands; nil is the beginning. Cursors outlive the process: they are part of the position.
type Divider interface {
	// Divide returns the piece that begins after the cursor and has about so many rows. It must be cheap. When the cursor
	// is not one of this table's, or no longer, it returns an error that wraps ErrCursor.
	Divide(ctx context.Context, t *change.Table, after []byte, rows int) (Piece, error)
	// ScanPiece reads the rows of a piece, in any order if it is read to its end, as Scan does otherwise. It may return
	// ErrChanged and ErrCursor as Scan and Divide do. It stops before the end only if the window has Shortened and Cursored.
	ScanPiece(ctx context.Context, t *change.Table, p Piece, b *change.Batch) (Window, error)
}

// A Piece is a part of a table that one ScanPiece reads: what is behind After up to To. Pieces of a table follow each other.
type Piece struct {
	After, To []byte
	Rows      int  // about how many rows it may have
	Last      bool // the table ends with it
	// Loose: pieces are not slices by key (they are places on disk): a row that is written anew may move from one piece
	// to another. An event that leaves out columns of such a row is then completed by Fetcher, which must be there.
	Loose bool
}

// Cursored is the optional power of a Window to tell where the read ended, to be given to the next Scan, or to a piece in
// its place. Without it that is the key of the last row.
type Cursored interface {
	Cursor() []byte
}

// A Selection says which rows of a table to read, and how. The zero value is the table as it is.
type Selection struct {
	Statement string // a SELECT to read instead of the table; it has the table's columns; empty: the table
	Filter    string // a condition in the database's own language that the rows meet; empty: none
	Surrogate string // columns, separated by commas, to order chunks by in place of the key; empty: the key
}

// Selector is the optional power of a Scanner to read a selection of a table with a key. ScanSelected is like Scan, and of
// each window of a selection with a Surrogate it gives one that is Cursored. A selection that the database refuses is an
// error that wraps ErrTable.
type Selector interface {
	ScanSelected(ctx context.Context, t *change.Table, sel Selection, after []byte, limit int, b *change.Batch) (Window, error)
}

// Whole is the optional power of a Scanner to read a table without a key piece by piece under one snapshot, so that no more
// than a piece is in memory.
type Whole interface {
	ReadWhole(ctx context.Context, t *change.Table, sel Selection) (Reading, error)
}

// A Reading is a table being read. It is used by one goroutine. It holds a snapshot of the database until it is closed.
type Reading interface {
	// Next adds at most limit rows to b, fewer when b holds ChunkBytes, and reports whether the table is done.
	Next(ctx context.Context, limit int, b *change.Batch) (done bool, err error)
	Window() Window // the same for all pieces
	Close() error
}

// Namer is the optional power of a Scanner to tell the topic of a table's events. Without it that is prefix.table.
type Namer interface {
	Topic(t *change.Table) string
}

// Error is the type of the package's sentinel errors.
type Error string

// Error implements error.
func (e Error) Error() string { return string(e) }

const (
	// ErrDone is what Read returns when snapshot.mode=initial_only and the copy is complete and was delivered with its
	// Resume. It is no failure: the connector has nothing left to do.
	ErrDone Error = "snapshot is complete and snapshot.mode=initial_only asks for nothing more"
	// ErrChanged is what Scan returns when the table no longer has the structure that the caller knows.
	ErrChanged Error = "table structure has changed"
	// ErrCursor is what a Divider returns for a cursor that is no place in the table any more, since the table was
	// rewritten: its copy begins anew.
	ErrCursor Error = "the place where the copy stood is not there any more"
	// ErrTable is what a scanner returns when this table alone can't be read: no permission, damaged pages, a filter that
	// the database refuses. The table's copy fails, all else goes on.
	ErrTable Error = "table can't be copied"
)
