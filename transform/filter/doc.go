// Package filter is the transform that drops the records for which its predicate holds, Kafka Connect's Filter.
//
// Events come in, fewer go out. Which ones is the predicate's affair ([transform.Build]); a filter without one is a mistake.
//
//	predicates: logs                                   transforms: f
//	predicates.logs.type: TopicNameMatches             transforms.f.type: filter
//	predicates.logs.pattern: shop\.public\.log_.*      transforms.f.predicate: logs
//
// Invariants: what stays keeps its order. With RecordIsTombstone a delete stays and the tombstone that would follow it in the
// log does not come, or, with negate, the other way round.
//
// It does not look at keys or values.
package filter
