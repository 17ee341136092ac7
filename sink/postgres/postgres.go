package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/sink"
)

var (
	_ sink.Sink   = (*Sink)(nil)
	_ sink.Ledger = (*Sink)(nil)
)

// attempts is how often a batch is tried at once after a deadlock or a serialization failure.
const attempts = 4

// Sink writes rows into the tables of one database over one connection.
type Sink struct {
	cfg       *Config
	session   *pgconn.Config
	connector string
	owner     string // names this Sink in the table of offsets, so that an older one can be told
	ledger    name

	mu        sync.Mutex // Write and Committed take turns on the connection
	conn      *pgconn.PgConn
	watchdog  *time.Timer // gives up what the target does not answer
	sessions  uint64      // counts connections: statements are prepared once on each
	lanes     map[string]*lane
	targets   map[name]*target
	topics    map[name]string // whose rows each table has
	installed map[string]bool // types of extensions, by name

	partition int     // that the batch comes from
	mark      []byte  // the partition as a parameter of statements: a binary int4
	last      *layout // of the last event
	lastTopic string
	plan      plan
	bufs      []array
	params    [][]byte
	serial    int // of prepared statements
}

// A lane is what is known of an origin.
type lane struct {
	held  string // the position that the target has
	mark  uint64 // the newest version that the target has: what is not above it is old news
	doubt string // the position of a COMMIT whose answer was lost; empty: none
}

func open(ctx context.Context, set sink.Setup) (sink.Sink, error) {
	cfg, problems := parse(set.Props)
	if len(problems) > 0 {
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the configuration of the connector", "%v", problems[0])
	}
	session, err := cfg.connection(set.Connector)
	if err != nil {
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the configuration of the connector", "connection.url %v", err)
	}
	s := &Sink{cfg: cfg, session: session, connector: set.Connector, owner: rand.Text(), ledger: name{cfg.Schema, cfg.Offsets},
		lanes: map[string]*lane{}, targets: map[name]*target{}, topics: map[name]string{}, installed: map[string]bool{}}
	limited, cancel := s.limit(ctx)
	defer cancel()
	if err := s.connect(limited); err != nil {
		return nil, err
	}
	if err := s.install(limited); err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

var errLate = errors.New("the target has not answered in time")

// patience is how long the target may take to answer: longer than the server's own limit for a statement, which leaves the
// session whole.
func (s *Sink) patience() time.Duration { return s.cfg.Write + s.cfg.Timeout }

// limit returns a context that ends with errLate when the target's time is over.
func (s *Sink) limit(ctx context.Context) (context.Context, func()) {
	limited, cancel := context.WithCancelCause(ctx)
	s.watchdog = time.AfterFunc(s.patience(), func() { cancel(errLate) })
	return limited, func() {
		s.watchdog.Stop()
		cancel(nil)
	}
}

// connect makes sure that there is a connection.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	if err := s.drop(ctx); err != nil {
		return err
	}
	conn, err := pgconn.ConnectConfig(ctx, s.session)
	if err != nil {
		return s.unreachable(err)
	}
	s.conn = conn
	s.sessions++
	return nil
}

// drop waits until what is left of a broken connection is gone.
func (s *Sink) drop(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	select {
	case <-s.conn.CleanupDone():
		s.conn = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// install makes the table of offsets.
func (s *Sink) install(ctx context.Context) error {
	rows, err := s.query(ctx, "SELECT to_regclass($1)", s.ledger.String())
	if err != nil || rows[0][0] != "" {
		return err
	}
	if err := s.schema(ctx, s.ledger.schema); err != nil {
		return err
	}
	return s.exec(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (connector text, origin text, owner text NOT NULL, `+
		`position text, version bigint NOT NULL DEFAULT 0, updated timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (connector, origin))`, s.ledger))
}

// Close ends the session. It is idempotent.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	// An open transaction ends with its session: nothing that matters can fail here.
	if err := s.conn.Close(ctx); err != nil && !s.conn.IsClosed() {
		return err
	}
	return s.drop(ctx)
}

// Committed returns the position that the target holds for the origin, nil if none. From then on this Sink is the
// origin's owner: an older one can commit nothing for it any more.
func (s *Sink) Committed(ctx context.Context, origin string) (change.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := s.limit(ctx)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	l, err := s.claim(ctx, origin)
	if err != nil {
		return nil, s.explain(err)
	}
	if l.held == "" {
		return nil, nil
	}
	return change.Position(l.held), nil
}

func (s *Sink) claim(ctx context.Context, origin string) (*lane, error) {
	rows, err := s.query(ctx, fmt.Sprintf(`INSERT INTO %s (connector, origin, owner) VALUES ($1, $2, $3) `+
		`ON CONFLICT (connector, origin) DO UPDATE SET owner = excluded.owner RETURNING position, version::text`, s.ledger), s.connector, origin, s.owner)
	if err != nil {
		return nil, err
	}
	version, err := strconv.ParseUint(rows[0][1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("version of %s in %s: %w", origin, s.ledger, err)
	}
	l := &lane{held: rows[0][0], mark: version}
	s.lanes[origin] = l
	return l, nil
}

// Write makes the batch's rows and its position take effect in one transaction. If rows are rejected, all others take
// effect and the position stays: it moves with the next batch, which the worker writes when the dead letters are durable.
func (s *Sink) Write(ctx context.Context, b *change.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 1; ; n++ {
		limited, cancel := s.limit(ctx)
		err := s.write(limited, b)
		late := context.Cause(limited) == errLate
		cancel()
		if n < attempts && ctx.Err() == nil && collided(err) {
			continue
		}
		switch {
		case err == nil:
			return nil
		case late:
			return fmt.Errorf("postgres: no answer within %s (write.timeout.ms and connection.timeout.ms): %w", s.patience(), errLate)
		}
		return s.explain(err)
	}
}

func (s *Sink) write(ctx context.Context, b *change.Batch) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	var l *lane
	if b.Origin != "" && len(b.Resume) > 0 {
		var err error
		if l, err = s.lane(ctx, b.Origin); err != nil {
			return err
		}
	}
	s.partition = sink.Partition(b.Origin)
	s.mark = binary.BigEndian.AppendUint32(s.mark[:0], uint32(s.partition))
	if err := s.collect(ctx, l, b); err != nil {
		return err
	}
	if len(s.plan.units) == 0 && (l == nil || len(s.plan.rejected) > 0) {
		return s.plan.result()
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	done, err := s.begin(ctx, l, b)
	if err != nil || done {
		return err
	}
	err = s.run(ctx, l, b)
	if err != nil && bad(err) {
		if err = s.exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if done, err = s.begin(ctx, l, b); err != nil || done {
			return err
		}
		err = s.sift(ctx, l, b)
	}
	if err != nil {
		s.rollback(ctx)
		return err
	}
	return s.plan.result()
}

// lane returns what is known of an origin. An origin that nobody asked Committed for was moved by the operator: what
// comes is to be written, whatever was written before.
func (s *Sink) lane(ctx context.Context, origin string) (*lane, error) {
	if l := s.lanes[origin]; l != nil {
		return l, nil
	}
	l, err := s.claim(ctx, origin)
	if err != nil {
		return nil, err
	}
	l.mark = 0
	return l, nil
}

// begin opens the transaction and locks the origin's entry. It reports done if the batch turns out to be committed: its
// COMMIT succeeded and the answer was lost.
func (s *Sink) begin(ctx context.Context, l *lane, b *change.Batch) (done bool, err error) {
	if err := s.exec(ctx, "BEGIN"); err != nil || l == nil {
		return false, err
	}
	rows, err := s.query(ctx, fmt.Sprintf("SELECT owner, position, version::text FROM %s WHERE connector = $1 AND origin = $2 FOR UPDATE", s.ledger),
		s.connector, b.Origin)
	if err != nil {
		return false, err
	}
	switch {
	case len(rows) == 0:
		err = fmt.Errorf("%s has lost its entry of %s: writing goes on from where the target stands now", s.ledger, b.Origin)
	case rows[0][0] != s.owner:
		err = fault.Permanentf("FENCED", "stop one of the two: a connector may run once only", "another task has taken over %s", b.Origin)
	case l.doubt != "" && rows[0][1] == l.doubt:
		version, perr := strconv.ParseUint(rows[0][2], 10, 64)
		l.held, l.mark, l.doubt, err = l.doubt, max(version, l.mark), "", perr
		done = l.held == string(b.Resume)
	case rows[0][1] != l.held:
		err = fmt.Errorf("the target's position of %s is not the one that was written last, as after a restored backup: "+
			"writing goes on from where the target stands now", b.Origin)
	}
	if err != nil || done {
		s.rollback(ctx)
	}
	return done, err
}

// rollback ends a transaction that failed. A connection that cannot do even that is given up by the next connect.
func (s *Sink) rollback(ctx context.Context) {
	if !s.conn.IsClosed() && s.conn.TxStatus() != 'I' {
		if err := s.exec(ctx, "ROLLBACK"); err != nil {
			s.conn.Close(ctx)
		}
	}
}

// run sends the whole plan and COMMIT in one go.
func (s *Sink) run(ctx context.Context, l *lane, b *change.Batch) error {
	p := s.conn.StartPipeline(ctx)
	for i := range s.plan.units {
		u := &s.plan.units[i]
		if u.truncate != "" {
			p.SendQueryParams(u.truncate, nil, nil, nil, nil)
		} else {
			s.encode(u, u.states)
			for _, st := range u.stmts {
				p.SendQueryPrepared(st.name, s.params, binaryFormat, nil)
			}
		}
		if err := p.Flush(); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	if l != nil && len(s.plan.rejected) == 0 {
		sql, params := s.advance(l, b)
		p.SendQueryParams(sql, params, nil, nil, nil)
		l.doubt = string(b.Resume)
	}
	p.SendQueryParams("COMMIT", nil, nil, nil, nil)
	err := p.Sync()
	for err == nil {
		var r any
		if r, err = p.GetResults(); err != nil {
			break
		}
		if _, ok := r.(*pgconn.PipelineSync); ok {
			break
		}
		if reader, ok := r.(*pgconn.ResultReader); ok {
			_, err = reader.Close()
		}
	}
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	return s.settle(l, b, err)
}

// advance is the statement that moves the origin's entry.
func (s *Sink) advance(l *lane, b *change.Batch) (string, [][]byte) {
	return fmt.Sprintf("UPDATE %s SET position = $3, version = $4, updated = now() WHERE connector = $1 AND origin = $2", s.ledger),
		[][]byte{[]byte(s.connector), []byte(b.Origin), b.Resume, strconv.AppendUint(nil, max(l.mark, s.plan.newest), 10)}
}

// settle draws the conclusion from a COMMIT's answer: only an answer of the server ends the doubt.
func (s *Sink) settle(l *lane, b *change.Batch, err error) error {
	var answer *pgconn.PgError
	switch {
	case l == nil || len(s.plan.rejected) > 0:
	case err == nil:
		l.held, l.mark, l.doubt = string(b.Resume), max(l.mark, s.plan.newest), ""
	case errors.As(err, &answer):
		l.doubt = ""
	}
	return err
}

// sift runs the plan step by step and finds the rows that the target refuses.
func (s *Sink) sift(ctx context.Context, l *lane, b *change.Batch) error {
	for i := range s.plan.units {
		u := &s.plan.units[i]
		if u.truncate != "" {
			if err := s.exec(ctx, u.truncate); err != nil {
				return err
			}
			continue
		}
		if err := s.try(ctx, u, u.states); err != nil {
			return err
		}
	}
	if l != nil && len(s.plan.rejected) == 0 {
		sql, params := s.advance(l, b)
		if r := s.conn.ExecParams(ctx, sql, params, nil, nil, nil).Read(); r.Err != nil {
			return r.Err
		}
		l.doubt = string(b.Resume)
	}
	return s.settle(l, b, s.exec(ctx, "COMMIT"))
}

// try runs a unit for some of its states, and halves them until what the target refuses stands alone.
func (s *Sink) try(ctx context.Context, u *unit, states []*sink.State) error {
	if err := s.exec(ctx, "SAVEPOINT tailrace"); err != nil {
		return err
	}
	s.encode(u, states)
	var err error
	for _, st := range u.stmts {
		if r := s.conn.ExecPrepared(ctx, st.name, s.params, binaryFormat, nil).Read(); r.Err != nil {
			err = r.Err
			break
		}
	}
	if err == nil {
		return s.exec(ctx, "RELEASE tailrace")
	}
	if !bad(err) {
		return err
	}
	if err := s.exec(ctx, "ROLLBACK TO tailrace; RELEASE tailrace"); err != nil {
		return err
	}
	if len(states) == 1 {
		s.plan.reject(u.fold, states[0], s.refusal(u, states[0], err))
		return nil
	}
	if err := s.try(ctx, u, states[:len(states)/2]); err != nil {
		return err
	}
	return s.try(ctx, u, states[len(states)/2:])
}

// truncateSQL removes the rows that came from the batch's partition. As long as only one partition ever wrote to the table it
// has no column that tells them apart, and is emptied as a whole; another task may be making that column just now, so
// that is looked at again when the table is locked.
func (s *Sink) truncateSQL(ctx context.Context, origin string, tg *target) (string, error) {
	marked, err := s.query(ctx, "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped",
		tg.name.String(), partitionColumn)
	if err != nil {
		return "", err
	}
	switch {
	case len(marked) > 0 && s.partition == 0:
		return fmt.Sprintf("DELETE FROM %s WHERE %s IS NULL OR %[2]s = 0", tg.name, partitionColumn), nil
	case len(marked) > 0:
		return fmt.Sprintf("DELETE FROM %s WHERE %s = %d", tg.name, partitionColumn, s.partition), nil
	}
	if s.partition > 0 {
		return "", s.unmarked(tg)
	}
	if s.cfg.Evolution == "none" {
		rows, err := s.query(ctx, fmt.Sprintf("SELECT 1 FROM %s WHERE connector = $1 AND origin <> $2 AND starts_with(origin, $3) AND origin ~ '-[0-9]+$' LIMIT 1", s.ledger),
			s.connector, origin, origin[:strings.LastIndexByte(origin, '-')+1])
		if err != nil {
			return "", err
		}
		if len(rows) > 0 {
			return "", s.unmarked(tg)
		}
	}
	statement := "TRUNCATE " + tg.name.String()
	if tg.referenced {
		statement = "DELETE FROM " + tg.name.String()
	}
	return "DO " + literal(fmt.Sprintf(`BEGIN LOCK TABLE %s IN ACCESS EXCLUSIVE MODE;
IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = '%s' AND NOT attisdropped) THEN
RAISE EXCEPTION 'another task has begun to write' USING ERRCODE = 'serialization_failure'; END IF; %s; END`,
		tg.name, literal(tg.name.String()), partitionColumn, statement)), nil
}

// unmarked is the error of a truncate that can't tell which rows it concerns.
func (s *Sink) unmarked(tg *target) error {
	return fault.Permanentf("TRUNCATE_PARTITIONS", fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s integer, reset the connector's offsets and let it write the rows again; "+
		"or set schema.evolution=basic from the beginning, or keep the topic in one partition", tg.name, partitionColumn),
		"TRUNCATE of %s: its topic has several partitions, and without a column %s it is not known which rows came from this one", tg.name, partitionColumn)
}

// literal makes a string constant of any text without NUL.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}
