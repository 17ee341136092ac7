package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// round is one drain of the same backlog by both sides.
type round struct {
	ours, ref usage
	rep       report
	prefix    string // of our topics
}

// drain prepares o.rounds connectors and reference slots, makes a backlog and drains it by turns. Every child has a
// data directory of its own if fresh is set.
func (l *lab) drain(ctx context.Context, o options, size int, adapt func(*job)) ([]round, string, error) {
	var jobs []job
	var slots []string
	data := l.data()
	for range o.rounds {
		if adapt != nil {
			data = l.data()
		}
		j, err := l.prepare(ctx, data)
		if err != nil {
			return nil, data, err
		}
		slot, err := l.slot(ctx)
		if err != nil {
			return nil, data, err
		}
		jobs, slots = append(jobs, j), append(slots, slot)
	}
	target, err := l.grow(ctx, o.rows, size)
	if err != nil {
		return nil, data, err
	}
	var rounds []round
	for i := range jobs {
		r := round{prefix: jobs[i].Config["topic.prefix"]}
		if r.ref, err = l.reference(ctx, slots[i], "/dev/null", target); err != nil {
			return rounds, data, err
		}
		jobs[i].Target = target
		if adapt != nil {
			adapt(&jobs[i])
		}
		if r.rep, r.ours, err = l.child(ctx, jobs[i]); err != nil {
			return rounds, data, err
		}
		fmt.Printf("  round %d: %d rows, pg_recvlogical %.2f s, %.2f CPU s; tailrace %.2f s, %.2f CPU s, %.0f MB\n",
			i+1, r.rep.Rows, r.ref.wall, r.ref.cpu, r.ours.wall, r.ours.cpu, r.ours.rss)
		rounds = append(rounds, r)
	}
	return rounds, data, l.dropSlots(ctx)
}

// dropSlots removes the slots, so that WAL can go.
func (l *lab) dropSlots(ctx context.Context) error {
	_, err := l.conn.Exec(ctx, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active; checkpoint")
	return err
}

func collect(f figure, rounds []round, value func(round) float64) figure {
	for _, r := range rounds {
		f.values = append(f.values, value(r))
	}
	return f
}

func drainLarge(ctx context.Context, l *lab, o options) ([]figure, error) {
	rounds, data, err := l.drain(ctx, o, 1000, nil)
	if err != nil {
		return nil, err
	}
	var back []round
	for _, r := range rounds {
		var again round
		if again.rep, _, err = l.child(ctx, job{Data: data, Config: map[string]string{"topic.prefix": r.prefix}, Reread: true}); err != nil {
			return nil, err
		}
		back = append(back, again)
	}
	wire, err := l.wireBytes(ctx)
	if err != nil {
		return nil, err
	}
	last := rounds[len(rounds)-1].rep
	stored := float64(last.Bytes) / float64(last.Rows)
	return []figure{
		collect(figure{id: "B1", what: "1000-row transactions -> fsynced log, rows/s / pg_recvlogical", floor: 0.70, target: 0.85}, rounds,
			func(r round) float64 { return r.ref.wall / r.ours.wall }),
		collect(figure{id: "B4", what: "CPU per row / pg_recvlogical's", floor: 2.5, target: 1.8, atMost: true}, rounds,
			func(r round) float64 { return r.ours.cpu / r.ref.cpu }),
		collect(figure{id: "B6", what: "allocations per row in the whole process, decode -> rowcodec -> append", floor: 2, target: 0.1, atMost: true}, rounds,
			func(r round) float64 { return float64(r.rep.Mallocs) / float64(r.rep.Rows) }),
		collect(figure{id: "B6", what: "the same, read -> decode -> Debezium JSON", floor: 2, target: 0.1, atMost: true}, back,
			func(r round) float64 { return float64(r.rep.Mallocs) / float64(r.rep.JSONRows) }),
		{id: "B6s", what: "bytes in the log per row / bytes of pgoutput", floor: 1.6, target: 1.2, atMost: true, values: []float64{stored / wire}},
		collect(figure{id: "B7", what: "peak RSS in B1", floor: 96, target: 48, atMost: true, unit: " MB"}, rounds,
			func(r round) float64 { return r.ours.rss }),
	}, nil
}

// wireBytes returns the bytes of pgoutput per row of a sample of B1's backlog.
func (l *lab) wireBytes(ctx context.Context) (float64, error) {
	slot, err := l.slot(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := l.grow(ctx, 20_000, 1000); err != nil {
		return 0, err
	}
	var bytes, rows float64
	err = l.conn.QueryRow(ctx, `select sum(length(data)), count(*) filter (where get_byte(data, 0) in (68, 73, 85))
from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'bench')`, slot).Scan(&bytes, &rows)
	if err != nil {
		return 0, err
	}
	return bytes / rows, l.dropSlots(ctx)
}

func drainJSON(ctx context.Context, l *lab, o options) ([]figure, error) {
	rounds, _, err := l.drain(ctx, o, 1000, func(j *job) { j.JSON = true })
	f := figure{id: "B1j", what: "B1 while a second loop encodes Debezium JSON, rows/s of the slower / pg_recvlogical", floor: 0.60, target: 0.75}
	return []figure{collect(f, rounds, func(r round) float64 { return r.ref.wall / r.ours.wall })}, err
}

func drainSmall(ctx context.Context, l *lab, o options) ([]figure, error) {
	rounds, _, err := l.drain(ctx, options{rows: o.rows / 2, rounds: o.rounds}, 1, nil)
	f := figure{id: "B2", what: "single-row transactions -> fsynced log, rows/s / pg_recvlogical", floor: 0.75, target: 0.88}
	return []figure{collect(f, rounds, func(r round) float64 { return r.ref.wall / r.ours.wall })}, err
}

// drainTCP is B1 with both sides on TCP, where the server makes one send for each message.
func drainTCP(ctx context.Context, l *lab, o options) ([]figure, error) {
	socket := l.host
	l.host = "127.0.0.1"
	defer func() { l.host = socket }()
	rounds, _, err := l.drain(ctx, o, 1000, nil)
	f := figure{id: "B3", what: "B1 over TCP / pg_recvlogical over TCP", floor: 0.80, target: 0.92}
	return []figure{collect(f, rounds, func(r round) float64 { return r.ref.wall / r.ours.wall })}, err
}

func drainGiant(ctx context.Context, l *lab, o options) ([]figure, error) {
	rounds, _, err := l.drain(ctx, options{rows: 1_000_000, rounds: o.rounds}, 1_000_000, nil)
	return []figure{
		collect(figure{id: "B7", what: "peak RSS with one transaction of 1M rows", floor: 192, target: 96, atMost: true, unit: " MB"}, rounds,
			func(r round) float64 { return r.ours.rss }),
		collect(figure{id: "B9", what: "one transaction of 1M rows, time / pg_recvlogical's with protocol version 1", floor: 1.1, target: 0.80, atMost: true}, rounds,
			func(r round) float64 { return r.ours.wall / r.ref.wall }),
	}, err
}

// latency writes 10,000 events a second, in transactions of ten rows, while a child follows, and then nothing.
func latency(ctx context.Context, l *lab, _ options) ([]figure, error) {
	j, err := l.prepare(ctx, l.data())
	if err != nil {
		return nil, err
	}
	const seconds = 15
	j.For = (seconds + 1) * time.Second
	write, stop := context.WithTimeout(ctx, seconds*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- l.trickle(write, 10) }()
	r, _, err := l.child(ctx, j)
	if err != nil {
		return nil, err
	}
	if err := <-ended; err != nil {
		return nil, err
	}
	fmt.Printf("  %d events in %d s\n", r.Rows, seconds)
	rest, _, err := l.child(ctx, j)
	if err != nil {
		return nil, err
	}
	return []figure{
		{id: "B8", what: fmt.Sprintf("commit -> durable at %d events/s, p50", r.Rows/seconds), floor: 10, target: 4, atMost: true, unit: " ms", values: []float64{r.P50}},
		{id: "B8", what: "the same, p99", floor: 50, target: 12, atMost: true, unit: " ms", values: []float64{r.P99}},
		{id: "B17", what: fmt.Sprintf("CPU at %d events/s, in cores", r.Rows/seconds), floor: 0.5, target: 0.25, atMost: true, values: []float64{r.Cores}},
		{id: "B17", what: "CPU at rest, in cores", floor: 0.01, target: 0.003, atMost: true, values: []float64{rest.Cores}},
	}, l.dropSlots(ctx)
}

// trickle commits 1,000 transactions of so many rows a second until ctx is done.
func (l *lab) trickle(ctx context.Context, rows int64) error {
	conn, err := pgx.Connect(ctx, l.srv.URL)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	const sql = "insert into b select " + newRow + " from generate_series($1::bigint, $2::bigint) i"
	var base int64
	if err := conn.QueryRow(ctx, "select coalesce(max(id),0)+1 from b").Scan(&base); err != nil {
		return err
	}
	start := time.Now()
	for n := int64(0); ; n++ {
		if ahead := time.Duration(n)*time.Millisecond - time.Since(start); ahead > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(ahead):
			}
		}
		if _, err := conn.Exec(ctx, sql, base+n*rows, base+(n+1)*rows-1); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// kills is how often recovery is timed.
const kills = 3

// recovery kills a child that appends to a log and times the next one up to its first durable event: of a log that has
// nothing else, and of one that was filled before.
func recovery(ctx context.Context, l *lab, o options) ([]figure, error) {
	var figures []figure
	for _, mb := range []int{emptyMB, o.logMB} {
		data := l.data()
		if err := fill(ctx, data, mb); err != nil {
			return figures, err
		}
		f := figure{id: "B15", what: fmt.Sprintf("kill -9 until the first new durable event, log of %d MB before", dirMB(data)),
			floor: 5, target: 1, atMost: true, unit: " s"}
		var jobs []job
		for range kills {
			j, err := l.prepare(ctx, data)
			if err != nil {
				return figures, err
			}
			jobs = append(jobs, j)
		}
		if _, err := l.grow(ctx, 2*o.rows, 1000); err != nil {
			return figures, err
		}
		for _, j := range jobs {
			j.Target = 1 << 62
			if err := l.killed(ctx, j, 1500*time.Millisecond); err != nil {
				return figures, err
			}
			j.First = true
			r, _, err := l.child(ctx, j)
			if err != nil {
				return figures, err
			}
			f.values = append(f.values, r.First)
		}
		figures = append(figures, f)
		if err := errors.Join(l.dropSlots(ctx), os.RemoveAll(data)); err != nil {
			return figures, err
		}
	}
	return figures, nil
}

// killed runs a child that does j and kills it -9 after d.
func (l *lab) killed(ctx context.Context, j job, d time.Duration) error {
	arg, err := json.Marshal(j)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.self, "child", string(arg)) // cancelled by SIGKILL
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err == nil {
		return fmt.Errorf("child ended before it could be killed")
	}
	return nil
}

func dirMB(dir string) int64 {
	var n int64
	filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			n += info.Size()
		}
		return nil
	})
	return n >> 20
}
