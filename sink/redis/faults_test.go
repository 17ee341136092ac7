package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

func items() *change.Table {
	return sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "int8"), sinktest.Column("name", "text"), sinktest.Column("big", "text"))
}

const topic = "shop.public.items"

func put(h *sinktest.History, t *change.Table, id int64, name string) *change.Event {
	return h.Create(t, sinktest.Int(id), sinktest.Text(name), sinktest.Text("x"))
}

// state is what the rows of the topic are: document by key.
func (b *bench) state() map[string]string {
	out := map[string]string{}
	for _, key := range b.keys(topic + ":*") {
		name := strings.TrimPrefix(key, b.prefix)
		if b.props["redis.type"] == "hash" {
			out[name] = b.hash(key)
		} else {
			out[name] = b.get(name)
		}
	}
	return out
}

// hash writes a hash of items as the document of the same row.
func (b *bench) hash(key string) string {
	b.Helper()
	m := b.do("HGETALL", key)
	fields, err := m.AsStrMap()
	if err != nil {
		b.Fatal(err)
	}
	doc := []string{`"id":` + fields["id"]}
	for _, name := range []string{"name", "big"} {
		if text, ok := fields[name]; ok {
			doc = append(doc, fmt.Sprintf("%q:%q", name, text))
		}
	}
	return "{" + strings.Join(doc, ",") + "}"
}

func want(h *sinktest.History, t *change.Table) map[string]string {
	out := map[string]string{}
	for _, row := range h.Fold(t) {
		var doc []string
		for i := range t.Columns {
			if v, ok := row[t.Columns[i].Name]; ok {
				doc = append(doc, fmt.Sprintf("%q:%s", t.Columns[i].Name, sinktest.NaturalText(&t.Columns[i], v)))
			}
		}
		out[topic+":"+sinktest.NaturalText(&t.Columns[0], row["id"])] = "{" + strings.Join(doc, ",") + "}"
	}
	return out
}

func (b *bench) holds(t testing.TB, h *sinktest.History, table *change.Table) {
	t.Helper()
	got, want := b.state(), want(h, table)
	if b.props["redis.type"] == "hash" { // which has no NULL
		for key, doc := range want {
			want[key] = strings.ReplaceAll(strings.ReplaceAll(doc, `,"big":null`, ""), `,"name":null`, "")
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("rows are %v, want %v", got, want)
	}
}

// TestConnectionDrops cuts the connection after every n bytes of a run; the worker's part (open again, go on from
// where the target stands) is played here.
func TestConnectionDrops(t *testing.T) {
	addr := servers.Need(t, "redis")
	t.Run("case90_dropped_at_every_place", func(t *testing.T) {
		table := items()
		h := sinktest.Workload(topic, table, -1)
		b := newBench(t, addr, map[string]string{"batch.size": "3"})
		for n := int64(0); ; n += 397 {
			b.wipe()
			again := sinktest.Deliver(t, func() sink.Sink { return b.open(t, nil) }, func() { b.proxy.CutAfter(n) }, h)
			b.proxy.CutAfter(-1)
			if again == 0 {
				break // all of the run passed
			}
			b.holds(t, h, table)
		}
		b.holds(t, h, table)
	})
}

// answers runs one Write with the server in a state in which it refuses writes, and one after it has recovered.
func refusesThenRecovers(t *testing.T, b *bench, word string, ill, well func()) {
	t.Helper()
	table := items()
	h := sinktest.Workload(topic, table, -1)
	s := b.open(t, nil)
	defer s.Close()
	sinktest.Write(t, s, h.Slice(0, 20))
	before := b.state()
	ill()
	err := s.Write(t.Context(), h.Slice(20, 40))
	if err == nil || !strings.Contains(err.Error(), word) || fault.IsPermanent(err) {
		t.Fatalf("Write returned %v, want %s and that it may be tried again", err, word)
	}
	well()
	if got := b.state(); !maps.Equal(got, before) {
		t.Errorf("a refused Write left %v, want %v", got, before)
	}
	if p := sinktest.Committed(t, s, h.Origin); p != string(sinktest.Resume(20)) {
		t.Errorf("position is %s after a refused Write", p)
	}
	sinktest.Write(t, s, h.Slice(20, 40))
	sinktest.Write(t, s, h.Slice(40, h.Len()))
	b.holds(t, h, table)
}

func TestServerRefuses(t *testing.T) {
	for _, kind := range []string{"json", "hash"} {
		t.Run(kind, func(t *testing.T) {
			srv := servers.Private(t, "redis", nil)
			t.Run("case90_OOM", func(t *testing.T) {
				b := newBench(t, srv.Addr, map[string]string{"redis.type": kind})
				refusesThenRecovers(t, b, "OOM",
					func() { b.do("CONFIG", "SET", "maxmemory", "1") }, func() { b.do("CONFIG", "SET", "maxmemory", "0") })
			})
			t.Run("case90_READONLY", func(t *testing.T) {
				b := newBench(t, srv.Addr, map[string]string{"redis.type": kind})
				refusesThenRecovers(t, b, "READONLY", func() {
					b.do("CONFIG", "SET", "replica-serve-stale-data", "yes")
					b.do("REPLICAOF", "127.0.0.1", "1")
				}, func() { b.do("REPLICAOF", "NO", "ONE") })
			})
		})
	}
}

// TestForeignAnswers plays answers that a healthy single server does not give.
func TestForeignAnswers(t *testing.T) {
	for _, answer := range []string{"-LOADING Redis is loading the dataset in memory", "-MOVED 3999 127.0.0.1:6381",
		"-CLUSTERDOWN The cluster is down", "-MISCONF Errors writing to the AOF file", "-BUSY Redis is busy running a script",
		"-TRYAGAIN Multiple keys request during rehashing of slot", "-NOREPLICAS Not enough good replicas to write.", "*0", "*1\r\n$5\r\nwrong", ":1"} {
		t.Run("case90_"+strings.Fields(answer[1:])[0], func(t *testing.T) {
			f := newFake(t)
			b := &bench{TB: t, now: time.Now, props: map[string]string{"redis.uri": "redis://" + f.addr}}
			s := b.open(t, nil)
			defer s.Close()
			table, h := items(), sinktest.NewHistory(topic)
			put(h, table, 1, "a")
			f.answer("EVALSHA", "$2\r\n0 ") // the claim
			f.answer("EVALSHA", answer)
			if err := s.Write(t.Context(), h.Take()); err == nil || fault.IsPermanent(err) {
				t.Fatalf("Write returned %v, want an error that may be tried again", err)
			}
		})
	}
}

func TestScriptsForgotten(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	s := b.open(t, nil)
	defer s.Close()
	table, h := items(), sinktest.NewHistory(topic)
	for id := range int64(3) {
		put(h, table, id, "a")
		b.do("SCRIPT", "FLUSH", "SYNC")
		sinktest.Write(t, s, h.Take())
	}
	b.do("SCRIPT", "FLUSH", "SYNC")
	h.Truncate(table)
	put(h, table, 9, "after")
	sinktest.Write(t, s, h.Take())
	b.holds(t, h, table)
}

func TestDataLost(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	t.Run("case90_restart_without_persistence", func(t *testing.T) {
		table, h := items(), sinktest.NewHistory(topic)
		s := b.open(t, nil)
		put(h, table, 1, "a")
		put(h, table, 2, "b")
		sinktest.Write(t, s, h.Take())
		b.wipe()
		put(h, table, 2, "c")
		for range 2 { // until it is opened anew
			err := s.Write(t.Context(), h.Slice(2, 3))
			if err == nil || fault.IsPermanent(err) || !strings.Contains(err.Error(), "has lost") {
				t.Fatalf("Write returned %v, want that data was lost", err)
			}
		}
		s.Close()
		s = b.open(t, nil)
		defer s.Close()
		if p := sinktest.Committed(t, s, h.Origin); p != "" {
			t.Fatalf("position is %s after all was lost", p)
		}
		sinktest.Write(t, s, h.Slice(0, 3))
		b.holds(t, h, table)
	})
	t.Run("a_replay_brings_lost_keys_back", func(t *testing.T) {
		table, h := items(), sinktest.NewHistory(topic)
		h.Origin = "other-0"
		s := b.open(t, nil)
		defer s.Close()
		put(h, table, 1, "a")
		put(h, table, 2, "b")
		h.Delete(table, sinktest.Int(2))
		sinktest.Write(t, s, h.Slice(0, 3))
		b.do("DEL", b.prefix+topic+":1")
		sinktest.Write(t, s, h.Slice(0, 3))
		b.holds(t, h, table)
	})
}

func TestFenced(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	table, h := items(), sinktest.NewHistory(topic)
	old := b.open(t, nil)
	defer old.Close()
	put(h, table, 1, "a")
	sinktest.Write(t, old, h.Slice(0, 1))
	younger := b.open(t, nil)
	defer younger.Close()
	if p := sinktest.Committed(t, younger, h.Origin); p != string(sinktest.Resume(1)) {
		t.Fatalf("position is %s", p)
	}
	put(h, table, 1, "b")
	h.Truncate(table)
	for _, from := range []int{1, 2} {
		if err := old.Write(t.Context(), h.Slice(from, from+1)); fault.Code(err) != "FENCED" {
			t.Fatalf("Write of the old task returned %v, want FENCED", err)
		}
	}
	if got := b.get(topic + ":1"); got != `{"id":1,"name":"a","big":"x"}` {
		t.Errorf("the fenced task wrote %s", got)
	}
	sinktest.Write(t, younger, h.Slice(1, 2))
}

func TestRejected(t *testing.T) {
	for _, kind := range []string{"json", "hash"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, servers.Need(t, "redis"), map[string]string{"redis.type": kind})
			table, h := items(), sinktest.NewHistory(topic)
			s := b.open(t, nil)
			defer s.Close()
			put(h, table, 1, "a")
			sinktest.Write(t, s, h.Take())
			b.do("LPUSH", b.prefix+topic+":5", "foreign")
			b.do("LPUSH", b.prefix+topic+":6", "foreign")
			b.do("LPUSH", b.prefix+topic+":7", "foreign")
			put(h, table, 4, "d")
			put(h, table, 5, "e")                                                           // event 1 of the batch
			h.Update(table, sinktest.Int(6), sinktest.Text("only this"), sinktest.Absent()) // 2
			h.Update(table, sinktest.Int(5), sinktest.Text("again"), sinktest.Absent())     // 3
			h.Delete(table, sinktest.Int(7))
			put(h, table, 8, "f")
			var rejected sink.Rejected
			if err := s.Write(t.Context(), h.Take()); !errors.As(err, &rejected) {
				t.Fatalf("Write returned %v, want Rejected", err)
			}
			var index []int
			for _, r := range rejected {
				index = append(index, r.Index)
				if fault.Code(r.Err) != "WRONG_TYPE" {
					t.Errorf("row %d is rejected with %v", r.Index, r.Err)
				}
			}
			if !slices.Equal(index, []int{1, 2, 3}) {
				t.Errorf("rejected are %v, want 1, 2, 3", index)
			}
			for id, kind := range map[string]string{"4": "row", "8": "row", "5": "list", "6": "list", "7": "list"} {
				m := b.do("TYPE", b.prefix+topic+":"+id)
				if got, _ := m.ToString(); (got == "list") != (kind == "list") || got == "none" {
					t.Errorf("key %s holds a %s, want a %s", id, got, kind)
				}
			}
			// The position moves with the next batch, when the dead letters are durable.
			if p := sinktest.Committed(t, s, h.Origin); p != string(sinktest.Resume(1)) {
				t.Errorf("position after a rejection is %s", p)
			}
			put(h, table, 9, "g")
			sinktest.Write(t, s, h.Take())
			if p := sinktest.Committed(t, s, h.Origin); p != string(sinktest.Resume(8)) {
				t.Errorf("position after the next batch is %s", p)
			}
		})
	}
}

func TestTruncateOfOnePartition(t *testing.T) {
	for _, ttl := range []string{"0", "3600000"} {
		t.Run("case107_ttl_"+ttl, func(t *testing.T) {
			b := newBench(t, servers.Need(t, "redis"), map[string]string{"ttl.ms": ttl})
			s := b.open(t, nil)
			defer s.Close()
			table, p0, p1 := items(), sinktest.NewHistory(topic), sinktest.NewHistory(topic)
			p1.Origin = topic + "-1"
			for id := range int64(2500) {
				put(p0, table, 2*id, "old")
				put(p1, table, 2*id+1, "old")
			}
			// Partition 1 is ahead: it has seen the truncate and a row of the second generation.
			p1.Truncate(table)
			put(p1, table, 1, "new")
			sinktest.Write(t, s, p0.Take())
			sinktest.Write(t, s, p1.Take())
			p0.Truncate(table)
			put(p0, table, 4, "new")
			sinktest.Write(t, s, p0.Take())
			sinktest.Write(t, s, p0.Slice(0, 100)) // a replay
			got := b.state()
			if len(got) != 2 || !strings.Contains(got[topic+":1"], "new") || !strings.Contains(got[topic+":4"], "new") {
				t.Errorf("%d rows are left: %v, want the two of the second generation", len(got), got)
			}
		})
	}
}

func TestWindows(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), map[string]string{"ttl.ms": "60000", "deleted.retention.ms": "60000"})
	now := time.UnixMilli(60000 * 1000)
	b.now = func() time.Time { return now }
	s := b.open(t, nil)
	defer s.Close()
	table, h := items(), sinktest.NewHistory(topic)
	put(h, table, 1, "a")
	put(h, table, 2, "b")
	h.Delete(table, sinktest.Int(2))
	sinktest.Write(t, s, h.Slice(0, 3))
	ttl := func(key string) int64 {
		m := b.do("PTTL", b.prefix+key)
		n, _ := m.AsInt64()
		return n
	}
	if n := ttl(topic + ":1"); n < 50000 || n > 60000 {
		t.Errorf("row lives for %d ms, want 60000", n)
	}
	for _, key := range []string{"rows:1000", "deleted:1000"} {
		if n := ttl("state:conn:" + h.Origin + ":" + key); n < 110000 || n > 120000 {
			t.Errorf("%s lives for %d ms, want 120000", key, n)
		}
	}
	now = now.Add(59 * time.Second) // the next window still knows the versions of this one
	now = now.Add(2 * time.Second)
	sinktest.Write(t, s, h.Slice(0, 2))
	h.Update(table, sinktest.Int(1), sinktest.Text("c"), sinktest.Absent())
	sinktest.Write(t, s, h.Slice(3, 4))
	b.holds(t, h, table)
}

func TestWrongPassword(t *testing.T) {
	srv := servers.Private(t, "redis", map[string]string{"requirepass": "correct horse"})
	for _, password := range []string{"", "s3cr3t-guess"} {
		_, err := Plugin.Open(context.Background(), sink.Setup{Connector: "c", Now: time.Now,
			Props: map[string]string{"redis.uri": "redis://" + srv.Addr, "redis.password": password}})
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != "AUTH_FAILED" || !strings.Contains(f.Remedy, "redis.password") {
			t.Errorf("Open returned %v, want AUTH_FAILED with a remedy", err)
		}
		if password != "" && strings.Contains(fmt.Sprint(err), password) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestShortcut: news goes by a transaction, and everything that must be looked at by the script.
func TestShortcut(t *testing.T) {
	for _, kind := range []string{"json", "hash"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, servers.Need(t, "redis"), map[string]string{"redis.type": kind})
			s := b.open(t, nil).(*Sink)
			defer s.Close()
			table, h := items(), sinktest.NewHistory(topic)
			short := func(what string, batch *change.Batch, want bool) {
				t.Helper()
				s.direct.cmds = nil
				sinktest.Write(t, s, batch)
				// The transaction's last command is only there if one was sent.
				if got := len(s.direct.cmds) > 3; got != want {
					t.Errorf("%s: the short way is taken: %v, want %v", what, got, want)
				}
				b.holds(t, h, table)
			}
			put(h, table, 1, "a")
			put(h, table, 2, "b")
			short("new rows", h.Slice(0, 2), true)
			short("a replay", h.Slice(0, 2), false)
			h.Update(table, sinktest.Int(1), sinktest.Text("c"), sinktest.Null())
			h.Update(table, sinktest.Int(2), sinktest.Text("d"), sinktest.Absent())
			h.Delete(table, sinktest.Int(3))
			short("an update, a merge and a delete", h.Slice(2, 5), true)
			put(h, table, 2, "e")
			short("an insert of a row that is there", h.Slice(5, 6), false)
			h.Update(table, sinktest.Int(1), sinktest.Text("f"), sinktest.Absent())
			b.do("SCRIPT", "FLUSH", "SYNC")
			h.Update(table, sinktest.Int(2), sinktest.Text("g"), sinktest.Null())
			short("a script that the server has forgotten", h.Slice(6, 8), true)
			if p := sinktest.Committed(t, s, h.Origin); p != string(sinktest.Resume(8)) {
				t.Errorf("position is %s", p)
			}
		})
	}
}

// TestTransactionYields: another task takes over between the look at the entry and EXEC.
func TestTransactionYields(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	s := b.open(t, nil).(*Sink)
	defer s.Close()
	table, h := items(), sinktest.NewHistory(topic)
	put(h, table, 1, "a")
	sinktest.Write(t, s, h.Take())
	e := h.Update(table, sinktest.Int(1), sinktest.Text("late"), sinktest.Text("x"))
	l, err := s.lane(t.Context(), h.Slice(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	s.begin()
	if err := s.take(t.Context(), l, 0, e); err != nil || !s.gather() {
		t.Fatalf("take: %v", err)
	}
	if ok, err := s.watch(t.Context(), l); err != nil || !ok {
		t.Fatalf("watch: %v, %v", ok, err)
	}
	younger := b.open(t, nil)
	defer younger.Close()
	sinktest.Committed(t, younger, h.Origin)
	if done, err := s.commit(t.Context(), l, next{text: l.entryText}); err != nil || done {
		t.Fatalf("commit: %v, %v, want that it did nothing", done, err)
	}
	if got := b.get(topic + ":1"); got != `{"id":1,"name":"a","big":"x"}` {
		t.Errorf("the row is %s", got)
	}
	if err := s.Write(t.Context(), h.Take()); fault.Code(err) != "FENCED" {
		t.Errorf("Write returned %v, want FENCED", err)
	}
}
