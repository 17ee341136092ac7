package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// modelSampler is the client under which samples are in the journal.
const modelSampler = 100

// A modelStrike is one thing that happens while clients write.
type modelStrike struct {
	after time.Duration // the one before
	kind  string
}

// makePlan draws what happens: the second connector comes somewhere in it.
func makePlan(r *rand.Rand) (plan []modelStrike) {
	kinds := []string{"kill", "kill", "terminate", "snapshot", "pause", "stop", "sample", "sample"}
	add := func(kind string) {
		plan = append(plan, modelStrike{time.Duration(30+r.IntN(250)) * time.Millisecond, kind})
	}
	begin := r.IntN(4)
	for i := range 3 + r.IntN(4) {
		if i == begin {
			add("begin")
		}
		add(kinds[r.IntN(len(kinds))])
	}
	if begin >= len(plan) {
		add("begin")
	}
	plan = append(plan, modelStrike{time.Duration(100+r.IntN(200)) * time.Millisecond, "rest"})
	return plan
}

// nemesis follows the plan. It leaves a daemon whose connectors run.
func (r *modelRun) nemesis(ctx context.Context) error {
	woven := false
	for _, s := range r.plan {
		if err := pauseFor(ctx, s.after); err != nil {
			return err
		}
		name := modelStream
		if woven && r.rnd.IntN(2) == 0 {
			name = modelWoven
		}
		woven = woven || s.kind == "begin"
		if err := r.strike(ctx, s.kind, name); err != nil {
			return fmt.Errorf("%s: %w", s.kind, err)
		}
	}
	return nil
}

// strike does one thing; name is a connector that it may be about.
func (r *modelRun) strike(ctx context.Context, kind, name string) error {
	switch kind {
	case "begin":
		return r.connect(ctx, modelWoven, "initial")
	case "kill":
		if err := r.daemon.Kill(); err != nil {
			return err
		}
		if err := r.daemon.Start(); err != nil {
			return err
		}
		ready, cancel := context.WithTimeout(ctx, modelSettle)
		defer cancel()
		return r.daemon.Ready(ready)
	case "terminate":
		_, err := r.db.interrupt(ctx, r.name)
		return err
	case "snapshot":
		var names []string
		for _, t := range r.load.schema.tables() {
			if !t.bag() {
				names = append(names, r.load.schema.name+"."+t.name)
			} else if r.rnd.IntN(3) == 0 {
				r.recopied[t.name] = true
				names = append(names, r.load.schema.name+"."+t.name)
			}
		}
		if names == nil {
			return nil
		}
		return r.daemon.Signal(ctx, name, "execute-snapshot", map[string]any{"type": "incremental", "data-collections": names})
	case "pause":
		if err := r.daemon.PauseConnector(ctx, name); err != nil {
			return err
		}
		if err := pauseFor(ctx, time.Duration(r.rnd.IntN(150))*time.Millisecond); err != nil {
			return err
		}
		return r.daemon.ResumeConnector(ctx, name)
	case "stop":
		if err := syscall.Kill(r.daemon.Pid(), syscall.SIGSTOP); err != nil {
			return err
		}
		if err := pauseFor(ctx, time.Duration(r.rnd.IntN(300))*time.Millisecond); err != nil {
			return err
		}
		return syscall.Kill(r.daemon.Pid(), syscall.SIGCONT)
	case "sample":
		return r.sample(ctx)
	}
	return nil
}
