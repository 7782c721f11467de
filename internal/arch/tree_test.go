package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// module is the path of this module, as in go.mod.
const module = "dongthanh"

// root is the folder of go.mod, seen from here.
const root = "../.."

// file is one file of the tree, by its path from the root with slashes.
type file struct {
	path string
	text []byte
}

// lines returns the number of lines.
func (f file) lines() int { return bytes.Count(f.text, []byte("\n")) }

// generated reports whether a machine wrote the file (Go's own convention, in any language).
func (f file) generated() bool {
	head := f.text[:min(len(f.text), 2000)]
	return bytes.Contains(head, []byte("Code generated ")) && bytes.Contains(head, []byte("DO NOT EDIT"))
}

// binary reports whether the file is not text.
func (f file) binary() bool { return bytes.IndexByte(f.text[:min(len(f.text), 8000)], 0) >= 0 }

// source is one parsed Go file.
type source struct {
	file
	dir  string // path of its folder from the root
	test bool
	ast  *ast.File
}

// imports returns the import paths, each as written.
func (s source) imports() []string {
	var all []string
	for _, i := range s.ast.Imports {
		all = append(all, strings.Trim(i.Path.Value, `"`))
	}
	return all
}

// tree is all that a clone holds, read once for all tests.
type tree struct {
	files   []file
	sources []source
	fset    *token.FileSet
	err     error
}

// read reads the tree; only the first call does any work.
var read = sync.OnceValue(func() tree {
	t := tree{fset: token.NewFileSet()}
	t.err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" || rel == "bin" || rel == "var" || d.Name() == "node_modules" { // not in a clone
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == ".git" { // a file in a linked work tree
			return nil
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // another test's scratch file
		}
		if err != nil {
			return err
		}
		f := file{path: rel, text: text}
		t.files = append(t.files, f)
		if filepath.Ext(rel) != ".go" || strings.Contains(rel, "testdata/") {
			return nil
		}
		parsed, err := parser.ParseFile(t.fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		t.sources = append(t.sources, source{file: f, dir: dir, test: strings.HasSuffix(rel, "_test.go"), ast: parsed})
		return nil
	})
	return t
})

// load returns the tree.
func load(t *testing.T) tree {
	t.Helper()
	got := read()
	if got.err != nil {
		t.Fatalf("read the tree: %v", got.err)
	}
	if len(got.sources) < 10 {
		t.Fatalf("found %d Go files below %s: these tests run from their own folder", len(got.sources), root)
	}
	return got
}

// at returns "path:line" of a node.
func (t tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return p.Filename + ":" + itoa(p.Line)
}

// within reports whether folder dir is parent or lies below it.
func within(dir, parent string) bool {
	return dir == parent || strings.HasPrefix(dir, parent+"/")
}
