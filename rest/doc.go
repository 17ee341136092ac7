// Package rest is the management API of a daemon. It speaks Kafka Connect's dialect, so that kcctl, Debezium's UI and
// deployment scripts work as they are, and has endpoints of its own for what Connect does not know.
//
// In come HTTP requests on a loopback address, out go JSON answers; everything is done by package worker.
//
//	/connectors...  /connector-plugins...  /admin/loggers  /            as Kafka Connect
//	/healthz  /readyz  /health  /metrics                                for supervisors and Prometheus
//	/tailrace/status  /tailrace/topics  /tailrace/lag                   what the command line shows
//	/tailrace/records?topic=T&from=F&until=U                            records as JSON lines, following the log
//
// Invariants: every error has a body {"error_code","message"}; literal secrets of a configuration are never shown
// (Invariant 9); with an address other than loopback, credentials are required; a request with a foreign Host or Origin
// is refused, so that a page in the operator's browser cannot speak to us; bodies are bounded.
//
// One deliberate difference to Kafka Connect: a malformed body is the client's mistake and answered with 400, where
// Connect says 500. The package keeps no state.
package rest
