package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// What B12k writes: many small records, each of a key of its own but every tenth, which has that of an earlier one.
const (
	smallValue = 16
	smallEach  = 10_000
	smallAgain = 10
)

// How B15 fills a log: with topics of so many MB.
const (
	fillTopicMB = 512
	emptyMB     = 1
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

// fill makes a log of about so many MB in dir, in topics beside those of connectors.
func fill(ctx context.Context, dir string, mb int) (err error) {
	l, err := disk.Open(ctx, disk.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	recs := make([]topic.Record, recordsEach)
	for i := range recs {
		recs[i] = topic.Record{Timestamp: 1_700_000_000_000, Key: make([]byte, keyBytes), Value: make([]byte, recordBytes-keyBytes)}
	}
	rnd := rand.New(rand.NewPCG(15, 1))
	name := ""
	for n := range mb * 1_000_000 / (recordBytes * recordsEach) {
		if t := fmt.Sprintf("filled.%d", n*recordBytes*recordsEach/(fillTopicMB*1_000_000)); t != name {
			name = t
			if err := l.Create(ctx, topic.Spec{Name: name, Partitions: 1, Config: map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"}}); err != nil {
				return err
			}
		}
		for i := range recs {
			recs[i].Topic = name
			binary.BigEndian.PutUint64(recs[i].Key, rnd.Uint64())
		}
		if err := l.Append(ctx, recs); err != nil {
			return err
		}
	}
	return nil
}

// manyKeys is B12k: a child writes records of so many keys and compacts them.
func manyKeys(ctx context.Context, l *lab, o options) ([]figure, error) {
	f := figure{id: "B12k", what: fmt.Sprintf("peak RSS of a process that appends records of %d keys and compacts them", o.keys), floor: 512, target: 384, atMost: true, unit: " MB"}
	dir := l.data()
	cmd := exec.CommandContext(ctx, l.self, "keys", dir, fmt.Sprint(o.keys))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	u, err := measure(cmd)
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	f.values = append(f.values, u.rss)
	return []figure{f}, os.RemoveAll(dir)
}

// compactKeys is the child of B12k.
func compactKeys(dir, number string) (err error) {
	keys, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := disk.Open(ctx, disk.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Create(ctx, topic.Spec{Name: benchTopic, Partitions: 1}); err != nil {
		return err
	}
	recs := make([]topic.Record, smallEach)
	for i := range recs {
		recs[i] = topic.Record{Topic: benchTopic, Timestamp: 1_700_000_000_000, Key: make([]byte, keyBytes), Value: make([]byte, smallValue)}
	}
	rnd := rand.New(rand.NewPCG(12, 2))
	start := time.Now()
	for key := 0; key < keys; {
		n := 0
		for ; n < len(recs) && key < keys; n++ {
			k := key
			if n%smallAgain == smallAgain-1 {
				k = rnd.IntN(key)
			} else {
				key++
			}
			binary.BigEndian.PutUint64(recs[n].Key, uint64(k))
		}
		if err := l.Append(ctx, recs[:n]); err != nil {
			return err
		}
	}
	appended := time.Since(start)
	before, err := topic.Lookup(ctx, l, benchTopic)
	if err != nil {
		return err
	}
	start = time.Now()
	if err := l.Compact(ctx, benchTopic); err != nil {
		return err
	}
	compacted := time.Since(start)
	after, err := topic.Lookup(ctx, l, benchTopic)
	if err != nil {
		return err
	}
	was, is := before.Partitions[0], after.Partitions[0]
	fmt.Printf("  %d records, %d MB, in %.1f s; compaction to %d records, %d MB, in %.1f s, which read and wrote %d MB\n",
		was.Records, was.Bytes>>20, appended.Seconds(), is.Records, is.Bytes>>20, compacted.Seconds(), l.Usage().Compacted>>20)
	if is.Records != int64(keys) {
		return fmt.Errorf("%d records are left of %d keys", is.Records, keys)
	}
	return nil
}
