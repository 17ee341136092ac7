package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

const (
	// drainTimeout bounds how long requests may take to end once the daemon was told to stop.
	drainTimeout = 5 * time.Second
	// stopTimeout bounds how long tasks may take. What is not done by then, the next start does again.
	stopTimeout = 25 * time.Second
)

// gate is the handler of the present phase.
type gate struct{ h atomic.Pointer[http.Handler] }

func (g *gate) set(h http.Handler) { g.h.Store(&h) }

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*g.h.Load()).ServeHTTP(w, r) }

// run serves until ctx is done. The API answers from the beginning: while the log is opened it says so.
func (d *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g gate
	g.set(rest.Starting(d.access))
	srv := &http.Server{Handler: &g, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(d.logger.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() {
		defer cancel()
		served <- srv.Serve(d.listener)
	}()
	err := d.work(ctx, srv, &g)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) { // told to stop before it had begun
		err = nil
	}
	err = errors.Join(err, srv.Close())
	if s := <-served; !errors.Is(s, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("REST API: %w", s))
	}
	return err
}

// work opens the log, the registry and the worker, and runs the connectors until ctx is done; then everything ends in
// reverse order.
func (d *service) work(ctx context.Context, srv *http.Server, g *gate) error {
	var l late
	opt := d.log
	opt.Logger, opt.Now, opt.Merger, opt.ConsumerFloor = d.logger, time.Now, &l, l.floor
	log, err := disk.Open(ctx, opt)
	if err != nil {
		return fmt.Errorf("log in %s: %w", opt.Dir, err)
	}
	w, err := d.open(ctx, log, &l)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	api := rest.New(w, rest.Options{Access: d.access, Level: d.level, Logger: d.logger, Version: version, Now: time.Now})
	srv.RegisterOnShutdown(api.Drain)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	g.set(api)
	d.logger.Info("serving", "address", d.listener.Addr().String(), "data", opt.Dir, "version", version)
	<-ctx.Done()
	d.logger.Info("stopping")
	patience := time.NewTimer(stopTimeout)
	defer patience.Stop()
	drain(srv)
	select {
	case err := <-ended:
		return errors.Join(err, log.Close())
	case <-patience.C: // the log stays open below them; the next start brings back what is durable
		return fmt.Errorf("the tasks did not end within %s", stopTimeout)
	}
}

// open opens the registry and the worker on the log, and applies the file.
func (d *service) open(ctx context.Context, log *disk.Log, l *late) (*worker.Worker, error) {
	reg, err := rowcodec.Open(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	l.reg.Store(reg)
	opt := plugins()
	opt.Log, opt.Codec, opt.Formatter, opt.Providers = log, rows{reg}, newFormatter(), d.providers
	opt.ID, opt.Logger, opt.Now = d.listener.Addr().String(), d.logger, time.Now
	opt.Scratch = filepath.Join(d.log.Dir, "scratch")
	if err := os.MkdirAll(opt.Scratch, 0o700); err != nil {
		return nil, err
	}
	w, err := worker.Open(ctx, opt)
	if err != nil {
		return nil, err
	}
	l.worker.Store(w)
	for _, c := range d.file.Connectors {
		if err := w.Apply(ctx, c.Name, c.Config, worker.State(c.State)); err != nil {
			return nil, fmt.Errorf("connector %s of %s: %w", c.Name, d.file.Path, err)
		}
	}
	return w, nil
}

// drain lets requests under way end, as long as they don't take too long.
func drain(srv *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	_ = srv.Shutdown(ctx) // run closes what is left
}
