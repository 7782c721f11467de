package voice

import "math"

const (
	// ceilingDB leaves room for what the codec adds, and for the digital-to-analogue
	// converter of a cheap loudspeaker.
	ceilingDB = -1.5

	// missedDB is what the search for peaks misses up to 15 kHz, and noise at that.
	missedDB = 0.05

	lookahead = 240 // 5 ms: shorter distorts low voices, longer delays all

	// Peaks are looked for at four points a sample (BS.1770-4 annex 2), with a
	// sinc of 32 taps under a Hann window: three fractional points, and the sample
	// itself. What it misses is below 0.05 dB up to 15 kHz and 0.3 dB at 20 kHz, where
	// speech has nothing; half the taps miss twice as much on noise (measured).
	peakTaps  = 32
	peakReach = peakTaps / 2 // samples that must follow the one looked at

	// attack is what the look-ahead leaves for the gain to fall in: a straight line.
	attack = lookahead - peakReach + 1

	limitSamples = 96 // taken at once: of short parts more need no search for peaks

	releaseSeconds = 0.15 // time constant; shorter pumps audibly between syllables
)

// limiter keeps true peaks at or below the ceiling. Each sample asks for the gain
// that it and the curve up to its successor need. The least gain asked for within
// the look-ahead, let go slowly, and averaged over the attack, is a curve without
// steps that never lies above what any sample asked for.
type limiter struct {
	ceiling float32
	safe    float32              // samples up to it make no peak above the ceiling, whatever they are
	points  [3][peakTaps]float32 // interpolation at 1/4, 1/2, 3/4 behind a sample

	past    [peakTaps - 1]float32 // the newest samples
	work    [peakTaps - 1 + limitSamples]float32
	delayed [lookahead]float32 // ring
	delayAt int

	least   slidingMin
	release float64
	held    float64 // least gain, after release

	average [attack]float64 // ring of held
	sum     float64
	at      int
	idle    int // how many of average, newest first, are exactly 1

	in, out float64 // squares that entered and left since loss was asked for
}

func newLimiter() limiter {
	l := limiter{
		ceiling: float32(amplitude(ceilingDB - missedDB)),
		release: 1 - math.Exp(-1/(releaseSeconds*sampleRate)),
		held:    1, sum: attack, idle: attack,
	}
	for i := range l.average {
		l.average[i] = 1
	}
	for p := range l.points {
		for j := range l.points[p] {
			t := float64(p+1)/4 + peakReach - 1 - float64(j)
			window := math.Cos(math.Pi / 2 * t / peakReach)
			l.points[p][j] = float32(math.Sin(math.Pi*t) / (math.Pi * t) * window * window)
		}
	}
	l.safe = l.ceiling
	for _, point := range l.points {
		most := float32(0)
		for _, tap := range point {
			most += abs(tap)
		}
		l.safe = min(l.safe, l.ceiling/(most*1.0001)) // less what rounding adds
	}
	return l
}

// limit works in place; what it returns lags by lookahead samples.
func (l *limiter) limit(pcm []float32) {
	for len(pcm) > 0 {
		n := min(len(pcm), limitSamples)
		l.block(pcm[:n])
		pcm = pcm[n:]
	}
}

func (l *limiter) block(pcm []float32) {
	copy(l.work[:], l.past[:])
	copy(l.work[len(l.past):], pcm)
	copy(l.past[:], l.work[len(pcm):])
	if l.isSafe(l.work[:len(l.past)+len(pcm)]) {
		l.pass(pcm)
		return
	}
	for i, x := range pcm {
		wanted := 1.0
		if peak := l.truePeak((*[peakTaps]float32)(l.work[i:])); peak > l.ceiling {
			wanted = float64(l.ceiling) / float64(peak)
		}
		pcm[i] = l.leave(l.delay(x), float32(l.gain(wanted)))
	}
}

// leave applies a gain to a sample that leaves the delay.
func (l *limiter) leave(x, gain float32) float32 {
	y := x * gain
	l.in += float64(x * x)
	l.out += float64(y * y)
	return y
}

// isSafe reports whether no peak between these samples can be above the ceiling: most of speech needs no search.
func (l *limiter) isSafe(pcm []float32) bool {
	most := float32(0)
	for _, x := range pcm {
		most = max(most, abs(x))
	}
	return most <= l.safe
}

// pass is block for samples that ask for nothing.
func (l *limiter) pass(pcm []float32) {
	if l.idle < attack { // an earlier peak still counts
		for i, x := range pcm {
			pcm[i] = l.leave(l.delay(x), float32(l.gain(1)))
		}
		return
	}
	l.least.rest(uint64(len(pcm)))
	for i, x := range pcm {
		pcm[i] = l.leave(l.delay(x), 1)
	}
}

// delay takes a sample and returns the one of lookahead samples before.
func (l *limiter) delay(x float32) float32 {
	y := l.delayed[l.delayAt]
	l.delayed[l.delayAt] = x
	if l.delayAt++; l.delayAt == lookahead {
		l.delayAt = 0
	}
	return y
}

// loss returns the squares that entered and left since it was last called.
func (l *limiter) loss() (in, out float64) {
	in, out = l.in, l.out
	l.in, l.out = 0, 0
	return in, out
}

// truePeak is the largest magnitude from the sample w[peakReach-1] up to the next.
func (l *limiter) truePeak(w *[peakTaps]float32) float32 {
	var a, b, c float32
	for j, x := range w {
		a += x * l.points[0][j]
		b += x * l.points[1][j]
		c += x * l.points[2][j]
	}
	return max(abs(w[peakReach-1]), abs(a), abs(b), abs(c))
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// gain takes the gain that the newest sample looked at asks for, and returns the
// one for the sample that now leaves the delay.
func (l *limiter) gain(wanted float64) float64 {
	least := l.least.push(wanted)
	if least < l.held {
		l.held = least
	} else if l.held += (least - l.held) * l.release; l.held > 1-1e-7 {
		l.held = 1
	}
	l.sum += l.held - l.average[l.at]
	l.average[l.at] = l.held
	if l.at++; l.at == attack {
		l.at = 0
	}
	if l.held < 1 {
		l.idle = 0
	} else if l.idle++; l.idle >= attack { // drop what rounding has left in the sum
		l.idle, l.sum = attack, attack
	}
	return l.sum / attack
}

// slidingMin is the least of the last attack+1 values: a queue of candidates, each
// larger and newer than the one before it. One more than the attack, since a
// sample's wish also covers the curve to its successor.
type slidingMin struct {
	values [attack + 2]float64 // ring
	born   [attack + 2]uint64
	head   int
	count  int
	now    uint64
}

func (s *slidingMin) push(v float64) float64 {
	const ring = attack + 2
	for s.count > 0 && s.values[(s.head+s.count-1)%ring] >= v {
		s.count--
	}
	tail := (s.head + s.count) % ring
	s.values[tail], s.born[tail] = v, s.now
	s.count++
	if s.born[s.head]+attack < s.now {
		s.head = (s.head + 1) % ring
		s.count--
	}
	s.now++
	return s.values[s.head]
}

// rest is push(1), n times, for a queue that holds nothing else.
func (s *slidingMin) rest(n uint64) {
	s.now += n
	s.count = 1
	s.values[s.head], s.born[s.head] = 1, s.now-1
}
