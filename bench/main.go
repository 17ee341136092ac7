package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// A figure is one line of the result.
type figure struct {
	id            string
	what          string
	values        []float64 // one for each round
	floor, target float64
	atMost        bool // floor and target are upper bounds
	unit          string
}

func (f figure) median() float64 {
	v := slices.Clone(f.values)
	slices.Sort(v)
	return v[len(v)/2]
}

func (f figure) ok() bool {
	if f.atMost {
		return f.median() <= f.floor
	}
	return f.median() >= f.floor
}

func (f figure) String() string {
	word := "ok"
	if !f.ok() {
		word = "BELOW FLOOR"
	}
	spread := ""
	if len(f.values) > 1 {
		spread = fmt.Sprintf(" (%.3g to %.3g)", slices.Min(f.values), slices.Max(f.values))
	}
	return fmt.Sprintf("%-5s %8.3f%s floor %g target %g rounds %d%s  %s  %s", f.id, f.median(), f.unit, f.floor, f.target, len(f.values), spread, f.what, word)
}

// options of a run.
type options struct {
	rows   int
	rounds int
	logMB  int
	copied int
	keys   int

	profile string
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		exit(profiled(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "copy" {
		exit(copyAll(os.Args[2]))
	}
	if len(os.Args) == 4 && os.Args[1] == "keys" {
		exit(compactKeys(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 3 && os.Args[1] == "parse" {
		exit(parseAll(os.Args[2]))
	}
	var o options
	flag.IntVar(&o.rows, "rows", 400_000, "changes in a backlog")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each ratio")
	flag.IntVar(&o.logMB, "log-mb", 1024, "size of the log that B15 recovers, in MB")
	flag.IntVar(&o.copied, "copied", 5_000_000, "rows that B10 copies")
	flag.IntVar(&o.keys, "keys", 5_000_000, "keys that B12k compacts")
	flag.StringVar(&o.profile, "profile", "", "file for the CPU profile of the process that is measured; of several, the last's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	figures, err := run(ctx, o, flag.Args())
	fmt.Println()
	failed := false
	for _, f := range figures {
		fmt.Println(f)
		failed = failed || !f.ok()
	}
	if err == nil && failed {
		err = errors.New("a figure misses its floor")
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run measures what ids ask for; figures that share a drain share it.
func run(ctx context.Context, o options, ids []string) ([]figure, error) {
	known := []string{"B1", "B1j", "B2", "B3", "B4", "B6", "B6s", "B7", "B8", "B9", "B10", "B10s", "B11", "B12", "B12c", "B12k", "B13", "B14", "B15", "B17"}
	if len(ids) == 0 {
		ids = known
	}
	for _, id := range ids {
		if !slices.Contains(known, id) {
			return nil, fmt.Errorf("%s is not one of %s", id, strings.Join(known, " "))
		}
	}
	open := openLab
	if !slices.ContainsFunc(ids, func(id string) bool {
		return !slices.Contains([]string{"B11", "B12", "B12c", "B12k", "B13", "B14"}, id)
	}) {
		open = openDir // the log, and what sinks make of it, need no database, and B11 has another
	}
	l, err := open(ctx)
	if l != nil {
		l.profile = o.profile
		defer l.close()
	}
	if err != nil {
		return nil, err
	}
	want := func(list ...string) bool {
		return slices.ContainsFunc(list, func(id string) bool { return slices.Contains(ids, id) })
	}
	var figures []figure
	steps := []struct {
		ids []string
		run func(context.Context, *lab, options) ([]figure, error)
	}{
		{[]string{"B1", "B4", "B6", "B6s", "B7"}, drainLarge},
		{[]string{"B1j"}, drainJSON},
		{[]string{"B2"}, drainSmall},
		{[]string{"B3"}, drainTCP},
		{[]string{"B7", "B9"}, drainGiant},
		{[]string{"B8", "B17"}, latency},
		{[]string{"B10"}, copyRows},
		{[]string{"B10s"}, besideStream},
		{[]string{"B11"}, mariaRatio},
		{[]string{"B12", "B12c"}, againstBareLoop},
		{[]string{"B12k"}, manyKeys},
		{[]string{"B13"}, redisRatio},
		{[]string{"B14"}, elasticRatio},
		{[]string{"B15"}, recovery},
	}
	for _, s := range steps {
		if !want(s.ids...) {
			continue
		}
		fmt.Printf("measuring %s\n", strings.Join(s.ids, " "))
		got, err := s.run(ctx, l, o)
		for _, f := range got {
			if want(f.id) && len(f.values) > 0 {
				figures = append(figures, f)
			}
		}
		if err != nil {
			return figures, fmt.Errorf("%s: %w", strings.Join(s.ids, " "), err)
		}
	}
	return figures, nil
}

// child runs this program as a child that does j.
func (l *lab) child(ctx context.Context, j job) (report, usage, error) {
	if !j.Reread {
		j.Profile = l.profile
	}
	arg, err := json.Marshal(j)
	if err != nil {
		return report{}, usage{}, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, l.self, "child", string(arg))
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	u, err := measure(cmd)
	if err != nil {
		return report{}, u, fmt.Errorf("child: %w", err)
	}
	var r report
	return r, u, json.Unmarshal(out.Bytes(), &r)
}
