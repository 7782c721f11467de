package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"dongthanh/client/internal/alsa"
	"dongthanh/internal/program"
)

// devices is the command devices.
func devices() program.Command {
	return program.Command{Name: "devices", About: "list the sound cards that this loudspeaker can play to", Setup: func(flags *flag.FlagSet) program.Action {
		all := flags.Bool("all", false, "list every name that ALSA has, converters and special outputs too")
		return func(_ context.Context, std program.IO, _ []string) error {
			names, err := alsa.Names()
			if err != nil {
				return fmt.Errorf("list sound cards: %w", err)
			}
			return tell(std.Out, names, *all)
		}
	}}
}

// tell writes one line for each PCM that device.path may name: the name, and what it is in plain words.
func tell(out io.Writer, names []alsa.Name, all bool) error {
	var b strings.Builder
	cards := 0
	for _, n := range names {
		what, card := words(n.Name)
		if card {
			cards++
		}
		if what == "" && !all {
			continue
		}
		about := strings.Join(strings.Split(n.About, "\n"), ", ")
		fmt.Fprintf(&b, "%-32s %s\n", n.Name, strings.Trim(what+" ("+about+")", " "))
	}
	if cards == 0 {
		b.WriteString("no sound card is to be seen: is one plugged in, and is this user in the group audio?\n")
	}
	b.WriteString("\nPut one of these names into the configuration:  device: {kind: alsa, path: \"NAME\"}\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// words says what a PCM is, by its name; empty if a loudspeaker has no use for it. card says that it is one's own.
func words(name string) (what string, card bool) {
	switch kind, _, onCard := strings.Cut(name, ":"); {
	case kind == "default" && !onCard:
		return "what the system plays to; right for most", false
	case kind == "pulse" && !onCard:
		return "the sound server PulseAudio, or PipeWire in its place", false
	case kind == "pipewire" && !onCard:
		return "the sound server PipeWire", false
	case (kind == "sysdefault" || kind == "default") && onCard:
		return "this card, shared with other programs", true
	case kind == "plughw" && onCard:
		return "this card for itself, with conversion where it needs any", true
	case kind == "hw" && onCard:
		return "this card for itself, as it is", true
	}
	return "", false
}
