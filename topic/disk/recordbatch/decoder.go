package recordbatch

import (
	"encoding/binary"

	"github.com/tailrace/tailrace/topic"
)

// maxPlain bounds what a compressed batch may decompress to, in bytes.
const maxPlain = 256 << 20

// maxNames bounds the header keys that a Decoder remembers so as not to make a string for each record.
const maxNames = 256

// A Decoder walks over the records of one batch. The zero value is ready for Reset; it is for one goroutine.
type Decoder struct {
	h        Header
	rest     []byte
	left     int32
	last     int64 // delta of the record before
	plain    []byte
	unpacker unpacker
	names    map[string]string
}

// Reset checks the batch at the start of b and prepares to walk over its records. Records refer to b, or, when the
// batch is compressed, to the Decoder's own buffer, which the next Reset overwrites.
func (d *Decoder) Reset(b []byte) (Header, error) {
	d.left, d.rest = 0, nil
	h, err := Check(b)
	if err != nil {
		return h, err
	}
	rest := b[HeaderSize:h.Size:h.Size]
	if h.Compression != None {
		d.plain, err = d.unpacker.unpack(h.Compression, d.plain[:0], rest, maxPlain)
		if err != nil {
			return h, err
		}
		rest = d.plain
	}
	d.h, d.rest, d.left, d.last = h, rest, h.Count, -1
	return h, nil
}

// Next sets all of r but Topic and Partition to the next record. Headers are appended to the slice that is given, and
// r.Headers is a part of the one returned, so that one slice can serve many records. ok is false after the last record.
func (d *Decoder) Next(r *topic.Record, headers []topic.Header) (_ []topic.Header, ok bool, err error) {
	if d.left == 0 {
		if len(d.rest) != 0 {
			return headers, false, ErrTrailing
		}
		return headers, false, nil
	}
	size, n := binary.Varint(d.rest)
	if n <= 0 || size < 0 || size > int64(len(d.rest)-n) {
		return headers, false, d.fail()
	}
	b := d.rest[n : n+int(size)]
	d.rest = d.rest[n+int(size):]
	d.left--

	if len(b) < 1 {
		return headers, false, d.fail()
	}
	b = b[1:] // record attributes: unused
	ts, n := binary.Varint(b)
	if n <= 0 {
		return headers, false, d.fail()
	}
	b = b[n:]
	delta, n := binary.Varint(b)
	if n <= 0 || delta <= d.last || delta > int64(d.h.LastDelta) {
		return headers, false, d.fail()
	}
	b = b[n:]
	d.last = delta
	r.Timestamp = d.h.BaseTime + ts
	r.Offset = d.h.BaseOffset + delta
	var good bool
	if r.Key, b, good = takeBytes(b); !good {
		return headers, false, d.fail()
	}
	if r.Value, b, good = takeBytes(b); !good {
		return headers, false, d.fail()
	}
	count, n := binary.Varint(b)
	if n <= 0 || count < 0 || count > int64(len(b)-n)/2 { // a header takes two bytes at least
		return headers, false, d.fail()
	}
	b = b[n:]
	r.Headers = nil
	if count > 0 {
		from := len(headers)
		for range count {
			var key, value []byte
			if key, b, good = takeBytes(b); !good || key == nil {
				return headers, false, d.fail()
			}
			if value, b, good = takeBytes(b); !good {
				return headers, false, d.fail()
			}
			headers = append(headers, topic.Header{Key: d.name(key), Value: value})
		}
		r.Headers = headers[from:len(headers):len(headers)]
	}
	if len(b) != 0 {
		return headers, false, d.fail()
	}
	return headers, true, nil
}

func (d *Decoder) fail() error {
	d.left = 0
	d.rest = nil
	return ErrRecord
}

// name returns key as a string, the same string for the same key as long as there are few.
func (d *Decoder) name(key []byte) string {
	if s, ok := d.names[string(key)]; ok {
		return s
	}
	s := string(key)
	if len(d.names) < maxNames {
		if d.names == nil {
			d.names = make(map[string]string)
		}
		d.names[s] = s
	}
	return s
}

// takeBytes reads a length and so many bytes. The length -1 is nil.
func takeBytes(b []byte) (v, rest []byte, ok bool) {
	size, n := binary.Varint(b)
	if n <= 0 || size < -1 || size > int64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	if size < 0 {
		return nil, b, true
	}
	return b[:size:size], b[size:], true
}
