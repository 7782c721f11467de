package playout

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"dongthanh/codec"
	"dongthanh/internal/mediaclock"
	"dongthanh/internal/repair"
	"dongthanh/internal/seq"
	"dongthanh/internal/signed"
)

// Decoder turns Opus packets into mono PCM at 48 kHz; *codec.Decoder is one. It is used by whoever calls Fill.
type Decoder interface {
	// Decode writes the packet's samples to pcm and returns their number.
	Decode(packet []byte, pcm []int16) (int, error)
	// Conceal fills pcm, of 20 ms, with a guess at what is missing.
	Conceal(pcm []int16) error
}

// State is what a transmission does at this loudspeaker.
type State uint8

// The states.
const (
	Waiting   State = iota // nothing of it is due, or nothing of it came
	Sounding               // it is the one that sounds
	Outranked              // another goes before it; it resumes by itself
	Muted                  // its newest beacon is too old, or its media stays away
	Ended                  // its last sample is over, or it was stopped; for good
)

// String returns the state as logs name it.
func (s State) String() string {
	return [...]string{"waiting", "sounding", "outranked", "muted", "ended"}[s]
}

const (
	frame = mediaclock.FrameSamples

	// history is how much decoded sound is kept, 341 ms: a cross-fade may reach back.
	history = 1 << 14

	// Concealment: libopus's guess for 60 ms, then faded within 100 ms; never a loop (DESIGN §5).
	concealFull = 3 * frame
	concealFade = 5 * frame

	// edge is the fade at the programme's first and last samples: 5 ms, less than the codec's pre-skip, so that it
	// falls on what precedes the programme.
	edge = 240
	// ramp is the fade where sound begins or stops in the middle: 10 ms.
	ramp = 480

	// silence is how old the newest beacon, or the newest packet, may be before a transmission is muted (DESIGN §4).
	silence = 5 * time.Second
	// settleFrames is how long a missing frame may still come, to be counted as late and not as concealed: 2 s.
	settleFrames = 100
	// hearingFrames is how many frames in a row may be guessed before the loudspeaker no longer calls it hearing.
	hearingFrames = 25

	arrivals = 64
)

// Stream is one transmission at this loudspeaker: its jitter buffer, decoder, repair and counts. Make it with
// NewStream anywhere; from Open on it belongs to the Player.
//
// Sound is numbered in decoded samples: 0 is the first that the packet Index0 decodes to. Packets and frames are
// numbered from the same point.
type Stream struct {
	cert   signed.SessionCert
	dec    Decoder
	buf    buffer
	ledger ledger
	track  *repair.Tracker

	frames int64 // a packet
	start  int64 // the frame where the programme starts here; -1: not known yet
	end    int64 // frames in all; -1: the last packet has not come
	due0   int64 // the decoded sample that was due at the last look
	have   int64 // one past the newest frame that came
	known  int64 // frames known to have been sent: those, and what beacons say
	tail   int64 // where the sound ends, in decoded samples; valid if end is known

	fresh    mediaclock.Instant // newest beacon's time; 0: none yet
	arrived  mediaclock.Local   // when the newest packet came
	opened   mediaclock.Local   // when it was first looked at, or asked for; valid if seen
	seen     bool
	stale    bool // the newest beacon is too old
	stopping bool
	state    State

	active bool // decoding; pcm holds the samples lo…hi-1
	pcm    [history]float32
	lo, hi int64
	run    int64   // samples concealed in a row, up to hi
	gain   float32 // now, 0…1
	target float32
	head   int64 // sound fades in from here by its place; -1: it fades in by time
	heard  int64 // the newest frame that was decoded, not guessed; -1: none

	delays [arrivals]float32 // ms from the encoder to here
	delayN int

	scratch [6 * frame]int16 // the longest Opus packet
	bridge  [frame]int16     // the guess continued, to fade from; valid if bridged
	bridged bool
	faults  uint64 // packets that libopus refused
}

// NewStream returns a stream of the transmission that c, which is verified, describes. dec is its own from here on.
func NewStream(c signed.SessionCert, dec Decoder) (*Stream, error) {
	if c.Packet == 0 || c.Packet%frame != 0 || int(c.Packet) > 3*frame {
		return nil, fmt.Errorf("play transmission %x: %d samples a packet", c.Transmission, c.Packet)
	}
	return &Stream{
		cert: c, dec: dec, buf: newBuffer(c.Delay(), int64(c.Packet)),
		frames: int64(c.Packet) / frame, start: -1, end: -1, heard: -1,
	}, nil
}

// Cert returns the transmission's certificate.
func (s *Stream) Cert() *signed.SessionCert { return &s.cert }

// number returns the packet's number, false for an index before the transmission.
func (s *Stream) number(i seq.Index) (int64, bool) {
	return int64(i) - int64(s.cert.Index0), uint64(i) >= s.cert.Index0
}

func (s *Stream) index(k int64) seq.Index { return seq.Index(int64(s.cert.Index0) + k) }

// due returns the instant at which decoded sample d is due: the decoder's output lags by its pre-skip, so it must run
// ahead by as much.
func (s *Stream) due(d int64) mediaclock.Instant {
	return s.cert.PlayAt(s.cert.Index0).Add(mediaclock.Samples(d - codec.PreSkip).Duration())
}

// place returns which decoded sample, and what fraction behind it, is due t ns after ref.
func (s *Stream) place(ref mediaclock.Instant, t float64) float64 {
	return (t-float64(s.cert.PlayAt(s.cert.Index0)-ref))/nominal + codec.PreSkip
}

// Verdict is what became of a packet that passed every check.
type Verdict uint8

// The verdicts.
const (
	Stored    Verdict = iota
	Late              // its turn is past
	Duplicate         // it is here already
	Ahead             // no loudspeaker should have it yet
	Before            // it precedes the transmission, or what this loudspeaker joined
	Closed            // the transmission has ended here
)

// put takes a packet; see Player.Packet.
func (s *Stream) put(i seq.Index, payload []byte, last bool, now mediaclock.Local) Verdict {
	k, ok := s.number(i)
	if ok && last {
		s.ends(k)
	}
	if !ok || k*s.frames < s.start && !s.earlier(k) {
		return Before
	}
	if s.state == Ended || s.end >= 0 && k*s.frames >= s.end {
		return Closed
	}
	if s.start >= 0 && k > s.ledger.next/s.frames+s.buf.room() {
		return Ahead
	}
	s.have = max(s.have, (k+1)*s.frames)
	s.known = max(s.known, s.have)
	s.arrived = max(s.arrived, now)
	asked := s.track != nil && s.track.Arrived(i, now)
	for f := k * s.frames; f < min((k+1)*s.frames, s.ledger.next); f++ {
		s.ledger.came(f)
	}
	if s.start >= 0 && (k+1)*s.frames <= s.ledger.next {
		return Late
	}
	if !s.buf.put(k, payload, asked) {
		return Duplicate
	}
	return Stored
}

// earlier moves the start of the programme back to packet k, if nothing has sounded and k is still to come: what a late
// joiner got first was out of order, or what it missed was sent again.
func (s *Stream) earlier(k int64) bool {
	if s.active || s.ledger.next > s.start || k*int64(s.cert.Packet) <= s.due0 {
		return false
	}
	s.start = k * s.frames
	s.ledger.begin(s.start)
	s.track.From(s.index(k))
	return true
}

// ends records that packet k is the last. Where it came late, what is guessed beyond it already fades out.
func (s *Stream) ends(k int64) {
	s.end = (k + 1) * s.frames
	s.have, s.known = min(s.have, s.end), min(s.known, s.end)
	s.tail = s.end * frame
	if s.active {
		s.tail = max(s.tail, s.hi+frame)
	}
	if s.track != nil {
		s.track.Ends(s.index(k))
	}
}

// beacon takes the word of a verified beacon.
func (s *Stream) beacon(at mediaclock.Instant, highest seq.Index, now mediaclock.Local) {
	s.fresh = max(s.fresh, at)
	if k, ok := s.number(highest); ok {
		s.known = max(s.known, (k+1)*s.frames)
		if s.end >= 0 {
			s.known = min(s.known, s.end)
		}
		if s.track != nil {
			s.track.Exists(highest, now)
		}
	}
}

// delay records how long a packet took from the encoder to here.
func (s *Stream) delay(i seq.Index, arrived mediaclock.Instant) {
	k, _ := s.number(i)
	entered := s.cert.T0.Add(mediaclock.Samples(k * int64(s.cert.Packet)).Duration())
	s.delays[s.delayN%arrivals] = float32(arrived.Sub(entered)) / 1e6
	s.delayN++
}

// arrival returns the median of the last delays in ms, 0 if there is none.
func (s *Stream) arrival() float32 {
	n := min(s.delayN, arrivals)
	if n == 0 {
		return 0
	}
	sorted := s.delays
	slices.Sort(sorted[:n])
	return max(0, sorted[n/2])
}

// resolve finds where the programme starts for this loudspeaker, once it can: at the transmission's first packet if
// that is still to come, else at the first packet at hand that is not due yet. x is the decoded sample due now.
func (s *Stream) resolve(x float64) {
	s.due0 = floor(x)
	if s.start >= 0 {
		return
	}
	if x <= 0 {
		s.start = 0
	} else if k, ok := s.buf.lowest(int64(x)/int64(s.cert.Packet) + 1); ok {
		s.start = k * s.frames
	} else {
		return
	}
	s.ledger.begin(s.start)
	first := s.start / s.frames
	s.track = repair.New(s.index(first), mediaclock.Samples(s.cert.Packet).Duration())
	for k := first; k <= first+s.buf.room(); k++ {
		if s.buf.get(k) != nil {
			s.track.Arrived(s.index(k), s.arrived)
		}
	}
	if s.end >= 0 {
		s.track.Ends(s.index(s.end/s.frames - 1))
	}
}

// lapse lets frames below f pass that were not sounded. counted says that they should have been.
func (s *Stream) lapse(f int64, counted bool) {
	if s.end >= 0 {
		f = min(f, s.end)
	}
	if f-s.ledger.next > ledgerFrames { // nobody waits for what is so long past
		s.ledger.settle(s.ledger.next, s.known, true)
		s.ledger.begin(f - ledgerFrames)
	}
	for s.ledger.next < f {
		switch {
		case !counted:
			s.ledger.add(skipped, s.known)
		case s.buf.get(s.ledger.next/s.frames) != nil:
			s.ledger.add(late, s.known)
		default:
			s.ledger.add(missing, s.known)
		}
	}
}

// activate makes the stream ready to be decoded from the ledger's next frame on; x is the sample due now.
func (s *Stream) activate(x float64) {
	f := s.ledger.next
	for k := max(0, f/s.frames-preroll); k < f/s.frames; k++ {
		if p := s.buf.get(k); p != nil {
			_, _ = s.decode(p) // what is warmed up with need not sound; faults are counted
		}
	}
	s.active, s.run = true, 0
	s.lo, s.hi = f*frame, f*frame
	s.gain, s.target, s.head = 0, 1, -1
	if x <= float64(s.lo) {
		s.gain, s.head = 1, s.lo
	}
}

func (s *Stream) decode(p *slot) (n int64, err error) {
	size, err := s.dec.Decode(p.bytes(), s.scratch[:])
	if err == nil && int64(size) != s.frames*frame {
		err = errLength
	}
	if err != nil {
		s.faults++
	}
	return int64(size), err
}

var errLength = errors.New("packet is not of the length its certificate says")

// produce decodes or conceals until sample d, which lies within one history, is there, or the end of the sound.
func (s *Stream) produce(d int64) {
	for s.hi < d && (s.end < 0 || s.hi < s.tail) {
		f := s.ledger.next
		if s.end >= 0 && f >= s.end {
			s.conceal()
			s.ledger.add(skipped, s.known)
			continue
		}
		if p := s.buf.get(f / s.frames); p != nil {
			from := f % s.frames * frame
			s.bridged = from > 0 && s.run > 0 && s.dec.Conceal(s.bridge[:]) == nil
			if n, err := s.decode(p); err == nil {
				s.take(p, from, n)
				continue
			}
		}
		s.conceal()
		s.ledger.add(missing, s.known)
	}
}

// take appends what was decoded, from sample from on.
func (s *Stream) take(p *slot, from, n int64) {
	sound := s.scratch[from:n]
	r := played
	if p.repaired {
		r = repaired
	}
	for range int64(len(sound)) / frame {
		s.ledger.add(r, s.known)
		s.heard = s.ledger.next - 1
	}
	for i, v := range sound {
		x := float32(v)
		if w := (float32(i) + 0.5) / edge; w < 1 {
			if s.run > concealFull { // it had begun to fade: come back as gently
				level := concealLevel(s.run)
				x *= level + (1-level)*w
			}
			if s.bridged { // the guess stops in the middle of a packet, which libopus does not smooth
				x = x*w + float32(s.bridge[i])*concealLevel(s.run+int64(i))*(1-w)
			}
		}
		s.pcm[(s.hi+int64(i))%history] = x
	}
	s.hi += int64(len(sound))
	s.lo = max(s.lo, s.hi-history)
	s.run = 0
}

// conceal appends 20 ms of guess.
func (s *Stream) conceal() {
	sound := s.scratch[:frame:frame]
	if s.run >= concealFull+concealFade || s.dec.Conceal(sound) != nil {
		clear(sound)
	}
	for i, v := range sound {
		s.pcm[(s.hi+int64(i))%history] = float32(v) * concealLevel(s.run+int64(i))
	}
	s.hi += frame
	s.lo = max(s.lo, s.hi-history)
	s.run += frame
}

// concealLevel is the level of a guess after run samples of guessing.
func concealLevel(run int64) float32 {
	return min(1, max(0, 1-float32(run-concealFull)/concealFade))
}
