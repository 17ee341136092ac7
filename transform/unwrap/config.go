package unwrap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/transform"
)

type settings struct {
	Mode           string   `cfg:"delete.tombstone.handling.mode" oneof:"tombstone,drop,rewrite,rewrite-with-tombstone,delete-to-tombstone" default:"tombstone" doc:"What becomes of deletes."`
	DropTombstones bool     `cfg:"drop.tombstones" default:"true" doc:"Older form: whether tombstones are dropped."`
	DeleteMode     string   `cfg:"delete.handling.mode" oneof:"drop,rewrite,none" default:"drop" doc:"Older form: what becomes of deletes."`
	AddFields      []string `cfg:"add.fields" doc:"Fields of the envelope to add as columns: op, table, source.ts_ms, db:database ..."`
	FieldPrefix    string   `cfg:"add.fields.prefix" default:"__" doc:"What the names of added columns start with."`
	AddHeaders     []string `cfg:"add.headers" doc:"Fields of the envelope to add as headers."`
	RouteBy        string   `cfg:"route.by.field" doc:"A text column whose value becomes the topic of its row. It must never change for a key, nor be missing in deletes, so it is best a key column."`
	HeaderPrefix   string   `cfg:"add.headers.prefix" default:"__" doc:"What the names of added headers start with."`
}

// Plugin is the transform's entry for the program's list.
var Plugin = transform.Plugin{
	Name:    "unwrap",
	Classes: []string{"io.debezium.transforms.ExtractNewRecordState"},
	Doc:     "Makes rows of change events.",
	Keys:    config.Keys(&settings{}),
	Check: func(props map[string]string) []config.Problem {
		_, problems := build(props)
		return problems
	},
	New: func(props map[string]string) (transform.Transform, error) {
		u, problems := build(props)
		if len(problems) > 0 {
			return nil, fmt.Errorf("%s", problems[0])
		}
		return u, nil
	},
}

func build(props map[string]string) (*unwrapper, []config.Problem) {
	var s settings
	problems := config.Decode(props, &s)
	if len(problems) > 0 {
		return nil, problems
	}
	u := &unwrapper{mode: modeOf(s, props), routeBy: s.RouteBy, topics: map[string]string{}}
	if u.mode == rewrite || u.mode == rewriteWithTombstone {
		u.fields = append(u.fields, field{name: "__deleted", get: deleted})
	}
	fields, p := parseFields("add.fields", s.AddFields, s.FieldPrefix)
	headers, p2 := parseFields("add.headers", s.AddHeaders, s.HeaderPrefix)
	u.fields, u.headers = append(u.fields, fields...), headers
	problems = append(p, p2...)
	for i, f := range u.fields {
		if slices.ContainsFunc(u.fields[:i], func(o field) bool { return o.name == f.name }) {
			problems = append(problems, config.Problem{Key: "add.fields", Message: "the column " + f.name + " is added twice"})
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return u, nil
}

type mode uint8

const (
	tombstone mode = iota
	drop
	rewrite
	rewriteWithTombstone
)

// modeOf understands the older pair of properties, which the newer one overrides.
func modeOf(s settings, props map[string]string) mode {
	_, newer := props["delete.tombstone.handling.mode"]
	_, a := props["drop.tombstones"]
	_, b := props["delete.handling.mode"]
	if !newer && (a || b) {
		switch {
		case s.DeleteMode == "rewrite" && s.DropTombstones:
			return rewrite
		case s.DeleteMode == "rewrite":
			return rewriteWithTombstone
		case s.DeleteMode == "drop" && s.DropTombstones:
			return drop
		default:
			return tombstone
		}
	}
	switch s.Mode {
	case "drop":
		return drop
	case "rewrite":
		return rewrite
	case "rewrite-with-tombstone":
		return rewriteWithTombstone
	default: // tombstone and delete-to-tombstone; Decode lets nothing else through
		return tombstone
	}
}

// parseFields reads a list of fields: name or struct.name, each with an optional :newname.
func parseFields(key string, list []string, prefix string) ([]field, []config.Problem) {
	var fields []field
	var problems []config.Problem
	getters := getters()
	for _, item := range list {
		path, newName, renamed := strings.Cut(item, ":")
		get, ok := getters[path]
		if !ok {
			var words []string
			for w := range getters {
				words = append(words, w)
			}
			slices.Sort(words)
			message := fmt.Sprintf("%q is not a field that can be added", path)
			if near := config.Nearest(path, words); near != "" {
				message += ": did you mean " + near + "?"
			} else {
				message += ": there are " + strings.Join(words, ", ")
			}
			problems = append(problems, config.Problem{Key: key, Message: message})
			continue
		}
		name := strings.ReplaceAll(path, ".", "_")
		if renamed {
			name = newName
		}
		fields = append(fields, field{name: prefix + name, get: get})
	}
	return fields, problems
}
