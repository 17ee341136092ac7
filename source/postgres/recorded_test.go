package postgres

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tailrace/tailrace/internal/servers"
)

var record = flag.Bool("update", false, "record testdata/walsender anew")

// TestRecordedWalsender replays what real servers have sent, cut as TestScriptedWalsender cuts what is made up. The events of an
// undisturbed run stand in the recording.
func TestRecordedWalsender(t *testing.T) {
	for _, name := range []string{"postgres15", "postgres18"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "walsender", name)
			w := newWalsender(t)
			s := w.open("max.batch.size", "50")
			if *record {
				w.recordWAL(newDBAt(t, servers.Need(t, name), ""))
				if err := os.WriteFile(file, w.recording(w.drainWAL(s, nil)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := w.parseRecording(string(text))
			if got := w.drainWAL(s, nil); !slices.Equal(got, want) {
				t.Fatalf("undisturbed: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			w.cutEverywhere(s, rand.New(rand.NewPCG(1, 5)), 41, 40, want)
		})
	}
}

// recording writes a line for the whole, one for each message, and one for each event.
func (w *walsender) recording(events []string) []byte {
	b := fmt.Appendf(nil, "start %d last %d\n", w.start, w.last)
	for _, p := range w.wal {
		b = fmt.Appendf(b, "%d %d %s\n", p.lsn, p.end, hex.EncodeToString(p.payload))
	}
	return append(append(b, '\n'), strings.Join(events, "\n")+"\n"...)
}

func (w *walsender) parseRecording(text string) (events []string) {
	w.Helper()
	messages, rest, _ := strings.Cut(text, "\n\n")
	head, messages, _ := strings.Cut(messages, "\n")
	if _, err := fmt.Sscanf(head, "start %d last %d", &w.start, &w.last); err != nil {
		w.Fatal(err)
	}
	w.wal = nil
	for line := range strings.SplitSeq(messages, "\n") {
		f := strings.Split(line, " ")
		lsn, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			w.Fatal(err)
		}
		p := piece{lsn: lsn}
		if p.end, err = strconv.ParseUint(f[1], 10, 64); err != nil {
			w.Fatal(err)
		}
		if f[2] != "" {
			if p.payload, err = hex.DecodeString(f[2]); err != nil {
				w.Fatal(err)
			}
		}
		w.wal = append(w.wal, p)
	}
	return strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
}

// recordWAL lets a real server send transactions of the two tables of the walsender: small ones, and large ones that are streamed while
// they are in progress, beside each other, with subtransactions that are rolled back, one of them as a whole.
func (w *walsender) recordWAL(d *testDB) {
	w.Helper()
	d.exec("CREATE TABLE a (id bigint PRIMARY KEY, v text); CREATE TABLE b (id bigint PRIMARY KEY, v text); ALTER TABLE b REPLICA IDENTITY FULL; CREATE PUBLICATION p FOR TABLE a, b")
	set, problems := parse(d.props())
	if len(problems) > 0 {
		w.Fatal(problems)
	}
	conn, err := dialReplication(w.Context(), set, "test")
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(w.Context()))
	if _, err := conn.Exec(w.Context(), "SET logical_decoding_work_mem = '64kB'").ReadAll(); err != nil {
		w.Fatal(err)
	}
	slot, err := pglogrepl.CreateReplicationSlot(w.Context(), conn, d.slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{Temporary: true})
	if err != nil {
		w.Fatal(err)
	}
	start, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		w.Fatal(err)
	}
	w.start = uint64(start)
	other := d.connect(d.name)
	defer mustClose(d.T, other)
	large := func(first int) string {
		return fmt.Sprintf("INSERT INTO a SELECT g, 'v' FROM generate_series(%d, %d) g", first, first+350)
	}
	for _, step := range []struct {
		other bool
		sql   string
	}{{false, "INSERT INTO a VALUES (1, 'one'), (2, NULL)"}, {false, "INSERT INTO b VALUES (1, 'one'), (2, 'two')"}, {false, "BEGIN"}, {true, "BEGIN"}, {false, large(1000)}, {true, large(2000)},
		{false, "SAVEPOINT s"}, {false, large(3000)}, {false, "ROLLBACK TO SAVEPOINT s"}, {true, "SAVEPOINT t"}, {true, "UPDATE b SET v = 'three'"}, {true, "RELEASE SAVEPOINT t"}, {true, large(4000)},
		{false, "UPDATE a SET id = 3 WHERE id = 2"}, {false, large(5000)}, {false, "COMMIT"}, {true, "DELETE FROM b WHERE id = 1"}, {true, "COMMIT"},
		{false, "BEGIN"}, {false, large(6000)}, {false, large(7000)}, {false, "ROLLBACK"}, {false, "TRUNCATE b"}, {false, "UPDATE a SET v = 'x' WHERE id = 1; DELETE FROM a WHERE id = 3"},
		{false, "INSERT INTO a VALUES (-1, 'last')"}} {
		if step.other {
			mustExec(d.T, other, step.sql)
		} else {
			d.exec(step.sql)
		}
	}
	if err := pglogrepl.StartReplication(w.Context(), conn, d.slot, start, pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '2'", "streaming 'on'", "publication_names 'p'"}}); err != nil {
		w.Fatal(err)
	}
	a, err := strconv.ParseUint(d.text("SELECT 'a'::regclass::oid::text"), 10, 32)
	if err != nil {
		w.Fatal(err)
	}
	r := recorder{a: uint32(a), open: map[uint32][]int{}}
	for !r.over {
		msg, err := conn.ReceiveMessage(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if data, ok := msg.(*pgproto3.CopyData); ok {
			if err := r.add(slices.Clone(data.Data)); err != nil {
				w.Fatal(err)
			}
		}
	}
	w.wal, w.last = r.wal, uint64(r.xid)
}

// recorder makes pieces of what a server sends.
type recorder struct {
	a         uint32           // oid of table a
	wal       []piece          //
	relations [][]byte         // as the server last described them
	xid       uint32           // of the transaction that is being sent
	first     int              // of its pieces
	streamed  uint32           // of the block that is being sent, 0: none
	open      map[uint32][]int // pieces of those in progress
	row       []byte           // the last row
	over      bool
}

// add takes a message of a server.
func (r *recorder) add(data []byte) error {
	if data[0] == pglogrepl.PrimaryKeepaliveMessageByteID {
		lsn := binary.BigEndian.Uint64(data[1:])
		r.wal = append(r.wal, piece{lsn: lsn, end: lsn + 1})
		return nil
	}
	x, err := pglogrepl.ParseXLogData(data[1:])
	if err != nil {
		return err
	}
	p := x.WALData
	at := len(r.wal)
	r.wal = append(r.wal, piece{lsn: uint64(x.WALStart), payload: p})
	body := p[1:]
	switch p[0] {
	case 'B':
		r.xid, r.first = binary.BigEndian.Uint32(body[16:]), at
		for _, relation := range r.relations { // a server that is asked to begin here would describe them
			r.wal = append(r.wal, piece{lsn: uint64(x.WALStart), payload: relation})
		}
	case 'C':
		end := binary.BigEndian.Uint64(body[9:])
		for i := r.first; i < len(r.wal); i++ {
			r.wal[i].end = end
		}
		r.over = strings.HasSuffix(string(r.row), "last")
	case 'S':
		r.streamed = binary.BigEndian.Uint32(body)
		r.open[r.streamed] = append(r.open[r.streamed], at)
	case 'E':
		r.open[r.streamed] = append(r.open[r.streamed], at)
		r.streamed = 0
	case 'c':
		r.close(binary.BigEndian.Uint32(body), at, binary.BigEndian.Uint64(body[13:]))
	case 'A':
		xid, sub := binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
		if r.open[xid] = append(r.open[xid], at); xid == sub {
			r.close(xid, at, uint64(x.WALStart)+1)
		}
	default:
		if r.streamed != 0 {
			r.open[r.streamed] = append(r.open[r.streamed], at)
			body = body[4:]
		}
		r.rename(p[0], body)
		if p[0] == 'R' && r.streamed == 0 {
			r.relations = append(r.relations, p)
		}
		r.row = p
	}
	return nil
}

func (r *recorder) close(xid uint32, at int, end uint64) {
	for _, i := range append(r.open[xid], at) {
		r.wal[i].end = end
	}
	delete(r.open, xid)
}

// rename gives the tables the oids that they have in the walsender's catalog.
func (r *recorder) rename(kind byte, body []byte) {
	switch kind {
	case 'T':
		body = body[5:]
	case 'R', 'I', 'U', 'D':
	default:
		return
	}
	oid := uint32(2)
	if binary.BigEndian.Uint32(body) == r.a {
		oid = 1
	}
	binary.BigEndian.PutUint32(body, oid)
}
