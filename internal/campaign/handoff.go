package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

const (
	handoffRows  = 1500             // of each table at the beginning
	handoffDrain = 90 * time.Second // for what was written to arrive, and for the copy to end
)

// handoff runs n databases in which clients write in every way there is while all tables are copied, and judges what the
// connector delivers: the history of each key must be legal, and the fold of all events equal the tables. It counts the databases
// and the violations. The clients make no more than rate transactions a second.
func handoff(ctx context.Context, database string, n, rate int, seed uint64, out io.Writer) (violations int, err error) {
	settings := map[string]string{"max_prepared_transactions": "40", "max_connections": "60", "deadlock_timeout": "50ms"}
	if !strings.HasPrefix(database, "postgres") {
		settings = nil
	}
	server, err := servers.Start(ctx, database, servers.Options{Settings: settings})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	var db family = pgFamily{server}
	if settings == nil {
		db = newMySQLFamily(server, database)
	}
	for i := range n {
		r := handoffRun{db: db, rate: rate, name: fmt.Sprintf("handoff_%d_%d", os.Getpid(), i+1), seed: seed + uint64(i),
			rnd: rand.New(rand.NewPCG(seed+uint64(i), 7)), judge: newJudge()}
		if err := r.run(ctx); err != nil {
			return violations, fmt.Errorf("run %d (seed %d): %w", i+1, r.seed, err)
		}
		violations += len(r.judge.violations)
		fmt.Fprintf(out, "run %d: seed %d, %d threads, %d events, %d rows copied, %d crashes, %d transactions in %.1f s: %.0f/s\n", i+1, r.seed,
			r.threads, r.judge.events, r.judge.copied, r.crashes, r.committed, r.took.Seconds(), float64(r.committed)/r.took.Seconds())
		for _, v := range r.judge.violations[:min(5, len(r.judge.violations))] {
			fmt.Fprintf(out, "  violation: %s\n", v)
		}
	}
	return violations, nil
}

// A handoffRun is one database and one connector on it, over all its lives.
type handoffRun struct {
	db      family
	rate    int // transactions a second at most
	name    string
	seed    uint64
	rnd     *rand.Rand
	judge   *judge
	durable change.Position

	threads   int
	crashes   int
	committed int64
	took      time.Duration
}

func (r *handoffRun) run(ctx context.Context) (err error) {
	if err := r.db.create(ctx, r.name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.db.drop(context.WithoutCancel(ctx), r.name)) }()
	begun := time.Now()
	writing, rest := context.WithCancel(ctx)
	defer rest()
	load := &turmoil{db: r.db, rate: r.rate, name: r.name, seed: r.seed}
	var g errgroup.Group
	g.Go(func() error { return load.run(writing) })
	err = r.lives(ctx)
	rest()
	if err = errors.Join(err, g.Wait()); err != nil {
		return err
	}
	r.committed, r.took = load.committed.Load(), time.Since(begun)
	return r.settle(ctx)
}

// lives runs the connector until the copy is complete; it dies some times on the way.
func (r *handoffRun) lives(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, handoffDrain, errors.New("the copy does not end"))
	defer cancel()
	r.threads = 1 + r.rnd.IntN(4)
	for deaths := r.rnd.IntN(4); ; deaths-- {
		reads := -1
		if deaths > 0 {
			reads = r.rnd.IntN(40)
			r.crashes++
		}
		done, err := r.live(ctx, reads, func() bool { return bytes.Contains(r.durable, []byte(`"completed":true`)) })
		if done || err != nil {
			return err
		}
	}
}

// live runs the connector until it is over, or until it dies after so many reads: what it read last is lost then or not.
func (r *handoffRun) live(ctx context.Context, reads int, over func() bool) (done bool, err error) {
	plugin, props, err := r.db.source(r.name)
	if err != nil {
		return false, err
	}
	maps.Copy(props, map[string]string{"topic.prefix": "h", "snapshot.fetch.size": fmt.Sprint(20 + r.rnd.IntN(400)), "snapshot.max.threads": fmt.Sprint(r.threads)})
	src, err := plugin.Open(ctx, source.Setup{Connector: "handoff", Props: props, Version: "0", Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	o := snapshot.Options{Now: time.Now}
	if p := snapshot.Decode(props, &o.Config); len(p) > 0 {
		return false, fmt.Errorf("configuration: %v", p)
	}
	s, err := snapshot.Open(ctx, src, r.durable, o)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var b change.Batch
	for n := 0; !over(); n++ {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			return false, errors.Join(err, context.Cause(ctx))
		}
		if n == reads && r.rnd.IntN(2) == 0 {
			return false, nil
		}
		r.judge.take(&b)
		r.durable = bytes.Clone(b.Resume)
		if n == reads {
			return false, nil
		}
		if err := s.Ack(ctx, r.durable); err != nil {
			return false, err
		}
	}
	return true, nil
}

// settle lets all that was written arrive and compares it with the tables.
func (r *handoffRun) settle(ctx context.Context) error {
	last, err := r.db.connect(ctx, r.name)
	if err != nil {
		return err
	}
	if err := errors.Join(last.exec(ctx, "INSERT INTO item VALUES (-1, 0, 1, 'the last row')"), last.close(ctx)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, handoffDrain, errors.New("the last row does not arrive"))
	defer cancel()
	if _, err := r.live(ctx, -1, func() bool { return r.judge.has("item", "-1") }); err != nil {
		return err
	}
	for _, table := range handoffTables() {
		lines, err := r.db.lines(ctx, r.name, table)
		if err != nil {
			return err
		}
		r.judge.compare(table, lines)
	}
	return nil
}
