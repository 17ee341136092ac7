package worker

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
)

// TestHungTask: a task in a call that does not end when it is told to holds up nobody for longer than he wants to wait, and
// what was asked for happens when the call has ended.
func TestHungTask(t *testing.T) {
	for name, operation := range map[string]func(ctx context.Context, w *Worker) error{
		"put": func(ctx context.Context, w *Worker) error {
			_, _, err := w.Put(ctx, "snk", sinkConfig(map[string]string{"errors.max.retries": "7"}))
			return err
		},
		"delete":       func(ctx context.Context, w *Worker) error { return w.Delete(ctx, "snk") },
		"pause":        func(ctx context.Context, w *Worker) error { return w.SetState(ctx, "snk", Paused) },
		"restart_task": func(ctx context.Context, w *Worker) error { return w.RestartTask(ctx, "snk", 0) },
		"restart": func(ctx context.Context, w *Worker) error {
			_, err := w.Restart(ctx, "snk", true, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			hangs, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			h.target.fail = func(*change.Event) error {
				once.Do(func() {
					close(hangs)
					<-release
				})
				return nil
			}
			h.start()
			h.create("src", sourceConfig(nil))
			h.create("snk", sinkConfig(nil))
			h.db.add(inserts(0, 5)...)
			<-hangs
			gone, cancel := context.WithCancel(context.Background())
			answered := make(chan error, 1)
			go func() { answered <- operation(gone, h.w) }()
			select {
			case err := <-answered:
				t.Errorf("it is answered while the task hangs: %v", err)
			case <-h.told("snk"):
			}
			cancel()
			if err := <-answered; !errors.Is(err, context.Canceled) {
				t.Errorf("the operation: %v", err)
			}
			if err := h.w.SetState(gone, "snk", Stopped); !errors.Is(err, context.Canceled) {
				t.Errorf("the next operation: %v", err)
			}
			if _, err := h.w.Status("snk"); err != nil {
				t.Errorf("status: %v", err)
			}
			close(release)
			// Whoever is next finds the operation done.
			info, _, err := h.w.Put(context.Background(), "other", sinkConfig(nil))
			if err != nil || info.Name != "other" {
				t.Errorf("%+v, %v", info, err)
			}
			c, err := h.w.find("snk")
			if err == nil {
				if err := c.lock(context.Background()); err != nil {
					t.Fatal(err)
				}
				c.unlock()
			}
			switch s, err := h.w.Status("snk"); name {
			case "delete":
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("after delete: %+v, %v", s, err)
				}
			case "pause":
				if s.State != Paused {
					t.Errorf("after pause: %+v", s)
				}
			default:
				h.awaitState("snk", Running)
				if i, err := h.w.Info("snk"); name == "put" && i.Config["errors.max.retries"] != "7" {
					t.Errorf("after put: %v, %v", i, err)
				}
			}
		})
	}
}

// told is closed when the connector's present run has been told to end.
func (h *harness) told(name string) <-chan struct{} {
	h.tb.Helper()
	c, err := h.w.find(name)
	if err != nil {
		h.tb.Fatal(err)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		for {
			c.mu.Lock()
			running := c.cancel != nil
			c.mu.Unlock()
			if !running {
				return
			}
			runtime.Gosched()
		}
	}()
	return told
}

// TestLagUnderClockSkew: a database whose clock is ahead of ours never gives a lag below zero.
func TestLagUnderClockSkew(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"case103_a_year_ahead": 365 * 24 * time.Hour, "case103_a_moment_ahead": time.Microsecond, "case103_in_step": 0} {
		t.Run(name, func(t *testing.T) {
			now := time.UnixMicro(1_700_000_000_000_000)
			task := newTask(0)
			task.advanced(1, now.Add(ahead).UnixMicro(), now)
			if lag := task.status().LagMS; lag != 0 {
				t.Errorf("the lag is %d ms", lag)
			}
		})
	}
}
