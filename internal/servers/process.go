package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// stopTimeout is how long a server may take to end after it was asked, before its process group is killed.
const stopTimeout = 30 * time.Second

// process is a process that this package started, in this run or, when adopted, in an earlier one.
type process struct {
	pid     int
	started string // tells it from a later process with the same number
	done    chan struct{}
	exit    int // status, once done is closed; -1: a signal ended it
}

// start starts cmd in a process group of its own. Unless detach is set, the system sends dying to it when this process
// ends, however it ends.
func start(cmd *exec.Cmd, dying syscall.Signal, detach bool) (*process, error) {
	if !detach {
		dieWithParent(cmd.SysProcAttr, dying)
	}
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The death signal is tied to the thread that forks, so that thread must live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // says no more than the status
			p.exit = cmd.ProcessState.ExitCode()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	at, err := startedAt(p.pid)
	if err != nil { // it has ended already: await will say why
		at = "ended"
	}
	p.started = at
	return p, nil
}

// adopt returns the process that r describes, nil when that one has ended.
func adopt(r record) *process {
	at, err := startedAt(r.Pid)
	if err != nil || at != r.Started {
		return nil
	}
	return &process{pid: r.Pid, started: r.Started}
}

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	if p.done != nil {
		select {
		case <-p.done:
			return false
		default:
			return true
		}
	}
	at, err := startedAt(p.pid)
	return err == nil && at == p.started
}

// end sends sig and waits for the end; after stopTimeout it kills the whole group.
func (p *process) end(sig syscall.Signal) error { return p.endWithin(sig, stopTimeout) }

// endWithin is end with another patience.
func (p *process) endWithin(sig syscall.Signal, grace time.Duration) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if p.wait(grace) {
		return nil
	}
	if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	if !p.wait(stopTimeout) {
		return fmt.Errorf("process %d does not end, even after SIGKILL", p.pid)
	}
	return nil
}

// wait reports whether the process ended within d.
func (p *process) wait(d time.Duration) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.alive() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// unprivileged returns the user that servers run as when we are root.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is neither a user postgres nor nobody (uid %d)", os.Getuid())
}

// A Child is a process that another package of this kind runs, under the same rules as a server: it is known by its id and the
// moment it started, and it dies with this process.
type Child struct{ p *process }

// StartChild starts cmd in a process group of its own. The system sends dying to it when this process ends, however it ends.
func StartChild(cmd *exec.Cmd, dying syscall.Signal) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	p, err := start(cmd, dying, false)
	if err != nil {
		return nil, err
	}
	return &Child{p}, nil
}

// ExitCode returns the exit status of a process that has ended, -1 if it was ended by a signal.
func (c *Child) ExitCode() int {
	<-c.p.done
	return c.p.exit
}

// Pid returns the process id.
func (c *Child) Pid() int { return c.p.pid }

// Alive reports whether the process has not ended.
func (c *Child) Alive() bool { return c.p.alive() }

// End sends sig, waits for the end, and after grace kills the whole process group.
func (c *Child) End(sig syscall.Signal, grace time.Duration) error { return c.p.endWithin(sig, grace) }
