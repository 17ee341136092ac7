package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tailrace/tailrace/internal/compare"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/worker"
)

// stopTimeout is how long the daemon may take to end after SIGTERM.
const stopTimeout = 30 * time.Second

// Build compiles the daemon of the module in the present directory, without cgo, and returns the binary's path below dir.
func Build(ctx context.Context, dir string) (string, error) {
	bin, err := filepath.Abs(filepath.Join(dir, "tailrace"))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/tailrace/tailrace/cmd/tailrace")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// Daemon is one daemon over all its lives. Its fields are set before the first Start; Start, Kill and Stop are called by
// one goroutine, the others by any.
type Daemon struct {
	Bin     string
	Args    []string // nil: serve with Config, DataDir and Listen
	Config  string   // connectors.yaml
	DataDir string
	Listen  string        // 127.0.0.1:PORT; see Port
	Env     []string      // besides this process's environment
	Log     string        // file that its log is appended to
	User    *url.Userinfo // credentials of the REST API; nil: none

	child atomic.Pointer[servers.Child]
}

// Port returns an address of 127.0.0.1 that nobody listens on.
func Port() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// URL is the address of the REST API.
func (d *Daemon) URL() string { return "http://" + d.Listen }

// Start starts the process and returns at once.
func (d *Daemon) Start() error {
	if d.Alive() {
		return errors.New("the daemon runs already")
	}
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := d.Args
	if args == nil {
		args = []string{"serve", "-c", d.Config, "--data-dir", d.DataDir, "--listen", d.Listen}
	}
	cmd := exec.Command(d.Bin, args...)
	cmd.Env = append(os.Environ(), d.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	child, err := servers.StartChild(cmd, syscall.SIGKILL)
	if err == nil {
		d.child.Store(child)
	}
	return err
}

// Alive reports whether the process runs.
func (d *Daemon) Alive() bool {
	child := d.child.Load()
	return child != nil && child.Alive()
}

// Pid returns the process id, 0 if it does not run.
func (d *Daemon) Pid() int {
	if !d.Alive() {
		return 0
	}
	return d.child.Load().Pid()
}

// Kill ends the process with SIGKILL and waits for its end. It is an error if it had ended by itself.
func (d *Daemon) Kill() error {
	if !d.Alive() {
		return fmt.Errorf("the daemon had ended by itself: %s", d.LastWords())
	}
	return d.child.Load().End(syscall.SIGKILL, stopTimeout)
}

// Stop ends the process with SIGTERM and waits for its end. It does nothing if it does not run.
func (d *Daemon) Stop() error {
	if !d.Alive() {
		return nil
	}
	return d.child.Load().End(syscall.SIGTERM, stopTimeout)
}

// ExitCode returns the exit status of the present life, once it is over: -1 if a signal ended it.
func (d *Daemon) ExitCode() int { return d.child.Load().ExitCode() }

// LastWords returns the end of the daemon's log.
func (d *Daemon) LastWords() string {
	b, err := os.ReadFile(d.Log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// Ready waits until the REST API answers that the daemon is ready, at most until ctx is done or the process has ended.
func (d *Daemon) Ready(ctx context.Context) error {
	return d.Until(ctx, func() (bool, error) {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		body, err := d.get(once, "/readyz")
		if err != nil {
			return false, nil // not yet
		}
		return true, body.Close()
	})
}

// Until calls done every 25 ms until it says so, fails, the process has ended or ctx is done.
func (d *Daemon) Until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if !d.Alive() {
			return fmt.Errorf("the daemon has ended: %s", d.LastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; the daemon's log ends with: %s", context.Cause(ctx), d.LastWords())
		case <-tick.C:
		}
	}
}

// get requests a path of the REST API. The caller closes the body.
func (d *Daemon) get(ctx context.Context, path string) (io.ReadCloser, error) {
	return d.call(ctx, http.MethodGet, path, nil)
}

// StopConnector stops a connector over the REST API, for good.
func (d *Daemon) StopConnector(ctx context.Context, name string) error {
	return d.order(ctx, http.MethodPut, name, "stop", nil)
}

// PauseConnector pauses a connector over the REST API; ResumeConnector lets it go on.
func (d *Daemon) PauseConnector(ctx context.Context, name string) error {
	return d.order(ctx, http.MethodPut, name, "pause", nil)
}

// ResumeConnector lets a connector go on that was paused.
func (d *Daemon) ResumeConnector(ctx context.Context, name string) error {
	return d.order(ctx, http.MethodPut, name, "resume", nil)
}

// Configure makes a connector over the REST API, or gives it another configuration.
func (d *Daemon) Configure(ctx context.Context, name string, config map[string]string) error {
	return d.order(ctx, http.MethodPut, name, "config", config)
}

// Signal sends a signal in Debezium's form to a source connector. It returns when the signal is durable.
func (d *Daemon) Signal(ctx context.Context, name, kind string, data any) error {
	return d.order(ctx, http.MethodPost, name, "signals", map[string]any{"type": kind, "data": data})
}

// order sends a request about a connector and drops the answer.
func (d *Daemon) order(ctx context.Context, method, name, what string, content any) error {
	var body io.Reader
	if content != nil {
		text, err := json.Marshal(content)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	answer, err := d.call(ctx, method, "/connectors/"+url.PathEscape(name)+"/"+what, body)
	if err != nil {
		return err
	}
	return answer.Close()
}

// call makes a request; body is JSON, nil: none. The caller closes the answer's body.
func (d *Daemon) call(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.URL()+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if d.User != nil {
		password, _ := d.User.Password()
		req.SetBasicAuth(d.User.Username(), password)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		text, err := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, errors.Join(fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text), err, res.Body.Close())
	}
	return res.Body, nil
}

func fetch[T any](ctx context.Context, d *Daemon, path string) (T, error) {
	var v T
	body, err := d.get(ctx, path)
	if err != nil {
		return v, err
	}
	defer body.Close()
	return v, json.NewDecoder(body).Decode(&v)
}

// Status returns the state of every connector.
func (d *Daemon) Status(ctx context.Context) ([]rest.StatusInfo, error) {
	return fetch[[]rest.StatusInfo](ctx, d, "/tailrace/status")
}

// Lag returns how far every sink is behind, in each partition.
func (d *Daemon) Lag(ctx context.Context) ([]rest.LagInfo, error) {
	return fetch[[]rest.LagInfo](ctx, d, "/tailrace/lag")
}

// Topics returns the topics of the log.
func (d *Daemon) Topics(ctx context.Context) ([]rest.TopicInfo, error) {
	return fetch[[]rest.TopicInfo](ctx, d, "/tailrace/topics")
}

// Failed returns an error that names the connectors and tasks in state FAILED, nil if there are none.
func Failed(list []rest.StatusInfo) error {
	var errs []error
	for _, c := range list {
		if c.State == worker.Failed {
			errs = append(errs, fmt.Errorf("connector %s is FAILED: %s", c.Name, c.Trace))
		}
		for _, t := range c.Tasks {
			if t.State == worker.Failed {
				errs = append(errs, fmt.Errorf("task %s-%d is FAILED: %s", c.Name, t.ID, t.Trace))
			}
		}
	}
	return errors.Join(errs...)
}

// Behind returns how many records each sink has not written; sinks that are stopped are left out.
func Behind(list []rest.StatusInfo, lags []rest.LagInfo) map[string]int64 {
	stopped := map[string]bool{}
	for _, c := range list {
		stopped[c.Name] = c.State == worker.Stopped
	}
	sums := map[string]int64{}
	for _, l := range lags {
		if !stopped[l.Connector] {
			sums[l.Connector] += l.Lag
		}
	}
	return sums
}

// Tail starts `tailrace tail TOPIC... --from start --until end -o json` and returns what it prints, nil if there is no such
// topic. Close reports how the command ended.
func (d *Daemon) Tail(ctx context.Context, topics ...string) (io.ReadCloser, error) {
	list, err := d.Topics(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, t := range list {
		known[t.Topic] = true
	}
	args := []string{"tail"}
	for _, t := range topics {
		if known[t] {
			args = append(args, t)
		}
	}
	if len(args) == 1 {
		return nil, nil
	}
	cmd := exec.CommandContext(ctx, d.Bin, append(args, "--from", "start", "--until", "end", "-o", "json", "--url", d.URL())...)
	cmd.Env = append(os.Environ(), d.Env...)
	t := &tail{cmd: cmd}
	cmd.Stderr = &t.complaints
	if t.ReadCloser, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return t, cmd.Start()
}

// tail is a tail command under way.
type tail struct {
	io.ReadCloser
	cmd        *exec.Cmd
	complaints bytes.Buffer
}

// Close implements io.Closer. A reader that stops early makes the command fail, which is then no error of the tail.
func (t *tail) Close() error {
	_, readErr := io.Copy(io.Discard, t.ReadCloser)
	if err := t.cmd.Wait(); err != nil {
		return fmt.Errorf("tailrace tail: %w: %s", err, strings.TrimSpace(t.complaints.String()))
	}
	return readErr
}

// Seen reports whether text occurs in the records of a topic.
func (d *Daemon) Seen(ctx context.Context, topic, text string) (bool, error) {
	in, err := d.Tail(ctx, topic)
	if err != nil || in == nil {
		return false, err
	}
	found := false
	err = compare.Records(in, func(r *compare.Record) error {
		found = found || bytes.Contains(r.Value, []byte(text))
		return nil
	})
	return found, errors.Join(err, in.Close())
}

// Drained waits until the log holds text in topic, which the caller wrote to the source as its last change, the snapshot is
// complete, and every sink has written all of the log.
func (d *Daemon) Drained(ctx context.Context, topic, text string) error {
	err := d.Until(ctx, func() (bool, error) { return d.Seen(ctx, topic, text) })
	if err != nil {
		return fmt.Errorf("the last change does not arrive in the log: %w", err)
	}
	err = d.Until(ctx, func() (bool, error) {
		list, err := d.Status(ctx)
		if err != nil {
			return false, err
		}
		for _, c := range list {
			for _, t := range c.Tasks {
				if t.Snapshot != nil && !t.Snapshot.Completed {
					return false, Failed(list)
				}
			}
		}
		return true, Failed(list)
	})
	if err != nil {
		return fmt.Errorf("the snapshot does not end: %w", err)
	}
	var behind int64
	err = d.Until(ctx, func() (bool, error) {
		lags, err := d.Lag(ctx)
		if err != nil {
			return false, err
		}
		list, err := d.Status(ctx)
		if err != nil {
			return false, err
		}
		behind = 0
		for _, n := range Behind(list, lags) {
			behind += n
		}
		return behind == 0, Failed(list)
	})
	if err != nil {
		return fmt.Errorf("the sinks are %d records behind: %w", behind, err)
	}
	return nil
}
