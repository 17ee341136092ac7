package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/config"
)

// exec runs a command line inside of the test and returns what it printed and its exit status.
func execute(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	c := root()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.ExecuteContext(t.Context())
	if err != nil {
		out.WriteString("tailrace: " + err.Error() + "\n")
	}
	return out.String(), status(err)
}

func TestValidateFiles(t *testing.T) {
	update := flag.Lookup("update").Value.(flag.Getter).Get().(bool)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			got, code := execute(t, "validate", f)
			if wantCode := 1; strings.HasSuffix(f, ".good.yaml") == (code == wantCode) {
				t.Errorf("exit status %d:\n%s", code, got)
			}
			golden := strings.TrimSuffix(f, ".yaml") + ".txt"
			if update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("got:\n%s\nwant (-update rewrites):\n%s%v", got, want, err)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is shown")
			}
		})
	}
}

func TestValidateStrictAndJSON(t *testing.T) {
	if out, code := execute(t, "validate", "-c", "testdata/warnings.good.yaml", "--strict"); code != 1 || !strings.Contains(out, "topics.regex?") {
		t.Errorf("%d %s", code, out)
	}
	out, code := execute(t, "validate", "-o", "json", "testdata/warnings.good.yaml")
	var list []diagnostic
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 2 {
		t.Fatalf("%d %s: %v", code, out, err)
	}
	if d := list[0]; d.Line != 7 || d.Column != 7 || d.Severity != "warning" || d.Suggestion != "topics.regex" || d.Key != "topic.regexp" {
		t.Errorf("%+v", d)
	}
}

func TestExitStatus(t *testing.T) {
	for _, s := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "tailrace " + version},
		{[]string{"version", "-o", "json"}, 0, `"version": "` + version + `"`},
		{[]string{"--help"}, 0, "tail "},
		{[]string{"stats"}, 2, `unknown command "stats": did you mean status?`},
		{[]string{"status", "--nope"}, 2, "unknown flag"},
		{[]string{"status", "x"}, 2, "see tailrace status --help"},
		{[]string{"tail"}, 2, "requires at least 1 arg"},
		{[]string{"topics", "-o", "xml"}, 2, "must be table or json"},
		{[]string{"topics", "--url", "nonsense"}, 2, "must be like http://127.0.0.1:8083"},
		{[]string{"topics", "--url", "http://127.0.0.1:1"}, 1, "is `tailrace serve` running?"},
		{[]string{"serve", "--log-level", "loud"}, 2, "--log-level"},
		{[]string{"serve", "--log-format", "xml"}, 2, "--log-format"},
		{[]string{"serve", "-c", "testdata/nosuch.yaml"}, 1, "nosuch.yaml"},
		{[]string{"serve", "-c", "testdata/kafka.bad.yaml"}, 1, "use embedded"},
		{[]string{"validate", "testdata/nosuch.yaml"}, 1, "no such file"},
	} {
		if out, code := execute(t, s.args...); code != s.code || !strings.Contains(out, s.want) {
			t.Errorf("%v: %d %s, want %d with %s", s.args, code, out, s.code, s.want)
		}
	}
}

// Every class that the worker knows by name is one that files may use, and has documentation.
func TestPluginsAreDescribed(t *testing.T) {
	opt := plugins()
	seen := map[string]bool{}
	add := func(name, doc string, keys []config.Key, classes []string) {
		if name == "" || doc == "" || len(classes) == 0 {
			t.Errorf("plugin %q has no name, no classes or no documentation", name)
		}
		for _, n := range append([]string{name}, classes...) {
			if seen[n] {
				t.Errorf("two plugins answer to %s", n)
			}
			seen[n] = true
		}
		for _, k := range keys {
			if k.Doc == "" {
				t.Errorf("%s: property %s is not documented", name, k.Name)
			}
		}
	}
	for _, p := range opt.Sources {
		add("source "+p.Name, p.Doc, p.Keys, p.Classes)
	}
	for _, p := range opt.Sinks {
		add("sink "+p.Name, p.Doc, p.Keys, p.Classes)
	}
	for _, p := range opt.Transforms {
		add(p.Name, p.Doc, p.Keys, p.Classes)
	}
}

func TestTablesShowNoControlCharacters(t *testing.T) {
	var out bytes.Buffer
	if err := printTable(&out, "A B", [][]string{{"x\x1b[31m\r", "y\u009b\n"}}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\r\u009b") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	if err := tailTable(&out, strings.NewReader(`{"topic":"t\u001b","partition":0,"offset":1,"key":"\u009b","value":{"a":"`+"\u009b"+`"}}`)); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\u009b") {
		t.Errorf("%q", out.String())
	}
}

// An interrupted client that waits for a daemon ends well.
func TestInterruptedTail(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := root()
	c.SetArgs([]string{"tail", "t", "--url", "http://127.0.0.1:1"})
	c.SetOut(&bytes.Buffer{})
	if err := c.ExecuteContext(ctx); err != nil {
		t.Error(err)
	}
}
