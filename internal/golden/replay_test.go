package golden

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/daemon"
)

// patience bounds one scenario.
const patience = time.Minute

// binary is the daemon, compiled once for all tests of the package.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "golden")
		if err == nil {
			defer os.RemoveAll(dir)
			binary, err = daemon.Build(context.Background(), dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// family is what the scenarios of one kind of database are judged by.
type family struct {
	dir     string // of the scenarios
	table   []Difference
	later   map[string]string // scenarios that are not run, each with what it is about
	now     map[string]string // columns that scenarios fill with the present time
	alone   map[string]bool   // scenarios that are not run beside others
	missing func(error) bool  // the error says that the server lacks what the scenario needs
	open    func(t *testing.T, s Scenario) (Database, Scenario)
}

// replay runs all scenarios and holds what comes out against what Debezium made of them.
func (f family) replay(t *testing.T) {
	scenarios, err := Load(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	ran, seen := map[string]bool{}, map[string]bool{}
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			if f.later[s.Name] != "" {
				continue
			}
			t.Run(s.Name, func(t *testing.T) {
				if !f.alone[s.Name] {
					t.Parallel()
				}
				list := f.run(t, s, func(use func(seen map[string]bool)) {
					mu.Lock()
					defer mu.Unlock()
					ran[s.Name] = true
					use(seen)
				})
				report(t, list)
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, u := range Unseen(f.table, ran, seen) {
		t.Errorf("a difference that does not show any more: %s", u)
	}
}

// run runs one scenario and returns what differs without a reason. locked gives access to the entries that were seen.
func (f family) run(t *testing.T, s Scenario, locked func(use func(seen map[string]bool))) []Mismatch {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db, s := f.open(t, s)
	want := [][]Record{s.Records, s.Records2}
	enough := func(part int, recs []Record) bool {
		theirs, ours := LeaveOut(f.table, s.Name, want[part-1], recs, map[string]bool{})
		return len(ours) >= len(theirs)
	}
	recs, recs2, err := Run(ctx, binary, t.TempDir(), &s, db, enough)
	if f.missing(err) {
		t.Skipf("not run: %v", err)
	}
	if err != nil {
		t.Error(err)
	}
	var rest []Mismatch
	locked(func(seen map[string]bool) {
		for i, got := range [][]Record{recs, recs2} {
			if s.Properties["heartbeat.interval.ms"] != "" { // how many records come is a matter of time
				got = atMost(want[i], got)
			}
			theirs, ours := LeaveOut(f.table, s.Name, want[i], got, seen)
			list, err := Explained(f.table, s.Name, notNow(f.now[s.Name], Compare(theirs, ours)), seen)
			if err != nil {
				t.Error(err)
			}
			rest = append(rest, list...)
		}
	})
	return rest
}

// atMost cuts got to as many records of each topic as want has.
func atMost(want, got []Record) []Record {
	room := map[string]int{}
	for _, r := range want {
		room[r.Topic]++
	}
	return slices.DeleteFunc(slices.Clone(got), func(r Record) bool {
		room[r.Topic]--
		return room[r.Topic] < 0
	})
}

// report tells each kind of mismatch once.
func report(t *testing.T, list []Mismatch) {
	t.Helper()
	count := map[string]int{}
	for _, m := range list {
		count[m.Path+show(m.Got)+show(m.Want)]++
	}
	for _, m := range list {
		k := m.Path + show(m.Got) + show(m.Want)
		if n := count[k]; n > 0 {
			t.Errorf("%v (%d times)", m, n)
		}
		count[k] = 0
	}
}

// notNow takes mismatches away that are about the present time.
func notNow(column string, list []Mismatch) []Mismatch {
	return slices.DeleteFunc(list, func(m Mismatch) bool {
		return column != "" && strings.HasSuffix(m.Path, "."+column) && m.Got != nil && m.Want != nil && fmt.Sprintf("%T", m.Got) == fmt.Sprintf("%T", m.Want)
	})
}
