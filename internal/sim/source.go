package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// A Source captures all tables of a DB. One DB outlives many sources, as a database outlives its connector.
type Source struct {
	db *DB

	mu     sync.Mutex
	stream *stream
}

var (
	_ source.Source    = (*Source)(nil)
	_ snapshot.Scanner = (*Source)(nil)
	_ snapshot.Fetcher = (*Source)(nil)
)

// Source opens the database for one run of a connector.
func (db *DB) Source() *Source { return &Source{db: db} }

// position is where a stream stands: the end of a transaction, and how many of its events are behind us if not all.
type position struct {
	LSN uint64 `json:"lsn"`
	Ord int    `json:"ord,omitempty"`
}

func (p position) bytes() change.Position {
	return fmt.Appendf(nil, `{"lsn":%d,"ord":%d}`, p.LSN, p.Ord)
}

func parse(p change.Position) (position, error) {
	var out position
	err := json.Unmarshal(p, &out)
	return out, err
}

// Stream implements source.Source. The first stream makes the slot, which waits for commits that are under way.
func (s *Source) Stream(ctx context.Context, from change.Position) (source.Stream, error) {
	db := s.db
	db.mu.Lock()
	defer db.mu.Unlock()
	st := &stream{db: db, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	switch {
	case len(from) > 0:
		p, err := parse(from)
		if err != nil {
			return nil, fault.Permanent("POSITION_INVALID", "reset the connector's offsets", err)
		}
		if p.LSN < db.slot {
			return nil, fault.Permanentf("POSITION_GAP", "copy the tables again", "slot is at %d, after %d", db.slot, p.LSN)
		}
		st.at = p
		db.showUpTo(p.LSN)
	case db.slot == 0:
		db.showUpTo(db.lsn)
		db.slot, db.start = db.lsn, db.lsn
		for _, t := range db.tables {
			rows := map[string]change.Row{}
			for k, r := range t.rows {
				rows[k] = r
			}
			db.initial = append(db.initial, rows)
		}
		st.at = position{LSN: db.slot}
	default:
		st.at = position{LSN: db.slot}
	}
	st.told = st.at
	s.mu.Lock()
	s.stream = st
	s.mu.Unlock()
	return st, nil
}

// showUpTo waits for the commits up to a place in the log that snapshots don't see yet.
func (db *DB) showUpTo(lsn uint64) {
	for _, c := range db.clients {
		if c.pending && c.x.end <= lsn {
			db.show(c)
		}
	}
}

// Close implements source.Source.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		return s.stream.Close()
	}
	return nil
}

type stream struct {
	db       *DB
	at       position // what was given out
	told     position // the last Resume
	prompted bool
	final    bool // the position was told after the clients had stopped
	wake     chan struct{}
	once     sync.Once
	closed   chan struct{}
}

var _ source.Prompter = (*stream)(nil)

// Read implements source.Stream. Each call moves the world on by a few steps chosen by the seed.
func (s *stream) Read(ctx context.Context, b *change.Batch) error {
	for {
		if s.db.cfg.Settle != nil {
			s.db.cfg.Settle()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.turn(b) {
			return nil
		}
		s.db.mu.Lock()
		idle := s.db.quiet() && len(s.db.gates) == 0 && !s.prompted && s.final && s.drained()
		changed := s.db.changed
		s.db.mu.Unlock()
		if !idle {
			continue
		}
		select {
		case <-s.wake:
		case <-changed:
		case <-s.closed:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// turn does one thing and reports whether b has an answer.
func (s *stream) turn(b *change.Batch) bool {
	db := s.db
	db.mu.Lock()
	defer db.mu.Unlock()
	switch db.rng.IntN(4) {
	case 0:
		if !db.quiet() {
			db.step()
		}
		return false
	case 1:
		if n := len(db.gates); n > 0 {
			g := db.gates[db.rng.IntN(n)]
			db.gates = slices.DeleteFunc(db.gates, func(x chan struct{}) bool { return x == g })
			close(g)
		}
		return false
	}
	if s.deliver(b) {
		return true
	}
	if s.prompted || db.quiet() && !s.final || s.at.LSN < db.lsn && db.rng.IntN(8) == 0 {
		s.prompted, s.final = false, db.quiet()
		s.at = position{LSN: db.lsn}
		s.answer(b)
		return true
	}
	return false
}

// deliver puts the next events in b, a random number of them, and never half a change of key.
func (s *stream) deliver(b *change.Batch) bool {
	db := s.db
	most := 1 + db.rng.IntN(db.cfg.MaxBatch)
	for _, x := range db.log {
		done := s.done(x)
		for done < len(x.events) && (len(b.Events) < most || pair(x, done)) {
			b.CopyEvent(&x.events[done]).Seen = int64(db.lsn)
			done++
			s.at = position{LSN: x.end, Ord: done}
		}
		if done < len(x.events) {
			break
		}
		if s.at.LSN == x.end {
			s.at.Ord = 0
		}
		if len(b.Events) >= most {
			break
		}
	}
	if len(b.Events) == 0 {
		return false
	}
	s.answer(b)
	return true
}

// done returns how many events of x are behind the stream.
func (s *stream) done(x *txn) int {
	switch {
	case x.end < s.at.LSN || x.end == s.at.LSN && s.at.Ord == 0:
		return len(x.events)
	case x.end == s.at.LSN:
		return s.at.Ord
	}
	return 0
}

// drained reports whether everything in the log was delivered.
func (s *stream) drained() bool {
	n := len(s.db.log)
	return n == 0 || s.done(s.db.log[n-1]) == len(s.db.log[n-1].events)
}

// pair reports whether event i belongs to the one before it.
func pair(x *txn, i int) bool {
	return i > 0 && x.events[i].Op == change.OpCreate && x.events[i-1].Op == change.OpDelete
}

func (s *stream) answer(b *change.Batch) {
	s.told = s.at
	b.Origin = origin.Name
	b.Resume = s.at.bytes()
}

// Prompt implements source.Prompter.
func (s *stream) Prompt() {
	s.db.mu.Lock()
	s.prompted = true
	s.db.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Ack implements source.Stream: the slot moves to the last whole transaction before p.
func (s *stream) Ack(ctx context.Context, p change.Position) error {
	at, err := parse(p)
	if err != nil {
		return err
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if at.Ord > 0 {
		for i, x := range s.db.log {
			if x.end == at.LSN && i > 0 {
				at = position{LSN: max(s.db.slot, s.db.log[i-1].end)}
			}
		}
		if at.Ord > 0 {
			return nil
		}
	}
	if at.LSN > s.told.LSN {
		return fmt.Errorf("sim: %d was acknowledged and never delivered", at.LSN)
	}
	s.db.slot = max(s.db.slot, at.LSN)
	return nil
}

// Close implements source.Stream.
func (s *stream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Tables implements snapshot.Scanner.
func (s *Source) Tables(context.Context) ([]*change.Table, error) { return s.db.Tables(), nil }

// Fetch implements snapshot.Fetcher.
func (s *Source) Fetch(_ context.Context, t *change.Table, keys [][]byte, b *change.Batch) ([]change.Row, snapshot.Window, error) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	w := &window{db: s.db, seen: s.db.seen}
	rows := make([]change.Row, len(keys))
	for i, key := range keys {
		rows[i] = b.CopyRow(s.db.find(t).rows[string(key)])
	}
	if !s.db.quiet() {
		s.db.step()
	}
	return rows, w, nil
}

// window sees the transactions that were visible when the snapshot was taken; it is passed at a log position that was
// taken after the read.
type window struct {
	db   *DB
	seen uint64
	high uint64
	cut  bool
}

var _ snapshot.Shortened = (*window)(nil)

// Shortened implements snapshot.Shortened.
func (w *window) Shortened() bool { return w.cut }

// Side implements snapshot.Window.
func (w *window) Side(e *change.Event) snapshot.Side {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	x := w.db.byXid[e.Txn]
	switch {
	case x.visible != 0 && x.visible <= w.seen:
		return snapshot.Before
	case e.LSN > w.high:
		return snapshot.After
	}
	return snapshot.Inside
}

// Passed implements snapshot.Window.
func (w *window) Passed(p change.Position) bool {
	at, err := parse(p)
	return err == nil && at.Ord == 0 && at.LSN >= w.high
}

// Scan implements snapshot.Scanner. Between its steps the clients and the stream go on.
func (s *Source) Scan(ctx context.Context, ct *change.Table, after []byte, limit int, b *change.Batch) (snapshot.Window, error) {
	db := s.db
	if err := db.pause(ctx); err != nil {
		return nil, err
	}
	db.mu.Lock()
	t := db.find(ct)
	w := &window{db: db, seen: db.seen}
	var keys []string
	for k := range t.rows {
		if k > string(after) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	keys = keys[:min(len(keys), limit)]
	rows := make([]change.Row, len(keys))
	for i, k := range keys {
		rows[i] = t.rows[k]
	}
	db.mu.Unlock()
	if err := db.pause(ctx); err != nil {
		return nil, err
	}
	for i, k := range keys {
		if w.cut = b.Size() >= snapshot.ChunkBytes; w.cut {
			break
		}
		e := b.Add()
		e.Table, e.Op, e.Topic = t.Table, change.OpRead, t.topic
		e.Key = b.Copy(t.eventKey(k))
		e.After = b.CopyRow(rows[i])
	}
	db.mu.Lock()
	w.high = db.lsn
	db.scans = append(db.scans, ScanCall{t.Name.String(), string(after), len(b.Events)})
	db.mu.Unlock()
	return w, db.pause(ctx)
}

// pause holds a scan until the schedule lets it go, or until everyone waits for it.
func (db *DB) pause(ctx context.Context) error {
	g := make(chan struct{})
	db.mu.Lock()
	db.gates = append(db.gates, g)
	db.mu.Unlock()
	timer := time.NewTimer(time.Millisecond)
	defer timer.Stop()
	var err error
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.gates = slices.DeleteFunc(db.gates, func(x chan struct{}) bool { return x == g })
	if err == nil {
		for range db.rng.IntN(4) {
			if !db.quiet() {
				db.step()
			}
		}
	}
	return err
}
