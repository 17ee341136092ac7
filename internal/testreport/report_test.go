package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stream is what go test -json prints for a package with a test of each outcome, and for one that cannot be built.
const stream = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/case08_toast"}
{"Action":"output","Package":"p","Test":"TestA/case08_toast","Output":"    a_test.go:1: boom\n"}
{"Action":"fail","Package":"p","Test":"TestA/case08_toast","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestA/case9_full"}
{"Action":"pass","Package":"p","Test":"TestA/case9_full","Elapsed":0}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestCase10_case011"}
{"Action":"output","Package":"p","Test":"TestCase10_case011","Output":"    a_test.go:9: not run: no redis: TAILRACE_TEST_REDIS is not set\n"}
{"Action":"skip","Package":"p","Test":"TestCase10_case011","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"run","Package":"p","Test":"TestB/case012"}
{"Action":"run","Package":"p","Test":"TestB/case012/redis"}
{"Action":"skip","Package":"p","Test":"TestB/case012/redis","Elapsed":0}
{"Action":"pass","Package":"p","Test":"TestB/case012","Elapsed":0}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestCase10"}
{"Action":"pass","Package":"p","Test":"TestCase10","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestD"}
{"Action":"run","Package":"p","Test":"TestD/case13/of_many"}
{"Action":"fail","Package":"p","Test":"TestD/case13/of_many","Elapsed":0}
{"Action":"fail","Package":"p","Test":"TestD","Elapsed":0}
{"Action":"run","Package":"p","Test":"TestCut"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p","Elapsed":0.1}
{"ImportPath":"q [q.test]","Action":"build-output","Output":"q.go:1:1: undefined: x\n"}
{"ImportPath":"q [q.test]","Action":"build-fail"}
{"Action":"start","Package":"q"}
{"Action":"fail","Package":"q","Elapsed":0,"FailedBuild":"q [q.test]"}
{"Action":"start","Package":"r"}
{"Action":"skip","Package":"r","Elapsed":0}
`

func TestRead(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(stream), ""); err != nil {
		t.Fatal(err)
	}
	// case08, case13 and TestCut fail, and q; case9 and TestCase10 pass; TestCase10_case011 and redis are skipped.
	if got := [3]int{r.passed, r.failed, r.skipped}; got != [3]int{2, 4, 2} {
		t.Errorf("passed, failed, skipped = %v\n%s", got, out.String())
	}
	want := map[int]outcome{8: failed, 9: passed, 10: passed, 11: skipped, 12: skipped, 13: failed}
	for n := 1; n <= caseCount; n++ {
		if r.cases[n] != want[n] {
			t.Errorf("case %d = %d, want %d", n, r.cases[n], want[n])
		}
	}
	if want := []string{"p TestA/case08_toast", "p TestCut", "p TestD/case13/of_many", "q"}; !slices.Equal(r.broken, want) {
		t.Errorf("broken = %q, want %q", r.broken, want)
	}
	for _, s := range []string{"boom", "undefined: x"} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("%q is not shown:\n%s", s, out.String())
		}
	}
	if r.why["not run: no redis"] != 1 {
		t.Errorf("reasons = %v", r.why)
	}
}

func TestSummaryEndsWithTheTotals(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	r.check("gofmt", nil)
	r.check("vet", errors.New("no"))
	r.notRun("race detector", "not run: no gcc")
	r.summary(map[string]string{"redis": "redis: not installed"}, time.Second)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; last != "1 passed, 1 failed, 1 skipped" {
		t.Errorf("last line %q", last)
	}
	if !strings.Contains(out.String(), "server not available: redis: not installed\n") {
		t.Errorf("the absent server is not named:\n%s", out.String())
	}
}

func TestWriteCases(t *testing.T) {
	r := newReport(nil)
	r.cases = map[int]outcome{1: passed, 2: failed, 3: skipped}
	path := filepath.Join(t.TempDir(), "build", "cases.txt")
	if err := r.writeCases(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != caseCount || !slices.Equal(lines[:4], []string{"1 pass", "2 fail", "3 not run", "4 no test"}) {
		t.Errorf("%d lines: %q ...", len(lines), lines[:4])
	}
}

func TestCasesIn(t *testing.T) {
	for name, want := range map[string][]int{
		"case08_unchanged": {8}, "case108": {108}, "case109": nil, "case0": nil, "case8/sub": {8},
		"TestCase10And_case11": {10, 11}, "TestLowercase": nil, "case_15": {15},
	} {
		if got := casesIn(name); !slices.Equal(got, want) {
			t.Errorf("casesIn(%s) = %v, want %v", name, got, want)
		}
	}
}
