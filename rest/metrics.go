package rest

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/worker"
)

// scrapeTimeout bounds what a scrape asks of the log.
const scrapeTimeout = 5 * time.Second

// collector makes Prometheus metrics of what the worker tells at the moment of the scrape: tailrace_* under the names of
// this house, and the names that dashboards for Debezium and Kafka Connect ask for.
type collector struct {
	w   *worker.Worker
	opt Options
}

// Describe implements prometheus.Collector: the set depends on what there is, so nothing is promised.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	m := meter{ch}
	m.gauge("tailrace_build_info", "1; the version is a label", 1, "version", c.opt.Version)
	tasks, connectors, seen := 0, 0, map[string]bool{}
	for _, name := range c.w.Names() {
		st, err := c.w.Status(name)
		if err != nil { // deleted meanwhile
			continue
		}
		connectors++
		tasks += len(st.Tasks)
		m.states("tailrace_connector_state", "1 for the state that the connector is in", st.State, "connector", name, "type", st.Type)
		m.gauge("kafka_connect_connector_status", "1; the state is a label", 1, "connector", name, "status", string(st.State))
		for _, t := range st.Tasks {
			m.task(name, st.Type, t)
		}
		plugin, prefix := c.names(name)
		if st.Type == "source" && len(st.Tasks) > 0 && !seen[prefix] { // nothing keeps two connectors from one prefix
			seen[prefix] = true
			m.debezium(plugin, prefix, st.Tasks[0], c.opt.Now())
		}
	}
	m.gauge("kafka_connect_connect_worker_metrics_connector_count", "connectors of this worker", float64(connectors))
	m.gauge("kafka_connect_connect_worker_metrics_task_count", "tasks of this worker", float64(tasks))
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	if list, err := c.w.Lag(ctx); err == nil {
		for _, l := range list {
			m.behind(&l)
		}
	}
	if u, ok := c.w.Usage(); ok {
		m.usage(&u)
	}
	list, err := c.w.TopicList(ctx)
	up := 0.0
	if err == nil {
		up = 1
	}
	m.gauge("tailrace_log_up", "1 if the log answers", up)
	m.log(list)
}

// names returns the plugin and the topic.prefix of a connector, under which Debezium's metrics are known.
func (c *collector) names(connector string) (plugin, prefix string) {
	info, err := c.w.Info(connector)
	if err != nil { // deleted meanwhile
		return "", connector
	}
	p, _ := named(c.w, info.Config["connector.class"])
	return p.Name, info.Config["topic.prefix"]
}

// meter sends samples. Labels are names and values by turns.
type meter struct{ ch chan<- prometheus.Metric }

func (m meter) gauge(name, help string, v float64, labels ...string) {
	m.emit(prometheus.GaugeValue, name, help, v, labels)
}

func (m meter) counter(name, help string, v int64, labels ...string) {
	m.emit(prometheus.CounterValue, name, help, float64(v), labels)
}

func (m meter) emit(kind prometheus.ValueType, name, help string, v float64, labels []string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	d := prometheus.NewDesc(name, help, names, nil)
	s, err := prometheus.NewConstMetric(d, kind, v, values...)
	if err != nil { // a label that is not UTF-8
		s = prometheus.NewInvalidMetric(d, err)
	}
	m.ch <- s
}

// states sends one sample for each state, so that a series goes to 0 rather than away.
func (m meter) states(name, help string, now worker.State, labels ...string) {
	for _, s := range []worker.State{worker.Running, worker.Paused, worker.Stopped, worker.Failed, worker.Unassigned, worker.Restarting} {
		v := 0.0
		if s == now {
			v = 1
		}
		m.gauge(name, help, v, slices.Concat(labels, []string{"state", string(s)})...)
	}
}

// task sends the figures of one task.
func (m meter) task(name, kind string, t worker.TaskStatus) {
	labels := []string{"connector", name, "task", strconv.Itoa(t.ID)}
	m.states("tailrace_task_state", "1 for the state that the task is in", t.State, labels...)
	if t.Code != "" {
		m.gauge("tailrace_task_failure", "1; why the task has failed is a label", 1, append(labels, "code", t.Code)...)
	}
	m.counter("tailrace_"+kind+"_events_total", "events that reached the end of the task", t.Events, labels...)
	m.counter("tailrace_"+kind+"_batches_total", "batches that reached the end of the task", t.Batches, labels...)
	m.counter("tailrace_"+kind+"_retries_total", "failures that were retried", t.Retries, labels...)
	if kind == "sink" {
		m.counter("tailrace_sink_rejected_total", "rows that the target can never take", t.Rejected, labels...)
		m.counter("kafka_connect_sink_task_metrics_sink_record_send_total", "records that the task has written", t.Events, labels...)
		m.counter("kafka_connect_task_error_metrics_total_errors_logged", "records that could not be written", t.Rejected, labels...)
	} else {
		m.counter("tailrace_source_bytes_total", "bytes of the records appended", t.Bytes, labels...)
		m.counter("kafka_connect_source_task_metrics_source_record_poll_total", "records that the task has read", t.Events, labels...)
		m.counter("kafka_connect_source_task_metrics_source_record_write_total", "records that the task has written to the log", t.Events, labels...)
	}
	if t.LagMS >= 0 {
		m.gauge("tailrace_"+kind+"_lag_seconds", "from the commit of the last event to its being durable or written", float64(t.LagMS)/1000, labels...)
	}
	if !t.Last.IsZero() {
		m.gauge("tailrace_"+kind+"_last_advance_timestamp_seconds", "when the task last advanced", float64(t.Last.UnixMilli())/1000, labels...)
	}
	if p := t.Snapshot; p != nil {
		rows, total := p.Rows()
		m.gauge("tailrace_snapshot_rows", "rows that the snapshot has copied", float64(rows), labels...)
		m.gauge("tailrace_snapshot_rows_total", "rows that there are to copy, estimated; -1: unknown", float64(total), labels...)
		m.gauge("tailrace_snapshot_completed", "1 when everything is copied", truth(p.Completed), labels...)
	}
	for g, v := range t.Gauges {
		m.gauge("tailrace_source_"+g, "the source's own figure", v, labels...)
	}
}

// debezium sends a source's figures under the names of the JMX exporter's rule for Debezium.
func (m meter) debezium(plugin, prefix string, t worker.TaskStatus, now time.Time) {
	stream := []string{"plugin", plugin, "name", prefix, "context", "streaming"}
	m.gauge("debezium_metrics_Connected", "1 while the source is streamed from", truth(t.State == worker.Running), stream...)
	m.gauge("debezium_metrics_MilliSecondsBehindSource", "from the commit of the last event to its being durable; -1: unknown", float64(t.LagMS), stream...)
	m.gauge("debezium_metrics_TotalNumberOfEventsSeen", "events since the start", float64(t.Events), stream...)
	since := -1.0
	if !t.Last.IsZero() {
		since = float64(max(0, now.Sub(t.Last).Milliseconds()))
	}
	m.gauge("debezium_metrics_MilliSecondsSinceLastEvent", "since the task last advanced; -1: not yet", since, stream...)
	p := t.Snapshot
	if p == nil {
		return
	}
	m.snapshot([]string{"plugin", plugin, "name", prefix, "context", "snapshot"}, p, t.State == worker.Running, now)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// behind sends how far a sink is behind.
func (m meter) behind(l *worker.Lag) {
	labels := []string{"connector", l.Connector, "topic", l.Topic, "partition", strconv.Itoa(int(l.Partition))}
	m.gauge("tailrace_sink_lag_records", "stored records that the sink has not written yet, about", float64(l.Lag), labels...)
	m.gauge("tailrace_sink_lag_bytes", "bytes of the records that the sink has not written yet, about; -1: unknown", float64(l.Bytes), labels...)
	m.gauge("tailrace_sink_lag_age_seconds", "age of the oldest record that the sink has not written yet", max(0, float64(l.AgeMS)/1000), labels...)
	m.gauge("tailrace_sink_retention_at_risk", "1 if retention will soon remove, or has removed, records that the sink has not written yet",
		truth(l.AtRisk || l.LeftBehind), labels...)
}

// usage sends what the log takes of its disk.
func (m meter) usage(u *topic.Usage) {
	m.gauge("tailrace_log_disk_bytes", "bytes of the whole log: segments and journal", float64(u.Segments+u.Journal))
	m.gauge("tailrace_log_journal_bytes", "bytes of the journal that recovery would read", float64(u.Journal))
	m.gauge("tailrace_log_disk_max_bytes", "the log's budget, disk.max.bytes; 0: none", float64(u.Max))
	m.gauge("tailrace_log_disk_alarm_bytes", "the level from which compaction does what it can; 0: none", float64(u.Alarm))
	m.gauge("tailrace_log_appends_waiting", "appends that wait for space", float64(u.Waiting))
	m.counter("tailrace_log_compacted_bytes_total", "bytes that compaction has read and written", u.Compacted)
	for _, s := range []topic.Space{topic.SpaceOK, topic.SpaceAlarm, topic.SpaceFull} {
		m.gauge("tailrace_log_space", "1 for the state that the log's disk is in", truth(u.State == s), "state", string(s))
	}
}

// log sends what the log holds.
func (m meter) log(list []topic.Info) {
	for _, t := range list {
		for p, part := range t.Partitions {
			labels := []string{"topic", t.Name, "partition", strconv.Itoa(p)}
			m.gauge("tailrace_log_records", "records in the partition", float64(part.Records), labels...)
			m.gauge("tailrace_log_bytes", "bytes of the partition's segments", float64(part.Bytes), labels...)
			m.gauge("tailrace_log_end_offset", "offset that the next record will get", float64(part.End), labels...)
		}
	}
}
