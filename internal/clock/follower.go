package clock

import (
	"time"

	"dongthanh/internal/mediaclock"
)

// The follower's numbers.
const (
	settle     = 4 * time.Second        // a small fault is corrected over this time
	idleStep   = 2 * time.Millisecond   // nobody listens: a larger fault is corrected at once
	farOff     = 250 * time.Millisecond // another time scale: no slewing gets there in time (8 min at 500 ppm)
	minSamples = 3                      // exchanges before time is offered as known
	maxError   = time.Second            // beyond this holdover is no longer time
	beaconLate = 2 * time.Second        // DESIGN §6: no later than a beacon's time plus its age plus this
	beaconKeep = 60 * time.Second       // signed times older than this bound nothing any more
)

// Reading is offered time at one moment.
type Reading struct {
	Now    mediaclock.Instant
	Error  time.Duration // bound of the error, growing while no news comes
	Synced bool          // false: do not play by it, do not offer it
}

// Follower is the time a node offers: a line that follows the estimate of whichever upstream is active by slewing,
// never by a jump while sound depends on it. The zero value knows nothing.
type Follower struct {
	line  Line
	est   Estimate
	set   bool
	steps int
	bound [2]signedTime // the best of this minute and of the one before
}

// signedTime is a verified beacon's time and when it came.
type signedTime struct {
	set bool
	at  mediaclock.Instant
	l   mediaclock.Local
}

// lead is network time minus own time that the beacon proves at least.
func (s signedTime) lead() int64 { return int64(s.at) - int64(s.l) }

// Signed takes the time in a beacon whose signature held: network time was at least at when the node's clock was l.
// The least delayed beacon counts, so an upstream that holds beacons back gains nothing.
func (f *Follower) Signed(at mediaclock.Instant, l mediaclock.Local) {
	if at < 0 || at >= maxInstant || l < 0 || l >= maxInstant {
		return
	}
	s := signedTime{true, at, l}
	switch b := &f.bound[0]; {
	case !b.set:
		*b = s
	case l.Sub(b.l) > beaconKeep/2:
		f.bound[1], *b = *b, s
	case s.lead() > b.lead():
		s.l, s.at = b.l, b.at+mediaclock.Instant(s.lead()-b.lead()) // keeps the age of the first
		*b = s
	}
}

// Follow takes the active upstream's estimate at now. used says that sound depends on the time offered: then a fault
// is slewed away at no more than MaxSlope; only a fault of more than 250 ms, confirmed by three exchanges, steps,
// since it means another time scale, by which nothing would sound at all. Follow reports whether it stepped.
func (f *Follower) Follow(now mediaclock.Local, e Estimate, used bool) (stepped bool) {
	if e.N == 0 || f.est.N >= minSamples && e.N < minSamples {
		return false // holdover goes on until the new upstream is known as well
	}
	f.est = e
	want := f.bounded(e.Line.At(now), now)
	fault := want.Sub(f.line.At(now))
	size := max(fault, -fault)
	if !f.set || size > farOff && e.N >= minSamples || !used && size > idleStep {
		stepped = f.set
		f.set = true
		f.line = Line{Local: now, Instant: want, Skew: e.Line.Skew, Until: now}
		if stepped {
			f.steps++
		}
		return stepped
	}
	f.slew(now, fault, e.Line.Skew)
	return false
}

// slew bends the line so that the fault is gone after settle, or later where the slope does not allow it.
func (f *Follower) slew(now mediaclock.Local, fault time.Duration, skew int64) {
	fault = min(max(fault, -farOff), farOff)
	room := MaxSlope - max(skew, -skew)
	correction := min(max(int64(fault)*int64(time.Second)/int64(settle), -room), room)
	n := Line{Local: now, Instant: f.line.At(now), Skew: skew, Correction: correction, Until: now}
	if correction != 0 {
		n.Until = now.Add(fault * time.Second / time.Duration(correction))
	}
	f.line = n
}

// bounded draws want into what the signed times allow.
func (f *Follower) bounded(want mediaclock.Instant, now mediaclock.Local) mediaclock.Instant {
	for _, b := range f.bound {
		if !b.set || now.Sub(b.l) > beaconKeep || now < b.l {
			continue
		}
		age := now.Sub(b.l)
		slack := time.Duration(ppb(int64(age), MaxSlope))
		want = min(max(want, b.at.Add(age-slack)), b.at.Add(age+slack+beaconLate))
	}
	return want
}

// Line returns the line offered now; ok is false before the first estimate.
func (f *Follower) Line() (n Line, ok bool) { return f.line, f.set }

// Steps counts the jumps since the start.
func (f *Follower) Steps() int { return f.steps }

// At reads the time offered at now: the error includes what is not slewed away yet.
func (f *Follower) At(now mediaclock.Local) Reading {
	if !f.set {
		return Reading{}
	}
	r := Reading{Now: f.line.At(now)}
	fault := f.est.Line.At(now).Sub(r.Now)
	r.Error = f.est.ErrorAt(now) + max(fault, -fault)
	r.Synced = f.est.N >= minSamples && r.Error < maxError
	return r
}
