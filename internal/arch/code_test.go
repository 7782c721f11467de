package arch

import (
	"go/ast"
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

// sleepers are the test files that may call time.Sleep outside testing/synctest, and why: they wait
// for another process or keep the pace of real sound, and no event tells.
var sleepers = map[string]string{
	"codec/wavwrite_test.go":           "polls a file that another process writes",
	"internal/cluster/media_test.go":   "keeps the pace of packets",
	"internal/cluster/bed_test.go":     "polls several nodes with a deadline",
	"relay/internal/node/bed_test.go":  "polls nodes over real sockets with a deadline, keeps the pace of packets",
	"internal/testkit":                 "polls other processes",
	"internal/demo":                    "polls other processes",
	"internal/e2e":                     "polls other processes, keeps the pace of sound",
	"client/internal/device":           "keeps the pace of sound",
	"streamer/internal/ingest/browser": "polls a browser",
}

func TestNoSleepInTests(t *testing.T) {
	tree := load(t)
	for _, s := range tree.sources {
		if !s.test || slices.Contains(s.imports(), "testing/synctest") || allowed(sleepers, s) {
			continue
		}
		calls(s.ast, func(pkg, name string, n ast.Node) {
			if pkg == "time" && name == "Sleep" {
				t.Errorf("%s: sleeps to wait for something: wait on an event, use testing/synctest, or poll with a deadline across processes and add the file to sleepers in internal/arch", tree.at(n))
			}
		})
	}
}

// allowed reports whether the file of s, or its folder, is a key of list.
func allowed(list map[string]string, s source) bool {
	for key := range list {
		if s.path == key || within(s.dir, key) {
			return true
		}
	}
	return false
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
func calls(f *ast.File, visit func(pkg, name string, n ast.Node)) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok {
				visit(pkg.Name, sel.Sel.Name, call)
			}
		}
		return true
	})
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
