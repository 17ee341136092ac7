package rowcodec

import (
	"context"
	"slices"
	"sync"

	"github.com/tailrace/tailrace/topic"
)

// memLog is a log in memory, as much of it as a registry uses.
type memLog struct {
	mu   sync.Mutex
	recs map[string][]topic.Record
}

var _ topic.Log = (*memLog)(nil)

func newMemLog() *memLog { return &memLog{recs: map[string][]topic.Record{}} }

func (l *memLog) Append(_ context.Context, recs []topic.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range recs {
		if _, ok := l.recs[r.Topic]; !ok {
			return topic.ErrNoTopic
		}
	}
	for _, r := range recs {
		r.Offset = int64(len(l.recs[r.Topic]))
		r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		r.Headers = slices.Clone(r.Headers)
		for i := range r.Headers {
			r.Headers[i].Value = slices.Clone(r.Headers[i].Value)
		}
		l.recs[r.Topic] = append(l.recs[r.Topic], r)
	}
	return nil
}

func (l *memLog) Create(_ context.Context, s topic.Spec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.recs[s.Name]; ok {
		return topic.ErrTopicExists
	}
	l.recs[s.Name] = nil
	return nil
}

func (l *memLog) Topics(context.Context) ([]topic.Info, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var infos []topic.Info
	for name, recs := range l.recs {
		infos = append(infos, topic.Info{Name: name, Epoch: 1, Partitions: []topic.PartitionInfo{{End: int64(len(recs))}}})
	}
	return infos, nil
}

func (l *memLog) all(name string) []topic.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recs[name]
}

func (l *memLog) Close() error { return nil }

func (l *memLog) Reader(context.Context) (topic.Reader, error) { return &memReader{l: l}, nil }

type memReader struct {
	l    *memLog
	name string
	next int64
}

func (r *memReader) Add(name string, _ int32, from int64) error {
	r.name, r.next = name, max(from, 0)
	return nil
}

func (r *memReader) Read(ctx context.Context, max int) ([]topic.Record, error) {
	recs := r.l.all(r.name)[r.next:]
	if len(recs) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	recs = recs[:min(len(recs), max, 2)]
	r.next += int64(len(recs))
	return recs, nil
}

func (r *memReader) Close() error { return nil }
