package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/topic/disk"
	"github.com/tailrace/tailrace/worker"
)

// logCompacted is a topic of `log compact`.
type logCompacted struct {
	Topic   string `json:"topic"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
	Before  int64  `json:"bytes_before"`
}

func logCompactCommand() *cobra.Command {
	t := &logTool{}
	return t.bind(&cobra.Command{Use: "compact [TOPIC...]", Short: "Compact topics to the end while no daemon runs", Args: cobra.ArbitraryArgs,
		Long: "Open the log, compact the topics, or all, to the end, apply their retention, and close it. No daemon may have it open: a\n" +
			"running one compacts by itself. As there, a tombstone goes when delete.retention.ms is over, counted from the first\n" +
			"compaction that met it, and every sink connector that reads the topic has passed it.",
		RunE: func(c *cobra.Command, topics []string) error {
			list, err := compact(c.Context(), t.dir, topics, slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
			if err != nil {
				return err
			}
			var rows [][]string
			for _, r := range list {
				rows = append(rows, []string{r.Topic, fmt.Sprint(r.Records), fmt.Sprint(r.Before), fmt.Sprint(r.Bytes)})
			}
			if t.out == "json" {
				return printJSON(c.OutOrStdout(), list)
			}
			return printTable(c.OutOrStdout(), "TOPIC RECORDS BEFORE BYTES", rows)
		}})
}

// compact compacts topics of the log in dir, or all. It makes no log where there is none.
func compact(ctx context.Context, dir string, topics []string, logger *slog.Logger) (list []logCompacted, err error) {
	t := logTool{dir: dir}
	if _, err := t.inspect(ctx); err != nil {
		return nil, err
	}
	var l late
	log, err := disk.Open(ctx, disk.Options{Dir: dir, Logger: logger, Now: time.Now, Merger: &l, ConsumerFloor: l.floor, ManualCompaction: true})
	if fault.Code(err) == "LOG_LOCKED" {
		return nil, fmt.Errorf("a running daemon compacts by itself, when min.cleanable.dirty.ratio of a topic is reached: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	reg, err := rowcodec.Open(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	l.reg.Store(reg)
	opt := plugins() // they tell which connectors are sinks, and of which topics; nothing is started
	opt.Log, opt.Codec, opt.Formatter, opt.Logger, opt.Now = log, rows{reg}, newFormatter(), logger, time.Now
	w, err := worker.Open(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("connectors: %w", err)
	}
	l.worker.Store(w)
	infos, err := log.Topics(ctx)
	if err != nil {
		return nil, err
	}
	if len(topics) == 0 {
		for _, in := range infos {
			topics = append(topics, in.Name)
		}
	}
	for _, name := range topics {
		before, err := topic.Lookup(ctx, log, name)
		if err != nil {
			return list, err
		}
		if err := log.Compact(ctx, name); err != nil {
			return list, err
		}
		after, err := topic.Lookup(ctx, log, name)
		if err != nil {
			return list, err
		}
		r := logCompacted{Topic: name}
		for i := range after.Partitions {
			r.Records += after.Partitions[i].Records
			r.Bytes += after.Partitions[i].Bytes
			r.Before += before.Partitions[i].Bytes
		}
		list = append(list, r)
	}
	return list, nil
}
