package udp

import (
	"errors"
	"fmt"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// Drop says why a datagram was dropped; it is the value of the metric's label reason.
type Drop string

// The reasons. Nothing that is dropped is answered.
const (
	DropMalformed Drop = "malformed" // not one of our datagrams, or its body is not
	DropStranger  Drop = "stranger"  // no such flow
	DropFlood     Drop = "flood"     // too many bad tags from its network
	DropTag       Drop = "tag"       // the tag does not hold
	DropOld       Drop = "old"       // its counter was seen before or lies too far back
	DropRate      Drop = "rate"      // the node sends more than any loudspeaker needs
	DropUnbound   Drop = "unbound"   // right, but from an address that has not been proved
	DropMoves     Drop = "moves"     // proved, but the flow moves too often
)

// Drops lists all reasons, so that their counters exist from the start.
var Drops = [...]Drop{DropMalformed, DropStranger, DropFlood, DropTag, DropOld, DropRate, DropUnbound, DropMoves}

const (
	// challengeLen is the size of a CHALLENGE; what is smaller cannot be answered with one.
	challengeLen = wire.Overhead + len(wire.Cookie{})
	// cookieLife is longer than any round trip, and shorter than an address takes to change hands.
	cookieLife = 10 * time.Second
)

// Flows is the table of flows that a node has handed out. T is what a flow belongs to. Not safe for concurrent use,
// but for Flow.Append.
type Flows[T any] struct {
	flows     map[wire.FlowID]*Flow[T]
	strangers *strangers
	cookie    func() wire.Cookie
}

// NewFlows returns an empty table. cookie draws a challenge that nobody can guess.
func NewFlows[T any](cookie func() wire.Cookie) *Flows[T] {
	return &Flows[T]{flows: map[wire.FlowID]*Flow[T]{}, strangers: newStrangers(), cookie: cookie}
}

// ErrFlow is returned for a flow id that is taken; the caller draws another.
var ErrFlow = errors.New("flow id is taken")

// Add enters a flow, not yet bound to any address. active is false for a node that stands by.
func (t *Flows[T]) Add(now mediaclock.Local, id wire.FlowID, key [wire.KeyLen]byte, active bool, owner T) (*Flow[T], error) {
	if _, taken := t.flows[id]; taken {
		return nil, fmt.Errorf("add flow %x: %w", id, ErrFlow)
	}
	f := &Flow[T]{
		ID: id, Owner: owner,
		up: wire.NewKey(key, wire.Up), down: wire.NewKey(key, wire.Down),
		active: active, heard: now, rate: newRate(now),
	}
	t.flows[id] = f
	return f, nil
}

// Remove forgets a flow: what it sends is a stranger's from now on. Removing it twice does nothing.
func (t *Flows[T]) Remove(f *Flow[T]) {
	if t.flows[f.ID] == f {
		delete(t.flows, f.ID)
	}
}

// Len is the number of flows.
func (t *Flows[T]) Len() int { return len(t.flows) }

// Event is what a datagram means: who sent it, what changed, and what must be answered. A datagram that was dropped
// has no event.
type Event[T any] struct {
	Flow    *Flow[T]
	Type    wire.Type
	Counter wire.Counter
	Body    []byte // a view on the datagram

	// Answers go to the path the datagram came by.
	Challenge bool        // send a CHALLENGE with Cookie
	Cookie    wire.Cookie //
	Pong      bool        // send a PONG; Ping is what it answers
	Ping      wire.PingBody

	Bound    bool // the flow was bound to the path just now, for the first time or anew
	Switched bool // the flow became active or stands by, or mutes other transmissions than before
}

// Receive judges the datagram b that came by path p at now. Where the drop is not empty, nothing changed and nothing
// may be answered. b stays the caller's; the event's body is a view on it.
func (t *Flows[T]) Receive(now mediaclock.Local, p Path, b []byte) (Event[T], Drop) {
	d, err := wire.Parse(b)
	if err != nil {
		return Event[T]{}, DropMalformed
	}
	f, known := t.flows[d.Flow]
	if !known {
		return Event[T]{}, DropStranger
	}
	home := f.bound && f.path == p // datagrams by a proved path are never in a flood
	if !home && t.strangers.flood(now, p.Remote.Addr()) {
		return Event[T]{}, DropFlood
	}
	if d.Verify(f.up) != nil {
		t.strangers.failed(now, p.Remote.Addr())
		return Event[T]{}, DropTag
	}
	newest := d.Counter > f.window.top || !f.window.any
	if !f.window.take(d.Counter) {
		return Event[T]{}, DropOld
	}
	if !f.rate.take(now) {
		return Event[T]{}, DropRate
	}
	e := Event[T]{Flow: f, Type: d.Type, Counter: d.Counter, Body: d.Body}
	drop := Drop("")
	if home {
		drop = t.atHome(now, &e)
	} else {
		drop = t.abroad(now, p, &e, len(b), newest)
	}
	if drop != "" {
		return Event[T]{}, drop
	}
	return e, ""
}

// atHome handles a datagram that came by the bound path.
func (t *Flows[T]) atHome(now mediaclock.Local, e *Event[T]) Drop {
	f := e.Flow
	f.heard = now
	switch e.Type {
	case wire.Ping:
		ping, err := wire.ParsePing(e.Body)
		if err != nil {
			return DropMalformed
		}
		e.Ping, e.Pong = ping, true
		e.Switched = f.order(e.Counter) && f.setActive(ping.Active)
	case wire.Resume:
		r, err := wire.ParseResume(e.Body)
		if err != nil {
			return DropMalformed
		}
		e.Switched = f.order(e.Counter) && f.resume(r.SSRC)
	case wire.Mute:
		m, err := wire.ParseMute(e.Body)
		if err != nil {
			return DropMalformed
		}
		e.Switched = f.order(e.Counter) && f.mute(m)
	default: // NACK and REPORT are the owner's; an echo again, and what a later version may send, mean nothing
	}
	return ""
}

// abroad handles a datagram from an address that is not the flow's, or that is not proved yet. An authentic one with
// a counter above all others gets a challenge there, of no more bytes than it had itself; only the right echo from the
// same address moves the flow, so that neither a forged sender nor a replay can draw media to a victim. Until then
// the old address is fed. facts/reliability.md §2.3 asks this of PING alone; a NACK after a NAT has changed its
// mind comes up to a second earlier.
func (t *Flows[T]) abroad(now mediaclock.Local, p Path, e *Event[T], size int, newest bool) Drop {
	f := e.Flow
	if e.Type == wire.Challenge {
		cookie, err := wire.ParseCookie(e.Body)
		if err != nil {
			return DropMalformed
		}
		if f.asked != p || cookie != f.cookie || now >= f.askedUntil {
			return DropUnbound
		}
		if !f.moves.allow(now, f.bound) {
			return DropMoves
		}
		f.asked, f.askedUntil = Path{}, 0
		f.path, f.bound, f.heard = p, true, now
		e.Bound = true
		return ""
	}
	if !newest || size < challengeLen {
		return DropUnbound
	}
	if e.Type == wire.Ping {
		ping, err := wire.ParsePing(e.Body)
		if err != nil {
			return DropMalformed
		}
		e.Ping, e.Pong = ping, true
		// A first ping tells at once whether the node stands by; from a second address it must be proved first.
		e.Switched = !f.bound && f.order(e.Counter) && f.setActive(ping.Active)
	}
	if f.asked != p || now >= f.askedUntil {
		f.asked, f.cookie, f.askedUntil = p, t.cookie(), now.Add(cookieLife)
	}
	e.Challenge, e.Cookie = true, f.cookie
	if e.Type != wire.Ping {
		e.Type = 0 // what it asks for is not done for an address that is not proved
	}
	return ""
}
