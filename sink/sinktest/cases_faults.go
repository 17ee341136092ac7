package sinktest

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/sink"
)

func faultCases() []testCase {
	return []testCase{
		{"case88_reset_after_write", resetAfterWrite},
		{"case87_rejected_row", rejectedRow},
		{"no_key_is_rejected", noKey},
		{"restart", restart},
		{"cancelled_before", cancelledBefore},
		{"cancelled_while_waiting", cancelledWhileWaiting},
		{"close_without_write", func(r *run) { r.reopen() }},
		{"ledger", ledger},
	}
}

func resetAfterWrite(r *run) {
	if r.target.FailAfterWrite == nil {
		r.Skip("not applicable: the harness cannot reset connections")
	}
	t, h := items(), r.history()
	for id := range int64(20) {
		h.Create(t, Int(id), Text("a"), Int(id), long("x"))
	}
	for id := range int64(10) {
		h.Update(t, Int(id), Text("b"), Int(id), Absent())
	}
	h.Delete(t, Int(3))
	h.Create(t, Int(3), Text("reborn"), Int(3), Null())
	h.Delete(t, Int(4))
	for from, to := 0, 0; from < h.Len(); from = to {
		to = min(from+15, h.Len())
		r.target.FailAfterWrite(r.TB)
		r.insist(func() *change.Batch { return h.Slice(from, to) })
	}
	r.holds(h, t)
}

func rejectedRow(r *run) {
	if r.target.Refuse == nil {
		r.Skip("not applicable: the harness knows no value that the target refuses")
	}
	t, h := items(), r.history()
	h.Create(t, Int(1000), Text("good"), Int(0), Text("x"))
	r.flush(h, 10)
	bad := r.target.Refuse(r.TB, h.Topic, t, "name")
	b := h.Slice(h.Len(), h.Len())
	for id := range int64(500) {
		if id == 123 {
			// The bad row is no part of the history that must be in the target.
			other := NewHistory(r.topic)
			other.Create(t, Int(id), bad, Int(id), Text("x"))
			h.add(change.Event{Op: change.OpMessage, Raw: &change.Raw{}}) // keeps its version
			b.CopyEvent(&other.events[0]).Version = h.events[h.Len()-1].Version
			continue
		}
		b.CopyEvent(h.Create(t, Int(id), Text("good"), Int(id), Text("x")))
	}
	err := r.try(b)
	var rejected sink.Rejected
	if !errors.As(err, &rejected) {
		r.Fatalf("Write returned %v, want sink.Rejected", err)
	}
	if len(rejected) != 1 || rejected[0].Index != 123 || rejected[0].Err == nil || rejected[0].Err.Error() == "" {
		r.Fatalf("Rejected = %+v, want the event 123 with a reason", rejected)
	}
	r.holds(h, t)
}

// noKey: a target that keeps rows by key can't keep a table without one.
func noKey(r *run) {
	t, h := items(), r.history()
	keyless := Table("keyless", 1, nil, Column("a", "int8"))
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	h.Topic = "shop.public.keyless"
	h.Create(keyless, Int(1))
	h.Topic = r.topic
	h.Create(t, Int(2), Text("b"), Int(2), Text("x"))
	err := r.try(h.Take())
	var rejected sink.Rejected
	if !errors.As(err, &rejected) || len(rejected) != 1 || rejected[0].Index != 1 {
		r.Fatalf("Write returned %v, want the row without a key, and only it, to be rejected", err)
	}
	r.holds(h, t)
}

func restart(r *run) {
	if r.target.Restart == nil {
		r.Skip("not applicable: the harness cannot restart the target")
	}
	t, h := items(), r.history()
	for round := range int64(3) {
		for id := range int64(10) {
			h.Create(t, Int(round*10+id), Text("a"), Int(id), Text("x"))
			h.Update(t, Int(round*5+id), Text("u"), Int(round), Absent())
		}
		from := h.taken
		h.taken = h.Len()
		r.insist(func() *change.Batch { return h.Slice(from, h.Len()) })
		r.target.Restart(r.TB)
		r.holds(h, t)
	}
}

func cancelledBefore(r *run) {
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := h.Take()
	if err := r.snk.Write(ctx, b); err == nil {
		r.Fatalf("Write under a cancelled context returned nil")
	}
	Scribble(b)
	h.taken = 0
	r.flush(h, 10) // the sink still works
	r.holds(h, t)
}

func cancelledWhileWaiting(r *run) {
	if r.target.Hang == nil {
		r.Skip("not applicable: the harness cannot make the target hang")
	}
	t, h := items(), r.history()
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	r.flush(h, 10)
	resume := r.target.Hang(r.TB)
	h.Update(t, Int(1), Text("b"), Int(2), Absent())
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	b := h.Take()
	go func() { done <- r.snk.Write(ctx, b) }()
	select {
	case err := <-done:
		if err == nil {
			r.Errorf("Write returned nil from a target that hangs")
		}
		Scribble(b)
		resume()
	case <-time.After(10 * time.Second):
		resume()
		<-done
		r.Fatalf("Write did not return within 10 s after its context had ended")
	}
	from := h.taken - 1
	r.insist(func() *change.Batch { return h.Slice(from, h.Len()) })
	r.holds(h, t)
}

// ledger: the offset lives in the target, so each batch takes effect once even when its answer was lost.
func ledger(r *run) {
	if _, ok := r.snk.(sink.Ledger); !ok {
		r.Skip("not applicable: the sink keeps no offsets")
	}
	committed := func(origin string) change.Position {
		r.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		p, err := r.snk.(sink.Ledger).Committed(ctx, origin)
		if err != nil {
			r.Fatalf("Committed(%q): %v", origin, err)
		}
		return p
	}
	want := func(origin string, p change.Position) {
		r.Helper()
		if got := committed(origin); !bytes.Equal(got, p) || (got == nil) != (p == nil) {
			r.Errorf("Committed(%q) = %q, want %q", origin, got, p)
		}
	}
	t, h := items(), r.history()
	want(h.Origin, nil)
	h.Create(t, Int(1), Text("a"), Int(1), Text("x"))
	r.flush(h, 10)
	want(h.Origin, Resume(1))
	want("another-0", nil)
	h.Update(t, Int(1), Text("b"), Int(2), Absent())
	if r.target.FailAfterWrite != nil {
		r.target.FailAfterWrite(r.TB)
	}
	from := h.taken
	h.taken = h.Len()
	r.insist(func() *change.Batch { return h.Slice(from, h.Len()) })
	want(h.Origin, Resume(2))
	r.holds(h, t)
	r.write(&change.Batch{Origin: h.Origin, Resume: Resume(9)}) // nothing captured, but the stream has moved on
	want(h.Origin, Resume(9))
	r.reopen()
	want(h.Origin, Resume(9))

	h.Origin = "another-0"
	h.Create(t, Int(2), Text("c"), Int(3), Text("y"))
	r.flush(h, 10)
	want("another-0", Resume(h.Len()))
	want(r.topic+"-0", Resume(9))
	r.holds(h, t)
}
