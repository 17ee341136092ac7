package rowcodec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
)

const (
	format    = 2
	oldFormat = 1 // has no members behind the times; still read

	opMask      = 7
	flagBefore  = 1 << 3
	flagAfter   = 1 << 4
	flagPartial = 1 << 5
	flagRaw     = 1 << 6
	flagExtra   = 1 << 7

	extraSnapshot = 7
	extraFlat     = 1 << 3
	extraBinlog   = 1 << 4
	extraReplica  = 1 << 5
	extraOrder    = 1 << 6
	extraForm     = 1 << 7
)

// opCodes are the ops by their number in the flags.
const opCodes = "rcudtm"

// opTruncate is a truncate's number.
const opTruncate = 4

// refHeader names the header of a record without a value that tells its op and table version.
const refHeader = "_tr"

// maxKept bounds the buffer that an encoder keeps between batches.
const maxKept = 16 << 20

var (
	errNoTable = errors.New("a row without a table")
	errNoKey   = errors.New("a tombstone without a key")
)

// EncoderOptions say what an encoder does beside writing events.
type EncoderOptions struct {
	// Tombstones puts a record without a value after each delete with a key (tombstones.on.delete).
	Tombstones bool
}

// An Encoder turns the events of one lane into records. It belongs to one goroutine.
type Encoder struct {
	r       *Registry
	o       EncoderOptions
	known   map[*change.Table]uint32
	last    *change.Table
	lastID  uint32
	buf     []byte
	headers []topic.Header
}

// NewEncoder returns an encoder that has appended no table version yet.
func (r *Registry) NewEncoder(o EncoderOptions) *Encoder {
	return &Encoder{r: r, o: o, known: map[*change.Table]uint32{}}
}

// Encode appends the records for b's events to recs, in order: before the first event of a table version its schema
// record, one record for each event, and a tombstone after a delete if asked for. Partition is 0 everywhere: the
// caller assigns it, except for records of SchemaTopic, which has only one.
//
// Values belong to the encoder and are valid until the next Encode; keys, topics and header values are b's. It
// allocates nothing once its buffers have grown.
//
// An encoder gives each schema record once. So when the records could not be appended, append the same records again
// or throw the encoder away: a record encoded later may rely on a schema that never reached the log. An event that
// cannot be stored (a row that does not fit its table) is a permanent error, code EVENT_INVALID.
func (e *Encoder) Encode(b *change.Batch, recs []topic.Record) ([]topic.Record, error) {
	if cap(e.buf) > maxKept {
		e.buf = nil
	}
	e.buf, e.headers = e.buf[:0], e.headers[:0]
	for i := range b.Events {
		ev := &b.Events[i]
		id := uint32(0)
		if ev.Table != nil {
			if ev.Table != e.last {
				recs = e.turn(ev.Table, recs) // Invariant 5
			}
			id = e.lastID
		}
		var err error
		if recs, err = e.event(ev, id, recs); err != nil {
			err = fmt.Errorf("event %d of transaction %d for topic %s: %w", ev.Ordinal, ev.Txn, ev.Topic, err)
			return recs, fault.Permanent("EVENT_INVALID", "this is a defect of the source or of a transform; report it", err)
		}
	}
	return recs, nil
}

// turn makes t the encoder's present table and appends its schema record if it is new to the encoder.
func (e *Encoder) turn(t *change.Table, recs []topic.Record) []topic.Record {
	e.last = t
	id, ok := e.known[t]
	e.lastID = id
	if ok {
		return recs
	}
	id, value := e.r.number(t)
	e.known[t], e.lastID = id, id
	key := binary.BigEndian.AppendUint32(nil, id)
	return append(recs, topic.Record{Topic: SchemaTopic, Key: key, Value: value})
}

func (e *Encoder) event(ev *change.Event, id uint32, recs []topic.Record) ([]topic.Record, error) {
	rec := topic.Record{Topic: ev.Topic, Key: ev.Key, Timestamp: floorMillis(ev.Commit)}
	if ev.Headers != nil {
		rec.Headers = e.convert(ev.Headers)
	}
	flags, err := eventFlags(ev)
	if err != nil {
		return recs, err
	}
	start := len(e.buf)
	switch {
	case ev.Raw != nil:
		rec.Key = ev.Raw.Key
		if ev.Raw.Value == nil {
			rec.Headers = e.ref(rec.Headers, flags, id)
			return append(recs, rec), nil
		}
		e.buf = append(appendHead(e.buf, ev, flags, id), ev.Raw.Value...)
	case ev.Table == nil:
		return recs, errNoTable
	case ev.Op == change.OpTombstone && ev.Key == nil:
		return recs, errNoKey
	case ev.Op == change.OpTombstone:
		rec.Headers = e.ref(rec.Headers, flags&opMask, id)
		return append(recs, rec), nil
	default:
		e.buf = appendHead(e.buf, ev, flags, id)
		for _, row := range [2]change.Row{ev.Before, ev.After} {
			if row != nil {
				if e.buf, err = appendRow(e.buf, ev.Table, row); err != nil {
					return recs, err
				}
			}
		}
	}
	rec.Value = e.buf[start:len(e.buf):len(e.buf)]
	recs = append(recs, rec)
	if e.o.Tombstones && ev.Op == change.OpDelete && ev.Raw == nil && ev.Key != nil && !ev.NoTombstone {
		rec.Value, rec.Headers = nil, e.ref(rec.Headers, flags&opMask, id)
		recs = append(recs, rec)
	}
	return recs, nil
}

// convert copies headers into the encoder's memory.
func (e *Encoder) convert(hs []change.Header) []topic.Header {
	n := len(e.headers)
	for _, h := range hs {
		e.headers = append(e.headers, topic.Header{Key: h.Key, Value: h.Value})
	}
	return e.headers[n:len(e.headers):len(e.headers)]
}

// ref returns hs with the header that says how the key of a record without a value is to be read.
func (e *Encoder) ref(hs []topic.Header, flags byte, id uint32) []topic.Header {
	start := len(e.buf)
	e.buf = binary.LittleEndian.AppendUint32(append(e.buf, format, flags&^flagExtra), id)
	n := len(e.headers)
	e.headers = append(append(e.headers, hs...), topic.Header{Key: refHeader, Value: e.buf[start:len(e.buf):len(e.buf)]})
	return e.headers[n:len(e.headers):len(e.headers)]
}

func eventFlags(ev *change.Event) (byte, error) {
	flags := byte(0)
	switch ev.Op {
	case change.OpRead:
		flags = 0
	case change.OpCreate:
		flags = 1
	case change.OpUpdate:
		flags = 2
	case change.OpDelete, change.OpTombstone:
		flags = 3
	case change.OpTruncate:
		flags = opTruncate
	case change.OpMessage:
		flags = 5
	default:
		return 0, fmt.Errorf("op %q cannot be stored", ev.Op)
	}
	if ev.Snapshot > extraSnapshot {
		return 0, fmt.Errorf("snapshot marker %d", ev.Snapshot)
	}
	if ev.Raw != nil && !ev.Raw.Form.Valid() {
		return 0, fmt.Errorf("form %d of a raw event", ev.Raw.Form)
	}
	if eventExtra(ev) != 0 {
		flags |= flagExtra
	}
	if ev.Raw != nil {
		return flags | flagRaw, nil
	}
	if ev.Before != nil {
		flags |= flagBefore
	}
	if ev.After != nil {
		flags |= flagAfter
		if !ev.After.Complete() {
			flags |= flagPartial
		}
	}
	return flags, nil
}

// eventExtra returns the byte that tells which of the rarer members an event has.
func eventExtra(ev *change.Event) byte {
	extra := byte(ev.Snapshot)
	if ev.Flat {
		extra |= extraFlat
	}
	if ev.Binlog != nil {
		extra |= extraBinlog
	}
	if ev.Replica != nil {
		extra |= extraReplica
	}
	if ev.TxID != "" {
		extra |= extraOrder
	}
	if ev.Raw != nil && ev.Raw.Form != 0 {
		extra |= extraForm
	}
	return extra
}

// appendHead appends what stands before the images.
func appendHead(dst []byte, ev *change.Event, flags byte, id uint32) []byte {
	dst = append(dst, format, flags)
	extra := eventExtra(ev)
	if extra != 0 {
		dst = append(dst, extra)
	}
	dst = binary.LittleEndian.AppendUint32(dst, id)
	dst = binary.AppendUvarint(dst, ev.Txn)
	dst = binary.AppendUvarint(dst, uint64(ev.Ordinal))
	dst = binary.AppendUvarint(dst, ev.LSN)
	dst = binary.AppendUvarint(dst, zigzag(int64(ev.LSN-ev.PrevLSN)))
	dst = binary.AppendUvarint(dst, uint64(ev.Commit-floorMillis(ev.Commit)*1000))
	dst = binary.AppendUvarint(dst, zigzag(ev.Seen-ev.Commit))
	if extra < extraBinlog {
		return dst
	}
	return appendRare(dst, ev, extra)
}

// appendRare appends the members that extra announces.
func appendRare(dst []byte, ev *change.Event, extra byte) []byte {
	if extra&extraBinlog != 0 {
		b := ev.Binlog
		dst = binary.AppendUvarint(dst, uint64(ev.Row))
		dst = appendSized(dst, binlogSize(b))
		dst = appendText(appendText(appendText(dst, b.File), b.GTID), b.Query)
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(b.ServerID)), b.Thread)
	}
	if extra&extraReplica != 0 {
		r := ev.Replica
		dst = appendSized(dst, textSize(r.Origin)+uvarintSize(r.LSN))
		dst = binary.AppendUvarint(appendText(dst, r.Origin), r.LSN)
	}
	if extra&extraOrder != 0 {
		dst = appendText(dst, ev.TxID)
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, ev.TxOrder), ev.TxInTable)
	}
	if extra&extraForm != 0 {
		dst = append(dst, byte(ev.Raw.Form))
	}
	return dst
}

func appendSized(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }

func binlogSize(b *change.Binlog) int {
	return textSize(b.File) + textSize(b.GTID) + textSize(b.Query) + uvarintSize(uint64(b.ServerID)) + uvarintSize(b.Thread)
}

func textSize(s string) int { return uvarintSize(uint64(len(s))) + len(s) }

func uvarintSize(u uint64) int { return (bits.Len64(u|1) + 6) / 7 }

// floorMillis turns microseconds into milliseconds, rounding down.
func floorMillis(micros int64) int64 {
	ms := micros / 1000
	if micros%1000 < 0 {
		ms--
	}
	return ms
}
