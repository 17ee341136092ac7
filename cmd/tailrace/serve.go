package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
	"golang.org/x/sync/errgroup"
)

// serveOptions are the flags of serve; empty ones are taken from the file, then from the defaults.
type serveOptions struct {
	file, dataDir, listen string
	level, format         string
}

const (
	defaultListen  = "127.0.0.1:8083"
	defaultDataDir = "data"
	// stopTimeout bounds how long requests may take to end after the daemon was told to stop.
	stopTimeout = 10 * time.Second
	// memoryLimit is a soft limit for the Go heap, far above what the bounded batches need; GOMEMLIMIT overrides it.
	memoryLimit = 512 << 20
)

func serveCommand() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return serve(c.Context(), o, c.ErrOrStderr())
	}}
	c.Flags().StringVarP(&o.file, "config", "c", "", "configuration file, connectors.yaml")
	c.Flags().StringVar(&o.dataDir, "data-dir", "", "directory of the embedded log (default: log.dir of the file, else ./data)")
	c.Flags().StringVar(&o.listen, "listen", "", "address of the REST API (default: listen of the file, else "+defaultListen+")")
	c.Flags().StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&o.format, "log-format", "text", "text or json")
	return c
}

func (o serveOptions) logger(w io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, nil, &usageError{fmt.Errorf("--log-level: %w", err)}
	}
	h := &slog.HandlerOptions{Level: level}
	switch o.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, h)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, h)), level, nil
	}
	return nil, nil, &usageError{fmt.Errorf("--log-format: %q is neither text nor json", o.format)}
}

// serve runs the daemon until ctx is done.
func serve(ctx context.Context, o serveOptions, stderr io.Writer) error {
	logger, level, err := o.logger(stderr)
	if err != nil {
		return err
	}
	file := &config.File{}
	if o.file != "" {
		var diagnostics []config.Diagnostic
		file, diagnostics = load(o.file, false)
		for _, d := range diagnostics {
			fmt.Fprintln(stderr, d)
		}
		if config.Failed(diagnostics) {
			return fmt.Errorf("%s has errors", o.file)
		}
	}
	if file.Log.Type == "kafka" {
		return errors.New("log.type: kafka is not available in this version; use embedded")
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	access, err := rest.AccessFromEnv(os.LookupEnv, os.ReadFile)
	if err != nil {
		return err
	}
	listen := first(o.listen, file.Listen, defaultListen)
	if err := access.Check(listen); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("REST API: %w", err)
	}
	defer ln.Close()
	return run(ctx, file, first(o.dataDir, file.Log.Dir, defaultDataDir), ln, logger, level, access)
}

// run opens the log, the registry and the worker, and serves until ctx is done; then everything ends in reverse order.
func run(ctx context.Context, file *config.File, dir string, ln net.Listener, logger *slog.Logger, level *slog.LevelVar, access rest.Access) (err error) {
	var l late
	log, err := disk.Open(ctx, disk.Options{Dir: dir, Logger: logger, Now: time.Now, Merger: &l, ConsumerFloor: l.floor})
	if err != nil {
		return fmt.Errorf("log in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	reg, err := rowcodec.Open(ctx, log)
	if err != nil {
		return err
	}
	l.reg.Store(reg)
	opt := plugins()
	opt.Log, opt.Codec, opt.Formatter = log, rows{reg}, debezium
	opt.Providers = config.Providers{Env: os.LookupEnv, ReadFile: config.SecretFiles()}
	opt.ID, opt.Logger, opt.Now = ln.Addr().String(), logger, time.Now
	w, err := worker.Open(ctx, opt)
	if err != nil {
		return err
	}
	l.worker.Store(w)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Run(ctx) })
	for _, c := range file.Connectors {
		if err := w.Apply(ctx, c.Name, c.Config, worker.State(c.State)); err != nil {
			logger.Error("connector of the file was not applied", "connector", c.Name, "error", err)
		}
	}
	srv := &http.Server{Handler: rest.New(w, rest.Options{Access: access, Level: level, Logger: logger, Version: version, Now: time.Now}),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	g.Go(func() error {
		logger.Info("serving", "address", ln.Addr().String(), "data", dir, "version", version)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		logger.Info("stopping")
		stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil { // a tail that nobody ends
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
