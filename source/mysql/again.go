package mysql

import (
	"slices"
	"strings"
	"sync"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/snapshot"
)

// growth is the tables that have to be copied again because rows of them were left out. It is safe for concurrent use.
type growth struct {
	mu    sync.Mutex
	list  []change.TableName
	taken []string // told to the copy, which the next position will know of
}

func (g *growth) add(name tableRef) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = append(g.list, change.TableName{Database: name.Database, Table: name.Table})
}

// restore takes over what the position has, of which the copy may not know.
func (g *growth) restore(names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list, g.taken = nil, nil
	for _, name := range names {
		database, table, _ := strings.Cut(name, "\x00")
		g.list = append(g.list, change.TableName{Database: database, Table: table})
	}
}

// Grown implements snapshot.Grower.
func (s *Source) Grown() []snapshot.Growth {
	g := &s.grown
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []snapshot.Growth
	for _, name := range g.list {
		list = append(list, snapshot.Growth{Table: name, Remade: true})
		g.taken = append(g.taken, againName(name))
	}
	g.list = nil
	return list
}

func againName(n change.TableName) string { return n.Database + "\x00" + n.Table }

// copies reports whether the tables' rows are copied by the connector's configuration, and so can be copied again.
func (s *Source) copies() bool {
	switch s.setup.Props["snapshot.mode"] {
	case "", "initial", "always", "when_needed":
		return true
	}
	return false
}

// copyAgain leaves out the rows of a table for now and has it copied again.
func (s *stream) copyAgain(name tableRef, why error) {
	id := againName(change.TableName{Database: name.Database, Table: name.Table})
	if slices.Contains(s.pos.Again, id) {
		return
	}
	s.src.log.Warn("the table's structure at that time is not known: its rows are left out, and it is copied again", "table", name.String(), "file", s.file, "pos", s.at, "err", why)
	s.pos.Again = append(slices.Clone(s.pos.Again), id)
	s.src.grown.add(name)
	s.Prompt()
}

// settleAgain drops from the position the tables that the copy was told of: it is the copy's progress, in the same record of our log,
// that knows them now.
func (s *stream) settleAgain() {
	g := &s.src.grown
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.taken) == 0 {
		return
	}
	s.pos.Again = slices.DeleteFunc(slices.Clone(s.pos.Again), func(id string) bool { return slices.Contains(g.taken, id) })
	g.taken = nil
}
