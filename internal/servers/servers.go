package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 90 * time.Second

// kind is one server that Tailrace is tested against. Its functions are called with a Server whose Dir and Port are set.
type kind struct {
	name     string   // as tests call it: postgres15
	variable string   // environment variable that holds its address
	packages []string // Debian packages that bring it
	missing  func() error
	fetch    func(ctx context.Context, progress io.Writer) error // what apt does not bring; nil: nothing
	prepare  func(ctx context.Context, s *Server) error          // once in an empty Dir; nil: nothing
	command  func(s *Server) []string
	url      func(s *Server) string
	ready    func(ctx context.Context, s *Server) error
	stop     syscall.Signal // asks for a clean end
	kill     syscall.Signal // ends it at once, as a crash would
	unrooted bool           // refuses to run as root
}

// kinds lists every server, in the order in which they are started.
func kinds() []kind {
	var all []kind
	for _, r := range pgReleases() {
		all = append(all, postgres(r))
	}
	return append(all, mariadb10(), mysql80(), mysql57(), mysql97(), redis7(), elasticsearch8())
}

// find returns the kind called name.
func find(name string) (kind, error) {
	for _, k := range kinds() {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("no server is called %q; there are %s", name, strings.Join(Names(), ", "))
}

// Names lists the servers that this package knows.
func Names() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// Variable returns the environment variable in which tests look for the address of the server called name, "" for an
// unknown name.
func Variable(name string) string {
	k, err := find(name)
	if err != nil {
		return ""
	}
	return k.variable
}

// Missing tells why the server called name cannot be started here, nil when it can.
func Missing(name string) error {
	k, err := find(name)
	if err != nil {
		return err
	}
	return k.missing()
}

// Options say how a server is started.
type Options struct {
	Dir      string            // where its files go; "": a fresh directory under Root that Stop removes
	Port     int               // 0: any free port
	Settings map[string]string // added to, or instead of, the settings for tests
	Detach   bool              // let it outlive this process
}

// Server is one running server. Its methods may be called from any goroutine.
type Server struct {
	Name string
	Dir  string // holds server.log, server.json and the server's files
	Port int
	Addr string // 127.0.0.1:PORT
	URL  string // what a test needs to connect: a URL, or for Redis the address

	kind     kind
	settings map[string]string
	detach   bool
	fresh    bool // Dir is ours to remove

	mu   sync.Mutex
	proc *process // nil: not running
}

// record is the content of server.json.
type record struct {
	Name    string `json:"name"`
	Pid     int    `json:"pid"`
	Started string `json:"started"` // see startedAt
	Port    int    `json:"port"`
	URL     string `json:"url"`
	Owner   int    `json:"owner"` // the process that started it
	OwnerAt string `json:"ownerStarted"`
	Detach  bool   `json:"detach"`
}

// Start starts the server called name and waits until it answers, at most 90 seconds. ctx bounds only the start. The caller
// must Stop or Kill it. After an error nothing is left running.
func Start(ctx context.Context, name string, o Options) (*Server, error) {
	k, err := find(name)
	if err != nil {
		return nil, err
	}
	if err := k.missing(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &Server{Name: name, Dir: o.Dir, kind: k, settings: o.Settings, detach: o.Detach}
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		if s.Port = o.Port; s.Port == 0 {
			if s.Port, err = freePort(); err != nil {
				break
			}
		}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
		s.URL = k.url(s)
		err = s.run(ctx)
		// Somebody may have taken the port between our look and the server's bind.
		if err == nil || attempt == 2 || o.Port != 0 || !strings.Contains(strings.ToLower(err.Error()), "in use") {
			break
		}
	}
	if err != nil {
		if s.fresh {
			err = errors.Join(err, os.RemoveAll(s.Dir))
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// makeDir makes the server's directory and hands it to the user that the server runs as.
func (s *Server) makeDir() error {
	if s.Dir == "" {
		root, err := Root()
		if err != nil {
			return err
		}
		if s.Dir, err = os.MkdirTemp(root, s.Name+"-"); err != nil {
			return err
		}
		s.fresh = true
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if !s.kind.unrooted || os.Getuid() != 0 {
		return nil
	}
	cred, err := unprivileged()
	if err != nil {
		return err
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	return os.Chown(s.Dir, int(cred.Uid), int(cred.Gid))
}

// run starts the process on s.Port and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kind.prepare != nil {
		if err := s.kind.prepare(ctx, s); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, err := s.exec(s.kind.command(s)...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := start(cmd, s.kind.kill, s.detach)
	if err != nil {
		return err
	}
	if err := s.save(p); err != nil {
		return errors.Join(err, p.end(s.kind.kill))
	}
	if err := s.await(ctx, p); err != nil {
		return errors.Join(err, p.end(s.kind.kill))
	}
	s.proc = p
	return nil
}

// exec makes a command that runs in the server's directory, not as root where the server refuses that.
func (s *Server) exec(argv ...string) (*exec.Cmd, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if s.kind.unrooted && os.Getuid() == 0 {
		cred, err := unprivileged()
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr.Credential = cred
	}
	return cmd, nil
}

// await asks the server until it answers, its process ends or ctx is over.
func (s *Server) await(ctx context.Context, p *process) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := s.kind.ready(once, s)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("ended while starting: %s", s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("did not answer in time (%w): %s", err, s.lastWords())
		case <-tick.C:
		}
	}
}

// lastWords returns the end of the server's log on one line.
func (s *Server) lastWords() string {
	b, err := os.ReadFile(filepath.Join(s.Dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	return strings.Join(lines, " | ")
}

// save writes server.json.
func (s *Server) save(p *process) error {
	owner, err := startedAt(os.Getpid())
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{Name: s.Name, Pid: p.pid, Started: p.started, Port: s.Port, URL: s.URL,
		Owner: os.Getpid(), OwnerAt: owner, Detach: s.detach})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, "server.json"), b, 0o644)
}

// Pid returns the process id, 0 when the server is not running.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.pid
}

// Stop ends the server cleanly, waits for its end and removes the directory that Start made. A second call does nothing.
func (s *Server) Stop() error {
	if err := s.end(s.kind.stop); err != nil {
		return err
	}
	if s.fresh {
		return os.RemoveAll(s.Dir)
	}
	return nil
}

// Kill ends the server at once, as a crash would, and waits for its end. Its files stay, so that Restart finds what the
// crash left; Stop removes them.
func (s *Server) Kill() error { return s.end(s.kind.kill) }

// Restart starts a stopped or killed server again, in the same directory and on the same port; a running one is ended
// cleanly before. It waits until the server answers.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.end(s.kind.stop); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.run(ctx)
		// After a kill the server's children may hold its memory for a moment.
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "still in use") {
			return err
		}
	}
}

// end sends sig to the process, if it runs, and waits for its end.
func (s *Server) end(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	err := s.proc.end(sig)
	s.proc = nil
	return err
}

// freePort returns a TCP port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// dial connects to a server. What is read and written ends with ctx's deadline; the caller closes the connection.
func dial(ctx context.Context, s *Server) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	if at, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(at); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}
