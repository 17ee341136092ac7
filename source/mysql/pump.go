package mysql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/mysql/binlog"
)

// longestHeartbeat bounds the time that the server may be silent while it has nothing to send.
const longestHeartbeat = 10 * time.Second

// heartbeat is the period that the server is asked to keep.
func (s *settings) heartbeat() time.Duration {
	if s.Heartbeat > 0 && s.Heartbeat < longestHeartbeat {
		return s.Heartbeat
	}
	return longestHeartbeat
}

// pump owns a connection in the state of a dump: it moves events into the queue. A full queue makes it wait, and the server
// with it.
type pump struct {
	conn  *conn
	queue *source.Queue
	stop  chan struct{}
	done  chan struct{}
}

var errStopped = errors.New("stream is closed")

// startPump starts the goroutine on a connection whose first packet is still in its buffer.
func startPump(c *conn, q *source.Queue) *pump {
	p := &pump{conn: c, queue: q, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		q.Fail(p.run())
	}()
	return p
}

func (p *pump) run() error {
	packet := p.conn.buf.Bytes()
	for {
		event, err := eventOf(packet)
		if err == nil {
			err = p.deliver(event)
		}
		if err != nil {
			return err
		}
		if packet, err = p.conn.packet(); err != nil {
			return p.failure(err)
		}
	}
}

// eventOf takes the event out of a packet of a dump.
func eventOf(packet []byte) ([]byte, error) {
	switch {
	case packet[0] == mysql.OK_HEADER && len(packet) > binlog.HeaderSize:
		return packet[1:], nil
	case packet[0] == mysql.EOF_HEADER:
		return nil, errors.New("the server ended the binary log's stream")
	}
	return nil, fmt.Errorf("malformed packet of %d bytes in the binary log's stream", len(packet))
}

// failure says what an error of the connection means.
func (p *pump) failure(err error) error {
	select {
	case <-p.stop:
		return errStopped
	default:
	}
	var t net.Error
	if errors.As(err, &t) && t.Timeout() {
		return fmt.Errorf("the server has sent nothing, not even a heartbeat, for %v: %w", p.conn.raw.patience, err)
	}
	return fmt.Errorf("replication connection: %w", err)
}

// deliver puts an event into the queue, however long that takes.
func (p *pump) deliver(event []byte) error {
	for !p.queue.Put(0, event, endsTransaction(event)) {
		select {
		case <-p.queue.Space():
		case <-p.stop:
			return errStopped
		}
	}
	return nil
}

// endsTransaction reports whether an event may be the last one for some time. A statement is a COMMIT or DDL.
func endsTransaction(event []byte) bool {
	switch binlog.EventType(event[4]) {
	case binlog.TypeXID, binlog.TypeQuery, binlog.TypeQueryCompressed, binlog.TypeXAPrepare, binlog.TypePayload, binlog.TypeHeartbeat,
		binlog.TypeHeartbeatV2, binlog.TypeRotate, binlog.TypeIncident:
		return true
	}
	return false
}

// close ends the goroutine, joins it and closes the connection. It reports whether the server did not know that yet.
func (p *pump) close() (alive bool, err error) {
	close(p.stop)
	err = ignoreClosed(p.conn.Close())
	<-p.done
	return errors.Is(p.queue.Failure(), errStopped), err
}

// dump asks for the binary log after p and returns the connection in that state, with the first packet in its buffer: then the
// server has found the place. By GTIDs it does so itself. (Facts: COM_REGISTER_SLAVE, COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID in MySQL's protocol; @slave_connect_state in
// MariaDB's.)
func (s *Source) dump(ctx context.Context, p *position, set gtidSet) (*conn, error) {
	period := s.settings.heartbeat()
	c, err := dial(ctx, s.settings, period*5/2)
	if err != nil {
		return nil, err
	}
	c.raw.Conn = source.Gather(c.raw.Conn) // each event is sent by itself
	stop := context.AfterFunc(ctx, func() { c.Close() })
	if err = s.request(c, p, set, period); err == nil {
		_, err = c.packet()
		err = dumpError(err)
	}
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(explain(s.settings, err), ignoreClosed(c.Close()))
	}
	return c, nil
}

func (s *Source) request(c *conn, p *position, set gtidSet, period time.Duration) error {
	// The server waits long for us while the log is slow. What it checks sums of is checked by us, too.
	setup := []string{"SET net_write_timeout = 86400",
		"SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum",
		fmt.Sprintf("SET @master_heartbeat_period = %d, @source_heartbeat_period = %[1]d", period),
		fmt.Sprintf("SET @slave_uuid = '%s', @replica_uuid = '%[1]s'", s.instance)}
	byGTID := set != nil
	if s.flavor == mariadb {
		setup = append(setup, "SET @mariadb_slave_capability = 4")
		if byGTID {
			setup = append(setup, "SET @slave_connect_state = "+quoted(string(set.appendText(nil))), "SET @slave_gtid_strict_mode = 0")
		}
	}
	for _, sql := range setup {
		if _, err := c.Execute(sql); err != nil {
			return fmt.Errorf("prepare the dump by %s: %w", sql, err)
		}
	}
	id, err := s.chooseID(c)
	if err != nil {
		return err
	}
	// Both commands go out before the first is answered. Before 8.0.22 MySQL keeps a replica in its list that registers and leaves
	// without a dump, and SHOW SLAVE HOSTS, whoever runs it, reads memory that was freed: the server can crash.
	if err := s.sendRegister(c, id); err != nil {
		return err
	}
	if err := s.sendDump(c, id, p, set); err != nil {
		return err
	}
	_, err = c.packet() // the answer to the first
	c.Sequence = 1      // of the other's first packet
	return err
}

func (s *Source) sendDump(c *conn, id uint32, p *position, set gtidSet) error {
	if my, ok := set.(*mysqlSet); ok {
		return c.command(mysql.COM_BINLOG_DUMP_GTID, dumpGTID(id, my))
	}
	var flags uint16
	if s.flavor == mariadb && s.settings.Query {
		flags = annotateRows
	}
	at, _ := s.ask(p.Pos)
	body := binary.LittleEndian.AppendUint32(nil, at)
	body = binary.LittleEndian.AppendUint16(body, flags)
	body = binary.LittleEndian.AppendUint32(body, id)
	if set == nil {
		body = append(body, p.File...)
	}
	return c.command(mysql.COM_BINLOG_DUMP, body)
}

// annotateRows asks MariaDB to send the statements behind rows.
const annotateRows = 2

func dumpGTID(id uint32, set *mysqlSet) []byte {
	encoded := set.encode()
	body := binary.LittleEndian.AppendUint16(nil, 0)
	body = binary.LittleEndian.AppendUint32(body, id)
	body = binary.LittleEndian.AppendUint32(body, 0) // no name of a file
	body = binary.LittleEndian.AppendUint64(body, 4)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(encoded)))
	return append(body, encoded...)
}

// command sends a command without waiting for an answer.
func (c *conn) command(code byte, body []byte) error {
	c.ResetSequence()
	return c.WritePacket(append(append(make([]byte, 4, 5+len(body)), code), body...))
}

// sendRegister makes the server list us among its replicas, under a name that tells us from others with the same id.
func (s *Source) sendRegister(c *conn, id uint32) error {
	host := s.replicaName()
	body := binary.LittleEndian.AppendUint32(nil, id)
	body = append(append(body, byte(len(host))), host...)
	body = append(body, 0, 0) // neither user nor password
	body = binary.LittleEndian.AppendUint16(body, 0)
	body = append(body, make([]byte, 8)...) // rank and source id
	return c.command(mysql.COM_REGISTER_SLAVE, body)
}

// replicaName is how we appear in SHOW REPLICAS. The server keeps 60 bytes.
func (s *Source) replicaName() string {
	name := "tailrace-" + s.instance[:8] + "-" + s.settings.Prefix
	return name[:min(len(name), 60)]
}

// chooseID returns a number to register with. MariaDB disconnects a replica when another one with its number comes: one that is
// taken, or that can't be checked for want of privileges, is replaced by chance. MySQL tells replicas apart by @slave_uuid and
// lets numbers be shared.
func (s *Source) chooseID(c *conn) (uint32, error) {
	want, taken := uint32(s.settings.ServerID), map[uint32]bool{}
	if s.flavor == mariadb {
		var err error
		taken, err = s.takenIDs(c)
		switch {
		case err != nil && !refusal(err):
			return 0, err
		case err != nil:
			want = 0
		case taken[want]:
			s.log.Warn("database.server.id belongs to another replica; another one is chosen", "id", want)
			want = 0
		}
	}
	for want == 0 || taken[want] {
		want = 1<<31 | rand.Uint32()>>1 // away from the small numbers that people choose
	}
	return want, nil
}

// takenIDs returns the numbers of MariaDB's other replicas.
func (s *Source) takenIDs(c *conn) (map[uint32]bool, error) {
	rows, err := c.rows("SHOW SLAVE HOSTS")
	taken := map[uint32]bool{}
	for _, r := range rows {
		var id uint32
		if len(r) < 2 {
			continue
		}
		if _, err := fmt.Sscan(r[0], &id); err == nil && r[1] != s.replicaName() {
			taken[id] = true
		}
	}
	return taken, err
}

// dumpError says what an error with which the server ends a dump means. (Facts: messages of sql/rpl_binlog_sender.cc in
// MySQL and sql/sql_repl.cc in MariaDB; they are not translated.)
func dumpError(err error) error {
	var e *mysql.MyError
	if !errors.As(err, &e) {
		return err
	}
	what := fmt.Errorf("%s (error %d)", e.Message, e.Code)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(e.Message, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("same server_uuid", "same server_id"):
		return fault.Permanent("SERVER_ID_TAKEN", "give the connectors different numbers by database.server.id, or remove it", what)
	case has("purged", "Could not find first log file", "too old"):
		return fault.Permanent("POSITION_PURGED", purgedRemedy, what)
	case has("which is not in the master's binlog", "has more GTIDs than", "not in the source's binlog", "after the last event", "position > file size"):
		return fault.Permanent("POSITION_AHEAD", aheadRemedy, what)
	case e.Code == mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG && has("exceeded max_allowed_packet", "larger than max_allowed_packet"):
		return fault.Permanent("EVENT_TOO_LARGE", "raise max_allowed_packet on the server with SET GLOBAL", what)
	case has("checksum", "not known to the master", "bogus data in log event"):
		return fault.Permanent("BINLOG_CORRUPT", "check the server's binary log with mysqlbinlog --verify-binlog-checksum; if it is damaged reset the connector's offsets to take a new snapshot", what)
	}
	return err
}

const (
	purgedRemedy = "reset the connector's offsets to take a new snapshot, or set snapshot.mode=when_needed; keep binary logs for longer (binlog_expire_logs_seconds)"
	aheadRemedy  = "connect to the server that the position is from; if its binary log was reset or it was restored, reset the connector's offsets to take a new snapshot"
)
