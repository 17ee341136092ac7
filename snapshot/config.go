package snapshot

import (
	"github.com/tailrace/tailrace/config"
)

// Config is the part of a source connector's configuration that says whether and how existing rows are copied. It is
// made by config.Decode; a source plugin lists it among its keys with config.Keys.
type Config struct {
	Mode string `cfg:"snapshot.mode" default:"initial" oneof:"initial,initial_only,always,no_data,never,schema_only,when_needed" doc:"when to copy the rows that exist already: initial copies each table once; initial_only does so and stops; always copies again at each start after a complete copy; no_data (also never, schema_only) copies nothing; when_needed is initial, and starts over when the database can no longer serve the stored position"`
	// FetchSize bounds the rows of a chunk. A chunk is also bounded to about 8 MiB of row memory, by the size of the
	// rows before it.
	FetchSize int             `cfg:"snapshot.fetch.size" default:"10240" min:"1" max:"1000000" doc:"most rows that are read at once"`
	ChunkSize int             `cfg:"incremental.snapshot.chunk.size" default:"0" min:"0" max:"1000000" doc:"another name for snapshot.fetch.size, which it overrides; 0: not set"`
	Include   config.Patterns `cfg:"snapshot.include.collection.list" doc:"the tables to copy, among the captured ones, as schema.table; empty: all of them"`
}

// Check returns every mistake in the snapshot part of props.
func Check(props map[string]string) []config.Problem {
	var c Config
	return config.Decode(props, &c)
}

// rows returns the bound of a chunk's rows.
func (c *Config) rows() int {
	switch {
	case c.ChunkSize > 0:
		return c.ChunkSize
	case c.FetchSize > 0:
		return c.FetchSize
	}
	return 10240
}

// copies reports whether the mode copies rows at all.
func (c *Config) copies() bool {
	switch c.Mode {
	case "no_data", "never", "schema_only":
		return false
	}
	return true
}
