package binlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/tailrace/tailrace/internal/fault"
)

const (
	checksumSize = 4
	maxTableMaps = 1024 // kept beyond a statement's end, so that the same table's next map costs nothing
)

// A Decoder decodes the events of one log in their order. It is not safe for concurrent use. The zero Decoder is ready:
// it starts with a format description, as every dump and every file does.
type Decoder struct {
	format   *Format
	maps     map[uint64]*TableMap
	rowSizes [256]byte // post-header lengths by type, of the format
	inflate  inflater
	scratch  scratch
}

// Format returns the format description that is in force, nil before the first one.
func (d *Decoder) Format() *Format { return d.format }

// Decode decodes one whole event with its header, and its checksum if the log has them; the checksum is verified. An
// error is an *[Error], or permanent with a reason code: UNKNOWN_EVENT for a type that we don't know and that is not
// marked ignorable, PARTIAL_JSON for partial updates of JSON columns. After an error the fields of e other than Header
// are undefined; the Decoder may go on with the next event.
func (d *Decoder) Decode(p []byte, e *Event) error { return d.decode(p, e, true) }

// DecodeInner decodes an event from inside a [Payload]; these have no checksums.
func (d *Decoder) DecodeInner(p []byte, e *Event) error { return d.decode(p, e, false) }

func (d *Decoder) decode(p []byte, e *Event, outer bool) error {
	h, err := ParseHeader(p)
	e.Header, e.Kind = h, KindIgnored
	if err != nil {
		return err
	}
	r := reader{p: p, off: HeaderSize}
	if outer {
		r.fail(d.checksum(p, &r, h))
	}
	if r.reason == "" {
		err = d.body(e, &r)
	}
	if err == nil && r.reason != "" {
		err = &Error{Type: h.Type, End: h.End, Offset: r.off, Reason: r.reason}
	}
	return err
}

// checksum verifies the event's checksum and cuts it off. It returns what is wrong.
func (d *Decoder) checksum(p []byte, r *reader, h Header) string {
	switch {
	case h.Type == TypeFormat:
		return "" // says itself whether it has one
	case d.format == nil && h.Type == TypeRotate:
		// The first event of a dump comes before the format: it has a checksum if the server writes them.
		if r.left() >= checksumSize && checksumOf(p) == binary.LittleEndian.Uint32(p[len(p)-checksumSize:]) {
			r.p = r.p[:len(r.p)-checksumSize]
		}
		return ""
	case d.format == nil:
		return "comes before a format description"
	case !d.format.Checksums:
		return ""
	case r.left() < checksumSize:
		return "too short for its checksum"
	case checksumOf(p) != binary.LittleEndian.Uint32(p[len(p)-checksumSize:]):
		return "the checksum does not match: the event is damaged"
	}
	r.p = r.p[: len(r.p)-checksumSize : len(r.p)-checksumSize]
	return ""
}

func checksumOf(p []byte) uint32 { return crc32.ChecksumIEEE(p[:len(p)-checksumSize]) }

// body decodes what stands behind the header.
func (d *Decoder) body(e *Event, r *reader) error {
	switch t := e.Header.Type; t {
	case TypeTableMap:
		return d.tableMap(e, r)
	case TypeWriteRowsV1, TypeUpdateRowsV1, TypeDeleteRowsV1, TypeWriteRows, TypeUpdateRows, TypeDeleteRows,
		TypeWriteRowsCompressedV1, TypeUpdateRowsCompressedV1, TypeDeleteRowsCompressedV1,
		TypeWriteRowsCompressed, TypeUpdateRowsCompressed, TypeDeleteRowsCompressed, TypePartialUpdateRows:
		return d.rows(e, r)
	case TypeXID:
		e.Kind, e.XID = KindXID, r.uint64()
	case TypeQuery, TypeQueryCompressed, TypeExecuteLoadQuery:
		e.Kind = KindQuery
		d.query(&e.Query, t, r)
	case TypeFormat:
		e.Kind = KindFormat
		d.formatDescription(e, r)
	case TypePayload:
		e.Kind = KindPayload
		d.payload(&e.Payload, r)
	default:
		return d.control(e, r)
	}
	return nil
}

// control decodes the events that tell where we are, not what happened to rows.
func (d *Decoder) control(e *Event, r *reader) error {
	switch t := e.Header.Type; t {
	case TypeRotate:
		e.Kind, e.Rotate = KindRotate, Rotate{Position: r.uint64(), File: r.rest()}
	case TypeHeartbeat:
		e.Kind, e.Rotate = KindHeartbeat, Rotate{Position: uint64(e.Header.End), File: r.rest()}
	case TypeHeartbeatV2:
		e.Kind = KindHeartbeat
		e.Rotate = heartbeat(r)
	case TypeGTID, TypeAnonymousGTID:
		e.Kind = KindGTID
		if t == TypeAnonymousGTID {
			e.Kind = KindAnonymousGTID
		}
		e.GTID.decode(r)
	case TypeGTIDTagged:
		e.Kind = KindGTID
		e.GTID.decodeTagged(r)
	case TypeMariaGTID:
		e.Kind = KindMariaGTID
		e.MariaGTID.decode(r, e.Header.ServerID)
	case TypeGTIDList:
		e.Kind, e.GTIDList = KindGTIDList, gtidList(r, e.GTIDList[:0])
	case TypePreviousGTIDs:
		e.Kind, e.PreviousGTIDs = KindPreviousGTIDs, previousGTIDs(r, e.PreviousGTIDs[:0])
	case TypeRowsQuery:
		r.byte() // a length of one byte, wrong for longer statements
		e.Kind, e.Statement = KindRowsQuery, r.rest()
	case TypeAnnotateRows:
		e.Kind, e.Statement = KindRowsQuery, r.rest()
	case TypeXAPrepare:
		e.Kind = KindXAPrepare
		e.XA.decode(r)
	case TypeIncident:
		e.Kind = KindIncident
		e.Incident = Incident{Number: r.uint16(), Message: r.bytes(int(r.byte()))}
	case TypeStartEncryption:
		e.Kind = KindStartEncryption
	case TypeStop:
		e.Kind = KindStop
	case TypeIntvar, TypeRand, TypeUserVar, TypeAppendBlock, TypeDeleteFile, TypeBeginLoadQuery:
		e.Kind = KindStatement
	case TypeIgnorable, TypeTransactionContext, TypeViewChange, TypeBinlogCheckpoint:
		e.Kind = KindIgnored
	default:
		if e.Header.Flags&FlagIgnorable != 0 {
			return nil
		}
		return fault.Permanentf("UNKNOWN_EVENT", "upgrade Tailrace, or turn off the server's feature that writes such events",
			"binlog event of unknown type %d that ends at %d", t, e.Header.End)
	}
	return nil
}

// tableMap decodes a table map, or finds that it is the one that it knows under this number.
func (d *Decoder) tableMap(e *Event, r *reader) error {
	e.Kind, e.TableMap = KindTableMap, nil
	id := r.uintN(d.tableIDSize(TypeTableMap))
	body := r.p[r.off:]
	if m := d.maps[id]; m != nil && bytes.Equal(m.raw, body) {
		e.TableMap = m
		return nil
	}
	m := &TableMap{ID: id, raw: bytes.Clone(body), format: Format{}}
	if d.format != nil { // the events of a payload come without one
		m.format = *d.format
	}
	own := reader{p: m.raw} // what the map keeps must outlive the event
	m.decode(&own)
	r.off, r.reason = r.off+own.off, own.reason
	if r.reason != "" {
		return nil // decode makes the error
	}
	if d.maps == nil {
		d.maps = map[uint64]*TableMap{}
	}
	d.maps[id], e.TableMap = m, m
	return nil
}

func (d *Decoder) tableIDSize(t EventType) int {
	if d.rowSizes[t] == 6 {
		return 4
	}
	return 6
}
