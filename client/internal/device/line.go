package device

import (
	"math"
	"time"

	"dongthanh/internal/mediaclock"
)

const (
	// bandwidth is how fast the line follows the card, in radians a second: noise of single looks is gone, and a crystal
	// of 100 ppm is learned with an error below 0.1 ms.
	bandwidth = 2 * math.Pi * 0.1
	// maxRate is how far off no crystal is.
	maxRate = 1000e-6
)

// line says which sample sounds when: the card's clock as ours sees it. It goes straight on while the card is away, so
// that samples keep their numbers. It is a delay-locked loop of second order (F. Adriaensen, Using a DLL to filter time,
// 2005). Pure.
type line struct {
	at     mediaclock.Local
	sample float64 // sounds at at
	rate   float64 // samples a second
	noise  float64 // how far off the looks are, in samples: their mean
}

// of returns which sample, and what fraction behind it, sounds at a moment.
func (l *line) of(t mediaclock.Local) float64 { return l.sample + t.Sub(l.at).Seconds()*l.rate }

// when returns when a sample sounds.
func (l *line) when(n int64) mediaclock.Local {
	return l.at.Add(time.Duration(math.Round((float64(n) - l.sample) / l.rate * 1e9)))
}

// add takes that sample n was seen to sound at t, not before the look before.
func (l *line) add(n float64, t mediaclock.Local) {
	dt := min(t.Sub(l.at).Seconds(), 0.1) // after a pause one look counts no more than any other
	expected := l.of(t)
	off := n - expected
	l.noise += (math.Abs(off) - l.noise) * min(1, 0.1*dt/0.01)
	l.at, l.sample = t, expected+off*min(1, math.Sqrt2*bandwidth*dt)
	l.rate += off * bandwidth * bandwidth * dt
	l.rate = min(max(l.rate, mediaclock.Rate*(1-maxRate)), mediaclock.Rate*(1+maxRate))
}

// leapLeast and leapMost bound how far off the line a look is taken for noise: 1 ms where the card is exact, as most
// are, up to 5 ms where it is not.
const leapLeast, leapMost = 1 * mediaclock.Rate / 1000, 5 * mediaclock.Rate / 1000

// leap reports that a look which is off samples off the line is no noise.
func (l *line) leap(off float64) bool {
	return math.Abs(off) > min(max(8*l.noise, leapLeast), leapMost)
}

const (
	// calmFor is how long a card that was started must keep even time before its looks are believed. A sound server's
	// client library reckons on by itself at first, and learns how it really is 10, 30, 70, 150 and 310 ms after the start.
	calmFor   = 200 * time.Millisecond
	calmLooks = 5
	// calmWithin is how even: 1 ms, and for a card that is not even, 1 ms more after each second.
	calmWithin = mediaclock.Rate / 1000
)

// settling looks at a card that was started until it keeps even time: a sound server takes and delays as it likes at
// first. Pure.
type settling struct {
	since mediaclock.Local // of the first look that still counts
	ref   float64          // the sample that sounded then
	sum   float64          // of the looks' offsets from it
	looks int
	began mediaclock.Local // of all looks
}

// add takes that sample n was seen to sound at t. It tells when the card has settled, and which sample then sounds at t.
func (s *settling) add(n float64, t mediaclock.Local) (at float64, settled bool) {
	off := n - s.ref - t.Sub(s.since).Seconds()*mediaclock.Rate
	if s.began == 0 {
		s.began = t
	}
	within := calmWithin * (1 + math.Floor(t.Sub(s.began).Seconds()))
	if s.looks == 0 || math.Abs(off) > within {
		*s = settling{since: t, ref: n, looks: 1, began: s.began}
		return 0, false
	}
	s.sum += off
	s.looks++
	return n - off + s.sum/float64(s.looks), s.looks >= calmLooks && t.Sub(s.since) >= calmFor
}

// unset forgets what was seen: a look said that nothing sounds.
func (s *settling) unset() { s.looks = 0 }
