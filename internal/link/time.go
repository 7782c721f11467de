package link

import (
	"time"

	"dongthanh/internal/clock"
	"dongthanh/internal/mediaclock"
)

// timed takes an exchange with upstream u.
func (l *Links) timed(u *upstream, s clock.Sample) {
	l.timeMu.Lock()
	defer l.timeMu.Unlock()
	if !u.filter.Add(s) {
		return
	}
	if l.source < 0 {
		l.source = u.n // nobody is active yet: any time is better than none
	}
	if u.n == l.source {
		l.follower.Follow(s.T4, u.filter.Estimate(), l.used)
	}
}

// follow turns to the time of upstream i.
func (l *Links) follow(i int) {
	now := l.options.Clock.Now()
	l.timeMu.Lock()
	defer l.timeMu.Unlock()
	l.source = i
	l.follower.Follow(now, l.ups[i].filter.Estimate(), l.used)
}

// reading is the offered time with what metrics tell of it.
type reading struct {
	clock.Reading
	offset time.Duration
	steps  int
}

func (l *Links) reading() reading {
	now := l.options.Clock.Now()
	l.timeMu.Lock()
	defer l.timeMu.Unlock()
	r := reading{Reading: l.follower.At(now), steps: l.follower.Steps()}
	if l.source >= 0 {
		if e := l.ups[l.source].filter.Estimate(); e.N > 0 {
			r.offset = r.Now.Sub(e.Line.At(now))
		}
	}
	return r
}

// Now returns network time, the bound of its error, and whether it is known at all.
func (l *Links) Now() (now mediaclock.Instant, errNS uint32, ok bool) {
	return l.At(l.options.Clock.Now())
}

// At is Now for a moment of the node's own clock, which must not lie far from the present.
func (l *Links) At(local mediaclock.Local) (now mediaclock.Instant, errNS uint32, ok bool) {
	l.timeMu.Lock()
	r := l.follower.At(local)
	l.timeMu.Unlock()
	return r.Now, clock.Nanoseconds(r.Error), r.Synced
}

// Line returns the line by which network time runs now, for whoever converts many moments at once; ok as of Now.
func (l *Links) Line() (n clock.Line, ok bool) {
	now := l.options.Clock.Now()
	l.timeMu.Lock()
	defer l.timeMu.Unlock()
	n, ok = l.follower.Line()
	return n, ok && l.follower.At(now).Synced
}

// Signed takes the time of a beacon whose signature held and that came at local: it bounds what an upstream can make
// of network time.
func (l *Links) Signed(at mediaclock.Instant, local mediaclock.Local) {
	l.timeMu.Lock()
	defer l.timeMu.Unlock()
	l.follower.Signed(at, local)
}

// OnAir says whether sound depends on this node: pings come every second instead of every 15 s, and network time is
// slewed instead of stepped.
func (l *Links) OnAir(on bool) {
	now := l.options.Clock.Now()
	l.timeMu.Lock()
	l.used = on
	l.timeMu.Unlock()
	l.mu.Lock()
	l.pick.air(now, on)
	l.mu.Unlock()
	l.wake()
}
