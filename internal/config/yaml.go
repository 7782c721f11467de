package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deep a file may nest; ours nest four deep. The parser recurses, and a stack that
// overflows cannot be recovered.
const maxDepth = 32

// file lays the YAML source over top.
func (d *decoder) file(top reflect.Value) {
	body, err := parse(d.source)
	if err != nil {
		var at *placeError
		if errors.As(err, &at) {
			d.add(Fault{Path: d.name, What: at.what}, origin{line: at.line, column: at.column})
			return
		}
		d.fault(d.name, "%v", err)
		return
	}
	if body != nil {
		d.value(top, "", body)
	}
}

// placeError is a fault of a file's form at a place in it.
type placeError struct {
	what         string
	line, column int
}

// Error returns what is wrong, with the place.
func (e *placeError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.line, e.column, e.what)
}

// parse returns the root of the one document in source; nil if source holds nothing but comments.
func parse(source string) (root ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser's own bug must not become a crash with a stack
			root, err = nil, errors.New("cannot be read as YAML")
		}
	}()
	tokens := lexer.Tokenize(source)
	if err := checkDepth(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			pos := at.GetToken().Position
			return nil, &placeError{at.GetMessage(), pos.Line, pos.Column}
		}
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			pos := doc.Body.GetToken().Position
			return nil, &placeError{"a second document; one file holds one", pos.Line, pos.Column}
		}
		root = doc.Body
	}
	return root, nil
}

// checkDepth refuses brackets and one-line lists (- - -) that nest beyond maxDepth. Nesting by
// indentation needs a column a level, so that the size limit bounds it.
func checkDepth(tokens token.Tokens) error {
	var brackets, dashes, line int
	for _, t := range tokens {
		if t.Position.Line != line {
			line, dashes = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			brackets++
		case token.MappingEndType, token.SequenceEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			dashes++
		}
		if brackets > maxDepth || dashes > maxDepth || t.Position.IndentLevel > maxDepth {
			return &placeError{fmt.Sprintf("nests deeper than %d", maxDepth), t.Position.Line, t.Position.Column}
		}
	}
	return nil
}

// value lays node over v, which is the value of path.
func (d *decoder) value(v reflect.Value, path string, node ast.Node) {
	if what := forbidden(node); what != "" {
		d.faultAt(path, node.GetToken(), "%s: write the value out", what)
		return
	}
	at := node.GetToken().Position
	if d.origins[path].line == 0 {
		d.origins[path] = origin{line: at.Line, column: at.Column}
	}
	switch kindOf(v.Type()) {
	case section:
		d.section(v, path, node)
	case list:
		d.list(v, path, node)
	default:
		text, ok := scalarText(node)
		if !ok {
			d.faultAt(path, node.GetToken(), "wants one value, not %s", nodeName(node))
			return
		}
		if err := setScalar(v, text); err != nil {
			d.faultAt(path, node.GetToken(), "%v", err)
		}
	}
}

// section lays a mapping over struct v. An empty value leaves the defaults, as when every key
// below a name is commented out.
func (d *decoder) section(v reflect.Value, path string, node ast.Node) {
	if node.Type() == ast.NullType {
		return
	}
	mapping, ok := node.(ast.MapNode)
	if !ok {
		d.faultAt(path, node.GetToken(), "wants keys below it, not %s", nodeName(node))
		return
	}
	known := fields(v.Type())
	seen := map[string]int{}
	for pairs := mapping.MapRange(); pairs.Next(); {
		pair := pairs.KeyValue()
		at := pair.Key.GetToken()
		if pair.Key.IsMergeKey() || forbidden(pair.Key) != "" || pair.Key.Type() == ast.MappingKeyType {
			d.faultAt(path, at, "a key that is not a plain word: write the keys out")
			continue
		}
		key := at.Value
		here := join(path, key)
		if first, again := seen[key]; again {
			d.faultAt(here, at, "written twice, first in line %d", first)
			continue
		}
		seen[key] = at.Position.Line
		f := find(known, key)
		if f == nil {
			d.faultAt(here, at, "unknown key%s", suggest(key, keys(known)))
			continue
		}
		d.value(v.Field(f.index), here, pair.Value)
	}
}

// list lays a sequence over slice v, in place of what v held.
func (d *decoder) list(v reflect.Value, path string, node ast.Node) {
	if node.Type() == ast.NullType {
		return
	}
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.faultAt(path, node.GetToken(), "wants a list, not %s", nodeName(node))
		return
	}
	elements := reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values))
	for i, one := range sequence.Values {
		here := join(path, strconv.Itoa(i))
		if one.Type() == ast.NullType {
			d.faultAt(here, one.GetToken(), "empty")
			continue
		}
		d.value(elements.Index(i), here, one)
	}
	v.Set(elements)
}

// faultAt adds a fault of path, found at token at.
func (d *decoder) faultAt(path string, at *token.Token, format string, args ...any) {
	if path == "" {
		path = d.name
	}
	d.add(Fault{Path: path, What: fmt.Sprintf(format, args...)},
		origin{line: at.Position.Line, column: at.Position.Column})
}

// scalarText returns what a scalar says; false for anything else, an empty value included.
func scalarText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true // as written: 01 stays 01, where a string is wanted
	}
	return "", false
}

// forbidden names a construct that a configuration has no use for; empty for the others.
func forbidden(node ast.Node) string {
	switch node.Type() {
	case ast.AnchorType:
		return "an anchor"
	case ast.AliasType:
		return "an alias"
	case ast.TagType:
		return "a tag"
	case ast.MergeKeyType:
		return "a merge key"
	case ast.DirectiveType:
		return "a directive"
	}
	return ""
}

// nodeName says what a node is, for a reader who does not know YAML's words.
func nodeName(node ast.Node) string {
	switch node.(type) {
	case ast.MapNode:
		return "keys below it"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return `nothing (an empty text is "")`
	}
	if text, ok := scalarText(node); ok {
		return strconv.Quote(text)
	}
	return "this"
}

// find returns the field of that key, or nil.
func find(all []field, key string) *field {
	for i := range all {
		if all[i].key == key {
			return &all[i]
		}
	}
	return nil
}
