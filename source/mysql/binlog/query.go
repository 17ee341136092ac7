package binlog

import "encoding/binary"

// Query is a statement: BEGIN and COMMIT around rows, DDL, or a change in statement format.
type Query struct {
	Thread uint32
	// Error is the error that the statement ended with on the server; not 0 only for statements that changed something
	// before they failed.
	Error     uint16
	Schema    []byte // the default database, empty if none; in UTF-8
	Statement []byte // in the charset Client
	// Client is the collation id of the connection's character_set_client, 0 if the event does not say. See [Charset].
	Client uint16
	// Server is the collation id of the session's collation_server, 0 if the event does not say: what databases get by
	// default.
	Server  uint16
	SQLMode uint64 // bits of the session's sql_mode, see ModeANSIQuotes
	// ImplicitTimestamps says that the session had explicit_defaults_for_timestamp = OFF, under which TIMESTAMP columns are
	// NOT NULL by default.
	ImplicitTimestamps bool
	// Load marks a LOAD DATA INFILE in statement format.
	Load bool
}

// Bits of SQLMode that change how a statement is read.
const (
	ModeANSIQuotes         = 1 << 2
	ModeNoBackslashEscapes = 1 << 20
)

// Codes of status variables with their sizes. Variables that we need or that have no fixed size are decoded apart.
const (
	statusFlags2            = 0
	statusSQLMode           = 1
	statusCatalog           = 2
	statusAutoIncrement     = 3
	statusCharset           = 4
	statusTimeZone          = 5
	statusCatalogNZ         = 6
	statusTimeNames         = 7
	statusCharsetDatabase   = 8
	statusTableMapForUpdate = 9
	statusMasterDataWritten = 10
	statusInvoker           = 11
	statusUpdatedDatabases  = 12
	statusMicroseconds      = 13
	statusExplicitTimestamp = 16  // MySQL
	statusMariaNow          = 128 // MariaDB
)

// mariaExplicitTimestamps is the bit of MariaDB's flags for explicit_defaults_for_timestamp.
const mariaExplicitTimestamps = 1 << 24

// query decodes QUERY events, MariaDB's compressed ones, and EXECUTE_LOAD_QUERY, whose fixed part is longer.
func (d *Decoder) query(q *Query, t EventType, r *reader) {
	*q = Query{Thread: r.uint32()}
	r.uint32() // seconds that it took
	schema := int(r.byte())
	q.Error = r.uint16()
	status := reader{p: r.bytes(int(r.uint16()))}
	if t == TypeExecuteLoadQuery {
		q.Load = true
		r.bytes(13) // file id, where its name stands in the statement, what to do with duplicates
	}
	q.Schema = r.lengthName(schema)
	q.status(&status, d.format != nil && d.format.MariaDB)
	q.Statement = r.rest()
	if t == TypeQueryCompressed && r.reason == "" {
		var reason string
		if q.Statement, reason = d.inflate.expand(q.Statement, d.scratch.take()); reason != "" {
			r.fail(reason)
			return
		}
		d.scratch.keep(q.Statement)
	}
}

// status reads status variables as far as it knows them: behind an unknown one nothing can be read, as on a replica.
func (q *Query) status(r *reader, maria bool) {
	for r.left() > 0 && r.reason == "" {
		switch r.byte() {
		case statusFlags2:
			q.ImplicitTimestamps = r.uint32()&mariaExplicitTimestamps == 0 && maria
		case statusAutoIncrement, statusMasterDataWritten:
			r.bytes(4)
		case statusSQLMode:
			q.SQLMode = r.uint64()
		case statusTableMapForUpdate:
			r.bytes(8)
		case statusCatalog:
			r.bytes(int(r.byte()) + 1)
		case statusCharset:
			if b := r.bytes(6); b != nil {
				q.Client, q.Server = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[4:])
			}
		case statusTimeZone, statusCatalogNZ:
			r.bytes(int(r.byte()))
		case statusTimeNames, statusCharsetDatabase:
			r.bytes(2)
		case statusInvoker:
			r.bytes(int(r.byte()))
			r.bytes(int(r.byte()))
		case statusUpdatedDatabases:
			const tooMany = 254
			if n := int(r.byte()); n != tooMany {
				for range n {
					r.name()
				}
			}
		case statusMicroseconds, statusMariaNow:
			r.bytes(3)
		case statusExplicitTimestamp:
			q.ImplicitTimestamps = r.byte() == 0
		default:
			return
		}
	}
}
