// Package route is the transform that renames topics by a regular expression, Kafka Connect's RegexRouter.
//
// An event whose whole topic matches regex goes to the topic that replacement makes of it; all others go where they
// went. The replacement is Java's: $1 is a group (as many digits as name one), ${name} a named group, and a backslash
// takes the next character as it is. The expression is RE2's.
//
//	regex        shop\.public\.(.*)
//	replacement  routed-$1             shop.public.orders -> routed-orders
//
// Invariants: the new topic depends on the old one alone, so that all events of a key stay together and in order
// (Invariant 2); two topics may be joined into one, whose keys must then be distinct. A topic is computed once.
//
// It does not make topics, and looks at neither keys nor values.
package route
