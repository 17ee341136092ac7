package postgres

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
)

// offline makes a stream without a connection that knows one table of twelve columns, relation 1.
func offline(t testing.TB) *stream {
	t.Helper()
	c, problems := parse(map[string]string{"database.hostname": "h", "database.user": "u", "database.dbname": "d", "topic.prefix": "shop"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	d := &detail{types: map[uint32]typeInfo{}}
	sh := &shape{oid: 1, schema: "public", name: "orders", identity: 'd', streamed: true}
	for i, oid := range []uint32{oidInt8, oidInt4, oidVarchar, oidVarchar, oidVarchar, oidVarchar, oidNumeric, oidBpchar, oidBool, oidJSONB, oidTimestamp, oidTimestampTZ} {
		sh.columns = append(sh.columns, wireColumn{name: fmt.Sprintf("c%d", i), typeOID: oid, modifier: -1, key: i == 0})
		d.casts = append(d.casts, "")
		d.types[oid] = typeInfo{name: "t", class: 'b'}
	}
	src := &Source{settings: c, setup: source.Setup{Now: time.Now}, tables: registry{newest: map[change.TableName]*relation{}}}
	r := newRelation(c, &change.Origin{}, sh, d)
	src.tables.publish(r)
	return &stream{src: src, queue: source.NewQueue(), relations: map[uint32]*relation{1: r}, spool: newSpool(t.TempDir())}
}

func begin(final uint64, xid uint32) []byte {
	p := binary.BigEndian.AppendUint64([]byte{'B'}, final)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(p, 789_000_000_000_000), xid)
}

func commit(final, end uint64) []byte {
	p := binary.BigEndian.AppendUint64([]byte{'C', 0}, final)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(p, end), 789_000_000_000_000)
}

func tuple(p []byte, values ...string) []byte {
	p = binary.BigEndian.AppendUint16(p, uint16(len(values)))
	for _, v := range values {
		p = append(binary.BigEndian.AppendUint32(append(p, 't'), uint32(len(v))), v...)
	}
	return p
}

var order = []string{"123456789", "42", "Ada Lovelace", "12 Analytical Street", "London", "ada@example.org", "1234.50", "EUR", "t",
	`{"items": [1, 2, 3], "note": "leave at the door"}`, "2026-01-02 03:04:05.678901", "2026-01-02 03:04:05.678901+00"}

func insert() []byte { return tuple([]byte{'I', 0, 0, 0, 1, 'N'}, order...) }

func update() []byte { return tuple([]byte{'U', 0, 0, 0, 1, 'N'}, order...) }

// transactions makes the messages of transactions with so many rows each.
func transactions(n, rows int) (messages [][]byte) {
	lsn := uint64(1)
	for x := range n {
		messages = append(messages, begin(lsn, uint32(x+1)))
		for range rows / 2 {
			messages = append(messages, insert(), update())
		}
		messages = append(messages, commit(lsn, lsn+1))
		lsn++
	}
	return messages
}

// replay queues the messages as if from the beginning and decodes them.
func (s *stream) replay(t testing.TB, messages [][]byte, b *change.Batch) {
	s.pos = position{}
	for _, m := range messages {
		if !s.queue.Put(1, m, endsTransaction(m)) {
			t.Fatal("queue is full")
		}
	}
	b.Reset()
	if full, err := s.drain(t.Context(), b); full || err != nil {
		t.Fatal(full, err)
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	s := offline(t)
	var b change.Batch
	messages := transactions(20, 100)
	s.replay(t, messages, &b) // the slabs, segments and scratch grow
	if n := testing.AllocsPerRun(20, func() { s.replay(t, messages, &b) }); n > 0 {
		t.Errorf("%v allocations for 2000 rows", n)
	}
	if len(b.Events) != 2000 || b.Events[1].Op != change.OpUpdate || change.KeyText(b.Events[1].Key) != order[0] {
		t.Errorf("%d events, %v", len(b.Events), b.Events[1])
	}
}

// BenchmarkDecode takes messages of 12 columns through the queue into events.
func BenchmarkDecode(b *testing.B) {
	s := offline(b)
	var batch change.Batch
	messages := transactions(20, 100)
	b.ReportAllocs()
	for b.Loop() {
		s.replay(b, messages, &batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2000), "ns/row")
}

// Resume drops exactly what the position covers, whatever the LSNs of the changes are.
func TestResumeFilter(t *testing.T) {
	feed := func(pos position) ([]change.Event, error) {
		s := offline(t)
		s.pos = pos
		for _, m := range []struct {
			lsn uint64
			p   []byte
		}{
			{90, begin(100, 1)}, {90, insert()}, {100, commit(100, 110)},
			{110, begin(120, 2)}, {110, insert()}, {110, insert()}, {20, update()}, {120, commit(120, 130)},
			{130, begin(140, 3)}, {130, insert()}, {140, commit(140, 150)},
		} {
			s.queue.Put(m.lsn, m.p, endsTransaction(m.p))
		}
		var b change.Batch
		_, err := s.drain(t.Context(), &b)
		return b.Events, err
	}
	for _, tt := range []struct {
		pos  position
		want string // xid.ordinal of each event
	}{
		{position{LSN: 50}, "1.0 2.0 2.1 2.2 3.0"},
		{position{LSN: 110}, "2.0 2.1 2.2 3.0"},
		{position{LSN: 110, Ordinal: 1, TxID: 2}, "2.1 2.2 3.0"},
		{position{LSN: 110, Ordinal: 3, TxID: 2}, "3.0"},
		{position{LSN: 130}, "3.0"},
		{position{LSN: 150}, ""},
	} {
		events, err := feed(tt.pos)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			got = append(got, fmt.Sprintf("%d.%d", e.Txn, e.Ordinal))
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("from %+v: %s, want %s", tt.pos, g, tt.want)
		}
	}
	for _, pos := range []position{{LSN: 110, Ordinal: 1, TxID: 7}, {LSN: 110, Ordinal: 4, TxID: 2}} {
		if _, err := feed(pos); fault.Code(err) != "POSITION_GAP" {
			t.Errorf("from %+v: %v", pos, err)
		}
	}
}

// A stream that does not make sense is an error, never a panic or a wrong event.
func TestDecodeRefuses(t *testing.T) {
	for name, messages := range map[string][][]byte{
		"row_outside":       {insert()},
		"begin_twice":       {begin(10, 1), begin(20, 2)},
		"commit_of_other":   {begin(10, 1), commit(11, 12)},
		"unknown_relation":  {begin(10, 1), tuple([]byte{'I', 0, 0, 0, 9, 'N'}, "1")},
		"too_few_columns":   {begin(10, 1), tuple([]byte{'I', 0, 0, 0, 1, 'N'}, "1")},
		"truncate_unknown":  {begin(10, 1), {'T', 0, 0, 0, 1, 0, 0, 0, 0, 9}},
		"prepare_v3":        {append([]byte("b"), make([]byte, 20)...)},
		"malformed":         {{'B'}},
		"binary_form":       {begin(10, 1), append([]byte{'I', 0, 0, 0, 1, 'N', 0, 12, 'b', 0, 0, 0, 1, 7}, strings.Repeat("n", 11)...)},
		"column_count_zero": {begin(10, 1), {'I', 0, 0, 0, 1, 'N', 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := offline(t)
			for _, m := range messages {
				s.queue.Put(1, m, endsTransaction(m))
			}
			var b change.Batch
			if _, err := s.drain(t.Context(), &b); err == nil || len(b.Events) != 0 {
				t.Errorf("%d events, error %v", len(b.Events), err)
			}
		})
	}
}

func TestKeepalivesMoveThePosition(t *testing.T) {
	s := offline(t)
	var b change.Batch
	step := func(want uint64) {
		t.Helper()
		if _, err := s.drain(t.Context(), &b); err != nil || s.pos.LSN != want {
			t.Errorf("at %d, want %d, %v", s.pos.LSN, want, err)
		}
	}
	s.queue.Mark(50)
	s.queue.Mark(60)
	if n := s.queue.Size(); n != 12 {
		t.Errorf("two keepalives take %d bytes", n)
	}
	step(60)
	s.queue.Put(70, begin(80, 1), endsTransaction(begin(80, 1)))
	s.queue.Mark(79) // inside a transaction it says nothing
	step(60)
	s.queue.Put(80, commit(80, 90), endsTransaction(commit(80, 90)))
	step(90)
	s.queue.Mark(85) // never back
	step(90)
	s.pos.Ordinal = 2 // resumed inside a transaction that has not come yet
	s.queue.Mark(200)
	step(90)
}

// TestEndsTransaction: the reader is woken by a commit, not by a row.
func TestEndsTransaction(t *testing.T) {
	if endsTransaction([]byte("I")) {
		t.Error("woken by a row")
	}
	if !endsTransaction([]byte("C")) || !endsTransaction([]byte("c")) {
		t.Error("not woken by a commit")
	}
}

func TestCheck(t *testing.T) {
	good := map[string]string{"database.hostname": "db", "database.user": "u", "database.dbname": "d", "topic.prefix": "shop",
		"database.password": "${env:PGPASSWORD}", "database.port": "${env:PGPORT:-5432}", "plugin.name": "decoderbufs", "publication.autocreate.mode": "all_tables",
		"snapshot.mode": "initial", "heartbeat.interval.ms": "1000"}
	if problems := Plugin.Check(good); len(problems) != 0 {
		t.Errorf("a good configuration: %v", problems)
	}
	for _, tt := range []struct{ key, value, want string }{
		{"database.hostname", " ", "must not be empty"},
		{"database.port", "70000", "at most 65535"},
		{"database.sslmode", "verify_full", "did you mean verify-full"},
		{"topic.prefix", "a b", "characters that a topic name can't have"},
		{"topic.prefix", strings.Repeat("p", 111), "at most 110"},
		{"slot.name", "My-Slot", "not a slot name"},
		{"slot.name", `x"; DROP TABLE y;--`, "not a slot name"},
		{"publication.name", strings.Repeat("p", 64), "at most 63 bytes"},
		{"table.include.list", "(x{1000}){1000}", "too large"},
		{"table.include.list", "*.orders", "regular expression"},
		{"decimal.handling.mode", "exact", "not one of"},
		{"time.precision.mode", "structured", "is not available"},
		{"converters", "isbn", "Java classes"},
		{"skipped.operations", "c,x", `"x" is not one of`},
		{"topic.delimiter", "/", "characters that a topic name can't have"},
		{"topic.naming.strategy", "com.example.Names", "not one of"},
		{"column.truncate.to.many.chars", "a.b", "not a number of characters"},
		{"message.key.columns", "public.t", "is not TABLE:COLUMN"},
		{"event.processing.failure.handling.mode", "skip", "not available"},
		{"lsn.flush.mode", "manual", "not available"},
		{"flush.lsn.source", "false", "not available"},
		{"xmin.fetch.interval.ms", "100", "not available"},
		{"slot.stream.params", "origin=none", "not available"},
		{"replica.identity.autoset.values", "public.*:FULL", "ALTER TABLE"},
		{"database.initial.statements", "SET x = 1", "ALTER ROLE"},
		{"custom.sanitize.pattern", "[a-z]", "not available"},
		{"custom.metric.tags", "a=b", "not available"},
		{"guardrail.collections.max", "5", "table.include.list"},
		{"max.batch.size", "0", "at least 1"},
	} {
		props := map[string]string{}
		for k, v := range good {
			props[k] = v
		}
		props[tt.key] = tt.value
		problems := Plugin.Check(props)
		if len(problems) != 1 || problems[0].Key != tt.key || !strings.Contains(problems[0].Message, tt.want) {
			t.Errorf("%s=%s: got %v, want %q", tt.key, tt.value, problems, tt.want)
		}
	}
	both := Plugin.Check(map[string]string{"table.include.list": "a.b", "table.exclude.list": "a.c"})
	keys := map[string]bool{}
	for _, p := range both {
		keys[p.Key] = true
	}
	for _, k := range []string{"database.hostname", "database.user", "database.dbname", "topic.prefix", "table.exclude.list"} {
		if !keys[k] {
			t.Errorf("no problem of %s in %v", k, both)
		}
	}
}

func TestCaptures(t *testing.T) {
	c := &settings{}
	if p := config.Decode(map[string]string{"table.include.list": `public.a,public\.b.*`, "schema.exclude.list": "audit"}, c); len(p) > 0 && p[0].Key == "table.include.list" {
		t.Fatal(p)
	}
	for name, want := range map[string]bool{"public.a": true, "public.ab": false, "public.bb": true, "audit.a": false, "pg_catalog.a": false} {
		schema, table, _ := strings.Cut(name, ".")
		if c.captures(schema, table) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestPositionRoundTrip(t *testing.T) {
	p := position{LSN: 1<<63 + 5, Ordinal: 7, LSNCommit: 9, TxID: 4294967295, Time: -3, System: "711"}
	got, err := parsePosition(p.encode(nil))
	if err != nil || got != p {
		t.Errorf("got %+v, %v", got, err)
	}
	with := change.Position(strings.TrimSuffix(string(p.encode(nil)), "}") + `,"snapshot":{"completed":true}}`)
	if got, err := parsePosition(with); err != nil || got != p {
		t.Errorf("with a member of others: %+v, %v", got, err)
	}
}
