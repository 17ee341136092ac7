package change

// Op is what happened to a row, under Debezium's letters.
type Op byte

const (
	OpRead      Op = 'r' // an existing row, read by a snapshot
	OpCreate    Op = 'c'
	OpUpdate    Op = 'u'
	OpDelete    Op = 'd'
	OpTruncate  Op = 't'
	OpMessage   Op = 'm' // a logical message; always Raw
	OpTombstone Op = 'x' // only read back from the log: the record with a key and no value that follows a delete
)

// Snapshot is Debezium's source.snapshot marker.
type Snapshot uint8

const (
	NoSnapshot Snapshot = iota // "false": streamed
	InSnapshot                 // "true"
	FirstInSnapshot
	FirstInTable
	LastInTable
	LastInSnapshot
	Incremental
)

// A Header rides along with an event and becomes a record header. Value nil is a null header value.
type Header struct {
	Key   string
	Value []byte
}

// HeaderNewKey and HeaderOldKey name the headers by which the delete and the create of a key change point to each other,
// under Debezium's names. Their value is the other event's key tuple, as AppendKey makes it; formats at the doors write
// it out.
const (
	HeaderNewKey = "__debezium.newkey" // on the delete and its tombstone
	HeaderOldKey = "__debezium.oldkey" // on the create
)

// Raw is the ready key and value of an event that is not a row: an outbox payload, a heartbeat, a logical message.
// A nil Value is a tombstone.
type Raw struct {
	Key, Value []byte
}

// An Event is one row changed. Its bytes belong to the Batch it is in.
type Event struct {
	Table  *Table
	Op     Op
	Key    []byte // AppendKey of the key columns of the row (for a delete: of the old row); nil if the table has no key
	Before Row    // the old row as far as the database told it; nil: no old image
	After  Row    // the new row; nil for deletes and truncates

	Txn      uint64 // the source transaction's number (PostgreSQL: the 32-bit xid); 0 for snapshot rows
	Ordinal  uint32 // the event's place among its transaction's events, from 0, filtered ones counted
	LSN      uint64 // the database's own position of the change; not an identity, only shown
	PrevLSN  uint64 // the end of the last transaction before this one, shown in source.sequence; 0: none
	Commit   int64  // commit time in microseconds since the Unix epoch; for snapshot rows the time of the read
	Seen     int64  // when Tailrace read the event from the database, microseconds since the Unix epoch
	Snapshot Snapshot

	// Version is set when the event is read back from the log: a number that only grows for one key, also across
	// re-snapshots and across topics that were deleted and made again. It makes writes idempotent. (Invariant 4)
	Version uint64

	Topic   string   // the topic the event goes to or came from
	Headers []Header // in order
	Raw     *Raw     // not nil: the event is not a row; Table may be nil

	// Flat asks for the new row alone instead of the envelope where the event is written as JSON, Avro ... (the unwrap
	// transform sets it). Sinks that store rows don't care.
	Flat bool
}

// Position is a place in a source's history: a JSON object that only its source understands. An empty Position is the
// beginning: nothing was captured yet. A Position is immutable.
type Position []byte
