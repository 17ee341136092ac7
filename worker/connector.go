package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// connector is one connector: its definition and, while it runs, its tasks.
type connector struct {
	w    *Worker
	name string
	log  *slog.Logger

	op chan struct{} // full while somebody changes the connector: one operation at a time

	mu     sync.Mutex // guards what follows, never held across I/O
	stored stored
	def    *definition
	err    error // why the connector itself cannot run
	tasks  []*task
	cancel context.CancelFunc // of the present run; nil: none
	done   chan struct{}      // closed when the present run has ended
}

// definition is what a configuration says, as far as it can be known without its secrets.
type definition struct {
	class  string
	source *source.Plugin
	sink   *sink.Plugin
	topics map[string]bool // sink: topics
	regex  *regexp.Regexp  // sink: topics.regex
	tasks  int
}

// follows reports whether a sink reads the topic. Internal topics are nobody's.
func (d *definition) follows(name string) bool {
	if strings.HasPrefix(name, internalPrefix) {
		return false
	}
	return d.topics[name] || d.regex != nil && d.regex.MatchString(name)
}

const internalPrefix = "__tailrace_"

func (d *definition) kind() string {
	switch {
	case d.source != nil:
		return "source"
	case d.sink != nil:
		return "sink"
	}
	return "unknown"
}

// define reads a configuration. The definition is usable as far as it goes also when there are problems.
func (w *Worker) define(props map[string]string) (*definition, []config.Problem) {
	d := &definition{class: props["connector.class"], tasks: 1}
	var problems []config.Problem
	d.source, d.sink = w.plugin(d.class)
	if d.source != nil {
		problems = d.source.Check(props)
		for _, p := range slices.Concat(config.Decode(props, &sourceSettings{}), snapshot.Check(props)) {
			if !slices.Contains(problems, p) { // the plugin may judge the same property
				problems = append(problems, p)
			}
		}
		if w.opt.CheckFormat != nil {
			problems = append(problems, w.opt.CheckFormat(props)...)
		}
	} else if d.sink != nil {
		problems = append(d.sink.Check(props), d.parseSink(props)...)
	} else if d.class == "" {
		problems = append(problems, config.Problem{Key: "connector.class", Message: "is required and has no default"})
	} else {
		problems = append(problems, config.Problem{Key: "connector.class", Message: w.unknownClass(d.class)})
	}
	return d, append(problems, w.checkCommon(props)...)
}

// sinkSettings are the properties of a sink connector that the worker itself obeys.
type sinkSettings struct {
	Topics     []string `cfg:"topics" doc:"the topics to read"`
	Regex      string   `cfg:"topics.regex" doc:"a Java or RE2 regular expression that the names of the topics to read match as a whole"`
	Tasks      int      `cfg:"tasks.max" default:"1" min:"1" max:"1000" doc:"tasks among which the partitions are divided"`
	Tolerance  string   `cfg:"errors.tolerance" default:"none" oneof:"none,all" doc:"all: rows that the target can never take are passed over, or become dead letters; none: they fail the task"`
	DeadLetter string   `cfg:"errors.deadletterqueue.topic.name" doc:"the topic for rows that the target can never take"`
	MaxRetries int      `cfg:"errors.max.retries" default:"-1" min:"-1" doc:"how often a failure is tried again without progress; -1: without end"`
	From       string   `cfg:"consumer.override.auto.offset.reset" default:"earliest" oneof:"earliest,latest" doc:"where a topic is begun that has no offset yet"`
}

func (d *definition) parseSink(props map[string]string) []config.Problem {
	var set sinkSettings
	problems := config.Decode(props, &set)
	d.tasks = max(1, set.Tasks)
	d.topics = map[string]bool{}
	for _, t := range set.Topics {
		d.topics[t] = true
	}
	switch {
	case set.Regex == "" && len(set.Topics) == 0:
		problems = append(problems, config.Problem{Key: "topics", Message: "a sink needs topics or topics.regex"})
	case set.Regex != "" && len(set.Topics) > 0:
		problems = append(problems, config.Problem{Key: "topics.regex", Message: "topics and topics.regex exclude each other"})
	case set.Regex != "":
		re, err := regexp.Compile("^(?:" + set.Regex + ")$")
		if err != nil {
			problems = append(problems, config.Problem{Key: "topics.regex", Message: err.Error()})
		}
		d.regex = re
	}
	if set.DeadLetter != "" && d.follows(set.DeadLetter) {
		problems = append(problems, config.Problem{Key: "errors.deadletterqueue.topic.name",
			Message: "the connector would read its own dead letters: choose a name outside of topics and topics.regex"})
	}
	return problems
}

func (w *Worker) newConnector(name string, s stored) *connector {
	c := &connector{w: w, name: name, log: w.opt.Logger.With("connector", name), op: make(chan struct{}, 1)}
	c.define(s)
	return c
}

// define takes a new definition over. The connector must not be running.
func (c *connector) define(s stored) {
	def, problems := c.w.define(s.Config)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored, c.def, c.err, c.tasks = s, def, nil, nil
	if len(problems) > 0 {
		c.err = invalid(problems)
		return
	}
	if s.State != Stopped {
		for id := range def.tasks {
			t := newTask(id)
			if s.State == Paused {
				t.state = Paused
			}
			c.tasks = append(c.tasks, t)
		}
	}
}

func (c *connector) definition() *definition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.def
}

// lock waits for its turn to change the connector, until ctx is done.
func (c *connector) lock(ctx context.Context) error {
	select {
	case c.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another operation on connector %s is still under way: %w", c.name, ctx.Err())
	}
}

func (c *connector) unlock() { <-c.op }

// settle ends the present run, calls then, and gives back the lock, which the caller holds. A task may hang, as in a call
// that does not end when it is told to: when ctx is done settle returns its error, and all of that happens when the task
// has ended. Whoever locks the connector next, Run at its end too, waits for it.
func (c *connector) settle(ctx context.Context, then func()) error {
	settled := make(chan struct{})
	go func() {
		c.halt()
		then()
		c.unlock()
		close(settled)
	}()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the tasks of connector %s have been told to end and have not ended yet; the rest of the operation follows when they have: %w", c.name, ctx.Err())
	}
}

// halt ends the present run, if there is one, and waits for it. c is locked.
func (c *connector) halt() {
	c.mu.Lock()
	cancel, done := c.cancel, c.done
	c.cancel, c.done = nil, nil
	c.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// launch starts the tasks if Run is under way and the target state is RUNNING. c is locked and nothing runs. The tasks
// end by halt alone, which Run calls for every connector before it returns.
func (c *connector) launch() {
	running := c.w.isRunning()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !running || c.stored.State != Running {
		return
	}
	if c.err != nil {
		c.log.Error("connector failed", "code", fault.Code(c.err), "error", c.err)
		return
	}
	run, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	var wg sync.WaitGroup
	def, props := c.def, maps.Clone(c.stored.Config)
	for _, t := range c.tasks {
		wg.Go(func() { c.supervise(run, t, def, props) })
	}
	done := c.done
	go func() {
		wg.Wait()
		close(done)
	}()
}

// supervise runs one task until ctx is done or it failed for good. Retryable failures are tried again after a pause
// that grows from one to the next as long as the task does not advance.
func (c *connector) supervise(ctx context.Context, t *task, def *definition, props map[string]string) {
	log := c.log.With("task", t.id)
	log.Info("task starts")
	var set sinkSettings
	config.Decode(props, &set)
	for n := 0; ; n++ {
		before := t.batches.Load()
		err := c.attempt(ctx, t, def, props)
		if ctx.Err() != nil {
			t.set(Unassigned, nil)
			log.Info("task stopped")
			return
		}
		if t.batches.Load() != before {
			n = 0
		}
		if set.MaxRetries >= 0 && n >= set.MaxRetries && !fault.IsPermanent(err) {
			err = fault.Permanent("RETRIES_EXHAUSTED", "mend the cause and restart the connector", err)
		}
		if fault.IsPermanent(err) { // Invariant 7
			t.set(Failed, err)
			log.Error("task failed", "code", fault.Code(err), "error", err)
			return
		}
		d := c.w.backoff(n)
		t.retries.Add(1)
		t.set(Restarting, err)
		log.Warn("task will be retried", "in", d.Round(time.Millisecond), "error", err)
		if pause(ctx, d) != nil {
			t.set(Unassigned, nil)
			return
		}
	}
}

// attempt is one run of a task, with its secrets read anew. A panic becomes a permanent failure.
func (c *connector) attempt(ctx context.Context, t *task, def *definition, props map[string]string) (err error) {
	defer recovered(&err)
	resolved, problems := config.Resolve(props, c.w.opt.Providers)
	if len(problems) > 0 {
		return invalid(problems)
	}
	if def.source != nil {
		return c.w.runSource(ctx, c, t, def, resolved)
	}
	return c.w.runSink(ctx, c, t, def, resolved)
}

// recovered, when deferred, turns a panic into a permanent error: one bad packet stops one connector.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fault.Permanentf("PANIC", "report this with the log", "panic: %v\n%s", r, debug.Stack())
	}
}

func (c *connector) status() Status {
	c.mu.Lock()
	s := Status{Name: c.name, Type: c.def.kind(), State: c.stored.State, Worker: c.w.opt.ID}
	if c.err != nil && s.State == Running {
		s.State, s.Code, s.Trace = Failed, fault.Code(c.err), c.err.Error()
	}
	tasks := slices.Clone(c.tasks)
	c.mu.Unlock()
	for _, t := range tasks {
		s.Tasks = append(s.Tasks, t.status())
	}
	return s
}

func (w *Worker) find(name string) (*connector, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.connectors[name]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("connector %s: %w", name, ErrNotFound)
}
