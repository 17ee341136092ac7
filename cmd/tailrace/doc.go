// Command tailrace is the daemon and its client.
//
// `serve` wires the house: it opens the embedded log, the registry of schemas, the worker with all plugins and the REST
// API, applies connectors.yaml and runs until it is told to stop. `validate` judges a connectors.yaml without touching a
// server. The other commands are clients of a running daemon's REST API.
//
//	serve -c connectors.yaml --data-dir D --listen A      validate connectors.yaml
//	status   topics   lag   tail TOPIC...   version       --url or TAILRACE_URL, -o table|json
//
// plugins.go is the only list of connectors; this package is the only one that knows plugins, rowcodec and envelope.
//
// Exit status: 0 done, 1 failed, 2 wrong usage. It holds no logic of its own beyond wiring and printing.
package main
