package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/transform"
	"golang.org/x/sync/errgroup"
)

// sinkBatch bounds the records of one Read; a Read is also bounded to about 1 MiB.
const sinkBatch = 8192

// sinkLane is what one run of a sink task works with.
type sinkLane struct {
	w        *Worker
	c        *connector
	t        *task
	def      *definition
	set      sinkSettings
	snk      sink.Sink
	reader   topic.Reader
	chain    transform.Chain
	dec      Decoder
	enc      Encoder // for dead letters
	mu       sync.Mutex
	followed map[string]uint32 // epoch of each topic that is read; written by follow, read by loop
}

// runSink is one run of a sink connector's task.
func (w *Worker) runSink(ctx context.Context, c *connector, t *task, def *definition, props map[string]string) (err error) {
	l := &sinkLane{w: w, c: c, t: t, def: def, followed: map[string]uint32{}, dec: w.opt.Codec.NewDecoder(), enc: w.opt.Codec.NewEncoder(false)}
	if p := config.Decode(props, &l.set); len(p) > 0 {
		return invalid(p)
	}
	var problems []config.Problem
	if l.chain, problems = transform.Build(props, w.opt.Transforms); len(problems) > 0 {
		return invalid(problems)
	}
	l.snk, err = def.sink.Open(ctx, sink.Setup{Connector: c.name, Task: t.id, Props: props, Logger: c.log.With("task", t.id), Now: w.opt.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.snk.Close()) }()
	if l.reader, err = w.opt.Log.Reader(ctx); err != nil {
		return err
	}
	defer l.reader.Close()
	if err := l.follow(ctx); err != nil {
		return err
	}
	if len(l.followed) == 0 {
		c.log.Info("the log has no topic yet that the connector reads: waiting for one", "task", t.id, "topics", l.set.Topics, "topics.regex", l.set.Regex)
	}
	t.set(Running, nil)
	g, ctx := errgroup.WithContext(ctx)
	if watcher, ok := w.opt.Log.(topic.Watcher); ok {
		g.Go(func() error { return l.watch(ctx, watcher) })
	}
	empty, full := make(chan *parcel, 2), make(chan *parcel)
	empty <- new(parcel)
	empty <- new(parcel)
	g.Go(func() (err error) {
		defer recovered(&err)
		return l.prepare(ctx, empty, full)
	})
	g.Go(func() (err error) {
		defer recovered(&err)
		return l.deliver(ctx, full, empty)
	})
	return g.Wait()
}

// A parcel is a batch on its way from prepare to deliver. There are two: while one is written, the other is made.
type parcel struct {
	batch   change.Batch
	records []topic.Record // the reader's, with bytes of our own: its own are gone with the next Read
	bytes   []byte
	headers []topic.Header
	commit  int64 // when the last change was committed, in milliseconds
	err     error // why none follows; the batch is what comes before it, or empty
}

// prepare fills empty parcels with what the log has, decoded and transformed. An error goes the way of the batches, so that all
// before it are written.
func (l *sinkLane) prepare(ctx context.Context, empty <-chan *parcel, full chan<- *parcel) error {
	for failed := false; !failed; {
		var p *parcel
		select {
		case p = <-empty:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.err = l.fill(ctx, p)
		failed = p.err != nil
		select {
		case full <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fill makes a batch. With an error it is what can be written before that.
func (l *sinkLane) fill(ctx context.Context, p *parcel) error {
	b := &p.batch
	b.Reset()
	recs, err := l.reader.Read(ctx, sinkBatch)
	if err != nil {
		return misplaced(err)
	}
	recs = p.take(recs)
	first := &recs[0]
	epoch, next := l.epoch(first.Topic), recs[len(recs)-1].Offset+1
	bad := l.dec.Decode(recs, epoch, b)
	if bad != nil {
		next = recs[len(b.Events)].Offset
	}
	p.commit = lastCommit(b)
	b.Origin = offsets.Lane(first.Topic, first.Partition)
	b.Resume = offsets.LogPosition{Offset: next, Epoch: epoch}.Position()
	if err := l.chain.Apply(ctx, b); err != nil {
		b.Reset()
		return err
	}
	return bad
}

// maxKept bounds the bytes that a parcel keeps for its next batch.
const maxKept = 4 << 20

// take copies records.
func (p *parcel) take(recs []topic.Record) []topic.Record {
	size, headers := 0, 0
	for i := range recs {
		size += len(recs[i].Key) + len(recs[i].Value)
		headers += len(recs[i].Headers)
		for _, h := range recs[i].Headers {
			size += len(h.Value)
		}
	}
	if cap(p.bytes) > maxKept {
		p.bytes = nil
	}
	// Both have room for all: what is cut from them stays where it is.
	p.bytes, p.headers = slices.Grow(p.bytes[:0], size), slices.Grow(p.headers[:0], headers)
	own := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		n := len(p.bytes)
		p.bytes = append(p.bytes, b...)
		return p.bytes[n:len(p.bytes):len(p.bytes)]
	}
	p.records = append(p.records[:0], recs...)
	for i := range p.records {
		r := &p.records[i]
		r.Key, r.Value = own(r.Key), own(r.Value)
		n := len(p.headers)
		for _, h := range r.Headers {
			p.headers = append(p.headers, topic.Header{Key: h.Key, Value: own(h.Value)})
		}
		r.Headers = p.headers[n:len(p.headers):len(p.headers)]
	}
	return p.records
}

// deliver writes batches and commits the sink's offsets.
func (l *sinkLane) deliver(ctx context.Context, full <-chan *parcel, empty chan<- *parcel) error {
	for {
		var p *parcel
		select {
		case p = <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
		if p.err != nil && len(p.batch.Events) == 0 {
			return p.err
		}
		if err := l.write(ctx, &p.batch); err != nil {
			return err
		}
		// The target has the rows: being stopped is no reason to forget it.
		if err := l.w.offsets.Commit(context.WithoutCancel(ctx), l.c.name, p.batch.Origin, p.batch.Resume); err != nil {
			return err
		}
		if p.err != nil {
			return p.err
		}
		l.t.advanced(len(p.records), p.commit, l.w.opt.Now())
		empty <- p
	}
}

// write hands the batch to the sink and takes care of the rows that it can never take: they become dead letters, or
// fail the task, as errors.tolerance says. It returns when the dead letters are durable.
func (l *sinkLane) write(ctx context.Context, b *change.Batch) error {
	if len(b.Events) == 0 {
		return l.move(ctx, b)
	}
	err := l.snk.Write(ctx, b)
	var rejected sink.Rejected
	if !errors.As(err, &rejected) {
		return err
	}
	l.t.rejected.Add(int64(len(rejected)))
	if l.set.Tolerance != "all" {
		e := &b.Events[rejected[0].Index]
		return fault.Permanentf("ROW_REJECTED",
			"mend the row or the target, or set errors.tolerance=all and errors.deadletterqueue.topic.name",
			"%d rows of %s rejected, the first with %s: %w", len(rejected), b.Origin, identify(e), rejected[0].Err)
	}
	for _, r := range rejected {
		e := &b.Events[r.Index]
		l.c.log.Warn("row rejected", "task", l.t.id, "origin", b.Origin, "key", change.KeyText(e.Key), "version", e.Version, "error", r.Err)
	}
	if l.set.DeadLetter != "" {
		if err := l.bury(ctx, b, rejected); err != nil {
			return err
		}
	}
	return l.move(ctx, b)
}

// identify names an event in an error.
func identify(e *change.Event) string {
	if e.Key == nil {
		return fmt.Sprintf("version %d", e.Version)
	}
	return fmt.Sprintf("key %s, version %d", change.KeyText(e.Key), e.Version)
}

// move tells a target that keeps the position that all before b.Resume is settled, where it can't know that by itself: nothing
// of the batch was for it, or what it refused is durable as dead letters now.
func (l *sinkLane) move(ctx context.Context, b *change.Batch) error {
	if _, ok := l.snk.(sink.Ledger); !ok {
		return nil
	}
	return l.snk.Write(ctx, &change.Batch{Origin: b.Origin, Resume: b.Resume})
}

// bury appends the rejected events to the dead letter topic, with Kafka Connect's headers that say where from and why.
func (l *sinkLane) bury(ctx context.Context, b *change.Batch, rejected sink.Rejected) error {
	name, partition, err := offsets.ParseLane(b.Origin)
	if err != nil {
		return err
	}
	if _, err := l.w.topics.ensure(ctx, l.set.DeadLetter, topic.Spec{Partitions: 1, Config: map[string]string{"cleanup.policy": "delete"}}); err != nil {
		return err
	}
	var dead change.Batch
	for _, r := range rejected {
		e := dead.CopyEvent(&b.Events[r.Index])
		e.Topic = l.set.DeadLetter
		for _, h := range [][2]string{
			{"topic", name}, {"partition", strconv.Itoa(int(partition))},
			{"offset", strconv.FormatUint(e.Version&(1<<44-1)-1, 10)},
			{"connector.name", l.c.name}, {"task.id", strconv.Itoa(l.t.id)}, {"exception.message", r.Err.Error()},
		} {
			e.Headers = append(e.Headers, change.Header{Key: "__connect.errors." + h[0], Value: []byte(h[1])})
		}
	}
	recs, err := l.enc.Encode(&dead, nil)
	if err != nil {
		return err
	}
	return l.w.opt.Log.Append(ctx, recs)
}

// follow adds the partitions of matching topics that are not read yet, or were made anew.
func (l *sinkLane) follow(ctx context.Context) error {
	list, err := l.w.topics.refresh(ctx)
	if err != nil {
		return err
	}
	for _, info := range list {
		if !l.def.follows(info.Name) || l.epoch(info.Name) == info.Epoch {
			continue
		}
		if l.epoch(info.Name) != 0 { // what was read before must not get the new topic's versions (Invariant 4)
			return fmt.Errorf("topic %s was deleted and made again", info.Name)
		}
		l.mu.Lock()
		l.followed[info.Name] = info.Epoch
		l.mu.Unlock()
		for p := range info.Partitions {
			if !l.mine(info.Name, int32(p)) {
				continue
			}
			from, err := l.start(ctx, info, int32(p))
			if err != nil {
				return err
			}
			if err := l.reader.Add(info.Name, int32(p), from); err != nil {
				return misplaced(err)
			}
		}
	}
	return nil
}

// watch follows topics that come later. It ends with ctx.
func (l *sinkLane) watch(ctx context.Context, watcher topic.Watcher) error {
	for since := uint64(0); ; {
		var err error
		if since, err = watcher.Watch(ctx, since); err != nil {
			return err
		}
		if err := l.follow(ctx); err != nil {
			return err
		}
	}
}

// mine tells which of the connector's tasks reads a partition.
func (l *sinkLane) mine(name string, partition int32) bool {
	h := fnv.New32a()
	h.Write([]byte(offsets.Lane(name, partition)))
	return h.Sum32()%uint32(l.def.tasks) == uint32(l.t.id)
}

// start returns the offset at which the partition is to be read: what the target itself says, if it keeps a ledger,
// else the committed offset, else the beginning. An operator's alteration counts for more than the ledger.
func (l *sinkLane) start(ctx context.Context, info topic.Info, partition int32) (int64, error) {
	origin := offsets.Lane(info.Name, partition)
	position := l.w.offsets.Committed(l.c.name, origin)
	var own offsets.LogPosition
	if position != nil {
		var err error
		if own, err = offsets.ParseLogPosition(position); err != nil {
			return 0, err
		}
	}
	if ledger, ok := l.snk.(sink.Ledger); ok && !own.Altered {
		p, err := ledger.Committed(ctx, origin)
		if err != nil {
			return 0, err
		}
		position = p
	}
	if position == nil {
		if l.set.From == "latest" {
			return topic.End, nil
		}
		return topic.Start, nil
	}
	p, err := offsets.ParseLogPosition(position)
	if err != nil {
		return 0, err
	}
	if p.Epoch != 0 && p.Epoch != info.Epoch || p.Offset == 0 { // 0 is what a reset leaves
		return topic.Start, nil
	}
	return p.Offset, nil
}

func (l *sinkLane) epoch(name string) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.followed[name]
}

func lastCommit(b *change.Batch) int64 {
	for i := len(b.Events) - 1; i >= 0; i-- {
		if e := &b.Events[i]; e.Op != change.OpTombstone && e.Op != change.OpRead {
			return e.Commit
		}
	}
	return 0
}
