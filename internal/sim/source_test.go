package sim_test

import (
	"cmp"
	"context"
	"encoding/json"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/sim"
	"github.com/tailrace/tailrace/source"
	"github.com/tailrace/tailrace/source/sourcetest"
)

type database struct{ *sim.DB }

func (d database) Open(context.Context, *testing.T) source.Source { return d.Source() }

func (d database) Exec(t *testing.T, rollback bool, ops ...sourcetest.Op) {
	t.Helper()
	tx := d.Begin()
	for _, op := range ops {
		var err error
		switch op.Kind {
		case sourcetest.Insert:
			err = tx.Insert(op.ID, op.N, op.Doc)
		case sourcetest.Update:
			err = tx.Update(op.ID, op.N)
		case sourcetest.Delete:
			err = tx.Delete(op.ID)
		case sourcetest.Move:
			err = tx.Move(op.ID, op.To)
		case sourcetest.Truncate:
			err = tx.Truncate()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rollback {
		tx.Rollback()
	} else {
		tx.Commit()
	}
}

func compare(a, b change.Position) int {
	var x, y struct{ LSN, Ord int64 }
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		panic("sim: malformed position")
	}
	// A position inside a transaction is before the one at its end, which has no ordinal.
	if x.Ord == 0 {
		x.Ord = 1 << 62
	}
	if y.Ord == 0 {
		y.Ord = 1 << 62
	}
	return cmp.Or(cmp.Compare(x.LSN, y.LSN), cmp.Compare(x.Ord, y.Ord))
}

func TestContract(t *testing.T) {
	sourcetest.Run(t, sourcetest.Harness{
		New:     func(t *testing.T) sourcetest.Database { return database{sim.New(sim.Config{Seed: 1, Steps: -1})} },
		Compare: compare,
		Big:     3000,
	})
}
