// Command tailrace is the daemon and its client.
//
// `serve` wires the house: it opens the embedded log, the registry of schemas, the worker with all plugins and the REST
// API, applies connectors.yaml and runs until it is told to stop. `validate` judges a connectors.yaml without touching a
// server, `doctor` asks the sources' servers as well. `log` looks at the files of the embedded log, checks and repairs them, with no daemon's help. The other commands
// are clients of a running daemon's REST API.
//
//	serve -c connectors.yaml --data-dir D --listen A      validate connectors.yaml [--strict]
//	doctor -c connectors.yaml [CONNECTOR...]              -o table|json
//	log ls | dump | verify | stats | compact | salvage    --data-dir D, -o table|json
//	status   topics   lag   tail TOPIC...   version       --url or TAILRACE_URL, -o table|json
//
//	TAILRACE_REST_USER, TAILRACE_REST_PASSWORD[_FILE]     credentials that serve asks for and clients send
//	TAILRACE_REST_HOSTS, TAILRACE_REST_ORIGINS            names of the API, and pages that may use it, besides loopback
//
// Invariants: what is in the file wins over what the API has changed since, except for the state of a connector. An
// address other than loopback needs credentials. The log is closed after the last task and the last request have ended;
// a second signal, or tasks that don't end, end the process at once, and the log brings back what is durable. Exit
// status: 0 done, 1 failed, 2 wrong usage. plugins.go is the only list of connectors.
//
// It holds no logic of its own beyond wiring and printing; it has no configuration besides the file, flags and these
// variables.
package main
