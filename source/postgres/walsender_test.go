package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
)

// A walsender is a server without a database: it answers the catalog queries of a source by heart, and sends the WAL that it was
// given, cut where the test wants. Whatever a stream delivers over many connections must be what it delivers over one.
type walsender struct {
	*testing.T
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	wal     []piece
	cut     func(stream []byte, ends []int) int // of the next connection: how many bytes are sent; nil: all
	start   uint64                              // LSN of the position before all
	last    uint64                              // the last transaction, as events have it
	stored  uint64                              // LSN of the position that is stored
	extra   bool                                // the next connection begins with a transaction that was confirmed
	claimed uint64                              // the greatest flush LSN that we were told
}

// A piece is a message of the WAL. It is sent while the commit (or abort) of its transaction ends after where the stream starts.
type piece struct {
	lsn     uint64
	end     uint64 // of the transaction
	payload []byte // nil: a keepalive
}

func newWalsender(t *testing.T) *walsender {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &walsender{T: t, listener: l, start: 1000, last: lastXID}
	w.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() {
				defer conn.Close()
				if err := w.serve(conn); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) && !errors.As(err, new(*net.OpError)) {
					t.Errorf("walsender: %v", err)
				}
			})
		}
	})
	t.Cleanup(w.running.Wait)
	t.Cleanup(func() { l.Close() })
	return w
}

// open opens a source on the walsender.
func (w *walsender) open(pairs ...string) *Source {
	w.Helper()
	host, port, err := net.SplitHostPort(w.listener.Addr().String())
	if err != nil {
		w.Fatal(err)
	}
	props := map[string]string{"database.hostname": host, "database.port": port, "database.user": "u", "database.dbname": "d", "topic.prefix": "shop",
		"slot.name": "s", "publication.name": "p", "database.sslmode": "disable"}
	for i := 0; i < len(pairs); i += 2 {
		props[pairs[i]] = pairs[i+1]
	}
	s, err := open(w.Context(), source.Setup{Connector: "test", Props: props, Now: time.Now, Scratch: w.TempDir()})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.Errorf("close source: %v", err)
		}
	})
	return s
}

// serve speaks with one client.
func (w *walsender) serve(conn net.Conn) error {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return err
	}
	for _, m := range []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
		&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"}, &pgproto3.BackendKeyData{SecretKey: make([]byte, 4)}, &pgproto3.ReadyForQuery{TxStatus: 'I'}} {
		b.Send(m)
	}
	if err := b.Flush(); err != nil {
		return err
	}
	var asked answer
	for {
		msg, err := b.Receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.Parse:
			if asked, err = answerTo(m.Query); err != nil {
				return err
			}
			b.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Describe:
			b.Send(&pgproto3.ParameterDescription{ParameterOIDs: asked.parameters})
			b.Send(asked.description())
		case *pgproto3.Bind:
			asked.formats = slices.Clone(m.ResultFormatCodes)
			b.Send(&pgproto3.BindComplete{})
		case *pgproto3.Execute:
			if err := asked.send(b); err != nil {
				return err
			}
		case *pgproto3.Sync:
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			err = b.Flush()
		case *pgproto3.Query:
			if strings.HasPrefix(m.String, "START_REPLICATION") {
				return w.stream(conn, b, m.String)
			}
			if asked, err = answerTo(m.String); err != nil {
				return err
			}
			b.Send(asked.description())
			if err := asked.send(b); err != nil {
				return err
			}
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			err = b.Flush()
		case *pgproto3.Terminate:
			return nil
		default:
			return fmt.Errorf("a client sends %T", msg)
		}
		if err != nil {
			return err
		}
	}
}

// stream sends the WAL after the LSN of a START_REPLICATION command, up to the cut.
func (w *walsender) stream(conn net.Conn, b *pgproto3.Backend, command string) error {
	_, at, _ := strings.Cut(command, "LOGICAL ")
	at, _, _ = strings.Cut(at, " ")
	lsn, err := pglogrepl.ParseLSN(at)
	if err != nil {
		return err
	}
	b.Send(&pgproto3.CopyBothResponse{})
	if err := b.Flush(); err != nil {
		return err
	}
	w.mu.Lock()
	start := uint64(lsn)
	if w.extra { // as after a crash, when the slot went back and nobody said where to start
		before := uint64(0)
		for _, p := range w.wal {
			if p.payload != nil && p.end <= start && p.end > before {
				before = p.end
			}
		}
		if before > 0 {
			start = before - 1
		}
	}
	stream, ends := encodeWAL(w.wal, start)
	n := len(stream)
	if w.cut != nil {
		n = w.cut(stream, ends)
	}
	w.mu.Unlock()
	done := make(chan error, 1)
	w.running.Go(func() { done <- w.listen(b) })
	if _, err := conn.Write(stream[:n]); err != nil || n < len(stream) {
		conn.Close()
		<-done
		return nil
	}
	if err := <-done; err != nil {
		return err
	}
	b.Send(&pgproto3.CopyDone{})
	return b.Flush()
}

// listen takes status updates until the client ends the stream: what it says is durable must be stored. (Invariant 1)
func (w *walsender) listen(b *pgproto3.Backend) error {
	for {
		msg, err := b.Receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			w.mu.Lock()
			w.claimed = max(w.claimed, binary.BigEndian.Uint64(m.Data[9:]))
			if w.claimed > w.stored {
				w.Errorf("LSN %d is confirmed, and %d is stored", w.claimed, w.stored)
			}
			w.mu.Unlock()
		case *pgproto3.CopyDone:
			return nil
		default:
			return fmt.Errorf("a client sends %T in a stream", msg)
		}
	}
}

// encodeWAL writes the pieces of transactions that end after start as a server does, and where each message ends.
func encodeWAL(wal []piece, start uint64) (stream []byte, ends []int) {
	described := map[string]bool{} // outside of blocks a relation is sent once
	for i, p := range wal {
		if p.end <= start {
			continue
		}
		if len(p.payload) > 0 && p.payload[0] == 'R' {
			if described[string(p.payload)] {
				continue
			}
			described[string(p.payload)] = p.payload[1] == 0 && p.payload[2] == 0 && p.payload[3] == 0 && p.payload[4] <= 2
		}
		var d []byte
		if p.payload == nil {
			d = binary.BigEndian.AppendUint64([]byte{pglogrepl.PrimaryKeepaliveMessageByteID}, p.lsn)
			d = append(binary.BigEndian.AppendUint64(d, 0), byte(i%2)) // every other one wants an answer
		} else {
			d = binary.BigEndian.AppendUint64([]byte{pglogrepl.XLogDataByteID}, p.lsn)
			d = append(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(d, p.lsn), 0), p.payload...)
		}
		stream, _ = (&pgproto3.CopyData{Data: d}).Encode(stream) // fails only for a gigabyte
		ends = append(ends, len(stream))
	}
	return stream, ends
}

// An answer is the result of a query that a source asks.
type answer struct {
	query      string // a part of its text that no other has
	parameters []uint32
	types      []uint32
	rows       [][]any
	formats    []int16
}

func answerTo(query string) (answer, error) {
	const flag, number, long, text, texts, double = pgtype.BoolOID, pgtype.Int4OID, pgtype.Int8OID, pgtype.TextOID, pgtype.TextArrayOID, pgtype.Float8OID
	none := []uint32{text}
	for _, a := range []answer{
		{query: "IDENTIFY_SYSTEM", types: []uint32{text, number, text, text}, rows: [][]any{{"42", 1, "F/0", "d"}}},
		{query: "current_setting('wal_level')", types: []uint32{number, text, flag, text}, rows: [][]any{{150000, "logical", false, "UTF8"}}},
		{query: "SELECT pubviaroot", parameters: []uint32{text, flag}, types: []uint32{flag}, rows: [][]any{{false}}},
		{query: "WHERE c.relkind IN ('r', 'p')", parameters: []uint32{flag}, types: []uint32{pgtype.OIDOID, text, text, flag, text, flag, flag, flag, text, text},
			rows: [][]any{{uint32(1), "public", "a", false, "d", true, true, true, "", ""}, {uint32(2), "public", "b", false, "f", true, true, true, "", ""}}},
		{query: "FROM pg_publication p WHERE", parameters: none, types: []uint32{pgtype.OIDOID, text, text, long, long}, rows: [][]any{{uint32(9), "all", "{}", int64(5), int64(1)}}},
		{query: "SELECT EXISTS (SELECT FROM pg_publication", parameters: none, types: []uint32{flag, number}, rows: [][]any{{true, 150000}}},
		{query: "FROM pg_publication_tables", parameters: none, types: []uint32{pgtype.OIDOID, texts, text, pgtype.OIDOID, text},
			rows: [][]any{{uint32(1), nil, "", uint32(11), ""}, {uint32(2), nil, "", uint32(12), ""}}},
		{query: "FROM pg_replication_slots s", parameters: none, types: []uint32{text, text, text, number, text, text, text, flag, long},
			rows: [][]any{{"logical", "pgoutput", "d", 0, "0/1", "reserved", "", false, int64(0)}}},
		{query: "FROM pg_replication_slots,", parameters: none, types: []uint32{double, double, double}, rows: [][]any{{0.0, 0.0, 0.0}}},
		{query: "wal_sender_timeout", types: []uint32{long}, rows: [][]any{{int64(60000)}}},
		{query: "pg_current_snapshot", types: []uint32{text}, rows: [][]any{{"100000:100000:"}}},
		{query: "FROM pg_attribute a LEFT JOIN pg_attrdef", parameters: []uint32{pgtype.OIDOID}, types: []uint32{text, flag, text, text}, rows: [][]any{{"id", true, "", ""}, {"v", false, "", ""}}},
		{query: "SELECT i.indisprimary", parameters: []uint32{pgtype.OIDOID}, types: []uint32{flag, flag, texts}, rows: [][]any{{true, false, []string{"id"}}}},
		{query: "bool_or(c.relkind = 'p')", parameters: []uint32{pgtype.OIDOID}, types: []uint32{flag, text, text}, rows: [][]any{{false, "", ""}}},
		{query: "SELECT format_type(u.o, u.m)", parameters: []uint32{pgtype.OIDArrayOID, pgtype.Int4ArrayOID}, types: []uint32{text}, rows: [][]any{{"bigint"}, {"text"}}},
		{query: "FROM pg_type t JOIN", parameters: []uint32{pgtype.OIDArrayOID}, types: []uint32{pgtype.OIDOID, text, text, text, pgtype.OIDOID, pgtype.OIDOID, number, texts, text},
			rows: [][]any{{uint32(oidInt8), "int8", "bigint", "b", uint32(0), uint32(0), -1, []string{}, "pg_catalog"}, {uint32(25), "text", "text", "b", uint32(0), uint32(0), -1, []string{}, "pg_catalog"}}},
		{query: "-- ping", types: nil},
	} {
		if strings.Contains(query, a.query) {
			return a, nil
		}
	}
	return answer{}, fmt.Errorf("no answer to %s", query)
}

func (a *answer) description() *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{}
	for _, oid := range a.types {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte("c"), DataTypeOID: oid, DataTypeSize: -1, TypeModifier: -1})
	}
	return d
}

func (a *answer) send(b *pgproto3.Backend) error {
	types := pgtype.NewMap()
	for _, row := range a.rows {
		var values [][]byte
		for i, v := range row {
			format := int16(pgtype.TextFormatCode)
			if len(a.formats) > 0 {
				format = a.formats[i%len(a.formats)]
			}
			var text []byte
			if v != nil {
				var err error
				if text, err = types.Encode(a.types[i], format, v, []byte{}); err != nil {
					return err
				}
			}
			values = append(values, text)
		}
		b.Send(&pgproto3.DataRow{Values: values})
	}
	b.Send(&pgproto3.CommandComplete{CommandTag: fmt.Appendf(nil, "SELECT %d", len(a.rows))})
	return nil
}

// relationMessage describes relation oid with an id and a v.
func relationMessage(oid uint32, name string, identity byte) []byte {
	p := binary.BigEndian.AppendUint32([]byte{'R'}, oid)
	p = append(append(append(append(p, "public\x00"...), name...), 0, identity), 0, 2)
	for i, c := range []string{"id", "v"} {
		flag := byte(0)
		if i == 0 || identity == 'f' {
			flag = 1
		}
		p = append(append(append(p, flag), c...), 0)
		p = binary.BigEndian.AppendUint32(p, []uint32{oidInt8, 25}[i])
		p = binary.BigEndian.AppendUint32(p, 0xffffffff)
	}
	return p
}

// writeWAL makes transactions of rows of two relations, whole ones and ones in progress whose blocks stand between others, with
// subtransactions that are rolled back, keepalives wherever a server may send one, and some where they say nothing.
func writeWAL(rnd *rand.Rand, transactions int) (wal []piece) {
	lsn, id := uint64(1000), 0
	next := func() uint64 { lsn += 1 + rnd.Uint64N(40); return lsn }
	row := func() []byte {
		id++
		oid := byte(1 + rnd.IntN(2))
		key, v := strconv.Itoa(id), strings.Repeat("v", rnd.IntN(50))
		switch rnd.IntN(5) {
		case 0: // a change of key
			p := tuple([]byte{'U', 0, 0, 0, oid, map[byte]byte{1: 'K', 2: 'O'}[oid]}, strconv.Itoa(id-1), "old")
			return tuple(append(p, 'N'), key, v)
		case 1:
			return tuple([]byte{'U', 0, 0, 0, oid, 'N'}, key, v)
		case 2:
			return tuple([]byte{'D', 0, 0, 0, oid, map[byte]byte{1: 'K', 2: 'O'}[oid]}, key, v)
		case 3:
			return []byte{'T', 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 2}
		}
		return tuple([]byte{'I', 0, 0, 0, oid, 'N'}, key, v)
	}
	relations := [][]byte{relationMessage(1, "a", 'd'), relationMessage(2, "b", 'f')}
	type open struct {
		xid    uint32
		pieces []int // those of its pieces that are in wal
	}
	var progress []*open
	idle := func() {
		for range rnd.IntN(3) {
			wal = append(wal, piece{lsn: next(), end: lsn + 1})
		}
	}
	for x := range transactions {
		xid := uint32(100 + 10*x)
		idle()
		if rnd.IntN(3) == 0 {
			progress = append(progress, &open{xid: xid})
		}
		for _, o := range progress { // each has a block, more or less
			put := func(p []byte) {
				o.pieces = append(o.pieces, len(wal))
				wal = append(wal, piece{lsn: next(), payload: p})
			}
			if first := len(o.pieces) == 0; first || rnd.IntN(2) == 0 {
				put(streamStart(o.xid))
				if first {
					for _, r := range relations {
						put(within(o.xid, r))
					}
				}
				for range 1 + rnd.IntN(5) {
					put(within(o.xid+rnd.Uint32N(3), row()))
				}
				put([]byte{'E'})
			}
		}
		for len(progress) > 0 && rnd.IntN(2) == 0 { // the oldest comes to its end
			o := progress[0]
			progress = progress[1:]
			if rnd.IntN(2) == 0 {
				o.pieces = append(o.pieces, len(wal))
				wal = append(wal, piece{lsn: next(), payload: streamAbort(o.xid, o.xid+1+rnd.Uint32N(2))})
			}
			o.pieces = append(o.pieces, len(wal))
			final := next()
			end := next()
			last := streamCommit(o.xid, final, end)
			if rnd.IntN(4) == 0 {
				last = streamAbort(o.xid, o.xid)
			}
			wal = append(wal, piece{lsn: final, payload: last})
			for _, i := range o.pieces {
				wal[i].end = end
			}
			idle()
		}
		n := rnd.IntN(6)
		first := len(wal)
		wal = append(wal, piece{lsn: next()}) // the begin, when its commit is known
		for _, r := range relations {
			wal = append(wal, piece{lsn: lsn, payload: r})
		}
		for range n {
			if rnd.IntN(3) == 0 {
				wal = append(wal, piece{lsn: lsn + 1<<40}) // of no meaning inside of a transaction
			}
			wal = append(wal, piece{lsn: next(), payload: row()})
		}
		final := next()
		end := next()
		wal[first].payload = begin(final, xid+9)
		wal = append(wal, piece{lsn: final, payload: commit(final, end)})
		for i := first; i < len(wal); i++ {
			wal[i].end = end
		}
	}
	for _, o := range progress { // the server was stopped: nobody hears of them again
		for _, i := range o.pieces {
			wal[i].payload, wal[i].end = nil, 0
		}
	}
	wal = slices.DeleteFunc(wal, func(p piece) bool { return p.end == 0 })
	first, final, end := next(), next(), next()
	for _, p := range [][]byte{begin(final, lastXID), relations[0], tuple([]byte{'I', 0, 0, 0, 1, 'N'}, "-1", "last"), commit(final, end)} {
		wal = append(wal, piece{first, end, p})
	}
	return wal
}

// lastXID is the number of the last transaction that writeWAL makes.
const lastXID = 99

// drainWAL reads up to the transaction that is the last one and returns how each event looks. A batch that was read is stored whole with
// its position, as the log does; the rest of the WAL comes by connecting again.
func (w *walsender) drainWAL(s *Source, cut func(stream []byte, ends []int) int) (lines []string) {
	w.Helper()
	w.mu.Lock()
	w.cut, w.stored, w.claimed = cut, w.start, 0
	w.mu.Unlock()
	at := position{LSN: w.start, System: "42", Timeline: 1}.encode(nil)
	for done := false; !done; {
		st, err := s.Stream(w.Context(), at)
		if err != nil {
			w.Fatal(err)
		}
		for !done {
			var b change.Batch
			if st.Read(w.Context(), &b) != nil {
				break // the connection was cut
			}
			for i := range b.Events {
				e := &b.Events[i]
				lines = append(lines, fmt.Sprintf("%d.%d %s", e.Txn, e.Ordinal, show(e)))
				done = e.Txn == w.last
			}
			at = b.Resume
			pos, err := parsePosition(at)
			if err != nil {
				w.Fatal(err)
			}
			w.mu.Lock()
			w.stored = max(w.stored, pos.LSN)
			w.mu.Unlock()
			if err := st.Ack(w.Context(), at); err != nil {
				w.Fatal(err)
			}
		}
		if err := st.Close(); err != nil && !errors.As(err, new(*net.OpError)) {
			w.Fatal(err)
		}
	}
	return lines
}

// TestScriptedWalsender cuts the connection at every boundary of messages, and at random bytes again and again.
func TestScriptedWalsender(t *testing.T) {
	for seed := range uint64(2) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		w := newWalsender(t)
		w.wal = writeWAL(rnd, 10)
		s := w.open("max.batch.size", "3")
		w.cutEverywhere(s, rnd, 1, 200, w.drainWAL(s, nil))
	}
}

// cutEverywhere cuts the connection once after each message, of which step - 1 are passed over, and again and again at random bytes, so
// often at least as restarts says, or TAILRACE_RESTARTS. What is delivered must be want.
func (w *walsender) cutEverywhere(s *Source, rnd *rand.Rand, step, restarts int, want []string) {
	w.Helper()
	if text := os.Getenv("TAILRACE_RESTARTS"); text != "" {
		var err error
		if restarts, err = strconv.Atoi(text); err != nil {
			w.Fatal(err)
		}
	}
	_, ends := encodeWAL(w.wal, w.start)
	check := func(what string, cut func(stream []byte, ends []int) int) {
		w.Helper()
		if got := w.drainWAL(s, cut); !slices.Equal(got, want) {
			w.Fatalf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for i := 0; i < len(ends); i += step {
		first := true
		check(fmt.Sprintf("cut after message %d", i), func(stream []byte, _ []int) int {
			if first {
				first = false
				return ends[i]
			}
			return len(stream)
		})
	}
	for n := 0; n < restarts; {
		check("random cuts", func(stream []byte, ends []int) int { // mostly soon
			n++
			w.extra = rnd.IntN(3) == 0
			if rnd.IntN(10) == 0 {
				return len(stream)
			}
			return rnd.IntN(ends[rnd.IntN(1+rnd.IntN(len(ends)))] + 1)
		})
	}
	w.Logf("%d messages, %d events", len(ends), len(want))
}
