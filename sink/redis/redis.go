package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// maxRun bounds the bytes of one run, by estimate; a single larger row goes alone.
const maxRun = 8 << 20

var (
	_ sink.Sink   = (*Sink)(nil)
	_ sink.Ledger = (*Sink)(nil)
)

// Sink writes rows into one Redis server.
type Sink struct {
	cfg    *Config
	format keyFormat
	base   string // what all keys of the connector's own begin with
	owner  string // names this Sink in the entries, so that an older one can be told
	now    func() time.Time
	client rueidis.Client
	write  script
	topics map[string]string // whose rows have keys of a prefix

	mu      sync.Mutex
	entries map[string]entry // what Redis holds for each origin, by all we know

	// The rest is Write's alone.
	conn     rueidis.DedicatedClient // for transactions; nil: none
	release  func()
	fold     sink.Fold // of the run
	keys     []byte    // the fold's keys
	size     int       // of the run's rows, by estimate
	oldest   uint64    // version in the run
	newest   uint64
	direct   direct
	enc      encoder
	rows     []int32 // index into fold.States of each row that the script gets
	rejected sink.Rejected
	table    *change.Table // prefix belongs to table and topic
	topic    string
	prefix   string
}

// An entry is what Redis holds for an origin: the position, and the mark, the newest version of all rows written.
type entry struct {
	mark     uint64
	position string
}

// text is the entry as it is stored: owner, mark and position, separated by spaces.
func (e entry) text(owner string) string {
	return owner + " " + strconv.FormatUint(e.mark, 10) + " " + e.position
}

func open(ctx context.Context, set sink.Setup) (sink.Sink, error) {
	cfg, problems := parse(set.Props)
	if len(problems) > 0 {
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the configuration of the connector", "%v", problems[0])
	}
	format, err := parseFormat(cfg.KeyFormat)
	if err != nil {
		return nil, err
	}
	options, err := cfg.client(set.Connector)
	if err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("connect to redis at %s: %w", options.InitAddress[0], refused(err))
	}
	s := &Sink{cfg: cfg, format: format, base: cfg.State + set.Connector, owner: rand.Text(), now: set.Now, client: client,
		write: writeJSON, entries: map[string]entry{}, topics: map[string]string{}}
	s.enc.limit = maxValue
	if cfg.Type == "hash" {
		s.write, s.enc.hash = writeHash, true
	}
	policy, err := s.inspect(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	if set.Logger != nil && policy != "" {
		lost := "rows and their versions"
		if strings.HasPrefix(policy, "volatile-") {
			lost = "the versions of deleted rows, and rows that have a ttl.ms,"
		}
		set.Logger.Warn("redis may evict "+lost+" when its memory is full: set maxmemory-policy to noeviction", "policy", policy)
	}
	return s, nil
}

// inspect refuses servers that the sink does not work with, and returns the eviction policy, "" if nothing is evicted.
func (s *Sink) inspect(ctx context.Context) (policy string, err error) {
	info, err := s.client.Do(ctx, s.client.B().Info().Build()).ToString()
	if err != nil {
		return "", fmt.Errorf("redis INFO: %w", refused(err))
	}
	fields := map[string]string{}
	for line := range strings.SplitSeq(info, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	if fields["cluster_enabled"] == "1" {
		return "", fault.Permanentf("REDIS_CLUSTER", "name a server that is not in cluster mode", "a Redis Cluster is not supported yet")
	}
	major, _, _ := strings.Cut(fields["redis_version"], ".")
	if n, err := strconv.Atoi(major); err == nil && n < 6 {
		return "", fault.Permanentf("REDIS_TOO_OLD", "use Redis 6.0 or later", "the server is Redis %s", fields["redis_version"])
	}
	if fields["maxmemory"] == "0" || fields["maxmemory_policy"] == "noeviction" {
		return "", nil
	}
	return fields["maxmemory_policy"], nil
}

// Close closes the connection. It is idempotent.
func (s *Sink) Close() error {
	s.hangUp()
	s.client.Close()
	return nil
}

// Committed returns the position that Redis holds for the origin, nil if none. From then on this Sink is the origin's
// owner: writes of older ones are refused there.
func (s *Sink) Committed(ctx context.Context, origin string) (change.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.claim(ctx, origin)
	if err != nil || e.position == "" {
		return nil, err
	}
	return change.Position(e.position), nil
}

func (s *Sink) claim(ctx context.Context, origin string) (e entry, err error) {
	text, err := claimScript.run(ctx, s.client, []string{s.base + ":" + origin}, []string{s.owner, s.cfg.Type}).ToString()
	if err != nil {
		return e, fmt.Errorf("redis: take over %s: %w", origin, refused(err))
	}
	mark, position, _ := strings.Cut(text, " ")
	if mark == "type" {
		return e, fault.Permanentf("TYPE_CHANGED", fmt.Sprintf("set redis.type=%s again; or stop the connector, remove its keys (those of the rows and %s:*), reset its offsets and resume it", position, s.base),
			"the rows of %s are stored with redis.type=%s, not %s", origin, position, s.cfg.Type)
	}
	if e.mark, err = strconv.ParseUint(mark, 10, 64); err != nil {
		return e, fmt.Errorf("redis: the entry of %s begins with %q, not with a version", origin, mark)
	}
	e.position = position
	s.entries[origin] = e
	return e, nil
}

// A lane is what a Write knows of its origin.
type lane struct {
	entry
	entryText string // empty: the batch has no position, and nothing is checked
	origin    string
	state     string // key of the entry and the floors
	rows      string // key of the versions
	before    string // key of the versions of the window before, rows if there are no windows
	deleted   string
	buried    string // deleted of the window before
	window    time.Duration
}

func (s *Sink) lane(ctx context.Context, b *change.Batch) (*lane, error) {
	l := &lane{origin: b.Origin, window: max(s.cfg.Graves, s.cfg.TTL)}
	if l.origin == "" && len(b.Events) > 0 {
		l.origin = b.Events[0].Topic
	}
	window := s.now().UnixMilli() / l.window.Milliseconds()
	l.state = s.base + ":" + l.origin
	l.rows, l.before = l.state+":rows", l.state+":rows"
	if s.cfg.TTL > 0 {
		l.rows, l.before = fmt.Sprint(l.state, ":rows:", window), fmt.Sprint(l.state, ":rows:", window-1)
	}
	l.deleted, l.buried = fmt.Sprint(l.state, ":deleted:", window), fmt.Sprint(l.state, ":deleted:", window-1)
	if len(b.Resume) == 0 {
		return l, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[l.origin]
	if !ok {
		var err error
		if e, err = s.claim(ctx, l.origin); err != nil {
			return nil, err
		}
	}
	l.entry, l.entryText = e, e.text(s.owner)
	return l, nil
}

// Write makes the batch's rows take effect in runs of batch.size rows, each run at once, and the position with the last
// run. Rows with a version that is not above what Redis has are passed over. If rows are refused, the position stays, and
// moves with the next batch.
func (s *Sink) Write(ctx context.Context, b *change.Batch) error {
	l, err := s.lane(ctx, b)
	if err != nil {
		return err
	}
	s.rejected = nil
	s.begin()
	for i := range b.Events {
		if err := s.take(ctx, l, i, &b.Events[i]); err != nil {
			return err
		}
	}
	if err := s.flush(ctx, l, string(b.Resume)); err != nil {
		return err
	}
	if len(s.rejected) > 0 {
		return sorted(s.rejected)
	}
	return nil
}

// begin starts a new run.
func (s *Sink) begin() {
	s.fold.Reset()
	s.keys = s.keys[:0]
	s.size, s.oldest, s.newest = 0, math.MaxUint64, 0
}

func (s *Sink) take(ctx context.Context, l *lane, i int, e *change.Event) error {
	if e.Raw != nil {
		return nil // not a row
	}
	if e.Table != s.table || e.Topic != s.topic {
		prefix := s.format.of(e.Topic, e.Table)
		if other, ok := s.topics[prefix]; ok && other != e.Topic {
			return fault.Permanentf("KEY_CONFLICT", "put ${topic} into key.format, or rename one of the topics with a RegexRouter transform",
				"rows of the topics %s and %s would have the same keys %s..., and overwrite each other", other, e.Topic, prefix)
		}
		s.topics[prefix] = e.Topic
		if prefix != s.prefix {
			if err := s.flush(ctx, l, ""); err != nil {
				return err
			}
		}
		s.table, s.topic, s.prefix = e.Table, e.Topic, prefix
	}
	row := e.After
	switch e.Op {
	case change.OpRead, change.OpCreate, change.OpUpdate:
	case change.OpDelete, change.OpTombstone:
		row = e.Before
	case change.OpTruncate:
		if err := s.flush(ctx, l, ""); err != nil {
			return err
		}
		return s.truncate(ctx, l, e.Version)
	case change.OpMessage:
		return nil
	default:
		return fault.Permanentf("OP_UNKNOWN", "use a version of Tailrace that is not older than the log", "event with op %q", byte(e.Op))
	}
	if err := keyed(e.Table, row); err != nil {
		s.rejected = append(s.rejected, sink.RowError{Index: i, Err: err})
		return nil
	}
	if len(s.fold.States) >= s.cfg.MaxRows || s.size >= maxRun {
		if err := s.flush(ctx, l, ""); err != nil {
			return err
		}
	}
	s.size += sizeOf(row)
	s.oldest, s.newest = min(s.oldest, e.Version), max(s.newest, e.Version)
	start := len(s.keys)
	s.keys = append(s.keys, s.prefix...)
	s.keys = appendKey(s.keys, e.Table, row, s.cfg.Separator[0])
	s.fold.Add(s.keys[start:len(s.keys):len(s.keys)], i, e)
	return nil
}

// keyed tells why a row has no key, nil if it has one.
func keyed(t *change.Table, row change.Row) error {
	if len(t.Key) == 0 {
		return fault.Permanentf("NO_KEY", "give the table a primary key, or name key columns with message.key.columns", "table %s has no key", t.Name)
	}
	for _, i := range t.Key {
		if i >= len(row) || !row[i].Present() {
			return fault.Permanentf("KEY_INCOMPLETE", "set the table's REPLICA IDENTITY to one that contains the key",
				"the event has no value of key column %s of %s", t.Columns[i].Name, t.Name)
		}
	}
	return nil
}

// A next is the entry that a run leaves.
type next struct {
	entry
	text    string
	refused string // the same with the old position: if rows are refused
}

// flush writes the run and begins a new one. A position is given with the last run of a batch.
func (s *Sink) flush(ctx context.Context, l *lane, position string) error {
	old := entry{max(l.mark, s.newest), l.position}
	to := next{entry: old}
	if position != "" && len(s.rejected) == 0 {
		to.position = position
	}
	if l.entryText != "" {
		to.text, to.refused = to.entry.text(s.owner), old.text(s.owner)
	}
	if len(s.fold.States) > 0 || to.text != l.entryText {
		before := len(s.rejected)
		done, err := s.shortcut(ctx, l, to)
		if err == nil && !done {
			err = s.detour(ctx, l, to)
		}
		if err != nil {
			return err
		}
		if len(s.rejected) > before {
			to.entry, to.text = old, to.refused
		}
		if l.entryText != "" {
			l.entry, l.entryText = to.entry, to.text
			s.mu.Lock()
			s.entries[l.origin] = l.entry
			s.mu.Unlock()
		}
	}
	s.begin()
	return nil
}

func sizeOf(row change.Row) int {
	n := 16 * len(row)
	for i := range row {
		n += len(row[i].Data)
	}
	return n
}

// detour writes the run by the script.
func (s *Sink) detour(ctx context.Context, l *lane, to next) error {
	keys, args := s.arguments(l, to, whole)
	answer, err := s.call(ctx, s.write, keys, args)
	if err != nil {
		return err
	}
	return s.judge(l, answer)
}

// arguments makes keys and arguments of the write script for the run's rows of the kinds from first on.
func (s *Sink) arguments(l *lane, to next, first int) (keys, args []string) {
	e := &s.enc
	e.reset()
	s.rows = s.rows[:0]
	var counts [3]int
	for kind := first; kind < len(counts); kind++ {
		for i := range s.fold.States {
			st := &s.fold.States[i]
			if kindOf(st) != kind {
				continue
			}
			if kind == remove {
				e.head(st)
			} else if err := e.row(st, kind == whole); err != nil {
				s.reject(st, err)
				to.text = to.refused
				continue
			}
			s.rows = append(s.rows, int32(i))
			counts[kind]++
		}
	}
	return []string{l.rows, l.before, l.deleted, l.buried, l.state},
		[]string{l.entryText, to.text, to.refused, floorField(s.prefix), millis(s.cfg.TTL), millis(2 * l.window),
			fmt.Sprint(counts[whole], " ", counts[merge], " ", counts[remove]),
			rueidis.BinaryString(e.keys.bytes()), rueidis.BinaryString(e.versions.bytes()),
			rueidis.BinaryString(e.body.bytes()), rueidis.BinaryString(e.numbers.bytes())}
}

// The kinds of rows, in the order in which the script takes them.
const (
	whole = iota
	merge
	remove
)

func kindOf(st *sink.State) int {
	switch {
	case st.Deleted:
		return remove
	case st.Row.Complete():
		return whole
	}
	return merge
}

func floorField(prefix string) string { return "floor " + prefix }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// call runs a script.
func (s *Sink) call(ctx context.Context, sc script, keys, args []string) ([]rueidis.RedisMessage, error) {
	answer, err := sc.run(ctx, s.client, keys, args).ToArray()
	if err != nil {
		return nil, s.failed(err)
	}
	return answer, nil
}

// failed makes the error of a command that got no good answer, and gives up what it may have left in a bad state.
func (s *Sink) failed(err error) error {
	s.hangUp()
	if _, ok := rueidis.IsRedisErr(err); !ok {
		// A writer that we have stopped waiting for may still read them (Invariant 6).
		s.enc.forget()
		s.direct.forget()
	}
	return fmt.Errorf("redis: %w", refused(err))
}

// hangUp gives the connection for transactions back; what it watches is forgotten with it.
func (s *Sink) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.release()
		s.conn, s.release = nil, nil
	}
}

var errAnswer = errors.New("redis: the script's answer is not understood")

// judge reads the answer of the write or truncate script: refused rows, or that the origin is not where it should be.
func (s *Sink) judge(l *lane, answer []rueidis.RedisMessage) error {
	if len(answer) == 0 {
		return errAnswer
	}
	word, err := answer[0].ToString()
	switch {
	case err != nil:
		return errAnswer
	case word == "moved":
		held := ""
		if len(answer) > 1 {
			held, _ = answer[1].ToString()
		}
		if owner, _, _ := strings.Cut(held, " "); owner != "" && owner != s.owner {
			return fault.Permanentf("FENCED", "stop one of the two: a connector may run once only", "another task has taken over %s", l.origin)
		}
		return fmt.Errorf("redis has lost what was written last of %s: it restarted without its data, or a replica took over; "+
			"writing goes on from where it stands now", l.origin)
	case word != "ok":
		return errAnswer
	}
	for i := 1; i+1 < len(answer); i += 2 { // rows that were refused; the truncate script's answer has none
		row, err := answer[i].AsInt64()
		reason, err2 := answer[i+1].ToString()
		if err != nil || err2 != nil || row < 1 || int(row) > len(s.rows) {
			return errAnswer
		}
		st := &s.fold.States[s.rows[row-1]]
		s.reject(st, fault.Permanentf("WRONG_TYPE", "remove the key, or choose another key.format", "%q: %s", st.Key, reason))
	}
	return nil
}

// reject rejects every event that went into st.
func (s *Sink) reject(st *sink.State, err error) {
	s.fold.Events(st, func(i int) { s.rejected = append(s.rejected, sink.RowError{Index: i, Err: err}) })
}

// truncate removes the origin's rows with the present prefix and versions up to version.
func (s *Sink) truncate(ctx context.Context, l *lane, version uint64) error {
	hashes := []string{l.rows}
	if l.before != l.rows {
		hashes = append(hashes, l.before)
	}
	for _, hash := range hashes {
		for cursor := "0"; ; {
			answer, err := s.call(ctx, truncateScript, []string{hash, l.state}, []string{floorField(s.prefix),
				strconv.FormatUint(version, 10), s.prefix, cursor, "1000", l.entryText})
			if err != nil {
				return err
			}
			if err := s.judge(l, answer); err != nil {
				return err
			}
			if cursor, err = answer[1].ToString(); err != nil {
				return errAnswer
			}
			if cursor == "0" {
				break
			}
		}
	}
	return nil
}
