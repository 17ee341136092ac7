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
	// Load marks a LOAD DATA INFILE in statement format.
	Load bool
}

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
)

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
	q.status(&status)
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
func (q *Query) status(r *reader) {
	for r.left() > 0 && r.reason == "" {
		switch r.byte() {
		case statusFlags2, statusAutoIncrement, statusMasterDataWritten:
			r.bytes(4)
		case statusSQLMode, statusTableMapForUpdate:
			r.bytes(8)
		case statusCatalog:
			r.bytes(int(r.byte()) + 1)
		case statusCharset:
			if b := r.bytes(6); b != nil {
				q.Client = binary.LittleEndian.Uint16(b)
			}
		case statusTimeZone, statusCatalogNZ:
			r.bytes(int(r.byte()))
		case statusTimeNames, statusCharsetDatabase:
			r.bytes(2)
		case statusInvoker:
			r.bytes(int(r.byte()))
			r.bytes(int(r.byte()))
		default:
			return
		}
	}
}
