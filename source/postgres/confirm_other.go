//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// confirmWithin does nothing where the system has no such option: its own timeouts hold.
func confirmWithin(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
