package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	equal, err := run(ctx, os.Stdout)
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
	out     io.Writer
	began   time.Time
	running []*servers.Server
	source  *servers.Server
	url     string // of the shop
	targets daemon.Targets
	env     []string
	daemon  *daemon.Daemon
	conn    *pgx.Conn
}

// say prints a line with the seconds since the start.
func (t *tour) say(format string, args ...any) {
	fmt.Fprintf(t.out, "%5.1f s  %s\n", time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// run does all and reports whether every side is equal to the source.
func run(ctx context.Context, out io.Writer) (equal bool, err error) {
	t := &tour{out: out, began: time.Now()}
	dir, err := os.MkdirTemp("", "tailrace-quickstart-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, t.close(), os.RemoveAll(dir)) }()
	t.say("building tailrace")
	bin, err := daemon.Build(ctx, dir)
	if err != nil {
		return false, err
	}
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

// start starts the servers and makes the shop.
func (t *tour) start(ctx context.Context) error {
	for _, name := range []string{"postgres15", "redis", "elasticsearch8"} {
		s, err := servers.Start(ctx, name, servers.Options{})
		if err != nil {
			if name == "postgres15" {
				return err
			}
			t.say("without %s: %v", name, err)
			continue
		}
		t.running = append(t.running, s)
		t.say("%s at %s", name, s.Addr)
		switch name {
		case "postgres15":
			t.source = s
		case "redis":
			t.targets.Redis = s.Addr
		default:
			t.targets.Elasticsearch = s.URL
		}
	}
	for _, db := range []string{"shop", "copy"} {
		if err := compare.Exec(ctx, t.source.URL, "CREATE DATABASE "+db); err != nil {
			return err
		}
	}
	t.url, t.targets.Copy = "postgres://postgres@"+t.source.Addr+"/shop", "postgres://postgres@"+t.source.Addr+"/copy"
	if err := compare.Exec(ctx, t.url, shop); err != nil {
		return err
	}
	t.say("the shop has %d rows in 5 tables", rows)
	t.env = []string{fmt.Sprint("SHOP_PORT=", t.source.Port), "SHOP_DATABASE=shop", "COPY_URL=postgres://" + t.source.Addr + "/copy",
		"REDIS_URL=redis://" + t.targets.Redis, "ELASTICSEARCH_URL=" + t.targets.Elasticsearch}
	var err error
	t.conn, err = pgx.Connect(ctx, t.url)
	return err
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
		if err := t.daemon.Ready(ctx); err != nil {
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

// progress is what the daemon says of itself at one moment.
type progress struct {
	rows, total, events int64
	completed           bool
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
		p := read(list)
		if d := time.Since(printed); d >= time.Second {
			lags, err := t.daemon.Lag(ctx)
			if err != nil {
				return false, err
			}
			t.say("%s  %.0f events/s  behind: %s", p.snapshot(), float64(p.events-last.events)/d.Seconds(), behind(lags))
			last, printed = p, time.Now()
		}
		return done(p), t.failed(list)
	})
}

// failed returns why a connector has failed; a target that could not be had is no reason.
func (t *tour) failed(list []rest.StatusInfo) error {
	return daemon.Failed(slices.DeleteFunc(list, func(s rest.StatusInfo) bool {
		return s.Name == "search" && t.targets.Elasticsearch == "" || s.Name == "cache" && t.targets.Redis == ""
	}))
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
	return fmt.Sprintf("snapshot %d rows, %d %%", p.rows, 100*p.rows/rows)
}

// behind sums the lag of each sink.
func behind(lags []rest.LagInfo) string {
	sums, text := map[string]int64{}, ""
	var names []string
	for _, l := range lags {
		if _, ok := sums[l.Connector]; !ok {
			names = append(names, l.Connector)
		}
		sums[l.Connector] += l.Lag
	}
	slices.Sort(names)
	for _, n := range names {
		text += fmt.Sprintf("%s %d  ", n, sums[n])
	}
	return text
}

// compare prints the table at the end.
func (t *tour) compare(ctx context.Context) (bool, error) {
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
