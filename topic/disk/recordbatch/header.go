package recordbatch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// HeaderSize is the size of a batch without records.
const HeaderSize = 61

// prefix is the part of the header that the batch length does not count.
const prefix = 12

const (
	magic           = 2
	compressionMask = 0x07
	attrHorizon     = 1 << 6
)

// Error is the type of the errors of this package: what is wrong with the bytes of a batch.
type Error string

// Error implements error.
func (e Error) Error() string { return "record batch: " + string(e) }

// What can be wrong with a batch.
const (
	ErrShort      Error = "cut short"
	ErrMagic      Error = "magic is not 2"
	ErrLength     Error = "impossible length"
	ErrCRC        Error = "checksum mismatch"
	ErrRecord     Error = "malformed record"
	ErrTrailing   Error = "bytes after the last record"
	ErrCodec      Error = "unknown compression"
	ErrTooLarge   Error = "decompresses to more than the limit"
	ErrCompressed Error = "malformed compressed data"
)

// Header is what a reader needs of a batch's header.
type Header struct {
	BaseOffset    int64
	Size          int // of the whole batch in bytes, header included
	LastDelta     int32
	BaseTime      int64
	MaxTime       int64
	Count         int32
	Owner         int32 // see SetOwner
	Compression   Compression
	DeleteHorizon bool // BaseTime is the time from which the batch's tombstones may be removed
}

// LastOffset is the offset of the last record that the batch was made with.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastDelta) }

// ParseHeader reads the header at the start of b and checks it for plausibility, not its checksum. It needs HeaderSize
// bytes, else it returns ErrShort.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, ErrShort
	}
	if b[16] != magic {
		return Header{}, ErrMagic
	}
	length := int32(binary.BigEndian.Uint32(b[8:]))
	attrs := binary.BigEndian.Uint16(b[21:])
	h := Header{
		BaseOffset:    int64(binary.BigEndian.Uint64(b)),
		Size:          int(length) + prefix,
		LastDelta:     int32(binary.BigEndian.Uint32(b[23:])),
		BaseTime:      int64(binary.BigEndian.Uint64(b[27:])),
		MaxTime:       int64(binary.BigEndian.Uint64(b[35:])),
		Count:         int32(binary.BigEndian.Uint32(b[57:])),
		Owner:         int32(binary.BigEndian.Uint32(b[12:])),
		Compression:   Compression(attrs & compressionMask),
		DeleteHorizon: attrs&attrHorizon != 0,
	}
	switch {
	case length < HeaderSize-prefix:
		return Header{}, ErrLength
	case h.BaseOffset < 0 || h.LastDelta < 0 || h.Count < 0 || int64(h.Count) > int64(h.LastDelta)+1:
		return Header{}, fmt.Errorf("%w: base offset %d, last offset delta %d, %d records", ErrLength, h.BaseOffset, h.LastDelta, h.Count)
	}
	return h, nil
}

// Check returns the header of the batch at the start of b, which may hold more, if the batch is whole and its checksum
// is right.
func Check(b []byte) (Header, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return h, err
	}
	if len(b) < h.Size {
		return h, ErrShort
	}
	if crc32.Checksum(b[21:h.Size], castagnoli) != binary.BigEndian.Uint32(b[17:]) {
		return h, ErrCRC
	}
	return h, nil
}

// SetBaseOffset renumbers the batch at the start of b. Its checksum stays right.
func SetBaseOffset(b []byte, offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// NoOwner is the owner of a batch that was never given one.
const NoOwner int32 = -1

// SetOwner says whose the batch at the start of b is, by a number that is not negative. It takes the place of Kafka's leader
// epoch, which means something to brokers alone. The checksum stays right.
func SetOwner(b []byte, owner int32) { binary.BigEndian.PutUint32(b[12:], uint32(owner)) }

// castagnoli is the table of CRC-32C; it is never written.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)
