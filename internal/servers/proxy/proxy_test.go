package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// shout is a server that answers each line in capitals and counts them.
type shout struct {
	mu    sync.Mutex
	lines []string
}

func newShout(t *testing.T) (*shout, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shout{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				for r := bufio.NewScanner(c); r.Scan(); {
					s.mu.Lock()
					s.lines = append(s.lines, r.Text())
					s.mu.Unlock()
					io.WriteString(c, strings.ToUpper(r.Text())+"\n")
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return s, l.Addr().String()
}

func (s *shout) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, " ")
}

func dial(t *testing.T, p *Proxy) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

func ask(t *testing.T, c net.Conn, r *bufio.Reader, line string) (string, error) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	answer, err := r.ReadString('\n')
	return strings.TrimSpace(answer), err
}

func TestPasses(t *testing.T) {
	_, addr := newShout(t)
	c, r := dial(t, New(t, addr))
	for _, line := range []string{"a", strings.Repeat("b", 60000)} {
		if got, err := ask(t, c, r, line); err != nil || got != strings.ToUpper(line) {
			t.Fatalf("%d bytes came back, %v", len(got), err)
		}
	}
}

func TestDropAnswer(t *testing.T) {
	s, addr := newShout(t)
	p := New(t, addr)
	p.DropAnswer("never", "second")
	c, r := dial(t, p)
	if got, err := ask(t, c, r, "first"); err != nil || got != "FIRST" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := ask(t, c, r, "the second"); err == nil {
		t.Fatalf("the answer was %q, want a reset", got)
	}
	if got := s.heard(); got != "first the second" {
		t.Errorf("the server heard %q", got)
	}
	if p.Dropped() != 1 {
		t.Errorf("%d answers were dropped", p.Dropped())
	}
	c, r = dial(t, p)
	if got, err := ask(t, c, r, "the second"); err != nil || got != "THE SECOND" {
		t.Errorf("the fault was not gone: %q, %v", got, err)
	}
}

func TestCutAfter(t *testing.T) {
	s, addr := newShout(t)
	p := New(t, addr)
	c, r := dial(t, p)
	p.CutAfter(8) // "hello\n" and "wo"
	if got, err := ask(t, c, r, "hello"); err != nil || got != "HELLO" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := ask(t, c, r, "world"); err == nil {
		t.Fatalf("the answer was %q, want a reset", got)
	}
	if got := s.heard(); strings.Contains(got, "world") {
		t.Errorf("the server heard %q", got)
	}
}

func TestHangAndReset(t *testing.T) {
	_, addr := newShout(t)
	p := New(t, addr)
	c, r := dial(t, p)
	resume := p.Hang()
	io.WriteString(c, "a\n")
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := r.ReadString('\n'); err == nil {
		t.Fatal("an answer came through")
	}
	c.SetReadDeadline(time.Time{})
	resume()
	if got, err := r.ReadString('\n'); err != nil || got != "A\n" {
		t.Fatalf("%q, %v", got, err)
	}
	p.Hang() // is let go when the test ends
	p.Reset()
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("the connection lives after Reset")
	}
}
