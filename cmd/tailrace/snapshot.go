package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/snapshot"
)

// watchInterval is how often snapshot status --watch looks.
const watchInterval = time.Second

func snapshotCommand() *cobra.Command {
	c := &cobra.Command{Use: "snapshot", Short: "Show, start, pause, resume and stop the copying of rows that exist already"}
	c.AddCommand(snapshotStatus(), snapshotStart(),
		snapshotSignal("pause", "Pause the copying of rows; changes are followed on", "pause-snapshot", false),
		snapshotSignal("resume", "Resume what was paused", "resume-snapshot", false),
		snapshotSignal("stop", "End the copying of all tables, or of those that are named", "stop-snapshot", true))
	return c
}

func snapshotStatus() *cobra.Command {
	cl := &client{}
	var watch bool
	c := cl.bind(&cobra.Command{Use: "status [CONNECTOR]", Short: "Show how far the copying of rows has come", Args: cobra.MaximumNArgs(1), RunE: func(c *cobra.Command, args []string) error {
		for {
			list, err := fetch[[]rest.StatusInfo](c.Context(), cl, "/tailrace/status")
			if err != nil {
				return err
			}
			running, err := cl.showSnapshots(c.OutOrStdout(), list, args)
			if err != nil || !watch || !running {
				return err
			}
			t := time.NewTimer(watchInterval)
			select {
			case <-c.Context().Done():
				t.Stop()
				return nil
			case <-t.C:
			}
		}
	}})
	c.Flags().BoolVar(&watch, "watch", false, "go on until everything is copied")
	return c
}

// showSnapshots prints one row for each table that is copied and reports whether something is left to copy.
func (cl *client) showSnapshots(w io.Writer, list []rest.StatusInfo, only []string) (running bool, err error) {
	shown, rows := map[string]*rest.SnapshotInfo{}, [][]string{}
	for _, s := range list {
		for _, t := range s.Tasks {
			if t.Snapshot == nil || len(only) > 0 && only[0] != s.Name {
				continue
			}
			shown[s.Name] = t.Snapshot
			for _, table := range t.Snapshot.Tables {
				running = running || underWay(table)
				rows = append(rows, []string{s.Name, table.Table, tableState(t.Snapshot, table), bar(table), fmt.Sprint(table.Rows), estimate(table), "", "", oneLine(table.Reason)})
			}
			rows = append(rows, total(s.Name, t.Snapshot))
		}
	}
	if len(only) > 0 && len(shown) == 0 {
		return false, fmt.Errorf("connector %s copies nothing: there is none of the name, it is no source, it does not run, or its snapshot.mode copies no rows", only[0])
	}
	return running, cl.show(w, shown, "CONNECTOR TABLE STATE PROGRESS ROWS OF ROWS/S LEFT REASON", rows)
}

func total(connector string, p *rest.SnapshotInfo) []string {
	all := rest.TableInfo{Rows: p.Rows, Total: p.Total, State: snapshot.Copying}
	state, rate, left := "copying", fmt.Sprintf("%.0f", p.Rate), "unknown"
	switch {
	case p.Completed:
		state, rate, left = "done", "", ""
	case p.Paused:
		state, rate, left = "paused", "", ""
	case !slices.ContainsFunc(p.Tables, underWay) && slices.ContainsFunc(p.Tables, hasFailed):
		return []string{connector, "all", "incomplete", bar(all), fmt.Sprint(p.Rows), estimate(all), "", "", ""}
	}
	if p.Left != nil && !p.Completed {
		left = time.Duration(*p.Left * float64(time.Second)).Round(time.Second).String()
	}
	if p.Completed {
		all.State = snapshot.Done
	}
	return []string{connector, "all", state, bar(all), fmt.Sprint(p.Rows), estimate(all), rate, left, ""}
}

func underWay(t rest.TableInfo) bool {
	return t.State == snapshot.Waiting || t.State == snapshot.Copying
}

func hasFailed(t rest.TableInfo) bool { return t.State == snapshot.Failed }

func tableState(p *rest.SnapshotInfo, t rest.TableInfo) string {
	switch {
	case p.Paused && underWay(t):
		return "paused"
	case t.Signal != "" && t.State != snapshot.Done:
		return string(t.State) + ", signal " + t.Signal
	}
	return string(t.State)
}

// estimate is how many rows a table has, as far as that is known.
func estimate(t rest.TableInfo) string {
	switch {
	case t.Total >= 0:
		return fmt.Sprint(t.Total)
	case t.State == snapshot.Done:
		return ""
	}
	return "unknown"
}

// bar draws how much is done in 20 characters.
func bar(t rest.TableInfo) string {
	const width = 20
	n := 0
	switch {
	case t.State == snapshot.Done:
		n = width
	case t.Total > 0:
		n = int(min(width-1, width*t.Rows/t.Total))
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

func snapshotStart() *cobra.Command {
	cl := &client{}
	var kind, surrogate, id string
	var filters []string
	c := cl.bind(&cobra.Command{Use: "start CONNECTOR TABLE...", Short: "Copy tables (again) while changes are followed; a TABLE is a regular expression on schema.table", Args: cobra.MinimumNArgs(2), RunE: func(c *cobra.Command, args []string) error {
		type condition struct {
			Table  string `json:"data-collection"`
			Filter string `json:"filter"`
		}
		data := struct {
			Tables     []string    `json:"data-collections"`
			Type       string      `json:"type"`
			Conditions []condition `json:"additional-conditions,omitempty"`
			Surrogate  string      `json:"surrogate-key,omitempty"`
		}{Tables: args[1:], Type: kind, Surrogate: surrogate}
		for _, f := range filters {
			table, filter, ok := strings.Cut(f, ":")
			if !ok {
				return &usageError{fmt.Errorf("--filter %s: must be like public.orders:id > 100", f)}
			}
			data.Conditions = append(data.Conditions, condition{table, filter})
		}
		return cl.signal(c, args[0], id, "execute-snapshot", data)
	}})
	c.Flags().StringVar(&kind, "type", "incremental", "incremental, or blocking: its rows are marked as those of an initial snapshot")
	c.Flags().StringArrayVar(&filters, "filter", nil, "TABLE:CONDITION, a condition in the database's language that the rows meet")
	c.Flags().StringVar(&surrogate, "surrogate-key", "", "columns of a unique index to divide tables by, instead of the key")
	c.Flags().StringVar(&id, "id", "", "the signal's id (default: a random one)")
	return c
}

// snapshotSignal makes a command that sends one kind of signal, for some tables if it takes them.
func snapshotSignal(name, short, kind string, tables bool) *cobra.Command {
	cl := &client{}
	use, args := name+" CONNECTOR", cobra.ExactArgs(1)
	if tables {
		use, args = use+" [TABLE...]", cobra.MinimumNArgs(1)
	}
	return cl.bind(&cobra.Command{Use: use, Short: short, Args: args, RunE: func(c *cobra.Command, args []string) error {
		return cl.signal(c, args[0], "", kind, struct {
			Tables []string `json:"data-collections,omitempty"`
			Type   string   `json:"type"`
		}{args[1:], "incremental"})
	}})
}

// signal sends a signal and prints its id.
func (cl *client) signal(c *cobra.Command, connector, id, kind string, data any) error {
	text, err := json.Marshal(struct {
		ID   string `json:"id,omitempty"`
		Type string `json:"type"`
		Data any    `json:"data"`
	}{id, kind, data})
	if err != nil {
		return err
	}
	answer, err := cl.send(c.Context(), "/connectors/"+url.PathEscape(connector)+"/signals", text)
	if err != nil {
		return err
	}
	return cl.show(c.OutOrStdout(), answer, "ID SIGNAL", [][]string{{answer.ID, answer.Type}})
}

// sent is the answer to a signal.
type sent struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

func (cl *client) send(ctx context.Context, path string, text []byte) (s sent, err error) {
	body, err := cl.call(ctx, http.MethodPost, path, text)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return s, json.NewDecoder(body).Decode(&s)
}
