package disk

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// Options configure a Log. Only Dir must be given.
type Options struct {
	Dir    string           // the data directory; made if it is not there
	FS     vfs.FS           // default: vfs.OS
	Logger *slog.Logger     // default: none
	Now    func() time.Time // default: time.Now

	// Merger makes compaction keep what newer records of a key don't say. Without one the newest record wins whole.
	Merger Merger
	// ConsumerFloor returns the lowest offset that all registered consumers of a partition have passed; tombstones from
	// there on stay, and who is about to be left behind by retention is warned of. Without it there are no consumers. It
	// is called by the compactor, with no lock held.
	ConsumerFloor func(topic string, epoch uint32, partition int32) int64

	MaxBytes         int64 // disk budget of journal and segments; Append blocks above it. Default 0: none
	AlarmBytes       int64 // from here on compaction does what it can. Default 80 % of MaxBytes
	JournalBytes     int64 // size of the journal at which a checkpoint cuts it. Default 64 MiB
	SegmentBytes     int64 // default of segment.bytes. Default 64 MiB
	MaxMessageBytes  int64 // default of max.message.bytes. Default 128 MiB
	CompactionMemory int64 // what one compaction may use at most. Default 192 MiB
	CompactionRate   int64 // bytes that compaction reads and writes in a second, unless space is short. Default 128 MiB
	MaxOpenFiles     int   // segment files kept open. Default 256

	// ManualCompaction leaves compaction and retention to calls of Compact.
	ManualCompaction bool
}

// A Merger knows what the bytes of a value mean, as the log does not. Its methods are called concurrently.
type Merger interface {
	// Partial reports whether a value lacks columns that an older value of the same key may know.
	Partial(value []byte) bool
	// Merge appends newer, completed by what only older says, to dst. It may return newer's bytes alone if older has
	// nothing to give.
	Merge(dst, older, newer []byte) ([]byte, error)
}

// An Eraser is a Merger that also knows records, without a key, after which older records of the partition mean nothing,
// as a TRUNCATE is. Compaction drops those, and of several such records the older ones; the newest one stays.
type Eraser interface {
	// Erases reports whether a value is one of those.
	Erases(value []byte) bool
	// Covers reports whether the record whose value is older, not nil, means nothing any more after the one whose
	// value is eraser: it belongs to the same table.
	Covers(eraser, older []byte) bool
}

const (
	defaultJournalBytes     = 64 << 20
	defaultSegmentBytes     = 64 << 20
	defaultMaxMessageBytes  = 128 << 20
	defaultCompactionMemory = 192 << 20
	defaultCompactionRate   = 128 << 20
	defaultMaxOpenFiles     = 256
)

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return fault.Permanentf("LOG_CONFIG", "set the data directory", "no directory for the log")
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	orDefault(&o.JournalBytes, defaultJournalBytes)
	orDefault(&o.SegmentBytes, defaultSegmentBytes)
	orDefault(&o.MaxMessageBytes, defaultMaxMessageBytes)
	orDefault(&o.CompactionMemory, defaultCompactionMemory)
	orDefault(&o.CompactionRate, defaultCompactionRate)
	orDefault(&o.AlarmBytes, o.MaxBytes/5*4)
	if o.MaxOpenFiles <= 0 {
		o.MaxOpenFiles = defaultMaxOpenFiles
	}
	return nil
}

func orDefault(v *int64, def int64) {
	if *v <= 0 {
		*v = def
	}
}

// settings are a topic's Config, parsed. Times are milliseconds.
type settings struct {
	config          map[string]string // as it was given; never written
	compact, remove bool              // cleanup.policy
	segmentBytes    int64
	segmentMs       int64 // a segment is ended when it was begun so long ago
	maxMessage      int64
	deleteRetention int64 // that a tombstone stays once compaction saw it
	minLag          int64 // that records stay as they were appended
	maxLag          int64 // after which they are compacted even if few are
	retentionMs     int64 // -1: for ever
	retentionBytes  int64 // -1: any
	dirtyRatio      float64
	compression     recordbatch.Compression
}

// Defaults of topic settings, as Kafka's where the meaning is the same.
const (
	day                    = int64(24 * time.Hour / time.Millisecond)
	defaultDeleteRetention = day
	defaultRetention       = 7 * day
	defaultSegmentMs       = 7 * day
	defaultDirtyRatio      = 0.5
	never                  = int64(1) << 60 // no time in milliseconds comes near it
)

// parse reads the settings that the log knows; it leaves others alone, so that a configuration made for Kafka can be
// kept with the topic.
func (o *Options) parse(config map[string]string) (*settings, error) {
	s := &settings{config: config, compact: true, segmentBytes: o.SegmentBytes, segmentMs: defaultSegmentMs, maxMessage: o.MaxMessageBytes,
		deleteRetention: defaultDeleteRetention, maxLag: never, retentionMs: defaultRetention, retentionBytes: -1, dirtyRatio: defaultDirtyRatio}
	for name, text := range config {
		if _, err := s.set(name, text); err != nil {
			return s, fault.Permanentf("TOPIC_CONFIG", "correct the topic's configuration", "%s: %w", name, err)
		}
	}
	s.segmentBytes = min(s.segmentBytes, 1<<30)
	s.maxMessage = min(s.maxMessage, 1<<30)
	if s.minLag > s.maxLag {
		return s, fault.Permanentf("TOPIC_CONFIG", "correct the topic's configuration", "min.compaction.lag.ms is more than max.compaction.lag.ms")
	}
	return s, nil
}

// set reads one setting. known is false if it is none that the log obeys.
func (s *settings) set(name, text string) (known bool, err error) {
	switch name {
	case "cleanup.policy":
		err = s.policy(text)
	case "compression.type":
		s.compression, err = recordbatch.ParseCompression(text)
	case "min.cleanable.dirty.ratio":
		s.dirtyRatio, err = strconv.ParseFloat(text, 64)
		if err == nil && !(s.dirtyRatio >= 0 && s.dirtyRatio <= 1) {
			err = fmt.Errorf("%s is not between 0 and 1", text)
		}
	case "segment.bytes":
		s.segmentBytes, err = number(text, 1)
	case "segment.ms":
		s.segmentMs, err = number(text, 1)
	case "max.message.bytes":
		s.maxMessage, err = number(text, 1)
	case "delete.retention.ms":
		s.deleteRetention, err = number(text, 0)
	case "min.compaction.lag.ms":
		s.minLag, err = number(text, 0)
	case "max.compaction.lag.ms":
		s.maxLag, err = number(text, 1)
	case "retention.ms":
		s.retentionMs, err = number(text, -1)
	case "retention.bytes":
		s.retentionBytes, err = number(text, -1)
	default:
		return false, nil
	}
	return true, err
}

// rollMs is after how long a segment is ended.
func (s *settings) rollMs() int64 {
	if s.compact {
		return min(s.segmentMs, s.maxLag)
	}
	return s.segmentMs
}

func (s *settings) policy(text string) error {
	s.compact, s.remove = false, false
	for p := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(p) {
		case "compact":
			s.compact = true
		case "delete":
			s.remove = true
		default:
			return fmt.Errorf("%q is not compact, delete or both", text)
		}
	}
	return nil
}

func number(text string, least int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least {
		return 0, fmt.Errorf("%q is not a number of at least %d", text, least)
	}
	return min(n, never), nil
}

// checkName accepts Kafka's topic names, which are safe as file names.
func checkName(name string) error {
	ok := name != "" && len(name) <= 240 && name != "." && name != ".."
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fault.Permanentf("TOPIC_NAME", "use 1 to 240 letters, digits, dots, dashes and underscores",
			"%q can't be the name of a topic", name)
	}
	return nil
}
