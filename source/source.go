// Package source is the contract between Tailrace and the databases it captures.
//
// A [Plugin] makes a [Source] from a connector's configuration; the source opens a [Stream] at a position and the
// worker reads batches of events from it, makes them durable in the log and acknowledges them. Each database has a
// package of its own below this one; the suite that all of them pass is source/sourcetest.
//
//	worker                       source                                      database
//	  Stream(from) ------------> resume at from ---------------------------> replication command
//	  Read(batch)  <------------ events in commit order, batch.Resume <----- replication log
//	  (batch is fsynced in the log)
//	  Ack(Resume)  ------------> the database may forget what is before ---> status update
//
// Invariants: nothing is acknowledged to the database but by Ack (Invariant 1); events come in commit order, whole
// transactions in the order of their commits (Invariant 2); a position never goes back (Invariant 4); a state in which
// this cannot be kept is a permanent error with a reason code (Invariant 7).
//
// The contract knows no snapshot: reading the rows that exist already is the power of package snapshot.
package source

import (
	"context"
	"log/slog"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
)

// A Source is an open connection to one database, for one connector. Its methods may be called from different
// goroutines, but at most one Stream is open at a time.
type Source interface {
	// Stream resumes after from; an empty position means from now on, and makes what the database needs for it
	// (on PostgreSQL: publication, then slot). A from that the database can no longer serve without a gap is a
	// permanent error: nothing is skipped silently. Stream blocks until the database has accepted the request.
	Stream(ctx context.Context, from change.Position) (Stream, error)
	// Close ends the stream, if one is open, joins all goroutines and closes all connections. It is idempotent.
	Close() error
}

// A Stream delivers what happens in the database after a position. Read, Ack and Close are called by one goroutine.
type Stream interface {
	// Read appends events to b, which the caller has reset, and sets b.Origin and b.Resume. It blocks until there is
	// at least one event or the position has moved on without one: then b has no events and a new Resume, which the
	// worker stores and acknowledges like any other, so that an idle database can recycle its log. Read returns what
	// is there rather than wait for a full batch, and bounds a batch by the limits of the configuration (about 8,192
	// events, 4 MiB). A large transaction may span batches; a row's delete-and-create pair of a key change never does.
	// The bytes in b belong to b. After an error the stream is finished.
	Read(ctx context.Context, b *change.Batch) error
	// Ack tells that everything up to p, a Resume that Read gave, is durable. Only after it may the database forget.
	// It may be lazy (coalesced, at most about a second late) and does not wait for the database.
	Ack(ctx context.Context, p change.Position) error
	// Close joins the stream's goroutines. It is idempotent.
	Close() error
}

// Prompter is an optional power of a Stream: Prompt asks it to report its position soon, by a batch without events if
// nothing was captured, also when it is the position that Read gave last. A snapshot uses it to close the window of a
// chunk on an idle database. It does not block, and may be called by any goroutine, also while Read runs.
type Prompter interface {
	Prompt()
}

// Gauger is an optional power of a Source: figures about its place in the database for metrics and status, such as
// lag_bytes and retained_wal_bytes. One of them has a meaning for the worker: unacknowledged_bytes is 0 when all that
// the database has sent is durable. It must not block on the network.
type Gauger interface {
	Gauges() map[string]float64
}

// Setup is what a plugin gets to open a source.
type Setup struct {
	Connector string            // the connector's name
	Props     map[string]string // its configuration, placeholders resolved: holds secrets, never log it (Invariant 9)
	Version   string            // Tailrace's version, for source.version
	Logger    *slog.Logger      // carries connector and task
	// Scratch is a directory for files that do not outlive the source, such as transactions in progress that are too large for
	// memory. It exists, and sources share it. Empty: there is no room for any.
	Scratch string
	// Notes returns what the connector's batches have noted, by key: see change.Batch. It belongs to the stored position: who begins
	// without one has to remove what is left from before. It blocks on the log. nil: nothing is kept.
	Notes func(ctx context.Context) (map[string][]byte, error)
	Now   func() time.Time
}

// A Plugin is one kind of source connector.
type Plugin struct {
	Name    string   // the alias for connector.class: postgres
	Classes []string // Kafka Connect's and Debezium's class names that it answers to
	Doc     string   // one sentence
	Keys    []config.Key
	// Families are its properties that come in any number, beside those of columns and snapshots, see [config.Unknown].
	Families []string
	// Check validates a configuration without touching the network and returns every mistake it finds. Values may
	// still contain unresolved placeholders (config.HasPlaceholder); those are not judged.
	Check func(props map[string]string) []config.Problem
	// Preflight connects and tells what on the server would keep the connector from working, one problem each with
	// its remedy. It changes nothing on the server and leaves nothing behind.
	Preflight func(ctx context.Context, s Setup) []config.Problem
	// Open connects. The caller closes the source.
	Open func(ctx context.Context, s Setup) (Source, error)
}
