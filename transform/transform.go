// Package transform is the contract of single-message transforms and the chain that applies them.
//
// A connector's `transforms` property names them in order, and [Build] makes the chain; each is one package below this
// one and answers to the class names that Kafka Connect and Debezium use for it. A transform sees a batch of events and rewrites it in place: it may
// change the topic, the headers, column values, the table (to a derived *Table with other columns) or drop events.
//
// Invariants: a transform never splits an event and never reorders (Invariant 2); it is deterministic, since a replay
// must give the same records; it may be called by one goroutine only and keeps nothing of a batch after it returned.
//
//	transforms: unwrap,route                          the order in which they are applied
//	transforms.unwrap.type: unwrap                    an alias, a class, or a class's simple name
//	transforms.route.type: org.apache.kafka.connect.transforms.RegexRouter
//	transforms.route.regex: shop\.(.*)                the transform's own properties, without the prefix
//
// A transform applies to every event, or to those for which its predicate holds (with negate: does not hold). A delete and the tombstone
// that will follow it in the log are one event, so a predicate RecordIsTombstone matches the second alone only where a
// filter drops it, and where a sink reads it back.
//
//	predicates: logs                                  TopicNameMatches, HasHeaderKey, RecordIsTombstone
//	predicates.logs.type: TopicNameMatches            short, or as org.apache.kafka.connect.transforms.predicates.TopicNameMatches
//	predicates.logs.pattern: shop\.log_.*
//	transforms.route.predicate: logs
//	transforms.route.negate: true
//
// Transforms do no I/O. A property that a transform does not know is a mistake, for a row that was stored unmasked or under a
// wrong name can't be taken back.
package transform

import (
	"context"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
)

// A Transform rewrites or drops the events of a batch in place. Memory for new values comes from the batch.
type Transform interface {
	Apply(ctx context.Context, b *change.Batch) error
}

// A Plugin is one kind of transform.
type Plugin struct {
	Name    string   // the alias for transforms.X.type: unwrap
	Classes []string // Kafka Connect's and Debezium's class names
	Doc     string   // one sentence
	Keys    []config.Key
	// Check validates the transform's own properties (without the transforms.X. prefix, without type).
	Check func(props map[string]string) []config.Problem
	// New makes the transform. It does not block.
	New func(props map[string]string) (Transform, error)
}

// A Chain applies transforms in order. The empty chain does nothing.
type Chain []Transform

// Apply implements Transform.
func (c Chain) Apply(ctx context.Context, b *change.Batch) error {
	for _, t := range c {
		if err := t.Apply(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
