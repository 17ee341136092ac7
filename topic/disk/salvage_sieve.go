package disk

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk/recordbatch"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// A wholeBatch is a batch of which every record was decoded.
type wholeBatch struct {
	h      recordbatch.Header
	bytes  []byte // valid until the sieve's next
	first  int64  // offset of the first record
	latest int64  // timestamp
}

// A sieve finds the whole batches in a file that may be damaged anywhere. A batch counts if its checksum is right, all of its
// records decode, it is of the partition, and its offsets, which no checksum covers, go on from the batch before or, after damage, lie between it
// and upto.
type sieve struct {
	file   vfs.File
	name   string
	end    int64
	offset int64 // that the next batch begins with; -1: any
	upto   int64
	owner  int32
	cause  string // of what was passed over since the caller cleared it

	pos     int64 // of the next batch
	buf     []byte
	lo, hi  int // the bytes from pos on in buf
	least   int64
	decoder recordbatch.Decoder
}

// next returns the next whole batch; ok is false at the end.
func (sv *sieve) next() (b wholeBatch, ok bool, err error) {
	for sv.pos < sv.end {
		b, err := sv.whole()
		if err == nil {
			sv.skip(b.h.Size)
			sv.offset, sv.least = b.h.LastOffset()+1, b.h.LastOffset()+1
			return b, true, nil
		}
		if _, bad := err.(recordbatch.Error); !bad && !errors.Is(err, errNumbering) {
			return b, false, err
		}
		if sv.cause == "" {
			sv.cause = fmt.Sprintf("damaged at byte %d: %v", sv.pos, err)
		}
		sv.offset = -1
		if err := sv.seek(); err != nil {
			return b, false, err
		}
	}
	return b, false, nil
}

// unused are the header's fields from producer id to base sequence, which the log does not use.
var unused = bytes.Repeat([]byte{0xff}, 14)

// seek goes on to the next byte at which there may be the header of a batch.
func (sv *sieve) seek() error {
	for sv.skip(1); sv.pos < sv.end; sv.skip(1) {
		b, err := sv.need(recordbatch.HeaderSize)
		if err != nil {
			return err
		}
		if len(b) < recordbatch.HeaderSize {
			sv.skip(len(b))
			return nil
		}
		if b[16] == 2 && bytes.Equal(b[43:57], unused) {
			return nil
		}
	}
	return nil
}

// whole judges what is at pos. What is wrong with it is a recordbatch.Error or errNumbering.
func (sv *sieve) whole() (w wholeBatch, err error) {
	b, err := sv.need(recordbatch.HeaderSize)
	if err != nil {
		return w, err
	}
	h, bad := recordbatch.ParseHeader(b)
	switch {
	case bad != nil:
		return w, recordbatch.ErrLength
	case sv.offset >= 0 && h.BaseOffset != sv.offset, h.BaseOffset < sv.least, h.LastOffset() >= sv.upto, h.Count == 0:
		return w, errNumbering
	case checkOwner(&h, sv.owner) != nil:
		return w, errOwner
	case int64(h.Size) > sv.end-sv.pos:
		return w, recordbatch.ErrShort
	}
	if b, err = sv.need(h.Size); err != nil {
		return w, err
	}
	if w.h, err = sv.decoder.Reset(b); err != nil {
		return w, recordbatch.ErrCRC
	}
	w.bytes = b[:h.Size]
	var r topic.Record
	var headers []topic.Header
	for n := 0; ; n++ {
		var ok bool
		if headers, ok, err = sv.decoder.Next(&r, headers[:0]); err != nil {
			return w, recordbatch.ErrRecord
		}
		if !ok {
			return w, nil
		}
		if n == 0 {
			w.first, w.latest = r.Offset, r.Timestamp
		}
		w.latest = max(w.latest, r.Timestamp)
	}
}

func (sv *sieve) skip(n int) {
	sv.pos += int64(n)
	sv.lo = min(sv.lo+n, sv.hi)
}

// need returns the n bytes from pos on, fewer at the end.
func (sv *sieve) need(n int) ([]byte, error) {
	if n = int(min(int64(n), sv.end-sv.pos)); sv.hi-sv.lo >= n {
		return sv.buf[sv.lo:sv.hi], nil
	}
	sv.hi = copy(sv.buf, sv.buf[sv.lo:sv.hi])
	sv.lo = 0
	if want := max(n, int(min(scanBytes, sv.end-sv.pos))); len(sv.buf) < want {
		sv.buf = append(make([]byte, 0, want), sv.buf[:sv.hi]...)[:want]
	}
	from := sv.pos + int64(sv.hi)
	want := int(min(int64(len(sv.buf)-sv.hi), sv.end-from))
	if err := readFull(sv.file, sv.name, sv.buf[sv.hi:sv.hi+want], from); err != nil {
		return nil, err
	}
	sv.hi += want
	return sv.buf[sv.lo:sv.hi], nil
}
