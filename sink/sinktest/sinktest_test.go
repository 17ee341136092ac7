package sinktest

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/sink"
)

// memory is the model target: rows by table and key, with versions that outlive deletes, and offsets.
type memory struct {
	rows     map[string]map[string]map[string]string
	origins  map[string]string // of rows, by table and key
	versions map[string]uint64
	truncs   map[string]uint64 // by table and origin
	offsets  map[string]change.Position
	refuse   string
	failNext bool
	hang     chan struct{}
	bug      string // what the sink does wrong
}

func newMemory(bug string) *memory {
	return &memory{rows: map[string]map[string]map[string]string{}, origins: map[string]string{}, versions: map[string]uint64{}, truncs: map[string]uint64{},
		offsets: map[string]change.Position{}, bug: bug}
}

type memorySink struct {
	m    *memory
	kept *change.Event // the event that bug "retain" looks at too late
	stop chan struct{}
}

var (
	_ sink.Sink   = (*memorySink)(nil)
	_ sink.Ledger = (*memorySink)(nil)
)

func (s *memorySink) Close() error {
	if s.m.bug == "close twice" && s.stop == nil {
		return errors.New("closed twice")
	}
	if s.stop != nil && s.m.bug != "leak" {
		close(s.stop)
	}
	s.stop = nil
	return nil
}

func (s *memorySink) Committed(_ context.Context, origin string) (change.Position, error) {
	if s.m.bug == "one offset" {
		origin = ""
	}
	return s.m.offsets[origin], nil
}

func (s *memorySink) Write(ctx context.Context, b *change.Batch) error {
	if s.m.bug != "deaf" && ctx.Err() != nil {
		return ctx.Err()
	}
	if s.m.hang != nil {
		select {
		case <-s.m.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var rejected sink.Rejected
	for i := range b.Events {
		if err := s.apply(b.Origin, &b.Events[i]); err != nil {
			rejected = append(rejected, sink.RowError{Index: i, Err: err})
		}
	}
	origin := b.Origin
	if s.m.bug == "one offset" {
		origin = ""
	}
	s.m.offsets[origin] = append(change.Position{}, b.Resume...)
	if s.m.failNext {
		s.m.failNext = false
		return errors.New("connection reset by peer")
	}
	if rejected != nil && s.m.bug != "swallow rejects" {
		return rejected
	}
	return nil
}

func (s *memorySink) apply(origin string, e *change.Event) error {
	m := s.m
	if e.Raw != nil && m.bug != "raw" {
		return nil
	}
	table := e.Topic
	rows := m.rows[table]
	if rows == nil {
		rows = map[string]map[string]string{}
		m.rows[table] = rows
	}
	if e.Op == change.OpTruncate {
		if m.bug != "truncate" && e.Version > m.truncs[table+origin] {
			maps.DeleteFunc(rows, func(key string, _ map[string]string) bool {
				return m.bug == "truncate all" || m.origins[table+key] == origin
			})
			m.truncs[table+origin] = e.Version
		}
		return nil
	}
	if e.Key == nil {
		return errors.New("the table has no key")
	}
	key := string(e.Key)
	if m.bug == "separator" {
		key = strings.ReplaceAll(change.KeyText(e.Key), "x", "")
	}
	if (e.Version <= m.versions[table+key] || e.Version < m.truncs[table+origin]) && m.bug != "versions" {
		return nil
	}
	m.versions[table+key] = e.Version
	if e.After == nil {
		if m.bug == "missing delete" && rows[key] == nil {
			return errors.New("404")
		}
		if m.bug != "delete" && (m.bug != "tombstone" || e.Op != change.OpTombstone) {
			delete(rows, key)
		}
		if m.bug == "forget deletes" {
			delete(m.versions, table+key)
		}
		return nil
	}
	row := rows[key]
	if row == nil || m.bug == "no merge" {
		row = map[string]string{}
	}
	row = maps.Clone(row)
	for i, v := range e.After {
		c := &e.Table.Columns[i]
		switch {
		case v.Kind == change.Absent && m.bug == "absent is null":
			delete(row, c.Name)
		case v.Kind == change.Absent, v.Kind == change.Null && m.bug == "null is absent":
		case m.refuse != "" && string(v.Data) == m.refuse:
			return errors.New("refused")
		case m.bug == "float" && v.Kind == change.Int:
			row[c.Name] = NaturalText(c, Float64(float64(v.Int64())))
		case m.bug == "nul" && v.Kind == change.Text:
			row[c.Name] = NaturalText(c, Text(strings.ReplaceAll(string(v.Data), "\x00", "")))
		default:
			row[c.Name] = NaturalText(c, v)
		}
	}
	rows[key], m.origins[table+key] = row, origin
	if m.bug == "retain" {
		if s.kept != nil && s.kept.Op == 0xCC {
			clear(row)
		}
		s.kept = e
	}
	return nil
}

func harness(bug string) Harness {
	return Harness{New: func(t testing.TB) Target {
		m := newMemory(bug)
		return Target{
			Open: func(testing.TB, map[string]string) sink.Sink {
				s := &memorySink{m: m, stop: make(chan struct{})}
				go func(stop chan struct{}) { <-stop }(s.stop)
				return s
			},
			Rows: func(_ testing.TB, topic string, _ *change.Table) (rows []map[string]string) {
				for _, r := range m.rows[topic] {
					rows = append(rows, maps.Clone(r))
				}
				return rows
			},
			FailAfterWrite: func(testing.TB) { m.failNext = true },
			Restart: func(testing.TB) {
				if m.bug == "not durable" {
					clear(m.rows)
				}
			},
			Hang: func(testing.TB) func() {
				m.hang = make(chan struct{})
				return func() { close(m.hang); m.hang = nil }
			},
			Refuse: func(testing.TB, string, *change.Table, string) change.Value {
				m.refuse = "bad"
				return Text("bad")
			},
		}
	}}
}

func TestModelPasses(t *testing.T) { Run(t, harness("")) }

// recorder is a testing.TB that notes failures instead of reporting them.
type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }
func (r *recorder) Skip(...any)           { r.skipped = true; runtime.Goexit() }

// TestBugsAreFound shows that the suite can fail: each bug fails the named cases.
func TestBugsAreFound(t *testing.T) {
	for bug, names := range map[string]string{
		"close twice":     "close_without_write",
		"leak":            "create_update_delete",
		"one offset":      "ledger",
		"deaf":            "cancelled_before",
		"swallow rejects": "case87_rejected_row no_key_is_rejected",
		"raw":             "raw_events",
		"truncate":        "truncate_between_generations truncate_in_batch",
		"truncate all":    "case107_truncate_in_each_partition",
		"separator":       "composite_keys",
		"versions":        "replay_of_old_batch replay_does_not_resurrect",
		"missing delete":  "delete_of_nothing",
		"delete":          "create_update_delete case04_key_change",
		"tombstone":       "tombstones",
		"forget deletes":  "replay_does_not_resurrect",
		"no merge":        "absent_keeps_the_column absent_in_batch_of_create case106_unchanged_for_1000_updates case88_reset_after_write",
		"absent is null":  "absent_keeps_the_column absent_in_batch_of_create case104_update_laid_over_chunk_row case105_key_change_completed",
		"null is absent":  "null_is_not_absent",
		"float":           "values_int8",
		"nul":             "values_text",
		"retain":          "create_update_delete",
		"not durable":     "restart",
	} {
		for _, name := range strings.Fields(names) {
			t.Run(strings.ReplaceAll(bug, " ", "_")+"/"+name, func(t *testing.T) {
				if !fails(t, bug, name) {
					t.Errorf("the suite does not find the bug %q", bug)
				}
			})
		}
	}
}

func fails(t *testing.T, bug, name string) bool {
	h := harness(bug)
	h.Text = NaturalText
	for _, c := range cases() {
		if c.name != name {
			continue
		}
		rec := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			newRun(rec, h).do(c)
		}()
		<-done
		return rec.failed
	}
	t.Fatalf("no case %q", name)
	return false
}
