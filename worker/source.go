package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/transform"
)

// sourceSettings are the properties of a source connector that the worker itself obeys.
type sourceSettings struct {
	Prefix     string `cfg:"topic.prefix" doc:"what the names of the connector's topics begin with"`
	Tombstones bool   `cfg:"tombstones.on.delete" default:"true" doc:"whether a delete is followed by a tombstone"`
	Partitions int    `cfg:"topic.creation.default.partitions" default:"1" min:"1" max:"10000" doc:"partitions of topics that the connector makes"`
	MaxRetries int    `cfg:"errors.max.retries" default:"-1" min:"-1" doc:"how often a failure is tried again without progress; -1: without end"`
}

// sourceLane is what one run of a source task works with: opened, then looped, then closed.
type sourceLane struct {
	w      *Worker
	c      *connector
	t      *task
	src    source.Source
	stream source.Stream
	chain  transform.Chain
	enc    Encoder
	spec   topic.Spec
	post   *post
}

// runSource is one run of a source connector's task: it opens the source where the offsets say and loops until
// something fails. (Invariants 1, 2, 3)
func (w *Worker) runSource(ctx context.Context, c *connector, t *task, def *definition, props map[string]string) error {
	l, err := w.openSource(ctx, c, t, def, props)
	if err != nil {
		return err
	}
	defer l.close()
	t.set(Running, nil)
	err = l.loop(ctx)
	if errors.Is(err, snapshot.ErrDone) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// Appends of fewer than fewEvents events begin at least appendInterval apart, so that many small transactions share an
// fsync instead of taking the processor from the database with one for each. After a quiet moment nothing waits.
const (
	fewEvents      = 1024
	appendInterval = 3 * time.Millisecond
)

func (l *sourceLane) loop(ctx context.Context) error {
	var b change.Batch
	var recs []topic.Record
	var last time.Time // when the last Append began
	for {
		if few := len(b.Events) < fewEvents; few && !last.IsZero() {
			if err := pause(ctx, appendInterval-l.w.opt.Now().Sub(last)); err != nil {
				return err
			}
		}
		b.Reset()
		if err := l.stream.Read(ctx, &b); err != nil {
			return err
		}
		if err := l.chain.Apply(ctx, &b); err != nil {
			return err
		}
		var err error
		if recs, err = l.enc.Encode(&b, recs[:0]); err != nil {
			return err
		}
		if recs, err = l.place(ctx, &b, recs); err != nil {
			return err
		}
		last = l.w.opt.Now()
		if err := l.w.opt.Log.Append(ctx, recs); err != nil {
			return err
		}
		l.advance(&b, recs)
		if err := l.stream.Ack(ctx, b.Resume); err != nil { // Invariant 1: Append has returned
			return err
		}
	}
}

// place gives each record its partition, makes topics that are new, and adds the source's offset. (Invariant 3)
func (l *sourceLane) place(ctx context.Context, b *change.Batch, recs []topic.Record) ([]topic.Record, error) {
	last, n := "", int32(1)
	next := 0 // the event whose record comes next
	for i, end := 0, len(recs); i < end; i++ {
		r := &recs[i]
		if r.Topic != last {
			var err error
			if n, err = l.w.topics.ensure(ctx, r.Topic, l.spec); err != nil {
				return recs, err
			}
			last = r.Topic
		}
		own := next < len(b.Events) && r.Topic == b.Events[next].Topic && r.Value != nil
		truncate := own && b.Events[next].Op == change.OpTruncate
		if own {
			next++
		}
		if n == 1 {
			continue
		}
		if r.Key != nil {
			r.Partition = partitionOf(r.Key, n)
		}
		for p := int32(1); truncate && p < n; p++ { // rows of the table may be in every partition
			c := recs[i]
			c.Partition = p
			recs = append(recs, c)
		}
	}
	recs, err := l.w.appendNotes(ctx, recs, l.c.name, b.Notes)
	if err != nil {
		return recs, err
	}
	return append(l.post.settled(recs), l.w.offsets.Record(l.c.name, b.Origin, b.Resume)), nil
}

// advance tells the offset store and the figures that the batch is durable.
func (l *sourceLane) advance(b *change.Batch, recs []topic.Record) {
	l.w.offsets.Applied(l.c.name, b.Origin, b.Resume)
	bytes := 0
	for i := range recs {
		bytes += len(recs[i].Key) + len(recs[i].Value)
	}
	l.t.bytes.Add(int64(bytes))
	commit := int64(0)
	for i := len(b.Events) - 1; i >= 0 && commit == 0; i-- {
		if b.Events[i].Op != change.OpRead {
			commit = b.Events[i].Commit
		}
	}
	l.t.advanced(len(b.Events), commit, l.w.opt.Now())
}

func (w *Worker) openSource(ctx context.Context, c *connector, t *task, def *definition, props map[string]string) (*sourceLane, error) {
	var set sourceSettings
	if p := config.Decode(props, &set); len(p) > 0 {
		return nil, invalid(p)
	}
	chain, problems := transform.Build(props, w.opt.Transforms)
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	so := snapshot.Options{Logger: c.log, Now: w.opt.Now, Report: func(p snapshot.Progress) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.progress = &p
	}}
	if p := snapshot.Decode(props, &so.Config); len(p) > 0 {
		return nil, invalid(p)
	}
	if len(chain) == 0 { // a transform may give records of several tables one topic, or other keys
		so.Keys = &ghosts{w.opt.Log, w.opt.Codec, w.opt.Now, c.log, keyBudget}
	}
	src, err := def.source.Open(ctx, source.Setup{Connector: c.name, Props: props, Version: w.opt.Version,
		Logger: c.log.With("task", t.id), Scratch: w.opt.Scratch, Now: w.opt.Now,
		Notes: func(ctx context.Context) (map[string][]byte, error) { return w.notes(ctx, c.name) }})
	if err != nil {
		return nil, err
	}
	l := &sourceLane{w: w, c: c, t: t, src: src, chain: chain, enc: w.opt.Codec.NewEncoder(set.Tombstones),
		spec: topicSpec(props, int32(set.Partitions))}
	if l.post, err = w.openPost(ctx, c, &so.Config); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	so.Signals, so.Connector, so.NewID = l.post.box, c.name, newID
	if l.stream, err = snapshot.Open(ctx, src, w.offsets.Committed(c.name, set.Prefix), so); err != nil {
		l.post.close()
		return nil, errors.Join(err, src.Close())
	}
	if g, ok := src.(source.Gauger); ok {
		t.mu.Lock()
		t.gauges = g.Gauges
		t.mu.Unlock()
	}
	return l, nil
}

func (l *sourceLane) close() {
	l.post.close()
	l.t.mu.Lock()
	l.t.gauges = nil
	l.t.mu.Unlock()
	for _, err := range []error{l.stream.Close(), l.src.Close()} {
		if err != nil && !errors.Is(err, context.Canceled) {
			l.c.log.Warn("close source", "task", l.t.id, "error", err)
		}
	}
}

// topicSpec collects topic.creation.default.*: the settings of topics that the connector makes.
func topicSpec(props map[string]string, partitions int32) topic.Spec {
	const prefix = "topic.creation.default."
	spec := topic.Spec{Partitions: partitions, Config: map[string]string{"cleanup.policy": "compact"}}
	for k, v := range props {
		if name, ok := strings.CutPrefix(k, prefix); ok && name != "partitions" && name != "replication.factor" {
			spec.Config[name] = v
		}
	}
	return spec
}

// invalid makes one permanent error of all mistakes in a configuration.
func invalid(problems []config.Problem) error {
	text := make([]string, len(problems))
	for i, p := range problems {
		text[i] = p.String()
	}
	return fault.Permanentf("CONFIG_INVALID", "correct the configuration", "%s", strings.Join(text, "; "))
}

// partitionOf is Kafka's default partitioner: murmur2 of the key.
func partitionOf(key []byte, n int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % n
}

// murmur2 is Austin Appleby's MurmurHash2 with the seed that Kafka's clients use (org.apache.kafka.common.utils.Utils).
func murmur2(p []byte) uint32 {
	const m, seed = 0x5bd1e995, 0x9747b28c
	h := uint32(seed) ^ uint32(len(p))
	for ; len(p) >= 4; p = p[4:] {
		k := uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
		k *= m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(p) {
	case 3:
		h ^= uint32(p[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(p[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(p[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
