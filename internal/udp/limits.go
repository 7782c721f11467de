package udp

import (
	"hash/maphash"
	"net/netip"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/wire"
)

// window takes each counter once, in any order within 64 of the newest. Counters jump at a reboot of the node (the
// boot count is their upper part), so they are not package seq's 48-bit indices.
type window struct {
	top  wire.Counter
	bits uint64 // bit n: top − n was taken
	any  bool
}

func (w *window) take(c wire.Counter) bool {
	switch {
	case !w.any:
		w.any, w.top, w.bits = true, c, 1
	case c > w.top:
		w.bits, w.top = w.bits<<min(uint64(c-w.top), 64)|1, c
	case w.top-c >= 64 || w.bits>>(w.top-c)&1 != 0:
		return false
	default:
		w.bits |= 1 << (w.top - c)
	}
	return true
}

// A node's datagrams a second: one or four pings, NACKs for each gap of each transmission, reports. Loudspeakers stay
// below 60 even at 30 % loss of two transmissions; relays ask for whole provinces.
const (
	rateEach  = 200 // a second
	rateBurst = 400
)

// rate is a token bucket of datagrams.
type rate struct {
	tokens float64
	at     mediaclock.Local
}

func newRate(now mediaclock.Local) rate { return rate{tokens: rateBurst, at: now} }

func (r *rate) take(now mediaclock.Local) bool {
	return take(&r.tokens, &r.at, now, rateEach, rateBurst)
}

// take refills a bucket at each a second, up to burst, and takes one token if there is one.
func take(tokens *float64, at *mediaclock.Local, now mediaclock.Local, each, burst float64) bool {
	*tokens = min(burst, *tokens+now.Sub(*at).Seconds()*each)
	*at = now
	if *tokens < 1 {
		return false
	}
	*tokens--
	return true
}

const (
	moveGap     = time.Second // between two moves of one flow
	movesWindow = time.Minute
	maxMoves    = 10 // in movesWindow; then the flow stays where it is (facts: reliability.md §2.3)
)

// moves bounds how often a flow may change its address.
type moves struct {
	last  mediaclock.Local
	start mediaclock.Local // of the window that count belongs to
	count int
}

// allow reports whether the flow may be bound, and counts it. The first binding (again is false) is always allowed and
// counts for nothing.
func (m *moves) allow(now mediaclock.Local, again bool) bool {
	if !again {
		m.last, m.start, m.count = now, now, 0
		return true
	}
	if now.Sub(m.start) >= movesWindow {
		m.start, m.count = now, 0
	}
	if now.Sub(m.last) < moveGap || m.count >= maxMoves {
		return false
	}
	m.count++
	m.last = now
	return true
}

const (
	prefixes     = 1024 // buckets; a fixed table, whatever comes
	failureEach  = 1000 // bad tags a second from one network
	failureBurst = 1000
)

// strangers counts bad tags by network (/24, /48), so that a flood of them costs less than a hash each. It judges only
// datagrams from addresses that are not proved: a forged sender cannot silence anyone, and a fleet behind one carrier
// address is not held to the budget of its neighbours.
type strangers struct {
	seed    maphash.Seed
	buckets [prefixes]bucket
}

type bucket struct {
	spent float64 // bad tags not yet forgotten
	at    mediaclock.Local
}

func newStrangers() *strangers { return &strangers{seed: maphash.MakeSeed()} }

func (s *strangers) bucket(a netip.Addr) *bucket {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.WithZone("").Prefix(bits)
	return &s.buckets[maphash.Comparable(s.seed, p)%prefixes]
}

// failed counts one bad tag.
func (s *strangers) failed(now mediaclock.Local, a netip.Addr) {
	b := s.bucket(a)
	b.forget(now)
	b.spent++
}

// flood reports whether a's network has spent its budget.
func (s *strangers) flood(now mediaclock.Local, a netip.Addr) bool {
	b := s.bucket(a)
	b.forget(now)
	return b.spent >= failureBurst
}

func (b *bucket) forget(now mediaclock.Local) {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*failureEach)
	b.at = now
}
