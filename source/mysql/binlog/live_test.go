package binlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/tailrace/tailrace/internal/servers"
)

// A db is a session on a live server.
type db struct {
	tb     testing.TB
	server string
	host   string
	port   uint16
	conn   *client.Conn
}

// connect opens a session on the server of this name, with an empty database of its own.
func connect(tb testing.TB, server string) *db {
	tb.Helper()
	u, err := url.Parse(servers.Need(tb, server))
	if err != nil {
		tb.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		tb.Fatal(err)
	}
	d := &db{tb: tb, server: server, host: u.Hostname(), port: uint16(port)}
	d.conn, err = client.Connect(u.Host, "root", "", "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.conn.Close() })
	d.exec("set names utf8mb4")
	name := fmt.Sprintf("binlog_%d", time.Now().UnixNano())
	d.exec("create database `" + name + "` character set utf8mb4")
	tb.Cleanup(func() { d.exec("drop database if exists `" + name + "`") })
	d.exec("use `" + name + "`")
	d.exec("set session sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
	return d
}

func (d *db) maria() bool { return strings.HasPrefix(d.server, "mariadb") }

func (d *db) exec(statement string) *mysql.Result {
	d.tb.Helper()
	r, err := d.conn.Execute(statement)
	if err != nil {
		d.tb.Fatalf("%s: %.300s: %v", d.server, statement, err)
	}
	return r
}

// accepts runs a statement that this version may not know.
func (d *db) accepts(statement string) bool {
	_, err := d.conn.Execute(statement)
	return err == nil
}

// position returns the end of the log.
func (d *db) position() mysql.Position {
	d.tb.Helper()
	r, err := d.conn.Execute("show binary log status")
	if err != nil {
		r = d.exec("show master status")
	}
	file, err1 := r.GetString(0, 0)
	pos, err2 := r.GetUint(0, 1)
	if err := errors.Join(err1, err2); err != nil {
		d.tb.Fatal(err)
	}
	return mysql.Position{Name: file, Pos: uint32(pos)}
}

// dump returns the events of the log from one position to another, as the server sends them to a replica: with a rotate
// and a format description first.
func (d *db) dump(from, to mysql.Position) [][]byte {
	d.tb.Helper()
	flavor, flags := mysql.MySQLFlavor, uint16(0)
	if d.maria() {
		flavor, flags = mysql.MariaDBFlavor, replication.BINLOG_SEND_ANNOTATE_ROWS_EVENT
	}
	s := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{ServerID: uint32(time.Now().UnixNano()%1e9) + 1000, Flavor: flavor, Host: d.host,
		Port: d.port, User: "root", RawModeEnabled: true, DumpCommandFlag: flags, Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	in, err := s.StartSync(from)
	if err != nil {
		d.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.tb.Context(), time.Minute)
	defer cancel()
	var all [][]byte
	file := from.Name
	for {
		e, err := in.GetEvent(ctx)
		if err != nil {
			d.tb.Fatal(err)
		}
		all = append(all, e.RawData)
		if r, ok := e.Event.(*replication.RotateEvent); ok {
			file = string(r.NextLogName)
		}
		if file == to.Name && e.Header.LogPos >= to.Pos && e.Header.Flags&FlagArtificial == 0 {
			return all
		}
	}
}

// columns reads the columns of a table from information_schema.
func (d *db) columns(table string) []Column {
	d.tb.Helper()
	r := d.exec("select column_name, column_type, character_set_name, is_nullable from information_schema.columns" +
		" where table_schema = database() and table_name = '" + table + "' order by ordinal_position")
	cols := make([]Column, r.RowNumber())
	for i := range cols {
		var s [4]string
		for k := range s {
			s[k], _ = r.GetString(i, k)
		}
		c, err := ParseColumn(s[0], s[1], s[2], s[3] == "YES")
		if err != nil {
			d.tb.Fatal(err)
		}
		cols[i] = c
	}
	return cols
}

// unpack calls f for each event, and for those in compressed transactions.
func unpack(d *Decoder, events [][]byte, f func(e *Event) error) error {
	var e, inner Event
	var u Unpacker
	defer u.Close()
	for _, p := range events {
		if err := d.Decode(p, &e); err != nil {
			return err
		}
		if err := f(&e); err != nil {
			return err
		}
		if e.Kind != KindPayload {
			continue
		}
		if err := u.Open(&e.Payload); err != nil {
			return err
		}
		for {
			p, err := u.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = d.DecodeInner(p, &inner)
			}
			if err == nil {
				err = f(&inner)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
