package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/worker"
)

func validateCommand() *cobra.Command {
	var strict bool
	c := &cobra.Command{Use: "validate [connectors.yaml]", Short: "Check a configuration file without touching any server", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := "connectors.yaml"
			if len(args) > 0 {
				path = args[0]
			}
			file, diagnostics := load(path, strict)
			for _, d := range diagnostics {
				fmt.Fprintln(c.OutOrStdout(), d)
			}
			if config.Failed(diagnostics) {
				return fmt.Errorf("%s has errors", path)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %d connectors, %d warnings\n", path, len(file.Connectors), len(diagnostics))
			return err
		}}
	c.Flags().BoolVar(&strict, "strict", false, "unknown properties are errors")
	return c
}

// load reads a configuration file and judges it by what the plugins know.
func load(path string, strict bool) (*config.File, []config.Diagnostic) {
	file, diagnostics := config.Load(path)
	return file, append(diagnostics, file.Check(strict, func(c config.Connector) (config.Description, bool) {
		v, known := worker.Judge(plugins(), c.Config)
		return config.Description{Keys: v.Keys, Patterns: config.CommonPatterns(), Problems: v.Problems}, known
	})...)
}
