package disk

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// Log is the embedded log. Open makes one.
type Log struct {
	opt    Options
	opened time.Time
	lock   io.Closer
	files  files
	bytes  atomic.Int64 // of segments

	mu         sync.RWMutex // guards the next six; never held across I/O
	topics     map[string]*logTopic
	retired    map[string]uint32
	watch      chan struct{} // closed when the set of topics changes
	changes    uint64        // how often it did
	spaceFreed chan struct{} // closed when space was freed
	readers    map[*Reader]struct{}

	// The queue to the writer.
	qmu    sync.Mutex
	queue  []*request
	qwake  chan struct{} // holds a token while there may be something in the queue
	closed bool          // nothing may be queued any more

	// The writer's own; see writer.go.
	journal journal
	mine    []byte // how the manifest begins while no other process has opened the log
	byID    map[uint32]*logTopic
	nextID  uint32
	touched []*partition
	dirty   dirt
	group   []*request
	joined  []byte

	fatal atomic.Pointer[error] // LOG_BROKEN or LOG_FENCED: why the writer does nothing any more

	kept     atomic.Int64 // bytes of the journal that recovery would read
	appended atomic.Int64 // bytes that were written to the journal since the log was opened

	// See space.go.
	diskFull  atomic.Bool  // an Append has found no space on the disk, and none has found some since
	waiting   atomic.Int64 // Appends that wait for space
	seen      atomic.Value // topic.Space: what was said of it last
	compacted atomic.Int64 // bytes that compaction has read and written

	// Checkpoints; see checkpoint.go. Whoever holds manMu alone changes the manifest and the set of sealed segments.
	manMu    sync.Mutex
	man      *manifest
	unsynced dirt          // what failed checkpoints had yet to sync
	ckErr    error         // how the last checkpoint ended
	ckAfter  time.Time     // after a failure: not before
	reserved bool          // the file RESERVE is there; see space.go
	shots    chan snapshot // from the writer to the checkpointer; capacity 1

	tidyWake  chan struct{} // asks the compactor to look around
	compactMu sync.Mutex    // one compaction at a time

	requests sync.Pool // of *request
	stop     chan struct{}
	workers  errgroup.Group // writer and checkpointer
	tidier   errgroup.Group // compactor
	once     sync.Once
	closeErr error
}

// dirt is what was written and not synced.
type dirt struct {
	segs map[*segment]*partition
	dirs map[string]bool
	drop map[string]bool // directories of deleted topics: to be removed when no manifest names them
}

func newDirt() dirt {
	return dirt{segs: map[*segment]*partition{}, dirs: map[string]bool{}, drop: map[string]bool{}}
}

// add takes over what other holds.
func (d dirt) add(other dirt) {
	maps.Copy(d.segs, other.segs)
	maps.Copy(d.dirs, other.dirs)
	maps.Copy(d.drop, other.drop)
}

var (
	_ topic.Log        = (*Log)(nil)
	_ topic.Watcher    = (*Log)(nil)
	_ topic.Deleter    = (*Log)(nil)
	_ topic.Configurer = (*Log)(nil)
	_ topic.Clock      = (*Log)(nil)
	_ topic.Gauge      = (*Log)(nil)
	_ topic.Meter      = (*Log)(nil)
)

// now is the log's clock, in milliseconds. It goes on as the machine's monotonic clock does: when somebody sets the time,
// nothing is removed before its term.
func (l *Log) now() int64 { return l.opened.Add(l.opt.Now().Sub(l.opened)).UnixMilli() }

// failure returns why the writer does nothing any more, nil if it works.
func (l *Log) failure() error {
	if err := l.fatal.Load(); err != nil {
		return *err
	}
	return nil
}

// broken marks err as the end of the writer: after a failed fsync nobody knows what is on disk.
func broken(err error) error {
	return fault.Permanent("LOG_BROKEN", "check the disk, then restart Tailrace: it recovers what is durable", err)
}

// Topics implements topic.Log.
func (l *Log) Topics(ctx context.Context) ([]topic.Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.isClosed() {
		return nil, topic.ErrClosed
	}
	l.mu.RLock()
	all := slices.Collect(maps.Values(l.topics))
	l.mu.RUnlock()
	slices.SortFunc(all, func(a, b *logTopic) int { return cmp.Compare(a.name, b.name) })
	infos := make([]topic.Info, len(all))
	for i, t := range all {
		infos[i] = topic.Info{Name: t.name, Epoch: t.epoch, Config: maps.Clone(t.conf().config), Partitions: make([]topic.PartitionInfo, len(t.parts))}
		for j, p := range t.parts {
			infos[i].Partitions[j] = p.info()
		}
	}
	return infos, nil
}

// Create implements topic.Log. Names are Kafka's; a setting that the log knows and cannot read is refused.
func (l *Log) Create(ctx context.Context, s topic.Spec) error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	if s.Partitions < 1 || s.Partitions > 1<<16 {
		return fault.Permanentf("TOPIC_CONFIG", "correct the topic's configuration", "topic %s can't have %d partitions", s.Name, s.Partitions)
	}
	if _, err := l.opt.parse(s.Config); err != nil {
		return fmt.Errorf("topic %s: %w", s.Name, err)
	}
	return l.do(ctx, &request{kind: kindCreate, spec: topic.Spec{Name: s.Name, Partitions: s.Partitions, Config: maps.Clone(s.Config)}})
}

// Delete implements topic.Deleter. The files go at the next checkpoint.
func (l *Log) Delete(ctx context.Context, name string) error {
	return l.do(ctx, &request{kind: kindDelete, spec: topic.Spec{Name: name}})
}

// Watch implements topic.Watcher.
func (l *Log) Watch(ctx context.Context, since uint64) (uint64, error) {
	for {
		l.mu.RLock()
		changes, watch := l.changes, l.watch
		l.mu.RUnlock()
		if changes != since {
			return changes, nil
		}
		select {
		case <-watch:
		case <-l.stop:
			return 0, topic.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// find returns the partition, or ErrNoTopic.
func (l *Log) find(name string, num int32) (*partition, error) {
	l.mu.RLock()
	t := l.topics[name]
	l.mu.RUnlock()
	if t == nil {
		return nil, fmt.Errorf("%s: %w", name, topic.ErrNoTopic)
	}
	if num < 0 || int(num) >= len(t.parts) {
		return nil, fmt.Errorf("%s has %d partitions and none of number %d: %w", name, len(t.parts), num, topic.ErrNoTopic)
	}
	return t.parts[num], nil
}

// topicsChanged lets Watch return. l.mu is held.
func (l *Log) topicsChanged() {
	l.changes++
	close(l.watch)
	l.watch = make(chan struct{})
}

func (l *Log) isClosed() bool {
	l.qmu.Lock()
	defer l.qmu.Unlock()
	return l.closed
}

// Close implements topic.Log. It ends with a checkpoint, so that the next Open has nothing to replay.
func (l *Log) Close() error {
	l.once.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	close(l.stop)
	l.mu.RLock()
	readers := slices.Collect(maps.Keys(l.readers))
	l.mu.RUnlock()
	for _, r := range readers {
		r.shut()
	}
	err := l.tidier.Wait()
	last := &request{kind: askClose, done: make(chan error, 1)}
	l.qmu.Lock()
	l.queue = append(l.queue, last)
	l.closed = true
	l.qmu.Unlock()
	token(l.qwake)
	err = errors.Join(err, <-last.done, l.workers.Wait())
	return errors.Join(err, l.journal.file.Close(), l.files.closeAll(), l.lock.Close())
}

// createFrame is the payload of a frame of kindCreate: the topic's metadata as JSON.
func createFrame(m *topicMeta) ([]byte, error) {
	body, err := json.Marshal(m)
	return append(make([]byte, frameHeader), body...), err
}

// deleteFrame is a frame of kindDelete: the topic's number.
func deleteFrame(id uint32) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, frameHeader), id)
}

// newTopic makes the topic that m describes, its partitions empty.
func (l *Log) newTopic(m *topicMeta) (*logTopic, error) {
	if err := checkName(m.Name); err != nil {
		return nil, err
	}
	s, err := l.opt.parse(m.Config)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", m.Name, err)
	}
	t := &logTopic{id: m.ID, name: m.Name, epoch: m.Epoch}
	t.settings.Store(s)
	for i := range m.Partitions {
		t.parts = append(t.parts, newPartition(t, int32(i), l.opt.Dir, l.opt.Now()))
	}
	return t, nil
}

// addTopic makes t known. The writer calls it, or recovery.
func (l *Log) addTopic(t *logTopic) {
	l.byID[t.id] = t
	l.nextID = max(l.nextID, t.id+1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[t.name] = t
	delete(l.retired, t.name)
	l.topicsChanged()
}

// dropTopic makes t unknown; its readers see no more records.
func (l *Log) dropTopic(t *logTopic) {
	delete(l.byID, t.id)
	l.mu.Lock()
	delete(l.topics, t.name)
	l.retired[t.name] = t.epoch
	l.topicsChanged()
	l.mu.Unlock()
	for _, p := range t.parts {
		p.mu.Lock()
		p.gone = true
		l.dirty.drop[p.dir] = true
		for _, s := range p.segs {
			l.bytes.Add(-s.meta.Bytes)
		}
		l.wake(p)
		p.mu.Unlock()
	}
}

// token puts a token into a channel of capacity 1 unless there is one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *Log) replayCreate(payload []byte) error {
	var m topicMeta
	if err := json.Unmarshal(payload, &m); err != nil {
		return fmt.Errorf("%w: %w", errNumbering, err)
	}
	t, err := l.newTopic(&m)
	if err != nil {
		return err
	}
	l.addTopic(t)
	return nil
}
