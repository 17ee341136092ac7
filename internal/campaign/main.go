package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
		os.Exit(1)
	}
}

// databases maps what -db takes to the server that it means.
func databases(name string) (string, error) {
	known := map[string]string{"pg14": "postgres14", "pg15": "postgres15", "pg16": "postgres16", "pg17": "postgres17", "pg18": "postgres18",
		"mariadb": "mariadb10", "mysql57": "mysql57", "mysql80": "mysql80", "mysql97": "mysql97"}
	if server, ok := known[name]; ok {
		return server, nil
	}
	return "", fmt.Errorf("-db %s: there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

func run(ctx context.Context, args []string) error {
	usage := errors.New("usage: scripts/campaign kill|dbcrash|resets|pgbench|powercut|weave|handoff|model|oltp|ddl [-n CYCLES] [-seed N] [-db DATABASE] [-sinks LIST] [-keep] [-copying]")
	if len(args) == 0 {
		return usage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	n := flags.Int("n", 60, "cycles")
	seed := flags.Uint64("seed", 1, "seed of all that is random")
	db := flags.String("db", "", "source database; pg15, of ddl and oltp mariadb, if not given")
	sinks := flags.String("sinks", "postgres,redis,elasticsearch", "sinks that follow the log")
	keep := flags.Bool("keep", false, "keep data directories and logs")
	copying := flags.Bool("copying", false, "kill: the daemon dies while rows are copied")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 || *n < 1 {
		return usage
	}
	if *db == "" {
		*db = map[string]string{"oltp": "mariadb", "ddl": "mariadb"}[args[0]]
		*db = cmp.Or(*db, "pg15")
	}
	switch args[0] {
	case "oltp":
		return announce(binlogCampaign(ctx, *db, plan{cycles: 1, seed: *seed, sinks: strings.Split(*sinks, ","), keep: *keep}, time.Duration(*n)*time.Second))
	case "pgbench":
		server, err := databases(*db)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(*db, "pg") {
			return errors.New("the pgbench campaign runs on pg15 and pg18 only")
		}
		return pgbenchCampaign(ctx, plan{kind: args[0], seed: *seed, database: server, sinks: strings.Split(*sinks, ","), keep: *keep}, *n)
	case "kill", "dbcrash", "resets":
		server, err := databases(*db)
		if err != nil {
			return err
		}
		p := plan{kind: args[0], cycles: *n, seed: *seed, database: server, sinks: strings.Split(*sinks, ","), keep: *keep, copying: *copying}
		if strings.HasPrefix(*db, "pg") {
			return announce(lives(ctx, p))
		}
		return announce(binlogCampaign(ctx, *db, p, 0))
	case "powercut":
		return powercut(ctx, *n, *seed)
	case "weave":
		return weave(ctx, *n, *seed)
	case "handoff":
		server, err := databases(*db)
		if err != nil {
			return err
		}
		violations, err := handoff(ctx, server, *n, briskRate, *seed, os.Stdout)
		if err != nil {
			return err
		}
		fmt.Printf("runs=%d violations=%d\n", *n, violations)
		if violations > 0 {
			return errors.New("the promises were broken")
		}
		return nil
	case "model":
		server, err := databases(*db)
		if err != nil {
			return err
		}
		violations, err := model(ctx, server, *n, *seed, *keep, os.Stdout)
		if err != nil {
			return err
		}
		fmt.Printf("seeds=%d violations=%d\n", *n, violations)
		if violations > 0 {
			return errors.New("the promises were broken")
		}
		return nil
	case "ddl":
		v, err := ddlCampaign(ctx, *db, *n, *seed)
		if err != nil {
			return err
		}
		for _, w := range v.wrong {
			fmt.Println(w)
		}
		fmt.Println(v)
		if len(v.wrong) > 0 {
			return errors.New("the promises were broken")
		}
		return nil
	}
	return usage
}

// announce prints a verdict, and is an error if that is not clean.
func announce(v verdict, err error) error {
	if err != nil {
		return err
	}
	fmt.Println(v)
	if !v.clean() {
		return errors.New("the promises were broken")
	}
	return nil
}

// powercut runs the power cuts that are a test of topic/disk, n of them from seed on, and prints that test's own count.
func powercut(ctx context.Context, n int, seed uint64) error {
	return counted(ctx, "TestPowerCuts", "./topic/disk", "cuts", fmt.Sprintf("TAILRACE_POWERCUTS=%d", n), fmt.Sprintf("TAILRACE_SEED=%d", seed))
}

// weave runs the simulated databases that are a test of snapshot, n of them with seeds from seed on, and prints that test's own
// count.
func weave(ctx context.Context, n int, seed uint64) error {
	return counted(ctx, "TestWeave", "./snapshot", "worlds", fmt.Sprintf("TAILRACE_WORLDS=%d", n), fmt.Sprintf("TAILRACE_SEED=%d", seed))
}

// counted runs a test that takes its size from the environment, and prints its count of what it made.
func counted(ctx context.Context, test, pkg, what string, env ...string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=24h", "-v", "-run=^"+test+"$", pkg)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", test, err, out)
	}
	count := regexp.MustCompile(what + `=[0-9]+ violations=0`).Find(out)
	if count == nil {
		return fmt.Errorf("%s does not say how many it made:\n%s", test, out)
	}
	fmt.Printf("%s\n", count)
	return nil
}

// A verdict is the sum of what the lives of a campaign showed.
type verdict struct {
	cycles, lost, doubled, misordered int
	differ                            bool
}

// String is the last line of a campaign.
func (v verdict) String() string {
	sums := "equal"
	if v.differ {
		sums = "different"
	}
	return fmt.Sprintf("cycles=%d lost=%d doubled=%d misordered=%d checksums=%s", v.cycles, v.lost, v.doubled, v.misordered, sums)
}

func (v verdict) clean() bool { return v.lost+v.doubled+v.misordered == 0 && !v.differ }

func (v *verdict) add(o verdict) {
	v.cycles += o.cycles
	v.lost += o.lost
	v.doubled += o.doubled
	v.misordered += o.misordered
	v.differ = v.differ || o.differ
}
