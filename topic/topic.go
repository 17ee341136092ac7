// Package topic is the contract of the log between sources and sinks: topics of records in partitions, as Kafka has them.
//
// The worker appends records that a codec made of events, together with the source's offset, in one atomic Append; any
// number of readers follow. topic/disk is the embedded log, topic/kafka will be the same contract on Kafka; the suite
// that both pass is topic/topictest. The log speaks bytes: it does not know what a row is.
//
// Records of a partition have offsets that grow by one with each append. Compaction and retention remove records but
// never renumber them: a reader sees offsets strictly grow, with gaps. The last record of a partition (offset End-1) is
// not removed by compaction, so that one who reads up to End knows when it is there.
//
// Invariants: Append is atomic over all its topics and durable when it returns (Invariants 1 and 3); offsets never go
// back, also when a topic is deleted and made again, which its Epoch tells (Invariant 4).
//
// The contract has no consumer groups and no transactions: offsets are records that package offsets keeps.
package topic

import "context"

// A Header is one header of a record. A nil Value is a null value.
type Header struct {
	Key   string
	Value []byte
}

// A Record is one entry of a topic partition.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64  // set on records that were read; ignored by Append
	Timestamp int64  // milliseconds since the Unix epoch
	Key       []byte // nil: no key; such records are never compacted away
	Value     []byte // nil: a tombstone
	Headers   []Header
}

// Spec says how a topic is to be made. Config uses Kafka's names (cleanup.policy, retention.ms, segment.bytes ...);
// what is not named has the log's defaults.
type Spec struct {
	Name       string
	Partitions int32 // at least 1
	Config     map[string]string
}

// Info describes a topic as it is now.
type Info struct {
	Name       string
	Epoch      uint32 // grows each time a topic of this name is made; 1 the first time
	Partitions []PartitionInfo
	Config     map[string]string
}

// PartitionInfo describes a partition. Records and Bytes are what is stored, as opposed to End-Start.
type PartitionInfo struct {
	Start    int64 // offset of the first record that is still there, End if there is none
	LogStart int64 // retention has removed all records below; 0 if it has removed none
	End      int64 // offset that the next record will get
	Records  int64
	Bytes    int64
}

// Log is a durable log of topics. All methods may be called concurrently.
type Log interface {
	// Append writes all records or none, and returns when they are durable: fsynced on the embedded log. Concurrent
	// Appends share an fsync. Topics must exist (else ErrNoTopic, and nothing was written). It blocks while the log is
	// over its disk budget. The records' bytes are the caller's again when Append returns. After an error nothing is
	// known of the records' fate only if the error says so (fault code LOG_BROKEN: a failed fsync ends the writer);
	// with every other error nothing was written.
	Append(ctx context.Context, recs []Record) error
	// Reader returns a reader that follows no partition yet.
	Reader(ctx context.Context) (Reader, error)
	// Topics describes all topics, sorted by name.
	Topics(ctx context.Context) ([]Info, error)
	// Create makes a topic durably; ErrTopicExists if there is one of the name.
	Create(ctx context.Context, s Spec) error
	// Close waits for Appends under way, flushes and closes. Readers return ErrClosed. It is idempotent.
	Close() error
}

// A Reader delivers the records of any number of partitions. It is used by one goroutine, except Add and Close, which
// may be called at any time from others.
type Reader interface {
	// Add follows one more partition from the offset on. Start (-2) and End (-1) stand for the first record and the
	// next to come. An offset that was compacted away moves forward to the next record there is; one whose records
	// retention has removed gives ErrLeftBehind; one beyond the end, ErrOutOfRange. Adding a partition again moves it.
	// For an offset by time see Clock.
	Add(topic string, partition int32, from int64) error
	// Read blocks until one of the partitions has a record, then returns records of one partition, in order, at most
	// about 1 MiB and max of them. Partitions take turns. The slice and all bytes in it are valid until the next Read
	// or Close. ErrClosed after Close; ctx.Err() when ctx is done; ErrLeftBehind when retention has removed the next
	// record of a partition before it was read, again at each turn of it: a gap is never passed over.
	Read(ctx context.Context, max int) ([]Record, error)
	Close() error
}

// Start and End are the special offsets of Reader.Add.
const (
	Start int64 = -2
	End   int64 = -1
)

// Watcher is an optional power of a Log: Watch blocks until the set of topics differs from the one that had generation
// since, and returns the present generation. Generation 0 is before all.
type Watcher interface {
	Watch(ctx context.Context, since uint64) (uint64, error)
}

// Deleter is an optional power of a Log: Delete removes a topic and its records durably. Readers of it see no more
// records.
type Deleter interface {
	Delete(ctx context.Context, topic string) error
}

// Configurer is an optional power of a Log: Configure changes settings of a topic durably, while it is in use. Those named
// in set get the value, an empty one stands for the log's default; the others stay. A name or value that the log does not
// know is refused and nothing is changed.
type Configurer interface {
	Configure(ctx context.Context, topic string, set map[string]string) error
}

// Clock is an optional power of a Log: OffsetAt returns the offset of the first record of a partition whose timestamp is
// at least ms, in milliseconds since the Unix epoch, or the partition's end if there is none.
type Clock interface {
	OffsetAt(ctx context.Context, topic string, partition int32, ms int64) (int64, error)
}

// Lag is how much a consumer has yet to read in a partition. Figures are of what is stored, exact to some 64 KiB.
type Lag struct {
	Records int64 // exact where compaction has removed none
	Bytes   int64
	Oldest  int64 // timestamp of the first of them, in milliseconds since the Unix epoch; 0 if there are none
	// AtRisk reports that retention will remove unread records before long: four fifths of what retention.ms or
	// retention.bytes grants are used up. LeftBehind reports that it has.
	AtRisk, LeftBehind bool
}

// Gauge is an optional power of a Log: Lag measures from the offset that the consumer would read next, or Start.
type Gauge interface {
	Lag(ctx context.Context, topic string, partition int32, next int64) (Lag, error)
}

// Usage is what a log takes of its disk, in bytes.
type Usage struct {
	Segments, Journal int64
	Max, Alarm        int64 // the budget, and the level from which compaction does what it can; 0: none
	Waiting           int   // Appends that wait for space
	State             Space
	Compacted         int64 // bytes that compaction has read and written since the log was opened
}

// Space says how a log is off for space.
type Space string

// The states of a log's disk.
const (
	SpaceOK    Space = "OK"
	SpaceAlarm Space = "ALARM" // over the alarm level
	SpaceFull  Space = "FULL"  // over the budget, or the disk is full: Appends wait
)

// Meter is an optional power of a Log: Usage tells what it takes now. It does not block.
type Meter interface{ Usage() Usage }

// Error is the type of the contract's sentinel errors.
type Error string

// Error implements error.
func (e Error) Error() string { return string(e) }

// The contract's errors; implementations wrap them with what they concern.
const (
	ErrClosed      Error = "log is closed"
	ErrNoTopic     Error = "no such topic"
	ErrTopicExists Error = "topic exists already"
	ErrOutOfRange  Error = "offset is beyond the end of the partition"
	ErrLeftBehind  Error = "records were removed by retention before they were read"
)
