package recordbatch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is Kafka's number of a compression.
type Compression int8

// Kafka's compressions.
const (
	None   Compression = 0
	Gzip   Compression = 1
	Snappy Compression = 2
	LZ4    Compression = 3
	Zstd   Compression = 4
)

// ParseCompression knows the values of Kafka's compression.type. What "producer" leaves to producers is None here: they
// hand over records, not batches.
func ParseCompression(name string) (Compression, error) {
	switch name {
	case "none", "uncompressed", "producer":
		return None, nil
	case "gzip":
		return Gzip, nil
	case "snappy":
		return Snappy, nil
	case "lz4":
		return LZ4, nil
	case "zstd":
		return Zstd, nil
	}
	return None, fmt.Errorf("compression %q is not one of none, zstd, lz4, snappy, gzip", name)
}

// xerial is the header of the framing in which Kafka's clients put snappy: magic, version 1, compatible with 1. Blocks
// follow, each with its length.
const xerial = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"

// xerialBlock is the most plain bytes in a block.
const xerialBlock = 32 << 10

// A packer keeps compressors and a buffer for reuse.
type packer struct {
	out  bytes.Buffer
	zstd *zstd.Encoder
	lz4  *lz4.Writer
	gzip *gzip.Writer
}

// pack returns plain compressed. The result is the packer's and valid until the next call.
func (p *packer) pack(c Compression, plain []byte) ([]byte, error) {
	p.out.Reset()
	switch c {
	case Gzip:
		if p.gzip == nil {
			p.gzip = gzip.NewWriter(&p.out)
		}
		p.gzip.Reset(&p.out)
		return p.finish(p.gzip, plain)
	case Snappy:
		p.out.WriteString(xerial)
		for len(plain) > 0 {
			n := min(len(plain), xerialBlock)
			block := snappy.Encode(nil, plain[:n])
			var size [4]byte
			binary.BigEndian.PutUint32(size[:], uint32(len(block)))
			p.out.Write(size[:])
			p.out.Write(block)
			plain = plain[n:]
		}
		return p.out.Bytes(), nil
	case LZ4:
		if p.lz4 == nil {
			p.lz4 = lz4.NewWriter(&p.out)
			if err := p.lz4.Apply(lz4.BlockSizeOption(lz4.Block64Kb)); err != nil { // as Kafka; the default takes 8 MiB of buffers
				return nil, err
			}
		}
		p.lz4.Reset(&p.out)
		return p.finish(p.lz4, plain)
	case Zstd:
		if p.zstd == nil {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
			if err != nil {
				return nil, err
			}
			p.zstd = enc
		}
		out := p.zstd.EncodeAll(plain, p.out.AvailableBuffer())
		p.out.Write(out)
		return p.out.Bytes(), nil
	}
	return nil, ErrCodec
}

func (p *packer) finish(w io.WriteCloser, plain []byte) ([]byte, error) {
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return p.out.Bytes(), nil
}

// An unpacker keeps decompressors for reuse.
type unpacker struct {
	zstd *zstd.Decoder
	lz4  *lz4.Reader
	gzip *gzip.Reader
	in   bytes.Reader
}

// unpack appends what packed decompresses to, limit bytes at most, to dst.
func (u *unpacker) unpack(c Compression, dst, packed []byte, limit int) ([]byte, error) {
	u.in.Reset(packed)
	switch c {
	case Gzip:
		if u.gzip == nil {
			u.gzip = new(gzip.Reader)
		}
		if err := u.gzip.Reset(&u.in); err != nil {
			return dst, fmt.Errorf("%w: %w", ErrCompressed, err)
		}
		return readAll(dst, u.gzip, limit)
	case Snappy:
		return unpackSnappy(dst, packed, limit)
	case LZ4:
		if u.lz4 == nil {
			u.lz4 = lz4.NewReader(&u.in)
		}
		u.lz4.Reset(&u.in)
		return readAll(dst, u.lz4, limit)
	case Zstd:
		if u.zstd == nil {
			dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecoderLowmem(true))
			if err != nil {
				return dst, err
			}
			u.zstd = dec
		}
		out, err := u.zstd.DecodeAll(packed, dst)
		if err != nil {
			return dst, fmt.Errorf("%w: %w", ErrCompressed, err)
		}
		return out, nil
	}
	return dst, ErrCodec
}

func unpackSnappy(dst, packed []byte, limit int) ([]byte, error) {
	if len(packed) < len(xerial) || string(packed[:8]) != xerial[:8] {
		return snappyBlock(dst, packed, limit) // librdkafka and others write one bare block
	}
	packed = packed[len(xerial):]
	var err error
	for len(packed) > 0 {
		if len(packed) < 4 {
			return dst, ErrCompressed
		}
		n := int64(binary.BigEndian.Uint32(packed))
		packed = packed[4:]
		if n > int64(len(packed)) {
			return dst, ErrCompressed
		}
		if dst, err = snappyBlock(dst, packed[:n], limit); err != nil {
			return dst, err
		}
		packed = packed[n:]
	}
	return dst, nil
}

func snappyBlock(dst, block []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCompressed, err)
	}
	if n > limit-len(dst) {
		return dst, ErrTooLarge
	}
	// A snappy block expands 64-fold at most, so a false length cannot make us reserve much.
	if n > 64*len(block)+64 {
		return dst, ErrCompressed
	}
	from := len(dst)
	dst = append(dst, make([]byte, n)...)
	if _, err := snappy.Decode(dst[from:], block); err != nil {
		return dst[:from], fmt.Errorf("%w: %w", ErrCompressed, err)
	}
	return dst, nil
}

// readAll appends what r gives to dst, limit bytes at most.
func readAll(dst []byte, r io.Reader, limit int) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > limit {
			return dst, ErrTooLarge
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, fmt.Errorf("%w: %w", ErrCompressed, err)
		}
	}
}
