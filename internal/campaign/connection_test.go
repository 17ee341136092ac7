package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailrace/tailrace/internal/daemon"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/internal/servers/proxy"
)

// TestLostConnections breaks the daemon's connections to the source under load, in the snapshot and after it.
func TestLostConnections(t *testing.T) {
	t.Run("case23_resets_and_terminations", func(t *testing.T) {
		const resets, terminations = 100, 20
		source := servers.Private(t, "postgres15", map[string]string{"track_commit_timestamp": "on"})
		between := proxy.New(t, source.Addr)
		port, err := portOf(between.Addr())
		if err != nil {
			t.Fatal(err)
		}
		bin, err := daemon.Build(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		c := &campaign{plan: plan{sinks: []string{"postgres"}}, dir: t.TempDir(), bin: bin, source: source, out: &out}
		l := &life{campaign: c, name: "connections", port: port}
		rnd := rand.New(rand.NewPCG(23, 0))
		v, err := l.run(t.Context(), 23, func(ctx context.Context, _ *atomic.Int64) error {
			ready, cancel := context.WithTimeout(ctx, settleTime)
			defer cancel()
			if err := errors.Join(l.daemon.Start(), l.daemon.Ready(ready)); err != nil {
				return err
			}
			conn, err := pgx.Connect(ctx, source.URL)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			// In random order, with pauses that are long enough to get going again, and others that are not.
			kinds := slices.Repeat([]func() error{func() error { between.Reset(); return nil }}, resets)
			killed := 0
			for range terminations {
				kinds = append(kinds, func() error {
					for { // the first waits until there is one: a slow machine may need longer than the pauses
						n := 0
						err := conn.QueryRow(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'walsender'").Scan(&n)
						killed += n
						if err != nil || killed > 0 {
							return err
						}
						if err := pauseFor(ctx, 20*time.Millisecond); err != nil {
							return err
						}
					}
				})
			}
			rnd.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
			for _, strike := range kinds {
				if err := pauseFor(ctx, time.Duration(rnd.IntN(600))*time.Millisecond); err != nil {
					return err
				}
				if err := strike(); err != nil {
					return err
				}
			}
			t.Logf("%d walsenders were terminated", killed)
			return l.recovered(ctx)
		})
		if err != nil || !v.clean() {
			t.Errorf("%s, %v\n%s", v, err, out.String())
		}
	})
}
