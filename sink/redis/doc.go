// Package redis keeps one key for each row in a Redis server: a JSON document in a string, or a hash.
//
// In come batches of events. Out goes, for each batch, one state for each row (in runs of batch.size rows if there are
// more), so that the rows of a run and the batch's position take effect together or not at all. A plain GET of a row's
// key gives plain JSON: versions are kept elsewhere. There are two ways. The long one is one call of a Lua script that
// compares the version of each row with that of the row that is there, writes what is newer, and merges Absent columns
// by splicing the stored document's own text, so no value is decoded and encoded again on the server. The short one is
// for whole rows that are all newer than anything written for their origin before: one transaction of plain commands (see
// direct.go), at a third of the server's time. Merges and deletes of the run go to the script inside the transaction.
//
//	<topic>:<key>                          the row; composite key: values joined by ':', ':' and '\' inside them behind a '\'
//	tailrace:<connector>:<origin>          hash: entry -> owner, mark (the newest version written) and position;
//	                                       type -> json or hash; "floor ..." -> version of the last truncate
//	tailrace:<connector>:<origin>:rows     hash: row key -> version of the row that is there
//	tailrace:<connector>:<origin>:deleted:N hash: row key -> version of its delete; N counts windows of deleted.retention.ms
//
// With ttl.ms the rows hash, too, has one key for each window, and goes when its rows are gone. The versions of a topic
// partition stand in one hash rather than in a key beside each row: half the keys, lookups for a whole batch in one
// command, and a TRUNCATE knows exactly the rows of its own partition. A delete is remembered for one to two times
// deleted.retention.ms. Memory for versions is about 80 bytes and the key's name for each row.
//
// Invariants: for one key, what is written only gets newer, also when batches are replayed or requests repeated after
// their answer was lost (Invariants 2 and 4). A deleted row is not resurrected by a replay within deleted.retention.ms;
// after that only a replay from before the delete can show it, until it reaches the delete. The position is moved
// together with the last rows, never in a batch with refused rows: then it moves with the next batch, when the
// worker has made the dead letters durable. If Redis comes back without what was written last (restarted without its
// data, a replica took over), the position that it holds is not the one that the sink left there: Write fails, the
// worker opens the sink again and goes on from the position that Redis really has, so what was lost is written again. A
// second task of the same connector is told FENCED.
//
// Whose keys are whose: a key that the sink has not written is somebody else's, and a row that belongs there is rejected if it
// holds another type (a string under json, or a hash under hash, can't be told from a row and is overwritten); a key that it has
// written is its own, whatever was put there since. Two topics never share the beginning of their keys within a task. How rows are
// stored is remembered for each origin: a changed redis.type is refused.
//
// It does not work with a Redis Cluster yet, because a run writes keys of many slots; it refuses one at the start. A
// reader sees the rows of one run at once but a larger batch in parts; a TRUNCATE removes rows a thousand at a time.
// Evicted rows come back with their next change or a replay from the beginning. In a hash, NULL is a field that is not there, and the
// field of a dropped column stays until its row is written as a whole. Rows of a table without a key are rejected. A server out of
// memory (-OOM) stops the sink, deletes included, until there is room.
package redis
