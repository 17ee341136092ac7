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

// Raw is the key and value of an event that is not a row. A nil Value is a tombstone.
type Raw struct {
	Key, Value []byte
	Form       Form
}

// Form says what the bytes of a Raw event are.
type Form uint8

const (
	// FormBytes: key and value as they are, such as an outbox payload.
	FormBytes Form = 0
	// FormMessage: a logical message. Key is its prefix, Value its content. Table names the database (its schema and table
	// are empty) and has the origin; position, transaction and times are the event's.
	FormMessage Form = 1
	// The others have key and value as Debezium's JSON without schemas, for which formats know the schema.
	// {"serverName"} -> {"ts_ms"}
	FormHeartbeat Form = 2
	// {"id"} -> {"status","id","event_count","data_collections","ts_ms"}
	FormTransaction Form = 3
	// {"databaseName"} -> {"source","ts_ms","databaseName","schemaName","ddl","tableChanges"}; Table has the origin
	FormSchemaChange Form = 4
	// {"id"} -> {"id","aggregate_type","type","additional_data","timestamp"}
	FormNotification Form = 5
)

// Valid reports whether f is one of the forms of this package.
func (f Form) Valid() bool { return f <= FormNotification }

// Binlog is where in a MySQL or MariaDB binary log an event is from. It is immutable and shared by the events of a
// statement or transaction. An empty or zero member is unknown: null in events.
type Binlog struct {
	File     string
	GTID     string
	Query    string // the statement, where the server logs it and include.query asks for it
	ServerID uint32
	Thread   uint64 // the connection's number
}

// Replica is where a change came from that PostgreSQL had itself by replication. It is immutable and shared by the
// events of a transaction.
type Replica struct {
	Origin string // the replication origin's name
	LSN    uint64 // position of the commit in the origin's log
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
	LSN      uint64 // the database's own position of the change (MySQL: source.pos); not an identity, only shown
	PrevLSN  uint64 // the end of the last transaction before this one, shown in source.sequence; 0: none
	Commit   int64  // commit time in microseconds since the Unix epoch; for snapshot rows the time of the read
	Seen     int64  // when Tailrace read the event from the database, microseconds since the Unix epoch
	Snapshot Snapshot

	Binlog  *Binlog  // MySQL, MariaDB only
	Row     uint32   // MySQL, MariaDB: the row's place among those of its binlog event
	Replica *Replica // PostgreSQL: nil for what was written here

	// Transaction metadata (provide.transaction.metadata), for the transaction block: the transaction's id, the event's
	// place in it and its place among those of its table, both from 1. An empty TxID: no block.
	TxID      string
	TxOrder   uint64
	TxInTable uint64

	// Version is set when the event is read back from the log: a number that only grows for one key, also across
	// re-snapshots and across topics that were deleted and made again. It makes writes idempotent. (Invariant 4)
	Version uint64

	Topic   string   // the topic the event goes to or came from
	Headers []Header // in order
	Raw     *Raw     // not nil: the event is not a row; Table may be nil

	// Flat asks for the new row alone instead of the envelope where the event is written as JSON, Avro ... (the unwrap
	// transform sets it). Sinks that store rows don't care.
	Flat bool

	// NoTombstone says that no tombstone is to follow this delete in the log (a filter on tombstones sets it).
	NoTombstone bool
}

// Position is a place in a source's history: a JSON object that only its source understands. An empty Position is the
// beginning: nothing was captured yet. A Position is immutable.
type Position []byte
