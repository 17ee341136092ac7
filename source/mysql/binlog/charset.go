package binlog

import (
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

const binaryCharset = "binary"

func unknownCharset(column string, id any) error {
	return fault.Permanentf("UNKNOWN_CHARSET", "convert the column to utf8mb4, exclude it, or upgrade Tailrace",
		"column %s has charset %v, which is unknown", column, id)
}

// Charsets decodes text of the servers' charsets to UTF-8. It builds the table of a charset when it is first used. The
// zero Charsets is ready; it is not safe for concurrent use, nor are the layouts made with it.
type Charsets struct {
	known map[string]*charset
}

// A charset is one of the servers' charsets. Bytes that it has no character for are never replaced.
type charset struct {
	decode func(dst, p []byte) ([]byte, bool) // appends UTF-8; false: p is not valid
	grow   int                                // bytes of UTF-8 for each byte, at most
	ascii  bool                               // bytes below 0x80 are ASCII, so that such text needs no decoding
	bytes  bool                               // binary: there is no text
	utf8   bool
}

// get returns a charset by the servers' name. column is for the error.
func (c *Charsets) get(name, column string) (*charset, error) {
	if cs := c.known[name]; cs != nil {
		return cs, nil
	}
	cs := newCharset(name)
	if cs == nil {
		return nil, unknownCharset(column, name)
	}
	if c.known == nil {
		c.known = map[string]*charset{}
	}
	c.known[name] = cs
	return cs, nil
}

// Append appends text of a charset to dst as UTF-8. ok is false if p is not valid in it; the error is for a charset that
// is unknown, permanent with code UNKNOWN_CHARSET.
func (c *Charsets) Append(dst []byte, name string, p []byte) (text []byte, ok bool, err error) {
	cs, err := c.get(name, "(none)")
	if err != nil {
		return dst, false, err
	}
	text, ok = cs.append(dst, p)
	return text, ok, nil
}

func (cs *charset) append(dst, p []byte) ([]byte, bool) {
	if cs.utf8 || cs.bytes {
		return append(dst, p...), cs.bytes || utf8.Valid(p)
	}
	return cs.decode(dst, p)
}

// value sets v to the text p: Text, or Bytes where p is not valid in the charset or the charset is binary.
func (cs *charset) value(b *change.Batch, v *change.Value, p []byte) {
	switch {
	case cs.bytes:
		v.Kind, v.Data = change.Bytes, b.Copy(p)
	case cs.utf8 && utf8.Valid(p), cs.ascii && isASCII(p):
		v.Kind, v.Data = change.Text, b.Copy(p)
	case cs.utf8:
		v.Kind, v.Data = change.Bytes, b.Copy(p)
	default:
		room := b.Bytes(len(p) * cs.grow)
		if text, ok := cs.decode(room[:0], p); ok {
			v.Kind, v.Data = change.Text, text[:len(text):len(text)]
		} else {
			v.Kind, v.Data = change.Bytes, b.Copy(p)
		}
	}
}

// isASCII looks at eight bytes at a time.
func isASCII(p []byte) bool {
	for len(p) >= 8 {
		if littleEndian64(p)&0x8080808080808080 != 0 {
			return false
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
