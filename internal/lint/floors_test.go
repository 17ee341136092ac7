package lint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tailrace/tailrace/"

// A room is one row of the floors table. Patterns are those of path.Match.
type room struct {
	pattern string
	floor   int
	imports []string // patterns of the module's packages that it may import
	tests   bool     // a suite or tool for tests: only tests, other such rooms and commands import it
}

// rooms is the house. The first row that matches a package is its own. A plugin's inner package (source/postgres/
// pgoutput) is imported by its plugin and its siblings only, and may import what its plugin may from below.
func rooms() []room {
	base := []string{"change", "config", "internal/fault"}
	with := func(more ...string) []string { return append(slices.Clone(base), more...) }
	any := []string{"*", "*/*", "*/*/*"}
	return []room{
		{pattern: "change", floor: 0},
		{pattern: "config", floor: 0},
		{pattern: "internal/fault", floor: 0},

		{pattern: "internal/jsontext", floor: 1, imports: []string{"change", "internal/fault"}},
		{pattern: "source", floor: 1, imports: base},
		{pattern: "sink", floor: 1, imports: base},
		{pattern: "transform", floor: 1, imports: base},
		{pattern: "topic", floor: 1, imports: []string{"config", "internal/fault"}},

		{pattern: "*/*test", floor: 6, imports: any, tests: true}, // sourcetest, sinktest, topictest
		{pattern: "internal/lint", floor: 6, tests: true},
		{pattern: "internal/sim", floor: 6, imports: any, tests: true},
		{pattern: "internal/servers", floor: 6, imports: any, tests: true},
		{pattern: "internal/servers/*", floor: 6, imports: any, tests: true},
		{pattern: "internal/testreport", floor: 6, imports: any, tests: true},
		{pattern: "internal/compare", floor: 6, imports: any, tests: true},
		{pattern: "internal/daemon", floor: 6, imports: any, tests: true},
		{pattern: "internal/golden", floor: 6, imports: any, tests: true},
		{pattern: "internal/deploy", floor: 6, imports: any, tests: true},
		{pattern: "bench", floor: 6, imports: any, tests: true},
		{pattern: "internal/quickstart", floor: 6, imports: any, tests: true},
		{pattern: "internal/campaign", floor: 6, imports: any, tests: true},
		{pattern: "topic/disk/crashfs", floor: 6, imports: any, tests: true},

		{pattern: "snapshot", floor: 2, imports: with("source")},
		{pattern: "offsets", floor: 2, imports: with("topic", "internal/jsontext")},
		{pattern: "change/rowcodec", floor: 2, imports: with("topic", "internal/jsontext")},
		{pattern: "change/envelope", floor: 2, imports: with("topic", "internal/jsontext")},
		{pattern: "sink/*", floor: 2, imports: with("sink", "internal/jsontext")},
		{pattern: "sink/*/*", floor: 1, imports: base},
		{pattern: "transform/*", floor: 2, imports: with("transform")},
		{pattern: "topic/*/*", floor: 2, imports: []string{"topic", "internal/fault"}},
		{pattern: "topic/*", floor: 2, imports: []string{"topic", "config", "internal/fault"}},

		{pattern: "source/*/*", floor: 2, imports: base},
		{pattern: "source/*", floor: 3, imports: with("source", "snapshot", "internal/jsontext")},
		{pattern: "worker", floor: 3, imports: with("source", "sink", "transform", "topic", "snapshot", "offsets")},
		{pattern: "rest", floor: 4, imports: with("worker", "offsets", "snapshot", "source", "sink", "transform", "topic", "internal/jsontext")},
		{pattern: "cmd/*", floor: 5, imports: any},
	}
}

func roomOf(pkg string) (room, bool) {
	for _, r := range rooms() {
		if ok, err := path.Match(r.pattern, pkg); err == nil && ok {
			return r, true
		}
	}
	return room{}, false
}

func mayImport(r room, target string) bool {
	return slices.ContainsFunc(r.imports, func(p string) bool {
		ok, err := path.Match(p, target)
		return err == nil && ok
	})
}

// judge says what is wrong with one import of the module, "" if nothing is.
func judge(from, to string) string {
	r, ok := roomOf(from)
	if !ok {
		return "has no floor: give it one in internal/lint/floors_test.go"
	}
	t, ok := roomOf(to)
	switch {
	case !ok:
		return "imports " + to + ", which has no floor"
	case r.tests || from == "change" && to == "change":
		return ""
	case t.tests:
		if r.pattern == "cmd/*" {
			return ""
		}
		return "imports " + to + ", which is for tests"
	case strings.HasPrefix(to, from+"/") && strings.Count(to, "/") == 2: // its own inner package
		return ""
	case strings.Count(from, "/") == 2 && path.Dir(from) == path.Dir(to): // a sibling inside one plugin
		return ""
	case !mayImport(r, to) || strings.Count(to, "/") == 2 && r.pattern != "cmd/*":
		return fmt.Sprintf("(floor %d) imports %s (floor %d), which the table does not allow", r.floor, to, t.floor)
	case r.floor <= t.floor:
		return fmt.Sprintf("(floor %d) imports %s (floor %d): imports go strictly down", r.floor, to, t.floor)
	}
	return ""
}

// outside says what is wrong with an import from outside of the module.
func outside(from, to string) string {
	standard := !strings.Contains(strings.SplitN(to, "/", 2)[0], ".")
	switch {
	case standard:
		return ""
	case from == "change", from == "internal/fault", from == "internal/jsontext", from == "source", from == "sink", from == "transform", from == "topic":
		return "imports " + to + ": contracts and vocabulary import the standard library only"
	case from == "config" && !strings.HasPrefix(to, "github.com/goccy/go-yaml"):
		return "imports " + to + ": config imports the YAML library only"
	}
	return ""
}

type listed struct {
	ImportPath string
	Dir        string
	Name       string
	Imports    []string
	GoFiles    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,Imports,GoFiles", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var list []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		list = append(list, p)
	}
}

func TestFloors(t *testing.T) {
	list := packages(t)
	if len(list) < 10 {
		t.Fatalf("go list found %d packages only", len(list))
	}
	for _, p := range list {
		if len(p.GoFiles) == 0 {
			continue
		}
		if _, ok := roomOf(p.ImportPath); !ok {
			t.Errorf("%s has no floor: give it one in internal/lint/floors_test.go", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			wrong := ""
			if to, ours := strings.CutPrefix(i, module); ours {
				wrong = judge(p.ImportPath, to)
			} else {
				wrong = outside(p.ImportPath, i)
			}
			if wrong != "" {
				t.Errorf("%s %s", p.ImportPath, wrong)
			}
		}
	}
}

// The table itself only allows imports that go strictly down.
func TestFloorsTable(t *testing.T) {
	all := rooms()
	for _, r := range all {
		if r.tests || r.pattern == "cmd/*" {
			continue
		}
		for _, i := range r.imports {
			target, ok := roomOf(i)
			if !ok {
				t.Errorf("%s may import %s, which is in no row", r.pattern, i)
			} else if target.floor >= r.floor {
				t.Errorf("%s (floor %d) may import %s (floor %d)", r.pattern, r.floor, i, target.floor)
			}
		}
	}
}

func TestFloorsCanFail(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"worker", "source", true}, {"worker", "source/postgres", false}, {"worker", "change/rowcodec", false}, {"source/postgres", "worker", false},
		{"source/postgres", "source/postgres/pgoutput", true}, {"source/mysql", "source/postgres/pgoutput", false}, {"source/postgres/pgoutput", "source/postgres", false},
		{"sink/redis", "sink/postgres", false}, {"sink/redis", "offsets", false}, {"sink/redis", "topic", false}, {"sink/redis", "change/envelope", false}, {"sink/redis", "sink", true},
		{"change", "config", false}, {"source", "snapshot", false}, {"snapshot", "source", true}, {"rest", "worker", true}, {"worker", "rest", false},
		{"topic", "change", false}, {"topic/disk", "change", false}, {"topic/disk", "topic/disk/vfs", true}, {"topic/disk/recordbatch", "topic/disk/vfs", true},
		{"transform/mask", "transform/route", false}, {"cmd/tailrace", "sink/redis", true}, {"rest", "sink/redis", false}, {"worker", "internal/servers", false},
		{"sink/redis", "sink/sinktest", false}, {"sink/sinktest", "sink", true}, {"newroom", "change", false}, {"worker", "newroom", false},
	} {
		if got := judge(tt.from, tt.to); (got == "") != tt.ok {
			t.Errorf("%s -> %s: %q", tt.from, tt.to, got)
		}
	}
	if outside("change", "golang.org/x/sync") == "" || outside("config", "github.com/jackc/pgx/v5") == "" || outside("change", "encoding/binary") != "" {
		t.Error("imports from outside are not judged")
	}
}
