package session

import (
	"fmt"
	"slices"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/config"
	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
	"dongthanh/streamer/internal/store"
	"dongthanh/streamer/internal/voice"
)

// Config is the streamer's settings for sessions.
type Config struct {
	MicrophoneWait time.Duration `yaml:"microphone_wait"` // how long a browser or WHIP session waits for its microphone
	LineWait       time.Duration `yaml:"line_wait"`       // how long a line-in waits for its sender
	// MicrophoneGap is how long a session on air is silent while its microphone is lost, before it ends.
	MicrophoneGap          time.Duration `yaml:"microphone_gap"`
	MicrophoneGapEmergency time.Duration `yaml:"microphone_gap_emergency"` // of an emergency
	Encoder                EncoderConfig `yaml:"encoder"`
}

// maxGap bounds a silence for which the loudspeakers of a zone are held: nobody wants to come back to it later.
const maxGap = 10 * time.Minute

// Validate holds the gaps to what is bearable.
func (c Config) Validate() (faults []config.Fault) {
	for _, g := range []struct {
		key string
		gap time.Duration
	}{{"microphone_gap", c.MicrophoneGap}, {"microphone_gap_emergency", c.MicrophoneGapEmergency}} {
		if g.gap < 0 || g.gap > maxGap {
			faults = append(faults, config.Faultf(g.key, "%v, want 0s to %v", g.gap, maxGap))
		}
	}
	return faults
}

// EncoderConfig is the quality of the sound.
type EncoderConfig struct {
	Bitrate      int `yaml:"bitrate"`       // of a microphone, bits a second
	MusicBitrate int `yaml:"music_bitrate"` // of files and lines
	Complexity   int `yaml:"complexity"`    // of libopus, 0 to 10
}

// Validate holds the settings to what the codec takes.
func (c EncoderConfig) Validate() (faults []config.Fault) {
	for _, r := range []struct {
		key             string
		value, low, top int
	}{{"bitrate", c.Bitrate, 6000, 80000}, {"music_bitrate", c.MusicBitrate, 6000, 80000}, {"complexity", c.Complexity, 0, 10}} {
		if r.value < r.low || r.value > r.top {
			faults = append(faults, config.Faultf(r.key, "%d, want %d to %d", r.value, r.low, r.top))
		}
	}
	return faults
}

// DefaultConfig is what a streamer without a configuration does.
func DefaultConfig() Config {
	return Config{
		MicrophoneWait: 20 * time.Second, MicrophoneGap: 30 * time.Second, MicrophoneGapEmergency: time.Minute, LineWait: time.Minute,
		Encoder: EncoderConfig{Bitrate: 32000, MusicBitrate: 64000, Complexity: 5},
	}
}

// profile is a delay profile of DESIGN §5.
type profile struct {
	delay  time.Duration
	frames int // per packet
}

// profiles by name. auto is live until listeners' links are measured.
func profiles(name string) (profile, error) {
	switch name {
	case "instant":
		return profile{150 * time.Millisecond, 1}, nil
	case "auto", "live":
		return profile{400 * time.Millisecond, 2}, nil
	case "robust":
		return profile{1000 * time.Millisecond, 2}, nil
	case "storm":
		return profile{2000 * time.Millisecond, 2}, nil
	}
	return profile{}, fmt.Errorf("%w: %q", ErrDelay, name)
}

// ClassName and ParseClass turn a class into the word of API, store and metrics, and back.
func ClassName(c signed.Class) string {
	return [...]string{"normal", "priority", "emergency"}[min(c, signed.ClassEmergency)]
}

// ParseClass returns the class that name means; ok is false for an unknown one.
func ParseClass(name string) (c signed.Class, ok bool) {
	for c := signed.ClassNormal; c <= signed.ClassEmergency; c++ {
		if ClassName(c) == name {
			return c, true
		}
	}
	return 0, false
}

// draft turns a request into the record of a session.
func draft(r Request, now time.Time) (store.Session, profile, error) {
	if r.Delay == "" {
		r.Delay = "auto"
	}
	p, err := profiles(r.Delay)
	if err != nil {
		return store.Session{}, profile{}, err
	}
	if !slices.Contains(kinds, r.Source) {
		return store.Session{}, profile{}, fmt.Errorf("%w: %q", ErrSource, r.Source)
	}
	zones := minimal(r.Zones)
	if len(zones) == 0 || len(zones) > signed.MaxZones {
		return store.Session{}, profile{}, fmt.Errorf("%w: %d zones, want 1 to %d", ErrZones, len(zones), signed.MaxZones)
	}
	source := r.Audio
	if r.Source == SourceURL {
		source = r.URL
	}
	return store.Session{
		ID: store.NewID(), Title: r.Title, Zones: zones, Class: ClassName(r.Class), Kind: "live",
		SourceKind: r.Source, Source: source, Delay: r.Delay, State: store.SessionStarting, CreatedBy: r.By, Created: now,
	}, p, nil
}

// minimal sorts zones and drops those that another one contains.
func minimal(zones []zone.Zone) []zone.Zone {
	sorted := slices.Sorted(slices.Values(zones))
	var out []zone.Zone
	for _, z := range sorted {
		if !zone.AnyContains(out, z) {
			out = append(out, z)
		}
	}
	// Contained zones can sort before "a-b" style siblings of their parent, so compare with all that were kept.
	return slices.DeleteFunc(out, func(z zone.Zone) bool {
		return slices.ContainsFunc(out, func(w zone.Zone) bool { return w != z && w.Contains(z) })
	})
}

// conflict returns a session on air that a new one may not start beside: one with a zone in common and a class that
// is no lower. A higher class breaks in, and the loudspeakers mute the lower one.
func conflict(onAir []store.Session, x store.Session) *store.Session {
	for _, o := range onAir {
		if rank(o.Class) < rank(x.Class) {
			continue
		}
		for _, z := range x.Zones {
			if slices.ContainsFunc(o.Zones, z.Overlaps) {
				return &o
			}
		}
	}
	return nil
}

func rank(class string) signed.Class {
	c, _ := ParseClass(class)
	return c
}

// encoder is the codec's configuration for a source. What comes from a file or a line is sent as it is, with its bass
// and as music, if need be; only a microphone and a spoken text are surely a voice.
func encoder(c EncoderConfig, source string) codec.EncoderConfig {
	if source == SourceBrowser || source == SourceSpeech {
		return codec.EncoderConfig{Bitrate: c.Bitrate, Complexity: c.Complexity}
	}
	return codec.EncoderConfig{Bitrate: c.MusicBitrate, Complexity: c.Complexity, Music: true}
}

// treatment is what is done to a source's sound. A microphone is levelled, gated and kept free of wind and knocks. A
// file, whose loudness was measured when it came, is brought to the same loudness by one gain and otherwise left as it
// is. A line has been levelled by whoever sends it: what remains is evened out slowly. lufs is the file's loudness.
func treatment(source string, lufs float64) voice.Options {
	switch source {
	case SourceBrowser:
		return voice.Options{HighPass: true, Levelling: voice.LevelVoice, Gate: true}
	case SourceFile:
		return voice.Options{GainDB: voice.GainFor(lufs)}
	}
	return voice.Options{Levelling: voice.LevelLine}
}

// opening is what is sent before the source: the chime, if it was asked for.
func opening(chime bool) []float32 {
	if !chime {
		return nil
	}
	return voice.Chime()
}

// realTime reports whether a source's sound passes by unheard while the opening plays. A file waits, wherever it lies, and
// so does a text.
func realTime(source string) bool {
	return source != SourceFile && source != SourceURL && source != SourceSpeech
}
