package logging

import (
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escaper writes a handler's lines to another writer, with every character that is not plainly
// visible written as \uXXXX.
//
// The handlers escape line ends themselves; JSON lets DEL, C1 controls and format characters pass.
// Such a character can only stand inside a JSON string, where the escape means the same, so a
// program that reads the line gets the true value back.
type escaper struct{ to io.Writer }

// Write takes one whole line with its line end. It returns len(line) on success, since callers
// count what they gave and not what was written.
func (e escaper) Write(line []byte) (int, error) {
	out := line
	if !plain(line) {
		out = escape(line)
	}
	if _, err := e.to.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}

// plain reports whether line is printable ASCII but for line ends, as nearly all lines are.
func plain(line []byte) bool {
	for _, b := range line {
		if (b < ' ' || b > '~') && b != '\n' {
			return false
		}
	}
	return true
}

// escape returns a copy of line in which characters that are neither printable nor a line end
// are \u escapes; bytes that are not UTF-8 become U+FFFD.
func escape(line []byte) []byte {
	out := make([]byte, 0, len(line)+32)
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		line = line[size:]
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = appendEscape(appendEscape(out, high), low)
		default:
			out = appendEscape(out, r)
		}
	}
	return out
}

// appendEscape appends \uXXXX for r, which fits 16 bits.
func appendEscape(out []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(out, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
