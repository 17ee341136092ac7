// Package elasticsearch is the sink that keeps one document for each row in Elasticsearch.
//
// In come batches of events; out go _bulk requests. A batch is first folded to one state for each row (sink.Fold), so no
// document occurs twice in a request, and an item that is retried can overtake nobody.
//
//	topic shop.public.orders   index shop.public.orders: lower case, what Elasticsearch refuses in names becomes _
//	key 42                     _id 42; several columns are joined by a colon, over 512 bytes hashed
//	row                        {"id":42,"total":12.30,"at":"2026-01-31T12:00:00Z"}: the natural JSON form
//	Event.Version              version, version_type external: an older write is refused, which is success
//
// A row with Absent columns is completed from the batch, else from the document, which one _mget reads, and written
// whole: Elasticsearch's update knows no external versions. An index that is not there is made with a mapping of the
// table's types that takes every value: what the mapping cannot index stays in the document.
//
// Invariants: order per document (Invariant 2); a nil from Write means that every item was accepted or was old news;
// items refused for now (429, 503) are sent again alone, with backoff; items refused for good are sink.Rejected.
//
// A replay does not bring back deleted documents as long as Elasticsearch remembers their versions: index.gc_deletes,
// which indexes that are made here have at one hour. The sink does not manage templates, aliases or old indexes.
package elasticsearch
