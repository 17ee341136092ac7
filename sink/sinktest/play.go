package sinktest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// The pieces below are for the tests that a sink has of its own, beside the suite.

// Write writes one batch, which must succeed.
func Write(t testing.TB, s sink.Sink, b *change.Batch) {
	t.Helper()
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

// Committed returns the position that the target has for an origin, "" for none. The sink must be a sink.Ledger.
func Committed(t testing.TB, s sink.Sink, origin string) string {
	t.Helper()
	p, err := s.(sink.Ledger).Committed(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// Workload is a history of 60 events of a table of a bigint and two texts in which every mistake in order, merging or
// replay shows. The event number truncate is a TRUNCATE; -1: none is.
func Workload(topic string, t *change.Table, truncate int64) *History {
	h := NewHistory(topic)
	for n := range int64(60) {
		id := n * 7 % 11
		switch {
		case n == truncate:
			h.Truncate(t)
		case n%13 == 12:
			h.Delete(t, Int(id))
		case n%5 < 2:
			h.Create(t, Int(id), Text(fmt.Sprint("c", n)), Text(strings.Repeat("big", int(n))))
		default:
			h.Update(t, Int(id), Text(fmt.Sprint("u", n)), Absent())
		}
	}
	return h
}

// Deliver writes the history in batches of 10 events as a worker does: after an error, which must be one that may be
// tried again, it opens the sink anew and goes on from where the target stands. arm is called once the sink is open for
// the first time. It returns how often it was opened anew.
func Deliver(t testing.TB, open func() sink.Sink, arm func(), h *History) (again int) {
	t.Helper()
	s := open()
	arm()
	defer func() { s.Close() }()
	for from := 0; from < h.Len(); {
		to := min(from+10, h.Len())
		err := s.Write(t.Context(), h.Slice(from, to))
		if err == nil {
			from = to
			continue
		}
		if fault.IsPermanent(err) {
			t.Fatalf("events %d to %d: %v", from, to, err)
		}
		again++
		s.Close()
		s = open()
		var stands struct{ Offset int }
		if p := Committed(t, s, h.Origin); p != "" {
			if err := json.Unmarshal([]byte(p), &stands); err != nil {
				t.Fatal(err)
			}
		}
		from = stands.Offset
	}
	return again
}
