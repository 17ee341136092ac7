//go:build unix && !linux

package servers

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing here: only Linux tells a child of its parent's end.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// startedAt returns the moment the process started, and an error when it has ended.
func startedAt(pid int) (string, error) {
	b, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	return strings.TrimSpace(string(b)), err
}
