package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	modelClients = 4
	modelPool    = 60 // numbers that all clients draw from; others belong to the client that made them
	modelPause   = 12 * time.Millisecond
)

// modelLoad is clients that write random transactions, each with its row of the journal.
type modelLoad struct {
	db     dialect
	name   string // of the database
	seed   uint64
	schema *modelSchema

	gate      sync.RWMutex // held by every transaction; whoever holds it alone sees what is committed, and nothing is under way
	structure sync.Mutex   // one change of structure at a time
	committed atomic.Int64
	mu        sync.Mutex
	truncated map[string]int // table -> how often a statement of its own emptied it, where a transaction can't

	// torn says that rows get another key also where the log has only a part of them. What is missing is read from the table, and may
	// be newer than the event: such tables are not compared before the end. Some seeds do without.
	torn       bool
	tornTables map[string]bool
}

// run writes until ctx is done, and returns when no transaction is open any more.
func (l *modelLoad) run(ctx context.Context) error {
	var g errgroup.Group
	for id := range modelClients {
		g.Go(func() error {
			c := &modelClient{modelLoad: l, id: id, rnd: rand.New(rand.NewPCG(l.seed, uint64(id)+1))}
			if err := c.run(ctx); err != nil {
				return fmt.Errorf("client %d: %w", id, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// modelClient is one writer.
type modelClient struct {
	*modelLoad
	id    int
	seq   int64
	drawn int // numbers that it made
	rnd   *rand.Rand
	conn  session
	ops   [][3]string // of the open transaction: table, op, key
}

func (c *modelClient) run(ctx context.Context) (err error) {
	open := context.WithoutCancel(ctx) // what was begun is finished
	if c.conn, err = c.db.enter(open, c.name, c.id); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.conn.close(open)) }()
	for pauseFor(ctx, time.Duration(c.rnd.Int64N(int64(modelPause)))) == nil {
		if err := c.act(open); err != nil {
			return err
		}
	}
	return nil
}

// act makes one transaction, or something that is none.
func (c *modelClient) act(ctx context.Context) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	c.ops = c.ops[:0]
	var err error
	way := modelWay(c.rnd.IntN(12))
	switch k := c.rnd.IntN(20); {
	case k < 2 && c.id < 2: // the others may not log all of a row that is written anew
		err = c.restructure(ctx)
	case k == 3 && !c.db.transactionalDDL():
		err = c.empty(ctx, c.schema.pick(c.rnd))
	default:
		err = c.transaction(ctx, way, func() error { return c.steps(ctx) })
	}
	if err != nil && c.db.stale(err) {
		return nil // it never was
	}
	return err
}

// modelWay is how a transaction ends; any other number is a plain COMMIT.
type modelWay int

const (
	rolledBack modelWay = iota
	inTwoPhases
	inTwoPhasesRolledBack
	plain
)

// transaction lets body make changes between a begin and an end.
func (c *modelClient) transaction(ctx context.Context, way modelWay, body func() error) error {
	begin, end := "BEGIN", []string{"COMMIT"}
	undo := []string{"ROLLBACK"}
	switch way {
	case rolledBack:
		end = undo
	case inTwoPhases, inTwoPhasesRolledBack:
		two := c.db.twoPhase(fmt.Sprintf("'%d-%d-%d'", c.id, c.seq, c.rnd.Uint32()))
		last := two.commit
		if way == inTwoPhasesRolledBack {
			last = two.rollback
		}
		begin, end, undo = two.begin, append(two.prepare, last), two.abandon
	}
	err := c.exec(ctx, begin)
	if err == nil {
		err = body()
	}
	if err == nil {
		var ops []byte
		if ops, err = json.Marshal(append([][3]string{}, c.ops...)); err == nil {
			err = c.exec(ctx, fmt.Sprintf("INSERT INTO journal VALUES (%d, %d, %s)", c.id, c.seq+1, c.db.literal(nil, string(ops))))
		}
	}
	for i := 0; err == nil && i < len(end); i++ {
		if i > 0 {
			err = pauseFor(ctx, time.Duration(c.rnd.IntN(20))*time.Millisecond)
		}
		if err == nil {
			err = c.exec(ctx, end[i])
		}
	}
	if err != nil {
		for _, sql := range undo {
			_ = c.exec(ctx, sql) // the error is that of the statement before
		}
		return err
	}
	if way != rolledBack && way != inTwoPhasesRolledBack {
		c.seq++
		c.committed.Add(1)
	}
	return nil
}

func (c *modelClient) exec(ctx context.Context, sql string) error {
	if err := c.conn.exec(ctx, sql); err != nil {
		return fmt.Errorf("%.120s: %w", sql, err)
	}
	return nil
}

// steps makes some changes; one in eight is undone by a savepoint, another one in eight belongs to a subtransaction.
func (c *modelClient) steps(ctx context.Context) error {
	for range 1 + c.rnd.IntN(5) {
		within, kept := c.rnd.IntN(8), len(c.ops)
		if within < 2 {
			if err := c.exec(ctx, "SAVEPOINT s"); err != nil {
				return err
			}
		}
		if err := c.step(ctx, c.schema.pick(c.rnd)); err != nil {
			return err
		}
		var err error
		switch within {
		case 0:
			c.ops = c.ops[:kept]
			err = c.exec(ctx, "ROLLBACK TO SAVEPOINT s")
		case 1:
			err = c.exec(ctx, "RELEASE SAVEPOINT s")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step makes one change.
func (c *modelClient) step(ctx context.Context, t *modelTable) error {
	n := c.pick()
	switch k := c.rnd.IntN(20); {
	case k < 5:
		return c.insert(ctx, t, n)
	case k < 7:
		return c.many(ctx, t)
	case k < 13:
		return c.update(ctx, t, n, c.some(t))
	case k < 16:
		return c.note(ctx, t, fmt.Sprintf("DELETE FROM %s WHERE %s", t.name, t.where(n)), [2]string{"d", t.keyText(n)})
	case k < 17:
		return c.move(ctx, t, n, c.fresh())
	case k < 18:
		return c.swap(ctx, t, n, c.pick())
	case k < 19: // the same key again
		if err := c.note(ctx, t, fmt.Sprintf("DELETE FROM %s WHERE %s", t.name, t.where(n)), [2]string{"d", t.keyText(n)}); err != nil {
			return err // the server may have rolled everything back
		}
		return c.insert(ctx, t, n)
	}
	if c.db.transactionalDDL() && c.rnd.IntN(4) == 0 {
		return c.note(ctx, t, "TRUNCATE "+t.name, [2]string{"t", ""})
	}
	return c.update(ctx, t, n, nil)
}

// pick draws a number: of the common ones, or of those this client made.
func (c *modelClient) pick() int {
	if c.drawn > 0 && c.rnd.IntN(3) == 0 {
		return c.own(1 + c.rnd.IntN(c.drawn))
	}
	return 1 + c.rnd.IntN(modelPool)
}

// fresh draws a number that nobody had.
func (c *modelClient) fresh() int {
	c.drawn++
	return c.own(c.drawn)
}

func (c *modelClient) own(n int) int { return 1000*(c.id+1) + n }

// note runs a statement and notes what it did to each row it touched, a TRUNCATE always.
func (c *modelClient) note(ctx context.Context, t *modelTable, sql string, done ...[2]string) error {
	rows, err := c.conn.affect(ctx, sql)
	if err != nil {
		return fmt.Errorf("%.120s: %w", sql, err)
	}
	if done[0][0] == "t" {
		rows = 1
	}
	for range rows {
		for _, d := range done {
			c.ops = append(c.ops, [3]string{t.name, d[0], d[1]})
		}
	}
	return nil
}

// stamp is the value of the column stamp in the open transaction.
func (c *modelClient) stamp() string { return fmt.Sprintf("%d-%d-%d", c.id, c.seq+1, len(c.ops)) }

// row returns the columns of a row and their texts; nil: NULL.
func (c *modelClient) row(t *modelTable, n int) (columns []modelColumn, texts []*string) {
	text := func(s string) *string { return &s }
	for _, k := range t.key.columns {
		columns, texts = append(columns, modelColumn{name: k.name}), append(texts, text(k.value(n)))
	}
	columns = append(columns, modelColumn{name: numberColumn}, modelColumn{name: stampColumn})
	texts = append(texts, text(fmt.Sprint(n)), text(c.stamp()))
	for _, col := range t.columns {
		columns, texts = append(columns, col), append(texts, c.value(col.typ))
	}
	return columns, texts
}

// value draws the text of a value; nil: NULL.
func (c *modelClient) value(t *modelType) *string {
	if c.rnd.IntN(6) == 0 {
		return nil
	}
	s := t.value(c.rnd)
	return &s
}

func (c *modelClient) literal(t *modelType, text *string) string {
	if text == nil {
		return "NULL"
	}
	return c.db.literal(t, *text)
}

func (c *modelClient) insert(ctx context.Context, t *modelTable, n int) error {
	columns, texts := c.row(t, n)
	return c.note(ctx, t, c.db.insertIfAbsent(t.name, columnNames(columns), c.tuple(columns, texts)), [2]string{"c", t.keyText(n)})
}

// tuple writes a row as VALUES has it.
func (c *modelClient) tuple(columns []modelColumn, texts []*string) string {
	list := make([]string, len(columns))
	for i := range columns {
		list[i] = c.literal(columns[i].typ, texts[i])
	}
	return "(" + strings.Join(list, ", ") + ")"
}

func columnNames(columns []modelColumn) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// many inserts new rows at once.
func (c *modelClient) many(ctx context.Context, t *modelTable) error {
	var columns []modelColumn
	var rows [][]*string
	for range 2 + c.rnd.IntN(8) {
		n := c.fresh()
		var texts []*string
		columns, texts = c.row(t, n)
		rows = append(rows, texts)
		c.ops = append(c.ops, [3]string{t.name, "c", t.keyText(n)})
	}
	return c.db.bulk(ctx, c, t, columns, rows)
}

// values inserts rows by one statement.
func (c *modelClient) values(ctx context.Context, t *modelTable, columns []modelColumn, rows [][]*string) error {
	var tuples []string
	for _, texts := range rows {
		tuples = append(tuples, c.tuple(columns, texts))
	}
	return c.exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) VALUES %s", t.name, columnNames(columns), strings.Join(tuples, ", ")))
}

// some draws columns to be given new values.
func (c *modelClient) some(t *modelTable) (columns []modelColumn) {
	for _, col := range t.columns {
		if c.rnd.IntN(3) == 0 {
			columns = append(columns, col)
		}
	}
	return columns
}

// update gives new values to some columns of a row; all others stay as they are.
func (c *modelClient) update(ctx context.Context, t *modelTable, n int, columns []modelColumn) error {
	set := fmt.Sprintf("%s = '%s'", stampColumn, c.stamp())
	for _, col := range columns {
		set += ", " + col.name + " = " + c.literal(col.typ, c.value(col.typ))
	}
	return c.note(ctx, t, fmt.Sprintf("UPDATE %s SET %s WHERE %s", t.name, set, t.where(n)), [2]string{"u", t.keyText(n)})
}

// move gives a row another key: the log shows a delete and a create. Without a key it is an update as any other.
func (c *modelClient) move(ctx context.Context, t *modelTable, from, to int) error {
	if !t.bag() && c.db.partial(t, c.id) {
		if !c.torn {
			return nil
		}
		c.mu.Lock()
		c.tornTables[t.name] = true
		c.mu.Unlock()
	}
	set := fmt.Sprintf("%s = %d, %s = '%s'", numberColumn, to, stampColumn, c.stamp())
	for _, k := range t.key.columns {
		set += fmt.Sprintf(", %s = '%s'", k.name, k.value(to))
	}
	done := [][2]string{{"d", t.keyText(from)}, {"c", t.keyText(to)}}
	if t.bag() {
		done = [][2]string{{"u", ""}}
	}
	return c.note(ctx, t, fmt.Sprintf("UPDATE %s SET %s WHERE %s", t.name, set, t.where(from)), done...)
}

// swap exchanges the keys of two rows.
func (c *modelClient) swap(ctx context.Context, t *modelTable, a, b int) error {
	if a == b {
		return nil
	}
	aside := c.fresh()
	for _, m := range [][2]int{{a, aside}, {b, a}, {aside, b}} {
		if err := c.move(ctx, t, m[0], m[1]); err != nil {
			return err
		}
	}
	return nil
}

// empty truncates a table by a statement of its own.
func (c *modelClient) empty(ctx context.Context, t *modelTable) error {
	c.mu.Lock() // held until it is counted
	defer c.mu.Unlock()
	if err := c.exec(ctx, "TRUNCATE TABLE "+t.name); err != nil {
		return err
	}
	c.truncated[t.name]++
	return nil
}
