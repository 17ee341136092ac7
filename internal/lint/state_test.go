package lint

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// packageVars returns the names of the package's variables with their declarations.
func (u *unit) packageVars() map[string]*ast.ValueSpec {
	vars := map[string]*ast.ValueSpec{}
	for name, f := range u.files {
		if isTest(name) {
			continue
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for _, id := range v.Names {
					if id.Name != "_" {
						vars[id.Name] = v
					}
				}
				if s, ok := v.Type.(*ast.SelectorExpr); ok && (isIdent(s.X, "sync") || isIdent(s.X, "atomic")) {
					u.report(v, "no mutable state of the package: put the %s into the type that needs it", s.Sel.Name)
				}
			}
		}
	}
	return vars
}

// mutations finds where a variable of the package is changed, by assignment or through delete, clear or a pointer.
func (u *unit) mutations(f *ast.File, vars map[string]*ast.ValueSpec) {
	unresolved := map[*ast.Ident]bool{}
	for _, id := range f.Unresolved {
		unresolved[id] = true
	}
	ofPackage := func(e ast.Expr) (*ast.Ident, bool) {
		id := rootIdent(e)
		if id == nil || vars[id.Name] == nil {
			return nil, false
		}
		return id, id.Obj == nil && unresolved[id] || id.Obj != nil && id.Obj.Decl == vars[id.Name]
	}
	flag := func(e ast.Expr) {
		if id, ok := ofPackage(e); ok {
			u.report(e, "no mutable state of the package: %s is changed here", id.Name)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, l := range n.Lhs {
					flag(l)
				}
			}
		case *ast.IncDecStmt:
			flag(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN && n.Key != nil {
				flag(n.Key)
			}
		case *ast.CallExpr:
			if (isIdent(n.Fun, "delete") || isIdent(n.Fun, "clear") || isIdent(n.Fun, "copy")) && len(n.Args) > 0 {
				flag(n.Args[0])
			}
		case *ast.UnaryExpr:
			if id, ok := n.X.(*ast.Ident); ok && n.Op == token.AND {
				flag(id)
			}
		}
		return true
	})
}

// rootIdent returns x of x, x[i], x.f, *x and (x).
func rootIdent(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.IndexExpr:
		return rootIdent(e.X)
	case *ast.SelectorExpr:
		return rootIdent(e.X)
	case *ast.StarExpr:
		return rootIdent(e.X)
	case *ast.ParenExpr:
		return rootIdent(e.X)
	case *ast.SliceExpr:
		return rootIdent(e.X)
	}
	return nil
}

// Each rule is shown a package that breaks it and one that does not.
func TestRulesCanFail(t *testing.T) {
	for _, tt := range []struct {
		name, path, src string
		want            string // "" for none
	}{
		{"documented", "worker", "// Package a is a room.\npackage a\n", ""},
		{"undocumented", "worker", "package a\n", "package comment must be in one file, not in 0"},
		{"wrong_comment", "worker", "// A room.\npackage a\n", "must start with"},
		{"bad_name", "internal/util", "package a\n", "one purpose"},
		{"init", "worker", "package a\nfunc init() {}\n", "no init()"},
		{"method_init", "worker", "package a\ntype t int\nfunc (t) init() {}\n", ""},
		{"long", "worker", "package a\nfunc f() {\n" + strings.Repeat("_ = 1\n", maxFunctionLines) + "}\n", "lines: split it"},
		{"map_written", "worker", "package a\nvar m = map[int]int{}\nfunc f() { m[1] = 2 }\n", "m is changed here"},
		{"map_read", "worker", "package a\nvar m = map[int]int{}\nfunc f() int { return m[1] }\n", ""},
		{"shadowed", "worker", "package a\nvar m = map[int]int{}\nfunc f() { m := map[int]int{}; m[1] = 2; delete(m, 1) }\n", ""},
		{"deleted", "worker", "package a\nvar m = map[int]int{}\nfunc f() { delete(m, 1) }\n", "m is changed here"},
		{"counter", "worker", "package a\nvar n int\nfunc f() { n++ }\n", "n is changed here"},
		{"pointer", "worker", "package a\nvar n int\nfunc f() *int { return &n }\n", "n is changed here"},
		{"mutex", "worker", "package a\nimport \"sync\"\nvar mu sync.Mutex\n", "put the Mutex into the type"},
		{"context", "worker", "package a\nimport \"context\"\ntype t struct { ctx context.Context }\n", "no context in a struct"},
		{"json_any", "sink/x", "package a\nimport \"encoding/json\"\nfunc f(p []byte) { var v map[string]any; _ = json.Unmarshal(p, &v) }\n", "into any"},
		{"json_any_literal", "sink/x", "package a\nimport \"encoding/json\"\nfunc f(p []byte) { v := map[string]any{}; _ = json.Unmarshal(p, &v) }\n", "into any"},
		{"json_any_field", "sink/x", "package a\ntype t struct { V any `json:\"v\"` }\n", "into any"},
		{"json_raw", "sink/x", "package a\nimport \"encoding/json\"\nfunc f(p []byte) { var v map[string]json.RawMessage; _ = json.Unmarshal(p, &v) }\n", ""},
		{"json_elsewhere", "rest", "package a\nimport \"encoding/json\"\nfunc f(p []byte) { var v any; _ = json.Unmarshal(p, &v) }\n", ""},
		{"switch", "sink/x", "package a\nfunc f(e struct{ Op byte }) { switch e.Op { case 1: } }\n", "needs a default"},
		{"switch_default", "sink/x", "package a\nfunc f(e struct{ Op byte }) { switch e.Op { case 1: default: } }\n", ""},
		{"now", "worker", "package a\nimport \"time\"\nfunc f() time.Time { return time.Now() }\n", "the clock is passed in"},
		{"now_default", "worker", "package a\nimport \"time\"\nfunc f() func() time.Time { return time.Now }\n", ""},
		{"now_deadline", "source/x", "package a\nimport \"time\"\nfunc f() time.Time { return time.Now().Add(1) }\n", ""},
		{"now_event", "source/x", "package a\nimport \"time\"\nfunc f() int64 { return time.Now().UnixMicro() }\n", "times of events"},
		{"now_command", "cmd/x", "package main\nimport \"time\"\nfunc f() time.Time { return time.Now() }\n", ""},
		{"print", "worker", "package a\nimport \"fmt\"\nfunc f() { fmt.Println() }\n", "through the logger"},
		{"exit", "worker", "package a\nimport \"os\"\nfunc f() { os.Exit(1) }\n", "only a command exits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := tt.src
			if !strings.Contains(src, "//") && tt.name != "undocumented" {
				src = strings.Replace(src, "package ", "// Package a is a room.\npackage ", 1)
			}
			u := parseUnit(t, tt.path, map[string]string{"x.go": src})
			u.check()
			got := strings.Join(u.wrong, "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for src, bad := range map[string]bool{"time.Sleep(1)": true, "for { time.Sleep(1) }": false} {
		u := parseUnit(t, "worker", map[string]string{"x_test.go": "package a\nimport \"time\"\nfunc f() { " + src + " }\n", "x.go": "// Package a is a room.\npackage a\n"})
		u.check()
		if (len(u.wrong) > 0) != bad {
			t.Errorf("%s: %v", src, u.wrong)
		}
	}
}
