package cluster

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
	"dongthanh/internal/udp"
	"dongthanh/internal/wire"
)

// readFaults in a row, each a millisecond apart, end the node: the socket is broken for good.
const readFaults = 1000

// read takes the datagrams of one family until the socket is closed.
func (h *Hub) read(s *udp.Socket, family int) error {
	in := make([]byte, 2*wire.MaxLen) // what fills it is too long to be ours
	r := reader{hub: h}
	faults := 0
	for {
		n, path, err := s.Read(family, in)
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			h.faults.Add(err)
			if faults++; faults > readFaults {
				return err
			}
			time.Sleep(time.Millisecond)
			continue
		}
		faults = 0
		t2 := r.now()
		r.datagram(in[:n], path, t2)
	}
}

// reader is what one reading goroutine needs.
type reader struct {
	hub   *Hub
	out   [wire.MaxLen]byte // an answer
	again [packet.MaxLen]byte
}

// stamp is a reading of network time.
type stamp struct {
	at     mediaclock.Instant
	errNS  uint32
	synced bool
}

func (r *reader) now() stamp {
	at, errNS, synced := r.hub.o.Clock()
	return stamp{at, errNS, synced}
}

// datagram handles one datagram, which came at t2.
func (r *reader) datagram(b []byte, path udp.Path, t2 stamp) {
	h := r.hub
	now := h.clock.Now()
	h.mu.Lock()
	e, drop := h.flows.Receive(now, path, b)
	if drop != "" {
		h.mu.Unlock()
		h.m.drop(string(drop))
		return
	}
	d := e.Flow.Owner
	if e.Bound {
		h.moved(d)
	}
	if e.Switched {
		h.switched(d)
	}
	if e.Type == wire.Report {
		h.report(bytes.Clone(e.Body))
	}
	home, bound := d.flow.Path()
	h.mu.Unlock()

	if e.Challenge {
		r.answer(e.Flow, wire.Challenge, e.Cookie[:], path)
	}
	if e.Pong {
		r.pong(e, path, t2, bound && home == path)
	}
	switch e.Type {
	case wire.Nack:
		if n, err := wire.ParseNack(e.Body); err == nil {
			r.nack(d, n, path, now)
		} else {
			h.m.drop(string(udp.DropMalformed))
		}
	case wire.Resume:
		if q, err := wire.ParseResume(e.Body); err == nil {
			h.resume(d, q, now)
		}
	}
}

// answer sends a datagram of the flow to path.
func (r *reader) answer(f *udp.Flow[*downstream], t wire.Type, body []byte, path udp.Path) {
	r.hub.write(f.Append(r.out[:0], t, body), path)
}

// pong answers a ping. T3 is read as late as can be: what follows is one hash and the system call.
func (r *reader) pong(e udp.Event[*downstream], path udp.Path, t2 stamp, bound bool) {
	var body [64]byte
	p := wire.PongBody{T1: e.Ping.T1, T2: t2.at, Synced: t2.synced, Bound: bound, ErrorNS: t2.errNS, Observed: path.Remote}
	t3 := r.now()
	p.T3, p.Synced = t3.at, t3.synced && t2.synced
	r.answer(e.Flow, wire.Pong, p.Append(body[:0]), path)
}

// write sends one datagram and counts what the system refuses.
func (h *Hub) write(b []byte, path udp.Path) bool {
	if err := h.socket.Load().Write(b, path); err != nil {
		if !errors.Is(err, net.ErrClosed) {
			h.m.drop(dropSend)
			h.faults.Add(err)
		}
		return false
	}
	return true
}

// tell sends a datagram to where d is proved to be, if it is.
func (h *Hub) tell(d *downstream, t wire.Type, body, buf []byte) {
	h.mu.Lock()
	path, ok := d.flow.Path()
	h.mu.Unlock()
	if ok {
		h.write(d.flow.Append(buf[:0], t, body), path)
	}
}

// again sends a packet once more, within the subscriber's budget. It reports whether there is budget left.
func (h *Hub) again(sub *subscription, s *stream, path udp.Path, b []byte, now mediaclock.Local) bool {
	sub.mu.Lock()
	ok := sub.budget.Take(now, len(b), s.rate(), s.cert.Delay())
	sub.mu.Unlock()
	if !ok {
		h.m.drop(dropBudget)
		return false
	}
	if h.write(b, path) {
		h.m.resent.Inc()
		h.m.sent.Inc()
	}
	return true
}

// nack answers a NACK from the ring with the same bytes. What the ring does not hold, or holds in a copy that a
// loudspeaker found altered, is asked for upstream, once for all.
func (r *reader) nack(d *downstream, n wire.NackBody, path udp.Path, now mediaclock.Local) {
	h := r.hub
	s := (*h.streams.Load())[n.SSRC]
	if s == nil || s.stopped.Load() {
		h.m.drop(dropUnknown)
		return
	}
	h.mu.Lock()
	sub := s.subs[d]
	highest := s.beacons.highest
	h.mu.Unlock()
	if sub == nil {
		h.m.drop(dropUnknown)
		return
	}
	ask := wire.NackBody{SSRC: n.SSRC, Base: n.Base, Reason: n.Reason}
	affordable := true
	for bit := range seq.Index(64) {
		i := n.Base + bit
		if n.Bitmap>>bit&1 == 0 {
			continue
		}
		if !s.exists(i, highest) {
			h.m.drop(dropAbsent)
			continue
		}
		b, held := s.ring.Append(r.again[:0], i)
		useful := held
		if n.Reason == wire.BadTag {
			// Who asks has the copy that this node passed on; only one that replaced it is of use.
			useful = s.ring.Suspect(i)
		}
		if (!held || n.Reason == wire.BadTag) && s.asks.allow(i, now) {
			ask.Bitmap |= 1 << bit
		}
		if !held {
			h.m.drop(dropAbsent)
		} else if useful && affordable {
			affordable = h.again(sub, s, path, b, now) // if not, the rest waits for its next NACK
		}
	}
	if ask.Bitmap != 0 {
		h.o.Up.Nack(ask)
	}
}

// askGap is the least time between two requests upstream for one packet: the round trip to an upstream and a little.
const askGap = 100 * time.Millisecond

// asks remembers what was asked for upstream, by ring slot, so that many downstreams that miss one packet cost one
// request.
type asks struct {
	mu    *sync.Mutex
	slots []ask
}

type ask struct {
	index seq.Index
	at    mediaclock.Local
	used  bool
}

func newAsks(n int) asks { return asks{mu: &sync.Mutex{}, slots: make([]ask, n)} }

func (a asks) allow(i seq.Index, now mediaclock.Local) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.slots[uint64(i)%uint64(len(a.slots))]
	if s.used && s.index == i && now.Sub(s.at) < askGap {
		return false
	}
	*s = ask{index: i, at: now, used: true}
	return true
}

// resume queues the answer to a RESUME, behind the list in which the flow is active.
func (h *Hub) resume(d *downstream, q wire.ResumeBody, now mediaclock.Local) {
	s := (*h.streams.Load())[q.SSRC]
	if s == nil || s.stopped.Load() {
		h.m.drop(dropUnknown)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	sub := s.subs[d]
	if sub == nil {
		h.m.drop(dropUnknown)
		return
	}
	sub.mu.Lock()
	ok := sub.budget.Resume(now)
	sub.mu.Unlock()
	if !ok {
		h.m.drop(dropResume)
		return
	}
	h.errand(errand{to: d, stream: s, resume: true, from: q.From})
}

// report queues a report to go up; the oldest is lost when there are too many. The caller holds mu.
func (h *Hub) report(raw []byte) {
	if len(h.reports) >= maxReports {
		h.reports = h.reports[1:]
		h.m.drop(dropReport)
	}
	h.reports = append(h.reports, raw)
}

// newCookie draws a challenge.
func newCookie() (c wire.Cookie) {
	_, _ = rand.Read(c[:]) // never fails (crypto/rand)
	return c
}

// newFlowID draws a flow's name.
func newFlowID() (f wire.FlowID) {
	_, _ = rand.Read(f[:])
	return f
}

func hex(id packet.TransmissionID) string { return fmt.Sprintf("%x", id[:]) }
