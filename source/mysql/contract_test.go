package mysql

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/sourcetest"
)

func TestContract(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		sourcetest.Run(t, sourcetest.Harness{
			New: func(t *testing.T) sourcetest.Database {
				return &contractDB{newDB(t, addr, "CREATE TABLE items (id bigint PRIMARY KEY, n bigint, doc mediumtext)")}
			},
			Big: 9000,
			Compare: func(a, b change.Position) int {
				p, err1 := parsePosition(a)
				q, err2 := parsePosition(b)
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				return cmp.Or(cmp.Compare(p.coordinate(), q.coordinate()), cmp.Compare(p.Events, q.Events), cmp.Compare(p.Rows, q.Rows))
			},
		})
	})
}

type contractDB struct{ *testDB }

func (d *contractDB) Open(ctx context.Context, t *testing.T) source.Source {
	s, err := d.plugin().Open(ctx, d.setup())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (d *contractDB) Exec(t *testing.T, rollback bool, ops ...sourcetest.Op) {
	execOn(t, d.conn, "BEGIN")
	var inserts []string
	flush := func() {
		for len(inserts) > 0 {
			n := min(len(inserts), 500)
			execOn(t, d.conn, "INSERT INTO items VALUES "+strings.Join(inserts[:n], ","))
			inserts = inserts[n:]
		}
	}
	for _, op := range ops {
		if op.Kind == sourcetest.Insert {
			inserts = append(inserts, fmt.Sprintf("(%d, %d, %s)", op.ID, op.N, quoted(op.Doc)))
			continue
		}
		flush()
		switch op.Kind {
		case sourcetest.Update:
			execOn(t, d.conn, fmt.Sprintf("UPDATE items SET n = %d WHERE id = %d", op.N, op.ID))
		case sourcetest.Delete:
			execOn(t, d.conn, fmt.Sprintf("DELETE FROM items WHERE id = %d", op.ID))
		case sourcetest.Move:
			execOn(t, d.conn, fmt.Sprintf("UPDATE items SET id = %d WHERE id = %d", op.To, op.ID))
		case sourcetest.Truncate:
			execOn(t, d.conn, "TRUNCATE items")
		}
	}
	flush()
	if rollback {
		execOn(t, d.conn, "ROLLBACK")
	} else {
		execOn(t, d.conn, "COMMIT")
	}
}
