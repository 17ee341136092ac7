package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is what Tailrace calls itself; it is shown as source.version.
const version = "0.1.0"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		s := <-signals
		fmt.Fprintf(os.Stderr, "tailrace: %s again: ending at once\n", s)
		os.Exit(1)
	}()
	err := root().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tailrace:", indented(err.Error()))
	}
	os.Exit(status(err))
}

// status is the exit status for what a command returned: 0 done, 1 failed, 2 wrong usage.
func status(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return 2
	}
	return 1
}

// usageError is a wrong call of a command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func root() *cobra.Command {
	c := &cobra.Command{Use: "tailrace", Short: "Change data capture in one binary", SilenceErrors: true, SilenceUsage: true}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	c.AddCommand(serveCommand(), validateCommand(), doctorCommand(), logCommand(), versionCommand())
	c.AddCommand(clientCommands()...)
	prepare(c)
	return c
}

// prepare makes wrong calls of a command's subcommands, and names of ones that it does not have, usage errors.
func prepare(c *cobra.Command) {
	for _, sub := range c.Commands() {
		judge := sub.Args
		sub.Args = func(c *cobra.Command, args []string) error {
			if err := judge(c, args); err != nil {
				return &usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
			}
			return nil
		}
	}
	c.Args, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		text := fmt.Sprintf("unknown command %q", args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			text += ": did you mean " + near[0] + "?"
		}
		return &usageError{errors.New(text)}
	}
}

// build describes the binary.
type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the sources differed from the revision
}

func thisBuild() build {
	b := build{Version: version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var out output
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, PreRunE: out.check, RunE: func(c *cobra.Command, _ []string) error {
		b := thisBuild()
		if out == "json" {
			return printJSON(c.OutOrStdout(), b)
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), "tailrace", b.Version, b.Go, b.Revision)
		return err
	}}
	out.bind(c)
	return c
}
