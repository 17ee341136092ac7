package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
)

// What B12 and B12c write: records of 300 bytes, key and value together, a thousand in each append.
const (
	recordBytes  = 300
	recordsEach  = 1000
	recordKeys   = 5 // records to each key, in the log that is compacted
	benchTopic   = "shop.public.orders"
	keyBytes     = 8
	appendsLeast = 100
)

// bareLoop writes appends times what one append has to the end of a file and syncs it each time. It returns the time that
// took.
func bareLoop(dir string, appends int) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return 0, err
	}
	b := make([]byte, recordBytes*recordsEach)
	start := time.Now()
	for range appends {
		if _, err = f.Write(b); err == nil {
			err = f.Sync()
		}
		if err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	if err := f.Close(); err != nil {
		return 0, err
	}
	return took, os.Remove(f.Name())
}

// filledLog appends that often to a new log, whose records have random ones of so many keys, and returns it, and the time
// that the appends took.
func filledLog(ctx context.Context, dir string, appends, keys int) (*disk.Log, time.Duration, error) {
	l, err := disk.Open(ctx, disk.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return nil, 0, err
	}
	if err := l.Create(ctx, topic.Spec{Name: benchTopic, Partitions: 1}); err != nil {
		return l, 0, err
	}
	rnd := rand.New(rand.NewPCG(12, 1))
	recs := make([]topic.Record, recordsEach)
	for i := range recs {
		recs[i] = topic.Record{Topic: benchTopic, Timestamp: 1_700_000_000_000, Key: make([]byte, keyBytes), Value: make([]byte, recordBytes-keyBytes)}
	}
	var took time.Duration
	for range appends {
		for i := range recs {
			binary.BigEndian.PutUint64(recs[i].Key, uint64(rnd.IntN(keys)))
			binary.BigEndian.PutUint64(recs[i].Value, rnd.Uint64())
		}
		start := time.Now()
		if err := l.Append(ctx, recs); err != nil {
			return l, 0, err
		}
		took += time.Since(start)
	}
	return l, took, nil
}

// againstBareLoop is B12 and B12c: appends, and the compaction of what they wrote, against a loop that writes the same
// bytes to one file and syncs it as often, by turns.
func againstBareLoop(ctx context.Context, l *lab, o options) ([]figure, error) {
	put := figure{id: "B12", what: "append of 300-byte records, 1000 at a time / write and fsync of the same bytes", floor: 0.5, target: 0.75}
	compact := figure{id: "B12c", what: "compaction, bytes of the log/s / the same loop", floor: 0.25, target: 0.5}
	appends := max(appendsLeast, o.rows/recordsEach)
	records := appends * recordsEach
	for i := range o.rounds {
		bare, err := bareLoop(l.dir, appends)
		if err != nil {
			return nil, err
		}
		dir := l.data()
		log, ours, err := filledLog(ctx, dir, appends, records/recordKeys)
		if err != nil {
			return nil, err
		}
		if err := log.Checkpoint(ctx); err != nil { // not what is measured
			return nil, err
		}
		start := time.Now()
		if err := log.Compact(ctx, benchTopic); err != nil {
			return nil, err
		}
		compacting := time.Since(start)
		if err := log.Close(); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		fmt.Printf("  round %d: %d records; bare loop %.2f s, appends %.2f s, compaction %.2f s\n", i+1, records, bare.Seconds(), ours.Seconds(), compacting.Seconds())
		put.values = append(put.values, bare.Seconds()/ours.Seconds())
		compact.values = append(compact.values, bare.Seconds()/compacting.Seconds())
	}
	return []figure{put, compact}, nil
}
