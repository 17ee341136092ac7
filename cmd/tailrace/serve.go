package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/topic/disk"
)

const (
	defaultListen  = "127.0.0.1:8083"
	defaultDataDir = "data"
	runSecrets     = "/run/secrets" // where containers have them
	// memoryLimit is a soft limit of the process's memory, far above what the bounded batches need; GOMEMLIMIT overrides it.
	memoryLimit = 512 << 20
)

// serveOptions are the flags of serve; empty ones are taken from the file, then from the defaults.
type serveOptions struct {
	file, dataDir, listen string
	level, format         string
	secrets               []string
}

func serveCommand() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{Use: "serve", Short: "Run the daemon", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		d, err := o.prepare(c.ErrOrStderr())
		if err != nil {
			return err
		}
		return d.run(c.Context())
	}}
	c.Flags().StringVarP(&o.file, "config", "c", "", "configuration file, connectors.yaml")
	c.Flags().StringVar(&o.dataDir, "data-dir", "", "directory of the embedded log (default: log.dir of the file, else ./data)")
	c.Flags().StringVar(&o.listen, "listen", "", "address of the REST API (default: listen of the file, else "+defaultListen+")")
	c.Flags().StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&o.format, "log-format", "text", "text or json")
	o.bindSecrets(c)
	return c
}

func (o *serveOptions) bindSecrets(c *cobra.Command) {
	c.Flags().StringSliceVar(&o.secrets, "secrets-dir", nil, "directories below which ${file:..} and ${dir:..} read (default: the configuration file's directory, and "+runSecrets+")")
}

// prepare reads the file and judges everything that can be judged before something is opened. It listens.
func (o serveOptions) prepare(stderr io.Writer) (*service, error) {
	d := &service{}
	var err error
	if d.logger, d.level, err = o.logger(stderr); err != nil {
		return nil, err
	}
	if d.providers, err = o.providers(); err != nil {
		return nil, err
	}
	d.file = &config.File{}
	if o.file != "" {
		var diagnostics []config.Diagnostic
		d.file, d.log, diagnostics = load(o.file, false, d.providers)
		for _, diag := range diagnostics {
			fmt.Fprintln(stderr, diag)
		}
		if config.Failed(diagnostics) {
			return nil, fmt.Errorf("%s has errors", o.file)
		}
	}
	d.log.Dir = first(o.dataDir, d.file.Log.Dir, defaultDataDir)
	if d.access, err = rest.AccessFromEnv(os.LookupEnv, os.ReadFile); err != nil {
		return nil, err
	}
	listen := first(o.listen, d.file.Listen, defaultListen)
	if err := d.access.Check(listen); err != nil {
		return nil, err
	}
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		d.access.Hosts = append(d.access.Hosts, host)
	}
	if d.listener, err = net.Listen("tcp", listen); err != nil {
		return nil, fmt.Errorf("REST API: %w", err)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	return d, nil
}

// providers returns where the values of placeholders come from.
func (o serveOptions) providers() (config.Providers, error) {
	roots, err := o.secretRoots()
	return config.Providers{Env: os.LookupEnv, ReadFile: config.SecretFiles(roots...)}, err
}

// secretRoots returns the directories below which secrets may be read, as absolute paths. Whoever may change a connector by
// the API can have it read any file below them, so by default they are those that are there for it.
func (o serveOptions) secretRoots() ([]string, error) {
	roots := o.secrets
	if len(roots) == 0 {
		roots = []string{runSecrets}
		if dir, err := filepath.Abs(filepath.Dir(o.file)); o.file != "" && err == nil && dir != "/" {
			roots = append(roots, dir)
		}
	}
	out := make([]string, len(roots))
	for i, r := range roots {
		abs, err := filepath.Abs(r)
		if err != nil {
			return nil, fmt.Errorf("--secrets-dir %s: %w", r, err)
		}
		out[i] = abs
	}
	return out, nil
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
	case "json": // the text form quotes whatever a terminal would obey; JSON alone does not
		h.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if err, ok := a.Value.Any().(error); ok {
				a.Value = slog.StringValue(err.Error())
			}
			if a.Value.Kind() == slog.KindString {
				a.Value = slog.StringValue(strings.Map(visible, a.Value.String()))
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(w, h)), level, nil
	}
	return nil, nil, &usageError{errors.New("--log-format: must be text or json")}
}

// visible replaces what JSON leaves as it is and a terminal obeys.
func visible(r rune) rune {
	if r < 0x7f || unicode.IsPrint(r) {
		return r
	}
	return '?'
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// service is everything that serve has prepared.
type service struct {
	file      *config.File
	log       disk.Options // of the file; run adds the rest
	providers config.Providers
	access    rest.Access
	listener  net.Listener
	logger    *slog.Logger
	level     *slog.LevelVar
}
