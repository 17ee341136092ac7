package postgres

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

// The suite looks for goroutines that are left, so its servers take turns.
func TestContract(t *testing.T) {
	for _, name := range []string{"postgres15", "postgres18"} {
		t.Run(name, testContract)
	}
}

func testContract(t *testing.T) {
	sourcetest.Run(t, sourcetest.Harness{
		New: func(t *testing.T) sourcetest.Database {
			return &contractDB{newDB(t, `CREATE TABLE items (id bigint PRIMARY KEY, n bigint, doc text);
				ALTER TABLE items ALTER doc SET STORAGE EXTERNAL`)}
		},
		Compare: func(a, b change.Position) int {
			p, err1 := parsePosition(a)
			q, err2 := parsePosition(b)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			return cmp.Or(cmp.Compare(p.LSN, q.LSN), cmp.Compare(p.Ordinal, q.Ordinal))
		},
	})
}

type contractDB struct{ *testDB }

func (d *contractDB) Open(ctx context.Context, t *testing.T) source.Source {
	s, err := Plugin.Open(ctx, d.setup())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (d *contractDB) Exec(t *testing.T, rollback bool, ops ...sourcetest.Op) {
	var sql strings.Builder
	sql.WriteString("BEGIN;")
	for _, op := range ops {
		switch op.Kind {
		case sourcetest.Insert:
			fmt.Fprintf(&sql, "INSERT INTO items VALUES (%d, %d, %s);", op.ID, op.N, literal(op.Doc))
		case sourcetest.Update:
			fmt.Fprintf(&sql, "UPDATE items SET n = %d WHERE id = %d;", op.N, op.ID)
		case sourcetest.Delete:
			fmt.Fprintf(&sql, "DELETE FROM items WHERE id = %d;", op.ID)
		case sourcetest.Move:
			fmt.Fprintf(&sql, "UPDATE items SET id = %d WHERE id = %d;", op.To, op.ID)
		case sourcetest.Truncate:
			sql.WriteString("TRUNCATE items;")
		}
	}
	if rollback {
		sql.WriteString("ROLLBACK")
	} else {
		sql.WriteString("COMMIT")
	}
	mustExec(t, d.conn, sql.String())
}
