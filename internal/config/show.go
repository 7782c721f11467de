package config

import (
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Show returns the values of a configuration, one "path.to.key: value" each, in the order of its
// fields. Texts are quoted, an empty list is []. A field tagged secret:"true" shows only whether it
// is set, and the password of a URL is hidden.
func Show[T any](from *T) []string {
	var lines []string
	show(reflect.ValueOf(from).Elem(), "", false, func(path, value string) {
		lines = append(lines, path+": "+value)
	})
	return lines
}

// show calls line for every scalar and every empty list in v.
func show(v reflect.Value, path string, secret bool, line func(path, value string)) {
	switch kindOf(v.Type()) {
	case section:
		for _, f := range fields(v.Type()) {
			show(v.Field(f.index), join(path, f.key), secret || f.secret, line)
		}
	case list:
		if v.Len() == 0 {
			line(path, "[]")
		}
		for i := range v.Len() {
			show(v.Index(i), join(path, strconv.Itoa(i)), secret, line)
		}
	default:
		line(path, text(v, secret))
	}
}

// text returns how one value is shown.
func text(v reflect.Value, secret bool) string {
	switch {
	case secret && v.IsZero():
		return "(not set)"
	case secret:
		return "(set)"
	}
	switch x := v.Addr().Interface().(type) {
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			return fmt.Sprintf("(%v)", err)
		}
		return strconv.Quote(string(b))
	case *time.Duration:
		return x.String()
	}
	if v.Kind() != reflect.String {
		return fmt.Sprint(v.Interface())
	}
	s := v.String()
	if u, err := url.Parse(s); err == nil && u.User != nil && strings.Contains(s, "://") {
		s = u.Redacted()
	}
	return strconv.Quote(s)
}

// Written returns the path of every key in a YAML text that has a value of its own, in order: a
// test holds a sample to its program with it. A list has one path an element, an empty one its own.
func Written(yaml string) ([]string, error) {
	root, err := parse(yaml)
	if err != nil {
		return nil, fmt.Errorf("parse YAML: %w", err)
	}
	var paths []string
	var visit func(node ast.Node, path string)
	visit = func(node ast.Node, path string) {
		switch n := node.(type) {
		case ast.MapNode:
			for pairs := n.MapRange(); pairs.Next(); {
				visit(pairs.Value(), join(path, pairs.Key().GetToken().Value))
			}
		case *ast.SequenceNode:
			for i, one := range n.Values {
				visit(one, join(path, strconv.Itoa(i)))
			}
			if len(n.Values) == 0 {
				paths = append(paths, path)
			}
		default:
			paths = append(paths, path)
		}
	}
	if root != nil {
		visit(root, "")
	}
	return paths, nil
}
