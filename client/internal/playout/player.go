// Package playout decides what a loudspeaker sounds and when: it holds a jitter buffer for each transmission, chooses
// the one that has the right to be heard, decodes it, conceals what never came, and puts each sample at its instant
// of network time on a device whose crystal runs as it likes.
//
// It is pure: no clock, goroutine, socket or log. Packets, beacons, orders and blocks to fill are handed in with the
// time, from one goroutine at a time; what is to be asked for again comes out. It knows nothing of the device but how
// many samples it has played at what moment. Nothing on the path of a packet or a block allocates.
package playout

import (
	"time"

	"dongthanh/internal/mediaclock"
	"dongthanh/internal/repair"
	"dongthanh/internal/seq"
	"dongthanh/internal/wire"
)

// MaxStreams is how many transmissions a Player holds at once. Beyond that the lowest in rank makes room.
const MaxStreams = 16

// chunk is how many samples are mixed at once.
const chunk = 480

// Request is what an upstream is to be asked for.
type Request struct {
	SSRC uint32
	repair.Ask
}

// Player fills the blocks of one device. Not safe for concurrent use.
type Player struct {
	sinc     sinc
	time     timeline
	streams  []*Stream
	total    Counts
	sounding bool          // in the block before
	lead     time.Duration // from the moment of a Fill to when its block has sounded
	moment   Moment
	rtt      time.Duration
	expected int64 // first sample of the next block
	started  bool

	requests []Request
	resumes  []wire.ResumeBody
	asks     []repair.Ask
	mix      [chunk]float32
	old      [chunk]float32
	source   [chunk + 2*taps]float32
}

// New returns a Player with nothing to play.
func New() *Player { return newPlayer(newSinc()) }

func newPlayer(table sinc) *Player {
	return &Player{
		sinc:     table,
		streams:  make([]*Stream, 0, MaxStreams),
		requests: make([]Request, 0, MaxStreams*4),
		resumes:  make([]wire.ResumeBody, 0, MaxStreams),
		asks:     make([]repair.Ask, 0, 4),
	}
}

// Open takes a transmission on. It returns the stream that had to make room, which may be s itself; nil if none.
func (p *Player) Open(s *Stream) (refused *Stream) {
	s.ledger.total = &p.total
	if len(p.streams) < MaxStreams {
		p.streams = append(p.streams, s)
		return nil
	}
	worst := 0
	for i, o := range p.streams {
		if o.state == Ended {
			worst = i
			break
		}
		if p.streams[worst].cert.Outranks(o.cert) {
			worst = i
		}
	}
	if w := p.streams[worst]; w.state == Ended || s.cert.Outranks(w.cert) {
		p.finish(w)
		p.streams[worst] = s
		return w
	}
	s.state = Ended
	return s
}

// Close forgets a stream: its sound stops with a step if it is still on, so Stop it first and wait for Ended.
func (p *Player) Close(s *Stream) {
	p.finish(s)
	for i, o := range p.streams {
		if o == s {
			p.streams = append(p.streams[:i], p.streams[i+1:]...)
			return
		}
	}
}

// Stop ends a stream for good: it fades out within 10 ms from the next block on.
func (p *Player) Stop(s *Stream) {
	s.stopping = true
	if !s.active {
		p.finish(s)
	}
}

// Packet takes the Opus packet with index i, which passed every check and arrived at the moment at. payload is
// copied. last marks the transmission's last packet.
func (p *Player) Packet(s *Stream, i seq.Index, payload []byte, last bool, at mediaclock.Local) Verdict {
	v := s.put(i, payload, last, at)
	if v == Stored && p.moment.Synced {
		s.delay(i, p.moment.Network.Add(at.Sub(p.moment.Now)))
	}
	return v
}

// Again records one more copy of packet i, by which it may turn out that the first came by itself.
func (p *Player) Again(s *Stream, i seq.Index) {
	if s.track == nil || !s.track.Again(i) {
		return
	}
	if k, ok := s.number(i); ok {
		if slot := s.buf.get(k); slot != nil {
			slot.repaired = false
		}
	}
}

// BadTag records that packet i came with a signature that holds and a tag that does not.
func (p *Player) BadTag(s *Stream, i seq.Index) {
	if s.track != nil {
		s.track.BadTag(i)
	}
}

// Beacon takes what a verified beacon says: its time, and the newest packet sent.
func (p *Player) Beacon(s *Stream, at mediaclock.Instant, highest seq.Index, now mediaclock.Local) {
	s.beacon(at, highest, now)
}

// RoundTrip tells the round trip to the upstream that requests go to.
func (p *Player) RoundTrip(rtt time.Duration) { p.rtt = rtt }

// Requests returns what to ask for now, as the last Fill found it; it holds until the next.
func (p *Player) Requests() []Request { return p.requests }

// Resumes returns which transmissions dried up, as the last Fill found it, and where to go on; it holds until the next.
func (p *Player) Resumes() []wire.ResumeBody { return p.resumes }

// Fill writes the block of device samples that begins with first to pcm. An empty pcm lets time pass while nothing can
// sound: what is due counts as unheard.
func (p *Player) Fill(pcm []int16, first int64, m Moment) {
	gap := p.started && first != p.expected // the device ran dry: what it skipped did not sound
	p.expected, p.started = first+int64(len(pcm)), true
	before, jumped := p.time.step(first, len(pcm), m, p.sounding)
	p.moment = m
	p.lead = mediaclock.Samples(p.expected - m.Played + half).Duration()
	if gap {
		p.restart()
	}
	if len(pcm) == 0 && p.time.set {
		p.choose(p.time.now, first, 0)
	}
	for n := 0; n < len(pcm); n += chunk {
		part := pcm[n:min(n+chunk, len(pcm))]
		at := first + int64(n)
		clear(p.mix[:])
		if p.time.set {
			fade := jumped && n == 0
			if fade {
				clear(p.old[:])
				p.render(p.old[:len(part)], before, at)
			}
			p.choose(p.time.now, at, len(part))
			p.render(p.mix[:len(part)], p.time.now, at)
			if fade {
				p.crossfade(len(part))
			}
		}
		for i := range part {
			part[i] = clip(p.mix[i])
		}
	}
	p.sounding = false
	for _, s := range p.streams {
		p.sounding = p.sounding || s.active && len(pcm) > 0
	}
	p.ask()
}

// choose gives each stream its state: of those that have something to say, the highest in rank sounds. The block
// begins with device sample at and has n samples.
func (p *Player) choose(m mapping, at int64, n int) {
	var best *Stream
	now := p.time.ref.Add(time.Duration(m.of(at)))
	for _, s := range p.streams {
		if s.state == Ended {
			continue
		}
		s.state = p.judge(s, now, s.place(p.time.ref, m.of(at)), n)
		if s.state == Sounding && (best == nil || s.cert.Outranks(best.cert)) {
			best = s
		}
	}
	for _, s := range p.streams {
		if s.state == Ended {
			continue
		}
		if s.state == Sounding && s != best {
			s.state = Outranked
		}
		p.steer(s, s.place(p.time.ref, m.of(at)), best == nil && !s.stale)
	}
}

// judge tells whether a stream has something to say at the instant now, when its decoded sample x is due.
func (p *Player) judge(s *Stream, now mediaclock.Instant, x float64, n int) State {
	s.resolve(x)
	if s.fresh == 0 {
		s.fresh = now // a certificate by control counts as the first beacon
	}
	second := now.Time().Unix()
	if second > s.cert.NotAfter {
		s.stopping = true
	}
	s.stale = now.Sub(s.fresh) > silence
	switch {
	case s.stopping, second < s.cert.NotBefore, s.start < 0, s.have == 0, x+float64(n) < float64(s.start*frame):
		return Waiting
	case s.stale:
		return Muted
	case s.have*frame <= int64(x) && p.moment.Now.Sub(s.arrived) > silence:
		return Muted
	}
	return Sounding
}

// steer starts, stops or skips a stream as its state asks. x is the decoded sample due at the block's beginning;
// counted says that frames which pass unheard count as missing.
func (p *Player) steer(s *Stream, x float64, counted bool) {
	need := floor(x) - half // the lowest sample that matters
	switch {
	case s.state == Sounding:
		s.target = 1
		if !s.active || need/frame > s.ledger.next || x+chunk < float64(s.lo) && s.hi > s.lo { // new, or time leapt
			s.lapse(need/frame, true)
			s.activate(x)
		}
	case s.active:
		s.target = 0
		if s.gain == 0 {
			s.active = false
		}
	case s.start >= 0 && !s.stopping:
		s.lapse(need/frame, counted)
	}
	if s.stopping && !s.active || s.end >= 0 && need >= s.tail {
		p.finish(s)
		return
	}
	if s.start >= 0 {
		s.ledger.settle(need/frame-settleFrames, s.known, false)
	}
}

// finish ends a stream for good and gives every frame its result.
func (p *Player) finish(s *Stream) {
	if s.state == Ended {
		return
	}
	s.state, s.active, s.gain, s.target = Ended, false, 0, 0
	known := s.known
	if s.end >= 0 {
		known = min(known, s.end)
	}
	s.ledger.settle(s.ledger.next, known, true)
}

// restart makes everything fade in anew after a hole in the device's time.
func (p *Player) restart() {
	for _, s := range p.streams {
		if s.active {
			s.gain = 0
		}
	}
}

// crossfade leads the first n samples from the sound by the mapping before to that by the one now.
func (p *Player) crossfade(n int) {
	for i := range n {
		w := (float32(i) + 0.5) / float32(n)
		p.mix[i] = p.mix[i]*w + p.old[i]*(1-w)
	}
}

// render adds all active streams to mix, which begins with device sample at.
func (p *Player) render(mix []float32, m mapping, at int64) {
	for _, s := range p.streams {
		if s.active {
			p.voice(mix, s, s.place(p.time.ref, m.of(at)), m.ratio/nominal)
		}
	}
}

// voice adds one stream to mix: the decoded sample x at the beginning, and step samples more at each one.
func (p *Player) voice(mix []float32, s *Stream, x, step float64) {
	low := floor(x) - (half - 1)
	top := floor(x+step*float64(len(mix))) + half + 1
	s.produce(top)
	src := p.source[:min(top-low, int64(len(p.source)))]
	for i := range src {
		src[i] = 0
		if d := low + int64(i); d >= s.lo && d < s.hi {
			src[i] = s.pcm[d%history]
		}
	}
	for i := range mix {
		at := x + step*float64(i)
		g := s.gain
		if s.gain != s.target {
			s.gain = approach(s.gain, s.target)
		}
		if s.head >= 0 {
			g *= slope(at - float64(s.head))
		}
		if s.end >= 0 {
			g *= slope(float64(s.tail) - at)
		}
		if g == 0 {
			continue
		}
		whole := floor(at)
		j := whole - (half - 1) - low
		mix[i] += g * p.sinc.at(src[j:j+taps], at-float64(whole))
	}
}

// slope is the level d samples inside an edge of the sound.
func slope(d float64) float32 { return float32(min(1, max(0, d/edge))) }

// approach moves a gain one sample towards its target.
func approach(gain, target float32) float32 {
	if gain < target {
		return min(target, gain+1.0/ramp)
	}
	return max(target, gain-1.0/ramp)
}

func floor(x float64) int64 {
	n := int64(x)
	if float64(n) > x {
		n--
	}
	return n
}

func clip(x float32) int16 {
	switch {
	case x >= 32767:
		return 32767
	case x <= -32768:
		return -32768
	case x < 0:
		return int16(x - 0.5)
	}
	return int16(x + 0.5)
}
