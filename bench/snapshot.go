package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/postgres"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

// copyRows measures B10: existing rows of B1's kind into the log with one and with two readers, against psql COPY > /dev/null.
func copyRows(ctx context.Context, l *lab, o options) ([]figure, error) {
	if err := l.fillSnap(ctx, o.copied); err != nil {
		return nil, err
	}
	figures := []figure{
		{id: "B10", what: fmt.Sprintf("snapshot of %d rows into the log, 1 reader / psql COPY, rows/s", o.copied), floor: 0.75, target: 0.90},
		{id: "B10", what: fmt.Sprintf("snapshot of %d rows into the log, 2 readers / psql COPY, rows/s", o.copied), floor: 0.95, target: 1.15},
	}
	for round := range o.rounds {
		cmd := exec.CommandContext(ctx, "psql", "-h", l.srv.Dir, "-p", fmt.Sprint(l.srv.Port), "-U", "postgres", "-d", "postgres", "-qc", "copy snap to stdout")
		cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
		ref, err := measure(cmd)
		if err != nil {
			return figures, fmt.Errorf("psql: %w", err)
		}
		for i := range figures {
			took, u, err := l.copyChild(ctx, i+1)
			if err != nil {
				return figures, err
			}
			figures[i].values = append(figures[i].values, ref.wall/took)
			fmt.Printf("  round %d: psql COPY %.2f s; tailrace with %d readers %.2f s, %.2f CPU s, %.0f MB\n", round+1, ref.wall, i+1, took, u.cpu, u.rss)
		}
	}
	return figures, l.dropSlots(ctx)
}

// fillSnap makes the table snap, of so many rows of B1's kind.
func (l *lab) fillSnap(ctx context.Context, rows int) error {
	for _, sql := range []string{"drop table if exists snap", "create table snap (like b including all)",
		fmt.Sprintf("insert into snap select %s from generate_series(1, %d) i", newRow, rows), "vacuum (analyze, freeze) snap", "checkpoint"} {
		if _, err := l.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// besideStream measures B10s: how late events of a stream of 5,000 a second become durable while rows are copied, against the same stream
// in the seconds before.
func besideStream(ctx context.Context, l *lab, o options) ([]figure, error) {
	if err := l.fillSnap(ctx, o.copied); err != nil {
		return nil, err
	}
	f := figure{id: "B10s", what: fmt.Sprintf("commit -> durable at 5000 events/s while %d rows are copied, p99 / p99 before", o.copied), floor: 4, target: 2, atMost: true}
	for round := range o.rounds {
		name, cfg := l.connector()
		cfg["table.include.list"], cfg["publication.name"], cfg["snapshot.max.threads"] = `public\.(b|snap)`, "bench_snap", "2"
		j := job{Data: l.data(), Name: name, Config: cfg, For: 8 * time.Second, Copy: "public.snap"}
		write, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- l.trickle(write, 5) }()
		r, u, err := l.child(ctx, j)
		stop()
		if err = errors.Join(err, <-ended); err != nil {
			return nil, err
		}
		f.values = append(f.values, r.Beside/r.P99)
		fmt.Printf("  round %d: p99 %.1f ms, %.1f ms while rows are copied for %.1f s, %.0f MB\n", round+1, r.P99, r.Beside, r.Copied, u.rss)
	}
	return []figure{f}, l.dropSlots(ctx)
}

// copyBeside asks a connector for a copy of j.Copy, waits for its end, and returns the seconds that took.
func copyBeside(ctx context.Context, w *worker.Worker, g *gauge, j job) (float64, error) {
	data, err := json.Marshal(map[string]any{"type": "incremental", "data-collections": []string{j.Copy}})
	if err != nil {
		return 0, err
	}
	g.copying.Store(true)
	begun := time.Now()
	if _, err := w.Signal(ctx, j.Name, snapshot.Signal{Type: "execute-snapshot", Data: data}); err != nil {
		return 0, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		s, err := w.Status(j.Name)
		if err != nil {
			return 0, err
		}
		if len(s.Tasks) != 1 || s.Tasks[0].State == worker.Failed {
			return 0, fmt.Errorf("the connector is %s: %+v", s.State, s.Tasks)
		}
		if p := s.Tasks[0].Snapshot; p != nil && p.Completed && p.Copied > 0 {
			break
		}
	}
	g.copying.Store(false)
	return time.Since(begun).Seconds(), nil
}

// copyChild runs this program as a child that copies the table snap, and returns how many seconds the copy took.
func (l *lab) copyChild(ctx context.Context, threads int) (float64, usage, error) {
	name, cfg := l.connector()
	cfg["table.include.list"], cfg["snapshot.mode"], cfg["snapshot.max.threads"] = "public.snap", "initial", fmt.Sprint(threads)
	cfg["publication.name"] = "bench_snap"
	arg, err := json.Marshal(job{Data: l.data(), Name: name, Config: cfg})
	if err != nil {
		return 0, usage{}, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, l.self, "copy", string(arg))
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	u, err := measure(cmd)
	if err != nil {
		return 0, u, fmt.Errorf("child: %w", err)
	}
	var took float64
	return took, u, json.Unmarshal(out.Bytes(), &took)
}

// copyAll runs one connector as the daemon would until its snapshot is complete, and prints the seconds from its start to the
// moment when the last row was durable.
func copyAll(arg string) (err error) {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	log, err := disk.Open(ctx, disk.Options{Dir: j.Data, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	reg, err := rowcodec.Open(ctx, log)
	if err != nil {
		return err
	}
	w, err := worker.Open(ctx, worker.Options{Log: log, Codec: codec{reg, nil}, Sources: []source.Plugin{postgres.Plugin},
		Providers: config.Providers{Env: os.LookupEnv}, Version: "bench", ID: "bench", Logger: logger, Now: time.Now})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	begun := time.Now()
	if err := w.Apply(ctx, j.Name, j.Config, worker.Running); err != nil {
		return err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		s, err := w.Status(j.Name)
		if err != nil {
			return err
		}
		if len(s.Tasks) != 1 || s.Tasks[0].State == worker.Failed {
			return fmt.Errorf("the connector is %s: %+v", s.State, s.Tasks)
		}
		// The report comes with the batch of the last row; the batch after it is counted when the log has that one.
		if t := s.Tasks[0]; t.Snapshot != nil && t.Snapshot.Completed && t.Events >= t.Snapshot.Copied {
			break
		}
	}
	took := time.Since(begun).Seconds()
	cancel()
	return errors.Join(<-ended, json.NewEncoder(os.Stdout).Encode(took))
}
