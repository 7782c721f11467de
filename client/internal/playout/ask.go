package playout

import (
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

const (
	// noMedia is how long after a certificate, or after its first packet should have come, a RESUME is due.
	noMedia     = 150 * time.Millisecond
	resumeEvery = 500 * time.Millisecond
)

// ask finds what is missing, for every stream that may sound.
func (p *Player) ask() {
	p.requests, p.resumes = p.requests[:0], p.resumes[:0]
	if !p.time.set || !p.moment.Synced {
		return
	}
	for _, s := range p.streams {
		if s.stopping || s.stale || s.state == Ended || s.state == Outranked {
			continue
		}
		if from, ok := p.stalled(s); ok {
			p.resumes = append(p.resumes, wire.ResumeBody{SSRC: s.cert.SSRC, From: from})
		}
		if s.track == nil || s.state == Muted {
			continue
		}
		k := s.ledger.next / s.frames
		s.track.Due(s.index(k), p.moment.Now.Add(s.due(k*int64(s.cert.Packet)).Sub(p.moment.Network)-p.lead))
		p.asks = s.track.Asks(p.moment.Now, p.rtt, p.asks[:0])
		for _, a := range p.asks {
			if len(p.requests) < cap(p.requests) {
				p.requests = append(p.requests, Request{s.cert.SSRC, a})
			}
		}
	}
}

// stalled reports whether s dried up, or never began to flow although its certificate came and its sound is being
// sent, and from where it should go on.
func (p *Player) stalled(s *Stream) (from seq.Index, yes bool) {
	now := p.moment.Now
	if s.have > 0 {
		if s.track == nil {
			return 0, false
		}
		return s.track.Stalled(now)
	}
	if !s.seen {
		s.seen, s.opened = true, now
	}
	packet := mediaclock.Samples(s.cert.Packet).Duration()
	if p.moment.Network.Sub(s.cert.T0) < packet+noMedia || now.Sub(s.opened) < noMedia {
		return 0, false
	}
	s.opened = now.Add(resumeEvery - noMedia)
	x := s.place(p.time.ref, float64(p.moment.Network-p.time.ref))
	return s.index(max(0, (floor(x)-half)/int64(s.cert.Packet)+1)), true
}
