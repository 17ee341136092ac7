package disk

import (
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// An output writes records to a segment's file. Its batches cover all offsets of the segment: each begins where the one
// before ends.
type output struct {
	seg         *segment
	file        vfs.File
	compression recordbatch.Compression
	builder     recordbatch.Builder
	buf         []byte
	building    bool
	base        int64 // of the batch being built, or of the next one
	before      int64 // the greatest timestamp in the batches before that one
	last        int64 // offset of the record that was added last
	horizon     int64 // of that batch; -1: none
	pace        func(bytes int) error
}

// outputBytes is how much an output writes at a time.
const outputBytes = 1 << 20

// add appends a record; a tombstone whose term has begun has a horizon, in milliseconds, that its batch carries. Other
// records may join any batch, tombstones only one of their own horizon.
func (o *output) add(r *topic.Record, horizon int64) error {
	if o.building && (o.builder.Size() >= batchBytes || r.Value == nil && horizon != o.horizon) {
		if err := o.endBatch(); err != nil {
			return err
		}
	}
	if !o.building {
		o.building, o.horizon = true, horizon
		o.builder.Begin(o.buf, o.base, o.compression)
		if horizon >= 0 {
			o.builder.SetDeleteHorizon(horizon)
			if h := &o.seg.meta.Horizon; *h == 0 || horizon < *h {
				*h = max(horizon, 1)
			}
		}
		m := &o.seg.meta
		if m.Records == 0 {
			m.First = r.Offset
		}
	}
	o.builder.Append(r, int32(r.Offset-o.base))
	o.last = r.Offset
	o.seg.meta.Records++
	o.seg.meta.MaxTime = max(o.seg.meta.MaxTime, r.Timestamp)
	return nil
}

func (o *output) endBatch() error {
	from := len(o.buf)
	o.buf = o.builder.Finish()
	o.building = false
	recordbatch.SetOwner(o.buf[from:], ownerOf(o.seg.dir))
	at := o.seg.meta.Bytes + int64(from)
	if at-o.seg.indexed >= indexInterval {
		o.seg.index = append(o.seg.index, indexEntry{o.base, at, o.before})
		o.seg.indexed = at
	}
	o.before = o.seg.meta.MaxTime
	o.base = o.last + 1
	if len(o.buf) >= outputBytes {
		return o.flush()
	}
	return nil
}

func (o *output) flush() error {
	if _, err := o.file.WriteAt(o.buf, o.seg.meta.Bytes); err != nil {
		return err
	}
	n := len(o.buf)
	o.seg.meta.Bytes += int64(n)
	o.buf = o.buf[:0]
	return o.pace(n)
}

func (o *output) finish() error {
	if o.building {
		o.builder.Extend(int32(o.seg.meta.Next - 1 - o.base))
		if err := o.endBatch(); err != nil {
			return err
		}
	}
	return o.flush()
}
