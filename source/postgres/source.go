package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
)

// Plugin is the PostgreSQL source.
var Plugin = source.Plugin{
	Name: "postgres",
	Classes: []string{"io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector",
		"io.debezium.connector.postgresql.PostgresSourceConnector"},
	Doc:  "Captures tables of a PostgreSQL database through logical replication with pgoutput.",
	Keys: config.Keys(&settings{}),
	Check: func(props map[string]string) []config.Problem {
		_, problems := parse(props)
		return problems
	},
	Preflight: preflight,
	Open: func(ctx context.Context, setup source.Setup) (source.Source, error) {
		return open(ctx, setup)
	},
}

const (
	watchInterval = 10 * time.Second // between looks at the slot and the publication
	idleInterval  = 5 * time.Second  // between reports of the position while nothing is captured
	closeTimeout  = 10 * time.Second
)

// Source is one captured database.
type Source struct {
	settings *settings
	setup    source.Setup
	log      *slog.Logger
	origin   *change.Origin
	idle     time.Duration // see idleInterval
	busy     time.Duration // see busyWait

	control  *session // catalog, re-reads and gauges
	scans    pool     // chunks
	action   *session // heartbeat.action.query, with the search_path of the role
	tables   registry
	messages *change.Table
	grown    growth
	gauges   gauges
	told     map[uint32]string // why tables are left out, as it was logged; used by whoever has control's connection
	leftOut  atomic.Int64      // chosen tables that are not captured

	scansMu sync.Mutex
	known   map[*change.Table]*scanTable // what Tables returned last

	mu     sync.Mutex // held while a stream is opened or the source closed
	stream atomic.Pointer[stream]
	closed bool
	cancel context.CancelFunc // ends the goroutines of running

	running sync.WaitGroup
}

var (
	_ source.Source    = (*Source)(nil)
	_ source.Gauger    = (*Source)(nil)
	_ snapshot.Scanner = (*Source)(nil)
	_ snapshot.Grower  = (*Source)(nil)
)

// open connects and starts the goroutine that looks after the slot and the publication.
func open(ctx context.Context, setup source.Setup) (*Source, error) {
	c, problems := parse(setup.Props)
	if len(problems) > 0 {
		var list []string
		for _, p := range problems {
			list = append(list, p.String())
		}
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the connector's configuration", "%s", strings.Join(list, "; "))
	}
	s := &Source{settings: c, setup: setup, log: setup.Logger, idle: idleInterval, busy: busyWait, told: map[uint32]string{},
		origin:  c.origin(setup.Version),
		control: &session{settings: c, connector: setup.Connector},
		scans:   pool{settings: c, connector: setup.Connector},
		action:  &session{settings: c, connector: setup.Connector, plain: true},
		tables:  registry{newest: map[change.TableName]*relation{}}}
	s.messages = messages(c, s.origin)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.setup.Now == nil {
		s.setup.Now = time.Now
	}
	for _, note := range c.notes() {
		s.log.Info(note)
	}
	if err := s.control.do(ctx, func(conn *pgx.Conn) error { return checkServer(ctx, conn, c.SlotFailover) }); err != nil {
		return nil, errors.Join(err, s.control.close(context.WithoutCancel(ctx)))
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Go(func() { s.watch(ctx) })
	if c.HeartbeatQuery != "" {
		s.running.Go(func() { s.act(ctx) })
	}
	return s, nil
}

// notes are what an operator should know about accepted values that don't mean here what they mean elsewhere.
func (c *settings) notes() []string {
	var notes []string
	if c.AutoCreate == "all_tables" {
		notes = append(notes, "publication.autocreate.mode=all_tables is treated as filtered: a publication of all tables would make "+
			"UPDATE and DELETE fail on tables without a replica identity")
	}
	if c.PluginName != "pgoutput" {
		notes = append(notes, "plugin.name="+c.PluginName+" is replaced by pgoutput")
	}
	return notes
}

// Stream implements source.Source. A slot that another process holds is waited for some seconds.
func (s *Source) Stream(ctx context.Context, from change.Position) (source.Stream, error) {
	p, err := parsePosition(from)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("source is closed")
	}
	if st := s.stream.Load(); st != nil && !st.isClosed() {
		return nil, errors.New("a stream of this source is open already")
	}
	var members *membership
	if err := s.control.do(ctx, func(conn *pgx.Conn) (err error) {
		members, err = s.prepare(ctx, conn, parseNote(from))
		return err
	}); err != nil {
		return nil, err
	}
	conn, err := dialReplication(ctx, s.settings, s.setup.Connector)
	if err != nil {
		return nil, err
	}
	st, err := s.start(ctx, conn, p)
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	s.note(st, members)
	s.stream.Store(st)
	if s.grown.any() {
		st.Prompt()
	}
	return st, nil
}

// start identifies the server, claims the slot and begins to stream.
func (s *Source) start(ctx context.Context, conn *pgconn.PgConn, p position) (*stream, error) {
	id, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("identify system: %w", err)
	}
	if err := sameHistory(ctx, conn, id, p); err != nil {
		return nil, err
	}
	if err := s.awaitVisible(ctx, p); err != nil {
		return nil, err
	}
	at, err := s.claimSlot(ctx, conn, p)
	if err != nil {
		return nil, err
	}
	interval, err := s.statusInterval(ctx)
	if err != nil {
		return nil, err
	}
	err = pglogrepl.StartReplication(ctx, conn, s.settings.Slot, pglogrepl.LSN(at), pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: s.options()})
	if err != nil {
		return nil, s.diagnose(ctx, fmt.Errorf("start replication: %w", err), p)
	}
	fresh := p.LSN == 0
	if at > p.LSN { // from the beginning, or what is between them is given up
		p = position{LSN: at}
	}
	p.System, p.Timeline = id.SystemID, id.Timeline
	return newStream(s, conn, p, fresh, interval), nil
}

// options are those of pgoutput. Transactions in progress are streamed where there is room to keep them until they commit.
func (s *Source) options() []string {
	o := []string{"messages 'true'", "publication_names " + literal(ident(s.settings.Publication))}
	if s.setup.Scratch == "" {
		return append(o, "proto_version '1'")
	}
	return append(o, "proto_version '2'", "streaming 'on'")
}

// statusInterval returns how often the server must hear from us: what is configured, well within its own patience, and every tick at
// least. Servers from 16 on can miss that there is WAL to send (a flush between their look at it and the beginning of their sleep), and
// what they hear from us wakes them.
func (s *Source) statusInterval(ctx context.Context) (time.Duration, error) {
	var patience int64
	err := s.control.do(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'`).Scan(&patience)
	})
	interval := min(s.settings.StatusInterval, tickInterval)
	if patience > 0 {
		interval = min(interval, time.Duration(patience)*time.Millisecond/4)
	}
	return interval, err
}

// Close implements source.Source.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if st := s.stream.Load(); st != nil {
		errs = append(errs, st.Close())
	}
	s.cancel()
	s.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.settings.SlotDrop {
		errs = append(errs, s.dropSlot(ctx))
	}
	return errors.Join(append(errs, s.control.close(ctx), s.scans.close(ctx), s.action.close(ctx))...)
}
