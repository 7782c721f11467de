package link

import (
	"math/rand/v2"
	"time"

	"dongthanh/internal/mediaclock"
)

// The picker's times.
const (
	grace       = time.Second             // at the start the preferred upstream may take this long to join
	stable      = 5 * time.Second         // the preferred upstream must have been well for this long before we return to it
	missedPongs = 3                       // pings without an answer, over at least …
	missedTime  = 2500 * time.Millisecond // … this, and nothing else heard for quiet: the upstream is dead
	quiet       = 1500 * time.Millisecond
	missedAll   = 12                     // this many even if sound still comes: our datagrams do not get through
	rebindAfter = 4                      // pings without an answer: try another source port, the NAT may have forgotten ours
	rebindEvery = 5 * time.Second        // doubled up to …
	rebindMax   = 60 * time.Second       // … this
	overlap     = 500 * time.Millisecond // the old upstream goes on for this long after a switch; copies cost nothing but bytes
	resumeEvery = 150 * time.Millisecond // a RESUME is repeated until media comes
	resumeTries = 10
	trial       = 3 * time.Second        // how long a standby that was asked for a gap delivers before we decide
	mediaAge    = 500 * time.Millisecond // media within this: the upstream delivers
	lingering   = 10 * time.Second       // a flow whose control connection ended is given up after this silence
	deaf        = 1500 * time.Millisecond
	distrust    = time.Minute // an upstream that answered pings but sent no sound is not returned to before

	pingFirst = 60 * time.Millisecond // the first firstPings pings, so that a node has time within a second of its start
	pingYoung = 250 * time.Millisecond
	pingOnAir = time.Second
	pingAgain = 500 * time.Millisecond // after a ping that found no answer; 20 % loss each way lose every third exchange
	pingIdle  = 15 * time.Second
	firstPing = 4
	youngFor  = 10 * time.Second
	airAfter  = 15 * time.Second // the pace of being on air goes on for this long: the upstream may not know yet that it is over
	alertFor  = 2 * time.Second  // after going on air: the idle pace left the clock with few samples
)

// orderKind is what the picker wants done.
type orderKind uint8

const (
	sendPing   orderKind = iota // PING with Active as in the order
	sendResume                  // RESUME for all that is on air
	sendMute                    // MUTE: send beacons only
	rebind                      // the same flow from another source port
)

type order struct {
	kind   orderKind
	to     int
	active bool
}

// view is what the picker knows of one upstream.
type view struct {
	joined bool
	fed    bool // has a way to the streamer
	flow   bool // datagrams may be sent; outlives the control connection
	failed bool // an attempt to join has failed since the start

	ponged     bool             // since the flow began
	bound      bool             // the upstream sends media to where our pings come from
	unanswered int              // pings since the last pong
	since      mediaclock.Local // when the first of them left
	last       mediaclock.Local // when the last ping left
	heard      mediaclock.Local // any datagram
	media      mediaclock.Local // sound
	wellSince  mediaclock.Local // alive and fed since; 0: is not
	shunned    mediaclock.Local // not returned to before

	pings  int // since the flow began
	young  mediaclock.Local
	ping   mediaclock.Local // when the next is due
	rebind mediaclock.Local
	wait   time.Duration // between rebinds

	resumes int // still to be sent
	resume  mediaclock.Local
	mute    mediaclock.Local // when to mute; 0: never
	tried   mediaclock.Local // asked for a gap since; 0: not
}

// picker decides which upstream is active, when to switch and when to return, and what datagrams that takes. It is
// pure: time is an argument, and due returns the orders.
type picker struct {
	views     []view
	active    int // -1 before the first; the last one stays, though it be gone, until there is another
	start     mediaclock.Local
	onAir     bool
	lively    mediaclock.Local // when sound or a beacon came last, or onAir ended
	failovers int
	rand      *rand.Rand // spreads idle pings
}

func newPicker(n int, now mediaclock.Local, r *rand.Rand) *picker {
	return &picker{views: make([]view, n), active: -1, start: now, rand: r}
}

// joined says that an upstream welcomed us and a new flow stands. again: the connection before had only ended for this,
// and the flow before goes on for a moment, so that what it was good for it still is.
func (p *picker) joined(now mediaclock.Local, i int, fed, again bool) {
	old := p.views[i]
	p.views[i] = view{
		joined: true, fed: fed, flow: true, ping: now, young: now.Add(youngFor), wait: rebindEvery,
		heard: now, media: old.media, shunned: old.shunned,
	}
	if again {
		p.views[i].ponged, p.views[i].wellSince = old.ponged, old.wellSince
	}
	if i == p.active {
		p.views[i].resumes, p.views[i].resume = resumeTries, now
	}
}

// left says that the control connection ended, or that an attempt to join failed. The flow may still bring sound.
func (p *picker) left(i int) {
	v := &p.views[i]
	v.joined, v.failed, v.wellSince = false, true, 0
}

// path says whether an upstream has a way to the streamer.
func (p *picker) path(i int, fed bool) { p.views[i].fed = fed }

// pong says that a pong came, and whether the upstream has proved our address.
func (p *picker) pong(now mediaclock.Local, i int, bound bool) {
	v := &p.views[i]
	if bound && !v.bound && v.resumes > 0 {
		v.resume = now
	}
	v.ponged, v.bound, v.unanswered, v.wait = true, bound, 0, rebindEvery
	v.heard = max(v.heard, now)
}

// activity says when the last datagram of any kind came, the last sound, and the last beacon.
func (p *picker) activity(i int, heard, media, beacon mediaclock.Local) {
	v := &p.views[i]
	v.heard, v.media = max(v.heard, heard), max(v.media, media)
	p.lively = max(p.lively, media, beacon)
}

// quick reports whether pings are to come every second: while sound depends on this node, or an upstream believes that
// it does (it sends beacons) and would take a slower pace for death.
func (p *picker) quick(now mediaclock.Local) bool {
	return p.onAir || p.lively != 0 && now.Sub(p.lively) < airAfter
}

// air says whether sound depends on this node.
func (p *picker) air(now mediaclock.Local, on bool) {
	if on == p.onAir {
		return
	}
	p.onAir, p.lively = on, max(p.lively, now)
	if !on {
		return
	}
	for i := range p.views {
		v := &p.views[i]
		v.young = max(v.young, now.Add(alertFor))
		v.ping = min(v.ping, now)
	}
}

// gap says that RESUME was sent to every upstream alive, since the active one left a gap.
func (p *picker) gap(now mediaclock.Local) {
	for i := range p.views {
		if v := &p.views[i]; i != p.active && p.alive(now, i) && v.tried == 0 {
			v.tried, v.mute = now, 0
		}
	}
}

func (p *picker) dead(now mediaclock.Local, i int) bool {
	v := &p.views[i]
	return v.unanswered >= missedPongs && now.Sub(v.since) >= missedTime &&
		(now.Sub(v.heard) > quiet || v.unanswered >= missedAll)
}

func (p *picker) alive(now mediaclock.Local, i int) bool {
	return p.views[i].joined && p.views[i].ponged && !p.dead(now, i)
}

// rank orders upstreams by what they are good for.
func (p *picker) rank(now mediaclock.Local, i int) (r int) {
	if !p.views[i].joined {
		return 0
	}
	if !p.alive(now, i) {
		return 1
	}
	if !p.views[i].fed {
		return 2
	}
	return 3
}

// due returns what is to be done now, and when to ask again at the latest.
func (p *picker) due(now mediaclock.Local) (orders []order, next mediaclock.Local) {
	next = now.Add(pingIdle)
	p.well(now)
	p.choose(now)
	p.settle(now)
	for i := range p.views {
		v := &p.views[i]
		if !v.joined && now.Sub(v.heard) > lingering {
			v.flow = false
		}
		if !v.flow {
			continue
		}
		if v.mute != 0 && v.mute <= now {
			v.mute, v.tried = 0, 0
			orders = append(orders, order{kind: sendMute, to: i})
			v.ping = min(v.ping, now)
		}
		if v.resumes > 0 && v.bound && v.resume <= now {
			orders = append(orders, p.resumeDue(now, i)...)
		}
		if v.joined && v.unanswered >= rebindAfter && now.Sub(v.since) > quiet && now.Sub(v.heard) > quiet && now >= v.rebind {
			v.rebind = now.Add(v.wait)
			v.wait = min(2*v.wait, rebindMax)
			orders = append(orders, order{kind: rebind, to: i})
			v.ping = now
		}
		if v.ping > now.Add(pingOnAir) && p.quick(now) {
			v.ping = now.Add(pingOnAir)
		}
		if v.ping <= now || p.again(i) <= now {
			orders = append(orders, order{kind: sendPing, to: i, active: p.wants(i)})
			p.pinged(now, i)
		}
		next = min(next, p.deadline(now, i))
	}
	if p.active < 0 && now < p.start.Add(grace) {
		next = min(next, p.start.Add(grace))
	}
	return orders, next
}

// wants reports whether media is to come on flow i.
func (p *picker) wants(i int) bool {
	v := &p.views[i]
	return i == p.active || v.tried != 0 || v.mute != 0
}

// resumeDue repeats a RESUME until media has come after it, so that a lost one costs 150 ms.
func (p *picker) resumeDue(now mediaclock.Local, i int) []order {
	v := &p.views[i]
	if v.resumes < resumeTries && v.media > v.resume.Add(-resumeEvery) {
		v.resumes = 0
		return nil
	}
	v.resumes--
	v.resume = now.Add(resumeEvery)
	return []order{{kind: sendResume, to: i}}
}

// pinged counts a ping and sets the next.
func (p *picker) pinged(now mediaclock.Local, i int) {
	v := &p.views[i]
	if v.unanswered == 0 {
		v.since = now
	}
	v.unanswered++
	v.pings++
	v.last = now
	switch {
	case v.pings < firstPing:
		v.ping = now.Add(pingFirst)
	case now < v.young:
		v.ping = now.Add(pingYoung)
	case p.quick(now):
		v.ping = now.Add(pingOnAir)
	default:
		v.ping = now.Add(pingIdle - time.Duration(p.rand.Int64N(int64(pingIdle/8))))
	}
}

// again is when a ping without an answer is repeated; far away where there is none.
func (p *picker) again(i int) mediaclock.Local {
	v := &p.views[i]
	if v.unanswered == 0 || v.pings < firstPing {
		return v.ping
	}
	return v.last.Add(pingAgain)
}

// deadline is when upstream i needs a look again.
func (p *picker) deadline(now mediaclock.Local, i int) mediaclock.Local {
	v := &p.views[i]
	next := min(v.ping, p.again(i))
	if v.mute != 0 {
		next = min(next, v.mute)
	}
	if v.resumes > 0 && v.bound {
		next = min(next, v.resume)
	}
	if v.tried != 0 || v.unanswered >= rebindAfter {
		next = min(next, now.Add(100*time.Millisecond))
	}
	if i < p.active && v.wellSince != 0 {
		next = min(next, max(v.wellSince.Add(stable), v.shunned, now.Add(time.Millisecond)))
	}
	return next
}

// well keeps since when each upstream is as good as can be.
func (p *picker) well(now mediaclock.Local) {
	for i := range p.views {
		switch v := &p.views[i]; {
		case p.rank(now, i) < 3:
			v.wellSince = 0
		case v.wellSince == 0:
			v.wellSince = now
		}
	}
}

// choose switches where there is reason to.
func (p *picker) choose(now mediaclock.Local) {
	best, top := -1, 0
	for i := range p.views {
		r := p.rank(now, i)
		if r == 3 && now < p.views[i].shunned && i != p.active {
			r = 2 // the last but one choice
		}
		if r > top {
			best, top = i, r
		}
	}
	switch {
	case best < 0 || best == p.active:
		return
	case p.active < 0:
		if (best > 0 || top < 2) && !p.views[0].failed && now < p.start.Add(grace) {
			return // the preferred one is still at it
		}
	case p.rank(now, p.active) < top:
	case best < p.active && top == 3 && now.Sub(p.views[best].wellSince) >= stable:
	default:
		return
	}
	p.switchTo(now, best)
}

// switchTo makes another upstream active: before the old one is muted the new one sends again what may be missing.
func (p *picker) switchTo(now mediaclock.Local, to int) {
	from := p.active
	p.active = to
	v := &p.views[to]
	v.resumes, v.resume, v.ping, v.mute, v.tried = resumeTries, now, now, 0, 0
	if from < 0 {
		return
	}
	p.failovers++
	p.views[from].resumes, p.views[from].wellSince = 0, 0
	if p.views[from].flow {
		p.views[from].mute = now.Add(overlap)
	}
}

// settle ends the trials of standbys that were asked for a gap: if only they deliver, they become active.
func (p *picker) settle(now mediaclock.Local) {
	if p.active < 0 {
		return
	}
	for i := range p.views {
		v := &p.views[i]
		if v.tried == 0 || i == p.active {
			continue
		}
		old := &p.views[p.active]
		delivers := now.Sub(v.media) <= mediaAge && v.media >= v.tried
		if delivers && now.Sub(old.media) > deaf && now.Sub(v.tried) > deaf {
			if now.Sub(old.heard) <= time.Second { // it lives, and yet sends no sound
				old.shunned = now.Add(distrust)
			}
			p.switchTo(now, i)
			continue
		}
		if now.Sub(v.tried) >= trial {
			v.mute = now
		}
	}
}
