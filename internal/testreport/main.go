package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tailrace/tailrace/internal/servers"
)

// caseCount is the number of conformance cases.
const caseCount = 108

// testTimeout bounds one package's tests.
const testTimeout = 25 * time.Minute

// options say which parts of the suite run.
type options struct {
	race      bool
	campaigns bool
	kills     int
	packages  []string
}

func main() {
	var o options
	flag.BoolVar(&o.race, "race", true, "run the tests under the race detector")
	flag.BoolVar(&o.campaigns, "campaigns", true, "run the short campaigns after the tests")
	flag.IntVar(&o.kills, "kills", 10, "kills of the kill campaign")
	flag.Parse()
	o.packages = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripts/test:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs the suite and reports whether nothing failed.
func run(ctx context.Context, o options, out io.Writer) (bool, error) {
	began := time.Now()
	env, absent, stop := startServers(ctx, out)
	defer stop()
	r := newReport(out)
	r.check("gofmt", gofmt(ctx))
	r.check("go vet", command(ctx, env, "go", "vet", "./..."))
	packages := o.packages
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	// Dead batches are filled with 0xCC (invariants): whoever still looks at them is caught.
	args := []string{"-timeout", testTimeout.String(), "-tags", "invariants"}
	if o.race {
		if _, err := exec.LookPath("gcc"); err != nil {
			r.notRun("race detector", "not run: no gcc; the tests run without it")
		} else {
			args = append(args, "-race")
		}
	}
	if err := r.goTest(ctx, env, "", append(args, packages...)); err != nil {
		return false, err
	}
	// What allocates is counted in the build that users run.
	if err := r.goTest(ctx, env, "as built", append([]string{"-timeout", testTimeout.String(), "-run", "Alloc"}, packages...)); err != nil {
		return false, err
	}
	if len(o.packages) == 0 && o.campaigns {
		campaigns(ctx, r, env, o.kills)
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := r.writeCases(filepath.Join("build", "cases.txt")); err != nil {
		return false, err
	}
	r.summary(absent, time.Since(began))
	return r.failed == 0, nil
}

// campaigns runs the short form of the campaigns, each counted as one test.
func campaigns(ctx context.Context, r *report, env []string, kills int) {
	// The tests themselves make 1000 worlds from seed 0 on and 600 power cuts from seed 1 on.
	r.check("campaign weave", command(ctx, env, "scripts/campaign", "weave", "-n", "5000", "-seed", "1000"))
	r.check("campaign powercut", command(ctx, env, "scripts/campaign", "powercut", "-n", "19400", "-seed", "1000"))
	if err := servers.Missing("postgres15"); err != nil {
		r.notRun("campaign kill", "not run: no postgres15: "+err.Error())
		return
	}
	r.check("quickstart", command(ctx, env, "scripts/quickstart"))
	fmt.Fprintf(r.out, "campaign kill, %d cycles\n", kills)
	r.check("campaign kill", command(ctx, env, "scripts/campaign", "kill", "-n", fmt.Sprint(kills), "-seed", "1"))
}

// startServers starts one private server of each kind; they end with this process at the latest. It returns the
// environment for the tests, why each absent server could not be had, and the function that stops all.
func startServers(ctx context.Context, out io.Writer) (env []string, absent map[string]string, stop func()) {
	absent = map[string]string{}
	var running []*servers.Server
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "TAILRACE_TEST_") { // nobody else's servers
			env = append(env, kv)
		}
	}
	for _, name := range servers.Names() {
		s, err := servers.Start(ctx, name, servers.Options{})
		if err != nil {
			absent[name] = err.Error()
			fmt.Fprintf(out, "server not available: %v\n", err)
			continue
		}
		fmt.Fprintf(out, "%s at %s\n", name, s.URL)
		running = append(running, s)
		env = append(env, servers.Variable(name)+"="+s.URL)
	}
	return env, absent, func() {
		for _, s := range slices.Backward(running) {
			if err := s.Stop(); err != nil {
				fmt.Fprintf(out, "stop %s: %v\n", s.Name, err)
			}
		}
	}
}

// gofmt returns an error that names the files whose form is not gofmt's.
func gofmt(ctx context.Context) error {
	var files []string
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (path == "build" || path == "data" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list, err := exec.CommandContext(ctx, "gofmt", append([]string{"-l"}, files...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, list)
	}
	if len(list) > 0 {
		return fmt.Errorf("run gofmt -w on: %s", strings.Join(strings.Fields(string(list)), " "))
	}
	return nil
}

// command runs a program and returns what it printed when it fails.
func command(ctx context.Context, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
