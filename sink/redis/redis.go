package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

// maxChunk bounds the bytes of one script call, by estimate; a single larger row goes alone.
const maxChunk = 8 << 20

var (
	_ sink.Sink   = (*Sink)(nil)
	_ sink.Ledger = (*Sink)(nil)
)

// Sink writes rows into one Redis server.
type Sink struct {
	cfg    *Config
	format keyFormat
	state  string // the key of the hash with origins and floors; prefix of the others
	owner  string // names this Sink in state, so that an older one can be told
	now    func() time.Time
	client rueidis.Client
	write  script

	mu      sync.Mutex
	origins map[string]string // what state holds for each origin, by all we know

	// The rest is Write's alone.
	fold     sink.Fold
	enc      encoder
	keys     []byte  // the fold's keys
	rows     []int32 // index into fold.States of each row of the chunk
	rejected sink.Rejected
	table    *change.Table // prefix belongs to table and topic
	topic    string
	prefix   string
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
	s := &Sink{cfg: cfg, format: format, state: cfg.State + set.Connector, owner: rand.Text(), now: set.Now, client: client,
		write: writeJSON, origins: map[string]string{}}
	if cfg.Type == "hash" {
		s.write, s.enc.hash = writeHash, true
	}
	policy, err := s.inspect(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	if strings.HasPrefix(policy, "allkeys-") && set.Logger != nil {
		set.Logger.Warn("redis may evict the versions of rows: set maxmemory-policy to noeviction or volatile-*", "policy", policy)
	}
	return s, nil
}

// inspect refuses servers that the sink does not work with, and returns the eviction policy.
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
	return fields["maxmemory_policy"], nil
}

// Close closes the connection. It is idempotent.
func (s *Sink) Close() error {
	s.client.Close()
	return nil
}

// Committed returns the position that Redis holds for the origin, nil if none. From then on this Sink is the origin's
// owner: writes of older ones are refused there.
func (s *Sink) Committed(ctx context.Context, origin string) (change.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	position, err := s.claim(ctx, origin)
	if err != nil || position == "" {
		return nil, err
	}
	return change.Position(position), nil
}

func (s *Sink) claim(ctx context.Context, origin string) (string, error) {
	position, err := claimScript.run(ctx, s.client, []string{s.state}, []string{origin, s.owner}).ToString()
	if err != nil {
		return "", fmt.Errorf("redis: take over %s: %w", origin, refused(err))
	}
	s.origins[origin] = s.owner + " " + position
	return position, nil
}

// A lane is what a Write knows of its origin.
type lane struct {
	origin     string
	held, next string // the origin's entry in state before and after the batch; empty: the batch has no position
	rows       string // key of the versions
	before     string // key of the versions of the window before, rows if there are no windows
	deleted    string
	buried     string // deleted of the window before
	window     time.Duration
}

func (s *Sink) lane(ctx context.Context, b *change.Batch) (*lane, error) {
	l := &lane{origin: b.Origin}
	if l.origin == "" && len(b.Events) > 0 {
		l.origin = b.Events[0].Topic
	}
	l.window = max(s.cfg.Graves, s.cfg.TTL)
	window := s.now().UnixMilli() / l.window.Milliseconds()
	base := s.state + ":" + l.origin
	l.rows, l.before = base+":rows", base+":rows"
	if s.cfg.TTL > 0 {
		l.rows, l.before = fmt.Sprint(base, ":rows:", window), fmt.Sprint(base, ":rows:", window-1)
	}
	l.deleted, l.buried = fmt.Sprint(base, ":deleted:", window), fmt.Sprint(base, ":deleted:", window-1)
	if len(b.Resume) == 0 {
		return l, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.origins[l.origin]; !ok {
		if _, err := s.claim(ctx, l.origin); err != nil {
			return nil, err
		}
	}
	l.held, l.next = s.origins[l.origin], s.owner+" "+string(b.Resume)
	return l, nil
}

// Write makes the batch's rows and its position take effect, all at once up to batch.size rows. Rows with a version that
// is not above what Redis has are passed over. If rows are refused, the position stays, and moves with the next batch.
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
	if err := s.flush(ctx, l, true); err != nil {
		return err
	}
	if len(s.rejected) > 0 {
		return sorted(s.rejected)
	}
	if l.next != "" {
		s.mu.Lock()
		s.origins[l.origin] = l.next
		s.mu.Unlock()
	}
	return nil
}

// begin starts a new run of rows that are written together.
func (s *Sink) begin() {
	s.fold.Reset()
	s.keys = s.keys[:0]
}

func (s *Sink) take(ctx context.Context, l *lane, i int, e *change.Event) error {
	if e.Raw != nil {
		return nil // not a row
	}
	if e.Table != s.table || e.Topic != s.topic {
		prefix := s.format.of(e.Topic, e.Table)
		if prefix != s.prefix {
			if err := s.flush(ctx, l, false); err != nil {
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
		if err := s.flush(ctx, l, false); err != nil {
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

// flush writes the rows taken so far, in chunks; the last chunk of the batch moves the position.
func (s *Sink) flush(ctx context.Context, l *lane, last bool) error {
	states := s.fold.States
	for from := 0; from < len(states) || last; {
		to, size := from, 0
		for to < len(states) && to-from < s.cfg.MaxRows && (to == from || size < maxChunk) {
			size += sizeOf(states[to].Row)
			to++
		}
		final := last && to == len(states)
		if err := s.chunk(ctx, l, from, to, final); err != nil {
			return err
		}
		from = to
		if final {
			break
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

// chunk writes the states from to to by one call of the script.
func (s *Sink) chunk(ctx context.Context, l *lane, from, to int, final bool) error {
	if from == to && (l.next == "" || len(s.rejected) > 0) {
		return nil
	}
	e := &s.enc
	e.reset()
	s.rows = s.rows[:0]
	var counts [3]int
	for kind := range counts {
		for i := from; i < to; i++ {
			st := &s.fold.States[i]
			if kindOf(st) != kind {
				continue
			}
			var err error
			switch kind {
			case whole:
				err = e.whole(st)
			case merge:
				err = e.merge(st)
			default:
				e.remove(st)
			}
			if err != nil {
				s.reject(st, err)
				continue
			}
			s.rows = append(s.rows, int32(i))
			counts[kind]++
		}
	}
	move := "0"
	if final && l.next != "" && len(s.rejected) == 0 {
		move = "1"
	}
	answer, err := s.call(ctx, s.write, []string{l.rows, l.before, l.deleted, l.buried, s.state},
		[]string{l.origin, l.held, l.next, move, floorField(l, s.prefix), millis(s.cfg.TTL), millis(2 * l.window),
			fmt.Sprint(counts[whole], " ", counts[merge], " ", counts[remove])})
	if err != nil {
		return err
	}
	return s.judge(l, answer)
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

func floorField(l *lane, prefix string) string { return "floor " + l.origin + " " + prefix }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// call runs a script with the encoder's arguments behind args.
func (s *Sink) call(ctx context.Context, sc script, keys, args []string) ([]rueidis.RedisMessage, error) {
	e := &s.enc
	e.args = append(e.args[:0], args...)
	start := 0
	for _, end := range e.ends {
		e.args = append(e.args, rueidis.BinaryString(e.buf[start:end:end]))
		start = end
	}
	answer, err := sc.run(ctx, s.client, keys, e.args).ToArray()
	if err != nil {
		if _, ok := rueidis.IsRedisErr(err); !ok {
			e.forget() // a writer that we have stopped waiting for may still read it (Invariant 6)
		}
		return nil, fmt.Errorf("redis: %w", refused(err))
	}
	return answer, nil
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
			s.enc.reset()
			answer, err := s.call(ctx, truncateScript, []string{hash, s.state}, []string{floorField(l, s.prefix),
				strconv.FormatUint(version, 10), s.prefix, cursor, "1000", l.origin, l.held, l.next})
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
