package recordbatch

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"github.com/tailrace/tailrace/topic"
)

// A Builder makes one batch after the other. Begin, any number of Appends, Finish. The zero value is ready for use; it
// is for one goroutine.
type Builder struct {
	dst         []byte
	start       int
	count       int32
	baseTime    int64
	maxTime     int64
	lastDelta   int32
	compression Compression
	horizon     bool
	packer      packer
}

// Begin starts a batch at the end of dst, which the Builder owns until Finish gives it back. Offsets of records are
// given relative to baseOffset.
func (b *Builder) Begin(dst []byte, baseOffset int64, c Compression) {
	b.start = len(dst)
	b.dst = append(dst, emptyHeader[:]...)
	binary.BigEndian.PutUint64(b.dst[b.start:], uint64(baseOffset))
	b.count, b.lastDelta, b.compression, b.horizon = 0, 0, c, false
	b.baseTime, b.maxTime = 0, 0
}

// SetDeleteHorizon marks the batch, before its first record, as one whose tombstones may be removed from the time ms
// on, in milliseconds since the Unix epoch.
func (b *Builder) SetDeleteHorizon(ms int64) {
	b.horizon = true
	b.baseTime = ms
}

// emptyHeader is what every batch starts from; it is never written.
var emptyHeader = func() (h [HeaderSize]byte) {
	binary.BigEndian.PutUint32(h[12:], ^uint32(0)) // leader epoch
	h[16] = magic
	for i := 43; i < 57; i++ { // producer id and epoch, base sequence
		h[i] = 0xff
	}
	return h
}()

// Append adds a record whose offset is the batch's base offset plus delta. Deltas grow. It copies the record's bytes.
func (b *Builder) Append(r *topic.Record, delta int32) {
	if b.count == 0 {
		if !b.horizon {
			b.baseTime = r.Timestamp
		}
		b.maxTime = r.Timestamp
	}
	b.maxTime = max(b.maxTime, r.Timestamp)
	b.count++
	b.lastDelta = delta
	ts := r.Timestamp - b.baseTime

	size := 1 + varintLen(ts) + varintLen(int64(delta)) + bytesLen(r.Key) + bytesLen(r.Value) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		size += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	d := binary.AppendVarint(b.dst, int64(size))
	d = append(d, 0)
	d = binary.AppendVarint(d, ts)
	d = binary.AppendVarint(d, int64(delta))
	d = appendBytes(d, r.Key)
	d = appendBytes(d, r.Value)
	d = binary.AppendVarint(d, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		d = binary.AppendVarint(d, int64(len(h.Key)))
		d = append(d, h.Key...)
		d = appendBytes(d, h.Value)
	}
	b.dst = d
}

// Extend makes the batch cover offsets up to its base offset plus delta, beyond its last record, so that it can stand for
// records that were removed.
func (b *Builder) Extend(delta int32) { b.lastDelta = max(b.lastDelta, delta) }

// RecordBound is the most bytes that r can take in a batch, before compression.
func RecordBound(r *topic.Record) int {
	n := 1 + 6*binary.MaxVarintLen64 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 2*binary.MaxVarintLen32 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// Count is the number of records appended since Begin.
func (b *Builder) Count() int { return int(b.count) }

// Size is the size of the batch so far, in bytes, before compression.
func (b *Builder) Size() int { return len(b.dst) - b.start }

// Finish completes the batch and returns the buffer given to Begin with the batch at its end. A batch that compression
// does not make smaller stays uncompressed.
func (b *Builder) Finish() []byte {
	if b.compression != None {
		b.compress()
	}
	h := b.dst[b.start:]
	attrs := uint16(b.compression)
	if b.horizon {
		attrs |= attrHorizon
	}
	binary.BigEndian.PutUint32(h[8:], uint32(len(h)-prefix))
	binary.BigEndian.PutUint16(h[21:], attrs)
	binary.BigEndian.PutUint32(h[23:], uint32(b.lastDelta))
	binary.BigEndian.PutUint64(h[27:], uint64(b.baseTime))
	binary.BigEndian.PutUint64(h[35:], uint64(b.maxTime))
	binary.BigEndian.PutUint32(h[57:], uint32(b.count))
	binary.BigEndian.PutUint32(h[17:], crc32.Checksum(h[21:], castagnoli))
	dst := b.dst
	b.dst = nil
	return dst
}

func (b *Builder) compress() {
	plain := b.dst[b.start+HeaderSize:]
	packed, err := b.packer.pack(b.compression, plain)
	if err != nil || len(packed) >= len(plain) {
		b.compression = None
		return
	}
	b.dst = append(b.dst[:b.start+HeaderSize], packed...)
}

func varintLen(n int64) int {
	return (bits.Len64(uint64(n<<1)^uint64(n>>63)|1) + 6) / 7
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendBytes(d, b []byte) []byte {
	if b == nil {
		return append(d, 1) // varint of -1
	}
	d = binary.AppendVarint(d, int64(len(b)))
	return append(d, b...)
}
