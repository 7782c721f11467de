package onair

import (
	"sync"
	"time"

	"dongthanh/internal/mediaclock"
)

// budgetFactor is how many signatures a second an upstream may have checked in vain, as a multiple of the rate of the
// streams on air (facts/reliability.md §1.2). At 25 packets a second and 60 µs each that is 0.6 % of a core.
const budgetFactor = 4

// budget bounds the signatures that one upstream's packets have checked. Only what fails is paid for: what holds is
// bounded by the streamer, who signs each index once.
type budget struct {
	mu    sync.Mutex // guards both; media of one upstream comes on one goroutine, so nobody waits
	spent float64    // checks not yet paid back by time
	at    mediaclock.Local
}

// take spends one check and reports whether there was one left. rate is the rate of all streams in packets a second.
func (b *budget) take(now mediaclock.Local, rate int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := float64(budgetFactor * max(rate, 1)) // a second's worth at once
	if now > b.at {
		b.spent = max(0, b.spent-limit*float64(now-b.at)/float64(time.Second))
		b.at = now
	}
	if b.spent+1 > limit {
		return false
	}
	b.spent++
	return true
}

// giveBack returns a check that held.
func (b *budget) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-1)
}
