package voice

import "math"

// Target is the loudness in LUFS that sound is brought to. A horn on a pole wants all that its amplifier gives, but the
// peaks of speech stand 14 to 18 dB above its loudness (measured): at -18 they just pass under the ceiling of -1.5 dBTP,
// at -16 the limiter would flatten every vowel, and the -23 of EBU R128 is for living rooms. AES TD1008 asks for -18 too,
// of speech that is streamed.
const Target = -18.0

// ChimeFrames is the length of the chime in frames of 20 ms: 2 s.
const ChimeFrames = 100

// The chime is a bell struck three times, c″ e″ g″, each ringing into the next. The partials are those of a bar hung at
// its nodes, less harsh than a church bell's; the highest lies where a horn is loudest, and none below where it begins.
var (
	chimeTones    = [...]struct{ hz, at float64 }{{523.25, 0}, {659.26, 0.4}, {783.99, 0.8}} // Hz, s
	chimePartials = [...]struct{ ratio, share, ring float64 }{                               // ring: s to 1/e
		{1, 1, 0.50}, {2, 0.35, 0.35}, {2.76, 0.25, 0.22}, {5.40, 0.12, 0.09},
	}
)

const (
	chimeStrike = 0.008 // s, over which a strike swells: without, it clicks
	chimeFade   = 0.25  // s, over which the end goes to nothing
)

// Chime returns the opening chime at Target, of ChimeFrames frames: mono, 48 kHz, the caller's. It begins and ends with
// silence, and is always the same.
func Chime() []float32 {
	sum := make([]float64, ChimeFrames*frameSamples)
	for _, tone := range chimeTones {
		from := int(tone.at * sampleRate)
		for _, p := range chimePartials {
			strike(sum[from:], tone.hz*p.ratio, p.share, p.ring)
		}
	}
	fade := sum[len(sum)-int(chimeFade*sampleRate):]
	for i := range fade {
		fade[i] *= 0.5 + 0.5*math.Cos(math.Pi*float64(i+1)/float64(len(fade)))
	}
	pcm := make([]float32, len(sum))
	for i, x := range sum {
		pcm[i] = float32(x)
	}
	loudness := NewLoudness()
	loudness.Add(pcm)
	gain := float32(amplitude(Target - loudness.Integrated()))
	for i := range pcm {
		pcm[i] *= gain
	}
	return pcm
}

// strike adds a sine that swells at once and dies away within ring seconds: a point that turns and shrinks.
func strike(sum []float64, hz, share, ring float64) {
	sin, cos := math.Sincos(2 * math.Pi * hz / sampleRate)
	shrink := math.Exp(-1 / (ring * sampleRate))
	x, y := share, 0.0
	const swell = chimeStrike * sampleRate
	for i := range sum {
		sum[i] += y * min(1, float64(i)/swell)
		x, y = shrink*(x*cos-y*sin), shrink*(x*sin+y*cos)
	}
}
