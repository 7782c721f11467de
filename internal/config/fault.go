package config

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	// Path is the key: names and list indexes joined by dots, such as upstreams.0.media. A fault
	// of a file as a whole has the file's name, one of an environment variable that names no key
	// the variable's.
	Path string
	// What says what is wrong and what would be right, in one line without the path.
	What string
	// Origin is where the value was written: "line 12" or "from DONGTHANH_HTTP_LISTEN". It is
	// empty for a default, and filled in by Load.
	Origin string

	excerpt string // the line of the file with a caret below the place; empty if not from a file
}

// Faultf returns a Fault of the key at path, for use in Validate.
func Faultf(path, format string, args ...any) Fault {
	return Fault{Path: path, What: fmt.Sprintf(format, args...)}
}

// String returns the fault as one line: "path.to.key: what is wrong (line 12)".
func (f Fault) String() string {
	s := f.Path + ": " + f.What
	if f.Origin != "" {
		s += " (" + f.Origin + ")"
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// Excerpt returns the line of the file that the fault is about, with a caret below the place, as
// two indented lines; empty if the value did not come from a file.
func (f Fault) Excerpt() string { return f.excerpt }

// Faults is every fault of a configuration, in the order of the file, then of the environment,
// then of validation. As an error it prints one fault a line.
type Faults []Fault

// Error returns the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// excerpt returns line (from 1) of source with a caret below column (from 1, in characters).
func excerpt(source string, line, column int) string {
	lines := strings.SplitN(source, "\n", line+1)
	if line < 1 || line > len(lines) {
		return ""
	}
	text := []rune(strings.TrimRight(lines[line-1], "\r"))
	const widest = 120 // a terminal's width, so that the caret stays below its place
	before := text[:min(column-1, len(text))]
	if len(before) > widest || len(text) > 2*widest {
		return ""
	}
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(before))
	number := fmt.Sprint(line)
	return fmt.Sprintf("    %s | %s\n    %s | %s^", number, string(text), strings.Repeat(" ", len(number)), pad)
}

// join returns the path of key below path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	if key == "" {
		return path
	}
	return path + "." + key
}
