package accounts

import (
	"net/netip"
	"time"
)

// How failed sign-ins slow down (facts/reliability.md §2.4). There is no hard lock-out: whoever could lock the officer
// on duty out could silence an emergency.
const (
	addrFailures = 10 // from one address …
	addrWindow   = time.Minute

	pairFailures = 10 // for one name from one address …
	pairWindow   = 15 * time.Minute
	// … and then each further failure doubles the wait, from one second to this. Taste: nobody on duty waits longer.
	maxWait = time.Minute

	// most bounds the names and addresses remembered. When full the one whose last failure is oldest is forgotten.
	most = 10_000
	// longest bounds the failures remembered for one of them: the wait is at its maximum long before.
	longest = 32
)

// throttle decides whether an attempt may be made. It is pure; Accounts guards it.
type throttle struct {
	addrs map[netip.Prefix][]time.Time // failures, oldest first
	pairs map[pair][]time.Time
}

type pair struct {
	name string // folded
	addr netip.Prefix
}

func newThrottle() *throttle {
	return &throttle{addrs: map[netip.Prefix][]time.Time{}, pairs: map[pair][]time.Time{}}
}

// network is what counts as one address: a whole /64 of IPv6, which one household has.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // the invalid address: all unknown callers share one budget
	}
	return p
}

// begin returns 0 and counts the attempt as failed, until succeed or forgive takes it back; or it returns how long to
// wait and counts nothing. Counting at once keeps parallel attempts within the budget.
func (t *throttle) begin(now time.Time, p pair) time.Duration {
	addr := recent(t.addrs[p.addr], now.Add(-addrWindow))
	pairs := recent(t.pairs[p], now.Add(-pairWindow))
	var wait time.Duration
	if len(addr) >= addrFailures {
		wait = addr[len(addr)-addrFailures].Add(addrWindow).Sub(now)
	}
	if n := len(pairs); n >= pairFailures {
		delay := min(time.Second<<min(n-pairFailures, 30), maxWait)
		wait = max(wait, pairs[n-1].Add(delay).Sub(now))
	}
	if wait > 0 {
		return wait
	}
	add(t.addrs, p.addr, addr, now, addrWindow)
	add(t.pairs, p, pairs, now, pairWindow)
	return 0
}

// succeed takes back the attempt that began at the given time, and forgets the failures of that name from that address.
// Those of the address stay, or one good account would let its owner try others without limit.
func (t *throttle) succeed(began time.Time, p pair) {
	t.forgive(began, p)
	delete(t.pairs, p)
}

// forgive takes back one attempt that could not be judged.
func (t *throttle) forgive(began time.Time, p pair) {
	takeBack(t.addrs, p.addr, began)
	takeBack(t.pairs, p, began)
}

// recent returns the times after the given one.
func recent(times []time.Time, after time.Time) []time.Time {
	for len(times) > 0 && !times[0].After(after) {
		times = times[1:]
	}
	return times
}

func add[K comparable](m map[K][]time.Time, key K, times []time.Time, now time.Time, window time.Duration) {
	if _, known := m[key]; !known && len(m) >= most {
		makeRoom(m, now.Add(-window))
	}
	if len(times) >= longest {
		times = times[len(times)-longest+1:]
	}
	m[key] = append(append(make([]time.Time, 0, len(times)+1), times...), now)
}

// makeRoom forgets all keys without a recent failure, and if there is none the one whose last failure is oldest.
func makeRoom[K comparable](m map[K][]time.Time, after time.Time) {
	var oldest K
	var last time.Time
	for key, times := range m {
		switch end := times[len(times)-1]; {
		case !end.After(after):
			delete(m, key)
		case last.IsZero() || end.Before(last):
			oldest, last = key, end
		}
	}
	if len(m) >= most {
		delete(m, oldest)
	}
}

func takeBack[K comparable](m map[K][]time.Time, key K, began time.Time) {
	times := m[key]
	for i, x := range times {
		if x.Equal(began) {
			times = append(times[:i:i], times[i+1:]...)
			break
		}
	}
	if len(times) == 0 {
		delete(m, key)
	} else {
		m[key] = times
	}
}
