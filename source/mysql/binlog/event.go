package binlog

import "fmt"

// EventType is the type number in an event's header.
type EventType uint8

// The types of events that are decoded. Numbers from 160 on are MariaDB's.
const (
	TypeUnknown            EventType = 0
	TypeQuery              EventType = 2
	TypeStop               EventType = 3
	TypeRotate             EventType = 4
	TypeIntvar             EventType = 5
	TypeAppendBlock        EventType = 9
	TypeDeleteFile         EventType = 11
	TypeRand               EventType = 13
	TypeUserVar            EventType = 14
	TypeFormat             EventType = 15
	TypeXID                EventType = 16
	TypeBeginLoadQuery     EventType = 17
	TypeExecuteLoadQuery   EventType = 18
	TypeTableMap           EventType = 19
	TypeWriteRowsV1        EventType = 23
	TypeUpdateRowsV1       EventType = 24
	TypeDeleteRowsV1       EventType = 25
	TypeIncident           EventType = 26
	TypeHeartbeat          EventType = 27
	TypeIgnorable          EventType = 28
	TypeRowsQuery          EventType = 29
	TypeWriteRows          EventType = 30
	TypeUpdateRows         EventType = 31
	TypeDeleteRows         EventType = 32
	TypeGTID               EventType = 33
	TypeAnonymousGTID      EventType = 34
	TypePreviousGTIDs      EventType = 35
	TypeTransactionContext EventType = 36
	TypeViewChange         EventType = 37
	TypeXAPrepare          EventType = 38
	TypePartialUpdateRows  EventType = 39
	TypePayload            EventType = 40
	TypeHeartbeatV2        EventType = 41
	TypeGTIDTagged         EventType = 42

	TypeAnnotateRows           EventType = 160
	TypeBinlogCheckpoint       EventType = 161
	TypeMariaGTID              EventType = 162
	TypeGTIDList               EventType = 163
	TypeStartEncryption        EventType = 164
	TypeQueryCompressed        EventType = 165
	TypeWriteRowsCompressedV1  EventType = 166
	TypeUpdateRowsCompressedV1 EventType = 167
	TypeDeleteRowsCompressedV1 EventType = 168
	TypeWriteRowsCompressed    EventType = 169
	TypeUpdateRowsCompressed   EventType = 170
	TypeDeleteRowsCompressed   EventType = 171
)

// Flags of an event's header.
const (
	FlagInUse      = 0x0001 // on a format description: the file was not closed
	FlagArtificial = 0x0020 // made for this connection, not in the file
	FlagIgnorable  = 0x0080 // a replica that does not know the type may skip the event
)

// Kind says what an event is, whatever its version, compression and dialect, and with it which field of an [Event] is
// set.
type Kind uint8

const (
	KindIgnored         Kind = iota // known and without meaning for a reader of rows, or unknown and marked ignorable
	KindFormat                      // Event.Format
	KindRotate                      // Event.Rotate: the log goes on in another file
	KindQuery                       // Event.Query: BEGIN, COMMIT, DDL, a statement in statement format
	KindXID                         // Event.XID: commit of a transaction
	KindTableMap                    // Event.TableMap
	KindRows                        // Event.Rows
	KindGTID                        // Event.GTID: MySQL, tagged or not
	KindAnonymousGTID               // Event.GTID without SID and GNO
	KindMariaGTID                   // Event.MariaGTID; it starts a transaction, MariaDB sends no BEGIN
	KindGTIDList                    // Event.GTIDList: MariaDB, at the start of a file
	KindPreviousGTIDs               // Event.PreviousGTIDs: MySQL, at the start of a file
	KindHeartbeat                   // Event.Rotate: where the server is; not in the file
	KindRowsQuery                   // Event.Statement: the text behind the row events that follow
	KindXAPrepare                   // Event.XA: the transaction ends here, prepared or committed in one phase
	KindIncident                    // Event.Incident: the log lacks something
	KindPayload                     // Event.Payload: a compressed transaction
	KindStop                        // the server shut down; the log goes on in another file
	KindStartEncryption             // the file is encrypted; a dump sends it decrypted
	KindStatement                   // context of a statement in statement format: INTVAR, RAND, USER_VAR, LOAD DATA blocks
)

// HeaderSize is the size of an event's header in bytes.
const HeaderSize = 19

// Header starts every event.
type Header struct {
	Timestamp uint32 // seconds since the Unix epoch, when the statement began; 0 for events made for this connection
	Type      EventType
	ServerID  uint32
	Size      uint32 // of the whole event with header and checksum
	End       uint32 // position of the next event in the file, modulo 2^32; 0 where the server does not know it
	Flags     uint16
}

// An Event holds one decoded event: Kind says which of the other fields is set. It is reused for the next one: byte
// slices point into the bytes it was decoded from or into the Decoder's memory, and are valid until the next Decode.
// TableMap and Format may be kept.
type Event struct {
	Header        Header
	Kind          Kind
	Format        *Format
	Rotate        Rotate
	Query         Query
	XID           uint64
	TableMap      *TableMap
	Rows          Rows
	GTID          GTID
	MariaGTID     MariaGTID
	GTIDList      []MariaGTID // Domain, Server and Sequence only
	PreviousGTIDs []GTIDRange
	Statement     []byte
	XA            XA
	Incident      Incident
	Payload       Payload
}

// Error is an event that is malformed, or that this Decoder cannot read in its state.
type Error struct {
	Type   EventType
	End    uint32 // the end position in the event's header, 0 if it has none
	Offset int    // where in the event (for rows: in the rows' bytes) it stopped making sense
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("binlog event of type %d that ends at %d, byte %d: %s", e.Type, e.End, e.Offset, e.Reason)
}

// ParseHeader decodes the header of the event in p, which must be whole.
func ParseHeader(p []byte) (Header, error) {
	if len(p) < HeaderSize {
		return Header{}, &Error{Offset: len(p), Reason: "shorter than an event header"}
	}
	r := reader{p: p}
	h := Header{Timestamp: r.uint32(), Type: EventType(r.byte()), ServerID: r.uint32(), Size: r.uint32(), End: r.uint32(),
		Flags: r.uint16()}
	if uint64(h.Size) != uint64(len(p)) {
		return h, &Error{Type: h.Type, End: h.End, Offset: 9, Reason: fmt.Sprintf("the header says %d bytes, there are %d", h.Size, len(p))}
	}
	return h, nil
}
