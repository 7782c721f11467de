package udp

import (
	"slices"
	"sync/atomic"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// maxMuted bounds the transmissions that a flow may mute one by one; more than that many are never on air for one
// loudspeaker.
const maxMuted = 16

// Flow is one node's datagrams at this upstream. Its fields change only through Flows.
type Flow[T any] struct {
	ID    wire.FlowID
	Owner T

	up, down *wire.Key
	sent     atomic.Uint64 // counter of what goes down
	window   window
	rate     rate

	path  Path // where it is proved to be, if bound
	bound bool
	moves moves

	asked      Path // the address with a challenge under way
	cookie     wire.Cookie
	askedUntil mediaclock.Local

	heard   mediaclock.Local // the last datagram by the bound path; before the first, when the flow was made
	active  bool
	muted   []uint32     // SSRCs
	ordered wire.Counter // of the newest datagram that said what to send
}

// Path returns where the node is proved to be; ok is false before the first proof.
func (f *Flow[T]) Path() (p Path, ok bool) { return f.path, f.bound }

// Active reports whether the node wants media, not beacons alone.
func (f *Flow[T]) Active() bool { return f.active }

// Wants reports whether the node wants the media of one transmission.
func (f *Flow[T]) Wants(ssrc uint32) bool { return f.active && !slices.Contains(f.muted, ssrc) }

// Append appends a whole datagram to the node, under the flow's key and the next counter. It may be called from any
// goroutine, also after the flow was removed.
func (f *Flow[T]) Append(dst []byte, t wire.Type, body []byte) []byte {
	h := wire.Header{Type: t, Flow: f.ID, Counter: wire.MakeCounter(0, f.sent.Add(1))}
	return f.down.Append(dst, h, body)
}

// Lease is how long a node may be silent.
type Lease struct {
	OnAir time.Duration // while something is on air for it, it pings every second
	Idle  time.Duration // otherwise every 15 s
}

// DefaultLease is eight pings on air and three idle.
func DefaultLease() Lease { return Lease{OnAir: 8 * time.Second, Idle: 45 * time.Second} }

// Lapsed reports whether the flow has been silent for longer than the lease. onAir says whether something is on air
// for it, and since when: a node that pinged at the idle pace has a whole lease from then on.
func (f *Flow[T]) Lapsed(now mediaclock.Local, l Lease, onAir bool, since mediaclock.Local) bool {
	return now.Sub(f.heard) > l.Idle || (onAir && f.bound && now.Sub(max(f.heard, since)) > l.OnAir)
}

// order reports whether the datagram with counter c is newer than every other one that said what to send, so that one
// that was overtaken on the way undoes nothing.
func (f *Flow[T]) order(c wire.Counter) bool {
	if c < f.ordered {
		return false
	}
	f.ordered = c
	return true
}

func (f *Flow[T]) setActive(on bool) (changed bool) {
	changed = f.active != on
	f.active = on
	return changed
}

func (f *Flow[T]) resume(ssrc uint32) (changed bool) {
	changed = !f.active || slices.Contains(f.muted, ssrc)
	f.active = true
	f.unmute(ssrc)
	return changed
}

func (f *Flow[T]) mute(m wire.MuteBody) (changed bool) {
	switch {
	case m.SSRC == 0 && m.On:
		return f.setActive(false)
	case m.SSRC == 0:
		changed = !f.active || len(f.muted) > 0
		f.active, f.muted = true, nil
		return changed
	case m.On:
		if slices.Contains(f.muted, m.SSRC) || len(f.muted) >= maxMuted {
			return false
		}
		f.muted = append(f.muted, m.SSRC)
		return true
	}
	return f.unmute(m.SSRC)
}

func (f *Flow[T]) unmute(ssrc uint32) (changed bool) {
	n := len(f.muted)
	f.muted = slices.DeleteFunc(f.muted, func(s uint32) bool { return s == ssrc })
	return len(f.muted) != n
}
