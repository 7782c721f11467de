package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range load(t).sources {
		if _, ok := comments[s.dir]; !ok {
			comments[s.dir] = nil
		}
		if s.ast.Doc != nil && !s.test {
			comments[s.dir] = append(comments[s.dir], s.path)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(comments)) {
		if with := comments[dir]; len(with) == 0 {
			t.Errorf("%s has no package comment: say what it is for, what it never does and who may call it from where", dir)
		} else if len(with) > 1 {
			t.Errorf("%s has more than one package comment (%s): keep one; a blank line frees the others from the package clause", dir, strings.Join(with, ", "))
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	tree := load(t)
	for _, s := range tree.sources {
		if s.test {
			continue
		}
		for _, d := range s.ast.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no comment: state shape, unit, who owns the memory, which errors come back, and the source (STYLE rule 5)", tree.at(name), name.Name)
			}
		}
	}
}

// plain are methods whose name and signature the language or the library fixes: a comment would
// only repeat it.
var plain = []string{"Error", "String", "Unwrap", "ServeHTTP", "Len", "Less", "Swap"}

// undocumented returns the exported names of a declaration that have no comment. A comment on a
// group of constants or variables is one for each of them.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		method := d.Recv != nil
		if method && (!receiverExported(d.Recv) || slices.Contains(plain, d.Name.Name)) {
			return nil
		}
		if d.Doc == nil && d.Name.IsExported() {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
					names = append(names, spec.Name)
				}
			case *ast.ValueSpec:
				if d.Doc != nil || spec.Doc != nil || spec.Comment != nil {
					continue
				}
				for _, n := range spec.Names {
					if n.IsExported() {
						names = append(names, n)
					}
				}
			}
		}
	}
	return names
}

// receiverExported reports whether a method's type is exported.
func receiverExported(fields *ast.FieldList) bool {
	t := fields.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// TestNoSleepInTests refuses time.Sleep as a way to wait: it is too short on a busy machine and too
// long on any other. It may stand in a bubble of testing/synctest, where it costs nothing; in a
// loop, which polls with a deadline or keeps the pace of sound; and where a comment on its line says
// why no event can tell.
func TestNoSleepInTests(t *testing.T) {
	tree := load(t)
	bubbles := map[string][]string{} // by folder, the helpers that open a bubble
	for _, s := range tree.sources {
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !s.test {
				continue
			}
			calls(f, func(pkg, name string, _ ast.Node) {
				if pkg == "synctest" && name == "Test" {
					bubbles[s.dir] = append(bubbles[s.dir], f.Name.Name)
				}
			})
		}
	}
	for _, s := range tree.sources {
		if !s.test || slices.Contains(s.imports(), "testing/synctest") {
			continue
		}
		explained := map[int]bool{}
		for _, group := range s.ast.Comments {
			explained[tree.fset.Position(group.Pos()).Line] = true
		}
		for _, n := range sleeps(s.ast, bubbles[s.dir]) {
			if !explained[tree.fset.Position(n.Pos()).Line] {
				t.Errorf("%s: sleeps to wait for something: wait on an event, use testing/synctest, poll in a loop with a deadline, or say in a comment on the line why no event can tell", tree.at(n))
			}
		}
	}
}

// sleeps returns the calls of time.Sleep in f that stand neither in a loop nor in a function given
// to one of bubbles.
func sleeps(f ast.Node, bubbles []string) (found []ast.Node) {
	var stack []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		if pkg, name := callee(n); pkg == "time" && name == "Sleep" && !slices.ContainsFunc(stack, func(above ast.Node) bool {
			switch above := above.(type) {
			case *ast.ForStmt, *ast.RangeStmt:
				return true
			case *ast.CallExpr:
				id, ok := above.Fun.(*ast.Ident)
				return ok && slices.Contains(bubbles, id.Name)
			}
			return false
		}) {
			found = append(found, n)
		}
		stack = append(stack, n)
		return true
	})
	return found
}

// global names functions of package slog that write to its global logger.
var global = []string{"Default", "SetDefault", "SetLogLoggerLevel", "Debug", "DebugContext", "Info", "InfoContext",
	"Warn", "WarnContext", "Error", "ErrorContext", "Log", "LogAttrs", "With"}

func TestNoGlobals(t *testing.T) {
	tree := load(t)
	for _, s := range tree.sources {
		calls(s.ast, func(pkg, name string, n ast.Node) {
			switch {
			case pkg == "slog" && slices.Contains(global, name):
				t.Errorf("%s: slog.%s uses the global logger: take a *slog.Logger in the constructor; in a test slog.New(slog.DiscardHandler)", tree.at(n), name)
			case pkg == "prometheus" && (name == "MustRegister" || name == "Register" || name == "DefaultRegisterer"),
				pkg == "promauto" && name != "With":
				t.Errorf("%s: %s.%s uses the global registry: take a prometheus.Registerer in the constructor", tree.at(n), pkg, name)
			case (pkg == "os") && (name == "Getenv" || name == "LookupEnv") && ours(n):
				t.Errorf("%s: reads a variable with the prefix of configuration keys: a setting belongs into a Config; tests ask CI, which make test sets", tree.at(n))
			}
		})
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s: init runs before anyone can pass it anything: do it in a constructor", tree.at(f))
			}
		}
		for _, path := range s.imports() {
			if path == "log" && !s.test {
				t.Errorf("%s imports log: take a *slog.Logger in the constructor; slog.NewLogLogger serves net/http", s.path)
			}
		}
	}
}

// calls calls visit for every call of a function of another package, by the package's local name.
func calls(within ast.Node, visit func(pkg, name string, n ast.Node)) {
	ast.Inspect(within, func(n ast.Node) bool {
		if pkg, name := callee(n); name != "" {
			visit(pkg, name, n)
		}
		return true
	})
}

// callee returns what a call like pkg.name(…) calls; empty for anything else.
func callee(n ast.Node) (pkg, name string) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", ""
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return id.Name, sel.Sel.Name
}

// ours reports whether the first argument of a call is a literal with the prefix of our variables.
func ours(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	text, ok := call.Args[0].(*ast.BasicLit)
	return ok && text.Kind == token.STRING && strings.HasPrefix(text.Value, `"DONGTHANH_`)
}

// TestSleepsAreFound holds the search for sleeps to cases of each kind.
func TestSleepsAreFound(t *testing.T) {
	const text = `package x
func f() {
	time.Sleep(1)
	for { time.Sleep(2) }
	inTime(func() { time.Sleep(3) })
	other(func() { time.Sleep(4) })
	time.After(5)
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "x.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, n := range sleeps(f, []string{"inTime"}) {
		lines = append(lines, fset.Position(n.Pos()).Line)
	}
	if !slices.Equal(lines, []int{3, 6}) {
		t.Errorf("sleeps in lines %v, want 3 and 6", lines)
	}
}
