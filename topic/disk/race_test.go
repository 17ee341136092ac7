package disk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// TestReadersDuringCompaction lets 32 appenders, 1,000 readers, compaction and retention run together. Readers from any
// offset see offsets grow and end with the same state; those whom retention overtakes are told.
func TestReadersDuringCompaction(t *testing.T) {
	t.Run("case79_many_readers", func(t *testing.T) {
		const appenders, appends, keys, readers, listeners = 32, 25, 3, 1000, 20
		const total = appenders * appends * 2
		l := open(t, disk.Options{Dir: t.TempDir(), SegmentBytes: 4000, JournalBytes: 30_000, MaxOpenFiles: 4})
		for _, spec := range []topic.Spec{{Name: "a", Partitions: 1},
			{Name: "events", Partitions: 1, Config: map[string]string{"cleanup.policy": "delete", "retention.bytes": "2000", "retention.ms": "-1", "segment.bytes": "1000"}}} {
			if err := l.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
		g, ctx := errgroup.WithContext(t.Context()) // bounded by go test's -timeout
		var mu sync.Mutex
		var ended []journey
		read := func(from int64) {
			g.Go(func() error {
				state, err := foldFrom(ctx, l, from, total)
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, journey{from, state})
				return err
			})
		}
		for range readers - appenders*appends {
			read(0)
		}
		for range listeners {
			g.Go(func() error { return listen(ctx, l, total/2) })
		}
		var busy errgroup.Group
		for w := range appenders {
			rnd := rand.New(rand.NewPCG(79, uint64(w)))
			busy.Go(func() error {
				for n := range appends {
					recs := []topic.Record{{Topic: "events", Value: fmt.Appendf(nil, "%d of %d", n, w)}}
					for i := range 2 {
						recs = append(recs, topic.Record{Topic: "a", Key: fmt.Appendf(nil, "%d.%d", w, rnd.IntN(keys)), Value: fmt.Appendf(nil, "value %d.%d of %d", n, i, w)})
					}
					if err := l.Append(ctx, recs); err != nil {
						return err
					}
					info, err := partitionInfo(ctx, l, "a", 0)
					if err != nil {
						return err
					}
					read(rnd.Int64N(info.End))
				}
				return nil
			})
		}
		appended := make(chan error, 1)
		go func() { appended <- busy.Wait() }()
		g.Go(func() error {
			for {
				if err := errors.Join(l.Compact(ctx, "a"), l.Compact(ctx, "events")); err != nil {
					return err
				}
				select {
				case err := <-appended:
					return err
				default:
				}
			}
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		final, err := readAll(t.Context(), l, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range ended {
			want := map[string]string{}
			for i := range final {
				if final[i].Offset >= j.from {
					step(want, &final[i])
				}
			}
			if !maps.Equal(j.state, want) {
				t.Fatalf("read from %d on: %v, should be %v", j.from, j.state, want)
			}
		}
		if len(ended) != readers {
			t.Fatalf("%d readers", len(ended))
		}
		info, err := partitionInfo(t.Context(), l, "events", 0)
		if err != nil || info.LogStart == 0 {
			t.Fatalf("retention removed nothing: %+v, %v", info, err)
		}
	})
	t.Run("case81_compacted_away_offset", func(t *testing.T) {
		l := memLog(t, newFS(), disk.Options{ManualCompaction: true, SegmentBytes: 300})
		put(t, l, "a", "1", "a", "2", "b", "1", "a", "3", "b", "2", "c", "1")
		compact(t, l)
		for from, first := range map[int64]int64{0: 3, 1: 3, 3: 3, 4: 4, 5: 5, topic.Start: 3} {
			r, err := l.Reader(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Add("a", 0, from); err != nil {
				t.Fatal(err)
			}
			recs, err := r.Read(t.Context(), 1)
			if err != nil || recs[0].Offset != first {
				t.Fatalf("from %d: %+v, %v", from, recs, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// journey is what a reader found that began at an offset.
type journey struct {
	from  int64
	state map[string]string
}

// foldFrom reads the topic "a" from an offset on until it has seen the record before end, and returns the state of its keys.
func foldFrom(ctx context.Context, l *disk.Log, from, end int64) (map[string]string, error) {
	r, err := l.Reader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := r.Add("a", 0, from); err != nil {
		return nil, err
	}
	state := map[string]string{}
	for offset := from - 1; offset < end-1; {
		recs, err := r.Read(ctx, 100)
		if err != nil {
			return nil, err
		}
		for i := range recs {
			if recs[i].Offset <= offset {
				return nil, fmt.Errorf("offset %d after %d, from %d", recs[i].Offset, offset, from)
			}
			offset = recs[i].Offset
			step(state, &recs[i])
		}
	}
	return state, nil
}

// listen reads the topic "events" until it has seen the record before end. When retention overtakes it, it is told so and
// begins again at what is left.
func listen(ctx context.Context, l *disk.Log, end int64) error {
	r, err := l.Reader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Add("events", 0, topic.Start); err != nil {
		return err
	}
	for offset := int64(-1); offset < end-1; {
		recs, err := r.Read(ctx, 10)
		if errors.Is(err, topic.ErrLeftBehind) {
			err = r.Add("events", 0, topic.Start)
			offset = -1 // a gap is allowed now
		}
		if err != nil {
			return err
		}
		for i := range recs {
			if offset >= 0 && recs[i].Offset != offset+1 {
				return fmt.Errorf("event %d after %d", recs[i].Offset, offset)
			}
			offset = recs[i].Offset
		}
	}
	return nil
}
