// Package elasticsearch is the sink that keeps one document for each row in Elasticsearch.
//
// In come batches of events; out go _bulk requests. A batch is first folded to one state for each row (sink.Fold), so no
// document occurs twice in what is sent at a time: requests may overlap, and an item that is sent again overtakes nobody.
//
//	topic shop.public.Orders   index shop.public.orders: lower case, what Elasticsearch refuses in names becomes _
//	key 42                     _id 42; several columns are joined by colons; over 512 bytes, a hash (see appendID)
//	row                        {"id":42,"total":12.30,"at":"2026-01-31T12:00:00Z"}: the natural JSON form
//	Event.Version              version, version_type external: an older write is refused, which is success
//
// A row with Absent columns is completed from the batch, else from the document, which _mget reads, and written whole:
// Elasticsearch's update knows no external versions. An index that is not there is made with a mapping of the table's types
// that refuses no value: what the mapping cannot index stays in the document. Columns that come later are added to the
// mapping; a field keeps the type it has. An index that somebody else made keeps its mapping, and rows that contradict it
// are rejected; data streams and aliases of several indexes are refused. A truncate is in every partition of its topic and
// deletes, by a scan, every document of its own partition older than itself: documents of all partitions but the first say in
// a field _tailrace_partition where they came from.
//
// Invariants: order per document (Invariant 2); a nil from Write means that every document was accepted or was old news;
// what is refused for now (429, 5xx, blocks) is sent again alone, with backoff and jitter; an event is rejected only if
// Elasticsearch refuses that very state of its row, the states before it are written; two topics never share an index,
// two keys of a table never an id.
//
// A replay does not bring back deleted documents as long as Elasticsearch remembers their versions: index.gc_deletes, one
// hour in indexes that are made here. Later, a replay shows them until it comes to the delete again. The sink does
// not manage templates, aliases or old indexes, does not write to data streams, and keeps no offsets in the target.
package elasticsearch
