package fanout

import (
	"time"

	"dongthanh/internal/mediaclock"
)

// Budget bounds what one subscriber may be sent again of one transmission, by NACK and RESUME together: bytes at
// 1 × the stream's rate, and at most as many at once as the delay holds. So a subscriber on a link that is too
// small, or one that asks for everything, costs twice its stream at most. The zero value is full. Not safe for
// concurrent use.
type Budget struct {
	spent float64 // bytes not yet earned back
	at    mediaclock.Local
	begun bool

	resumed   mediaclock.Local
	hasResume bool
}

// ResumeGap is the least time between two RESUMEs of one subscriber and transmission that are answered.
const ResumeGap = 500 * time.Millisecond

// Take reports whether n bytes may be sent at now, and spends them. rate is the stream's, in bytes a second; delay is
// the transmission's.
func (b *Budget) Take(now mediaclock.Local, n int, rate float64, delay time.Duration) bool {
	if b.begun {
		b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*rate)
	}
	b.at, b.begun = now, true
	if depth := max(rate*delay.Seconds(), float64(n)); b.spent+float64(n) > depth {
		return false
	}
	b.spent += float64(n)
	return true
}

// Resume reports whether a RESUME may be answered at now, and counts it.
func (b *Budget) Resume(now mediaclock.Local) bool {
	if b.hasResume && now.Sub(b.resumed) < ResumeGap {
		return false
	}
	b.resumed, b.hasResume = now, true
	return true
}
