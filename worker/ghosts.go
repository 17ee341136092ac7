package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/topic"
)

const (
	keyBudget  = 32 << 20 // bytes of the keys that one pass over a topic remembers
	keyBytes   = 80       // what a remembered key takes besides its bytes, about
	mostGhosts = 32768    // deletes that one call gives
)

// ghosts is what the log holds of a connector's tables. A pass over a topic remembers the keys of a bucket: those whose hash begins
// with certain bits. When they are more than the budget the bucket is halved, in the middle of the pass: what is forgotten
// is the next bucket. So memory is bounded whatever the topic holds, and a topic that fits is read once.
type ghosts struct {
	log    topic.Log
	codec  Codec
	now    func() time.Time
	logger *slog.Logger
	budget int
}

var _ snapshot.Keys = (*ghosts)(nil)

// mark is where a topic ended.
type mark struct {
	Epoch uint32  `json:"epoch"`
	Ends  []int64 `json:"ends"`
}

// Mark implements snapshot.Keys.
func (g *ghosts) Mark(ctx context.Context, name string) (json.RawMessage, error) {
	info, err := topic.Lookup(ctx, g.log, name)
	if errors.Is(err, topic.ErrNoTopic) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := mark{Epoch: info.Epoch}
	held := int64(0)
	for _, p := range info.Partitions {
		m.Ends = append(m.Ends, p.End)
		held += p.Records
	}
	if held == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

// A bucket is the keys whose hash begins with depth bits that make the number index.
type bucket struct {
	depth int
	index uint64
}

func (b bucket) has(hash uint64) bool { return hash>>(64-b.depth) == b.index || b.depth == 0 }

// next returns the bucket behind this one in the order of hashes, false behind the last one.
func (b bucket) next() (bucket, bool) {
	b.index++
	if zeros := bits.TrailingZeros64(b.index); b.index>>b.depth == 0 {
		return bucket{b.depth - min(zeros, b.depth), b.index >> min(zeros, b.depth)}, true
	}
	return bucket{}, false
}

// hashOf is FNV-1a with a finish that spreads the bits; cursors need it to stay what it is.
func hashOf(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return h ^ h>>33
}

// A pass is one reading of a topic.
type pass struct {
	*ghosts
	table  *change.Table
	mark   mark
	bucket bucket
	seen   map[string]int32 // live keys that were not written since the mark, with their partitions
	bytes  int
	dec    Decoder
	batch  change.Batch
	epoch  uint32
}

// Ghosts implements snapshot.Keys.
func (g *ghosts) Ghosts(ctx context.Context, t *change.Table, name string, at json.RawMessage, after []byte, b *change.Batch) ([]byte, error) {
	p := pass{ghosts: g, table: t, seen: map[string]int32{}, dec: g.codec.NewDecoder()}
	if err := json.Unmarshal(at, &p.mark); err != nil {
		return nil, fmt.Errorf("mark of %s: %w", name, err)
	}
	if len(after) > 0 {
		if _, err := fmt.Sscanf(string(after), "%d/%d", &p.bucket.index, &p.bucket.depth); err != nil {
			return nil, fmt.Errorf("cursor %q of a sweep of %s: %w", after, name, err)
		}
	}
	info, err := topic.Lookup(ctx, g.log, name)
	if errors.Is(err, topic.ErrNoTopic) || err == nil && info.Epoch != p.mark.Epoch {
		return nil, nil // it was deleted, and what it held with it
	}
	if err != nil {
		return nil, err
	}
	p.epoch = info.Epoch
	for n, part := range info.Partitions {
		if part.Records > 0 && n < len(p.mark.Ends) {
			if err := p.read(ctx, name, int32(n), part.End); err != nil {
				return nil, err
			}
		}
	}
	return p.tell(name, b), nil
}

// read reads one partition up to its end.
func (p *pass) read(ctx context.Context, name string, partition int32, end int64) error {
	rd, err := p.log.Reader(ctx)
	if err != nil {
		return err
	}
	defer rd.Close()
	if err := rd.Add(name, partition, topic.Start); err != nil {
		return err
	}
	for {
		recs, err := rd.Read(ctx, scanMax)
		if err != nil {
			return err
		}
		last := recs[len(recs)-1].Offset
		for len(recs) > 0 && recs[len(recs)-1].Offset >= end {
			recs = recs[:len(recs)-1]
		}
		p.batch.Reset()
		if err := p.dec.Decode(recs, p.epoch, &p.batch); err != nil {
			return fmt.Errorf("%s partition %d: %w", name, partition, err)
		}
		for i := range recs {
			p.record(&recs[i], &p.batch.Events[i])
		}
		if last >= end-1 {
			return nil
		}
	}
}

// record notes what a record says of its key.
func (p *pass) record(r *topic.Record, e *change.Event) {
	if r.Value != nil && e.Raw == nil && e.Op == change.OpTruncate {
		for key, partition := range p.seen {
			if partition == r.Partition {
				p.forget(key)
			}
		}
		return
	}
	if r.Key == nil || !p.bucket.has(hashOf(r.Key)) {
		return
	}
	alive := r.Value != nil && e.Raw == nil && e.Table != nil && e.Table.Name == p.table.Name && e.Op != change.OpDelete
	if _, known := p.seen[string(r.Key)]; known && (!alive || r.Offset >= p.mark.Ends[r.Partition]) {
		p.forget(string(r.Key))
	} else if !known && alive && r.Offset < p.mark.Ends[r.Partition] {
		p.seen[string(r.Key)] = r.Partition
		p.bytes += len(r.Key) + keyBytes
		for p.bytes > p.budget && p.bucket.depth < 40 {
			p.halve()
		}
	}
}

func (p *pass) forget(key string) {
	delete(p.seen, key)
	p.bytes -= len(key) + keyBytes
}

func (p *pass) halve() {
	p.bucket = bucket{p.bucket.depth + 1, p.bucket.index << 1}
	for key := range p.seen {
		if !p.bucket.has(hashOf([]byte(key))) {
			p.forget(key)
		}
	}
}

// tell adds the deletes and returns the cursor of what is left.
func (p *pass) tell(name string, b *change.Batch) []byte {
	keys := make([]string, 0, len(p.seen))
	for key := range p.seen {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, strings.Compare)
	next, more := p.bucket.next()
	if len(keys) > mostGhosts {
		keys = keys[:mostGhosts]
		next, more = p.bucket, true // the next pass finds those of this one deleted
	}
	now, foreign := p.now().UnixMicro(), 0
	for _, key := range keys {
		row, err := change.DecodeKey(b, p.table, []byte(key))
		if err != nil {
			foreign++
			continue
		}
		*b.Add() = change.Event{Table: p.table, Op: change.OpDelete, Key: b.Copy([]byte(key)), Before: row, Topic: name, Commit: now, Seen: now}
	}
	if foreign > 0 {
		p.logger.Warn("keys of an earlier structure of the table stay in the log", "topic", name, "keys", foreign)
	}
	if !more {
		return nil
	}
	return fmt.Appendf(nil, "%d/%d", next.index, next.depth)
}
