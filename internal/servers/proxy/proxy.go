// Package proxy is a TCP proxy for tests and campaigns that fails where it is told to: between a client and a real server it cuts,
// swallows or holds bytes, at places that are the same in every run.
//
// In comes the address of a server; out goes an address to connect to instead. The faults are armed one at a time and
// are gone once they have happened.
//
//	client ---- CutAfter(n): n bytes more, then reset ----> proxy ----> server
//	client <--- CutAnswersAfter(n): n bytes more, then reset --- proxy <---- server
//	client <--- DropAnswer(word ...): the answer to the request with one of the words is lost, then reset --- proxy <---- server
//	client <--- Hang(): nothing, until it is resumed --- proxy <---- server
//
// Invariants: without an armed fault every byte passes unchanged; when a dropped answer resets the connection, the server
// has handled the request, because it has answered.
//
// It understands no protocol and does not delay, reorder or corrupt.
package proxy

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
)

// A Proxy listens on 127.0.0.1. All methods may be called at any time.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	closed  bool
	cut     int64 // bytes that may still pass to the server, -1: no limit
	cutBack int64 // the same for bytes to the clients
	cuts    int
	words   []string // the answer to a request with one of these words is dropped
	drop    net.Conn
	dropped int
	gate    chan struct{} // closed when answers may pass
	stop    chan struct{} // closed when the test ends
}

// New starts a proxy in front of target, a TCP address, and stops it when the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Start(target)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

// Start starts a proxy in front of target, a TCP address. The caller closes it.
func Start(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	open := make(chan struct{})
	close(open)
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]bool{}, cut: -1, cutBack: -1, gate: open, stop: make(chan struct{})}
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// Addr returns the address to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// CutAfter lets n more bytes pass to the server and then resets the connection that sent them.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = n
}

// CutAnswersAfter lets n more bytes pass from the server, on whichever connection, and then resets the one that they came on.
func (p *Proxy) CutAnswersAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutBack = n
}

// Cuts returns how often CutAfter and CutAnswersAfter have reset a connection.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// DropAnswer swallows the server's answer to the next request in which one of the words is seen, and resets that
// connection.
func (p *Proxy) DropAnswer(words ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words, p.drop = words, nil
}

// Dropped returns how many answers DropAnswer has swallowed.
func (p *Proxy) Dropped() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}

// Hang holds all answers until resume is called.
func (p *Proxy) Hang() (resume func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gate := make(chan struct{})
	p.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// Reset resets all connections.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Close resets all connections and stops listening.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	close(p.stop)
	for c := range p.conns {
		reset(c)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) // close by RST
	}
	c.Close()
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				continue
			}
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			reset(client)
			continue
		}
		p.mu.Lock()
		if p.closed {
			reset(client)
			reset(server)
			p.mu.Unlock()
			return
		}
		p.conns[client], p.conns[server] = true, true
		p.wg.Add(2)
		p.mu.Unlock()
		go p.pass(client, server, p.request)
		go p.pass(server, client, p.answer)
	}
}

// pass copies from one side to the other until either ends, and then resets both.
func (p *Proxy) pass(from, to net.Conn, judge func(client net.Conn, data []byte) (pass int, end bool)) {
	defer p.wg.Done()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{from, to} {
			reset(c)
			delete(p.conns, c)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		pass, end := judge(from, buf[:n])
		if _, werr := to.Write(buf[:pass]); werr != nil || end || err != nil {
			return
		}
	}
}

// request decides on bytes from a client. A word that two reads share is not seen: keep words short.
func (p *Proxy) request(client net.Conn, data []byte) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.words {
		if bytes.Contains(data, []byte(w)) {
			p.words, p.drop = nil, client
			break
		}
	}
	return p.within(&p.cut, len(data))
}

// within takes n bytes from what may still pass, and tells how many of them do and whether the connection is cut there.
func (p *Proxy) within(left *int64, n int) (int, bool) {
	switch {
	case *left < 0:
		return n, false
	case int64(n) <= *left:
		*left -= int64(n)
		return n, false
	}
	n = int(*left)
	*left = -1
	p.cuts++
	return n, true
}

// answer decides on bytes from a server.
func (p *Proxy) answer(_ net.Conn, data []byte) (int, bool) {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	select {
	case <-gate:
	case <-p.stop:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drop != nil && len(data) > 0 {
		p.drop = nil
		p.dropped++
		return 0, true
	}
	return p.within(&p.cutBack, len(data))
}
