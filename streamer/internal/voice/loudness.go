package voice

import "math"

const (
	// Gates and blocks of ITU-R BS.1770-4 annex 1: blocks of 400 ms, 100 ms apart.
	absoluteGate = -70.0
	relativeGate = -10.0
	hopSamples   = sampleRate / 10
	blockHops    = 4
)

// NoLoudness is the loudness of a file in which nothing lies above the absolute
// gate of BS.1770: it is silence, and no gain makes it anything else.
const NoLoudness = absoluteGate

// Loudness measures how loud a whole file is (ITU-R BS.1770-4, integrated and
// gated), as it streams by. It takes 80 bytes a second of sound. Use it from one
// goroutine.
type Loudness struct {
	weighting kWeighting
	hops      []float64 // weighted energy of each full 100 ms
	sum       float64   // of the hop that is not full
	samples   int       // in it
}

// NewLoudness returns a measure that has heard nothing yet.
func NewLoudness() *Loudness { return &Loudness{weighting: newKWeighting()} }

// Add measures the next samples, of any number: mono at 48 kHz. pcm stays the
// caller's and is not changed.
func (l *Loudness) Add(pcm []float32) {
	for len(pcm) > 0 {
		n := min(len(pcm), hopSamples-l.samples)
		l.sum += l.weighting.energy(pcm[:n])
		if l.samples += n; l.samples == hopSamples {
			l.hops = append(l.hops, l.sum)
			l.sum, l.samples = 0, 0
		}
		pcm = pcm[n:]
	}
}

// Integrated returns the loudness in LUFS of all that was added, or NoLoudness. Of
// less than 400 ms, for which the standard has no answer, it takes the whole as
// one block. More may be added afterwards.
func (l *Loudness) Integrated() float64 {
	if len(l.hops) < blockHops {
		energy, n := l.sum, len(l.hops)*hopSamples+l.samples
		for _, h := range l.hops {
			energy += h
		}
		return max(NoLoudness, lufs(energy/float64(max(n, 1))))
	}
	mean, ok := l.gated(absoluteGate)
	if !ok {
		return NoLoudness
	}
	mean, _ = l.gated(lufs(mean) + relativeGate) // at least the loudest block is above
	return lufs(mean)
}

// gated is the mean energy of the blocks louder than gate and the absolute gate.
func (l *Loudness) gated(gate float64) (mean float64, ok bool) {
	least := math.Pow(10, (max(gate, absoluteGate)-lufsOffset)/10)
	sum, blocks := 0.0, 0
	for i := blockHops; i <= len(l.hops); i++ {
		block := 0.0
		for _, h := range l.hops[i-blockHops : i] {
			block += h
		}
		if block /= blockHops * hopSamples; block > least {
			sum += block
			blocks++
		}
	}
	return sum / float64(max(blocks, 1)), blocks > 0
}

func lufs(square float64) float64 { return lufsOffset + 10*math.Log10(square) }
