package rest

import (
	"encoding/json"
	"testing"
)

// FuzzBody: what checkObject lets through is one JSON object whose members are all there once, and reading it as a
// configuration gives each member its own text or an error.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"1","b":2,"c":true,"d":null,"e":1.50}`, `{"a":{"b":[1,{"c":[]}]}}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `[]`, `{"a":`, `{} {}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if checkObject(text) != nil {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatalf("%q is let through: %v", text, err)
		}
		var cfg map[string]scalar
		if err := decodeStrictly(text, &cfg); err != nil {
			return
		}
		if len(cfg) != len(members) {
			t.Fatalf("%q has %d members and %d properties", text, len(members), len(cfg))
		}
		for k, v := range cfg {
			if raw := string(members[k]); v.null != (raw == "null") || raw[0] != '"' && !v.null && v.text != raw {
				t.Fatalf("%q: %s became %+v", text, raw, v)
			}
		}
	})
}
