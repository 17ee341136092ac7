// Command quickstart shows the main job on real servers: a shop in PostgreSQL is copied and followed into the log and from
// there into Elasticsearch, Redis and another database, while it is written to and while the daemon is killed twice.
//
// In comes the daemon that scripts/quickstart has built. It starts private servers, makes a shop of 200,000 rows, runs
// `tailrace serve -c connectors.yaml` with the file at the top of the repository, shows progress, kills the daemon with -9
// once in the snapshot and once in streaming, and ends with a table: rows and checksum of each table in the source, the
// log and each sink.
//
//	shop (PostgreSQL) -> tailrace -> log -> Elasticsearch, Redis, copy (PostgreSQL)
//	      ^ writer: inserts, updates, deletes, a change of key, ALTER TABLE, a large value
//
// Invariants: exit status 0 means that all sides are equal; all servers and files that it started or made are gone when it
// ends. A target that can't be had is named and left out.
//
// It does not measure: see bench.
package main
