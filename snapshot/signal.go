package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/tailrace/tailrace/change"
)

// A Signal asks a connector for something while it runs, in Debezium's form.
type Signal struct {
	ID   string          `json:"id"`
	Type string          `json:"type"` // execute-snapshot, pause-snapshot, resume-snapshot, stop-snapshot, log
	Data json.RawMessage `json:"data,omitempty"`
}

// CheckSignal says what is wrong with a signal, nil if nothing is.
func CheckSignal(s Signal) error {
	switch s.Type {
	case "execute-snapshot", "pause-snapshot", "resume-snapshot", "stop-snapshot", "log":
	default:
		return fmt.Errorf("signal type %q is not one of execute-snapshot, pause-snapshot, resume-snapshot, stop-snapshot, log", s.Type)
	}
	d, err := s.data()
	if err != nil {
		return err
	}
	if s.Type == "execute-snapshot" && len(d.Collections) == 0 {
		return fmt.Errorf("execute-snapshot needs data-collections: the tables to copy, as regular expressions on schema.table")
	}
	return nil
}

// signalData is what the data of a signal may hold.
type signalData struct {
	Collections []string `json:"data-collections"`
	Type        string   `json:"type"`
	Conditions  []struct {
		Table  string `json:"data-collection"`
		Filter string `json:"filter"`
	} `json:"additional-conditions"`
	Surrogate string `json:"surrogate-key"`
	Message   string `json:"message"`

	tables []*regexp.Regexp
}

// data reads and checks the data of a signal. It may be an object or a string that holds one.
func (s Signal) data() (d signalData, err error) {
	raw := []byte(s.Data)
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = []byte(text)
	}
	if len(strings.TrimSpace(string(raw))) > 0 {
		if err := json.Unmarshal(raw, &d); err != nil {
			return d, fmt.Errorf("data of signal %s is not an object with data-collections, type, additional-conditions, surrogate-key: %w", s.Type, err)
		}
	}
	switch d.Type = strings.ToLower(d.Type); d.Type {
	case "":
		d.Type = "incremental"
	case "incremental", "blocking":
	default:
		return d, fmt.Errorf("snapshot type %q is not one of incremental, blocking", d.Type)
	}
	for _, c := range d.Collections {
		re, err := regexp.Compile("^(?:" + c + ")$")
		if err != nil {
			return d, fmt.Errorf("data-collections: %q: %w", c, err)
		}
		d.tables = append(d.tables, re)
	}
	return d, nil
}

// matches reports whether a table is meant.
func (d *signalData) matches(name change.TableName) bool {
	return slices.ContainsFunc(d.tables, func(re *regexp.Regexp) bool {
		return re.MatchString(name.String()) || re.MatchString(name.Database+"."+name.String())
	})
}

// filter returns the condition for a table, "" if there is none.
func (d *signalData) filter(name change.TableName) string {
	for _, c := range d.Conditions {
		if c.Table == name.String() {
			return c.Filter
		}
		if re, err := regexp.Compile("^(?:" + c.Table + ")$"); err == nil && re.MatchString(name.String()) {
			return c.Filter
		}
	}
	return ""
}

// signalOf reads the signal in a row that was inserted into the table of signals.
func signalOf(e *change.Event) (s Signal, ok bool) {
	text := func(name string, at int) string {
		i := e.Table.Column(name)
		if i < 0 {
			i = at
		}
		if i >= len(e.After) || e.After[i].Kind != change.Text {
			return ""
		}
		return string(e.After[i].Data)
	}
	s = Signal{ID: text("id", 0), Type: text("type", 1), Data: json.RawMessage(text("data", 2))}
	return s, s.Type != ""
}

// A Mailbox hands signals to a running copy. It is safe for concurrent use. A nil Mailbox is always empty.
type Mailbox struct {
	mu     sync.Mutex
	list   []Signal
	taken  []Signal
	prompt func()
}

// Put adds a signal. It does not block; the signal is taken when the connector reads next.
func (m *Mailbox) Put(s Signal) {
	m.mu.Lock()
	m.list = append(m.list, s)
	prompt := m.prompt
	m.mu.Unlock()
	if prompt != nil {
		prompt()
	}
}

// Taken returns the signals whose effect is part of the Resume that Read returned last, each once.
func (m *Mailbox) Taken() []Signal {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.taken
	m.taken = nil
	return taken
}

func (m *Mailbox) attach(prompt func()) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prompt = prompt
}

func (m *Mailbox) take() []Signal {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.taken = append(m.taken, list...)
	m.list = nil
	return list
}

// signals is what the weave knows of the table of signals.
type signals struct {
	here bool // the events that are looked at are of the table of signals
}

// take applies the signals in the mailbox, once a position is known that can tell of them.
func (w *weave) take(ctx context.Context) error {
	if w.resume == nil {
		return nil
	}
	for _, s := range w.o.Signals.take() {
		if err := w.apply(ctx, s); err != nil {
			return err
		}
		w.dirty = true
	}
	if g, ok := w.scanner.(Grower); ok {
		if grown := g.Grown(); w.o.Config.copies() {
			return w.grow(ctx, grown)
		}
	}
	return nil
}

// grow copies the tables that have come into capture, those that were made again once more.
func (w *weave) grow(ctx context.Context, tables []Growth) error {
	if len(tables) == 0 {
		return nil
	}
	if err := w.refresh(ctx); err != nil {
		return err
	}
	for _, g := range tables {
		if t := w.byName[g.Table]; g.Remade && t != nil && !t.held && !t.untouched() {
			w.jobs++
			w.readmit(t, &job{ID: "made again", Type: "incremental", Seq: w.jobs})
		}
	}
	w.progressed()
	w.dirty = true
	return nil
}

// apply does what a signal asks for. A signal that can't be obeyed is logged; it is no failure of the connector.
func (w *weave) apply(ctx context.Context, s Signal) error {
	if err := CheckSignal(s); err != nil {
		w.log.Warn("signal is not understood", "id", s.ID, "error", err)
		return nil
	}
	d, _ := s.data() // CheckSignal has read it
	w.log.Info("signal", "id", s.ID, "type", s.Type, "tables", d.Collections)
	switch s.Type {
	case "log":
		w.log.Info(strings.ReplaceAll(d.Message, "{}", string(w.resume)), "signal", s.ID)
	case "pause-snapshot", "resume-snapshot":
		if pause := s.Type == "pause-snapshot"; pause != w.paused {
			if w.paused = pause; pause {
				w.since = w.now()
			} else {
				w.pauses += w.now().Sub(w.since)
			}
			w.notes.say(w, incrementalSnapshot, map[bool]string{true: "PAUSED", false: "RESUMED"}[pause],
				map[string]string{"data_collections": w.collections(incrementalSnapshot)})
		}
	case "stop-snapshot":
		w.stop(d)
	case "execute-snapshot":
		return w.execute(ctx, s.ID, d)
	}
	w.progressed()
	return nil
}

// stop ends the copy of the tables that are meant, all if none is named. What was sent stays.
func (w *weave) stop(d signalData) {
	for _, t := range w.tables {
		if t.over() || len(d.tables) > 0 && !d.matches(t.table.Name) {
			continue
		}
		w.discard(t)
		w.notes.scanned(w, t, "STOPPED")
		aggregate, _ := t.aggregate()
		w.notes.say(w, aggregate, "ABORTED", map[string]string{"data_collections": t.name})
		w.end(t)
		t.stopped = true
	}
}

// execute begins ad-hoc snapshots of the tables that are meant.
func (w *weave) execute(ctx context.Context, id string, d signalData) error {
	if w.scanner == nil {
		w.log.Warn("signal can't be obeyed: this source has no rows to copy", "id", id)
		return nil
	}
	if err := w.refresh(ctx); err != nil {
		return err
	}
	w.jobs++
	matched := false
	for _, t := range w.tables {
		if !d.matches(t.table.Name) {
			continue
		}
		matched = true
		if !t.over() {
			w.log.Warn("table is being copied already; the signal is not needed", "id", id, "table", t.name)
			continue
		}
		w.readmit(t, &job{ID: id, Type: d.Type, Filter: d.filter(t.table.Name), Surrogate: d.Surrogate, Seq: w.jobs})
	}
	if !matched {
		w.log.Warn("signal names no captured table", "id", id, "tables", d.Collections)
	}
	if w.reader == nil {
		w.started, w.since, w.pauses, w.copied = w.now(), w.now(), 0, 0
	}
	w.progressed()
	return nil
}

// readmit lets a table be copied again, from its beginning.
func (w *weave) readmit(t *tableState, j *job) {
	w.discard(t)
	t.after, t.cursor, t.rows, t.mark, t.sweep = nil, nil, 0, nil, nil
	t.done, t.held, t.stopped, t.failed, t.begun, t.ended = false, false, false, "", false, false
	t.limit, t.restarts, t.touched, t.job = min(firstRows, w.o.Config.rows(true)), 0, true, j
	t.loose = t.surrogate()
}

// surrogate reports whether the table's chunks follow a surrogate key: an update may move a row from one chunk to another then.
func (t *tableState) surrogate() bool { return t.job != nil && t.job.Surrogate != "" }
