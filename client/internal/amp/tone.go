package amp

import (
	"math"

	"dongthanh/internal/mediaclock"
)

// The test tone: two notes an octave apart in turn, which no siren and no opening chime sounds like. 440 and 880 Hz pass
// every horn loudspeaker; −20 dBFS (the peak of a sine, AES17) is well below speech, so that it frightens nobody.
const (
	low, high = 440, 880
	peak      = 0.1 * 32768
	note      = mediaclock.Rate * 2 / 5 // samples of a note
	edge      = mediaclock.Rate / 100   // of its rise and its fall
)

// tone is a test tone that sounds, or none.
type tone struct {
	at, left int // samples sounded and to sound
	then     int // samples of the one that follows
}

// start begins anew, for n samples, after what sounds has faded.
func (t *tone) start(n int) {
	if t.left == 0 {
		t.at, t.left = 0, n
		return
	}
	t.left, t.then = min(t.left, edge), n
}

// yield ends the tone within its edge.
func (t *tone) yield() {
	if t.at == 0 { // nothing of it has sounded
		t.left = 0
	}
	t.left, t.then = min(t.left, edge), 0
}

// next returns the next sample; 0 when it is over.
func (t *tone) next() float32 {
	if t.left == 0 {
		return 0
	}
	hz := low
	if t.at/note%2 == 1 {
		hz = high
	}
	x := t.at % note
	level := rise(x) * rise(note-1-x) * rise(t.left-1)
	v := peak * level * math.Sin(2*math.Pi*float64(hz)*float64(x)/mediaclock.Rate)
	t.at++
	if t.left--; t.left == 0 {
		t.at, t.left, t.then = 0, t.then, 0
	}
	return float32(v)
}

// rise is a raised cosine over the edge: n samples inside.
func rise(n int) float64 {
	if n >= edge {
		return 1
	}
	return 0.5 - 0.5*math.Cos(math.Pi*float64(n)/edge)
}
