// Package config reads a program's configuration: defaults, then a YAML file, then the environment.
//
// It knows no setting of its own. Each component declares its settings as a struct with yaml tags,
// a Default and a Validate; a program's configuration only nests those structs, and this package
// finds the keys, the environment variables and the Validate methods by reflection. Any package
// above the lowest layer may import it.
//
// Reading is strict, since a misspelt key is a setting silently ignored: unknown and repeated keys,
// anchors, aliases, tags, several documents and files above 1 MB are refused. Every fault is
// reported at once, each with its path.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
	"unicode/utf8"
)

// MaxFileBytes is the largest configuration file that is read. A sample has 3 kB; a thousand times
// that is a mistake in the path, such as a recording.
const MaxFileBytes = 1 << 20

// Validator is implemented by a component's configuration, on the struct or on a pointer to it.
type Validator interface {
	// Validate returns every fault, with paths relative to the receiver ("listen", not
	// "admin.listen"). It looks at its own keys only: Load calls the Validate of each nested
	// struct and list element by itself, so calling them here would report their faults twice.
	Validate() []Fault
}

// Load lays the YAML file at path and then the environment variables of this process over *into,
// which already holds the defaults, and validates the result. An empty path means no file.
//
// A list in the file replaces the default list; its elements start from their zero value. The
// error, if any, is a Faults with at least one element, and *into is then unchanged.
//
// Every exported field of T and of what it nests needs a yaml tag, which is its key; "-" leaves it
// out. Fields may be strings, booleans, integers, floats, time.Duration ("400ms"), anything with an
// UnmarshalText, structs and slices of these. Other types, missing tags and two keys with the same
// environment variable are bugs of the program and panic.
func Load[T any](path string, into *T) error {
	var data []byte
	if path != "" {
		var err error
		if data, err = readFile(path); err != nil {
			return Faults{{Path: path, What: fileFault(err)}}
		}
	}
	return decode(path, data, os.Environ(), into)
}

// decode is Load without the outside world: name is the file's name in faults, env holds NAME=value.
func decode[T any](name string, data []byte, env []string, into *T) error {
	result := *into
	top := reflect.ValueOf(&result).Elem()
	mustFit(top.Type(), "")
	source := strings.TrimPrefix(string(data), "\ufeff") // some editors begin a file with a byte order mark
	d := &decoder{name: name, source: source, origins: map[string]origin{}}
	d.file(top)
	d.environment(top, env)
	d.validate(top, "")
	if len(d.faults) > 0 {
		return d.faults
	}
	*into = result
	return nil
}

// decoder lays values over a struct, keeps where each came from and gathers the faults.
type decoder struct {
	name    string
	source  string
	origins map[string]origin // by path
	faults  Faults
}

// origin is where a value was written: a place in the file or an environment variable.
type origin struct {
	line, column int // from 1; 0 if it came from the environment
	variable     string
}

// fault adds a fault of path; where it was written is looked up.
func (d *decoder) fault(path, format string, args ...any) {
	d.add(Fault{Path: path, What: fmt.Sprintf(format, args...)}, d.origins[path])
}

// add completes f with its origin and keeps it.
func (d *decoder) add(f Fault, from origin) {
	switch {
	case from.variable != "" && from.variable != f.Path:
		f.Origin = "from " + from.variable
	case from.line > 0:
		f.Origin = fmt.Sprintf("line %d", from.line)
		f.excerpt = excerpt(d.source, from.line, from.column)
	}
	d.faults = append(d.faults, f)
}

// validate calls Validate on v and on everything that v nests. A path that could not be decoded is
// left out: its value is still the default, of which nothing can be said.
func (d *decoder) validate(v reflect.Value, path string) {
	known := map[string]bool{}
	for _, f := range d.faults {
		known[f.Path] = true
	}
	walk(v, path, func(v reflect.Value, path string) {
		validator, ok := v.Addr().Interface().(Validator)
		if !ok {
			return
		}
		for _, f := range validator.Validate() {
			f.Path = join(path, f.Path)
			if !known[f.Path] {
				d.add(f, d.origins[f.Path])
			}
		}
	})
}

// readFile returns the whole file, of which it reads no more than is allowed.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileBytes {
		return nil, fmt.Errorf("larger than %d bytes: not a configuration file", MaxFileBytes)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("not text in UTF-8")
	}
	return data, nil
}

// fileFault says what is wrong with a file without naming it a second time.
func fileFault(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.Is(err, syscall.EISDIR):
		return "a folder, not a file"
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
