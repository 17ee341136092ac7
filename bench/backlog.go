package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tailrace/tailrace/internal/servers"
)

const pgRecvlogical = "/usr/lib/postgresql/15/bin/pg_recvlogical"

// table is B1's row: 240 bytes in 11 columns.
const table = `create table b (
	id bigint primary key, n int not null, a text, b text, c text, d text, price numeric(12,2), cur char(3), ok bool, doc jsonb,
	at timestamptz, day timestamp)`

// newRow is the select list of a new row, from a series i.
const newRow = `i, (i*7)::int, 'name '||i, md5(i::text), md5((i+1)::text), repeat('x', 24), (i%100000)/100.0, 'EUR', i%2=0,
	jsonb_build_object('k', i, 'tag', 'v'||i%100), timestamptz '2026-01-01Z' + i * interval '1 second', timestamp '2026-01-01' + i * interval '1 second'`

// lab is the database that everything is measured on.
type lab struct {
	srv  *servers.Server
	conn *pgx.Conn
	dir  string // for data directories
	self string // this program
	host string // of the database, as both sides connect to it: the directory of its unix socket, or its address for TCP
	n    int    // numbers connectors and slots

	profile string // file to which each child writes its CPU profile; "": none
}

func openLab(ctx context.Context) (*lab, error) {
	srv, err := servers.Start(ctx, "postgres15", servers.Options{Settings: map[string]string{
		"synchronous_commit": "on", "shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "autovacuum": "off",
	}})
	if err != nil {
		return nil, err
	}
	l := &lab{srv: srv, host: srv.Dir}
	if l.conn, err = pgx.Connect(ctx, srv.URL); err != nil {
		return l, err
	}
	if l.dir, err = os.MkdirTemp("", "tailrace-bench-"); err != nil {
		return l, err
	}
	if l.self, err = os.Executable(); err != nil {
		return l, err
	}
	_, err = l.conn.Exec(ctx, table)
	return l, err
}

// openDir is openLab without a database.
func openDir(context.Context) (*lab, error) {
	dir, err := os.MkdirTemp("", "tailrace-bench-")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	return &lab{dir: dir, self: self}, err
}

func (l *lab) close() {
	if l.conn != nil {
		l.conn.Close(context.Background())
	}
	if l.dir != "" {
		os.RemoveAll(l.dir)
	}
	if l.srv == nil {
		return
	}
	if err := l.srv.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
	}
}

// connector returns a new connector of its own slot and prefix, on the unix socket or TCP.
func (l *lab) connector() (string, map[string]string) {
	l.n++
	name := fmt.Sprintf("bench%d", l.n)
	return name, map[string]string{
		"connector.class": "postgres", "database.hostname": l.host, "database.port": fmt.Sprint(l.srv.Port),
		"database.user": "postgres", "database.dbname": "postgres", "topic.prefix": name, "slot.name": name,
		"publication.name": "bench", "table.include.list": "public.b", "snapshot.mode": "no_data",
	}
}

// prepare lets a new connector make its slot and store a position, and stops it.
func (l *lab) prepare(ctx context.Context, data string) (job, error) {
	name, cfg := l.connector()
	j := job{Data: data, Name: name, Config: cfg}
	_, _, err := l.child(ctx, j)
	return j, err
}

// slot makes a slot for pg_recvlogical.
func (l *lab) slot(ctx context.Context) (string, error) {
	l.n++
	name := fmt.Sprintf("ref%d", l.n)
	_, err := l.conn.Exec(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", name)
	return name, err
}

// grow makes a backlog of about n changes in transactions of size rows, 60/30/10 insert, update, delete, and returns
// the LSN at its end. The table is emptied before, outside of what slots made later see.
func (l *lab) grow(ctx context.Context, n, size int) (uint64, error) {
	if size > 1 {
		ins, upd, del := size*6/10, size*3/10, size/10
		for at := 0; at < n; at += size {
			sql := fmt.Sprintf(`begin;
insert into b select %s from generate_series((select coalesce(max(id),0)+1 from b), (select coalesce(max(id),0)+%d from b)) i;
update b set n = n + 1, a = a || '!' where id > (select max(id) from b) - %d;
delete from b where id <= (select min(id) from b) + %d - 1 ; commit`, newRow, ins, upd, del)
			if _, err := l.conn.Exec(ctx, sql); err != nil {
				return 0, err
			}
		}
	} else if err := l.singles(ctx, n); err != nil {
		return 0, err
	}
	var text string
	if err := l.conn.QueryRow(ctx, "select pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return 0, err
	}
	// One more transaction, so that both sides pass the end.
	if _, err := l.conn.Exec(ctx, "insert into b select "+newRow+" from (select max(id)+1 i from b) s"); err != nil {
		return 0, err
	}
	return lsn(text)
}

// singles makes n transactions of one row each, on the server's side.
func (l *lab) singles(ctx context.Context, n int) error {
	steps := []string{"set synchronous_commit = off", fmt.Sprintf(`do $$ declare base bigint := (select coalesce(max(id),0) from b); begin
for k in 1..%d loop
	case when k %% 10 < 6 then insert into b select %s from (select base + k as i) s;
	when k %% 10 < 9 then update b set n = n + 1, a = a || '!' where id = base + (k - k %% 10) + 1;
	else delete from b where id = base + (k - k %% 10) + 2; end case;
	commit;
end loop; end $$`, n, newRow), "set synchronous_commit = on", "checkpoint"}
	for _, sql := range steps { // one by one: a block that commits must not be part of a larger transaction
		if _, err := l.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// usage is what the operating system says of a finished process.
type usage struct {
	wall, cpu float64 // seconds
	rss       float64 // MB, the peak
}

func measure(cmd *exec.Cmd) (usage, error) {
	start := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(start).Seconds()}
	if s := cmd.ProcessState; s != nil {
		u.cpu = (s.UserTime() + s.SystemTime()).Seconds()
		if r, ok := s.SysUsage().(*syscall.Rusage); ok {
			u.rss = float64(r.Maxrss) / 1024
		}
	}
	return u, err
}

// reference drains a slot by pg_recvlogical into path up to target.
func (l *lab) reference(ctx context.Context, slot, path string, target uint64) (usage, error) {
	cmd := exec.CommandContext(ctx, pgRecvlogical, "-h", l.host, "-p", fmt.Sprint(l.srv.Port), "-U", "postgres", "-d", "postgres",
		"--slot", slot, "--start", "-f", path, "-o", "proto_version=1", "-o", "publication_names=bench",
		"--endpos", fmt.Sprintf("%X/%X", target>>32, uint32(target)), "--no-loop", "-F", "0")
	cmd.Stderr = os.Stderr
	u, err := measure(cmd)
	if err != nil {
		return u, fmt.Errorf("pg_recvlogical: %w", err)
	}
	return u, nil
}

func (l *lab) data() string {
	l.n++
	return filepath.Join(l.dir, fmt.Sprintf("data%d", l.n))
}
