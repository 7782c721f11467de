package node

import (
	"context"
	"sync"
	"time"

	"dongthanh/internal/cluster"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/onair"
	"dongthanh/internal/repair"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

const (
	lookOnAir = 10 * time.Millisecond // package repair's pace
	lookIdle  = 250 * time.Millisecond
	tableLook = 100 * time.Millisecond
	// spare is how long before a packet is due at the loudspeakers it must be here: the way down, with one repair.
	spare = 60 * time.Millisecond
)

// repairs asks upstream for what a transmission misses, once for all downstreams.
type repairs struct {
	x *onair.Transmission

	mu      sync.Mutex      // guards all below; held for microseconds
	tracker *repair.Tracker // nil before it is known where to begin
	silent  bool            // no beacons: the streamer is gone, and asking is vain
}

// opening makes everything ready for a transmission's packets, before the first is accepted; again when it comes back
// after a long silence.
func (n *Node) opening(x *onair.Transmission) {
	if r := (*n.repairs.Load())[x.Cert.SSRC]; r != nil && r.x == x {
		return
	}
	n.hub.Open(&cluster.Transmission{Cert: x.Cert, Raw: x.Raw, Issuer: x.Issuer.DER})
	r := &repairs{x: x}
	if at, _, ok := n.links.Now(); ok {
		r.begin(indexAt(x, at.Add(-x.Cert.Delay())))
	}
	n.changeRepairs(func(m map[uint32]*repairs) { m[x.Cert.SSRC] = r })
}

// changeRepairs publishes an altered copy of the map.
func (n *Node) changeRepairs(change func(map[uint32]*repairs)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := map[uint32]*repairs{}
	for k, r := range *n.repairs.Load() {
		m[k] = r
	}
	change(m)
	n.repairs.Store(&m)
}

// indexAt is the packet that enters the encoder at a moment of network time, the first one before that.
func indexAt(x *onair.Transmission, at mediaclock.Instant) seq.Index {
	first := seq.Index(x.Cert.Index0)
	since := at.Sub(x.Cert.T0)
	if since <= 0 {
		return first
	}
	return first + seq.Index(mediaclock.SamplesIn(since)/mediaclock.Samples(x.Cert.Packet))
}

// begin starts the tracker at the first packet that matters. The caller holds mu, or nobody else knows r.
func (r *repairs) begin(first seq.Index) {
	first = max(first, seq.Index(r.x.Cert.Index0))
	r.tracker = repair.New(first, mediaclock.Samples(r.x.Cert.Packet).Duration())
}

// worth is how many packets the delay holds.
func (r *repairs) worth() seq.Index {
	return seq.Index(mediaclock.SamplesIn(r.x.Cert.Delay()) / mediaclock.Samples(r.x.Cert.Packet))
}

// before is the index that lies back packets before i, at least 0.
func before(i, back seq.Index) seq.Index {
	if i < back {
		return 0
	}
	return i - back
}

// arrived notes an accepted packet and its deadline.
func (r *repairs) arrived(i seq.Index, last bool, now mediaclock.Local, due mediaclock.Local) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tracker == nil {
		r.begin(before(i, r.worth()))
	}
	r.tracker.Due(i, due)
	r.tracker.Arrived(i, now)
	if last {
		r.tracker.Ends(i)
	}
}

// exists notes how far the streamer says it has come.
func (r *repairs) exists(i seq.Index, now mediaclock.Local) {
	if i < seq.Index(r.x.Cert.Index0) {
		return // nothing was sent yet
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tracker == nil {
		r.begin(before(i, r.worth()))
	}
	r.tracker.Exists(i, now)
}

func (r *repairs) setSilent(silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = silent
}

// asks returns what is to be asked for now.
func (r *repairs) asks(now mediaclock.Local, rtt time.Duration, dst []repair.Ask) (asks []repair.Ask, from seq.Index, stalled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tracker == nil || r.silent {
		return dst, 0, false
	}
	asks = r.tracker.Asks(now, rtt, dst)
	from, stalled = r.tracker.Stalled(now)
	return asks, from, stalled
}

// media takes a datagram of sound from an upstream: checked once, then copied to all. It allocates nothing for a packet
// that is accepted.
func (n *Node) media(raw []byte, at mediaclock.Local, from int) {
	n.hub.Received(1)
	now := n.now(at)
	p, x, v := n.table.Media(now, raw, from)
	switch v {
	case onair.Accepted:
		n.hub.Media(p)
		if r := (*n.repairs.Load())[p.SSRC]; r != nil {
			r.arrived(p.Index, p.Last, at, dueHere(x, p.Index, now))
		}
	case onair.Variant:
		n.hub.Media(p) // it takes a copy with another tag only where a loudspeaker complained of the one before
	case onair.Held:
	default:
		n.hub.Dropped(v.String())
	}
}

// dueHere is when packet i must be here to be heard, by the node's own clock.
func dueHere(x *onair.Transmission, i seq.Index, now onair.Now) mediaclock.Local {
	if !now.Synced {
		return now.Local.Add(x.Cert.Delay() - spare)
	}
	return now.Local.Add(x.Cert.PlayAt(uint64(i)).Sub(now.Network) - spare)
}

// keep looks after what time alone changes, until ctx ends.
func (n *Node) keep(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tabled mediaclock.Local
	var asks [8]repair.Ask
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case <-n.onAir:
		}
		n.pulse.Beat()
		now := n.mono.Now()
		if now.Sub(tabled) >= tableLook || tabled == 0 {
			tabled = now
			n.act(n.table.Tick(n.now(now)))
			n.links.OnAir(len(n.table.OnAir()) > 0)
		}
		open := *n.repairs.Load()
		rtt := n.links.RTT()
		for ssrc, r := range open {
			n.ask(ssrc, r, now, rtt, asks[:0])
		}
		if len(open) > 0 {
			timer.Reset(lookOnAir)
		} else {
			timer.Reset(lookIdle)
		}
	}
}

// ask sends what one transmission misses.
func (n *Node) ask(ssrc uint32, r *repairs, now mediaclock.Local, rtt time.Duration, room []repair.Ask) {
	asks, from, stalled := r.asks(now, rtt, room)
	for _, a := range asks {
		n.links.Nack(wire.NackBody{SSRC: ssrc, Base: a.Base, Bitmap: a.Bitmap, Reason: a.Reason}, a.Both)
	}
	if stalled {
		n.links.Resume(wire.ResumeBody{SSRC: ssrc, From: from})
	}
}

// look makes keep run at once.
func (n *Node) look() {
	select {
	case n.onAir <- struct{}{}:
	default:
	}
}
