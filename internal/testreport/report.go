package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// outcome of a test, in rising order of what wins when a case has several.
type outcome int

const (
	unknown outcome = iota
	skipped
	passed
	failed
)

// event is one line of go test -json. Package and ImportPath name the package, the latter for events of its build.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// test is one test or subtest.
type test struct {
	outcome  outcome
	children []*test
	name     string // with its parents': TestX/case08_toast
	own      string // without them; a subtest's own name may hold slashes
	output   bytes.Buffer
}

// effective is the outcome of a test whose subtests count for it: it passed in fact only if one of them did.
func (t *test) effective() outcome {
	if t.outcome != passed || len(t.children) == 0 {
		return t.outcome
	}
	for _, c := range t.children {
		if c.effective() != skipped {
			return passed
		}
	}
	return skipped
}

// report collects outcomes.
type report struct {
	out     io.Writer
	passed  int
	failed  int
	skipped int
	cases   map[int]outcome
	why     map[string]int // reasons of tests that were not run, with how many gave it
	broken  []string       // what failed
}

func newReport(out io.Writer) *report {
	return &report{out: out, cases: map[int]outcome{}, why: map[string]int{}}
}

// check counts a step that is not a Go test.
func (r *report) check(name string, err error) {
	if err != nil {
		r.failed++
		r.broken = append(r.broken, name)
		fmt.Fprintf(r.out, "FAIL %s: %v\n", name, err)
		return
	}
	r.passed++
	fmt.Fprintf(r.out, "ok   %s\n", name)
}

// notRun counts a step that was skipped.
func (r *report) notRun(name, reason string) {
	r.skipped++
	r.why[reason]++
	fmt.Fprintf(r.out, "skip %s: %s\n", name, reason)
}

// goTest runs go test with args; label tells several runs apart.
func (r *report) goTest(ctx context.Context, env []string, label string, args []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Env = env
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := r.failed
	readErr := r.read(pipe, label)
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		return readErr
	case err == nil, errors.As(err, &exit) && r.failed > before:
		return nil
	case errors.As(err, &exit): // a failure that no event told of
		r.check("go test "+label, fmt.Errorf("%w\n%s", err, complaints.Bytes()))
		return nil
	}
	return err
}

// read takes the events of one go test -json, until their end.
func (r *report) read(events io.Reader, label string) error {
	type suite struct {
		tests  map[string]*test
		output bytes.Buffer
	}
	suites, builds := map[string]*suite{}, map[string]*bytes.Buffer{}
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if jsonErr := json.Unmarshal(line, &e); jsonErr != nil {
				fmt.Fprintf(r.out, "%s", line) // what go test says besides
				continue
			}
			s := suites[e.Package]
			if s == nil {
				s = &suite{tests: map[string]*test{}}
				suites[e.Package] = s
			}
			switch {
			case e.Action == "build-output":
				if builds[e.ImportPath] == nil {
					builds[e.ImportPath] = &bytes.Buffer{}
				}
				builds[e.ImportPath].WriteString(e.Output)
			case e.Test != "":
				s.tests[e.Test] = step(s.tests, e)
			case e.Action == "output":
				s.output.WriteString(e.Output)
			case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
				if b := builds[e.FailedBuild]; b != nil {
					s.output.Write(b.Bytes())
				}
				r.finish(label, e, s.tests, s.output.Bytes())
				delete(suites, e.Package)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// step applies an event to its test and returns it.
func step(tests map[string]*test, e event) *test {
	t := tests[e.Test]
	if t == nil {
		t = &test{name: e.Test, own: e.Test}
		for i := strings.LastIndexByte(e.Test, '/'); i > 0; i = strings.LastIndexByte(e.Test[:i], '/') {
			if parent := tests[e.Test[:i]]; parent != nil {
				parent.children = append(parent.children, t)
				t.own = e.Test[i+1:]
				break
			}
		}
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass":
		t.outcome = passed
	case "fail":
		t.outcome = failed
	case "skip":
		t.outcome = skipped
	}
	return t
}

// finish counts the tests of a package that has ended.
func (r *report) finish(label string, e event, tests map[string]*test, output []byte) {
	name := strings.TrimPrefix(e.Package, "github.com/tailrace/tailrace/")
	if label != "" {
		name += " (" + label + ")"
	}
	was := [3]int{r.passed, r.failed, r.skipped}
	for _, key := range slices.Sorted(maps.Keys(tests)) {
		t := tests[key]
		if t.outcome == unknown { // cut off by a crash or a timeout
			t.outcome = failed
		}
		r.count(name, t)
	}
	if e.Action == "fail" && r.failed == was[1] {
		r.failed++
		r.broken = append(r.broken, name)
		fmt.Fprintf(r.out, "%s", output)
	} else if e.Action == "fail" && bytes.Contains(output, []byte("panic")) {
		fmt.Fprintf(r.out, "%s", output)
	}
	if len(tests) == 0 && e.Action != "fail" {
		return
	}
	word := "ok  "
	if e.Action == "fail" {
		word = "FAIL"
	}
	fmt.Fprintf(r.out, "%s %s %s: %d passed, %d failed, %d skipped\n", word, name,
		(time.Duration(e.Elapsed * float64(time.Second))).Round(10*time.Millisecond), r.passed-was[0], r.failed-was[1], r.skipped-was[2])
}

// count counts one test and its cases.
func (r *report) count(pkg string, t *test) {
	for _, n := range casesIn(t.own) {
		r.cases[n] = max(r.cases[n], t.effective())
	}
	ownFailure := t.outcome == failed && !slices.ContainsFunc(t.children, func(c *test) bool { return c.outcome == failed || c.outcome == unknown })
	switch {
	case ownFailure:
		r.failed++
		r.broken = append(r.broken, pkg+" "+t.name)
		fmt.Fprintf(r.out, "%s", t.output.Bytes())
	case len(t.children) > 0:
	case t.outcome == skipped:
		r.skipped++
		r.why[reason(t.output.String())]++
	case t.outcome == passed:
		r.passed++
	}
}

// notRun finds the reason of a skip up to its first detail.
var notRun = regexp.MustCompile(`not run: [^:\n]*`)

func reason(output string) string {
	if m := notRun.FindString(output); m != "" {
		return strings.TrimSpace(m)
	}
	return "skipped by the test itself"
}

// caseName finds the conformance cases in a test's name.
var caseName = regexp.MustCompile(`(?i)case_?0*([0-9]+)`)

// casesIn returns the cases that a test claims by its own name, without its parents'.
func casesIn(own string) []int {
	var list []int
	for _, m := range caseName.FindAllStringSubmatch(own, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && n >= 1 && n <= caseCount {
			list = append(list, n)
		}
	}
	return list
}

// writeCases writes one line for each conformance case, all at once.
func (r *report) writeCases(path string) error {
	var b bytes.Buffer
	for n := 1; n <= caseCount; n++ {
		word := map[outcome]string{unknown: "no test", skipped: "not run", passed: "pass", failed: "fail"}[r.cases[n]]
		fmt.Fprintf(&b, "%d %s\n", n, word)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "cases-")
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// summary prints what was missing, what failed, and the totals as the last line.
func (r *report) summary(absent map[string]string, took time.Duration) {
	fmt.Fprintln(r.out)
	for _, name := range slices.Sorted(maps.Keys(absent)) {
		fmt.Fprintf(r.out, "server not available: %s\n", absent[name])
	}
	for _, why := range slices.Sorted(maps.Keys(r.why)) {
		fmt.Fprintf(r.out, "%d skipped: %s\n", r.why[why], why)
	}
	for _, name := range r.broken {
		fmt.Fprintf(r.out, "failed: %s\n", name)
	}
	tally := map[outcome]int{}
	for n := 1; n <= caseCount; n++ {
		tally[r.cases[n]]++
	}
	fmt.Fprintf(r.out, "conformance cases: %d pass, %d fail, %d not run, %d without a test (build/cases.txt)\n",
		tally[passed], tally[failed], tally[skipped], tally[unknown])
	fmt.Fprintf(r.out, "took %s\n", took.Round(time.Second))
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
