package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
)

// binlogServer returns the server that -db names, its connector's class, and settings: none logs the names of columns, so that structures
// are followed.
func binlogServer(name string) (server, class string, settings map[string]string, err error) {
	if server, err = databases(name); err != nil {
		return "", "", nil, err
	}
	switch {
	case name == "mariadb":
		return server, "mariadb", map[string]string{"binlog_row_metadata": "NO_LOG"}, nil
	case strings.HasPrefix(name, "mysql"):
		return server, "mysql", map[string]string{"binlog_row_metadata": "MINIMAL"}, nil
	}
	return "", "", nil, fmt.Errorf("-db %s: it has no binary log; use mariadb, mysql80 or mysql97", name)
}

// A binlogLife is a life whose source has a binary log.
type binlogLife struct {
	*life
	class string
}

// binlogCampaign runs lives on a MariaDB or MySQL: with p.cycles of unrest, or with an undisturbed load for so long.
func binlogCampaign(ctx context.Context, db string, p plan, undisturbed time.Duration) (v verdict, err error) {
	server, class, settings, err := binlogServer(db)
	if err != nil {
		return v, err
	}
	c := &campaign{plan: p, rnd: rand.New(rand.NewPCG(p.seed, 0)), out: os.Stdout}
	if c.dir, err = os.MkdirTemp("", "tailrace-campaign-"); err != nil {
		return v, err
	}
	defer func() {
		if err == nil && v.clean() && !p.keep {
			err = os.RemoveAll(c.dir)
		} else {
			fmt.Fprintf(c.out, "logs and data are kept in %s\n", c.dir)
		}
	}()
	if c.bin, err = daemon.Build(ctx, c.dir); err != nil {
		return v, err
	}
	c.database = "postgres15" // where the copy is
	stop, err := c.startServers(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return v, err
	}
	source, err := servers.Start(ctx, server, servers.Options{Settings: settings})
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, source.Stop()) }()
	copies := c.source
	c.source = source
	for number := 1; v.cycles < max(p.cycles, 1); number++ {
		l := &binlogLife{&life{campaign: c, name: fmt.Sprintf("%s_%d_%d", cmp.Or(p.kind, "oltp"), os.Getpid(), number), port: source.Port}, class}
		n := min(cyclesOfLife, p.cycles-v.cycles)
		unrest := l.unrest(v.cycles, n)
		if undisturbed > 0 {
			unrest = func(ctx context.Context, _ *atomic.Int64) error {
				return errors.Join(l.revive(ctx), pauseFor(ctx, undisturbed))
			}
		}
		one, err := l.run(ctx, copies, p.seed+uint64(number), unrest)
		if err != nil {
			return v, fmt.Errorf("life %d: %w", number, err)
		}
		one.cycles = max(n, 1)
		v.add(one)
		fmt.Fprintf(c.out, "life %d: %s\n", number, one)
		if !v.clean() {
			break
		}
	}
	return v, nil
}

// run makes everything, lets clients write while unrest is at work, and judges what comes of it.
func (l *binlogLife) run(ctx context.Context, copies *servers.Server, seed uint64, unrest func(context.Context, *atomic.Int64) error) (v verdict, err error) {
	load := &oltpLoad{addr: l.source.Addr, database: l.name, seed: seed, crashes: l.kind == "dbcrash"}
	if l.kind == "resets" {
		if l.between, err = proxy.Start(l.source.Addr); err != nil {
			return v, err
		}
		defer l.between.Close()
		if l.port, err = portOf(l.between.Addr()); err != nil {
			return v, err
		}
	}
	if err := l.prepare(ctx, copies); err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, l.daemon.Stop(), l.remove(copies)) }()
	writing, rest := context.WithCancel(ctx)
	defer rest()
	var g errgroup.Group
	g.Go(func() error { return load.run(writing) })
	err = unrest(ctx, &load.committed)
	rest()
	if err = errors.Join(err, g.Wait()); err != nil {
		return v, err
	}
	fmt.Fprintf(l.out, "%d transactions\n", load.committed.Load())
	return l.judge(ctx)
}

// exec runs statements on the source.
func (l *binlogLife) exec(database string, statements ...string) (err error) {
	c, err := mysqlclient.Connect(l.source.Addr, "root", "", database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, sql := range append([]string{"SET NAMES utf8mb4"}, statements...) {
		if _, err := c.Execute(sql); err != nil {
			return fmt.Errorf("%.60s: %w", sql, err)
		}
	}
	return nil
}

func (l *binlogLife) prepare(ctx context.Context, copies *servers.Server) error {
	dir := filepath.Join(l.dir, l.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := errors.Join(l.exec("", "CREATE DATABASE "+l.name), compare.Exec(ctx, copies.URL, "CREATE DATABASE "+l.name+"_copy")); err != nil {
		return err
	}
	if err := l.exec(l.name, oltpSchema()...); err != nil {
		return err
	}
	listen, err := daemon.Port()
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "connectors.yaml")
	l.daemon = &daemon.Daemon{Bin: l.bin, Config: config, DataDir: filepath.Join(dir, "data"), Listen: listen, Log: filepath.Join(dir, "daemon.log")}
	l.targets.Copy = ""
	if slices.Contains(l.sinks, "postgres") {
		l.targets.Copy = "postgres://postgres@" + copies.Addr + "/" + l.name + "_copy"
	}
	head := fmt.Sprintf(`version: 1
connectors:
  - name: source
    config:
      connector.class: %s
      topic.prefix: %s
      database.hostname: 127.0.0.1
      database.port: %d
      database.user: root
      database.include.list: %[2]s
      table.exclude.list: %[2]s\._.*
      decimal.handling.mode: string
      snapshot.fetch.size: 1000
`, l.class, l.name, l.port)
	if err := os.WriteFile(config, []byte(head+l.sinksConfiguration(copies.Addr)), 0o644); err != nil {
		return err
	}
	l.sides = append([]compare.Side{compare.NewMySQL("source", l.source.Addr)}, daemon.Sides(l.daemon, l.name, l.targets)...)
	return nil
}

// judge lets everything come to rest and compares.
func (l *binlogLife) judge(ctx context.Context) (v verdict, err error) {
	settle, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := l.exec(l.name, "INSERT INTO sentinel VALUES (1, 'the end')"); err != nil {
		return v, err
	}
	if err := l.daemon.Drained(settle, l.name+"."+l.name+".sentinel", "the end"); err != nil {
		return v, err
	}
	h, tables := newChronicle(l.out, byGTID), oltpCompared(l.name)
	for _, t := range tables {
		if t.Name == "sentinel" {
			continue
		}
		in, err := l.daemon.Tail(ctx, strings.Join([]string{l.name, l.name, t.Name}, "."))
		if err == nil && in == nil {
			err = errors.New("there is no such topic")
		}
		if err == nil {
			err = errors.Join(h.read(t, in), in.Close())
		}
		if err != nil {
			return v, fmt.Errorf("%s: %w", t, err)
		}
	}
	commits, err := l.commits()
	if err != nil {
		return v, err
	}
	h.close(commits)
	h.proves()
	if h.differ, err = l.compare(ctx, tables); err != nil {
		return v, err
	}
	return h.verdict, nil
}

// commits reads client and seq of each transaction in the source's journal.
func (l *binlogLife) commits() (keys []string, err error) {
	conn, err := mysqlclient.Connect(l.source.Addr, "root", "", l.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	r, err := conn.Execute("SELECT concat(client, '\t', seq) FROM journal")
	if err != nil {
		return nil, err
	}
	for i := range r.RowNumber() {
		key, err := r.GetString(i, 0)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// remove drops the databases; the daemon has been stopped.
func (l *binlogLife) remove(copies *servers.Server) error {
	if l.keep {
		return nil
	}
	return errors.Join(l.exec("", "DROP DATABASE "+l.name), compare.Exec(context.Background(), copies.URL, "DROP DATABASE IF EXISTS "+l.name+"_copy WITH (FORCE)"))
}
