package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/rest"
)

// answerTimeout bounds the wait for the head of an answer.
const answerTimeout = 60 * time.Second

// client talks to a running daemon.
type client struct {
	url            string
	out            output
	user, password string
	http           *http.Client
}

// bind adds the flags that all client commands have.
func (cl *client) bind(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&cl.url, "url", "", "the daemon's REST API (default: TAILRACE_URL, else http://"+defaultListen+")")
	cl.out.bind(c)
	c.PreRunE = func(c *cobra.Command, args []string) error {
		cl.url = strings.TrimRight(first(cl.url, os.Getenv("TAILRACE_URL"), "http://"+defaultListen), "/")
		if u, err := url.Parse(cl.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return &usageError{fmt.Errorf("--url %s: must be like http://%s", cl.url, defaultListen)}
		}
		access, err := rest.AccessFromEnv(os.LookupEnv, os.ReadFile)
		if err != nil {
			return err
		}
		cl.user, cl.password = access.User, access.Password
		cl.http = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: answerTimeout}}
		return cl.out.check(c, args)
	}
	return c
}

// get requests a path and returns the body, which the caller closes.
func (cl *client) get(ctx context.Context, path string) (io.ReadCloser, error) {
	return cl.call(ctx, http.MethodGet, path, nil)
}

// call sends a request, with a body of JSON unless that is nil, and returns the answer's body, which the caller closes.
func (cl *client) call(ctx context.Context, method, path string, send []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, cl.url+path, bytes.NewReader(send))
	if err != nil {
		return nil, err
	}
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if cl.password != "" {
		req.SetBasicAuth(cl.user, cl.password)
	}
	resp, err := cl.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no daemon answers (is `tailrace serve` running? --url or TAILRACE_URL tell where): %w", err)
	}
	if resp.StatusCode/100 == 2 {
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
	if resp.StatusCode == http.StatusUnauthorized {
		body.Message += " Set TAILRACE_REST_USER and TAILRACE_REST_PASSWORD or TAILRACE_REST_PASSWORD_FILE."
	}
	return nil, fmt.Errorf("%s: %s", resp.Status, printable(body.Message))
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

// show prints v as JSON, or as a table of the rows.
func (cl *client) show(w io.Writer, v any, names string, rows [][]string) error {
	if cl.out == "json" {
		return printJSON(w, v)
	}
	return printTable(w, names, rows)
}

func clientCommands() []*cobra.Command {
	return []*cobra.Command{statusCommand(), topicsCommand(), lagCommand(), tailCommand(), snapshotCommand()}
}

func statusCommand() *cobra.Command {
	cl := &client{}
	return cl.bind(&cobra.Command{Use: "status", Short: "Show connectors, their states and figures", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		list, err := fetch[[]rest.StatusInfo](c.Context(), cl, "/tailrace/status")
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range list {
			if len(s.Tasks) == 0 {
				rows = append(rows, []string{s.Name, s.Type, string(s.State), "-", "-", "-", "-", oneLine(s.Trace)})
			}
			for _, t := range s.Tasks {
				rows = append(rows, taskRow(s, t))
			}
		}
		return cl.show(c.OutOrStdout(), list, "CONNECTOR TYPE STATE TASK EVENTS LAG SNAPSHOT ERROR", rows)
	}})
}

func taskRow(s rest.StatusInfo, t rest.TaskInfo) []string {
	lag, snap := "-", "-"
	if t.LagMS >= 0 {
		lag = fmt.Sprint(t.LagMS, " ms")
	}
	switch p := t.Snapshot; {
	case p == nil:
	case p.Completed:
		snap = fmt.Sprint("done, ", p.Rows)
	case p.Total > 0:
		snap = fmt.Sprintf("%d/%d, %d%%", p.Rows, p.Total, 100*p.Rows/p.Total)
	default:
		snap = fmt.Sprint(p.Rows)
	}
	return []string{s.Name, s.Type, string(t.State), strconv.Itoa(t.ID), strconv.FormatInt(t.Events, 10), lag, snap, oneLine(t.Trace)}
}

// oneLine makes an error fit a table.
func oneLine(s string) string {
	const most = 160
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > most {
		return string(r[:most]) + "..."
	}
	return string(r)
}

func topicsCommand() *cobra.Command {
	cl := &client{}
	var internal bool
	c := cl.bind(&cobra.Command{Use: "topics", Short: "List the topics of the log", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		list, err := fetch[[]rest.TopicInfo](c.Context(), cl, "/tailrace/topics")
		if err != nil {
			return err
		}
		shown, rows := []rest.TopicInfo{}, [][]string{}
		for _, t := range list {
			if internal || !strings.HasPrefix(t.Topic, "__tailrace_") {
				shown = append(shown, t)
				rows = append(rows, []string{t.Topic, fmt.Sprint(t.Partitions), fmt.Sprint(t.Records), fmt.Sprint(t.Bytes)})
			}
		}
		return cl.show(c.OutOrStdout(), shown, "TOPIC PARTITIONS RECORDS BYTES", rows)
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
		var rows [][]string
		for _, l := range list {
			rows = append(rows, lagRow(l))
		}
		return cl.show(c.OutOrStdout(), list, "CONNECTOR TOPIC PARTITION OFFSET END LAG BYTES AGE RETENTION", rows)
	}})
}

func lagRow(l rest.LagInfo) []string {
	bytes, age, retention := "-", "-", "-"
	if l.Bytes >= 0 {
		bytes = fmt.Sprint(l.Bytes)
	}
	if l.AgeMS >= 0 {
		age = (time.Duration(l.AgeMS) * time.Millisecond).String()
	}
	switch {
	case l.LeftBehind:
		retention = "left behind"
	case l.AtRisk:
		retention = "at risk"
	}
	return []string{l.Connector, l.Topic, fmt.Sprint(l.Partition), fmt.Sprint(l.Offset), fmt.Sprint(l.End), fmt.Sprint(l.Lag), bytes, age, retention}
}

func tailCommand() *cobra.Command {
	cl := &client{}
	var from, until string
	c := cl.bind(&cobra.Command{Use: "tail TOPIC...", Short: "Print records of topics, one a line", Args: cobra.MinimumNArgs(1), RunE: func(c *cobra.Command, topics []string) error {
		body, err := cl.get(c.Context(), "/tailrace/records?"+url.Values{"topic": topics, "from": {from}, "until": {until}}.Encode())
		if err == nil {
			defer body.Close()
			if cl.out == "json" {
				_, err = io.Copy(c.OutOrStdout(), body)
			} else {
				err = tailTable(c.OutOrStdout(), body)
			}
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

// tailTable prints records as columns until the body ends.
func tailTable(w io.Writer, body io.Reader) error {
	dec := json.NewDecoder(body)
	for {
		var r struct {
			Topic             string
			Partition, Offset int64
			Key, Value        json.RawMessage
		}
		if err := dec.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, printable(fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset)), printable(string(r.Key)), printable(string(r.Value))); err != nil {
			return err
		}
	}
}
