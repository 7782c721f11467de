package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// object is any JSON object of the description.
type object = map[string]any

// description is openapi.json, read.
func description(t *testing.T) object {
	t.Helper()
	var doc object
	if err := json.Unmarshal(openapiJSON, &doc); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return doc
}

// at walks down a path of keys; nil where it ends.
func at(v any, keys ...string) any {
	for _, k := range keys {
		o, _ := v.(object)
		v = o[k]
	}
	return v
}

func objectAt(t *testing.T, v any, keys ...string) object {
	t.Helper()
	o, ok := at(v, keys...).(object)
	if !ok {
		t.Fatalf("openapi.json has no object at %q", keys)
	}
	return o
}

// sources are the files of this package, parsed, without tests.
func sources(t *testing.T) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// calls lists the arguments of every call of a function by name.
func calls(t *testing.T, name string) (found [][]ast.Expr) {
	for _, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				if id, ok := c.Fun.(*ast.Ident); ok && id.Name == name {
					found = append(found, c.Args)
				}
			}
			return true
		})
	}
	return found
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// operations maps "GET /zones" to its description.
func operations(t *testing.T) map[string]object {
	ops := map[string]object{}
	for path, item := range objectAt(t, description(t), "paths") {
		for method, op := range item.(object) {
			if method != "parameters" {
				ops[strings.ToUpper(method)+" "+path] = op.(object)
			}
		}
	}
	return ops
}

func TestEveryRouteIsDescribed(t *testing.T) {
	routes := map[string]bool{} // → needs a login
	for _, args := range calls(t, "handle") {
		pattern, ok := literal(args[0])
		method, path, hasMethod := strings.Cut(pattern, " ")
		if !ok || !hasMethod {
			continue // what is left answers 404
		}
		_, signedIn := args[1].(*ast.CallExpr)
		routes[method+" "+strings.TrimPrefix(path, "/api/v1")] = signedIn
	}
	if len(routes) < 10 {
		t.Fatalf("found %d routes in api.go; was handle renamed?", len(routes))
	}
	ops := operations(t)
	for route, signedIn := range routes {
		op, ok := ops[route]
		if !ok {
			t.Errorf("%s is served but not described", route)
			continue
		}
		security, own := op["security"].([]any)
		if open := own && len(security) == 0; open == signedIn {
			t.Errorf("%s: described as open to all: %v; it needs a login: %v", route, open, signedIn)
		}
		if _, ok := at(op, "responses", "401").(object); signedIn && !ok {
			t.Errorf("%s needs a login, but its description has no 401", route)
		}
		if op["operationId"] == nil || op["summary"] == nil {
			t.Errorf("%s has no operationId or no summary", route)
		}
	}
	for route := range ops {
		if _, ok := routes[route]; !ok {
			t.Errorf("%s is described but not served", route)
		}
	}
}

// TestReferencesLead follows every $ref, and finds what nothing refers to.
func TestReferencesLead(t *testing.T) {
	doc := description(t)
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case object:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				if _, ok := at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(object); !ok {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(doc)
	used["#/components/schemas/Signal"] = true // told in words: OpenAPI has no place for WebSocket messages
	for _, kind := range []string{"schemas", "responses"} {
		for name := range objectAt(t, doc, "components", kind) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] {
				t.Errorf("nothing refers to %s", ref)
			}
		}
	}
}

// TestSchemasAreTheStructs holds each schema to the struct that is read or written: the names, types and which are
// always there.
func TestSchemasAreTheStructs(t *testing.T) {
	schemas := objectAt(t, description(t), "components", "schemas")
	structs := map[string]reflect.Type{
		"Person": reflect.TypeFor[person](), "Zone": reflect.TypeFor[zoneNode](), "Node": reflect.TypeFor[nodeJSON](),
		"Health": reflect.TypeFor[healthJSON](), "SessionRequest": reflect.TypeFor[startRequest](), "Source": reflect.TypeFor[sourceRequest](),
		"Session": reflect.TypeFor[sessionJSON](), "Listeners": reflect.TypeFor[listenersJSON](), "Level": reflect.TypeFor[levelJSON](),
		"NodeChange": reflect.TypeFor[nodeChange](), "Silent": reflect.TypeFor[silentJSON](), "Signal": reflect.TypeFor[signal](), "Problem": reflect.TypeFor[problem](),
		"Recording": reflect.TypeFor[recordingJSON](), "Listener": reflect.TypeFor[listenerJSON](), "Token": reflect.TypeFor[tokenJSON](), "Audio": reflect.TypeFor[audioJSON](),
	}
	names := map[reflect.Type]string{}
	for name, typ := range structs {
		names[typ] = name
	}
	for name := range schemas {
		if structs[name] == nil {
			t.Errorf("schema %s is held to no struct", name)
		}
	}
	for name, typ := range structs {
		schema, ok := schemas[name].(object)
		if !ok {
			t.Errorf("no schema %s", name)
			continue
		}
		properties, _ := schema["properties"].(object)
		var fields, required []string
		for i := range typ.NumField() {
			field, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			fields = append(fields, field)
			if options == "" {
				required = append(required, field)
			}
			property, ok := properties[field].(object)
			if !ok {
				t.Errorf("%s.%s is not described", name, field)
				continue
			}
			if got, want := shape(property), shapeOf(typ.Field(i).Type, options == "omitempty", names); got != want {
				t.Errorf("%s.%s is described as %s, but is %s", name, field, got, want)
			}
			if property["description"] == nil && property["$ref"] == nil {
				t.Errorf("%s.%s has no words", name, field)
			}
		}
		for field := range properties {
			if !slices.Contains(fields, field) {
				t.Errorf("%s.%s is described, but there is no such field", name, field)
			}
		}
		if name == "SessionRequest" {
			required = []string{"source", "zones"} // what is read has defaults
		}
		slices.Sort(required)
		if got := texted(schema["required"]); !slices.Equal(got, required) {
			t.Errorf("%s requires %q, want %q", name, got, required)
		}
	}
}

// shape is the type of a property in one word: "string", "string|null", "[]Node", "Level".
func shape(p object) string {
	if ref, ok := p["$ref"].(string); ok {
		return ref[strings.LastIndex(ref, "/")+1:]
	}
	if any, ok := p["oneOf"].([]any); ok {
		var parts []string
		for _, x := range any {
			parts = append(parts, shape(x.(object)))
		}
		return strings.Join(parts, "|")
	}
	switch typ := p["type"].(type) {
	case string:
		if typ == "array" {
			items, _ := p["items"].(object)
			return "[]" + shape(items)
		}
		if p["format"] == "date-time" {
			return "time"
		}
		return typ
	case []any:
		rest := maps.Clone(p)
		rest["type"] = typ[0]
		return shape(rest) + "|null"
	}
	return "nothing"
}

// shapeOf is the shape of a Go type in JSON.
func shapeOf(typ reflect.Type, omitted bool, names map[reflect.Type]string) string {
	if typ == reflect.TypeFor[time.Time]() {
		return "time"
	}
	switch typ.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Uint32, reflect.Uint64, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "[]" + shapeOf(typ.Elem(), true, names)
	case reflect.Pointer:
		if omitted {
			return shapeOf(typ.Elem(), false, names)
		}
		return shapeOf(typ.Elem(), false, names) + "|null"
	case reflect.Struct:
		return names[typ]
	}
	return typ.String()
}

func texted(v any) (list []string) {
	for _, x := range v.([]any) {
		list = append(list, x.(string))
	}
	slices.Sort(list)
	return list
}

// TestInlineSchemasAreTheStructs does the same for structs without a name, which only the source tells.
func TestInlineSchemasAreTheStructs(t *testing.T) {
	body := func(route, status string) object {
		op := operations(t)[route]
		if status == "" {
			return objectAt(t, op, "requestBody", "content", "application/json", "schema", "properties")
		}
		return objectAt(t, op, "responses", status, "content", "application/json", "schema", "properties")
	}
	for function, properties := range map[string]object{
		"login": body("POST /login", ""), "addZone": body("POST /zones", ""),
		"tone": body("POST /nodes/{id}/tone", ""), "addToken": body("POST /tokens", ""),
	} {
		var fields []string
		for _, f := range sources(t) {
			for _, d := range f.Decls {
				if d, ok := d.(*ast.FuncDecl); ok && d.Name.Name == function {
					ast.Inspect(d, func(n ast.Node) bool {
						if f, ok := n.(*ast.Field); ok && f.Tag != nil {
							tag, err := strconv.Unquote(f.Tag.Value)
							if err != nil {
								t.Fatal(err)
							}
							fields = append(fields, reflect.StructTag(tag).Get("json"))
						}
						return true
					})
				}
			}
		}
		slices.Sort(fields)
		if got := slices.Sorted(maps.Keys(properties)); !slices.Equal(got, fields) {
			t.Errorf("%s: described are %q, but the struct has %q", function, got, fields)
		}
	}
}

// TestEveryCodeIsDescribed compares the codes of problems with the list that programs go by.
func TestEveryCodeIsDescribed(t *testing.T) {
	made := map[string]bool{}
	for _, args := range calls(t, "problemf") {
		code, ok := literal(args[1])
		if !ok {
			t.Errorf("a code that is no literal: %v", args[1])
		}
		made[code] = true
	}
	want := slices.Sorted(maps.Keys(made))
	got := texted(at(description(t), "components", "schemas", "Problem", "properties", "code", "x-codes"))
	if !slices.Equal(got, want) {
		t.Errorf("described are the codes\n%q\nmade are\n%q", got, want)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	w := httptest.NewRecorder()
	New(Options{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/openapi.json", nil))
	var doc object
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != http.StatusOK || doc["openapi"] != "3.1.0" {
		t.Errorf("GET openapi.json = %d, version %v, %v; want 200, 3.1.0", w.Code, doc["openapi"], err)
	}
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("Content-Type %q", got)
	}
}
