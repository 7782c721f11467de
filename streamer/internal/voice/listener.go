package voice

// listener hears the sound before the limiter and sets its gain and its gate by it.
type listener struct {
	weighting kWeighting
	leveller  *leveller // nil: the gain stays
	gate      *gate     // nil: always open

	sum     float64 // weighted squares of the millisecond that is not full
	samples int     // in it
	step    float64 // mean squares of the full ones in the step that is not full
	millis  int     // in it

	amp, slope float64 // gain now, and what it changes by with a sample
}

func newListener(o Options) *listener {
	l := &listener{weighting: newKWeighting(), amp: 1}
	if o.Levelling != LevelNot {
		v := newLeveller(o.Levelling)
		l.leveller, l.amp = &v, amplitude(v.gain)
	}
	if o.Gate {
		g := newGate()
		l.gate = &g
	}
	return l
}

// process weighs, amplifies, limits and gates a millisecond after the other.
func (l *listener) process(pcm []float32, limiter *limiter) {
	for len(pcm) > 0 {
		part := pcm[:min(len(pcm), millisecond-l.samples)]
		pcm = pcm[len(part):]
		l.sum += l.weighting.energy(part)
		for i := range part {
			l.amp += l.slope
			part[i] *= float32(l.amp)
		}
		limiter.limit(part)
		if l.gate != nil {
			l.gate.apply(part, l.samples)
		}
		if l.samples += len(part); l.samples == millisecond {
			l.turn(limiter)
		}
	}
}

// turn ends a millisecond.
func (l *listener) turn(limiter *limiter) {
	square := l.sum / millisecond
	l.sum, l.samples = 0, 0
	if l.gate != nil {
		l.gate.hear(square)
	}
	l.step += square
	if l.millis++; l.millis < stepMillis {
		return
	}
	if l.leveller != nil {
		l.leveller.limited(limiter.loss())
		to := amplitude(l.leveller.step(l.step / stepMillis))
		l.slope = (to - l.amp) / stepSamples
		if known, ok := l.leveller.programme(); ok && l.gate != nil {
			l.gate.know(known)
		}
	}
	l.step, l.millis = 0, 0
}
