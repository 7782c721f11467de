package voice

const (
	millisecond = sampleRate / 1000
	stepMillis  = 10 // between two decisions about the gain
	stepSamples = stepMillis * millisecond

	floorParts  = 5                // of the window in which the quietest moment counts as background
	floorSteps  = 300 / stepMillis // a part: 0.3 s, in all 1.5 s, in which whoever speaks pauses between syllables
	quietLUFS   = -70.0            // nothing quieter is told apart: BS.1770's absolute gate
	digitalZero = 1e-11            // mean square, -111 LUFS: no microphone, but what a codec makes of nothing
)

// least follows the least of the last 1.5 s of a measure.
type least struct {
	parts [floorParts]float64 // ring; 0: nothing came yet
	at    int
	steps int // in the newest part
}

// push takes the next value. Of digital silence it learns nothing: that is a line without a microphone, whose
// background is still to come.
func (l *least) push(v float64) {
	if v < digitalZero {
		return
	}
	if l.steps == floorSteps {
		l.at, l.steps = (l.at+1)%floorParts, 0
		l.parts[l.at] = 0
	}
	if p := &l.parts[l.at]; *p == 0 || v < *p {
		*p = v
	}
	l.steps++
}

// value returns the least, and false while nothing came.
func (l *least) value() (v float64, ok bool) {
	for _, p := range l.parts {
		if p > 0 && (!ok || p < v) {
			v, ok = p, true
		}
	}
	return v, ok
}

// energyOf is the mean square that so many LUFS stand for.
func energyOf(db float64) float64 { return amplitude(2 * (db - lufsOffset)) }
