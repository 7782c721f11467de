// Package amp is the last stage before a loudspeaker's device: the test tone joins in where nothing else sounds, and
// everything is turned down to the volume, without a click.
//
// It is pure: no clock, goroutine or log. One goroutine calls it, that of the device. Nothing in it allocates. Whether a
// volume or a tone was ordered by somebody who may is judged before.
package amp

import (
	"math"
	"time"

	"dongthanh/internal/mediaclock"
)

// ramp is how long a change of volume takes: 20 ms are not heard as a step, and soon enough for a hand on a button.
const ramp = mediaclock.FrameSamples

// Amp is a volume and a test tone.
type Amp struct {
	volume             int32
	gain, target, step float32 // step: a sample, towards target
	tone               tone
}

// New returns an Amp that stands at volume, in hundredths of a decibel.
func New(volume int32) *Amp {
	g := gain(volume)
	return &Amp{volume: volume, gain: g, target: g}
}

// Volume turns to volume, in hundredths of a decibel, within 20 ms from the next block on. Saying it again changes
// nothing.
func (a *Amp) Volume(volume int32) {
	if volume == a.volume {
		return
	}
	a.volume = volume
	a.target = gain(volume)
	a.step = (a.target - a.gain) / ramp
}

// Tone sounds the test tone for d from the next block on, instead of one that sounds already; 0 ends it.
func (a *Amp) Tone(d time.Duration) { a.tone.start(int(mediaclock.SamplesIn(d))) }

// Sounding reports whether the test tone is not over.
func (a *Amp) Sounding() bool { return a.tone.left > 0 }

// Fill adds the test tone to pcm, which holds what was broadcast, and turns all of it to the volume. While something is
// on air, be it silence yet, no tone sounds, and one that does fades out at once.
func (a *Amp) Fill(pcm []int16, onAir bool) {
	if onAir {
		a.tone.yield()
	}
	if a.gain == 1 && a.target == 1 && !a.Sounding() {
		return
	}
	for i, x := range pcm {
		if a.gain != a.target {
			a.turn()
		}
		pcm[i] = clip((float32(x) + a.tone.next()) * a.gain)
	}
}

// turn takes one step towards the target, and lands on it.
func (a *Amp) turn() {
	a.gain += a.step
	if (a.step > 0) == (a.gain > a.target) {
		a.gain = a.target
	}
}

// gain is the factor of a volume in hundredths of a decibel.
func gain(volume int32) float32 { return float32(math.Pow(10, float64(volume)/2000)) }

func clip(x float32) int16 {
	return int16(math.RoundToEven(float64(min(max(x, math.MinInt16), math.MaxInt16))))
}
