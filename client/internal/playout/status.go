package playout

import (
	"time"

	"dongthanh/internal/packet"
	"dongthanh/internal/seq"
)

// Status is what there is to tell of one transmission.
type Status struct {
	ID      packet.TransmissionID
	State   State
	Hearing bool // frames of it are sounding now
	Counts  Counts
	Highest seq.Index     // the newest packet that came; 0 before the first
	Arrival time.Duration // median from entry into the encoder to arrival
	Faults  uint64        // packets that libopus refused
}

// Status returns the stream's status.
func (p *Player) Status(s *Stream) Status {
	now := s.ledger.next
	var highest seq.Index
	if s.have > 0 {
		highest = s.index(s.have/s.frames - 1)
	}
	return Status{
		ID:      s.cert.Transmission,
		State:   s.state,
		Hearing: s.state == Sounding && s.active && s.heard >= 0 && now-s.heard <= hearingFrames,
		Counts:  s.ledger.counts,
		Highest: highest,
		Arrival: time.Duration(s.arrival() * float32(time.Millisecond)),
		Faults:  s.faults,
	}
}

// Summary is what there is to tell of the loudspeaker as a whole.
type Summary struct {
	Counts  Counts        // of all transmissions since the start
	Fault   time.Duration // what sounds now minus what should by network time; 0 in silence
	Stretch float64       // by how much the sound is stretched to follow drift, as a fraction
	Delay   time.Duration // from a sample's entry into the encoder to its sound, of what sounds; 0 in silence
	Synced  bool
}

// Summary returns the loudspeaker's own figures.
func (p *Player) Summary() Summary {
	t := Summary{Counts: p.total, Synced: p.moment.Synced && p.time.set}
	if !p.sounding {
		return t
	}
	t.Fault = time.Duration(p.time.fault)
	t.Stretch = p.time.now.ratio/nominal - 1
	for _, s := range p.streams {
		if s.state == Sounding && s.active {
			t.Delay = s.cert.Delay() + t.Fault
		}
	}
	return t
}

// OnAir reports whether a transmission is to be heard, now or as soon as there is something of it: not one that is over,
// nor one that is muted since nobody vouches for it any more.
func (p *Player) OnAir() bool {
	for _, s := range p.streams {
		if s.state != Ended && s.state != Muted {
			return true
		}
	}
	return false
}
