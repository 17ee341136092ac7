package postgres

import (
	"strings"
	"syscall"
	"time"
)

// tcpUserTimeout is the option of tcp(7), which package syscall does not name.
const tcpUserTimeout = 18

// confirmWithin makes the kernel end a TCP connection when the peer does not confirm bytes for so long.
func confirmWithin(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		var failed error
		if err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
		}); err != nil {
			return err
		}
		return failed
	}
}
