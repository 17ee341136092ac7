// Package rest is the management API of a daemon. It speaks Kafka Connect's dialect, so that kcctl, Debezium's UI and
// deployment scripts work as they are, and has endpoints of its own for what Connect does not know.
//
// In come HTTP requests, on a loopback address unless credentials are configured; out go JSON answers. Everything is done
// by package worker. All paths are in one table, in server.go:
//
//	/connectors...  /connector-plugins...  /admin/loggers  /health  /   as Kafka Connect
//	/healthz  /readyz  /metrics                                         for supervisors and Prometheus
//	/tailrace/status  /tailrace/topics  /tailrace/lag                   what the command line shows
//	/tailrace/records?topic=T&from=F&until=U                            records as JSON lines, following the log
//
// Invariants: every error but 401 has a body {"error_code","message"}; literal secrets of a configuration are never shown,
// and what stands for them on display never replaces them (Invariant 9); an address other than loopback asks for
// credentials, everywhere but at /healthz; a request with a foreign Host or Origin is refused, so that a page in the
// operator's browser cannot speak to us; bodies are bounded in size and depth, and a member that is there twice is
// refused; reading a configuration and writing it back is one step.
//
// Deliberate differences to Kafka Connect: a malformed body is the client's mistake and answered with 400, where Connect
// says 500; a name with a slash works, as %2F; there is one logger, root; the topics of a connector are what the log
// holds, so that there is nothing to reset. The package keeps no state that outlives a request but the level's time.
package rest
