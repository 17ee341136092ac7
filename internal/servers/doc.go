// Package servers runs the databases, caches and search engines that Tailrace is tested against.
//
// In comes the name of a server, as [Names] lists them; out goes an address. [Need] gives a test the address of a server
// that somebody else started and says so when there is none. [Private] and [Start] start one that belongs to the caller,
// on a free port, in a directory of its own, with the settings the caller asks for. [Install] fetches what is missing.
//
// One directory is kept for each running server, under [Root] unless the caller names another:
//
//	ROOT/NAME-1234567/          a private server: removed when it is stopped
//	ROOT/sets/SET/NAME/         a server that outlives its starter (see [Up] and [Down])
//	    server.json             process id, the moment that process started, address
//	    server.log              what it printed
//	    data/ .s.PGSQL.PORT     its files and, for PostgreSQL, its unix socket
//
// Downloads are pinned to exact versions and kept outside the source tree, under [Cache].
//
// Only processes that were started here are ever signalled: a process id counts only together with the moment the process
// started, so a number that the system gave to somebody else is left alone. A private server dies with the process that started it,
// also when that one is killed. No server listens on anything but 127.0.0.1.
//
// It deliberately does not know Docker, does not reuse servers that belong to the system, and does not fail a test because a
// server cannot be had: the test is skipped with a message that starts with "not run: ".
package servers
