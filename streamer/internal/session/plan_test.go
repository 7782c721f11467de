package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dongthanh/codec"
	"dongthanh/internal/config"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

var day = time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)

func TestDraft(t *testing.T) {
	var many []zone.Zone
	for i := range signed.MaxZones + 1 {
		many = append(many, zone.Zone(fmt.Sprintf("31/%d", i)))
	}
	for _, c := range []struct {
		name    string
		request Request
		want    error
	}{
		{"a file", Request{Zones: []zone.Zone{"31"}, Source: SourceFile}, nil},
		{"a microphone", Request{Zones: []zone.Zone{"31"}, Source: SourceBrowser, Delay: "instant"}, nil},
		{"32 zones", Request{Zones: many[1:], Source: SourceFile}, nil},
		{"33 zones, of which one holds the others", Request{Zones: append(many, "31"), Source: SourceFile}, nil},
		{"no zone", Request{Source: SourceFile}, ErrZones},
		{"33 zones", Request{Zones: many, Source: SourceFile}, ErrZones},
		{"no source", Request{Zones: []zone.Zone{"31"}}, ErrSource},
		{"an unknown source", Request{Zones: []zone.Zone{"31"}, Source: "tape"}, ErrSource},
		{"an unknown delay", Request{Zones: []zone.Zone{"31"}, Source: SourceFile, Delay: "soon"}, ErrDelay},
	} {
		if _, _, err := draft(c.request, day); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestDraftedRecord(t *testing.T) {
	x, p, err := draft(Request{
		Zones: []zone.Zone{"31/11407", "31/11296", "31/11296/02"}, Class: signed.ClassPriority, Title: "Bão số 5",
		Source: SourceFile, Audio: "abc", By: "lan",
	}, day)
	if err != nil {
		t.Fatal(err)
	}
	want := store.Session{
		ID: x.ID, Title: "Bão số 5", Zones: []zone.Zone{"31/11296", "31/11407"}, Class: "priority", Kind: "live",
		SourceKind: SourceFile, Source: "abc", Delay: "auto", State: store.SessionStarting, CreatedBy: "lan", Created: day,
	}
	if diff := cmp.Diff(want, x); diff != "" || x.ID == "" {
		t.Errorf("record %q (-want +got)\n%s", x.ID, diff)
	}
	if p.delay != 400*time.Millisecond {
		t.Errorf("delay of auto = %v, want 400ms", p.delay)
	}
}

func TestProfiles(t *testing.T) {
	for name, want := range map[string]profile{
		"instant": {150 * time.Millisecond, 1}, "auto": {400 * time.Millisecond, 2}, "live": {400 * time.Millisecond, 2},
		"robust": {time.Second, 2}, "storm": {2 * time.Second, 2},
	} {
		if got, err := profiles(name); got != want || err != nil {
			t.Errorf("profiles(%q) = %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestMinimal(t *testing.T) {
	for _, c := range []struct{ zones, want string }{
		{"31", "31"},
		{"31 31", "31"},
		{"31/11296 31", "31"},
		{"31/1 31/1/2 31/1/2/3 31/2", "31/1 31/2"},
		{"31/1/2 31-a 31/1 31", "31 31-a"}, // "-" sorts before "/"
		{"31/1-b/2 31/1 31/1-b 31/1/9", "31/1 31/1-b"},
		{"33 31/11296 31", "31 33"},
		{"", ""},
	} {
		var zones, got []string
		for _, z := range minimal(zones31(strings.Fields(c.zones))) {
			got = append(got, string(z))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("minimal(%v %v) = %q, want %q", c.zones, zones, s, c.want)
		}
	}
	if got := minimal([]zone.Zone{"31", "", "33/1"}); len(got) != 1 || got[0] != "" {
		t.Errorf("minimal with the whole country = %q, want it alone", got)
	}
}

func zones31(codes []string) []zone.Zone {
	var zones []zone.Zone
	for _, c := range codes {
		zones = append(zones, zone.Zone(c))
	}
	return zones
}

func TestConflict(t *testing.T) {
	onAir := []store.Session{
		{ID: "commune", Class: "normal", Zones: []zone.Zone{"31/11296"}},
		{ID: "storm", Class: "priority", Zones: []zone.Zone{"33/1", "33/2"}},
		{ID: "flood", Class: "emergency", Zones: []zone.Zone{"35"}},
	}
	for _, c := range []struct {
		class string
		zones string
		want  string // empty: may start
	}{
		{"normal", "31/11296", "commune"},
		{"normal", "31/11296/02", "commune"}, // beneath
		{"normal", "31", "commune"},          // above
		{"normal", "31/11407", ""},           // beside
		{"normal", "31/1129", ""},            // the same letters
		{"normal", "31/11407 31/11296", "commune"},
		{"priority", "31/11296", ""}, // breaks in
		{"emergency", "31", ""},
		{"normal", "33/2", "storm"},
		{"priority", "33", "storm"},
		{"emergency", "33", ""},
		{"priority", "35/1", "flood"},
		{"emergency", "35/1", "flood"},
		{"normal", "", "commune"}, // the whole country
	} {
		got := ""
		zones := zones31(strings.Fields(c.zones))
		if c.zones == "" {
			zones = []zone.Zone{""}
		}
		if x := conflict(onAir, store.Session{Class: c.class, Zones: zones}); x != nil {
			got = x.ID
		}
		if got != c.want {
			t.Errorf("%s in %q conflicts with %q, want %q", c.class, c.zones, got, c.want)
		}
	}
}

func TestClassNames(t *testing.T) {
	for c := signed.ClassNormal; c <= signed.ClassEmergency; c++ {
		if got, ok := ParseClass(ClassName(c)); got != c || !ok {
			t.Errorf("ParseClass(%q) = %d, %v, want %d", ClassName(c), got, ok, c)
		}
	}
	for _, name := range []string{"", "Normal", "urgent"} {
		if _, ok := ParseClass(name); ok {
			t.Errorf("ParseClass(%q) is ok, want not", name)
		}
	}
}

// TestEncoder: whatever the configuration allows, the codec takes, and only a microphone is coded as a voice.
func TestEncoder(t *testing.T) {
	for _, e := range []EncoderConfig{
		DefaultConfig().Encoder, {Bitrate: 6000, MusicBitrate: 6000, Complexity: 0}, {Bitrate: 80000, MusicBitrate: 80000, Complexity: 10},
	} {
		if faults := e.Validate(); len(faults) > 0 {
			t.Errorf("%+v: %v", e, faults)
		}
		for source, music := range map[string]bool{SourceBrowser: false, SourceFile: true} {
			c := encoder(e, source)
			if _, err := codec.NewEncoder(c); err != nil || c.Music != music {
				t.Errorf("encoder of a %s with %+v: music %v, %v; want music %v", source, e, c.Music, err, music)
			}
		}
	}
}

func TestEncoderFaults(t *testing.T) {
	got := config.Faults(EncoderConfig{Bitrate: 5999, MusicBitrate: 80001, Complexity: 11}.Validate()).Error()
	want := "bitrate: 5999, want 6000 to 80000\nmusic_bitrate: 80001, want 6000 to 80000\ncomplexity: 11, want 0 to 10"
	if got != want {
		t.Errorf("faults\n%s\nwant\n%s", got, want)
	}
	if got := len(EncoderConfig{Complexity: -1}.Validate()); got != 3 {
		t.Errorf("%d faults of an empty encoder, want 3", got)
	}
}

func TestTreatment(t *testing.T) {
	for _, c := range []struct {
		source string
		lufs   float64
		want   voice.Options
	}{
		{SourceBrowser, 0, voice.Options{HighPass: true, Levelling: voice.LevelVoice, Gate: true}},
		{SourceWHIP, 0, voice.Options{Levelling: voice.LevelLine}},
		{SourceFile, -23, voice.Options{GainDB: 5}},
		{SourceFile, -6, voice.Options{GainDB: -12}},
		{SourceFile, voice.NoLoudness, voice.Options{}},
	} {
		if got := treatment(c.source, c.lufs); got != c.want {
			t.Errorf("treatment of a %s of %g LUFS = %+v, want %+v", c.source, c.lufs, got, c.want)
		}
	}
}

func TestOpening(t *testing.T) {
	if opening(false) != nil {
		t.Error("something is played that was not asked for")
	}
	if got := len(opening(true)); got != voice.ChimeFrames*codec.FrameSamples {
		t.Errorf("chime of %d samples, want %d frames", got, voice.ChimeFrames)
	}
}
