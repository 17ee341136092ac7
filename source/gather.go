package source

import (
	"net"
	"time"
)

// Gather returns conn with reads that gather: while bytes come in a steady flow of small pieces, as when a server sends every
// message of its log by itself, a read waits for a moment, so that it takes many of them. That saves most of the system calls and
// wake-ups, which otherwise cost more than all that is done with the messages, and slow down a server on the same machine. A message
// that comes after a silence is read at once. Reads are of one goroutine.
func Gather(conn net.Conn) net.Conn { return &gathering{Conn: conn, nap: nap, now: time.Now} }

const (
	smallRead  = 4 << 10                // bytes; a read of fewer leaves room for more
	steadyFlow = 300 * time.Microsecond // between two reads
	gatherNap  = 30 * time.Microsecond  // the system adds about 60; a unix socket takes in some hundred messages before the server waits
)

type gathering struct {
	net.Conn
	nap   func()
	now   func() time.Time
	last  time.Time // when the last read ended
	small bool      // it was one of a flow of small ones
}

// Read implements net.Conn.
func (g *gathering) Read(p []byte) (int, error) {
	if g.small {
		g.nap()
	}
	n, err := g.Conn.Read(p)
	now := g.now()
	g.small = n < min(smallRead, len(p)) && now.Sub(g.last) < steadyFlow
	g.last = now
	return n, err
}
