package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/worker"
)

func doctorCommand() *cobra.Command {
	var o serveOptions
	var out output
	c := &cobra.Command{Use: "doctor [CONNECTOR...]", Short: "Ask the source servers whether they can serve the connectors",
		Long: "Check the connectors of a configuration file, or those that are named, and ask the servers of the sources whether they are ready.\n" +
			"For each problem it prints what is wrong and what to run. It changes nothing. A running daemon is not needed.",
		Args: cobra.ArbitraryArgs, PreRunE: out.check, RunE: func(c *cobra.Command, args []string) error {
			return o.doctor(c.Context(), c.OutOrStdout(), args, out)
		}}
	c.Flags().StringVarP(&o.file, "config", "c", defaultFile, "configuration file, as for serve")
	o.bindSecrets(c)
	out.bind(c)
	return c
}

// finding is what is to be said about a connector.
type finding struct {
	Connector string `json:"connector"`
	Severity  string `json:"severity"` // error or note
	Key       string `json:"key"`
	Message   string `json:"message"`
}

// doctor prints what is wrong with the connectors, and fails if one of them can't work.
func (o serveOptions) doctor(ctx context.Context, w io.Writer, names []string, out output) error {
	values, err := o.providers()
	if err != nil {
		return err
	}
	file, _, diagnostics := load(o.file, false, values)
	if config.Failed(diagnostics) && len(file.Connectors) == 0 { // else each connector says what is wrong with it
		for _, d := range diagnostics {
			fmt.Fprintln(w, d)
		}
		return fmt.Errorf("%s has errors", o.file)
	}
	opt := plugins()
	opt.Providers = values
	for _, name := range names {
		if !slices.ContainsFunc(file.Connectors, func(c config.Connector) bool { return c.Name == name }) {
			return fmt.Errorf("%s has no connector %s", o.file, name)
		}
	}
	list, wrong := []finding{}, 0
	for _, c := range file.Connectors {
		if len(names) > 0 && !slices.Contains(names, c.Name) {
			continue
		}
		broken := false
		for _, p := range worker.Preflight(ctx, opt, c.Name, c.Config) {
			severity := "error"
			if p.Note {
				severity = "note"
			} else {
				broken = true
			}
			list = append(list, finding{c.Name, severity, p.Key, p.Message})
			if out == "table" {
				fmt.Fprintln(w, printable(fmt.Sprintf("%s: %s: %s: %s", c.Name, severity, p.Key, p.Message)))
			}
		}
		if broken {
			wrong++
		} else if out == "table" {
			fmt.Fprintln(w, printable(c.Name+": ready"))
		}
	}
	if out == "json" {
		if err := printJSON(w, list); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%s not ready", count(wrong, "connector"))
	}
	return nil
}
