package link

import (
	"time"

	"dongthanh/internal/mediaclock"
)

// failure is why a node is not joined.
type failure uint8

const (
	lost       failure = iota // a connection that stood has ended
	closedPort                // nobody listens: the upstream is being restarted, and asking costs it nothing
	busy                      // no answer, or one that says too many
	looped                    // the upstream hangs beneath ourselves
	told                      // we are not served: revoked, wrong zone, wrong version
)

// The waits (facts/reliability.md §5.3: full jitter, or a storm of nodes never gets in; but a relay that restarts must
// have its nodes back within 2 s).
const (
	quickFirst = 250 * time.Millisecond
	quickMax   = time.Second
	quickFor   = 15 * time.Second
	slowFirst  = 2 * time.Second
	slowMax    = 60 * time.Second
	loopWait   = 5 * time.Second
	minWait    = 20 * time.Millisecond
	healthy    = 3 * time.Second // a connection that stood for this long begins anew
)

// backoff decides how long to wait before the next attempt to join.
type backoff struct {
	quick, slow int
	since       mediaclock.Local // of the outage
	out         bool
}

// next returns the wait after a failure. stood is how long the connection had lasted, 0 if it never did; u is drawn
// evenly from [0, 1).
func (b *backoff) next(now mediaclock.Local, f failure, stood time.Duration, u float64) time.Duration {
	if !b.out || stood >= healthy {
		*b = backoff{since: now, out: true}
	}
	var wait time.Duration
	switch {
	case f == looped:
		return jitter(loopWait/2, u) + loopWait/2
	case f == told:
		return jitter(slowMax/2, u) + slowMax/2
	case f == lost && stood >= healthy, f == closedPort && now.Sub(b.since) < quickFor:
		wait = min(quickMax, quickFirst<<min(b.quick, 8))
		b.quick++
	default:
		wait = min(slowMax, slowFirst<<min(b.slow, 8))
		b.slow++
	}
	return max(minWait, jitter(wait, u))
}

func jitter(d time.Duration, u float64) time.Duration { return time.Duration(float64(d) * u) }
