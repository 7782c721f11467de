package voice

import "math"

// biquad is a second-order filter in transposed direct form II, in float64: at
// 100 Hz float32 would add noise.
type biquad struct {
	b0, b1, b2, a1, a2 float64
	z1, z2             float64
}

func (f *biquad) next(x float64) float64 {
	y := f.b0*x + f.z1
	f.z1 = f.b1*x - f.a1*y + f.z2
	f.z2 = f.b2*x - f.a2*y
	return y
}

func (f *biquad) filter(pcm []float32) {
	for i, x := range pcm {
		pcm[i] = float32(f.next(float64(x)))
	}
	f.flush()
}

// flush clears a state that has all but died away; call it once a frame.
func (f *biquad) flush() {
	if math.Abs(f.z1) < denormalMin && math.Abs(f.z2) < denormalMin {
		f.z1, f.z2 = 0, 0
	}
}

// butterworthHighPass is the bilinear transform of a second-order Butterworth
// high-pass, 3 dB down at hz.
func butterworthHighPass(hz float64) biquad {
	k := math.Tan(math.Pi * hz / sampleRate)
	norm := 1 / (1 + math.Sqrt2*k + k*k)
	return biquad{
		b0: norm, b1: -2 * norm, b2: norm,
		a1: 2 * (k*k - 1) * norm, a2: (1 - math.Sqrt2*k + k*k) * norm,
	}
}

// kWeighting is the pre-filter of ITU-R BS.1770-4 annex 1, tables 1 and 2, at 48 kHz.
type kWeighting struct {
	shelf, highPass biquad
}

func newKWeighting() kWeighting {
	return kWeighting{
		shelf: biquad{
			b0: 1.53512485958697, b1: -2.69169618940638, b2: 1.19839281085285,
			a1: -1.69065929318241, a2: 0.73248077421585,
		},
		highPass: biquad{b0: 1, b1: -2, b2: 1, a1: -1.99004745483398, a2: 0.99007225036621},
	}
}

// energy returns the sum of the squares of pcm after weighting.
func (k *kWeighting) energy(pcm []float32) float64 {
	sum := 0.0
	for _, x := range pcm {
		y := k.highPass.next(k.shelf.next(float64(bounded(x)))) // one NaN would stay for ever
		sum += y * y
	}
	k.shelf.flush()
	k.highPass.flush()
	return sum
}
