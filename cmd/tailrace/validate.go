package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

const defaultFile = "connectors.yaml"

func validateCommand() *cobra.Command {
	var strict bool
	var o serveOptions
	var out output
	c := &cobra.Command{Use: "validate [connectors.yaml]", Short: "Check a configuration file without touching any server", Args: cobra.MaximumNArgs(1),
		PreRunE: out.check, RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.file = args[0]
			}
			return o.validate(c.OutOrStdout(), strict, out)
		}}
	c.Flags().StringVarP(&o.file, "config", "c", defaultFile, "configuration file, as for serve")
	o.bindSecrets(c)
	c.Flags().BoolVar(&strict, "strict", false, "unknown properties are errors")
	out.bind(c)
	return c
}

// diagnostic is a config.Diagnostic as JSON.
type diagnostic struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	Severity   string `json:"severity"` // error or warning
	Key        string `json:"key,omitempty"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
	Excerpt    string `json:"excerpt,omitempty"`
}

// validate prints every mistake in the file, and fails if one of them is an error.
func (o serveOptions) validate(w io.Writer, strict bool, out output) error {
	values, err := o.providers()
	if err != nil {
		return err
	}
	file, _, diagnostics := load(o.file, strict, values)
	list, warnings := []diagnostic{}, 0
	for _, d := range diagnostics {
		severity := "error"
		if d.Severity == config.Warning {
			severity, warnings = "warning", warnings+1
		}
		list = append(list, diagnostic{d.File, d.Line, d.Column, severity, d.Key, d.Message, d.Suggestion, d.Excerpt})
		if out == "table" {
			fmt.Fprintln(w, d)
		}
	}
	if out == "json" {
		if err := printJSON(w, list); err != nil {
			return err
		}
	}
	if errors := len(list) - warnings; errors > 0 {
		return fmt.Errorf("%s: %s, %s", o.file, count(errors, "error"), count(warnings, "warning"))
	}
	if out == "table" {
		fmt.Fprintf(w, "%s: %s, %s\n", o.file, count(len(file.Connectors), "connector"), count(warnings, "warning"))
	}
	return nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// load reads a configuration file and judges it by what the plugins and the log know. The result is usable unless
// config.Failed says otherwise of the diagnostics. A placeholder for which values have nothing is a warning: the daemon may
// run elsewhere, and tries again later.
func load(path string, strict bool, values config.Providers) (*config.File, disk.Options, []config.Diagnostic) {
	file, diagnostics := config.Load(path)
	opt := plugins()
	diagnostics = append(diagnostics, file.Check(strict, func(c config.Connector) (config.Description, bool) {
		v, known := worker.Judge(opt, c.Config)
		return config.Description{Keys: v.Keys, Patterns: v.Families, Problems: v.Problems}, known
	})...)
	for i := range file.Connectors {
		c := &file.Connectors[i]
		_, problems := config.Resolve(c.Config, values)
		for _, p := range problems {
			diagnostics = append(diagnostics, file.Locate(c, p, config.Warning))
		}
	}
	log, problems := logOptions(file.Log)
	for _, p := range problems {
		diagnostics = append(diagnostics, file.LocateLog(p, config.Error))
	}
	config.SortDiagnostics(diagnostics)
	return file, log, diagnostics
}

// logSettings are the properties of log: in the file that the embedded log obeys.
type logSettings struct {
	MaxBytes        int64 `cfg:"disk.max.bytes" default:"0" min:"0" doc:"disk budget of the whole log; appends wait when it is used up; 0: none"`
	AlarmBytes      int64 `cfg:"disk.alarm.bytes" default:"0" min:"0" doc:"level from which compaction does what it can, and metrics and log say so; 0: 80 % of disk.max.bytes"`
	JournalBytes    int64 `cfg:"journal.bytes" default:"67108864" min:"1048576" doc:"size of the journal at which a checkpoint cuts it"`
	SegmentBytes    int64 `cfg:"segment.bytes" default:"67108864" min:"1048576" doc:"size at which a segment is closed"`
	MaxMessageBytes int64 `cfg:"max.message.bytes" default:"134217728" min:"1024" doc:"the largest record"`
	CleanerMemory   int64 `cfg:"cleaner.dedupe.buffer.size" default:"201326592" min:"1048576" doc:"memory that compaction may use, in bytes"`
	CleanerRate     int64 `cfg:"cleaner.io.max.bytes.per.second" default:"134217728" min:"65536" doc:"bytes that compaction reads and writes in a second, unless space is short"`
}

// logOptions reads the properties of the embedded log.
func logOptions(l config.Log) (disk.Options, []config.Problem) {
	if l.Type == "kafka" {
		return disk.Options{}, []config.Problem{{Key: "type", Message: "kafka is not available in this version; use embedded"}}
	}
	var set logSettings
	problems := config.Decode(l.Props, &set)
	var known []string
	for _, k := range config.Keys(&set) {
		known = append(known, k.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Props)) {
		if !slices.Contains(known, name) {
			text := "unknown property"
			if near := config.Nearest(name, known); near != "" {
				text += ": did you mean " + near + "?"
			}
			problems = append(problems, config.Problem{Key: name, Message: text})
		}
	}
	return disk.Options{MaxBytes: set.MaxBytes, AlarmBytes: set.AlarmBytes, JournalBytes: set.JournalBytes, SegmentBytes: set.SegmentBytes,
		MaxMessageBytes: set.MaxMessageBytes, CompactionMemory: set.CleanerMemory, CompactionRate: set.CleanerRate}, problems
}
