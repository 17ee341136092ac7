// Package daemon runs the tailrace binary as a child process, as an operator would, for the quickstart, the campaigns and tests.
//
// In come the binary ([Build]), a configuration file, a data directory and an environment; out come the process's
// life ([Daemon.Start], [Daemon.Kill], [Daemon.Stop]) and what it says over its public doors: the REST API and `tailrace tail`.
//
//	Start -> Ready -> Status, Lag, Topics, Tail ... -> Kill (SIGKILL) or Stop (SIGTERM) -> Start again
//
// Invariants: the child is started and ended by its process id and dies with this process, however that ends; the address
// stays the same over restarts; the log of all its lives is one file. What is known of the daemon is what any client could know.
//
// It deliberately does not restart a daemon by itself and does not read the data directory.
package daemon
