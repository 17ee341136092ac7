// Package config turns connectors.yaml and the bodies of the REST API into flat string maps, and those into the typed
// configuration of each plugin.
//
// [Load] reads a file into a [File]: connectors with their properties as raw text, since Kafka Connect's values are
// strings and 012, 1_000, 1.10 or yes must stay what was written. Every mistake comes back in one run as a
// [Diagnostic] with file, line, column, the line itself and a suggestion. [File.Check] adds what the plugins find.
// [Resolve] replaces placeholders by secrets, [Decode] fills a plugin's struct, [Keys] describes it, [Unknown] finds
// misspelled properties, [Redact] makes a configuration fit to be shown, and [Patterns] is the type of include lists.
//
//	version: 1
//	listen: 127.0.0.1:8083                     # optional
//	log: {type: embedded, dir: /data}
//	defaults: {topic.prefix: shop}             # under each connector's config
//	connectors:
//	  - name: inventory
//	    state: RUNNING                         # or PAUSED, STOPPED
//	    config:                                # as in Kafka Connect's JSON, flat; a list is joined by commas
//	      connector.class: postgres
//	      database.password: ${file:/run/secrets/pg.properties:password}
//
// Invariants: references to secrets are stored and shown, values never are: no Problem, Diagnostic or excerpt holds one
// (Invariant 9). Whatever the input, work and memory are bounded: bytes, keys, depth, the size of expressions and of
// secret files (Invariant 8). Nothing here is shared and mutable.
//
// It knows no plugin and no list of them, starts nothing, and does not watch files. YAML anchors, aliases and merge
// keys are refused: defaults do their job, and they can't be made into a bomb.
package config
