package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/topic/disk/vfs"
)

// logTool is what the commands below `log` share. They read the files of a data directory and need no daemon.
type logTool struct {
	dir string
	out output
}

// bind adds the flags that all of them have.
func (t *logTool) bind(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&t.dir, "data-dir", defaultDataDir, "directory of the embedded log")
	t.out.bind(c)
	c.PreRunE = t.out.check
	return c
}

// inspect looks at the log without opening it.
func (t *logTool) inspect(ctx context.Context) (*disk.Inspection, error) {
	in, err := disk.Inspect(ctx, vfs.ReadOnly{}, t.dir)
	if fault.Code(err) == "LOG_MISSING" {
		return nil, fmt.Errorf("%w: --data-dir names it", err)
	}
	return in, err
}

func logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look at the embedded log's files, check and repair them", Args: cobra.ArbitraryArgs}
	c.AddCommand(logLsCommand(), logDumpCommand(), logVerifyCommand(), logStatsCommand(), logCompactCommand(), logSalvageCommand())
	prepare(c)
	return c
}

// logSegment is a segment of `log ls`, or what the journal has beyond the segments.
type logSegment struct {
	Topic     string     `json:"topic"`
	Partition int        `json:"partition"`
	File      string     `json:"file"` // "journal": in the journal only
	Base      int64      `json:"base"`
	Next      int64      `json:"next"`
	Records   int64      `json:"records"`
	Bytes     int64      `json:"bytes"`
	First     *time.Time `json:"first,omitempty"`
	Last      *time.Time `json:"last,omitempty"`
}

func logLsCommand() *cobra.Command {
	t := &logTool{}
	var internal bool
	c := t.bind(&cobra.Command{Use: "ls [TOPIC...]", Short: "List topics, partitions and segments", Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, topics []string) error {
		in, err := t.inspect(c.Context())
		if err != nil {
			return err
		}
		list, rows := []logSegment{}, [][]string{}
		for _, name := range chosen(in, topics, internal) {
			state, err := in.Topic(name)
			if err != nil {
				return err
			}
			for num := range state.Partitions {
				p := &state.Partitions[num]
				for i := range p.Segments {
					list = append(list, listed(in, name, num, &p.Segments[i]))
				}
				if p.Journal.Records > 0 || len(p.Segments) == 0 {
					list = append(list, listed(in, name, num, &p.Journal))
				}
			}
		}
		for _, s := range list {
			rows = append(rows, []string{s.Topic, strconv.Itoa(s.Partition), s.File, fmt.Sprint(s.Base), fmt.Sprint(s.Next), fmt.Sprint(s.Records), fmt.Sprint(s.Bytes), stamp(s.First), stamp(s.Last)})
		}
		if t.out == "json" {
			return printJSON(c.OutOrStdout(), list)
		}
		return printTable(c.OutOrStdout(), "TOPIC PARTITION FILE BASE NEXT RECORDS BYTES FIRST LAST", rows)
	}})
	c.Flags().BoolVar(&internal, "internal", false, "show Tailrace's own topics too")
	return c
}

// chosen returns the topics that a command is about: those named, else all, Tailrace's own only if internal says so.
func chosen(in *disk.Inspection, topics []string, internal bool) []string {
	if len(topics) > 0 {
		return topics
	}
	for _, t := range in.Topics {
		if internal || !strings.HasPrefix(t.Name, "__tailrace_") {
			topics = append(topics, t.Name)
		}
	}
	return topics
}

func listed(in *disk.Inspection, name string, num int, s *disk.SegmentState) logSegment {
	l := logSegment{Topic: name, Partition: num, File: s.File, Base: s.Base, Next: s.Next, Records: s.Records, Bytes: s.Bytes}
	if s.File == "" {
		l.File = "journal"
	} else if ms, err := in.FirstTime(s); err == nil { // verify tells what is wrong
		l.First = moment(ms)
	}
	if s.MaxTime != math.MinInt64 {
		l.Last = moment(s.MaxTime)
	}
	return l
}

func moment(ms int64) *time.Time {
	t := time.UnixMilli(ms).UTC()
	return &t
}

// stamp shows a moment to the millisecond.
func stamp(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format("2006-01-02T15:04:05.000Z")
}

// logFile is a file of `log verify`.
type logFile struct {
	File      string `json:"file"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Records   int64  `json:"records"` // frames in the journal, topics in the manifest
	Bytes     int64  `json:"bytes"`
	Note      string `json:"note,omitempty"`
	Error     string `json:"error,omitempty"`
}

func logVerifyCommand() *cobra.Command {
	t := &logTool{}
	return t.bind(&cobra.Command{Use: "verify", Short: "Read every byte of the log and name what is damaged", Args: cobra.NoArgs,
		Long: "Read every byte of the log and name file, position and cause of all damage. The exit status is 1 if there is any.\n\n" +
			"It writes and locks nothing: it may run beside the daemon, of which it sees the log as it was at the start,\nand on copies that can only be read.",
		RunE: func(c *cobra.Command, _ []string) error {
			in, err := t.inspect(c.Context())
			if err != nil {
				return err
			}
			reports, err := in.Verify(c.Context())
			if err != nil {
				return err
			}
			list, rows := []logFile{}, [][]string{}
			var records, bytes int64
			damaged := 0
			for _, r := range reports {
				f := logFile{r.File, r.Topic, r.Partition, r.Records, r.Bytes, r.Note, ""}
				if r.Topic != "" {
					records += r.Records
				}
				bytes += r.Bytes
				if r.Err != nil {
					damaged++
					f.Error = r.Err.Error()
					rows = append(rows, []string{r.File, f.Error})
				} else if r.Note != "" {
					rows = append(rows, []string{r.File, "note: " + r.Note})
				}
				list = append(list, f)
			}
			if t.out == "json" {
				err = printJSON(c.OutOrStdout(), list)
			} else if len(rows) > 0 {
				err = printTable(c.OutOrStdout(), "FILE FOUND", rows)
			}
			if err != nil {
				return err
			}
			if damaged > 0 {
				return fmt.Errorf("%d of %s are damaged: stop the daemon, then restore them from a copy, or save what is whole by `tailrace log salvage %s NEW-DIRECTORY`",
					damaged, count(len(reports), "file"), t.dir)
			}
			if t.out == "table" {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s, %d records in segments, %d bytes: whole\n", count(len(reports), "file"), records, bytes)
			}
			return err
		}})
}

// logStats is a partition of `log stats`.
type logStats struct {
	Topic       string  `json:"topic"`
	Partition   int32   `json:"partition"`
	Segments    int     `json:"segments"`
	Records     int64   `json:"records"`
	Live        int64   `json:"live"`
	Dead        int64   `json:"dead"` // replaced by newer ones; tombstones too
	Keys        int64   `json:"keys"`
	Tombstones  int64   `json:"tombstones"`
	Bytes       int64   `json:"bytes"`
	PlainBytes  int64   `json:"plain_bytes"`
	LiveBytes   int64   `json:"live_bytes"`
	DirtyRatio  float64 `json:"dirty_ratio"`
	Compression float64 `json:"compression"`
}

func logStatsCommand() *cobra.Command {
	t := &logTool{}
	var internal bool
	c := t.bind(&cobra.Command{Use: "stats [TOPIC...]", Short: "Count live and dead records and bytes", Args: cobra.ArbitraryArgs, RunE: func(c *cobra.Command, topics []string) error {
		in, err := t.inspect(c.Context())
		if err != nil {
			return err
		}
		list, rows := []logStats{}, [][]string{}
		for _, name := range chosen(in, topics, internal) {
			stats, err := in.Stats(c.Context(), name)
			if err != nil {
				return err
			}
			for _, s := range stats {
				list = append(list, logStats{s.Topic, s.Partition, s.Segments, s.Records, s.Live, s.Records - s.Live, s.Keys, s.Tombstones,
					s.Bytes, s.PlainBytes, s.LiveBytes, s.DirtyRatio, s.Compression()})
				rows = append(rows, []string{s.Topic, fmt.Sprint(s.Partition), fmt.Sprint(s.Segments), fmt.Sprint(s.Records), fmt.Sprint(s.Live),
					fmt.Sprint(s.Records - s.Live), fmt.Sprint(s.Keys), fmt.Sprint(s.Tombstones), fmt.Sprint(s.Bytes), fmt.Sprint(s.PlainBytes),
					fmt.Sprint(s.LiveBytes), fmt.Sprintf("%.2f", s.DirtyRatio), fmt.Sprintf("%.2f", s.Compression())})
			}
		}
		if t.out == "json" {
			return printJSON(c.OutOrStdout(), list)
		}
		return printTable(c.OutOrStdout(), "TOPIC PARTITION SEGMENTS RECORDS LIVE DEAD KEYS TOMBSTONES BYTES PLAIN LIVE-BYTES DIRTY COMPRESSION", rows)
	}})
	c.Flags().BoolVar(&internal, "internal", false, "show Tailrace's own topics too")
	return c
}

// logLost is a loss of `log salvage`.
type logLost struct {
	Topic     string `json:"topic,omitempty"` // none: of any topic, in the journal
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        *int64 `json:"to,omitempty"` // not included; none: unknown
	File      string `json:"file"`
	Cause     string `json:"cause"`
}

func logSalvageCommand() *cobra.Command {
	t := &logTool{}
	c := &cobra.Command{Use: "salvage SRC DST", Short: "Copy what is whole of a damaged log into a new directory", Args: cobra.ExactArgs(2), PreRunE: t.out.check,
		Long: "Copy what is whole of the damaged log in SRC into a new log in DST, and tell what is lost. SRC stays as it is.\n" +
			"The exit status is 0 also if something is lost. Take a new snapshot of the tables whose topics lost records.",
		RunE: func(c *cobra.Command, dirs []string) error {
			report, err := disk.Salvage(c.Context(), vfs.OS{}, dirs[0], dirs[1])
			if err != nil {
				return err
			}
			return t.salvaged(c, dirs[1], report)
		}}
	t.out.bind(c)
	return c
}

func (t *logTool) salvaged(c *cobra.Command, dst string, report *disk.SalvageReport) error {
	list, rows := []logLost{}, [][]string{}
	for _, l := range report.Lost {
		lost := logLost{l.Topic, l.Partition, l.From, &l.To, l.File, l.Cause}
		lane, from, to := "any", "-", "-"
		if l.Topic != "" {
			lane, from = fmt.Sprintf("%s/%d", l.Topic, l.Partition), fmt.Sprint(l.From)
		}
		if l.To == math.MaxInt64 {
			lost.To = nil
		} else {
			to = fmt.Sprint(l.To - 1)
		}
		list = append(list, lost)
		rows = append(rows, []string{lane, from, to, l.File, l.Cause})
	}
	w := c.OutOrStdout()
	if t.out == "json" {
		return printJSON(w, struct {
			Directory string    `json:"directory"`
			Topics    int       `json:"topics"`
			Records   int64     `json:"records"`
			Bytes     int64     `json:"bytes"`
			Lost      []logLost `json:"lost"`
			Notes     []string  `json:"notes"`
		}{dst, report.Topics, report.Records, report.Bytes, list, append([]string{}, report.Notes...)})
	}
	var err error
	if len(rows) > 0 {
		err = printTable(w, "LOST FROM TO FILE CAUSE", rows)
	}
	for _, n := range report.Notes {
		_, e := fmt.Fprintln(w, "note:", printable(n))
		err = errors.Join(err, e)
	}
	_, e := fmt.Fprintf(w, "%s: %s, %d records, %d bytes; lost: %s\n", dst, count(report.Topics, "topic"), report.Records, report.Bytes, count(len(list), "range"))
	return errors.Join(err, e)
}
