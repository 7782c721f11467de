// Package clock gives a node network time: a filter over the four-timestamp exchanges with an upstream, the line that
// is offered to playout and to downstream nodes, and the root of time for a streamer. It is pure: it reads no clock,
// starts nothing and is told what arrived when, so an hour of a bad 4G link is a test of milliseconds.
//
// Packages link (which feeds it) and the streamer use it. Nothing here is safe for concurrent use but Line and Root,
// which are values that never change.
package clock

import (
	"math"
	"time"

	"dongthanh/internal/mediaclock"
)

// MaxSlope bounds how fast offered time may run against the node's own clock, in parts per 10⁹: ±500 ppm. A crystal
// is within 100 ppm, and a resampler that follows 500 ppm is inaudible (facts: 10 ms corrected in 20 s).
const MaxSlope = 500_000

// Sample is one exchange with an upstream: the ping left at T1 and its pong came at T4 by the node's own clock; the
// upstream had T2 when the ping came and T3 when the pong left.
type Sample struct {
	T1, T4 mediaclock.Local
	T2, T3 mediaclock.Instant
	Error  time.Duration // the upstream's estimate of its own error
}

// rtt is the time the exchange spent on the way.
func (s Sample) rtt() time.Duration { return s.T4.Sub(s.T1) - s.T3.Sub(s.T2) }

// mid is the middle of the exchange on the node's own clock.
func (s Sample) mid() mediaclock.Local { return s.T1 + (s.T4-s.T1)/2 }

// offset is network time minus own time at mid, exact where both ways took equally long.
func (s Sample) offset() int64 {
	return (int64(s.T2) - int64(s.T1) + int64(s.T3) - int64(s.T4)) / 2
}

// maxInstant keeps sums of instants and moments within an int64; it lies in the year 2116.
const maxInstant = 1 << 62

// maxRTT is the longest exchange worth a thought: the path of a loudspeaker that waits longer cannot be told from a
// dead one.
const maxRTT = 5 * time.Second

// plausible refuses what no honest exchange can be; the bounds keep all arithmetic from overflowing.
func (s Sample) plausible() bool {
	return s.T1 >= 0 && s.T4 >= s.T1 && s.T4 < maxInstant && s.T2 >= 0 && s.T3 >= s.T2 && s.T3 < maxInstant &&
		s.Error >= 0 && s.T4.Sub(s.T1) <= maxRTT && s.rtt() >= 0
}

// Line maps a node's own clock to network time: a straight line of slope 1 + Skew, on which Correction is added until
// Until. It is a value: a copy may be read from any goroutine.
type Line struct {
	Local      mediaclock.Local
	Instant    mediaclock.Instant
	Skew       int64            // parts per 10⁹ by which network time runs faster than the own clock
	Correction int64            // parts per 10⁹ on top, from Local to Until
	Until      mediaclock.Local // Local where there is no correction
}

// At returns network time at the moment l of the own clock. |Skew| + |Correction| ≤ MaxSlope, so it always rises.
func (n Line) At(l mediaclock.Local) mediaclock.Instant {
	return n.Instant + mediaclock.Instant(l-n.Local) + mediaclock.Instant(ppb(int64(l-n.Local), n.Skew)) +
		mediaclock.Instant(ppb(int64(min(max(l, n.Local), max(n.Until, n.Local))-n.Local), n.Correction))
}

// Of returns the moment of the own clock at which network time is i, within a few nanoseconds.
func (n Line) Of(i mediaclock.Instant) mediaclock.Local {
	l := n.Local + mediaclock.Local(i-n.Instant)
	for range 6 { // each round leaves at most MaxSlope of the fault before it
		fault := mediaclock.Local(i - n.At(l))
		if fault == 0 {
			break
		}
		l += fault
	}
	return l
}

// ppb returns parts × 10⁻⁹ of n. For spans of more than a day the product would overflow, hence the split.
func ppb(n, parts int64) int64 {
	const giga = 1_000_000_000
	return n/giga*parts + n%giga*parts/giga
}

// Root is network time at its root, the streamer: wall time at the start, and from then on only the monotonic clock,
// so that a step of the wall clock never moves a sample.
type Root struct {
	mono  mediaclock.Monotonic
	local mediaclock.Local
	wall  mediaclock.Instant
}

// NewRoot ties mono to wall, the wall time now.
func NewRoot(mono mediaclock.Monotonic, wall time.Time) Root {
	return Root{mono: mono, local: mono.Now(), wall: mediaclock.At(wall)}
}

// Now returns network time.
func (r Root) Now() mediaclock.Instant { return r.At(r.mono.Now()) }

// At returns network time at a moment of the streamer's monotonic clock.
func (r Root) At(l mediaclock.Local) mediaclock.Instant {
	return r.wall + mediaclock.Instant(l-r.local)
}

// Line returns the root's line, for whoever reads time from a Line whatever node it runs on.
func (r Root) Line() Line { return Line{Local: r.local, Instant: r.wall, Until: r.local} }

// Nanoseconds returns d as the wire carries an error: never negative, and the largest number where it does not fit.
func Nanoseconds(d time.Duration) uint32 { return uint32(min(max(d, 0), math.MaxUint32)) }
