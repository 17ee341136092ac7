package binlog

import (
	"encoding/json"
	"testing"
)

// TestPatchJSON: the steps of the server's partial updates, and those that don't fit.
func TestPatchJSON(t *testing.T) {
	const doc = `{"a": 1, "b": [1, {"x": "]\"}"}, []], "é": {}, "long key": "v"}`
	for _, c := range []struct {
		op                byte
		path, value, want string // want "" is a refusal
	}{
		{diffReplace, `$`, `[1]`, `[1]`},
		{diffReplace, `$.a`, `{"n": 1}`, `{"a": {"n": 1}, "b": [1, {"x": "]\"}"}, []], "é": {}, "long key": "v"}`},
		{diffReplace, `$.a[0]`, `2`, `{"a": 2, "b": [1, {"x": "]\"}"}, []], "é": {}, "long key": "v"}`},
		{diffReplace, `$.b[1].x`, `"y"`, `{"a": 1, "b": [1, {"x": "y"}, []], "é": {}, "long key": "v"}`},
		{diffReplace, `$."long key"`, `null`, `{"a": 1, "b": [1, {"x": "]\"}"}, []], "é": {}, "long key": null}`},
		{diffInsert, `$.c`, `3`, `{"a": 1, "b": [1, {"x": "]\"}"}, []], "c": 3, "é": {}, "long key": "v"}`},
		{diffInsert, `$."zz zz zz zz"`, `3`, `{"a": 1, "b": [1, {"x": "]\"}"}, []], "é": {}, "long key": "v", "zz zz zz zz": 3}`},
		{diffInsert, `$."é"."\"q\""`, `3`, `{"a": 1, "b": [1, {"x": "]\"}"}, []], "é": {"\"q\"": 3}, "long key": "v"}`},
		{diffInsert, `$.b[0]`, `0`, `{"a": 1, "b": [0, 1, {"x": "]\"}"}, []], "é": {}, "long key": "v"}`},
		{diffInsert, `$.b[7]`, `0`, `{"a": 1, "b": [1, {"x": "]\"}"}, [], 0], "é": {}, "long key": "v"}`},
		{diffInsert, `$.b[2][0]`, `0`, `{"a": 1, "b": [1, {"x": "]\"}"}, [0]], "é": {}, "long key": "v"}`},
		{diffRemove, `$.a`, ``, `{"b": [1, {"x": "]\"}"}, []], "é": {}, "long key": "v"}`},
		{diffRemove, `$."long key"`, ``, `{"a": 1, "b": [1, {"x": "]\"}"}, []], "é": {}}`},
		{diffRemove, `$.b[1].x`, ``, `{"a": 1, "b": [1, {}, []], "é": {}, "long key": "v"}`},
		{diffRemove, `$.b[1]`, ``, `{"a": 1, "b": [1, []], "é": {}, "long key": "v"}`},
		{diffReplace, `$.absent`, `1`, ``}, {diffReplace, `$.b[3]`, `1`, ``}, {diffReplace, `$.a.x`, `1`, ``}, {diffInsert, `$.a`, `1`, ``},
		{diffInsert, `$`, `1`, ``}, {diffRemove, `$`, ``, ``}, {diffRemove, `$.absent`, ``, ``}, {diffRemove, `$.a[0]`, ``, ``}, {diffReplace, `a`, `1`, ``}, {diffReplace, `$.b[x]`, `1`, ``},
		{diffReplace, `$."a`, `1`, ``}, {diffReplace, ``, `1`, ``},
	} {
		got, ok := patchJSON([]byte(doc), c.op, []byte(c.path), []byte(c.value))
		if ok != (c.want != "") || ok && string(got) != c.want {
			t.Errorf("%d %s %s: %v\n%s\n%s", c.op, c.path, c.value, ok, got, c.want)
		}
	}
}

// FuzzPatchJSON: whatever a step says, what comes out of a document is a document.
func FuzzPatchJSON(f *testing.F) {
	f.Add(`{"a": 1, "b": [1, {"x": "]\"}"}, []]}`, byte(diffReplace), `$.b[1].x`)
	f.Add(`[1, 2]`, byte(diffInsert), `$[1]`)
	f.Add(`{"\\\u0001": 1}`, byte(diffRemove), `$."\\\u0001"`)
	f.Fuzz(func(t *testing.T, doc string, op byte, path string) {
		got, ok := patchJSON([]byte(doc), op%3, []byte(path), []byte(`"v"`))
		if ok && json.Valid([]byte(doc)) && !json.Valid(got) {
			t.Errorf("%s, operation %d at %s: %s", doc, op, path, got)
		}
	})
}
