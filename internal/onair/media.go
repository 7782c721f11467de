package onair

import (
	"hash/maphash"
	"slices"

	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
)

// Verdict is what became of a media datagram.
type Verdict uint8

// The verdicts. All but Accepted, Held and Variant mean: drop it.
const (
	Accepted      Verdict = iota // new, and signed by the transmission's key
	Held                         // its certificate has not come yet; it comes back with Opened
	Variant                      // signed, but another copy with this index was accepted before: only the tag can differ
	Duplicate                    // byte for byte what was accepted before
	Old                          // behind the window
	Malformed                    // not a media packet
	NoCertificate                // waited for a certificate in vain, or found no room to wait
	Closed                       // the transmission has ended or was stopped
	WrongKey                     // level of the key zone, signing key or profile are not the certificate's
	WrongTime                    // the timestamp is not the one of its index, or lies far from network time
	Budget                       // too many forgeries from this upstream: not even checked
	BadSignature
	verdicts
)

var verdictNames = [verdicts]string{"accepted", "held", "variant", "duplicate", "old", "malformed", "no_certificate",
	"closed", "wrong_key", "wrong_time", "budget", "bad_signature"}

// String returns the verdict as metrics name it.
func (v Verdict) String() string { return verdictNames[v] }

// Verdicts lists all, for whoever exports counts.
func Verdicts() []Verdict {
	all := make([]Verdict, verdicts)
	for i := range all {
		all[i] = Verdict(i)
	}
	return all
}

// Count returns how many datagrams had verdict v since the start.
func (t *Table) Count(v Verdict) uint64 { return t.counts[v].Load() }

// Media judges a datagram that came from upstream number from. The packet is a view on raw; x is its transmission,
// nil unless the verdict is Accepted, Variant or Duplicate. It allocates nothing, and takes no lock that control code
// holds for longer than a few instructions.
//
// The order is: lookup, what the certificate says, window (read only), signature, window again, marked. A packet that
// fails a check changes nothing but a counter.
func (t *Table) Media(now Now, raw []byte, from int) (p packet.Packet, x *Transmission, v Verdict) {
	p, x, v = t.judge(now, raw, from)
	t.counts[v].Add(1)
	return p, x, v
}

func (t *Table) judge(now Now, raw []byte, from int) (packet.Packet, *Transmission, Verdict) {
	p, err := packet.Parse(raw)
	if err != nil {
		return packet.Packet{}, nil, Malformed
	}
	x := (*t.bySSRC.Load())[p.SSRC]
	if x == nil {
		var v Verdict
		if x, v = t.keep(now, raw, p.SSRC, from); x == nil {
			return p, nil, v
		}
	}
	if v := t.consistent(now, p, x); v != Accepted {
		return p, nil, v
	}
	sum := maphash.Bytes(t.seed, raw)
	v := x.look(p.Index, sum)
	if v != Accepted && v != Variant {
		return p, x, v
	}
	b := &t.budgets[min(from, len(t.budgets)-1)]
	if !b.take(now.Local, t.rate.Load()) {
		return p, nil, Budget
	}
	if !p.Verify(x.Cert.Key(), x.Cert.Transmission) {
		return p, nil, BadSignature
	}
	v = x.mark(now, p, sum)
	if v == Accepted {
		b.giveBack() // the streamer signs each index once: honest traffic never meets the budget
	}
	if v == Closed {
		return p, nil, v
	}
	return p, x, v
}

// keep holds a packet of an unknown transmission, unless its certificate has come this moment: open publishes the
// transmission before it takes what was held, so a second look under the hold's lock misses neither.
func (t *Table) keep(now Now, raw []byte, ssrc uint32, from int) (*Transmission, Verdict) {
	t.hold.mu.Lock()
	defer t.hold.mu.Unlock()
	if x := (*t.bySSRC.Load())[ssrc]; x != nil {
		return x, Accepted
	}
	return nil, t.hold.put(now.Local, raw, ssrc, from)
}

// consistent compares the packet with its certificate and with network time.
func (t *Table) consistent(now Now, p packet.Packet, x *Transmission) Verdict {
	c := &x.Cert
	level := c.KeyZone.Level()
	switch {
	case p.KeyID != 0, p.Clear && !t.clear, !p.Clear && p.MKI.Level() != level:
		return WrongKey
	case uint64(p.Index) < c.Index0, p.Timestamp != c.Timestamp(uint64(p.Index)):
		return WrongTime
	}
	if now.Synced {
		if off := now.Network.Sub(c.PlayAt(uint64(p.Index)).Add(-c.Delay())); off > MaxSkew || off < -MaxSkew {
			return WrongTime
		}
	}
	return Accepted
}

// look judges an index before the signature is checked; it changes nothing.
func (x *Transmission) look(i seq.Index, sum uint64) Verdict {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.judge(i, sum)
}

// judge is look under the lock.
func (x *Transmission) judge(i seq.Index, sum uint64) Verdict {
	switch {
	case x.closed || x.hasLast && i > x.last:
		return Closed
	case x.window.Fresh(i):
		return Accepted
	}
	if top, _ := x.window.Highest(); top-i >= seq.WindowSize {
		return Old
	}
	if x.sums[i%seq.WindowSize] == sum {
		return Duplicate
	}
	return Variant
}

// mark records a packet whose signature held. Another goroutine may have been first, hence the second look.
func (x *Transmission) mark(now Now, p packet.Packet, sum uint64) Verdict {
	x.mu.Lock()
	defer x.mu.Unlock()
	v := x.judge(p.Index, sum)
	if v != Accepted {
		return v
	}
	x.window.Mark(p.Index)
	x.sums[p.Index%seq.WindowSize] = sum
	x.heard = now.Local
	if p.Last {
		x.last, x.hasLast, x.lastAt = p.Index, true, now.Local
	}
	return Accepted
}

// Best returns of list the transmission that goes before all others among those accept agrees to; nil if there is
// none.
func Best(list []*Transmission, accept func(*Transmission) bool) *Transmission {
	list = slices.DeleteFunc(slices.Clone(list), func(x *Transmission) bool { return !accept(x) })
	if len(list) == 0 {
		return nil
	}
	return slices.MaxFunc(list, func(a, b *Transmission) int {
		if a.Cert.Outranks(b.Cert) {
			return 1
		}
		return -1
	})
}
