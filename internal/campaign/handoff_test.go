package main

import (
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/servers"
)

// TestHandoff is the short form of the campaign handoff, at a rate that a connector under the race detector keeps up with.
func TestHandoff(t *testing.T) {
	for server, n := range map[string]int{"postgres15": 1, "postgres18": 2, "mariadb10": 2, "mysql97": 1} {
		t.Run("case31_case32_case34_case104_case105_writers_against_a_snapshot/"+server, func(t *testing.T) {
			if err := servers.Missing(server); err != nil {
				t.Skipf("not run: no %s: %v (scripts/servers install brings it)", server, err)
			}
			violations, err := handoff(t.Context(), server, n, 300, 31, t.Output())
			if err != nil || violations > 0 {
				t.Fatalf("%d violations, %v", violations, err)
			}
		})
	}
}

// The judge sees what it is there for.
func TestJudge(t *testing.T) {
	item := &change.Table{Name: change.TableName{Schema: "public", Table: "item"}, Key: []int{0},
		Columns: []change.Column{{Name: "id", Type: change.Type{Kind: change.Int}}, {Name: "ver", Type: change.Type{Kind: change.Int}}}}
	event := func(op change.Op, id, ver int64) change.Event {
		row := change.Row{{Kind: change.Int, Num: uint64(id)}, {Kind: change.Int, Num: uint64(ver)}}
		e := change.Event{Table: item, Op: op, After: row}
		e.Key, _ = change.AppendKey(nil, item, row)
		if op == change.OpDelete {
			e.Before, e.After = row, nil
		}
		return e
	}
	for name, c := range map[string]struct {
		events     []change.Event
		rows       []string
		violations int
	}{
		"legal":           {[]change.Event{event('c', 1, 1), event('u', 1, 2), event('r', 1, 2), event('d', 1, 2), event('c', 1, 3)}, []string{"1|3"}, 0},
		"old_copy":        {[]change.Event{event('c', 1, 5), event('r', 1, 4)}, []string{"1|4"}, 1},
		"copy_of_deleted": {[]change.Event{event('c', 1, 5), event('d', 1, 5), event('r', 1, 5)}, []string{"1|5"}, 1},
		"twice":           {[]change.Event{event('c', 1, 5), event('u', 1, 5)}, []string{"1|5"}, 1},
		"lost":            {[]change.Event{event('c', 1, 5)}, []string{"1|5", "2|6"}, 1},
		"ghost":           {[]change.Event{event('c', 1, 5), event('c', 2, 6)}, []string{"1|5"}, 1},
	} {
		j := newJudge()
		j.take(&change.Batch{Events: c.events})
		if j.compare("item", c.rows); len(j.violations) != c.violations {
			t.Errorf("%s: %d violations: %v", name, len(j.violations), j.violations)
		}
	}
}
