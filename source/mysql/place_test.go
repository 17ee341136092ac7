package mysql

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tailrace/tailrace/internal/servers"
)

// While monitors ask for the server's status and rows are written, what a snapshot has seen is never told wrong. Each row is a transaction
// with the next number, so a snapshot of so many rows has seen the transactions up to that.
func TestCase31SnapshotPlaceAmongMonitors(t *testing.T) {
	const snapshots = 150
	d := newDB(t, servers.Private(t, "mariadb10", nil).URL, "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY)")
	c := d.connect()
	defer c.Close()
	execOn(t, c, "USE "+d.name)
	number := func(set string) int {
		n, err := strconv.Atoi(set[strings.LastIndexByte(set, '-')+1:])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := number(d.text("SELECT @@gtid_binlog_pos"))
	numberAt := func(at status) int {
		set, err := gtidsAt(c, at)
		if err != nil {
			t.Fatal(err)
		}
		return number(string(set.appendText(nil)))
	}
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop()
	for _, sql := range []string{"INSERT INTO " + d.name + ".t VALUES ()", "SHOW GLOBAL STATUS LIKE 'binlog_snapshot_%'", "SHOW GLOBAL STATUS LIKE 'binlog_snapshot_%'"} {
		other := d.connect()
		busy.Go(func() {
			defer other.Close()
			for ctx.Err() == nil {
				if _, err := other.Execute(sql); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range snapshots {
		execOn(t, c, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
		first, last, err := snapshotPosition(c)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.row("SELECT COUNT(*) FROM t")
		if err != nil {
			t.Fatal(err)
		}
		seen := before + number(r[0])
		if low, high := numberAt(first), numberAt(last); low > seen || high < seen {
			t.Fatalf("the snapshot has seen %d, and is said to be between %d and %d", seen, low, high)
		}
	}
}
