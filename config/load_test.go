package config

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected diagnostics in testdata")

// testKeys stand for a plugin's properties.
func testKeys() []Key {
	return []Key{{Name: "snapshot.mode"}, {Name: "slot.name"}, {Name: "database.password", Type: "PASSWORD"},
		{Name: "topic.prefix"}, {Name: "redis.uri"}}
}

func describeForTest(c Connector) (Description, bool) {
	if c.Config["connector.class"] != "postgres" {
		return Description{}, false
	}
	d := Description{Keys: testKeys(), Patterns: []string{"column.mask.with.*.chars"}}
	var typed struct {
		Mode string `cfg:"snapshot.mode" default:"initial" oneof:"initial,always"`
		Slot string `cfg:"slot.missing" required:"true"`
	}
	d.Problems = Decode(c.Config, &typed)
	return d, true
}

func TestGoodFiles(t *testing.T) {
	f, diags := Load("testdata/shop.good.yaml")
	if len(diags) != 0 {
		t.Fatal(diags)
	}
	want := map[string]string{
		"name": "inventory", "connector.class": "postgres", "database.hostname": "${env:PGHOST:-db}",
		"database.password": "${file:/run/secrets/pg.properties:password}", "topic.prefix": "shop",
		"table.include.list": "public.orders,public.customers", "value.converter.schemas.enable": "false", "tasks.max": "1",
		"a.octal": "012", "a.underscore": "1_000", "a.decimal": "1.10", "a.yes": "yes", "a.hex": "0x1f", "a.exponent": "1e400",
		"a.negative": "-012", "a.date": "2024-01-01", "a.infinity": ".inf", "a.quoted": "a\tb é", "a.single": "it's", "a.empty": "",
		"a.literal": "SELECT 1;\nSELECT 2\n", "a.folded": "one two", "a.comment": "text", "a.tag": "12", "a.url": "http://es:9200",
		"a.key in quotes": "x",
	}
	c := f.Connectors[0]
	for k := range maps.Keys(want) {
		if c.Config[k] != want[k] {
			t.Errorf("%s is %q, want %q", k, c.Config[k], want[k])
		}
	}
	if len(c.Config) != len(want) || c.State != "PAUSED" || c.Name != "inventory" {
		t.Errorf("connector is %+v", c)
	}
	es := f.Connectors[1]
	if es.Config["topics.regex"] != `shop\..*` || es.Config["tasks.max"] != "2" || es.State != "RUNNING" {
		t.Errorf("connector is %+v", es)
	}
	if f.Listen != "127.0.0.1:8083" || f.Log.Type != "embedded" || f.Log.Dir != "/data" || f.Log.Props["segment.bytes"] != "1_000" {
		t.Errorf("file is %+v", f)
	}
}

// Each *.bad.yaml has its diagnostics beside it, as tailrace validate prints them.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".bad.yaml"), func(t *testing.T) {
			f, diags := Load(path)
			diags = append(diags, f.Check(false, describeForTest)...)
			SortDiagnostics(diags)
			var b strings.Builder
			for _, d := range diags {
				d.File = filepath.Base(d.File)
				b.WriteString(d.String() + "\n")
			}
			got := b.String()
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if !Failed(diags) || strings.Contains(got, "hunter2") || strings.ContainsRune(got, 0x1b) {
				t.Errorf("no error, or a secret or a control character is shown:\n%s", got)
			}
		})
	}
}

func TestStrict(t *testing.T) {
	f, diags := Parse("c.yaml", []byte("connectors:\n- name: a\n  config: {connector.class: x, snapshot.mod: y}\n"))
	if len(diags) != 0 {
		t.Fatal(diags)
	}
	known := func(Connector) (Description, bool) { return Description{Keys: testKeys()}, true }
	lax, strict := f.Check(false, known), f.Check(true, known)
	if len(lax) != 1 || Failed(lax) || len(strict) != 1 || !Failed(strict) {
		t.Fatalf("lax %v, strict %v", lax, strict)
	}
	want := "c.yaml:3:32: snapshot.mod: unknown property: did you mean snapshot.mode?\n" +
		"    config: {connector.class: x, snapshot.mod: y}\n" + strings.Repeat(" ", 33) + "^"
	if strict[0].String() != want {
		t.Errorf("got\n%s\nwant\n%s", strict[0], want)
	}
}

func TestMissingFile(t *testing.T) {
	f, diags := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if f == nil || len(diags) != 1 || !strings.HasSuffix(diags[0].String(), "none.yaml: cannot be opened: no such file or directory") {
		t.Errorf("got %v", diags)
	}
}

// Whatever is in the file, it is refused quickly and in little memory.
func TestHostileFiles(t *testing.T) {
	bomb := "log:\n  a0: &a0 [x]\n"
	for i := range 30 {
		n := string(rune('0'+i/10)) + string(rune('0'+i%10))
		bomb += "  b" + n + ": &b" + n + " [*a0, *a0, *a0, *a0, *a0, *a0, *a0, *a0]\n"
	}
	indented := ""
	for i := range 2000 {
		indented += strings.Repeat(" ", i) + "a:\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"case99/alias_bomb", bomb, "anchors and aliases are not supported"},
		{"case99/nested_lists", "a: " + strings.Repeat("[", 10_000), "nested deeper"},
		{"case99/nested_maps", strings.Repeat("{a: ", 10_000), "nested deeper"},
		{"case99/nested_dashes", strings.Repeat("- ", 10_000), "nested deeper"},
		{"case99/nested_keys", strings.Repeat("? ", 10_000), "nested deeper"},
		{"case99/nested_anchors", "a: " + strings.Repeat("&a ", 10_000), ""},
		{"case99/nested_by_indentation", indented, "unknown key"},
		{"case99/duplicate_keys", strings.Repeat("version: 1\n", 9_000), "is already set in line 1"},
		{"case99/many_keys", strings.Repeat("version: 1\n", 100_000), "more than 10000 keys"},
		{"case99/many_values", "a: [" + strings.Repeat("x,", 600_000) + "]", "too many values"},
		{"case99/large", strings.Repeat("# comment\n", 1<<20), "more than 8388608 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, diags := Parse("c.yaml", []byte(tt.text))
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if !Failed(diags) || !strings.Contains(diags[0].Message+diags[len(diags)-1].Message, tt.want) {
				t.Errorf("got %.300v", diags)
			}
			if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 10*time.Second || mb > 2<<10 {
				t.Errorf("took %s and %d MB", took, mb)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 8<<10 {
			return
		}
		file, diags := Parse("c.yaml", text)
		diags = append(diags, file.Check(false, describeForTest)...)
		for _, d := range diags {
			if s := d.String(); d.Message == "" || strings.Count(s, "\n") > 2 {
				t.Errorf("%q", s)
			}
		}
		if Failed(diags) {
			return
		}
		for _, c := range file.Connectors {
			if CheckName(c.Name) != nil || c.Config["name"] != c.Name || c.Config["connector.class"] == "" {
				t.Errorf("accepted %+v", c)
			}
		}
	})
}
