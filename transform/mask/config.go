package mask

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strings"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/transform"
)

type settings struct {
	Fields      []string        `cfg:"fields" doc:"Names of columns to mask, in all tables."`
	Columns     config.Patterns `cfg:"columns" doc:"Patterns for schema.table.column of columns to mask."`
	Mode        string          `cfg:"mode" oneof:"zero,fixed,hash,truncate,null" default:"zero" doc:"What values become."`
	Replacement string          `cfg:"replacement" doc:"What text and numbers become in mode zero."`
	Length      int             `cfg:"length" min:"0" max:"65536" default:"8" doc:"Characters of modes fixed and truncate."`
	Algorithm   string          `cfg:"algorithm" oneof:"SHA-256,SHA-384,SHA-512" default:"SHA-256" doc:"The hash of mode hash."`
	Salt        config.Password `cfg:"salt" doc:"What is hashed before each value; keep it secret."`
}

// Plugin is the transform's entry for the program's list.
var Plugin = transform.Plugin{
	Name:    "mask",
	Classes: []string{"org.apache.kafka.connect.transforms.MaskField$Value"},
	Doc:     "Hides the values of columns.",
	Keys:    config.Keys(&settings{}),
	Check: func(props map[string]string) []config.Problem {
		_, problems := build(props)
		return problems
	},
	New: func(props map[string]string) (transform.Transform, error) {
		m, problems := build(props)
		if len(problems) > 0 {
			return nil, fmt.Errorf("%s", problems[0])
		}
		return m, nil
	},
}

func build(props map[string]string) (*masker, []config.Problem) {
	var s settings
	problems := config.Decode(props, &s)
	add := func(key, message string) { problems = append(problems, config.Problem{Key: key, Message: message}) }
	if props["fields"] == "" && props["columns"] == "" {
		add("columns", "columns or fields is required: nothing would be masked")
	}
	_, replaced := props["replacement"]
	if replaced && s.Mode != "zero" {
		add("replacement", "is of use in mode zero only")
	}
	if s.Mode == "hash" && s.Salt == "" {
		add("salt", "is required in mode hash: without it values can be found by trying")
	}
	if s.Mode == "truncate" && props["length"] == "" {
		add("length", "is required in mode truncate")
	}
	if len(problems) > 0 {
		return nil, problems
	}
	m := &masker{fields: map[string]bool{}, columns: s.Columns, mode: modeOf(s.Mode), length: s.Length,
		stars: []byte(strings.Repeat("*", s.Length)), salt: []byte(s.Salt.Reveal()), hash: hashOf(s.Algorithm)}
	if replaced {
		m.replacement = &s.Replacement
	}
	for _, f := range s.Fields {
		m.fields[f] = true
	}
	return m, nil
}

type mode uint8

const (
	zero mode = iota
	fixed
	hashed
	truncate
	null
)

func modeOf(name string) mode {
	switch name {
	case "fixed":
		return fixed
	case "hash":
		return hashed
	case "truncate":
		return truncate
	case "null":
		return null
	default: // zero; Decode lets nothing else through
		return zero
	}
}

func hashOf(algorithm string) hash.Hash {
	switch algorithm {
	case "SHA-384":
		return sha512.New384()
	case "SHA-512":
		return sha512.New()
	default:
		return sha256.New()
	}
}
