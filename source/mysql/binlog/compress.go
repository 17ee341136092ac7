package binlog

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// scratch is memory for one event's expanded bytes, kept for the next one unless it has grown huge.
type scratch struct{ buf []byte }

const maxScratch = 4 << 20

func (s *scratch) take() []byte { return s.buf[:0] }

func (s *scratch) keep(p []byte) {
	if cap(p) > maxScratch {
		p = nil
	}
	s.buf = p[:0]
}

// inflater expands what MariaDB compressed: whole bodies of events, and values of COMPRESSED columns.
type inflater struct {
	zlib  io.ReadCloser
	flate io.ReadCloser
	src   bytes.Reader
	more  [1]byte
}

// expand undoes MariaDB's compression of events: a byte of 0x80, algorithm (0: zlib) and the size of the length, the
// expanded length, big endian, then the compressed bytes. The result is appended to dst, which is of length 0. It
// returns what is wrong, "" if nothing is.
func (z *inflater) expand(p, dst []byte) ([]byte, string) {
	if len(p) == 0 {
		return nil, "ends early"
	}
	n := int(p[0] & 7)
	if p[0]&0x80 == 0 || p[0]>>4&7 != 0 || n > 4 || n == 0 {
		return nil, "unknown compression"
	}
	if len(p) < 1+n {
		return nil, "ends early"
	}
	return z.run(p[1+n:], dst, bigEndian(p[1:1+n]), false)
}

// run inflates p and checks that it has the announced length. Memory grows with what really comes out.
func (z *inflater) run(p, dst []byte, length uint64, raw bool) ([]byte, string) {
	z.src.Reset(p)
	var err error
	in := &z.zlib
	if raw {
		in = &z.flate
	}
	switch reset := (*in); {
	case reset == nil && raw:
		*in = flate.NewReader(&z.src)
	case reset == nil:
		*in, err = zlib.NewReader(&z.src)
	case raw:
		err = reset.(flate.Resetter).Reset(&z.src, nil)
	default:
		err = reset.(zlib.Resetter).Reset(&z.src, nil)
	}
	if err != nil {
		return nil, "compressed bytes are damaged: " + err.Error()
	}
	for uint64(len(dst)) < length {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		room := dst[len(dst):min(uint64(cap(dst)), length)]
		n, err := (*in).Read(room)
		dst = dst[:len(dst)+n]
		if err != nil && uint64(len(dst)) < length {
			return nil, "compressed bytes are damaged: " + err.Error()
		}
	}
	if n, err := (*in).Read(z.more[:]); n != 0 || err != io.EOF {
		return nil, "compressed bytes do not end where they should"
	}
	return dst, ""
}

// A Payload is a transaction that MySQL wrote compressed (binlog_transaction_compression): between its GTID and the next
// one there is nothing else, and its events are what the same transaction would be without compression.
type Payload struct {
	Size uint64 // bytes of its events, as the server says
	data []byte
	zstd bool
}

// Fields of a payload.
const (
	payloadEnd  = 0
	payloadData = 1 // its length; the bytes stand behind the last field
	payloadType = 2 // 0: zstd, 255: none
	payloadSize = 3
)

func (d *Decoder) payload(p *Payload, r *reader) {
	*p = Payload{zstd: true}
	for r.reason == "" {
		field := r.lenenc()
		if field == payloadEnd {
			break
		}
		value := reader{p: r.bytes(r.length())}
		switch field {
		case payloadType:
			switch alg := value.lenenc(); alg {
			case 0:
			case 255:
				p.zstd = false
			default:
				r.fail(fmt.Sprintf("unknown compression %d of a transaction", alg))
			}
		case payloadSize:
			p.Size = value.lenenc()
		}
		r.fail(value.reason)
	}
	p.data = r.rest()
}

// Unpacker reads the events of payloads one by one, so that a transaction of any size takes the memory of its largest
// event. The zero Unpacker is ready; it belongs to one goroutine and is released by Close.
type Unpacker struct {
	dec *zstd.Decoder
	src bytes.Reader
	in  io.Reader
	buf []byte
}

// maxWindow bounds the memory of one zstd stream. The server's highest level uses windows of 128 MiB.
const maxWindow = 128 << 20

// Open starts with the events of p, which stays in use until the last one was read.
func (u *Unpacker) Open(p *Payload) error {
	u.src.Reset(p.data)
	if u.in = &u.src; !p.zstd {
		return nil
	}
	if u.dec == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		u.dec = dec
	}
	u.in = u.dec
	return u.dec.Reset(&u.src)
}

// Next returns the next event with its header, for [Decoder.DecodeInner]. It is valid until the next call. After the
// last one the error is io.EOF.
func (u *Unpacker) Next() ([]byte, error) {
	u.buf = append(u.buf[:0], make([]byte, HeaderSize)...)
	if _, err := io.ReadFull(u.in, u.buf); err == io.EOF {
		return nil, io.EOF
	} else if err != nil {
		return nil, payloadError(len(u.buf), err)
	}
	size := int64(binary.LittleEndian.Uint32(u.buf[9:]))
	if size < HeaderSize {
		return nil, payloadError(9, errors.New("an event is smaller than its header"))
	}
	for left := size - HeaderSize; left > 0; {
		n := int(min(left, maxScratch))
		at := len(u.buf)
		u.buf = append(u.buf, make([]byte, n)...)
		if _, err := io.ReadFull(u.in, u.buf[at:]); err != nil {
			return nil, payloadError(at, err)
		}
		left -= int64(n)
	}
	return u.buf, nil
}

func payloadError(at int, err error) error {
	return &Error{Type: TypePayload, Offset: at, Reason: "compressed transaction: " + err.Error()}
}

// Close releases the decompressor.
func (u *Unpacker) Close() {
	if u.dec != nil {
		u.dec.Close()
		u.dec = nil
	}
}
