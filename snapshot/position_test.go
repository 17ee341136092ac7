package snapshot

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// FuzzPosition: a position that can be read keeps its progress when it is written again, and stays a JSON object with
// the source's members in front.
func FuzzPosition(f *testing.F) {
	f.Add([]byte(`{"lsn":1}`), "public.a", []byte{0x15, 1}, int64(3))
	f.Add([]byte(`{}`), `public.a","snapshot":{`, []byte{}, int64(0))
	f.Add([]byte(` { "lsn" : 1 } `), "d.\x00é\xff", []byte(nil), int64(-1))
	f.Add([]byte(`[]`), "", []byte{1}, int64(1))
	f.Add([]byte(`{"snapshot":{"tables":{"x":7}}}`), "x", []byte{1}, int64(1))
	f.Fuzz(func(t *testing.T, inner []byte, name string, after []byte, rows int64) {
		if _, _, err := parseProgress(inner); err != nil && len(inner) == 0 {
			t.Fatalf("an empty position: %v", err)
		}
		tables := []*tableState{{name: name, after: after, rows: rows}, {name: "public.z", rows: 1, done: true}}
		p, err := join(inner, appendProgress(nil, tables, false, false))
		if err != nil || !json.Valid(inner) || bytes.Contains(inner, []byte("napshot")) || bytes.Contains(inner, []byte(`\u`)) {
			return
		}
		if !json.Valid(p) {
			t.Fatalf("not JSON: %s", p)
		}
		pr, ok, err := parseProgress(change.Position(p))
		if err != nil || !ok || pr.Completed || !pr.Tables["public.z"].Done {
			t.Fatalf("%s: %+v, %t, %v", p, pr, ok, err)
		}
		var valid string
		quoted, _ := json.Marshal(name)
		if err := json.Unmarshal(quoted, &valid); err != nil {
			t.Fatal(err)
		}
		if got := pr.Tables[valid]; valid != "public.z" && (after != nil || rows != 0) && (!bytes.Equal(got.After, after) || got.Rows != rows) {
			t.Fatalf("%s: %+v", p, got)
		}
	})
}
