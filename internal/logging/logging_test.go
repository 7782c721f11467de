package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostile is what a relay's name or a client's reason may hold.
var hostile = []struct{ name, text string }{
	{"line end", "a\nlevel=ERROR msg=forged"},
	{"carriage return", "good\rbad"},
	{"ansi colour", "\x1b[31mred\x1b[0m"},
	{"c1 control", "\u009b31mred"},
	{"delete", "abc\x7f\x7f"},
	{"bidi override", "\u202egnp.exe"},
	{"bidi isolate", "\u2066x\u2069"},
	{"line separator", "a\u2028b"},
	{"zero width", "a\u200bb"},
	{"tag outside 16 bits", "a\U000e0041b"},
	{"nul", "a\x00b"},
	{"not utf-8", "a\xff\xfe"},
}

func TestNewEscapesWhatComesFromOutside(t *testing.T) {
	for _, tc := range hostile {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			log := New(&out, slog.LevelInfo)
			log.With("peer", tc.text).WithGroup(tc.text).
				Info(tc.text, tc.text, tc.text, "error", errors.New(tc.text), "bytes", []byte(tc.text))
			wantVisible(t, out.String())
			var record map[string]any
			if err := json.Unmarshal(out.Bytes(), &record); err != nil {
				t.Fatalf("line is not JSON: %v\n%s", err, out.String())
			}
			if want := strings.ToValidUTF8(tc.text, "\ufffd"); utf8.ValidString(tc.text) && record["msg"] != want {
				t.Errorf("msg = %q, want the true value %q", record["msg"], want)
			}
		})
	}
}

func TestNewKeepsLetters(t *testing.T) {
	const title = "Bản tin sáng: Đồng Thanh, xã Nghĩa Hưng"
	var out bytes.Buffer
	New(&out, slog.LevelInfo).Info("on air", "title", title)
	if !strings.Contains(out.String(), title) {
		t.Errorf("line = %q, want it to hold %q", out.String(), title)
	}
}

func TestNewHonoursLevel(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := New(&out, level)
	log.Debug("unseen")
	if out.Len() > 0 {
		t.Errorf("wrote %q, want nothing below info", out.String())
	}
	level.Set(slog.LevelDebug)
	log.Debug("seen")
	if !strings.Contains(out.String(), "seen") {
		t.Errorf("wrote %q, want the debug line once the level allows it", out.String())
	}
}

func TestEscaperReportsAFailedWrite(t *testing.T) {
	r, w := io.Pipe()
	if err := r.CloseWithError(errors.New("disk full")); err != nil {
		t.Fatal(err)
	}
	if n, err := (escaper{to: w}).Write([]byte("line\n")); err == nil || n != 0 {
		t.Errorf("Write = %d, %v, want 0 and the error", n, err)
	}
}

func TestEscaperCountsWhatItWasGiven(t *testing.T) {
	line := []byte("a\u202eb\n")
	if n, err := (escaper{to: io.Discard}).Write(line); n != len(line) || err != nil {
		t.Errorf("Write = %d, %v, want %d and no error", n, err, len(line))
	}
}

func FuzzEscape(f *testing.F) {
	for _, tc := range hostile {
		f.Add([]byte(tc.text))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		out := escape(line)
		for _, r := range string(out) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("escape(%q) = %q, holds %U", line, out, r)
			}
		}
		if plain(line) && !bytes.Equal(out, line) {
			t.Fatalf("escape(%q) = %q, want plain text unchanged", line, out)
		}
	})
}

// wantVisible fails unless s is exactly one line of visible characters.
func wantVisible(t *testing.T, s string) {
	t.Helper()
	body, ok := strings.CutSuffix(s, "\n")
	if !ok {
		t.Errorf("line = %q, want a line end", s)
	}
	for _, r := range body {
		if !unicode.IsPrint(r) {
			t.Errorf("line = %q, holds %U", s, r)
		}
	}
}
