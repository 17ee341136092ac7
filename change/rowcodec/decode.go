package rowcodec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

// Bounds of the parts of Event.Version: a positive int64 of 19 bits of epoch and 44 bits of offset.
const (
	offsetBits = 44
	maxEpoch   = 1<<(63-offsetBits) - 1
	maxOffset  = 1<<offsetBits - 2
)

// Headers and Raws are given out from slabs of this size.
const (
	headerSlab = 256
	rawSlab    = 64
)

var (
	errValue  = errors.New("malformed record value")
	errLookup = errors.New("schema lookup") // marks errors of the log under a lookup, which may pass
)

// A Decoder turns records into events. It belongs to one goroutine.
type Decoder struct {
	r       *Registry
	known   map[uint32]*change.Table
	last    *change.Table
	lastID  uint32
	headers []change.Header
	raws    []change.Raw
	rare    rare
}

// NewDecoder returns a decoder.
func (r *Registry) NewDecoder() *Decoder {
	return &Decoder{r: r, known: map[uint32]*change.Table{}}
}

// Decode appends one event for each record to b. Version is made of epoch, the epoch of the records' topic, and the
// record's offset (Invariant 4); a record without a value becomes an OpTombstone whose Before has the key columns.
//
// Rows are b's memory but their bytes, keys and header values alias recs: the events are valid until the reader that
// gave recs reads again. It allocates nothing for rows once b has grown. It blocks only to read a schema that reached
// the log after Open. A record that cannot be decoded is a permanent error, code LOG_CORRUPT; b then holds the events
// before it.
func (d *Decoder) Decode(recs []topic.Record, epoch uint32, b *change.Batch) error {
	for i := range recs {
		rec := &recs[i]
		if epoch > maxEpoch || rec.Offset < 0 || rec.Offset > maxOffset {
			return fault.Permanentf("VERSION_EXHAUSTED", "move the topic's data to a new topic name",
				"%s-%d offset %d, epoch %d: beyond what an event version can hold", rec.Topic, rec.Partition, rec.Offset, epoch)
		}
		e := b.Add()
		e.Topic, e.Key = rec.Topic, rec.Key
		e.Version = uint64(epoch)<<offsetBits | uint64(rec.Offset+1)
		if err := d.record(rec, b, e); err != nil {
			b.Events = b.Events[:len(b.Events)-1]
			err = fmt.Errorf("%s-%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
			if fault.IsPermanent(err) || errors.Is(err, errLookup) {
				return err
			}
			return fault.Permanent("LOG_CORRUPT", "restore the data directory from a backup, or take a new snapshot", err)
		}
	}
	return nil
}

func (d *Decoder) record(rec *topic.Record, b *change.Batch, e *change.Event) error {
	ref := d.takeHeaders(rec, e)
	if rec.Value == nil {
		return d.empty(rec, ref, b, e)
	}
	h, p, err := decodeHead(rec.Value)
	if err != nil {
		return err
	}
	form := change.FormBytes
	if h.extra >= extraBinlog {
		if form, p, err = d.rare.decode(e, h.extra, p); err != nil {
			return err
		}
	}
	if h.schema != 0 {
		if e.Table, err = d.table(h.schema); err != nil {
			return err
		}
	}
	e.Op = change.Op(opCodes[h.flags&opMask])
	e.Txn, e.Ordinal, e.LSN, e.PrevLSN = h.txn, h.ordinal, h.lsn, h.prevLSN
	e.Commit = rec.Timestamp*1000 + h.micros
	e.Seen = e.Commit + h.seen
	e.Snapshot, e.Flat = change.Snapshot(h.extra&extraSnapshot), h.extra&extraFlat != 0
	if h.flags&flagRaw != 0 {
		e.Raw = d.raw(rec.Key, p)
		e.Raw.Form = form
		return nil
	}
	if e.Table == nil {
		return errValue
	}
	n := len(e.Table.Columns)
	if h.flags&flagBefore != 0 {
		e.Before = b.Row(n)
		if p, err = decodeRow(e.Before, e.Table, p); err != nil {
			return err
		}
	}
	if h.flags&flagAfter != 0 {
		e.After = b.Row(n)
		if p, err = decodeRow(e.After, e.Table, p); err != nil {
			return err
		}
	}
	if len(p) != 0 {
		return errValue
	}
	return nil
}

// empty decodes a record without a value: a tombstone or a Raw event without one.
func (d *Decoder) empty(rec *topic.Record, ref []byte, b *change.Batch, e *change.Event) error {
	if len(ref) != 6 || !readable(ref[0]) || ref[1]&opMask >= byte(len(opCodes)) {
		return errValue
	}
	e.Commit = rec.Timestamp * 1000
	e.Seen = e.Commit
	var err error
	if id := binary.LittleEndian.Uint32(ref[2:]); id != 0 {
		if e.Table, err = d.table(id); err != nil {
			return err
		}
	}
	if ref[1]&flagRaw != 0 {
		e.Op, e.Raw = change.Op(opCodes[ref[1]&opMask]), d.raw(rec.Key, nil)
		return nil
	}
	if e.Table == nil {
		return errValue
	}
	e.Op = change.OpTombstone
	e.Before, err = change.DecodeKey(b, e.Table, rec.Key)
	return err
}

func (d *Decoder) table(id uint32) (*change.Table, error) {
	if id == d.lastID {
		return d.last, nil
	}
	t, ok := d.known[id]
	if !ok {
		var err error
		if t, err = d.r.table(id); err != nil {
			if fault.IsPermanent(err) {
				return nil, err
			}
			return nil, errors.Join(errLookup, err)
		}
		d.known[id] = t
	}
	d.last, d.lastID = t, id
	return t, nil
}

// takeHeaders gives e the record's headers but for the reference, which it returns.
func (d *Decoder) takeHeaders(rec *topic.Record, e *change.Event) (ref []byte) {
	n := len(rec.Headers)
	if n == 0 {
		return nil
	}
	if last := rec.Headers[n-1]; last.Key == refHeader && rec.Value == nil {
		ref, n = last.Value, n-1
	}
	if n == 0 {
		return ref
	}
	if len(d.headers)+n > cap(d.headers) {
		d.headers = make([]change.Header, 0, max(n, headerSlab)) // slabs are not reused: older events keep theirs
	}
	start := len(d.headers)
	for _, h := range rec.Headers[:n] {
		d.headers = append(d.headers, change.Header{Key: h.Key, Value: h.Value})
	}
	e.Headers = d.headers[start:len(d.headers):len(d.headers)]
	return ref
}

func (d *Decoder) raw(key, value []byte) *change.Raw {
	if len(d.raws) == cap(d.raws) {
		d.raws = make([]change.Raw, 0, rawSlab)
	}
	d.raws = append(d.raws, change.Raw{Key: key, Value: value})
	return &d.raws[len(d.raws)-1]
}

// readable reports whether rows of a format can be read.
func readable(f byte) bool { return f == format || f == oldFormat }

// newer is the error for what a later version wrote.
func newer(what string, f byte) error {
	return fault.Permanentf("LOG_FORMAT", "run the version of Tailrace that wrote the data directory, or a later one",
		"%s of format %d, of which this version knows %d and %d", what, f, oldFormat, format)
}

// head is what stands before the images of a value.
type head struct {
	flags, extra byte
	schema       uint32
	ordinal      uint32
	txn          uint64
	lsn, prevLSN uint64
	micros, seen int64
}

func decodeHead(p []byte) (h head, rest []byte, err error) {
	if len(p) > 0 && !readable(p[0]) {
		return h, nil, newer("record", p[0])
	}
	if len(p) < 6 || p[1]&opMask >= byte(len(opCodes)) {
		return h, nil, errValue
	}
	known := byte(0xFF)
	if p[0] == oldFormat {
		known = extraFlat | extraSnapshot
	}
	h.flags, p = p[1], p[2:]
	if h.flags&flagExtra != 0 {
		h.extra, p = p[0], p[1:]
		if h.extra&^known != 0 {
			return h, nil, errValue
		}
	}
	if len(p) < 4 {
		return h, nil, errValue
	}
	h.schema, p = binary.LittleEndian.Uint32(p), p[4:]
	var v [6]uint64
	for i := range v {
		if len(p) > 0 && p[0] < 0x80 {
			v[i], p = uint64(p[0]), p[1:]
			continue
		}
		u, n := binary.Uvarint(p)
		if n <= 0 {
			return h, nil, errValue
		}
		v[i], p = u, p[n:]
	}
	if v[1] > 1<<32-1 || v[4] > 999 {
		return h, nil, errValue
	}
	h.txn, h.ordinal, h.lsn = v[0], uint32(v[1]), v[2]
	h.prevLSN = h.lsn - uint64(unzigzag(v[3]))
	h.micros, h.seen = int64(v[4]), unzigzag(v[5])
	return h, p, nil
}
