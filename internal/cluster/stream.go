package cluster

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"dongthanh/internal/control"
	"dongthanh/internal/fanout"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
	"dongthanh/internal/udp"
	"dongthanh/internal/zone"
)

// Transmission is a transmission on air, verified by the owner.
type Transmission struct {
	Cert   signed.SessionCert
	Raw    []byte // the certificate as it was signed
	Issuer []byte // the issuer's certificate, DER
}

// stream is a transmission that is fed to subscribers.
type stream struct {
	id   packet.TransmissionID
	ssrc uint32
	cert signed.SessionCert
	say  *control.Frame // the Session that announces it
	each time.Duration  // of sound in one packet
	ring *fanout.Ring

	// The media path's own.
	media   sync.Mutex    // orders those who bring media; nobody else takes it
	size    atomic.Uint64 // mean bytes of a packet × 16
	stopped atomic.Bool

	// Published by the publisher, read without a lock. Neither value ever changes.
	active atomic.Pointer[fanout.List] // whom media goes to
	all    atomic.Pointer[[]target]    // whom beacons and stops go to: standbys too

	asks asks

	// Guarded by Hub.mu.
	subs    map[*downstream]*subscription
	dirty   bool // the published lists are not those of subs
	beacons beacons
}

// target is where a flow's datagrams go.
type target struct {
	flow *udp.Flow[*downstream]
	path udp.Path
}

// subscription is one downstream's part in one stream.
type subscription struct {
	mu     sync.Mutex // guards budget
	budget fanout.Budget
}

func (h *Hub) newStream(t *Transmission) *stream {
	s := &stream{
		id: t.Cert.Transmission, ssrc: t.Cert.SSRC, cert: t.Cert,
		say:  h.frame(control.Message{Session: &control.Session{Cert: t.Raw, Issuer: t.Issuer}}),
		each: mediaclock.Samples(t.Cert.Packet).Duration(),
		subs: map[*downstream]*subscription{},
	}
	s.ring = fanout.NewRing(fanout.RingSpan, s.each)
	s.asks = newAsks(s.ring.Len())
	s.all.Store(&[]target{})
	var nobody fanout.List = noList{}
	s.active.Store(&nobody)
	return s
}

// noList is a list of nobody.
type noList struct{}

func (noList) Send([]byte) fanout.Result { return fanout.Result{} }
func (noList) Len() int                  { return 0 }

// rate is the stream's bytes a second, over the last packets.
func (s *stream) rate() float64 { return float64(s.size.Load()) / 16 / s.each.Seconds() }

// measure notes the size of a packet. Only the media path calls it.
func (s *stream) measure(n int) {
	mean := s.size.Load()
	if mean == 0 {
		mean = uint64(n) * 16
	}
	s.size.Store(mean - mean/16 + uint64(n))
}

// worth is how many packets the delay holds, at least one.
func (s *stream) worth() seq.Index {
	return seq.Index(max(1, (s.cert.Delay()+s.each-1)/s.each))
}

// exists reports whether the packet i was sent by the streamer as far as this node knows, and is recent enough to be
// asked for.
func (s *stream) exists(i, highest seq.Index) bool {
	newest, ok := s.ring.Newest()
	if !ok || highest > newest {
		newest = highest
	}
	return i <= newest && newest-i < seq.Index(s.ring.Len())
}

// Open announces a transmission to the downstreams it is meant for and begins to feed them. Opening it again changes
// nothing; one that was stopped stays closed.
func (h *Hub) Open(t *Transmission) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := packet.TransmissionID(t.Cert.Transmission)
	if h.open[id] != nil || h.wasStopped(id) {
		return
	}
	if len(h.open) >= maxStreams {
		h.m.drop(dropBusy)
		h.o.Log.Warn("transmission not fed: too many on air", slog.String("transmission", hex(id)))
		return
	}
	s := h.newStream(t)
	h.open[id] = s
	if other := (*h.streams.Load())[s.ssrc]; other != nil {
		// Once in 2^32; media can name only one of them.
		h.o.Log.Warn("two transmissions have one SSRC; the lower one is silent",
			slog.String("transmission", hex(id)), slog.String("other", hex(other.id)))
		if other.cert.Outranks(s.cert) {
			return
		}
	}
	h.publishStreams(func(m map[uint32]*stream) { m[s.ssrc] = s })
	for d := range h.downstreams() {
		h.subscribe(d, s)
	}
	// At once, not by the publisher's turn: a packet that came before it would reach nobody and be asked for by all.
	if engine := h.engine.Load(); engine != nil { // nil before Bind: then there is nobody to send to
		s.lists().publish(*engine)
	}
}

// Close ends a transmission: nothing of it is kept but the memory of a stop.
func (h *Hub) Close(id packet.TransmissionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.open[id]
	if s == nil {
		return
	}
	delete(h.open, id)
	h.publishStreams(func(m map[uint32]*stream) {
		if m[s.ssrc] == s {
			delete(m, s.ssrc)
		}
	})
	for d := range s.subs {
		delete(d.streams, s)
	}
}

// publishStreams replaces the table that the media path reads. The caller holds mu.
func (h *Hub) publishStreams(change func(map[uint32]*stream)) {
	m := maps.Clone(*h.streams.Load())
	change(m)
	h.streams.Store(&m)
}

// Media copies a verified packet into the ring and sends it to every active subscriber of its transmission. It
// allocates nothing, takes no lock that control code holds, and keeps nothing of p.
func (h *Hub) Media(p packet.Packet) {
	s := (*h.streams.Load())[p.SSRC]
	if s == nil {
		h.m.drop(dropUnknown)
		return
	}
	if s.stopped.Load() {
		h.m.drop(dropStopped)
		return
	}
	s.media.Lock()
	switch s.ring.Put(p.Index, p.Raw) {
	case fanout.Duplicate:
		s.media.Unlock()
		h.m.drop(dropDuplicate)
		return
	case fanout.Stale:
		s.media.Unlock()
		h.m.drop(dropStale)
		return
	}
	s.measure(len(p.Raw))
	r := (*s.active.Load()).Send(p.Raw)
	s.media.Unlock()
	h.m.sent.Add(float64(r.Sent))
	h.m.dropN(dropLate, r.Late)
	h.m.dropN(dropSend, r.Failed)
}

// subscribe enters d into s if the transmission is meant for a loudspeaker beneath d and it was not there before. The
// caller holds mu.
func (h *Hub) subscribe(d *downstream, s *stream) {
	if d.streams[s] || !d.hears(s.cert.Zones) {
		return
	}
	if !d.onAir() {
		d.onAirSince = h.clock.Now()
	}
	d.streams[s] = true
	s.subs[d] = &subscription{}
	if d.conn != nil && d.quota != 0 {
		h.send(d, s.say)
		d.quota = max(d.quota-1, unlimited)
	}
	if _, ok := d.flow.Path(); ok {
		h.touch(s)
		h.errand(errand{to: d, stream: s})
	}
}

// unsubscribe takes d out of s. The caller holds mu.
func (h *Hub) unsubscribe(d *downstream, s *stream) {
	delete(d.streams, s)
	delete(s.subs, d)
	h.touch(s)
}

// touch has s's lists built anew. The caller holds mu.
func (h *Hub) touch(s *stream) {
	s.dirty = true
	h.poke()
}

// hears reports whether one of zones holds a loudspeaker beneath d.
func (d *downstream) hears(zones []zone.Zone) bool {
	for _, z := range d.zones {
		if zone.AnyContains(zones, z) {
			return true
		}
	}
	for _, z := range d.inherited {
		if zone.AnyContains(zones, z) {
			return true
		}
	}
	return false
}

// onAir reports whether one of d's streams is on air. The caller holds mu.
func (d *downstream) onAir() bool {
	for s := range d.streams {
		if !s.stopped.Load() {
			return true
		}
	}
	return false
}
