// Package sink is the contract between Tailrace and the targets that it keeps up to date from the log.
//
// A [Plugin] makes a [Sink] from a connector's configuration. The worker reads records from the log, decodes them into
// a batch of events of one topic partition, lets the sink's transforms rewrite it and calls Write; when Write has
// returned, it commits the sink's offset. Each target has a package of its own below this one; the suite that all of
// them pass is sink/sinktest.
//
// What a sink must know of events: r, c and u carry the new row in After, in which Absent columns mean "unchanged", so
// it must merge with what the target holds and never write NULL or a placeholder over it; d carries the key columns in
// Before; x (a tombstone: all that compaction leaves of a delete) likewise; t removes all rows of the table that came from
// the same partition before it; m and other Raw events are no rows, a sink that stores rows skips them. Event.Version
// only grows for one key: a write whose version is not above what the target has is old news and success, which makes
// replay and retry harmless. Several events of one key in one batch take effect in order.
//
// Invariants: a nil from Write means durable in the target (as durable as the target makes it); order per key is kept
// (Invariant 2), also when single items are retried; rows that can never be written come back as [Rejected], everything
// else in the batch was written.
//
// A sink does not read the log, commit offsets, decide on retries of the whole batch or write dead letters: the worker
// does.
package sink

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
)

// A Sink writes batches into one target. Write and Close are called by one goroutine.
type Sink interface {
	// Write makes the whole batch durable in the target and returns nil; or returns Rejected for the rows that can
	// never be written while all others were; or another error: then any part may have been written and the worker
	// calls Write again with the same events after a pause. It blocks, retries single items that the target refused
	// for now (429) by itself, and returns when ctx is done. The batch's bytes are dead after it returns.
	Write(ctx context.Context, b *change.Batch) error
	// Close joins all goroutines and closes connections. It is idempotent.
	Close() error
}

// Ledger is an optional power of a sink: the target holds the offset in the same transaction as the rows, so that each
// event takes effect exactly once. The worker asks on start and believes the answer over its own offset.
type Ledger interface {
	// Committed returns the Resume of the last batch of the origin that was written, nil if there was none.
	Committed(ctx context.Context, origin string) (change.Position, error)
}

// Partition returns the number of the partition that a batch comes from: the digits after the last hyphen of its Origin.
// It is 0 if there are none. Versions of different partitions of a topic can't be compared, and a truncate, which is in every
// partition, concerns the rows of its own.
func Partition(origin string) int {
	n, err := strconv.Atoi(origin[strings.LastIndexByte(origin, '-')+1:])
	if err != nil {
		return 0
	}
	return n
}

// A RowError says why one event of a batch can never be written.
type RowError struct {
	Index int // into Batch.Events
	Err   error
}

// Rejected is the error of a Write that wrote everything except these rows, in order of Index.
type Rejected []RowError

// Error tells how many rows were rejected and why the first was.
func (r Rejected) Error() string {
	if len(r) == 0 {
		return "no rows rejected"
	}
	return fmt.Sprintf("%d rows rejected, the first because: %v", len(r), r[0].Err)
}

// Setup is what a plugin gets to open a sink.
type Setup struct {
	Connector string            // the connector's name
	Task      int               // the task's number
	Props     map[string]string // its configuration, placeholders resolved: holds secrets, never log it (Invariant 9)
	Logger    *slog.Logger      // carries connector and task
	Now       func() time.Time
}

// A Plugin is one kind of sink connector.
type Plugin struct {
	Name    string   // the alias for connector.class: elasticsearch
	Classes []string // Kafka Connect class names that it answers to
	Doc     string   // one sentence
	Keys    []config.Key
	// Check validates a configuration without touching the network and returns every mistake it finds. Values may
	// still contain unresolved placeholders (config.HasPlaceholder); those are not judged.
	Check func(props map[string]string) []config.Problem
	// Open connects. The caller closes the sink.
	Open func(ctx context.Context, s Setup) (Sink, error)
}
