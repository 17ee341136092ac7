package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tailrace/tailrace/internal/servers"
	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || os.Args[1] != "kill" {
		fmt.Fprintln(os.Stderr, "usage: scripts/campaign kill [-n CYCLES] [-seed S]")
		os.Exit(2)
	}
	fs := flag.NewFlagSet("kill", flag.ExitOnError)
	n := fs.Int("n", 60, "kills")
	seed := fs.Uint64("seed", 1, "seed of the model generator and of the moments")
	bin := fs.String("bin", "build/tailrace", "the daemon")
	if err := fs.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	ok, err := kill(ctx, *n, *seed, *bin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// lab is everything that a campaign starts; close stops all of it.
type lab struct {
	pg, redis *servers.Server
	conn      *pgx.Conn
	dir, bin  string
	port      int
}

func (l *lab) url() string { return fmt.Sprintf("http://127.0.0.1:%d", l.port) }

func openLab(ctx context.Context, bin string) (l *lab, err error) {
	l = &lab{bin: bin}
	if l.pg, err = servers.Start(ctx, "postgres15", servers.Options{}); err != nil {
		return l, err
	}
	if l.redis, err = servers.Start(ctx, "redis", servers.Options{}); err != nil {
		return l, err
	}
	if l.conn, err = pgx.Connect(ctx, l.pg.URL); err != nil {
		return l, err
	}
	if _, err = l.conn.Exec(ctx, schema); err != nil {
		return l, err
	}
	if l.dir, err = os.MkdirTemp("", "tailrace-campaign-"); err != nil {
		return l, err
	}
	if l.port, err = freePort(); err != nil {
		return l, err
	}
	return l, os.WriteFile(filepath.Join(l.dir, "connectors.yaml"), []byte(l.config()), 0o600)
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// config asks for small chunks, so that the snapshot is long enough to be killed in.
func (l *lab) config() string {
	return fmt.Sprintf(`version: 1
connectors:
  - name: camp
    config:
      connector.class: postgres
      database.hostname: 127.0.0.1
      database.port: %d
      database.user: postgres
      database.dbname: postgres
      topic.prefix: camp
      slot.name: camp
      publication.name: camp
      table.include.list: public.item, public.journal, public.sentinel
      snapshot.fetch.size: 100
  - name: cache
    config:
      connector.class: redis
      topics: camp.public.item
      redis.uri: redis://%s
`, l.pg.Port, l.redis.Addr)
}

func (l *lab) close() {
	if l.conn != nil {
		l.conn.Close(context.Background())
	}
	for _, s := range []*servers.Server{l.redis, l.pg} {
		if s != nil {
			if err := s.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, "stop", s.Name+":", err)
			}
		}
	}
	if l.dir != "" {
		os.RemoveAll(l.dir)
	}
}

// daemon starts the daemon; its log is appended to a file in the campaign's directory.
func (l *lab) daemon(ctx context.Context) (*exec.Cmd, error) {
	out, err := os.OpenFile(filepath.Join(l.dir, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, l.bin, "serve", "-c", filepath.Join(l.dir, "connectors.yaml"), "--data-dir", filepath.Join(l.dir, "data"), "--listen", fmt.Sprintf("127.0.0.1:%d", l.port))
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, cmd.Start()
}

// kill runs the campaign and reports whether every promise held.
func kill(ctx context.Context, n int, seed uint64, bin string) (bool, error) {
	l, err := openLab(ctx, bin)
	defer l.close()
	if err != nil {
		return false, err
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	g, load := errgroup.WithContext(load)
	var committed atomic.Int64
	for i := range clients {
		conn, err := pgx.Connect(ctx, l.pg.URL)
		if err != nil {
			return false, err
		}
		defer conn.Close(context.Background())
		c := &client{n: i, rnd: rand.New(rand.NewPCG(seed, uint64(i)+10)), conn: conn}
		g.Go(func() error { return c.run(load, 75, &committed) })
	}
	inSnapshot := 0
	for cycle := range n {
		d := time.Duration(20+rnd.IntN(1480)) * time.Millisecond
		if cycle%5 == 4 { // long enough to be deep in streaming
			d += time.Duration(rnd.IntN(1500)) * time.Millisecond
		}
		done, err := l.cycle(load, d)
		if err != nil {
			stopLoad()
			return false, l.explain(errors.Join(err, g.Wait()))
		}
		if !done {
			inSnapshot++
		}
		fmt.Printf("cycle %d: killed after %d ms, snapshot done: %v, %d transactions committed\n", cycle+1, d.Milliseconds(), done, committed.Load())
	}
	stopLoad()
	if err := g.Wait(); err != nil {
		return false, err
	}
	v, err := l.settle(ctx)
	if err != nil {
		return false, l.explain(err)
	}
	for _, note := range v.notes {
		fmt.Println("  " + note)
	}
	sums := "equal"
	if !v.equal {
		sums = "different"
	}
	fmt.Printf("%d of %d kills were in the snapshot\n", inSnapshot, n)
	fmt.Printf("cycles=%d lost=%d doubled=%d misordered=%d checksums=%s\n", n, v.lost, v.doubled, v.misordered, sums)
	return v.lost+v.doubled+v.misordered == 0 && v.equal, nil
}

// explain adds the end of the daemon's log to an error.
func (l *lab) explain(err error) error {
	text, readErr := os.ReadFile(filepath.Join(l.dir, "daemon.log"))
	if readErr != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%w\nthe daemon's last lines:\n%s", err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
}

// cycle runs the daemon for d and kills it -9. It reports whether the snapshot was complete by then.
func (l *lab) cycle(ctx context.Context, d time.Duration) (bool, error) {
	cmd, err := l.daemon(ctx)
	if err != nil {
		return false, err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return false, fmt.Errorf("the daemon ended by itself: %v", err)
	case <-ctx.Done():
	case <-timer.C:
	}
	done := false
	if s, err := l.status(ctx); err == nil {
		done = s.Completed
	}
	if err := cmd.Process.Kill(); err != nil {
		return done, err
	}
	<-ended
	return done, ctx.Err()
}

// taskState is what the campaign wants to know of a daemon.
type taskState struct {
	Completed bool // the snapshot
	Failed    string
}

func (l *lab) status(ctx context.Context) (taskState, error) {
	var s taskState
	var list []struct {
		Name  string
		Tasks []struct {
			State, Trace string
			Snapshot     *struct{ Completed bool }
		}
	}
	if err := l.get(ctx, "/tailrace/status", &list); err != nil {
		return s, err
	}
	for _, c := range list {
		for _, t := range c.Tasks {
			if t.State == "FAILED" {
				s.Failed = c.Name + ": " + t.Trace
			}
			if t.Snapshot != nil {
				s.Completed = t.Snapshot.Completed
			}
		}
	}
	return s, nil
}

func (l *lab) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url()+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// settleTimeout bounds how long log and sink may take to catch up at the end.
const settleTimeout = 3 * time.Minute

// settle starts the daemon once more, waits until a row that is written last has come through, and compares.
func (l *lab) settle(ctx context.Context) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	cmd, err := l.daemon(ctx)
	if err != nil {
		return verdict{}, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	}()
	if _, err := l.conn.Exec(ctx, "insert into sentinel values (1)"); err != nil {
		return verdict{}, err
	}
	for !l.settled(ctx) {
		if s, err := l.status(ctx); err == nil && s.Failed != "" {
			return verdict{}, errors.New(s.Failed)
		}
		select {
		case <-ctx.Done():
			return verdict{}, fmt.Errorf("log and sink did not catch up: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return compare(ctx, l)
}

// settled reports whether the sentinel is in the log, the snapshot is complete and the sink has no lag.
func (l *lab) settled(ctx context.Context) bool {
	var topics []struct {
		Topic   string
		Records int64
	}
	var lags []struct{ Lag int64 }
	s, err := l.status(ctx)
	if err != nil || !s.Completed || l.get(ctx, "/tailrace/topics", &topics) != nil || l.get(ctx, "/tailrace/lag", &lags) != nil {
		return false
	}
	for _, lag := range lags {
		if lag.Lag > 0 {
			return false
		}
	}
	for _, t := range topics {
		if t.Topic == "camp.public.sentinel" && t.Records > 0 {
			return len(lags) > 0
		}
	}
	return false
}
