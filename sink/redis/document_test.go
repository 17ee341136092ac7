package redis

import (
	"bytes"
	"encoding/json"
	"testing"
)

// splitDocument returns the members of a JSON object as they are written.
func splitDocument(t testing.TB, doc string) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader([]byte(doc)))
	if err := d.Decode(&raw); err != nil {
		t.Fatalf("not a document: %v: %q", err, doc)
	}
	out := map[string]string{}
	for name, text := range raw {
		out[name] = string(text)
	}
	return out
}
