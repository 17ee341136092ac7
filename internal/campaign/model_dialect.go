package main

import (
	"context"
	"math/rand/v2"

	"github.com/tailrace/tailrace/internal/compare"
)

// A dialect is what the model needs to know of a kind of database.
type dialect interface {
	// create makes a database with tables; drop removes it and what a connector left on the server.
	create(ctx context.Context, name string, statements []string) error
	drop(ctx context.Context, name string) error
	connect(ctx context.Context, name string) (session, error)
	// enter is connect for a client that writes; what it logs of an update may depend on the client, but is whole for the first two.
	enter(ctx context.Context, name string, client int) (session, error)
	// partial reports whether the log may have only a part of a row of the table that the client gives another key.
	partial(t *modelTable, client int) bool
	// stale reports whether a statement failed for what other clients do: a deadlock, a key that is taken, a structure that has changed.
	stale(err error) bool

	// types and keys are those that columns and tables are made of; variant draws what else a table has.
	types() []modelType
	keys() []modelKey
	variant(k *modelKey, r *rand.Rand) modelVariant
	// wider is a type that holds all values of another one.
	wider(t *modelType) *modelType

	// literal writes a text as a value of a type; nil is a type of text.
	literal(t *modelType, text string) string
	insertIfAbsent(table, columns, tuple string) string
	// bulk inserts rows at once.
	bulk(ctx context.Context, c *modelClient, t *modelTable, columns []modelColumn, rows [][]*string) error
	renameColumn(t *modelTable, from modelColumn, to string) string
	retype(t *modelTable, to modelColumn) string
	// transactionalDDL reports whether DDL and TRUNCATE are parts of a transaction.
	transactionalDDL() bool
	// tablesCome reports whether a table that is made while connectors run is captured from its first row on.
	tablesCome() bool
	twoPhase(gid string) phases

	// schema is the name of the database's tables' schema in the log; side is the database as a side of a comparison.
	schema(name string) string
	side(name string) compare.Side
	// connector is the configuration of a source connector, with a name of its own, on a database.
	connector(name, connector string) map[string]string
	// interrupt ends connections that a daemon has to the database, and counts them.
	interrupt(ctx context.Context, name string) (int, error)
	// transaction is that of an event, by the event's source block, and if the log numbers transactions in their order, its number.
	transaction(source []byte) (id string, number int64, err error)
}
