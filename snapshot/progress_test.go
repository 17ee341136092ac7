package snapshot_test

import (
	"testing"
	"time"

	"github.com/tailrace/tailrace/snapshot"
)

// The rate is that of the time in which rows were copied, and while none are there is no estimate.
func TestRate(t *testing.T) {
	start := time.Unix(1000, 0)
	p := snapshot.Progress{Started: start, Copied: 500, Pauses: 10 * time.Second,
		Tables: []snapshot.TableProgress{{Rows: 700, Estimated: 1000, State: snapshot.Copying}}}
	now := start.Add(15 * time.Second)
	if rate := p.Rate(now); rate != 100 {
		t.Errorf("rate %v, want 100", rate)
	}
	if left, ok := p.Left(now); !ok || left != 3*time.Second {
		t.Errorf("left %v, %v, want 3s", left, ok)
	}
	p.Paused = true
	if left, ok := p.Left(now); ok || p.Rate(now) != 0 {
		t.Errorf("paused: left %v, rate %v", left, p.Rate(now))
	}
	p.Paused, p.Completed = false, true
	if left, ok := p.Left(now); !ok || left != 0 || p.Rate(now) != 0 {
		t.Errorf("completed: left %v, %v", left, ok)
	}
}
