package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/rest"
)

func main() {
	bin := flag.String("bin", "build/tailrace", "the daemon")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	equal, err := run(ctx, *bin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
	}
	if err != nil || !equal {
		os.Exit(1)
	}
}

// tour is one run of the quickstart.
type tour struct {
	mu      sync.Mutex // of out
	out     io.Writer
	began   time.Time
	running []*servers.Server
	url     string // of the shop
	targets daemon.Targets
	env     []string
	daemon  *daemon.Daemon
	conn    *pgx.Conn
}

// say prints a line with the seconds since the start.
func (t *tour) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%5.1f s  %s\n", time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// run does all and reports whether every side is equal to the source.
func run(ctx context.Context, bin string, out io.Writer) (equal bool, err error) {
	t := &tour{out: out, began: time.Now()}
	dir, err := os.MkdirTemp("", "tailrace-quickstart-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, t.close(), os.RemoveAll(dir)) }()
	if err := t.start(ctx); err != nil {
		return false, err
	}
	listen, err := daemon.Port()
	if err != nil {
		return false, err
	}
	t.daemon = &daemon.Daemon{Bin: bin, Config: "connectors.yaml", DataDir: filepath.Join(dir, "data"), Listen: listen, Env: t.env, Log: filepath.Join(dir, "daemon.log")}
	if err := t.show(ctx); err != nil {
		return false, fmt.Errorf("%w\nthe daemon's last words:\n%s", err, t.daemon.LastWords())
	}
	return t.compare(ctx)
}

// start starts the servers and makes the shop, all at once.
func (t *tour) start(ctx context.Context) error {
	t.say("starting PostgreSQL, Redis and Elasticsearch, making a shop of %d rows", rows)
	g, run := errgroup.WithContext(ctx)
	names := []string{"postgres15", "redis", "elasticsearch8"}
	started := make([]*servers.Server, len(names))
	for i, name := range names {
		g.Go(func() (err error) {
			started[i], err = servers.Start(run, name, servers.Options{})
			if err == nil && name == "postgres15" {
				return makeShop(run, started[i])
			}
			if err != nil && name != "postgres15" && run.Err() == nil {
				t.say("without %v", err) // its sink is stopped, see life
				return nil
			}
			return err
		})
	}
	err := g.Wait()
	for _, s := range started {
		if s != nil {
			t.running = append(t.running, s)
			t.say("%s at %s", s.Name, s.Addr)
		}
	}
	if err != nil {
		return err
	}
	pg, redis, elastic := started[0], started[1], started[2]
	t.url, t.targets.Copy = database(pg, "shop"), database(pg, "copy")
	t.env = []string{fmt.Sprint("SHOP_PORT=", pg.Port), "SHOP_DATABASE=shop", "COPY_URL=postgres://" + pg.Addr + "/copy"}
	if redis != nil {
		t.targets.Redis = redis.URL
		t.env = append(t.env, "REDIS_URL=redis://"+redis.Addr)
	}
	if elastic != nil {
		t.targets.Elasticsearch = elastic.URL
		t.env = append(t.env, "ELASTICSEARCH_URL="+elastic.URL)
	}
	t.conn, err = pgx.Connect(ctx, t.url)
	return err
}

// database is the address of a database of a server.
func database(s *servers.Server, name string) string {
	return "postgres://postgres@" + s.Addr + "/" + name
}

// makeShop makes the databases and fills the shop.
func makeShop(ctx context.Context, pg *servers.Server) error {
	return errors.Join(
		compare.Exec(ctx, pg.URL, "CREATE DATABASE shop"),
		compare.Exec(ctx, pg.URL, "CREATE DATABASE copy"),
		compare.Exec(ctx, database(pg, "shop"), shop))
}

func (t *tour) close() error {
	var errs []error
	if t.daemon != nil {
		errs = append(errs, t.daemon.Stop())
	}
	if t.conn != nil {
		errs = append(errs, t.conn.Close(context.Background()))
	}
	for _, s := range slices.Backward(t.running) {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}

// catchUp bounds how long the sinks may take at the end.
const catchUp = 2 * time.Minute

// show runs the daemon under load with two kills, and waits until everything has arrived.
func (t *tour) show(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, t.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	w := &writer{conn: conn, rnd: rand.New(rand.NewPCG(1, 2))}
	writing, rest := context.WithCancel(ctx)
	defer rest()
	var g errgroup.Group
	g.Go(func() error { return w.run(writing) })
	err = t.lives(ctx, w)
	rest()
	if err = errors.Join(err, g.Wait()); err != nil {
		return err
	}
	t.say("the writer has committed %d transactions and rests; the sinks catch up", w.done.Load())
	if err := compare.Exec(ctx, t.url, "INSERT INTO sentinel VALUES (1, 'the end')"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if err := t.watch(ctx, func(p progress) bool { return p.behind == 0 }); err != nil { // what this does not see, Drained does
		return err
	}
	return t.daemon.Drained(ctx, "shop.public.sentinel", "the end")
}

// lives starts the daemon three times and kills it -9 in between: in the snapshot, and while it streams.
func (t *tour) lives(ctx context.Context, w *writer) error {
	killed := []struct {
		where string
		when  func(p progress) bool
	}{
		{"in the snapshot", func(p progress) bool { return p.rows > rows/5 }},
		{"while it streams", func(p progress) bool { return p.completed && w.done.Load() > 700 }},
		{"", func(p progress) bool { return p.completed && w.done.Load() > 1500 }},
	}
	for _, k := range killed {
		if err := t.daemon.Start(); err != nil {
			return err
		}
		t.say("tailrace serve -c connectors.yaml --data-dir ... --listen %s", t.daemon.Listen)
		if err := t.ready(ctx); err != nil {
			return err
		}
		if err := t.watch(ctx, k.when); err != nil {
			return err
		}
		if k.where == "" {
			return nil
		}
		if err := t.daemon.Kill(); err != nil {
			return err
		}
		t.say("kill -9 %s", k.where)
	}
	return nil
}

// ready waits for the daemon and stops the sinks that have no server.
func (t *tour) ready(ctx context.Context) error {
	err := t.daemon.Ready(ctx)
	for connector, target := range map[string]string{"search": t.targets.Elasticsearch, "cache": t.targets.Redis} {
		if err == nil && target == "" {
			err = t.daemon.StopConnector(ctx, connector)
		}
	}
	return err
}

// progress is what the daemon says of itself at one moment.
type progress struct {
	rows, total, events int64
	completed           bool
	behind              int64 // records that the sinks that run have not written
}

// watch prints a line every second until done says so.
func (t *tour) watch(ctx context.Context, done func(progress) bool) error {
	var last progress
	printed := time.Now()
	return t.daemon.Until(ctx, func() (bool, error) {
		list, err := t.daemon.Status(ctx)
		if err != nil {
			return false, err
		}
		lags, err := t.daemon.Lag(ctx)
		if err != nil {
			return false, err
		}
		p, sinks := read(list), daemon.Behind(list, lags)
		for _, n := range sinks {
			p.behind += n
		}
		if d := time.Since(printed); d >= time.Second {
			t.say("%s  %6.0f events/s  behind: %s", p.snapshot(), float64(max(0, p.events-last.events))/d.Seconds(), lagging(sinks))
			last, printed = p, time.Now()
		}
		return done(p), daemon.Failed(list)
	})
}

func read(list []rest.StatusInfo) progress {
	var p progress
	for _, c := range list {
		for _, k := range c.Tasks {
			if c.Type == "source" {
				p.events = k.Events
			}
			if k.Snapshot != nil {
				p.rows, p.total, p.completed = k.Snapshot.Rows, k.Snapshot.Total, k.Snapshot.Completed
			}
		}
	}
	return p
}

func (p progress) snapshot() string {
	if p.completed {
		return fmt.Sprintf("snapshot done (%d rows)", p.rows)
	}
	if p.total == 0 {
		return "starting"
	}
	return fmt.Sprintf("snapshot %d rows, %d %%", p.rows, 100*p.rows/rows)
}

// lagging names the sinks in alphabetical order, each with the records it is behind.
func lagging(sinks map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(sinks)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, sinks[name]))
	}
	return strings.Join(parts, "  ")
}

// compare prints the table at the end.
func (t *tour) compare(ctx context.Context) (bool, error) {
	t.say("reading every row of the source, the log and the sinks")
	tables, err := compare.Tables(ctx, t.conn, "public")
	if err != nil {
		return false, err
	}
	sides := append([]compare.Side{compare.NewPostgres("source", t.url, nil)}, daemon.Sides(t.daemon, "shop", t.targets)...)
	results, err := compare.Run(ctx, tables, sides)
	if err != nil {
		return false, err
	}
	fmt.Fprintln(t.out)
	if err := compare.Print(t.out, results, sides); err != nil {
		return false, err
	}
	compare.Explain(ctx, t.out, results, sides)
	equal := !slices.ContainsFunc(results, func(r compare.Result) bool { return !r.Equal() })
	fmt.Fprintln(t.out)
	if equal {
		t.say("all sides are equal: nothing lost, nothing doubled, after two kill -9")
	} else {
		t.say("the sides differ")
	}
	return equal, nil
}
