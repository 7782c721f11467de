package jitter

import (
	"time"

	"dongthanh/internal/mediaclock"
)

const (
	// The fastest packet of the last two seconds is the reference that all others are late against. Shorter, and a
	// burst of jitter passes for a longer path; longer, and a path that really became longer is noticed too late.
	baseBucket  = 500 * time.Millisecond
	baseBuckets = 4

	// Lateness is counted in bins of 4 ms up to 256 ms, more than the buffer ever waits for.
	lateBin  = 4 * time.Millisecond
	lateBins = 64

	// latePortion of the packets shall come in time, the others are concealed. latePer is what one packet weighs: about
	// the last 500 packets count, 10 s of 20 ms each (judged: long enough to see one packet in fifty, short enough
	// that a bad minute is forgotten in another).
	latePortion = 0.98
	latePer     = 0.002
)

// transit watches how long packets take relative to the fastest ones. A transit time is arrival minus RTP time, both
// with origins of their own, so only differences between transit times mean anything.
type transit struct {
	least  [baseBuckets]time.Duration // least transit time of a bucket
	bucket [baseBuckets]int64         // which bucket of the clock that was, plus one; 0: none yet
	base   time.Duration
	known  bool

	late    [lateBins]float64 // weight of the packets that were late by so many bins
	weight  float64           // their sum
	packets int
}

// add takes the transit time of a packet that came at now.
func (t *transit) add(now mediaclock.Local, took time.Duration) {
	k := int64(now)/int64(baseBucket) + 1
	i := int(k % baseBuckets)
	if i < 0 {
		i += baseBuckets
	}
	if t.bucket[i] != k {
		t.bucket[i], t.least[i] = k, took
	}
	t.least[i] = min(t.least[i], took)
	t.base, t.known = took, true
	for j, b := range t.bucket {
		if b > max(0, k-baseBuckets) {
			t.base = min(t.base, t.least[j])
		}
	}

	for j := range t.late {
		t.late[j] *= 1 - latePer
	}
	t.late[min(int((took-t.base)/lateBin), lateBins-1)] += latePer
	t.weight = t.weight*(1-latePer) + latePer
	t.packets++
}

// lateness returns by how much latePortion of the packets come later than the fastest.
func (t *transit) lateness() time.Duration {
	sum := 0.0
	for j, w := range t.late {
		sum += w
		if sum >= latePortion*t.weight {
			return time.Duration(j+1) * lateBin
		}
	}
	return lateBins * lateBin
}
