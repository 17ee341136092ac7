//go:build !linux

package source

import "time"

func nap() { time.Sleep(gatherNap) }
