package control

import (
	"errors"
	"net/netip"
	"time"
)

// Limits of strangers. Only what is not authenticated, or failed, counts against an address: a fleet of loudspeakers may
// sit behind one carrier address (DESIGN §7).
const (
	maxOpen    = 64   // connections of one address that have not shown who they are
	maxPending = 4096 // of all addresses together
	maxHosts   = 8192 // addresses that are remembered

	// Attempts that failed (a handshake, a token), of one address: so many at once, and one more each second.
	failDepth = 128
	failRate  = 1.0

	// Enrolments that failed: a token has 128 random bits, the limit only keeps the database quiet.
	enrolDepth = 20
	enrolRate  = 20.0 / 3600

	// handshakeRate is the full handshakes a second for each processor, of all addresses: a quarter of what one can do
	// (0.45 ms each, measured), since sound shares it. What is refused costs nothing and comes back later;
	// without this a fleet that comes back after a power cut never recovers.
	handshakeRate = 500.0
)

// Why a stranger is turned away before any work.
var (
	errBusy    = errors.New("too many handshakes at a time")
	errTooMany = errors.New("too many unauthenticated connections of one address")
	errFailing = errors.New("too many failed attempts of one address")
)

// bucket holds tokens; the zero value is full at its first use.
type bucket struct {
	spent float64
	at    time.Time
}

// refill counts what came since the last call.
func (b *bucket) refill(now time.Time, rate float64) {
	if d := now.Sub(b.at).Seconds(); d > 0 {
		b.spent = max(0, b.spent-d*rate)
		b.at = now
	}
}

// admission decides which strangers are served. It is pure: the caller brings the time and the lock.
type admission struct {
	rate    float64 // handshakes a second, all
	all     bucket
	pending int
	hosts   map[netip.Addr]*host
}

type host struct {
	open   int
	fails  bucket
	enrols bucket
}

func newAdmission(processors int) *admission {
	return &admission{rate: handshakeRate * float64(processors), hosts: make(map[netip.Addr]*host)}
}

// block is what counts as one address: a whole /64 of IPv6, for that is what one subscriber gets.
func block(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// open admits a connection, or says why not. Each admitted one is given back once, by release.
func (a *admission) open(now time.Time, addr netip.Addr) error {
	h := a.host(now, addr)
	a.all.refill(now, a.rate)
	h.fails.refill(now, failRate)
	switch {
	case h.fails.spent > failDepth-1:
		return errFailing
	case h.open >= maxOpen:
		return errTooMany
	case a.pending >= maxPending, a.all.spent > max(1, a.rate/2)-1:
		return errBusy
	}
	a.all.spent++
	a.pending++
	h.open++
	return nil
}

// release gives an admitted connection's place back: it showed who it is, or it ended.
func (a *admission) release(now time.Time, addr netip.Addr) {
	a.pending--
	a.host(now, addr).open--
}

// failed counts a failed attempt against the address.
func (a *admission) failed(now time.Time, addr netip.Addr) {
	h := a.host(now, addr)
	h.fails.refill(now, failRate)
	h.fails.spent = min(failDepth, h.fails.spent+1)
}

// mayEnrol reports whether the address may try a token.
func (a *admission) mayEnrol(now time.Time, addr netip.Addr) bool {
	h := a.host(now, addr)
	h.enrols.refill(now, enrolRate)
	return h.enrols.spent <= enrolDepth-1
}

// enrolFailed counts a token that did not hold.
func (a *admission) enrolFailed(now time.Time, addr netip.Addr) {
	h := a.host(now, addr)
	h.enrols.refill(now, enrolRate)
	h.enrols.spent = min(enrolDepth, h.enrols.spent+1)
}

// host finds an address's account. When too many are remembered, those that owe nothing are forgotten; if all owe, any
// that has nothing open.
func (a *admission) host(now time.Time, addr netip.Addr) *host {
	addr = block(addr)
	h := a.hosts[addr]
	if h != nil {
		return h
	}
	if len(a.hosts) >= maxHosts {
		for k, h := range a.hosts {
			h.fails.refill(now, failRate)
			h.enrols.refill(now, enrolRate)
			if h.open == 0 && h.fails.spent == 0 && h.enrols.spent == 0 {
				delete(a.hosts, k)
			}
		}
		for k, h := range a.hosts {
			if len(a.hosts) < maxHosts*3/4 { // many at once, or each newcomer would cost a search
				break
			}
			if h.open == 0 {
				delete(a.hosts, k)
			}
		}
	}
	h = &host{}
	a.hosts[addr] = h
	return h
}
