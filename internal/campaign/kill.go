package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
)

const (
	cyclesOfLife = 15
	shortest     = 20 * time.Millisecond // from the start of a daemon to its death
	longest      = 3 * time.Second
	settleTime   = 3 * time.Minute // for the log and the sinks to catch up at the end of a life
)

// plan is what a campaign of lives is to do.
type plan struct {
	kind     string // kill, dbcrash or resets
	cycles   int
	seed     uint64
	database string
	sinks    []string
	keep     bool
	copying  bool // the daemon is killed while rows are copied
}

// campaign is the setting of all lives.
type campaign struct {
	plan
	dir     string
	bin     string
	rnd     *rand.Rand
	source  *servers.Server
	targets daemon.Targets
	out     io.Writer
}

// hold makes the setting, lets run use it and clears up. What run did not find clean is kept.
func (p plan) hold(ctx context.Context, run func(c *campaign) (clean bool, err error)) (err error) {
	c := &campaign{plan: p, rnd: rand.New(rand.NewPCG(p.seed, 0)), out: os.Stdout}
	if c.dir, err = os.MkdirTemp("", "tailrace-campaign-"); err != nil {
		return err
	}
	clean := false
	defer func() {
		if err == nil && clean && !p.keep {
			err = os.RemoveAll(c.dir)
		} else {
			fmt.Fprintf(c.out, "logs and data are kept in %s\n", c.dir)
		}
	}()
	if c.bin, err = daemon.Build(ctx, c.dir); err != nil {
		return err
	}
	stop, err := c.startServers(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	clean, err = run(c)
	return err
}

// lives runs a campaign of lives.
func lives(ctx context.Context, p plan) (v verdict, err error) {
	err = p.hold(ctx, func(c *campaign) (bool, error) {
		for number := 1; v.cycles < p.cycles && v.clean(); number++ {
			one, err := c.life(ctx, number, v.cycles, min(cyclesOfLife, p.cycles-v.cycles))
			if err != nil {
				return false, fmt.Errorf("life %d: %w", number, err)
			}
			v.add(one)
			fmt.Fprintf(c.out, "life %d: %s\n", number, one)
		}
		return v.clean(), nil
	})
	return v, err
}

// startServers starts the source and the targets. A target that cannot be had is told and left out.
func (c *campaign) startServers(ctx context.Context) (stop func() error, err error) {
	var running []*servers.Server
	stop = func() error {
		var errs []error
		for _, s := range slices.Backward(running) {
			errs = append(errs, s.Stop())
		}
		return errors.Join(errs...)
	}
	// Commit times tell which transactions must be in the log as changes.
	c.source, err = servers.Start(ctx, c.database, servers.Options{Settings: map[string]string{"track_commit_timestamp": "on"}})
	if err != nil {
		return stop, err
	}
	running = append(running, c.source)
	for sink, url := range map[string]*string{"redis": &c.targets.Redis, "elasticsearch": &c.targets.Elasticsearch} {
		if !slices.Contains(c.sinks, sink) {
			continue
		}
		name := map[string]string{"redis": "redis", "elasticsearch": "elasticsearch8"}[sink]
		s, err := servers.Start(ctx, name, servers.Options{})
		if err != nil {
			fmt.Fprintf(c.out, "without a sink: %v\n", err)
			continue
		}
		running = append(running, s)
		*url = s.URL
	}
	return stop, nil
}

// life is one fresh pair of databases and data directory, and what happens to them.
type life struct {
	*campaign
	name   string
	port   int    // of the source, as the daemon sees it
	url    string // of the source
	daemon *daemon.Daemon
	sides  []compare.Side

	copies int // that were asked for beside the first one

	between *proxy.Proxy // between the daemon and the source; nil: nothing
}

// life runs n cycles, lets everything come to rest and judges it. done cycles were before.
func (c *campaign) life(ctx context.Context, number, done, n int) (verdict, error) {
	l := &life{campaign: c, name: fmt.Sprintf("%s_%d_%d", c.kind, os.Getpid(), number), port: c.source.Port}
	if c.kind == "resets" {
		var err error
		if l.between, err = proxy.Start(c.source.Addr); err != nil {
			return verdict{}, err
		}
		defer l.between.Close()
		if l.port, err = portOf(l.between.Addr()); err != nil {
			return verdict{}, err
		}
	}
	v, err := l.run(ctx, c.seed+uint64(number), l.unrest(done, n))
	v.cycles = n
	return v, err
}

// run makes everything, lets clients write while unrest is at work, which leaves a daemon that runs, and judges what comes of it.
func (l *life) run(ctx context.Context, seed uint64, unrest func(context.Context, *atomic.Int64) error) (v verdict, err error) {
	if err := l.prepare(ctx); err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, l.daemon.Stop(), l.remove(context.WithoutCancel(ctx))) }()
	writing, rest := context.WithCancel(ctx)
	defer rest()
	load := &load{url: l.url, seed: seed, crashes: l.kind == "dbcrash"}
	var g errgroup.Group
	g.Go(func() error { return load.run(writing) })
	err = unrest(ctx, &load.committed)
	rest()
	if err = errors.Join(err, g.Wait()); err != nil {
		return v, err
	}
	return l.judge(ctx)
}

// prepare makes the databases and the configuration.
func (l *life) prepare(ctx context.Context) error {
	dir := filepath.Join(l.dir, l.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, db := range []string{l.name, l.name + "_copy"} {
		if err := compare.Exec(ctx, l.source.URL, "CREATE DATABASE "+db); err != nil {
			return err
		}
	}
	l.url = "postgres://postgres@" + l.source.Addr + "/" + l.name
	if err := l.fill(ctx); err != nil {
		return err
	}
	config := filepath.Join(dir, "connectors.yaml")
	listen, err := daemon.Port()
	if err != nil {
		return err
	}
	l.daemon = &daemon.Daemon{Bin: l.bin, Config: config, DataDir: filepath.Join(dir, "data"), Listen: listen, Log: filepath.Join(dir, "daemon.log")}
	l.targets.Copy = ""
	if slices.Contains(l.sinks, "postgres") {
		l.targets.Copy = "postgres://postgres@" + l.source.Addr + "/" + l.name + "_copy"
	}
	if err := os.WriteFile(config, []byte(l.configuration()), 0o644); err != nil {
		return err
	}
	l.sides = append([]compare.Side{compare.NewPostgres("source", l.url, nil)}, daemon.Sides(l.daemon, l.name, l.targets)...)
	return nil
}

// fill makes the tables and the rows that are there from the beginning.
func (l *life) fill(ctx context.Context) error {
	if l.kind == "pgbench" {
		return l.fillPgbench(ctx)
	}
	return compare.Exec(ctx, l.url, schema)
}

// configuration is connectors.yaml of the life. Chunks are small, so that a snapshot has many.
func (l *life) configuration() string {
	text := fmt.Sprintf(`version: 1
connectors:
  - name: source
    config:
      connector.class: postgres
      topic.prefix: %[1]s
      database.hostname: 127.0.0.1
      database.port: %[2]d
      database.user: postgres
      database.dbname: %[1]s
      slot.name: %[1]s
      publication.name: %[1]s
      schema.include.list: public
      decimal.handling.mode: string
      snapshot.fetch.size: 1000
`, l.name, l.port)
	return text + l.sinksConfiguration(l.source.Addr)
}

// sinksConfiguration is the part of connectors.yaml that names the sinks; copies is the PostgreSQL server of the copy.
func (l *life) sinksConfiguration(copies string) (text string) {
	if l.targets.Copy != "" {
		text += fmt.Sprintf(`  - name: copy
    config:
      connector.class: postgres-sink
      topics.regex: %[1]s\..*
      connection.url: postgres://%[2]s/%[1]s_copy
      connection.username: postgres
`, l.name, copies)
	}
	if l.targets.Redis != "" {
		text += fmt.Sprintf(`  - name: cache
    config:
      connector.class: redis
      topics.regex: %[1]s\..*
      redis.uri: redis://%[2]s
      state.prefix: "tailrace:%[1]s:"
`, l.name, l.targets.Redis)
	}
	if l.targets.Elasticsearch != "" {
		text += fmt.Sprintf(`  - name: search
    config:
      connector.class: elasticsearch
      topics.regex: %[1]s\..*
      connection.url: %[2]s
`, l.name, l.targets.Elasticsearch)
	}
	return text
}

// moment draws how long a daemon lives: between shortest and longest, short lives more often.
func (c *campaign) moment() time.Duration {
	return time.Duration(float64(shortest) * math.Pow(float64(longest)/float64(shortest), c.rnd.Float64()))
}

// cycles starts and kills the daemon n times.
func (l *life) cycles(ctx context.Context, done, n int, committed *atomic.Int64) error {
	copying := 0
	for i := range n {
		wait := l.moment()
		if l.copying {
			wait = min(wait, longestCopying)
		}
		if err := l.daemon.Start(); err != nil {
			return err
		}
		var err error
		state := "starting"
		switch {
		case l.copying && i%4 > 0: // the others may die before they copy
			state, err = "snapshot", l.copyOn(ctx)
		case !l.copying && i == n/2: // the second half of a life falls into streaming
			err = l.copied(ctx)
		}
		if err != nil {
			return err
		}
		death := time.NewTimer(wait)
		state = l.watch(ctx, death.C, state)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.daemon.Kill(); err != nil {
			return err
		}
		if strings.HasPrefix(state, "snapshot") {
			copying++
		}
		fmt.Fprintf(l.out, "cycle %d: killed after %s, %s, %d transactions\n", done+i+1, wait.Round(time.Millisecond), state, committed.Load())
	}
	if l.copying {
		fmt.Fprintf(l.out, "%d of %d deaths while rows were copied, %d copies\n", copying, n, 1+l.copies)
	}
	return nil
}

// watch waits for the moment of death and returns what the daemon was doing shortly before; state is what it does now.
func (l *life) watch(ctx context.Context, death <-chan time.Time, state string) string {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-death:
			return state
		case <-ctx.Done():
			return state
		case <-look.C:
		}
		once, cancel := context.WithTimeout(ctx, 40*time.Millisecond)
		list, err := l.daemon.Status(once)
		cancel()
		if err != nil {
			continue
		}
		for _, c := range list {
			for _, t := range c.Tasks {
				switch {
				case t.Snapshot != nil && t.Snapshot.Completed:
					state = "streaming"
				case t.Snapshot != nil && t.Snapshot.Total <= 0:
					state = "snapshot"
				case t.Snapshot != nil:
					state = fmt.Sprintf("snapshot at %d %%", 100*t.Snapshot.Rows/t.Snapshot.Total)
				}
			}
		}
	}
}

// revive starts the daemon for good and waits until the snapshot is complete.
func (l *life) revive(ctx context.Context) error {
	start := time.Now()
	if err := l.daemon.Start(); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := l.daemon.Ready(ready); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "ready %s after the last start\n", time.Since(start).Round(time.Millisecond))
	return l.copied(ctx)
}

// copied waits until the snapshot is complete.
func (l *life) copied(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := l.daemon.Ready(ctx); err != nil {
		return err
	}
	return l.daemon.Until(ctx, func() (bool, error) {
		list, err := l.daemon.Status(ctx)
		if err != nil {
			return false, err
		}
		for _, c := range list {
			for _, t := range c.Tasks {
				if t.Snapshot != nil && t.Snapshot.Completed {
					return true, daemon.Failed(list)
				}
			}
		}
		return false, daemon.Failed(list)
	})
}

// settle lets everything come to rest and returns the tables.
func (l *life) settle(ctx context.Context) ([]*compare.Table, error) {
	settle, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := compare.Exec(ctx, l.url, "INSERT INTO sentinel VALUES (1, 'the end')"); err != nil {
		return nil, err
	}
	if err := l.daemon.Drained(settle, l.name+".public.sentinel", "the end"); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return nil, err
	}
	tables, err := compare.Tables(ctx, conn, "public")
	return tables, errors.Join(err, conn.Close(ctx))
}

// judge lets everything come to rest, holds the log against the journal and compares.
func (l *life) judge(ctx context.Context) (verdict, error) {
	tables, err := l.settle(ctx)
	if err != nil {
		return verdict{}, err
	}
	h, err := newHistory(ctx, l.url, l.out)
	if err != nil {
		return verdict{}, err
	}
	// The journal first: its order is that of the commits.
	ordered := slices.Clone(tables)
	if at := slices.IndexFunc(ordered, func(t *compare.Table) bool { return t.Name == "journal" }); at > 0 {
		ordered[0], ordered[at] = ordered[at], ordered[0]
	}
	for _, t := range ordered {
		if t.Name == "sentinel" {
			continue
		}
		in, err := l.daemon.Tail(ctx, l.name+".public."+t.Name)
		if err == nil && in == nil {
			err = errors.New("there is no such topic")
		}
		if err == nil {
			err = errors.Join(h.read(t, in), in.Close())
		}
		if err == nil && l.copying {
			var n int
			n, err = l.copiedOnce(ctx, t)
			h.doubled += n
		}
		if err != nil {
			return verdict{}, fmt.Errorf("%s: %w", t, err)
		}
	}
	if err := h.close(); err != nil {
		return verdict{}, err
	}
	h.differ, err = l.compare(ctx, tables)
	return h.verdict, err
}

// compare compares the tables on all sides and reports whether one differs.
func (l *life) compare(ctx context.Context, tables []*compare.Table) (differ bool, err error) {
	results, err := compare.Run(ctx, tables, l.sides)
	if err != nil {
		return false, err
	}
	if err := compare.Print(l.out, results, l.sides); err != nil {
		return false, err
	}
	compare.Explain(ctx, l.out, results, l.sides)
	return slices.ContainsFunc(results, func(r compare.Result) bool { return !r.Equal() }), nil
}

// remove drops the databases; the daemon has been stopped.
func (l *life) remove(ctx context.Context) error {
	if l.keep {
		return nil
	}
	return errors.Join(
		compare.Exec(ctx, l.source.URL, fmt.Sprintf("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '%s'", l.name)),
		compare.Exec(ctx, l.source.URL, "DROP DATABASE IF EXISTS "+l.name+" WITH (FORCE)"),
		compare.Exec(ctx, l.source.URL, "DROP DATABASE IF EXISTS "+l.name+"_copy WITH (FORCE)"))
}
