package pgoutput

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Kind is the first byte of a message.
type Kind byte

// The kinds of protocol version 1, and those that version 2 adds for streaming of transactions in progress.
const (
	KindBegin    Kind = 'B'
	KindCommit   Kind = 'C'
	KindOrigin   Kind = 'O'
	KindRelation Kind = 'R'
	KindType     Kind = 'Y'
	KindInsert   Kind = 'I'
	KindUpdate   Kind = 'U'
	KindDelete   Kind = 'D'
	KindTruncate Kind = 'T'
	KindMessage  Kind = 'M'

	KindStreamStart  Kind = 'S'
	KindStreamStop   Kind = 'E'
	KindStreamCommit Kind = 'c'
	KindStreamAbort  Kind = 'A'
)

// The kinds of a cell.
const (
	Null      byte = 'n'
	Unchanged byte = 'u' // a TOAST value that the update did not touch; it was not sent
	Text      byte = 't'
	Binary    byte = 'b'
)

// The old image that an update or delete carries.
const (
	NoOld   byte = 0
	OldKey  byte = 'K' // the replica identity's columns; all others are sent as null
	OldFull byte = 'O' // the whole old row (REPLICA IDENTITY FULL)
)

// The options of a truncate.
const (
	TruncateCascade         byte = 1
	TruncateRestartIdentity byte = 2
)

// Begin starts a transaction. FinalLSN is where its commit record starts, CommitTime counts microseconds since
// 2000-01-01 UTC, XID is the top-level transaction's number.
type Begin struct {
	FinalLSN   uint64
	CommitTime int64
	XID        uint32
}

// Commit ends a transaction. CommitLSN equals the FinalLSN of its begin; EndLSN is where the commit record ends.
type Commit struct {
	Flags      byte
	CommitLSN  uint64
	EndLSN     uint64
	CommitTime int64
}

// Origin tells where a replicated transaction came from.
type Origin struct {
	CommitLSN uint64
	Name      []byte
}

// Column is a column of a relation. Key means that it belongs to the replica identity.
type Column struct {
	Key      bool
	Name     string
	TypeOID  uint32
	Modifier int32
}

// Relation describes a table as it was when the rows that follow were written. Identity is pg_class.relreplident: d, n,
// f or i. Its strings and columns are its own: it may be kept after the payload is gone, but not after the Message was
// used again.
type Relation struct {
	OID      uint32
	Schema   string // "" stands for pg_catalog
	Name     string
	Identity byte
	Columns  []Column
}

// Type names a type that is not built in.
type Type struct {
	OID    uint32
	Schema []byte
	Name   []byte
}

// Cell is one column of a tuple. Data points into the payload; it is nil unless Kind is Text or Binary.
type Cell struct {
	Kind byte
	Data []byte
}

// Row is what insert, update and delete carry. OldKind says what Old is.
type Row struct {
	Relation uint32
	OldKind  byte
	Old      []Cell
	New      []Cell
}

// Truncate names the tables that were emptied by one command.
type Truncate struct {
	Options   byte
	Relations []uint32
}

// Logical is a message written by pg_logical_emit_message.
type Logical struct {
	Transactional bool
	LSN           uint64
	Prefix        []byte
	Content       []byte
}

// StreamStart begins a block of changes of the transaction XID, which is in progress; StreamStop, which has no fields, ends it. First
// says that it is the transaction's first block.
type StreamStart struct {
	XID   uint32
	First bool
}

// StreamCommit ends a transaction that was streamed.
type StreamCommit struct {
	XID uint32
	Commit
}

// StreamAbort says that SubXID, a subtransaction of XID or XID itself, was rolled back.
type StreamAbort struct {
	XID    uint32
	SubXID uint32
}

// A Message holds the last decoded message: Kind says which of the other fields is set. It keeps its slices for the next
// Decode. The zero Message is ready to use.
type Message struct {
	Kind     Kind
	Begin    Begin
	Commit   Commit
	Origin   Origin
	Relation Relation
	Type     Type
	Row      Row
	Truncate Truncate
	Logical  Logical

	StreamStart  StreamStart
	StreamCommit StreamCommit
	StreamAbort  StreamAbort
}

// Error is a payload that is not a message of protocol version 1 or 2.
type Error struct {
	Kind   Kind // the payload's first byte, 0 if it is empty
	Offset int  // where in the payload it stopped making sense
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("pgoutput message %q, byte %d: %s", byte(e.Kind), e.Offset, e.Reason)
}

// Decode decodes one payload. On success cells, names of origins and types, prefix and content point into p. On an error
// the fields of m other than Kind are undefined; the error is an *Error.
func (m *Message) Decode(p []byte) error {
	if len(p) == 0 {
		return &Error{Reason: "empty"}
	}
	m.Kind = Kind(p[0])
	r := reader{p: p, off: 1}
	switch m.Kind {
	case KindBegin:
		m.Begin = Begin{FinalLSN: r.uint64(), CommitTime: int64(r.uint64()), XID: r.uint32()}
	case KindCommit:
		m.Commit = Commit{Flags: r.byte(), CommitLSN: r.uint64(), EndLSN: r.uint64(), CommitTime: int64(r.uint64())}
	case KindOrigin:
		m.Origin = Origin{CommitLSN: r.uint64(), Name: r.name()}
	case KindRelation:
		m.decodeRelation(&r)
	case KindType:
		m.Type = Type{OID: r.uint32(), Schema: r.name(), Name: r.name()}
	case KindInsert:
		m.Row.Relation, m.Row.OldKind, m.Row.Old = r.uint32(), NoOld, m.Row.Old[:0]
		r.expectNew()
		m.Row.New = r.tuple(m.Row.New[:0])
	case KindUpdate:
		m.decodeUpdate(&r)
	case KindDelete:
		m.Row.Relation, m.Row.New = r.uint32(), m.Row.New[:0]
		m.Row.OldKind = r.byte()
		if m.Row.OldKind != OldKey && m.Row.OldKind != OldFull {
			r.fail("old image is neither K nor O")
		}
		m.Row.Old = r.tuple(m.Row.Old[:0])
	case KindTruncate:
		m.decodeTruncate(&r)
	case KindMessage:
		m.Logical = Logical{Transactional: r.byte()&1 != 0, LSN: r.uint64(), Prefix: r.name()}
		m.Logical.Content = r.bytes(int(int32(r.uint32())))
	case KindStreamStart:
		m.StreamStart = StreamStart{XID: r.uint32(), First: r.byte()&1 != 0}
	case KindStreamStop:
	case KindStreamCommit:
		m.StreamCommit = StreamCommit{XID: r.uint32(), Commit: Commit{Flags: r.byte(), CommitLSN: r.uint64(), EndLSN: r.uint64(), CommitTime: int64(r.uint64())}}
	case KindStreamAbort:
		m.StreamAbort = StreamAbort{XID: r.uint32(), SubXID: r.uint32()}
	default:
		return &Error{Kind: m.Kind, Reason: "unknown kind"}
	}
	if r.reason == "" && r.off != len(p) {
		r.fail("bytes left over")
	}
	if r.reason != "" {
		return &Error{Kind: m.Kind, Offset: r.off, Reason: r.reason}
	}
	return nil
}

// Split takes apart a message of a block of a transaction in progress, whose payload has the number of the transaction or
// subtransaction after the kind: it appends the payload as it is outside of a block, for Decode, to dst. An origin has no number: its
// xid is 0. Messages that open, close or end a block are none of a block.
func Split(dst, p []byte) (xid uint32, message []byte, err error) {
	if len(p) == 0 {
		return 0, dst, &Error{Reason: "empty"}
	}
	switch k := Kind(p[0]); k {
	case KindOrigin:
		return 0, append(dst, p...), nil
	case KindRelation, KindType, KindInsert, KindUpdate, KindDelete, KindTruncate, KindMessage:
		if len(p) < 5 {
			return 0, dst, &Error{Kind: k, Offset: len(p), Reason: "ends early"}
		}
		return binary.BigEndian.Uint32(p[1:]), append(append(dst, p[0]), p[5:]...), nil
	default:
		return 0, dst, &Error{Kind: k, Reason: "not a message of a streamed block"}
	}
}

func (m *Message) decodeRelation(r *reader) {
	rel := &m.Relation
	rel.OID, rel.Schema, rel.Name, rel.Identity = r.uint32(), string(r.name()), string(r.name()), r.byte()
	n := int(r.uint16())
	rel.Columns = rel.Columns[:0]
	for range n {
		if r.reason != "" {
			return
		}
		rel.Columns = append(rel.Columns, Column{Key: r.byte()&1 != 0, Name: string(r.name()), TypeOID: r.uint32(),
			Modifier: int32(r.uint32())})
	}
}

func (m *Message) decodeUpdate(r *reader) {
	m.Row.Relation, m.Row.OldKind, m.Row.Old, m.Row.New = r.uint32(), NoOld, m.Row.Old[:0], m.Row.New[:0]
	switch k := r.peek(); k {
	case OldKey, OldFull:
		r.off++
		m.Row.OldKind = k
		m.Row.Old = r.tuple(m.Row.Old)
	}
	r.expectNew()
	m.Row.New = r.tuple(m.Row.New)
}

func (m *Message) decodeTruncate(r *reader) {
	n := int(r.uint32())
	m.Truncate.Options = r.byte()
	m.Truncate.Relations = m.Truncate.Relations[:0]
	if n != (len(r.p)-r.off)/4 {
		r.fail("number of relations does not fit the length")
		return
	}
	for range n {
		m.Truncate.Relations = append(m.Truncate.Relations, r.uint32())
	}
}

// reader takes fields from a payload. After the first failure all further fields are zero.
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

// bytes returns the next n bytes with their capacity cut, so that nobody can append into the payload.
func (r *reader) bytes(n int) []byte {
	if r.reason != "" || n < 0 || n > len(r.p)-r.off {
		r.fail("ends early")
		return nil
	}
	b := r.p[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

func (r *reader) peek() byte {
	if r.reason != "" || r.off >= len(r.p) {
		r.fail("ends early")
		return 0
	}
	return r.p[r.off]
}

func (r *reader) byte() byte {
	b := r.peek()
	if r.reason == "" {
		r.off++
	}
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
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

func (r *reader) expectNew() {
	if r.byte() != 'N' {
		r.fail("new image does not start with N")
	}
}

func (r *reader) tuple(cells []Cell) []Cell {
	n := int(r.uint16())
	if r.reason != "" {
		return cells
	}
	p, off := r.p, r.off
	for range n {
		if off >= len(p) {
			r.off = off
			r.fail("ends early")
			return cells
		}
		kind := p[off]
		off++
		switch kind {
		case Null, Unchanged:
			cells = append(cells, Cell{Kind: kind})
		case Text, Binary:
			if len(p)-off < 4 {
				r.off = off
				r.fail("ends early")
				return cells
			}
			length := binary.BigEndian.Uint32(p[off:])
			off += 4
			if uint64(length) > uint64(len(p)-off) {
				r.off = off
				r.fail("ends early")
				return cells
			}
			size := int(length)
			cells = append(cells, Cell{Kind: kind, Data: p[off : off+size : off+size]})
			off += size
		default:
			r.off = off - 1
			r.fail("unknown kind of cell")
			return cells
		}
	}
	r.off = off
	return cells
}
