package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tailrace/tailrace/source"
)

// A family is what writers and connector need to know of a kind of database.
type family interface {
	// create makes a database with its tables; drop removes it and what a connector left on the server.
	create(ctx context.Context, name string) error
	drop(ctx context.Context, name string) error
	connect(ctx context.Context, name string) (session, error)
	// brisk are the statements that prepare a session for brisk clients: they wait little, for locks and for the disk.
	brisk() []string
	// source is the plugin and the configuration of a connector on a database.
	source(name string) (source.Plugin, map[string]string, error)
	// statement is one change, or some that belong together.
	statement(c *rioter) []string
	// twoPhase are the statements of a transaction in two phases.
	twoPhase(gid string) phases
	// refused reports whether a statement failed for what other clients do: a deadlock, a key that is taken.
	refused(err error) bool
	// lines are the rows of a table, as lineOf writes them.
	lines(ctx context.Context, name, table string) ([]string, error)
}

// Phases are the statements around a transaction in two phases: what begins it, what prepares it, the two that end it then, and what
// takes it back when a statement has failed, of which the first ones may fail too.
type phases struct {
	begin            string
	prepare          []string
	commit, rollback string
	abandon          []string
}

// A session is one connection.
type session interface {
	exec(ctx context.Context, sql string) error
	// batch runs statements in one round trip, up to the first that fails, and counts the COMMITs.
	batch(ctx context.Context, statements []string) (committed int, err error)
	// affect runs a statement and counts the rows that it changed; numbers runs one whose rows are a number each.
	affect(ctx context.Context, sql string) (rows int64, err error)
	numbers(ctx context.Context, sql string) ([]int64, error)
	close(ctx context.Context) error
}

// handoffTables are the tables of all families.
func handoffTables() []string { return []string{"item", "pair", "whole", "bag"} }

func handoffColumns(table string) string {
	return map[string]string{"item": "id, n, ver, doc", "pair": "a, b, ver, v", "whole": "id, ver, doc", "bag": "v, ver"}[table]
}

const (
	turmoilClients = 6
	briskClients   = 4    // beside them
	briskRate      = 2000 // transactions a second that all clients together make at most, in a campaign
	briskBatch     = 10   // transactions in one round trip
)

// turmoil is clients that write in every way there is, and others that write much.
type turmoil struct {
	db        family
	rate      int    // transactions a second that brisk clients wait for
	name      string // of the database
	seed      uint64
	committed atomic.Int64
}

func (l *turmoil) run(ctx context.Context) error {
	var g errgroup.Group
	begun := time.Now()
	for id := range turmoilClients + briskClients {
		c := &rioter{load: l, id: id, brisk: id >= turmoilClients, begun: begun, rnd: rand.New(rand.NewPCG(l.seed, uint64(id)+100))}
		g.Go(func() error { return c.run(ctx) })
	}
	return g.Wait()
}

// rioter is one client.
type rioter struct {
	load  *turmoil
	id    int
	brisk bool // makes many short transactions in each round trip
	begun time.Time
	n     int
	rnd   *rand.Rand
}

// kind draws one of n kinds of statements. Those of the last few find their rows slowly, so brisk clients make fewer of them.
func (c *rioter) kind(n, slow int) int {
	if c.brisk && c.rnd.IntN(8) > 0 {
		n -= slow
	}
	return c.rnd.IntN(n)
}

func (c *rioter) run(ctx context.Context) error {
	open := context.WithoutCancel(ctx) // what was begun is finished
	s, err := c.load.db.connect(open, c.load.name)
	if err != nil {
		return err
	}
	write := c.one
	if c.brisk {
		write = c.many
		for _, sql := range c.load.db.brisk() {
			err = errors.Join(err, s.exec(open, sql))
		}
	}
	for err == nil && ctx.Err() == nil {
		var committed int
		committed, err = write(open, s)
		c.load.committed.Add(int64(committed))
		if err != nil && c.load.db.refused(err) {
			err = s.exec(open, "ROLLBACK")
		}
	}
	if err = errors.Join(err, s.close(open)); err != nil {
		return fmt.Errorf("client %d: %w", c.id, err)
	}
	return nil
}

// many runs a batch of short transactions, when it is time for them.
func (c *rioter) many(ctx context.Context, s session) (committed int, err error) {
	due := time.Duration(c.load.committed.Load()) * time.Second / time.Duration(c.load.rate)
	if ahead := due - time.Since(c.begun); ahead > 0 {
		if err := pauseFor(ctx, ahead); err != nil {
			return 0, err
		}
	}
	var statements []string
	for range briskBatch {
		statements = append(statements, "BEGIN")
		for range 1 + c.rnd.IntN(3) {
			statements = append(statements, c.load.db.statement(c)...)
		}
		statements = append(statements, "COMMIT")
	}
	return s.batch(ctx, statements)
}

func (c *rioter) one(ctx context.Context, s session) (committed int, err error) {
	if err := c.transaction(ctx, s); err != nil {
		return 0, err
	}
	return 1, nil
}

// transaction runs some statements and ends them in one of five ways.
func (c *rioter) transaction(ctx context.Context, s session) error {
	end := c.rnd.IntN(12)
	if end == 2 || end == 3 {
		return c.inTwoPhases(ctx, s)
	}
	if err := s.exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := c.changes(ctx, s); err != nil {
		return err
	}
	switch end {
	case 0:
		return s.exec(ctx, "ROLLBACK")
	case 1: // long
		if err := pauseFor(ctx, time.Duration(20+c.rnd.IntN(200))*time.Millisecond); err != nil {
			return err
		}
	}
	return s.exec(ctx, "COMMIT")
}

func (c *rioter) inTwoPhases(ctx context.Context, s session) error {
	c.n++
	two := c.load.db.twoPhase(fmt.Sprintf("'%s-%d-%d'", c.load.name, c.id, c.n))
	err := s.exec(ctx, two.begin)
	if err == nil {
		err = c.changes(ctx, s)
	}
	for _, sql := range two.prepare {
		if err == nil {
			err = s.exec(ctx, sql)
		}
	}
	if err != nil {
		for _, sql := range two.abandon {
			_ = s.exec(ctx, sql) // a failed transaction is not ended twice; if it stays open nothing more succeeds
		}
		return err
	}
	if err := pauseFor(ctx, time.Duration(c.rnd.IntN(60))*time.Millisecond); err != nil {
		return err
	}
	if c.rnd.IntN(5) == 0 {
		return s.exec(ctx, two.rollback)
	}
	return s.exec(ctx, two.commit)
}

// changes are the statements of a transaction.
func (c *rioter) changes(ctx context.Context, s session) error {
	change := func() error {
		for _, sql := range c.load.db.statement(c) {
			if err := s.exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	}
	within := func(end string) error {
		if err := s.exec(ctx, "SAVEPOINT s"); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		return s.exec(ctx, end)
	}
	for range 1 + c.rnd.IntN(5) {
		err := change()
		if err == nil && c.rnd.IntN(8) == 0 { // a part of it is taken back
			err = within("ROLLBACK TO SAVEPOINT s")
		} else if err == nil && c.rnd.IntN(8) == 0 { // and a part of it is a transaction of its own in the server
			err = within("RELEASE SAVEPOINT s")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
