package rest

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tailrace/tailrace/worker"
)

// collector makes Prometheus metrics of what the worker tells at the moment of the scrape.
type collector struct{ w *worker.Worker }

// Describe implements prometheus.Collector: the set depends on what there is, so nothing is promised.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, name := range c.w.Names() {
		st, err := c.w.Status(name)
		if err != nil {
			continue
		}
		gauge(ch, "tailrace_connector_state", "1 for the state the connector is in", 1, "connector", name, "type", st.Type, "state", string(st.State))
		for _, t := range st.Tasks {
			c.task(ch, name, st.Type, t)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if list, err := c.w.Lag(ctx); err == nil {
		for _, l := range list {
			gauge(ch, "tailrace_sink_lag_records", "records that the sink has not written yet", float64(l.Lag),
				"connector", l.Connector, "topic", l.Topic, "partition", strconv.Itoa(int(l.Partition)))
		}
	}
	if list, err := c.w.TopicList(ctx); err == nil {
		for _, t := range list {
			for p, part := range t.Partitions {
				labels := []string{"topic", t.Name, "partition", strconv.Itoa(p)}
				gauge(ch, "tailrace_log_records", "records in the partition", float64(part.Records), labels...)
				gauge(ch, "tailrace_log_bytes", "bytes of the partition's segments", float64(part.Bytes), labels...)
				gauge(ch, "tailrace_log_end_offset", "offset that the next record will get", float64(part.End), labels...)
			}
		}
	}
}

func (c *collector) task(ch chan<- prometheus.Metric, name, kind string, t worker.TaskStatus) {
	labels := []string{"connector", name, "task", strconv.Itoa(t.ID)}
	gauge(ch, "tailrace_task_state", "1 for the state the task is in", 1, append(labels, "state", string(t.State), "code", t.Code)...)
	counter(ch, "tailrace_"+kind+"_events_total", "events that reached the end of the task", t.Events, labels...)
	counter(ch, "tailrace_"+kind+"_batches_total", "batches that reached the end of the task", t.Batches, labels...)
	counter(ch, "tailrace_"+kind+"_retries_total", "failures that were retried", t.Retries, labels...)
	if kind == "sink" {
		counter(ch, "tailrace_sink_rejected_total", "rows that the target can never take", t.Rejected, labels...)
	} else {
		counter(ch, "tailrace_source_bytes_total", "bytes of the records appended", t.Bytes, labels...)
	}
	if t.LagMS >= 0 {
		gauge(ch, "tailrace_"+kind+"_lag_seconds", "from the commit of the last event to its being durable or written", float64(t.LagMS)/1000, labels...)
	}
	if !t.Last.IsZero() {
		gauge(ch, "tailrace_"+kind+"_last_advance_timestamp_seconds", "when the task last advanced", float64(t.Last.UnixMilli())/1000, labels...)
	}
	if s := snapshotInfo(t.Snapshot); s != nil {
		gauge(ch, "tailrace_snapshot_rows", "rows that the snapshot has copied", float64(s.Rows), labels...)
		gauge(ch, "tailrace_snapshot_rows_total", "rows that there are to copy, estimated; -1: unknown", float64(s.Total), labels...)
	}
	for g, v := range t.Gauges {
		gauge(ch, "tailrace_source_"+g, "the source's own figure", v, labels...)
	}
}

func gauge(ch chan<- prometheus.Metric, name, help string, v float64, labels ...string) {
	emit(ch, prometheus.GaugeValue, name, help, v, labels)
}

func counter(ch chan<- prometheus.Metric, name, help string, v int64, labels ...string) {
	emit(ch, prometheus.CounterValue, name, help, float64(v), labels)
}

// emit sends one sample; labels are names and values by turns.
func emit(ch chan<- prometheus.Metric, kind prometheus.ValueType, name, help string, v float64, labels []string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
}
