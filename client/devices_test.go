package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"dongthanh/client/internal/alsa"
	"dongthanh/internal/program"
)

// TestDevices: what a technician reads about a card, and about none.
func TestDevices(t *testing.T) {
	for _, tc := range []struct {
		name  string
		names []alsa.Name
		all   bool
		want  []string // in this order
		not   string
	}{
		{"a card", []alsa.Name{
			{Name: "null", About: "Discard all samples"}, {Name: "default", About: "Playback"},
			{Name: "hw:CARD=Device,DEV=0", About: "USB Audio Device, USB Audio\nDirect hardware device without any conversions"},
			{Name: "plughw:CARD=Device,DEV=0", About: "USB Audio Device"},
		}, false, []string{
			"default ", "right for most", "hw:CARD=Device,DEV=0 ", "as it is (USB Audio Device, USB Audio, Direct", "plughw:CARD=Device,DEV=0 ", "path:",
		}, "null"},
		{"none", []alsa.Name{{Name: "null"}, {Name: "pulse"}}, false, []string{"pulse ", "no sound card is to be seen"}, "null"},
		{"all", []alsa.Name{{Name: "null", About: "Discard all samples"}}, true, []string{"null ", "(Discard all samples)"}, "hw"},
	} {
		var out bytes.Buffer
		if err := tell(&out, tc.names, tc.all); err != nil {
			t.Fatal(err)
		}
		rest := out.String()
		for _, want := range tc.want {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("%s: want %q, in this order: %q, in\n%s", tc.name, want, tc.want, &out)
				break
			}
			rest = after
		}
		if strings.Contains(out.String(), tc.not) {
			t.Errorf("%s: %s is no use to anyone:\n%s", tc.name, tc.not, &out)
		}
	}
	// And libasound's own list, of whatever this machine has: its null is always there.
	var out bytes.Buffer
	p := program.Program{Name: "client", Commands: []program.Command{devices()}}
	if code := p.Run(context.Background(), program.IO{Out: &out, Err: &out}, []string{"devices", "--all"}); code != 0 || !strings.Contains(out.String(), "\nnull ") && !strings.HasPrefix(out.String(), "null ") {
		t.Errorf("exit %d, said %q", code, &out)
	}
}
