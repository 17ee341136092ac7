package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/snapshot"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// Plugin is the MySQL source.
var Plugin = source.Plugin{
	Name:    "mysql",
	Classes: []string{"io.debezium.connector.mysql.MySqlConnector", "MySqlConnector"},
	Doc:     "Captures tables of a MySQL server (5.7 and later) through its binary log.",
	Keys:    keys(), Families: converterFamilies(),
	Check: check,
	Preflight: func(ctx context.Context, s source.Setup) []config.Problem {
		return preflight(ctx, s, mysqld)
	},
	Open: func(ctx context.Context, s source.Setup) (source.Source, error) { return open(ctx, s, mysqld) },
}

// MariaDB is the MariaDB source.
var MariaDB = source.Plugin{
	Name:    "mariadb",
	Classes: []string{"io.debezium.connector.mariadb.MariaDbConnector", "MariaDbConnector"},
	Doc:     "Captures tables of a MariaDB server (10.5 and later) through its binary log.",
	Keys:    keys(), Families: converterFamilies(),
	Check: check,
	Preflight: func(ctx context.Context, s source.Setup) []config.Problem {
		return preflight(ctx, s, mariadb)
	},
	Open: func(ctx context.Context, s source.Setup) (source.Source, error) { return open(ctx, s, mariadb) },
}

func keys() []config.Key { return append(config.Keys(&settings{}), config.Keys(&compatSettings{})...) }

func check(props map[string]string) []config.Problem {
	_, problems := parse(props)
	return problems
}

const (
	idleInterval = 5 * time.Second // between reports of the position while nothing is captured
	lookInterval = 15 * time.Second
	visibleWait  = 10 * time.Second
	killTimeout  = 2 * time.Second
)

// Source is one captured server.
type Source struct {
	settings  *settings
	flavor    flavor
	setup     source.Setup
	log       *slog.Logger
	origin    *change.Origin
	idle      time.Duration
	lookEvery time.Duration // between looks at the end of the server's log while nothing comes
	farthest  uint64        // see farthest; tests have less
	visible   time.Duration // how long transactions of the stored position are waited for
	instance  string        // a UUID of this process's own, by which the server tells replicas apart

	control   *session // catalog and re-reads
	scan      *session // chunks
	action    *session // heartbeat.action.query
	tables    registry
	grown     growth
	numbers   numbers
	branches  branches
	charsets  binlog.Charsets        // of scans
	fullImage atomic.Bool            // row events have all columns
	server    atomic.Pointer[string] // the name of the server that is streamed from

	scansMu sync.Mutex
	scans   map[*change.Table]*scanTable // what Tables returned last

	mu     sync.Mutex // held while a stream is opened or the source closed
	stream atomic.Pointer[stream]
	closed bool

	running sync.WaitGroup
	cancel  context.CancelFunc // ends the goroutines of running
}

var (
	_ source.Source    = (*Source)(nil)
	_ source.Gauger    = (*Source)(nil)
	_ snapshot.Scanner = (*Source)(nil)
	_ snapshot.Grower  = (*Source)(nil)
)

// open connects and looks whether the server is one that can be captured.
func open(ctx context.Context, setup source.Setup, f flavor) (*Source, error) {
	c, problems := parse(setup.Props)
	if len(problems) > 0 {
		var list []string
		for _, p := range problems {
			list = append(list, p.String())
		}
		return nil, fault.Permanentf("CONFIG_INVALID", "correct the connector's configuration", "%s", strings.Join(list, "; "))
	}
	s := &Source{settings: c, flavor: f, setup: setup, log: setup.Logger, idle: idleInterval, lookEvery: lookInterval, visible: visibleWait, farthest: farthest, instance: newUUID(),
		origin:  c.origin(f, setup.Version),
		control: &session{settings: c},
		scan:    &session{settings: c},
		action:  &session{settings: c},
		tables:  registry{newest: map[change.TableName]*relation{}, dropped: map[tableRef]bool{}},
		numbers: numbers{sources: map[uint16]gtidSource{}}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.setup.Now == nil {
		s.setup.Now = time.Now
	}
	if err := s.control.do(ctx, func(c *conn) error {
		id, err := identify(c, f)
		if err != nil {
			return err
		}
		return s.usable(c, id)
	}); err != nil {
		return nil, errors.Join(err, s.control.close())
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if c.HeartbeatQuery != "" {
		s.running.Go(func() { s.act(ctx) })
	}
	return s, nil
}

// act runs heartbeat.action.query every interval while a stream is open, until ctx is done.
func (s *Source) act(ctx context.Context) {
	streams := func() bool {
		st := s.stream.Load()
		return st != nil && !st.isClosed()
	}
	source.Act(ctx, s.settings.Heartbeat, s.log, streams, func() error {
		return s.action.do(ctx, func(c *conn) error {
			_, err := c.Execute(s.settings.HeartbeatQuery)
			return err
		})
	})
}

// usable refuses a server whose log can't be read as it is set up.
func (s *Source) usable(c *conn, id *identity) error {
	if !id.logBin {
		return fault.Permanentf("LOG_BIN_OFF", logBinRemedy, "the server writes no binary log")
	}
	r, err := c.row("SELECT @@global.binlog_format, @@global.binlog_row_image")
	if err != nil {
		return err
	}
	if r[0] != "ROW" {
		return fault.Permanentf("BINLOG_FORMAT", formatRemedy, "the server's binlog_format is %s", r[0])
	}
	s.fullImage.Store(r[1] == "FULL")
	return nil
}

const formatRemedy = "run SET GLOBAL binlog_format = 'ROW', put it into the configuration file, and let the applications connect anew"

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0F|0x40, id[8]&0x3F|0x80
	return formatUUID(id)
}

// Stream implements source.Source.
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
	var start *start
	if err := s.control.do(ctx, func(c *conn) (err error) {
		start, err = s.place(ctx, c, p)
		return err
	}); err != nil {
		return nil, err
	}
	c, err := s.dump(ctx, &start.pos, start.ask)
	if err != nil {
		return nil, err
	}
	s.server.Store(&start.pos.Server)
	h := newHistory()
	st := newStream(s, c, start.pos, start.set, h, len(from) == 0)
	if start.ask == nil {
		_, st.past = s.ask(start.pos.Pos)
	}
	if err := s.remember(ctx, st, start.at, p.Structures); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if s.grown.restore(start.pos.Again); len(start.pos.Again) > 0 {
		st.Prompt() // the copy is told when it has a position
	}
	s.stream.Store(st)
	return st, nil
}

// remember gives a stream the structures that belong to its position.
func (s *Source) remember(ctx context.Context, st *stream, at status, state int64) error {
	if s.setup.Notes != nil {
		notes, err := s.setup.Notes(ctx)
		if err != nil {
			return err
		}
		if err := st.history.load(notes, state); err != nil {
			return err
		}
	}
	return st.prepare(ctx, at)
}

// A start is where a stream begins: its position, the transactions that it has, and those that the server is told we have;
// both are nil where the place is a file and a position.
type start struct {
	pos      position
	at       status // the place in the log, no later than the position; without a file if that is not known
	set, ask gtidSet
}

// place finds out where to begin, and whether the server has all that follows there.
func (s *Source) place(ctx context.Context, c *conn, p position) (*start, error) {
	id, err := identify(c, s.flavor)
	if err != nil {
		return nil, err
	}
	if err := s.usable(c, id); err != nil {
		return nil, err
	}
	if p.File == "" && p.GTIDs == "" {
		return s.now(c, id)
	}
	same := p.Server == "" || p.Server == id.name
	byGTID := id.gtid && p.GTIDs != "" && !(s.settings.GTIDIgnore && same && p.File != "")
	if !byGTID && !same {
		return nil, fault.Permanentf("OTHER_SERVER", aheadRemedy, "the stored position is from server %s, this one is %s, and without GTIDs there is no "+
			"telling where in its binary log that is", p.Server, id.name)
	}
	if !byGTID {
		if err := s.checkFile(c, p); err != nil {
			return nil, err
		}
		p.Server = id.name
		st := &start{pos: p, at: status{file: p.File, pos: p.Pos}}
		if id.gtid {
			if st.set, err = s.flavor.parseGTIDs(p.GTIDs); err != nil {
				return nil, invalidGTIDs(err)
			}
		}
		return st, nil
	}
	st := &start{pos: p}
	if st.set, err = s.flavor.parseGTIDs(p.GTIDs); err != nil {
		return nil, invalidGTIDs(err)
	}
	if !same {
		s.log.Info("the stored position is from another server; going on by GTIDs", "from", p.Server, "server", id.name)
		st.pos.File, st.pos.Pos = "", 0
		for i := range st.pos.XA {
			st.pos.XA[i].File = "" // to be searched for
		}
	}
	st.pos.Server, st.ask, st.at = id.name, st.set, status{file: st.pos.File, pos: st.pos.Pos}
	if my, ok := st.set.(*mysqlSet); ok {
		st.ask, err = s.checkMySQL(ctx, c, my)
	} else {
		err = s.checkMaria(c, st.set.(*mariaSet))
	}
	return st, err
}

func invalidGTIDs(err error) error { return fault.Permanent("POSITION_INVALID", positionRemedy, err) }

// now is the beginning of a stream without a position: everything that is not visible yet comes. On MariaDB the place of a
// consistent snapshot is exact. MySQL's set of executed transactions has what is visible; its place in the file may be
// further, so the position begins with the file. Without GTIDs it is the place, and scans wait until what is before it is
// visible.
func (s *Source) now(c *conn, id *identity) (*start, error) {
	st := &start{pos: position{Server: id.name, Time: s.setup.Now().UnixMicro()}}
	if s.flavor == mariadb {
		return st, s.nowMaria(c, st)
	}
	now, err := readStatus(c)
	if err != nil {
		return nil, err
	}
	st.pos.File, st.pos.Pos, st.at = now.file, now.pos, status{file: now.file, pos: now.pos}
	if id.gtid {
		set, err := parseMySQLSet(now.gtids)
		if err != nil {
			return nil, err
		}
		st.set, st.ask = set, set
		st.pos.GTIDs, st.pos.Pos = now.gtids, firstEvent
	}
	return st, nil
}

// firstEvent is the position of the first event in each file.
const firstEvent = 4

func (s *Source) nowMaria(c *conn, st *start) error {
	if _, err := c.Execute("START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
		return err
	}
	now, _, err := snapshotPosition(c)
	if err != nil {
		return err
	}
	set, err := gtidsAt(c, now)
	if err != nil {
		return err
	}
	if _, err := c.Execute("COMMIT"); err != nil {
		return err
	}
	st.pos.File, st.pos.Pos, st.pos.GTIDs, st.at = now.file, now.pos, string(set.appendText(nil)), now
	if st.set = set; !set.empty() {
		st.ask = set // an empty set would ask for everything from the first file on
	}
	return nil
}

// checkFile looks whether the server still has, and has already, a place in its binary log.
func (s *Source) checkFile(c *conn, p position) error {
	rows, err := c.rows("SHOW BINARY LOGS")
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fault.Permanentf("POSITION_AHEAD", aheadRemedy, "the stored position is in %s, the server has no binary log", p.File)
	}
	want, _ := fileNumber(p.File)
	first, _ := fileNumber(rows[0][0])
	for _, r := range rows {
		var size uint64
		if _, err := fmt.Sscan(r[1], &size); err != nil {
			return fmt.Errorf("size of binary log %s: %w", r[0], err)
		}
		if r[0] != p.File {
			continue
		}
		if p.Pos > size {
			return fault.Permanentf("POSITION_AHEAD", aheadRemedy, "the stored position is %s at %d, the file ends at %d", p.File, p.Pos, size)
		}
		return nil
	}
	if want < first {
		return fault.Permanentf("POSITION_PURGED", purgedRemedy, "the stored position is in %s, the server's binary logs begin with %s", p.File, rows[0][0])
	}
	return fault.Permanentf("POSITION_AHEAD", aheadRemedy, "the stored position is in %s, the server's binary logs are %s to %s", p.File, rows[0][0], rows[len(rows)-1][0])
}

// checkMySQL looks whether the server has all that follows a set of transactions, and nothing of it is missing. It waits a
// moment for transactions that were sent before they were visible. It returns what to tell the server that we have: also
// what comes from servers that are not captured.
func (s *Source) checkMySQL(ctx context.Context, c *conn, set *mysqlSet) (*mysqlSet, error) {
	var executed, purged *mysqlSet
	for end := time.Now().Add(s.visible); ; {
		r, err := c.row("SELECT @@global.gtid_executed, @@global.gtid_purged")
		if err != nil {
			return nil, err
		}
		if executed, err = parseMySQLSet(strings.ReplaceAll(r[0], "\n", "")); err != nil {
			return nil, err
		}
		if purged, err = parseMySQLSet(strings.ReplaceAll(r[1], "\n", "")); err != nil {
			return nil, err
		}
		missing := set.minus(executed)
		if missing.empty() {
			break
		}
		if far := len(executed.sources) == 0 || foreign(missing, executed); far || time.Now().After(end) {
			return nil, aheadOf(missing, executed, set)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	ask := &mysqlSet{}
	ask.union(set, func(string) bool { return true })
	ask.union(executed, func(uuid string) bool { return !s.settings.capturesServer(uuid) })
	if lost := purged.minus(ask); !lost.empty() {
		return nil, fault.Permanentf("POSITION_PURGED", purgedRemedy, "the server no longer has the transactions %.1000s, which follow the stored position", lost.appendText(nil))
	}
	return ask, nil
}

// foreign reports whether transactions are missing from servers of which the set has none at all.
func foreign(missing, set *mysqlSet) bool {
	for i := range missing.sources {
		known := false
		for k := range set.sources {
			known = known || set.sources[k].sid == missing.sources[i].sid
		}
		if !known {
			return true
		}
	}
	return false
}

func aheadOf(missing, executed, set *mysqlSet) error {
	if len(set.minus(missing).sources) == 0 {
		return fault.Permanentf("OTHER_SERVER", aheadRemedy, "the server has none of the transactions of the stored position, %.1000s: it is another one, or its "+
			"binary log was reset", set.appendText(nil))
	}
	return fault.Permanentf("POSITION_AHEAD", aheadRemedy, "the server does not have the transactions %.1000s of the stored position, only %.1000s: it was restored, "+
		"lost them in a failover, or they were made on a replica only", missing.appendText(nil), executed.appendText(nil))
}

// checkMaria looks whether the server has the last transaction of each domain of a position. Whether it has all that
// follows, it says itself when the dump begins.
func (s *Source) checkMaria(c *conn, set *mariaSet) error {
	r, err := c.row("SELECT @@global.gtid_binlog_state, @@global.gtid_current_pos")
	if err != nil {
		return err
	}
	state, err := parseMariaSet(r[1])
	if err != nil {
		return err
	}
	for part := range strings.SplitSeq(r[0], ",") { // the last one of each server in each domain
		if one, err := parseMariaSet(part); err == nil {
			for _, g := range one.last {
				if g.seq > state.domain(g.domain).seq {
					state.set(g)
				}
			}
		}
	}
	for _, g := range set.last {
		if has := state.domain(g.domain); has.seq < g.seq {
			code := "POSITION_AHEAD"
			if len(state.last) == 0 || has.seq == 0 {
				code = "OTHER_SERVER"
			}
			return fault.Permanentf(code, aheadRemedy, "the stored position is %s, the server's binary log ends at %q: it was reset, restored, is another one, or "+
				"lost transactions in a failover", set.appendText(nil), r[0])
		}
	}
	return nil
}

// pause waits, or returns why ctx is over.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements source.Source.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.cancel()
	s.running.Wait()
	var errs []error
	if st := s.stream.Load(); st != nil {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, s.control.close(), s.scan.close(), s.action.close())...)
}

// kill ends the dump on the server, which would notice only later that nobody listens, and keep its file until then. That it
// can't is no matter.
func (s *Source) kill(thread uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	err := s.control.do(ctx, func(c *conn) error {
		_, err := c.Execute(fmt.Sprintf("KILL %d", thread))
		return err
	})
	if err != nil {
		s.log.Debug("the dump's thread was not ended", "thread", thread, "err", err)
	}
}
