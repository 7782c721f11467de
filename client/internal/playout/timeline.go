package playout

import (
	"math"
	"time"

	"dongthanh/internal/mediaclock"
)

const (
	nominal = float64(time.Second) / mediaclock.Rate // ns a sample

	// maxStretch bounds how far sound is stretched to follow drift: 500 parts in a million is not heard.
	maxStretch = 500e-6

	// The loop that follows network time, per second and per second squared: critically damped, settled in 10 s.
	follow   = 0.5
	followIn = follow * follow / 4

	// A fault that stretching would take too long for is mended by one cross-fade: early, while a new node's clock
	// settles, from 5 ms on (10 s at 500 ppm), later only from 30 ms on, where an echo begins to be heard.
	jumpEarly  = 5 * time.Millisecond
	jumpLate   = 30 * time.Millisecond
	earlyUntil = 20 * time.Second
)

// Moment is what is known when a block is to be filled.
type Moment struct {
	Now     mediaclock.Local
	Played  int64              // the device's sample that sounds at Now
	Network mediaclock.Instant // network time at Now; meaningless unless Synced
	Synced  bool
}

// mapping says which instant a device sample sounds at: nanoseconds since the timeline's reference.
type mapping struct {
	first int64   // a device sample
	at    float64 // when it sounds
	ratio float64 // ns a sample
}

func (m mapping) of(n int64) float64 { return m.at + float64(n-m.first)*m.ratio }

// timeline ties the device's samples to network time. While there is silence it takes the best knowledge; while
// sound is on it only bends, so that nothing ever jumps. All transmissions share it.
type timeline struct {
	fit      fit
	set      bool
	ref      mediaclock.Instant // times are nanoseconds since then: a float64 of Unix time is 256 ns coarse
	since    mediaclock.Local   // when network time was first known
	now      mapping
	integral float64
	fault    float64 // ns, what sounds now minus what should
}

// step moves the timeline to the block that begins with device sample first and has n samples. sounding says that
// sound is on. jumped says that the sound must cross-fade from the mapping before to the one now.
func (t *timeline) step(first int64, n int, m Moment, sounding bool) (before mapping, jumped bool) {
	t.fit.add(m.Played, m.Now)
	if !m.Synced {
		if t.set { // hold over: the clock goes on as it went
			t.now = mapping{first, t.now.of(first), t.now.ratio}
		}
		return t.now, false
	}
	if !t.set {
		t.ref, t.since = m.Network, m.Now
	}
	want := float64(m.Network-t.ref) + t.fit.local(first, m.Now)
	ideal := mapping{first, want, t.fit.ratio()}
	if !t.set || !sounding {
		t.now, t.set, t.integral, t.fault = ideal, true, 0, 0
		return t.now, false
	}
	before = mapping{first, t.now.of(first), t.now.ratio}
	t.fault = before.at - want
	limit := float64(jumpLate)
	if m.Now.Sub(t.since) < earlyUntil {
		limit = float64(jumpEarly)
	}
	if math.Abs(t.fault) > limit {
		t.now, t.integral, t.fault = ideal, 0, 0
		return before, true
	}
	t.now = mapping{first, before.at, t.bend(ideal.ratio, n)}
	return t.now, false
}

// bend returns the ratio for the next n samples that draws the fault towards zero.
func (t *timeline) bend(ideal float64, n int) float64 {
	fault := t.fault / float64(time.Second)
	integral := t.integral + followIn*fault*float64(n)/mediaclock.Rate
	stretch := ideal/nominal - 1 - follow*fault - integral
	if math.Abs(stretch) > maxStretch {
		return nominal * (1 + math.Copysign(maxStretch, stretch)) // and the integral stays as it was
	}
	t.integral = integral
	return nominal * (1 + stretch)
}

// The device's clock is learned from where it was at moments of the last half minute.
const (
	fitPoints = 300
	fitEvery  = 100 * time.Millisecond
	fitMin    = time.Second           // with less the rate says nothing
	fitSkew   = 1000e-6               // no sound device is further off
	fitJump   = 20 * time.Millisecond // the device was started again
)

type point struct {
	played int64
	at     mediaclock.Local
}

// fit is the regression of a node's monotonic clock against the samples its device has played.
type fit struct {
	points [fitPoints]point
	n, pos int
	last   point // the newest, and the origin of the line
	mean   float64
	slope  float64 // ns a sample on top of nominal
}

// add takes where the device was at a moment.
func (f *fit) add(played int64, now mediaclock.Local) {
	if f.n > 0 {
		off := now.Sub(f.last.at) - time.Duration(f.local(played, f.last.at))
		if off > fitJump || off < -fitJump {
			*f = fit{}
		} else if now.Sub(f.last.at) < fitEvery {
			return
		}
	}
	f.last = point{played, now}
	f.points[f.pos] = f.last
	f.pos = (f.pos + 1) % fitPoints
	f.n = min(f.n+1, fitPoints)
	f.solve()
}

func (f *fit) solve() {
	var sx, sy, sxx, sxy float64
	oldest := f.last.at
	for _, p := range f.points[:f.n] {
		x := float64(p.played - f.last.played)
		y := float64(p.at-f.last.at) - x*nominal
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
		oldest = min(oldest, p.at)
	}
	n := float64(f.n)
	f.slope = 0
	if d := sxx - sx*sx/n; f.last.at.Sub(oldest) >= fitMin && d > 0 {
		f.slope = min(max((sxy-sx*sy/n)/d, -fitSkew*nominal), fitSkew*nominal)
	}
	f.mean = (sy - f.slope*sx) / n
}

// local returns when the device plays sample n, in ns after the moment now.
func (f *fit) local(n int64, now mediaclock.Local) float64 {
	return float64(f.last.at-now) + f.mean + float64(n-f.last.played)*f.ratio()
}

// ratio returns the ns a sample of the device takes.
func (f *fit) ratio() float64 { return nominal + f.slope }
