package sinktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/sink"
)

// A Harness connects the suite to one kind of sink.
type Harness struct {
	// New makes a fresh, empty target and removes it by t.Cleanup. It is called once for each case.
	New func(t testing.TB) Target

	// Text is the canonical text of a value of a column, the form in which Target.Rows returns it. nil: the natural JSON
	// form of internal/jsontext. NULL and a missing column are the same to the suite.
	Text func(c *change.Column, v change.Value) string

	// Unsupported names what the target cannot do, with the reason: cases by the name they have in Run ("case93_rename")
	// and values by "value/" and their name ("value/float_nan"). They are skipped.
	Unsupported map[string]string

	// Leaks are goroutines that outlive Close by design (a client library's janitor).
	Leaks []goleak.Option
}

// A Target is one place that a sink can write to. Optional fields are nil where the target can't do it; cases that need
// them are skipped.
type Target struct {
	// Open opens a sink on the target, with props laid over the harness's own. The suite closes it. Several sinks may
	// be opened one after another.
	Open func(t testing.TB, props map[string]string) sink.Sink
	// Rows reads back all rows of a table that was written under a topic, in any order, as column -> canonical text.
	// A table that does not exist in the target has no rows.
	Rows func(t testing.TB, topic string, table *change.Table) []map[string]string

	// FailAfterWrite makes the next write request of the open sink fail as a connection reset after the target has
	// applied it.
	FailAfterWrite func(t testing.TB)
	// Restart stops the target and starts it again with what it has made durable.
	Restart func(t testing.TB)
	// Hang makes the target accept requests and never answer, until the returned function is called.
	Hang func(t testing.TB) (resume func())
	// Refuse prepares the target so that it refuses a row of table for the value that it returns for the named column,
	// a text column. The table has been written to before.
	Refuse func(t testing.TB, topic string, table *change.Table, column string) change.Value
}

// writeTimeout bounds each Write of the suite: a sink that hangs fails instead of stopping the test run.
const writeTimeout = 60 * time.Second

type testCase struct {
	name string
	run  func(*run)
}

// Run runs the suite. Each case gets a fresh target.
func Run(t *testing.T, h Harness) {
	if h.Text == nil {
		h.Text = NaturalText
	}
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			if reason, ok := h.Unsupported[c.name]; ok {
				t.Skip("not applicable: " + reason)
			}
			newRun(t, h).do(c)
		})
	}
}

// NaturalText is the natural JSON form of a value.
func NaturalText(c *change.Column, v change.Value) string {
	return string(jsontext.AppendValue(nil, c, v))
}

// run is one case being run.
type run struct {
	testing.TB
	h      Harness
	target Target
	topic  string
	snk    sink.Sink
}

func newRun(t testing.TB, h Harness) *run {
	return &run{TB: t, h: h, target: h.New(t), topic: "shop.public.items"}
}

func (r *run) do(c testCase) {
	ignore := append([]goleak.Option{goleak.IgnoreCurrent()}, r.h.Leaks...)
	r.open(nil)
	func() {
		defer r.close()
		c.run(r)
	}()
	if err := goleak.Find(ignore...); err != nil {
		r.Errorf("goroutines outlive Close: %v", err)
	}
}

func (r *run) open(props map[string]string) {
	r.Helper()
	r.snk = r.target.Open(r.TB, props)
}

func (r *run) close() {
	if r.snk == nil {
		return
	}
	for range 2 { // Close is idempotent
		if err := r.snk.Close(); err != nil {
			r.Errorf("Close: %v", err)
		}
	}
	r.snk = nil
}

func (r *run) reopen() {
	r.Helper()
	r.close()
	r.open(nil)
}

func (r *run) history() *History { return NewHistory(r.topic) }

// try writes a batch and overwrites it.
func (r *run) try(b *change.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	err := r.snk.Write(ctx, b)
	Scribble(b)
	return err
}

func (r *run) write(b *change.Batch) {
	r.Helper()
	if err := r.try(b); err != nil {
		r.Fatalf("Write: %v", err)
	}
}

// flush writes what was added to h since the last flush, in batches of n events.
func (r *run) flush(h *History, n int) {
	r.Helper()
	for h.taken < h.Len() {
		to := min(h.taken+n, h.Len())
		b := h.Slice(h.taken, to)
		h.taken = to
		r.write(b)
	}
}

// insist does what the worker does: it writes until Write succeeds. make gives the same batch each time.
func (r *run) insist(make func() *change.Batch) (failures int) {
	r.Helper()
	for ; failures < 20; failures++ {
		err := r.try(make())
		if err == nil {
			return failures
		}
		if rejected := (sink.Rejected)(nil); errors.As(err, &rejected) {
			r.Fatalf("Write rejected a good row: %v", err)
		}
	}
	r.Fatalf("Write failed 20 times")
	return 0
}

// holds compares the table in the target with the fold of the history.
func (r *run) holds(h *History, t *change.Table) {
	r.Helper()
	want, null := map[string]map[string]string{}, r.h.Text(&t.Columns[0], Null())
	for _, row := range h.Fold(t) {
		texts := map[string]string{}
		for i := range t.Columns {
			c := &t.Columns[i]
			if v, ok := row[c.Name]; ok && v.Kind != change.Null {
				texts[c.Name] = r.h.Text(c, v)
			}
		}
		maps.DeleteFunc(texts, func(_, text string) bool { return text == null }) // a JSON null
		want[keyText(t, texts)] = texts
	}
	r.compare(h.Topic, t, want)
}

func (r *run) compare(topic string, t *change.Table, want map[string]map[string]string) {
	r.Helper()
	null := r.h.Text(&t.Columns[0], Null())
	got := map[string]map[string]string{}
	for _, row := range r.target.Rows(r.TB, topic, t) {
		maps.DeleteFunc(row, func(name, text string) bool { return t.Column(name) < 0 || text == null })
		key := keyText(t, row)
		if got[key] != nil {
			r.Errorf("the target has two rows with the key %s", key)
		}
		got[key] = row
	}
	var diffs []string
	for key, row := range want {
		switch {
		case got[key] == nil:
			diffs = append(diffs, fmt.Sprintf("%s: missing", key))
		case !maps.Equal(got[key], row):
			diffs = append(diffs, fmt.Sprintf("%s: %s", key, differences(got[key], row)))
		}
	}
	for key := range got {
		if want[key] == nil {
			diffs = append(diffs, fmt.Sprintf("%s: must not be there", key))
		}
	}
	slices.Sort(diffs)
	if n := len(diffs); n > 10 {
		diffs = append(diffs[:10], fmt.Sprintf("... and %d more", n-10))
	}
	if len(diffs) > 0 {
		r.Errorf("the target differs from the history in table %s:\n\t%s", t.Name, strings.Join(diffs, "\n\t"))
	}
}

func differences(got, want map[string]string) string {
	names := map[string]bool{}
	for n := range got {
		names[n] = true
	}
	for n := range want {
		names[n] = true
	}
	var out []string
	for _, n := range slices.Sorted(maps.Keys(names)) {
		g, inGot := got[n]
		w, inWant := want[n]
		switch {
		case g == w && inGot == inWant:
		case !inGot:
			out = append(out, fmt.Sprintf("%s is NULL or missing, want %s", n, clip(w)))
		case !inWant:
			out = append(out, fmt.Sprintf("%s = %s, want NULL", n, clip(g)))
		default:
			out = append(out, fmt.Sprintf("%s = %s, want %s", n, clip(g), clip(w)))
		}
	}
	return strings.Join(out, "; ")
}

func clip(s string) string {
	if len(s) > 120 {
		return fmt.Sprintf("%q... (%d bytes)", s[:120], len(s))
	}
	return s
}

func keyText(t *change.Table, row map[string]string) string {
	var parts []string
	for _, i := range t.Key {
		parts = append(parts, fmt.Sprintf("%s=%s", t.Columns[i].Name, row[t.Columns[i].Name]))
	}
	return strings.Join(parts, " ")
}
