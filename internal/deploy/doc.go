// Package deploy holds the test of what an operator gets: docker-compose.yml, Dockerfile and connectors.yaml.
//
// In come these files as they are; out comes the proof that what they name works: the test starts the servers with the
// settings of the compose file, runs the daemon's very command with the very environment, only with this machine's ports and
// paths in place of the containers', runs every health check, and sees rows arrive in all three sinks.
//
//	docker-compose.yml -> command, environment, health checks -> the built binary and private servers
//	Dockerfile         -> the same user, paths and health check; a static binary
//
// Invariants: whatever the compose file says is taken from it, never repeated in the test; a file that Docker Compose itself
// would refuse fails here, too, where the tool can be had.
//
// It has no code outside its tests, pulls no images and needs no Docker.
package deploy
