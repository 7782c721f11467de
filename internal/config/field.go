package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// field is one key of a struct.
type field struct {
	key    string
	index  int
	secret bool
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
)

// fields returns the keys of struct type t in the order of its fields.
func fields(t reflect.Type) []field {
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || key == "-" {
			continue
		}
		if key == "" || key != strings.ToLower(key) || strings.ContainsAny(key, ". ") {
			panic(fmt.Sprintf("config: field %s of %s has no yaml tag in lower case", f.Name, t))
		}
		all = append(all, field{key: key, index: i, secret: f.Tag.Get("secret") == "true"})
	}
	return all
}

// keys returns the names of fields.
func keys(all []field) []string {
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.key
	}
	return names
}

// kind is how a value is written.
type kind int

const (
	scalar  kind = iota // one text
	section             // a struct
	list                // a slice
)

// kindOf returns how a value of type t is written; it panics for a type that has no way.
func kindOf(t reflect.Type) kind {
	if reflect.PointerTo(t).Implements(textType) {
		return scalar
	}
	switch t.Kind() {
	case reflect.Struct:
		return section
	case reflect.Slice:
		return list
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return scalar
	}
	panic(fmt.Sprintf("config: a field of type %s cannot be written in a file", t))
}

// mustFit panics if t nests a type or a name that cannot be used, so that the first test of a
// program finds it and not the first operator.
func mustFit(t reflect.Type, name string) {
	seen := map[string]string{}
	var visit func(t reflect.Type, name string)
	visit = func(t reflect.Type, name string) {
		switch kindOf(t) {
		case list:
			visit(t.Elem(), name+"_0")
		case section:
			for _, f := range fields(t) {
				visit(t.Field(f.index).Type, name+"_"+strings.ToUpper(f.key))
			}
			return
		}
		if seen[name] != "" && kindOf(t) == scalar {
			panic(fmt.Sprintf("config: two keys have the environment variable %s%s", prefix, name[1:]))
		}
		seen[name] = name
	}
	visit(t, name)
}

// walk calls visit for v and for every struct and list element within it, outermost first.
func walk(v reflect.Value, path string, visit func(v reflect.Value, path string)) {
	visit(v, path)
	switch kindOf(v.Type()) {
	case section:
		for _, f := range fields(v.Type()) {
			walk(v.Field(f.index), join(path, f.key), visit)
		}
	case list:
		for i := range v.Len() {
			walk(v.Index(i), join(path, strconv.Itoa(i)), visit)
		}
	}
}

// setScalar sets v from its written form. The error says what would be right, without the key.
func setScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == durationType {
		span, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a span of time; write it like 400ms, 15s or 24h", text)
		}
		v.SetInt(int64(span))
		return nil
	}
	bits := 0
	if k := v.Kind(); k != reflect.String && k != reflect.Bool {
		bits = v.Type().Bits()
	}
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return notA(text, fmt.Sprintf("a whole number from %d to %d", int64(-1)<<(bits-1), int64(1)<<(bits-1)-1))
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return notA(text, fmt.Sprintf("a whole number from 0 to %d", ^uint64(0)>>(64-bits)))
		}
		v.SetUint(n)
	default:
		n, err := strconv.ParseFloat(text, bits)
		if err != nil || n-n != 0 { // n-n is NaN for an infinity and for NaN itself
			return notA(text, "a number")
		}
		v.SetFloat(n)
	}
	return nil
}

// notA says that text is not what was wanted.
func notA(text, want string) error {
	return fmt.Errorf("%q is not %s", text, want)
}
