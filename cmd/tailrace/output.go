package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
)

// output is the form in which a command prints: table or json.
type output string

// bind adds the flag -o.
func (o *output) bind(c *cobra.Command) {
	c.Flags().StringVarP((*string)(o), "output", "o", "table", "table or json")
}

// check is the command's PreRunE.
func (o *output) check(*cobra.Command, []string) error {
	if *o != "table" && *o != "json" {
		return &usageError{fmt.Errorf("-o %s: must be table or json", *o)}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable prints rows of cells below their names. Cells show no control characters: names and errors come from databases.
func printTable(w io.Writer, names string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(strings.Fields(names), "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = printable(r[i])
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// indented makes of an error, which may quote a database, text in which nothing looks like a line of its own in a log, and
// nothing moves a terminal's cursor.
func indented(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n  ")
}

// printable replaces what a terminal would obey rather than show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
