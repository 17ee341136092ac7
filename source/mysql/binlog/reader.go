package binlog

import (
	"bytes"
	"encoding/binary"
)

// reader takes fields from an event. After the first failure all further fields are zero.
type reader struct {
	p      []byte
	off    int
	reason string
}

func (r *reader) fail(reason string) {
	if r.reason == "" {
		r.reason = reason
	}
}

func (r *reader) left() int { return len(r.p) - r.off }

// bytes returns the next n bytes with their capacity cut, so that nobody can append into the event.
func (r *reader) bytes(n int) []byte {
	if r.reason != "" || n < 0 || n > len(r.p)-r.off {
		r.fail("ends early")
		return nil
	}
	b := r.p[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// rest returns all that is left.
func (r *reader) rest() []byte { return r.bytes(r.left()) }

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// uintN reads n bytes, n at most 8.
func (r *reader) uintN(n int) uint64 { return littleEndian(r.bytes(n)) }

func littleEndian(b []byte) (v uint64) {
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v
}

func bigEndian(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// lenenc reads a length-encoded integer of the client/server protocol.
func (r *reader) lenenc() uint64 {
	switch c := r.byte(); c {
	case 0xFC:
		return uint64(r.uint16())
	case 0xFD:
		return r.uintN(3)
	case 0xFE:
		return r.uint64()
	case 0xFB, 0xFF:
		r.fail("not a length-encoded integer")
		return 0
	default:
		return uint64(c)
	}
}

// length reads a length-encoded integer that counts bytes or things of at least one byte in what is left.
func (r *reader) length() int {
	n := r.lenenc()
	if n > uint64(r.left()) {
		r.fail("ends early")
		return 0
	}
	return int(n)
}

// name returns the bytes before the next zero byte and skips that.
func (r *reader) name() []byte {
	if r.reason != "" {
		return nil
	}
	n := bytes.IndexByte(r.p[r.off:], 0)
	if n < 0 {
		r.fail("name without end")
		return nil
	}
	b := r.bytes(n)
	r.off++
	return b
}

// lengthName reads a name that has its length before and a zero byte behind it.
func (r *reader) lengthName(n int) []byte {
	b := r.bytes(n)
	if r.byte() != 0 {
		r.fail("name without end")
	}
	return b
}
