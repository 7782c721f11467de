package voice

// meterFrames is the window of the momentary loudness, 400 ms (EBU Tech 3341), in
// frames; RMS and peak use the same, so that the eye can follow.
const meterFrames = 20

// meter measures the newest 400 ms, in steps of a frame.
type meter struct {
	weighting kWeighting
	ring      [meterFrames]measured
	at        int
	current   measured
	samples   int // in current
	level     Level
}

// measured is what a frame adds to a Level.
type measured struct {
	weighted, square float64 // sums over the frame
	peak             float32
}

func newMeter() meter { return meter{weighting: newKWeighting(), level: Silence()} }

func (m *meter) measure(pcm []float32) Level {
	for len(pcm) > 0 {
		n := min(len(pcm), frameSamples-m.samples)
		m.current.weighted += m.weighting.energy(pcm[:n])
		for _, x := range pcm[:n] {
			m.current.square += float64(x) * float64(x)
			m.current.peak = max(m.current.peak, abs(x))
		}
		if m.samples += n; m.samples == frameSamples {
			m.turn()
		}
		pcm = pcm[n:]
	}
	return m.level
}

// turn ends a frame and takes the level of the last ones.
func (m *meter) turn() {
	m.ring[m.at] = m.current
	m.at = (m.at + 1) % meterFrames
	m.current, m.samples = measured{}, 0
	var all measured
	for _, f := range m.ring {
		all.weighted += f.weighted
		all.square += f.square
		all.peak = max(all.peak, f.peak)
	}
	const n = meterFrames * frameSamples
	m.level = Level{
		RMS:       powerDB(all.square / n),
		Peak:      powerDB(float64(all.peak) * float64(all.peak)),
		Momentary: max(minDB, powerDB(all.weighted/n)+lufsOffset),
	}
}
