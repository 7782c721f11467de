package loudspeaker

import (
	"dongthanh/client/internal/playout"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

// queueLen is how many arrivals wait for the device: 100 times what comes in a block, so that only a device that
// stands still fills it. Then the oldest go, the nearest to being too late.
const queueLen = 256

// arrivalKind tells what arrived.
type arrivalKind uint8

const (
	media  arrivalKind = iota
	beacon             // index is the newest packet sent
	badTag             // the packet's signature holds and its tag does not
	again              // one more copy of a packet
)

// arrival is what came from an upstream and passed every check.
type arrival struct {
	kind    arrivalKind
	last    bool
	stream  *playout.Stream
	index   seq.Index
	at      mediaclock.Local
	signed  mediaclock.Instant // beacon's time
	size    int
	payload [packet.MaxPayload]byte
}

// queue carries arrivals to the device. The arrivals themselves go round, so that nothing is allocated.
type queue struct {
	free, full chan *arrival
}

func newQueue() *queue {
	q := &queue{free: make(chan *arrival, queueLen), full: make(chan *arrival, queueLen)}
	for range queueLen {
		q.free <- new(arrival)
	}
	return q
}

// get returns an arrival to be filled, the oldest that waits if none is free; dropped says so. It is nil only if all
// are being filled.
func (q *queue) get() (a *arrival, dropped bool) {
	select {
	case a = <-q.free:
		return a, false
	default:
	}
	select {
	case a = <-q.full:
		return a, true
	default:
		return nil, false
	}
}

// put hands a to the device. There is room for all arrivals there are.
func (q *queue) put(a *arrival) { q.full <- a }

// back returns an arrival that is done with.
func (q *queue) back(a *arrival) {
	a.stream = nil
	q.free <- a
}

// media takes a media datagram: tag, then signature and window (in the table), then to playout. It is called from the
// goroutine that reads the socket of upstream from.
func (l *Loudspeaker) media(raw []byte, at mediaclock.Local, from int) {
	p, err := packet.Parse(raw)
	if err != nil || p.Clear {
		l.table.Media(l.now(at), raw, from) // counts it
		return
	}
	e := (*l.entries.Load())[p.SSRC]
	if e == nil {
		if _, x, v := l.table.Media(l.now(at), raw, from); v == onair.Accepted && l.meant(x) {
			l.reject(tooLate) // its sound is over
		} else if v == onair.Accepted {
			l.reject(otherZone)
		}
		return
	}
	key := e.key(p.MKI.Epoch())
	if key == nil {
		l.reject(noKey) // not marked as seen: it is asked for again when the key has come
		return
	}
	a := l.slot()
	if a == nil {
		return
	}
	plain, tagFault := key.Open(a.payload[:0], p.Head(), p.Sealed(), p.SSRC, p.Index)
	_, x, v := l.table.Media(l.now(at), raw, from)
	if x != e.on || v != onair.Accepted && v != onair.Variant && v != onair.Duplicate {
		l.queue.back(a)
		return
	}
	a.kind, a.stream, a.index, a.at, a.last, a.size = media, e.stream, p.Index, at, p.Last, len(plain)
	if v == onair.Duplicate {
		a.kind = again
	} else if tagFault != nil { // a relay altered it: its upstream's copy, and those of others, are asked for
		l.reject(wrongTag)
		a.kind = badTag
	}
	l.queue.put(a)
}

// slot returns room in the queue for one arrival, nil if there is none; what is lost for it is counted.
func (l *Loudspeaker) slot() *arrival {
	a, dropped := l.queue.get()
	if dropped {
		l.reject(overflow)
	}
	if a == nil {
		l.reject(overflow)
	}
	return a
}

// beacon takes a beacon.
func (l *Loudspeaker) beacon(b wire.BeaconBody, _ []byte, at mediaclock.Local, from int) {
	x, events := l.table.Beacon(l.now(at), b, from)
	l.handle(events)
	if x == nil {
		return
	}
	l.links.Signed(b.At, at)
	e := (*l.entries.Load())[x.Cert.SSRC]
	if e == nil || e.on != x {
		return
	}
	a := l.slot()
	if a == nil {
		return
	}
	a.kind, a.stream, a.index, a.at, a.signed, a.size = beacon, e.stream, b.Highest, at, b.At, 0
	l.queue.put(a)
}

// deliver hands an arrival to playout; the device's goroutine calls it.
func (l *Loudspeaker) deliver(a *arrival) {
	switch a.kind {
	case beacon:
		l.player.Beacon(a.stream, a.signed, a.index, a.at)
	case again:
		l.player.Again(a.stream, a.index)
	case badTag:
		l.player.BadTag(a.stream, a.index)
	default:
		switch l.player.Packet(a.stream, a.index, a.payload[:a.size], a.last, a.at) {
		case playout.Late:
			l.reject(tooLate)
		case playout.Ahead:
			l.reject(tooEarly)
		}
	}
}
