package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"

	mysqlclient "github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/tailrace/tailrace/internal/servers"
)

// mariaTable is B1's row in MariaDB's types.
const mariaTable = `CREATE TABLE b (id bigint PRIMARY KEY, n int NOT NULL, a varchar(40), b char(32), c char(32), d varchar(40), price decimal(12,2), cur char(3),
	ok tinyint, doc json, at timestamp(6) NOT NULL DEFAULT '2026-01-01 00:00:00', day datetime)`

// mariaRow is the select list of a new row, from a series i.
const mariaRow = `i, (i * 7) % 2000000000, concat('name ', i), md5(i), md5(i + 1), repeat('x', 24), (i % 100000) / 100, 'EUR', i % 2 = 0,
	json_object('k', i, 'tag', concat('v', i % 100)), timestamp'2026-01-01 00:00:00' + interval (i % 10000000) second, timestamp'2026-01-01 00:00:00' + interval (i % 10000000) second`

// A parseJob is what the child that only parses is told to do.
type parseJob struct {
	Host      string
	Port      uint16
	File, End string // where to begin; in which file to stop
	Pos, Stop uint32
}

// mariaLab is a MariaDB with a backlog.
type mariaLab struct {
	srv  *servers.Server
	conn *mysqlclient.Conn
}

// end is where the server's log ends.
func (m *mariaLab) end() (file string, pos uint32, err error) {
	r, err := m.conn.Execute("SHOW MASTER STATUS")
	if err != nil {
		return "", 0, err
	}
	file, err1 := r.GetString(0, 0)
	n, err2 := r.GetUint(0, 1)
	return file, uint32(n), errors.Join(err1, err2)
}

// grow makes a backlog of about n changes in transactions of 1000 rows, 60/30/10 insert, update, delete.
func (m *mariaLab) grow(n int) error {
	const size = 1000
	for at := 0; at < n; at += size {
		base := at * 6 / 10
		for _, sql := range []string{"BEGIN",
			fmt.Sprintf("INSERT INTO b SELECT %s FROM (SELECT seq + %d AS i FROM seq_1_to_600) s", mariaRow, base),
			fmt.Sprintf("UPDATE b SET n = n + 1, a = concat(a, '!') WHERE id > %d AND id <= %d", base+300, base+600),
			fmt.Sprintf("DELETE FROM b WHERE id > %d AND id <= %d", base, base+100), "COMMIT"} {
			if _, err := m.conn.Execute(sql); err != nil {
				return err
			}
		}
	}
	return nil
}

// mariaRatio drains a backlog by turns through the daemon's corridor and through a loop that only parses it with go-mysql.
func mariaRatio(ctx context.Context, l *lab, o options) (figures []figure, err error) {
	srv, err := servers.Start(ctx, "mariadb10", servers.Options{Settings: map[string]string{"innodb_buffer_pool_size": "512M"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	m := &mariaLab{srv: srv}
	if m.conn, err = mysqlclient.Connect(srv.Addr, "root", "", ""); err != nil {
		return nil, err
	}
	defer m.conn.Close()
	for _, sql := range []string{"CREATE DATABASE bench", "USE bench", mariaTable} {
		if _, err := m.conn.Execute(sql); err != nil {
			return nil, err
		}
	}
	host, port, err := net.SplitHostPort(srv.Addr)
	if err != nil {
		return nil, err
	}
	var jobs []job
	for range o.rounds {
		l.n++
		name := fmt.Sprintf("bench%d", l.n)
		j := job{Data: l.data(), Name: name, Config: map[string]string{"connector.class": "mariadb", "database.hostname": host, "database.port": port, "database.user": "root",
			"topic.prefix": name, "table.include.list": "bench.b", "snapshot.mode": "no_data", "database.ssl.mode": "disabled"}}
		if _, _, err := l.child(ctx, j); err != nil { // it stores a position
			return nil, err
		}
		jobs = append(jobs, j)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	parse := parseJob{Host: host, Port: uint16(n)}
	if parse.File, parse.Pos, err = m.end(); err != nil {
		return nil, err
	}
	if err := m.grow(o.rows); err != nil {
		return nil, err
	}
	if parse.End, parse.Stop, err = m.end(); err != nil {
		return nil, err
	}
	rows := figure{id: "B11", what: "MariaDB, 1000-row transactions -> fsynced log, rows/s / a go-mysql loop that only parses", floor: 1.0, target: 2.0}
	cpu := figure{id: "B11", what: "CPU per row / the same", floor: 1.0, target: 0.45, atMost: true}
	for i, j := range jobs {
		ref, err := l.parse(ctx, parse)
		if err != nil {
			return nil, err
		}
		j.Target = place(parse.End, uint64(parse.Stop))
		rep, ours, err := l.child(ctx, j)
		if err != nil {
			return nil, err
		}
		fmt.Printf("  round %d: %d rows, go-mysql %.2f s, %.2f CPU s; tailrace %.2f s, %.2f CPU s, %.0f MB, %.3f allocations a row\n",
			i+1, rep.Rows, ref.wall, ref.cpu, ours.wall, ours.cpu, ours.rss, float64(rep.Mallocs)/float64(rep.Rows))
		rows.values, cpu.values = append(rows.values, ref.wall/ours.wall), append(cpu.values, ours.cpu/ref.cpu)
	}
	return []figure{rows, cpu}, nil
}

// place is a place in the binary log as a number that grows.
func place(file string, pos uint64) uint64 {
	n, err := strconv.ParseUint(file[strings.LastIndexByte(file, '.')+1:], 10, 24)
	if err != nil {
		return 0
	}
	return n<<40 | pos
}

// parse runs this program as a child that only parses.
func (l *lab) parse(ctx context.Context, p parseJob) (usage, error) {
	arg, err := json.Marshal(p)
	if err != nil {
		return usage{}, err
	}
	cmd := exec.CommandContext(ctx, l.self, "parse", string(arg))
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	u, err := measure(cmd)
	if err != nil {
		return u, fmt.Errorf("go-mysql: %w", err)
	}
	return u, nil
}

// parseAll reads a piece of a binary log with go-mysql and does nothing with it.
func parseAll(arg string) error {
	var p parseJob
	if err := json.Unmarshal([]byte(arg), &p); err != nil {
		return err
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{ServerID: 4_000_000_001, Flavor: mysql.MariaDBFlavor, Host: p.Host, Port: p.Port, User: "root",
		Logger: slog.New(slog.DiscardHandler)})
	defer syncer.Close()
	in, err := syncer.StartSync(mysql.Position{Name: p.File, Pos: p.Pos})
	if err != nil {
		return err
	}
	file := p.File
	for {
		e, err := in.GetEvent(context.Background())
		if err != nil {
			return err
		}
		if r, ok := e.Event.(*replication.RotateEvent); ok {
			file = string(r.NextLogName)
		} else if file == p.End && e.Header.LogPos >= p.Stop {
			return nil
		}
	}
}
