// Package device is where sound leaves the program. A device pulls: it asks for each block a little before it sounds,
// at the pace of its own crystal, and says what it is playing at that moment, from which playout learns how fast it
// really runs. It decides nothing about sound and knows no transmission.
//
// This build has three kinds: alsa, a sound card; file, the virtual loudspeaker that writes what would sound; and null,
// which only keeps the time.
package device

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dongthanh/internal/config"
	"dongthanh/internal/mediaclock"
)

// Block is a request for sound.
type Block struct {
	PCM    []int16          // to be filled, mono at the device's rate; the device's own after fill returns; empty: nothing can sound now
	First  int64            // device sample number of PCM[0]; a gap to the block before did not sound
	Now    mediaclock.Local // a moment just past
	Played int64            // the device sample that sounds at Now
}

// Device plays.
type Device interface {
	// Run asks fill for block after block, from one goroutine, until ctx ends (then it returns nil) or the device
	// fails. It returns after everything it started has ended.
	Run(ctx context.Context, fill func(Block)) error
	// Ready tells why nothing can sound now, nil if it can. Any goroutine may call it.
	Ready() error
}

// Config is the section device.
type Config struct {
	Kind    string        `yaml:"kind"`     // alsa, file or null
	Path    string        `yaml:"path"`     // alsa: the PCM's name, "default" if empty; file: the WAV to write
	To      string        `yaml:"to"`       // rtp, in a later build
	Buffer  time.Duration `yaml:"buffer"`   // alsa: what is handed over before it sounds
	SkewPPM float64       `yaml:"skew_ppm"` // file and null: how much too fast the virtual crystal runs, in parts per million
}

// Default keeps the time and makes no sound.
func Default() Config { return Config{Kind: "null", Buffer: 40 * time.Millisecond} }

// kinds are what this build has; later are names that INTERFACES has and this build has not.
func kinds() (here, later []string) { return []string{"alsa", "file", "null"}, []string{"rtp"} }

// maxSkew is what playout can follow without being heard, in parts per million.
const maxSkew = 500

// The bounds of a sound card's buffer: below it any pause of the process is heard, above it instant sessions are late.
const minBuffer, maxBuffer = 15 * time.Millisecond, 120 * time.Millisecond

// Validate returns every fault.
func (c Config) Validate() []config.Fault {
	var faults []config.Fault
	here, later := kinds()
	switch {
	case slices.Contains(later, c.Kind):
		faults = append(faults, config.Faultf("kind", "%q is not in this build yet; it has %s", c.Kind, strings.Join(here, ", ")))
	case !slices.Contains(here, c.Kind):
		faults = append(faults, config.Faultf("kind", "%q, want one of %s", c.Kind, strings.Join(here, ", ")))
	case c.Kind == "file" && c.Path == "":
		faults = append(faults, config.Faultf("path", "empty; a file device needs the path of the WAV to write"))
	}
	if c.Kind == "alsa" && (c.Buffer < minBuffer || c.Buffer > maxBuffer) {
		faults = append(faults, config.Faultf("buffer", "%v, want %v to %v", c.Buffer, minBuffer, maxBuffer))
	}
	if !(math.Abs(c.SkewPPM) <= maxSkew) {
		faults = append(faults, config.Faultf("skew_ppm", "%g, want -%d to %d", c.SkewPPM, maxSkew, maxSkew))
	}
	return faults
}

// Options are what a device needs.
type Options struct {
	Config     Config
	Clock      mediaclock.Monotonic
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// New returns the device that o.Config, which is valid, names. Nothing is opened before Run.
func New(o Options) (Device, error) {
	underruns := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dongthanh_client_device_underruns_total",
		Help: "Times the device ran dry: the process was not scheduled for too long.",
	})
	if err := o.Registerer.Register(underruns); err != nil {
		return nil, fmt.Errorf("register metrics of the device: %w", err)
	}
	if o.Config.Kind == "alsa" {
		return newCard(o, underruns)
	}
	p := pace{
		rate: mediaclock.Rate * (1 + o.Config.SkewPPM/1e6),
		now:  o.Clock.Now, sleep: timer(o.Clock), log: o.Log, underruns: underruns,
	}
	switch o.Config.Kind {
	case "file":
		return &file{pace: p, path: o.Config.Path}, nil
	case "null":
		return &null{pace: p}, nil
	}
	return nil, fmt.Errorf("device kind %q is not in this build", o.Config.Kind)
}

// null keeps the time.
type null struct{ pace }

// Run asks for sound and forgets it.
func (n *null) Run(ctx context.Context, fill func(Block)) error {
	return n.run(ctx, n.now().Add(lead), fill, func([]int16) error { return nil })
}
