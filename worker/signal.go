package worker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/topic"
)

// SignalTopic holds the signals that connectors have not obeyed yet: the key is the connector's name, a zero byte and the signal's
// id, the value a snapshot.Signal as JSON. The tombstone of a signal is appended together with the position that knows its effect, so
// a signal is obeyed once, whatever crashes in between. (Invariant 3)
const SignalTopic = "__tailrace_signals"

func signalKey(connector, id string) []byte { return []byte(connector + "\x00" + id) }

// Signal makes a signal for a source connector durable; a connector that runs takes it within moments, any other when it runs
// again. A signal without an id gets one. ErrNotFound, *InvalidError.
func (w *Worker) Signal(ctx context.Context, name string, s snapshot.Signal) (snapshot.Signal, error) {
	c, err := w.find(name)
	if err != nil {
		return s, err
	}
	if c.definition().source == nil {
		return s, &InvalidError{[]config.Problem{{Key: "connector", Message: "only a source connector takes signals"}}}
	}
	if err := snapshot.CheckSignal(s); err != nil {
		return s, &InvalidError{[]config.Problem{{Key: "signal", Message: err.Error()}}}
	}
	if s.ID == "" {
		s.ID = newID()
	}
	value, err := json.Marshal(s)
	if err != nil {
		return s, &InvalidError{[]config.Problem{{Key: "signal", Message: err.Error()}}}
	}
	if err := w.ensureSignals(ctx); err != nil {
		return s, err
	}
	return s, w.opt.Log.Append(ctx, []topic.Record{{Topic: SignalTopic, Timestamp: w.opt.Now().UnixMilli(), Key: signalKey(name, s.ID), Value: value}})
}

func (w *Worker) ensureSignals(ctx context.Context) error {
	_, err := w.topics.ensure(ctx, SignalTopic, topic.Spec{Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}})
	return err
}

// newID makes a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// A post brings the signals of one connector from the topic, and from a file, to its mailbox while the connector runs.
type post struct {
	w      *Worker
	name   string
	box    *snapshot.Mailbox
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// openPost puts the signals that wait into the mailbox and follows the topic. It ends with close.
func (w *Worker) openPost(ctx context.Context, c *connector, cfg *snapshot.Config) (*post, error) {
	if err := w.ensureSignals(ctx); err != nil {
		return nil, err
	}
	p := &post{w: w, name: c.name, box: &snapshot.Mailbox{}}
	pending := map[string][]byte{}
	var order []string
	next := int64(0)
	err := topic.Scan(ctx, w.opt.Log, SignalTopic, func(r *topic.Record) error {
		next = r.Offset + 1
		key := string(r.Key)
		if order = slices.DeleteFunc(order, func(k string) bool { return k == key }); r.Value == nil {
			return nil
		}
		if bytes.HasPrefix(r.Key, signalKey(c.name, "")) {
			order = append(order, key)
			pending[key] = bytes.Clone(r.Value)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", SignalTopic, err)
	}
	for _, key := range order {
		p.put(pending[key])
	}
	rd, err := w.opt.Log.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if err := rd.Add(SignalTopic, 0, next); err != nil {
		return nil, errors.Join(err, rd.Close())
	}
	ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.wg.Go(func() { p.follow(ctx, c, rd) })
	if slices.Contains(cfg.SignalChannels, "file") {
		p.wg.Go(func() { p.watch(ctx, c, cfg.SignalFile, cfg.SignalPoll) })
	}
	return p, nil
}

func (p *post) close() {
	p.cancel()
	p.wg.Wait()
}

// put hands a signal over. What is not one is passed over: it was checked when it came.
func (p *post) put(value []byte) {
	var s snapshot.Signal
	if json.Unmarshal(value, &s) == nil {
		p.box.Put(s)
	}
}

// follow hands over the signals that come.
func (p *post) follow(ctx context.Context, c *connector, rd topic.Reader) {
	defer rd.Close()
	for {
		recs, err := rd.Read(ctx, scanMax)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, topic.ErrClosed) {
				c.log.Error("signals are not read any more; restart the connector", "code", fault.Code(err), "error", err)
			}
			return
		}
		for i := range recs {
			if recs[i].Value != nil && bytes.HasPrefix(recs[i].Key, signalKey(p.name, "")) {
				p.put(recs[i].Value)
			}
		}
	}
}

// settled returns the tombstones of the signals whose effect the present batch's position knows.
func (p *post) settled(recs []topic.Record) []topic.Record {
	for _, s := range p.box.Taken() {
		recs = append(recs, topic.Record{Topic: SignalTopic, Timestamp: p.w.opt.Now().UnixMilli(), Key: signalKey(p.name, s.ID)})
	}
	return recs
}

// watch takes signals from a file whenever it has some: a JSON object a line. The file is moved aside first, so that a line that is
// written meanwhile is not lost, and removed when its signals are durable; after a crash in between they are taken again.
func (p *post) watch(ctx context.Context, c *connector, path string, every time.Duration) {
	taken := path + ".taken"
	for ctx.Err() == nil {
		if err := p.takeFile(ctx, c, path, taken); err != nil && ctx.Err() == nil {
			c.log.Warn("signal file", "path", path, "error", err)
		}
		_ = pause(ctx, every) // the loop looks
	}
}

func (p *post) takeFile(ctx context.Context, c *connector, path, taken string) error {
	if _, err := os.Stat(taken); errors.Is(err, os.ErrNotExist) {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		if err := os.Rename(path, taken); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(taken)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var s snapshot.Signal
		err := json.Unmarshal(line, &s)
		if err == nil {
			_, err = p.w.Signal(ctx, p.name, s)
		}
		var invalid *InvalidError
		switch {
		case err == nil:
		case errors.As(err, &invalid) || !fault.IsPermanent(err) && s.Type == "":
			c.log.Warn("line of the signal file is no signal", "path", path, "line", n, "error", err)
		default:
			return err // the file stays aside, and is read again
		}
	}
	if err := lines.Err(); err != nil {
		c.log.Warn("signal file has a line that is too long; what follows it is passed over", "path", path, "error", err)
	}
	return os.Remove(taken)
}
