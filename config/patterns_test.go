package config

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		yes, no    []string
	}{
		{"case98/plain_name", "public.a", []string{"public.a"}, []string{"public.ab", "publicXa", "xpublic.a", "PUBLIC.a", "public.a\n", ""}},
		{"case98/escaped_name", `public\.a`, []string{"public.a"}, []string{"public.ab", "publicXa"}},
		{"case98/anchored_alternatives", `public\.a|public\.b`, []string{"public.a", "public.b"}, []string{"public.ab", "xpublic.b", "public.a|public.b"}},
		{"list", ` public.a ,, audit\..*,`, []string{"public.a", "audit.x", "audit."}, []string{"audit", "public.b", ""}},
		{"dot_is_any_in_a_regex", `public.a+`, []string{"public.aa", "publicXa"}, []string{"public.ab"}},
		{"comma_in_quantifier", `s\.t\d{1,3},s.x`, []string{"s.t1", "s.t999", "s.x"}, []string{"s.t", "s.t1000", "3}"}},
		{"comma_in_class", `s\.[a,b],s.x`, []string{"s.a", "s.,", "s.x"}, []string{"s.c", "b]"}},
		{"comma_in_group", `s\.(a|b{2,}),s.x`, []string{"s.a", "s.bbb", "s.x"}, []string{"s.b"}},
		{"comma_escaped", `s\.a\,b`, []string{"s.a,b"}, []string{"s.a", "b"}},
		{"bracket_in_class", `s\.[[(]x,s.y`, []string{"s.[x", "s.(x", "s.y"}, []string{"s.x"}},
		{"dollar_in_a_name", `sys.user$data`, []string{"sys.user$data"}, []string{"sys.user"}},
		{"dollar_at_the_end", `^public\.a$`, []string{"public.a"}, []string{"public.a$"}},
		{"other_scripts", `public.注文,public.café`, []string{"public.注文", "public.café"}, []string{"public.cafe"}},
		{"ignore_case_on_request", `(?i)public\.Orders`, []string{"PUBLIC.ORDERS"}, []string{"public.order"}},
		{"spaces_in_a_name", `public.order items`, []string{"public.order items"}, []string{"public.order"}},
		{"empty", ` , `, nil, []string{"", "a", ","}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePatterns(tt.list)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.yes {
				if !p.Match(name) {
					t.Errorf("%q does not match %q", tt.list, name)
				}
			}
			for _, name := range tt.no {
				if p.Match(name) {
					t.Errorf("%q matches %q", tt.list, name)
				}
			}
			if p.String() != tt.list {
				t.Errorf("String() = %q", p.String())
			}
		})
	}
}

func TestPatternErrors(t *testing.T) {
	for _, tt := range []struct{ name, list, want string }{
		{"case98/repeat_bomb", `(x{1000}){1000}`, "it is too large"},
		{"case98/repeat_bomb_nested", `((((x{100}){100}){100}){100}){100}`, "it is too large"},
		{"case98/long_expression", strings.Repeat("a?", 4<<10), "more than 4096"},
		{"case98/many_large", strings.Repeat(`(a|[b-y]){900},`, 2000), "too large together"},
		{"case98/long_list", strings.Repeat("x", 16<<20+1), "more than 16777216"},
		{"glob", `*.orders`, "write .* for anything"},
		{"lookahead", `public\.(?!audit).*`, "use an exclude list"},
		{"unclosed", `public\.(a,public.b`, "missing closing )"},
		{"backslash_at_end", `public\`, "trailing backslash"},
		{"not_balanced_alone", `a)|(b`, "unexpected )"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Work is judged by what it allocates: the clock of a loaded machine tells nothing.
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := ParsePatterns(tt.list)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %.300v, want %q", err, tt.want)
			}
			if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 1<<10 {
				t.Errorf("allocated %d MB", mb)
			}
		})
	}
}

func TestPatternsLongList(t *testing.T) {
	for _, kind := range []struct{ name, format string }{
		{"case98/100k_names", "public.t%d"}, {"case98/100k_escaped", `public\.t%d`},
	} {
		t.Run(kind.name, func(t *testing.T) {
			var b strings.Builder
			for i := range 100_000 {
				fmt.Fprintf(&b, kind.format+",", i)
			}
			p, err := ParsePatterns(b.String())
			if err != nil {
				t.Fatal(err)
			}
			if len(p.regexes) != 0 || !p.Match("public.t99999") || p.Match("public.t100000") {
				t.Errorf("%d expressions, wrong match", len(p.regexes))
			}
		})
	}
}

// A list of plain names matches exactly its names, whatever they are made of.
func TestPatternsPlainNames(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z_][a-zA-Z0-9_ é注-]{0,8}\.[a-zA-Z_][a-zA-Z0-9_é注-]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(name, 1, 5).Draw(t, "names")
		p, err := ParsePatterns(strings.Join(names, ","))
		if err != nil {
			t.Fatal(err)
		}
		other := name.Draw(t, "other")
		listed := false
		for _, n := range names {
			if !p.Match(strings.TrimSpace(n)) {
				t.Fatalf("%q is not matched", n)
			}
			listed = listed || n == other
		}
		if p.Match(other) != listed {
			t.Fatalf("%q: match %v, listed %v", other, !listed, listed)
		}
	})
}

func TestPatternsAsField(t *testing.T) {
	var cfg struct {
		Include Patterns `cfg:"table.include.list"`
	}
	if k := Keys(&cfg)[0]; k.Type != "LIST" {
		t.Errorf("type is %s", k.Type)
	}
	if p := Decode(map[string]string{"table.include.list": `a.b,c\.d.*`}, &cfg); p != nil || !cfg.Include.Match("c.dd") {
		t.Errorf("%v, %v", p, cfg.Include)
	}
	if p := Decode(map[string]string{"table.include.list": `(`}, &cfg); len(p) != 1 || p[0].Key != "table.include.list" {
		t.Errorf("got %v", p)
	}
}

// No list makes ParsePatterns or Match panic, and a plain name is matched by itself.
func FuzzPatterns(f *testing.F) {
	for _, s := range []string{`public.a,public\.b`, `a{1,3},[a,b],(x,y)`, `(`, `\`, `a\,b`, `sys.user$data,^x$`, `(?i)a,[[:alpha:]]+`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		p, err := ParsePatterns(list)
		if err != nil {
			return
		}
		for _, e := range p.Entries() {
			if isPlainName(e) && (!p.Match(e) || e != strings.TrimSpace(e)) {
				t.Errorf("%q does not match itself", e)
			}
			p.Match(e + "x")
		}
	})
}
