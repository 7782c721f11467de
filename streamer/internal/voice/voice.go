// Package voice makes what comes from a microphone, a line or a file fit for
// loudspeakers: a high-pass against wind and knocks, a gain that brings it to one
// loudness (ITU-R BS.1770), a gate for pauses, a limiter that keeps true peaks below
// the ceiling, and the levels of the result. It also measures the loudness of whole
// files, and makes the opening chime.
//
// It is pure: PCM in, PCM out, mono float32 at 48 kHz. It starts no goroutine and
// reads no clock, and nothing in it ever mutes. Who may be treated how is not its
// business: package session chooses the Options, origin runs a Processor on each
// transmission, and library measures files with a Loudness.
package voice

import "math"

const (
	sampleRate   = 48000
	frameSamples = 960 // 20 ms

	highPassHz = 100 // below it a horn loudspeaker gives only distortion

	maxGainDB   = 30  // enough for a whisper
	gainDBPerS  = 12  // slow enough to be heard as a change of level, not as a step
	maxSample   = 8   // 18 dB over full scale; what is louder is no sound
	minGainDB   = -20 // too little to mute
	minDB       = -120
	tinySquare  = 1e-12 // minDB as a mean square
	lufsOffset  = -0.691
	denormalMin = 1e-30 // filter states below it become 0: denormal numbers are slow
)

// Options says what a Processor does. The zero value only limits and measures.
type Options struct {
	// HighPass switches on the high-pass of 100 Hz, 12 dB an octave. It is for
	// microphones; files and lines keep their bass.
	HighPass bool
	// GainDB is the gain to begin with, in dB, -20..30. Levelling makes up for it.
	GainDB float64
	// Levelling says whether and how the gain follows the sound.
	Levelling Levelling
	// Gate lowers what a microphone gives while nobody speaks, by 14 dB. Files and
	// lines have none.
	Gate bool
}

// Level is how loud the last 400 ms were, as listeners get them: after gain and
// limiter. No value is below -120; the zero Level is not silence, Silence() is.
type Level struct {
	RMS       float64 // dBFS; a sine of full scale has -3.01
	Peak      float64 // dBFS, the largest sample
	Momentary float64 // LUFS, ITU-R BS.1770 with a window of 400 ms (EBU Tech 3341)
}

// Silence is the Level of no sound at all.
func Silence() Level { return Level{RMS: minDB, Peak: minDB, Momentary: minDB} }

// Processor treats one stream. Use it from one goroutine.
type Processor struct {
	highPass *biquad // nil if off
	gainDB   float64 // in force at the end of the last frame
	wantDB   float64
	listener *listener // nil if neither levelled nor gated
	limiter  limiter
	meter    meter
}

// New returns a Processor that has heard nothing yet. A GainDB out of range is
// brought into it, as SetGain does.
func New(o Options) *Processor {
	p := &Processor{limiter: newLimiter(), meter: newMeter()}
	if o.HighPass {
		f := butterworthHighPass(highPassHz)
		p.highPass = &f
	}
	if o.Levelling != LevelNot || o.Gate {
		p.listener = newListener(o)
	}
	p.SetGain(o.GainDB)
	p.gainDB = p.wantDB
	return p
}

// SetGain sets the gain in dB that the next frames move to, at 12 dB a second. It
// is bounded to -20..30, so that it never mutes; NaN changes nothing.
func (p *Processor) SetGain(db float64) {
	if !math.IsNaN(db) {
		p.wantDB = min(max(db, minGainDB), maxGainDB)
	}
}

// GainFor returns the gain in dB that brings a whole file of that loudness to
// Target, as far as a GainDB goes. Silence stays as it is.
func GainFor(lufs float64) float64 {
	if !(lufs > NoLoudness) {
		return 0
	}
	return min(max(Target-lufs, minGainDB), maxGainDB)
}

// Delay is how many samples later a sample comes out than it went in: the limiter's
// look-ahead of 5 ms. After the last frame of a stream that much is still inside;
// frames of silence bring it out.
func (p *Processor) Delay() int { return lookahead }

// Process treats a frame of 960 samples in place and returns the level that
// listeners now get. Shorter or longer frames work too, but the level moves on by
// 960 samples at a time. What comes out never exceeds -1.5 dBTP; NaN becomes
// silence. Below that peak, and with nothing switched on, samples come out
// unchanged. The frame stays the caller's. It does not allocate.
func (p *Processor) Process(frame []float32) Level {
	for i, x := range frame {
		frame[i] = bounded(x)
	}
	if p.highPass != nil {
		p.highPass.filter(frame)
	}
	p.amplify(frame)
	if p.listener != nil {
		p.listener.process(frame, &p.limiter)
	} else {
		p.limiter.limit(frame)
	}
	return p.meter.measure(frame)
}

// Through is Process for sound that is already as it should be, such as a chime: it is limited and measured only.
func (p *Processor) Through(frame []float32) Level {
	for i, x := range frame {
		frame[i] = bounded(x)
	}
	p.limiter.limit(frame)
	return p.meter.measure(frame)
}

// amplify applies the gain and moves it towards wantDB, evenly over the frame.
func (p *Processor) amplify(frame []float32) {
	if len(frame) == 0 || (p.gainDB == 0 && p.wantDB == 0) {
		return
	}
	most := gainDBPerS * float64(len(frame)) / sampleRate
	next := p.gainDB + min(max(p.wantDB-p.gainDB, -most), most)
	from, to := amplitude(p.gainDB), amplitude(next)
	p.gainDB = next
	step := (to - from) / float64(len(frame))
	for i := range frame {
		from += step
		frame[i] *= float32(from)
	}
}

// bounded makes any float a sample.
func bounded(x float32) float32 {
	if x != x {
		return 0
	}
	return min(max(x, -maxSample), maxSample)
}

func amplitude(db float64) float64 { return math.Pow(10, db/20) }

// powerDB is a mean square in dB, at least minDB.
func powerDB(square float64) float64 { return 10 * math.Log10(max(square, tinySquare)) }
