package config

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// prefix begins the name of every environment variable that overrides a key.
const prefix = "DONGTHANH_"

// override is one environment variable with our prefix.
type override struct{ name, value string }

// environment lays the variables of env (NAME=value) over top. A variable with our prefix that
// names no key is a fault: like a misspelt key it would be a setting silently ignored.
func (d *decoder) environment(top reflect.Value, env []string) {
	var all []override
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, prefix) {
			all = append(all, override{name, value})
		}
	}
	slices.SortStableFunc(all, func(a, b override) int { return compareNames(a.name, b.name) })
	for _, one := range all {
		d.override(top, one)
	}
}

// override sets the one key that a variable names.
func (d *decoder) override(top reflect.Value, one override) {
	path, what, ok := d.assign(top, "", strings.TrimPrefix(one.name, prefix), one.value)
	if !ok {
		d.add(Fault{Path: one.name, What: "names no key of this program's configuration"}, origin{})
		return
	}
	d.origins[path] = origin{variable: one.name}
	if what != "" {
		d.fault(path, "%s", what)
	}
}

// assign sets the key below v (at path) that rest names, which is the end of a variable's name.
// It returns the key's path and what is wrong with the value, if anything; ok is false if rest
// names nothing here.
func (d *decoder) assign(v reflect.Value, path, rest, value string) (at, what string, ok bool) {
	switch kindOf(v.Type()) {
	case section:
		if rest == "" {
			return path, "a group of keys, not a key; add the key's name", path != ""
		}
		for _, f := range fields(v.Type()) {
			if below, match := cutName(rest, strings.ToUpper(f.key)); match {
				if at, what, ok = d.assign(v.Field(f.index), join(path, f.key), below, value); ok {
					return at, what, true
				}
			}
		}
		return "", "", false
	case list:
		return d.assignElement(v, path, rest, value)
	}
	if rest != "" {
		return "", "", false
	}
	if err := setScalar(v, value); err != nil {
		return path, err.Error(), true
	}
	return path, "", true
}

// assignElement sets an element of slice v, or appends one if its index is the next.
func (d *decoder) assignElement(v reflect.Value, path, rest, value string) (at, what string, ok bool) {
	if rest == "" {
		return path, "a list; add the index of an element, such as _0", true
	}
	digits, below, _ := strings.Cut(rest, "_")
	index, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || digits != strconv.FormatUint(index, 10) {
		return "", "", false
	}
	i := int(index)
	if i > v.Len() {
		return join(path, digits), "the list has " + strconv.Itoa(v.Len()) + " elements, so the next index is " + strconv.Itoa(v.Len()), true
	}
	elements := reflect.MakeSlice(v.Type(), max(v.Len(), i+1), max(v.Len(), i+1)) // a copy: the old array belongs to the defaults
	reflect.Copy(elements, v)
	at, what, ok = d.assign(elements.Index(i), join(path, digits), below, value)
	if ok && what == "" {
		v.Set(elements)
	}
	return at, what, ok
}

// cutName returns what follows key in name, without the underscore between them; false if name
// does not begin with key as whole words.
func cutName(name, key string) (below string, ok bool) {
	after, ok := strings.CutPrefix(name, key)
	if !ok || after == "" {
		return "", ok
	}
	return strings.CutPrefix(after, "_")
}

// compareNames orders names with their numbers by value, so that element 10 comes after 9 and a
// list can be extended by several variables at once.
func compareNames(a, b string) int {
	x, y := strings.Split(a, "_"), strings.Split(b, "_")
	for i := range min(len(x), len(y)) {
		m, errX := strconv.Atoi(x[i])
		n, errY := strconv.Atoi(y[i])
		if errX == nil && errY == nil && m != n {
			return cmp.Compare(m, n)
		}
		if c := strings.Compare(x[i], y[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}
