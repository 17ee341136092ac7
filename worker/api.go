package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/transform"
)

// Error is the type of the package's sentinel errors.
type Error string

// Error implements error.
func (e Error) Error() string { return string(e) }

// What the management operations answer; compare with errors.Is.
const (
	ErrNotFound   Error = "not found"
	ErrExists     Error = "exists already"
	ErrNotStopped Error = "the connector is not in the STOPPED state"
)

// InvalidError is the error of a configuration that cannot be accepted. Nothing was changed.
type InvalidError struct {
	Problems []config.Problem
}

// Error lists the problems.
func (e *InvalidError) Error() string { return invalid(e.Problems).Error() }

// Info describes a connector. Config has its placeholders as written but may hold literal secrets: redact before showing.
type Info struct {
	Name   string
	Type   string
	Config map[string]string
	Tasks  []int
}

// PluginInfo names a plugin.
type PluginInfo struct {
	Name    string // the alias
	Class   string // the class name it is listed under
	Type    string // source, sink or transformation
	Version string
	Doc     string
	Keys    []config.Key // its own; Worker.Keys adds those that every connector has
}

// Validation is the judgement of a configuration.
type Validation struct {
	Keys     []config.Key
	Families []string // properties that come in any number, see [config.Unknown]
	Problems []config.Problem
}

// plugin finds the plugin for a class name: its alias, a full class name, or a class's simple name.
func (w *Worker) plugin(class string) (*source.Plugin, *sink.Plugin) {
	for i := range w.opt.Sources {
		if p := &w.opt.Sources[i]; answers(class, p.Name, p.Classes) {
			return p, nil
		}
	}
	for i := range w.opt.Sinks {
		if p := &w.opt.Sinks[i]; answers(class, p.Name, p.Classes) {
			return nil, p
		}
	}
	return nil, nil
}

func answers(class, alias string, classes []string) bool {
	return class == alias || slices.ContainsFunc(classes, func(c string) bool {
		return class == c || class == c[strings.LastIndexByte(c, '.')+1:]
	})
}

func (w *Worker) unknownClass(class string) string {
	var known []string
	for _, p := range w.Plugins() {
		if p.Type != "transformation" {
			known = append(known, p.Name, p.Class)
		}
	}
	text := "Failed to find any class that implements Connector and which name matches " + class
	if near := config.Nearest(class, known); near != "" {
		text += ": did you mean " + near + "?"
	}
	return text
}

// Plugins lists all plugins.
func (w *Worker) Plugins() []PluginInfo {
	var list []PluginInfo
	add := func(kind, name, doc string, classes []string, keys []config.Key) {
		class := name
		if len(classes) > 0 {
			class = classes[0]
		}
		list = append(list, PluginInfo{name, class, kind, w.opt.Version, doc, keys})
	}
	for _, p := range w.opt.Sources {
		add("source", p.Name, p.Doc, p.Classes, p.Keys)
	}
	for _, p := range w.opt.Sinks {
		add("sink", p.Name, p.Doc, p.Classes, p.Keys)
	}
	for _, p := range w.opt.Transforms {
		add("transformation", p.Name, p.Doc, p.Classes, p.Keys)
	}
	return list
}

// Keys returns the properties of a connector class, the common ones included; false if there is no such class.
func (w *Worker) Keys(class string) ([]config.Key, bool) {
	src, snk := w.plugin(class)
	var own []config.Key
	switch {
	case src != nil:
		own = slices.Concat(src.Keys, config.Keys(&sourceSettings{}), config.Keys(&snapshot.Config{}))
	case snk != nil:
		own = append(config.Keys(&sinkSettings{}), snk.Keys...)
	default:
		return nil, false
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Concat(own, config.CommonKeys()), func(k config.Key) bool {
		again := seen[k.Name]
		seen[k.Name] = true
		return again
	}), true
}

// checkCommon judges what every connector has.
func (w *Worker) checkCommon(props map[string]string) []config.Problem {
	var problems []config.Problem
	if name, ok := props["name"]; ok {
		if err := config.CheckName(name); err != nil {
			problems = append(problems, config.Problem{Key: "name", Message: err.Error()})
		}
	}
	return append(problems, transform.Check(props, w.opt.Transforms)...)
}

// Validate judges a configuration for a class, and if it has no mistake, asks the source's server whether it can serve it. It changes
// nothing there. ErrNotFound if there is no such class.
func (w *Worker) Validate(ctx context.Context, class string, props map[string]string) (Validation, error) {
	keys, ok := w.Keys(class)
	if !ok {
		return Validation{}, fmt.Errorf("plugin %s: %w", class, ErrNotFound)
	}
	problems := w.preflight(ctx, props["name"], props)
	return Validation{keys, w.families(class), slices.DeleteFunc(problems, func(p config.Problem) bool { return p.Note })}, nil
}

// preflightTimeout bounds the questions to a server about a configuration.
const preflightTimeout = 15 * time.Second

// preflight returns the mistakes of a configuration, and if there are none, what the source's server says to it.
func (w *Worker) preflight(ctx context.Context, name string, props map[string]string) []config.Problem {
	def, problems := w.define(props)
	if len(problems) > 0 || def.source == nil || def.source.Preflight == nil {
		return problems
	}
	resolved, problems := config.Resolve(props, w.opt.Providers)
	if len(problems) > 0 {
		return problems
	}
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	return def.source.Preflight(ctx, source.Setup{Connector: name, Props: resolved, Version: w.opt.Version, Logger: w.opt.Logger, Now: w.opt.Now})
}

// Preflight judges the configuration of a connector with the plugins of opt alone, without a log: its mistakes, and if there are none, what
// the source's server says to it. It changes nothing there.
func Preflight(ctx context.Context, opt Options, name string, props map[string]string) []config.Problem {
	w := &Worker{opt: opt}
	return w.preflight(ctx, name, props)
}

// Info describes a connector.
func (w *Worker) Info(name string) (Info, error) {
	c, err := w.find(name)
	if err != nil {
		return Info{}, err
	}
	return c.info(), nil
}

func (c *connector) info() Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := Info{Name: c.name, Type: c.def.kind(), Config: maps.Clone(c.stored.Config), Tasks: []int{}}
	for _, t := range c.tasks {
		i.Tasks = append(i.Tasks, t.id)
	}
	return i
}

// Status returns the state of a connector.
func (w *Worker) Status(name string) (Status, error) {
	c, err := w.find(name)
	if err != nil {
		return Status{}, err
	}
	return c.status(), nil
}

// Create makes a connector and starts it as state says. ErrExists, *InvalidError. It returns when the configuration is
// durable.
func (w *Worker) Create(ctx context.Context, name string, cfg map[string]string, state State) (Info, error) {
	info, created, err := w.upsert(ctx, name, cfg, state, false)
	if err == nil && !created {
		err = fmt.Errorf("connector %s: %w", name, ErrExists)
	}
	if err == nil {
		w.warnUnknown(name, cfg)
	}
	return info, err
}

// Put replaces the configuration of a connector, or makes one that runs, and restarts it. *InvalidError.
func (w *Worker) Put(ctx context.Context, name string, cfg map[string]string) (Info, bool, error) {
	info, created, err := w.upsert(ctx, name, cfg, Running, true)
	if err == nil {
		w.warnUnknown(name, cfg)
	}
	return info, created, err
}

// warnUnknown logs the properties of a configuration that nobody knows: like Kafka Connect we take them, but not silently.
func (w *Worker) warnUnknown(name string, cfg map[string]string) {
	keys, _ := w.Keys(cfg["connector.class"])
	for _, p := range config.Unknown(cfg, keys, w.families(cfg["connector.class"])...) {
		w.opt.Logger.Warn(p.Message, "connector", name, "property", p.Key)
	}
}

// families are the properties of connectors of a class that come in any number, see [config.Unknown].
func (w *Worker) families(class string) []string {
	list := append(source.ColumnFamilies(), snapshot.OverrideFamily)
	if src, _ := w.plugin(class); src != nil {
		list = append(list, src.Families...)
	}
	return list
}

// Apply makes a connector be as a configuration file says: it is created with the state, or updated if its
// configuration differs; the state of one that exists is kept.
func (w *Worker) Apply(ctx context.Context, name string, cfg map[string]string, state State) error {
	if c, err := w.find(name); err == nil {
		c.mu.Lock()
		same := maps.Equal(c.stored.Config, named(name, cfg))
		c.mu.Unlock()
		if same {
			return nil
		}
	}
	_, _, err := w.upsert(ctx, name, cfg, state, true)
	return err
}

func named(name string, cfg map[string]string) map[string]string {
	cfg = maps.Clone(cfg)
	cfg["name"] = name
	return cfg
}

// upsert creates the connector, or updates it if replace says so; otherwise an existing one is left as it is.
func (w *Worker) upsert(ctx context.Context, name string, cfg map[string]string, state State, replace bool) (Info, bool, error) {
	cfg = named(name, cfg)
	if _, problems := w.define(cfg); len(problems) > 0 {
		return Info{}, false, &InvalidError{problems}
	}
	if state == "" {
		state = Running
	}
	for {
		w.mu.Lock()
		c, created := w.connectors[name], false
		if c == nil {
			c, created = w.newConnector(name, stored{cfg, state}), true
			c.op <- struct{}{} // nobody else knows it yet
			w.connectors[name] = c
		}
		w.mu.Unlock()
		if created {
			return w.commit(ctx, c, stored{cfg, state}, true)
		}
		if !replace {
			return Info{}, false, nil
		}
		if err := c.lock(ctx); err != nil {
			return Info{}, false, err
		}
		if again, err := w.find(name); err != nil || again != c { // deleted meanwhile
			c.unlock()
			continue
		}
		c.mu.Lock()
		s := stored{cfg, c.stored.State}
		c.mu.Unlock()
		return w.commit(ctx, c, s, false)
	}
}

// commit makes s durable, lets the connector, which is locked, be as it says, and unlocks it.
func (w *Worker) commit(ctx context.Context, c *connector, s stored, created bool) (Info, bool, error) {
	if err := w.store.put(ctx, c.name, s); err != nil {
		if created {
			w.forget(c)
		}
		c.unlock()
		return Info{}, false, err
	}
	var info Info
	err := c.settle(ctx, func() {
		c.define(s)
		c.launch()
		info = c.info()
	})
	if err != nil { // info is still to come
		return Info{}, false, err
	}
	return info, created, nil
}

func (w *Worker) forget(c *connector) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.connectors[c.name] == c {
		delete(w.connectors, c.name)
	}
}

func (w *Worker) isRunning() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}

// change finds a connector, locks it and calls f; a connector that was deleted meanwhile is not found. If f returns a
// function, the connector's tasks are ended, and it is called then. When ctx is done change returns its error, and what
// could not be waited for happens later.
func (w *Worker) change(ctx context.Context, name string, f func(c *connector) (then func(), err error)) error {
	c, err := w.find(name)
	if err != nil {
		return err
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	if again, err := w.find(name); err != nil || again != c {
		c.unlock()
		return fmt.Errorf("connector %s: %w", name, ErrNotFound)
	}
	then, err := f(c)
	if err != nil || then == nil {
		c.unlock()
		return err
	}
	return c.settle(ctx, then)
}

// Delete stops a connector and removes it. Its offsets are kept.
func (w *Worker) Delete(ctx context.Context, name string) error {
	return w.change(ctx, name, func(c *connector) (func(), error) {
		if err := w.store.remove(ctx, name); err != nil {
			return nil, err
		}
		return func() { w.forget(c) }, nil
	})
}

// SetState makes a connector run, pause or stop, durably. It returns when the tasks have ended, or were started.
func (w *Worker) SetState(ctx context.Context, name string, state State) error {
	return w.change(ctx, name, func(c *connector) (func(), error) {
		c.mu.Lock()
		s := c.stored
		c.mu.Unlock()
		if s.State == state {
			return nil, nil
		}
		s.State = state
		if err := w.store.put(ctx, name, s); err != nil {
			return nil, err
		}
		return func() {
			c.define(s)
			c.launch()
		}, nil
	})
}

// Restart starts a connector anew: all of it, with onlyFailed only if it or one of its tasks has failed. The status it
// returns shows what is being restarted as RESTARTING.
func (w *Worker) Restart(ctx context.Context, name string, includeTasks, onlyFailed bool) (Status, error) {
	var s Status
	err := w.change(ctx, name, func(c *connector) (func(), error) {
		s = c.status()
		failed := s.State == Failed
		for i := range s.Tasks {
			again := includeTasks && s.State != Paused && (!onlyFailed || s.Tasks[i].State == Failed)
			failed = failed || again && s.Tasks[i].State == Failed
			if again {
				s.Tasks[i].State, s.Tasks[i].Trace = Restarting, ""
			}
		}
		if onlyFailed && !failed {
			return nil, nil
		}
		if s.State == Running || s.State == Failed {
			s.State = Restarting
		}
		return c.relaunch, nil
	})
	return s, err
}

// RestartTask starts one task anew. The tasks of a connector share nothing but their connector, which is restarted whole.
func (w *Worker) RestartTask(ctx context.Context, name string, id int) error {
	return w.change(ctx, name, func(c *connector) (func(), error) {
		if s := c.status(); id < 0 || id >= len(s.Tasks) {
			return nil, fmt.Errorf("task %s-%d: %w", name, id, ErrNotFound)
		}
		return c.relaunch, nil
	})
}

// relaunch starts the connector as it is. It is locked, and nothing runs.
func (c *connector) relaunch() {
	c.mu.Lock()
	s := c.stored
	c.mu.Unlock()
	c.define(s)
	c.launch()
}

// Offsets returns where a connector stands.
func (w *Worker) Offsets(name string) ([]offsets.Offset, error) {
	if _, err := w.find(name); err != nil {
		return nil, err
	}
	return w.offsets.All(name), nil
}

// AlterOffsets sets positions of a connector that is STOPPED; a nil position resets its origin.
func (w *Worker) AlterOffsets(ctx context.Context, name string, list []offsets.Offset) error {
	return w.change(ctx, name, func(c *connector) (func(), error) {
		if err := c.stopped(); err != nil {
			return nil, err
		}
		var recs []topic.Record
		for i, o := range list {
			if c.definition().sink != nil {
				p, err := alteredPosition(o)
				if err != nil {
					return nil, err
				}
				list[i].Position = p
			}
			recs = append(recs, w.offsets.Record(name, o.Origin, list[i].Position))
		}
		if err := w.opt.Log.Append(ctx, recs); err != nil {
			return nil, err
		}
		for _, o := range list {
			w.offsets.Applied(name, o.Origin, o.Position)
		}
		return nil, nil
	})
}

// alteredPosition marks an operator's position, so that it counts for more than a target's ledger. A reset is offset 0.
func alteredPosition(o offsets.Offset) (change.Position, error) {
	if _, _, err := offsets.ParseLane(o.Origin); err != nil {
		return nil, err
	}
	var p offsets.LogPosition
	if o.Position != nil {
		var err error
		if p, err = offsets.ParseLogPosition(o.Position); err != nil {
			return nil, err
		}
	}
	p.Epoch, p.Altered = 0, true
	return p.Position(), nil
}

func (c *connector) stopped() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stored.State != Stopped {
		return fmt.Errorf("connector %s: %w", c.name, ErrNotStopped)
	}
	return nil
}

// ResetOffsets forgets all positions of a connector that is STOPPED: a source starts with a new snapshot, a sink reads
// its topics from the beginning.
func (w *Worker) ResetOffsets(ctx context.Context, name string) error {
	var list []offsets.Offset
	err := w.change(ctx, name, func(c *connector) (func(), error) {
		if err := c.stopped(); err != nil {
			return nil, err
		}
		if c.definition().sink == nil {
			return nil, w.offsets.Reset(ctx, name)
		}
		for _, o := range w.offsets.All(name) {
			list = append(list, offsets.Offset{Origin: o.Origin})
		}
		return nil, nil
	})
	if err != nil || len(list) == 0 {
		return err
	}
	return w.AlterOffsets(ctx, name, list)
}

// Topics returns the topics that a connector reads or has written to, sorted.
func (w *Worker) Topics(ctx context.Context, name string) ([]string, error) {
	c, err := w.find(name)
	if err != nil {
		return nil, err
	}
	list, err := w.opt.Log.Topics(ctx)
	if err != nil {
		return nil, err
	}
	def, names := c.definition(), []string{}
	c.mu.Lock()
	prefix := c.stored.Config["topic.prefix"] + "."
	c.mu.Unlock()
	for _, info := range list {
		if def.sink != nil && def.follows(info.Name) || def.source != nil && strings.HasPrefix(info.Name, prefix) {
			names = append(names, info.Name)
		}
	}
	return names, nil
}

// Judge validates a configuration with the plugins of opt alone, without a log; false if its class is unknown.
func Judge(opt Options, props map[string]string) (Validation, bool) {
	w := &Worker{opt: opt}
	keys, known := w.Keys(props["connector.class"])
	_, problems := w.define(props)
	return Validation{keys, w.families(props["connector.class"]), problems}, known
}
