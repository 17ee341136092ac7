package source

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// script is a connection whose reads take and return what it says.
type script struct {
	net.Conn
	steps []step
	clock time.Time
}

type step struct {
	after time.Duration
	bytes int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.steps) == 0 {
		return 0, io.EOF
	}
	now := s.steps[0]
	s.steps = s.steps[1:]
	s.clock = s.clock.Add(now.after)
	return min(now.bytes, len(p)), nil
}

// TestGatherWaits: only between small pieces that follow each other closely.
func TestGatherWaits(t *testing.T) {
	naps := 0
	conn := &script{clock: time.Unix(1, 0), steps: []step{
		{time.Second, 100}, {time.Second, 100}, {time.Millisecond, 100}, // now and then
		{steadyFlow / 2, 100}, {steadyFlow / 2, 100}, {steadyFlow / 2, 100}, // a flow: a nap before the next ones
		{steadyFlow / 2, smallRead}, {steadyFlow / 2, smallRead}, // much at once: none any more
		{time.Second, 1}, {time.Second, 1},
	}}
	g := &gathering{Conn: conn, nap: func() { naps++ }, now: func() time.Time { return conn.clock }}
	buf := make([]byte, 2*smallRead)
	var after []int
	for {
		if _, err := g.Read(buf); err != nil {
			break
		}
		after = append(after, naps)
	}
	if want := []int{0, 0, 0, 0, 1, 2, 3, 3, 3, 3}; !slices.Equal(after, want) {
		t.Fatalf("naps after each read: %v, want %v", after, want)
	}
}

// TestGather: all bytes arrive in order, and a deadline ends a read.
func TestGather(t *testing.T) {
	near, far := net.Pipe()
	g := Gather(near)
	defer g.Close()
	sent := make([]byte, 50_000)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	go func() {
		defer far.Close()
		for i := 0; i < len(sent); i += 10 {
			if _, err := far.Write(sent[i : i+10]); err != nil {
				return
			}
		}
	}()
	got, err := io.ReadAll(g)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	other, silent := net.Pipe()
	defer silent.Close()
	quiet := Gather(other)
	if err := quiet.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := quiet.Read(make([]byte, 10)); err == nil {
		t.Error("a read without end")
	}
}
