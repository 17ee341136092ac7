package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
)

// The connectors of a seed: one that was there before the first row, one that comes while clients write, one that copies what there is
// at the end.
const (
	modelStream = "s"
	modelWoven  = "w"
	modelCopy   = "c"
	modelSink   = "redis"
)

// modelSettle bounds how long the log and the sink may take to catch up.
const modelSettle = 60 * time.Second

// model runs n seeds, each with databases and a daemon of its own, and counts the violations.
func model(ctx context.Context, database string, n int, seed uint64, keep bool, out io.Writer) (violations int, err error) {
	source, d, err := modelServer(ctx, database)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, source.Stop()) }()
	cache, err := servers.Start(ctx, "redis", servers.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cache.Stop()) }()
	dir, err := os.MkdirTemp("", "tailrace-model-")
	if err != nil {
		return 0, err
	}
	bin, err := daemon.Build(ctx, dir)
	if err != nil {
		return 0, err
	}
	for i := range n {
		r := &modelRun{db: d, cache: cache.Addr, seed: seed + uint64(i), name: fmt.Sprintf("model_%d_%d", os.Getpid(), i+1), out: out, recopied: map[string]bool{}}
		r.dir = filepath.Join(dir, fmt.Sprintf("seed%d", r.seed))
		r.rnd = rand.New(rand.NewPCG(r.seed, 0))
		if pg, ok := d.(pgDialect); ok {
			pg.filtered = r.rnd.IntN(4) == 0
			r.db = pg
		}
		if err := r.run(ctx, bin); err != nil {
			return violations, fmt.Errorf("seed %d: %w; its data and logs are in %s", r.seed, err, r.dir)
		}
		fmt.Fprintf(out, "%s\n", r)
		if violations += r.violations; r.violations > 0 {
			fmt.Fprintf(out, "  data and logs are kept in %s\n", r.dir)
		} else if !keep {
			if err := os.RemoveAll(r.dir); err != nil {
				return violations, err
			}
		}
	}
	if violations == 0 && !keep {
		err = os.RemoveAll(dir)
	}
	return violations, err
}

// modelServer starts a source.
func modelServer(ctx context.Context, database string) (*servers.Server, dialect, error) {
	settings := map[string]string{"max_prepared_transactions": "40", "max_connections": "60", "deadlock_timeout": "50ms", "logical_decoding_work_mem": "64kB"}
	if !strings.HasPrefix(database, "postgres") {
		settings = nil
	}
	s, err := servers.Start(ctx, database, servers.Options{Settings: settings})
	if err != nil {
		return nil, nil, err
	}
	if settings != nil {
		return s, pgDialect{pgFamily: pgFamily{s}}, nil
	}
	d, err := newMySQLDialect(ctx, newMySQLFamily(s, database))
	if err != nil {
		return nil, nil, errors.Join(err, s.Stop())
	}
	return s, d, nil
}

// A modelRun is one seed.
type modelRun struct {
	db     dialect
	cache  string // address of the Redis
	seed   uint64
	name   string // of the database
	dir    string
	out    io.Writer
	rnd    *rand.Rand
	daemon *daemon.Daemon
	load   *modelLoad
	plan   []modelStrike

	recopied   map[string]bool // tables without a key that are copied once more: what is streamed meanwhile is left out
	samples    []modelSample
	events     int
	violations int
	took       time.Duration
}

// String is one line about a seed: what it was made of, the schedule of its nemesis, and what came of it.
func (r *modelRun) String() string {
	var shapes, strikes []string
	for _, t := range r.load.schema.tables() {
		shapes = append(shapes, fmt.Sprintf("%s/%d", t.key.name, len(t.columns)))
	}
	for _, s := range r.plan {
		strikes = append(strikes, fmt.Sprintf("%dms %s", s.after.Milliseconds(), s.kind))
	}
	return fmt.Sprintf("seed %d: %s; %s; %d transactions, %d events, %d samples, %d violations in %.1f s", r.seed, strings.Join(shapes, " "),
		strings.Join(strikes, ", "), r.load.committed.Load(), r.events, len(r.samples), r.violations, r.took.Seconds())
}

func (r *modelRun) run(ctx context.Context, bin string) (err error) {
	begun := time.Now()
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return err
	}
	listen, err := daemon.Port()
	if err != nil {
		return err
	}
	r.daemon = &daemon.Daemon{Bin: bin, DataDir: filepath.Join(r.dir, "data"), Listen: listen, Log: filepath.Join(r.dir, "daemon.log")}
	r.daemon.Args = []string{"serve", "--data-dir", r.daemon.DataDir, "--listen", listen}
	schema := &modelSchema{name: r.db.schema(r.name)}
	statements := []string{"CREATE TABLE journal (client int, seq bigint, ops text NOT NULL, PRIMARY KEY (client, seq))"}
	for range 3 + r.rnd.IntN(4) {
		t := schema.random(r.db, r.rnd, false)
		schema.replace(nil, t)
		statements = append(statements, t.create()...)
	}
	r.load = &modelLoad{db: r.db, name: r.name, seed: r.seed, schema: schema, truncated: map[string]int{}, torn: r.rnd.IntN(2) == 0, tornTables: map[string]bool{}}
	r.plan = makePlan(r.rnd)
	if err := r.db.create(ctx, r.name, statements); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.daemon.Stop(), r.db.drop(context.WithoutCancel(ctx), r.name))
		r.took = time.Since(begun)
	}()
	if err := r.daemon.Start(); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.write(ctx); err != nil {
		return err
	}
	return r.settle(ctx)
}

// begin lets the first connector and the sink run.
func (r *modelRun) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, modelSettle)
	defer cancel()
	if err := r.daemon.Ready(ctx); err != nil {
		return err
	}
	sink := map[string]string{"connector.class": "redis", "topics.regex": r.name + `[sw]\..*\.(t[0-9]+|journal)`, "redis.uri": "redis://" + r.cache, "state.prefix": "tailrace:" + r.name + ":"}
	if err := errors.Join(r.connect(ctx, modelStream, "initial"), r.daemon.Configure(ctx, modelSink, sink)); err != nil {
		return err
	}
	return r.copied(ctx, modelStream)
}

// connect makes a source connector. Its batches are so small that a transaction is in many, and a kill falls into one.
func (r *modelRun) connect(ctx context.Context, name, mode string) error {
	config := map[string]string{"topic.prefix": r.name + name, "snapshot.mode": mode, "decimal.handling.mode": "string", "snapshot.fetch.size": fmt.Sprint(2 + r.rnd.IntN(60)),
		"snapshot.max.threads": fmt.Sprint(1 + r.rnd.IntN(2)), "max.batch.size": fmt.Sprint(1 + r.rnd.IntN(20))}
	maps.Copy(config, r.db.connector(r.name, r.name+name))
	return r.daemon.Configure(ctx, name, config)
}

// copied waits until a connector has copied what there was.
func (r *modelRun) copied(ctx context.Context, name string) error {
	return r.daemon.Until(ctx, func() (bool, error) {
		list, err := r.daemon.Status(ctx)
		if err != nil {
			return false, err
		}
		for _, c := range list {
			for _, t := range c.Tasks {
				if c.Name == name && t.Snapshot != nil && t.Snapshot.Completed {
					return true, daemon.Failed(list)
				}
			}
		}
		return false, daemon.Failed(list)
	})
}

// write lets clients write while the nemesis strikes and samples are taken.
func (r *modelRun) write(ctx context.Context) error {
	writing, rest := context.WithCancel(ctx)
	defer rest()
	var g errgroup.Group
	g.Go(func() error { return r.load.run(writing) })
	err := r.nemesis(ctx)
	rest()
	return errors.Join(err, g.Wait())
}

// settle lets all that was written arrive, copies it once more, and judges.
func (r *modelRun) settle(ctx context.Context) error {
	wait, cancel := context.WithTimeoutCause(ctx, modelSettle, errors.New("it does not come to rest"))
	defer cancel()
	if err := r.sample(wait); err != nil {
		return err
	}
	if err := r.connect(wait, modelCopy, "initial_only"); err != nil {
		return err
	}
	if err := r.copied(wait, modelCopy); err != nil {
		return err
	}
	last := fmt.Sprintf(`"client":%d,"seq":%d`, modelSampler, len(r.samples))
	for _, name := range []string{modelStream, modelWoven} {
		if err := r.daemon.Drained(wait, strings.Join([]string{r.name + name, r.load.schema.name, "journal"}, "."), last); err != nil {
			return err
		}
	}
	return r.judge(ctx)
}

// A modelSample is what the tables held when a transaction committed. Nothing else was under way then.
type modelSample struct {
	seq         int
	keyed, bags []*compare.Table
	rows        map[string]held
}

// held is rows of one table that are kept in memory.
type held struct{ keys, lines []string }

// sample reads all tables and writes a row of the journal that marks the moment.
func (r *modelRun) sample(ctx context.Context) error {
	r.load.gate.Lock()
	defer r.load.gate.Unlock()
	s := modelSample{seq: len(r.samples) + 1, rows: map[string]held{}}
	s.keyed, s.bags = r.load.schema.compared()
	side := r.db.side(r.name)
	for _, t := range append(s.keyed[:len(s.keyed):len(s.keyed)], s.bags...) {
		var h held
		err := side.Read(ctx, t, func(key, line string) error {
			h.keys, h.lines = append(h.keys, key), append(h.lines, line)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		s.rows[t.Name] = h
	}
	conn, err := r.db.connect(ctx, r.name)
	if err != nil {
		return err
	}
	err = conn.exec(ctx, fmt.Sprintf("INSERT INTO journal VALUES (%d, %d, '[]')", modelSampler, s.seq))
	if err = errors.Join(err, conn.close(ctx)); err == nil {
		r.samples = append(r.samples, s)
	}
	return err
}
