package voice

import "math"

// Levelling says how a Processor finds its gain.
type Levelling uint8

// The ways to level. Each moves towards Target and none ever mutes.
const (
	// LevelNot keeps the gain that was set.
	LevelNot Levelling = iota
	// LevelVoice is for a microphone, whose loudness nobody knows: -20 to +30 dB, found within the first syllables.
	// It rises only on what moves as speech does, so that silence, hiss and hum stay as they are.
	LevelVoice
	// LevelLine is for a line that somebody else has levelled: at most 6 dB either way, too slowly to be noticed.
	LevelLine
)

// rules are a leveller's numbers. Gains are in dB, rates in dB a second, times in seconds.
type rules struct {
	start, min, max float64
	quietest        float64 // LUFS; below it nothing is programme
	speech          bool    // only what moves as speech does may raise the gain
	tau             float64 // the slowest approach to the wanted gain
	up, down        float64 // the fastest rates
}

func (l Levelling) rules() rules {
	if l == LevelVoice {
		return rules{start: 6, min: minGainDB, max: maxGainDB, quietest: -58, speech: true, tau: 1, up: 100, down: 200}
	}
	return rules{min: -6, max: 6, quietest: -45, tau: 4, up: 1, down: 1}
}

const (
	hopSteps   = 10  // of 100 ms, as BS.1770's blocks go
	memoryHops = 100 // what is remembered of the programme: 10 s of it, pauses left out
	shortSteps = 4   // 40 ms: the time in which a syllable shows

	aboveFloor  = 8   // LU over the background make programme of speech
	neverNoise  = -24 // LUFS; what is louder is programme however steady it is
	dip         = 9   // LU of fall within speech; noise falls by no more than 6 in 40 ms
	dipSteps    = 150 // steps for which such a fall vouches that this is speech
	runSteps    = 8   // steps without a break that a syllable lasts, and a knock or a key does not
	hangSteps   = 40  // steps after speech that belong to it: the pauses between words
	shout       = 13  // LU over Target for 40 ms: the estimate is overtaken; a vowel has 10
	shoutHop    = 10  // and for 100 ms
	whisperHops = 12  // hops of speech in a row, all more than the relative gate below the estimate: it is overtaken as well
	keepHops    = 4   // what is kept of the programme when the estimate is overtaken: one block
	fastTau     = 0.06
	lossSteps   = 300 // steps over which the limiter's loss is averaged
	mostLoss    = 2   // dB of it that are made up for: more would flatten the voice
)

// leveller finds the gain that brings the programme to Target. It measures as BS.1770 does: blocks of 400 ms, the
// relative gate 10 LU below their mean, over the last 10 s in which there was programme. In pauses everything stands
// still. What it has heard little of it follows fast, what it knows it follows slowly.
type leveller struct {
	rules
	gain float64 // dB, now

	short    [shortSteps]float64 // ring of steps' mean squares
	shortAt  int
	floor    least
	heard    int     // steps of programme since the estimate began
	run      int     // steps of programme without a break
	syllable bool    // the last break was after a syllable, or there was none
	since    int     // steps since the last programme
	high     float64 // LUFS, of the syllable under way
	vouched  int     // steps for which speech is still vouched for

	hops    [memoryHops]float64 // ring of hops' mean squares
	hopAt   int
	hopLen  int     // hops that are filled
	part    float64 // sum of the hop that is not full
	partLen int     // steps in it
	low     int     // hops in a row below the relative gate
	known   float64 // LUFS of the programme

	in, out float64 // squares that entered and left the limiter, of some seconds
}

func newLeveller(l Levelling) leveller {
	r := l.rules()
	return leveller{rules: r, gain: r.start, since: hangSteps, high: quietLUFS, known: Target - r.start}
}

// step takes the weighted mean square of the next 10 ms and returns the gain in dB that the following 10 ms move to.
func (l *leveller) step(square float64) float64 {
	l.short[l.shortAt] = square
	l.shortAt = (l.shortAt + 1) % shortSteps
	mean := 0.0
	for _, s := range l.short {
		mean += s / shortSteps
	}
	l.floor.push(mean)
	now := lufs(math.Max(mean, tinySquare))
	active := l.active(now)
	if active {
		l.since = 0
		l.run++
		l.syllable = l.syllable || l.run >= runSteps
	} else {
		l.run = 0
		l.since = min(l.since+1, hangSteps)
		l.syllable = l.syllable && l.since < runSteps
	}
	if l.since < hangSteps {
		l.learn(square)
	} else {
		l.partLen, l.part = 0, 0
	}
	l.move(active, now)
	return l.gain
}

// limited takes what entered and what left the limiter in the last 10 ms. A voice of sharp peaks loses loudness there,
// which its gain makes up for.
func (l *leveller) limited(in, out float64) {
	if l.hopLen < 2*blockHops {
		l.in, l.out = 0, 0 // while the gain is being found the limiter takes what is not programme
		return
	}
	l.in += (in - l.in) / lossSteps
	l.out += (out - l.out) / lossSteps
}

// loss is what the limiter takes, in dB.
func (l *leveller) loss() float64 {
	if l.in <= l.out || l.out <= 0 {
		return 0
	}
	return math.Min(10*math.Log10(l.in/l.out), mostLoss)
}

// programme returns the loudness of what was said in LUFS, and false while that is not known.
func (l *leveller) programme() (lufs float64, ok bool) { return l.known, l.hopLen >= 2*blockHops }

// active reports whether this is programme, and notes what vouches for speech.
func (l *leveller) active(now float64) bool {
	if l.vouched > 0 {
		l.vouched--
	}
	floor := quietLUFS
	if v, ok := l.floor.value(); ok {
		floor = max(floor, lufs(v))
	}
	active := now > l.quietest && (!l.speech || now > min(floor+aboveFloor, neverNoise))
	if active && now > l.high {
		l.high = now
	}
	if l.high-now > dip && l.since < hangSteps {
		l.vouched = dipSteps
	}
	if l.high -= 0.05; l.since >= hangSteps { // 5 dB a second: the next syllable counts by itself
		l.high = quietLUFS
	}
	return active
}

// learn takes a step of programme.
func (l *leveller) learn(square float64) {
	l.heard++
	l.part += square
	if l.partLen++; l.partLen == hopSteps {
		l.hops[l.hopAt] = l.part / hopSteps
		l.hopAt = (l.hopAt + 1) % memoryHops
		l.hopLen = min(l.hopLen+1, memoryHops)
		l.part, l.partLen = 0, 0
		l.overtaken()
	}
	if l.partLen == 0 || l.hopLen == 0 {
		l.known = l.estimate()
	}
}

// overtaken forgets the programme of before once what is heard is of another loudness.
func (l *leveller) overtaken() {
	newest := lufs(math.Max(l.hops[(l.hopAt+memoryHops-1)%memoryHops], tinySquare))
	if !l.speech || l.hopLen <= keepHops {
		return
	}
	if l.low++; newest > l.known+relativeGate {
		l.low = 0
	}
	if l.low >= whisperHops || newest+l.gain > Target+shoutHop {
		l.hopLen, l.low = min(l.hopLen, keepHops), 0
		if newest > l.known {
			l.hopLen = 1
		}
		l.heard = l.hopLen * hopSteps
	}
}

// estimate is the gated loudness of what is remembered, in LUFS.
func (l *leveller) estimate() float64 {
	if l.hopLen < blockHops {
		sum, n := l.part, float64(l.partLen)
		for i := range l.hopLen {
			sum += l.hop(i) * hopSteps
			n += hopSteps
		}
		return lufs(math.Max(sum/math.Max(n, 1), tinySquare))
	}
	mean := l.gated(0)
	return lufs(math.Max(l.gated(mean*amplitude(2*relativeGate)), tinySquare))
}

// hop returns the mean square of hop i, the newest being 0.
func (l *leveller) hop(i int) float64 { return l.hops[(l.hopAt+memoryHops-1-i)%memoryHops] }

// gated is the mean of the blocks above a mean square.
func (l *leveller) gated(gate float64) float64 {
	gate = math.Max(gate, energyOf(absoluteGate))
	sum, blocks, block := 0.0, 0, 0.0
	for i := range l.hopLen {
		block += l.hop(i) / blockHops
		if i >= blockHops {
			block -= l.hop(i-blockHops) / blockHops
		}
		if i >= blockHops-1 && block > gate {
			sum += block
			blocks++
		}
	}
	return sum / math.Max(float64(blocks), 1)
}

// move brings the gain nearer to what the programme wants.
func (l *leveller) move(active bool, now float64) {
	const seconds = float64(stepMillis) / 1000
	tau := math.Min(math.Max(float64(l.heard)*seconds/6, fastTau), l.tau)
	if l.speech && active && now+l.gain > Target+shout {
		tau = fastTau
		l.known = math.Max(l.known, now-shout/2)
	}
	if !l.speech {
		tau = l.tau
	}
	want := math.Min(math.Max(Target-l.known+l.loss(), l.min), l.max)
	by := (want - l.gain) * seconds / tau
	switch {
	case l.since >= hangSteps:
		return
	case by > 0 && l.speech && (!l.syllable || l.vouched == 0) && now < neverNoise:
		return
	}
	l.gain += math.Min(math.Max(by, -l.down*seconds), l.up*seconds)
}
