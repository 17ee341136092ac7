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
	// source is the plugin and the configuration of a connector on a database.
	source(name string) (source.Plugin, map[string]string, error)
	// statement is one change, or some that belong together.
	statement(c *rioter) []string
	// twoPhase are the statements that end a transaction in two phases: those that prepare it, and the two that end it then. Without
	// any the connector can't follow such transactions.
	twoPhase(gid string) (prepare, commit, rollback string)
	// refused reports whether a statement failed for what other clients do: a deadlock, a key that is taken.
	refused(err error) bool
	// lines are the rows of a table, as lineOf writes them.
	lines(ctx context.Context, name, table string) ([]string, error)
}

// A session is one connection.
type session interface {
	exec(ctx context.Context, sql string) error
	close(ctx context.Context) error
}

// handoffTables are the tables of all families.
func handoffTables() []string { return []string{"item", "pair", "whole", "bag"} }

func handoffColumns(table string) string {
	return map[string]string{"item": "id, n, ver, doc", "pair": "a, b, ver, v", "whole": "id, ver, doc", "bag": "v, ver"}[table]
}

const turmoilClients = 6

// turmoil is clients that write in every way there is.
type turmoil struct {
	db        family
	name      string // of the database
	seed      uint64
	committed atomic.Int64
}

func (l *turmoil) run(ctx context.Context) error {
	var g errgroup.Group
	for id := range turmoilClients {
		c := &rioter{load: l, id: id, rnd: rand.New(rand.NewPCG(l.seed, uint64(id)+100))}
		g.Go(func() error { return c.run(ctx) })
	}
	return g.Wait()
}

// rioter is one client.
type rioter struct {
	load *turmoil
	id   int
	n    int
	rnd  *rand.Rand
}

func (c *rioter) run(ctx context.Context) error {
	open := context.WithoutCancel(ctx) // what was begun is finished
	s, err := c.load.db.connect(open, c.load.name)
	if err != nil {
		return err
	}
	for err == nil && ctx.Err() == nil {
		switch err = c.transaction(open, s); {
		case err == nil:
			c.load.committed.Add(1)
		case c.load.db.refused(err):
			err = s.exec(open, "ROLLBACK")
		}
	}
	if err = errors.Join(err, s.close(open)); err != nil {
		return fmt.Errorf("client %d: %w", c.id, err)
	}
	return nil
}

// transaction runs some statements and ends them in one of five ways.
func (c *rioter) transaction(ctx context.Context, s session) error {
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
	if err := s.exec(ctx, "BEGIN"); err != nil {
		return err
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
	switch c.rnd.IntN(12) {
	case 0:
		return s.exec(ctx, "ROLLBACK")
	case 1: // long
		if err := pauseFor(ctx, time.Duration(20+c.rnd.IntN(200))*time.Millisecond); err != nil {
			return err
		}
	case 2, 3: // in two phases
		c.n++
		prepare, commit, rollback := c.load.db.twoPhase(fmt.Sprintf("'%d-%d'", c.id, c.n))
		if prepare == "" {
			break
		}
		if err := s.exec(ctx, prepare); err != nil {
			return err
		}
		if err := pauseFor(ctx, time.Duration(c.rnd.IntN(60))*time.Millisecond); err != nil {
			return err
		}
		if c.rnd.IntN(5) == 0 {
			return s.exec(ctx, rollback)
		}
		return s.exec(ctx, commit)
	}
	return s.exec(ctx, "COMMIT")
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
