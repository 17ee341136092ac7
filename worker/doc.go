// Package worker runs connectors: it holds their configurations, starts and stops their tasks, and is the corridor
// through which every event walks, two short loops that hold all duties in one order.
//
// In come configurations (from connectors.yaml and the REST API) and the plugins that main hands over; out go the
// states, offsets, lags and figures that the REST API and the metrics show.
//
//	source.go   Read -> Apply -> Encode -> Append -> Ack       one task for each source connector
//	sink.go     Read -> Decode -> Apply | Write -> Commit      tasks.max tasks for each sink connector; two batches in turns
//	connector.go  one supervisor for each connector: retry with capped backoff and jitter, FAILED for the permanent
//	registry.go   what connectors there are; itself records of the log, topic __tailrace_configs
//	notes.go      what sources have to remember besides their position, in the same Append, topic __tailrace_notes
//
// Invariants: Ack comes after Append has returned (Invariant 1); events, schemas and the source's offset are one
// Append (Invariant 3); a permanent error ends in FAILED with its reason code and nothing advances (Invariant 7);
// configurations are stored and shown with their placeholders, secrets exist only in what plugins get (Invariant 9). A
// panic in a connector fails that connector, never the daemon. One operation at a time changes a connector.
//
// A slow or dead sink holds back nobody: it reads the log at its own pace. The worker knows no database, no target, no
// format; Codec and Formatter are given to it.
package worker
