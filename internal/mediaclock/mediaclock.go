// Package mediaclock holds the units of time of the product: RTP timestamps, counts of samples and instants of
// network time. It reads no clock.
package mediaclock

import "time"

// Rate is the RTP clock and the sample rate everywhere: 48 kHz (RFC 7587 §4.1).
const Rate = 48000

// FrameSamples is the codec's frame of 20 ms, in samples of the one channel.
const FrameSamples = 960

// Timestamp is an RTP timestamp: samples at 48 kHz modulo 2^32, wrapping every 24.8 hours.
type Timestamp uint32

// Sub returns the samples from u to t, right while they lie less than 12.4 hours apart.
func (t Timestamp) Sub(u Timestamp) Samples { return Samples(int32(t - u)) }

// Samples counts samples of the one channel at 48 kHz.
type Samples int64

// Duration returns the time n samples take at exactly 48 kHz, rounded to the nanosecond below.
func (n Samples) Duration() time.Duration { return time.Duration(n * 62500 / 3) }

// SamplesIn returns the whole samples that fit in d.
func SamplesIn(d time.Duration) Samples { return Samples(d * 3 / 62500) }

// Instant is a moment of network time: nanoseconds since 1970-01-01 UTC as the streamer counts them. Network time
// comes down the tree (package clock); it is never a node's own wall clock.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Time returns the instant as wall time, for logs and certificates.
func (i Instant) Time() time.Time { return time.Unix(0, int64(i)) }

// At returns the instant that t names.
func At(t time.Time) Instant { return Instant(t.UnixNano()) }

// Local is a moment of a node's own monotonic clock: nanoseconds since an origin that only that process knows.
// Timers and playout use it; it never jumps.
type Local int64

// Add returns the moment d later.
func (l Local) Add(d time.Duration) Local { return l + Local(d) }

// Sub returns the time from m to l.
func (l Local) Sub(m Local) time.Duration { return time.Duration(l - m) }

// Monotonic is a process's monotonic clock. The zero value is not usable; make one with NewMonotonic and share it.
type Monotonic struct{ origin time.Time }

// NewMonotonic starts a monotonic clock whose origin is now.
func NewMonotonic() Monotonic { return Monotonic{origin: time.Now()} }

// Now returns the time since the origin. It reads only the monotonic clock, so steps of the wall clock do not show.
func (m Monotonic) Now() Local { return Local(time.Since(m.origin)) }

// Map ties the samples of a transmission to network time: the sample with timestamp TS0 entered the encoder at T0,
// and every later one exactly 1/48000 s after the one before it, for the whole transmission.
type Map struct {
	TS0 Timestamp
	T0  Instant
}

// At returns the instant at which the sample with timestamp ts entered the encoder.
func (m Map) At(ts Timestamp) Instant { return m.T0.Add(ts.Sub(m.TS0).Duration()) }
