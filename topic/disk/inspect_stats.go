package disk

import (
	"context"
	"hash/maphash"

	"github.com/tailrace/tailrace/topic"
)

// statsKeys bounds how many keys one pass of Stats holds in memory, at about 64 bytes each. More take more passes.
const statsKeys = 1 << 20

// PartitionStats are the figures of a partition, journal included. Live is what a compaction to the end would leave if all
// tombstones had served their time: the newest record of each key that is not a tombstone, and records without a key.
type PartitionStats struct {
	Topic      string
	Partition  int32
	Segments   int
	Records    int64
	Keys       int64 // different ones
	Live       int64 // records
	Tombstones int64
	Bytes      int64   // in files
	PlainBytes int64   // of records, decompressed
	LiveBytes  int64   // of live records, decompressed
	DirtyRatio float64 // part of the segments' bytes that no compaction has seen, as min.cleanable.dirty.ratio compares it
}

// Compression is how many times more the records would take without compression and headers of batches, 0 without records.
func (s *PartitionStats) Compression() float64 {
	if s.Bytes == 0 {
		return 0
	}
	return float64(s.PlainBytes) / float64(s.Bytes)
}

// Stats reads every record of the topic and counts. It holds about 64 MiB of key hashes and reads the topic several times
// where that is not enough. Damage ends it.
func (in *Inspection) Stats(ctx context.Context, name string) ([]PartitionStats, error) {
	t, err := in.Topic(name)
	if err != nil {
		return nil, err
	}
	list := make([]PartitionStats, len(t.Partitions))
	for num := range t.Partitions {
		if list[num], err = in.partitionStats(ctx, t, num, statsKeys); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// newestRecord is what a census knows of a key.
type newestRecord struct {
	size      int64
	tombstone bool
}

// A census counts the keys whose hash belongs to its pass.
type census struct {
	seeds [2]maphash.Seed
	keys  map[[2]uint64]newestRecord
	most  int
}

func (in *Inspection) partitionStats(ctx context.Context, t *TopicState, num, most int) (PartitionStats, error) {
	s := PartitionStats{Topic: t.Name, Partition: int32(num), Segments: len(t.Partitions[num].Segments)}
	var dirty int64
	for i := range t.Partitions[num].Segments {
		seg := &t.Partitions[num].Segments[i]
		s.Bytes += seg.Bytes
		if seg.Next > t.Partitions[num].Clean {
			dirty += seg.Bytes
		}
	}
	if s.Bytes > 0 {
		s.DirtyRatio = float64(dirty) / float64(s.Bytes)
	}
	s.Bytes += t.Partitions[num].Journal.Bytes
	c := census{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, most: most}
	passes := uint64(1)
	for pass := uint64(0); pass < passes; {
		c.keys = map[[2]uint64]newestRecord{}
		got, whole, err := in.countPass(ctx, t, num, &c, pass, passes)
		if err != nil {
			return s, err
		}
		if !whole { // again, with fewer keys in each pass: passes that are done stay so, as theirs are split too
			passes *= 2
			pass *= 2
			continue
		}
		if pass == 0 {
			s.Records, s.Tombstones, s.PlainBytes = got.Records, got.Tombstones, got.PlainBytes
			s.Live, s.LiveBytes = got.Live, got.LiveBytes
		}
		s.Keys += int64(len(c.keys))
		for _, k := range c.keys {
			if !k.tombstone {
				s.Live++
				s.LiveBytes += k.size
			}
		}
		pass++
	}
	return s, nil
}

// countPass reads the partition once. whole is false if there were more keys of this pass than memory for them.
func (in *Inspection) countPass(ctx context.Context, t *TopicState, num int, c *census, pass, passes uint64) (s PartitionStats, whole bool, err error) {
	whole = true
	err = in.Dump(ctx, t.Name, int32(num), func(p *Place) error {
		for i := range p.Records {
			r := &p.Records[i]
			size := plainSize(r)
			s.Records++
			s.PlainBytes += size
			if r.Key == nil {
				s.Live++
				s.LiveBytes += size
				continue
			}
			if r.Value == nil {
				s.Tombstones++
			}
			whole = whole && c.note(r, size, pass, passes)
		}
		return nil
	})
	return s, whole, err
}

// note notes the record as the newest of its key, if its key belongs to the pass. It returns false if there is no room.
func (c *census) note(r *topic.Record, size int64, pass, passes uint64) bool {
	h := [2]uint64{maphash.Bytes(c.seeds[0], r.Key), maphash.Bytes(c.seeds[1], r.Key)}
	// The top bits choose, so that a pass that is split in two has just those keys: pass p of n is 2p and 2p+1 of 2n.
	if passes > 1 && h[0]/(^uint64(0)/passes+1) != pass {
		return true
	}
	if _, known := c.keys[h]; !known && len(c.keys) == c.most {
		return false
	}
	c.keys[h] = newestRecord{size, r.Value == nil}
	return true
}

// plainSize is what a record takes, lengths left out.
func plainSize(r *topic.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}
