// Package golden proves that events look as Debezium's do: it replays scenarios whose outcome a real Debezium recorded.
//
// In comes a scenario, a folder of SQL and connector properties with the records that Debezium made of them, and a
// database to run it on. [Run] starts a daemon, gives it the connector as it stands, runs the SQL and reads what a
// consumer reads. [Compare] holds the records against Debezium's, member by member as parsed JSON. Out come the members
// that differ and that no entry of a table of [Difference] explains.
//
//	testdata/DB/SCENARIO/setup.sql             run before the connector starts
//	                     connector.properties  used as they are, but for where the database is
//	                     stream.sql            run once the connector streams; a statement is a transaction unless it says begin
//	                     records.jsonl         what Debezium emitted: topic, key, value, headers
//	                     offline.sql stream2.sql records2.jsonl   run while stopped, after the restart, emitted then
//
// Scenarios of testdata/DB-derived have derived.txt besides, which says what of Debezium's source their records follow from.
// The others are of Debezium 3.6.1 on PostgreSQL 15 and MySQL 8.0, and of Debezium 3.5.0 on MariaDB 10.11. Values that
// vary from run to run (positions, times, transaction numbers, random names) are compared by their type. Records are
// compared topic by topic, in order.
//
// Invariants: a difference that is not in the table fails; so does an entry of the table that no scenario shows. The table
// is docs/debezium-differences.md.
//
// It does not judge the order of records of different topics, and leaves scenarios that are about transforms to those.
package golden
