package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// within puts the number of a subtransaction after the kind of a message, as in a block.
func within(xid uint32, p []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{p[0]}, xid), p[1:]...)
}

func streamStart(xid uint32) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{'S'}, xid), 1)
}

func streamAbort(xid, sub uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{'A'}, xid), sub)
}

func streamCommit(xid uint32, final, end uint64) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{'c'}, xid), commit(final, end)[1:]...)
}

// Many transactions in progress at once, in blocks, with subtransactions that are rolled back: what is played back is what a list
// in memory holds, whatever is in files.
func TestSpool(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		s := newSpool(dir)
		s.budget = 1 + rnd.IntN(5000)
		type record struct {
			xid, sub uint32
			lsn      uint64
			payload  []byte
		}
		var all []record
		gone := map[uint32]bool{}
		for i := range 1 + rnd.IntN(2000) {
			xid := 100 * (1 + rnd.Uint32N(4))
			sub := xid + rnd.Uint32N(6)
			if rnd.IntN(50) == 0 && sub != xid {
				if err := s.abort(xid, sub); err != nil {
					t.Fatal(err)
				}
				gone[sub] = true
				continue
			}
			if gone[sub] {
				continue
			}
			p := append([]byte{'I'}, bytes.Repeat([]byte{byte(i)}, rnd.IntN(300))...)
			if err := s.add(xid, uint64(i), within(sub, p)); err != nil {
				t.Fatal(err)
			}
			all = append(all, record{xid, sub, uint64(i), p})
			if s.held > s.budget {
				t.Fatalf("%d bytes in memory with a budget of %d", s.held, s.budget)
			}
		}
		if err := s.abort(400, 400); err != nil {
			t.Fatal(err)
		}
		for _, xid := range []uint32{200, 100, 300, 400} {
			play := s.take(xid)
			for _, r := range all {
				if r.xid != xid || gone[r.sub] || xid == 400 {
					continue
				}
				lsn, payload, err := play.next()
				if err != nil || lsn != r.lsn || !bytes.Equal(payload, r.payload) {
					t.Fatalf("seed %d, transaction %d: LSN %d, %d bytes, %v; want LSN %d, %d bytes", seed, xid, lsn, len(payload), err, r.lsn, len(r.payload))
				}
			}
			for range 2 {
				if _, payload, err := play.next(); payload != nil || err != nil {
					t.Fatalf("more after the end: %v", err)
				}
			}
			if err := play.t.close(); err != nil {
				t.Fatal(err)
			}
		}
		if s.held != 0 || len(s.open) != 0 || s.kept.Load() != 0 {
			t.Fatalf("%d bytes (%d) and %d transactions are left", s.held, s.kept.Load(), len(s.open))
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Fatalf("files with names: %v, %v", files, err)
		}
	}
}

// A record larger than what is read at once comes back whole, and a full disk is an error.
func TestSpoolLargeRecordAndFailure(t *testing.T) {
	s := newSpool(t.TempDir())
	large := append([]byte{'I'}, bytes.Repeat([]byte("x"), 3*spoolRead)...)
	for i := range 6 {
		if err := s.add(1, uint64(i), within(1, large)); err != nil {
			t.Fatal(err)
		}
	}
	play := s.take(1)
	for i := range 6 {
		if lsn, payload, err := play.next(); err != nil || lsn != uint64(i) || !bytes.Equal(payload, large) {
			t.Fatalf("record %d: LSN %d, %d bytes, %v", i, lsn, len(payload), err)
		}
	}
	if err := play.t.close(); err != nil {
		t.Fatal(err)
	}
	s = newSpool(t.TempDir() + "/missing")
	s.budget = 10
	if err := s.add(1, 1, within(1, insert())); err == nil {
		t.Error("a file in a directory that does not exist")
	}
}

// Blocks of transactions in progress give the events and positions that the same transactions give whole, wherever a resume begins.
func TestBlocksAreLikeWholeTransactions(t *testing.T) {
	blocks := [][]byte{
		streamStart(1), within(1, insert()), within(2, insert()), {'E'},
		begin(50, 9), insert(), commit(50, 60),
		streamStart(5), within(5, insert()), within(5, insert()), {'E'},
		streamStart(1), within(3, update()), within(1, update()), {'E'},
		streamAbort(1, 2),
		streamCommit(5, 100, 110), streamAbort(7, 7), streamStart(7), within(7, insert()), {'E'}, streamAbort(7, 7),
		streamCommit(1, 120, 130),
	}
	whole := [][]byte{begin(50, 9), insert(), commit(50, 60), begin(100, 5), insert(), insert(), commit(100, 110),
		begin(120, 1), insert(), update(), update(), commit(120, 130)}
	run := func(from position, messages [][]byte, max int) (events []string, resumes []position) {
		s := offline(t)
		s.src.settings.MaxBatch = max
		s.pos = from
		s.spool.budget = 64
		for _, m := range messages {
			s.queue.Put(7, m, endsTransaction(m))
		}
		for full := true; full; {
			var b change.Batch
			var err error
			if full, err = s.drain(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			for _, e := range b.Events {
				events = append(events, fmt.Sprintf("%c %d.%d %d", e.Op, e.Txn, e.Ordinal, e.PrevLSN))
			}
			resumes = append(resumes, s.pos)
		}
		return events, resumes
	}
	events, resumes := run(position{LSN: 10}, whole, 1)
	if got, gotResumes := run(position{LSN: 10}, blocks, 1); !slices.Equal(got, events) || !slices.Equal(slices.Compact(gotResumes), slices.Compact(resumes)) {
		t.Errorf("got %q at %v, want %q at %v", got, gotResumes, events, resumes)
	}
	for _, at := range resumes {
		want, _ := run(at, whole, 100)
		if got, _ := run(at, blocks, 100); !slices.Equal(got, want) {
			t.Errorf("from %+v: got %q, want %q", at, got, want)
		}
	}
	for _, wrong := range [][][]byte{{streamStart(1), begin(1, 1)}, {streamStart(1), within(1, insert())[:3]}, {begin(1, 1), streamStart(1)}} {
		s := offline(t)
		for _, m := range wrong {
			s.queue.Put(7, m, endsTransaction(m))
		}
		var b change.Batch
		if _, err := s.drain(t.Context(), &b); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestSpoolWithDatabase(t *testing.T) { eachServer(t, testSpoolWithDatabase) }

func testSpoolWithDatabase(t *testing.T) {
	settings := "ALTER DATABASE %s SET logical_decoding_work_mem = '64kB'"
	t.Run("case19_streamed_with_savepoints", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
		d.exec(fmt.Sprintf(settings, ident(d.name)))
		p := d.stream(nil)
		p.read()
		start := p.resume
		if err := d.conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.conn = d.connect(d.name)
		d.exec(`BEGIN; INSERT INTO t SELECT i, repeat('a', 100) FROM generate_series(1, 750) i; SAVEPOINT one;
			INSERT INTO t SELECT i, repeat('b', 100) FROM generate_series(751, 2250) i; ROLLBACK TO one;
			ALTER TABLE t ADD w int;
			INSERT INTO t SELECT i, repeat('c', 100), i FROM generate_series(2251, 3000) i; INSERT INTO t VALUES (3001, 'last', 1); COMMIT`)
		d.exec("INSERT INTO t VALUES (0, 'after', 0)")
		events := p.events(1502)
		for i, e := range events[:1501] {
			if want := i + 1; i < 750 && change.KeyText(e.Key) != fmt.Sprint(want) || e.Ordinal != uint32(i) || e.Txn != events[0].Txn || (i < 750) != (len(e.After) == 2) {
				t.Fatalf("event %d is %s, %d.%d", i, show(&events[i]), e.Txn, e.Ordinal)
			}
		}
		if streamed := d.text("SELECT (stream_txns > 0)::text FROM pg_stat_replication_slots WHERE slot_name = $1", d.slot); streamed != "true" {
			t.Error("the server did not stream")
		}
		whole := shows(events)
		p.stop()
		d.scratch = "" // without streaming the server sends the same
		plain := d.stream(start)
		if got := shows(plain.events(1502)); !slices.Equal(got, whole) {
			t.Error("other events without streaming")
		}
		plain.stop()
		d.scratch = t.TempDir()
		first := d.stream(start, "max.batch.size", "700")
		for len(first.keep.Events) == 0 {
			first.read()
		}
		first.stop()
		rest := d.stream(first.resume)
		if got := shows(rest.events(1502 - len(first.keep.Events))); !slices.Equal(got, whole[len(first.keep.Events):]) {
			t.Error("other events after a resume inside of the transaction")
		}
	})
	t.Run("case20_prepared", func(t *testing.T) {
		d := newDB(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
		d.exec(fmt.Sprintf(settings, ident(d.name)))
		p := d.stream(nil)
		p.read()
		yes, no := d.name+"_yes", d.name+"_no"
		d.exec("BEGIN; INSERT INTO t SELECT i, repeat('p', 200) FROM generate_series(1, 1000) i; PREPARE TRANSACTION " + literal(yes))
		d.exec("BEGIN; INSERT INTO t SELECT i, repeat('n', 200) FROM generate_series(5001, 6000) i; PREPARE TRANSACTION " + literal(no))
		d.exec("INSERT INTO t VALUES (9001, 'other')")
		want(t, p.events(1), "c public.t 9001 after{id=9001 v=other}")
		between := p.resume
		d.exec("ROLLBACK PREPARED " + literal(no))
		d.exec("COMMIT PREPARED " + literal(yes))
		events := p.events(1001)
		if events[1].LSN >= events[0].LSN || events[1].Txn != events[1000].Txn || change.KeyText(events[1000].Key) != "1000" {
			t.Errorf("LSN %d after %d, %s", events[1].LSN, events[0].LSN, show(&events[1000]))
		}
		last := position{}
		for _, r := range p.resumes {
			pos, err := parsePosition(r)
			if err != nil || pos.LSN < last.LSN || pos.LSN == last.LSN && pos.Ordinal < last.Ordinal {
				t.Errorf("position %s after %+v: %v", r, last, err)
			}
			last = pos
		}
		whole := shows(events[1:])
		p.stop()
		again := d.stream(between)
		if got := shows(again.events(1000)); !slices.Equal(got, whole) {
			t.Error("other events after a resume between PREPARE and COMMIT PREPARED")
		}
	})
}
