package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// A unit is one package as it is judged: its parsed files by their names.
type unit struct {
	path  string // in the module
	name  string // of the package
	fset  *token.FileSet
	files map[string]*ast.File
	wrong []string
}

func (u *unit) report(n ast.Node, format string, args ...any) {
	p := u.fset.Position(n.Pos())
	u.wrong = append(u.wrong, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...)))
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

// below reports whether the package is one of dirs or below it.
func (u *unit) below(dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return u.path == d || strings.HasPrefix(u.path, d+"/") })
}

// tooling reports whether the package is for tests, or a command, where the rules for the daemon's insides don't hold.
func (u *unit) tooling() bool {
	r, ok := roomOf(u.path)
	return ok && (r.tests || r.pattern == "cmd/*")
}

func (u *unit) check() {
	u.documented()
	if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared", "base", "core", "lib"}, path.Base(u.path)) {
		u.wrong = append(u.wrong, u.path+": a package is a room with one purpose: name it after that")
	}
	state := u.packageVars()
	for name, f := range u.files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				u.function(fn)
			}
		}
		if isTest(name) {
			u.sleeps(f)
			continue
		}
		u.mutations(f, state)
		ast.Inspect(f, func(n ast.Node) bool {
			u.node(n)
			return true
		})
		u.clock(f)
	}
	slices.Sort(u.wrong)
}

// documented: a package comment in one file, "Package x ..." unless it is a command.
func (u *unit) documented() {
	var docs []string
	for name, f := range u.files {
		if isTest(name) || f.Doc == nil {
			continue
		}
		docs = append(docs, name)
		if text := f.Doc.Text(); u.name != "main" && !strings.HasPrefix(text, "Package "+u.name+" ") {
			u.report(f, "the package comment must start with \"Package %s\"", u.name)
		}
	}
	if len(docs) != 1 {
		u.wrong = append(u.wrong, fmt.Sprintf("%s: the package comment must be in one file, not in %d", u.path, len(docs)))
	}
}

func (u *unit) function(fn *ast.FuncDecl) {
	if fn.Recv == nil && fn.Name.Name == "init" {
		u.report(fn, "no init(): pass it in, or make it where it is used")
	}
	from, to := u.fset.Position(fn.Pos()).Line, u.fset.Position(fn.End()).Line
	if n := to - from + 1; n > maxFunctionLines && !isTest(u.fset.Position(fn.Pos()).Filename) {
		u.report(fn, "%s has %d lines: split it by what its parts do", fn.Name.Name, n)
	}
}

// sleeps: a pause outside of a loop in a test hopes that something has happened meanwhile.
func (u *unit) sleeps(f *ast.File) {
	var walk func(n ast.Node, inLoop bool)
	walk = func(n ast.Node, inLoop bool) {
		ast.Inspect(n, func(c ast.Node) bool {
			switch c := c.(type) {
			case *ast.ForStmt:
				if !inLoop {
					walk(c.Body, true)
					return false
				}
			case *ast.RangeStmt:
				if !inLoop {
					walk(c.Body, true)
					return false
				}
			case *ast.CallExpr:
				if isCall(c, "time", "Sleep") && !inLoop {
					u.report(c, "time.Sleep does not synchronize: wait for what is to happen")
				}
			}
			return true
		})
	}
	walk(f, false)
}

func isCall(c *ast.CallExpr, pkg string, names ...string) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && x.Obj == nil && slices.Contains(names, s.Sel.Name)
}

// node holds the rules that need no more than one node.
func (u *unit) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.StructType:
		for _, f := range n.Fields.List {
			if s, ok := f.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Context" && isIdent(s.X, "context") {
				u.report(f, "no context in a struct: pass it to the call that needs it")
			}
			if f.Tag != nil && strings.Contains(f.Tag.Value, `json:"`) && u.valuePath() && holdsAny(f.Type) {
				u.report(f, "no value through encoding/json into any: big numbers and 1.0 change silently")
			}
		}
	case *ast.SwitchStmt:
		s, ok := n.Tag.(*ast.SelectorExpr)
		if ok && s.Sel.Name == "Op" && !u.tooling() && !hasDefault(n) {
			u.report(n, "a switch over event types needs a default that fails")
		}
	case *ast.CallExpr:
		u.call(n)
	}
}

func (u *unit) call(c *ast.CallExpr) {
	if u.tooling() {
		return
	}
	if isCall(c, "fmt", "Print", "Printf", "Println") || isCall(c, "log", "Print", "Printf", "Println", "Fatal", "Fatalf", "Panic", "Panicf") {
		u.report(c, "write through the logger that was passed in")
	}
	if isCall(c, "os", "Exit") {
		u.report(c, "only a command exits")
	}
	if !u.valuePath() || len(c.Args) == 0 {
		return
	}
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "Unmarshal" && s.Sel.Name != "Decode" {
		return
	}
	if a, ok := c.Args[len(c.Args)-1].(*ast.UnaryExpr); ok && a.Op == token.AND {
		if id, ok := a.X.(*ast.Ident); ok && id.Obj != nil && declaredAny(id.Obj) {
			u.report(c, "no value through encoding/json into any: big numbers and 1.0 change silently")
		}
	}
}

// valuePath: the packages through which values of rows go.
func (u *unit) valuePath() bool {
	return u.below("change", "source", "sink", "transform", "topic", "snapshot") && !u.tooling()
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func hasDefault(s *ast.SwitchStmt) bool {
	return slices.ContainsFunc(s.Body.List, func(c ast.Stmt) bool {
		clause, ok := c.(*ast.CaseClause)
		return ok && clause.List == nil
	})
}

func holdsAny(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.Ident:
		return t.Name == "any"
	case *ast.InterfaceType:
		return len(t.Methods.List) == 0
	case *ast.MapType:
		return holdsAny(t.Value)
	case *ast.ArrayType:
		return holdsAny(t.Elt)
	case *ast.StarExpr:
		return holdsAny(t.X)
	}
	return false
}

func declaredAny(o *ast.Object) bool {
	switch d := o.Decl.(type) {
	case *ast.ValueSpec:
		return d.Type != nil && holdsAny(d.Type)
	case *ast.AssignStmt:
		for i, l := range d.Lhs {
			if isIdent(l, o.Name) && i < len(d.Rhs) {
				if lit, ok := d.Rhs[i].(*ast.CompositeLit); ok && lit.Type != nil {
					return holdsAny(lit.Type)
				}
			}
		}
	}
	return false
}

// clock: time.Now as a default that can be replaced is right everywhere; a call of it is right in commands and tools,
// and in sources and sinks where it is no time of an event but the network's: deadlines and pauses.
func (u *unit) clock(f *ast.File) {
	if u.tooling() {
		return
	}
	plugin := strings.HasPrefix(u.path, "source/") || strings.HasPrefix(u.path, "sink/")
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if c, ok := n.X.(*ast.CallExpr); ok && plugin && isCall(c, "time", "Now") && strings.HasPrefix(n.Sel.Name, "Unix") {
				u.report(n, "times of events come from the clock that was passed in, not from time.Now")
			}
		case *ast.CallExpr:
			if isCall(n, "time", "Now") && !plugin {
				u.report(n, "the clock is passed in: no call of time.Now")
			}
		}
		return true
	})
}

func parseUnit(t *testing.T, p string, sources map[string]string) *unit {
	t.Helper()
	u := &unit{path: p, fset: token.NewFileSet(), files: map[string]*ast.File{}}
	for name, src := range sources {
		f, err := parser.ParseFile(u.fset, name, src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		u.files[name] = f
		if !isTest(name) || u.name == "" {
			u.name = f.Name.Name
		}
	}
	return u
}

func TestRules(t *testing.T) {
	dirs := map[string]map[string]string{}
	files(t, func(name string, content []byte) {
		if strings.HasSuffix(name, ".go") {
			dir := path.Dir(name)
			if dirs[dir] == nil {
				dirs[dir] = map[string]string{}
			}
			dirs[dir][name] = string(content)
		}
	})
	for dir, sources := range dirs {
		u := parseUnit(t, dir, sources)
		u.check()
		for _, w := range u.wrong {
			t.Error(w)
		}
	}
}
