package filter

import (
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/transform"
)

// Plugin is the transform's entry for the program's list.
var Plugin = transform.Plugin{
	Name:    "filter",
	Classes: []string{"org.apache.kafka.connect.transforms.Filter"},
	Doc:     "Drops the records for which its predicate holds.",
	Check: func(props map[string]string) []config.Problem {
		if props["predicate"] == "" {
			return []config.Problem{{Key: "predicate", Message: "is required: without one every record would be dropped"}}
		}
		return nil
	},
	New: func(map[string]string) (transform.Transform, error) { return transform.Drop{}, nil },
}
