// Package jitter turns the packets of a microphone, which come when the network lets them, into sound that can be
// pulled at any instant of the streamer's clock, 20 ms at a time.
//
// It orders packets, waits as long as the network makes necessary, decodes, fills what never came, and follows the
// sender's clock by resampling, so that N pulls give N frames and the delay stays where it is. It reads no clock,
// starts no goroutine, has no lock and does not log: the time comes in with each call. Package ingest alone uses it.
package jitter

import (
	"fmt"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/seq"
)

const (
	frame    = mediaclock.FrameSamples
	frameDur = 20 * time.Millisecond

	startTarget = 40 * time.Millisecond  // the target until enough packets were seen: a packet, and as much for jitter
	maxTarget   = 120 * time.Millisecond // beyond, a network is repaired by concealment, not by waiting
	settled     = 100                    // packets after which lateness means something

	// The target is a packet (its last sample comes a packet later than its first), the lateness of the network, and
	// margin for the pulling clock, which is 1 ms late at times; it falls by at most targetFall a pull, so that one
	// quiet minute does not undo what a bad one taught.
	targetMargin = 5 * time.Millisecond
	leastMargin  = 10 * time.Millisecond
	targetFall   = 40 * time.Microsecond

	// A line waits rather than leave something out: nobody talks back to it, and what stalls is a busy sender.
	patientTarget = 300 * time.Millisecond
	patientDepth  = time.Second

	// maxDepth bounds what may wait after a stall: more is cut at once, down to the target. From quietExcess above the
	// target on, what is too much is cut out of pauses, quietCut at a time.
	maxDepth    = 200 * time.Millisecond
	quietExcess = 20 * time.Millisecond
	quietCut    = frame / 2
	quietPower  = 1e-5           // mean square of −50 dBFS
	crossFade   = 5 * frame / 20 // 5 ms
	warmUp      = 5 * frame      // of what is cut this much is decoded, so that the decoder knows what was before

	// A newest packet that is early or late by this much has not travelled so: the sender's timestamps jumped, or the
	// connection stood still for so long that its delay means nothing any more.
	maxLeap = time.Second

	// A sender may be fast by five per cent in the long run and come with a backlog of two seconds; what exceeds that
	// is no microphone (a hostile peer at ten times real time) and is not decoded.
	maxPace     = 1.05
	maxPaceLead = 2 * mediaclock.Rate

	// Concealment sounds up to concealFull, then fades out until concealEnd; a longer guess is a drone.
	concealFull = 3 * frame
	concealEnd  = 5 * frame
	fadeIn      = 5 * frame / 20

	maxPacket = 6 * frame                      // samples of the longest Opus packet, 120 ms
	pcmRoom   = 2*frame + warmUp + 3*maxPacket // what leaveOut decodes, then what a pull does
)

// Decoder is what a Buffer needs of *codec.Decoder.
type Decoder interface {
	// DecodeFloat writes the samples of packet into pcm and returns their number.
	DecodeFloat(packet []byte, pcm []float32) (int, error)
	// ConcealFloat fills pcm, 960 samples, with a guess.
	ConcealFloat(pcm []float32) error
	// RecoverFloat does the same before packet next, which may repeat what is missing (in-band FEC).
	RecoverFloat(next []byte, pcm []float32) error
}

// resampler is what a Buffer needs of *codec.Resampler; the tests of long times use a cheaper one.
type resampler interface {
	SetRatio(ratio float64) float64
	Process(in, out []float32) (consumed, produced int)
}

// Stats is what happened since the start. Each packet that came is counted once, in Packets, Padding or what was wrong
// with it; samples are of output.
type Stats struct {
	Packets    uint64 // with sound, taken
	Padding    uint64 // without payload
	Lost       uint64 // sequence numbers missing so far: lost, or came as something that was refused
	Late       uint64 // came after their turn
	Duplicate  uint64
	Malformed  uint64             // not Opus, too large, or with a number or timestamp that fits nothing
	Flood      uint64             // faster than real time
	Overflow   uint64             // of Packets, given up since nobody pulled
	Leaps      uint64             // jumps of the sender's timestamps
	Concealed  mediaclock.Samples // made up for packets that were lost
	Withheld   mediaclock.Samples // made up for silence that the sender did not send
	Starved    mediaclock.Samples // made up since nothing had come
	Cut        mediaclock.Samples // left out to be in time again
	Depth      time.Duration      // sound that waits
	Delay      time.Duration      // how long a sample waits, had it come by the fastest way
	Target     time.Duration      // what Delay is steered to
	ClockRatio float64            // sender's clock against ours: 1.0001 is 100 ppm fast
}

// Buffer is the jitter buffer and clock follower of one microphone. Use it from one goroutine, or behind one lock.
type Buffer struct {
	dec     Decoder
	rs      resampler
	shelf   shelf
	seen    seq.Window
	transit transit
	follow  follower

	playing bool
	ended   bool // no packet comes any more
	tailed  bool // the last sound was faded out
	over    bool

	pos  mediaclock.Samples // place in the content up to which pcm reaches
	owed mediaclock.Samples // made up while nothing was there: time that passed without content
	run  int                // samples made up in a row

	pcm     []float32 // decoded and not yet resampled: pcm[r:w]
	r, w    int
	scratch [frame]float32
	step    float64 // input samples an output sample

	maxTarget, maxDepth time.Duration

	target    time.Duration
	packetDur time.Duration
	firstAt   mediaclock.Local
	pace      float64 // samples that may come now
	paceAt    mediaclock.Local

	stats Stats
}

// New returns an empty Buffer that decodes with dec, which it owns from then on.
func New(dec Decoder) (*Buffer, error) {
	rs, err := codec.NewResampler(mediaclock.Rate, mediaclock.Rate)
	if err != nil {
		return nil, fmt.Errorf("create jitter buffer: %w", err)
	}
	return &Buffer{
		dec: dec, rs: rs, pcm: make([]float32, pcmRoom), step: 1, target: startTarget, pace: maxPaceLead,
		maxTarget: maxTarget, maxDepth: maxDepth,
	}, nil
}

// Patient makes a new Buffer that of a line-in: for its sound to be whole it takes more delay than a microphone may have.
func (b *Buffer) Patient() { b.maxTarget, b.maxDepth = patientTarget, patientDepth }

// Push takes the RTP packet with sequence number n, timestamp ts and an Opus payload that came at now. The payload is
// copied. An empty payload is padding (RFC 3550 §5.1): its number counts, nothing sounds. Bad packets are counted.
func (b *Buffer) Push(now mediaclock.Local, n seq.Seq, ts mediaclock.Timestamp, payload []byte) {
	if b.ended {
		return
	}
	samples := 0
	if len(payload) > 0 {
		var err error
		if samples, err = codec.PacketSamples(payload); err != nil || len(payload) > maxPayload {
			b.stats.Malformed++
			return
		}
	}
	p, ok := b.shelf.locate(n, ts)
	if !ok {
		b.stats.Malformed++
		return
	}
	if !b.seen.Fresh(seq.Index(p.seq)) {
		b.stats.Duplicate++
		return
	}
	b.seen.Mark(seq.Index(p.seq))
	if samples > 0 {
		if !b.inPace(now, mediaclock.Samples(samples)) {
			b.stats.Flood++
			return
		}
		p = b.timed(now, p, mediaclock.Samples(samples))
	}
	if p.newer {
		b.stats.Overflow += uint64(b.shelf.advance(p, n, ts))
	} else if !b.playing && p.seq < b.shelf.low && p.seq > b.shelf.high-shelfSlots {
		b.shelf.low = p.seq // the first packets came in disorder
		b.shelf.first = min(b.shelf.first, p.seq)
	}
	switch {
	case p.seq < b.shelf.low:
		b.stats.Late++
	case samples == 0:
		b.stats.Padding++
		b.shelf.put(p, slotPadding, 0, nil)
	default:
		b.stats.Packets++
		b.shelf.put(p, slotSound, mediaclock.Samples(samples), payload)
	}
}

// inPace takes a packet's samples from the budget of real time, and reports whether there were enough.
func (b *Buffer) inPace(now mediaclock.Local, samples mediaclock.Samples) bool {
	if b.shelf.begun {
		b.pace = min(maxPaceLead, b.pace+maxPace*mediaclock.Rate*max(0, now.Sub(b.paceAt).Seconds()))
	} else {
		b.firstAt = now
	}
	b.paceAt = now
	if b.pace < float64(samples) {
		return false
	}
	b.pace -= float64(samples)
	return true
}

// timed notes the transit time of a packet, and moves its place if its timestamp leapt.
func (b *Buffer) timed(now mediaclock.Local, p place, samples mediaclock.Samples) place {
	took := time.Duration(now) - (p.start + samples).Duration()
	if p.newer && b.transit.known {
		if leap := took - b.transit.base; leap > maxLeap || leap < -maxLeap {
			b.stats.Leaps++
			p.start = max(p.start+mediaclock.SamplesIn(leap), b.shelf.end)
			took = time.Duration(now) - (p.start + samples).Duration()
		}
	}
	b.transit.add(now, took)
	if p.newer {
		b.packetDur = samples.Duration()
	}
	return p
}

// Ready reports whether a Pull now would begin with sound: enough has come, or the first packet waited long enough.
func (b *Buffer) Ready(now mediaclock.Local) bool {
	if b.playing {
		return true
	}
	h, _ := b.shelf.head()
	return h != nil && ((b.shelf.end-h.start).Duration() >= b.target+frameDur || now.Sub(b.firstAt) >= b.target)
}

// End says that no packet comes any more: Pull gives what is left, then io.EOF.
func (b *Buffer) End() { b.ended = true }

// Stats returns what happened so far.
func (b *Buffer) Stats() Stats {
	s := b.stats
	if b.shelf.begun {
		s.Lost = uint64(max(0, b.shelf.high-b.shelf.first+1-int64(s.Packets+s.Padding+s.Late)))
		s.Depth = b.depth().Duration()
	}
	s.Target = b.target
	s.ClockRatio = 1 + b.follow.integral
	return s
}
