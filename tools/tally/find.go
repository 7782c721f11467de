package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// target is one test function by name, such as FuzzOpen of dongthanh/internal/seal.
type target struct{ pkg, name string }

// find returns the functions of all test files whose names begin with prefix (Test, Fuzz, …) and
// match pattern, by package and in the order of their names.
func find(ctx context.Context, prefix, pattern string) ([]target, error) {
	cmd := command(ctx, "list", "-e", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("parse pattern %s: %w", pattern, err)
	}
	var found []target
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Dir, ImportPath           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		var names []string
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				continue // go test says it better
			}
			for _, d := range parsed.Decls {
				f, ok := d.(*ast.FuncDecl)
				if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, prefix) && wanted.MatchString(f.Name.Name) {
					names = append(names, f.Name.Name)
				}
			}
		}
		slices.Sort(names)
		for _, name := range names {
			found = append(found, target{p.ImportPath, name})
		}
	}
	return found, nil
}

// packages returns the packages of targets, each once.
func packages(targets []target) []string {
	var all []string
	for _, t := range targets {
		all = append(all, t.pkg)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
