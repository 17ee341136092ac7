package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/rest"
)

// client talks to a running daemon.
type client struct {
	url, output    string
	user, password string
}

// bind adds the flags that all client commands have.
func (cl *client) bind(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&cl.url, "url", "", "the daemon's REST API (default: TAILRACE_URL, else http://127.0.0.1:8083)")
	c.Flags().StringVarP(&cl.output, "output", "o", "table", "table or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		cl.url = strings.TrimRight(first(cl.url, os.Getenv("TAILRACE_URL"), "http://"+defaultListen), "/")
		access, err := rest.AccessFromEnv(os.LookupEnv, os.ReadFile)
		if err != nil {
			return err
		}
		cl.user, cl.password = access.User, access.Password
		if cl.output != "table" && cl.output != "json" {
			return &usageError{fmt.Errorf("-o %s: must be table or json", cl.output)}
		}
		return nil
	}
	return c
}

// get requests a path and returns the body, which the caller closes.
func (cl *client) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cl.url+path, nil)
	if err != nil {
		return nil, err
	}
	if cl.password != "" {
		req.SetBasicAuth(cl.user, cl.password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no daemon answers (is `tailrace serve` running? --url or TAILRACE_URL tell where): %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	var body struct{ Message string }
	if json.Unmarshal(text, &body) != nil || body.Message == "" {
		body.Message = strings.TrimSpace(string(text))
	}
	return nil, fmt.Errorf("%s: %s", resp.Status, body.Message)
}

func fetch[T any](ctx context.Context, cl *client, path string) (T, error) {
	var v T
	body, err := cl.get(ctx, path)
	if err != nil {
		return v, err
	}
	defer body.Close()
	return v, json.NewDecoder(body).Decode(&v)
}

// show prints v as JSON or as a table of the rows.
func show(w io.Writer, cl *client, v any, header string, rows []string) error {
	if cl.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, header)
	for _, r := range rows {
		fmt.Fprintln(t, r)
	}
	return t.Flush()
}

func clientCommands() []*cobra.Command {
	return []*cobra.Command{statusCommand(), topicsCommand(), lagCommand(), tailCommand()}
}

func statusCommand() *cobra.Command {
	cl := &client{}
	return cl.bind(&cobra.Command{Use: "status", Short: "Show connectors, their states and figures", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		list, err := fetch[[]rest.StatusInfo](c.Context(), cl, "/tailrace/status")
		if err != nil {
			return err
		}
		var rows []string
		for _, s := range list {
			if len(s.Tasks) == 0 {
				rows = append(rows, strings.Join([]string{s.Name, s.Type, string(s.State), "-", "-", "-", "-", oneLine(s.Trace)}, "\t"))
			}
			for _, t := range s.Tasks {
				lag, snap := "-", "-"
				if t.LagMS >= 0 {
					lag = fmt.Sprint(t.LagMS, " ms")
				}
				if t.Snapshot != nil {
					snap = fmt.Sprintf("%d/%d", t.Snapshot.Rows, t.Snapshot.Total)
				}
				rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s", s.Name, s.Type, t.State, t.ID, t.Events, lag, snap, oneLine(t.Trace)))
			}
		}
		return show(c.OutOrStdout(), cl, list, "CONNECTOR\tTYPE\tSTATE\tTASK\tEVENTS\tLAG\tSNAPSHOT\tERROR", rows)
	}})
}

// oneLine makes an error fit a table.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 160 {
		s = s[:160] + "..."
	}
	return s
}

func topicsCommand() *cobra.Command {
	cl := &client{}
	var internal bool
	c := cl.bind(&cobra.Command{Use: "topics", Short: "List the topics of the log", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		list, err := fetch[[]rest.TopicInfo](c.Context(), cl, "/tailrace/topics")
		if err != nil {
			return err
		}
		shown, rows := []rest.TopicInfo{}, []string{}
		for _, t := range list {
			if internal || !strings.HasPrefix(t.Topic, "__tailrace_") {
				shown = append(shown, t)
				rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%d", t.Topic, t.Partitions, t.Records, t.Bytes))
			}
		}
		return show(c.OutOrStdout(), cl, shown, "TOPIC\tPARTITIONS\tRECORDS\tBYTES", rows)
	}})
	c.Flags().BoolVar(&internal, "internal", false, "show Tailrace's own topics too")
	return c
}

func lagCommand() *cobra.Command {
	cl := &client{}
	return cl.bind(&cobra.Command{Use: "lag", Short: "Show how far each sink is behind", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		list, err := fetch[[]rest.LagInfo](c.Context(), cl, "/tailrace/lag")
		if err != nil {
			return err
		}
		var rows []string
		for _, l := range list {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%d\t%d\t%d", l.Connector, l.Topic, l.Partition, l.Offset, l.End, l.Lag))
		}
		return show(c.OutOrStdout(), cl, list, "CONNECTOR\tTOPIC\tPARTITION\tOFFSET\tEND\tLAG", rows)
	}})
}

func tailCommand() *cobra.Command {
	cl := &client{}
	var from, until string
	c := cl.bind(&cobra.Command{Use: "tail TOPIC...", Short: "Print records of topics, one a line", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, topics []string) error {
		body, err := cl.get(c.Context(), "/tailrace/records?"+url.Values{"topic": topics, "from": {from}, "until": {until}}.Encode())
		if err != nil {
			return err
		}
		defer body.Close()
		if cl.output == "json" {
			_, err = io.Copy(c.OutOrStdout(), body)
		} else {
			err = tailTable(c.OutOrStdout(), body)
		}
		if c.Context().Err() != nil { // interrupted: that is how one stops following
			return nil
		}
		return err
	}})
	c.Flags().StringVar(&from, "from", "end", "start, end or an offset")
	c.Flags().StringVar(&until, "until", "", "end: stop at the present end; empty: follow")
	return c
}

// tailTable prints records as columns.
func tailTable(w io.Writer, body io.Reader) error {
	dec := json.NewDecoder(body)
	for {
		var r struct {
			Topic             string
			Partition, Offset int64
			Key, Value        json.RawMessage
		}
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s/%d@%d\t%s\t%s\n", r.Topic, r.Partition, r.Offset, r.Key, r.Value); err != nil {
			return err
		}
	}
}
