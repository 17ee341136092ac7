package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tailrace/tailrace/internal/daemon"
)

// unrest returns what the campaign does to a life: n cycles, of the campaign's cycles those after done. It begins with no daemon and
// leaves one that runs and has copied everything.
func (l *life) unrest(done, n int) func(context.Context, *atomic.Int64) error {
	return func(ctx context.Context, committed *atomic.Int64) error {
		switch l.kind {
		case "dbcrash":
			return l.crashes(ctx, done, n, committed)
		case "resets":
			return l.resets(ctx, done, n, committed)
		}
		if err := l.cycles(ctx, done, n, committed); err != nil {
			return err
		}
		return l.revive(ctx)
	}
}

// crashes stops the database at once, as a crash would, and lets it recover; a sink that is in it has its share.
func (l *life) crashes(ctx context.Context, done, n int, committed *atomic.Int64) error {
	return l.strike(ctx, n, func(i int, state string) error {
		away := time.Duration(l.rnd.IntN(1000)) * time.Millisecond
		if err := errors.Join(l.source.Kill(), pauseFor(ctx, away)); err != nil {
			return err
		}
		if err := l.source.Restart(ctx); err != nil {
			return err
		}
		fmt.Fprintf(l.out, "cycle %d: the database crashed for %s, %s, %d transactions\n", done+i, away, state, committed.Load())
		return nil
	})
}

// resets cuts connections between the daemon and the database, after so many bytes in one direction or the other.
func (l *life) resets(ctx context.Context, done, n int, committed *atomic.Int64) error {
	return l.strike(ctx, n, func(i int, state string) error {
		bytes, where := 1+l.rnd.Int64N(1<<l.rnd.IntN(20)), "from"
		before := l.between.Cuts()
		if l.rnd.IntN(3) == 0 {
			bytes, where = l.rnd.Int64N(300), "to"
			l.between.CutAfter(bytes)
		} else {
			l.between.CutAnswersAfter(bytes)
		}
		for deadline := time.Now().Add(settleTime); l.between.Cuts() == before; {
			if time.Now().After(deadline) {
				return errors.New("nothing passes between the daemon and the database")
			}
			if err := pauseFor(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
		fmt.Fprintf(l.out, "cycle %d: cut %d bytes %s the database, %s, %d transactions\n", done+i, bytes, where, state, committed.Load())
		return nil
	})
}

// strike starts the daemon and strikes n times, at random moments, the second half of them after the copy.
func (l *life) strike(ctx context.Context, n int, strike func(i int, state string) error) error {
	if err := l.daemon.Start(); err != nil {
		return err
	}
	for i := range n {
		if i > 0 && i == n/2 {
			if err := l.recovered(ctx); err != nil {
				return err
			}
		}
		moment := time.NewTimer(l.moment())
		state := l.watch(ctx, moment.C, "starting")
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := strike(i+1, state); err != nil {
			return err
		}
	}
	return l.recovered(ctx)
}

// recovered fails unless the source gets going again soon, without going round and round about a slot that is in use, and then
// waits for the end of the snapshot.
func (l *life) recovered(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := l.daemon.Until(soon, func() (bool, error) {
		list, err := l.daemon.Status(soon)
		if errors.Is(err, syscall.ECONNREFUSED) { // it has only just been started
			return false, nil
		} else if err != nil {
			return false, err
		}
		for _, c := range list {
			for _, t := range c.Tasks {
				if c.Name == "source" && t.State == "RUNNING" && t.Snapshot != nil {
					return true, nil
				}
			}
		}
		return false, daemon.Failed(list)
	})
	if err != nil {
		return fmt.Errorf("the source does not recover: %w", err)
	}
	return l.copied(ctx)
}

// portOf returns the port of an address.
func portOf(addr string) (int, error) {
	a, err := netip.ParseAddrPort(addr)
	return int(a.Port()), err
}
