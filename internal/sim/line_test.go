package sim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/internal/sim"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/crashfs"
)

// target is a database in memory that sinks write to: it survives every crash, merges Absent columns and takes no event
// whose version is not above what it has.
type target struct {
	rows map[string]held // by topic and key
}

type held struct {
	topic   string
	version uint64
	row     change.Row // nil: deleted
}

// write takes a batch of one topic, as sink.Sink does.
func (g *target) write(b *change.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Op == change.OpTruncate {
			for k, h := range g.rows {
				if h.topic == e.Topic && h.version < e.Version {
					g.rows[k] = held{e.Topic, e.Version, nil}
				}
			}
			continue
		}
		k := e.Topic + "\x00" + string(e.Key)
		old := g.rows[k]
		if e.Version <= old.version {
			continue
		}
		next := held{topic: e.Topic, version: e.Version}
		if e.Op != change.OpDelete && e.Op != change.OpTombstone {
			next.row = make(change.Row, len(e.After))
			for c, v := range e.After {
				if v.Present() {
					next.row[c] = change.Value{Kind: v.Kind, Num: v.Num, Data: bytes.Clone(v.Data)}
				} else if old.row != nil {
					next.row[c] = old.row[c]
				}
			}
		}
		g.rows[k] = next
	}
}

// table returns the rows of a topic.
func (g *target) table(topic string) (rows []change.Row) {
	for _, h := range g.rows {
		if h.topic == topic && h.row != nil {
			rows = append(rows, h.row)
		}
	}
	return rows
}

// codec is the merge function of a log that is opened before its registry.
type codec struct{ r *rowcodec.Registry }

func (c *codec) Partial(v []byte) bool                          { return c.r.Partial(v) }
func (c *codec) Merge(dst, older, newer []byte) ([]byte, error) { return c.r.Merge(dst, older, newer) }

// line is one life of a daemon: source, weave, encoder, log, decoder, sink, in one goroutine.
type line struct {
	db     *sim.DB
	to     *target
	rng    *rand.Rand
	log    *disk.Log
	reg    *rowcodec.Registry
	store  *offsets.Store
	src    *sim.Source
	stream source.Stream
	enc    *rowcodec.Encoder
	topics map[string]bool
}

// life runs a daemon on fs until all is in the target or something fails, as all does once the power is off.
func life(ctx context.Context, db *sim.DB, to *target, fs *crashfs.FS, rng *rand.Rand, chunk int) (over bool, err error) {
	c := &codec{}
	log, err := disk.Open(ctx, disk.Options{Dir: "data", FS: fs, Now: time.Now, Merger: c, ManualCompaction: true,
		JournalBytes: 8 << 10, SegmentBytes: 2 << 10})
	if err != nil {
		return false, fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	l := &line{db: db, to: to, rng: rng, log: log, src: db.Source(), topics: map[string]bool{}}
	defer l.src.Close()
	if l.reg, err = rowcodec.Open(ctx, log); err != nil {
		return false, err
	}
	c.r = l.reg
	if l.store, err = offsets.Open(ctx, log, time.Now); err != nil {
		return false, err
	}
	l.enc = l.reg.NewEncoder(rowcodec.EncoderOptions{Tombstones: true})
	l.stream, err = snapshot.Open(ctx, l.src, l.store.Committed("pg", "sim"),
		snapshot.Options{Config: snapshot.Config{Mode: "initial", FetchSize: chunk}})
	if err != nil {
		return false, err
	}
	defer l.stream.Close()
	for n := 0; n < 20000; n++ {
		if err := l.pull(ctx); err != nil {
			return false, err
		}
		if rng.IntN(4) == 0 {
			if err := l.drain(ctx); err != nil {
				return false, err
			}
		}
		if rng.IntN(30) == 0 {
			if err := l.compact(ctx); err != nil {
				return false, err
			}
		}
		if l.done() {
			return true, l.drain(ctx)
		}
	}
	return false, fmt.Errorf("no end")
}

// done reports whether the log has all that the database will ever say.
func (l *line) done() bool {
	end, quiet := l.db.End()
	at := l.store.Committed("pg", "sim")
	return quiet && bytes.Contains(at, []byte(`"completed":true`)) && bytes.Contains(at, fmt.Appendf(nil, `"lsn":%d,"ord":0`, end))
}

// pull is the source's loop once: Read, Encode, Append with the offset, Ack.
func (l *line) pull(ctx context.Context) error {
	var b change.Batch
	if err := l.stream.Read(ctx, &b); err != nil {
		return err
	}
	recs, err := l.enc.Encode(&b, nil)
	if err != nil {
		return err
	}
	for i := range recs {
		if name := recs[i].Topic; !l.topics[name] && name != rowcodec.SchemaTopic {
			spec := topic.Spec{Name: name, Partitions: 1, Config: map[string]string{"cleanup.policy": "compact",
				"delete.retention.ms": "0", "min.cleanable.dirty.ratio": "0"}}
			if err := l.log.Create(ctx, spec); err != nil && !errors.Is(err, topic.ErrTopicExists) {
				return err
			}
			l.topics[name] = true
		}
	}
	if err := l.log.Append(ctx, append(recs, l.store.Record("pg", b.Origin, b.Resume))); err != nil {
		return err
	}
	l.store.Applied("pg", b.Origin, b.Resume)
	return l.stream.Ack(ctx, b.Resume)
}

// drain is the sink's loop until it is at the end of every topic: Read, Decode, Write, Commit.
func (l *line) drain(ctx context.Context) error {
	infos, err := l.log.Topics(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.Name == rowcodec.SchemaTopic || info.Name == offsets.Topic {
			continue
		}
		if err := l.drainTopic(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) drainTopic(ctx context.Context, info topic.Info) error {
	origin := offsets.Lane(info.Name, 0)
	from := topic.Start
	if p := l.store.Committed("sink", origin); p != nil {
		at, err := offsets.ParseLogPosition(p)
		if err != nil {
			return err
		}
		from = at.Offset
	}
	end := info.Partitions[0].End
	if from == end || info.Partitions[0].Records == 0 {
		return nil
	}
	r, err := l.log.Reader(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Add(info.Name, 0, from); err != nil {
		return err
	}
	dec := l.reg.NewDecoder()
	for from < end {
		// After the last record of a compacted partition there is none to wait for.
		wait, cancel := context.WithTimeout(ctx, time.Second)
		recs, err := r.Read(wait, 1+l.rng.IntN(40))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		var b change.Batch
		if err := dec.Decode(recs, info.Epoch, &b); err != nil {
			return err
		}
		l.to.write(&b)
		from = recs[len(recs)-1].Offset + 1
		if l.rng.IntN(3) > 0 { // else the target is ahead of its offset, and a crash replays
			p := offsets.LogPosition{Epoch: info.Epoch, Offset: from}.Position()
			if err := l.store.Commit(ctx, "sink", origin, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *line) compact(ctx context.Context) error {
	infos, err := l.log.Topics(ctx)
	if err != nil || len(infos) == 0 {
		return err
	}
	return l.log.Compact(ctx, infos[l.rng.IntN(len(infos))].Name)
}

// runLine lives until the target has everything, with power cuts and kills on the way, and compares it with the tables;
// and then again with a new target that reads the log from its beginning.
func runLine(seed uint64) (crashes int, err error) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(seed, 2))
	db := sim.New(sim.Config{Seed: seed, Rows: 10 + rng.IntN(30), Steps: 150 + rng.IntN(200), Settle: synctest.Wait})
	to := &target{rows: map[string]held{}}
	fs := crashfs.New()
	left := rng.IntN(6)
	chunk := 1 + rng.IntN(12)
	for {
		if crashes < left {
			fs.PowerOffAfter(1 + rng.Int64N(1+int64(rng.IntN(600))))
		}
		over, err := life(ctx, db, to, fs, rng, chunk)
		if over && err == nil {
			break
		}
		if err != nil && !errors.Is(err, crashfs.ErrPowerOff) && !bytes.Contains([]byte(err.Error()), []byte(crashfs.ErrPowerOff.Error())) {
			return crashes, err
		}
		crashes++
		if rng.IntN(2) == 0 {
			fs = fs.Crash(rng)
		} else {
			fs = fs.Kill()
		}
	}
	for _, t := range db.Tables() {
		if err := db.Equal(t, to.table("sim."+t.Name.String())); err != nil {
			return crashes, err
		}
	}
	return crashes, replay(ctx, db, fs.Kill(), rng)
}

// replay reads the whole log into a new target and compares.
func replay(ctx context.Context, db *sim.DB, fs *crashfs.FS, rng *rand.Rand) error {
	log, err := disk.Open(ctx, disk.Options{Dir: "data", FS: fs, Now: time.Now, ManualCompaction: true})
	if err != nil {
		return err
	}
	defer log.Close()
	l := &line{db: db, to: &target{rows: map[string]held{}}, rng: rng, log: log}
	if l.reg, err = rowcodec.Open(ctx, log); err != nil {
		return err
	}
	if l.store, err = offsets.Open(ctx, log, time.Now); err != nil {
		return err
	}
	if err := l.store.Reset(ctx, "sink"); err != nil {
		return err
	}
	if err := l.drain(ctx); err != nil {
		return err
	}
	for _, t := range db.Tables() {
		if err := db.Equal(t, l.to.table("sim."+t.Name.String())); err != nil {
			return fmt.Errorf("a new target: %w", err)
		}
	}
	return nil
}

// TestLine is the one law, over the whole line: for every seed, crash and compaction, materialized sink == table.
func TestLine(t *testing.T) {
	t.Run("power_cuts_and_compaction", func(t *testing.T) {
		worlds, crashes := 150, 0
		if testing.Short() {
			worlds = 15
		}
		for seed := range uint64(worlds) {
			synctest.Test(t, func(t *testing.T) {
				n, err := runLine(seed)
				if err != nil {
					t.Fatalf("seed %d, after %d crashes: %v", seed, n, err)
				}
				crashes += n
			})
			if t.Failed() {
				return
			}
		}
		t.Logf("%d worlds, %d crashes", worlds, crashes)
	})
}
