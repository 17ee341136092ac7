package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Wait time.Duration `cfg:"wait.ms" default:"1500"`
}

type typed struct {
	inner
	Host     string   `cfg:"host" required:"true" doc:"The host."`
	Password Password `cfg:"password"`
	Mode     string   `cfg:"mode" default:"initial" oneof:"initial,never"`
	Port     int      `cfg:"port" default:"5432" min:"1" max:"65535"`
	Big      int64    `cfg:"big"`
	Ratio    float64  `cfg:"ratio" default:"0.5" min:"0" max:"1"`
	On       bool     `cfg:"on" default:"true"`
	List     []string `cfg:"list" default:"a,b"`
	Include  Patterns `cfg:"include"`
	other    int
}

func TestKeys(t *testing.T) {
	want := []Key{
		{Name: "wait.ms", Type: "LONG", Default: "1500"},
		{Name: "host", Type: "STRING", Required: true, Doc: "The host."},
		{Name: "password", Type: "PASSWORD"},
		{Name: "mode", Type: "STRING", Default: "initial", OneOf: []string{"initial", "never"}},
		{Name: "port", Type: "INT", Default: "5432"},
		{Name: "big", Type: "LONG"},
		{Name: "ratio", Type: "DOUBLE", Default: "0.5"},
		{Name: "on", Type: "BOOLEAN", Default: "true"},
		{Name: "list", Type: "LIST", Default: "a,b"},
		{Name: "include", Type: "LIST"},
	}
	if got := Keys(&typed{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecode(t *testing.T) {
	c := typed{other: 7}
	if p := Decode(map[string]string{"host": " db ", "unknown": "x"}, &c); p != nil {
		t.Fatal(p)
	}
	if c.Host != "db" || c.Mode != "initial" || c.Port != 5432 || c.Ratio != 0.5 || !c.On || len(c.List) != 2 || c.Wait != 1500*time.Millisecond || !c.Include.Empty() || c.other != 7 {
		t.Errorf("defaults: %+v", c)
	}
	p := Decode(map[string]string{"host": "h", "mode": "NEVER", "port": "1", "big": "9223372036854775807", "on": "False", "list": " x,, y ", "include": "a.b", "wait.ms": "-1"}, &c)
	if p != nil || c.Mode != "never" || c.Big != 1<<63-1 || c.On || strings.Join(c.List, "|") != "x|y" || !c.Include.Match("a.b") || c.Wait != -time.Millisecond {
		t.Errorf("%v, %+v", p, c)
	}
}

func TestDecodeProblems(t *testing.T) {
	var c typed
	got := map[string]string{}
	for _, p := range Decode(map[string]string{"mode": "nevr", "port": "65536", "big": "9223372036854775808", "ratio": "-0.1", "on": "yes",
		"include": "(", "wait.ms": "9223372036854775807"}, &c) {
		got[p.Key] = p.Message
	}
	for key, want := range map[string]string{"host": "is required", "mode": "did you mean never?", "port": "at most 65535", "big": "not a whole number",
		"ratio": "at least 0", "on": "not true or false", "include": "not a valid regular expression", "wait.ms": "too many"} {
		if !strings.Contains(got[key], want) {
			t.Errorf("%s: got %q, want %q", key, got[key], want)
		}
	}
	if len(got) != 8 {
		t.Errorf("got %v", got)
	}
}

// A configuration can be checked before its secrets are read.
func TestDecodePlaceholders(t *testing.T) {
	var c typed
	p := Decode(map[string]string{"host": "${env:H}", "password": "${file:/p:k}", "port": "${env:PORT}", "mode": "${env:MODE}", "include": "${env:I}", "on": "${env:ON}"}, &c)
	if p != nil || c.Host != "${env:H}" || c.Port != 5432 || !c.On || c.Mode != "${env:MODE}" {
		t.Errorf("%v, %+v", p, c)
	}
}

func TestPasswordIsHidden(t *testing.T) {
	const secret = "hunter2"
	v := struct{ P Password }{secret}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v.P, v.P), string(text), v.P.String()} {
		if strings.Contains(s, secret) || !strings.Contains(s, Hidden) {
			t.Errorf("shows %s", s)
		}
	}
	if v.P.Reveal() != secret {
		t.Error("Reveal does not reveal")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"snapshot.mode", "slot.name", "topics"}
	for text, want := range map[string]string{"snapshot.mod": "snapshot.mode", "SLOT.NAME": "slot.name", "slotname": "slot.name", "tpoics": "topics", "zzzzzz": "", "": ""} {
		if got := Nearest(text, known); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
