// Package logging makes the one logger that a program hands down through its constructors, and a
// Dumper for faults that may come once a packet.
//
// It keeps no logger of its own and never touches slog's default one. Every package may import it.
package logging

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// Config is the part of a program's configuration that concerns its log.
type Config struct {
	// Level is the least level that is written: debug, info, warn or error.
	Level slog.Level `yaml:"level"`
}

// Default returns the settings in force when a file says nothing: info and above.
func Default() Config {
	return Config{Level: slog.LevelInfo}
}

// New returns a logger that writes one line a record to w, from level upwards: text if w is a
// terminal, JSON otherwise.
//
// Names, reasons and titles in a log come from outside. Whatever could move a cursor, colour a
// screen, forge a second line or reverse the reading order (control characters, ANSI escapes,
// bidirectional overrides, invisible format characters) is written as an escape, so that a log
// can be read with cat. Letters of any script stay as they are.
//
// w is written by one goroutine at a time, one whole line a call. A failing w is not reported
// to anybody.
func New(w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	safe := escaper{to: w}
	f, _ := w.(*os.File)
	if q, ok := w.(*Queue); ok {
		f = q.file()
	}
	if f != nil && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(safe, options))
	}
	return slog.New(slog.NewJSONHandler(safe, options))
}
