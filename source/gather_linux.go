package source

import "syscall"

// nap sleeps for gatherNap. A timer of the runtime would take a millisecond, the unit of its poller. An interrupted sleep is as good.
func nap() {
	t := syscall.NsecToTimespec(gatherNap.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil)
}
