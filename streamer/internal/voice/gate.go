package voice

import "math"

const (
	gateRangeDB = 14  // what a pause is lowered by: heard as quiet, and not as a line that is dead
	gateOver    = 4   // dB above the background's own peaks that open it
	gateUnder   = 5   // LU above the background's mean below which it may close
	gateLoudest = -50 // LUFS; what is louder is no background, so that a steady tone stays; but once there was
	gateBelow   = 22  // LU louder speech, what lies so far below it may be
	gateHold    = 500 // ms it stays open after the last sound: pauses between words are no pauses
	gateOpen    = 4   // ms to open, which with the millisecond of measuring is what the limiter looks ahead
	gateShut    = 300 // ms to close
	gateWindow  = 5   // ms over which a sound counts
)

// gate lowers what a microphone gives while nobody speaks. It listens to what goes into the limiter and acts on what
// comes out of it 5 ms later, so that it is open before the first consonant is there.
type gate struct {
	window [gateWindow]float64 // ring of milliseconds' mean squares
	at     int
	peak   float64 // largest window of this step
	peaks  least   // the background's largest windows
	millis int
	slow   float64 // mean square of some 40 ms
	floor  least   // of slow

	loudest float64 // mean square; what is louder is no background

	hold int     // ms
	db   float64 // of the gain, 0 to -gateRangeDB
	amp  float64
	to   float64 // amp at the end of the next millisecond
}

func newGate() gate {
	return gate{loudest: energyOf(gateLoudest), hold: gateHold, amp: 1, to: 1}
}

// know tells the gate how loud the programme is, in LUFS.
func (g *gate) know(programme float64) {
	g.loudest = energyOf(math.Max(gateLoudest, programme-gateBelow))
}

// hear takes the weighted mean square of a millisecond that enters the limiter.
func (g *gate) hear(square float64) {
	g.window[g.at] = square
	g.at = (g.at + 1) % gateWindow
	sum := 0.0
	for _, w := range g.window {
		sum += w / gateWindow
	}
	g.slow += (square - g.slow) / 40
	g.peak = math.Max(g.peak, sum)
	if g.millis++; g.millis == hopSteps*stepMillis { // 100 ms
		for range hopSteps {
			g.peaks.push(g.peak)
			g.floor.push(g.slow)
		}
		g.millis, g.peak = 0, 0
	}
	if g.opens(sum) {
		g.hold = gateHold
	} else if g.hold > 0 {
		g.hold--
	}
	if g.hold > 0 {
		g.db = math.Min(0, g.db+float64(gateRangeDB)/gateOpen)
	} else {
		g.db = math.Max(-gateRangeDB, g.db-float64(gateRangeDB)/gateShut)
	}
	g.amp, g.to = g.to, amplitude(g.db)
}

// opens reports whether a window of that mean square is more than background: well above its peaks while the gate is
// shut, and above its mean while it is open.
func (g *gate) opens(window float64) bool {
	peaks, ok := g.peaks.value()
	if !ok {
		return true // nothing is known of the background yet
	}
	over := math.Min(math.Max(peaks*math.Pow(10, gateOver/10.0), energyOf(quietLUFS)), g.loudest)
	if g.hold > 0 {
		floor, _ := g.floor.value()
		over = math.Min(over, math.Max(floor*math.Pow(10, gateUnder/10.0), energyOf(quietLUFS)))
	}
	return window > over
}

// apply treats what comes out of the limiter during the millisecond that was heard last; at is its place in it.
func (g *gate) apply(pcm []float32, at int) {
	if g.amp == 1 && g.to == 1 {
		return
	}
	for i := range pcm {
		pcm[i] *= float32(g.amp + (g.to-g.amp)*float64(at+i+1)/millisecond)
	}
}
