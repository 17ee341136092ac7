package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/change/envelope"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql"
	"github.com/tailrace/tailrace/source/postgres"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

// job is what the child is told to do, as JSON in its argument.
type job struct {
	Data    string            // data directory
	Name    string            // connector
	Config  map[string]string // its configuration
	Target  uint64            // stop when the position has this LSN, or place in a binary log; 0: stop at once when the connector has a position
	JSON    bool              // a second loop reads the log and encodes Debezium JSON
	For     time.Duration     // not 0: run this long and report latencies instead of stopping at Target
	Copy    string            // after For, copy this table, and report the latencies of the events that come meanwhile
	First   bool              // report the first durable event and stop
	Reread  bool              // capture nothing: read what an earlier child left in the log, to its end, as Debezium JSON
	Profile string            // write a CPU profile of the process to this file
	Verbose bool
}

// report is what the child prints.
type report struct {
	Rows     int64
	Mallocs  uint64 // during the drain, in the whole process
	Bytes    int64  // stored in the topics of the connector
	JSONRows int64
	P50, P99 float64 // milliseconds from commit to durable
	Beside   float64 // P99 while Copy was copied
	Copied   float64 // seconds that took
	Cores    float64 // CPU seconds of the process for each second, after the first, of a job that runs for a time
	First    float64 // seconds from the start of the process to the first durable event
}

// gauge stands between worker and log: it sees what becomes durable and when.
type gauge struct {
	topic.Log
	target  uint64
	name    string
	rows    atomic.Int64
	reached chan struct{}
	first   chan struct{}
	commits []int64   // of the batch that is being appended
	late    []float64 // milliseconds
	beside  []float64 // those while a table is copied
	copying atomic.Bool
	warming atomic.Bool // latencies do not count yet
	keep    bool
}

func (g *gauge) Append(ctx context.Context, recs []topic.Record) error {
	if err := g.Log.Append(ctx, recs); err != nil {
		return err
	}
	g.rows.Add(int64(len(g.commits)))
	now := time.Now().UnixMicro()
	if g.keep && !g.warming.Load() {
		late := &g.late
		if g.copying.Load() {
			late = &g.beside
		}
		for _, c := range g.commits {
			*late = append(*late, float64(now-c)/1000)
		}
	}
	if len(g.commits) > 0 && g.first != nil {
		close(g.first)
		g.first = nil
	}
	g.commits = g.commits[:0]
	if last := recs[len(recs)-1]; last.Topic == "__tailrace_offsets" && g.reached != nil {
		if lsn := positionOf(last.Value); lsn >= g.target && lsn > 0 {
			close(g.reached)
			g.reached = nil
		}
	}
	return nil
}

// positionOf returns a position as a number that grows: its LSN, or its place in a binary log.
func positionOf(p []byte) uint64 {
	var pos struct {
		LSN  uint64 `json:"lsn"`
		File string `json:"file"`
		Pos  uint64 `json:"pos"`
	}
	switch {
	case json.Unmarshal(p, &pos) != nil:
		return 0
	case pos.File != "":
		return place(pos.File, pos.Pos)
	}
	return pos.LSN
}

// codec counts events of the stream on their way into the log.
type codec struct {
	reg *rowcodec.Registry
	g   *gauge // nil: they are not counted
}

type encoder struct {
	*rowcodec.Encoder
	g *gauge
}

func (c codec) NewEncoder(tombstones bool) worker.Encoder {
	e := c.reg.NewEncoder(rowcodec.EncoderOptions{Tombstones: tombstones})
	if c.g == nil {
		return e
	}
	return encoder{e, c.g}
}
func (c codec) NewDecoder() worker.Decoder { return c.reg.NewDecoder() }

func (e encoder) Encode(b *change.Batch, recs []topic.Record) ([]topic.Record, error) {
	for i := range b.Events {
		if b.Events[i].Op != change.OpRead {
			e.g.commits = append(e.g.commits, b.Events[i].Commit)
		}
	}
	return e.Encoder.Encode(b, recs)
}

// profiled is child with the CPU profile that the job asks for.
func profiled(arg string) (err error) {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil || j.Profile == "" {
		return errors.Join(err, child(arg))
	}
	f, err := os.Create(j.Profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return child(arg)
}

// child runs one connector as the daemon would, and reports.
func child(arg string) error {
	start := time.Now()
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return err
	}
	debug.SetGCPercent(100)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := io.Discard
	if j.Verbose {
		out = os.Stderr
	}
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	log, err := disk.Open(ctx, disk.Options{Dir: j.Data, Logger: logger})
	if err != nil {
		return err
	}
	reg, err := rowcodec.Open(ctx, log)
	if err != nil {
		return err
	}
	reached, first := make(chan struct{}), make(chan struct{})
	g := &gauge{Log: log, target: j.Target, name: j.Name, reached: reached, first: first, keep: j.For > 0}
	if j.For > 0 {
		g.reached = nil
	}
	w, err := worker.Open(ctx, worker.Options{Log: g, Codec: codec{reg, g}, Sources: []source.Plugin{postgres.Plugin, mysql.MariaDB},
		Providers: config.Providers{Env: os.LookupEnv}, Version: "bench", ID: "bench", Logger: logger, Now: time.Now})
	if err != nil {
		return err
	}
	if j.Reread {
		r, err := reread(ctx, log, reg, j.Config["topic.prefix"])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g.warming.Store(j.Copy != "")
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	if err := w.Apply(ctx, j.Name, j.Config, worker.Running); err != nil {
		return err
	}
	if err := w.SetState(ctx, j.Name, worker.Running); err != nil {
		return err
	}
	var jsonRows atomic.Int64
	jsonDone := make(chan error, 1)
	if j.JSON {
		go func() { jsonDone <- encodeJSON(ctx, log, reg, j.Config["topic.prefix"], &jsonRows, math.MaxInt64) }()
	}
	var r report
	switch {
	case j.For > 0:
		time.Sleep(time.Second) // the connector starts
		if j.Copy != "" {
			time.Sleep(time.Second) // and takes what came meanwhile
			g.warming.Store(false)
		}
		began, used := time.Now(), cpu()
		time.Sleep(j.For - time.Second)
		r.Cores = (cpu() - used) / time.Since(began).Seconds()
		if j.Copy != "" {
			if r.Copied, err = copyBeside(ctx, w, g, j); err != nil {
				return err
			}
		}
	case j.First:
		if err := wait(first, w, j.Name); err != nil {
			return err
		}
		r.First = time.Since(start).Seconds()
	default:
		if err := wait(reached, w, j.Name); err != nil {
			return err
		}
	}
	r.Rows = g.rows.Load()
	for j.JSON && jsonRows.Load() < r.Rows {
		select {
		case err := <-jsonDone:
			return errors.Join(errors.New("JSON loop ended"), err)
		case <-time.After(time.Millisecond):
		}
	}
	r.JSONRows = jsonRows.Load()
	runtime.ReadMemStats(&after)
	r.Mallocs = after.Mallocs - before.Mallocs
	if err := w.SetState(ctx, j.Name, worker.Stopped); err != nil { // the next child of this log measures another one
		return err
	}
	cancel()
	<-ended
	if n := len(g.late); n > 0 {
		slices.Sort(g.late)
		r.P50, r.P99 = g.late[n/2], g.late[n*99/100]
	}
	if n := len(g.beside); n > 0 {
		slices.Sort(g.beside)
		r.Beside = g.beside[n*99/100]
	}
	infos, err := log.Topics(context.Background())
	if err != nil {
		return err
	}
	for _, i := range infos {
		if name, ok := j.Config["topic.prefix"], true; ok && len(i.Name) > len(name) && i.Name[:len(name)+1] == name+"." {
			for _, p := range i.Partitions {
				r.Bytes += p.Bytes
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// cpu returns the CPU seconds that this process has used.
func cpu() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return math.NaN()
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

// wait blocks until c is closed, or the connector has failed for good.
func wait(c <-chan struct{}, w *worker.Worker, name string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c:
			return nil
		case <-tick.C:
			s, err := w.Status(name)
			if err != nil {
				return err
			}
			for _, t := range append(s.Tasks, worker.TaskStatus{State: s.State, Trace: s.Trace}) {
				if t.State == worker.Failed || t.Retries > 20 {
					return fmt.Errorf("connector %s: %s: %s", name, t.State, t.Trace)
				}
			}
		}
	}
}

// reread encodes the rows that the log holds as Debezium JSON and reports how many there were and what that allocated.
func reread(ctx context.Context, log topic.Log, reg *rowcodec.Registry, prefix string) (report, error) {
	info, err := topic.Lookup(ctx, log, prefix+".public.b")
	if err != nil {
		return report{}, err
	}
	var rows atomic.Int64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = encodeJSON(ctx, log, reg, prefix, &rows, info.Partitions[0].End)
	runtime.ReadMemStats(&after)
	return report{JSONRows: rows.Load(), Mallocs: after.Mallocs - before.Mallocs}, err
}

// encodeJSON is B1j's second loop: it reads what the connector appends, up to the offset end, and writes it as Debezium
// JSON into nothing.
func encodeJSON(ctx context.Context, log topic.Log, reg *rowcodec.Registry, prefix string, rows *atomic.Int64, end int64) error {
	name := prefix + ".public.b"
	info, err := topic.Lookup(ctx, log, name)
	for errors.Is(err, topic.ErrNoTopic) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		info, err = topic.Lookup(ctx, log, name)
	}
	if err != nil {
		return err
	}
	rd, err := log.Reader(ctx)
	if err != nil {
		return err
	}
	defer rd.Close()
	if err := rd.Add(name, 0, topic.Start); err != nil {
		return err
	}
	var b change.Batch
	var buf []byte
	dec, enc := reg.NewDecoder(), envelope.New(envelope.Options{})
	for next := int64(0); next < end; {
		recs, err := rd.Read(ctx, 8192)
		if err != nil {
			return err
		}
		next = recs[len(recs)-1].Offset + 1
		b.Reset()
		if err := dec.Decode(recs, info.Epoch, &b); err != nil {
			return err
		}
		n := int64(0)
		for i := range b.Events {
			buf, _ = enc.AppendKey(buf[:0], &b.Events[i])
			buf, _ = enc.AppendValue(buf, &b.Events[i])
			if b.Events[i].Op != change.OpTombstone {
				n++
			}
		}
		rows.Add(n)
	}
	return nil
}

// lsn parses PostgreSQL's X/Y.
func lsn(text string) (uint64, error) {
	for i := range text {
		if text[i] == '/' {
			hi, err1 := strconv.ParseUint(text[:i], 16, 32)
			lo, err2 := strconv.ParseUint(text[i+1:], 16, 32)
			return hi<<32 | lo, errors.Join(err1, err2)
		}
	}
	return 0, fmt.Errorf("%q is not an LSN", text)
}
